"""The plan for a person, in at most 80 columns, and for a program."""

from __future__ import annotations

import math
import textwrap
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from w2s_icl.evals.study import RESERVE, Study
from w2s_icl.evals.sweep.endpoint import CONNECTIONS
from w2s_icl.evals.sweep.logged import Amount
from w2s_icl.evals.sweep.plan import ModelPlan, Plan
from w2s_icl.words import model_name, money, printable, say, tokens

VERDICT_DRAWS = 3
"""Draws below which nothing is said about other demonstrations than those shown."""

WIDTH = 80
"""Columns of what is printed."""


def print_plan(
    plan: Plan,
    console: Console | None = None,
    *,
    max_cost: float | None = None,
    detects: Mapping[str, Any] | None = None,
) -> None:
    """Say what a study consists of, what is left to run and costs, and what it can show.

    Of `detects`, what the study can detect, the `lines` are printed.
    """
    console = console or Console(soft_wrap=True)
    study, split = plan.study, plan.split
    _say(
        console,
        f"Plan: study {study.name}" + (f", logs in {plan.log_dir}" if plan.log_dir else ""),
        f"{len(split.test)} test questions, {len(split.pool)} in the pool ({len(split.barred)} "
        f"near-duplicates barred), seed {study.seed}, {study.draws} draw{'s' * (study.draws > 1)}",
    )
    console.print()
    console.print(_table(plan), width=WIDTH)
    console.print()
    at = ", ".join(map(str, study.verdict_shots))
    verdict = f"verdict at {at} shots: every arm that it needs is planned"
    if lacks := _lacks(study):
        verdict = f"! the verdict at {at} shots lacks {'; '.join(lacks)}: no claim can be made"
    _say(console, *_notes(plan, max_cost), *(detects or {}).get("lines", ()), verdict)


def exact_line(plan: Plan) -> str:
    """What is left to run, once all labels are there."""
    shared = f"; {plan.shared} cells have the prompts of another" if plan.shared else ""
    text = f"all labels are there; left: {plan.to_run.text}{shared}"
    return "\n  ".join(textwrap.wrap(text, WIDTH - 2))


def plan_json(
    plan: Plan, *, max_cost: float | None = None, detects: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The plan for a program; null where something is not known."""
    study = plan.study
    stages = [
        {"stage": s.name, "cells": s.cells, "done": s.done, "same_prompts": s.shared}
        | s.to_run.to_json()
        for s in plan.stages
    ]
    models = [
        {
            "model": m.name,
            **m.to_run.to_json(),
            "tokens_per_character": m.tokens_per_character,
            "logged_calls": m.logged_calls,
            "price": m.price and m.price.model_dump(exclude_none=True),
            "price_from": m.price_from or None,
            "longest_prompt": {
                "shots": m.longest_shots,
                "tokens": round(m.longest) or None,
                "context_length": m.context,
            },
        }
        for m in plan.models.values()
    ]
    return {
        "study": study.name,
        "log_dir": plan.log_dir,
        "test_questions": len(plan.split.test),
        "pool_questions": len(plan.split.pool),
        "seed": study.seed,
        "draws": study.draws,
        "stages": stages,
        "to_run": {
            "cells": plan.cells - len(plan.finished),
            **plan.to_run.to_json(),
            "calls_exact": plan.exact,
            "calls_at_least": plan.calls_at_least,
            "calls_second_round": plan.second_round,
        },
        "models": models,
        "unpriced": plan.to_run.unpriced,
        "spent": plan.spent.to_json()["cost"],
        "max_cost": max_cost,
        "max_connections": study.max_connections,
        "verdict_lacks": _lacks(study),
        "detects": {k: v for k, v in (detects or {}).items() if k != "lines"} or None,
    }


def _say(console: Console, *lines: str) -> None:
    """Print lines, broken between words; a path stays whole."""
    for line in lines:
        indent = " " * (len(line) - len(line.lstrip()) + 2)
        whole: Any = {"break_long_words": False, "break_on_hyphens": False}
        for part in textwrap.wrap(printable(line), WIDTH, subsequent_indent=indent, **whole):
            say(console, part)


def _table(plan: Plan) -> Table:
    """A row per stage, and what is left in all."""

    def row(amount: Amount) -> list[str]:
        if not amount.calls:
            return ["0", "-", "-", "-"]
        sizes = tokens(amount.tokens_in), tokens(amount.tokens_out)
        return [f"{amount.calls:,}", *sizes, amount.dollars.removeprefix("cost ")]

    table = Table(box=None, pad_edge=False, show_footer=True)
    table.add_column("stage", footer="left to run")
    headers = ("cells", "done", "calls", "tokens in", "tokens out", "cost")
    left = [str(plan.cells - len(plan.finished)), "", *row(plan.to_run)]
    for header, footer in zip(headers, left, strict=True):
        table.add_column(header, footer=footer, justify="right", no_wrap=True)
    for stage in plan.stages:
        done = str(stage.done or "-")
        table.add_row(escape(printable(stage.name)), str(stage.cells), done, *row(stage.to_run))
    return table


def _notes(plan: Plan, max_cost: float | None) -> list[str]:
    """What stands below the table."""
    study, shared, spent = plan.study, plan.shared, plan.spent
    called = [m for m in plan.models.values() if m.to_run.calls]
    lines = []
    if shared:
        lines.append(
            f"{shared} cell{'s have' if shared > 1 else ' has'} the prompts of another cell and "
            f"take{'s' * (shared == 1)} over its answers"
        )
    if not plan.exact:
        lines.append(
            f"calls: {plan.calls_at_least:,} to {plan.to_run.calls:,}; cells whose prompts turn "
            "out the same are asked once, which is known when the labels are there"
        )
    if plan.second_round:
        lines.append(
            f"label runs: in one round; if over {RESERVE} labels of a draw cannot be read, in a "
            f"second one of at most {plan.second_round:,} more calls"
        )
    basis: dict[str, list[str]] = defaultdict(list)
    longest: dict[str, list[str]] = defaultdict(list)
    for m in called:
        ratio = f"{m.tokens_per_character:.2f} per character"
        basis[ratio if m.logged_calls else "a quarter of the characters"].append(m.name)
        longest[_longest(m)].append(m.name)
    if called:
        of = ", ".join(f"{text} ({_listed(names)})" for text, names in basis.items())
        lines.append(f"tokens: about; {of}")
    lines += [f"{text}: {_listed(names)}" for text, names in longest.items()]
    lines += [f"! {problem}" for problem in plan.problems]
    lines.append(f"connections: {study.max_connections or CONNECTIONS} to each model")
    if sources := dict.fromkeys(m.price_from for m in called if m.price_from):
        discounts = "cached or batched tokens" if study.batch else "cached tokens"
        lines.append(f"prices: {', '.join(sources)}; without discounts for {discounts}")
    if unpriced := plan.to_run.unpriced:
        lines.append(f"! price unknown (prices: in the study file): {_listed(unpriced)}")
    if spent.known or spent.unpriced:
        unknown = f", unknown for {_listed(spent.unpriced)}" if spent.unpriced else ""
        lines.append(f"spent so far: {money(spent.known)}{unknown}")
    if max_cost is not None:
        lines.append(f"budget: {money(max_cost)} in all, what is spent included (--max-cost)")
    return lines


def _longest(model: ModelPlan) -> str:
    """How long a model's longest prompt is, and how long it may be."""
    limit = f"limit {tokens(model.context)}" if model.context else "limit unknown"
    too_long = model.longest > (model.context or math.inf)
    return (
        f"{'! too long' if too_long else 'longest prompt'}: about {tokens(model.longest)} "
        f"tokens at {model.longest_shots} demonstrations ({limit})"
    )


def _listed(models: Iterable[str]) -> str:
    return ", ".join(map(model_name, models))


def _lacks(study: Study) -> list[str]:
    """What a verdict would lack."""
    lacks = [f"labels {kind}" for kind in study.missing_arms()]
    if not any(weak != strong for weak, strong in study.all_pairs):
        lacks.append("a pair of different models")
    if study.draws < VERDICT_DRAWS:
        lacks.append(f"draws: at least {VERDICT_DRAWS}, better 5 (now {study.draws})")
    return lacks
