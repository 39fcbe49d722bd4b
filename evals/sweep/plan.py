"""The plan of a study: what is left to run, in calls, tokens and dollars; how it is said.

No model is asked. Calls are counted on the very tasks that a run would build. Tokens are about
right: characters over four, until calls of a model are logged.
"""

import operator
import statistics
import tempfile
import textwrap
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

from inspect_ai import Task
from inspect_ai.log import EvalLog, EvalSampleSummary
from inspect_ai.model import ModelCost, ModelUsage
from rich.console import Console

from w2s_icl.errors import LabelsMissingError, W2SError
from w2s_icl.evals.cells import Cell, all_cells, cell_task, shown_by
from w2s_icl.evals.questions import Split
from w2s_icl.evals.study import RESERVE, Price, Study
from w2s_icl.evals.sweep import endpoint, logdir, stopping
from w2s_icl.evals.sweep.labelling import Labelling, labelling, may_share, same_prompts
from w2s_icl.record import CellKey, Shown, key_of, prompt_tokens
from w2s_icl.solvers.few_shot import question_text
from w2s_icl.solvers.label_logs import summaries
from w2s_icl.solvers.labels import id_of
from w2s_icl.words import fitted, model_name, money, printable, say, tokens

WIDTH = 80  # columns of what is printed


class Amount(NamedTuple):
    """Calls without retries, tokens with cached ones, dollars where they are known."""

    calls: int = 0
    tokens_in: float = 0
    tokens_out: float = 0
    known: float = 0.0  # all of the dollars if nothing is `unpriced`
    unpriced: tuple[str, ...] = ()  # models of the calls whose cost is unknown

    @classmethod
    def of(cls, model: str, usage: ModelUsage) -> "Amount":
        """What one call took."""
        unpriced = (model,) if usage.total_cost is None else ()
        return cls(1, prompt_tokens(usage), usage.output_tokens, usage.total_cost or 0.0, unpriced)

    def __add__(self, other: "Amount") -> "Amount":  # type: ignore[override]
        """Both together."""
        both = Amount(*map(operator.add, self, other))
        return both._replace(unpriced=tuple(dict.fromkeys(both.unpriced)))

    def __sub__(self, other: "Amount") -> "Amount":
        """What this has beyond `other`; models without a known cost are kept."""
        return Amount(*map(operator.sub, self[:4], other[:4]))._replace(unpriced=self.unpriced)

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
        sizes = {"tokens_in": round(self.tokens_in), "tokens_out": round(self.tokens_out)}
        return {"calls": self.calls, **sizes, "cost": None if self.unpriced else self.known}


NOTHING = Amount()


class Logged:
    """What the logs of a directory hold of a study's cells; all their answers took `spent`."""

    def __init__(self, log_dir: str, split: Split) -> None:
        """Read the directory."""
        self.log_dir, self.spent = log_dir, NOTHING
        self._questions = {id_of(s): s for s in (*split.test, *split.pool)}
        self.of: dict[CellKey, list[EvalLog]] = defaultdict(list)
        self.kept: dict[str, set[tuple[int | str, int]]] = {}  # by location: question and epoch
        self._prompts: dict[str, list[tuple[int, int]]] = defaultdict(list)  # tokens, characters
        self._replies: dict[tuple[str, bool], list[int]] = defaultdict(list)  # tokens
        logs = logdir.our_logs(log_dir)
        paid: set[str | None] = set()
        for log, samples in zip(logs, summaries([log.location for log in logs]), strict=True):
            self.of[key_of(log)].append(log)
            self.kept[log.location] = {(s.id, s.epoch) for s in samples if s.error is None}
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


class PlannedCell(NamedTuple):
    """A cell, and what of it is left to run."""

    cell: Cell
    task: Task  # shows gold labels until the cell's own are there
    labelled: bool  # whether they are
    done: bool
    answered: int  # answers in the logs
    to_run: Amount = NOTHING
    longest: float = 0.0  # tokens of the longest prompt that is left, reply included
    shared: bool = False  # whether another cell has the same prompts: nothing is left


def left_of(cells: Iterable[PlannedCell]) -> Amount:
    """What is left of some cells."""
    return sum((one.to_run for one in cells), NOTHING)


class Plan(NamedTuple):
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
        names = dict.fromkeys(one.cell.stage for one in self.cells)
        return {name: [one for one in self.cells if one.cell.stage == name] for name in names}

    def check_budget(self, max_cost: float | None) -> None:
        """Refuse a plan that with what is spent costs over `max_cost` dollars, or is unpriced."""
        total, spent = self.to_run + self.spent, self.spent.known
        if max_cost is None or not self.to_run.calls:
            return
        if total.unpriced:
            cause = f"the price of {', '.join(total.unpriced)} is unknown"
            price = f'prices: {{"{total.unpriced[0]}": {{input: 0.10, output: 0.20}}}}'
            way_out = f"Give dollars per million tokens in the study file, as {price}"
            raise W2SError(f"--max-cost {max_cost:g} cannot be kept: {cause}. {way_out}")
        if total.known > max_cost:
            cost = money(total.known) + f", {money(spent)} spent already included" * bool(spent)
            out = "Nothing has been asked. Give more, or plan fewer shots or draws"
            raise W2SError(f"the plan comes to about {cost}, over --max-cost {max_cost:g}. {out}")


def make_plan(
    study: Study,
    log_dir: str | None = None,
    split: Split | None = None,
    served: Mapping[str, endpoint.Served] = {},  # what the endpoints say of the models
) -> Plan:
    """Count what a study still has to run, with what `log_dir` holds of it; raises W2SError."""
    split = split or study.load_split()
    limits = {model: of.context for model, of in served.items()}
    infos = {model: endpoint.model_info(model) for model in study.models}
    prices = {model: study.prices.get(model) or info.cost for model, info in infos.items()}
    # labels are read from a log directory: without one, from an empty one
    with nullcontext(log_dir) if log_dir else tempfile.TemporaryDirectory() as folder:
        state = labelling(study, split, folder)
        logs = Logged(folder, split)
        every = all_cells(study, split, state.unread)
        cells = [_planned(study, cell, state, logs, prices[cell.model]) for cell in every]
        if state.complete:
            tasks = {one.cell.key: one.task for one in cells if one.labelled}
            logdir.refuse_other_demonstrations(tasks, folder)
            repeated = same_prompts(tasks, {one.cell.key for one in cells if one.done})
            for i, one in enumerate(cells):
                if one.cell.key in repeated:
                    cells[i] = one._replace(to_run=NOTHING, longest=0.0, shared=True)
    exact = state.complete and all(one.labelled for one in cells)
    least: dict[Any, list[int]] = defaultdict(list)
    for one in cells:  # those that may turn out to have equal prompts are asked once
        least[one.cell.key if exact else _alike(one)].append(one.to_run.calls)
    grows = not state.complete and study.label_pool != "all"
    labels = [one for one in cells if one.cell.split == "pool" and grows]
    return Plan(
        study=study,
        log_dir=log_dir,
        split=split,
        cells=cells,
        context={m: limits.get(m) or of.context_length for m, of in infos.items()},
        exact=exact,
        calls_at_least=sum(map(min, least.values())),
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


def _planned(
    study: Study, cell: Cell, state: Labelling, logs: Logged, price: Price | ModelCost | None
) -> PlannedCell:
    ask = state.asks(cell)
    labelled = state.complete or not cell.labels
    try:
        task = cell_task(study, cell, logs.log_dir, ask)
    except LabelsMissingError:
        labelled = False
        task = cell_task(study, cell, logs.log_dir, ask, labels="gold", weak=None)
    epochs = range(1, (task.epochs or 1) + 1)
    calls = [(id_of(sample), epoch) for sample in task.dataset for epoch in epochs]
    log = logdir.log_of(task, logs.of[cell.key])
    done, kept = log is not None and logdir.answers_all(log, task), set[tuple[int | str, int]]()
    if done or (log and stopping.stopped_unread(log)):
        kept = set(calls)
    # where the questions have become fewer, Inspect keeps none of the answers
    elif log and (log.eval.dataset.samples or 0) <= len(task.dataset):
        kept = logs.kept[log.location]
    todo = [id_ for id_, epoch in calls if (id_, epoch) not in kept]
    one = PlannedCell(cell, task, labelled, done, len(calls) - len(todo))
    if not todo:
        return one
    prefix, ratio = shown_by(task).prompt_characters, logs.tokens_per_character(cell.model)
    lengths = [prefix + logs.question_characters(id_, cell.prompt) for id_ in todo]
    longest = ratio * max(lengths) + (task.config.max_tokens or 0)
    read, written = ratio * sum(lengths), len(todo) * logs.reply_tokens(cell.model, cell.prompt)
    cost = (read * price.input + written * price.output) / 1e6 if price else 0.0
    to_run = Amount(len(todo), read, written, cost, () if price else (cell.model,))
    return one._replace(to_run=to_run, longest=longest)


def print_plan(
    plan: Plan, console: Console | None = None, max_cost: float | None = None, detects: Any = None
) -> None:
    """Say what a study consists of, what is left to run and costs, and what it can detect."""
    study, split = plan.study, plan.split
    at = ", ".join(map(str, study.verdict_shots))
    verdict = f"verdict at {at} shots: every arm that it needs is planned"
    if lacks := _lacks(study):
        verdict = f"! the verdict at {at} shots lacks {'; '.join(lacks)}: no claim can be made"
    title = f"Plan: study {study.name}" + (f", logs in {plan.log_dir}" if plan.log_dir else "")
    pool = f"{len(split.pool)} in the pool ({len(split.barred)} near-duplicates barred)"
    draws = f"{study.draws} draw{'s' * (study.draws > 1)}"
    size = f"{len(split.test)} test questions, {pool}, seed {study.seed}, {draws}"
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
    rows = [["stage", "cells", "done", "calls", "tokens in", "tokens out", "cost"]]
    unfinished = [one for one in plan.cells if not one.done]
    for name, cells in {**plan.stages, "left to run": unfinished}.items():
        left, done = left_of(cells), sum(one.done for one in cells)
        cost = left.dollars.removeprefix("cost ")
        sizes = [tokens(left.tokens_in), tokens(left.tokens_out), cost] if left.calls else 3 * ["-"]
        rows.append([name, str(len(cells)), str(done or "-"), f"{left.calls:,}", *sizes])
    return table(rows)


def _notes(plan: Plan, max_cost: float | None) -> Iterator[str]:
    spent, left = plan.spent, plan.to_run
    if shared := sum(one.shared for one in plan.cells):
        yield f"cells with the prompts of another, whose answers they take over: {shared}"
    if not plan.exact:
        calls = f"calls: {plan.calls_at_least:,} to {left.calls:,}"
        once = "cells whose prompts turn out the same are asked once"
        yield f"{calls}; {once}, which is known when the labels are there"
    if plan.second_round:
        first = f"in one round; if over {RESERVE} labels of a draw cannot be read"
        yield f"label runs: {first}, in a second one of at most {plan.second_round:,} more calls"
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
