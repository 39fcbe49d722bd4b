"""Checks of logs, labels and positions; the rest is tested with the report."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.analysis.synthetic import NAMES, logs
from tests.conftest import Args
from w2s_icl.analysis.checks import Check, run_checks, void_reasons
from w2s_icl.analysis.experiment import Experiment
from w2s_icl.analysis.logs import KEY, Logs, Note
from w2s_icl.analysis.tables.cells import cells_table

KINDS = ("random", "noise_matched", "flipped", "unlabelled")


def made(**more: Any) -> Logs:
    study = logs(2, shots=(0, 8), pairs=[(0, 1), (1, 1)], labels=KINDS, draws=3, **more)
    study.questions["category"] = ""  # three of them go together by chance
    return study


def checks(of: Logs) -> list[Check]:
    experiment = Experiment(of)
    return run_checks(experiment, cells_table(experiment))


def failing(of: Logs) -> dict[str, tuple[str, ...]]:
    return {check.text: check.items for check in checks(of) if check.state == "fails"}


def about(of: Logs, words: str) -> Check:
    (check,) = (check for check in checks(of) if words in check.text)
    return check


def change(of: Logs, labels: str, column: str, value: Any) -> str:
    """Change one run of a kind; returns its file."""
    row = of.runs.index[of.runs["labels"] == labels][0]
    of.runs.at[row, column] = value
    return str(of.runs.at[row, "file"])


def test_all_checks_hold_with_every_arm() -> None:
    study = made(prompts=("question=hidden",), changed=0.05, headline=(8,))

    assert failing(study) == {}
    assert about(study, "the labels of 12 controls are as defined").state == "holds"
    assert about(study, "the earliest log declares was run (8 shots)").state == "holds"
    assert about(study, "5.0% of the answers change between").state == "holds"
    assert about(study, "errors fall evenly on the places").state == "holds"


@pytest.mark.parametrize(
    ("labels", "column", "value", "text", "item"),
    [
        ("flipped", "demo_label_accuracy", 0.25, "other labels", "2 of 8 `flipped` labels are"),
        ("noise_matched", "demo_label_accuracy", 0.0, "other labels", "8 labels are wrong, of "),
        ("unlabelled", "demo_labels", ("A",) * 8, "other labels", "`unlabelled` shows labels"),
        ("random", "demo_ids", ("demo7",) * 8, "different demonstrations", "than draw 0"),
        ("weak", "demo_ids", ("q3", *(f"demo{i}" for i in range(1, 8))), "test q", "question q3"),
    ],
)
def test_a_run_that_shows_what_it_should_not_is_named(
    labels: str, column: str, value: Any, text: str, item: str
) -> None:
    study = made()
    file = change(study, labels, column, value)

    said = {said: items for said, items in failing(study).items() if text in said}
    ((only,),) = said.values()
    assert only.startswith(file)
    assert item in only


def test_a_question_that_one_arm_passed_over_is_left_out_by_name() -> None:
    study = made()
    runs = study.runs
    weak = runs.index[(runs["labels"] == "weak") & (runs["draw"] == 0)]
    for row in weak:
        runs.at[row, "demo_ids"] = tuple(f"demo{i}" for i in (0, 1, 2, 4, 5, 6, 7, 8))
        runs.at[row, "passed_over"] = ("demo3",)

    (items,) = (items for text, items in failing(study).items() if "different demon" in text)
    others = runs[(runs["shots"] > 0) & (runs["draw"] == 0)].drop(index=weak)
    assert [item.split(": ")[0] for item in items] == others["file"].tolist()
    assert all(item.endswith("run its command again with `-T skip=demo3`") for item in items)


def with_label_run(study: Logs, right: float) -> Logs:
    """The study with the answers that the weak model's labels are, on 150 pool questions."""
    n, pool = len(study.questions), 150
    ids = [f"demo{i}" for i in range(pool)]
    questions = study.questions.iloc[:pool].set_axis(ids, axis=0)
    gold = questions["gold"].to_numpy(dtype="U1")
    given = np.where(np.arange(pool) < right * pool, gold, np.where(gold == "A", "B", "A"))
    letters = np.full((len(study.runs) + 1, n + pool), "")
    letters[:-1, :n], letters[-1, n:] = study.letters, given
    correct = np.full(letters.shape, np.nan)
    correct[:-1, :n], correct[-1, n:] = study.correct, given == gold
    key = dict(zip(KEY, (NAMES[0], "zero_shot", "pool", "", "", 0, 0, "", 0), strict=True))
    run = study.runs.iloc[0].to_dict() | key | {"eval_id": "labels", "file": "labels.eval"}
    runs = pd.concat([study.runs, pd.DataFrame([run])], ignore_index=True)
    labels = dict(zip(ids, given, strict=True))
    for row in runs.index[(runs["labels"] == "weak") & (runs["weak"] == NAMES[0])]:
        runs.at[row, "label_eval_id"] = "labels"
        runs.at[row, "demo_labels"] = tuple(labels[id_] for id_ in runs.at[row, "demo_ids"])
    of_all = {"letters": letters, "correct": correct, "unread": np.zeros_like(letters, np.intp)}
    return replace(study, runs=runs, questions=pd.concat([study.questions, questions]), **of_all)


@pytest.mark.parametrize(
    ("right", "says"), [(0.6, ""), (0.0, "below the 25.0% of a guess"), (0.3, "too far apart")]
)
def test_labels_are_held_against_what_their_model_answers(right: float, says: str) -> None:
    study = with_label_run(made(), right)
    check = about(study, "labels of each weak" if not says else "cannot be")
    void = void_reasons(Experiment(study), NAMES[0], (), "small")

    assert check.state == ("fails" if says else "holds")
    assert [says in item for item in check.items] == ([True] if says else [])
    assert [says in why for why in void if "small's labels are" in why] == ([True] if says else [])


def test_scrambled_labels_differ_from_their_log() -> None:
    study = with_label_run(made(), 0.6)
    file = change(study, "weak", "demo_labels", ("D",) * 8)

    items = failing(study)["labels shown are not those of their log"]
    (item,) = (item for item in items if item.startswith(f"{file}: "))
    assert item.endswith("of 8 labels differ")


def habit(study: Logs, errors: int) -> Logs:
    """The first model's zero-shot run, with so many errors, as many at A as can be."""
    gold = study.questions["gold"].to_numpy(dtype="U1")
    letters = gold.copy()
    letters[np.flatnonzero(gold != "A")[:errors]] = "A"
    study.letters[0] = letters
    study.correct[0] = letters == gold
    return study


def test_a_habit_among_the_errors_fails_though_most_answers_are_right() -> None:
    study = habit(made(), 30)  # 85% right

    (items,) = [items for text, items in failing(study).items() if text.startswith("errors fall")]
    assert items[0] == (f"{NAMES[0]}, zero-shot: 100.0% of the errors at A, 33.3% by equal chances")


def test_with_few_errors_the_check_says_what_it_could_not_have_seen() -> None:
    study = habit(logs(1, shots=(0,), pairs=[(0, 0)]), 20)
    # spread over the places, and then too few to tell
    gold = study.questions["gold"].to_numpy(dtype="U1")
    wrong = np.flatnonzero(study.correct[0] == 0)
    for i, place in enumerate(wrong):
        study.letters[0, place] = [c for c in "ABCD" if c != gold[place]][i % 3]
    check = about(study, "places of the options")

    assert check.state == "holds"
    assert "of the errors would have been seen in each, a weaker habit maybe not" in check.text
    few = habit(logs(1, shots=(0,), pairs=[(0, 0)]), 6)
    assert about(few, "habit of answering by place").state == "unknown"


def test_a_check_that_could_not_fail_is_no_checkmark() -> None:
    found = checks(logs(1, shots=(0,), pairs=[(0, 0)]))

    assert {check.text for check in found if check.state == "unknown"} >= {
        "no log says which demonstrations were shown",
        "one run on the test questions: nothing to compare it with",
        "the labels' source is not among these logs",
        "no model has both a label run and a zero-shot run here",
    }


def test_a_headline_that_was_not_run_is_named() -> None:
    said = failing(made(headline=(4, 8), missing=[("gold", 8)]))

    assert said["the declared headline is not whole"] == (
        f"{NAMES[0]} → {NAMES[1]}, 8 shots: a run is missing or incomplete",
        "4 shots: not run",
    )


@pytest.mark.parametrize(
    ("row", "damage", "text", "item"),
    [
        (0, {"unparsed": 5}, "could not be read", "log0.eval: 5 of 200"),
        (2, {"demo_ids": ("q7",), "demo_labels": ("Z",)}, "labels shown are not", "1 of 1 labels"),
        (2, {"endpoint": "http://elsewhere []"}, "reached in several ways", "2 addresses"),
        (2, {"cost": float("nan")}, "no price is known", "cost of 1 runs unknown"),
        (3, {"n": 198}, "lack answers", "log3.eval: 198 of 200 questions have an answer"),
    ],
)
def test_a_check_fails_and_names_what(row: int, damage: Args, text: str, item: str) -> None:
    study = logs(2, draws=3, shots=(0, 2))
    assert failing(study) == {}
    for column, value in damage.items():
        study.runs.at[row, column] = value
    (items,) = (items for said, items in failing(study).items() if text in said)

    assert any(item in line for line in items)


def test_checks_speak_of_draws_files_and_missing_cells() -> None:
    study = made(notes=[Note("remark", "", "two headlines")])
    assert failing(study) == {}
    assert "two headlines" in [item for check in checks(study) for item in check.items]
    note = Note("problem", "torn.eval", "cannot be read: bad zip")
    said = failing(logs(2, missing=[("gold", 8)], notes=[note]))

    assert any("fewer than 3 draws" in text for text in said)
    assert ("torn.eval: cannot be read: bad zip",) in said.values()
    assert any("planned cells" in text for text in said)
