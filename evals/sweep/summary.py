"""What a run leaves: the table of results, the bill, `summary.csv` and `summary.json`."""

from __future__ import annotations

import csv
import io
import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import fsspec
from inspect_ai.log import EvalLog
from inspect_ai.model import ModelUsage
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from w2s_icl.evals.study import Study
from w2s_icl.evals.sweep.logdir import lacks_answers
from w2s_icl.evals.sweep.logged import sum_of_usage
from w2s_icl.evals.sweep.plan import Plan
from w2s_icl.evals.sweep.plan_text import WIDTH, plan_json
from w2s_icl.evals.sweep.progress import StudyProgress, cell_line, metric, readable
from w2s_icl.record import (
    BANNER,
    STANDIN,
    UNREAD_LIMIT,
    CellKey,
    file_of,
    is_complete,
    key_of,
    prompt_tokens,
    short_name,
)
from w2s_icl.solvers.label_logs import summaries
from w2s_icl.words import arm_name, model_name, money, tokens


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        logs: Headers of all cells' logs, in the order of the plan.
        planned: Number of planned cells.
        failed: Logs that are not complete.
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
        """Whether every planned cell is there and complete."""
        return not self.stopped and not self.failed and len(self.logs) == self.planned

    @property
    def exit_code(self) -> int:
        """0, 1 (some failed, or stopped), or 128 and the number of the signal that stopped it."""
        return 0 if self.ok else self.code


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
    console.print()
    console.print(_accuracies(study, outcome.logs), width=WIDTH)
    say = partial(console.print, highlight=False, markup=False)
    for log in outcome.logs:
        if is_complete(log) and 1 - (read := readable(log)) > UNREAD_LIMIT:
            say(
                f"! {log.eval.task} {model_name(log.eval.model)}: {100 * (1 - read):.1f}% of the "
                "replies could not be read"
            )
    for log in outcome.failed:
        say(cell_line(log))
    if missing := outcome.planned - len(outcome.logs):
        say(f"! {missing} of {outcome.planned} cells were not run")
    if any(model.startswith(STANDIN) for model in study.models):
        say(f"! {BANNER}")
    print_bill(progress, plan, console)
    known, unknown = 0.0, set()
    for usage in _usage(outcome.logs).values():
        for model, of in usage.items():
            known += of.total_cost or 0.0
            unknown |= {model_name(model)} if of.total_cost is None else set()
    cost = _bill(known, bool(unknown)) + (f" ({', '.join(sorted(unknown))})" if unknown else "")
    say(f"study   {cost}, {progress.retries} retries")
    say(f"logs    inspect view --log-dir {log_dir}")
    say(f"report  w2s report {log_dir} --out report")


def _accuracies(study: Study, logs: Sequence[EvalLog]) -> Table:
    """A heading per prompted model with its zero-shot accuracy, and a row per arm below it."""
    values: dict[tuple[str, str], dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for log in sorted(logs, key=partial(_place, study)):
        key = key_of(log)
        if is_complete(log) and key.split == "test":
            arm = ""
            if key.labels or key.prompt:
                weak = short_name(key.weak) if key.weak else ""
                arm = arm_name(key.labels, weak, key.prompt)
            values[key.model, arm][key.shots].append(metric(log, "accuracy"))
    shots = sorted({0, *study.shots})
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("accuracy, %, by demonstrations")
    for k in shots:
        table.add_column(str(k), justify="right", no_wrap=True)
    headed: set[str] = set()
    for (model, arm), by_shots in values.items():
        if arm and model not in headed:
            table.add_row(escape(model_name(model)))
        headed.add(model)
        means = {k: 100 * sum(v) / len(v) for k, v in by_shots.items()}
        table.add_row(
            f"  {escape(arm)}" if arm else escape(model_name(model)),
            *(f"{means[k]:.1f}".replace("100.0", "100") if k in means else "" for k in shots),
        )
    return table


def _bill(known: float, unknown: bool) -> str:
    if unknown:
        return f"{money(known)} and unknown" if known else "cost unknown"
    return money(known)


def print_bill(progress: StudyProgress, plan: Plan, console: Console) -> None:
    """This run beside its plan; nothing where nothing was planned and nothing asked."""
    planned = plan.to_run
    if not planned.calls and not progress.calls:
        return
    least = "" if plan.exact else f"{plan.calls_at_least:,} to "
    cost = _bill(plan.known_cost, bool(plan.unpriced))
    came_to = _bill(progress.cost, progress.unpriced)
    for line in (
        f"planned {least}{planned.calls:,} calls, about {tokens(planned.tokens_in)} tokens in, "
        f"{tokens(planned.tokens_out)} out, {cost}",
        f"came to {progress.calls:,} calls, {tokens(progress.tokens_in)} tokens in, "
        f"{tokens(progress.tokens_out)} out, {came_to}",
    ):
        console.print(line, highlight=False)


COLUMNS = (
    "cell", "model", "split", "labels", "weak", "shots", "draw", "prompt", "status", "questions",
    "accuracy", "stderr", "readable", "tokens_in", "tokens_out", "cost", "log",
)  # fmt: skip
"""Of `summary.csv`."""

SHOWN = ("labels", "weak", "shots", "draw")
"""Those of them that a cell without demonstrations does not have."""


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

    Inspect takes neither name for a log. A directory that cannot be written to has lost the logs
    already, which the run says by itself.
    """
    usage = _usage(logs)
    rows = [summary_row(log, usage) for log in sorted(logs, key=partial(_place, study))]
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


def summary_row(log: EvalLog, usage: Mapping[str, Mapping[str, ModelUsage]]) -> dict[str, Any]:
    """One cell for a program; None where there is no number."""
    key, of = key_of(log), usage.get(log.location, {}).get(log.eval.model)
    shown = {name: getattr(key, name) if key.labels else None for name in SHOWN}
    numbers = {name: metric(log, name) for name in ("accuracy", "stderr")}
    numbers["readable"] = readable(log)
    complete = is_complete(log)
    return {
        "cell": log.eval.task,
        "model": key.model,
        "split": key.split,
        **shown,
        "weak": key.weak or None,
        "prompt": key.prompt,
        "status": "incomplete" if lacks_answers(log) else log.status,
        "questions": log.eval.dataset.samples,
        **{k: v if complete and not math.isnan(v) else None for k, v in numbers.items()},
        "tokens_in": of and prompt_tokens(of),
        "tokens_out": of and of.output_tokens,
        "cost": of and of.total_cost,
        "log": file_of(log),
    }


def _usage(logs: Sequence[EvalLog]) -> dict[str, dict[str, ModelUsage]]:
    """What the answers of each log took, by its place and by model."""
    names = [log.location for log in logs if log.location and log.status != "started"]
    return {name: sum_of_usage(samples) for name, samples in summaries(list(dict.fromkeys(names)))}


def _place(study: Study, log: EvalLog) -> tuple[Any, ...]:
    """Prompted models as in the study; of one model zero-shot, then gold, then by weak model."""
    key: CellKey = key_of(log)
    models, kinds = study.models, ("", *study.labels)
    return (
        models.index(key.model) if key.model in models else len(models),
        key.prompt,
        kinds.index(key.labels) if key.labels in kinds else len(kinds),
        models.index(key.weak) if key.weak in models else len(models) * bool(key.weak),
        key.weak,
        key.shots,
        key.draw,
    )
