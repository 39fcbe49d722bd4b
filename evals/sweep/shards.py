"""Cells of a study in one process of many, by Inspect's protocol for external runners.

Several plain `eval_set` must not share a log directory, since each keeps the books of all of it. So
Inspect first writes down how it tells the cells apart (a capture, which runs nothing); then each
process is given a selection of them, and touches no file but their logs. A cell is done when every
question has an answer in its log: in a selection, a log with failed questions says "success".
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import fsspec
import inspect_ai
from inspect_ai.log import EvalLog, list_eval_logs

from w2s_icl.errors import W2SError
from w2s_icl.evals.study import Study
from w2s_icl.evals.sweep.evaluate import ATTEMPTS, Here, Work
from w2s_icl.evals.sweep.logdir import answers_all, mark_incomplete
from w2s_icl.evals.sweep.stop import Stopped
from w2s_icl.record import PlanRecord, is_complete, precedence
from w2s_icl.solvers.label_logs import Stamp, is_remote, log_headers, stamp_of, summaries

CAPTURE_VERSION, SELECTION_VERSION = 3, 7
"""Of Inspect's two documents, which are not part of its public interface."""

POLL, PATIENCE = 2.0, 600.0
"""Seconds between two looks for other processes' logs, and without any change in them at most."""


def identified(works: Sequence[Work], runner: Here) -> list[Work]:
    """The cells with Inspect's identifiers.

    Raises:
        W2SError: Inspect speaks another version of its protocol.
    """
    _check_versions()
    if not works:
        return []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "capture.json"
        # a capture ends with an exit
        with _environment(INSPECT_EVAL_SET_CAPTURE=str(file)), suppress(SystemExit):
            runner.evaluate(works)
        found = json.loads(file.read_text("utf-8"))["tasks"]
    names = [(work.task.name, str(work.task.model)) for work in works]
    if [(one["name"], one["model"]) for one in found] != names:
        raise _other_inspect("captures other cells than it was given")
    return [
        replace(work, identifier=str(one["identifier"]))
        for work, one in zip(works, found, strict=True)
    ]


def _check_versions() -> None:
    try:
        from inspect_ai._eval.eval_set_manifest import EVAL_SET_CAPTURE_VERSION
        from inspect_ai._eval.eval_set_selection import EVAL_SET_SELECTION_VERSION
    except ImportError:
        raise _other_inspect("has no protocol for external runners") from None
    found = (EVAL_SET_CAPTURE_VERSION, EVAL_SET_SELECTION_VERSION)
    if found != (CAPTURE_VERSION, SELECTION_VERSION):
        raise _other_inspect(
            f"speaks versions {found} of its protocol for external runners, not "
            f"{(CAPTURE_VERSION, SELECTION_VERSION)}"
        )


def _other_inspect(what: str) -> W2SError:
    return W2SError(
        f"inspect-ai {inspect_ai.__version__} {what}: install the one that this suite was tried "
        'with, pip install "w2s-icl[ray]", or run on one machine, without --ray and --shard'
    )


def fullest_logs(log_dir: str) -> dict[str, EvalLog]:
    """By Inspect's identifier, the header of the log with most answers.

    Of equals a finished one, and of those the one that counts; of unfinished ones the last written.
    """
    from inspect_ai._eval.evalset import task_identifier

    found: dict[str, list[EvalLog]] = {}
    for log in reversed(log_headers(log_dir)):
        found.setdefault(task_identifier(log, None), []).append(log)
    return {one: logs[0] if len(logs) == 1 else min(logs, key=_rank) for one, logs in found.items()}


def _rank(log: EvalLog) -> tuple[int, bool, tuple[Any, ...]]:
    if is_complete(log) and log.results:
        return -log.results.completed_samples, False, precedence(log)
    # none where another process is writing it anew
    ((_, found),) = summaries([log.location])
    return -sum(sample.error is None for sample in found), True, ()


def not_done(works: Sequence[Work], log_dir: str) -> list[Work]:
    """The identified cells that a run would ask something in."""
    return _lacking(works, fullest_logs(log_dir))


def _lacking(works: Sequence[Work], fullest: Mapping[str, EvalLog]) -> list[Work]:
    return [
        work
        for work in works
        if (log := fullest.get(work.identifier)) is None or not answers_all(log, work.calls)
    ]


def logs_of(works: Sequence[Work], log_dir: str) -> list[EvalLog]:
    """Headers of the fullest logs of identified cells, as far as there are any."""
    fullest = fullest_logs(log_dir)
    return [fullest[work.identifier] for work in works if work.identifier in fullest]


def run_selected(works: Sequence[Work], runner: Here, eval_set: str) -> None:
    """Run those of the identified cells that are not done, each from its fullest log on.

    Args:
        works: Cells; that they are the same here as where they were identified is checked.
        runner: What runs them.
        eval_set: As `eval_set_id`.
    """
    fullest = fullest_logs(runner.log_dir)
    works = _lacking(works, fullest)
    if not works:
        return
    entries = []
    for work in works:
        log = fullest.get(work.identifier)
        entries.append({"identifier": work.identifier, "resume": log and log.location})
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "selection.json"
        selection = {"version": SELECTION_VERSION, "eval_set_id": eval_set, "tasks": entries}
        file.write_text(json.dumps(selection), "utf-8")
        with _environment(INSPECT_EVAL_SET_SELECTION=str(file)):
            # with every answer in its log, a lost machine repeats only the calls under way
            mark_incomplete(runner.evaluate(works, log_buffer=1))


@dataclass
class Shard(Here):
    """Runs the n-th part of the cells, while other processes run the others.

    Attributes:
        index: Which part, from 1.
        n: How many there are.
    """

    index: int = 1
    n: int = 1

    def __post_init__(self) -> None:
        """All parts together make as many calls at once as one process would."""
        self.study = per_process(self.study, self.n)

    def mine(self, units: Sequence[Sequence[Work]]) -> list[Work]:
        """Its part of them."""
        return divide(units, self.n)[self.index - 1]

    def run(
        self, works: Sequence[Work], labelled: Callable[[], bool] | None = None
    ) -> list[EvalLog]:
        """Run its part, and wait for all label runs; headers of those."""
        mine = self.mine([[work] for work in works])
        self.ask(mine)
        runs = identified([work for work in works if work.ask is not None], self)
        mine_too = {work.key for work in mine}
        for work in not_done([run for run in runs if run.key in mine_too], self.log_dir):
            raise Stopped(
                f"{_named(work)}, whose labels every shard needs, is not finished: if the same "
                "questions fail again, run the study without --shard, where some may"
            )
        return self._wait_for(runs, labelled)

    def ask(self, works: Sequence[Work]) -> list[EvalLog]:
        """Run cells that are its own; headers of their logs, as far as there are any."""
        works = identified(works, self)
        eval_set = eval_set_id(self.log_dir, self.plan, write=self.index == 1)
        for _ in range(ATTEMPTS):
            run_selected(works, self, eval_set)
        return logs_of(works, self.log_dir)

    def _wait_for(self, runs: Sequence[Work], labelled: Callable[[], bool] | None) -> list[EvalLog]:
        seen: set[Stamp] | None = None
        since = time.monotonic()
        missing = list(runs)
        while missing:
            self.stop.raise_if_requested()
            listed = set(map(stamp_of, list_eval_logs(self.log_dir)))
            if listed != seen:
                seen, since = listed, time.monotonic()
                fullest = fullest_logs(self.log_dir)
                missing = _lacking(runs, fullest)
                logs = [fullest.get(run.identifier) for run in runs]
                ended = all(log is not None and is_complete(log) for log in logs)
                # another shard may have seen fewer unread answers, and have asked less
                if ended and labelled and labelled():
                    break
            elif time.monotonic() - since > PATIENCE:
                names = ", ".join(map(_named, missing[:3]))
                raise Stopped(
                    f"label runs are not finished that every shard needs ({names}), and nothing "
                    f"has changed for {PATIENCE / 60:.0f} minutes: run all shards at the "
                    "same time, or finish the label runs with a plain `w2s run`"
                )
            if missing:
                time.sleep(POLL)
        return logs_of(runs, self.log_dir)


def _named(work: Work) -> str:
    return f"{work.task.name} of {work.cell.model}"


def per_process(study: Study, n: int) -> Study:
    """The study as one of `n` processes runs it: all together make as many calls at once."""
    if study.max_connections is None:
        return study
    return study.model_copy(update={"max_connections": max(1, study.max_connections // n)})


def divide(units: Sequence[Sequence[Work]], n: int) -> list[list[Work]]:
    """`n` lists of about the same size, ordered by model; a unit is never parted.

    So a part is of one model or few, and its cells have much of their prompts in common, which the
    server then has in its cache. Epochs are counted and not questions: how many a label run asks
    depends on what is in the logs, and every process must come to the same parts.
    """
    units = sorted(units, key=lambda unit: unit[0].cell.model)
    total = sum(_epochs(unit) for unit in units) or 1
    parts: list[list[Work]] = [[] for _ in range(n)]
    before = 0
    for unit in units:
        epochs = _epochs(unit)
        # by its middle, so that no part is much larger than the others
        parts[min(n - 1, int(n * (before + epochs / 2) / total))] += unit
        before += epochs
    return parts


def _epochs(unit: Sequence[Work]) -> int:
    return sum(int(work.task.epochs or 1) for work in unit)


def eval_set_id(log_dir: str, plan: PlanRecord, *, write: bool) -> str:
    """The id that Inspect keeps in the log directory, where one is; the same in all processes.

    Raises:
        Stopped: The directory cannot be read or written.
    """
    files, path = fsspec.core.url_to_fs(f"{log_dir.rstrip('/')}/.eval-set-id")
    # each process may have spelt it in its own way
    where = path if is_remote(log_dir) else os.path.realpath(path)
    made = hashlib.sha256(
        json.dumps([where, plan.to_metadata()], sort_keys=True).encode()
    ).hexdigest()[:22]
    try:
        if files.exists(path):
            return str(files.cat_file(path).decode("utf-8").strip())
        if write:
            if not is_remote(log_dir):
                Path(path).parent.mkdir(parents=True, exist_ok=True)
            files.pipe_file(path, made.encode())
    except OSError as error:
        raise Stopped(f"{log_dir} cannot be written: {error.strerror or error}") from None
    return made


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    """Variables that Inspect reads, for as long as it runs."""
    os.environ.update(values)
    try:
        yield
    finally:
        for name in values:
            del os.environ[name]
