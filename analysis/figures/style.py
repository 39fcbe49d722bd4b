"""What all figures share: colours, the layout of panels, and labels that keep clear of the data.

Encodings are the same everywhere: colour and marker say who wrote the labels, a panel is a prompted
model or a pair, gold labels are dashed ink with hollow diamonds, thin bars are 95% intervals.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Annotation, Text
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import isotonic_regression

INK = "#1c1f25"
MUTED = "#5b6571"
GRID = "#e3e6ea"
BAND = "#f1f3f5"
PAPER = "#ffffff"
RIGHT = "#187d5f"

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

DARK_TEXT, LIGHT_TEXT = "#1c1f26", "#fdfdfd"
"""On fills that are the same in both themes."""

DASHED = (0, (5, 2))
HOLLOW: Any = {"marker": "o", "markersize": 7, "markerfacecolor": PAPER, "linestyle": ""}

WIDTH = 11.0
"""Of every figure, in inches."""

STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.parse_math": False,  # a model may be called "$a_b$"
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.axisbelow": True,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "hatch.linewidth": 0.6,
    "svg.hashsalt": "w2s-icl",
    "svg.fonttype": "path",
}

P = ParamSpec("P")


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Draw a figure in the house style."""

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with mpl.rc_context(STYLE):
            return draw(*args, **kwargs)

    return drawn


# --- words ----------------------------------------------------------------------------------------


def display_names(models: Sequence[str]) -> dict[str, str]:
    """Names for people: short, and different for different models.

    Example:
        >>> display_names(["hf/llama-8b", "hf/llama-8b-instruct", "hf/llama-70b-instruct"])
        {'hf/llama-8b': 'llama-8b', 'hf/llama-8b-instruct': 'llama-8b-instruct', \
'hf/llama-70b-instruct': 'llama-70b'}
        >>> display_names(["one/llama-8b", "two/llama-8b"])["two/llama-8b"]
        'two/llama-8b'
    """

    def short(name: str) -> str:
        return name if len(name) <= 22 else f"{name[:12]}…{name[-9:]}"

    forms: tuple[Callable[[str], str], ...] = (
        lambda m: short(re.sub(r"-(?:instruct|chat|it)$", "", m.rsplit("/", 1)[-1])),
        lambda m: short(m.rsplit("/", 1)[-1]),
        short,
        lambda m: m,
    )
    names, left = dict.fromkeys(models, ""), list(dict.fromkeys(models))
    for form in forms:
        texts = [form(model) for model in left]
        taken = {*names.values()}
        unique = [texts.count(t) == 1 and t not in taken for t in texts]
        names |= {m: t for m, t, one in zip(left, texts, unique, strict=True) if one}
        left = [m for m, one in zip(left, unique, strict=True) if not one]
    return names


def arrow(pair: tuple[str, str], names: Mapping[str, str]) -> str:
    """A pair in words: who writes the labels → who is prompted."""
    weak, strong = pair
    return f"{names[weak]} → {'itself' if weak == strong else names[strong]}"


def points_text(difference: float, digits: int = 1) -> str:
    """A difference of fractions in percentage points.

    Example:
        >>> points_text(0.075), points_text(-0.2, 0), points_text(-0.0001)
        ('+7.5', '−20', '0.0')
    """
    text = f"{100 * difference:+.{digits}f}"
    return (text if float(text) else text[1:]).replace("-", "−")


def n_text(counts: Iterable[float]) -> str:
    """How many questions, as "200", or "190 to 200" where cells differ.

    Example:
        >>> n_text([200, 190, 200])
        '190 to 200'
    """
    known = sorted({int(n) for n in counts if n == n and n > 0})
    return " to ".join(str(n) for n in dict.fromkeys((known[0], known[-1]))) if known else "no"


def scope_text(table: pd.DataFrame) -> str:
    """What the bars of a figure are; `table` has `scope` and `shots`."""
    fixed = (table.loc[table["shots"] > 0, "scope"] == "fixed_demos").any()
    return "Bars: 95% intervals" + (", for these demonstrations only." if fixed else ".")


# --- rows of a table ------------------------------------------------------------------------------


def pairs_of(table: pd.DataFrame) -> list[tuple[str, str]]:
    """(weak, strong) in the order of the table, which is that of the models."""
    columns = table[["weak", "strong"]].drop_duplicates()
    return list(columns.itertuples(index=False, name=None))


def shots_of(table: pd.DataFrame) -> list[int]:
    """Shot counts, ascending."""
    return sorted({int(k) for k in table["shots"]})


def of_pair(table: pd.DataFrame, pair: tuple[str, str], shots: Sequence[int]) -> pd.DataFrame:
    """One row per shot count, in order; empty where there is none."""
    rows = table[(table["weak"] == pair[0]) & (table["strong"] == pair[1])]
    return rows.set_index("shots").reindex(list(shots))


# --- drawing --------------------------------------------------------------------------------------


def style_of(model: str, models: Sequence[str]) -> tuple[str, str]:
    """Colour and marker of a model that writes labels."""
    colour, _, marker = LABEL_STYLE[models.index(model) % len(LABEL_STYLE)]
    return colour, marker


def key(label: str, **style: Any) -> Line2D:
    """An entry of a legend."""
    return Line2D([], [], label=label, **style)


def intervals(
    axes: Axes,
    at: ArrayLike,
    rows: pd.DataFrame,
    name: str,
    *,
    across: bool = False,
    limits: tuple[float, float] = (-np.inf, np.inf),
    width: float = 1.0,
    **style: Any,
) -> bool:
    """Draw values with their intervals, upright or `across`; whether one was cut at the `limits`.

    `rows` has columns `name`, `name`_lo and `name`_hi, nan where nothing is drawn; `at` are the
    places on the other axis, `style` is that of the markers. At a cut stands an arrow.
    """
    value, low, high = (rows[f"{name}{end}"].to_numpy(dtype=float) for end in ("", "_lo", "_hi"))
    places = np.asarray(at, dtype=float)
    bars = axes.hlines if across else axes.vlines
    bars(places, *np.clip([low, high], *limits), color=style["color"], linewidth=width)

    dots: Any = {"linestyle": "", "zorder": 4}

    def plot(shown: NDArray[np.bool_], values: NDArray[np.float64], **how: Any) -> None:
        if shown.any():
            xy = (values[shown], places[shown])
            axes.plot(*(xy if across else xy[::-1]), **{**dots, **how})

    plot((value >= limits[0]) & (value <= limits[1]), value, **style)
    cuts = ((low < limits[0], limits[0], "v<"), (high > limits[1], limits[1], "^>"))
    for beyond, edge, signs in cuts:
        where = np.full(len(value), edge)
        plot(beyond, where, color=style["color"], marker=signs[across], clip_on=False)
    return bool(cuts[0][0].any() or cuts[1][0].any())


class Sheet:
    """A figure of equal panels that share the y axis.

    Texts are placed after the panels are laid out, from their measured sizes. Texts beside a panel
    stand right of it, outside the data, and are pushed apart.
    """

    def __init__(self, lines: int, columns: int, height: float) -> None:
        """Panels in `lines` and `columns`; a line is `height` inches high."""
        size = (WIDTH, height * lines + 0.9)
        self.figure = Figure(figsize=size, dpi=100, layout="constrained", facecolor=PAPER)
        FigureCanvasAgg(self.figure)
        self.grid = self.figure.subplots(lines, columns, sharey=True, squeeze=False)
        self.panels = list(self.grid.ravel())
        self._titles: list[tuple[Axes, Text]] = []
        self._beside: dict[Axes, list[Annotation]] = {}
        self._shots: list[Axes] = []

    @classmethod
    def in_lines(cls, panels: int, height: float) -> Sheet:
        """At most four panels in a line, lines about equally long."""
        lines = max(1, -(-panels // 4))
        sheet = cls(lines, max(1, -(-panels // lines)), height)
        sheet.keep(sheet.panels[:panels])
        return sheet

    @classmethod
    def of_pairs(
        cls, pairs: Sequence[tuple[str, str]], models: Sequence[str], height: float
    ) -> Sheet:
        """A panel per pair: weak models down and strong ones across where that is not too wide."""
        down = [m for m in models if any(m == weak for weak, _ in pairs)]
        across = [m for m in models if any(m == strong for _, strong in pairs)]
        if len(across) > 4 or len(pairs) <= len(across):
            return cls.in_lines(len(pairs), height)
        sheet = cls(len(down), len(across), height)
        sheet.keep([sheet.grid[down.index(weak), across.index(strong)] for weak, strong in pairs])
        return sheet

    def keep(self, panels: Sequence[Axes]) -> None:
        """Remove all panels but these."""
        for axes in set(self.panels) - set(panels):
            axes.remove()
        self.panels = list(panels)

    def first_of_lines(self) -> list[Axes]:
        """The leftmost panel of each line."""
        rows = ([axes for axes in row if axes in self.panels] for row in self.grid.tolist())
        return [row[0] for row in rows if row]

    def title(self, axes: Axes, text: str) -> None:
        """Head a panel, on two lines where one is too short."""
        self._titles.append((axes, axes.set_title(text)))

    def shot_axis(self, axes: Axes, shots: Sequence[int], note: str = "") -> None:
        """Shots as equal steps."""
        axes.set_xticks(range(len(shots)), [str(k) for k in shots])
        axes.set_xlim(-0.5, len(shots) - 0.5)
        axes.set_xlabel("demonstrations" + (f", {note}" if note else " in the prompt"))
        self._shots.append(axes)

    def beside(
        self, axes: Axes, height: float, text: str, colour: str, *, bold: bool = False
    ) -> None:
        """A text right of a panel, as near as others allow to a height of its y axis."""
        made = axes.annotate(
            text,
            (1, height),
            xytext=(5, 0),
            xycoords=axes.get_yaxis_transform(),
            textcoords="offset points",
            va="center",
            fontsize=9,
            fontweight="bold" if bold else "normal",
            color=colour,
            annotation_clip=False,
        )
        self._beside.setdefault(axes, []).append(made)

    def finish(
        self, handles: Sequence[Any], note: str, banner: str, legend_title: str | None = None
    ) -> Figure:
        """Add legend and footnotes, lay the panels out, and place the texts."""
        self._legend(handles, legend_title)
        nothing = "" if self.panels else "Nothing to draw: no such runs."
        text = "\n".join(filter(None, (nothing, note, banner)))
        self.figure.supxlabel(text, x=0.01, ha="left", fontsize=9, color=MUTED, wrap=True)
        self.figure.draw_without_rendering()
        if self._break_titles():
            self.figure.draw_without_rendering()
        self.figure.set_layout_engine("none")
        for axes in self._shots:
            _thin_ticks(axes)
        for axes, texts in self._beside.items():
            _push_apart(axes, texts)
        return self.figure

    def _legend(self, handles: Sequence[Any], title: str | None) -> None:
        for columns in range(len(handles), 0, -1):
            legend = self.figure.legend(
                handles=handles, loc="outside upper left", ncols=columns, title=title,
                alignment="left",
            )  # fmt: skip
            legend.get_title().set_fontweight("bold")
            if columns == 1 or legend.get_window_extent().width < self.figure.bbox.width:
                return
            legend.remove()

    def _break_titles(self) -> bool:
        broken = False
        for axes, title in self._titles:
            outer, panel = axes.get_tightbbox(for_layout_only=True), axes.get_window_extent()
            room = (outer or panel).x1 - panel.x0
            if title.get_window_extent().width > room and " " in title.get_text():
                title.set_text(title.get_text().replace(" ", "\n", 1))
                broken = True
            wide = title.get_window_extent().width
            if wide > room:
                title.set_fontsize(title.get_fontsize() * room / wide)
        return broken


def _thin_ticks(axes: Axes) -> None:
    """Leave out tick labels that would touch, counted from the last."""
    boxes = [label.get_window_extent() for label in axes.get_xticklabels()]
    widest = max((box.width for box in boxes), default=0)
    step = axes.get_window_extent().width / max(len(boxes), 1)
    every = int(np.ceil((widest + 6) / step))
    ticks = list(axes.get_xticks())
    texts = [label.get_text() for label in axes.get_xticklabels()]
    axes.set_xticks(ticks[::-1][::every][::-1], texts[::-1][::every][::-1])


def _push_apart(axes: Axes, texts: Sequence[Annotation]) -> None:
    scale, box = axes.transData, axes.get_window_extent()
    height = max(text.get_window_extent().height for text in texts) + 1
    wanted = [float(scale.transform((0, text.xy[1]))[1]) for text in texts]
    order = np.argsort(wanted, kind="stable")
    heights = spread(sorted(wanted), height, box.y0 + height / 2, box.y1 - height / 2)
    for i, y in zip(order, heights, strict=True):
        texts[i].xy = (1, scale.inverted().transform((0, y))[1])


def spread(wanted: Sequence[float], step: float, low: float, high: float) -> list[float]:
    """Heights at least `step` apart, nearest to the `wanted` ones (ascending), within the limits.

    Example:
        >>> spread([1.0, 1.0, 5.0], 2.0, 0.0, 10.0)
        [0.0, 2.0, 5.0]
    """
    stacked = step * np.arange(len(wanted))
    free = isotonic_regression(np.asarray(wanted) - stacked).x
    top = max(low, high - step * (len(wanted) - 1))
    heights: list[float] = (np.clip(free, low, top) + stacked).tolist()
    return heights


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """Write a table; a text that a spreadsheet would take for a formula gets an apostrophe."""

    def inert(value: Any) -> Any:
        formula = isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r"))
        return f"'{value}" if formula else value

    texts = [name for name in table if not pd.api.types.is_numeric_dtype(table[name])]
    table.assign(**{str(n): table[n].map(inert) for n in texts}).to_csv(path, index=False)


def save(figure: Figure, path: Path, table: pd.DataFrame) -> list[Path]:
    """Write a figure as PNG (200 dpi) and SVG, with its numbers as CSV of the same name."""
    with mpl.rc_context(STYLE):
        figure.savefig(path.with_suffix(".png"), dpi=200)
        figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})
    write_csv(table, path.with_suffix(".csv"))
    return [path.with_suffix(ending) for ending in (".png", ".svg", ".csv")]
