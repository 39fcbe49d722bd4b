"""Studies on many machines: parts side by side, a lost one, Ray on loopback, an S3 store."""

import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import psutil
import pytest
from rich.console import Console

from tests.evals.sweep.openai_server import (
    LARGE,
    MEDIUM,
    SMALL,
    OpenAIServer,
    Request,
    at_address_of,
)
from tests.evals.sweep.test_http import ROWS, openrouter, start, write_study
from w2s_icl.analysis.experiment import Experiment
from w2s_icl.analysis.logs import read_logs
from w2s_icl.analysis.tables.cells import cells_table
from w2s_icl.evals.cells import all_cells, build, plan_record, zero_shot_cells
from w2s_icl.evals.study import Study
from w2s_icl.evals.sweep.run import CellTask, run_study
from w2s_icl.evals.sweep.shards import part_of, run_share

# 13 cells: five without demonstrations, two gold, four weak, two controls
STUDY: Mapping[str, Any] = {
    "pairs": [[openrouter(weak), openrouter(LARGE)] for weak in (SMALL, MEDIUM)],
    "shots": [0, 2, 8],
    "labels": ["gold", "weak", "random", "unlabelled"],
    "control_shots": 8,
    "test_size": 12,
    "max_connections": 4,
    "parts": 3,
}


@pytest.fixture
def small() -> Study:
    """Nine cells of stand-in models, four of which need nothing."""
    models = ("simulated/small", "simulated/large")
    return Study(dataset="misconceptions", test_size=4, models=models, shots=(0, 2), parts=3)


def tasks_of(study: Study, log_dir: str) -> list[CellTask]:
    planned = plan_record(study, all_cells(study, study.load_split()))
    cells = zero_shot_cells(study)
    return [CellTask(cell, None, build(study, cell, log_dir, planned)) for cell in cells]


def test_a_cell_stays_in_its_part_whatever_else_the_study_has(small: Study, log_dir: str) -> None:
    parts = {one.cell.key: part_of(one, 3) for one in tasks_of(small, log_dir)}
    larger = small.model_copy(update={"shots": (0, 2, 4), "draws": 2})
    assert {one.cell.key: part_of(one, 3) for one in tasks_of(larger, log_dir)} == parts
    assert set(parts.values()) <= {0, 1, 2}


def test_one_worker_of_two_finishes_what_the_other_never_began(small: Study, log_dir: str) -> None:
    quiet = Console(quiet=True)
    outcome = run_study(small, log_dir, console=quiet, run_cells=partial(run_share, 2, 2))
    assert (outcome.exit_code, outcome.planned, len(outcome.logs)) == (0, 9, 9)
    folders = {path.parent.name for path in Path(log_dir).rglob("*.eval")}
    assert folders <= {f"part-{part:02d}" for part in range(3)}
    assert run_study(small, log_dir, console=quiet).exit_code == 0
    assert not list(Path(log_dir).glob("*.eval"))


class World(NamedTuple):
    """What all machines reach, and what one machine makes of the study."""

    server: OpenAIServer
    study: Path
    log_dir: str
    asked: Counter[tuple[str, bytes]]


@pytest.fixture(scope="module")
def world(s3: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("one")
    study = write_study(folder, **STUDY)
    with OpenAIServer(ROWS) as server, at_address_of(server):
        ended(start(study, str(folder / "logs")))
        yield World(server, study, str(folder / "logs"), asked(server.requests))


def ended(process: subprocess.Popen[str], code: int = 0, timeout: float = 300) -> str:
    try:
        out, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, _ = process.communicate()
        pytest.fail(f"took more than {timeout} s\n{out}")
    assert process.returncode == code, out
    return out


def until(condition: Callable[[], bool], *processes: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 240
    while not condition():
        assert time.monotonic() < end
        assert all(process.poll() is None for process in processes)
        time.sleep(0.02)


def asked(requests: Sequence[Request]) -> Counter[tuple[str, bytes]]:
    """How often each prompt was answered, by model."""
    return Counter((request.model, request.raw) for request in requests if request.status == 200)


def same(one: str, other: str) -> None:
    """Two directories give the same report, but for what names a run or a file."""
    for mine, theirs in zip(numbers(one), numbers(other), strict=True):
        pd.testing.assert_frame_equal(mine, theirs)


def numbers(log_dir: str) -> tuple[pd.DataFrame, ...]:
    logs = read_logs(log_dir)
    runs = logs.runs.drop(columns=["file", "eval_id", "label_eval_id", "reused_from"])
    letters, correct = pd.DataFrame(logs.letters), pd.DataFrame(logs.correct)
    return runs, letters, correct, cells_table(Experiment(logs))


def kill(node: Any) -> None:
    """As when a machine loses power: its processes end at once and say nothing."""
    raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
    for process in [*raylet.children(recursive=True), raylet]:
        process.kill()


# first, being the longest: what xdist gives a worker before its last test waits for that one
@pytest.mark.slow
def test_a_cluster_ends_by_itself_when_a_node_is_lost(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_worker_niceness", "0")  # else other tests leave it no processor
    log_dir = "s3://studies/cluster"
    server = world.server
    server.requests.clear()
    server.latency = 0.1
    # a head, which runs nothing, and two nodes with a processor each
    head = {"num_cpus": 0, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    cluster.wait_for_nodes()
    try:
        process = start(world.study, log_dir, "--ray", cluster.address)
        until(lambda: sum(r.shots > 0 for r in list(server.requests)) > 20, process)
        kill(nodes[0])
        said = ended(process)
    finally:
        server.latency = 0.0
        cluster.shutdown()
    repeated = asked(server.requests) - world.asked
    assert set(asked(server.requests)) == set(world.asked)
    assert f"\ncame to {world.asked.total()} calls, " in said
    # on a store, up to nine answers of each running cell are not written yet
    assert sum(repeated.values()) <= 40, repeated
    same(log_dir, world.log_dir)
    server.requests.clear()
    ended(start(world.study, log_dir))
    assert not asked(server.requests)


@pytest.mark.slow
def test_shards_of_which_one_is_killed_and_restarted_leave_nothing_to_ask(world: World) -> None:
    log_dir = str(world.study.with_name("shards"))
    server = world.server
    server.requests.clear()
    server.latency = 0.1
    try:
        shards = [start(world.study, log_dir, "--shard", f"{i}/3") for i in (1, 2, 3)]
        until(lambda: sum(r.shots > 0 for r in list(server.requests)) > 20, *shards)
        server.latency = 5.0  # longer than a process needs to start
        refused = ended(start(world.study, log_dir), code=2)
        assert "is being written by process" in refused
        server.latency = 0.1
        os.killpg(shards[0].pid, signal.SIGKILL)
        shards[0].communicate()
        shards[0] = start(world.study, log_dir, "--shard", "1/2")
        for shard in shards:
            ended(shard)
    finally:
        server.latency = 0.0
    repeated = asked(server.requests) - world.asked
    assert set(asked(server.requests)) == set(world.asked)
    assert sum(repeated.values()) <= 12, repeated
    server.requests.clear()
    ended(start(world.study, log_dir))
    assert not asked(server.requests)
    same(log_dir, world.log_dir)
