"""Arms side by side, and what a rule that never sees the question explains of the gain."""

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
from w2s_icl.analysis.sentences import points

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


def arm_text(arm: str, weak: str = "the weak model") -> str:
    """An arm of `tables.arms_table` in words."""
    kind, *rest = arm.split(" ")
    text = ARMS[kind].format(weak=weak) if kind in ARMS else kind.replace("_", " ")
    first = "no demonstrations" if kind == "zero_shot" else text
    return style.shortened(", ".join([first, *(_PROMPTS.get(word, word) for word in rest)]), 48)


def _order(arm: str) -> tuple[bool, bool, int, str]:
    """Sorts arms by kind as in `ARMS`, plain before prompted, unknown kinds and zero-shot last."""
    kind, _, prompt = arm.partition(" ")
    rank = [*ARMS, kind].index(kind)
    return kind == "zero_shot", prompt != "", rank, arm


def at_shots(table: pd.DataFrame, shots: int) -> pd.DataFrame:
    """Rows of `tables.arms_table`, of pairs of two models at one shot count.

    A prompted zero-shot run joins its pairs.
    """
    pairs = table[(table["weak"] != "") & (table["weak"] != table["strong"])]
    pairs = pairs[pairs["shots"] == shots]
    zero = table[(table["weak"] == "") & (table["shots"] == 0)].drop(columns="weak")
    joined = pairs[["weak", "strong"]].drop_duplicates().merge(zero, on="strong")
    return pd.concat([pairs, joined[pairs.columns]]) if len(joined) else pairs


@styled
def arms(
    rows: pd.DataFrame, models: Sequence[str], *, planned: Iterable[str] = (), banner: str = ""
) -> Figure:
    """Gain over the strong model's zero-shot run: a row per arm.

    `rows` is of `at_shots`; `planned` arms have a row even where they were not run.
    """
    pairs, order = style.pairs_of(rows), sorted({*rows["arm"], *planned}, key=_order)
    weak = [style.display_names(models)[of] for of in {weak for weak, _ in pairs}]
    words = [arm_text(arm, *weak[: len(weak) == 1]) for arm in ["weak", *order]]
    sheet = _sheet(models, len(pairs), words[1:])
    # one scale for all panels; it goes half its width towards arms far off, no further
    far = rows["arm"].str.contains("flipped|zero_shot|question=hidden").to_numpy()
    lows, highs = rows["gain_lo"].to_numpy(dtype=float), rows["gain_hi"].to_numpy(dtype=float)
    near = np.nanmin([*lows[~far], 0]), np.nanmax([*highs[~far], 0])
    most = 0.5 * max(near[1] - near[0], 0.02)
    low = max(np.nanmin([*lows, 0]), near[0] - most)
    high = max(min(np.nanmax([*highs, 0]), near[1] + most), low + 0.02)
    sheet.limits, margin = (low, high), 0.03 * (high - low)
    for axes, pair, mine in sheet.by_pair(pairs):
        axes.set_xlabel(f"points over zero-shot, n = {style.n_text(mine['n'])}")
        axes.set_xlim(low - margin, high + margin)
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        _gains(sheet, axes, pair, mine.set_index("arm").reindex(order))
    if rows.loc[rows["arm"] == "weak", "gain"].notna().any():
        sheet.handles.append(Patch(label=f"95% interval of {words[0]}", color=MUTED, alpha=0.2))
    arrows = " ◀▶: the interval leaves the figure." * sheet.cut
    return sheet.finish(style.scope_text(rows) + arrows, banner)


def _sheet(models: Sequence[str], panels: int, rows: Sequence[str]) -> Sheet:
    """Differences in points from left to right, a row for each of the texts from the top."""
    sheet = Sheet(models, panels, 0.25 * len(rows) + 0.85)
    sheet.across = True
    sheet.panels[0].set_yticks(range(len(rows)), rows)
    sheet.panels[0].set_ylim(len(rows) - 0.5, -0.5)
    for axes in sheet.panels:
        style.points_axis(axes.xaxis)
        axes.grid(axis="x")
        axes.axvline(0, color=MUTED, linewidth=1, zorder=1)
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0, pad=8)
    return sheet


def _gains(sheet: Sheet, axes: Axes, pair: tuple[str, str], rows: pd.DataFrame) -> None:
    """One pair, an arm per row from the top."""
    for height, (arm, gain) in enumerate(rows["gain"].items()):
        row = rows[height : height + 1]
        if pd.isna(gain):
            text = "not run" if row["n"].isna().all() else "incomplete"
            sheet.beside(axes, height, text, MUTED)
            continue
        kind, _, prompt = str(arm).partition(" ")
        colour, marker = INK, "D" if kind == "gold" else "o"
        if kind in ("weak", "self"):
            colour, marker = sheet.looks(pair[kind == "self"])
        elif kind not in ("gold", "zero_shot"):
            colour, marker = MUTED, "d"
        main, face = arm == "weak", PAPER if prompt or colour == INK else colour
        if main:
            ends = np.clip(row[["gain_lo", "gain_hi"]].to_numpy(dtype=float)[0], *sheet.limits)
            axes.axvspan(*ends, color=colour, alpha=0.12, linewidth=0, zorder=0)
        how: Any = {"color": colour, "marker": marker, "markerfacecolor": face, "markersize": 7}
        sheet.intervals(axes, [height], row, "gain", 1.8 if main else 1.1, **how)
        sheet.beside(axes, height, points(gain), colour, bold=main)


@styled
def differences(table: pd.DataFrame, *, banner: str = "") -> Figure:
    """Accuracy of a log directory minus the first's: a panel per later directory, a row per arm.

    `table` is of `compare.compare`, the rows of arms that were compared.
    """
    arms, drawn = [*table["arm"].unique()], table.rename(columns={"lo": "diff_lo", "hi": "diff_hi"})
    sheet = _sheet([], table["second"].nunique(), arms)
    groups = drawn.groupby(["first", "second"], sort=False)
    for axes, ((first, second), rows) in zip(sheet.panels, groups, strict=True):
        sheet.title(axes, f"{second} minus {first}")
        axes.set_xlabel(f"points, n = {style.n_text(rows['n'])}")
        at = rows["arm"].map(arms.index)
        sheet.intervals(axes, at, rows, "diff", color=INK, marker="o", markersize=6)
        for height, gain in zip(at, rows["diff"], strict=True):
            sheet.beside(axes, height, points(gain), INK)
    return sheet.finish(style.scope_text(table), banner)


@styled
def surface_fit(fit: pd.DataFrame, models: Sequence[str], *, banner: str = "") -> Figure:
    """Gain over zero-shot against what a rule that reads only the options knows.

    `fit` has weak, strong, kind, x, n, gain, gain_lo, gain_hi. `x` is the rule's probability of the
    right option minus that of a guess. Rows of kind "bin" are the mean gain of a fifth of the
    questions, `n` of them; rows of kind "line" are the fitted line and its band, by x.
    """
    pairs = style.pairs_of(fit)
    sheet = Sheet(models, len(pairs), 3.0)
    for axes, pair, rows in sheet.by_pair(pairs):
        bins, line = (rows[rows["kind"] == kind] for kind in ("bin", "line"))
        colour, marker = sheet.looks(pair[0])
        axes.grid(axis="y")
        axes.axhline(0, color=MUTED, linewidth=1, zorder=1)
        axes.axvline(0, color=MUTED, linewidth=1, linestyle=":", zorder=1)
        band = line["x"], line["gain_lo"], line["gain_hi"]
        axes.fill_between(*band, color=colour, alpha=0.15, linewidth=0)
        axes.plot(line["x"], line["gain"], color=colour, linewidth=1.8)
        sheet.intervals(axes, bins["x"], bins, "gain", color=colour, marker=marker)
        style.points_axis(axes.xaxis)
        axes.set_xlabel(f"rule: points above a guess, n = {bins['n'].sum():.0f}")
    style.points_axis(sheet.panels[0].yaxis)
    for axes in sheet.first_of_lines:
        axes.set_ylabel("gain over zero-shot, in points")
    sheet.keys_of_labels(fit["weak"])
    sheet.handles.append(Patch(label="95% band of the fitted line", color=MUTED, alpha=0.3))
    sheet.key("the rule knows nothing", color=MUTED, linestyle=":", linewidth=1)
    note = (
        "From left to right: the probability that a surface rule gives the right option. The rule "
        "reads only the options (length, negation, hedges, digits), never the question. A gain at "
        "the dotted line owes nothing to it; a model that only follows it gains nothing there. "
        "Marks: a fifth of the questions each, with 95% intervals."
    )
    return sheet.finish(note, banner)
