"""Accuracy against demonstrations."""

from __future__ import annotations

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
    curves: pd.DataFrame,
    models: Sequence[str],
    *,
    chance: float = np.nan,
    banner: str = "",
) -> Figure:
    """Accuracy against demonstrations: a panel per prompted model, a curve per source of labels.

    `curves` is of `tables.curves_table`; labels other than gold ones and those of `models` are left
    out. The values at the right end of curves and dotted lines stand beside the panels. `chance`,
    the accuracy of a guess, is drawn where it is in the range of the data.
    """
    known = curves["labels"].isin(["none", "gold", "weak"]) & curves["weak"].isin(["", *models])
    curves = curves[known]
    names, shots = style.display_names(models), sorted({0, *style.shots_of(curves)})
    prompted = set(curves.loc[curves["shots"] > 0, "model"])
    shown = [m for m in models if m in prompted] or list(models)
    sheet = Sheet.in_lines(len(shown), 3.4)
    for axes, model in zip(sheet.panels, shown, strict=True):
        sheet.title(axes, f"prompted: {names[model]}")
        zero = (curves["model"] == model) & (curves["shots"] == 0)
        sheet.shot_axis(axes, shots, "" if zero.any() else "zero-shot run missing")
        _panel(curves, model, models, shots, axes, sheet)
    ends = curves[["accuracy_lo", "accuracy_hi"]].to_numpy(dtype=float)
    low, high = (np.nanmin(ends), np.nanmax(ends)) if len(ends) else (0.0, 1.0)
    low, high = max(-0.02, low - 0.03), min(1.015, high + 0.03)
    sheet.panels[0].set_ylim(low, high)
    sheet.panels[0].yaxis.set_major_formatter(lambda value, _: f"{100 * value:g}")
    sheet.figure.supylabel(
        f"accuracy in %, {style.n_text(curves['n'])} test questions", fontsize=10
    )
    handles = []
    for name in [m for m in models if (curves["weak"] == m).any()]:
        colour, marker = style.style_of(name, models)
        handles.append(style.key(f"labels by {names[name]}", color=colour, marker=marker))
    if (curves["labels"] == "gold").any():
        gold: Any = {"marker": "D", "markerfacecolor": PAPER, "linestyle": style.DASHED}
        handles.append(style.key("gold labels", color=INK, **gold))
    if (curves["shots"] == 0).any():
        handles.append(style.key("zero-shot: no demonstrations", color=INK, **style.HOLLOW))
    if ((curves["weak"] != "") & (curves["weak"] != curves["model"])).any():
        handles.append(style.key("zero-shot accuracy of that weak model", color=MUTED, **_ALONE))
    if low < chance < high:
        handles.append(style.key(f"chance, {100 * chance:.1f}", **_CHANCE))
        for axes in sheet.panels:
            axes.axhline(chance, zorder=1, **_CHANCE)
    return sheet.finish(handles, style.scope_text(curves), banner)


def _panel(
    curves: pd.DataFrame,
    model: str,
    models: Sequence[str],
    shots: Sequence[int],
    axes: Axes,
    sheet: Sheet,
) -> None:
    """One prompted model; each weak model's zero-shot accuracy as a dotted line."""
    axes.grid(axis="y")
    mine = curves[curves["model"] == model]
    zero = mine[mine["shots"] == 0]
    weak_models = [m for m in models if (mine["weak"] == m).any()]
    arms = [(mine[mine["weak"] == m], *style.style_of(m, models), False) for m in weak_models]
    arms.append((mine[mine["labels"] == "gold"], INK, "D", True))
    step = min(0.13, 0.7 / len(arms))
    for i, (rows, colour, marker, gold) in enumerate(arms):
        x = np.arange(len(shots)) + step * (i - (len(arms) - 1) / 2)
        x[0] = 0
        rows = pd.concat([zero, rows]).set_index("shots").reindex(list(shots))
        y = rows["accuracy"].to_numpy(dtype=float)
        axes.plot(
            x, y, color=colour, linewidth=1.8, linestyle=style.DASHED if gold else "-", zorder=3
        )
        face = PAPER if gold else colour
        style.intervals(axes, x[1:], rows[1:], "accuracy", color=colour, marker=marker, mfc=face)
        if len(y) > 1 and not np.isnan(y[-1]):
            sheet.beside(axes, y[-1], f"{100 * y[-1]:.1f}", colour, bold=True)
    style.intervals(axes, np.zeros(len(zero)), zero, "accuracy", color=INK, **style.HOLLOW)
    for name in weak_models:
        alone = curves[(curves["model"] == name) & (curves["shots"] == 0)]["accuracy"]
        if name != model:
            for value in alone:
                colour, _ = style.style_of(name, models)
                axes.axhline(value, color=colour, zorder=1, **_ALONE)
                sheet.beside(axes, value, f"{100 * value:.1f}", colour)
