"""The plan of a study: what is left to run, in calls, tokens and dollars.

No model is asked. Calls are counted on the very tasks that a run would build. Tokens are about
right: characters over four, until calls of a model are logged.
"""

from __future__ import annotations

import math
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

from inspect_ai import Task
from inspect_ai.log import EvalLog, EvalSampleSummary
from inspect_ai.model import ModelInfo, ModelUsage

from w2s_icl.errors import LabelsMissingError, W2SError
from w2s_icl.evals.cells import Cell, all_cells, cell_task
from w2s_icl.evals.questions import Split
from w2s_icl.evals.study import Price, Study
from w2s_icl.evals.sweep.endpoint import Served, model_info
from w2s_icl.evals.sweep.labelling import Labelling, labelling, pool_ask
from w2s_icl.evals.sweep.logdir import answers_all, refuse_other_demonstrations, unmarked
from w2s_icl.evals.sweep.reuse import may_share, same_prompts
from w2s_icl.record import CellKey, Shown, is_ours, key_of, prompt_tokens
from w2s_icl.solvers.few_shot import question_text
from w2s_icl.solvers.label_logs import log_headers, summaries
from w2s_icl.solvers.labels import id_of
from w2s_icl.words import money, tokens

TOKENS_PER_CHARACTER = 1 / 4
"""Of English text, until calls of the model are logged."""

REPLY_TOKENS, REASONED_REPLY_TOKENS = 2, 250
"""Of a letter, and of a few sentences before it, until calls of the model are logged."""

Call = tuple[int | str, int]
"""A question's id and the epoch in which it is asked."""


@dataclass(frozen=True)
class Amount:
    """Calls without retries, tokens with cached ones, dollars where they are known."""

    calls: int = 0
    tokens_in: float = 0
    tokens_out: float = 0
    known: float = 0.0
    unpriced: tuple[str, ...] = ()  # models of the calls whose cost is unknown

    @classmethod
    def of(cls, model: str, usage: ModelUsage) -> Amount:
        """What one call took."""
        unpriced = (model,) if usage.total_cost is None else ()
        return cls(1, prompt_tokens(usage), usage.output_tokens, usage.total_cost or 0.0, unpriced)

    def __add__(self, other: Amount) -> Amount:
        """Both together."""
        return Amount(
            self.calls + other.calls,
            self.tokens_in + other.tokens_in,
            self.tokens_out + other.tokens_out,
            self.known + other.known,
            tuple(dict.fromkeys(self.unpriced + other.unpriced)),
        )

    @property
    def cost(self) -> float:
        """Dollars; nan where the cost of some call is unknown."""
        return math.nan if self.unpriced else self.known

    @property
    def dollars(self) -> str:
        """The cost in words, as far as it is known."""
        if not self.unpriced:
            return money(self.known)
        return f"{money(self.known)} + ?" if self.known else "cost ?"

    @property
    def text(self) -> str:
        """All of it in words."""
        sizes = f"{tokens(self.tokens_in)} tokens in, {tokens(self.tokens_out)} out"
        return f"{self.calls:,} calls, {sizes}, {self.dollars}"

    def to_json(self) -> dict[str, float | None]:
        """For a program; null where the cost is unknown."""
        return {
            "calls": self.calls,
            "tokens_in": round(self.tokens_in),
            "tokens_out": round(self.tokens_out),
            "cost": None if self.unpriced else self.known,
        }


NOTHING = Amount()


@dataclass
class PlannedCell:
    """A cell, and what of it is left to run.

    `task` shows gold labels until the cell's own are there (`labelled`). `answered` answers are in
    the logs, the calls `todo` are left: none where another cell has the same prompts (`shared`).
    `longest` is the longest prompt that is left, in tokens, reply included.
    """

    cell: Cell
    task: Task
    labelled: bool
    done: bool
    answered: int
    todo: list[Call]
    shared: bool = False
    to_run: Amount = NOTHING
    longest: float = 0.0


@dataclass(frozen=True)
class Plan:
    """What a study consists of, what of it is done, and what the rest takes.

    Attributes:
        per_character: By model, tokens per character of its prompts, and the number of logged
            calls that say so; 0 of them for what is usual.
        context: By model, tokens that it can read; None where unknown.
        exact: Whether the number of calls is known. It is not before all labels are there: where
            weak labels turn out to be right, two cells have the same prompts and are asked once.
        calls_at_least: The fewest calls that it may come to.
        second_round: The most calls that a second round of the label runs may add, which is asked
            where too many answers of the first cannot be read.
        spent: What the logs of the directory took.
        problems: What a run would refuse that may be mended before it: endpoints that are away.
    """

    study: Study
    log_dir: str | None
    split: Split
    cells: Sequence[PlannedCell]
    per_character: Mapping[str, tuple[float, int]]
    context: Mapping[str, int | None]
    exact: bool
    calls_at_least: int
    second_round: int
    spent: Amount
    problems: Sequence[str] = ()

    @property
    def to_run(self) -> Amount:
        """All that is left to run; its cost as if no cache served anything."""
        return sum((one.to_run for one in self.cells), NOTHING)

    @property
    def finished(self) -> frozenset[CellKey]:
        """Cells that are complete."""
        return frozenset(one.cell.key for one in self.cells if one.done)

    def check_budget(self, max_cost: float | None) -> None:
        """Refuse a plan that with what is spent costs over `max_cost` dollars, or is unpriced."""
        total = self.to_run + self.spent
        if max_cost is None or not self.to_run.calls:
            return
        if total.unpriced:
            raise W2SError(
                f"--max-cost {max_cost:g} cannot be kept: the price of "
                f"{', '.join(total.unpriced)} is unknown. Give dollars per million tokens in the "
                f'study file, as prices: {{"{total.unpriced[0]}": {{input: 0.10, output: 0.20}}}}'
            )
        if total.cost > max_cost:
            spent = f", {money(self.spent.cost)} spent already included" if self.spent.cost else ""
            raise W2SError(
                f"the plan comes to about {money(total.cost)}{spent}, over --max-cost "
                f"{max_cost:g}. Nothing has been asked. Give more, or plan fewer shots or draws"
            )


def make_plan(
    study: Study,
    log_dir: str | None = None,
    *,
    split: Split | None = None,
    served: Mapping[str, Served] | None = None,
) -> Plan:
    """Count what a study still has to run, with what `log_dir` holds of it.

    `served` is what the endpoints say of the models.

    Raises:
        W2SError: The study does not fit the questions, or a finished cell showed other
            demonstrations than it would show now.
    """
    split = split or study.load_split()
    # labels are read from a log directory: without one, from an empty one
    with nullcontext(log_dir) if log_dir else tempfile.TemporaryDirectory() as folder:
        state = labelling(study, split, folder)
        logs = Logged(folder, split)
        cells = [
            _planned(study, cell, folder, state, logs)
            for cell in all_cells(study, split, state.unread)
        ]
        if state.complete:
            tasks = {one.cell.key: one.task for one in cells if one.labelled}
            refuse_other_demonstrations(tasks, folder)
            finished = {one.cell.key for one in cells if one.done}
            repeated = same_prompts(tasks.items(), finished)
            for one in cells:
                if one.cell.key in repeated:
                    one.shared, one.todo = True, []
    infos = {model: model_info(model) or ModelInfo() for model in study.models}
    prices = {model: study.prices.get(model) or _price(info) for model, info in infos.items()}
    served = {model: Served() for model in study.models} | dict(served or {})
    for one in cells:
        if one.todo:
            _count(one, prices[one.cell.model], logs)
    exact = state.complete and all(one.labelled for one in cells)
    calls = sum(len(one.todo) for one in cells)
    grows = not state.complete and study.label_pool != "all"
    asked = [len(one.task.dataset) for one in cells if one.cell.split == "pool" and grows]
    return Plan(
        study=study,
        log_dir=log_dir,
        split=split,
        cells=cells,
        per_character={model: logs.tokens_per_character(model) for model in study.models},
        exact=exact,
        context={m: served[m].context or info.context_length for m, info in infos.items()},
        calls_at_least=calls - (0 if exact else _savable(cells)),
        second_round=sum(len(split.pool) - n for n in asked),
        spent=logs.spent,
        problems=[f"{model}: {of.problem}" for model, of in served.items() if of.problem],
    )


def _planned(study: Study, cell: Cell, folder: str, state: Labelling, logs: Logged) -> PlannedCell:
    ask = pool_ask(cell, state)
    labelled = state.complete or not cell.labels
    try:
        task = cell_task(study, cell, folder, ask)
    except LabelsMissingError:
        labelled = False
        args = {k: v for k, v in cell.args.items() if k != "weak"} | {"labels": "gold"}
        task = cell_task(study, replace(cell, args=args), folder, ask)
    epochs = range(1, (task.epochs or 1) + 1)
    calls = [(id_of(sample), epoch) for sample in task.dataset for epoch in epochs]
    done, kept = logs.answered(cell, len(task.dataset), len(calls), exact=state.complete)
    todo = [] if done else [call for call in calls if call not in kept]
    return PlannedCell(cell, task, labelled, done, len(calls) - len(todo), todo)


def _count(one: PlannedCell, price: Price | None, logs: Logged) -> None:
    """Count the tokens and dollars of what is left of a cell."""
    name, prompt, calls = one.cell.model, one.cell.prompt, len(one.todo)
    prefix = (one.task.metadata or {})["prompt_characters"]
    lengths = [prefix + logs.question_characters(id_, prompt) for id_, _ in one.todo]
    per_character, _ = logs.tokens_per_character(name)
    one.longest = per_character * max(lengths) + (one.task.config.max_tokens or 0)
    sizes = per_character * sum(lengths), calls * logs.reply(name, prompt)
    if price is None:
        one.to_run = Amount(calls, *sizes, unpriced=(name,))
    else:
        cost = (sizes[0] * price.input + sizes[1] * price.output) / 1e6
        one.to_run = Amount(calls, *sizes, cost)


def _savable(cells: Sequence[PlannedCell]) -> int:
    """The most calls that cells with equal prompts can save, before their labels are known."""
    groups: dict[tuple[Any, ...], list[PlannedCell]] = defaultdict(list)
    for one in cells:
        cell = one.cell
        if may_share(cell.key, one.task):
            # unlabelled cells have another instruction; two draws may begin with the same question
            draw, apart = cell.draw if cell.shots > 1 else 0, cell.labels == "unlabelled"
            groups[cell.model, cell.prompt, cell.shots, draw, cell.order, apart].append(one)
    saved = 0
    for group in groups.values():
        calls = [len(one.todo) for one in group if one.todo]
        # one of the group has to be asked, unless one is complete
        asked = 0 if any(one.done for one in group) else min(calls, default=0)
        saved += sum(calls) - asked
    return saved


def _price(info: ModelInfo) -> Price | None:
    """Dollars per million tokens by Inspect's table."""
    return Price(input=info.cost.input, output=info.cost.output) if info.cost else None


# --- what the logs hold ---------------------------------------------------------------------------


class Logged:
    """What the logs of a directory hold of a study's cells; all their answers took `spent`."""

    def __init__(self, log_dir: str, split: Split) -> None:
        """Read the directory."""
        self.spent = NOTHING
        self._questions = {id_of(s): s for s in (*split.test, *split.pool)}
        self._logs: dict[CellKey, list[EvalLog]] = defaultdict(list)
        self._kept: dict[str, set[Call]] = {}
        # of prompts, by model: tokens and characters; of replies, by model and whether it reasons
        self._prompts: dict[str, list[tuple[int, int]]] = defaultdict(list)
        self._replies: dict[tuple[str, bool], list[int]] = defaultdict(list)
        headers = {log.location: log for log in log_headers(log_dir) if is_ours(log)}
        paid: set[str | None] = {None}
        for location, samples in summaries(list(headers)):
            log = headers[location]
            self._logs[key_of(log)].append(log)
            self._kept[location] = {(s.id, s.epoch) for s in samples if s.error is None}
            # a log that continues another holds its samples again
            new = [s for s in samples if not s.uuid or s.uuid not in paid]
            paid |= {s.uuid for s in new}
            for sample in new:
                self._count(log, sample)

    def _count(self, log: EvalLog, sample: EvalSampleSummary) -> None:
        # a log's own sums will not do: one that continues after kill -9 lacks the killed run's
        for call in sample.model_usage.items():
            self.spent += Amount.of(*call)
        key, prefix = key_of(log), Shown.from_log(log).prompt_characters
        usage = sample.model_usage.get(key.model)
        # a question that was tried twice has the usage of two calls
        if usage and not sample.retries and not sample.error:
            self._replies[key.model, "cot=" in key.prompt].append(usage.output_tokens)
            if prefix and sample.id in self._questions:
                length = prefix + self.question_characters(sample.id, key.prompt)
                self._prompts[key.model].append((prompt_tokens(usage), length))

    def question_characters(self, id_: int | str, prompt: str) -> int:
        """Length of the question that is asked, options included."""
        sample = self._questions[id_]
        shown = "" if "question=hidden" in prompt else str(sample.input)
        return len(question_text(shown, sample.choices or []))

    def tokens_per_character(self, model: str) -> tuple[float, int]:
        """Of a model's logged prompts, and the number of its logged calls."""
        logged = self._prompts[model]
        if not logged:
            return TOKENS_PER_CHARACTER, 0
        sizes, lengths = map(sum, zip(*logged, strict=True))
        return sizes / lengths, len(logged)

    def reply(self, model: str, prompt: str) -> float:
        """Mean tokens of a model's logged replies, or what is usual."""
        reasons = "cot=" in prompt
        logged = self._replies[model, reasons]
        usual = REASONED_REPLY_TOKENS if reasons else REPLY_TOKENS
        return sum(logged) / len(logged) if logged else usual

    def answered(
        self, cell: Cell, questions: int, calls: int, *, exact: bool
    ) -> tuple[bool, set[Call]]:
        """Whether a cell is complete, and if not, the calls whose answers Inspect will keep.

        Of the logs of the same task and arguments one is enough that is complete. Otherwise the
        last is continued, unless the questions have become fewer. `exact` is whether it is known
        which pool questions the cell passes over.
        """

        def args(passed: Mapping[str, Any]) -> dict[str, Any]:
            return {k: v for k, v in passed.items() if exact or k != "skip"}

        mine = args(cell.args)
        logs = [log for log in self._logs[cell.key] if args(log.eval.task_args_passed) == mine]
        if any(answers_all(log, calls) for log in logs):
            return True, set()
        last = [*logs, *unmarked(logs)][-1:]
        if not last or (last[0].eval.dataset.samples or 0) > questions:
            return False, set()
        return False, self._kept[last[0].location]
