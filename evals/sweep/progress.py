"""What a person sees of a run: a line per cell, a live line, the results."""

from __future__ import annotations

import csv
import io
import json
import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import fsspec
from inspect_ai import Task
from inspect_ai.hooks import Hooks, ModelRetry, ModelUsageData, SampleEnd, TaskEnd, TaskStart, hooks
from inspect_ai.log import EvalLog, read_eval_log_sample_summaries
from inspect_ai.model import ModelUsage
from inspect_ai.scorer import NOANSWER
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from w2s_icl.evals.study import Study
from w2s_icl.evals.sweep.logdir import QUESTIONS_FAILED, lacks_answers
from w2s_icl.evals.sweep.plan import (
    Plan,
    count_text,
    dollars,
    model_name,
    plan_json,
)
from w2s_icl.evals.sweep.tokens import usage_tokens
from w2s_icl.evals.truthfulqa import short_name
from w2s_icl.record import BANNER, STANDIN, is_complete
from w2s_icl.solvers.label_logs import summaries

READABLE_LIMIT = 0.99
Z95 = 1.959964


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        logs: Headers of all cells' logs, in the order of the plan.
        planned: Names and models of all planned cells.
        failed: Logs that are not finished.
        stopped: Why the run was stopped before its end, "" where it was not; `logs` is empty then.
        code: Exit code of a stopped run.
    """

    logs: Sequence[EvalLog]
    planned: int
    failed: Sequence[EvalLog]
    stopped: str = ""
    code: int = 1

    @property
    def ok(self) -> bool:
        """Whether every planned cell is there and finished."""
        return not self.stopped and not self.failed and len(self.logs) == self.planned

    @property
    def exit_code(self) -> int:
        """0, 1 (some failed, or stopped), or 128 and the number of the signal that stopped it."""
        return 0 if self.ok else self.code


@dataclass
class StudyProgress:
    """One line per finished cell and one live line, fed by Inspect's hooks.

    Attributes:
        console: Where it is printed.
        planned: Cells of the study.
        shown: Whether lines are printed.
        max_cost: Dollars that the study may cost in all; None for any.
        spent: Dollars that the study had cost before this run.
        stop: Called with the reason when the money is spent: no call is launched from then on.
        last_call: Number of the last call of this run, from 1, where it is known: after that one
            there is nothing to stop.
        retries: HTTP requests that had to be sent again.
        calls: Calls that were answered.
        tokens_in: Tokens of their prompts, as the provider counted them.
        tokens_out: Tokens of their replies.
        cost: Dollars of the calls whose cost is known.
        unpriced: Whether there are others.
    """

    console: Console
    planned: int
    shown: bool = True
    max_cost: float | None = None
    spent: float = 0.0
    stop: Callable[[str], None] | None = None
    last_call: int | None = None
    retries: int = 0
    calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float = 0.0
    unpriced: bool = False
    cells: int = 0
    printed: set[str] = field(default_factory=set)
    _bar: Progress | None = None
    _line: TaskID | None = None

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

    def expect(self, tasks: Sequence[Task]) -> None:
        """Count the samples of a phase."""
        if not self.shown or not self.console.is_terminal:
            return
        total = sum(len(task.dataset) for task in tasks)
        if self._bar is None:
            self._bar = Progress(
                TextColumn("cells {task.fields[cells]}/{task.fields[planned]}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[cost]}"),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=self.console,
                transient=True,
            )
            self._line = self._bar.add_task("", cells=0, planned=self.planned, cost="")
        if self._line is not None:
            self._bar.update(self._line, total=total, completed=0)

    def started(self) -> None:
        """The first cell runs: Inspect has printed what it prints, the live line may begin."""
        if self._bar and not self._bar.live.is_started:
            self._bar.start()

    def answered(self) -> None:
        """One question was answered and scored."""
        if self._bar and self._line is not None:
            cost = f"${self.cost:.2f}" + ("+?" if self.unpriced else "")
            self._bar.update(
                self._line,
                advance=1,
                cells=self.cells,
                cost="cost unknown" if self.cost == 0 and self.unpriced else cost,
            )

    def paid(self, model: str, usage: ModelUsage) -> None:
        """A call was answered; what it cost is unknown where its price is."""
        self.calls += 1
        self.tokens_in += usage_tokens(usage)
        self.tokens_out += usage.output_tokens
        if usage.total_cost is None:
            self.unpriced = True
        else:
            self.cost += usage.total_cost
        if self.max_cost is None or self.stop is None or self.calls == self.last_call:
            return
        if usage.total_cost is None:
            self.stop(
                f"a call to {model} has no known cost, so --max-cost cannot be kept: give its "
                "price in the study file (prices:)"
            )
        elif self.spent + self.cost >= self.max_cost:
            self.stop(
                f"--max-cost {self.max_cost:g} is spent ({dollars(self.spent + self.cost)}); a "
                "larger one goes on from here"
            )

    def retried(self, times: int = 1) -> None:
        """HTTP requests were sent again."""
        self.retries += times

    def finished(self, log: EvalLog) -> None:
        """A cell ended, well or not."""
        self.cells += is_complete(log)
        line = _cell_line(log)
        # a failed cell is tried again: what it says is said once
        if self.shown and line not in self.printed:
            self.console.print(line, highlight=False)
        self.printed.add(line)


@hooks(name="w2s_progress", description="progress of a w2s study")
class _Listener(Hooks):
    """Passes Inspect's events to the study that is running in this process, if one is."""

    progress: StudyProgress | None = None

    def enabled(self) -> bool:
        return _Listener.progress is not None

    async def on_task_start(self, data: TaskStart) -> None:
        if _Listener.progress:
            _Listener.progress.started()

    async def on_sample_end(self, data: SampleEnd) -> None:
        if _Listener.progress:
            _Listener.progress.answered()

    async def on_model_usage(self, data: ModelUsageData) -> None:
        if _Listener.progress:
            _Listener.progress.paid(data.model_name, data.usage)

    async def on_model_retry(self, data: ModelRetry) -> None:
        if _Listener.progress:
            _Listener.progress.retried()

    async def on_task_end(self, data: TaskEnd) -> None:
        if _Listener.progress:
            _Listener.progress.finished(data.log)


def _metric(log: EvalLog, name: str) -> float:
    if not log.results or not log.results.scores:
        return math.nan
    metric = log.results.scores[0].metrics.get(name)
    return math.nan if metric is None else float(metric.value)


def _readable(log: EvalLog) -> float:
    """Share of the replies that could be read.

    Inspect hands a question's answer on to its metrics only where it is the same in every epoch.
    """
    if (log.eval.config.epochs or 1) == 1 or not log.location:
        return _metric(log, "readable")
    samples = read_eval_log_sample_summaries(log.location)
    values = [score.value for sample in samples for score in (sample.scores or {}).values()]
    return sum(value != NOANSWER for value in values) / len(values) if values else math.nan


def _cell_line(log: EvalLog) -> str:
    name, model = f"{log.eval.task:<16}", f"{model_name(log.eval.model):<26}"
    if is_complete(log):
        value, error = 100 * _metric(log, "accuracy"), 100 * Z95 * _metric(log, "stderr")
        read = 100 * _readable(log)
        mark = "✔" if read >= 100 * READABLE_LIMIT else "!"
        result = f"{value:5.1f} ± {error:.1f}   readable {read:.0f}%"
        return f"  {mark} {escape(name)} {escape(model)} {result}"
    message, failed = _first_error(log)
    samples = f" ({failed} of {log.eval.dataset.samples} samples)" if failed else ""
    return f"  ✗ {escape(name)} {escape(model)} {escape(message)}{samples}  → inspect view"


def _first_error(log: EvalLog) -> tuple[str, int]:
    """First line of what went wrong in a cell, and the number of samples that it happened to."""
    errors = []
    if log.location:
        errors = [s.error for s in read_eval_log_sample_summaries(log.location) if s.error]
    # of a run that was marked for its failed samples they say more
    ours = log.error is not None and log.error.message.endswith(QUESTIONS_FAILED)
    said = [log.error.message] if log.error and not (ours and errors) else errors
    lines = (said[0].strip() if said else "").splitlines() or [log.status]
    return lines[0][:160], len(errors)


def print_results(
    study: Study,
    outcome: Outcome,
    log_dir: str,
    console: Console,
    *,
    progress: StudyProgress,
    plan: Plan,
) -> None:
    """Accuracy by prompted model and labels against shots; what went wrong; what to do next."""
    found: dict[tuple[str, str], dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for log in sorted(outcome.logs, key=partial(_order, study)):
        metadata = log.eval.metadata or {}
        if not is_complete(log) or metadata.get("split") != "test":
            continue
        accuracy = _metric(log, "accuracy")
        if metadata["task"] == "zero_shot":
            found[log.eval.model, _arm_name(metadata)][0].append(accuracy)
        else:
            found[log.eval.model, _arm_name(metadata)][metadata["shots"]].append(accuracy)
    table = Table(title="accuracy, %", title_justify="left", box=None, pad_edge=False)
    table.add_column("prompted model")
    table.add_column("labels")
    shots = sorted({0, *study.shots})
    for k in shots:
        table.add_column(str(k), justify="right")
    for (model, labels), by_shots in found.items():
        values = [by_shots.get(k) for k in shots]
        table.add_row(
            escape(model_name(model)),
            escape(labels),
            *("" if not v else f"{100 * sum(v) / len(v):.1f}" for v in values),
        )
    console.print()
    console.print(table)
    for log in outcome.logs:
        if is_complete(log) and (read := _readable(log)) < READABLE_LIMIT:
            console.print(
                f"! {escape(log.eval.task)} {escape(model_name(log.eval.model))}: only "
                f"{100 * read:.1f}% of the replies could be read",
                highlight=False,
            )
    for log in outcome.failed:
        console.print(_cell_line(log), highlight=False)
    missing = outcome.planned - len(outcome.logs)
    if missing:
        console.print(f"! {missing} of {outcome.planned} cells were not run", highlight=False)
    if any(model.startswith(STANDIN) for model in study.models):
        console.print(f"! {BANNER}", highlight=False)
    print_bill(progress, plan, console)
    console.print(
        f"study   {escape(_cost_line(outcome))}, {progress.retries} retries", highlight=False
    )
    console.print(f"logs    inspect view --log-dir {escape(log_dir)}", highlight=False)
    console.print(f"report  w2s report {escape(log_dir)} --out report", highlight=False)


def print_bill(progress: StudyProgress, plan: Plan, console: Console) -> None:
    """This run beside its plan; nothing where nothing was planned and nothing asked."""
    if not plan.to_run.calls and not progress.calls:
        return

    def cost(known: float, unknown: bool) -> str:
        if unknown:
            return f"{dollars(known)} and unknown" if known else "cost unknown"
        return dollars(known)

    planned = f"{plan.to_run.calls:,}"
    if not plan.exact:
        planned = f"{plan.calls_at_least:,} to {planned}"
    for word, calls, tokens_in, tokens_out, bill in (
        (
            "planned",
            planned,
            plan.to_run.tokens_in,
            plan.to_run.tokens_out,
            cost(plan.known_cost, bool(plan.unpriced)),
        ),
        (
            "came to",
            f"{progress.calls:,}",
            progress.tokens_in,
            progress.tokens_out,
            cost(progress.cost, progress.unpriced),
        ),
    ):
        console.print(
            f"{word} {calls} calls, {count_text(tokens_in)} tokens in, {count_text(tokens_out)} "
            f"out, {bill}",
            highlight=False,
        )


COLUMNS = (
    "cell", "model", "split", "labels", "weak", "shots", "draw", "prompt", "status", "questions",
    "accuracy", "stderr", "readable", "tokens_in", "tokens_out", "cost", "log",
)  # fmt: skip
"""Of `summary.csv`."""


def write_summary(
    study: Study,
    outcome: Outcome,
    logs: Sequence[EvalLog],
    log_dir: str,
    *,
    progress: StudyProgress,
    plan: Plan,
) -> None:
    """Write the results into the log directory as `summary.csv` and `summary.json`.

    Neither is a name that Inspect takes for a log. A directory that cannot be written to has lost
    the logs already, which is what is then to be said.
    """

    def place(log: EvalLog) -> tuple[Any, ...]:
        metadata = log.eval.metadata or {}
        return (*_order(study, log), metadata.get("shots") or 0, metadata.get("draw") or 0)

    _read_usage(logs)
    rows = [_summary_row(log) for log in sorted(logs, key=place)]
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    content = {
        "study": study.name,
        "ok": outcome.ok,
        "cells_planned": outcome.planned,
        "stopped": outcome.stopped or None,
        "retries": progress.retries,
        "this_run": {
            "calls": progress.calls,
            "tokens_in": progress.tokens_in,
            "tokens_out": progress.tokens_out,
            "cost": None if progress.unpriced else progress.cost,
        },
        "planned": plan_json(plan, max_cost=progress.max_cost)["to_run"],
        "spent_before": None if plan.spent_unknown else plan.spent,
        "cells": rows,
    }
    for name, written in (
        ("summary.csv", text.getvalue()),
        ("summary.json", json.dumps(content, indent=1, ensure_ascii=False) + "\n"),
    ):
        try:
            with fsspec.open(f"{log_dir.rstrip('/')}/{name}", "w", encoding="utf-8") as file:
                file.write(written)
        except OSError:
            return


def _summary_row(log: EvalLog) -> dict[str, Any]:
    """One cell for a program; None where there is no number."""
    metadata = log.eval.metadata or {}
    usage = _usage(log).get(log.eval.model)

    def metric(name: str) -> float | None:
        value = _readable(log) if name == "readable" else _metric(log, name)
        return None if math.isnan(value) or not is_complete(log) else value

    return {
        "cell": log.eval.task,
        "model": log.eval.model,
        **{k: metadata.get(k) for k in ("split", "labels", "weak", "shots", "draw", "prompt")},
        "status": "incomplete" if lacks_answers(log) else log.status,
        "questions": log.eval.dataset.samples,
        **{name: metric(name) for name in ("accuracy", "stderr", "readable")},
        "tokens_in": usage and usage_tokens(usage),
        "tokens_out": usage and usage.output_tokens,
        "cost": usage and usage.total_cost,
        "log": log.location.rsplit("/", 1)[-1],
    }


def _usage(log: EvalLog) -> dict[str, ModelUsage]:
    """What the answers of a cell took, by model; the cost is None where that of a call is unknown.

    Summed over the samples: where a run goes on after kill -9, the log's own sums lack what the
    killed one had logged.
    """
    _read_usage([log])
    return _usage_of.get(log.location, {})


_usage_of: dict[str, dict[str, ModelUsage]] = {}


def _read_usage(logs: Sequence[EvalLog]) -> None:
    """Make sure that the usage of all of these is known; a closed log is never written again."""
    names = {log.location: None for log in logs if log.location and log.status != "started"}
    for name, samples in summaries([name for name in names if name not in _usage_of]):
        found = _usage_of.setdefault(name, {})
        for sample in samples:
            for model, usage in sample.model_usage.items():
                before = found.get(model)
                total = usage if before is None else before + usage
                costs = (usage.total_cost, 0.0 if before is None else before.total_cost)
                if None in costs:  # a sum with an unknown part is unknown
                    total = total.model_copy(update={"total_cost": None})
                found[model] = total


def _arm_name(metadata: Mapping[str, Any]) -> str:
    """An arm in words, as "weak by 8b"."""
    name = str(metadata.get("labels") or "no demonstrations")
    if metadata.get("weak"):
        name += f" by {short_name(metadata['weak'])}"
    return f"{name}, {metadata['prompt']}" if metadata.get("prompt") else name


def _order(study: Study, log: EvalLog) -> tuple[Any, ...]:
    """Prompted models as in the study; of one model zero-shot, then gold, then by weak model."""
    metadata = log.eval.metadata or {}
    kinds, weak = ("None", *study.labels), metadata.get("weak") or ""
    labels = str(metadata.get("labels"))
    return (
        study.models.index(log.eval.model),
        str(metadata.get("prompt") or ""),
        kinds.index(labels) if labels in kinds else len(kinds),
        study.models.index(weak) if weak in study.models else len(study.models) * bool(weak),
        weak,
    )


def _cost_line(outcome: Outcome) -> str:
    """Dollars in the logs; a model without a price is said, never counted as free."""
    _read_usage(outcome.logs)
    known = 0.0
    unknown: set[str] = set()
    for log in outcome.logs:
        for model, usage in _usage(log).items():
            if usage.total_cost is None:
                unknown.add(model_name(model))
            else:
                known += usage.total_cost
    if unknown:
        known_text = f"{dollars(known)} and " if known else ""
        return f"cost {known_text}unknown for {', '.join(sorted(unknown))} (no price)"
    return f"cost {dollars(known)}"
