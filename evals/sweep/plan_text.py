"""The plan for a person, in at most 80 columns, and for a program."""

import textwrap
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console

from w2s_icl.evals.study import RESERVE, Study
from w2s_icl.evals.sweep.plan import Amount, Plan, PlannedCell, left_of
from w2s_icl.words import fitted, model_name, money, printable, say, tokens

WIDTH = 80  # columns of what is printed


def print_plan(
    plan: Plan,
    console: Console | None = None,
    *,
    max_cost: float | None = None,
    detects: Mapping[str, Any] | None = None,
) -> None:
    """Say what a study consists of, what is left to run and costs, and what it can detect."""
    study, split = plan.study, plan.split
    at = ", ".join(map(str, study.verdict_shots))
    verdict = f"verdict at {at} shots: every arm that it needs is planned"
    if lacks := _lacks(study):
        verdict = f"! the verdict at {at} shots lacks {'; '.join(lacks)}: no claim can be made"
    title = f"Plan: study {study.name}" + (f", logs in {plan.log_dir}" if plan.log_dir else "")
    size = (
        f"{len(split.test)} test questions, {len(split.pool)} in the pool ({len(split.barred)} "
        f"near-duplicates barred), seed {study.seed}, {study.draws} draw{'s' * (study.draws > 1)}"
    )
    below = [*_notes(plan, max_cost), *(detects or {}).get("lines", ()), verdict]
    lines = [title, size, "", *_stages(plan), "", *below]
    say(console or Console(soft_wrap=True), *(part for line in lines for part in _folded(line)))


def exact_line(plan: Plan) -> str:
    """What is left to run, once all labels are there."""
    shared = sum(one.shared for one in plan.cells)
    text = f"all labels are there; left: {plan.to_run.text}"
    return "\n".join(_folded(text + f"; {shared} cells have the prompts of another" * (shared > 0)))


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table: names in the first column, shortened so that no line is over 80 columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    gap = 2 if sum(widths) + 2 * len(widths[1:]) <= WIDTH else 1
    left = max(12, WIDTH - sum(width + gap for width in widths[1:]))
    return [
        fitted(printable(name), left).ljust(min(widths[0], left))
        + "".join(text.rjust(width + gap) for text, width in zip(texts, widths[1:], strict=True))
        for name, *texts in rows
    ]


def plan_json(plan: Plan, *, detects: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The plan for a program; null where something is not known."""

    def row(cells: Sequence[PlannedCell]) -> dict[str, Any]:
        shared, done = (sum(getattr(one, name) for one in cells) for name in ("shared", "done"))
        sizes = left_of(cells).to_json()
        return {"cells": len(cells), "done": done, "same_prompts": shared, **sizes}

    left = row([one for one in plan.cells if not one.done])
    bounds = {"calls_exact": plan.exact, "calls_at_least": plan.calls_at_least}
    return {
        "study": plan.study.name,
        "log_dir": plan.log_dir,
        "stages": [{"stage": name, **row(cells)} for name, cells in plan.stages.items()],
        "to_run": {**left, **bounds, "calls_second_round": plan.second_round},
        "unpriced": plan.to_run.unpriced,
        "spent": plan.spent.to_json()["cost"],
        "verdict_lacks": _lacks(plan.study),
        "detects": {k: v for k, v in (detects or {}).items() if k != "lines"} or None,
    }


def _folded(line: str) -> list[str]:
    """A line, broken between words; a path stays whole."""
    indent = " " * (len(line) - len(line.lstrip()) + 2)
    whole: Any = {"break_long_words": False, "break_on_hyphens": False}
    return textwrap.wrap(printable(line), WIDTH, subsequent_indent=indent, **whole) or [""]


def _stages(plan: Plan) -> list[str]:
    """A row per stage, and what is left in all."""

    def row(name: str, cells: int, done: int, left: Amount) -> list[str]:
        sizes = [f"{left.calls:,}", tokens(left.tokens_in), tokens(left.tokens_out)]
        sizes = [*sizes, left.dollars.removeprefix("cost ")] if left.calls else ["0", "-", "-", "-"]
        return [name, str(cells), str(done or "-"), *sizes]

    rows = [["stage", "cells", "done", "calls", "tokens in", "tokens out", "cost"]]
    for name, of in plan.stages.items():
        rows.append(row(name, len(of), sum(one.done for one in of), left_of(of)))
    rows.append(row("left to run", len(plan.cells) - len(plan.finished), 0, plan.to_run))
    return table(rows)


def _notes(plan: Plan, max_cost: float | None) -> Iterator[str]:
    spent, left = plan.spent, plan.to_run
    if shared := sum(one.shared for one in plan.cells):
        yield f"cells with the prompts of another, whose answers they take over: {shared}"
    if not plan.exact:
        yield (
            f"calls: {plan.calls_at_least:,} to {left.calls:,}; cells whose prompts turn "
            "out the same are asked once, which is known when the labels are there"
        )
    if plan.second_round:
        yield (
            f"label runs: in one round; if over {RESERVE} labels of a draw cannot be read, in a "
            f"second one of at most {plan.second_round:,} more calls"
        )
    prompts: dict[str, list[str]] = defaultdict(list)
    for name, limit in plan.context.items():
        longest = max((one.longest for one in plan.cells if one.cell.model == name), default=0)
        mark = "! too long" if limit and longest > limit else "longest prompt"
        of = f"about {tokens(longest)} tokens (limit {tokens(limit) if limit else 'unknown'})"
        if longest:  # of what is left
            prompts[f"{mark}: {of}"].append(name)
    yield from (f"{text}: {_listed(names)}" for text, names in prompts.items())
    yield from (f"! {problem}" for problem in plan.problems)
    if left.unpriced:
        yield f"! price unknown (prices: in the study file): {_listed(left.unpriced)}"
    if spent.known or spent.unpriced:
        unknown = f", unknown for {_listed(spent.unpriced)}" if spent.unpriced else ""
        yield f"spent so far: {money(spent.known)}{unknown}"
    if max_cost is not None:
        yield f"budget: {money(max_cost)} in all, what is spent included (--max-cost)"


def _listed(models: Iterable[str]) -> str:
    return ", ".join(fitted(model_name(model), 60) for model in models)


def _lacks(study: Study) -> list[str]:
    lacks = [f"labels {kind}" for kind in study.missing_arms()]
    if not any(weak != strong for weak, strong in study.all_pairs):
        lacks.append("a pair of different models")
    if study.draws < 3:  # below, nothing is said about other demonstrations than those shown
        lacks.append(f"draws: at least 3, better 5 (now {study.draws})")
    return lacks
