"""Studies on many machines: a Ray cluster on loopback, an S3 server, shards without an engine."""

from __future__ import annotations

import math
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import psutil
import pytest
from click.testing import CliRunner
from inspect_ai.log import list_eval_logs
from ray.cluster_utils import Cluster
from rich.console import Console

from tests.evals.sweep import warm
from tests.evals.sweep.openai_server import OpenAIServer, Request, in_place_of_openrouter
from tests.evals.sweep.test_http import PLAIN, ROWS, write_study
from w2s_icl.analysis.experiment import Experiment
from w2s_icl.analysis.logs import read_logs
from w2s_icl.analysis.tables import cells_table
from w2s_icl.cli import main
from w2s_icl.errors import W2SError
from w2s_icl.evals.cells import build, zero_shot_cells
from w2s_icl.evals.study import Study, load_study
from w2s_icl.evals.sweep import cluster
from w2s_icl.evals.sweep.cluster import connected
from w2s_icl.evals.sweep.evaluate import Here, Work
from w2s_icl.evals.sweep.progress import StudyProgress
from w2s_icl.evals.sweep.run import run_study
from w2s_icl.evals.sweep.shards import (
    divide,
    fullest_logs,
    identified,
    not_done,
    per_process,
    run_selected,
)
from w2s_icl.evals.sweep.stop import Stop, Stopped
from w2s_icl.evals.sweep.tally import Tally
from w2s_icl.solvers.label_logs import headers, log_headers, stamp_of

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
    with in_place_of_openrouter(ROWS) as server, pytest.MonkeyPatch.context() as environment:
        for name, value in PLAIN.items():
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


def run(study: Path, log_dir: str, *options: str) -> subprocess.Popen[str]:
    """`w2s run`, as a person starts it."""
    script = Path(sys.executable).with_name("w2s")
    return subprocess.Popen(
        [str(script), "run", str(study), "--log-dir", log_dir, "--yes", *options],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
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
    assert "ray: cells 6, shards 1, CPUs 2\n" in out
    assert "ray: cells 24, shards 4, CPUs 2\n" in out
    again = warm.run("w2s", "run", str(world.study), "--log-dir", log_dir)
    assert asked(world.server.requests) == world.asked, again


@pytest.mark.slow
def test_a_node_that_is_lost_costs_only_the_calls_under_way(world: World, fleet: Fleet) -> None:
    log_dir = "s3://studies/killed"
    world.server.requests.clear()
    world.server.latency = 0.1

    process = run(world.study, log_dir, "--shards", "2", "--ray", fleet.cluster.address)
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
def test_shards_side_by_side_leave_nothing_to_ask(world: World) -> None:
    log_dir = str(world.study.with_name("shards"))
    world.server.requests.clear()
    command = ("w2s", "run", str(world.study), "--log-dir", log_dir)

    with ThreadPoolExecutor(3) as at_once:
        shards = [at_once.submit(warm.run, *command, "--shard", f"{i}/3") for i in (1, 2, 3)]
    for shard in shards:
        assert shard.result().returncode == 0, shard.result()
    assert asked(world.server.requests) == world.asked
    same(log_dir, world.log_dir)

    world.server.requests.clear()
    last = warm.run(*command)
    assert last.returncode == 0, last
    assert not world.server.requests
    assert {log.eval.eval_set_id for log in log_headers(log_dir)} == {
        (Path(log_dir) / ".eval-set-id").read_text("utf-8")
    }


# --- parts, without a cluster ---------------------------------------------------------------------


@pytest.fixture
def study() -> Study:
    """Nine cells of stand-in models, six of which need nothing."""
    models = ("simulated/small", "simulated/large")
    return Study(
        dataset="misconceptions", test_size=4, models=models, shots=(0, 2), max_connections=9
    )


def works_of(study: Study, log_dir: str) -> list[Work]:
    cells = zero_shot_cells(study)
    return [Work(cell, None, build(study, cell, log_dir, {})) for cell in cells]


def runner_of(study: Study, log_dir: str) -> Here:
    progress = StudyProgress(Console(quiet=True), 0, shown=False)
    return Here(study, log_dir, {}, progress, Stop())


def test_what_is_captured_is_what_runs_and_what_the_log_says(study: Study, log_dir: str) -> None:
    runner = runner_of(study, log_dir)
    works = identified(works_of(study, log_dir), runner)
    assert len({work.identifier for work in works}) == len(works) == 4
    assert not Path(log_dir).exists()

    run_selected(works[:2], runner, "the-set")
    assert set(fullest_logs(log_dir)) == {work.identifier for work in works[:2]}
    assert not_done(works, log_dir) == works[2:]
    assert {log.eval.eval_set_id for log in log_headers(log_dir)} == {"the-set"}
    assert {path.suffix for path in Path(log_dir).iterdir()} == {".eval"}

    before = sorted(Path(log_dir).iterdir())
    run_selected(works[:2], runner, "the-set")
    assert sorted(Path(log_dir).iterdir()) == before


def test_a_cell_that_is_another_one_here_is_refused(study: Study, log_dir: str) -> None:
    runner = runner_of(study, log_dir)
    work, *_ = identified(works_of(study, log_dir), runner)
    work.task.version = "of other questions"
    with pytest.raises(W2SError, match="does not match any of the 1 tasks"):
        run_selected([work], runner, "the-set")


@pytest.mark.parametrize("name", ["manifest.EVAL_SET_CAPTURE", "selection.EVAL_SET_SELECTION"])
def test_another_version_of_the_protocol_is_refused(
    name: str, study: Study, log_dir: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"inspect_ai._eval.eval_set_{name}_VERSION", 99)
    with pytest.raises(W2SError, match=r"speaks versions .*99.*pip install \"w2s-icl\[ray\]\""):
        run_study(study, log_dir, console=Console(quiet=True), share=(1, 2))
    assert not Path(log_dir).exists()


def test_a_shard_gives_up_when_the_others_do_nothing(
    study: Study, log_dir: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("w2s_icl.evals.sweep.shards.PATIENCE", 0.5)
    monkeypatch.setattr("w2s_icl.evals.sweep.shards.POLL", 0.1)
    outcome = run_study(study, log_dir, console=Console(quiet=True), share=(2, 2))
    assert outcome.stopped.startswith("label runs are not finished that every shard needs")
    assert "(zero_pool of simulated/large)" in outcome.stopped
    assert outcome.exit_code == 1
    assert len(log_headers(log_dir)) == 2


def test_shards_of_baselines_alone_need_not_wait(study: Study, log_dir: str) -> None:
    study = study.model_copy(update={"shots": (0,)})
    for index, cells in ((2, 1), (1, 1)):
        outcome = run_study(study, log_dir, console=Console(quiet=True), share=(index, 2))
        assert (outcome.exit_code, outcome.planned, len(outcome.logs)) == (0, cells, cells)
    assert {log.eval.model for log in log_headers(log_dir)} == set(study.models)


def test_shards_are_of_one_model_as_far_as_possible_and_of_like_size(
    study: Study, log_dir: str
) -> None:
    works = works_of(study, log_dir)
    for n in range(1, 6):
        parts = divide([[work] for work in works], n)
        assert len(parts) == n
        assert Counter(work.key for part in parts for work in part) == {w.key: 1 for w in works}
    halves = divide([[work] for work in works], 2)
    assert [{work.cell.model for work in half} for half in halves] == [
        {"simulated/large"},
        {"simulated/small"},
    ]
    assert sorted(len(part) for part in divide([works[:3], works[3:]], 2)) == [1, 3]
    assert per_process(study, 2).max_connections == 4
    assert per_process(study, 20).max_connections == 1


def test_the_tally_stops_when_the_money_is_spent_but_for_the_last_call() -> None:
    tally = Tally()
    tally.allow(1.0, 3)
    assert tally.tell(b"", 0.6) == ""
    assert tally.tell(b"", 0.6) == "--max-cost is spent"
    tally.stop("SIGINT")
    assert tally.tell(b"begin", begun=1) == "--max-cost is spent"
    assert tally.drain() == ([b"", b"", b"begin"], 1)

    tally = Tally()
    tally.allow(1.0, 2)
    assert [tally.tell(b"", 0.6), tally.tell(b"", 0.6)] == ["", ""]
    tally.allow(math.inf, 0)
    assert tally.tell(b"", 1e9) == ""


def test_without_ray_one_line_says_what_to_install(
    log_dir: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    command = ["run", "studies/demo.yaml", "--log-dir", log_dir, "--ray", "--yes"]
    found = CliRunner().invoke(main, command)
    assert found.exit_code == 2
    assert found.stderr == 'Error: --ray needs Ray: pip install "w2s-icl[ray]"\n'


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--shard", "0/3"], "must be I/N with I from 1 to N, as 2/8, got '0/3'"),
        (["--shard", "4/3"], "must be I/N with I from 1 to N, as 2/8, got '4/3'"),
        (["--shard", "one"], "must be I/N with I from 1 to N, as 2/8, got 'one'"),
        (["--shard", "1/3", "--ray", "here:1"], "--shard is for runs without --ray"),
        (["--shards", "3"], "--shards needs --ray"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: list[str], said: str, log_dir: str) -> None:
    found = CliRunner().invoke(main, ["run", "studies/demo.yaml", "--log-dir", log_dir, *options])
    assert found.exit_code == 2
    assert said in found.stderr


def test_a_store_that_is_not_reached_is_no_empty_directory(
    s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3.put_object(Bucket="studies", Key="torn/2026-01-01T00-00-00_zero_x.eval", Body=b"torn")
    (stamp,) = map(stamp_of, list_eval_logs("s3://studies/torn"))
    assert headers([stamp]) == [None]

    class Refusing(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_error(403)

        def do_GET(self) -> None:
            self.do_HEAD()

    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as refusing:
        threading.Thread(target=refusing.serve_forever, daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{refusing.server_port}")
        for changed in ([stamp._replace(size=5)], [stamp._replace(size=i) for i in (6, 7)]):
            with pytest.raises(ConnectionError, match="cannot be read"):
                headers(changed)
        refusing.shutdown()


def test_a_relative_log_directory_is_the_same_one_to_the_workers(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They have a working directory of their own."""
    context = SimpleNamespace(get_node_id=lambda: "0" * 56)
    tally = SimpleNamespace(options=lambda **_: SimpleNamespace(remote=lambda: None))
    monkeypatch.setattr("ray.get_runtime_context", lambda: context)
    monkeypatch.setattr("ray.remote", lambda _: tally)
    monkeypatch.chdir(tmp_path)

    def place(log_dir: str) -> str:
        progress = StudyProgress(Console(quiet=True), 1)
        return cluster.Cluster(study, log_dir, {}, progress, Stop()).log_dir

    assert place("logs/one") == str(tmp_path / "logs" / "one")
    assert place("s3://studies/one") == "s3://studies/one"


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


def test_an_address_where_nobody_is_is_said_at_once() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and never listens
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(W2SError, match=f"no cluster at {address}"), connected(address):
            pass
