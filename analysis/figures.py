"""Figures. One function draws one panel, one lays panels out; the caller saves.

Encodings are the same everywhere: colour and marker say who wrote the labels, a panel is a prompted
model, gold labels are dashed ink with hollow diamonds, thin bars are 95% intervals.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

INK = "#1c1f25"
MUTED = "#5b6571"
GRID = "#e3e6ea"

LABEL_STYLE: tuple[tuple[str, str], ...] = (
    ("#0072b2", "o"),
    ("#c75000", "s"),
    ("#8a2a5b", "^"),
    ("#187d5f", "v"),
    ("#6a5acd", "P"),
    ("#a67c00", "X"),
    ("#d0517a", "<"),
    ("#3f7f93", ">"),
)
"""Colour and marker of each model that labels, in the order of zero-shot accuracy."""

WIDTH = 11.0
DODGE = 0.13

STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.axisbelow": True,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "legend.frameon": False,
    "svg.hashsalt": "w2s-icl",
    "svg.fonttype": "path",
}


def display_name(model: str) -> str:
    """The telling part of a model's name.

    Example:
        >>> display_name("openrouter/meta-llama/llama-3.1-70b-instruct")
        'llama-3.1-70b'
        >>> display_name("simulated/small")
        'small'
    """
    return re.sub(r"-(?:instruct|chat|it)$", "", model.rsplit("/", 1)[-1])


def accuracy(
    cells: pd.DataFrame, gold: pd.DataFrame, models: Sequence[str], *, banner: str = ""
) -> Figure:
    """Accuracy against demonstrations, one panel per prompted model.

    Args:
        cells: As `tables.cells_table`: weak, strong, shots, n, scope, acc_w2s, acc_w2s_lo, _hi.
        gold: As `tables.gold_table`: model, shots, accuracy, accuracy_lo, accuracy_hi.
        models: Names in the order of zero-shot accuracy.
        banner: A warning to print into the figure.
    """
    with mpl.rc_context(STYLE):
        columns = min(len(models), 4)
        lines = -(-len(models) // columns)
        figure = Figure(figsize=(WIDTH, 3.6 * lines + 0.9), dpi=100, layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(lines, columns, sharey=True, squeeze=False).ravel()
        shots = sorted({int(k) for k in [*cells["shots"], *gold["shots"], 0]})
        for axes, model in zip(panels, models, strict=False):
            accuracy_panel(cells, gold, model, models, shots, axes)
        for axes in panels[len(models) :]:
            axes.set_visible(False)
        values = pd.concat(
            [cells["acc_w2s_lo"], gold["accuracy_lo"], cells["acc_w2s_hi"], gold["accuracy_hi"]]
        ).dropna()
        low, high = (values.min(), values.max()) if len(values) else (0.0, 1.0)
        panels[0].set_ylim(max(0.0, low - 0.04), min(1.02, high + 0.04))
        n = sorted({int(v) for v in gold["n"]} | {int(v) for v in cells["n"]})
        asked = f"{n[-1]} test questions" if n else "test questions"
        figure.supylabel(f"accuracy, {asked}", fontsize=10)
        figure.supxlabel(_footnote(cells, banner), fontsize=9, color=MUTED)
        figure.legend(
            handles=(handles := _legend(models, [m for m in models if (cells["weak"] == m).any()])),
            loc="outside upper left",
            ncols=min(len(handles), 5),
            fontsize=9,
        )
        for axes, model in zip(panels, models, strict=False):
            _end_labels(figure, axes, _ends(cells, gold, model, models, shots))
    return figure


def accuracy_panel(
    cells: pd.DataFrame,
    gold: pd.DataFrame,
    model: str,
    models: Sequence[str],
    shots: Sequence[int],
    axes: Axes,
) -> Axes:
    """One prompted model: a curve per labeller, the gold curve, labellers' zero-shot as lines."""
    place = {k: i for i, k in enumerate(shots)}
    axes.set_title(f"prompted: {display_name(model)}")
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    axes.set_xticks(range(len(shots)), [str(k) for k in shots])
    axes.set_xlim(-0.4, len(shots) - 0.1 + 0.9)
    axes.set_xlabel("demonstrations in the prompt")
    mine = cells[cells["strong"] == model]
    weak = [m for m in models if (mine["weak"] == m).any()]
    offsets = _dodge(len(weak) + 1)
    own = gold[gold["model"] == model]
    _curve(axes, own, "accuracy", place, offsets[-1], color=INK, marker="D", gold=True)
    for name, offset in zip(weak, offsets, strict=False):
        colour, marker = LABEL_STYLE[models.index(name) % len(LABEL_STYLE)]
        rows = mine[mine["weak"] == name]
        _curve(axes, rows, "acc_w2s", place, offset, color=colour, marker=marker)
        if name != model:
            zero = gold[(gold["model"] == name) & (gold["shots"] == 0)]["accuracy"]
            for value in zero:
                axes.axhline(value, color=colour, linewidth=1, linestyle=":", zorder=1)
                axes.annotate(
                    f"{display_name(name)} zero-shot {100 * value:.1f}",
                    (axes.get_xlim()[0], value),
                    xytext=(4, -3),
                    textcoords="offset points",
                    color=colour,
                    fontsize=9,
                    va="top",
                )
    start = own[own["shots"] == 0]
    axes.vlines(
        [0] * len(start), start["accuracy_lo"], start["accuracy_hi"], color=INK, linewidth=1
    )
    axes.plot(
        [0] * len(start),
        start["accuracy"],
        color=INK,
        marker="o",
        markersize=7,
        markerfacecolor="white",
        linestyle="",
        zorder=5,
    )
    return axes


def _curve(
    axes: Axes,
    rows: pd.DataFrame,
    column: str,
    place: Mapping[int, int],
    offset: float,
    *,
    color: str,
    marker: str,
    gold: bool = False,
) -> None:
    """Points with intervals; the line stops where a shot count was not run."""
    rows = rows.set_index("shots").reindex(list(place))
    values = rows[column].to_numpy(dtype=float)
    low, high = (rows[f"{column}_{end}"].to_numpy(dtype=float) for end in ("lo", "hi"))
    x = np.arange(len(values)) + offset
    x[0] = 0  # all curves begin in the one zero-shot run
    axes.plot(
        x, values, color=color, linewidth=1.8, linestyle=(0, (5, 2)) if gold else "-", zorder=3
    )
    shown = ~np.isnan(values)
    shown[0] = False
    face = "white" if gold else color
    axes.vlines(x[shown], low[shown], high[shown], color=color, linewidth=1, alpha=0.7, zorder=2)
    axes.plot(
        x[shown],
        values[shown],
        color=color,
        marker=marker,
        markersize=6,
        markerfacecolor=face,
        linestyle="",
        zorder=4,
    )


def _dodge(n: int) -> list[float]:
    return [DODGE * (i - (n - 1) / 2) for i in range(n)]


def _ends(
    cells: pd.DataFrame,
    gold: pd.DataFrame,
    model: str,
    models: Sequence[str],
    shots: Sequence[int],
) -> list[tuple[float, str, str]]:
    """(height, text, colour) of the value at the largest shot count of each curve."""
    ends = []
    for name in models:
        rows = cells[(cells["strong"] == model) & (cells["weak"] == name)]
        value = rows[rows["shots"] == shots[-1]]["acc_w2s"].dropna()
        colour = LABEL_STYLE[models.index(name) % len(LABEL_STYLE)][0]
        ends += [(float(v), f"{100 * v:.1f}", colour) for v in value]
    own = gold[(gold["model"] == model) & (gold["shots"] == shots[-1])]["accuracy"]
    ends += [(float(v), f"{100 * v:.1f}", INK) for v in own if shots[-1] > 0]
    return ends


def _end_labels(figure: Figure, axes: Axes, ends: Sequence[tuple[float, str, str]]) -> None:
    """Values at the right end, pushed apart so that none covers another."""
    if not ends:
        return
    figure.draw_without_rendering()
    low, high = axes.get_ylim()
    step = 13 * (high - low) / axes.get_window_extent().height * figure.dpi / 72
    order = sorted(range(len(ends)), key=lambda i: ends[i][0])
    heights = spread([ends[i][0] for i in order], step, low + step / 2, high - step / 2)
    x = len(axes.get_xticks()) - 1 + 0.45
    for i, height in zip(order, heights, strict=True):
        _, text, colour = ends[i]
        axes.text(x, height, text, color=colour, fontsize=9, fontweight="bold", va="center")


def spread(wanted: Sequence[float], step: float, low: float, high: float) -> list[float]:
    """Heights at least `step` apart, near the `wanted` ones (ascending), from `low` on.

    Example:
        >>> spread([1.0, 1.0, 5.0], 2.0, 0.0, 10.0)
        [0.0, 2.0, 5.0]
    """
    groups = [[w] for w in wanted]
    placed: list[tuple[float, int]] = []  # centre and size
    for group in groups:
        centre, size = group[0], 1
        while placed and centre - size * step / 2 < placed[-1][0] + placed[-1][1] * step / 2:
            other, other_size = placed.pop()
            centre = (centre * size + other * other_size) / (size + other_size)
            size += other_size
        placed.append((centre, size))
    heights = [c + step * (i - (n - 1) / 2) for c, n in placed for i in range(n)]
    for i, height in enumerate(heights):
        heights[i] = max(height, low if i == 0 else heights[i - 1] + step)
    for i in reversed(range(len(heights))):
        last = i == len(heights) - 1
        heights[i] = min(heights[i], high if last else heights[i + 1] - step)
    return heights


def _legend(models: Sequence[str], weak: Sequence[str]) -> list[Line2D]:
    handles = [
        Line2D([], [], color=c, marker=m, label=f"labels by {display_name(name)}")
        for name in weak
        for c, m in [LABEL_STYLE[models.index(name) % len(LABEL_STYLE)]]
    ]
    return [
        *handles,
        Line2D(
            [],
            [],
            color=INK,
            marker="D",
            markerfacecolor="white",
            linestyle=(0, (5, 2)),
            label="gold labels",
        ),
        Line2D(
            [],
            [],
            color=INK,
            marker="o",
            markersize=7,
            markerfacecolor="white",
            linestyle="",
            label="no demonstrations",
        ),
    ]


def _footnote(cells: pd.DataFrame, banner: str) -> str:
    fixed = (cells["scope"] == "fixed_demos").any()
    text = "bars: 95% intervals" + (", for these demonstrations only" if fixed else "")
    return f"{text}\n{banner}" if banner else text


def save(figure: Figure, path: Path, table: pd.DataFrame) -> list[Path]:
    """Write a figure as PNG (200 dpi) and SVG, with its numbers as CSV of the same name.

    Args:
        figure: The figure.
        path: Without an ending.
        table: The numbers drawn.
    """
    with mpl.rc_context(STYLE):
        figure.savefig(path.with_suffix(".png"), dpi=200)
        figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})
    table.to_csv(path.with_suffix(".csv"), index=False)
    return [path.with_suffix(ending) for ending in (".png", ".svg", ".csv")]
