"""Many machines: the cells in fixed parts, each an ordinary `eval_set` in a folder of its own.

What a cell asks decides its part, so the number of workers may change. A part is run by one process
at a time, under its folder's lock, else by the next one. A plain run then finds nothing to ask.
"""

import hashlib
import logging
import os
import re
import socket
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

from inspect_ai.log import EvalLog
from rich.console import Console

from w2s_icl.errors import W2SError, first_line
from w2s_icl.evals.cells import Cell, build, shown_by
from w2s_icl.evals.study import Study
from w2s_icl.evals.sweep import endpoint, logdir, stopping
from w2s_icl.evals.sweep.plan import Logged
from w2s_icl.evals.sweep.progress import StudyProgress
from w2s_icl.evals.sweep.run import CellTask, RunCells, Session, evaluate, logs_of
from w2s_icl.record import PlanRecord, RunRecord, is_complete
from w2s_icl.solvers.label_logs import is_remote
from w2s_icl.words import say

POLL = 2.0  # seconds between two looks at parts that other processes are running


def part_of(task: CellTask, parts: int) -> int:
    """Number of the part that a cell is in, from 0: the same for cells with equal prompts."""
    prompts = shown_by(task.task).prompt_sha256
    digest = hashlib.sha256(f"{task.cell.model} {task.cell.split} {prompts}".encode()).digest()
    return int.from_bytes(digest[:8]) % parts


def _divided(tasks: Iterable[CellTask], n: int) -> dict[int, list[CellTask]]:
    part = partial(part_of, parts=n)
    return {number: list(of) for number, of in groupby(sorted(tasks, key=part), part)}


def run_part(tasks: Sequence[CellTask], log_dir: str, part: int, session: Session) -> None:
    """Run the cells of a part that have no log elsewhere; raises HeldError where others run it."""
    name = f"part-{part:02d}"
    folder = f"{log_dir.rstrip('/')}/{name}"
    with logdir.held(folder):
        with logdir.held(log_dir):  # refuses where a run without parts holds it
            pass
        logdir.lay_aside_torn(folder)
        # a lost machine is the rule here: each answer is written at once, where that is cheap
        session = session if is_remote(folder) else session._replace(log_buffer=1)
        logs = zip(tasks, logs_of(tasks, log_dir), strict=True)
        mine = [task for task, log in logs if not log or log.location.rsplit("/", 2)[-2] == name]
        evaluate(mine, folder, session)


@contextmanager
def runner(
    log_dir: str, *, ray: str | None = None, share: tuple[int, int] | None = None
) -> Iterator[tuple[str, RunCells, float]]:
    """The log directory, what runs a phase's cells, and the share of the budget.

    `ray` is a cluster's address, "" for RAY_ADDRESS or one made here; `share` is the i-th of n.
    """
    if share:
        yield log_dir, partial(run_share, *share), 1 / share[1]
    elif ray is None:
        yield log_dir, evaluate, 1.0
    else:
        cluster = _connected(ray or os.environ.get("RAY_ADDRESS") or "local")
        # workers have another working directory
        folder = log_dir if is_remote(log_dir) else str(Path(log_dir).absolute())
        try:
            yield folder, run_on_ray, 1.0
        finally:
            cluster.shutdown()


def run_share(
    index: int, n: int, tasks: Sequence[CellTask], log_dir: str, session: Session
) -> list[EvalLog]:
    """As `run.evaluate`: the parts of the `index`-th of `n` workers, from 1; then what is left."""
    parts = _divided(tasks, session.study.parts)
    waiting = sorted(parts, key=lambda part: part % n != index - 1)
    while waiting:
        for part in [*waiting]:
            try:
                run_part(parts[part], log_dir, part, session)
                waiting.remove(part)
            except logdir.HeldError as error:
                session.progress.say_once(f"part {part}: {error}")
        if waiting:
            time.sleep(POLL)
    return [log for log in logs_of(tasks, log_dir) if log]


def _connected(address: str) -> Any:
    try:
        import ray
    except ImportError:
        raise W2SError('--ray needs Ray: pip install "w2s-icl[ray]"') from None
    try:
        host, _, port = address.removeprefix("ray://").rpartition(":")
        if host and port.isdecimal():  # Ray itself takes minutes to see that nobody is there
            socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
        if not ray.is_initialized():
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # OSError, RuntimeError of another version, a bad address
        raise W2SError(f"--ray: no cluster at {address}: {first_line(error)}") from None
    return ray


def run_on_ray(tasks: Sequence[CellTask], log_dir: str, session: Session) -> list[EvalLog]:
    """Run each part on the cluster that this process is connected to; as `run.evaluate`."""
    import ray

    progress, study = session.progress, session.study
    # what a worker has from here, where its node does not set it
    passed_on = re.compile(r"_API_KEY$|_BASE_URL$|^AWS_|^HF_|^INSPECT_")
    environment = {name: of for name, of in os.environ.items() if passed_on.search(name)}
    # what takes over others' answers costs no call, and is made here
    free = [task for task in tasks if RunRecord.from_metadata(task.task.metadata or {}).reused_from]
    for part, of in _divided(free, study.parts).items():
        run_part(of, log_dir, part, session)
    logs = zip(tasks, logs_of(tasks, log_dir), strict=True)
    missing = [task for task, log in logs if task not in free and not (log and is_complete(log))]
    todo = _divided(missing, study.parts)
    sizes = {part: sum(len(task.task.dataset) for task in of) for part, of in todo.items()}
    run = ray.remote(num_cpus=1, max_calls=1, max_retries=5)(_work)  # of a part whose node is lost
    running: dict[Any, int] = {}
    spent = (progress.before + progress.now).known
    for part, of in todo.items():
        share = sizes[part] / sum(sizes.values())  # of what is left, by the number of questions
        budget = progress.max_cost and (progress.max_cost - spent) * share
        sent = [(task.cell, task.ask) for task in of]
        running[run.remote(sent, study, session.planned, log_dir, budget, environment)] = part
    if running:
        say(progress.console, f"ray: {len(running)} parts")
    try:
        while running:
            for done in ray.wait(list(running), timeout=1)[0]:
                part = running.pop(done)
                try:
                    reason, retries = ray.get(done)
                except ray.exceptions.RayError as error:
                    reason, retries = f"part {part} was lost: {first_line(error)}", 0
                progress.retries += retries
                if reason:
                    raise stopping.Stopped(reason)
                say(progress.console, f"part {part}: {len(todo[part])} cells done")
    except BaseException:
        for one in running:
            ray.cancel(one)
        # seconds that the workers have to close their logs
        ray.wait(list(running), num_returns=len(running), timeout=30)
        raise
    finally:
        if todo:  # by the logs, which have also what a lost node paid
            progress.now = Logged(log_dir, study.load_split()).spent - progress.before
    there = [log for log in logs_of(tasks, log_dir) if log]
    if lost := len(tasks) - len(there):
        said = f"{lost} cells were run whose logs are not in {log_dir}"
        raise stopping.Stopped(f"{said}: it must be one directory that all machines reach")
    return there


def _work(
    cells: Sequence[tuple[Cell, Collection[int | str] | None]],
    study: Study,
    planned: PlanRecord,
    log_dir: str,
    budget: float | None,
    environment: Mapping[str, str],
) -> tuple[str, int]:
    """Run a part's cells in a process of its own; why it ended early, and requests sent again."""
    for name, value in environment.items():
        os.environ.setdefault(name, value)
    progress = StudyProgress(Console(quiet=True), shown=False, max_cost=budget)
    session = Session(study, planned, progress)
    with progress.ending.listening():
        try:
            endpoint.set_prices(study)
            tasks = [CellTask(c, ask, build(study, c, log_dir, planned, ask)) for c, ask in cells]
            # another process may hold the part: one that ran it before, which may be lost
            run_share(1, 1, tasks, log_dir, session)
        except (stopping.Stopped, W2SError) as stopped:
            return str(stopped), progress.retries
    return "", progress.retries
