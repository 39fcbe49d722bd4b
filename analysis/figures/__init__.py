"""Figures. One function draws one panel, one lays panels out; the caller saves.

Encodings are the same everywhere: colour and marker say who wrote the labels, a panel is a prompted
model or a pair, gold labels are dashed ink with hollow diamonds, thin bars are 95% intervals. Every
figure function takes a table that holds just the numbers drawn, and the models in the order of
their zero-shot accuracy. A shot count that was not run leaves a gap.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator, PercentFormatter

INK = "#1c1f25"
MUTED = "#5b6571"
GRID = "#e3e6ea"
BAND = "#f1f3f5"
PAPER = "#ffffff"
RIGHT = "#187d5f"

LABEL_STYLE: tuple[tuple[str, str], ...] = (
    ("#0072b2", "o"),
    ("#c75000", "s"),
    ("#8a2a5b", "^"),
    ("#187d5e", "v"),
    ("#6a5acd", "P"),
    ("#8f6a00", "X"),
    ("#c2365f", "<"),
    ("#32788a", ">"),
)
"""Colour and marker of each model that labels, in the order of zero-shot accuracy."""

_DARK_LABELS = (
    *("#56b4e9", "#f0925a", "#d98cb8", "#4fc39f"),
    *("#a99df2", "#d3ae45", "#f2869f", "#7cc0d1"),
)

COLOURS: Mapping[str, tuple[str, str]] = {
    INK: ("ink", "#e8eaed"),
    MUTED: ("muted", "#a9b3bf"),
    GRID: ("grid", "#2e343c"),
    BAND: ("band", "#1f242b"),
    PAPER: ("paper", "#14171c"),
    RIGHT: ("right", "#4fc39e"),
    **{
        light: (f"label-{i}", dark)
        for i, ((light, _), dark) in enumerate(
            zip(
                LABEL_STYLE,
                _DARK_LABELS,
                strict=True,
            )
        )
    },
}
"""Each colour that follows the reader's theme: its name, and what it is on a dark page."""

DARK_TEXT, LIGHT_TEXT = "#1c1f26", "#fdfdfd"
"""On fills that are the same in both themes."""

MATCH_CLASSES: tuple[tuple[str, str, str, str], ...] = (
    ("match_both", "#c3cad3", "the answer of both, zero-shot", DARK_TEXT),
    ("match_strong", "#3b4f9e", "only its own zero-shot answer", LIGHT_TEXT),
    ("match_weak", "#c48812", "only the weak model's answer", DARK_TEXT),
    ("neither_right", "#187d60", "neither's, and right", LIGHT_TEXT),
    ("neither_wrong", PAPER, "neither's, and wrong or unreadable", INK),
)
"""Whose answer the prompted model gives: column, fill, words, colour of the number."""

FEW = 30
"""Below this denominator counts are printed, not percentages."""

WIDTH = 11.0
DODGE = 0.13
PGR_RANGE = (-0.5, 2.5)

STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.axisbelow": True,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "hatch.linewidth": 0.6,
    "svg.hashsalt": "w2s-icl",
    "svg.fonttype": "path",
}


# --- names ----------------------------------------------------------------------------------------


def display_name(model: str) -> str:
    """The telling part of a model's name.

    Example:
        >>> display_name("openrouter/meta-llama/llama-3.1-70b-instruct")
        'llama-3.1-70b'
        >>> display_name("simulated/small")
        'small'
    """
    return re.sub(r"-(?:instruct|chat|it)$", "", model.rsplit("/", 1)[-1])


def display_names(models: Sequence[str]) -> dict[str, str]:
    """Names for people, short, and different for different models.

    Example:
        >>> display_names(["hf/llama-8b", "hf/llama-8b-instruct", "hf/llama-70b-instruct"])
        {'hf/llama-8b': 'llama-8b', 'hf/llama-8b-instruct': 'llama-8b-instruct', \
'hf/llama-70b-instruct': 'llama-70b'}
        >>> display_names(["one/llama-8b", "two/llama-8b"])["two/llama-8b"]
        'two/llama-8b'
    """

    def shortened(name: str) -> str:
        return name if len(name) <= 22 else f"{name[:12]}…{name[-9:]}"

    forms: tuple[Callable[[str], str], ...] = (
        lambda m: shortened(display_name(m)),
        lambda m: shortened(m.rsplit("/", 1)[-1]),
        shortened,
        lambda m: m,
    )
    names = dict.fromkeys(models, "")
    left = list(names)
    for form in forms:
        found = [form(model) for model in left]
        names |= {m: name for m, name in zip(left, found, strict=True) if found.count(name) == 1}
        left = [m for m, name in zip(left, found, strict=True) if found.count(name) > 1]
    return names


def _arrow(weak: str, strong: str, names: Mapping[str, str]) -> tuple[str, str]:
    """A pair in words: who labels, and → who is prompted."""
    return names[weak], f"→ {'itself' if weak == strong else names[strong]}"


# --- accuracy -------------------------------------------------------------------------------------


def accuracy(
    curves: pd.DataFrame,
    models: Sequence[str],
    *,
    rules: pd.DataFrame | None = None,
    banner: str = "",
) -> Figure:
    """Accuracy against demonstrations, one panel per prompted model.

    Args:
        curves: As `tables.curves_table`: model, labels, weak, shots, n, scope, accuracy,
            accuracy_lo, accuracy_hi. Labels other than gold ones and those of `models` are for
            `arms`, and are left out.
        models: In the order of zero-shot accuracy.
        rules: As `tables.rules_table`: labels, shots, accuracy. The rule fitted on gold labels is
            drawn into every panel, for it knows no prompted model.
        banner: A warning to print into the figure.
    """
    known = curves["labels"].isin(["none", "gold", "weak"]) & curves["weak"].isin(["", *models])
    curves = curves[known]
    surface = pd.DataFrame(columns=["shots", "accuracy"])
    if rules is not None:
        surface = rules[(rules["labels"] == "gold") & rules["shots"].isin(set(curves["shots"]))]
    prompted = curves.loc[curves["shots"] > 0, "model"]
    shown = [m for m in models if (prompted == m).any()] or list(models)
    names = display_names(models)
    with mpl.rc_context(STYLE):
        # the rule starts near chance, far below the curves, which must stay apart
        figure, panels = _figure(len(shown), 4.2 if len(surface) else 3.5)
        shots = sorted({0, *(int(k) for k in curves["shots"])})
        for axes, model in zip(panels, shown, strict=True):
            accuracy_panel(curves, model, models, names, shots, axes)
            rule = surface.set_index("shots")["accuracy"].reindex(shots).to_numpy(dtype=float)
            axes.plot(np.arange(len(shots)), rule, color=MUTED, zorder=1.5, **_RULE)
            _shot_axis(axes, shots, room=28)
        values = curves[["accuracy_lo", "accuracy_hi"]].to_numpy(dtype=float)
        ends = np.append(values, surface["accuracy"].to_numpy(dtype=float))
        ends = ends[~np.isnan(ends)]
        low, high = (ends.min(), ends.max()) if len(ends) else (0.0, 1.0)
        panels[0].set_ylim(max(-0.02, low - 0.06), min(1.04, high + 0.04))
        panels[0].yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
        figure.supylabel(f"accuracy, {_n(curves['n'])} test questions", fontsize=10)
        _footnote(figure, _scope(curves), banner)
        labellers = [m for m in models if (curves["weak"] == m).any()]
        handles = _accuracy_legend(curves, labellers, models, names)
        if surface["accuracy"].notna().any():
            handles.append(_line(_RULE_TEXT, color=MUTED, **_RULE))
        _legend(figure, handles)
        _settle(figure)
        for axes, model in zip(panels, shown, strict=True):
            _zero_shot_labels(figure, axes, curves, model, models, names)
            last = surface.loc[surface["shots"] == shots[-1], "accuracy"].dropna()
            rule_ends = [(value, f"{100 * value:.1f}", MUTED) for value in last]
            labels = [*_ends(curves, model, models, shots), *rule_ends]
            _end_labels(figure, axes, labels, len(shots) - 0.6)
    return figure


def self_supervision(curves: pd.DataFrame, models: Sequence[str], *, banner: str = "") -> Figure:
    """Accuracy with a model's own labels beside gold ones; `curves` as in `accuracy`."""
    own = curves["weak"] == curves["model"]
    taught = set(curves.loc[own, "model"])
    part = curves[(own | (curves["weak"] == "")) & curves["model"].isin(taught)]
    return accuracy(part, models, banner=banner)


def accuracy_panel(
    curves: pd.DataFrame,
    model: str,
    models: Sequence[str],
    names: Mapping[str, str],
    shots: Sequence[int],
    axes: Axes,
) -> Axes:
    """One prompted model: a curve per labeller, the gold curve, labellers' zero-shot as lines."""
    _title(axes, "prompted:", names[model])
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    mine = curves[curves["model"] == model]
    zero = mine[mine["shots"] == 0]
    labellers = [m for m in models if (mine["weak"] == m).any()]
    offsets = _dodge(len(labellers) + 1)
    arms: list[tuple[pd.DataFrame, str, str, bool]] = [
        (mine[mine["labels"] == "gold"], INK, "D", True),
        *((mine[mine["weak"] == m], *_style(m, models), False) for m in labellers),
    ]
    for (rows, colour, marker, gold), offset in zip(
        arms, [offsets[-1], *offsets[:-1]], strict=True
    ):
        _curve(axes, pd.concat([zero, rows]), shots, offset, colour, marker, gold=gold)
    for name in labellers:
        if name != model:
            for value in _zero_shot(curves, name):
                colour = _style(name, models)[0]
                axes.axhline(value, color=colour, linewidth=1, linestyle=":", zorder=1)
    axes.vlines([0] * len(zero), zero["accuracy_lo"], zero["accuracy_hi"], color=INK, linewidth=1)
    axes.plot([0] * len(zero), zero["accuracy"], color=INK, zorder=5, **_HOLLOW)
    return axes


_HOLLOW: Any = {"marker": "o", "markersize": 7, "markerfacecolor": PAPER, "linestyle": ""}
_DASHED = (0, (5, 2))
_RULE: Any = {"linestyle": "-.", "linewidth": 1.1}
_RULE_TEXT = "surface rule fitted on gold labels, never sees the question"


def _curve(
    axes: Axes,
    rows: pd.DataFrame,
    shots: Sequence[int],
    offset: float,
    colour: str,
    marker: str,
    *,
    gold: bool,
) -> None:
    """Points with intervals, from the one zero-shot run on; a gap where nothing was run."""
    rows = rows.set_index("shots").reindex(list(shots))
    values, low, high = (
        rows[c].to_numpy(dtype=float) for c in ("accuracy", "accuracy_lo", "accuracy_hi")
    )
    x = np.arange(len(values)) + offset
    x[0] = 0
    axes.plot(x, values, color=colour, linewidth=1.8, linestyle=_DASHED if gold else "-", zorder=3)
    shown = ~np.isnan(values)
    shown[0] = False
    axes.vlines(x[shown], low[shown], high[shown], color=colour, linewidth=1, alpha=0.7, zorder=2)
    face = PAPER if gold else colour
    axes.plot(
        x[shown], values[shown], color=colour, marker=marker, markerfacecolor=face, ls="", zorder=4
    )


def _zero_shot(curves: pd.DataFrame, model: str) -> list[float]:
    rows = curves[(curves["model"] == model) & (curves["shots"] == 0)]
    return [float(v) for v in rows["accuracy"].dropna()]


def _zero_shot_labels(
    figure: Figure,
    axes: Axes,
    curves: pd.DataFrame,
    model: str,
    models: Sequence[str],
    names: Mapping[str, str],
) -> None:
    """Names of the dotted lines, below each; a crowd of them is left to the colours."""
    mine = set(curves.loc[curves["model"] == model, "weak"]) - {"", model}
    if len(mine) > 3:
        return
    labels = [
        (value, f"{names[name]} {100 * value:.1f}", _style(name, models)[0])
        for name in models
        if name in mine
        for value in _zero_shot(curves, name)
    ]
    step = _height(figure, axes, 11)
    low = [(value - 0.65 * step, text, colour) for value, text, colour in labels]
    _spread_labels(axes, low, axes.get_xlim()[0] + 0.05, step, fontsize=8.5)


def _ends(
    curves: pd.DataFrame, model: str, models: Sequence[str], shots: Sequence[int]
) -> list[tuple[float, str, str]]:
    """(height, text, colour) of the value at the largest shot count of each curve."""
    rows = curves[(curves["model"] == model) & (curves["shots"] == shots[-1])]
    return [
        (row["accuracy"], f"{100 * row['accuracy']:.1f}", colour)
        for row in rows[rows["shots"] > 0].dropna(subset="accuracy").to_dict("records")
        for colour in [_style(row["weak"], models)[0] if row["weak"] else INK]
    ]


def _accuracy_legend(
    curves: pd.DataFrame,
    labellers: Sequence[str],
    models: Sequence[str],
    names: Mapping[str, str],
) -> list[Line2D]:
    handles = []
    for name in labellers:
        colour, marker = _style(name, models)
        handles.append(_line(f"labels by {names[name]}", color=colour, marker=marker))
    if (curves["labels"] == "gold").any():
        gold: Any = {"marker": "D", "markerfacecolor": PAPER, "linestyle": _DASHED}
        handles.append(_line("gold labels", color=INK, **gold))
    handles.append(_line("no demonstrations", color=INK, **_HOLLOW))
    if ((curves["weak"] != "") & (curves["weak"] != curves["model"])).any():
        handles.append(_line("labeller's zero-shot", color=MUTED, linestyle=":", linewidth=1))
    return handles


# --- performance gap recovered --------------------------------------------------------------------

PGR_ROWS: Mapping[str, str] = {
    "pgr_zero": "PGR, zero-shot ceiling",
    "pgr_gold": "PGR, gold ceiling, same k",
}
_REASONS: Mapping[str, tuple[str, Any]] = {
    "gap_not_established": ("gap not established: no ratio", {"marker": "x"}),
    "gap_reversed": ("gap reversed: no ratio", {"marker": "s", "markerfacecolor": PAPER}),
    "incomplete": ("not run or incomplete", {"marker": "|"}),
}


def pgr(cells: pd.DataFrame, models: Sequence[str], *, banner: str = "") -> Figure:
    """The share of the gap that weak labels recover, under both ceilings, a column per pair.

    Args:
        cells: As `tables.cells_table`; rows of different models with demonstrations are drawn.
        models: In the order of zero-shot accuracy.
        banner: A warning to print into the figure.
    """
    cells = _of_models(cells, models)
    cells = cells[(cells["weak"] != cells["strong"]) & (cells["shots"] > 0)]
    pairs, names = _pairs(cells), display_names(models)
    shots = sorted({int(k) for k in cells["shots"]})
    with mpl.rc_context(STYLE):
        columns = _columns(len(pairs))
        blocks = -(-len(pairs) // columns)
        figure = _canvas(5.4 * blocks + 0.8)
        grid = figure.subplots(2 * blocks, columns, squeeze=False, sharey=True)
        for i, axes in enumerate(grid.ravel()):
            line, column = divmod(i, columns)
            block, which = divmod(line, 2)
            place = block * columns + column
            if place >= len(pairs):
                axes.remove()
                continue
            definition = list(PGR_ROWS)[which]
            pgr_panel(cells, pairs[place], definition, models, shots, axes)
            _shot_axis(axes, shots, room=30)
            if which == 0:
                _title(axes, *_arrow(*pairs[place], names))
                axes.set_xlabel("")
            if column == 0:
                axes.set_ylabel(PGR_ROWS[definition], fontweight="bold", fontsize=9.5)
        low, high = PGR_RANGE
        axes = grid[0, 0]
        axes.set_ylim(low, high)
        ticks = [-0.5, 0, 0.5, 1, 1.5, 2, 2.5]
        texts = ["−0.5", "weak  0", "0.5", "ceiling  1", "1.5", "2", "2.5"]
        axes.set_yticks(ticks, texts)
        _footnote(figure, f"{_scope(cells)}; ▲▼ the interval leaves the figure", banner)
        _legend(figure, _pgr_legend(cells, models, names))
        _settle(figure)
    return figure


def pgr_panel(
    cells: pd.DataFrame,
    pair: tuple[str, str],
    definition: str,
    models: Sequence[str],
    shots: Sequence[int],
    axes: Axes,
) -> Axes:
    """One pair under one ceiling. Columns: the ratio, its interval, status, fragile."""
    rows = _of_pair(cells, pair, shots)
    colour, marker = _style(pair[0], models)
    bottom, top = PGR_RANGE
    axes.axhspan(0, 1, color=BAND, zorder=0, linewidth=0)
    for y in (0, 1):
        axes.axhline(y, color=MUTED, linewidth=1, zorder=1)
    status = rows[f"{definition}_status"].fillna("incomplete")
    value, low, high = (
        rows[f"{definition}{end}"].where(status == "ok").to_numpy(dtype=float)
        for end in ("", "_lo", "_hi")
    )
    fragile = rows[f"{definition}_fragile"].eq(True).to_numpy()
    x = np.arange(len(shots), dtype=float)
    axes.plot(x, value, color=colour, linewidth=1.8, zorder=3)
    inside = (value >= bottom) & (value <= top)
    for points, face in ((inside & ~fragile, colour), (inside & fragile, PAPER)):
        axes.plot(
            x[points],
            value[points],
            color=colour,
            marker=marker,
            markersize=7,
            markerfacecolor=face,
            linestyle="",
            zorder=4,
        )
    axes.vlines(x, np.maximum(low, bottom), np.minimum(high, top), color=colour, lw=1, alpha=0.8)
    for beyond, edge, sign in ((high > top, top, "^"), (low < bottom, bottom, "v")):
        arrow: Any = {"color": colour, "marker": sign, "linestyle": "", "clip_on": False}
        if beyond.any():
            axes.plot(x[beyond], np.full(beyond.sum(), edge), **arrow)
    if definition == "pgr_gold":
        ignoring = rows["pgr_no_supervision"].to_numpy(dtype=float)
        axes.plot(x, ignoring, color=MUTED, marker="_", markersize=15, mew=2, linestyle="")
    for reason, (_, mark) in _REASONS.items():
        where = x[(status == reason).to_numpy()]
        axes.plot(where, np.full(len(where), bottom + 0.14), color=MUTED, ls="", **mark)
    if len(value) and not np.isnan(value[-1]):
        height = float(np.clip(value[-1], bottom + 0.12, top - 0.12))
        text = "over 10" if value[-1] > 10 else f"{value[-1]:.2f}".replace("-", "−")
        axes.text(
            x[-1] + 0.22, height, text, color=colour, fontsize=9, fontweight="bold", va="center"
        )
    return axes


def _pgr_legend(
    cells: pd.DataFrame, models: Sequence[str], names: Mapping[str, str]
) -> list[Line2D]:
    handles = []
    for name in models:
        if (cells["weak"] == name).any():
            colour, marker = _style(name, models)
            handles.append(_line(f"labels by {names[name]}", color=colour, marker=marker))
    seen = {str(s) for d in PGR_ROWS for s in cells[f"{d}_status"]}
    if any(cells[f"{d}_fragile"].eq(True).any() for d in PGR_ROWS):
        handles.append(_line("hollow: gap below 3 standard errors", color=MUTED, **_HOLLOW))
    if cells["pgr_no_supervision"].notna().any():
        mark: Any = {"marker": "_", "markersize": 15, "markeredgewidth": 2, "linestyle": ""}
        handles.append(_line("same model without labels", color=MUTED, **mark))
    for reason, (text, mark) in _REASONS.items():
        if reason in seen:
            handles.append(_line(text, color=MUTED, linestyle="", **mark))
    return handles


# --- arms -----------------------------------------------------------------------------------------

ARMS: Mapping[str, tuple[str, str]] = {
    "weak": ("labels by {weak}", ""),
    "gold": ("gold labels", "D"),
    "self": ("its own labels", ""),
    "noise_matched": ("gold with as many errors", "d"),
    "random": ("random labels", "*"),
    "flipped": ("wrong labels", "x"),
    "unlabelled": ("no labels", "|"),
    "majority": ("majority of labellers", "h"),
    "confident": ("only confident labels", ""),
}
"""Kinds of labels in the order drawn: what a reader calls them, and their marker; "" where a model
gave the labels, whose own marker stands for it."""

_PROMPTS: Mapping[str, str] = {
    "disclosure=source": "labeller named",
    "disclosure=accuracy": "its accuracy told",
    "cot=bare": "reasoning first",
    "cot=reasoning": "shown reasoning",
    "question=hidden": "question hidden",
}


def arm_text(arm: str, names: Mapping[str, str], weak: str = "the weak model") -> str:
    """An arm of `tables.arms_table` in words.

    Args:
        arm: As in the table.
        names: Of models, for people.
        weak: Who gave the weak labels.

    Example:
        >>> arm_text("noise_matched", {}), arm_text("weak disclosure=source", {}, "small")
        ('gold with as many errors', 'labels by small, labeller named')
        >>> arm_text("weak via hf/mid>hf/big cot=bare", {"hf/mid": "mid"})
        'labels by the weak model, via mid, big, reasoning first'
    """
    kind, _, rest = arm.partition(" ")
    text = {"zero_shot": "no demonstrations"}.get(kind) or (
        ARMS[kind][0].format(weak=weak) if kind in ARMS else kind.replace("_", " ")
    )
    parts = [text]
    for word, by in re.findall(r"(?:(via|of) )?(\S+)", rest):
        given = [names.get(model, display_name(model)) for model in re.split("[>,]", by)]
        parts.append(f"{word} {', '.join(given)}" if word else _PROMPTS.get(by, by))
    return ", ".join(parts)


def arms(
    arms: pd.DataFrame,
    models: Sequence[str],
    *,
    shots: int,
    planned: Iterable[str] = (),
    banner: str = "",
) -> Figure:
    """Gain over the strong model's zero-shot run, a panel per pair, a row per arm.

    Args:
        arms: As `tables.arms_table`: weak, strong, shots, arm, labels, giver, n, scope, gain,
            gain_lo, gain_hi.
        models: In the order of zero-shot accuracy.
        shots: Demonstrations in the prompt.
        planned: Arms that have a row even where they were not run.
        banner: A warning to print into the figure.
    """
    rows = at_shots(arms, shots)
    names = display_names(models)
    with mpl.rc_context(STYLE):
        figure, panels, order, room = _arm_panels(rows, names, 0.25, planned)
        limits = _gain_axis(panels, rows, ["gain"], room)
        for axes, pair in zip(panels, _pairs(rows), strict=True):
            mine = rows[(rows["weak"] == pair[0]) & (rows["strong"] == pair[1])]
            arms_panel(mine, order, models, limits, axes)
            axes.set_xlabel(f"points over zero-shot, n = {_n(mine['n'])}")
        _footnote(figure, _scope(rows) + _leaves(rows, ["gain"], limits), banner)
        _legend(figure, _arms_legend(rows, models, names))
        _settle(figure)
    return figure


def at_shots(table: pd.DataFrame, shots: int) -> pd.DataFrame:
    """Rows of pairs of two models at one shot count; a prompted zero-shot run joins its pairs."""
    pairs = table[(table["weak"] != "") & (table["weak"] != table["strong"])]
    pairs = pairs[pairs["shots"] == shots]
    zero = table[(table["weak"] == "") & (table["shots"] == 0)].drop(columns="weak")
    joined = pairs[["weak", "strong"]].drop_duplicates().merge(zero, on="strong")
    return pd.concat([pairs, joined[pairs.columns]]) if len(joined) else pairs


def arms_panel(
    rows: pd.DataFrame,
    order: Sequence[str],
    models: Sequence[str],
    limits: tuple[float, float],
    axes: Axes,
) -> Axes:
    """One pair, an arm of `order` per row from the top; the weak arm's interval as a band."""
    axes.axvline(0, color=MUTED, linewidth=1, zorder=1)
    found = {row["arm"]: row for row in rows.to_dict("records")}
    for height, arm in enumerate(order):
        row = found.get(arm)
        if row is None or np.isnan(row["gain"]):
            _row_end(axes, height, "not run" if row is None else "incomplete", MUTED)
            continue
        colour, marker, face = _arm_style(row, models)
        first = row["arm"] == "weak"
        if first:
            axes.axvspan(
                row["gain_lo"], row["gain_hi"], color=colour, alpha=0.12, linewidth=0, zorder=0
            )
        _interval(
            axes,
            row,
            "gain",
            height,
            limits,
            1.8 if first else 1.1,
            color=colour,
            marker=marker,
            markerfacecolor=face,
            markersize=8 if first or marker == "*" else 6.5,
        )
        _row_end(axes, height, _points_text(row["gain"]), colour, bold=first)
    return axes


def _arm_style(row: Mapping[Any, Any], models: Sequence[str]) -> tuple[str, str, str]:
    """Colour, marker and face of an arm: of the model that labelled, where there is one."""
    kind, _, rest = str(row["arm"]).partition(" ")
    if kind == "zero_shot":
        return INK, "o", PAPER
    marker = ARMS.get(kind, ("", "p"))[1]
    if kind == "gold":
        return INK, marker, PAPER
    giver = str(row["giver"]).rsplit(">", 1)[-1]
    if marker == "" and giver in models:
        colour, marker = _style(giver, models)
        return colour, marker, PAPER if rest or kind == "confident" else colour
    return MUTED, marker or "p", MUTED


def _arms_legend(
    rows: pd.DataFrame, models: Sequence[str], names: Mapping[str, str]
) -> list[Artist]:
    """Who gave the labels; what an arm is called stands beside its row."""
    styles = {_arm_style(row, models) for row in rows.to_dict("records")}
    handles: list[Artist] = []
    for name in models:
        colour, marker = _style(name, models)
        if colour in {style[0] for style in styles}:
            handles.append(
                _line(f"labels by {names[name]}", color=colour, marker=marker, linewidth=1.8)
            )
    if (INK, "D", PAPER) in styles:
        handles.append(
            _line("gold labels", color=INK, marker="D", markerfacecolor=PAPER, linewidth=1.1)
        )
    if MUTED in {style[0] for style in styles}:
        handles.append(_line("controls", color=MUTED, linewidth=1.1))
    if any(rows["arm"] == "weak"):
        handles.append(Patch(label="interval of the first row", color=MUTED, alpha=0.2, lw=0))
    return handles


RULE_SIDES: Mapping[str, tuple[str, str, str, str]] = {
    "right": (RIGHT, "o", RIGHT, "where the surface rule is right"),
    "wrong": (MUTED, "X", PAPER, "where it is wrong"),
}
"""Colour, marker, its face, and words for the questions that the rule has right, or wrong."""


def shortcut(
    shortcuts: pd.DataFrame, models: Sequence[str], *, shots: int, banner: str = ""
) -> Figure:
    """Gain over zero-shot where a rule that never sees the question is right, and where not.

    Args:
        shortcuts: As `tables.shortcuts_table`: weak, strong, shots, arm, rule, draws, right_n,
            wrong_n, gain_right, gain_wrong with _lo and _hi. Drawn is the rule fitted on the
            labels that the weak arm shows.
        models: In the order of zero-shot accuracy.
        shots: Demonstrations in the prompt.
        banner: A warning to print into the figure.
    """
    rows = at_shots(shortcuts[shortcuts["rule"] == "demonstrations"], shots)
    names = display_names(models)
    with mpl.rc_context(STYLE):
        figure, panels, order, room = _arm_panels(rows, names, 0.36)
        gains = [f"gain_{side}" for side in RULE_SIDES]
        limits = _gain_axis(panels, rows, gains, room)
        for axes, pair in zip(panels, _pairs(rows), strict=True):
            mine = rows[(rows["weak"] == pair[0]) & (rows["strong"] == pair[1])]
            shortcut_panel(mine, order, limits, axes)
            right, wrong = (_n(mine[f"{side}_n"].round()) for side in RULE_SIDES)
            axes.set_xlabel(f"points over zero-shot\nrule right: {right}, wrong: {wrong}")
        fixed = ", for these demonstrations only" if (rows["draws"] < 3).any() else ""
        _footnote(figure, f"bars: 95% intervals{fixed}{_leaves(rows, gains, limits)}", banner)
        _legend(
            figure,
            [
                _line(text, color=colour, marker=marker, markerfacecolor=face, linewidth=1.4)
                for colour, marker, face, text in RULE_SIDES.values()
            ],
        )
        _settle(figure)
    return figure


def shortcut_panel(
    rows: pd.DataFrame, order: Sequence[str], limits: tuple[float, float], axes: Axes
) -> Axes:
    """One pair, two intervals per arm: above where the rule is right, below where it is wrong."""
    axes.axvline(0, color=MUTED, linewidth=1, zorder=1)
    found = {row["arm"]: row for row in rows.to_dict("records")}
    for place, arm in enumerate(order):
        row = found.get(arm)
        if row is None:
            _row_end(axes, place, "not run", MUTED)
            continue
        for (side, (colour, marker, face, _)), shift in zip(
            RULE_SIDES.items(), (-0.19, 0.19), strict=True
        ):
            height = place + shift
            gain = row[f"gain_{side}"]
            if np.isnan(gain):
                _row_end(axes, height, "–", MUTED)
                continue
            style: Any = {"color": colour, "marker": marker, "markerfacecolor": face}
            _interval(axes, row, f"gain_{side}", height, limits, 1.4, **style)
            _row_end(axes, height, _points_text(gain), colour, bold=arm == "weak")
    return axes


def _interval(
    axes: Axes,
    row: Mapping[Any, Any],
    name: str,
    height: float,
    limits: tuple[float, float],
    linewidth: float,
    **style: Any,
) -> None:
    """A value with its interval, and an arrow where the interval goes on beyond the limits."""
    value, low, high = (row[f"{name}{end}"] for end in ("", "_lo", "_hi"))
    ends = np.clip([low, high], *limits)
    axes.hlines(height, *ends, color=style["color"], linewidth=linewidth)
    if limits[0] <= value <= limits[1]:
        axes.plot(value, height, linestyle="", zorder=4, **style)
    for beyond, edge, sign in (
        (low < limits[0], limits[0], "<"),
        (high > limits[1], limits[1], ">"),
    ):
        if beyond:
            axes.plot(edge, height, color=style["color"], marker=sign, linestyle="")


def _arm_panels(
    rows: pd.DataFrame, names: Mapping[str, str], each: float, planned: Iterable[str] = ()
) -> tuple[Figure, list[Axes], list[str], float]:
    """A panel per pair, with the same arms in the same rows, `each` inches high.

    Returns also the room that a value takes, as a share of the rest of a panel's width.
    """
    pairs, order = _pairs(rows), arm_order([*rows["arm"], *planned])
    figure, panels = _figure(len(pairs), each * len(order) + (0.85 if each < 0.3 else 1.2))
    givers = {weak for weak, _ in pairs}
    weak = names[givers.pop()] if len(givers) == 1 else "the weak model"
    texts = [arm_text(arm, names, weak) for arm in order]
    width = (72 * WIDTH - 5.8 * max(map(len, texts), default=0)) / _columns(len(pairs)) - 15
    for axes, pair in zip(panels, pairs, strict=True):
        _title(axes, *_arrow(*pair, names), width=width)
        axes.grid(axis="x", color=GRID, linewidth=0.8)
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0)
    if panels:
        panels[0].set_yticks(range(len(order)), texts)
        panels[0].set_ylim(len(order) - 0.5, -0.5)
    return figure, panels, order, 42 / (width - 42)


def arm_order(found: Iterable[str]) -> list[str]:
    """Arms without repetition: by kind as in `ARMS`, plain before prompted, unknown kinds last.

    Example:
        >>> arm_order(["mine", "random", "weak cot=bare", "gold", "weak", "zero_shot cot=bare"])
        ['weak', 'gold', 'random', 'mine', 'weak cot=bare', 'zero_shot cot=bare']
    """
    kinds = list(ARMS)

    def place(arm: str) -> tuple[bool, bool, int, str]:
        kind, _, rest = arm.partition(" ")
        known = kinds.index(kind) if kind in kinds else len(kinds)
        return kind == "zero_shot", bool(rest), known, arm

    return sorted(set(found), key=place)


def _gain_axis(
    panels: Sequence[Axes], rows: pd.DataFrame, names: Sequence[str], room: float
) -> tuple[float, float]:
    """One scale of points for all panels, and `room` of it behind for the values at the right end.

    Labels that are always wrong and hidden questions may be far off; the scale goes half its width
    towards them, no further. Returns its ends.
    """
    columns = [name + end for name in names for end in ("_lo", "_hi")]
    far = rows["arm"].str.contains("flipped|zero_shot|question=hidden")
    every, near = (_range(part[columns]) for part in (rows, rows[~far]))
    most = 0.5 * max(near[1] - near[0], 0.02)
    low, high = max(every[0], near[0] - most), min(every[1], near[1] + most)
    span = max(high - low, 0.02)
    for axes in panels:
        axes.set_xlim(low - 0.04 * span, high + span * room)
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        axes.xaxis.set_major_formatter(lambda value, _: _points_text(value, 0))
        axes.tick_params(labelbottom=True)
    return low, high


def _leaves(rows: pd.DataFrame, names: Sequence[str], limits: tuple[float, float]) -> str:
    low, high = _range(rows[[name + end for name in names for end in ("_lo", "_hi")]])
    return "; ◀▶ the interval leaves the figure" if low < limits[0] or high > limits[1] else ""


def _range(table: pd.DataFrame) -> tuple[float, float]:
    """From the smallest to the largest number, 0 among them."""
    found = np.append(table.to_numpy(dtype=float), 0)
    return float(np.nanmin(found)), float(np.nanmax(found))


def _row_end(axes: Axes, height: float, text: str, colour: str, *, bold: bool = False) -> None:
    axes.text(
        1,
        height,
        text,
        color=colour,
        fontsize=9,
        fontweight="bold" if bold else "normal",
        ha="right",
        va="center",
        transform=axes.get_yaxis_transform(),
    )


def _points_text(difference: float, digits: int = 1) -> str:
    """A difference of fractions in points, as "+7.5"."""
    text = f"{100 * difference:+.{digits}f}"
    return (text if float(text) else text[1:]).replace("-", "−")


# --- whose answer ---------------------------------------------------------------------------------


def matching(
    table: pd.DataFrame, models: Sequence[str], *, weak_wrong: bool = False, banner: str = ""
) -> Figure:
    """Whose answer the prompted model gives: a panel per pair, a stacked bar per shot count.

    Args:
        table: As `tables.matching_table`: weak, strong, shots, n, match_*, neither_*; with
            `weak_wrong` the columns `ww_*`.
        models: In the order of zero-shot accuracy.
        weak_wrong: Only the questions that the weak model has wrong.
        banner: A warning to print into the figure.
    """
    table = _of_models(table, models)
    prefix = "ww_" if weak_wrong else ""
    ylabel = "share, where weak is wrong" if weak_wrong else "share of questions"
    with mpl.rc_context(STYLE):
        figure, panels = _pair_panels(
            table, models, lambda rows, axes: matching_panel(rows, axes, prefix), ylabel, room=0
        )
        panels[0].set_ylim(0, 1)
        _footnote(figure, "mean over draws" if (table["draws"] > 1).any() else "", banner)
        _legend(
            figure,
            [
                Patch(label=text, **_fill(column, colour))
                for column, colour, text, _ in MATCH_CLASSES
            ],
            title="The prompted model's answer is …",
        )
        _settle(figure)
    return figure


def matching_panel(rows: pd.DataFrame, axes: Axes, prefix: str = "") -> Axes:
    """One pair; `rows` holds one row per shot count, in order, empty where it was not run."""
    n = rows[f"{prefix}n"].to_numpy(dtype=float)
    width, height = _points(axes)
    width *= 0.78 / (len(rows) + 0.2)
    bottom = np.zeros(len(rows))
    for column, colour, _, ink in MATCH_CLASSES:
        share = rows[f"{prefix}{column}"].to_numpy(dtype=float)
        axes.bar(np.arange(len(rows)), share, 0.78, bottom=bottom, **_fill(column, colour))
        for i, value in enumerate(share):
            few = n[i] < FEW
            text = f"{value * n[i]:.3g}" if few else f"{100 * value:.0f}"
            if value >= max(0.07, 11 / height) and 6.5 * len(text) < width:
                middle = bottom[i] + value / 2
                size = 9 if 7 * len(text) < width else 8
                ground = {"facecolor": PAPER, "edgecolor": "none", "pad": 0.6}
                axes.text(
                    i,
                    middle,
                    text,
                    ha="center",
                    va="center_baseline",
                    fontsize=size,
                    color=ink,
                    bbox=ground if column == "neither_wrong" else None,
                )
        bottom += np.nan_to_num(share)
    known = n[~np.isnan(rows[f"{prefix}match_both"].to_numpy(dtype=float))]
    few = len(known) and known.max() < FEW
    of = f"counts of {_n(known)}" if few else f"n = {_n(known)}"
    axes.set_xlabel(f"demonstrations, {of}" if len(known) else "not run")
    return axes


def _fill(column: str, colour: str) -> dict[str, Any]:
    if column == "neither_wrong":
        return {"facecolor": PAPER, "edgecolor": MUTED, "hatch": "////", "linewidth": 0.6}
    return {"facecolor": colour, "edgecolor": PAPER, "linewidth": 0.8}


def conditional(table: pd.DataFrame, models: Sequence[str], *, banner: str = "") -> Figure:
    """What weak labels fix and break, given the strong model's own zero-shot answer.

    Args:
        table: As `tables.matching_table`: weak, strong, shots, fix_rate, break_rate with _lo and
            _hi, fix_count, break_count, strong_wrong_n, strong_right_n.
        models: In the order of zero-shot accuracy.
        banner: A warning to print into the figure.
    """
    table = _of_models(table, models)
    with mpl.rc_context(STYLE):
        figure, panels = _pair_panels(
            table, models, conditional_panel, "share of those questions", room=60
        )
        highs = table[["fix_rate_hi", "break_rate_hi"]].to_numpy(dtype=float)
        top = 0.75 if not (highs > 0.75).any() else 1.0
        panels[0].set_ylim(-0.03, top + 0.02)
        panels[0].set_yticks(np.arange(0, top + 0.01, 0.25))
        draws = " (over draws where there are several)" if (table["draws"] > 1).any() else ""
        _footnote(figure, f"bars: 95% intervals{draws}", banner)
        _legend(
            figure,
            [
                _line(text, color=colour, marker=marker, linestyle=dash)
                for colour, marker, dash, text in _CONDITIONAL.values()
            ],
        )
        _settle(figure)
        for axes, rows in zip(panels, _by_pair(table), strict=True):
            last = rows.iloc[-1]
            ends = [
                (last[f"{kind}_rate"], _of(last, kind), colour)
                for kind, (colour, *_) in _CONDITIONAL.items()
                if not np.isnan(last[f"{kind}_rate"])
            ]
            _end_labels(figure, axes, ends, len(rows) - 1 + 0.42)
    return figure


_CONDITIONAL: Mapping[str, tuple[str, str, Any, str]] = {
    "fix": (RIGHT, "o", "-", "fixes: now right, of the questions it had wrong zero-shot"),
    "break": (MUTED, "X", _DASHED, "breaks: now wrong, of the questions it had right zero-shot"),
}


def conditional_panel(rows: pd.DataFrame, axes: Axes) -> Axes:
    """One pair; `rows` as in `matching_panel`."""
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    for (kind, (colour, marker, dash, _)), offset in zip(
        _CONDITIONAL.items(), (-0.06, 0.06), strict=True
    ):
        value, low, high = (
            rows[f"{kind}_rate{end}"].to_numpy(dtype=float) for end in ("", "_lo", "_hi")
        )
        x = np.arange(len(rows)) + offset
        axes.vlines(x, low, high, color=colour, linewidth=1, alpha=0.7)
        axes.plot(x, value, color=colour, marker=marker, linestyle=dash, linewidth=1.8)
    axes.set_xlabel("demonstrations")
    return axes


def _of(row: pd.Series[Any], kind: str) -> str:
    """As "42% of 45", or "5 of 11" where the denominator is small."""
    n = int(row["strong_wrong_n" if kind == "fix" else "strong_right_n"])
    count, rate = row[f"{kind}_count"], row[f"{kind}_rate"]
    return f"{count:.3g} of {n}" if n < FEW else f"{100 * rate:.0f}% of {n}"


# --- correlation ----------------------------------------------------------------------------------


def correlation(table: pd.DataFrame, models: Sequence[str], *, banner: str = "") -> Figure:
    """Phi of correctness with the strong and with the weak model's zero-shot run.

    Args:
        table: As `tables.matching_table`: weak, strong, shots, phi_strong, phi_weak.
        models: In the order of zero-shot accuracy.
        banner: A warning to print into the figure.
    """
    table = _of_models(table, models)
    pairs, names = _pairs(table), display_names(models)
    shots = sorted({int(k) for k in table["shots"]})
    with mpl.rc_context(STYLE):
        figure = _canvas(0.36 * len(pairs) + 1.5)
        left, right = figure.subplots(1, 2, sharey=True)
        heads = {"phi_strong": "φ with the prompted model", "phi_weak": "φ with the labeller"}
        for axes, (column, head) in zip((left, right), heads.items(), strict=True):
            axes.set_title(f"{head}, zero-shot")
            correlation_panel(table, pairs, shots, column, axes)
        left.set_yticks(range(len(pairs)), [" ".join(_arrow(*pair, names)) for pair in pairs])
        left.set_ylim(len(pairs) - 0.5, -0.5)
        _footnote(
            figure, "–: one of the two runs is all right or all wrong, or was not run", banner
        )
        _settle(figure)
    return figure


def correlation_panel(
    table: pd.DataFrame,
    pairs: Sequence[tuple[str, str]],
    shots: Sequence[int],
    column: str,
    axes: Axes,
) -> Axes:
    """A row per pair, a square per shot count; darker is closer to 1."""
    light, dark = np.array([232, 242, 246]), np.array([31, 107, 138])
    size = 9 if _points(axes)[0] / max(len(shots), 1) > 27 else 7
    for i, pair in enumerate(pairs):
        if column == "phi_weak" and pair[0] == pair[1]:
            axes.text(-0.4, i, "same model: see left", va="center", fontsize=9, color=MUTED)
            continue
        for j, phi in enumerate(_of_pair(table, pair, shots)[column].to_numpy(dtype=float)):
            known = not np.isnan(phi)
            shade = light + (dark - light) * np.clip(phi if known else 0, 0, 1)
            if known:
                colour = "#" + "".join(f"{round(v):02x}" for v in shade)
                box: Any = {"facecolor": colour, "edgecolor": "none"}
                axes.add_patch(Rectangle((j - 0.48, i - 0.45), 0.96, 0.9, **box))
            ink = MUTED if not known else LIGHT_TEXT if phi > 0.65 else DARK_TEXT
            text = f"{phi:.2f}".replace("-", "−") if known else "–"
            axes.text(j, i, text, ha="center", va="center", fontsize=size, color=ink)
    _shot_axis(axes, shots, room=0)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return axes


# --- laying out -----------------------------------------------------------------------------------


def _canvas(height: float) -> Figure:
    figure = Figure(figsize=(WIDTH, height), dpi=100, layout="constrained", facecolor=PAPER)
    FigureCanvasAgg(figure)
    return figure


def _columns(panels: int) -> int:
    """At most four in a line, lines about equally long."""
    return max(1, -(-panels // -(-panels // 4))) if panels else 1


def _figure(panels: int, height: float) -> tuple[Figure, list[Axes]]:
    columns = _columns(panels)
    lines = max(1, -(-panels // columns))
    figure = _canvas(height * lines + 0.9)
    grid = list(figure.subplots(lines, columns, sharey=True, squeeze=False).ravel())
    for axes in grid[panels:]:
        axes.remove()
    return figure, grid[:panels]


def _pair_panels(
    table: pd.DataFrame,
    models: Sequence[str],
    draw: Callable[[pd.DataFrame, Axes], Axes],
    ylabel: str,
    *,
    room: float,
) -> tuple[Figure, list[Axes]]:
    """A panel per pair: weak models down and strong ones across, or in lines where that is wide."""
    pairs, names = _pairs(table), display_names(models)
    shots = sorted({int(k) for k in table["shots"]})
    down = [m for m in models if any(m == w for w, _ in pairs)]
    across = [m for m in models if any(m == s for _, s in pairs)]
    if len(across) <= 4 and len(pairs) > len(across):
        figure = _canvas(2.5 * len(down) + 0.9)
        grid = figure.subplots(len(down), len(across), sharey=True, squeeze=False)
        panels = [grid[down.index(w), across.index(s)] for w, s in pairs]
        for axes in grid.ravel():
            if axes not in panels:
                axes.remove()
    else:
        figure, panels = _figure(len(pairs), 2.4)
    lines: set[int] = set()
    for axes, pair, rows in sorted(
        zip(panels, pairs, _by_pair(table), strict=True), key=lambda panel: _place(panel[0])
    ):
        if _place(axes)[0] not in lines:
            axes.set_ylabel(ylabel)
        lines.add(_place(axes)[0])
        _title(axes, *_arrow(*pair, names))
        axes.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
        axes.tick_params(labelleft=True)
        _shot_axis(axes, shots, room=room)
        draw(rows, axes)
    return figure, panels


def _place(axes: Axes) -> tuple[int, int]:
    """Line and column of a panel."""
    spec = axes.get_subplotspec()
    return (spec.rowspan.start, spec.colspan.start) if spec else (0, 0)


def _of_models(table: pd.DataFrame, models: Sequence[str]) -> pd.DataFrame:
    """Rows of plain weak labels; labels that went through several models are for `arms`."""
    return table[table["weak"].isin(models)]


def _pairs(table: pd.DataFrame) -> list[tuple[str, str]]:
    """In the order of the table, which is that of the models."""
    columns = table[["weak", "strong"]].drop_duplicates()
    return list(columns.itertuples(index=False, name=None))


def _of_pair(table: pd.DataFrame, pair: tuple[str, str], shots: Sequence[int]) -> pd.DataFrame:
    """One row per shot count, in order; empty where there is none."""
    rows = table[(table["weak"] == pair[0]) & (table["strong"] == pair[1])]
    return rows.set_index("shots").reindex(list(shots))


def _by_pair(table: pd.DataFrame) -> list[pd.DataFrame]:
    shots = sorted({int(k) for k in table["shots"]})
    return [_of_pair(table, pair, shots) for pair in _pairs(table)]


def _points(axes: Axes) -> tuple[float, float]:
    """Rough width and height of a panel before it is laid out, in points."""
    grid = axes.get_subplotspec()
    lines, columns = grid.get_gridspec().get_geometry() if grid else (1, 1)
    figure = axes.get_figure(root=True)
    width, height = figure.get_size_inches() if figure else (WIDTH, 3.0)
    return 72 * (width - 0.7) / columns - 32, 72 * (height - 0.9) / lines - 48


def _title(axes: Axes, first: str, second: str, *, width: float | None = None) -> None:
    """On one line where the panel has room for it; `width` in points."""
    line = f"{first} {second}"
    if len(line) * 6.8 <= (width or _points(axes)[0]):
        axes.set_title(line)
    else:
        axes.set_title(f"{first}\n{second}", fontsize=8.8)


def _shot_axis(axes: Axes, shots: Sequence[int], *, room: float) -> None:
    """Shots as equal steps, with `room` points to the right of the last one."""
    width = _points(axes)[0] - room
    each = width / max(len(shots), 1)
    wide = max((len(str(k)) for k in shots), default=1)
    size = 10 if each > 7 * wide + 4 else 8
    every = max(1, int(np.ceil((5.6 * wide + 4) / max(each, 1))))
    ticks = [i for i in range(len(shots)) if (len(shots) - 1 - i) % every == 0]
    axes.set_xticks(ticks, [str(shots[i]) for i in ticks], fontsize=size)
    axes.set_xlim(-0.6, len(shots) - 0.4 + room / max(each, 1))
    axes.set_xlabel("demonstrations in the prompt")


def _dodge(n: int) -> list[float]:
    step = min(DODGE, 0.7 / max(n - 1, 1))
    return [step * (i - (n - 1) / 2) for i in range(n)]


def _style(model: str, models: Sequence[str]) -> tuple[str, str]:
    return LABEL_STYLE[models.index(model) % len(LABEL_STYLE)]


def _line(label: str, **style: Any) -> Line2D:
    return Line2D([], [], label=label, **style)


def _legend(figure: Figure, handles: Sequence[Any], title: str | None = None) -> None:
    wide = max((len(str(h.get_label())) for h in handles), default=0)
    columns = max(1, min(len(handles), 5, int(72 * WIDTH / (5.6 * wide + 44))))
    legend = figure.legend(
        handles=handles, loc="outside upper left", ncols=columns, title=title, alignment="left"
    )
    legend.get_title().set_fontweight("bold")


def _settle(figure: Figure) -> None:
    """Lay the panels out, once: it is most of the work."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")


def _footnote(figure: Figure, text: str, banner: str) -> None:
    figure.supxlabel("\n".join(filter(None, (text, banner))), fontsize=9, color=MUTED)


def _scope(table: pd.DataFrame) -> str:
    fixed = (table.loc[table["shots"] > 0, "scope"] == "fixed_demos").any()
    return "bars: 95% intervals" + (", for these demonstrations only" if fixed else "")


def _n(counts: Iterable[float]) -> str:
    """As "200", or "190 to 200" where cells differ.

    Example:
        >>> _n([200, 190, 200])
        '190 to 200'
    """
    found = sorted({int(n) for n in counts if n == n and n > 0})
    return " to ".join(str(n) for n in dict.fromkeys((found[0], found[-1]))) if found else "no"


def _height(figure: Figure, axes: Axes, points: float) -> float:
    """So many points in the units of the y axis of a settled figure."""
    low, high = axes.get_ylim()
    return float(points * (high - low) / axes.get_window_extent().height * figure.dpi / 72)


def _end_labels(
    figure: Figure, axes: Axes, ends: Sequence[tuple[float, str, str]], x: float
) -> None:
    """Values at the right end, pushed apart so that none covers another."""
    if ends:
        _spread_labels(axes, ends, x, _height(figure, axes, 12.5), fontsize=9, fontweight="bold")


def _spread_labels(
    axes: Axes, labels: Sequence[tuple[float, str, str]], x: float, step: float, **style: Any
) -> None:
    low, high = axes.get_ylim()
    order = sorted(labels, key=lambda label: label[0])
    heights = spread([label[0] for label in order], step, low + step / 2, high - step / 2)
    for (_, text, colour), height in zip(order, heights, strict=True):
        axes.text(x, height, text, color=colour, va="center", **style)


def spread(wanted: Sequence[float], step: float, low: float, high: float) -> list[float]:
    """Heights at least `step` apart, near the `wanted` ones (ascending), from `low` on.

    Example:
        >>> spread([1.0, 1.0, 5.0], 2.0, 0.0, 10.0)
        [0.0, 2.0, 5.0]
    """
    placed: list[tuple[float, int]] = []  # centre and size of groups that stand side by side
    for height in wanted:
        centre, size = height, 1
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
