"""The share of the performance gap that weak labels recover."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from w2s_icl.analysis.figures import style
from w2s_icl.analysis.figures.style import MUTED, PAPER, Sheet, styled

PGR_ROWS: Mapping[str, str] = {
    "pgr_zero": "zero-shot ceiling",
    "pgr_gold": "gold-label ceiling",
}
"""Ratios from the top, and the accuracy of the prompted model that counts as 1."""

RANGE = (-0.5, 2.5)
_REASONS: Mapping[str, tuple[str, Any]] = {
    "gap_not_established": ("no ratio: gap not established", {"marker": "x"}),
    "gap_reversed": ("no ratio: gap reversed", {"marker": "s", "markerfacecolor": PAPER}),
    "incomplete": ("no ratio: a run is missing or incomplete", {"marker": "+"}),
}
_IGNORING: Any = {"marker": "_", "markersize": 15, "markeredgewidth": 2, "linestyle": ""}
_EXPLAINED = (
    "PGR, performance gap recovered: 0 is the weak model's accuracy, 1 the ceiling: the strong "
    "model's accuracy zero-shot (top), or with gold labels for the same demonstrations (bottom)."
)


@styled
def pgr(cells: pd.DataFrame, models: Sequence[str], *, banner: str = "") -> Figure:
    """The share of the gap that weak labels recover, under both ceilings; a column per pair.

    `cells` is of `tables.cells_table`; rows of different models with demonstrations are drawn.
    """
    cells = cells[cells["weak"].isin(models) & (cells["weak"] != cells["strong"])]
    cells = cells[cells["shots"] > 0]
    pairs, shots, names = style.pairs_of(cells), style.shots_of(cells), style.display_names(models)
    blocks = max(1, -(-len(pairs) // 4))
    columns = max(1, -(-len(pairs) // blocks))
    sheet = Sheet(2 * blocks, columns, 2.4)
    used, cut = [], False
    for i, pair in enumerate(pairs):
        for which, (definition, ceiling) in enumerate(PGR_ROWS.items()):
            axes = sheet.grid[2 * (i // columns) + which, i % columns]
            used.append(axes)
            sheet.shot_axis(axes, shots)
            cut |= _panel(
                style.of_pair(cells, pair, shots), definition, style.style_of(pair[0], models), axes
            )
            if which == 0:
                sheet.title(axes, style.arrow(pair, names))
                axes.set_xlabel("")
            if i % columns == 0:
                axes.set_ylabel(f"PGR, {ceiling}", fontweight="bold", fontsize=9.5)
            rows = cells[(cells["weak"] == pair[0]) & (cells["strong"] == pair[1])]
            last = rows[(rows["shots"] == shots[-1]) & (rows[f"{definition}_status"] == "ok")]
            for value in last[definition]:
                text = "over 10" if value > 10 else f"{value:.2f}".replace("-", "−")
                height = float(np.clip(value, *RANGE))
                sheet.beside(axes, height, text, style.style_of(pair[0], models)[0], bold=True)
    sheet.keep(used)
    if used:
        used[0].set_ylim(*RANGE)
        used[0].set_yticks(
            [-0.5, 0, 0.5, 1, 1.5, 2, 2.5],
            ["−0.5", "weak  0", "0.5", "ceiling  1", "1.5", "2", "2.5"],
        )
    arrows = " ▲▼: the interval leaves the figure." if cut else ""
    note = f"{_EXPLAINED}\n{style.scope_text(cells)}{arrows}"
    return sheet.finish(_handles(cells, models, names), note, banner)


def _panel(rows: pd.DataFrame, definition: str, labels: tuple[str, str], axes: Axes) -> bool:
    """One pair under one ceiling; whether an interval leaves the panel."""
    colour, marker = labels
    axes.axhspan(0, 1, color=style.BAND, zorder=0, linewidth=0)
    for y in (0, 1):
        axes.axhline(y, color=MUTED, linewidth=1, zorder=1)
    status = rows[f"{definition}_status"].fillna("incomplete")
    ratios = rows[[definition, f"{definition}_lo", f"{definition}_hi"]].astype(float)
    ratios = ratios.where(status == "ok")
    fragile = rows[f"{definition}_fragile"].eq(True).to_numpy()
    x = np.arange(len(rows), dtype=float)
    axes.plot(x, ratios[definition], color=colour, linewidth=1.8, zorder=3)
    how: Any = {"color": colour, "marker": marker, "markersize": 7, "limits": RANGE}
    cut = [
        style.intervals(axes, x[part], ratios[part], definition, markerfacecolor=face, **how)
        for part, face in ((~fragile, colour), (fragile, PAPER))
    ]
    if definition == "pgr_gold":
        axes.plot(x, rows["pgr_no_supervision"].astype(float), color=MUTED, zorder=2, **_IGNORING)
    for reason, (_, mark) in _REASONS.items():
        where = x[(status == reason).to_numpy()]
        axes.plot(where, np.full(len(where), RANGE[0] + 0.2), color=MUTED, ls="", **mark)
    return any(cut)


def _handles(cells: pd.DataFrame, models: Sequence[str], names: Mapping[str, str]) -> list[Any]:
    handles = []
    drawn = cells[cells["pgr_zero_status"].eq("ok") | cells["pgr_gold_status"].eq("ok")]
    for name in [m for m in models if (drawn["weak"] == m).any()]:
        colour, marker = style.style_of(name, models)
        handles.append(style.key(f"labels by {names[name]}", color=colour, marker=marker))
    if any(cells[f"{d}_fragile"].eq(True).any() for d in PGR_ROWS):
        handles.append(
            style.key("hollow: gap below 3 standard errors", color=MUTED, **style.HOLLOW)
        )
    if cells["pgr_no_supervision"].notna().any():
        handles.append(style.key("the strong model's zero-shot accuracy", color=MUTED, **_IGNORING))
    for reason, (text, mark) in _REASONS.items():
        if any(cells[f"{d}_status"].eq(reason).any() for d in PGR_ROWS):
            handles.append(style.key(text, color=MUTED, linestyle="", **mark))
    return handles
