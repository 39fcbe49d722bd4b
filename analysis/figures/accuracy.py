"""Accuracy against demonstrations."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from w2s_icl.analysis.figures import style
from w2s_icl.analysis.figures.style import INK, MUTED, PAPER, Sheet, styled

_CHANCE: Any = {"color": MUTED, "linestyle": "-.", "linewidth": 1}
_ALONE: Any = {"linestyle": ":", "linewidth": 1.2}


@styled
def accuracy(
    curves: pd.DataFrame, models: Sequence[str], *, chance: float = np.nan, banner: str = ""
) -> Figure:
    """Accuracy against demonstrations: a panel per prompted model, a curve per source of labels.

    `curves` is of `tables.curves_table`. The values at the right end of curves and dotted lines
    stand beside the panels. `chance`, the accuracy of a guess, is drawn where it is in the range of
    the data.
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


def _curves(
    sheet: Sheet, axes: Axes, curves: pd.DataFrame, model: str, shots: Sequence[int]
) -> None:
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
