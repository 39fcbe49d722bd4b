"""What all figures share: colours, the layout of panels, and labels that keep clear of the data.

Encodings are the same everywhere: colour and marker say who wrote the labels, a panel is a prompted
model or a pair, gold labels are dashed ink with hollow diamonds, thin bars are 95% intervals.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Annotation, Text
from numpy.typing import ArrayLike
from scipy.optimize import isotonic_regression

from w2s_icl.analysis.sentences import points
from w2s_icl.words import fitted, printable

INK, MUTED, GRID, BAND = "#1c1f25", "#5b6571", "#e3e6ea", "#f1f3f5"
PAPER, RIGHT = "#ffffff", "#187d5f"
DASHED = (0, (5, 2))
HOLLOW: Any = {"marker": "o", "markersize": 7, "markerfacecolor": PAPER, "linestyle": ""}

LABEL_STYLE: tuple[tuple[str, str, str], ...] = (
    ("#0072b2", "#56b4e9", "o"),
    ("#c75000", "#f0925a", "s"),
    ("#8a2a5b", "#d98cb8", "^"),
    ("#187d5e", "#4fc39f", "v"),
    ("#6a5acd", "#a99df2", "P"),
    ("#8f6a00", "#d3ae45", "X"),
    ("#c2365f", "#f2869f", "<"),
    ("#32788a", "#7cc0d1", ">"),
)
"""Of each model that writes labels, in the models' order: colour, colour on a dark page, marker."""

COLOURS: Mapping[str, tuple[str, str]] = {
    INK: ("ink", "#e8eaed"),
    MUTED: ("muted", "#a9b3bf"),
    GRID: ("grid", "#2e343c"),
    BAND: ("band", "#1f242b"),
    PAPER: ("paper", "#14171c"),
    RIGHT: ("right", "#4fc39e"),
    **{light: (f"label-{i}", dark) for i, (light, dark, _) in enumerate(LABEL_STYLE)},
}
"""Each colour that follows the reader's theme: its name, and what it is on a dark page."""

STYLE: Any = {
    "font.family": "DejaVu Sans",
    "text.parse_math": False,  # a model may be called "$a_b$"
    **dict.fromkeys(("axes.spines.top", "axes.spines.right", "legend.frameon"), False),
    **dict.fromkeys(("axes.labelcolor", "xtick.color", "ytick.color", "text.color"), INK),
    "axes.edgecolor": MUTED,
    "axes.axisbelow": True,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "grid.color": GRID,
    "legend.fontsize": 9,
    "hatch.linewidth": 0.6,
    "svg.hashsalt": "w2s-icl",
    "svg.fonttype": "path",
}

styled = mpl.rc_context(STYLE)
"""Decorator: draw a figure in the house style."""


def shortened(text: str, most: int = 22) -> str:
    """A text on one line, its middle left out where it is too long."""
    return fitted(" ".join("".join(c if c.isprintable() else " " for c in text).split()), most)


def display_names(models: Sequence[str]) -> dict[str, str]:
    """Names for people: short, and different for different models.

    Example:
        >>> display_names(["hf/llama-8b-it", "hf/llama-8b", "a/yi-6b-it"])
        {'hf/llama-8b-it': 'llama-8b-it', 'hf/llama-8b': 'llama-8b', 'a/yi-6b-it': 'yi-6b'}
    """
    forms: tuple[Callable[[str], str], ...] = (
        lambda m: shortened(re.sub(r"-(?:instruct|chat|it)$", "", m.rsplit("/", 1)[-1])),
        lambda m: shortened(m.rsplit("/", 1)[-1]),
        shortened,
        lambda m: f"{shortened(m, 18)} #{models.index(m) + 1}",
    )
    names: dict[str, str] = {}
    for form in forms:
        texts = {model: form(model) for model in models if model not in names}
        times = Counter([*texts.values(), *names.values()])
        names |= {model: text for model, text in texts.items() if times[text] == 1}
    return {model: names[model] for model in models}


def arrow(pair: tuple[str, str], names: Mapping[str, str]) -> str:
    """A pair in words: who writes the labels → who is prompted."""
    weak, strong = pair
    return f"{names[weak]} → {'itself' if weak == strong else names[strong]}"


def points_axis(axis: Axis) -> None:
    """Label an axis of differences in percentage points."""
    axis.set_major_formatter(lambda value, _: points(value).removesuffix(".0"))


def percent_axis(axis: Axis) -> None:
    """Label an axis of fractions in percent."""
    axis.set_major_formatter(lambda value, _: f"{100 * value:g}")


def n_text(counts: Iterable[float]) -> str:
    """How many questions, as "200", or "190 to 200" where cells differ."""
    known = sorted({int(n) for n in counts if n > 0})
    return " to ".join(map(str, known[:: max(1, len(known) - 1)])) or "no"


def scope_text(table: pd.DataFrame) -> str:
    """What the bars of a figure are; `table` has `scope` and `shots`."""
    fixed = (table.loc[table["shots"] > 0, "scope"] == "fixed_demos").any()
    return "Bars: 95% intervals" + (", for these demonstrations only." if fixed else ".")


def pairs_of(table: pd.DataFrame) -> dict[Any, pd.DataFrame]:
    """Rows by (weak, strong), in the order of the table, which is that of the models."""
    return dict(iter(table.groupby(["weak", "strong"], sort=False)))


class Sheet:
    """A figure of equal panels that share the y axis, 11 inches wide.

    Texts are placed after the panels are laid out, from their measured sizes. Texts beside a panel
    stand right of it, outside the data, and are pushed apart.
    """

    def __init__(self, models: Sequence[str], blocks: int, height: float, *, rows: int = 1) -> None:
        """Lay out blocks of `rows` panels, at most four in a line, lines about equally long.

        `models` are all that write labels or are prompted, in their order. A panel is `height`
        inches high. `panels` has those of a block side by side, from the top.
        """
        lines = -(-blocks // 4)
        columns = -(-blocks // lines)
        size = (11.0, height * lines * rows + 0.9)
        self.figure = Figure(figsize=size, dpi=100, layout="constrained", facecolor=PAPER)
        FigureCanvasAgg(self.figure)
        grid = self.figure.subplots(lines * rows, columns, sharey=True, squeeze=False)
        panels = grid.reshape(lines, rows, columns).swapaxes(1, 2).ravel()
        self.panels, self.first_of_lines = list(panels[: blocks * rows]), list(grid[:, 0])
        for unused in panels[blocks * rows :]:
            unused.remove()
        self.names = display_names(models)
        self.handles: list[Any] = []  # of the legend
        self.across = False  # whether values run from left to right
        self.limits = (-np.inf, np.inf)  # where intervals are cut
        self.cut = False  # whether one was
        self._titles: list[Text] = []
        self._of_shots: list[Axes] = []

    def looks(self, model: str) -> tuple[str, str]:
        """Colour and marker of a model that writes labels."""
        return LABEL_STYLE[list(self.names).index(model) % len(LABEL_STYLE)][::2]

    def key(self, label: str, there: bool | np.bool_ = True, **style: Any) -> None:
        """An entry of the legend, if what it explains is there."""
        if there:
            self.handles.append(Line2D([], [], label=label, **style))

    def keys_of_labels(self, weak: pd.Series[str]) -> None:
        """An entry of the legend for each of the models that wrote labels."""
        for model, name in self.names.items():
            colour, marker = self.looks(model)
            self.key(f"labels by {name}", weak.eq(model).any(), color=colour, marker=marker)

    def intervals(
        self, axes: Axes, at: ArrayLike, rows: pd.DataFrame, name: str, width: float = 1, **how: Any
    ) -> None:
        """Draw values with their intervals, `width` points wide, and an arrow where they are cut.

        `rows` has columns `name`, `name`_lo and `name`_hi, nan where nothing is drawn; `at` are the
        places on the other axis, `how` is the style of the markers.
        """
        value, low, high = (rows[f"{name}{e}"].to_numpy(dtype=float) for e in ("", "_lo", "_hi"))
        places = np.asarray(at, dtype=float)
        bars = axes.hlines if self.across else axes.vlines
        first, last = self.limits
        bars(places, *np.clip([low, high], first, last), color=how["color"], linewidth=width)
        below, above = low < first, high > last
        self.cut |= bool(below.any() or above.any())
        arrow: Any = {"color": how["color"], "clip_on": False}
        for shown, values, marks in (
            ((value >= first) & (value <= last), value, how),
            (below, np.full_like(value, first), arrow | {"marker": "v<"[self.across]}),
            (above, np.full_like(value, last), arrow | {"marker": "^>"[self.across]}),
        ):
            if shown.any():
                xy = (values[shown], places[shown])[:: 1 if self.across else -1]
                axes.plot(*xy, **{"linestyle": "", "zorder": 4} | marks)

    def title(self, axes: Axes, text: str) -> None:
        """Head a panel, on two lines where one is too short."""
        self._titles.append(axes.set_title(text))

    def by_pair(self, pairs: Mapping[Any, pd.DataFrame]) -> Iterator[tuple[Axes, Any, Any]]:
        """The top panel of each pair, headed by it, with the pair and its rows."""
        tops = self.panels[:: len(self.panels) // len(pairs)]
        for axes, (pair, rows) in zip(tops, pairs.items(), strict=True):
            self.title(axes, arrow(pair, self.names))
            yield axes, pair, rows

    def shot_axis(self, axes: Axes, shots: Sequence[int], note: str = "") -> None:
        """Shots as equal steps."""
        axes.set_xticks(range(len(shots)), [str(k) for k in shots])
        axes.set_xlim(-0.5, len(shots) - 0.5)
        axes.set_xlabel("demonstrations" + (f", {note}" if note else " in the prompt"))
        self._of_shots.append(axes)

    def beside(self, axes: Axes, at: float, text: str, colour: str, *, bold: bool = False) -> None:
        """A text right of a panel, as near as others allow to a height of its y axis."""
        how: Any = {"xycoords": axes.get_yaxis_transform(), "textcoords": "offset points"}
        how |= {"fontsize": 9, "fontweight": "bold" if bold else "normal", "va": "center"}
        axes.annotate(text, (1, at), (5, 0), color=colour, annotation_clip=False, **how)

    def finish(self, note: str, banner: str, legend_title: str | None = None) -> Figure:
        """Add legend and footnotes, lay the panels out, and place the texts."""
        for columns in range(len(self.handles), 0, -1):  # in as few lines as the width allows
            how: Any = {"loc": "outside upper left", "title": legend_title, "alignment": "left"}
            legend = self.figure.legend(handles=self.handles, ncols=columns, **how)
            legend.get_title().set_fontweight("bold")
            if columns == 1 or legend.get_window_extent().width < self.figure.bbox.width:
                break
            legend.remove()
        text = "\n".join(filter(None, (note, banner)))
        self.figure.supxlabel(text, x=0.01, ha="left", fontsize=9, color=MUTED, wrap=True)
        layout: Any = self.figure.get_layout_engine()
        layout.execute(self.figure)
        if any([_fit_title(title) for title in self._titles]):
            layout.execute(self.figure)
        self.figure.set_layout_engine(None)  # what is laid out stays, and is not drawn once more
        for axes in self._of_shots:
            _thin_ticks(axes)
        for axes in self.panels:
            _push_apart(axes)
        return self.figure


def _fit_title(title: Text) -> bool:
    """Break a title that is too wide, then shrink it; whether it was broken."""
    axes = cast(Axes, title.axes)
    outer, panel = axes.get_tightbbox(for_layout_only=True), axes.get_window_extent()
    room = (outer or panel).x1 - panel.x0
    broken = title.get_window_extent().width > room and " " in title.get_text()
    if broken:
        title.set_text(title.get_text().replace(" ", "\n", 1))
    if (wide := title.get_window_extent().width) > room:
        title.set_fontsize(title.get_fontsize() * room / wide)
    return broken


def _thin_ticks(axes: Axes) -> None:
    """Leave out tick labels that would touch, counted from the last."""
    labels = axes.get_xticklabels()
    widest = max(label.get_window_extent().width for label in labels)
    every = int(np.ceil((widest + 6) * len(labels) / axes.get_window_extent().width))
    kept = slice((len(labels) - 1) % every, None, every)
    axes.set_xticks(axes.get_xticks()[kept], [label.get_text() for label in labels[kept]])


def _push_apart(axes: Axes) -> None:
    """Move texts beside a panel to heights that keep them apart, nearest to those they have."""
    if not (texts := [text for text in axes.texts if isinstance(text, Annotation)]):
        return
    scale, box = axes.transData, axes.get_window_extent()
    step = max(text.get_window_extent().height for text in texts) + 1
    wanted = np.array([scale.transform((0, text.xy[1]))[1] for text in texts], dtype=float)
    order, stacked = np.argsort(wanted, kind="stable"), step * np.arange(len(texts))
    low, high = box.y0 + step / 2, box.y1 - step / 2
    free = isotonic_regression(wanted[order] - stacked).x
    heights = np.clip(free, low, max(low, high - step * (len(texts) - 1))) + stacked
    for i, y in zip(order, heights, strict=True):
        texts[i].xy = (1, scale.inverted().transform((0, y))[1])


def write_csv(table: pd.DataFrame, path: Path) -> Path:
    """Write a table whose texts do nothing to a terminal and are no formulas to a spreadsheet."""

    def inert(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return "'" * value.startswith(("=", "+", "-", "@", "\t", "\r")) + printable(value)

    texts = table.select_dtypes(exclude="number").map(inert)
    table.assign(**{str(name): texts[name] for name in texts}).to_csv(path, index=False)
    return path


def save(figure: Figure, path: Path, table: pd.DataFrame) -> list[Path]:
    """Write a figure as PNG (200 dpi) and SVG, with its numbers as CSV of the same name."""
    png, svg = path.with_suffix(".png"), path.with_suffix(".svg")
    with mpl.rc_context(STYLE):
        figure.savefig(png, dpi=200)
        figure.savefig(svg, metadata={"Date": None})
    return [png, svg, write_csv(table, path.with_suffix(".csv"))]
