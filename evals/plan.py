"""The plan of a study: what it consists of, and what of it the logs already hold."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from inspect_ai.log import EvalLog, list_eval_logs, read_eval_log
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from w2s_icl.evals.study import Study, all_cells

CELL = ("task", "split", "labels", "weak", "shots", "draw", "prompt")
"""Metadata that tell the cells of a model apart."""

Key = tuple[str, ...]
"""What a cell is: its model, and the values of `CELL` as texts."""

VERDICT_DRAWS = 3
"""Draws below which nothing is said about other demonstrations than those shown."""


def cell_key(metadata: Mapping[str, Any], model: str) -> Key:
    """The cell that a log or a task is of."""
    return (model, *(str(metadata.get(k)) for k in CELL))


def log_headers(log_dir: str) -> list[EvalLog]:
    """Headers of all logs in the directory that can be read."""
    headers = []
    for info in list_eval_logs(log_dir, descending=False):
        try:
            headers.append(read_eval_log(info, header_only=True))
        except Exception:  # a torn file is Inspect's to recover, and no finished cell
            continue
    return headers


def print_plan(study: Study, log_dir: str | None = None, console: Console | None = None) -> None:
    """Say what a study consists of, what is done, and what its verdict would lack.

    Args:
        study: The study.
        log_dir: Where finished cells are looked for.
        console: Where it is printed.
    """
    console = console or Console(soft_wrap=True)
    say = partial(console.print, highlight=False)
    split = study.load_split()
    done = {
        cell_key(log.eval.metadata or {}, log.eval.model)
        for log in (log_headers(log_dir) if log_dir else [])
        if log.status == "success"
    }
    say(f"Plan  study {escape(study.name)}" + (f"  →  {escape(log_dir)}" if log_dir else ""))
    say(
        f"{len(split.test)} test questions, {len(split.pool)} in the pool "
        f"({split.provenance['n_near_duplicates']} near-duplicates barred), seed {study.seed}, "
        f"{study.draws} draw{'s' * (study.draws > 1)}"
    )
    rows: dict[str, list[int]] = {}
    for cell in all_cells(study, split):
        fields = {"task": cell.task, "split": cell.split, "prompt": cell.prompt}
        if cell.labels:
            fields |= {name: getattr(cell, name) for name in ("labels", "weak", "shots", "draw")}
        row = rows.setdefault(cell.stage, [0, 0])
        row[0] += 1
        row[1] += cell_key(fields, cell.model) in done
    table = Table(box=None, pad_edge=False)
    for column in ("stage", "cells", "done", "to run"):
        table.add_column(column, justify="left" if column == "stage" else "right")
    for stage, (total, finished) in rows.items():
        table.add_row(stage, str(total), str(finished), str(total - finished))
    console.print(table)
    say(_verdict_line(study))


def _verdict_line(study: Study) -> str:
    """Whether the study can earn a verdict, and what it lacks."""
    at = ", ".join(map(str, study.verdict_shots))
    lacks = [f"labels {kind}" for kind in study.missing_arms()]
    if not any(weak != strong for weak, strong in study.all_pairs):
        lacks.append("a pair of different models")
    if study.draws < VERDICT_DRAWS:
        lacks.append(f"draws: at least {VERDICT_DRAWS}, better 5 (now {study.draws})")
    if lacks:
        return f"! verdict at {at} shots lacks {'; '.join(lacks)}: no claim can be made"
    return f"verdict at {at} shots: every arm that it needs is planned"
