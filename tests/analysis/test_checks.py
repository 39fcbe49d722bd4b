"""Checks of arms, reruns and positions; the rest is tested with the report."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.analysis.synthetic import NAMES, logs
from w2s_icl.analysis.answers import Position
from w2s_icl.analysis.checks import Check, run_checks
from w2s_icl.analysis.experiment import Experiment
from w2s_icl.analysis.logs import Logs, Note
from w2s_icl.analysis.tables import cells_table

KINDS = ("random", "noise_matched", "flipped", "unlabelled", "majority", "confident")


def made(**more: Any) -> Logs:
    found = logs(2, shots=(0, 8), pairs=[(0, 1), (1, 1)], labels=KINDS, draws=3, **more)
    found.questions["category"] = ""  # three of them go together by chance
    return found


def checks(of: Logs) -> list[Check]:
    experiment = Experiment(of)
    return run_checks(experiment, cells_table(experiment))


def failing(of: Logs) -> dict[str, tuple[str, ...]]:
    return {check.text: check.items for check in checks(of) if check.state == "fails"}


def change(of: Logs, labels: str, column: str, value: Any) -> str:
    """Change one run of a kind; returns its file."""
    row = of.runs.index[of.runs["labels"] == labels][0]
    of.runs.at[row, column] = value
    return str(of.runs.at[row, "file"])


def test_all_checks_hold_with_every_arm() -> None:
    found = made(prompts=("question=hidden",), changed=0.05, headline=(8,))

    assert failing(found) == {}
    texts = [check.text for check in checks(found) if check.state == "holds"]
    assert any("`confident` picks its own" in text for text in texts)
    assert any(text.startswith("the labels of 12 controls are as defined") for text in texts)
    assert any("the declared headline was run (8 shots)" in text for text in texts)
    assert any(text.startswith("5.0% of the answers change between") for text in texts)


@pytest.mark.parametrize(
    ("labels", "column", "value", "text", "item"),
    [
        ("flipped", "demo_label_accuracy", 0.25, "other labels", "2 of 8 `flipped` labels are"),
        ("noise_matched", "demo_label_accuracy", 0.0, "other labels", "8 labels are wrong, of "),
        ("unlabelled", "demo_labels", ("A",) * 8, "other labels", "`unlabelled` shows labels"),
        ("random", "demo_ids", ("demo7",) * 8, "different demonstrations", "than draw 0"),
    ],
)
def test_a_control_with_other_labels_is_named(
    labels: str, column: str, value: Any, text: str, item: str
) -> None:
    found = made()
    file = change(found, labels, column, value)

    ((said, items),) = failing(found).items()
    assert text in said
    (only,) = items
    assert only.startswith(file)
    assert item in only


def test_what_picks_by_its_labels_may_show_other_questions() -> None:
    found = made()
    change(found, "confident", "demo_ids", tuple(f"other{i}" for i in range(8)))
    file = change(found, "majority", "demo_ids", tuple(f"demo{i}" for i in range(1, 9)))

    assert failing(found) == {}
    (same,) = (c for c in checks(found) if c.text.startswith("all arms of a draw show the same"))
    assert same.items == (f"{file}: passes over questions that have no majority",)


def _habit(found: Logs) -> str:
    positions: Any = tuple(Position(50, 30, n, 50.0, 50) for n in (110, 30, 30, 30))
    found.runs.at[0, "positions"] = positions
    return f"{NAMES[0]}, zero-shot: 55.0% of the answers at A, 25.0% by equal chances"


def _note(found: Logs) -> str:
    object.__setattr__(found, "notes", (Note("remark", "", "two headlines"),))
    return "two headlines"


@pytest.mark.parametrize("damage", [_habit, _note])
def test_remarks_are_named_and_fail_nothing(damage: Callable[[Logs], str]) -> None:
    found = made()
    expected = damage(found)

    assert failing(found) == {}
    assert expected in [item for check in checks(found) for item in check.items]


def test_a_headline_that_was_not_run_is_named() -> None:
    lacking = made(headline=(4, 8), missing=[("gold", 8)])
    items = failing(lacking)["the declared headline is not whole"]

    assert items == (
        f"{NAMES[0]} → {NAMES[1]}, 8 shots: a run is missing or incomplete",
        "4 shots: not run",
    )


def test_fewer_draws_of_a_control_are_not_fewer_draws_of_a_cell() -> None:
    found = made()
    keep = ~((found.planned["labels"] == "random") & (found.planned["draw"] > 0))
    object.__setattr__(found, "planned", found.planned[keep].reset_index(drop=True))

    assert failing(found) == {}


def test_all_checks_hold_on_a_whole_study() -> None:
    assert failing(logs(2, draws=3)) == {}


def _unread(made: Logs) -> None:
    made.runs.loc[0, "unparsed"] = 5


def _leak(made: Logs) -> None:
    made.runs.at[2, "demo_ids"] = ("q7", "demo1")


def _other_demonstrations(made: Logs) -> None:
    made.runs.at[2, "demo_ids"] = ("demo5", "demo6")


def _labels(made: Logs) -> None:
    made.runs.at[2, "demo_ids"] = ("q7", "q8")
    made.runs.at[2, "demo_labels"] = ("Z", str(made.questions.loc["q8", "gold"]))


def _endpoint(made: Logs) -> None:
    made.runs.loc[2, "endpoint"] = "http://elsewhere []"


def _cost(made: Logs) -> None:
    made.runs.loc[2, "cost"] = float("nan")


def _lost(made: Logs) -> None:
    made.runs.loc[3, "n"] = 198
    made.correct[3, :2] = float("nan")


@pytest.mark.parametrize(
    ("damage", "text", "item"),
    [
        (_unread, "could not be read", "log0.eval: 5 of 200"),
        (_leak, "among the demonstrations", "log2.eval: shows test question q7"),
        (_other_demonstrations, "different demonstrations", "log2.eval: other demonstrations"),
        (_labels, "labels shown differ", "log2.eval: 1 of 2 labels differ"),
        (_endpoint, "reached in several ways", "2 addresses"),
        (_cost, "no price is known", "cost of 1 runs unknown"),
        (_lost, "lack answers", "log3.eval: 198 of 200 questions have an answer"),
    ],
)
def test_a_check_fails_and_names_what(damage: Callable[[Logs], None], text: str, item: str) -> None:
    made = logs(2, draws=3, shots=(0, 2))
    damage(made)
    found = {t: items for t, items in failing(made).items() if text in t}

    assert len(found) == 1
    assert any(item in line for items in found.values() for line in items)


def test_checks_speak_of_draws_files_and_missing_cells() -> None:
    note = Note("problem", "torn.eval", "cannot be read: bad zip")
    found = failing(logs(2, missing=[("gold", 8)], notes=[note]))

    assert any("fewer than 3 draws" in text for text in found)
    assert ("torn.eval: cannot be read: bad zip",) in found.values()
    assert any("of 13 planned cells" in text or "planned cells" in text for text in found)
