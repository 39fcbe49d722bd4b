"""Running a study: two phases of `eval_set` into one log directory, and what a person sees of it.

Resuming is running again: `eval_set` finds what is finished, repeats what is not, and keeps the
samples that an interrupted log already holds.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import rich
from inspect_ai import Task, eval_set
from inspect_ai._util.error import PrerequisiteError  # noqa: TID251 - what Inspect refuses with
from inspect_ai.dataset import MemoryDataset
from inspect_ai.hooks import Hooks, ModelRetry, ModelUsageData, SampleEnd, TaskEnd, TaskStart, hooks
from inspect_ai.log import (
    EvalLog,
    list_eval_logs,
    read_eval_log,
    read_eval_log_sample_summaries,
)
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from w2s_icl.evals.questions import Split
from w2s_icl.evals.study import (
    Cell,
    Study,
    StudyError,
    all_cells,
    build,
    chain_ask,
    chain_cells,
    few_shot_cells,
    labelling,
    plan_metadata,
    set_prices,
    zero_shot_cells,
)
from w2s_icl.evals.truthfulqa import short_name, split_metadata
from w2s_icl.solvers.few_shot import REUSED
from w2s_icl.solvers.labels import CHAIN, IDENTITY, SEVERAL

CELL = ("task", "split", "labels", "weak", "shots", "draw", "prompt")
"""Metadata that tell the cells of a model apart."""

Key = tuple[str, ...]
"""What a cell is: its model, and the values of `CELL` as texts."""

VERDICT_DRAWS = 3
"""Draws below which nothing is said about other demonstrations than those shown."""

READABLE_LIMIT = 0.99
Z95 = 1.959964


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        logs: Headers of all cells' logs, in the order of the plan.
        planned: Names and models of all planned cells.
        failed: Logs that did not succeed.
    """

    logs: Sequence[EvalLog]
    planned: int
    failed: Sequence[EvalLog]

    @property
    def ok(self) -> bool:
        """Whether every planned cell is there and succeeded."""
        return not self.failed and len(self.logs) == self.planned


def run_study(
    study: Study, log_dir: str, *, console: Console | None = None, display: str | None = None
) -> Outcome:
    """Run all cells of a study that are not finished yet.

    Args:
        study: The study.
        log_dir: Inspect log directory, local or any that Inspect can write to.
        console: Where plan, progress and results are printed.
        display: One of Inspect's own displays, instead of the study's progress line.

    Raises:
        StudyError: The study does not fit the questions, or the log directory holds logs that must
            not be mixed with it. Nothing has been asked of any model then.
    """
    console = console or Console(soft_wrap=True)
    split = study.load_split()
    set_prices(study)
    refuse_other_experiments(study, split, log_dir)
    state = labelling(study, split, log_dir)
    print_plan(study, log_dir, console)
    everything = all_cells(study, split)
    planned, plan = len(everything), plan_metadata(study, everything)

    def make(cells: Sequence[Cell]) -> list[Task]:
        tasks = []
        for cell in cells:
            ask: Collection[int | str] | None = None
            if cell.split == "pool" and cell.labels:
                ask = chain_ask(study, cell, split, state.unread)
            elif cell.split == "pool":
                ask = state.ask[cell.model, cell.prompt]
            tasks.append(build(study, cell, log_dir, plan, ask))
        return tasks

    progress = StudyProgress(console, planned, shown=display is None)
    evaluate = partial(_evaluate, log_dir=log_dir, display=display or "none", progress=progress)
    with progress:
        cells = zero_shot_cells(study)
        logs = evaluate(make(cells))
        while _all_well(logs):
            state = labelling(study, split, log_dir)
            if state.complete:
                break
            logs = evaluate(make(cells))
        for place in study.chain_places:
            if not _all_well(logs):
                break
            cells += chain_cells(study, state.unread, split, place)
            logs = evaluate(make(cells))
        last = few_shot_cells(study, state.unread, split)
        if last and _all_well(logs):
            tasks = make([*cells, *last])
            refuse_other_demonstrations(tasks, log_dir)
            repeated = _same_prompt(tasks, log_dir)
            logs = evaluate([task for task in tasks if id(task) not in repeated])
            if repeated:
                for task in tasks:
                    if id(task) in repeated:
                        _reuse(task, repeated[id(task)], log_dir)
                logs = evaluate(tasks)
    outcome = Outcome(logs, planned, [log for log in logs if log.status != "success"])
    _print_results(study, outcome, log_dir, console, retries=progress.retries)
    return outcome


def _all_well(logs: Sequence[EvalLog]) -> bool:
    return all(log.status == "success" for log in logs)


def _evaluate(
    tasks: list[Task], *, log_dir: str, display: str, progress: StudyProgress
) -> list[EvalLog]:
    """One `eval_set` over `tasks`; headers of their logs in the same order."""
    progress.expect(tasks)
    quiet = rich.get_console()
    before, quiet.quiet = quiet.quiet, display == "none"
    try:
        _, logs = eval_set(
            tasks,
            log_dir=log_dir,
            model=None,
            display=display,  # type: ignore[arg-type]  # checked by the command line
            # anything softer marks a cell with failed samples as a success and never retries it
            fail_on_error=True,
            continue_on_fail=True,
            retry_on_error=3,
            retry_attempts=2,
            # a log of one phase is no dirt to the other; what must not mix has been refused
            log_dir_allow_dirty=True,
            log_realtime=False,
            log_model_api=False,
            score_display=False,
        )
    except PrerequisiteError as error:
        raise StudyError(str(error.message)) from None
    finally:
        quiet.quiet = before
    return logs


# --- one prompt, one call -------------------------------------------------------------------------


def _same_prompt(tasks: Sequence[Task], log_dir: str) -> dict[int, Key]:
    """Tasks whose very prompts another cell answers: by id of the task, the key of that cell.

    With few demonstrations the weak labels are often all right: the weak arm's prompts are then the
    gold arm's to the byte. Asking twice would cost twice, and would put the noise of a rerun
    between two arms that do not differ.
    """
    finished = {
        _key(log.eval.metadata or {}, log.eval.model)
        for log in _logs(log_dir)
        if log.status == "success"
    }
    groups: dict[tuple[str, str], list[Task]] = defaultdict(list)
    for task in tasks:
        metadata = task.metadata or {}
        # a question that is asked again is asked to see what a second call changes
        once = (task.epochs or 1) == metadata["permutations"]
        if metadata.get("shown_sha256") and metadata["split"] == "test" and once:
            groups[str(task.model), metadata["prompt_sha256"]].append(task)
    repeated: dict[int, Key] = {}
    for group in groups.values():
        keys = [_key(task.metadata or {}, str(task.model)) for task in group]
        source = next((key for key in keys if key in finished), keys[0])
        for task, key in zip(group, keys, strict=True):
            if key != source and key not in finished:
                repeated[id(task)] = source
    return repeated


def _reuse(task: Task, source: Key, log_dir: str) -> None:
    """Give the samples of `task` the answers that the finished cell `source` logged."""
    header = next(
        (
            log
            for log in _logs(log_dir)
            if log.status == "success" and _key(log.eval.metadata or {}, log.eval.model) == source
        ),
        None,
    )
    if header is None:
        return  # the other cell failed: this one asks for itself
    log = read_eval_log(header.location)
    outputs: dict[str, dict[str, Any]] = defaultdict(dict)
    for answered in log.samples or []:
        output = answered.output.model_dump(mode="json", exclude_none=True)
        outputs[str(answered.id)][str(answered.epoch)] = output
    samples = []
    for sample in task.dataset:
        reused = {
            "cell": header.eval.task,
            "log": header.location.rsplit("/", 1)[-1],
            "outputs": outputs[str(sample.id)],
        }
        metadata = {**(sample.metadata or {}), "reused_from": reused["log"], REUSED: reused}
        samples.append(sample.model_copy(update={"metadata": metadata}))
    task.dataset = MemoryDataset(samples, name=task.dataset.name, location=task.dataset.location)
    task.metadata = {**(task.metadata or {}), "reused_from": header.location.rsplit("/", 1)[-1]}


# --- what must not mix ----------------------------------------------------------------------------


def refuse_other_experiments(study: Study, split: Split, log_dir: str) -> None:
    """Stop before any call when the directory holds this suite's logs of another experiment.

    Raises:
        StudyError: Naming the log, what differs, and the way out.
    """
    mine = split_metadata(split, study.style)
    for log in _logs(log_dir):
        theirs = log.eval.metadata or {}
        if theirs.get("task") not in ("zero_shot", "few_shot") or "prompt_version" not in theirs:
            continue
        for key in IDENTITY:
            if theirs.get(key) != mine[key]:
                raise StudyError(
                    f"{log_dir} holds {log.location.rsplit('/', 1)[-1]} of another experiment: its "
                    f"{key} is {theirs.get(key)!r}, this study's is {mine[key]!r}. Their numbers "
                    "must not be mixed: use another --log-dir, or move the old logs away"
                )


def refuse_other_demonstrations(tasks: Sequence[Task], log_dir: str) -> None:
    """Stop when a finished cell has shown other demonstrations than it would now.

    Raises:
        StudyError: Naming the log and the way out.
    """
    mine = {
        _key(task.metadata or {}, str(task.model)): (task.metadata or {}).get("prompt_sha256")
        for task in tasks
    }
    for log in _logs(log_dir):
        metadata = log.eval.metadata or {}
        key = _key(metadata, log.eval.model)
        if log.status == "success" and mine.get(key) not in (None, metadata.get("prompt_sha256")):
            raise StudyError(
                f"{log_dir} holds {log.location.rsplit('/', 1)[-1]}, a finished cell that showed "
                "other demonstrations than this study shows in the same cell: the weak labels were "
                "made anew, or a model that was added left a question unread that was shown "
                "before. Use another --log-dir, or move that log away to run the cell again"
            )


def _key(metadata: Mapping[str, Any], model: str) -> Key:
    return (model, *(str(metadata.get(k)) for k in CELL))


def _logs(log_dir: str) -> list[EvalLog]:
    """Headers of all logs in the directory that can be read."""
    headers = []
    for info in list_eval_logs(log_dir, descending=False):
        try:
            headers.append(read_eval_log(info, header_only=True))
        except Exception:  # a torn file is Inspect's to recover, and no finished cell
            continue
    return headers


# --- what a person sees ---------------------------------------------------------------------------


@dataclass
class StudyProgress:
    """One line per finished cell and one live line, fed by Inspect's hooks."""

    console: Console
    planned: int
    shown: bool = True
    retries: int = 0
    cost: float = 0.0
    unpriced: bool = False
    cells: int = 0
    printed: set[str] = field(default_factory=set)
    _bar: Progress | None = None
    _line: TaskID | None = None

    def __enter__(self) -> StudyProgress:
        """Start to listen to Inspect."""
        _Listener.progress = self
        return self

    def __exit__(self, *_: object) -> None:
        """Stop listening and take the live line off the screen."""
        _Listener.progress = None
        if self._bar:
            self._bar.stop()
            self._bar = None

    def expect(self, tasks: Sequence[Task]) -> None:
        """Count the samples of a phase."""
        if not self.shown or not self.console.is_terminal:
            return
        total = sum(len(task.dataset) for task in tasks)
        if self._bar is None:
            self._bar = Progress(
                TextColumn("cells {task.fields[cells]}/{task.fields[planned]}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[cost]}"),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=self.console,
                transient=True,
            )
            self._line = self._bar.add_task("", cells=0, planned=self.planned, cost="")
        if self._line is not None:
            self._bar.update(self._line, total=total, completed=0)

    def started(self) -> None:
        """The first cell runs: Inspect has printed what it prints, the live line may begin."""
        if self._bar and not self._bar.live.is_started:
            self._bar.start()

    def answered(self) -> None:
        """One question was answered and scored."""
        if self._bar and self._line is not None:
            cost = f"${self.cost:.2f}" + ("+?" if self.unpriced else "")
            self._bar.update(
                self._line,
                advance=1,
                cells=self.cells,
                cost="cost unknown" if self.cost == 0 and self.unpriced else cost,
            )

    def paid(self, cost: float | None) -> None:
        """A call was answered; `cost` is nothing where its price is unknown."""
        if cost is None:
            self.unpriced = True
        else:
            self.cost += cost

    def finished(self, log: EvalLog) -> None:
        """A cell ended, well or not."""
        self.cells += log.status == "success"
        line = _cell_line(log)
        # a failed cell is tried again: what it says is said once
        if self.shown and line not in self.printed:
            self.console.print(line, highlight=False)
        self.printed.add(line)


@hooks(name="w2s_progress", description="progress of a w2s study")
class _Listener(Hooks):
    """Passes Inspect's events to the study that is running in this process, if one is."""

    progress: StudyProgress | None = None

    def enabled(self) -> bool:
        return _Listener.progress is not None

    async def on_task_start(self, data: TaskStart) -> None:
        if _Listener.progress:
            _Listener.progress.started()

    async def on_sample_end(self, data: SampleEnd) -> None:
        if _Listener.progress:
            _Listener.progress.answered()

    async def on_model_usage(self, data: ModelUsageData) -> None:
        if _Listener.progress:
            _Listener.progress.paid(data.usage.total_cost)

    async def on_model_retry(self, data: ModelRetry) -> None:
        if _Listener.progress:
            _Listener.progress.retries += 1

    async def on_task_end(self, data: TaskEnd) -> None:
        if _Listener.progress:
            _Listener.progress.finished(data.log)


def _metric(log: EvalLog, name: str) -> float:
    if not log.results or not log.results.scores:
        return math.nan
    metric = log.results.scores[0].metrics.get(name)
    return math.nan if metric is None else float(metric.value)


def _cell_line(log: EvalLog) -> str:
    name, model = f"{log.eval.task:<16}", f"{_model_name(log.eval.model):<26}"
    if log.status == "success":
        value, error = 100 * _metric(log, "accuracy"), 100 * Z95 * _metric(log, "stderr")
        read = 100 * _metric(log, "readable")
        mark = "✔" if read >= 100 * READABLE_LIMIT else "!"
        result = f"{value:5.1f} ± {error:.1f}   readable {read:.0f}%"
        return f"  {mark} {escape(name)} {escape(model)} {result}"
    message, failed = _first_error(log)
    samples = f" ({failed} of {log.eval.dataset.samples} samples)" if failed else ""
    return f"  ✗ {escape(name)} {escape(model)} {escape(message)}{samples}  → inspect view"


def _first_error(log: EvalLog) -> tuple[str, int]:
    """First line of what went wrong in a cell, and the number of samples that it happened to."""
    errors = []
    if log.location:
        errors = [s.error for s in read_eval_log_sample_summaries(log.location) if s.error]
    said = [log.error.message] if log.error else errors
    lines = (said[0].strip() if said else "").splitlines() or [log.status]
    return lines[0][:160], len(errors)


def _model_name(model: str) -> str:
    return model.rsplit("/", 1)[-1] if model.count("/") > 1 else model


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
        _key(log.eval.metadata or {}, log.eval.model)
        for log in (_logs(log_dir) if log_dir else [])
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
        row[1] += _key(fields, cell.model) in done
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


def _print_results(
    study: Study, outcome: Outcome, log_dir: str, console: Console, *, retries: int
) -> None:
    """Accuracy by prompted model and labels against shots; what went wrong; what to do next."""
    found: dict[tuple[str, str], dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for log in sorted(outcome.logs, key=partial(_order, study)):
        metadata = log.eval.metadata or {}
        if log.status != "success" or metadata.get("split") != "test":
            continue
        accuracy = _metric(log, "accuracy")
        if metadata["task"] == "zero_shot":
            found[log.eval.model, _arm_name(metadata)][0].append(accuracy)
        else:
            found[log.eval.model, _arm_name(metadata)][metadata["shots"]].append(accuracy)
    table = Table(title="accuracy, %", title_justify="left", box=None, pad_edge=False)
    table.add_column("prompted model")
    table.add_column("labels")
    shots = sorted({0, *study.shots})
    for k in shots:
        table.add_column(str(k), justify="right")
    for (model, labels), by_shots in found.items():
        values = [by_shots.get(k) for k in shots]
        table.add_row(
            escape(_model_name(model)),
            escape(labels),
            *("" if not v else f"{100 * sum(v) / len(v):.1f}" for v in values),
        )
    console.print()
    console.print(table)
    for log in outcome.logs:
        if log.status == "success" and _metric(log, "readable") < READABLE_LIMIT:
            console.print(
                f"! {escape(log.eval.task)} {escape(_model_name(log.eval.model))}: only "
                f"{100 * _metric(log, 'readable'):.1f}% of the replies could be read",
                highlight=False,
            )
    for log in outcome.failed:
        console.print(_cell_line(log), highlight=False)
    missing = outcome.planned - len(outcome.logs)
    if missing:
        console.print(f"! {missing} of {outcome.planned} cells were not run", highlight=False)
    if any(model.startswith("simulated/") for model in study.models):
        from w2s_icl.evals.simulated import SIMULATED_BANNER

        console.print(f"! {SIMULATED_BANNER}", highlight=False)
    console.print(f"{_cost_line(outcome)}, {retries} retries", highlight=False)
    console.print(f"logs    inspect view --log-dir {escape(log_dir)}", highlight=False)
    console.print(f"report  w2s report {escape(log_dir)} --out report", highlight=False)


def _arm_name(metadata: Mapping[str, Any]) -> str:
    """An arm in words, as "weak by 8b"."""
    name = str(metadata.get("labels") or "no demonstrations")
    if metadata.get("weak"):
        models = re.split(f"([{CHAIN}{SEVERAL}])", metadata["weak"])
        name += " by " + "".join(m if m in (CHAIN, SEVERAL) else short_name(m) for m in models)
    return f"{name}, {metadata['prompt']}" if metadata.get("prompt") else name


def _order(study: Study, log: EvalLog) -> tuple[Any, ...]:
    """Prompted models as in the study; of one model zero-shot, then gold, then by weak model."""
    metadata = log.eval.metadata or {}
    kinds, weak = ("None", *study.labels), metadata.get("weak") or ""
    labels = str(metadata.get("labels"))
    return (
        study.models.index(log.eval.model),
        str(metadata.get("prompt") or ""),
        kinds.index(labels) if labels in kinds else len(kinds),
        study.models.index(weak) if weak in study.models else len(study.models) * bool(weak),
        weak,
    )


def _cost_line(outcome: Outcome) -> str:
    """Dollars in the logs; a model without a price is said, never counted as free."""
    known = 0.0
    unknown: set[str] = set()
    for log in outcome.logs:
        for model, usage in log.stats.model_usage.items():
            if usage.total_cost is None:
                unknown.add(_model_name(model))
            else:
                known += usage.total_cost
    if unknown:
        known_text = f"${known:.2f} and " if known else ""
        return f"cost {known_text}unknown for {', '.join(sorted(unknown))} (no price)"
    return f"cost ${known:.2f}"
