"""The one call of Inspect's `eval_set`, and how a run uses the machine that it is on."""

from __future__ import annotations

import asyncio
import gc
import math
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from inspect_ai import Task, eval_set
from inspect_ai._util.error import PrerequisiteError  # noqa: TID251 - what Inspect refuses with
from inspect_ai.log import EvalLog
from rich.text import Text

from w2s_icl.errors import W2SError
from w2s_icl.evals.cells import Cell
from w2s_icl.evals.study import Study
from w2s_icl.evals.sweep.endpoint import quiet_console
from w2s_icl.evals.sweep.logdir import one_per_cell, settled
from w2s_icl.evals.sweep.progress import StudyProgress
from w2s_icl.evals.sweep.stop import Stop, Stopped
from w2s_icl.record import CellKey, CellRecord, PlanRecord
from w2s_icl.solvers.few_shot import TAKEN_OVER
from w2s_icl.solvers.label_logs import is_remote

LOG_BUFFER = 10
"""Answered questions at which a running cell's log is written anew: kill -9 loses fewer per cell.

Inspect's own number, which is larger in large cells; it is kept where a log is uploaded anew.
"""

ATTEMPTS = 2
"""How often a cell is tried in one run, besides the tries of each call and of each question."""

CELLS_AT_ONCE, CELLS_IN_A_BATCH = 4, 10
"""Cells that run at once, where there are not more models than that: each has its own limit.

All questions of a running cell wait in memory. Inspect's ten cells take twice as much of it and end
no sooner, except in batches, where ten cells take as long as one.
"""

COLLECT_AT = (10_000, 4, 3)
"""Thresholds of Python's garbage collector during a run; its own cost a fifth of the CPU time."""


@contextmanager
def fewer_collections() -> Iterator[None]:
    """Keep the garbage collector from walking modules and waiting samples all the time."""
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AT)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


@dataclass(frozen=True)
class Work:
    """A cell that is about to run.

    Attributes:
        cell: The cell.
        ask: Ids of the only questions that it asks, in a label run.
        task: Its task; any machine makes the same from cell, ask and the label runs' logs.
        identifier: What Inspect tells it from other cells by, on every machine; "" until asked for.
    """

    cell: Cell
    ask: Collection[int | str] | None
    task: Task
    identifier: str = ""

    @property
    def key(self) -> CellKey:
        """The cell as its log will say it."""
        return CellRecord.from_metadata(self.task.metadata or {}).key(str(self.task.model))

    @property
    def calls(self) -> int:
        """Answers that a finished log of it holds."""
        return len(self.task.dataset) * int(self.task.epochs or 1)

    @property
    def sent(self) -> tuple[Cell, Collection[int | str] | None, str]:
        """What another process makes it again from: its cell, `ask` and identifier."""
        return self.cell, self.ask, self.identifier

    @property
    def reused(self) -> bool:
        """Whether all its answers are taken over from another cell."""
        return all(TAKEN_OVER in (sample.metadata or {}) for sample in self.task.dataset)


@dataclass
class Here:
    """Runs cells in this process, and knows those that it runs to be the only ones.

    Attributes:
        study: The study.
        log_dir: Inspect log directory.
        plan: As `study.plan_record`.
        progress: What is told of the run.
        stop: What may end it early.
        display: One of Inspect's displays.
    """

    study: Study
    log_dir: str
    plan: PlanRecord
    progress: StudyProgress
    stop: Stop
    display: str = "none"

    def mine(self, units: Sequence[Sequence[Work]]) -> list[Work]:
        """The cells that are this process's to run or to have run; a unit stays together."""
        return [work for unit in units for work in unit]

    def run(
        self, works: Sequence[Work], labelled: Callable[[], bool] | None = None
    ) -> list[EvalLog]:
        """Run a phase that others need; headers of the logs, as far as there are any.

        Args:
            works: Cells.
            labelled: Whether all labels are there, though a label run may have asked less.

        Raises:
            Stopped: A stop was requested, or the run could not go on.
            W2SError: Inspect refuses to run the cells.
        """
        return self.ask(works)

    def ask(self, works: Sequence[Work]) -> list[EvalLog]:
        """Run cells of the last phase; as `run`."""
        there = settled([work.task for work in works], self.log_dir)
        todo = [work for work, log in zip(works, there, strict=True) if log is None]
        logs = self.evaluate(todo) if todo else []
        return [*(log for log in there if log is not None), *one_per_cell(logs)]

    def evaluate(self, works: Sequence[Work], log_buffer: int | None = None) -> list[EvalLog]:
        """One `eval_set`; headers of the logs.

        Args:
            works: Cells.
            log_buffer: As `LOG_BUFFER`, where it is to be another number.

        Raises:
            Stopped: A stop was requested, or Inspect was cancelled by something else.
            W2SError: Inspect refuses to run the cells.
        """
        study, stop = self.study, self.stop
        tasks = [work.task for work in works]
        stop.raise_if_requested()
        logs: list[EvalLog] = []
        at_once = max(CELLS_IN_A_BATCH if study.batch else CELLS_AT_ONCE, len(study.models))
        # no more questions in memory than there may be calls: where Inspect adapts the number of
        # calls it adapts this one as well
        connections = study.max_connections
        questions = connections and math.ceil(connections * len(study.models) / at_once)
        try:
            with quiet_console(self.display == "none"):
                _, logs = eval_set(
                    tasks,
                    log_dir=self.log_dir,
                    model=None,
                    display=self.display,  # type: ignore[arg-type]  # checked by the command line
                    # anything softer marks a cell with failed samples as a success and never
                    # retries it
                    fail_on_error=True,
                    continue_on_fail=True,
                    retry_on_error=3,
                    retry_attempts=ATTEMPTS,
                    # a log of one phase is no dirt to the other; what must not mix has been refused
                    log_dir_allow_dirty=True,
                    max_tasks=at_once,
                    max_samples=questions,
                    log_realtime=False,
                    log_buffer=log_buffer or (None if is_remote(self.log_dir) else LOG_BUFFER),
                    log_model_api=False,
                    score_display=False,
                )
        except PrerequisiteError as error:
            said = Text.from_markup(str(error.message)).plain
            raise W2SError(said.removeprefix("ERROR: ")) from None
        except OSError as error:  # of the log directory: what a call meets is in the sample's log
            raise Stopped(f"{self.log_dir} cannot be written: {error.strerror or error}") from None
        except (KeyboardInterrupt, asyncio.CancelledError):
            if stop.requested is None:
                raise
        stop.raise_if_requested()
        if len(logs) < len(tasks):
            # a run that was cancelled before its first cell ended has no logs, a success to Inspect
            raise Stopped("interrupted")
        return logs
