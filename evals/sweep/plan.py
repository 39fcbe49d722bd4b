"""The plan of a study: what is left to run, in calls, tokens and dollars.

No model is asked. Calls are counted on the very tasks that a run would build. Tokens are about
right: characters over four, until calls of a model are logged.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

from inspect_ai import Task

from w2s_icl.errors import LabelsMissingError, W2SError
from w2s_icl.evals.cells import Cell, all_cells, cell_task
from w2s_icl.evals.questions import Split
from w2s_icl.evals.study import Price, Study
from w2s_icl.evals.sweep.endpoint import Served, model_info
from w2s_icl.evals.sweep.labelling import Labelling, labelling, pool_ask
from w2s_icl.evals.sweep.logged import NOTHING, Amount, Call, Logged
from w2s_icl.evals.sweep.reuse import may_share, same_prompts
from w2s_icl.record import CellKey
from w2s_icl.solvers.labels import id_of
from w2s_icl.words import money


@dataclass
class Stage:
    """A line of the plan: its cells, those complete, those that share another cell's prompts."""

    name: str
    cells: int = 0
    done: int = 0
    shared: int = 0
    to_run: Amount = NOTHING


@dataclass
class ModelPlan:
    """What is planned for one model.

    Attributes:
        name: As Inspect names it.
        price: Dollars per million tokens; None where unknown.
        price_from: "the study file", "Inspect's model table", or "".
        context: Tokens that it can read; None where unknown.
        tokens_per_character: Of its prompts, by `logged_calls`; 0 of them for what is usual.
        longest: Tokens of its longest prompt, reply included; it has `longest_shots`.
        to_run: What is left to run.
    """

    name: str
    price: Price | None
    price_from: str
    context: int | None
    tokens_per_character: float
    logged_calls: int
    longest: float = 0.0
    longest_shots: int = 0
    to_run: Amount = NOTHING


@dataclass(frozen=True)
class Plan:
    """What a study consists of, what of it is done, and what the rest takes.

    Attributes:
        log_dir: Where complete cells were looked for.
        stages: In the order in which they run.
        models: By name.
        to_run: All that is left to run; its cost as if no cache served anything.
        exact: Whether the number of calls is known. It is not before all labels are there: where
            weak labels turn out to be right, two cells have the same prompts and are asked once.
        calls_at_least: The fewest calls that it may come to.
        second_round: The most calls that a second round of the label runs may add, which is asked
            where too many answers of the first cannot be read.
        finished: Cells that are complete.
        answered: Answers of the study's cells that are in the logs.
        spent: What the logs of the directory took.
        problems: What a run would refuse that may be mended before it: endpoints that are away.
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
    spent: Amount
    problems: Sequence[str] = ()

    @property
    def cells(self) -> int:
        """Cells of the study."""
        return sum(stage.cells for stage in self.stages)

    @property
    def shared(self) -> int:
        """Cells that ask nothing, since another cell has the same prompts."""
        return sum(stage.shared for stage in self.stages)

    def check_budget(self, max_cost: float | None) -> None:
        """Refuse a plan that costs too much, or whose cost is not known.

        Args:
            max_cost: Dollars that the whole study may cost, what the logs have cost included.
        """
        if max_cost is None or not self.to_run.calls:
            return
        total = self.to_run + self.spent
        if total.unpriced:
            raise W2SError(
                f"--max-cost {max_cost:g} cannot be kept: the price of "
                f"{', '.join(total.unpriced)} is unknown. Give dollars per million tokens in the "
                f'study file, as prices: {{"{total.unpriced[0]}": {{input: 0.10, output: 0.20}}}}'
            )
        if total.cost > max_cost:
            spent = f", {money(self.spent.cost)} spent already included" if self.spent.cost else ""
            raise W2SError(
                f"the plan comes to about {money(total.cost)}{spent}, which is over --max-cost "
                f"{max_cost:g}. Nothing has been asked. Give a larger --max-cost, or plan less: "
                "fewer shots, draws or labels"
            )


@dataclass
class _Planned:
    """A cell on its way into the plan; where its labels are missing, `task` shows gold ones."""

    cell: Cell
    task: Task
    labelled: bool
    done: bool
    answered: int
    todo: list[Call]


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
        W2SError: The study does not fit the questions.
    """
    split = split or study.load_split()
    # labels are read from a log directory: without one, from an empty one
    with nullcontext(log_dir) if log_dir else tempfile.TemporaryDirectory() as folder:
        state = labelling(study, split, folder)
        logs = Logged(folder, split)
        planned = [
            _planned(study, cell, folder, state, logs)
            for cell in all_cells(study, split, state.unread)
        ]
    finished = frozenset(one.cell.key for one in planned if one.done)
    labelled = [(one.cell.key, one.task) for one in planned if one.labelled]
    repeated = same_prompts(labelled, finished) if state.complete else {}
    served = served or {}
    models = {m: _model(study, m, logs, served.get(m, Served())) for m in study.models}
    stages: dict[str, Stage] = {}
    for one in planned:
        stage = stages.setdefault(one.cell.stage, Stage(one.cell.stage))
        stage.cells += 1
        stage.done += one.done
        if one.cell.key in repeated:
            stage.shared += 1
            one.todo = []
        if one.todo:
            amount = _amount(one, models[one.cell.model], logs)
            stage.to_run += amount
            models[one.cell.model].to_run += amount
    total = sum((model.to_run for model in models.values()), NOTHING)
    exact = state.complete and all(one.labelled for one in planned)
    grows = not state.complete and study.label_pool != "all"
    runs = [one.task.dataset for one in planned if one.cell.split == "pool" and grows]
    return Plan(
        study=study,
        log_dir=log_dir,
        split=split,
        stages=list(stages.values()),
        models=models,
        to_run=total,
        exact=exact,
        calls_at_least=total.calls - (0 if exact else _savable(planned)),
        second_round=sum(len(split.pool) - len(asked) for asked in runs),
        finished=finished,
        answered=sum(one.answered for one in planned),
        spent=logs.spent,
        problems=[f"{model}: {of.problem}" for model, of in served.items() if of.problem],
    )


def _planned(study: Study, cell: Cell, folder: str, state: Labelling, logs: Logged) -> _Planned:
    """A cell, its task, and what of it is left to ask."""
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
    return _Planned(cell, task, labelled, done, len(calls) - len(todo), todo)


def _amount(one: _Planned, model: ModelPlan, logs: Logged) -> Amount:
    """What a cell still takes; its longest prompt goes into the model's plan."""
    per_character, calls, prompt = model.tokens_per_character, len(one.todo), one.cell.prompt
    prefix = (one.task.metadata or {})["prompt_characters"]
    lengths = [prefix + logs.question_characters(id_, prompt) for id_, _ in one.todo]
    longest = per_character * max(lengths) + (one.task.config.max_tokens or 0)
    if longest > model.longest:
        model.longest, model.longest_shots = longest, one.cell.shots
    tokens = per_character * sum(lengths), calls * logs.reply(model.name, prompt)
    if model.price is None:
        return Amount(calls, *tokens, unpriced=(model.name,))
    cost = (tokens[0] * model.price.input + tokens[1] * model.price.output) / 1e6
    return Amount(calls, *tokens, cost)


def _savable(planned: Sequence[_Planned]) -> int:
    """The most calls that cells with equal prompts can save, before their labels are known."""
    groups: dict[tuple[Any, ...], list[_Planned]] = defaultdict(list)
    for one in planned:
        cell = one.cell
        if may_share(cell.key, one.task):
            # another system message: it never has the prompts of another kind
            apart = cell.labels == "unlabelled"
            # two draws may begin with the same question
            draw = cell.draw if cell.shots > 1 else 0
            groups[cell.model, cell.prompt, cell.shots, draw, cell.order, apart].append(one)
    saved = 0
    for group in groups.values():
        calls = [len(one.todo) for one in group if one.todo]
        # one of the group has to be asked, unless one is complete
        asked = 0 if any(one.done for one in group) else min(calls, default=0)
        saved += sum(calls) - asked
    return saved


def _model(study: Study, model: str, logs: Logged, served: Served) -> ModelPlan:
    """A model, with nothing to run yet."""
    info = model_info(model)
    context, cost = (info.context_length, info.cost) if info else (None, None)
    context = served.context or context
    price, source = study.prices.get(model), "the study file"
    if price is None:
        price = Price(input=cost.input, output=cost.output) if cost else None
        source = "Inspect's model table" if cost else ""
    return ModelPlan(model, price, source, context, *logs.tokens_per_character(model))
