"""How a run ended, and what it leaves: results, bill, `summary.csv` and `summary.json`."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import fsspec
from inspect_ai.log import EvalLog

from w2s_icl.evals.sweep.logdir import lacks_answers
from w2s_icl.evals.sweep.plan import Logged, Plan
from w2s_icl.evals.sweep.plan_text import table
from w2s_icl.evals.sweep.progress import StudyProgress, cell_line, metric, readable
from w2s_icl.record import (
    BANNER,
    PLANS,
    STANDIN,
    UNREAD_LIMIT,
    PlanRecord,
    file_of,
    is_complete,
    is_ours,
    key_of,
    short_name,
)
from w2s_icl.solvers.label_logs import log_headers
from w2s_icl.words import arm_name, model_name, say


@dataclass(frozen=True)
class Outcome:
    """How a run of `planned` cells ended.

    `stopped` says why it ended early, and `code` is its exit code then; there are no `logs` then.
    """

    logs: Sequence[EvalLog]
    planned: int
    stopped: str = ""
    code: int = 1

    @property
    def failed(self) -> list[EvalLog]:
        """Logs that are not complete."""
        return [log for log in self.logs if not is_complete(log)]

    @property
    def ok(self) -> bool:
        """Whether every planned cell is there and complete."""
        return not self.stopped and not self.failed and len(self.logs) == self.planned

    @property
    def exit_code(self) -> int:
        """0, 1 (some failed, or stopped), or 128 and the number of the signal that stopped it."""
        return 0 if self.ok else self.code


def print_results(outcome: Outcome, log_dir: str, progress: StudyProgress, plan: Plan) -> None:
    """Accuracy by prompted model and labels against shots; what went wrong; what to do next."""
    tell = partial(say, progress.console)
    tell("", *_accuracies(plan, outcome.logs))
    for log in outcome.logs:
        if is_complete(log) and 1 - (read := readable(log)) > UNREAD_LIMIT:
            tell(
                f"! {log.eval.task} {model_name(log.eval.model)}: {100 * (1 - read):.1f}% of the "
                "replies could not be read"
            )
    tell(*map(cell_line, outcome.failed))
    if missing := outcome.planned - len(outcome.logs):
        tell(f"! {missing} of {outcome.planned} cells were not run")
    if any(model.startswith(STANDIN) for model in plan.study.models):
        tell(f"! {BANNER}")
    print_bill(progress, plan)
    total = Logged(log_dir, plan.split).spent
    unknown = ", ".join(sorted(map(model_name, total.unpriced)))
    of = f" ({unknown})" if unknown else ""
    tell(f"study   {total.dollars}{of}, {progress.retries} retries")
    tell(f"logs    inspect view --log-dir {log_dir}")
    tell(f"report  w2s report {log_dir} --out report")


def print_bill(progress: StudyProgress, plan: Plan) -> None:
    """This run beside its plan; nothing where nothing was planned and nothing asked."""
    if plan.to_run.calls or progress.now.calls:
        least = "" if plan.exact else f"{plan.calls_at_least:,} to "
        say(progress.console, f"planned {least}{plan.to_run.text}")
        say(progress.console, f"came to {progress.now.text}")


def write_summary(outcome: Outcome, log_dir: str, progress: StudyProgress, plan: Plan) -> None:
    """Write `summary.csv` and `summary.json`, which Inspect takes for no logs, into `log_dir`."""
    import pandas as pd  # half a second, which a refusal need not wait for

    logs = _in_order(plan, outcome.logs or filter(is_ours, log_headers(log_dir)))
    rows = list(map(_row, logs))
    content = {
        "study": plan.study.name,
        "ok": outcome.ok,
        "cells_planned": outcome.planned,
        "stopped": outcome.stopped or None,
        "retries": progress.retries,
        "this_run": progress.now.to_json(),
        "planned": plan.to_run.to_json(),
        "spent_before": plan.spent.to_json()["cost"],
        "cells": rows,
    }
    texts = {
        "json": json.dumps(content, indent=1, ensure_ascii=False),
        "csv": pd.DataFrame(rows, dtype=object).to_csv(index=False, lineterminator="\n"),
    }
    with suppress(OSError):  # a full disk has lost the logs already, which the run says by itself
        for kind, text in texts.items():
            path = f"{log_dir.rstrip('/')}/summary.{kind}"
            with fsspec.open(path, "w", encoding="utf-8", newline="") as file:
                file.write(text)


def write_plan(log_dir: str, planned: PlanRecord) -> None:
    """Add a plan to `plans.jsonl`: what a study declares later must be seen by the report."""
    files, path = fsspec.core.url_to_fs(f"{log_dir.rstrip('/')}/{PLANS}")
    line = json.dumps(planned.to_metadata())
    with suppress(OSError):
        lines = files.cat_file(path).decode().splitlines() if files.exists(path) else []
        if line not in lines:
            files.pipe_file(path, "".join(f"{of}\n" for of in [*lines, line]).encode())


def _row(log: EvalLog) -> dict[str, Any]:
    """One cell for a program; None where there is no number."""
    numbers = {"readable": readable(log)} | {n: metric(log, n) for n in ("accuracy", "stderr")}
    complete = is_complete(log)
    return {
        "cell": log.eval.task,
        **key_of(log)._asdict(),
        "status": "incomplete" if lacks_answers(log) else log.status,
        "questions": log.eval.dataset.samples,
        **{k: v if complete and not math.isnan(v) else None for k, v in numbers.items()},
        "log": file_of(log),
    }


def _accuracies(plan: Plan, logs: Sequence[EvalLog]) -> list[str]:
    """A line per prompted model with its zero-shot accuracy, and a line per arm below it."""
    values: dict[tuple[str, str], dict[int, list[float]]] = {}
    for log in _in_order(plan, logs):
        key = key_of(log)
        if is_complete(log) and key.split == "test" and not key.order:
            weak = short_name(key.weak) if key.weak else ""
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
    end = len(places)

    def place(log: EvalLog) -> tuple[int, int]:
        return models.get(log.eval.model, end), places.get(key_of(log), end)

    return sorted(logs, key=place)
