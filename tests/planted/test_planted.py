"""Planted truth through the whole pipeline: questions in, report out, intervals against formulas.

`W2S_PLANTED_SEEDS=20 pytest tests/test_planted.py` runs twenty studies of each kind; without it one
study of equal models is run, and one of each student with a planted cause.
"""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pytest
import yaml
from scipy.stats import binom

from tests.conftest import SHARED, needs_shared, rows, write_questions
from tests.planted.planted import planted_logs
from w2s_icl.analysis.experiment import Experiment
from w2s_icl.analysis.logs import read_logs
from w2s_icl.analysis.report import write_report
from w2s_icl.analysis.tables import cells_table
from w2s_icl.analysis.verdict import Verdict, verdicts
from w2s_icl.evals.standins import (
    Parameters,
    planted_accuracy,
    planted_pgr,
    planted_w2s_accuracy,
)
from w2s_icl.evals.study import load_study
from w2s_icl.evals.sweep.run import run_study

pytestmark = pytest.mark.slow

SEEDS = int(os.environ.get("W2S_PLANTED_SEEDS", "0"))
SHOTS = 16
WEAK, STRONG = "simulated/custom-weak", "simulated/custom-strong"


def study(
    folder: Path,
    seed: int,
    weak: Parameters,
    strong: Parameters,
    *,
    draws: int = 3,
    test_size: int = 200,
) -> Path:
    """One whole study; returns its folder."""
    folder.mkdir()
    questions = write_questions(folder / "questions.jsonl", rows(500))
    arguments = {
        name: {
            "questions": str(questions),
            "seed": seed,
            **{key: getattr(model, key) for key in ("ability", "gain", "dip", "copy")},
        }
        for name, model in ((WEAK, weak), (STRONG, strong))
    }
    content = {
        "dataset": str(questions),
        "test_size": test_size,
        "seed": seed,
        "models": [WEAK, STRONG],
        "pairs": [[WEAK, STRONG]],
        "shots": [0, SHOTS],
        "draws": draws,
        "model_args": arguments,
    }
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(content), "utf-8")
    assert run_study(load_study(path), str(folder / "logs")).ok
    return folder


def result(folder: Path) -> dict[str, float | str]:
    cells = cells_table(Experiment(read_logs(str(folder / "logs"))))
    (row,) = cells[cells["shots"] == SHOTS].to_dict("records")
    return {str(k): v for k, v in row.items()}


@pytest.mark.skipif(SEEDS < 2, reason="one study cannot tell: set W2S_PLANTED_SEEDS to 20")
def test_intervals_cover_what_is_planted(tmp_path: Path) -> None:
    weak, strong = Parameters(0.55), Parameters(0.75)
    planted = {
        "acc_weak": planted_accuracy(weak, 0),
        "acc_strong0": planted_accuracy(strong, 0),
        "acc_w2s": planted_w2s_accuracy(weak, strong, SHOTS),
        "acc_gold": planted_accuracy(strong, SHOTS),
        "pgr_gold": planted_pgr(weak, strong, SHOTS),
        "pgr_zero": planted_pgr(weak, strong, SHOTS, ceiling="zero_shot"),
    }
    covered = []
    for seed in range(SEEDS):
        row = result(study(tmp_path / str(seed), seed, weak, strong))
        for name, truth in planted.items():
            low, high = float(row[f"{name}_lo"]), float(row[f"{name}_hi"])
            if low == low:  # nan where no ratio is reported
                covered.append(low <= truth <= high)
    print(f"{sum(covered)} of {len(covered)} intervals cover what is planted")

    assert len(covered) >= 5 * SEEDS
    assert binom.cdf(sum(covered), len(covered), 0.95) > 1e-4


def test_no_ratio_between_equal_models_that_learn_nothing(tmp_path: Path) -> None:
    equal = Parameters(0.7, gain=0.0, dip=0.0, copy=0.0)
    statuses = []
    for seed in range(max(SEEDS, 1)):
        folder = study(tmp_path / str(seed), 100 + seed, equal, equal, draws=1, test_size=100)
        row = result(folder)
        statuses += [row["pgr_gold_status"], row["pgr_zero_status"]]
    write_report(str(folder / "logs"), tmp_path / "out")
    assert "no ratio with" in (tmp_path / "out" / "report.html").read_text("utf-8")
    print(pd.Series(statuses).value_counts().to_dict())

    assert "ok" not in statuses


READINGS = {
    "learner": "generalization",
    "format": "format",
    "copier": "imitation",
    "surface": "surface rule",
}
"""What is planted in each student, in the words of a verdict."""


def verdict(student: str, seed: int, **student_args: float) -> Verdict:
    """The verdict on one student, taught by a teacher of 0.60 on real questions."""
    logs = planted_logs(
        SHARED / "truthful_qa_mc",
        f"simulated/{student}",
        shots=64,
        draws=8,
        test_size=400,
        seed=seed,
        arms=("gold", "weak", "self", "random", "noise_matched", "unlabelled"),
        student_args=student_args,
        teacher_args={"ability": 0.6},
    )
    (found,) = verdicts(Experiment(logs))
    return found


@needs_shared
@pytest.mark.parametrize(("student", "cause"), READINGS.items())
def test_each_planted_cause_is_the_verdict_and_no_other(student: str, cause: str) -> None:
    found = [verdict(student, seed) for seed in range(max(SEEDS, 1))]
    print(student, pd.Series([v.reading for v in found]).value_counts().to_dict())

    right = [v.reading == cause for v in found]
    assert sum(right) >= 0.95 * len(right)
    assert all(v.claim == (v.reading == "generalization") for v in found)
    assert student == "learner" or not any(v.claim for v in found)


@needs_shared
def test_a_student_that_gains_nothing_never_passes() -> None:
    found = [verdict("learner", seed, gain=0.0) for seed in range(max(SEEDS, 1))]

    assert {v.reading for v in found} <= {"no gain", "format"}
    assert not any(v.claim for v in found)
    assert not any("generali" in v.sentence for v in found)
