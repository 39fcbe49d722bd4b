"""Differences of accuracy between log directories, a row per arm."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from w2s_icl.analysis.figures import style
from w2s_icl.analysis.figures.style import INK, MUTED, Sheet, styled
from w2s_icl.analysis.sentences import points


@styled
def differences(table: pd.DataFrame, *, banner: str = "") -> Figure:
    """Second minus first: a panel per later directory, a row per arm.

    `table` has columns second, arm, n, scope, shots, diff, lo and hi, and a row for each pair of
    directories and arm that was compared.
    """
    arms = list(dict.fromkeys(table["arm"]))
    seconds = list(dict.fromkeys(table["second"]))
    sheet = Sheet([], style.in_lines(len(seconds)), 0.25 * len(arms) + 0.85)
    drawn = table.rename(columns={"lo": "diff_lo", "hi": "diff_hi"}).set_index("arm")
    for axes, second in zip(sheet.panels, seconds, strict=True):
        rows = drawn[drawn["second"] == second]
        sheet.title(axes, f"{second} minus {table['first'].iloc[0]}")
        axes.set_xlabel(f"points, n = {style.n_text(rows['n'])}")
        style.points_axis(axes.xaxis)
        axes.grid(axis="x")
        axes.axvline(0, color=MUTED, linewidth=1, zorder=1)
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0)
        at = [arms.index(arm) for arm in rows.index]
        how: Any = {"color": INK, "marker": "o", "markersize": 6}
        sheet.intervals(axes, at, rows, "diff", across=True, **how)
        for height, gain in zip(at, rows["diff"], strict=True):
            sheet.beside(axes, height, points(gain), INK)
    sheet.panels[0].set_yticks(range(len(arms)), arms)
    sheet.panels[0].set_ylim(len(arms) - 0.5, -0.5)
    return sheet.finish(style.scope_text(table), banner)
