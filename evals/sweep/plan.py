"""The plan of a study: what is still to run, what it costs, and what of it the logs already hold.

Nothing is asked of any model here. Calls are counted on the very tasks that a run would build,
tokens on their prompts.
"""

from __future__ import annotations

import math
import tempfile
import textwrap
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

from inspect_ai import Task
from inspect_ai.dataset import Sample
from inspect_ai.log import EvalLog, EvalSampleSummary
from inspect_ai.model import ChatMessageSystem
from rich.console import Console
from rich.markup import escape

from w2s_icl.evals.cells import Cell, all_cells, cell_task
from w2s_icl.evals.questions import Split
from w2s_icl.evals.study import RESERVE, Price, Study, StudyError
from w2s_icl.evals.sweep.endpoint import model_info
from w2s_icl.evals.sweep.labelling import Labelling, labelling, pool_ask
from w2s_icl.evals.sweep.logdir import answers_all, unmarked
from w2s_icl.evals.sweep.tokens import (
    MIN_CALLS,
    REASONED_REPLY_TOKENS,
    REPLY_TOKENS,
    Size,
    TokenCount,
    learn,
    size_of,
    usage_tokens,
)
from w2s_icl.record import CellKey, is_complete, is_ours, key_of
from w2s_icl.solvers.few_shot import Demonstration, Demonstrations, Prompt, question_text
from w2s_icl.solvers.label_logs import summaries
from w2s_icl.solvers.labels import log_headers

VERDICT_DRAWS = 3
"""Draws below which nothing is said about other demonstrations than those shown."""

WIDTH = 100
"""Columns that the plan's notes are broken at."""


def same_prompts(
    tasks: Iterable[tuple[CellKey, Task]], finished: Collection[CellKey]
) -> dict[CellKey, CellKey]:
    """Cells whose very prompts another cell answers, and that cell.

    With few demonstrations the weak labels are often all right: the weak arm's prompts are then the
    gold arm's to the byte. Asking twice would cost twice, and would put the noise of a rerun
    between two arms that do not differ.

    Args:
        tasks: Cells and their tasks.
        finished: Cells that have a finished log.
    """
    groups: dict[tuple[str, str], list[CellKey]] = defaultdict(list)
    for key, task in tasks:
        metadata = task.metadata or {}
        if _once(task) and metadata.get("shown_sha256") and metadata["split"] == "test":
            groups[key.model, metadata["prompt_sha256"]].append(key)
    repeated: dict[CellKey, CellKey] = {}
    for keys in groups.values():
        source = next((key for key in keys if key in finished), keys[0])
        repeated |= {key: source for key in keys if key != source and key not in finished}
    return repeated


def _once(task: Task) -> bool:
    """Whether every question is asked once: a second call is made to see what it changes."""
    return bool((task.epochs or 1) == (task.metadata or {})["permutations"])


# --- what is planned ------------------------------------------------------------------------------


@dataclass
class Amount:
    """Calls, tokens and dollars; `cost` is nan where a price is unknown.

    Attributes:
        calls: Calls that are answered; retries are not planned.
        tokens_in: Tokens of the prompts.
        tokens_shared: Those of `tokens_in` that stand in a prefix that the same cell has sent
            before: the most that a provider's cache can serve.
        tokens_out: Tokens of the replies.
        cost: Dollars, as if no cache served anything.
    """

    calls: int = 0
    tokens_in: float = 0.0
    tokens_shared: float = 0.0
    tokens_out: float = 0.0
    cost: float = 0.0

    def add(self, other: Amount) -> None:
        """Add to what is there."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)


@dataclass
class Stage:
    """A line of the plan.

    Attributes:
        name: As `Cell.stage`.
        cells: Its cells.
        done: Cells of it that are finished.
        shared: Cells of it that ask nothing, because another cell has the same prompts.
        to_run: What is still to run.
    """

    name: str
    cells: int = 0
    done: int = 0
    shared: int = 0
    to_run: Amount = field(default_factory=Amount)


@dataclass
class ModelPlan:
    """What is planned for one model.

    Attributes:
        name: As Inspect names it.
        count: How its tokens are counted.
        price: Dollars per million tokens; None where unknown.
        price_from: "the study file", "Inspect's model table", or "".
        context: Tokens that it can read; None where unknown.
        longest: Tokens of its longest prompt, reply included.
        longest_shots: Demonstrations in that prompt.
        to_run: What is still to run.
    """

    name: str
    count: TokenCount
    price: Price | None
    price_from: str
    context: int | None
    longest: float = 0.0
    longest_shots: int = 0
    to_run: Amount = field(default_factory=Amount)

    @property
    def too_long(self) -> bool:
        """Whether its longest prompt does not fit."""
        return self.context is not None and self.longest > self.context


@dataclass(frozen=True)
class Plan:
    """What a study consists of, what of it is done, and what the rest takes.

    Attributes:
        study: The study.
        log_dir: Where finished cells were looked for.
        split: Test and pool.
        stages: In the order in which they run.
        models: By name.
        to_run: The whole of what is still to run.
        exact: Whether the calls are exactly known. They are not before all labels are there: where
            weak labels turn out to be right, two cells have the same prompts and are asked once.
        calls_at_least: The fewest calls that it may come to.
        spent: Dollars that the logs of the directory have cost.
        spent_unknown: Models whose logged calls have no known cost.
    """

    study: Study
    log_dir: str | None
    split: Split
    stages: Sequence[Stage]
    models: Mapping[str, ModelPlan]
    to_run: Amount
    exact: bool
    calls_at_least: int
    spent: float
    spent_unknown: Sequence[str]

    @property
    def unpriced(self) -> list[str]:
        """Models that are to be called and whose price is unknown."""
        return [m.name for m in self.models.values() if m.to_run.calls and m.price is None]

    @property
    def known_cost(self) -> float:
        """Dollars of the models whose price is known."""
        priced = [m.to_run.cost for m in self.models.values() if m.price or not m.to_run.calls]
        return math.fsum(priced)

    def check_budget(self, max_cost: float | None) -> None:
        """Refuse a plan that costs too much, or whose cost is not known.

        Args:
            max_cost: Dollars that the whole study may cost, what the logs have cost included.

        Raises:
            StudyError: Saying what it comes to, and the way out.
        """
        if max_cost is None:
            return
        missing = list(dict.fromkeys([*self.unpriced, *self.spent_unknown]))
        if missing and self.to_run.calls:
            raise StudyError(
                f"--max-cost {max_cost:g} cannot be kept: the price of {', '.join(missing)} is "
                "unknown. Give dollars per million tokens in the study file, as "
                f'prices: {{"{missing[0]}": {{input: 0.10, output: 0.20}}}}'
            )
        total = self.spent + self.to_run.cost
        if self.to_run.calls and total > max_cost:
            spent = f", {dollars(self.spent)} spent already included" if self.spent else ""
            raise StudyError(
                f"the plan comes to {dollars(total)}{spent}, which is over --max-cost "
                f"{max_cost:g}. Nothing has been asked. Give a larger --max-cost, or plan less: "
                "fewer shots, draws or labels"
            )


@dataclass
class _Planned:
    """A cell on its way into the plan."""

    cell: Cell
    key: CellKey
    task: Task
    known: bool
    base: Size
    todo: list[tuple[int | str, int]] = field(default_factory=list)
    done: bool = False


def make_plan(study: Study, log_dir: str | None = None, *, split: Split | None = None) -> Plan:
    """Count what a study still has to run.

    Args:
        study: The study.
        log_dir: Where finished cells and finished samples are looked for.
        split: Of the study, where it is at hand.

    Raises:
        StudyError: The study does not fit the questions.
    """
    split = split or study.load_split()
    # labels are read from a log directory: without one, from an empty one
    with nullcontext(log_dir) if log_dir else tempfile.TemporaryDirectory() as folder:
        return _make_plan(study, log_dir, folder, split)


def _make_plan(study: Study, log_dir: str | None, folder: str, split: Split) -> Plan:
    state = labelling(study, split, folder)
    logs = _Logs(folder)
    sizes = _Sizes(split)
    cells = all_cells(study, split, state.unread)
    planned = [_planned(study, cell, folder, split, state, sizes, logs) for cell in cells]
    exact = state.complete and all(one.known for one in planned)
    finished = {one.key for one in planned if logs.finished(one.key)}
    known = [(one.key, one.task) for one in planned if one.known]
    repeated = same_prompts(known, finished) if state.complete else {}
    models = {
        m: ModelPlan(m, logs.token_count(m, planned, sizes), *_price(study, m), _context(m))
        for m in study.models
    }
    replies = logs.reply_tokens()
    stages: dict[str, Stage] = {}
    total = Amount()
    for one in planned:
        stage = stages.setdefault(one.cell.stage, Stage(one.cell.stage))
        stage.cells += 1
        stage.done += one.done
        if one.key in repeated:
            stage.shared += 1
            one.todo = []
        model = models[one.cell.model]
        amount = _amount(one, model, sizes, replies)
        for sum_ in (stage.to_run, model.to_run, total):
            sum_.add(amount)
    return Plan(
        study,
        log_dir,
        split,
        list(stages.values()),
        models,
        total,
        exact,
        total.calls if exact else total.calls - _savable(planned, repeated, finished),
        logs.spent,
        sorted(logs.unpriced),
    )


def _planned(
    study: Study,
    cell: Cell,
    folder: str,
    split: Split,
    state: Labelling,
    sizes: _Sizes,
    logs: _Logs,
) -> _Planned:
    """A cell, its task, and what of it is still to ask."""
    ask = pool_ask(cell, state)
    known = True
    try:
        task = cell_task(study, cell, folder, ask)
    except ValueError:
        # labels that do not exist yet: a letter is a letter, so gold ones have the same size
        known = False
        args = {k: v for k, v in cell.args.items() if k != "weak"} | {"labels": "gold"}
        task = cell_task(study, replace(cell, args=args), folder, ask)
    key = cell.key
    base = sizes.prompt(study, cell, task)
    one = _Planned(cell, key, task, known and (state.complete or not cell.labels), base)
    times = range(1, (task.epochs or 1) + 1)
    asked = [(_id(sample), epoch) for sample in task.dataset for epoch in times]
    one.done, answered = logs.answered(one, len(task.dataset), len(asked), strict=state.complete)
    one.todo = [] if one.done else [call for call in asked if call not in answered]
    return one


def _id(sample: Sample) -> int | str:
    assert sample.id is not None, "questions have ids"
    return sample.id


def _amount(
    one: _Planned, model: ModelPlan, sizes: _Sizes, replies: Mapping[tuple[str, bool], float]
) -> Amount:
    """What a cell still takes; its longest prompt goes into the model's plan."""
    questions = [sizes.question(one.cell, id_) for id_, _ in one.todo]
    if not questions:
        return Amount()
    count, calls = model.count, len(questions)
    cot = "cot=" in one.cell.prompt
    out = replies.get((one.cell.model, cot), REASONED_REPLY_TOKENS if cot else REPLY_TOKENS)
    base = count.tokens(one.base)
    each = [count.tokens(size, 0) for size in questions]
    tokens_in, tokens_out = calls * base + math.fsum(each), calls * out
    longest = base + max(each) + ((one.task.config.max_tokens or 0) if one.task.config else 0)
    if longest > model.longest:
        model.longest, model.longest_shots = longest, one.cell.shots
    prefix = replace(one.base, messages=one.base.messages - 1)
    price = model.price
    cost = (tokens_in * price.input + tokens_out * price.output) / 1e6 if price else math.nan
    return Amount(calls, tokens_in, (calls - 1) * count.tokens(prefix, 0), tokens_out, cost)


def _savable(
    planned: Sequence[_Planned], repeated: Collection[CellKey], finished: Collection[CellKey]
) -> int:
    """The most calls that cells with equal prompts can save, before their labels are known."""
    groups: dict[tuple[Any, ...], list[_Planned]] = defaultdict(list)
    for one in planned:
        cell = one.cell
        if not cell.labels or cell.split != "test" or not _once(one.task):
            continue
        # other words of the system message: it never has the prompts of another kind
        apart = cell.labels == "unlabelled"
        # two draws may begin with the same question
        draw = cell.draw if cell.shots > 1 else 0
        groups[cell.model, cell.prompt, cell.shots, draw, apart].append(one)
    saved = 0
    for group in groups.values():
        calls = [len(one.todo) for one in group if one.key not in repeated and one.todo]
        if any(one.key in finished for one in group):
            saved += sum(calls)
        elif calls:
            saved += sum(calls) - min(calls)
    return saved


def _price(study: Study, model: str) -> tuple[Price | None, str]:
    """Dollars per million tokens, and where they come from."""
    if model in study.prices:
        return study.prices[model], "the study file"
    info = model_info(model)
    if info and info.cost:
        cost = info.cost
        price = Price(
            input=cost.input,
            output=cost.output,
            cache_read=cost.input_cache_read,
            cache_write=cost.input_cache_write,
        )
        return price, "Inspect's model table"
    return None, ""


def _context(model: str) -> int | None:
    info = model_info(model)
    return info.context_length if info else None


class _Sizes:
    """Sizes of prompts, each text measured once."""

    def __init__(self, split: Split) -> None:
        self._samples = {_id(s): s for s in (*split.test, *split.pool)}
        self._questions: dict[tuple[int | str, bool], Size] = {}
        self._prompts: dict[str, Size] = {}

    def question(self, cell: Cell, id_: int | str) -> Size:
        """Text of the question that is asked; its message is counted in `prompt`."""
        hidden = "question=hidden" in cell.prompt
        if (id_, hidden) not in self._questions:
            sample = self._samples[id_]
            text = question_text("" if hidden else str(sample.input), sample.choices or [])
            size = size_of([ChatMessageSystem(content=text)])
            self._questions[id_, hidden] = replace(size, messages=0)
        return self._questions[id_, hidden]

    def prompt(self, study: Study, cell: Cell, task: Task) -> Size:
        """A prompt of the cell but for the text of the question that is asked."""
        metadata = task.metadata or {}
        digest = str(metadata["prompt_sha256"])
        if digest in self._prompts:
            return self._prompts[digest]
        items = [
            Demonstration(
                id_,
                str(self._samples[id_].input),
                tuple(choices),
                label or None,
                str(self._samples[id_].target),
            )
            for id_, choices, label in zip(
                metadata.get("demo_ids", ()),
                metadata.get("demo_choices", ()),
                metadata.get("demo_labels", ()),
                strict=True,
            )
        ]
        shown = Demonstrations(tuple(items))
        words = dict(word.split("=") for word in cell.prompt.split())
        arm: dict[str, Any] = {"style": study.style, **words}
        prompt = Prompt(**arm)
        size = size_of(
            [
                ChatMessageSystem(content=metadata["system_message"]),
                *prompt.prefix(shown)[1:],
                prompt.last_turn(shown, "", ()),
            ]
        )
        self._prompts[digest] = size
        return size


class _Logs:
    """What the logs of a directory hold of a study's cells, and what they cost."""

    def __init__(self, log_dir: str) -> None:
        self._of: dict[CellKey, list[EvalLog]] = {}
        self._summaries: dict[str, Sequence[EvalSampleSummary]] = {}
        self.spent = 0.0
        self.unpriced: set[str] = set()
        paid: set[str] = set()
        for log in log_headers(log_dir):
            if is_ours(log):
                self._of.setdefault(key_of(log), []).append(log)
        logs = [log for of in self._of.values() for log in of]
        for location, samples in summaries([log.location for log in logs]):
            self._summaries[location] = samples
            for sample in samples:
                # a log that continues another holds its samples again
                name = sample.uuid or f"{location} {sample.id} {sample.epoch}"
                if name in paid:
                    continue
                paid.add(name)
                for model, usage in sample.model_usage.items():
                    if usage.total_cost is None:
                        self.unpriced.add(model)
                    else:
                        self.spent += usage.total_cost

    def samples(self, log: EvalLog) -> Sequence[EvalSampleSummary]:
        """Summaries of the samples that a log holds."""
        return self._summaries[log.location]

    def finished(self, key: CellKey) -> bool:
        """Whether a cell has a finished log."""
        return any(map(is_complete, self._of.get(key, ())))

    def answered(
        self, one: _Planned, questions: int, calls: int, *, strict: bool
    ) -> tuple[bool, set[tuple[int | str, int]]]:
        """Whether a cell is finished, and the (id, epoch) of the samples that Inspect will keep.

        Of the logs of the same task and arguments one is enough that is finished. Otherwise the
        last is continued, unless the questions have become fewer; before that the run marks the
        logs that lack answers, the fullest last.
        """

        def args(passed: Mapping[str, Any]) -> dict[str, Any]:
            # until the labels are there, it is not known what is passed over
            return {k: v for k, v in passed.items() if strict or k != "skip"}

        mine = args(one.cell.args)
        logs = [log for log in self._of.get(one.key, ()) if args(log.eval.task_args_passed) == mine]
        if not logs:
            return False, set()
        if any(answers_all(log, calls) for log in logs):
            return True, set()
        last = (unmarked(logs) or logs)[-1]
        held = last.eval.dataset.samples or 0
        if held > questions:
            return False, set()
        kept = {(s.id, s.epoch) for s in self.samples(last) if s.error is None}
        return False, kept

    def token_count(self, model: str, planned: Sequence[_Planned], sizes: _Sizes) -> TokenCount:
        """How a model counts tokens, learnt from its logged calls."""
        measured: list[Size] = []
        tokens: list[int] = []
        for one in planned:
            if one.cell.model != model or not one.known:
                continue
            digest = (one.task.metadata or {})["prompt_sha256"]
            for log in self._of.get(one.key, [])[-1:]:
                if (log.eval.metadata or {}).get("prompt_sha256") != digest:
                    continue
                for sample in self.samples(log):
                    usage = sample.model_usage.get(model)
                    # a sample that was tried twice has the usage of two calls
                    if usage and not sample.retries and not sample.error:
                        measured.append(one.base + sizes.question(one.cell, sample.id))
                        tokens.append(usage_tokens(usage))
        return learn(measured, tokens)

    def reply_tokens(self) -> dict[tuple[str, bool], float]:
        """Mean tokens of a reply, by model and by whether it was to reason first."""
        found: dict[tuple[str, bool], list[int]] = defaultdict(list)
        for key, logs in self._of.items():
            for sample in self.samples(logs[-1]):
                usage = sample.model_usage.get(key.model)
                if usage and not sample.retries and not sample.error:
                    found[key.model, "cot=" in key.prompt].append(usage.output_tokens)
        return {k: sum(v) / len(v) for k, v in found.items() if len(v) >= MIN_CALLS}


# --- as a person and as a program read it ---------------------------------------------------------


def plan_json(
    plan: Plan, *, max_cost: float | None = None, detects: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The plan for a program; null where something is not known."""
    study = plan.study

    def amount(one: Amount) -> dict[str, Any]:
        rounded = {k: round(v) for k, v in asdict(one).items() if k != "cost"}
        return {**rounded, "cost": None if math.isnan(one.cost) else one.cost}

    return {
        "study": study.name,
        "log_dir": plan.log_dir,
        "test_questions": len(plan.split.test),
        "pool_questions": len(plan.split.pool),
        "seed": study.seed,
        "draws": study.draws,
        "stages": [
            {
                "stage": s.name,
                "cells": s.cells,
                "done": s.done,
                "same_prompts": s.shared,
                **amount(s.to_run),
            }
            for s in plan.stages
        ],
        "to_run": {
            "cells": sum(s.cells - s.done for s in plan.stages),
            **amount(plan.to_run),
            "calls_exact": plan.exact,
            "calls_at_least": plan.calls_at_least,
        },
        "models": [
            {
                "model": m.name,
                **amount(m.to_run),
                "tokens_basis": m.count.basis,
                "price": m.price and m.price.model_dump(exclude_none=True),
                "price_from": m.price_from or None,
                "longest_prompt": {
                    "shots": m.longest_shots,
                    "tokens": round(m.longest) or None,
                    "context_length": m.context,
                },
            }
            for m in plan.models.values()
        ],
        "unpriced": plan.unpriced,
        "spent": None if plan.spent_unknown else plan.spent,
        "max_cost": max_cost,
        "max_connections": study.max_connections,
        "verdict_lacks": _lacks(study),
        "detects": {k: v for k, v in (detects or {}).items() if k != "lines"} or None,
    }


def print_plan(
    plan: Plan,
    console: Console | None = None,
    *,
    max_cost: float | None = None,
    detects: Mapping[str, Any] | None = None,
) -> None:
    """Say what a study consists of, what is still to run and costs, and what it can show.

    Args:
        plan: As `make_plan`.
        console: Where it is printed.
        max_cost: Dollars that the study may cost in all.
        detects: What the study can detect; `lines` are printed.
    """
    console = console or Console(soft_wrap=True)
    say = partial(console.print, highlight=False)
    study, split = plan.study, plan.split
    target = f"  →  {escape(plan.log_dir)}" if plan.log_dir else ""
    say(f"Plan  study {escape(study.name)}{target}")
    say(
        f"{len(split.test)} test questions, {len(split.pool)} in the pool "
        f"({split.provenance['n_near_duplicates']} near-duplicates barred), seed {study.seed}, "
        f"{study.draws} draw{'s' * (study.draws > 1)}"
    )
    rows = [["stage", "cells", "done", "calls", "tokens in", "shared", "tokens out", "cost"]]
    for stage in plan.stages:
        done = str(stage.done or "-")
        rows.append([stage.name, str(stage.cells), done, *_cells(stage.to_run)])
    total = _cells(plan.to_run)
    if plan.unpriced:
        total[-1] = _cost(plan)
    left = sum(stage.cells - stage.done for stage in plan.stages)
    rows.append(["to run now", str(left), "", *total])
    # a table of rich's would cut what is wider than a pipe is thought to be
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *others in rows:
        cells = [f"{text:>{width}}" for text, width in zip(others, widths[1:], strict=True)]
        say(escape("  ".join([f"{first:<{widths[0]}}", *cells])))
    for line in (*_notes(plan, max_cost), *(detects or {}).get("lines", ()), _verdict_line(study)):
        for part in textwrap.wrap(
            line, WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
        ):
            say(escape(part))


def exact_line(plan: Plan) -> str:
    """What is still to run, in one line, once all labels are there."""
    shared = sum(stage.shared for stage in plan.stages)
    return (
        f"all labels are there: {plan.to_run.calls:,} calls to go, "
        f"{count_text(plan.to_run.tokens_in)} tokens in, {_cost(plan)}; "
        f"{shared} cells have the prompts of another"
    )


def _cost(plan: Plan) -> str:
    """What is still to run costs, as far as prices are known."""
    if not plan.unpriced:
        return dollars(plan.known_cost)
    return f"{dollars(plan.known_cost)} + ?" if plan.known_cost else "?"


def _cells(amount: Amount) -> list[str]:
    if not amount.calls:
        return ["0", "-", "-", "-", "-"]
    return [
        f"{amount.calls:,}",
        count_text(amount.tokens_in),
        f"{100 * amount.tokens_shared / amount.tokens_in:.0f}%",
        count_text(amount.tokens_out),
        "?" if math.isnan(amount.cost) else dollars(amount.cost),
    ]


def count_text(n: float) -> str:
    """A number of tokens, short.

    Example:
        >>> count_text(7_601_234), count_text(6200), count_text(12)
        ('7.60 M', '6.2 k', '12')
    """
    return f"{n / 1e6:.2f} M" if n >= 1e5 else f"{n / 1e3:.1f} k" if n >= 1e3 else f"{n:.0f}"


def dollars(amount: float) -> str:
    """Cents, or what it takes to see something.

    Example:
        >>> dollars(12.345), dollars(0.077), dollars(0)
        ('$12.35', '$0.0770', '$0.00')
    """
    return f"${amount:.2f}" if amount == 0 or amount >= 0.1 else f"${amount:#.3g}"


def _notes(plan: Plan, max_cost: float | None) -> list[str]:
    """What stands below the table."""
    lines = []
    shared = sum(stage.shared for stage in plan.stages)
    if shared:
        lines.append(
            f"{shared} cell{'s have' if shared > 1 else ' has'} the prompts of another cell and "
            f"ask{'s' * (shared == 1)} nothing"
        )
    if not plan.exact:
        lines.append(
            f"calls: at least {plan.calls_at_least:,}, for cells whose prompts turn out the same "
            f"are asked once; more than planned only if over {RESERVE} questions of a draw (the "
            "reserve of the label runs) are unread"
        )
    called = [m for m in plan.models.values() if m.to_run.calls]
    longest: dict[str, list[str]] = defaultdict(list)
    for m in called:
        limit = "limit unknown" if m.context is None else f"limit {count_text(m.context)}"
        prompt = f"{m.longest_shots} demonstrations ≈ {count_text(m.longest)} tokens ({limit})"
        longest[f"{'! too long' if m.too_long else 'longest prompt'} {prompt}"].append(m.name)
    lines += [f"{text}: {_listed(names)}" for text, names in longest.items()]
    learnt = [m.count.calls for m in called if m.count.calls]
    if learnt:
        lines.append(f"tokens: learnt from {sum(learnt):,} logged calls")
    guessed = [m for m in called if not m.count.calls]
    if guessed:
        of = f" of {_listed([m.name for m in guessed])}" if learnt else ""
        lines.append(f"tokens{of}: {guessed[0].count.basis}")
    connections = plan.study.max_connections
    lines.append(
        f"connections: {connections} to each model"
        if connections
        else "connections: as Inspect adapts them (max_connections)"
    )
    sources = dict.fromkeys(m.price_from for m in called if m.price_from)
    if sources:
        helped = "cache or batch price" if plan.study.batch else "cache"
        lines.append(f"prices: {', '.join(sources)}; cost as if no provider's {helped} helped")
    if plan.unpriced:
        lines.append(f"! price unknown (prices: in the study file): {_listed(plan.unpriced)}")
    if plan.spent or plan.spent_unknown:
        unknown = f", unknown for {_listed(plan.spent_unknown)}"
        lines.append(
            f"spent so far, by the logs: {dollars(plan.spent)}"
            + (unknown if plan.spent_unknown else "")
        )
    if max_cost is not None:
        lines.append(f"budget: {dollars(max_cost)} in all, what is spent included (--max-cost)")
    return lines


def model_name(model: str) -> str:
    """A model's own name, without provider and maker.

    Example:
        >>> model_name("openrouter/qwen/qwen-2.5-72b-instruct"), model_name("simulated/small")
        ('qwen-2.5-72b-instruct', 'simulated/small')
    """
    return model.rsplit("/", 1)[-1] if model.count("/") > 1 else model


def _listed(models: Sequence[str]) -> str:
    return ", ".join(map(model_name, models))


def _lacks(study: Study) -> list[str]:
    """What a verdict would lack."""
    lacks = [f"labels {kind}" for kind in study.missing_arms()]
    if not any(weak != strong for weak, strong in study.all_pairs):
        lacks.append("a pair of different models")
    if study.draws < VERDICT_DRAWS:
        lacks.append(f"draws: at least {VERDICT_DRAWS}, better 5 (now {study.draws})")
    return lacks


def _verdict_line(study: Study) -> str:
    """Whether the study can earn a verdict, and what it lacks."""
    at = ", ".join(map(str, study.verdict_shots))
    if lacks := _lacks(study):
        return f"! verdict at {at} shots lacks {'; '.join(lacks)}: no claim can be made"
    return f"verdict at {at} shots: every arm that it needs is planned"
