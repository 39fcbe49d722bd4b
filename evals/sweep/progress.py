"""What a person sees of a run while it runs: a line per cell, and one live line."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from inspect_ai.hooks import (
    Hooks,
    ModelUsageData,
    SampleEnd,
    TaskEnd,
    TaskStart,
    hooks,
)
from inspect_ai.log import EvalLog, read_eval_log_sample_summaries
from inspect_ai.model import ModelUsage
from inspect_ai.scorer import NOANSWER
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Column

from w2s_icl.errors import first_line
from w2s_icl.evals.sweep.plan import NOTHING, Amount, Plan
from w2s_icl.evals.sweep.stopping import with_remedy
from w2s_icl.evals.sweep.unread import stopped_unread
from w2s_icl.record import UNREAD_LIMIT, CellKey, is_complete, key_of
from w2s_icl.words import fitted, model_name, money, printable, say

Z95 = 1.959964


@dataclass
class StudyProgress:
    """One line per cell that ends and one live line, fed by Inspect's hooks.

    Attributes:
        shown: Whether lines are printed.
        max_cost: Dollars that the study may cost in all; None for any.
        before: What the study had taken before this run; `now` is what this run took.
        stop: Called with the reason when the money is spent: no call is launched from then on.
        last_call: Number of the last call of this run, where it is known: after that one there is
            nothing to stop.
        retries: Requests that had to be sent again.
        planned, answers_planned: Cells and answers of the study; `done` and `answers` are there.
    """

    console: Console
    shown: bool = True
    max_cost: float | None = None
    before: Amount = NOTHING
    stop: Callable[[str], None] = lambda _: None
    last_call: int | None = None
    retries: int = 0
    now: Amount = NOTHING
    planned: int = 0
    done: set[CellKey] = field(default_factory=set)
    answers: int = 0
    answers_planned: int = 0
    _printed: set[str] = field(default_factory=set)
    _bar: Progress | None = None

    def __enter__(self) -> StudyProgress:
        """Start to listen to Inspect."""
        _Listener.progress = self
        return self

    def __exit__(self, *_: object) -> None:
        """Stop listening and take the live line off the screen."""
        _Listener.progress = None
        if self._bar:
            self._bar.stop()
            self._bar = None

    def follow(self, plan: Plan) -> None:
        """Count from where the study stands: cells and answers that are there, and those left."""
        self.planned, self.done = len(plan.cells), set(plan.finished)
        self.answers = sum(one.answered for one in plan.cells)
        self.answers_planned = self.answers + plan.to_run.calls
        self.last_call = self.now.calls + plan.to_run.calls if plan.exact else None
        self._update()

    def started(self) -> None:
        """The first cell runs: Inspect has printed what it prints, the live line may begin."""
        if self._bar or not self.shown or not self.console.is_terminal:
            return
        self._bar = Progress(
            TextColumn("cells {task.fields[cells]}"),
            BarColumn(bar_width=None, table_column=Column(ratio=1)),
            TextColumn("answers {task.fields[answers]}"),
            TextColumn("{task.fields[cost]}"),
            *("elapsed", TimeElapsedColumn(), "about left", TimeRemainingColumn()),
            console=self.console,
            transient=True,
            expand=True,
        )
        self._bar.add_task("", completed=self.answers, cells="", answers="", cost="")
        self._update()
        self._bar.start()

    def _update(self) -> None:
        if self._bar:
            total = max(self.answers, self.answers_planned)
            self._bar.update(
                self._bar.task_ids[0],
                completed=self.answers,
                total=total,
                cells=f"{len(self.done)}/{self.planned}",
                answers=f"{self.answers}/{total}",
                cost=(self.before + self.now).dollars,
            )

    def answered(self) -> None:
        """One question was answered by a call."""
        self.answers += 1
        self._update()

    def paid(self, model: str, usage: ModelUsage | None = None) -> None:
        """A call was answered; without `usage` where its reply does not say what it took."""
        usage = usage or ModelUsage()
        self.now += Amount.of(model, usage)
        spent = self.before.known + self.now.known
        if self.max_cost is None or self.now.calls == self.last_call:
            return
        if usage.total_cost is None:
            self.stop(
                f"a call to {model} has no known cost, so --max-cost cannot be kept: give its "
                "price in the study file (prices:)"
            )
        elif spent >= self.max_cost:
            self.stop(
                f"--max-cost {self.max_cost:g} is spent ({money(spent)}); run the same command "
                "with a larger one to continue"
            )

    def finished(self, log: EvalLog) -> None:
        """A cell ended, well or not."""
        if is_complete(log):
            self.done.add(key_of(log))
            self._update()
        if self.shown:
            self.say_once(cell_line(log))

    def say_once(self, text: str) -> None:
        """Print what has not been printed yet."""
        if text not in self._printed:
            say(self.console, text)
        self._printed.add(text)


@hooks(name="w2s_progress", description="progress of a w2s study")
class _Listener(Hooks):
    """Passes Inspect's events to the study that is running in this process, if one is."""

    progress: Any = None

    def enabled(self) -> bool:
        return self.progress is not None

    async def on_task_start(self, data: TaskStart) -> None:
        self.progress.started()

    async def on_sample_end(self, data: SampleEnd) -> None:
        # a question whose answer is taken over from another cell has no usage
        if data.sample.model_usage and not data.sample.error:
            self.progress.answered()

    async def on_model_usage(self, data: ModelUsageData) -> None:
        self.progress.paid(data.model_name, data.usage)

    async def on_task_end(self, data: TaskEnd) -> None:
        self.progress.finished(data.log)


def metric(log: EvalLog, name: str) -> float:
    """A number that Inspect computed for a log; nan where there is none."""
    if not log.results or not log.results.scores:
        return math.nan
    value = log.results.scores[0].metrics.get(name)
    return math.nan if value is None else float(value.value)


def readable(log: EvalLog) -> float:
    """Share of the replies that could be read, in all epochs."""
    if (log.eval.config.epochs or 1) == 1 or not log.location:
        return metric(log, "readable")  # of several, where all agree
    samples = read_eval_log_sample_summaries(log.location)
    values = [score.value for sample in samples for score in (sample.scores or {}).values()]
    return sum(value != NOANSWER for value in values) / len(values) if values else math.nan


def cell_line(log: EvalLog) -> str:
    """How a cell ended: its accuracy with the half width of a 95% interval, or what went wrong."""
    name = f"{fitted(log.eval.task, 20):<16} {fitted(model_name(log.eval.model), 26):<26}"
    if is_complete(log):
        value, half = 100 * metric(log, "accuracy"), 100 * Z95 * metric(log, "stderr")
        read = readable(log)
        mark = "✔" if 1 - read <= UNREAD_LIMIT else "!"
        return f"  {mark} {name} {value:5.1f} ± {half:.1f}   readable {100 * read:.0f}%"
    ended, failed = stopped_unread(log), ""
    error = log.error.message if log.error else log.status
    if log.location and not ended:
        samples = read_eval_log_sample_summaries(log.location)
        if errors := [sample.error for sample in samples if sample.error]:
            error = re.sub(r"(?s)^\w+\((['\"])(.*)\1\)$", r"\2", errors[0])  # of Inspect's repr
            failed = f" {len(errors)} of {log.eval.dataset.samples} questions failed"
    message = printable(ended or with_remedy(first_line(ValueError(error))))
    said = textwrap.fill(message, 80, initial_indent="    ", subsequent_indent="    ")
    return f"  ✗ {name}{failed}\n{said}"
