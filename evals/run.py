"""Running a study: two phases of `eval_set` into one log directory.

Resuming is running again: `eval_set` finds what is finished, repeats what is not, and keeps the
samples that an interrupted log already holds.
"""

from __future__ import annotations

import asyncio
import gc
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from inspect_ai import Task, eval_set
from inspect_ai._util.error import PrerequisiteError  # noqa: TID251 - what Inspect refuses with
from inspect_ai.dataset import MemoryDataset
from inspect_ai.log import EvalLog
from rich.console import Console
from rich.markup import escape

from w2s_icl.evals.plan import (
    Key,
    Plan,
    asked_once,
    cell_key,
    exact_line,
    finished_cells,
    key_of_log,
    make_plan,
    print_plan,
)
from w2s_icl.evals.preflight import (
    TORN,
    mark_incomplete_in,
    one_per_cell,
    refuse_unknown_models,
    set_torn_aside,
    settled,
)
from w2s_icl.evals.questions import Split
from w2s_icl.evals.stop import Stop, Stopped
from w2s_icl.evals.study import (
    Cell,
    Study,
    StudyError,
    all_cells,
    build,
    chain_cells,
    few_shot_cells,
    labelling,
    plan_metadata,
    pool_ask,
    quiet_console,
    set_prices,
    zero_shot_cells,
)
from w2s_icl.evals.terminal import Outcome, StudyProgress, print_bill, print_results, write_summary
from w2s_icl.evals.truthfulqa import COT_MAX_TOKENS, MAX_TOKENS, split_metadata
from w2s_icl.solvers.few_shot import REUSED
from w2s_icl.solvers.labels import IDENTITY, LabelError, is_finished, log_headers, outputs_of


def prepare(
    study: Study,
    log_dir: str,
    *,
    console: Console | None = None,
    max_cost: float | None = None,
    detects: Mapping[str, Any] | None = None,
) -> Plan:
    """Say what a run would do, and refuse what it must not; as `run_study`, but nothing is run."""
    split = study.load_split()
    set_prices(study)
    refuse_other_experiments(study, split, log_dir)
    plan = make_plan(study, log_dir, split=split)
    print_plan(plan, console, max_cost=max_cost, detects=detects)
    plan.check_budget(max_cost)
    return plan


def run_study(
    study: Study,
    log_dir: str,
    *,
    console: Console | None = None,
    display: str | None = None,
    max_cost: float | None = None,
    confirm: Callable[[], bool] | None = None,
    detects: Mapping[str, Any] | None = None,
    stop: Stop | None = None,
) -> Outcome:
    """Run all cells of a study that are not finished yet.

    Args:
        study: The study.
        log_dir: Inspect log directory, local or any that Inspect can write to.
        console: Where plan, progress and results are printed.
        display: One of Inspect's own displays, instead of the study's progress line.
        max_cost: Dollars that the study may cost in all, what the logs in the directory have cost
            included. No call is launched once it is spent; those under way finish, and may take it
            over the sum by what they cost.
        confirm: Asked after the plan is printed and before the first call.
        detects: What the study can detect, for the plan.
        stop: What ends the run early, where someone else than a signal is to end it.

    Raises:
        StudyError: The study does not fit the questions, the log directory holds logs that must not
            be mixed with it, an endpoint lacks a model, or the plan is over `max_cost` or not
            confirmed. No model has been asked anything then.
    """
    console = console or Console(soft_wrap=True)
    plan = prepare(study, log_dir, console=console, max_cost=max_cost, detects=detects)
    if plan.to_run.calls and confirm and not confirm():
        raise StudyError("the plan was not confirmed; nothing has been asked")
    stop = stop or Stop()
    stop.say = partial(console.print, highlight=False, markup=False)
    progress = StudyProgress(
        console,
        sum(stage.cells for stage in plan.stages),
        shown=display is None,
        max_cost=max_cost,
        spent=plan.spent,
        last_call=plan.to_run.calls if plan.exact else None,
        stop=stop.request,
    )
    stop.log_dir = "" if is_remote(log_dir) else log_dir.removeprefix("file://")
    with stop.listening(), fewer_collections():
        try:
            outcome = _run(study, log_dir, console, display, stop, plan, progress)
        except (Stopped, KeyboardInterrupt) as stopped:
            # a second signal between two runs of Inspect is a KeyboardInterrupt
            reason = str(stopped) or stop.requested or "interrupted"
            outcome = Outcome((), progress.planned, (), stopped=reason, code=stop.code)
    if outcome.stopped:
        print_bill(progress, plan, console)
        console.print(
            f"stopped: {outcome.stopped}. The answers so far are in {log_dir}; the same command "
            "goes on",
            highlight=False,
            markup=False,
        )
    logs = outcome.logs or log_headers(log_dir)
    write_summary(study, outcome, logs, log_dir, progress=progress, plan=plan)
    return outcome


def _run(
    study: Study,
    log_dir: str,
    console: Console,
    display: str | None,
    stop: Stop,
    prepared: Plan,
    progress: StudyProgress,
) -> Outcome:
    split = prepared.split
    for name in set_torn_aside(log_dir):
        console.print(f"! {name} was torn and is kept beside, as {name}{TORN}", markup=False)
    for name in mark_incomplete_in(log_dir):
        console.print(f"! questions failed in {name}; they are asked again", markup=False)
    state = labelling(study, split, log_dir)
    everything = all_cells(study, split)
    if study.check_models:
        refuse_unknown_models(study, everything, log_dir)
    plan = plan_metadata(study, everything)
    left_out: list[str] = []

    def make(cells: Sequence[Cell]) -> list[Task]:
        tasks = []
        for cell in cells:
            try:
                ask = pool_ask(study, cell, split, state)
                tasks.append(build(study, cell, log_dir, plan, ask))
            except LabelError as error:
                if all_well:
                    raise
                left_out.append(str(error))  # the labels of a chain whose label run failed
            stop.raise_if_requested()
        return tasks

    at_once = max(CELLS_IN_A_BATCH if study.batch else CELLS_AT_ONCE, len(study.models))
    evaluate = partial(
        _evaluate,
        log_dir=log_dir,
        display=display or "none",
        progress=progress,
        stop=stop,
        at_once=at_once,
        # no more questions in memory than there may be calls: where Inspect adapts the number of
        # calls it adapts this one as well
        questions=study.max_connections
        and math.ceil(study.max_connections * len(study.models) / at_once),
    )
    all_well = True
    with progress:
        cells = zero_shot_cells(study)
        logs = evaluate(make(cells))
        while not (now := labelling(study, split, log_dir)).complete:
            if now.ask == state.ask and not _all_well(logs):
                break  # a label run that fails is not asked the same again
            state = now
            logs = evaluate(make(cells))
        state, all_well = now, _all_well(logs)
        if state.complete:
            for place in study.chain_places:
                cells += chain_cells(study, state.unread, split, place)
                logs = evaluate(make(cells))
                all_well = _all_well(logs)
            last = few_shot_cells(study, state.unread, split)
        else:
            last = []
            console.print(
                "! cells with demonstrations wait for all label runs: they show the same questions",
                highlight=False,
            )
        if last:
            if not prepared.exact:
                rest = make_plan(study, log_dir, split=split)
                console.print(escape(exact_line(rest)), highlight=False)
                progress.last_call = progress.calls + rest.to_run.calls if rest.exact else None
            tasks = make([*cells, *last])
            refuse_other_demonstrations(tasks, log_dir)
            keyed = [(_key_of_task(task), task) for task in tasks]
            repeated = asked_once(keyed, finished_cells(log_dir))
            logs = evaluate([task for key, task in keyed if key not in repeated])
            if repeated:
                for key, task in keyed:
                    if key in repeated:
                        _reuse(task, repeated[key], log_dir)
                logs = evaluate(tasks)
    outcome = Outcome(logs, progress.planned, [log for log in logs if not is_finished(log)])
    print_results(study, outcome, log_dir, console, progress=progress, plan=prepared)
    for text in dict.fromkeys(left_out):
        console.print(f"! {text}", highlight=False, markup=False)
    return outcome


def _all_well(logs: Sequence[EvalLog]) -> bool:
    return all(map(is_finished, logs))


LOG_BUFFER = 10
"""Answered questions at which a running cell's log is written anew: kill -9 loses fewer per cell.

Inspect's own number, which is larger in large cells; it is kept where a log is uploaded anew.
"""

CELLS_AT_ONCE, CELLS_IN_A_BATCH = 4, 10
"""Cells that run at once, where there are not more models than that: each has its own limit.

All questions of a running cell wait in memory. Inspect's ten cells take twice as much of it and end
no sooner, except in batches, where ten cells take as long as one.
"""

COLLECT_AT = (10_000, 4, 3)
"""Thresholds of Python's garbage collector during a run; its own cost a fifth of the CPU time."""


@contextmanager
def fewer_collections() -> Iterator[None]:
    """Keep the garbage collector from walking modules and waiting samples all the time."""
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AT)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


def is_remote(log_dir: str) -> bool:
    """Whether logs are written through a network."""
    return "://" in log_dir and not log_dir.startswith("file://")


def _evaluate(
    tasks: list[Task],
    *,
    log_dir: str,
    display: str,
    progress: StudyProgress,
    stop: Stop,
    at_once: int,
    questions: int | None,
) -> list[EvalLog]:
    """One `eval_set` over `tasks`; headers of their logs in the same order.

    Raises:
        Stopped: A stop was requested, or Inspect was cancelled by something else.
    """
    stop.raise_if_requested()
    there = settled(tasks, log_dir)
    tasks = [task for task, log in zip(tasks, there, strict=True) if log is None]
    done = [log for log in there if log is not None]
    if not tasks:
        return done
    progress.expect(tasks)
    logs: list[EvalLog] = []
    try:
        with quiet_console(display == "none"):
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
                max_tasks=at_once,
                max_samples=questions,
                log_realtime=False,
                log_buffer=None if is_remote(log_dir) else LOG_BUFFER,
                log_model_api=False,
                score_display=False,
            )
    except PrerequisiteError as error:
        raise StudyError(str(error.message)) from None
    except OSError as error:  # of the log directory: what a call meets is in the sample's log
        raise Stopped(f"{log_dir} cannot be written: {error.strerror or error}") from None
    except (KeyboardInterrupt, asyncio.CancelledError):
        if stop.requested is None:
            raise
    stop.raise_if_requested()
    if len(logs) < len(tasks):
        # a run that was cancelled before its first cell ended has no logs, a success to Inspect
        raise Stopped("interrupted")
    return [*done, *one_per_cell(logs)]


# --- one prompt, one call -------------------------------------------------------------------------


def _key_of_task(task: Task) -> Key:
    return cell_key(task.metadata or {}, str(task.model))


def _reuse(task: Task, source: Key, log_dir: str) -> None:
    """Give the samples of `task` the answers that the cell `source` logged, as far as it goes."""
    found = [
        log
        for log in log_headers(log_dir)
        if log.status in ("success", "error") and key_of_log(log) == source
    ]
    if not found:
        return  # the other cell was not run: this one asks for itself
    header = max(found, key=lambda log: (is_finished(log), log.eval.created))
    outputs: dict[str, dict[str, Any]] = defaultdict(dict)
    for answered in outputs_of(header.location):
        if answered.error is None:
            output = answered.output.model_dump(mode="json", exclude_none=True)
            outputs[str(answered.id)][str(answered.epoch)] = output
    file = header.location.rsplit("/", 1)[-1]
    samples = []
    for sample in task.dataset:
        if len(outputs[str(sample.id)]) < (task.epochs or 1):
            samples.append(sample)  # it failed there
            continue
        reused = {"cell": header.eval.task, "log": file, "outputs": outputs[str(sample.id)]}
        metadata = {**(sample.metadata or {}), "reused_from": file, REUSED: reused}
        samples.append(sample.model_copy(update={"metadata": metadata}))
    task.dataset = MemoryDataset(samples, name=task.dataset.name, location=task.dataset.location)
    task.metadata = {**(task.metadata or {}), "reused_from": file}


# --- what must not mix ----------------------------------------------------------------------------


def refuse_other_experiments(study: Study, split: Split, log_dir: str) -> None:
    """Stop before any call when the directory holds this suite's logs of another experiment.

    Raises:
        StudyError: Naming the log, what differs, and the way out.
    """
    mine = split_metadata(split, study.style)
    for log in log_headers(log_dir):
        theirs = log.eval.metadata or {}
        if theirs.get("task") not in ("zero_shot", "few_shot") or "prompt_version" not in theirs:
            continue
        wanted = {key: mine[key] for key in IDENTITY}
        found = {key: theirs.get(key) for key in IDENTITY}
        # these make other cells to Inspect, which would be run beside the old ones
        cot = "cot=" in (theirs.get("prompt") or "")
        wanted["max_tokens"] = study.max_tokens or (COT_MAX_TOKENS if cot else MAX_TOKENS)
        found["max_tokens"] = log.plan.config.max_tokens
        if theirs.get("split") == "test":
            wanted["permutations"] = study.permutations
            found["permutations"] = theirs.get("permutations") or 1
        for key, value in wanted.items():
            if found[key] != value:
                raise StudyError(
                    f"{log_dir} holds {log.location.rsplit('/', 1)[-1]} of another experiment: its "
                    f"{key} is {found[key]!r}, this study's is {value!r}. Their numbers "
                    "must not be mixed: use another --log-dir, or move the old logs away"
                )


def refuse_other_demonstrations(tasks: Sequence[Task], log_dir: str) -> None:
    """Stop when a finished cell has shown other demonstrations than it would now.

    Raises:
        StudyError: Naming the log and the way out.
    """
    mine = {_key_of_task(task): (task.metadata or {}).get("prompt_sha256") for task in tasks}
    for log in log_headers(log_dir):
        theirs = (log.eval.metadata or {}).get("prompt_sha256")
        if is_finished(log) and mine.get(key_of_log(log)) not in (None, theirs):
            raise StudyError(
                f"{log_dir} holds {log.location.rsplit('/', 1)[-1]}, a finished cell that showed "
                "other demonstrations than this study shows in the same cell: the weak labels were "
                "made anew, or a model that was added left a question unread that was shown "
                "before. Use another --log-dir, or move that log away to run the cell again"
            )
