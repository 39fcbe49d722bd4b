"""Planted students: each arm lies where it was planted, and the verdict finds the cause."""

from pathlib import Path

import numpy as np
import pytest
from inspect_ai import eval
from inspect_ai.log import EvalLog, list_eval_logs, read_eval_log
from inspect_ai.model import get_model

from tests.conftest import exchange
from tests.planted.acceptance import verdict_of
from tests.planted.questions import cued_questions
from tests.planted.students import EXPECTED, truth
from tests.planted.studies import LABELS, planted_study, record
from w2s_icl.evals.truthfulqa import few_shot
from w2s_icl.record import CellRecord, Shown, is_complete

TEST_SIZE = 400


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cued_questions(tmp_path_factory.mktemp("planted") / "questions.jsonl", 500)


@pytest.mark.parametrize("student", ["learner", "copier"])
def test_arms_are_as_accurate_as_planted(student: str, questions: Path, tmp_path: Path) -> None:
    log_dir = planted_study(tmp_path, student, questions, seed=3, draws=1, test_size=TEST_SIZE)

    logs = {arm(log): log for log in map(read_eval_log, list_eval_logs(log_dir))}

    assert set(logs) == {"", "weak model", "pool", *LABELS}
    for kind, log in logs.items():
        assert is_complete(log)
        if kind in ("", *LABELS):
            expected = truth(student, kind)
            error = (expected * (1 - expected) / TEST_SIZE) ** 0.5
            assert abs(accuracy(log) - expected) < 4 * error + 0.03, kind
    shown = {kind: Shown.from_log(logs[kind]) for kind in LABELS}
    assert len({of.ids for of in shown.values()}) == 1
    assert shown["gold"].right_share == 1
    assert shown["noise_matched"].right_share == shown["weak"].right_share
    assert shown["weak"].right_share == pytest.approx(truth("weak", ""), abs=0.2)
    assert set(shown["unlabelled"].labels) == {""}


def arm(log: EvalLog) -> str:
    cell = CellRecord.from_log(log)
    if cell.split == "pool":
        return "pool"
    if cell.task == "zero_shot":
        return "weak model" if log.eval.model == "planted/weak" else ""
    return "self" if cell.weak == log.eval.model else cell.labels


def accuracy(log: EvalLog) -> float:
    assert log.samples
    return float(np.mean([(s.scores or {})["letter"].value == "C" for s in log.samples]))


def test_a_recorded_cell_is_the_cell_that_inspect_runs(questions: Path, tmp_path: Path) -> None:
    task = few_shot(labels="random", shots=4, dataset=str(questions), test_size=20)
    task.model = get_model("planted/learner", questions=str(questions))

    (run,) = eval(task, log_dir=str(tmp_path / "run"), display="none")
    recorded = read_eval_log(record(task, str(tmp_path / "recorded")).location)

    assert run.samples
    assert recorded.samples
    assert len(exchange(run.samples[-1])) == 11
    assert [s.id for s in recorded.samples] == [s.id for s in run.samples]
    for ours, theirs in zip(recorded.samples, run.samples, strict=True):
        for name in ("input", "choices", "target", "scores"):
            assert getattr(ours, name) == getattr(theirs, name)
        assert ours.output.completion == theirs.output.completion
    assert recorded.eval.metadata == run.eval.metadata
    assert recorded.eval.dataset == run.eval.dataset


@pytest.mark.slow
@pytest.mark.parametrize("student", EXPECTED)
def test_the_verdict_finds_what_is_planted(student: str) -> None:
    result = verdict_of(student, seed=0)

    reading, share = EXPECTED[student]
    if share:
        assert result.reading == reading, result.sentence
    assert result.claim == (student == "learner"), result.sentence
    assert sum(result.covered.values()) >= len(result.covered) - 1, result.covered
