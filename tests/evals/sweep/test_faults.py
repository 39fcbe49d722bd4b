"""Studies that are killed, stopped, refused or lied to, over real HTTP."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from zipfile import ZipFile

import pandas as pd
import pytest
from inspect_ai import eval_set
from inspect_ai.log import EvalLog, list_eval_logs, read_eval_log
from inspect_ai.model._providers.openrouter import OpenRouterAPI
from rich.console import Console

from tests.analysis.test_logs import write
from tests.evals.sweep.openai_server import (
    LARGE,
    MEDIUM,
    SMALL,
    OpenAIServer,
    Request,
    in_place_of_openrouter,
    question_of,
)
from tests.evals.sweep.test_http import (
    PLAIN,
    ROWS,
    SMALL_STUDY,
    Finished,
    answers,
    changed,
    finish,
    openrouter,
    prompts,
    questions_of,
    start,
    wait_until,
    write_study,
)
from w2s_icl.analysis.logs import read_logs
from w2s_icl.analysis.report import TABLES
from w2s_icl.analysis.results import Results
from w2s_icl.evals.cells import Cell, all_cells, build, plan_record, zero_shot_cells
from w2s_icl.evals.study import Study, load_study
from w2s_icl.evals.sweep import gate
from w2s_icl.evals.sweep.endpoint import model_of, set_prices
from w2s_icl.evals.sweep.evaluate import CELLS_AT_ONCE, LOG_BUFFER
from w2s_icl.evals.sweep.gate import (
    ALONE_SECONDS,
    FEW,
    GONE_CALLS,
    GONE_SECONDS,
    TRIES,
    GivenUpError,
    _Health,
    secrets,
)
from w2s_icl.evals.sweep.labelling import labelling, pool_ask
from w2s_icl.evals.sweep.logdir import (
    PART,
    mark_incomplete,
    mark_incomplete_in,
    refuse_unknown_models,
)
from w2s_icl.evals.sweep.plan import make_plan
from w2s_icl.evals.sweep.progress import cell_line
from w2s_icl.evals.sweep.run import run_study
from w2s_icl.evals.sweep.stop import Stop
from w2s_icl.evals.sweep.summary import Outcome, summary_row
from w2s_icl.record import is_complete

KILLS = int(os.environ.get("W2S_KILLS", "1"))
"""How many runs are killed at a random moment; twenty take about twelve minutes."""

more = pytest.mark.skipif(
    os.environ.get("W2S_FAULTS") != "all", reason="W2S_FAULTS=all runs these, in five minutes"
)

CONNECTIONS = 6
STUDY = {**SMALL_STUDY, "max_connections": CONNECTIONS}

KEY = "key-of-distinction-0123456789"


@pytest.fixture(scope="module")
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer(ROWS) as running:
        yield running


@pytest.fixture(scope="module")
def whole(server: OpenAIServer, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """The study of this file, undisturbed."""
    folder = tmp_path_factory.mktemp("whole")
    run = finish(write_study(folder, **STUDY), folder / "logs", server)
    assert run.code == 0, run.said
    return run


def tables(log_dir: Path) -> dict[str, pd.DataFrame]:
    """All tables of the report."""
    results = Results(read_logs(str(log_dir)))
    return {name: getattr(results, name) for name in TABLES}


def check_same_report(log_dir: Path, whole: Finished) -> None:
    expected = tables(whole.log_dir)
    for name, table in tables(log_dir).items():
        pd.testing.assert_frame_equal(table, expected[name], obj=name)
    assert answers(log_dir) == answers(whole.log_dir)


def wait_for(process: subprocess.Popen[str], server: OpenAIServer, requests: float) -> None:
    """Until the server has seen more than so many requests, or the process has ended."""
    wait_until(lambda: len(server.requests) > requests or process.poll() is not None)


def repeats(requests: Sequence[Request]) -> int:
    """Answers that were given before."""
    counts = prompts([r for r in requests if r.status == 200])
    return counts.total() - len(counts)


def logged(log_dir: Path) -> Counter[str]:
    """Number of logs by status."""
    infos = list_eval_logs(str(log_dir))
    return Counter(read_eval_log(info, header_only=True).status for info in infos)


# --- killed ---------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(KILLS))
def test_run_killed_at_a_random_moment_goes_on_as_if_it_had_not_been(
    seed: int, whole: Finished, tmp_path: Path
) -> None:
    rng = random.Random(f"kill {seed}")
    study, log_dir = write_study(tmp_path, **STUDY), tmp_path / "logs"
    with OpenAIServer(ROWS, latency=0.05) as server:
        kills = 0
        for _ in range(2):
            how = rng.choice([signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
            # with -1 before the first call, and past the last one while the logs are closed
            after = len(server.requests) + rng.uniform(-1, 0.6 * len(whole.requests))
            process = start(study, log_dir, server)
            wait_for(process, server, after)
            process.send_signal(how)
            out, err = process.communicate(timeout=60)
            assert "Traceback" not in out + err, out + err
            if how == signal.SIGKILL:
                kills += 1
            elif process.returncode:
                assert process.returncode in (128 + how, -how), out + err
        killed = list(server.requests)
        run = finish(study, log_dir, server)
    bound = kills * (2 * CONNECTIONS + CELLS_AT_ONCE * (LOG_BUFFER - 1))
    every = [*killed, *run.requests]

    assert run.code == 0, run.said
    check_same_report(log_dir, whole)
    assert set(prompts(r for r in every if r.status == 200)) == set(prompts(whole.answered))
    assert repeats(every) <= bound


def test_sigint_stops_a_run_whose_parent_ignored_it_and_repeats_no_answer(
    whole: Finished, tmp_path: Path
) -> None:
    study, log_dir = write_study(tmp_path, **STUDY), tmp_path / "logs"
    with OpenAIServer(ROWS, latency=0.05) as server:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a script's background job
        try:
            process = start(study, log_dir, server)
        finally:
            signal.signal(signal.SIGINT, before)
        wait_for(process, server, 90)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        stopped = list(server.requests)
        run = finish(study, log_dir, server)

    assert process.returncode == 130, out + err
    assert re.search(r"^stopped: SIGINT.*the same command goes on$", out, re.MULTILINE), out
    assert "Traceback" not in out + err
    assert len(stopped) < len(whole.requests)
    assert run.code == 0, run.said
    assert repeats([*stopped, *run.requests]) == 0
    check_same_report(log_dir, whole)


def test_second_signal_stops_at_once(tmp_path: Path) -> None:
    study, log_dir = write_study(tmp_path, **STUDY), tmp_path / "logs"
    with OpenAIServer(ROWS) as server:
        server.faults, server.stall = {"stall": 1.0}, 60
        process = start(study, log_dir, server)
        wait_for(process, server, CONNECTIONS - 1)
        process.send_signal(signal.SIGTERM)
        time.sleep(1)
        assert process.poll() is None, "the calls under way were not waited for"
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=5)

    assert process.returncode == 143, out + err
    assert logged(log_dir).keys() <= {"cancelled", "started"}


@pytest.mark.parametrize(
    "how", ["cut", pytest.param("empty", marks=more), pytest.param("no zip", marks=more)]
)
def test_torn_files_stop_neither_the_next_run_nor_the_report(
    how: str, whole: Finished, server: OpenAIServer, tmp_path: Path
) -> None:
    log_dir = tmp_path / "logs"
    shutil.copytree(whole.log_dir, log_dir)
    victim = next(log_dir.glob("*_zero_*.eval"))
    content = victim.read_bytes()
    torn = {"empty": b"", "cut": content[: len(content) // 2], "no zip": b"PK is not enough"}
    victim.write_bytes(torn[how])
    (log_dir / "eval-set.json").write_text('{"eval_set_id": ')
    (log_dir / "logs.json").write_text("")
    Results(read_logs(str(log_dir)))

    run = finish(whole.study, log_dir, server)

    assert run.code == 0, run.said
    assert f"{victim.name} was torn" in run.out
    assert len(run.requests) == SMALL_STUDY["test_size"]
    check_same_report(log_dir, whole)


@pytest.mark.slow
@pytest.mark.parametrize("room", [230_000, pytest.param(30_000, marks=more)])
def test_full_disk_ends_the_run_and_loses_nothing_that_was_written(
    room: int, whole: Finished, tmp_path: Path
) -> None:
    study, log_dir = write_study(tmp_path, **STUDY), tmp_path / "logs"
    script = Path(sys.executable).with_name("w2s")
    command = [str(script), "run", str(study), "--log-dir", str(log_dir)]
    with OpenAIServer(ROWS) as server:
        # a file may grow to this size and no further
        full = subprocess.run(
            command,
            env={**os.environ, **server.environment, **PLAIN},
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (room, room)),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        first = list(server.requests)
        run = finish(study, log_dir, server)

    assert full.returncode == 1, full.stdout + full.stderr
    assert re.search(r"^stopped: .*File too large", full.stdout, re.MULTILINE), full.stdout
    assert run.code == 0, run.said
    check_same_report(log_dir, whole)
    assert not repeats([*first, *run.requests])


# --- faults ---------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("faults", "rate_429", "rate_500"),
    [
        ({"reset": 0.02, "malformed": 0.02, "html": 0.02, "no_choices": 0.02}, 0.05, 0.02),
        pytest.param({}, 0.5, 0.0, marks=more),
        pytest.param(
            {"null": 0.03, "error_200": 0.03, "error_choice": 0.03, "stall": 0.02},
            0.0,
            0.0,
            marks=more,
        ),
    ],
    ids=["spoilt", "half refused", "empty or stalled"],
)
def test_report_through_faults_is_that_of_the_undisturbed_run(
    faults: dict[str, float],
    rate_429: float,
    rate_500: float,
    whole: Finished,
    tmp_path: Path,
) -> None:
    study = write_study(tmp_path, **STUDY, timeout=3)
    with OpenAIServer(ROWS, rate_429=rate_429, rate_500=rate_500, seed=3) as server:
        server.faults, server.stall = faults, 600
        server.retry_after = None if rate_429 == 0.5 else "1"
        run = finish(study, tmp_path / "logs", server)

    assert {r.fault for r in run.requests} - {""} == set(faults), "a fault never came up"
    assert run.code == 0, run.said
    check_same_report(run.log_dir, whole)
    assert repeats(run.requests) == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("part", "status"),
    [
        ("test", 400),
        ("pool", 500),
        pytest.param("test", 500, marks=more),
        pytest.param("pool", 400, marks=more),
    ],
)
def test_question_that_fails_for_good_leaves_its_cells_incomplete_and_the_rest_whole(
    part: str, status: int, whole: Finished, tmp_path: Path
) -> None:
    asked = questions_of(part, whole.log_dir)
    broken = min(q for q in asked if part == "test" or q in shown(whole))
    study, log_dir = write_study(tmp_path, **STUDY), tmp_path / "logs"
    with OpenAIServer(ROWS) as server:
        server.failing = {(SMALL, broken): status}
        run = finish(study, log_dir, server)
        failures = len([r for r in run.requests if r.status == status])
        missing = Results(read_logs(str(log_dir))).missing
        server.failing = {}
        again = finish(study, log_dir, server)

    assert run.code == 1, run.said
    named = {tuple(line.split()[1:3]) for line in run.out.splitlines() if "✗" in line}
    small = SMALL.rsplit("/", 1)[-1]
    if part == "pool":
        assert named == {("zero_pool", small)}
        assert failures <= 18
    else:
        assert {model for _, model in named} == {small}
        assert len(named) == 1 + 4
    assert len(missing) == len(named)
    # what finished cells showed, the others show as well, though the question is answered now
    assert again.code == 0, again.said
    assert not repeats([*run.requests, *again.requests])
    assert Results(read_logs(str(log_dir))).missing.empty
    if part == "test":
        check_same_report(log_dir, whole)


def shown(run: Finished) -> set[str]:
    """Questions of the pool that prompts showed."""
    return {question_of(turn) for r in run.answered for turn, _ in r.prompt.demonstrations}


class StatusError(Exception):
    """A call that ended with a status."""

    def __init__(self, status: int) -> None:
        super().__init__(f"Error code: {status}")
        self.status_code = status


class Calls:
    """Calls of one model, at a time of the test's own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(gate.time, "monotonic", lambda: self.now)
        self.stop = Stop()
        self.health = _Health(self.stop)

    def fail(self, prompt: int, status: int, at: float) -> bool:
        """Whether a call that fails is given up."""
        self.now = 1000 + at
        try:
            self.health.bad("m", prompt, StatusError(status), again=status >= 429)
        except GivenUpError:
            return True
        return False


@pytest.mark.parametrize("status", [429, 500, 503])
def test_outage_of_some_minutes_gives_up_neither_a_question_nor_the_model(
    status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = Calls(monkeypatch)
    calls.stop.answered_at["another"] = 1001

    for second in range(int(GONE_SECONDS)):
        assert not any(calls.fail(prompt, status, second) for prompt in range(CONNECTIONS))

    calls.health.good("m", 0)
    for prompt in range(CONNECTIONS):
        calls.health.check(prompt)
    assert calls.stop.requested is None


@pytest.mark.parametrize(("left", "seconds"), [(1, ALONE_SECONDS), (FEW, GONE_SECONDS)])
def test_questions_that_are_left_and_fail_long_are_given_up_but_not_their_model(
    left: int, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = Calls(monkeypatch)
    calls.stop.answered_at["another"] = 1001

    given_up = [s for s in range(400) if any([calls.fail(i, 500, s) for i in range(left)])]

    assert given_up[0] == seconds
    calls.health.check(-1)


def test_model_that_is_gone_for_long_is_given_up_while_others_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = Calls(monkeypatch)
    calls.stop.answered_at["another"] = 1001

    given_up = {s: calls.fail(s % 30, 503, s) for s in range(int(GONE_SECONDS) + 1)}

    assert [s for s, gone in given_up.items() if gone] == [GONE_SECONDS]
    with pytest.raises(GivenUpError, match="in a row"):
        calls.health.check(31)
    assert calls.stop.requested is None


def test_refused_prompts_are_given_up_each_and_a_refused_model_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    too_long, flagged, forbidden = (Calls(monkeypatch) for _ in range(3))

    for prompt in range(2 * GONE_CALLS):  # 400: a cell whose prompts are too long
        assert [too_long.fail(prompt, 400, 0) for _ in range(TRIES)].index(True) == TRIES - 1
    for prompt in range(FEW):  # 403: questions that a moderation flags
        assert [flagged.fail(prompt, 403, 0) for _ in range(TRIES)].index(True) == TRIES - 1
    gone = [forbidden.fail(prompt, 403, 0) for prompt in range(GONE_CALLS)]

    too_long.health.check(-1)
    flagged.health.check(-1)
    assert gone.index(True) == GONE_CALLS - 1
    with pytest.raises(GivenUpError, match="in a row"):
        forbidden.health.check(-1)


def test_reply_that_a_filter_took_is_unreadable_and_not_asked_again(
    whole: Finished, tmp_path: Path
) -> None:
    question = min(questions_of("test", whole.log_dir))
    study = write_study(tmp_path, **{**STUDY, "models": [openrouter(SMALL)]})
    with OpenAIServer(ROWS) as server:
        server.filtered = {(SMALL, question)}
        run = finish(study, tmp_path / "logs", server)

    assert run.code == 0, run.said
    assert repeats(run.requests) == 0
    runs = read_logs(str(run.log_dir)).runs
    assert (runs.loc[runs["split"] == "test", "unparsed"] >= 1).all()


# --- runs that tolerate failed questions ----------------------------------------------------------

TOLERANT = {
    **{"models": [openrouter(SMALL)], "shots": [0], "test_size": 12, "max_connections": 7},
    "prices": {openrouter(SMALL): {"input": 1, "output": 1}},
}
"""A number of connections of its own: Inspect keeps the models it has made, with their address."""


@pytest.fixture(scope="module")
def one_patient() -> Iterator[OpenAIServer]:
    with in_place_of_openrouter(ROWS) as running:
        yield running


@pytest.fixture
def patient(one_patient: OpenAIServer) -> OpenAIServer:
    one_patient.failing = {}
    one_patient.requests.clear()
    return one_patient


def tolerant(study: Study, log_dir: Path) -> list[EvalLog]:
    """The first phase of a study, run as an external runner of Inspect's does."""
    split = study.load_split()
    set_prices(study)
    state = labelling(study, split, str(log_dir))
    plan = plan_record(study, all_cells(study, split))
    tasks = [
        build(study, cell, str(log_dir), plan, pool_ask(cell, state))
        for cell in zero_shot_cells(study)
    ]
    with Stop().listening():
        _, logs = eval_set(
            tasks,
            log_dir=str(log_dir),
            fail_on_error=False,
            retry_attempts=1,
            log_dir_allow_dirty=True,
            display="none",
            log_model_api=False,
        )
    assert {log.status for log in logs} == {"success"}
    return [read_eval_log(log.location, header_only=True) for log in logs]


def quietly(study: Study, log_dir: Path) -> tuple[Outcome, str]:
    said = io.StringIO()
    outcome = run_study(study, str(log_dir), console=Console(file=said, soft_wrap=True))
    return outcome, said.getvalue()


def test_questions_that_failed_in_a_run_that_tolerates_it_are_asked_again_and_no_others(
    patient: OpenAIServer, tmp_path: Path
) -> None:
    study = load_study(write_study(tmp_path, **{**TOLERANT, "shots": [0, 1]}))
    log_dir, split = tmp_path / "logs", study.load_split()
    broken = {str(split.test[3].input), str(split.draw(0)[2].input)}
    patient.failing = {(SMALL, question): 400 for question in broken}
    logs = tolerant(study, log_dir)
    first, patient.failing = list(patient.requests), {}
    patient.requests.clear()

    assert not any(map(is_complete, logs))
    assert all(
        re.search(r"✗.* 1 of \d+ questions failed\n.*ModelGenerateError", cell_line(x))
        for x in logs
    )
    plan = make_plan(study, str(log_dir))
    assert [(s.cells, s.done, s.to_run.calls) for s in plan.stages[:2]] == [(1, 0, 1), (1, 0, 1)]
    outcome, said = quietly(study, log_dir)

    assert outcome.ok, said
    assert said.count("questions failed in") == 2
    zero_shot = [r for r in patient.requests if r.shots == 0]
    assert sorted(r.prompt.question for r in zero_shot) == sorted(broken)
    assert not repeats([*first, *patient.requests])
    results = Results(read_logs(str(log_dir)))
    assert results.missing.empty
    assert set(results.logs.runs["calls"]) <= {12, 9, 0}
    assert {note.text.partition(":")[0] for note in results.logs.notes} <= {"left out"}


def test_marking_a_log_as_incomplete_loses_nothing_that_is_in_it(
    patient: OpenAIServer, tmp_path: Path
) -> None:
    study = load_study(write_study(tmp_path, **TOLERANT))
    log_dir, question = tmp_path / "logs", str(study.load_split().test[3].input)
    patient.failing = {(SMALL, question): 400}
    (header,) = tolerant(study, log_dir)
    path = Path(header.location.removeprefix("file://"))
    before, members = read_eval_log(str(path)), contents(path)

    assert mark_incomplete_in(str(log_dir)) == [path.name]
    marked = path.stat().st_mtime_ns
    assert mark_incomplete_in(str(log_dir)) == []
    (again,) = mark_incomplete([header])

    assert path.stat().st_mtime_ns == marked
    assert [p.suffix for p in log_dir.iterdir() if PART in p.name] == []
    assert again.status == "error"
    assert again.error
    assert again.error.message == "1 of 12 questions failed"
    after = read_eval_log(str(path))
    assert before.samples
    assert after.samples == before.samples
    assert len(after.samples) == 12
    assert after.reductions == before.reductions
    expected = before.model_copy(update={"status": "error", "error": again.error})
    assert after.model_dump() == expected.model_dump()
    assert {k: v for k, v in contents(path).items() if k != "header.json"} == members
    assert re.search(r"✗.* 1 of 12 questions failed\n.*ModelGenerateError", cell_line(again))
    shown = subprocess.run(
        [str(Path(sys.executable).with_name("inspect")), "log", "dump", "--header-only", str(path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert json.loads(shown.stdout)["error"]["message"] == again.error.message


def contents(path: Path) -> dict[str, bytes]:
    """What is in a log, but for its header."""
    with ZipFile(path) as log:
        return {name: log.read(name) for name in log.namelist() if name != "header.json"}


def test_fullest_log_is_marked_last_and_none_of_a_cell_that_is_complete(tmp_path: Path) -> None:
    write(tmp_path, "continued", ["AB  "])
    write(tmp_path, "fuller", ["ABC "])
    write(tmp_path, "emptier", ["A   "], spec={"task_id": "of another worker"})
    assert mark_incomplete_in(str(tmp_path)) == ["emptier.eval", "fuller.eval"]
    times = [(tmp_path / f"{name}.eval").stat().st_mtime_ns for name in ("emptier", "fuller")]
    assert times == sorted(times)

    write(tmp_path, "lacking", ["AB  "])
    write(tmp_path, "finished", ["ABCD"])
    assert mark_incomplete_in(str(tmp_path)) == []
    # a label run that has grown is not finished because it once was
    write(tmp_path, "grown", ["ABCD", "ABC "])
    assert mark_incomplete_in(str(tmp_path)) == ["grown.eval"]


@pytest.mark.parametrize("how", ["lacking", "marked", "finished"])
def test_cell_that_another_worker_has_finished_is_not_asked_again(
    how: str, patient: OpenAIServer, tmp_path: Path
) -> None:
    study = load_study(write_study(tmp_path, **TOLERANT))
    log_dir, other, split = tmp_path / "logs", tmp_path / "other", study.load_split()
    tolerant(study, other)
    if how != "finished":
        patient.failing = {(SMALL, str(split.test[3].input)): 400}
    (log,) = tolerant(study, log_dir)
    for path in other.glob("*.eval"):  # begun earlier, in the same run
        shutil.copy(path, log_dir)
    if how == "marked":
        mark_incomplete([log])
    patient.requests.clear()

    assert make_plan(study, str(log_dir)).to_run.calls == 0
    for _ in range(2):
        outcome, said = quietly(study, log_dir)
        assert outcome.ok, said
        assert [is_complete(log) for log in outcome.logs] == [True]
    assert not patient.requests
    left = read_eval_log(log.location, header_only=True)
    assert left.status == ("error" if how == "marked" else "success")
    summary = json.loads((log_dir / "summary.json").read_text("utf-8"))
    assert [cell["status"] for cell in summary["cells"]] == ["success"]


def test_cell_whose_questions_go_on_failing_is_incomplete_in_the_summary(
    patient: OpenAIServer, tmp_path: Path
) -> None:
    study = load_study(write_study(tmp_path, **TOLERANT))
    log_dir, question = tmp_path / "logs", str(study.load_split().test[3].input)
    patient.failing = {(SMALL, question): 400}
    logs = tolerant(study, log_dir)

    outcome = Outcome(logs, 1, [log for log in logs if not is_complete(log)])
    assert not outcome.ok
    assert outcome.exit_code == 1
    row = summary_row(logs[0], {})
    assert (row["status"], row["accuracy"]) == ("incomplete", None)
    outcome, said = quietly(study, log_dir)
    assert not outcome.ok
    (log,) = outcome.logs
    assert log.status == "error"
    assert said.count("✗") >= 1


# --- again, and other studies ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("test_size", 23),
        ("near_duplicates", "keep"),
        ("style", "transcript"),
        ("max_tokens", 5),
        ("permutations", 2),
    ],
)
def test_study_that_defines_its_cells_otherwise_is_refused_before_any_call(
    key: str, value: object, whole: Finished, server: OpenAIServer, tmp_path: Path
) -> None:
    log_dir = tmp_path / "logs"
    shutil.copytree(whole.log_dir, log_dir)

    run = finish(changed(whole.study, f"other_{key}.yaml", **{key: value}), log_dir, server)

    assert run.code == 2, run.said
    assert not run.requests
    (line,) = run.err.strip().splitlines()
    assert f"its {key} is " in line
    assert "use another --log-dir" in line


@pytest.mark.slow
@pytest.mark.parametrize(
    "added",
    [
        {"models": [openrouter(m) for m in (SMALL, LARGE, MEDIUM)]},
        {"draws": 2},
        pytest.param({"labels": ["gold", "weak", "random"]}, marks=more),
        pytest.param({"shots": [0, 1, 3, 5]}, marks=more),
    ],
    ids=["models", "draws", "labels", "shots"],
)
def test_larger_study_asks_what_is_new_and_nothing_again(
    added: dict[str, object], whole: Finished, server: OpenAIServer, tmp_path: Path
) -> None:
    log_dir = tmp_path / "logs"
    shutil.copytree(whole.log_dir, log_dir)

    run = finish(changed(whole.study, "larger.yaml", **added), log_dir, server)

    assert run.code == 0, run.said
    assert run.requests
    assert repeats([*whole.requests, *run.requests]) == 0
    larger = answers(log_dir)
    for cell, old in answers(whole.log_dir).items():
        assert old.items() <= larger[cell].items()  # a label run may hold more questions now
    assert Results(read_logs(str(log_dir))).missing.empty


# --- keys and models ------------------------------------------------------------------------------


@pytest.mark.slow
def test_key_revoked_midway_stops_the_run_and_is_written_nowhere(
    whole: Finished, tmp_path: Path
) -> None:
    study, log_dir = write_study(tmp_path, **STUDY), tmp_path / "logs"
    with OpenAIServer(ROWS, latency=0.05) as server:
        server.key = KEY
        environment = server.environment
        process = start(study, log_dir, server, more={"XDG_DATA_HOME": str(tmp_path)})
        wait_for(process, server, 90)
        server.key = "another"
        out, err = process.communicate(timeout=60)
        refused, first = server.refused_keys, list(server.requests)
        written = {p: holds(p, KEY) for p in tmp_path.rglob("*") if p.is_file()}
        server.key = KEY
        assert server.environment == environment
        run = finish(study, log_dir, server)

    assert process.returncode == 1, out + err
    assert re.search(r"^stopped: openrouter/.*the key is refused.*401", out, re.MULTILINE), out
    # three tell that it is no chance; as many again of each model may be under way
    assert refused <= 3 + 2 * CONNECTIONS
    assert KEY not in out + err
    assert {".eval", ".gz"} <= {p.suffix for p in written}, "no log or no trace of Inspect's"
    assert not [path for path, found in written.items() if found]
    assert run.code == 0, run.said
    assert repeats([*first, *run.requests]) == 0
    check_same_report(log_dir, whole)


def holds(path: Path, text: str) -> bool:
    """Whether a file holds a text, in the members of a zip and in a compressed trace as well."""
    if path.suffix == ".gz":
        return text.encode() in gzip.decompress(path.read_bytes())
    if path.suffix == ".eval":
        log = read_eval_log(str(path), resolve_attachments=True)
        if text in log.model_dump_json():
            return True
    return text.encode() in path.read_bytes()


def test_key_in_a_study_file_is_refused_and_not_repeated(
    server: OpenAIServer, tmp_path: Path
) -> None:
    args = {openrouter(SMALL): {"default_headers": {"Authorization": f"Bearer {KEY}"}}}
    study = write_study(tmp_path, **STUDY, model_args=args)

    run = finish(study, tmp_path / "logs", server)

    assert run.code == 2, run.said
    assert "default_headers.Authorization must not hold a key" in run.err
    assert KEY not in run.said
    assert not run.requests


def test_model_that_the_endpoint_does_not_list_is_refused_before_any_call(tmp_path: Path) -> None:
    study = write_study(tmp_path, **STUDY)
    with OpenAIServer(ROWS) as server:
        server.listed = [SMALL, "qwen/qwen-2.5-7b-instruct"]
        run = finish(study, tmp_path / "logs", server)
        server.listed = [SMALL, LARGE]
        known = finish(changed(study, "known.yaml", shots=[0]), tmp_path / "known", server)

    assert run.code == 2, run.said
    assert f"openrouter/{LARGE} is not among the 2 models" in run.err
    assert "qwen/qwen-2.5-7b-instruct" in run.err
    assert not run.requests
    assert known.code == 0, known.said


def test_models_are_made_once_for_the_list_of_models_and_for_the_calls(
    server: OpenAIServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    study = Study(dataset="questions.jsonl", models=[openrouter(SMALL)], max_connections=3)
    made: list[object] = []
    init = OpenRouterAPI.__init__
    monkeypatch.setattr(
        OpenRouterAPI, "__init__", lambda api, *a, **k: (made.append(api), init(api, *a, **k))[1]
    )

    refuse_unknown_models(study, [Cell(model=openrouter(SMALL))], str(tmp_path))
    model_of(study, openrouter(SMALL))

    assert len(made) == 1, "a model that loads weights would load them twice"


def test_password_in_a_url_is_hidden_in_the_form_of_a_header_as_well() -> None:
    class API:
        base_url = "https://someone:p%40ssword-1@host.example/v1"

    hidden = secrets(API())

    assert {"p%40ssword-1", "p@ssword-1"} <= set(hidden)
    assert b64encode(b"someone:p@ssword-1").decode() in hidden


def test_wrong_key_is_refused_before_any_call_where_the_endpoint_checks_it(tmp_path: Path) -> None:
    study = write_study(tmp_path, **STUDY)
    with OpenAIServer(ROWS) as server:
        server.key = KEY
        environment = server.environment
        server.key = "another"
        run = finish(study, tmp_path / "logs", server, timeout=60, more=environment)

    assert run.code == 2, run.said
    assert "401" in run.err
    assert KEY not in run.said
    assert not run.requests
