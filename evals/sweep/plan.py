"""The plan of a study: what is left to run, in calls, tokens and dollars.

No model is asked anything here. Calls are counted on the very tasks that a run would build. Tokens
are about right: characters over four, until calls of a model are logged.
"""

from __future__ import annotations

import math
import tempfile
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

from inspect_ai import Task

from w2s_icl.errors import LabelsMissingError, W2SError
from w2s_icl.evals.cells import Cell, all_cells, cell_task
from w2s_icl.evals.questions import Split
from w2s_icl.evals.study import Price, Study
from w2s_icl.evals.sweep.endpoint import model_info
from w2s_icl.evals.sweep.labelling import Labelling, labelling, pool_ask
from w2s_icl.evals.sweep.logged import Call, Logged, id_of
from w2s_icl.record import CellKey
from w2s_icl.words import money


@dataclass
class Amount:
    """Calls, tokens and dollars.

    Attributes:
        calls: Calls that are answered; retries are not planned.
        tokens_in: Tokens of the prompts, cached ones included.
        tokens_out: Tokens of the replies.
        cost: Dollars, as if no cache served anything; nan where a price is unknown.
    """

    calls: int = 0
    tokens_in: float = 0.0
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
        done: Cells of it that are complete.
        shared: Cells of it that ask nothing, since another cell has the same prompts.
        to_run: What is left to run.
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
        tokens_per_character: Of its prompts.
        logged_calls: Calls from which that number comes; 0 for what is usual.
        price: Dollars per million tokens; None where unknown.
        price_from: "the study file", "Inspect's model table", or "".
        context: Tokens that it can read; None where unknown.
        longest: Tokens of its longest prompt, reply included.
        longest_shots: Demonstrations in that prompt.
        to_run: What is left to run.
    """

    name: str
    tokens_per_character: float
    logged_calls: int
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
        log_dir: Where complete cells were looked for.
        split: Test and pool.
        stages: In the order in which they run.
        models: By name.
        to_run: All that is left to run.
        exact: Whether the number of calls is known. It is not before all labels are there: where
            weak labels turn out to be right, two cells have the same prompts and are asked once.
        calls_at_least: The fewest calls that it may come to.
        second_round: The most calls that a second round of the label runs may add, which is asked
            where too many answers of the first cannot be read.
        finished: Cells that are complete.
        answered: Answers of the study's cells that are in the logs.
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
    second_round: int
    finished: frozenset[CellKey]
    answered: int
    spent: float
    spent_unknown: Sequence[str]

    @property
    def cells(self) -> int:
        """Cells of the study."""
        return sum(stage.cells for stage in self.stages)

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
            W2SError: Saying what it comes to, and the way out.
        """
        if max_cost is None or not self.to_run.calls:
            return
        missing = list(dict.fromkeys([*self.unpriced, *self.spent_unknown]))
        if missing:
            raise W2SError(
                f"--max-cost {max_cost:g} cannot be kept: the price of {', '.join(missing)} is "
                "unknown. Give dollars per million tokens in the study file, as "
                f'prices: {{"{missing[0]}": {{input: 0.10, output: 0.20}}}}'
            )
        total = self.spent + self.to_run.cost
        if total > max_cost:
            spent = f", {money(self.spent)} spent already included" if self.spent else ""
            raise W2SError(
                f"the plan comes to about {money(total)}{spent}, which is over --max-cost "
                f"{max_cost:g}. Nothing has been asked. Give a larger --max-cost, or plan less: "
                "fewer shots, draws or labels"
            )


def same_prompts(
    tasks: Iterable[tuple[CellKey, Task]], finished: Collection[CellKey]
) -> dict[CellKey, CellKey]:
    """Cells whose prompts are another cell's to the byte, with that cell.

    With few demonstrations the weak labels are often all right: the weak arm's prompts are then the
    gold arm's. A second call would cost money, and would put the noise of a rerun between two arms
    that do not differ. Cells that ask each question several times are left out: there a second
    call is made to see what it changes.

    Args:
        tasks: Cells and their tasks.
        finished: Cells that have a complete log.
    """
    groups: dict[tuple[str, str], list[CellKey]] = defaultdict(list)
    for key, task in tasks:
        if key.labels and key.split == "test" and _asks_once(task):
            groups[key.model, (task.metadata or {})["prompt_sha256"]].append(key)
    repeated: dict[CellKey, CellKey] = {}
    for keys in groups.values():
        source = next((key for key in keys if key in finished), keys[0])
        repeated |= {key: source for key in keys if key != source and key not in finished}
    return repeated


def _asks_once(task: Task) -> bool:
    """Whether every question is asked once in each rotation of its options."""
    return bool((task.epochs or 1) == (task.metadata or {})["permutations"])


@dataclass
class _Planned:
    """A cell on its way into the plan.

    Attributes:
        cell: The cell.
        task: What it asks; with gold labels where its own are not there yet, whose size is the
            same.
        labelled: Whether its labels are there.
        todo: Calls that are left.
        done: Whether it is complete.
        answered: Answers of it that are in the logs.
    """

    cell: Cell
    task: Task
    labelled: bool
    todo: list[Call]
    done: bool
    answered: int


def make_plan(study: Study, log_dir: str | None = None, *, split: Split | None = None) -> Plan:
    """Count what a study still has to run.

    Args:
        study: The study.
        log_dir: Where complete cells and answered questions are looked for.
        split: Of the study, where it is at hand.

    Raises:
        W2SError: The study does not fit the questions.
    """
    split = split or study.load_split()
    # labels are read from a log directory: without one, from an empty one
    with nullcontext(log_dir) if log_dir else tempfile.TemporaryDirectory() as folder:
        state = labelling(study, split, folder)
        logs = Logged(folder, split)
        planned = [
            _planned(study, cell, folder, split, state, logs)
            for cell in all_cells(study, split, state.unread)
        ]
    finished = frozenset(one.cell.key for one in planned if one.done)
    labelled = [(one.cell.key, one.task) for one in planned if one.labelled]
    repeated = same_prompts(labelled, finished) if state.complete else {}
    models = {
        m: ModelPlan(m, *logs.tokens_per_character(m), *_price(study, m), _context(m))
        for m in study.models
    }
    stages: dict[str, Stage] = {}
    total = Amount()
    for one in planned:
        stage = stages.setdefault(one.cell.stage, Stage(one.cell.stage))
        stage.cells += 1
        stage.done += one.done
        if one.cell.key in repeated:
            stage.shared += 1
            one.todo = []
        amount = _amount(one, models[one.cell.model], logs)
        for part in (stage.to_run, models[one.cell.model].to_run, total):
            part.add(amount)
    runs = [one for one in planned if one.cell.split == "pool"]
    exact = state.complete and all(one.labelled for one in planned)
    return Plan(
        study=study,
        log_dir=log_dir,
        split=split,
        stages=list(stages.values()),
        models=models,
        to_run=total,
        exact=exact,
        calls_at_least=total.calls if exact else total.calls - _savable(planned, finished),
        second_round=(
            0
            if state.complete or study.label_pool == "all"
            else sum(len(split.pool) - len(one.task.dataset) for one in runs)
        ),
        finished=finished,
        answered=sum(one.answered for one in planned),
        spent=logs.spent,
        spent_unknown=sorted(logs.unpriced),
    )


def _planned(
    study: Study, cell: Cell, folder: str, split: Split, state: Labelling, logs: Logged
) -> _Planned:
    """A cell, its task, and what of it is left to ask."""
    ask = pool_ask(cell, state)
    labelled = state.complete or not cell.labels
    try:
        task = cell_task(study, cell, folder, ask)
    except LabelsMissingError:
        labelled = False
        args = {k: v for k, v in cell.args.items() if k != "weak"}
        args["labels"] = "gold"
        task = cell_task(study, replace(cell, args=args), folder, ask)
    epochs = range(1, (task.epochs or 1) + 1)
    calls = [(id_of(sample), epoch) for sample in task.dataset for epoch in epochs]
    done, kept = logs.answered(cell, len(task.dataset), len(calls), exact=state.complete)
    todo = [] if done else [call for call in calls if call not in kept]
    return _Planned(cell, task, labelled, todo, done, len(calls) - len(todo))


def _amount(one: _Planned, model: ModelPlan, logs: Logged) -> Amount:
    """What a cell still takes; its longest prompt goes into the model's plan."""
    if not one.todo:
        return Amount()
    per_character, calls, prompt = model.tokens_per_character, len(one.todo), one.cell.prompt
    prefix = (one.task.metadata or {})["prompt_characters"]
    lengths = [prefix + logs.question_characters(id_, prompt) for id_, _ in one.todo]
    tokens_in, tokens_out = per_character * sum(lengths), calls * logs.reply(model.name, prompt)
    longest = per_character * max(lengths) + (one.task.config.max_tokens or 0)
    if longest > model.longest:
        model.longest, model.longest_shots = longest, one.cell.shots
    price = model.price
    cost = (tokens_in * price.input + tokens_out * price.output) / 1e6 if price else math.nan
    return Amount(calls, tokens_in, tokens_out, cost)


def _savable(planned: Sequence[_Planned], finished: Collection[CellKey]) -> int:
    """The most calls that cells with equal prompts can save, before their labels are known."""
    groups: dict[tuple[Any, ...], list[_Planned]] = defaultdict(list)
    for one in planned:
        cell = one.cell
        if not cell.labels or cell.split != "test" or not _asks_once(one.task):
            continue
        # another system message: it never has the prompts of another kind
        apart = cell.labels == "unlabelled"
        # two draws may begin with the same question
        draw = cell.draw if cell.shots > 1 else 0
        groups[cell.model, cell.prompt, cell.shots, draw, apart].append(one)
    saved = 0
    for group in groups.values():
        calls = [len(one.todo) for one in group if one.todo]
        # one of the group has to be asked, unless one is complete
        asked = 0 if any(one.cell.key in finished for one in group) else min(calls, default=0)
        saved += sum(calls) - asked
    return saved


def _price(study: Study, model: str) -> tuple[Price | None, str]:
    """Dollars per million tokens, and where they come from."""
    if model in study.prices:
        return study.prices[model], "the study file"
    info = model_info(model)
    if info and info.cost:
        return Price(input=info.cost.input, output=info.cost.output), "Inspect's model table"
    return None, ""


def _context(model: str) -> int | None:
    info = model_info(model)
    return info.context_length if info else None
