"""Checks of arms, reruns and positions; the rest is tested with the report."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.analysis.synthetic import NAMES, logs
from w2s_icl.analysis.checks import Check, run_checks
from w2s_icl.analysis.experiment import Experiment
from w2s_icl.analysis.logs import Logs, Note, Position
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
