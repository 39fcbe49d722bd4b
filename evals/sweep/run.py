"""Running a study: two phases of `eval_set` into one log directory.

Resuming is running again: of cells that are not complete, Inspect keeps the logged answers.
"""

import asyncio
import gc
import warnings
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any, NamedTuple

from inspect_ai import Task, eval_set
from inspect_ai.log import EvalLog
from rich.console import Console

from w2s_icl.errors import LabelsMissingError, W2SError
from w2s_icl.evals.cells import Cell, all_cells, build, few_shot_cells, plan_record, zero_shot_cells
from w2s_icl.evals.study import Study
from w2s_icl.evals.sweep import endpoint, logdir, progress
from w2s_icl.evals.sweep.labelling import labelling, same_prompts, take_answers
from w2s_icl.evals.sweep.plan import Plan, exact_line, make_plan, print_plan
from w2s_icl.evals.sweep.progress import Outcome, StudyProgress
from w2s_icl.evals.sweep.stopping import Stopped, UnreadStop, stopped_unread, way_out
from w2s_icl.record import CellKey, PlanRecord, key_of
from w2s_icl.scorers.multiple_choice import refuse_without_logprobs
from w2s_icl.words import say


class CellTask(NamedTuple):
    """A cell that is about to run; any machine makes the same task from `cell` and `ask`."""

    cell: Cell
    ask: Collection[int | str] | None  # the only questions that it asks, in a label run
    task: Task


class Session(NamedTuple):
    """One run of a study in this process."""

    study: Study
    planned: PlanRecord
    progress: StudyProgress
    display: str = "none"
    # answers after which a running cell's log is written: with fewer, kill -9 loses fewer; with 1,
    # a call costs a quarter more CPU
    log_buffer: int = 10


RunCells = Callable[[Sequence[CellTask], str, Session], list[EvalLog]]
"""Runs cells into a log directory; returns headers of their logs, as far as there are any."""


def evaluate(tasks: Sequence[CellTask], log_dir: str, session: Session) -> list[EvalLog]:
    """Run those of the cells that have no complete log in `log_dir`, by one call of `eval_set`.

    Raises Stopped where the run is ended or nothing can be written, W2SError as Inspect refuses.
    """
    logs, todo = logs_of(tasks, log_dir), []
    for (_, _, task), log in zip(tasks, logs, strict=True):
        if log and (logdir.answers_all(log, task) or stopped_unread(log)):
            continue
        if not (log and log.results and log.results.completed_samples >= UnreadStop.first):
            task.early_stopping = UnreadStop()
        todo.append(task)
    if not todo:
        return [log for log in logs if log]
    study = session.study
    try:
        with endpoint.quiet_console(session.display == "none"), logdir.on_its_disk(log_dir):
            eval_set(
                todo,
                log_dir=log_dir,
                model=None,
                display=session.display,  # type: ignore[arg-type]  # checked by the command line
                # anything softer marks a cell with failed questions as a success
                fail_on_error=True,
                continue_on_fail=True,
                retry_on_error=2,
                retry_attempts=0,
                retry_immediate=False,
                # a log of one phase is no dirt to the other; what must not mix has been refused
                log_dir_allow_dirty=True,
                max_tasks=10 if study.batch else _cells_at_once(study, todo),
                max_samples=None if study.batch else study.max_connections or endpoint.CONNECTIONS,
                log_realtime=False,
                log_buffer=session.log_buffer,
                log_model_api=False,
                score_display=False,
            )
    except OSError as error:  # of the log directory: what a call meets is in the sample's log
        raise Stopped(f"{log_dir} cannot be written: {error.strerror or error}") from None
    except (KeyboardInterrupt, asyncio.CancelledError):
        raise Stopped(session.progress.ending.interrupted()) from None
    except Exception as error:
        if type(error).__name__ != "PrerequisiteError":  # which Inspect does not export
            raise
        raise W2SError(str(error)) from None
    logs = logs_of(tasks, log_dir)
    states = {log and log.status for log in logs}
    if session.progress.ending.reason or "cancelled" in states:
        raise Stopped(session.progress.ending.interrupted())
    if states & {None, "started"}:  # what is cancelled has a log that is closed
        raise Stopped(f"{log_dir} cannot be written: a log is missing or open (is the disk full?)")
    return [log for log in logs if log]


def _cells_at_once(study: Study, tasks: Sequence[Task]) -> int:
    """One for each model, with one connection for each server: its prompt cache holds one cell."""
    models = {str(task.model): getattr(task.model, "api", None) for task in tasks}
    servers = {getattr(api, "base_url", None) or name for name, api in models.items()}
    return len(servers if study.max_connections == 1 else models)


def logs_of(tasks: Sequence[CellTask], log_dir: str) -> list[EvalLog | None]:
    """The log that counts of each cell, None where there is none."""
    logs: dict[CellKey, list[EvalLog]] = defaultdict(list)
    for log in logdir.our_logs(log_dir):
        logs[key_of(log)].append(log)
    return [logdir.log_of(one.task, logs[one.cell.key]) for one in tasks]


def checked_plan(study: Study, log_dir: str | None = None) -> Plan:
    """The plan, if a run would refuse nothing else than what it says of endpoints."""
    for model in study.models if study.read == "likelihood" else ():
        refuse_without_logprobs(model)
    endpoint.refuse_unusable_models(study)
    split, done = study.load_split(), set[CellKey]()
    if log_dir:
        logdir.refuse_unreachable(log_dir)
        logdir.refuse_other_experiments(study, split, log_dir)
        done = logdir.finished_cells(log_dir)
    todo = [cell.model for cell in all_cells(study, split) if cell.key not in done]
    served = endpoint.look_up(study, dict.fromkeys(todo))
    endpoint.set_prices(study)
    return make_plan(study, log_dir, split=split, served=served)


def run_study(
    study: Study,
    log_dir: str,  # local, or any that Inspect can write to
    *,
    console: Console | None = None,  # where plan, progress and results are printed
    display: str | None = None,  # one of Inspect's own, instead of the study's progress line
    max_cost: float | None = None,  # dollars for the whole study, what its logs took included
    confirm: Callable[[], bool] | None = None,  # asked after the plan and before the first call
    detects: Mapping[str, Any] | None = None,  # what the study can detect, for the plan
    run_cells: RunCells = evaluate,
    of_all: float = 1.0,  # share of what is left of `max_cost` that this process may spend
) -> Outcome:
    """Run all cells of a study that are not complete yet.

    Raises W2SError, before a model is asked anything, where study, questions, log directory and
    endpoints do not fit each other, or the plan is over `max_cost` or not confirmed.
    """
    console = console or Console(soft_wrap=True)
    tell = partial(say, console)
    alone = run_cells is evaluate  # else each part has its lock
    logdir.refuse_unreachable(log_dir)
    with logdir.held_whole(log_dir, tell) if alone else nullcontext():
        tell(*logdir.lay_aside_torn(log_dir) if alone else ())
        plan = checked_plan(study, log_dir)
        for problem in plan.problems:
            raise W2SError(f"models: {problem}")
        print_plan(plan, console, max_cost=max_cost, detects=detects)
        plan.check_budget(max_cost)
        if plan.to_run.calls and confirm and not confirm():
            raise W2SError("the plan was not confirmed; nothing has been asked")
        endpoint.without_logprobs.clear()
        budget = max_cost and plan.spent.known + (max_cost - plan.spent.known) * of_all
        live = StudyProgress(console, shown=display is None, max_cost=budget, before=plan.spent)
        live.follow(plan)
        planned = plan_record(study, all_cells(study, plan.split))
        if alone and not plan.to_run.calls:
            progress.write_plan(log_dir, planned)
        session = Session(study, planned, live, display=display or "none")
        # of replies with parts that no OpenAI server would send; they are mended
        warnings.filterwarnings("ignore", "Pydantic serializer warnings")
        # by Python's own thresholds, walking modules and samples takes a fifth of the CPU time
        gc.freeze()
        gc.set_threshold(50_000, 10, 3)
        with live.ending.listening() as ending:
            try:
                outcome = _run(session, log_dir, plan, run_cells)
            except (Stopped, KeyboardInterrupt, ConnectionError) as stopped:
                reason = ending.reason or str(stopped) or ending.interrupted()
                outcome = Outcome((), live.planned, stopped=reason, code=ending.code)
            except W2SError as error:
                if not live.now.calls:
                    raise
                outcome = Outcome((), live.planned, stopped=error.message)
        if outcome.stopped:
            progress.print_bill(live, plan)
            so_far = f"stopped: {outcome.stopped}. The answers so far are in {log_dir}"
            tell(f"{so_far}; run the same command to continue")
        progress.write_summary(outcome, log_dir, live, plan)
        return outcome


def _run(session: Session, log_dir: str, plan: Plan, run_cells: RunCells) -> Outcome:
    """The two phases."""
    study, split, live = session.study, plan.split, session.progress
    tell = partial(say, live.console)
    state = labelling(study, split, log_dir, endpoint.without_logprobs)
    no_labels: dict[str, None] = {}

    def made(cells: Sequence[Cell]) -> Iterator[CellTask]:
        for cell in cells:
            if (cell.model if cell.split == "pool" else cell.weak) in state.without:
                continue
            ask = state.asks(cell)
            try:
                yield CellTask(cell, ask, build(study, cell, log_dir, session.planned, ask))
            except LabelsMissingError as error:
                no_labels[error.message] = None

    for _ in range(2):  # rounds of labels
        before = state
        logs = run_cells([*made(zero_shot_cells(study))], log_dir, session)
        state = labelling(study, split, log_dir, endpoint.without_logprobs)
        if state.complete or state == before:
            break
    if not state.complete:
        tell("! cells with demonstrations wait for all label runs: they show the same questions")
    elif not plan.exact:
        rest = make_plan(study, log_dir, split=split)
        live.follow(rest)
        tell(exact_line(rest))
    tasks = [*made(few_shot_cells(study, state.unread, split))] if state.complete else []
    keyed = {one.cell.key: one.task for one in tasks}
    logdir.refuse_other_demonstrations(keyed, log_dir)
    repeated = same_prompts(keyed, logdir.finished_cells(log_dir))
    logs += run_cells([one for one in tasks if one.cell.key not in repeated], log_dir, session)
    source = {key_of(log): log for log in logs}
    for key, other in repeated.items():
        if other in source:
            take_answers(keyed[key], source[other])
    logs += run_cells([one for one in tasks if one.cell.key in repeated], log_dir, session)
    ended = [log for log in logdir.our_logs(log_dir) if stopped_unread(log)]
    logs += [log for log in ended if key_of(log) not in set(map(key_of, logs))]
    outcome = Outcome(logs, live.planned)
    progress.print_results(outcome, log_dir, live, plan)
    for text in no_labels:
        tell(f"! {state.readable} questions have readable labels of all weak models: {text}")
    for log in ended:
        tell(f"! {log.eval.task} of {log.eval.model}: {stopped_unread(log)}: {way_out(log)}")
    return outcome
