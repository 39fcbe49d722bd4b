"""What is seen of a run: a live line, a line per cell, at its end the results and the bill."""

import json
import math
import re
import textwrap
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import fsspec
from inspect_ai.hooks import Hooks, ModelUsageData, SampleEnd, TaskEnd, TaskStart, hooks
from inspect_ai.log import EvalLog, read_eval_log_sample_summaries
from inspect_ai.model import ModelUsage
from inspect_ai.scorer import NOANSWER
from rich.console import Console
from rich.progress import BarColumn, Progress, TimeElapsedColumn, TimeRemainingColumn

from w2s_icl import record
from w2s_icl.errors import first_line
from w2s_icl.evals.sweep import logdir, stopping
from w2s_icl.evals.sweep.plan import NOTHING, Amount, Logged, Plan, table
from w2s_icl.words import arm_name, fitted, model_name, money, printable, say


@dataclass
class StudyProgress:
    """One line per cell that ends and one live line, fed by Inspect's hooks."""

    console: Console
    shown: bool = True  # whether lines are printed
    max_cost: float | None = None  # dollars that the study may cost in all
    before: Amount = NOTHING  # what the study had taken before this run
    now: Amount = NOTHING  # what this run took
    last_call: int | None = None  # number of this run's last call, after which nothing is stopped
    retries: int = 0  # requests that had to be sent again
    planned: int = 0  # cells of the study
    done: set[record.CellKey] = field(default_factory=set)
    answers: int = 0  # of all cells
    answers_planned: int = 0
    _printed: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Make the live line, which is not shown yet."""
        self.ending = stopping.Ending(self)
        answers = ("answers {task.completed}/{task.total}", "{task.fields[cost]}")
        times = ("elapsed", TimeElapsedColumn(), "about left", TimeRemainingColumn())
        line = ("cells {task.fields[cells]}", BarColumn(bar_width=None), *answers, *times)
        off = not (self.shown and self.console.is_terminal)
        self.bar = Progress(*line, console=self.console, disable=off, transient=True, expand=True)
        self._line = self.bar.add_task("", start=False, cells="", cost="")

    def follow(self, plan: Plan) -> None:
        """Count from where the study stands: cells and answers that are there, and those left."""
        self.planned = len(plan.cells)
        self.done = {one.cell.key for one in plan.cells if one.done}
        self.answers = sum(one.answered for one in plan.cells)
        self.answers_planned = self.answers + plan.to_run.calls
        self.last_call = self.now.calls + plan.to_run.calls if plan.exact else None
        self.update()

    def started(self) -> None:
        """The first cell runs: Inspect has printed what it prints, the live line may begin."""
        self.bar.start_task(self._line)
        self.bar.start()

    def update(self) -> None:
        """Let the live line say what is now the case."""
        total, cells = max(self.answers, self.answers_planned), f"{len(self.done)}/{self.planned}"
        cost = (self.before + self.now).dollars
        self.bar.update(self._line, completed=self.answers, total=total, cells=cells, cost=cost)

    def paid(self, model: str, usage: ModelUsage | None = None) -> None:
        """A call was answered; without `usage` where its reply does not say what it took."""
        call = Amount.of(model, usage or ModelUsage())
        self.now += call
        spent = self.before.known + self.now.known
        if self.max_cost is None or self.now.calls == self.last_call:
            return
        if call.unpriced:
            said = "no known cost, so --max-cost cannot be kept: give its price in the study file"
            self.ending.once_answered(f"a call to {model} has {said} (prices:)")
        elif spent >= self.max_cost:
            out = f"--max-cost {self.max_cost:g} is spent ({money(spent)})"
            self.ending.once_answered(f"{out}; run the same command with a larger one to continue")

    def say_once(self, text: str) -> None:
        """Print what has not been printed yet."""
        if text not in self._printed:
            say(self.console, text)
        self._printed.add(text)


@hooks(name="w2s_progress", description="progress of a w2s study")
class _Listener(Hooks):
    """Passes Inspect's events to the study that is running in this process, if one is."""

    @property
    def progress(self) -> Any:
        return stopping.Ending.current and stopping.Ending.current.progress

    def enabled(self) -> bool:
        return self.progress is not None

    async def on_task_start(self, data: TaskStart) -> None:
        self.progress.started()

    async def on_sample_end(self, data: SampleEnd) -> None:
        # a question whose answer is taken over from another cell has no usage
        if data.sample.model_usage and not data.sample.error:
            self.progress.answers += 1
            self.progress.update()

    async def on_model_usage(self, data: ModelUsageData) -> None:
        self.progress.paid(data.model_name, data.usage)

    async def on_task_end(self, data: TaskEnd) -> None:
        if record.is_complete(data.log):
            self.progress.done.add(record.key_of(data.log))
            self.progress.update()
        if self.progress.shown:
            self.progress.say_once(cell_line(data.log))


def metric(log: EvalLog, name: str) -> float:
    """A number that Inspect computed for a log; nan where there is none."""
    metrics = log.results.scores[0].metrics if log.results and log.results.scores else {}
    return float(metrics[name].value) if name in metrics else math.nan


def readable(log: EvalLog) -> float:
    """Share of the replies that could be read, in all epochs."""
    if (log.eval.config.epochs or 1) == 1 or not log.location:
        return metric(log, "readable")  # of several, where all agree
    scores = [sample.scores or {} for sample in read_eval_log_sample_summaries(log.location)]
    read = [score.value != NOANSWER for of in scores for score in of.values()]
    return sum(read) / len(read) if read else math.nan


def cell_line(log: EvalLog) -> str:
    """How a cell ended: its accuracy with the half width of a 95% interval, or what went wrong."""
    name = f"{fitted(log.eval.task, 20):<16} {fitted(model_name(log.eval.model), 26):<26}"
    if record.is_complete(log):
        value, half, read = metric(log, "accuracy"), 1.96 * metric(log, "stderr"), readable(log)
        mark = "✔" if 1 - read <= record.UNREAD_LIMIT else "!"
        return f"  {mark} {name} {100 * value:5.1f} ± {100 * half:.1f}   readable {100 * read:.0f}%"
    message, failed = stopping.stopped_unread(log), ""
    if not message:
        samples = read_eval_log_sample_summaries(log.location) if log.location else []
        errors = [sample.error for sample in samples if sample.error]
        error = errors[0] if errors else log.error.message if log.error else log.status
        error = re.sub(r"(?s)^\w+\((['\"])(.*)\1\)$", r"\2", error)  # of Inspect's repr
        message = stopping.with_remedy(first_line(ValueError(error)))
        failed = f" {len(errors)} of {log.eval.dataset.samples} questions failed" if errors else ""
        if log.status == "success":  # as under `inspect eval --no-fail-on-error`
            again = f"to ask again, move {record.file_of(log)} away"
            message += f" (Inspect asks nothing more of it: {again})"
    said = textwrap.indent(textwrap.fill(printable(message), 76), "    ")
    return f"  ✗ {name}{failed}\n{said}"


class Outcome(NamedTuple):
    """How a run of `planned` cells ended."""

    logs: Sequence[EvalLog]  # none where it ended early
    planned: int
    stopped: str = ""  # why it ended early
    code: int = 1  # exit code where not every planned cell is there and complete

    @property
    def ok(self) -> bool:
        """Whether every planned cell is there and complete."""
        complete = all(map(record.is_complete, self.logs))
        return complete and not self.stopped and len(self.logs) == self.planned

    @property
    def exit_code(self) -> int:
        """0, 1 (some failed, or stopped), or 128 and the number of the signal that stopped it."""
        return 0 if self.ok else self.code


def print_results(outcome: Outcome, log_dir: str, progress: StudyProgress, plan: Plan) -> None:
    """Accuracy by prompted model and labels against shots; what went wrong; what to do next."""
    tell = partial(say, progress.console)
    progress.bar.stop()
    tell("", *_accuracies(plan, outcome.logs))
    for log in outcome.logs:
        if record.is_complete(log) and (unread := 1 - readable(log)) > record.UNREAD_LIMIT:
            share = f"{100 * unread:.1f}% of the replies could not be read"
            tell(f"! {log.eval.task} {model_name(log.eval.model)}: {share}")
    tell(*(cell_line(log) for log in outcome.logs if not record.is_complete(log)))
    if missing := outcome.planned - len(outcome.logs):
        tell(f"! {missing} of {outcome.planned} cells were not run")
    if any(model.startswith(record.STANDIN) for model in plan.study.models):
        tell(f"! {record.BANNER}")
    print_bill(progress, plan)
    total = Logged(log_dir, plan.split).spent
    unknown = f" ({', '.join(sorted(map(model_name, total.unpriced)))})" if total.unpriced else ""
    tell(f"study   {total.dollars}{unknown}, {progress.retries} retries")
    tell(f"logs    inspect view --log-dir {log_dir}")
    tell(f"report  w2s report {log_dir} --out report")


def print_bill(progress: StudyProgress, plan: Plan) -> None:
    """This run beside its plan; nothing where nothing was planned and nothing asked."""
    if plan.to_run.calls or progress.now.calls:
        least = "" if plan.exact else f"{plan.calls_at_least:,} to "
        say(progress.console, f"planned {least}{plan.to_run.text}", f"came to {progress.now.text}")


def write_summary(outcome: Outcome, log_dir: str, progress: StudyProgress, plan: Plan) -> None:
    """Write `summary.json`, which Inspect takes for no log, into `log_dir`."""
    content = {
        "study": plan.study.name,
        "ok": outcome.ok,
        "cells_planned": outcome.planned,
        "stopped": outcome.stopped or None,
        "retries": progress.retries,
        "this_run": progress.now.to_json(),
        "planned": plan.to_run.to_json(),
        "spent_before": plan.spent.to_json()["cost"],
        "cells": list(map(_row, _in_order(plan, outcome.logs or logdir.our_logs(log_dir)))),
    }
    path = f"{log_dir.rstrip('/')}/summary.json"
    # a full disk has lost the logs already, which the run says by itself
    with suppress(OSError), fsspec.open(path, "w", encoding="utf-8") as file:
        file.write(json.dumps(content, indent=1, ensure_ascii=False))


def write_plan(log_dir: str, planned: record.PlanRecord) -> None:
    """Add a plan to `plans.jsonl`: what a study declares later must be seen by the report."""
    files, path = fsspec.core.url_to_fs(f"{log_dir.rstrip('/')}/{record.PLANS}")
    line = json.dumps(planned.to_metadata())
    with suppress(OSError):
        lines = files.cat_file(path).decode().splitlines() if files.exists(path) else []
        if line not in lines:
            files.pipe_file(path, "".join(f"{of}\n" for of in [*lines, line]).encode())


def _row(log: EvalLog) -> dict[str, Any]:
    complete = record.is_complete(log)
    numbers = {"readable": readable(log)} | {n: metric(log, n) for n in ("accuracy", "stderr")}
    return {
        "cell": log.eval.task,
        **record.key_of(log)._asdict(),
        "status": "incomplete" if log.status == "success" and not complete else log.status,
        "questions": log.eval.dataset.samples,
        **{k: v if complete and not math.isnan(v) else None for k, v in numbers.items()},
        "log": record.file_of(log),
    }


def _accuracies(plan: Plan, logs: Sequence[EvalLog]) -> list[str]:
    """A line per prompted model with its zero-shot accuracy, and a line per arm below it."""
    values: dict[tuple[str, str], dict[int, list[float]]] = {}
    for log in _in_order(plan, logs):
        key = record.key_of(log)
        if record.is_complete(log) and key.split == "test" and not key.order:
            weak = record.short_name(key.weak) if key.weak else ""
            arm = arm_name(key.labels, weak, key.prompt) if key.labels or key.prompt else ""
            values.setdefault((key.model, ""), {})  # the model's own line stands first
            by_shots = values.setdefault((key.model, arm), {})
            by_shots.setdefault(key.shots, []).append(metric(log, "accuracy"))
    shots = sorted({0, *plan.study.shots})
    rows = [["accuracy, %, by demonstrations", *map(str, shots)]]
    for (model, arm), by_shots in values.items():
        means = {k: f"{100 * sum(v) / len(v):.1f}" for k, v in by_shots.items()}
        numbers = [means.get(k, "").replace("100.0", "100") for k in shots]
        rows.append([f"  {arm}" if arm else model_name(model), *numbers])
    return table(rows)


def _in_order(plan: Plan, logs: Iterable[EvalLog]) -> list[EvalLog]:
    """By prompted model as in the study; of one model as planned."""
    models = {model: i for i, model in enumerate(plan.study.models)}
    places = {one.cell.key: i for i, one in enumerate(plan.cells)}
    planned = sorted(logs, key=lambda log: places.get(record.key_of(log), len(places)))
    return sorted(planned, key=lambda log: models.get(log.eval.model, len(models)))
