"""Figures by their lines, labels and places of texts, on made-up experiments."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from unittest.mock import patch

import matplotlib.text
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tests.analysis.synthetic import NAMES, logs
from w2s_icl.analysis import figures, tables
from w2s_icl.analysis.experiment import Experiment
from w2s_icl.analysis.figures import COLOURS, LABEL_STYLE, display_names
from w2s_icl.analysis.logs import Logs

pytestmark = [
    pytest.mark.filterwarnings("error"),
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),  # what other tests left open
]


def drawn(found: Logs, *names: str, banner: str = "") -> dict[str, Figure]:
    experiment = Experiment(found)
    cells, match = tables.cells_table(experiment), tables.matching_table(experiment)
    curves = tables.curves_table(cells, tables.gold_table(experiment))
    models, rules = experiment.models, tables.rules_table(experiment)
    every: dict[str, Callable[[], Figure]] = {
        "accuracy": lambda: figures.accuracy(curves, models, rules=rules, banner=banner),
        "self": lambda: figures.self_supervision(curves, models, banner=banner),
        "pgr": lambda: figures.pgr(cells, models, banner=banner),
        "matching": lambda: figures.matching(match, models, banner=banner),
        "wrong": lambda: figures.matching(match, models, weak_wrong=True, banner=banner),
        "conditional": lambda: figures.conditional(match, models, banner=banner),
        "correlation": lambda: figures.correlation(match, models, banner=banner),
    }
    return {name: draw() for name, draw in every.items() if not names or name in names}


def texts(figure: Figure) -> list[tuple[str, tuple[float, float, float, float]]]:
    """Texts that are really drawn, with their boxes in pixels."""
    seen: list[matplotlib.text.Text] = []
    draw = matplotlib.text.Text.draw

    def record(self: matplotlib.text.Text, renderer: object) -> None:
        seen.append(self)
        draw(self, renderer)  # type: ignore[arg-type]

    with patch.object(matplotlib.text.Text, "draw", record):
        figure.canvas.draw()
    boxes = [(t.get_text(), t.get_window_extent()) for t in seen if t.get_text().strip()]
    return [(text, (b.x0, b.y0, b.x1, b.y1)) for text, b in boxes]


def collisions(figure: Figure) -> Iterator[str]:
    found = texts(figure)
    width, height = figure.bbox.width, figure.bbox.height
    for text, (x0, y0, x1, y1) in found:
        if x0 < -1 or y0 < -1 or x1 > width + 1 or y1 > height + 1:
            yield f"{text!r} leaves the figure"
    for (a, p), (b, q) in itertools.combinations(found, 2):
        wide, high = min(p[2], q[2]) - max(p[0], q[0]), min(p[3], q[3]) - max(p[1], q[1])
        if wide > 1 and high > 1:
            yield f"{a!r} covers {b!r}"


@pytest.mark.parametrize(
    "found",
    [
        pytest.param(lambda: logs(1), id="one model"),
        pytest.param(lambda: logs(2, draws=3, shots=(0, 4, 64)), id="two models, three draws"),
        pytest.param(lambda: logs(3, missing=[("weak", 8), ("gold", 64)]), id="missing cells"),
        pytest.param(lambda: logs(2, n=25, shots=(0, 4, 64)), id="few questions"),
        pytest.param(lambda: logs(2, unread=1.0), id="nothing readable"),
        pytest.param(lambda: logs(2, accuracy=(0.7, 0.7), learned=0), id="no gap"),
        pytest.param(lambda: logs(2, accuracy=(0.9, 0.7)), id="reversed order"),
        pytest.param(lambda: logs(3, pairs=[(0, 2)]), id="one pair"),
        pytest.param(lambda: logs(2, shots=(0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 100)), id="shots"),
        pytest.param(
            lambda: logs(8, shots=(0, 64), n=100), id="eight models", marks=pytest.mark.slow
        ),
    ],
)  # fmt: skip
def test_no_label_covers_another(found: Callable[[], Logs]) -> None:
    made = found()
    names = ["accuracy", "matching", "wrong", "conditional", "correlation"]
    pairs = made.planned[made.planned["labels"] == "weak"]
    names += ["self"] * bool((pairs["weak"] == pairs["model"]).any())
    names += ["pgr"] * bool((pairs["weak"] != pairs["model"]).any())

    bad = {name: list(collisions(f)) for name, f in drawn(made, *names, banner="a banner").items()}

    assert bad == {name: [] for name in names}


def test_a_line_stops_where_nothing_was_run() -> None:
    made = logs(2, missing=[("weak", 8)], pairs=[(0, 1)])
    axes = drawn(made, "accuracy")["accuracy"].axes[0]

    (line,) = [
        line
        for line in axes.lines
        if line.get_color() == LABEL_STYLE[0][0] and line.get_linestyle() == "-"
        and len(np.asarray(line.get_xdata())) == 4
    ]  # fmt: skip
    assert np.isnan(np.asarray(line.get_ydata())).tolist() == [False, False, True, False]


def points(figure: Figure) -> list[np.ndarray[tuple[int], np.dtype[np.float64]]]:
    """What is drawn inside the panels of `pgr` in the colours of labellers."""
    colours = [colour for colour, _ in LABEL_STYLE]
    return [
        np.asarray(line.get_ydata(), dtype=float)
        for axes in figure.axes
        for line in axes.lines
        if line.get_color() in colours
    ]


@pytest.mark.parametrize(
    "made",
    [
        logs(2, accuracy=(0.7, 0.7), learned=0, pairs=[(0, 1)]),
        logs(2, n=25, pairs=[(0, 1)]),
        logs(2, unread=1.0, pairs=[(0, 1)]),
        logs(2, missing=[("weak", 2), ("weak", 8), ("weak", 64)], pairs=[(0, 1)]),
    ],
    ids=["no gap", "few questions", "unread", "not run"],
)
def test_no_ratio_is_drawn_where_none_is_reported(made: Logs) -> None:
    cells = tables.cells_table(Experiment(made))
    assert not cells["pgr_gold_status"].eq("ok").any()
    assert not cells["pgr_zero_status"].eq("ok").any()

    figure = drawn(made, "pgr")["pgr"]

    assert all(np.isnan(y).all() for y in points(figure))
    assert not any(axes.texts for axes in figure.axes)


def test_ratios_are_drawn_as_they_are_in_the_table() -> None:
    made = logs(2, pairs=[(0, 1)])
    cells = tables.cells_table(Experiment(made))
    rows = cells[cells["shots"] > 0]
    figure = drawn(made, "pgr")["pgr"]

    for axes, definition in zip(figure.axes, figures.PGR_ROWS, strict=True):
        values = rows[definition].where(rows[f"{definition}_status"] == "ok").to_numpy()
        line = next(line for line in axes.lines if line.get_color() == LABEL_STYLE[0][0])
        np.testing.assert_array_equal(np.asarray(line.get_ydata(), dtype=float), values)
    fragile = rows["pgr_zero_fragile"].sum() + rows["pgr_gold_fragile"].sum()
    hollow = [
        len(np.asarray(line.get_ydata()))
        for axes in figure.axes
        for line in axes.lines
        if line.get_color() == LABEL_STYLE[0][0] and line.get_markerfacecolor() == figures.PAPER
    ]
    assert sum(hollow) == fragile


def test_bars_are_the_shares_of_the_table() -> None:
    made = logs(2, pairs=[(0, 1)])
    match = tables.matching_table(Experiment(made))
    (axes,) = drawn(made, "matching")["matching"].axes

    heights = np.array([[bar.get_height() for bar in group] for group in axes.containers])  # type: ignore[attr-defined]
    columns = [column for column, *_ in figures.MATCH_CLASSES]
    np.testing.assert_allclose(heights, match[columns].to_numpy().T)
    np.testing.assert_allclose(heights.sum(axis=0), 1)


def test_names_of_models_differ() -> None:
    names = [*NAMES, "together/meta-llama/llama-3.1-8b-instruct", "hf/llama-3.1-8b"]
    assert len(set(display_names(names).values())) == len(names)


def test_saving_writes_the_numbers_beside_the_figure(tmp_path: Path) -> None:
    figure = drawn(logs(1), "accuracy")["accuracy"]
    table = pd.DataFrame({"a": [1]})

    once = figures.save(figure, tmp_path / "x", table)
    first = [path.read_bytes() for path in once]
    again = [path.read_bytes() for path in figures.save(figure, tmp_path / "x", table)]

    assert [path.name for path in once] == ["x.png", "x.svg", "x.csv"]
    assert first == again


# --- arms -----------------------------------------------------------------------------------------

KINDS = ("weak", "gold", "self", "noise_matched", "random", "flipped", "unlabelled")
OTHERS = ("majority", "confident", "mine", f"weak via {NAMES[3]}", "weak cot=bare")
SIDES = ("gain_right", "gain_wrong")


def made_up(
    pairs: Sequence[tuple[int, int]] = ((0, 1),),
    kinds: Sequence[str] = KINDS,
    missing: Collection[tuple[int, str]] = (),
    far: float = -0.3,
) -> pd.DataFrame:
    """What `arms` and `shortcut` draw; (place of the pair, kind) that are missing have no row."""
    rng = np.random.default_rng(0)
    rows = []
    for i, (weak, strong) in enumerate(pairs):
        givers = {"weak": NAMES[weak], "confident": NAMES[weak], "self": NAMES[strong]}
        for kind in [kind for kind in kinds if (i, kind) not in missing]:
            row = {
                "weak": NAMES[weak],
                "strong": NAMES[strong],
                "shots": 64,
                "arm": kind,
                "giver": givers.get(kind.split()[0], ""),
                "n": 200,
                "draws": 1,
                "scope": "fixed_demos",
                "rule": "demonstrations",
                "right_n": 120.0,
                "wrong_n": 80.0,
            }
            for name in ("gain", *SIDES):
                value = far if kind == "flipped" else rng.uniform(-0.02, 0.12)
                row |= {name: value, f"{name}_lo": value - 0.05, f"{name}_hi": value + 0.05}
            rows.append(row)
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("pairs", "kinds", "missing"),
    [
        pytest.param([(0, 1)], KINDS + OTHERS, [(0, "random")], id="one pair, every arm"),
        pytest.param([(0, 1), (0, 2), (1, 2)], KINDS, [(1, "self")], id="three pairs"),
        pytest.param([(0, 2), (3, 6)], ["weak"], [], id="no controls"),
        pytest.param(
            [(w, s) for s in range(8) for w in range(s)], KINDS[:5], [], id="eight models"
        ),
    ],
)
def test_no_label_of_an_arm_covers_another(
    pairs: list[tuple[int, int]], kinds: Sequence[str], missing: list[tuple[int, str]]
) -> None:
    table, models = made_up(pairs, kinds, missing), list(NAMES)

    both = [
        figures.arms(table, models, shots=64, planned=["random"], banner="a banner"),
        figures.shortcut(table, models, shots=64, banner="a banner"),
    ]

    assert [list(collisions(figure)) for figure in both] == [[], []]


def markers(axes: Axes, marker: str) -> list[tuple[float, float]]:
    return [
        (float(np.asarray(line.get_xdata())[0]), float(np.asarray(line.get_ydata())[0]))
        for line in axes.lines
        if line.get_marker() == marker
    ]


def test_arms_are_drawn_as_they_are_in_the_table() -> None:
    table = made_up(kinds=[*KINDS, "confident"])
    (axes,) = figures.arms(table, list(NAMES), shots=64).axes
    gain = table.set_index("arm")["gain"]

    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names[:4] == [
        "labels by llama-3.1-8b", "gold labels", "its own labels", "gold with as many errors",
    ]  # fmt: skip
    weak, strong = (marker for _, marker in LABEL_STYLE[:2])
    assert markers(axes, weak) == [(gain["weak"], 0), (gain["confident"], len(KINDS))]
    assert markers(axes, "D") == [(gain["gold"], 1)]
    assert markers(axes, strong) == [(gain["self"], 2)]
    said = [text.get_text() for text in axes.texts]
    assert said == [f"{100 * x:+.1f}".replace("-", "−") for x in gain]


def test_an_arm_that_was_planned_and_not_run_says_so() -> None:
    table = made_up([(0, 1), (0, 2)], ["weak", "gold"], [(1, "gold")])
    one, other = figures.arms(table, list(NAMES), shots=64, planned=["random"]).axes

    assert [text.get_text() for text in one.texts].count("not run") == 1
    assert [text.get_text() for text in other.texts].count("not run") == 2


def test_an_arm_far_off_leaves_the_scale_to_the_others_and_says_so() -> None:
    near, far = (made_up(far=value) for value in (0.0, -0.6))
    (axes,) = figures.arms(far, list(NAMES), shots=64).axes
    (usual,) = figures.arms(near, list(NAMES), shots=64).axes

    assert np.ptp(axes.get_xlim()) < 2 * np.ptp(usual.get_xlim())
    assert len(markers(axes, "<")) == 1
    assert not markers(axes, "x")  # of labels that are always wrong
    assert "−60.0" in [text.get_text() for text in axes.texts]


def test_gains_by_surface_rule_are_those_of_the_table() -> None:
    table = made_up([(0, 1), (1, 1)], KINDS[:3])  # a pair of one model has no panel
    (axes,) = figures.shortcut(table, list(NAMES), shots=64).axes

    for side, (_, marker, _, _) in zip(SIDES, figures.RULE_SIDES.values(), strict=True):
        assert [x for x, _ in markers(axes, marker)] == table[side].iloc[:3].tolist()
    assert axes.get_xlabel().endswith("rule right: 120, wrong: 80")


def test_the_surface_rule_is_a_curve_in_every_panel() -> None:
    made = logs(2, pairs=[(0, 1), (1, 1)])
    experiment = Experiment(made)
    rules = tables.rules_table(experiment)
    gold = rules.loc[rules["labels"] == "gold", "accuracy"].tolist()
    figure = drawn(made, "accuracy")["accuracy"]

    for axes in figure.axes:
        (line,) = [line for line in axes.lines if line.get_linestyle() == "-."]
        assert np.asarray(line.get_ydata()).tolist()[1:] == gold
        assert axes.get_ylim()[0] < min(gold)
    assert any("never sees the question" in text for text, _ in texts(figure))


def test_other_arms_do_not_enter_the_figures_of_weak_and_gold_labels() -> None:
    plain = logs(3, shots=(0, 64), pairs=[(0, 1), (0, 2), (1, 2)])
    every = logs(
        3, shots=(0, 64), pairs=[(0, 1), (0, 2), (1, 2)], chains=True,
        labels=[*KINDS[3:], "majority"], prompts=["cot=bare", "question=hidden"],
    )  # fmt: skip
    names = ("accuracy", "pgr", "matching", "conditional", "correlation")

    def content(made: Logs) -> dict[str, list[tuple[int, int, int]]]:
        return {
            name: [(len(a.lines), len(a.patches), len(a.texts)) for a in figure.axes]
            for name, figure in drawn(made, *names).items()
        }

    assert content(every) == content(plain)


def test_labels_of_a_chain_are_left_out_where_a_table_holds_them() -> None:
    made = logs(2, shots=(0, 64), pairs=[(0, 1)])
    experiment = Experiment(made)
    match = tables.matching_table(experiment)
    cells = tables.cells_table(experiment)
    curves = tables.curves_table(cells, tables.gold_table(experiment))
    models = experiment.models

    def longer(table: pd.DataFrame, **other: str) -> pd.DataFrame:
        return pd.concat([table, table[table["weak"] == models[0]].assign(**other)])

    chain = {"weak": f"{models[0]}>{models[1]}"}
    for draw, table, other in (
        (figures.accuracy, curves, chain),
        (figures.accuracy, curves, {"labels": "random", "weak": ""}),
        (figures.pgr, cells, chain),
        (figures.matching, match, chain),
    ):
        with_it, without = draw(longer(table, **other), models), draw(table, models)
        assert [len(a.lines) for a in with_it.axes] == [len(a.lines) for a in without.axes]
        assert [len(a.texts) for a in with_it.axes] == [len(a.texts) for a in without.axes]


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    r, g, b = (c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_text_can_be_read_in_both_themes() -> None:
    dark_paper = COLOURS[figures.PAPER][1]
    for light, (name, dark) in COLOURS.items():
        if name not in ("grid", "band", "paper"):
            assert contrast(light, figures.PAPER) >= 4.5, name
            assert contrast(dark, dark_paper) >= 4.5, name
    for column, fill, _, ink in figures.MATCH_CLASSES:
        assert contrast(fill, ink) >= 4.5, column
