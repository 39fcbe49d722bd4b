"""Arms side by side, and what a rule that never sees the question explains of the gain."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from w2s_icl.analysis.figures import style
from w2s_icl.analysis.figures.style import INK, MUTED, PAPER, Sheet, styled

ARMS: Mapping[str, str] = {
    "weak": "labels by {weak}",
    "gold": "gold labels",
    "self": "its own labels",
    "noise_matched": "gold with as many errors",
    "random": "random labels",
    "flipped": "wrong labels",
    "unlabelled": "no labels",
}
"""Kinds of labels in the order drawn, and what a reader calls them."""

_PROMPTS: Mapping[str, str] = {
    "disclosure=source": "weak model named",
    "disclosure=accuracy": "its accuracy told",
    "cot=bare": "reasoning first",
    "question=hidden": "question hidden",
}
_FAR = "flipped|zero_shot|question=hidden"
"""Arms that may lie far off, and must not squeeze the others."""


def arm_text(arm: str, names: Mapping[str, str], weak: str = "the weak model") -> str:
    """An arm of `tables.arms_table` in words.

    Args:
        arm: As in the table.
        names: Of models, for people.
        weak: Who wrote the weak labels.

    Example:
        >>> arm_text("noise_matched", {}), arm_text("weak disclosure=source", {}, "small")
        ('gold with as many errors', 'labels by small, weak model named')
        >>> arm_text("random of hf/mid cot=bare", {"hf/mid": "mid"})
        'random labels, of mid, reasoning first'
    """
    kind, _, rest = arm.partition(" ")
    text = ARMS.get(kind, kind.replace("_", " ")).format(weak=weak)
    parts = ["no demonstrations" if kind == "zero_shot" else text]
    for word, by in re.findall(r"(?:(of|via) )?(\S+)", rest):
        parts.append(f"{word} {names.get(by, by)}" if word else _PROMPTS.get(by, by))
    return ", ".join(parts)


def arm_order(arms: Iterable[str]) -> list[str]:
    """Arms without repetition: by kind as in `ARMS`, plain before prompted, unknown kinds last.

    Example:
        >>> arm_order(["mine", "random", "weak cot=bare", "gold", "weak", "zero_shot cot=bare"])
        ['weak', 'gold', 'random', 'mine', 'weak cot=bare', 'zero_shot cot=bare']
    """
    kinds = list(ARMS)

    def place(arm: str) -> tuple[bool, bool, int, str]:
        kind, _, rest = arm.partition(" ")
        known = kinds.index(kind) if kind in kinds else len(kinds)
        return kind == "zero_shot", bool(rest), known, arm

    return sorted(set(arms), key=place)


def at_shots(table: pd.DataFrame, shots: int) -> pd.DataFrame:
    """Rows of pairs of two models at one shot count; a prompted zero-shot run joins its pairs."""
    pairs = table[(table["weak"] != "") & (table["weak"] != table["strong"])]
    pairs = pairs[pairs["shots"] == shots]
    zero = table[(table["weak"] == "") & (table["shots"] == 0)].drop(columns="weak")
    joined = pairs[["weak", "strong"]].drop_duplicates().merge(zero, on="strong")
    return pd.concat([pairs, joined[pairs.columns]]) if len(joined) else pairs


@styled
def arms(
    arms: pd.DataFrame,
    models: Sequence[str],
    *,
    shots: int,
    planned: Iterable[str] = (),
    banner: str = "",
) -> Figure:
    """Gain over the strong model's zero-shot run, at one shot count: a row per arm.

    `arms` is of `tables.arms_table`; `planned` arms have a row even where they were not run.
    """
    rows = at_shots(arms, shots)
    pairs, names = style.pairs_of(rows), style.display_names(models)
    order = arm_order([*rows["arm"], *planned])
    givers = {weak for weak, _ in pairs}
    weak = names[givers.pop()] if len(givers) == 1 else "the weak model"
    sheet = Sheet.in_lines(len(pairs), 0.25 * len(order) + 0.85)
    limits = _limits(rows)
    cut = False
    for axes, pair in zip(sheet.panels, pairs, strict=True):
        sheet.title(axes, style.arrow(pair, names))
        mine = rows[(rows["weak"] == pair[0]) & (rows["strong"] == pair[1])]
        cut |= _panel(mine, order, pair, models, limits, axes, sheet)
        axes.set_xlabel(f"points over zero-shot, n = {style.n_text(mine['n'])}")
    if pairs:
        sheet.panels[0].set_yticks(range(len(order)), [arm_text(arm, names, weak) for arm in order])
        sheet.panels[0].set_ylim(len(order) - 0.5, -0.5)
    note = style.scope_text(rows) + (" ◀▶: the interval leaves the figure." if cut else "")
    band = Patch(label=f"95% interval of {ARMS['weak'].format(weak=weak)}", color=MUTED, alpha=0.2)
    drawn = rows.loc[rows["arm"] == "weak", "gain"].notna().any()
    return sheet.finish([band] if drawn else [], note, banner)


def _panel(
    rows: pd.DataFrame,
    order: Sequence[str],
    pair: tuple[str, str],
    models: Sequence[str],
    limits: tuple[float, float],
    axes: Axes,
    sheet: Sheet,
) -> bool:
    """One pair, an arm of `order` per row from the top; whether an interval leaves the panel."""
    span = limits[1] - limits[0]
    axes.set_xlim(limits[0] - 0.03 * span, limits[1] + 0.03 * span)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(lambda value, _: style.points_text(value, 0))
    axes.grid(axis="x")
    axes.axvline(0, color=MUTED, linewidth=1, zorder=1)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    cut = False
    for height, arm in enumerate(order):
        row = rows[rows["arm"] == arm]
        if row.empty or row["gain"].isna().all():
            sheet.beside(axes, height, "not run" if row.empty else "incomplete", MUTED)
            continue
        colour, how = _arm_style(arm, pair, models)
        main = arm == "weak"
        if main:
            low, high = np.clip(row[["gain_lo", "gain_hi"]].to_numpy(dtype=float)[0], *limits)
            axes.axvspan(low, high, color=colour, alpha=0.12, linewidth=0, zorder=0)
        how |= {"limits": limits, "width": 1.8 if main else 1.1}
        cut |= style.intervals(axes, [height], row, "gain", across=True, **how)
        sheet.beside(axes, height, style.points_text(float(row["gain"].iloc[0])), colour, bold=main)
    return cut


def _arm_style(arm: str, pair: tuple[str, str], models: Sequence[str]) -> tuple[str, Any]:
    """Colour of an arm, and its marker: those of the model that wrote the labels, if one did."""
    kind, _, prompt = arm.partition(" ")
    colour, marker = MUTED, "d"
    if kind in ("weak", "self"):
        colour, marker = style.style_of(pair[kind == "self"], models)
    elif kind in ("gold", "zero_shot"):
        colour, marker = INK, "D" if kind == "gold" else "o"
    hollow = prompt or kind in ("gold", "zero_shot")
    face = PAPER if hollow else colour
    return colour, {"color": colour, "marker": marker, "markerfacecolor": face, "markersize": 7}


def _limits(rows: pd.DataFrame) -> tuple[float, float]:
    """One scale for all panels; it goes half its width towards arms far off, no further."""

    def ends(part: pd.DataFrame) -> tuple[float, float]:
        every = np.append(part[["gain_lo", "gain_hi"]].to_numpy(dtype=float), 0)
        return float(np.nanmin(every)), float(np.nanmax(every))

    every, near = ends(rows), ends(rows[~rows["arm"].str.contains(_FAR)])
    most = 0.5 * max(near[1] - near[0], 0.02)
    low, high = max(every[0], near[0] - most), min(every[1], near[1] + most)
    return low, max(high, low + 0.02)


@styled
def surface_fit(fit: pd.DataFrame, models: Sequence[str], *, banner: str = "") -> Figure:
    """Gain over zero-shot against what a rule that reads only the options knows.

    `fit` has weak, strong, kind, x, n, gain, gain_lo, gain_hi. `x` is the rule's probability of the
    right option minus that of a guess. Rows of kind "bin" are the mean gain of a fifth of the
    questions, `n` of them; rows of kind "line" are the fitted line and its band, by x.
    """
    pairs, names = style.pairs_of(fit), style.display_names(models)
    sheet = Sheet.in_lines(len(pairs), 3.0)
    for axes, pair in zip(sheet.panels, pairs, strict=True):
        sheet.title(axes, style.arrow(pair, names))
        mine = fit[(fit["weak"] == pair[0]) & (fit["strong"] == pair[1])]
        bins, line = (mine[mine["kind"] == kind] for kind in ("bin", "line"))
        colour, marker = style.style_of(pair[0], models)
        axes.grid(axis="y")
        axes.axhline(0, color=MUTED, linewidth=1, zorder=1)
        axes.axvline(0, color=MUTED, linewidth=1, linestyle=":", zorder=1)
        axes.fill_between(
            line["x"], line["gain_lo"], line["gain_hi"], color=colour, alpha=0.15, linewidth=0
        )
        axes.plot(line["x"], line["gain"], color=colour, linewidth=1.8)
        style.intervals(axes, bins["x"], bins, "gain", color=colour, marker=marker)
        axes.xaxis.set_major_formatter(lambda value, _: style.points_text(value, 0))
        axes.set_xlabel(f"rule: points above a guess, n = {bins['n'].sum():.0f}")
    for axes in sheet.first_of_lines():
        axes.yaxis.set_major_formatter(lambda value, _: style.points_text(value, 0))
        axes.set_ylabel("gain over zero-shot, in points")
    handles = [
        style.key("a fifth of the questions, 95% interval", color=MUTED, marker="o", linestyle=""),
        Patch(label="fitted line, 95% band", color=MUTED, alpha=0.3),
        style.key("the rule knows nothing", color=MUTED, linestyle=":", linewidth=1),
    ]
    return sheet.finish(handles if pairs else [], _SURFACE, banner)


_SURFACE = (
    "From left to right: the probability that a surface rule gives the right option. The rule "
    "reads only the options (length, negation, hedges, digits), never the question. A gain at the "
    "dotted line owes nothing to it; a model that only follows it gains nothing there."
)
