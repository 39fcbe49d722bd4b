"""Whose answers a model gives after weak labels, what that fixes and breaks, and how it agrees."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.text import Text

from w2s_icl.analysis.figures import style
from w2s_icl.analysis.figures.style import INK, MUTED, PAPER, Sheet, styled
from w2s_icl.analysis.sentences import ratio

MATCH_CLASSES: tuple[tuple[str, str, str, str], ...] = (
    # fills, and the numbers on them, are the same in both themes: none is of `COLOURS`
    ("match_both", "#c3cad3", "the answer of both, zero-shot", "#1c1f26"),
    ("match_strong", "#3b4f9e", "only its own zero-shot answer", "#fdfdfd"),
    ("match_weak", "#c48812", "only the weak model's answer", "#1c1f26"),
    ("neither_right", "#187d60", "neither's, and right", "#fdfdfd"),
    ("neither_wrong", PAPER, "neither's, and wrong or unreadable", INK),
)
"""Whose answer the prompted model gives: column, fill, words, colour of the number."""

_NOTHING = "a run is missing or incomplete"


@styled
def matching(
    table: pd.DataFrame, models: Sequence[str], *, weak_wrong: bool = False, banner: str = ""
) -> Figure:
    """Whose answer the prompted model gives: a panel per pair, a stacked bar per shot count.

    With `weak_wrong` only the questions that the weak model has wrong are drawn.
    """
    prefix, of = ("ww_", "where weak is wrong") if weak_wrong else ("", "of questions")
    sheet, panels = _panels(table, models, f"% {of}")
    style.percent_axis(sheet.panels[0].yaxis)
    inside: list[tuple[Text, Any]] = []  # numbers, with the bars that they must fit into
    for axes, rows in panels:
        known = rows.loc[rows[f"{prefix}match_both"].notna(), f"{prefix}n"]
        axes.set_xlabel(f"demonstrations, n = {style.n_text(known)}" if len(known) else _NOTHING)
        bottom = np.zeros(len(rows))
        for column, colour, _, ink in MATCH_CLASSES:
            share = rows[f"{prefix}{column}"].to_numpy(dtype=float)
            bars = axes.bar(np.arange(len(rows)), share, 0.78, bottom, **_fill(colour))
            how: Any = {"ha": "center", "va": "center_baseline", "fontsize": 8.5, "color": ink}
            if colour == PAPER:
                how["bbox"] = {"facecolor": PAPER, "edgecolor": "none", "pad": 0.6}
            for i in np.flatnonzero(share > 0).tolist():
                number = axes.text(i, bottom[i] + share[i] / 2, f"{100 * share[i]:.0f}", **how)
                inside.append((number, bars[i]))
            bottom += np.nan_to_num(share)
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


def _fill(colour: str) -> dict[str, Any]:
    if colour == PAPER:
        return {"facecolor": PAPER, "edgecolor": MUTED, "hatch": "////", "linewidth": 0.6}
    return {"facecolor": colour, "edgecolor": PAPER, "linewidth": 0.8}


@styled
def conditional(table: pd.DataFrame, models: Sequence[str], *, banner: str = "") -> Figure:
    """What weak labels fix and break, given the strong model's zero-shot answer."""
    of = {"fix_rate": "strong_wrong_n", "break_rate": "strong_right_n"}
    words = {
        "fix_rate": "fixes: now right, of the questions it had wrong zero-shot",
        "break_rate": "breaks: now wrong, of the questions it had right zero-shot",
    }

    def text(row: Any, rate: str) -> str:
        return f"{100 * row[rate]:.0f}% of {row[of[rate]]:.0f}"

    sheet = _curves(table, models, words, "% of those questions", text)
    highest = np.nanmax([0.7, *table[["fix_rate_hi", "break_rate_hi"]].max()])
    sheet.panels[0].set_ylim(-0.03, min(1.03, highest + 0.05))
    style.percent_axis(sheet.panels[0].yaxis)
    draws = ", over draws and questions" if (table["draws"] > 1).any() else ""
    return sheet.finish(f"Bars: 95% intervals{draws}.", banner)


@styled
def correlation(table: pd.DataFrame, models: Sequence[str], *, banner: str = "") -> Figure:
    """Phi of correctness with the strong and the weak model's zero-shot runs."""
    words = {
        "phi_strong": "φ with the prompted model's zero-shot run",
        "phi_weak": "φ with the weak model's zero-shot run",
    }
    itself = table["weak"] == table["strong"]  # then both are one
    table = table.assign(**table.filter(like="phi_weak").mask(itself))
    sheet = _curves(table, models, words, "φ", lambda row, phi: ratio(row[phi]))
    lowest = np.nanmin([0, *table[["phi_strong_lo", "phi_weak_lo"]].min()])
    sheet.panels[0].set_ylim(lowest - 0.05, 1.05)
    note = (
        "φ, from −1 to 1: correlation, over questions, between being right after the "
        "demonstrations and being right zero-shot. 1: on the same questions. 0: unrelated. There "
        "is none where a run is all right or all wrong, changes when repeated, or is missing. "
        "Bars: 95% intervals."
    )
    return sheet.finish(note, banner)


def _curves(
    table: pd.DataFrame,
    models: Sequence[str],
    words: Mapping[str, str],
    ylabel: str,
    text: Callable[[Any, str], str],
) -> Sheet:
    """A panel per pair, a curve with intervals per column, and the `text` of its last value."""
    solid: Any = {"color": style.RIGHT, "marker": "o", "linestyle": "-"}
    dashed: Any = {"color": MUTED, "marker": "X", "linestyle": style.DASHED}
    sheet, panels = _panels(table, models, ylabel)
    for axes, rows in panels:
        axes.grid(axis="y")
        if rows[list(words)].isna().all(axis=None):
            axes.set_xlabel("no φ: see below" if ylabel == "φ" else _NOTHING)
        for shift, name, how in zip((-0.06, 0.06), words, (solid, dashed), strict=True):
            x, values = np.arange(len(rows)) + shift, rows[name].to_numpy(dtype=float)
            axes.plot(x, values, color=how["color"], linestyle=how["linestyle"], linewidth=1.8)
            sheet.intervals(axes, x, rows, name, **how | {"linestyle": ""})
            if not np.isnan(values[-1]):
                sheet.beside(axes, values[-1], text(rows.iloc[-1], name), how["color"], bold=True)
    for (name, label), how in zip(words.items(), (solid, dashed), strict=True):
        sheet.key(label, table[name].notna().any(), **how)
    return sheet


def _panels(table: pd.DataFrame, models: Sequence[str], ylabel: str) -> tuple[Sheet, list[Any]]:
    """A panel per pair, each `Axes` with its rows by shot count."""
    pairs, shots = style.pairs_of(table), sorted({*table["shots"]})
    sheet = Sheet(models, len(pairs), 2.3)
    panels = []
    for axes, _, rows in sheet.by_pair(pairs):
        sheet.shot_axis(axes, shots)
        panels.append((axes, rows.set_index("shots").reindex(shots)))
    for axes in sheet.first_of_lines:
        axes.set_ylabel(ylabel)
    return sheet, panels
