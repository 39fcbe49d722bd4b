"""What is seen while a study runs, and what it leaves beside its logs."""

import csv
import io
import json
import re
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from inspect_ai.log import EvalLog, list_eval_logs
from inspect_ai.model import ModelUsage
from rich.console import Console

from tests.conftest import Run
from tests.evals.sweep.metered import SMALL, Meter, run_quietly, study_of
from tests.evals.sweep.openai_server import OpenAIServer, at_address_of
from tests.evals.sweep.test_http import ROWS, openrouter
from w2s_icl.analysis.logs import read_logs
from w2s_icl.analysis.report import write_report
from w2s_icl.evals.sweep.plan import make_plan
from w2s_icl.evals.sweep.progress import Outcome, StudyProgress, print_results
from w2s_icl.evals.truthfulqa import few_shot, zero_shot
from w2s_icl.record import key_of


@pytest.fixture(autouse=True)
def _nothing_asked() -> None:
    Meter.reset()


def test_live_line_starts_where_the_study_stands_and_fits(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    run_quietly(study_of(tmp_path, labels=["gold"], shots=[0, 1]), logs)
    plan = make_plan(study_of(tmp_path, labels=["gold"], shots=[0, 1, 2]), str(logs))
    for width in (80, 120):
        said = io.StringIO()
        console = Console(file=said, force_terminal=True, width=width, color_system=None)
        progress = StudyProgress(console, before=plan.spent)
        with progress.ending.listening():
            progress.follow(plan)
            progress.started()
            progress.paid(SMALL, ModelUsage(input_tokens=5, total_cost=1.0))
            progress.answers += 1
            progress.update()
        parts = re.split(r"[\r\n]|\x1b\[[0-9;?]*[A-Za-z]", said.getvalue())
        first, *_, last = filter(None, parts)
        assert max(map(len, parts)) <= width
        assert re.search(r"cells 4/6 .* answers 20/30 \$0\.0\d+ elapsed 0:00:00 about left", first)
        assert re.search(r"cells 4/6 .* answers 21/30 \$1\.0\d elapsed 0:00:00 about left", last)


def test_budget_stops_the_run_unless_the_last_call_uses_it_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []
    progress = StudyProgress(Console(), max_cost=1.0, last_call=4)
    monkeypatch.setattr(progress.ending, "once_answered", asked.append)
    for call in range(1, 5):
        progress.paid("a/b", ModelUsage(total_cost=0.25))
        assert not asked, call
    progress.paid("a/b", ModelUsage(total_cost=0.25))  # a sample that was tried again
    assert "is spent" in asked.pop()
    progress.paid("a/b", ModelUsage(input_tokens=5))
    assert "no known cost" in asked.pop()


def copied(log: EvalLog, model: str, **metadata: Any) -> EvalLog:
    """The log as that of another cell."""
    changes = {"model": model, "metadata": {**(log.eval.metadata or {}), **metadata}}
    return log.model_copy(update={"eval": log.eval.model_copy(update=changes)})


def test_table_of_ten_shot_counts_fits_80_columns(run: Run, tmp_path: Path) -> None:
    models = [f"openrouter/meta-llama/llama-3.1-{size}b-instruct" for size in (8, 70)]
    log = run(few_shot(shots=1, dataset="misconceptions", test_size=4), "ABCD")
    shots = [0, 1, 2, 4, 8, 16, 32, 64, 128, 150]
    arms = (("gold", None), ("noise_matched", models[0]), ("weak", models[0]))
    cells = product(models, arms, shots[1:])
    logs = [copied(log, model, labels=of, weak=weak, shots=k) for model, (of, weak), k in cells]
    zero = run(zero_shot(dataset="misconceptions", test_size=4), "ABCD")
    logs += [copied(zero, model) for model in models]
    study = study_of(tmp_path, models=models, prices={}, shots=shots, labels=["gold"])
    plan = make_plan(study_of(tmp_path, labels=["gold"], shots=[0]))._replace(study=study)
    said = io.StringIO()
    console = Console(file=said, width=80)
    print_results(Outcome(logs, len(logs)), "logs", StudyProgress(console), plan)
    lines = said.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert "…" not in said.getvalue()
    (first,) = (line.split() for line in lines if line.startswith("accuracy, %"))
    assert first[-10:] == [str(k) for k in shots]
    (noise, _) = (line.split() for line in lines if "noise_matched by 8b" in line)
    assert len(noise) == 3 + 9
    assert len({key_of(one) for one in logs}) == 2 * (3 * 9 + 1)


def test_summary_lies_beside_the_logs_and_is_taken_for_none(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    study = study_of(tmp_path, labels=["gold"], shots=[0, 2], test_size=4)
    outcome, said = run_quietly(study, logs)
    assert outcome.ok, said
    asked = len(Meter.calls)
    # a pipe gets a line per cell and no bar
    assert len(re.findall(r"^  ✔ (zero|gold_k02) +metered/(small|large) ", said, re.M)) == 4
    assert "answers" not in said
    assert "\x1b" not in said
    outcome, said = run_quietly(study, logs)

    assert outcome.ok, said
    assert len(Meter.calls) == asked == 16
    summary = json.loads((logs / "summary.json").read_text("utf-8"))
    assert summary["ok"] is True
    assert summary["spent_before"] == pytest.approx(Meter.bill())
    assert [row["cell"] for row in summary["cells"]] == ["zero", "gold_k02"] * 2
    assert len(list_eval_logs(str(logs))) == 4
    assert len(read_logs(str(logs)).runs) == 4


@pytest.mark.slow
def test_bill_that_the_server_reports_is_planned_logged_summed_and_reported(tmp_path: Path) -> None:
    price = {"input": 2.0, "output": 6.0}
    name = openrouter("meta-llama/llama-3.1-8b-instruct")
    logs, out = tmp_path / "logs", tmp_path / "report"
    with OpenAIServer(ROWS) as server, at_address_of(server):
        server.tokens = lambda texts: sum(map(len, texts)) // 4
        server.price = (price["input"] / 1e6, price["output"] / 1e6)
        plain = {"models": [name], "labels": ["gold", "flipped"], "test_size": 30}
        first = study_of(tmp_path, **plain, prices={name: price}, shots=[0])
        assert run_quietly(first, logs)[0].ok
        server.requests.clear()
        # what the file says is another sum than what the server reports
        prices = ({name: price}, {name: {"input": 9.0, "output": 9.0}})
        more, dearer = (study_of(tmp_path, **plain, prices=p, shots=[0, 4]) for p in prices)
        plan = make_plan(more, str(logs))
        outcome, said = run_quietly(dearer, logs)

        assert outcome.ok, said
        bill = sum(request.cost for request in server.answered)
        assert plan.to_run.calls == len(server.answered)
    assert plan.to_run.known == pytest.approx(bill, rel=0.02)
    summary = json.loads((logs / "summary.json").read_text("utf-8"))
    assert summary["this_run"]["cost"] == pytest.approx(bill, rel=1e-6)
    write_report(str(logs), str(out))
    with next(out.rglob("costs.csv")).open(encoding="utf-8", newline="") as file:
        costs = [row for row in csv.DictReader(file) if row["split"] == "all"]
    assert sum(float(row["cost"]) for row in costs) == pytest.approx(plan.spent.known + bill)
