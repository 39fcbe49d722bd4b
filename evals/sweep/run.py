"""Running a study: two phases of `eval_set` into one log directory.

Resuming is running again: `eval_set` finds what is finished, repeats what is not, and keeps the
samples that an interrupted log already holds.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

from inspect_ai import Task
from inspect_ai.dataset import MemoryDataset
from inspect_ai.log import EvalLog
from rich.console import Console
from rich.markup import escape

from w2s_icl.errors import LabelsMissingError, W2SError
from w2s_icl.evals.cells import (
    Cell,
    all_cells,
    build,
    experiment_of,
    few_shot_cells,
    plan_record,
    zero_shot_cells,
)
from w2s_icl.evals.questions import Split
from w2s_icl.evals.study import Study
from w2s_icl.evals.sweep.cluster import Cluster, connected
from w2s_icl.evals.sweep.endpoint import set_prices
from w2s_icl.evals.sweep.evaluate import Here, Work, fewer_collections
from w2s_icl.evals.sweep.labelling import labelling, pool_ask
from w2s_icl.evals.sweep.logdir import (
    TORN,
    finished_cells,
    mark_incomplete_in,
    refuse_unknown_models,
    set_torn_aside,
)
from w2s_icl.evals.sweep.plan import Plan, make_plan, same_prompts
from w2s_icl.evals.sweep.plan_text import exact_line, print_plan
from w2s_icl.evals.sweep.progress import StudyProgress
from w2s_icl.evals.sweep.shards import Shard
from w2s_icl.evals.sweep.stop import Stop, Stopped
from w2s_icl.evals.sweep.summary import Outcome, print_bill, print_results, write_summary
from w2s_icl.evals.truthfulqa import call_settings
from w2s_icl.record import (
    SETTINGS,
    CellKey,
    CellRecord,
    ExperimentRecord,
    PlanRecord,
    Shown,
    file_of,
    is_complete,
    is_ours,
    key_of,
    precedence,
    settings_of,
)
from w2s_icl.solvers.few_shot import TAKEN_OVER, Cot
from w2s_icl.solvers.label_logs import local_folder, log_headers, outputs_of


def checked_plan(study: Study, log_dir: str | None = None) -> Plan:
    """The plan of a study, once all is refused that a run would refuse."""
    split = study.load_split()
    set_prices(study)
    if log_dir:
        refuse_other_experiments(study, split, log_dir)
    return make_plan(study, log_dir, split=split)


def prepare(
    study: Study,
    log_dir: str,
    *,
    console: Console | None = None,
    max_cost: float | None = None,
    detects: Mapping[str, Any] | None = None,
) -> Plan:
    """Say what a run would do, and refuse what it must not; as `run_study`, but nothing is run."""
    plan = checked_plan(study, log_dir)
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
    ray: str | None = None,
    shards: int | None = None,
    share: tuple[int, int] | None = None,
) -> Outcome:
    """Run all cells of a study that are not finished yet.

    Args:
        study: The study.
        log_dir: Inspect log directory, local or any that Inspect can write to.
        console: Where plan, progress and results are printed.
        display: One of Inspect's own displays, instead of the study's progress line.
        max_cost: Dollars that the study may cost in all, what the logs in the directory have cost
            included. No call is launched once it is spent; those under way finish, and may take it
            over the sum by what they cost. A share of the cells has its share of what is left.
        confirm: Asked after the plan is printed and before the first call.
        detects: What the study can detect, for the plan.
        stop: What ends the run early, where someone else than a signal is to end it.
        ray: Address of a Ray cluster that is to run the cells; "" for the one at RAY_ADDRESS, or
            one made on this machine.
        shards: Into how many parts the cells of a phase are divided on the cluster.
        share: (i, n): run the i-th of n parts of the cells, while other processes run the others.

    Raises:
        W2SError: The study does not fit the questions, the log directory holds logs that must not
            be mixed with it, an endpoint lacks a model, there is no such cluster, or the plan is
            over `max_cost` or not confirmed. No model has been asked anything then.
    """
    console = console or Console(soft_wrap=True)
    plan = prepare(study, log_dir, console=console, max_cost=max_cost, detects=detects)
    if plan.to_run.calls and confirm and not confirm():
        raise W2SError("the plan was not confirmed; nothing has been asked")
    if share and max_cost is not None:
        max_cost = plan.spent + (max_cost - plan.spent) / share[1]
    stop = stop or Stop()
    stop.say = partial(console.print, highlight=False, markup=False)
    progress = StudyProgress(
        console,
        plan.cells,
        shown=display is None,
        max_cost=max_cost,
        spent=plan.spent,
        last_call=plan.to_run.calls if plan.exact and not share else None,
        stop=stop.request,
    )
    progress.follow(plan)
    stop.log_dir = local_folder(log_dir)
    # Ray sets signal handlers too: the study's come after them
    with nullcontext() if ray is None else connected(ray), stop.listening(), fewer_collections():
        try:

            def make_runner(planned: PlanRecord) -> Here:
                place = (study, log_dir, planned, progress, stop, display or "none")
                if ray is not None:
                    return Cluster(*place, shards=shards)
                return Shard(*place, *share) if share else Here(*place)

            outcome = _run(study, console, plan, make_runner)
        except (Stopped, KeyboardInterrupt, ConnectionError) as stopped:
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
    if not share:
        logs = outcome.logs or log_headers(log_dir)
        write_summary(study, outcome, logs, log_dir, progress=progress, plan=plan)
    return outcome


def _run(
    study: Study,
    console: Console,
    prepared: Plan,
    make_runner: Callable[[PlanRecord], Here],
) -> Outcome:
    split = prepared.split
    everything = all_cells(study, split)
    runner = make_runner(plan_record(study, everything))
    log_dir, progress, stop = runner.log_dir, runner.progress, runner.stop
    alone = not isinstance(runner, Shard)
    if alone:  # else others are writing there
        for name in set_torn_aside(log_dir):
            console.print(f"! {name} was torn and is kept beside, as {name}{TORN}", markup=False)
        for name in mark_incomplete_in(log_dir):
            console.print(f"! questions failed in {name}; they are asked again", markup=False)
    state = labelling(study, split, log_dir)
    if study.check_models:
        refuse_unknown_models(study, everything, log_dir)
    left_out: list[str] = []

    def make(cells: Sequence[Cell]) -> list[Work]:
        works = []
        for cell in cells:
            try:
                ask = pool_ask(cell, state)
                works.append(Work(cell, ask, build(study, cell, log_dir, runner.plan, ask)))
            except LabelsMissingError as error:
                if all_well:
                    raise
                left_out.append(str(error))  # the labels of a chain whose label run failed
            stop.raise_if_requested()
        return works

    def labelled() -> bool:
        return labelling(study, split, log_dir).complete

    all_well = True
    with progress:
        cells = zero_shot_cells(study)
        logs = runner.run(make(cells), labelled)
        while not (now := labelling(study, split, log_dir)).complete:
            if now.ask == state.ask and not _all_well(logs):
                break  # a label run that fails is not asked the same again
            state = now
            logs = runner.run(make(cells), labelled)
        state, all_well = now, _all_well(logs)
        if state.complete:
            last = few_shot_cells(study, state.unread, split)
        else:
            last = []
            console.print(
                "! cells with demonstrations wait for all label runs: they show the same questions",
                highlight=False,
            )
        if last or not alone:
            if not prepared.exact:
                rest = make_plan(study, log_dir, split=split)
                console.print(escape(exact_line(rest)), highlight=False)
                progress.follow(rest)
                last_call = progress.calls + rest.to_run.calls
                progress.last_call = last_call if rest.exact and alone else None
            before, after = make(cells), make(last)
            refuse_other_demonstrations([*before, *after], log_dir)
            works = [*runner.mine(_same_prompts(before)), *runner.mine(_same_prompts(after))]
            keyed = [(work.key, work.task) for work in works]
            repeated = same_prompts(keyed, finished_cells(log_dir))
            logs = runner.ask([work for work in works if work.key not in repeated])
            if repeated:
                for work in works:
                    if work.key in repeated:
                        _reuse(work.task, repeated[work.key], log_dir)
                logs = runner.ask(works)
    if isinstance(runner, Shard):
        console.print(
            f"\nshard {runner.index} of {runner.n}: cells, calls and cost below are its own, the "
            "plan is of all shards; when all have ended, the same command without --shard shows "
            "the whole",
            highlight=False,
        )
    planned = progress.planned if alone else len(works)
    outcome = Outcome(logs, planned, [log for log in logs if not is_complete(log)])
    print_results(study, outcome, log_dir, console, progress=progress, plan=prepared)
    for text in dict.fromkeys(left_out):
        console.print(f"! {text}", highlight=False, markup=False)
    return outcome


def _same_prompts(works: Sequence[Work]) -> list[list[Work]]:
    """The cells in groups, of which one is asked and the others take its answers over."""
    asked = same_prompts([(work.key, work.task) for work in works], ())
    groups: dict[CellKey, list[Work]] = defaultdict(list)
    for work in works:
        groups[asked.get(work.key, work.key)].append(work)
    return list(groups.values())


def _all_well(logs: Sequence[EvalLog]) -> bool:
    return all(map(is_complete, logs))


# --- one prompt, one call -------------------------------------------------------------------------


def _reuse(task: Task, source: CellKey, log_dir: str) -> None:
    """Give the samples of `task` the answers that the cell `source` logged, as far as it goes."""
    found = [
        log
        for log in log_headers(log_dir)
        if log.status in ("success", "error") and is_ours(log) and key_of(log) == source
    ]
    if not found:
        return  # the other cell was not run: this one asks for itself
    # of several finished ones the one that counts, or two cells with the same prompts would differ
    header = min(found, key=lambda log: (not is_complete(log), precedence(log)))
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
        metadata = {**(sample.metadata or {}), "reused_from": file, TAKEN_OVER: reused}
        samples.append(sample.model_copy(update={"metadata": metadata}))
    task.dataset = MemoryDataset(samples, name=task.dataset.name, location=task.dataset.location)
    task.metadata = {**(task.metadata or {}), "reused_from": file}


# --- what must not mix ----------------------------------------------------------------------------


def refuse_other_experiments(study: Study, split: Split, log_dir: str) -> None:
    """Stop before any call when the directory holds this suite's logs of another experiment.

    Raises:
        W2SError: Naming the log, what differs, and the way out.
    """
    mine = experiment_of(study, split).identity
    for log in filter(is_ours, log_headers(log_dir)):
        cell = CellRecord.from_log(log)
        theirs: dict[str, Any] = ExperimentRecord.from_log(log).identity
        # these make other cells to Inspect, which would be run beside the old ones
        cot: Cot = "bare" if "cot=bare" in cell.prompt else "none"
        config = call_settings(cot, study.read, study.max_tokens, study.generate)
        # a call's own seed has another name than the experiment's
        wanted = mine | {f"generate.{k}": getattr(config, k) for k in SETTINGS}
        theirs |= {f"generate.{k}": value for k, value in settings_of(log).items()}
        wanted["read"], theirs["read"] = study.read, cell.read
        if cell.split == "test":
            wanted["permutations"] = study.permutations
            theirs["permutations"] = cell.permutations
        for key, value in wanted.items():
            if theirs[key] != value:
                raise W2SError(
                    f"{log_dir} holds {file_of(log)} of another experiment: its {key} is "
                    f"{theirs[key]!r}, this study's is {value!r}. Their numbers must not be mixed: "
                    "use another --log-dir, or move the old logs away"
                )


def refuse_other_demonstrations(works: Sequence[Work], log_dir: str) -> None:
    """Stop when a finished cell has shown other demonstrations than it would now.

    Raises:
        W2SError: Naming the log and the way out.
    """
    mine = {work.key: Shown.from_metadata(work.task.metadata or {}).prompt_sha256 for work in works}
    for log in filter(is_ours, log_headers(log_dir)):
        theirs = Shown.from_log(log).prompt_sha256
        if is_complete(log) and mine.get(key_of(log)) not in (None, theirs):
            raise W2SError(
                f"{log_dir} holds {log.location.rsplit('/', 1)[-1]}, a finished cell that showed "
                "other demonstrations than this study shows in the same cell: the weak labels were "
                "made anew, or a model that was added left a question unread that was shown "
                "before. Use another --log-dir, or move that log away to run the cell again"
            )
