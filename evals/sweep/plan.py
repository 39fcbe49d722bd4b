"""The plan of a study: what is left to run, in calls, tokens and dollars.

No model is asked. Calls are counted on the very tasks that a run would build. Tokens are about
right: characters over four, until calls of a model are logged.
"""

from __future__ import annotations

import statistics
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from inspect_ai import Task
from inspect_ai.log import EvalLog, EvalSampleSummary
from inspect_ai.model import ModelCost, ModelUsage

from w2s_icl.errors import LabelsMissingError, W2SError
from w2s_icl.evals.cells import Cell, all_cells, cell_task
from w2s_icl.evals.questions import Split
from w2s_icl.evals.study import Price, Study
from w2s_icl.evals.sweep.endpoint import Served, model_info
from w2s_icl.evals.sweep.labelling import Labelling, labelling, may_share, pool_ask, same_prompts
from w2s_icl.evals.sweep.logdir import answers_all, log_of, our_logs, refuse_other_demonstrations
from w2s_icl.evals.sweep.stopping import stopped_unread
from w2s_icl.record import CellKey, Shown, key_of, prompt_tokens
from w2s_icl.solvers.few_shot import question_text
from w2s_icl.solvers.label_logs import summaries
from w2s_icl.solvers.labels import id_of
from w2s_icl.words import money, tokens

Call = tuple[int | str, int]  # a question's id and the epoch in which it is asked


@dataclass(frozen=True)
class Amount:
    """Calls without retries, tokens with cached ones, dollars where they are known."""

    calls: int = 0
    tokens_in: float = 0
    tokens_out: float = 0
    known: float = 0.0  # all of the dollars if nothing is `unpriced`
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
    """A cell, and what of it is left to run."""

    cell: Cell
    task: Task  # shows gold labels until the cell's own are there
    labelled: bool  # whether they are
    done: bool
    answered: int  # answers in the logs
    todo: list[Call]  # calls that are left
    shared: bool = False  # whether another cell has the same prompts: nothing is left
    to_run: Amount = NOTHING
    longest: float = 0.0  # tokens of the longest prompt that is left, reply included


def left_of(cells: Iterable[PlannedCell]) -> Amount:
    """What is left of some cells."""
    return sum((one.to_run for one in cells), NOTHING)


@dataclass(frozen=True)
class Plan:
    """What a study consists of, what of it is done, and what the rest takes."""

    study: Study
    log_dir: str | None
    split: Split
    cells: Sequence[PlannedCell]
    context: Mapping[str, int | None]  # tokens that each model can read; None where unknown
    # whether the number of calls is known. It is not before all labels are there: where weak labels
    # turn out to be right, two cells have the same prompts and are asked once
    exact: bool
    calls_at_least: int
    second_round: int  # the most calls that a second round of the label runs may add
    spent: Amount  # by the logs of the directory
    problems: Sequence[str] = ()  # what a run would refuse: endpoints that are away

    @property
    def to_run(self) -> Amount:
        """All that is left to run; its cost as if no cache served anything."""
        return left_of(self.cells)

    @property
    def stages(self) -> dict[str, list[PlannedCell]]:
        """The cells by stage, in the order of the study."""
        stages: dict[str, list[PlannedCell]] = defaultdict(list)
        for one in self.cells:
            stages[one.cell.stage].append(one)
        return stages

    @property
    def finished(self) -> frozenset[CellKey]:
        """Cells that are complete."""
        return frozenset(one.cell.key for one in self.cells if one.done)

    def check_budget(self, max_cost: float | None) -> None:
        """Refuse a plan that with what is spent costs over `max_cost` dollars, or is unpriced."""
        total, spent = self.to_run + self.spent, self.spent.known
        if max_cost is None or not self.to_run.calls:
            return
        if total.unpriced:
            raise W2SError(
                f"--max-cost {max_cost:g} cannot be kept: the price of "
                f"{', '.join(total.unpriced)} is unknown. Give dollars per million tokens in the "
                f'study file, as prices: {{"{total.unpriced[0]}": {{input: 0.10, output: 0.20}}}}'
            )
        if total.known > max_cost:
            included = f", {money(spent)} spent already included" if spent else ""
            raise W2SError(
                f"the plan comes to about {money(total.known)}{included}, over --max-cost "
                f"{max_cost:g}. Nothing has been asked. Give more, or plan fewer shots or draws"
            )


def make_plan(
    study: Study,
    log_dir: str | None = None,
    *,
    split: Split | None = None,
    served: Mapping[str, Served] | None = None,  # what the endpoints say of the models
) -> Plan:
    """Count what a study still has to run, with what `log_dir` holds of it; raises W2SError."""
    split = split or study.load_split()
    # labels are read from a log directory: without one, from an empty one
    with nullcontext(log_dir) if log_dir else tempfile.TemporaryDirectory() as folder:
        state = labelling(study, split, folder)
        logs = Logged(folder, split)
        every = all_cells(study, split, state.unread)
        cells = [_planned(study, cell, folder, state, logs) for cell in every]
        if state.complete:
            tasks = {one.cell.key: one.task for one in cells if one.labelled}
            refuse_other_demonstrations(tasks, folder)
            finished = {one.cell.key for one in cells if one.done}
            repeated = same_prompts(tasks.items(), finished)
            for one in cells:
                if one.cell.key in repeated:
                    one.shared, one.todo = True, []
    infos = {model: model_info(model) for model in study.models}
    served = {model: Served() for model in study.models} | dict(served or {})
    for one in cells:
        if one.todo:
            _count(one, study.prices.get(one.cell.model) or infos[one.cell.model].cost, logs)
    exact = state.complete and all(one.labelled for one in cells)
    least: dict[Any, int] = {}
    for one in cells:
        # cells that may turn out to have equal prompts are asked once
        alike = one.cell.key if exact else _alike(one)
        least[alike] = min(len(one.todo), least.get(alike, len(one.todo)))
    grows = not state.complete and study.label_pool != "all"
    labels = [one for one in cells if one.cell.split == "pool" and grows]
    return Plan(
        study=study,
        log_dir=log_dir,
        split=split,
        cells=cells,
        context={m: served[m].context or info.context_length for m, info in infos.items()},
        exact=exact,
        calls_at_least=sum(least.values()),
        second_round=sum(len(split.pool) - len(one.task.dataset) for one in labels),
        spent=logs.spent,
        problems=[f"{model}: {of.problem}" for model, of in served.items() if of.problem],
    )


def _alike(one: PlannedCell) -> tuple[Any, ...]:
    """What cells have in common whose prompts may be equal, once their labels are known."""
    cell = one.cell
    if not may_share(cell.key, one.task):
        return cell.key
    # unlabelled cells have another instruction; two draws may begin with the same question
    draw, apart = cell.draw if cell.shots > 1 else 0, cell.labels == "unlabelled"
    return cell.model, cell.prompt, cell.shots, draw, cell.order, apart


def _planned(study: Study, cell: Cell, folder: str, state: Labelling, logs: Logged) -> PlannedCell:
    ask = pool_ask(cell, state)
    labelled = state.complete or not cell.labels
    try:
        task = cell_task(study, cell, folder, ask)
    except LabelsMissingError:
        labelled = False
        args = {k: v for k, v in cell.args.items() if k != "weak"} | {"labels": "gold"}
        task = cell_task(study, cell.made_by(args), folder, ask)
    epochs = range(1, (task.epochs or 1) + 1)
    calls = [(id_of(sample), epoch) for sample in task.dataset for epoch in epochs]
    log = log_of(cell.key, task, logs.of[cell.key])
    done = log is not None and answers_all(log, task)
    if done or (log and stopped_unread(log)):
        return PlannedCell(cell, task, labelled, done, len(calls), [])
    # where the questions have become fewer, Inspect keeps none of the answers
    continued = log and (log.eval.dataset.samples or 0) <= len(task.dataset)
    kept = logs.kept[log.location] if log and continued else set()
    todo = [call for call in calls if call not in kept]
    return PlannedCell(cell, task, labelled, done, len(calls) - len(todo), todo)


def _count(one: PlannedCell, price: Price | ModelCost | None, logs: Logged) -> None:
    model, prompt, calls = one.cell.model, one.cell.prompt, len(one.todo)
    prefix = (one.task.metadata or {})["prompt_characters"]
    lengths = [prefix + logs.question_characters(id_, prompt) for id_, _ in one.todo]
    ratio = logs.tokens_per_character(model)
    one.longest = ratio * max(lengths) + (one.task.config.max_tokens or 0)
    read, written = ratio * sum(lengths), calls * logs.reply_tokens(model, prompt)
    cost = (read * price.input + written * price.output) / 1e6 if price else 0.0
    one.to_run = Amount(calls, read, written, cost, () if price else (model,))


class Logged:
    """What the logs of a directory hold of a study's cells; all their answers took `spent`."""

    def __init__(self, log_dir: str, split: Split) -> None:
        """Read the directory."""
        self.spent = NOTHING
        self._questions = {id_of(s): s for s in (*split.test, *split.pool)}
        self.of: dict[CellKey, list[EvalLog]] = defaultdict(list)
        self.kept: dict[str, set[Call]] = {}  # by location
        self._prompts: dict[str, list[tuple[int, int]]] = defaultdict(list)  # tokens, characters
        self._replies: dict[tuple[str, bool], list[int]] = defaultdict(list)  # tokens
        headers = {log.location: log for log in our_logs(log_dir)}
        paid: set[str | None] = set()
        for location, samples in summaries(list(headers)):
            log = headers[location]
            self.of[key_of(log)].append(log)
            self.kept[location] = {(s.id, s.epoch) for s in samples if s.error is None}
            for sample in samples:
                # a log that continues another holds its samples again
                if not sample.uuid or sample.uuid not in paid:
                    self._count(log, sample)
                paid.add(sample.uuid)

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

    def tokens_per_character(self, model: str) -> float:
        """Of a model's logged prompts; until there are some, of English text."""
        sizes, lengths = map(sum, zip(*(self._prompts[model] or [(1, 4)]), strict=True))
        return float(sizes / lengths)

    def reply_tokens(self, model: str, prompt: str) -> float:
        """Mean of a model's logged replies; until there are some, of a letter or of sentences."""
        reasons = "cot=" in prompt
        return statistics.mean(self._replies[model, reasons] or [250 if reasons else 2])
