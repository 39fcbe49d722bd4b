"""Accuracy against demonstrations, and the share of the performance gap that labels recover."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from w2s_icl.analysis.figures import style
from w2s_icl.analysis.figures.style import INK, MUTED, PAPER, Sheet, styled
from w2s_icl.analysis.sentences import ratio

PGR_ROWS = {"pgr_zero": "zero-shot ceiling", "pgr_gold": "gold-label ceiling"}
"""Ratios from the top, and the accuracy of the prompted model that counts as 1."""

RANGE = (-0.5, 2.5)
_TICKS = {-0.5: "−0.5", 0: "weak  0", 0.5: "0.5", 1: "ceiling  1", 1.5: "1.5", 2: "2", 2.5: "2.5"}
_REASONS: Mapping[str, tuple[str, Any]] = {
    "gap_not_established": ("no ratio: gap not established", {"marker": "x"}),
    "gap_reversed": ("no ratio: gap reversed", {"marker": "s", "markerfacecolor": PAPER}),
    "incomplete": ("no ratio: a run is missing or incomplete", {"marker": "+"}),
}
_CHANCE: Any = {"color": MUTED, "linestyle": "-.", "linewidth": 1}
_ALONE: Any = {"linestyle": ":", "linewidth": 1.2}
_IGNORING: Any = {"marker": "_", "markersize": 15, "markeredgewidth": 2, "linestyle": ""}


@styled
def accuracy(
    curves: pd.DataFrame, models: Sequence[str], *, chance: float = np.nan, banner: str = ""
) -> Figure:
    """Accuracy against demonstrations: a panel per prompted model, a curve per source of labels.

    `curves` is of `tables.curves_table`. The values at the right end of curves and dotted lines
    stand beside the panels. `chance`, the accuracy of a guess, is drawn where it is in range.
    """
    shots, zero = sorted({0, *curves["shots"]}), curves["shots"] == 0
    shown = [m for m in models if (curves.loc[~zero, "model"] == m).any()] or list(models)
    sheet = Sheet(models, len(shown), 3.4)
    low = max(-0.02, curves["accuracy_lo"].min() - 0.03)
    high = min(1.015, curves["accuracy_hi"].max() + 0.03)
    for axes, model in zip(sheet.panels, shown, strict=True):
        there = (curves.loc[zero, "model"] == model).any()
        sheet.title(axes, f"prompted: {sheet.names[model]}")
        sheet.shot_axis(axes, shots, "" if there else "zero-shot run missing")
        axes.grid(axis="y")
        _curves(sheet, axes, curves, model, shots)
        if low < chance < high:
            axes.axhline(chance, zorder=1, **_CHANCE)
    sheet.panels[0].set_ylim(low, high)
    style.percent_axis(sheet.panels[0].yaxis)
    ylabel = f"accuracy in %, {style.n_text(curves['n'])} test questions"
    sheet.figure.supylabel(ylabel, fontsize=10)
    sheet.keys_of_labels(curves["weak"])
    gold: Any = {"marker": "D", "markerfacecolor": PAPER, "linestyle": style.DASHED}
    sheet.key("gold labels", (curves["labels"] == "gold").any(), color=INK, **gold)
    sheet.key("zero-shot: no demonstrations", zero.any(), color=INK, **style.HOLLOW)
    others = ((curves["weak"] != "") & (curves["weak"] != curves["model"])).any()
    sheet.key("zero-shot accuracy of that weak model", others, color=MUTED, **_ALONE)
    sheet.key(f"chance, {100 * chance:.1f}", low < chance < high, **_CHANCE)
    return sheet.finish(style.scope_text(curves), banner)


def _curves(sheet: Sheet, axes: Axes, curves: pd.DataFrame, model: str, shots: list[int]) -> None:
    """One prompted model; each weak model's zero-shot accuracy as a dotted line."""
    mine = curves[curves["model"] == model]
    zero = mine[mine["shots"] == 0]
    weak_models = [m for m in sheet.names if (mine["weak"] == m).any()]
    arms = [(mine[mine["weak"] == m], *sheet.looks(m), False) for m in weak_models]
    arms.append((mine[mine["labels"] == "gold"], INK, "D", True))
    step = min(0.13, 0.7 / len(arms))
    for i, (rows, colour, marker, gold) in enumerate(arms):
        x = np.arange(len(shots)) + step * (i - (len(arms) - 1) / 2)
        x[0] = 0
        rows = pd.concat([zero, rows]).set_index("shots").reindex([*shots])
        y = rows["accuracy"].to_numpy(dtype=float)
        dash, face = (style.DASHED, PAPER) if gold else ("-", colour)
        axes.plot(x, y, color=colour, linewidth=1.8, linestyle=dash, zorder=3)
        sheet.intervals(axes, x[1:], rows[1:], "accuracy", color=colour, marker=marker, mfc=face)
        if len(y) > 1 and not np.isnan(y[-1]):
            sheet.beside(axes, y[-1], f"{100 * y[-1]:.1f}", colour, bold=True)
    sheet.intervals(axes, np.zeros(len(zero)), zero, "accuracy", color=INK, **style.HOLLOW)
    for name in weak_models:
        alone = curves[(curves["model"] == name) & (curves["shots"] == 0)]["accuracy"]
        for value in alone if name != model else ():
            colour, _ = sheet.looks(name)
            axes.axhline(value, color=colour, zorder=1, **_ALONE)
            sheet.beside(axes, value, f"{100 * value:.1f}", colour)


@styled
def pgr(cells: pd.DataFrame, models: Sequence[str], *, banner: str = "") -> Figure:
    """The share of the gap that weak labels recover, under both ceilings; a column per pair.

    `cells` are rows of `tables.cells_table`, of different models with demonstrations.
    """
    pairs, shots = style.pairs_of(cells), sorted({*cells["shots"]})
    sheet = Sheet(models, len(pairs), 2.4, rows=2)
    sheet.limits = RANGE
    for i, (top, pair, rows) in enumerate(sheet.by_pair(pairs)):
        for definition, axes in zip(PGR_ROWS, sheet.panels[2 * i :], strict=False):
            sheet.shot_axis(axes, shots)
            at_shots = rows.set_index("shots").reindex(shots)
            _panel(sheet, axes, at_shots, definition, pair[0])
        top.set_xlabel("")
    for axes, ceiling in zip(sheet.first_of_lines, cycle(PGR_ROWS.values()), strict=False):
        axes.set_ylabel(f"PGR, {ceiling}", fontweight="bold", fontsize=9.5)
    sheet.panels[0].set_ylim(*RANGE)
    sheet.panels[0].set_yticks(list(_TICKS), list(_TICKS.values()))
    status = cells[[f"{definition}_status" for definition in PGR_ROWS]].to_numpy(dtype=str)
    fragile = cells[[f"{definition}_fragile" for definition in PGR_ROWS]].eq(True).any(axis=None)
    ignoring = cells["pgr_no_supervision"].notna().any()
    sheet.keys_of_labels(cells.loc[(status == "ok").any(axis=1), "weak"])
    sheet.key("hollow: gap below 3 standard errors", fragile, color=MUTED, **style.HOLLOW)
    sheet.key("the strong model's zero-shot accuracy", ignoring, color=MUTED, **_IGNORING)
    for reason, (text, mark) in _REASONS.items():
        sheet.key(text, (status == reason).any(), color=MUTED, linestyle="", **mark)
    note = (
        "PGR, performance gap recovered: 0 is the weak model's accuracy, 1 the ceiling: the "
        "strong model's accuracy zero-shot (top), or with gold labels for the same demonstrations "
        f"(bottom).\n{style.scope_text(cells)}"
    )
    return sheet.finish(note + " ▲▼: the interval leaves the figure." * sheet.cut, banner)


def _panel(sheet: Sheet, axes: Axes, rows: pd.DataFrame, definition: str, weak: str) -> None:
    """One pair under one ceiling."""
    colour, marker = sheet.looks(weak)
    axes.axhspan(0, 1, color=style.BAND, zorder=0, linewidth=0)
    for y in (0, 1):
        axes.axhline(y, color=MUTED, linewidth=1, zorder=1)
    status = rows[f"{definition}_status"].fillna("incomplete")
    ratios = rows.filter(regex=f"^{definition}(_lo|_hi)?$").astype(float).where(status == "ok")
    fragile = rows[f"{definition}_fragile"].eq(True).to_numpy()
    x = np.arange(len(rows), dtype=float)
    axes.plot(x, ratios[definition], color=colour, linewidth=1.8, zorder=3)
    how: Any = {"color": colour, "marker": marker, "markersize": 7}
    for part, face in ((~fragile, colour), (fragile, PAPER)):
        sheet.intervals(axes, x[part], ratios[part], definition, markerfacecolor=face, **how)
    if definition == "pgr_gold":
        axes.plot(x, rows["pgr_no_supervision"].astype(float), color=MUTED, zorder=2, **_IGNORING)
    for reason, (_, mark) in _REASONS.items():
        where = x[(status == reason).to_numpy()]
        axes.plot(where, np.full(len(where), RANGE[0] + 0.2), color=MUTED, ls="", **mark)
    if not np.isnan(last := ratios[definition].iloc[-1]):
        sheet.beside(axes, float(np.clip(last, *RANGE)), ratio(last), colour, bold=True)
