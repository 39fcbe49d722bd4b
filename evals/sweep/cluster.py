"""A study on a Ray cluster: Ray places the shards, and runs those of a lost node again.

A shard is one Ray task in a process of its own. It looks into the log directory when it starts, so
it need not know whether it runs again.
"""

from __future__ import annotations

import logging
import math
import os
import pickle
import re
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inspect_ai.log import EvalLog
from inspect_ai.model import ModelUsage
from rich.console import Console

from w2s_icl.errors import W2SError
from w2s_icl.evals.cells import build
from w2s_icl.evals.study import Study
from w2s_icl.evals.sweep.endpoint import set_prices
from w2s_icl.evals.sweep.evaluate import ATTEMPTS, Here, Work, fewer_collections
from w2s_icl.evals.sweep.gate import first_line
from w2s_icl.evals.sweep.progress import StudyProgress
from w2s_icl.evals.sweep.shards import (
    divide,
    eval_set_id,
    identified,
    logs_of,
    not_done,
    per_process,
    run_selected,
)
from w2s_icl.evals.sweep.stop import Stop, Stopped
from w2s_icl.evals.sweep.tally import Tally
from w2s_icl.solvers.label_logs import local_folder

CELLS_IN_A_SHARD = 6
"""A process takes some eight seconds of CPU to start: one for each cell would cost five times."""

PASSED_ON = re.compile(r"_API_KEY$|_BASE_URL$|^AWS_|^HF_|^INSPECT_")
"""Variables that a worker has from the driver, where its node does not set them."""

LOOK, LEEWAY = 0.2, 20.0
"""Seconds between two looks at what the workers report, and to close logs after a stop's grace."""


@contextmanager
def connected(address: str) -> Iterator[None]:
    """A connection to the cluster at `address`, at RAY_ADDRESS, or to one made on this machine.

    Raises:
        W2SError: Ray is not installed, or there is no cluster.
    """
    try:
        import ray
    except ImportError:
        raise W2SError('--ray needs Ray: pip install "w2s-icl[ray]"') from None
    if ray.is_initialized():
        yield
        return
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    try:
        host, _, port = address.removeprefix("ray://").rpartition(":")
        if host and port.isdecimal():  # Ray itself takes minutes to see that nobody is there
            socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # OSError, RuntimeError of another version, a bad address
        raise W2SError(f"--ray: no cluster at {address}: {first_line(error)}") from None
    try:
        yield
    finally:
        ray.shutdown()


@dataclass
class Cluster(Here):
    """Runs cells on the Ray cluster that this process is connected to.

    Attributes:
        shards: Into how many shards the cells of a phase are divided; None for small ones.
        tally: What the workers report to.
    """

    shards: int | None = None
    tally: Any = None

    def __post_init__(self) -> None:
        """Start the tally, on this node: it must not be lost with another."""
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        if "://" not in self.log_dir:  # workers have another working directory
            self.log_dir = str(Path(self.log_dir).absolute())
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self.tally = ray.remote(Tally).options(num_cpus=0, scheduling_strategy=here).remote()

    def ask(self, works: Sequence[Work]) -> list[EvalLog]:
        """Run the cells; headers of their logs, as far as there are any.

        Raises:
            Stopped: A stop was requested, a shard ended before its cells were done, or the workers
                write elsewhere.
        """
        import ray

        works = identified(works, self)
        eval_set = eval_set_id(self.log_dir, self.plan, write=True)
        environment = {k: v for k, v in os.environ.items() if PASSED_ON.search(k)}
        job = (self.log_dir, self.plan, eval_set, environment, self.tally)
        # what takes over others' answers costs no call, and is made here
        run_selected([work for work in works if work.reused], self, eval_set)
        run = ray.remote(num_cpus=1, max_calls=1, max_retries=3)(_run_shard)
        ended: list[str] = []
        for _ in range(ATTEMPTS):
            todo, progress = not_done(works, self.log_dir), self.progress
            if not todo:
                break
            progress.started()
            n = min(len(todo), self.shards or math.ceil(len(todo) / CELLS_IN_A_SHARD))
            # none while no machine but the head has joined
            cpus = int(ray.cluster_resources().get("CPU", 0))  # type: ignore[no-untyped-call]
            limit = math.inf if progress.max_cost is None else progress.max_cost
            self.tally.allow.remote(
                limit - progress.spent - progress.cost, (progress.last_call or 0) - progress.calls
            )
            at_once = max(1, min(n, cpus))
            said = f"ray: cells {len(todo)}, shards {n}, CPUs {cpus}"
            progress.console.print(said, highlight=False)
            study = per_process(self.study, at_once)
            parts = filter(None, divide([[work] for work in todo], n))
            ended = self._watch([run.remote(study, [w.sent for w in part], job) for part in parts])
            self.stop.raise_if_requested()
        if ended and not_done(works, self.log_dir):
            raise Stopped(ended[0])
        logs = logs_of(works, self.log_dir)
        if len(logs) < len(works):
            raise Stopped(
                f"{len(works) - len(logs)} cells were run whose logs are not in {self.log_dir}: it "
                "must be one directory that all machines reach"
            )
        return logs

    def _watch(self, running: list[Any]) -> list[str]:
        """Pass on what the workers report until all have ended; why some ended early."""
        import ray

        ended: list[str] = []
        until = math.inf
        active = 0
        while running and (until == math.inf or (active and time.monotonic() < until)):
            done, running = ray.wait(running, timeout=LOOK)
            events, active = ray.get(self.tally.drain.remote())
            for event in events:
                name, values = pickle.loads(event)
                getattr(self.progress, name)(*values)
            if self.stop.requested and until == math.inf:
                self.tally.stop.remote(self.stop.requested)
                until = time.monotonic() + self.stop.grace + LEEWAY
            for one in done:
                try:
                    ended.append(ray.get(one))
                except ray.exceptions.RayError as error:
                    ended.append(f"a shard was lost: {first_line(error)}")
        return [reason for reason in ended if reason]


def _run_shard(study: Study, cells: Sequence[tuple[Any, ...]], job: tuple[Any, ...]) -> str:
    """Run one shard, in its own process; why it ended early, "" where it did not."""
    log_dir, plan, eval_set, environment, tally = job
    for name, value in environment.items():
        os.environ.setdefault(name, value)
    stop = Stop(log_dir=local_folder(log_dir))
    progress = _Reports(Console(quiet=True), 0, tally=tally, stop=stop.request)
    progress.tell("retried", 0, begun=1)
    try:
        with stop.listening(), progress, fewer_collections():
            set_prices(study)
            works = [
                Work(cell, ask, build(study, cell, log_dir, plan, ask), identifier)
                for cell, ask, identifier in cells
            ]
            run_selected(works, Here(study, log_dir, plan, progress, stop), eval_set)
    except Stopped as stopped:
        return str(stopped)
    except Exception as error:  # one bad shard does not stop the others
        return f"{type(error).__name__}: {first_line(error)}"
    finally:
        progress.tell("retried", progress.retries, begun=-1)
    return ""


@dataclass
class _Reports(StudyProgress):
    """A progress that is shown by another process."""

    tally: Any = None

    def tell(self, name: str, *values: Any, **more: Any) -> None:
        import ray

        reason = ray.get(self.tally.tell.remote(pickle.dumps((name, values)), **more))
        if reason and self.stop:
            self.stop(reason)

    def paid(self, model: str, usage: ModelUsage) -> None:
        self.tell("paid", model, usage, cost=usage.total_cost or 0.0)

    def answered(self) -> None:
        self.tell("answered")

    def finished(self, log: EvalLog) -> None:
        self.tell("finished", log)
