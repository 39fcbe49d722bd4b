"""Studies on many machines: a Ray cluster on loopback, an S3 server, shards without an engine."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import psutil
import pytest
from ray.cluster_utils import Cluster
from rich.console import Console

from tests.openai_server import SMALL, OpenAIServer, Request
from tests.test_http import PLAIN, ROWS, openrouter, write_study
from w2s_icl.analysis.logs import read_logs
from w2s_icl.analysis.tables import Experiment, cells_table
from w2s_icl.evals import cluster
from w2s_icl.evals.cluster import _listen, connected
from w2s_icl.evals.evaluate import Work
from w2s_icl.evals.stop import Stop, Stopped
from w2s_icl.evals.study import StudyError, build, load_study, zero_shot_cells
from w2s_icl.evals.terminal import StudyProgress

STUDY: Mapping[str, Any] = {
    "shots": [0, 2, 8],
    "labels": ["gold", "weak", "random", "unlabelled"],
    "control_shots": 8,
    "test_size": 12,
    "max_connections": 8,
}
"""30 cells: six without demonstrations, six gold, twelve weak, six controls."""

CELLS = 30


@dataclass
class World:
    """What all machines reach, and what one machine makes of the study.

    Attributes:
        server: Serves the models.
        study: The study file.
        log_dir: Logs of the study run on one machine.
        asked: How often each prompt was answered in that run, by model.
    """

    server: OpenAIServer
    study: Path
    log_dir: str
    asked: Counter[tuple[str, bytes]]


@pytest.fixture(scope="module")
def world(s3: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("one")
    study = write_study(folder, **STUDY)
    with OpenAIServer(ROWS) as server, pytest.MonkeyPatch.context() as environment:
        for name, value in {**PLAIN, **server.environment}.items():
            environment.setenv(name, value)
        ended(run(study, str(folder / "logs")))
        yield World(server, study, str(folder / "logs"), asked(server.requests))


class Fleet:
    """A Ray cluster of a head, which runs nothing, and two nodes with a processor each."""

    def __init__(self) -> None:
        head = {"num_cpus": 0, "include_dashboard": False}
        self.cluster = Cluster(initialize_head=True, head_node_args=head)
        self.nodes = [self.cluster.add_node(num_cpus=1) for _ in range(2)]
        self.cluster.wait_for_nodes()

    def kill(self, node: Any) -> None:
        """As when a machine loses power: its processes end at once and say nothing."""
        raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
        doomed = [*raylet.children(recursive=True), raylet]
        for process in doomed:
            process.kill()
        self.nodes.remove(node)


@pytest.fixture
def fleet(world: World) -> Iterator[Fleet]:
    made = Fleet()
    yield made
    made.cluster.shutdown()


def run(study: Path, log_dir: str, *options: str, cwd: Path | None = None) -> subprocess.Popen[str]:
    """`w2s run`, as a person starts it."""
    script = Path(sys.executable).with_name("w2s")
    return subprocess.Popen(
        [str(script), "run", str(study), "--log-dir", log_dir, "--yes", *options],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        cwd=cwd,
    )


def ended(process: subprocess.Popen[str], timeout: float = 240) -> str:
    try:
        out, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, _ = process.communicate()
        pytest.fail(f"took more than {timeout} s\n{out}")
    assert process.returncode == 0, out
    return out


def asked(requests: Sequence[Request]) -> Counter[tuple[str, bytes]]:
    """How often each prompt was answered, by model."""
    return Counter((request.model, request.raw) for request in requests if request.status == 200)


def numbers(log_dir: str) -> tuple[pd.DataFrame, ...]:
    """All that a report is made of, but for what names a run or a file."""
    logs = read_logs(log_dir)
    named = ["file", "eval_id", "label_eval_id", "reused_from"]
    runs = logs.runs.drop(columns=named)
    return (
        runs,
        pd.DataFrame(logs.letters),
        pd.DataFrame(logs.correct),
        cells_table(Experiment(logs)),
    )


def same(one: str, other: str) -> None:
    for mine, theirs in zip(numbers(one), numbers(other), strict=True):
        pd.testing.assert_frame_equal(mine, theirs)


@pytest.mark.slow
def test_a_cluster_asks_what_one_machine_asks(world: World, fleet: Fleet) -> None:
    log_dir = "s3://studies/cluster"
    world.server.requests.clear()

    out = ended(run(world.study, log_dir, "--ray", fleet.cluster.address))

    assert asked(world.server.requests) == world.asked
    assert max(world.asked.values()) == 1
    same(log_dir, world.log_dir)
    assert "came to" in out
    again = ended(run(world.study, log_dir))
    assert asked(world.server.requests) == world.asked, again


@pytest.mark.slow
def test_a_node_that_is_lost_costs_only_the_calls_under_way(world: World, fleet: Fleet) -> None:
    log_dir = "s3://studies/killed"
    world.server.requests.clear()
    world.server.latency = 0.1

    process = run(world.study, log_dir, "--ray", fleet.cluster.address)
    try:
        while sum(r.shots > 0 for r in list(world.server.requests)) < 40:
            assert process.poll() is None, process.communicate()[0]
            time.sleep(0.02)
        fleet.kill(fleet.nodes[0])
        ended(process)
    finally:
        world.server.latency = 0.0

    repeated = asked(world.server.requests) - world.asked
    assert set(asked(world.server.requests)) == set(world.asked)
    assert sum(repeated.values()) <= 12, repeated
    same(log_dir, world.log_dir)


@pytest.mark.slow
def test_a_cluster_may_be_without_machines_for_a_while(world: World, tmp_path: Path) -> None:
    study = write_study(tmp_path, shots=[0], test_size=12, models=[openrouter(SMALL)])
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    try:
        # this process's working directory, which is none of the machines'
        process = run(study, "logs", "--ray", cluster.address, cwd=tmp_path)
        time.sleep(10)
        cluster.add_node(num_cpus=1)
        ended(process)
    finally:
        cluster.shutdown()
    assert len(list((tmp_path / "logs").glob("*.eval"))) == 1


def test_logs_that_the_workers_write_elsewhere_are_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(*_: Any) -> Any:
        return []

    remote = SimpleNamespace(remote=nothing)
    monkeypatch.setattr("ray.cluster_resources", dict)
    monkeypatch.setattr("ray.remote", lambda **_: lambda _: remote)
    monkeypatch.setattr(cluster.Cluster, "__post_init__", nothing)
    monkeypatch.setattr(cluster.Cluster, "_watch", nothing)
    study = load_study(write_study(tmp_path, shots=[0], models=["mockllm/one"]))
    (cell, *_) = zero_shot_cells(study)
    works = [Work(cell, None, build(study, cell, str(tmp_path), {}))]
    progress = StudyProgress(Console(quiet=True), 1)
    runner = cluster.Cluster(study, str(tmp_path), {}, progress, Stop())
    runner.tally = SimpleNamespace(allow=remote)

    with pytest.raises(Stopped, match="must be one directory that all machines reach"):
        runner.ask(works)


def test_a_shard_that_begins_when_no_more_calls_are_to_be_made_is_told_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ray.get", lambda value: value)
    tally = SimpleNamespace(stop=SimpleNamespace(remote=lambda: "--max-cost is spent"))
    stop, over = Stop(), threading.Event()
    over.set()

    _listen(tally, stop, over)
    assert stop.requested == "--max-cost is spent"


def test_an_address_where_nobody_is_is_said_at_once() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and never listens
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(StudyError, match=f"no cluster at {address}"), connected(address):
            pass
