"""The share of the performance gap that weak labels recover."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from w2s_icl.analysis.figures import style
from w2s_icl.analysis.figures.style import MUTED, PAPER, Sheet, styled
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
_IGNORING: Any = {"marker": "_", "markersize": 15, "markeredgewidth": 2, "linestyle": ""}


@styled
def pgr(cells: pd.DataFrame, models: Sequence[str], *, banner: str = "") -> Figure:
    """The share of the gap that weak labels recover, under both ceilings; a column per pair.

    `cells` is of `tables.cells_table`; rows of different models with demonstrations are drawn.
    """
    cells = cells[(cells["weak"] != cells["strong"]) & (cells["shots"] > 0)]
    pairs, shots = style.pairs_of(cells), sorted({*cells["shots"]})
    sheet = Sheet(models, len(pairs), 2.4, rows=2)
    sheet.limits = RANGE
    for i, (top, pair, rows) in enumerate(sheet.by_pair(pairs)):
        for definition, axes in zip(PGR_ROWS, sheet.panels[2 * i :], strict=False):
            sheet.shot_axis(axes, shots)
            at_shots = rows.set_index("shots").reindex(shots)
            _panel(sheet, axes, at_shots, definition, *sheet.looks(pair[0]))
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


def _panel(
    sheet: Sheet, axes: Axes, rows: pd.DataFrame, definition: str, colour: str, marker: str
) -> None:
    """One pair under one ceiling."""
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
