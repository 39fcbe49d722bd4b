"""Processes that share a study: each comes to the same parts and questions, whenever it looks."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from inspect_ai import eval
from inspect_ai.log import EvalLog
from inspect_ai.model import ModelOutput, ModelUsage, get_model
from rich.console import Console

from tests.conftest import rows
from w2s_icl.cli import main
from w2s_icl.evals.cells import Cell, all_cells, build, plan_record, zero_shot_cells
from w2s_icl.evals.study import Study, load_study
from w2s_icl.evals.sweep import shards
from w2s_icl.evals.sweep.evaluate import Work
from w2s_icl.evals.sweep.labelling import labelling, pool_ask
from w2s_icl.evals.sweep.progress import StudyProgress
from w2s_icl.evals.sweep.shards import Shard, divide
from w2s_icl.evals.sweep.stop import Stop, Stopped
from w2s_icl.solvers import label_logs as reading
from w2s_icl.solvers.label_logs import log_headers

MODELS = ["mockllm/one", "mockllm/two"]


@pytest.fixture
def study(tmp_path: Path, write_jsonl: Callable[..., str]) -> Study:
    path = tmp_path / "study.yaml"
    content = {"dataset": write_jsonl(rows(60)), "models": MODELS, "shots": [0, 4], "test_size": 8}
    path.write_text(yaml.safe_dump(content))
    return load_study(path)


def works_of(study: Study, log_dir: str) -> list[Work]:
    """The first phase, as a process makes it that looks now."""
    split = study.load_split()
    state = labelling(study, split, log_dir)
    plan = plan_record(study, all_cells(study, split))

    def work(cell: Cell) -> Work:
        ask = pool_ask(cell, state)
        return Work(cell, ask, build(study, cell, log_dir, plan, ask))

    return [work(cell) for cell in zero_shot_cells(study)]


def answer(work: Work, log_dir: str, replies: Sequence[str], error: bool = False) -> EvalLog:
    """Run a cell; the replies in turn."""
    n = len(work.task.dataset)
    outputs = [ModelOutput.from_content("mockllm", replies[i % len(replies)]) for i in range(n)]
    for output in outputs:
        output.usage = ModelUsage(input_tokens=1, output_tokens=1, total_tokens=2)
    if error:
        outputs = outputs[:-1]
    model = get_model(work.cell.model, custom_outputs=outputs, memoize=False)
    work.task.model = model
    log: EvalLog
    (log,) = eval(work.task, log_dir=log_dir, display="none", max_samples=1, fail_on_error=False)
    return log


def labelled_by_one(study: Study, log_dir: str) -> list[Work]:
    """The first phase before and after the first model has labelled, with two unread answers."""
    before = works_of(study, log_dir)
    (run,) = (w for w in before if w.ask is not None and w.cell.model == MODELS[0])
    answer(run, log_dir, ["A", "no idea", "B", "who knows", "C", "D", "A", "B"])
    return before


def test_a_process_that_looks_later_asks_the_same(study: Study, log_dir: str) -> None:
    before = labelled_by_one(study, log_dir)
    after = works_of(study, log_dir)

    assert [work.ask for work in after] == [work.ask for work in before]
    assert labelling(study, study.load_split(), log_dir).unread


def test_a_process_that_looks_later_has_the_same_part(study: Study, log_dir: str) -> None:
    works = works_of(study, log_dir)
    fewer = [replace(work, task=build(study, work.cell, log_dir, {}, {0})) for work in works[-1:]]

    for n in range(1, 6):
        parts = [
            [[work.key for work in part] for part in divide([[work] for work in of], n)]
            for of in (works, [*works[:-1], *fewer])
        ]
        assert parts[0] == parts[1]
        assert sorted(k for part in parts[0] for k in part) == sorted(w.key for w in works)


def test_a_log_that_another_process_is_writing_is_passed_over(
    study: Study, log_dir: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(works_of(study, log_dir)[2], log_dir, "ABCD", error=True)
    (begun,) = log_headers(log_dir)
    assert shards._rank(begun)[0] < 0

    def torn(name: str) -> None:
        raise ValueError("EOCD not found")

    monkeypatch.setattr(reading, "read_eval_log_sample_summaries", torn)
    monkeypatch.setattr(shards, "read_eval_log_sample_summaries", torn, raising=False)
    assert shards._rank(begun)[0] == 0


@pytest.mark.parametrize("other", ["./logs", "logs/", "../{}/logs", "file://{}/logs"])
def test_spellings_of_a_directory_are_one_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    monkeypatch.chdir(tmp_path)
    where = tmp_path if other.startswith("file") else tmp_path.name

    ids = {shards.eval_set_id(d, {}, write=False) for d in ("logs", other.format(where))}
    assert len(ids) == 1
    assert not (tmp_path / "logs").exists()


def test_a_directory_that_cannot_be_written_stops_the_run(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Stopped, match="logs cannot be written"):
        shards.eval_set_id(str(tmp_path / "file" / "logs"), {}, write=True)


@pytest.mark.parametrize(
    "value", ["0/3", "4/3", "x", "1/0", "-1/3", "1/3/2", "\N{SUPERSCRIPT TWO}/3"]
)
def test_a_part_that_does_not_exist_is_refused(value: str) -> None:
    result = CliRunner().invoke(main, ["run", "study.yaml", "--log-dir", "x", "--shard", value])
    assert result.exit_code == 2
    assert f"must be I/N with I from 1 to N, as 2/8, got {value!r}" in result.output


def waiting(study: Study, log_dir: str) -> Shard:
    console = Console(file=io.StringIO())
    return Shard(study, log_dir, {}, StudyProgress(console, 0), Stop(), index=1, n=2)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "POLL", 0.01)
    monkeypatch.setattr(shards, "PATIENCE", 0.1)


@pytest.mark.usefixtures("impatient")
def test_labels_suffice_though_a_shard_has_asked_for_fewer(study: Study, log_dir: str) -> None:
    run = labelled_by_one(study, log_dir)[2]
    more = {s.id for s in study.load_split().pool if s.id is not None}
    (identifier,) = shards.fullest_logs(log_dir)
    larger = Work(run.cell, more, build(study, run.cell, log_dir, {}, more), identifier)

    assert waiting(study, log_dir)._wait_for([larger], lambda: True)
    with pytest.raises(Stopped, match="not finished"):
        waiting(study, log_dir)._wait_for([larger], lambda: False)


@pytest.mark.usefixtures("impatient")
def test_baselines_are_not_waited_for(
    study: Study, log_dir: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    works = works_of(study, log_dir)
    for work in works:
        if work.ask is not None:
            answer(work, log_dir, "ABCD")
    monkeypatch.setattr(Shard, "ask", lambda *_: [])

    assert len(waiting(study, log_dir).run(works)) == len(MODELS)


@pytest.mark.usefixtures("impatient")
def test_a_label_run_of_its_own_that_fails_is_not_waited_for(
    study: Study, log_dir: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    works = works_of(study, log_dir)
    for work in works:
        answer(work, log_dir, "ABCD", error=True)
    monkeypatch.setattr(Shard, "ask", lambda *_: [])
    monkeypatch.setattr(shards.time, "sleep", lambda _: pytest.fail("waits"))

    with pytest.raises(Stopped, match="zero_pool of mockllm/one"):
        waiting(study, log_dir).run(works)
