"""Whose answers a model gives after weak labels, and what that fixes and breaks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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

MATCH_CLASSES: tuple[tuple[str, str, str, str], ...] = (
    ("match_both", "#c3cad3", "the answer of both, zero-shot", style.DARK_TEXT),
    ("match_strong", "#3b4f9e", "only its own zero-shot answer", style.LIGHT_TEXT),
    ("match_weak", "#c48812", "only the weak model's answer", style.DARK_TEXT),
    ("neither_right", "#187d60", "neither's, and right", style.LIGHT_TEXT),
    ("neither_wrong", PAPER, "neither's, and wrong or unreadable", INK),
)
"""Whose answer the prompted model gives: column, fill, words, colour of the number."""

_CHANGES: Mapping[str, tuple[str, str, Any, str]] = {
    "fix": (style.RIGHT, "o", "-", "fixes: now right, of the questions it had wrong zero-shot"),
    "break": (
        MUTED,
        "X",
        style.DASHED,
        "breaks: now wrong, of the questions it had right zero-shot",
    ),
}
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
    table = table[table["weak"].isin(models)]
    prefix = "ww_" if weak_wrong else ""
    what = "% where weak is wrong" if weak_wrong else "% of questions"
    sheet, panels = _panels(table, models, what)
    inside: list[tuple[Text, Any]] = []
    for axes, rows in panels:
        known = rows.loc[rows[f"{prefix}match_both"].notna(), f"{prefix}n"]
        axes.set_xlabel(f"demonstrations, n = {style.n_text(known)}" if len(known) else _NOTHING)
        inside += _bars(rows, axes, prefix)
        axes.set_ylim(0, 1)
    columns = [f"{prefix}{column}" for column, *_ in MATCH_CLASSES]
    handles = [
        Patch(label=text, **_fill(column, colour))
        for drawn, (column, colour, text, _) in zip(columns, MATCH_CLASSES, strict=True)
        if (table[drawn] > 0).any()
    ]
    note = "Mean over draws." if (table["draws"] > 1).any() else ""
    figure = sheet.finish(handles, note, banner, "The prompted model's answer is …")
    for text, bar in inside:
        box, room = text.get_window_extent(), bar.get_window_extent()
        if box.width > room.width - 2 or box.height > room.height - 1:
            text.remove()
    return figure


def _bars(rows: pd.DataFrame, axes: Axes, prefix: str) -> list[tuple[Text, Any]]:
    """One pair; the numbers with the bars that they must fit into."""
    bottom, inside = np.zeros(len(rows)), []
    for column, colour, _, ink in MATCH_CLASSES:
        share = rows[f"{prefix}{column}"].to_numpy(dtype=float)
        bars = axes.bar(np.arange(len(rows)), share, 0.78, bottom, **_fill(column, colour))
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
                bbox=ground if column == "neither_wrong" else None,
            )
            inside.append((text, bars[i]))
        bottom += np.nan_to_num(share)
    return inside


def _fill(column: str, colour: str) -> dict[str, Any]:
    if column == "neither_wrong":
        return {"facecolor": PAPER, "edgecolor": MUTED, "hatch": "////", "linewidth": 0.6}
    return {"facecolor": colour, "edgecolor": PAPER, "linewidth": 0.8}


@styled
def conditional(table: pd.DataFrame, models: Sequence[str], *, banner: str = "") -> Figure:
    """What weak labels fix and break, given the strong model's zero-shot answer; as `matching`."""
    table = table[table["weak"].isin(models)]
    sheet, panels = _panels(table, models, "% of those questions")
    for axes, rows in panels:
        axes.grid(axis="y")
        if rows["fix_rate"].isna().all() and rows["break_rate"].isna().all():
            axes.set_xlabel(_NOTHING)
        for shift, (kind, (colour, marker, dash, _)) in zip(
            (-0.06, 0.06), _CHANGES.items(), strict=True
        ):
            x, rates = np.arange(len(rows)) + shift, rows[f"{kind}_rate"].to_numpy(dtype=float)
            axes.plot(x, rates, color=colour, linestyle=dash, linewidth=1.8)
            style.intervals(axes, x, rows, f"{kind}_rate", color=colour, marker=marker)
            of = rows["strong_wrong_n" if kind == "fix" else "strong_right_n"].iloc[-1]
            if not np.isnan(rates[-1]):
                text = f"{100 * rates[-1]:.0f}% of {of:.0f}"
                sheet.beside(axes, rates[-1], text, colour, bold=True)
        highest = np.nanmax([0.7, *table[["fix_rate_hi", "break_rate_hi"]].max()])
        axes.set_ylim(-0.03, min(1.03, highest + 0.05))
    handles = [
        style.key(text, color=colour, marker=marker, linestyle=dash)
        for colour, marker, dash, text in _CHANGES.values()
    ]
    draws = ", over draws and questions" if (table["draws"] > 1).any() else ""
    return sheet.finish(handles, f"Bars: 95% style.intervals{draws}.", banner)


def _panels(
    table: pd.DataFrame, models: Sequence[str], ylabel: str
) -> tuple[Sheet, list[tuple[Axes, pd.DataFrame]]]:
    """A panel per pair, with its rows by shot count."""
    pairs, shots, names = style.pairs_of(table), style.shots_of(table), style.display_names(models)
    sheet = Sheet.of_pairs(pairs, models, 2.3)
    for axes, pair in zip(sheet.panels, pairs, strict=True):
        sheet.title(axes, style.arrow(pair, names))
        sheet.shot_axis(axes, shots)
        axes.tick_params(labelleft=False)
    for axes in sheet.first_of_lines():
        axes.tick_params(labelleft=True)
        axes.set_ylabel(ylabel)
        axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g}")
    rows = [style.of_pair(table, pair, shots) for pair in pairs]
    return sheet, list(zip(sheet.panels, rows, strict=True))


@styled
def correlation(table: pd.DataFrame, models: Sequence[str], *, banner: str = "") -> Figure:
    """Phi of correctness with the strong and the weak model's zero-shot runs; as `matching`."""
    table = table[table["weak"].isin(models)]
    pairs, shots, names = style.pairs_of(table), style.shots_of(table), style.display_names(models)
    heads = {"phi_strong": "φ with the prompted model", "phi_weak": "φ with the weak model"}
    sheet = Sheet(1, 2, 0.34 * len(pairs) + 0.7)
    shades = LinearSegmentedColormap.from_list("phi", ["#e8f2f6", "#1f6b8a"])
    texts, unknown = [], False
    for axes, (column, head) in zip(sheet.panels, heads.items(), strict=True):
        sheet.title(axes, f"{head}, zero-shot")
        sheet.shot_axis(axes, shots)
        phi = np.array([style.of_pair(table, pair, shots)[column] for pair in pairs], dtype=float)
        phi = phi.reshape(len(pairs), len(shots))
        if column == "phi_weak":
            phi[[weak == strong for weak, strong in pairs]] = np.nan
        edges = np.arange(len(shots) + 1) - 0.5, np.arange(len(pairs) + 1) - 0.5
        if phi.size:
            axes.pcolormesh(*edges, phi, cmap=shades, vmin=0, vmax=1, edgecolors=PAPER, lw=4)
        for (i, j), value in np.ndenumerate(phi):
            weak, strong = pairs[i]
            if column == "phi_weak" and weak == strong:
                if j == 0:
                    text = axes.text(-0.4, i, "same model: see left", va="center", color=MUTED)
                    text.set_fontsize(9)
                continue
            known = not np.isnan(value)
            unknown |= not known
            ink = MUTED if not known else style.LIGHT_TEXT if value > 0.65 else style.DARK_TEXT
            text = f"{value:.2f}".replace("-", "−") if known else "–"
            texts.append(axes.text(j, i, text, ha="center", va="center", fontsize=9, color=ink))
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    sheet.panels[0].set_yticks(range(len(pairs)), [style.arrow(pair, names) for pair in pairs])
    sheet.panels[0].set_ylim(len(pairs) - 0.5, -0.5)
    reason = " –: a run is all right, all wrong or missing." if unknown else ""
    figure = sheet.finish([], _PHI + reason, banner)
    room = sheet.panels[0].get_window_extent().width / max(len(shots), 1) - 8
    widest = max((text.get_window_extent().width for text in texts), default=0)
    for text in texts if widest > room else ():
        text.set_fontsize(9 * room / widest)
    return figure
