"""Whose answers a model gives after weak labels, and what that fixes and breaks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.text import Text

from w2s_icl.analysis.figures import style
from w2s_icl.analysis.figures.style import INK, MUTED, PAPER, Sheet, styled
from w2s_icl.analysis.sentences import ratio

MATCH_CLASSES: tuple[tuple[str, str, str, str], ...] = (
    ("match_both", "#c3cad3", "the answer of both, zero-shot", style.DARK_TEXT),
    ("match_strong", "#3b4f9e", "only its own zero-shot answer", style.LIGHT_TEXT),
    ("match_weak", "#c48812", "only the weak model's answer", style.DARK_TEXT),
    ("neither_right", "#187d60", "neither's, and right", style.LIGHT_TEXT),
    ("neither_wrong", PAPER, "neither's, and wrong or unreadable", INK),
)
"""Whose answer the prompted model gives: column, fill, words, colour of the number."""

_CHANGES: Sequence[tuple[str, str, str, Any]] = (
    (
        "fix_rate",
        "strong_wrong_n",
        "fixes: now right, of the questions it had wrong zero-shot",
        {"color": style.RIGHT, "marker": "o", "linestyle": "-"},
    ),
    (
        "break_rate",
        "strong_right_n",
        "breaks: now wrong, of the questions it had right zero-shot",
        {"color": MUTED, "marker": "X", "linestyle": style.DASHED},
    ),
)
_NOTHING = "a run is missing or incomplete"
_PHI = (
    "φ, from −1 to 1: correlation, over questions, between being right after the demonstrations "
    "and being right zero-shot. 1: on the same questions. 0: unrelated."
)


@styled
def matching(
    table: pd.DataFrame, models: Sequence[str], *, weak_wrong: bool = False, banner: str = ""
) -> Figure:
    """Whose answer the prompted model gives: a panel per pair, a stacked bar per shot count.

    `table` is of `tables.matching_table`; with `weak_wrong` only the questions that the weak model
    has wrong are drawn.
    """
    prefix = "ww_" if weak_wrong else ""
    what = "% where weak is wrong" if weak_wrong else "% of questions"
    sheet, panels = _panels(table, models, what)
    inside: list[tuple[Text, Any]] = []
    for axes, rows in panels:
        known = rows.loc[rows[f"{prefix}match_both"].notna(), f"{prefix}n"]
        axes.set_xlabel(f"demonstrations, n = {style.n_text(known)}" if len(known) else _NOTHING)
        inside += _bars(rows, axes, prefix)
    sheet.panels[0].set_ylim(0, 1)
    for column, colour, text, _ in MATCH_CLASSES:
        if (table[f"{prefix}{column}"] > 0).any():
            sheet.handles.append(Patch(label=text, **_fill(colour)))
    note = "Mean over draws." if (table["draws"] > 1).any() else ""
    figure = sheet.finish(note, banner, "The prompted model's answer is …")
    for number, bar in inside:
        box, room = number.get_window_extent(), bar.get_window_extent()
        if box.width > room.width - 2 or box.height > room.height - 1:
            number.remove()
    return figure


def _bars(rows: pd.DataFrame, axes: Axes, prefix: str) -> list[tuple[Text, Any]]:
    """One pair; the numbers with the bars that they must fit into."""
    bottom, inside = np.zeros(len(rows)), []
    for column, colour, _, ink in MATCH_CLASSES:
        share = rows[f"{prefix}{column}"].to_numpy(dtype=float)
        bars = axes.bar(np.arange(len(rows)), share, 0.78, bottom, **_fill(colour))
        ground: Any = {"facecolor": PAPER, "edgecolor": "none", "pad": 0.6}
        for i in np.flatnonzero(share > 0).tolist():
            text = axes.text(
                i,
                bottom[i] + share[i] / 2,
                f"{100 * share[i]:.0f}",
                ha="center",
                va="center_baseline",
                fontsize=8.5,
                color=ink,
                bbox=ground if colour == PAPER else None,
            )
            inside.append((text, bars[i]))
        bottom += np.nan_to_num(share)
    return inside


def _fill(colour: str) -> dict[str, Any]:
    if colour == PAPER:
        return {"facecolor": PAPER, "edgecolor": MUTED, "hatch": "////", "linewidth": 0.6}
    return {"facecolor": colour, "edgecolor": PAPER, "linewidth": 0.8}


@styled
def conditional(table: pd.DataFrame, models: Sequence[str], *, banner: str = "") -> Figure:
    """What weak labels fix and break, given the strong model's zero-shot answer; as `matching`."""
    sheet, panels = _panels(table, models, "% of those questions")
    for axes, rows in panels:
        axes.grid(axis="y")
        if rows[["fix_rate", "break_rate"]].isna().all(axis=None):
            axes.set_xlabel(_NOTHING)
        for shift, (rate, of, _, how) in zip((-0.06, 0.06), _CHANGES, strict=True):
            x, rates = np.arange(len(rows)) + shift, rows[rate].to_numpy(dtype=float)
            axes.plot(x, rates, color=how["color"], linestyle=how["linestyle"], linewidth=1.8)
            sheet.intervals(axes, x, rows, rate, **how | {"linestyle": ""})
            if not np.isnan(rates[-1]):
                text = f"{100 * rates[-1]:.0f}% of {rows[of].iloc[-1]:.0f}"
                sheet.beside(axes, rates[-1], text, how["color"], bold=True)
    highest = np.nanmax([0.7, *table[["fix_rate_hi", "break_rate_hi"]].max()])
    sheet.panels[0].set_ylim(-0.03, min(1.03, highest + 0.05))
    for *_, text, how in _CHANGES:
        sheet.key(text, **how)
    draws = ", over draws and questions" if (table["draws"] > 1).any() else ""
    return sheet.finish(f"Bars: 95% intervals{draws}.", banner)


def _panels(
    table: pd.DataFrame, models: Sequence[str], ylabel: str
) -> tuple[Sheet, list[tuple[Axes, pd.DataFrame]]]:
    """A panel per pair, with its rows by shot count.

    Weak models go down and strong ones across, where that is not too wide.
    """
    pairs, shots = style.pairs_of(table), style.shots_of(table)
    keys = list(pairs)
    down = [m for m in models if any(m == weak for weak, _ in keys)]
    across = [m for m in models if any(m == strong for _, strong in keys)]
    layout = [[keys.index((w, s)) if (w, s) in pairs else "." for s in across] for w in down]
    wide = len(across) > 4 or len(pairs) <= len(across)
    sheet = Sheet(models, style.in_lines(len(pairs)) if wide else layout, 2.3)
    panels = [(axes, style.by_shots(rows, shots)) for axes, _, rows in sheet.by_pair(pairs)]
    for axes in sheet.panels:
        sheet.shot_axis(axes, shots)
    for axes in sheet.first_of_lines:
        axes.tick_params(labelleft=True)
        axes.set_ylabel(ylabel)
    style.percent_axis(sheet.panels[0].yaxis)
    return sheet, panels


@styled
def correlation(table: pd.DataFrame, models: Sequence[str], *, banner: str = "") -> Figure:
    """Phi of correctness with the strong and the weak model's zero-shot runs; as `matching`."""
    pairs, shots = style.pairs_of(table), style.shots_of(table)
    sheet = Sheet(models, [[0, 1]], 0.34 * len(pairs) + 0.7)
    shades = LinearSegmentedColormap.from_list("phi", ["#e8f2f6", "#1f6b8a"])
    texts, unknown = [], False
    for axes, which in zip(sheet.panels, ("strong", "weak"), strict=True):
        other = "prompted" if which == "strong" else "weak"
        sheet.title(axes, f"φ with the {other} model, zero-shot")
        sheet.shot_axis(axes, shots)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        itself = np.array([which == "weak" and weak == strong for weak, strong in pairs])
        columns = [style.by_shots(rows, shots)[f"phi_{which}"] for rows in pairs.values()]
        phi = np.array(columns, dtype=float)
        phi[itself] = np.nan
        edges = np.arange(len(shots) + 1) - 0.5, np.arange(len(pairs) + 1) - 0.5
        axes.pcolormesh(*edges, phi, cmap=shades, vmin=0, vmax=1, edgecolors=PAPER, lw=4)
        for i in np.flatnonzero(itself):
            axes.text(-0.4, i, "same model: see left", va="center", color=MUTED, fontsize=9)
        for (i, j), value in np.ndenumerate(phi):
            if itself[i]:
                continue
            unknown |= bool(np.isnan(value))
            ink = style.LIGHT_TEXT if value > 0.65 else style.DARK_TEXT
            how: Any = {"color": MUTED if np.isnan(value) else ink, "fontsize": 9}
            texts.append(axes.text(j, i, ratio(value), ha="center", va="center", **how))
    sheet.panels[0].set_yticks(range(len(pairs)), [style.arrow(p, sheet.names) for p in pairs])
    sheet.panels[0].set_ylim(len(pairs) - 0.5, -0.5)
    figure = sheet.finish(
        _PHI + (" –: a run is all right, all wrong or missing." if unknown else ""), banner
    )
    room = sheet.panels[0].get_window_extent().width / len(shots) - 8
    widest = max((text.get_window_extent().width for text in texts), default=0)
    for text in texts if widest > room else ():
        text.set_fontsize(9 * room / widest)
    return figure
