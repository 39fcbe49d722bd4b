"""Figures by their lines, labels and places of texts, on made-up experiments."""

from collections.abc import Iterator, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.path import Path as Outline
from matplotlib.text import Text
from matplotlib.transforms import Bbox, BboxTransformTo

from tests.analysis.synthetic import NAMES, logs, without_zero_shot
from tests.conftest import warnings_are_errors
from w2s_icl.analysis import figures
from w2s_icl.analysis.figures.accuracy import PGR_ROWS
from w2s_icl.analysis.figures.matching import MATCH_CLASSES
from w2s_icl.analysis.figures.style import LABEL_STYLE, PAPER, RIGHT
from w2s_icl.analysis.report import views
from w2s_icl.analysis.results import Results
from w2s_icl.analysis.stats.agreement import QuestionBootstrap

pytestmark = warnings_are_errors
CONTROLS = ("noise_matched", "random", "flipped", "unlabelled")
NEAR_CHANCE, NEAR_ONE = (0.24, 0.25, 0.26, 0.27, 0.28), (0.95, 0.97, 0.98, 0.985, 0.99)
PAIR: Any = {"models": 2, "pairs": [(0, 1)]}
FEW: Any = {"shots": (0, 4, 64), "labels": CONTROLS[:2], "n": 60}

CASES: dict[str, dict[str, Any]] = {
    "three": FEW | {"models": 3, "accuracy": NEAR_ONE},
    "missing": {"models": 2, "missing": [("weak", 8), ("gold", 64)], "labels": ["flipped"]},
    "draws": FEW | {"models": 2, "draws": 3},
    "one model": {"models": 1, "shots": (0, 4)},
    "no zero-shot": {"models": 2, "shots": (0, 64), "n": 60},
    "no gap": PAIR | {"accuracy": (0.7, 0.7), "learned": 0, "n": 40},
    "unread": {"models": 2, "unread": 1.0, "shots": (0, 4)},
    "reversed": PAIR | {"accuracy": (0.9, 0.7), "shots": (0, 8)},
    "shots": {"models": 2, "shots": (0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 100), "n": 60},
    "pair": PAIR | {"labels": CONTROLS},
    **{
        f"{models}, {n}, {level}": {
            "models": models, "n": n, "accuracy": NEAR_CHANCE if level == "chance" else NEAR_ONE,
            "shots": (0, 2, 8, 16, 64), "labels": CONTROLS,
        }
        for models, n, level in ((2, 400, "chance"), (2, 400, "one"), (5, 60, "chance"))
    },
}  # fmt: skip


@lru_cache(maxsize=8)
def study(case: str) -> Results:
    made = logs(**CASES[case])
    made = without_zero_shot(made, NAMES[1]) if case == "no zero-shot" else made
    with pytest.MonkeyPatch.context() as patch:  # intervals of phi are not drawn
        few = partial(QuestionBootstrap, resamples=50)
        patch.setattr("w2s_icl.analysis.tables.cells._bootstrap", few)
        return Results(made)


@lru_cache(maxsize=8)
def drawn(case: str) -> dict[str, Figure]:
    """The figures of the report."""
    r = study(case)
    return {
        view.name: view.figure(view.table, r.experiment.models, banner="a banner")
        for view in views(r)
        if view.figure
    }


def texts(figure: Figure) -> list[tuple[Text, Bbox]]:
    """Texts that are shown, with their boxes in pixels."""
    figure.canvas.draw()
    hidden: set[Text] = set()
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        low, high = sorted(axis.get_view_interval())
        for tick in axis.get_major_ticks():
            there = tick.label1.get_visible() and low <= tick.get_loc() <= high
            hidden |= {tick.label2} if there else {tick.label1, tick.label2}
    every = [t for t in figure.findobj(Text) if isinstance(t, Text) and t.get_text().strip()]
    return [(t, t.get_window_extent()) for t in every if t.get_visible() and t not in hidden]


def lines(figure: Figure) -> Iterator[tuple[str, Outline, Bbox]]:
    """Everything thin that is drawn in the panels, in pixels, and where it is cut off."""
    everywhere = Bbox.from_extents(-1e5, -1e5, 1e5, 1e5)
    for axes in figure.axes:
        panel = axes.get_window_extent()
        grid = [g for axis in (axes.xaxis, axes.yaxis) for g in axis.get_gridlines()]
        for line in [*axes.lines, *(g for g in grid if g.get_visible())]:
            path = line.get_path().transformed(line.get_transform())
            if line.get_linestyle() not in ("None", ""):
                yield "a line", path, panel
            half = line.get_markersize() * figure.dpi / 144
            for x, y in path.vertices if line.get_marker() not in (None, "None", "") else ():
                if not np.isnan([x, y]).any():
                    box = Bbox.from_extents(x - half, y - half, x + half, y + half)
                    where = panel if line.get_clip_on() else everywhere
                    square = Outline.unit_rectangle().transformed(BboxTransformTo(box))
                    yield "a marker", square, where
        for bars in [c for c in axes.collections if isinstance(c, LineCollection)]:
            for segment in filter(len, bars.get_segments()):
                yield "a bar", Outline(bars.get_transform().transform(segment)), panel


def collisions(figure: Figure) -> Iterator[str]:
    placed = texts(figure)
    shown = [text.get_text() for text, _ in placed]
    boxes = np.array([box.extents for _, box in placed])
    low, high = boxes[:, :2], boxes[:, 2:]
    beyond = (low < -1).any(axis=1) | (high > figure.bbox.max + 1).any(axis=1)
    yield from (f"{shown[i]!r} leaves the figure" for i in np.flatnonzero(beyond))
    both = np.minimum(high[:, None], high) - np.maximum(low[:, None], low)
    for i, j in np.argwhere(np.triu((both > 1).all(axis=2), 1)):
        yield f"{shown[i]!r} covers {shown[j]!r}"
    for what, path, panel in lines(figure):
        bare = path.cleaned(remove_nans=True)
        a, b = np.maximum(low + 1, panel.min), np.minimum(high - 1, panel.max)
        around = bare.get_extents()
        near = (np.maximum(a, around.min) <= np.minimum(b, around.max)).all(axis=1)
        for i in np.flatnonzero(near & (a < b).all(axis=1)):
            if bare.intersects_bbox(Bbox([a[i], b[i]]), filled=what == "a marker"):
                yield f"{shown[i]!r} stands on {what}"


@pytest.mark.parametrize(
    "case",
    [*list(CASES)[:2], *(pytest.param(case, marks=pytest.mark.slow) for case in list(CASES)[2:])],
)
def test_no_text_stands_on_anything(case: str) -> None:
    bad = {name: list(collisions(figure)) for name, figure in drawn(case).items()}
    assert {name: of for name, of in bad.items() if of} == {}


def test_names_of_models_are_text_and_never_too_long(tmp_path: Path) -> None:
    odd = {
        NAMES[0]: "hf/$a_b$ on\nseveral lines, and longer than any panel of any figure is wide",
        NAMES[1]: r"hf/$\frac{a$ <b>&amp;",
    }
    for view in views(study("pair")):
        if view.figure:
            figure = view.figure(view.table.replace(odd), list(odd.values()))
            assert list(collisions(figure)) == [], view.name
            assert all(not t.get_parse_math() for t, _ in texts(figure))
            assert any(r"$\frac{a$ <b>&amp;" in t.get_text() for t, _ in texts(figure)), view.name
            written = figures.save(figure, tmp_path / "x", view.table)
            assert "<b>" not in written[1].read_text("utf-8")


def ys(axes: Axes, colour: str) -> list[list[float]]:
    """Heights of the lines of a colour."""
    solid = [line for line in axes.lines if line.get_linestyle() == "-"]
    mine = [line.get_ydata() for line in solid if line.get_color() == colour]
    return [np.asarray(y, dtype=float).tolist() for y in mine]


def words(figure: Figure) -> str:
    return " | ".join(text.get_text() for text, _ in texts(figure))


def test_a_line_stops_where_nothing_was_run() -> None:
    panel = drawn("missing")["accuracy"].axes[1]
    (y,) = ys(panel, LABEL_STYLE[0][0])

    assert "zero-shot run missing" in words(drawn("no zero-shot")["accuracy"])
    assert np.isnan(y).tolist() == [False, False, True, False]


def test_accuracies_and_zero_shot_lines_are_those_of_the_table() -> None:
    (axes,) = drawn("pair")["accuracy"].axes
    rows = study("pair").curves.set_index(["model", "labels", "shots"])["accuracy"]

    (y,) = ys(axes, LABEL_STYLE[0][0])
    assert y == [rows[NAMES[1], "none", 0], *(rows[NAMES[1], "weak", k] for k in (2, 8, 64))]
    assert [text.get_text() for text in axes.texts] == [
        f"{100 * value:.1f}"
        for value in (y[-1], rows[NAMES[1], "gold", 64], rows[NAMES[0], "none", 0])
    ]


def test_chance_is_drawn_where_it_is_in_range() -> None:
    low, high = (
        words(figures.accuracy(study("pair").curves, NAMES[:2], chance=at)) for at in (0.25, 0.7)
    )
    assert ("chance" in low, "chance, 70.0" in high) == (False, True)


@pytest.mark.parametrize("case", ["no gap", "unread"])
def test_no_ratio_is_drawn_where_none_is_reported(case: str) -> None:
    r = study(case)
    assert not r.cells["pgr_gold_status"].eq("ok").any()
    figure = drawn(case)["pgr"]

    assert all(np.isnan(y).all() for axes in figure.axes for y in ys(axes, LABEL_STYLE[0][0]))
    assert not any(axes.texts for axes in figure.axes)
    assert "no ratio: gap not established" in words(figure)


def test_ratios_are_drawn_as_they_are_in_the_table() -> None:
    cells = study("pair").cells
    rows = cells[cells["shots"] > 0]
    figure = drawn("pair")["pgr"]

    marks = [line for axes in figure.axes for line in axes.lines if line.get_marker() == "o"]
    hollow = [np.size(line.get_ydata()) for line in marks if line.get_markerfacecolor() == PAPER]
    for axes, definition in zip(figure.axes, PGR_ROWS, strict=True):
        np.testing.assert_array_equal(ys(axes, LABEL_STYLE[0][0])[0], rows[definition])
    assert sum(hollow) == rows["pgr_zero_fragile"].sum() + rows["pgr_gold_fragile"].sum()


def test_bars_are_the_shares_of_the_table() -> None:
    (axes,) = drawn("pair")["matching"].axes
    groups: Any = axes.containers

    heights = np.array([[bar.get_height() for bar in group] for group in groups])
    columns = [column for column, *_ in MATCH_CLASSES]
    np.testing.assert_allclose(heights, study("pair").matching[columns].to_numpy().T)
    np.testing.assert_allclose(heights.sum(axis=0), 1)


def test_phi_is_drawn_with_its_interval_and_explained() -> None:
    table, figure = study("pair").matching, drawn("pair")["correlation"]
    (axes,) = figure.axes

    assert ys(axes, RIGHT) == [table["phi_strong"].tolist()]
    bars = [c for c in axes.collections if isinstance(c, LineCollection)]
    ends = np.array([np.asarray(of)[:, 1] for c in bars for of in c.get_segments()])
    shown = table[["phi_strong_lo", "phi_strong_hi", "phi_weak_lo", "phi_weak_hi"]].to_numpy()
    np.testing.assert_allclose(ends, np.concatenate([shown[:, :2], shown[:, 2:]]))
    assert "correlation, over questions" in words(figure)
    assert "no φ: see below" in words(drawn("unread")["correlation"])


def markers(axes: Axes, marker: str) -> list[tuple[Any, ...]]:
    shown = [line.get_xydata() for line in axes.lines if line.get_marker() == marker]
    return [tuple(np.asarray(xy)[0].tolist()) for xy in shown]


def arm_rows(gains: Sequence[tuple[str, float]]) -> pd.DataFrame:
    rows = pd.DataFrame(gains, columns=["arm", "gain"])
    ends = {"gain_lo": rows["gain"] - 0.05, "gain_hi": rows["gain"] + 0.05}
    pair = {"weak": NAMES[0], "strong": NAMES[1], "shots": 64, "n": 200, "scope": "fixed_demos"}
    return rows.assign(**pair, **ends)


def test_arms_are_drawn_as_they_are_in_the_table_and_those_not_run_are_named() -> None:
    gains = [("weak", 0.07), ("gold", 0.1), ("self", -0.01), ("noise_matched", 0.06), ("mine", 0.0)]
    figure = figures.arms(arm_rows(gains), list(NAMES), planned=["random"])
    (axes,) = figure.axes

    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "labels by llama-3.1-8b", "gold labels", "its own labels", "gold with as many errors",
        "random labels", "mine",
    ]  # fmt: skip
    looks = LABEL_STYLE[0][2], "D", LABEL_STYLE[1][2], "d"
    shown = [markers(axes, marker) for marker in looks]
    assert shown == [[(0.07, 0)], [(0.1, 1)], [(-0.01, 2)], [(0.06, 3), (0.0, 5)]]
    beside = [text.get_text() for text in axes.texts]
    assert beside == ["+7.0", "+10.0", "−1.0", "+6.0", "not run", "0.0"]


def test_an_arm_far_off_leaves_the_scale_to_the_others_and_says_so() -> None:
    gains = [("weak", 0.05), ("gold", 0.1)]
    near, far = (
        figures.arms(arm_rows([*gains, ("flipped", at)]), list(NAMES)) for at in (0.0, -0.6)
    )

    assert np.ptp(far.axes[0].get_xlim()) < 2 * np.ptp(near.axes[0].get_xlim())
    assert len(markers(far.axes[0], "<")) == 1
    assert "the interval leaves the figure" in words(far)
    assert "the interval leaves the figure" not in words(near)
    assert "−60.0" in words(far)


def test_the_surface_figure_shows_the_gain_of_each_fifth_of_the_questions() -> None:
    table, figure = study("pair").surface_fit, drawn("pair")["surface_fit"]
    gains = table.loc[table["kind"] == "bin", "gain"].tolist()

    shown = [line for line in figure.axes[0].lines if line.get_marker() == LABEL_STYLE[0][2]]
    assert np.asarray(shown[0].get_ydata()).tolist() == gains
    assert "reads only the options" in words(figure)


def test_saving_twice_writes_the_same_and_texts_of_the_csv_are_no_formulas(tmp_path: Path) -> None:
    figure = drawn("pair")["accuracy"]
    names = ["=1+1", "+x", "-y", "@z", "b\x1b[2J"]
    table = pd.DataFrame({"name": names, "gain": [-1.0, 2, 3, 4, 5]})

    once = figures.save(figure, tmp_path / "x", table)
    first = [path.read_bytes() for path in once]
    again = [path.read_bytes() for path in figures.save(figure, tmp_path / "x", table)]

    assert [path.name for path in once] == ["x.png", "x.svg", "x.csv"]
    assert first == again
    read = pd.read_csv(once[2])
    assert read["name"].tolist() == ["'=1+1", "'+x", "'-y", "'@z", r"b\x1b[2J"]
    assert read["gain"].tolist() == [-1, 2, 3, 4, 5]
