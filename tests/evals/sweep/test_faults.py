"""Studies that are killed, ended, refused or lied to, over real HTTP."""

import gzip
import json
import math
import os
import random
import re
import resource
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import pandas as pd
import pytest
from inspect_ai.log import list_eval_logs, read_eval_log

from tests.conftest import Args
from tests.evals.sweep.openai_server import LARGE, SMALL, OpenAIServer, Request
from tests.evals.sweep.test_http import (
    ROWS,
    SMALL_STUDY,
    Finished,
    Process,
    answers,
    changed,
    finish,
    openrouter,
    prompts,
    questions_of,
    start,
    write_study,
)
from w2s_icl.analysis.experiment import Experiment
from w2s_icl.analysis.logs import read_logs
from w2s_icl.analysis.report import TABLES
from w2s_icl.analysis.results import Results
from w2s_icl.analysis.tables.audits import missing_cells
from w2s_icl.evals.sweep import endpoint, stopping

# how many runs are killed at a random moment; twenty take about twelve minutes
KILLS = int(os.environ.get("W2S_KILLS", "1"))
CONNECTIONS = 6
STUDY = {**SMALL_STUDY, "max_connections": CONNECTIONS}
PAIR = {**STUDY, "pairs": [[openrouter(SMALL), openrouter(LARGE)]]}
ZERO_SHOT = {**STUDY, "models": [openrouter(SMALL)], "shots": [0]}
KEY = "key-of-distinction-0123456789"


@pytest.fixture(scope="module")
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer(ROWS) as running:
        yield running


@pytest.fixture(scope="module")
def whole(server: OpenAIServer, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """The study of this file, undisturbed."""
    folder = tmp_path_factory.mktemp("whole")
    run = finish(write_study(folder, **PAIR), server)
    assert run.code == 0, run.said
    return run


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Failed calls are made again without much of a wait."""
    monkeypatch.setattr(endpoint, "LONGEST_WAIT", 0.01)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return write_study(tmp_path, **PAIR)


@cache
def tables_of(log_dir: Path) -> dict[str, pd.DataFrame]:
    results = Results(read_logs(str(log_dir)))
    return {name: getattr(results, name) for name in TABLES}


def check_same_report(run: Finished, whole: Finished) -> None:
    """The run is complete, and all tables of the report are those of the undisturbed run."""
    assert run.code == 0, run.said
    expected = tables_of(whole.log_dir)
    for name, table in tables_of(run.log_dir).items():
        pd.testing.assert_frame_equal(table, expected[name], obj=name)
    assert answers(run.log_dir) == answers(whole.log_dir)


def repeats(requests: Sequence[Request]) -> int:
    """Answers that were given before."""
    counts = prompts([r for r in requests if r.status == 200])
    return counts.total() - len(counts)


def wait_for(process: Process, server: OpenAIServer, requests: float) -> None:
    """Until the server has seen more than so many requests, or the process has ended."""
    end = time.monotonic() + 120
    while len(server.requests) <= requests and process.poll() is None:
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(KILLS))
def test_a_killed_run_continues_as_if_undisturbed(seed: int, whole: Finished, study: Path) -> None:
    rng = random.Random(f"kill {seed}")
    with OpenAIServer(ROWS, latency=0.05) as server:
        for _ in range(2):
            how = rng.choice([signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
            # with -1 before the first call, and past the last one while the logs are closed
            after = len(server.requests) + rng.uniform(-1, 0.6 * len(whole.requests))
            process = start(study, study.with_name("logs"), **server.environment)
            wait_for(process, server, after)
            process.send_signal(how)
            out, _ = process.communicate(timeout=60)
            assert "Traceback" not in out, out
            if process.returncode:
                assert process.returncode in (128 + how, -how), out
        killed = list(server.requests)
        run = finish(study, server)
    every = [*killed, *run.requests]
    check_same_report(run, whole)
    assert set(prompts(r for r in every if r.status == 200)) == set(prompts(whole.answered))
    assert repeats(every) <= 2 * 2 * (2 * CONNECTIONS + 9)


@pytest.mark.slow
def test_sigint_ends_a_run_whose_parent_ignored_it(whole: Finished, study: Path) -> None:
    with OpenAIServer(ROWS, latency=0.05) as server:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a script's background job
        try:
            process = start(study, study.with_name("logs"), **server.environment)
        finally:
            signal.signal(signal.SIGINT, before)
        wait_for(process, server, 40)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=60)
        stopped = list(server.requests)
        run = finish(study, server)

    assert process.returncode == 130, out
    assert re.search(r"^stopped: SIGINT.*run the same command to continue$", out, re.MULTILINE), out
    assert "Traceback" not in out
    assert len(stopped) < len(whole.requests)
    assert repeats([*stopped, *run.requests]) <= 4 * CONNECTIONS
    check_same_report(run, whole)


@pytest.mark.slow
def test_full_disk_ends_the_run_and_loses_nothing_written(whole: Finished, study: Path) -> None:
    with OpenAIServer(ROWS) as server:
        # a file may grow to this size and no further
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, before[1]))
        try:
            full = start(study, study.with_name("logs"), **server.environment)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        out, _ = full.communicate(timeout=120)
        first = list(server.requests)
        run = finish(study, server)

    assert full.returncode == 1, out
    assert "File too large" in out
    assert re.search(r"^stopped: .* cannot be written: .*disk full", out, re.MULTILINE), out
    check_same_report(run, whole)
    assert repeats([*first, *run.requests]) <= 4 * CONNECTIONS


@pytest.mark.slow
def test_key_revoked_midway_ends_the_run_and_is_never_written(whole: Finished, study: Path) -> None:
    with OpenAIServer(ROWS, latency=0.05) as server:
        server.key = KEY
        process = start(
            study, study.with_name("logs"), XDG_DATA_HOME=str(study.parent), **server.environment
        )
        wait_for(process, server, 60)
        server.key = "another"
        out, _ = process.communicate(timeout=60)
        refused, first = server.refused_keys, list(server.requests)
        written = {p: holds(p, KEY) for p in study.parent.rglob("*") if p.is_file()}
        server.key = KEY
        run = finish(study, server)

    assert process.returncode == 1, out
    assert re.search(r"^stopped: openrouter/.*the key is refused.*401", out, re.MULTILINE), out
    # three tell that it is no chance; as many again of each model may be under way
    assert refused <= 3 + 2 * CONNECTIONS
    assert KEY not in out
    assert {".eval", ".gz"} <= {p.suffix for p in written}, "no log or no trace of Inspect's"
    assert not [path for path, found in written.items() if found]
    assert repeats([*first, *run.requests]) <= 4 * CONNECTIONS
    check_same_report(run, whole)


def holds(path: Path, text: str) -> bool:
    """Whether a file holds a text, in the members of a zip and in a compressed trace as well."""
    if path.suffix == ".gz":
        return text.encode() in gzip.decompress(path.read_bytes())
    log = read_eval_log(str(path), resolve_attachments=True) if path.suffix == ".eval" else None
    return text.encode() in path.read_bytes() or bool(log and text in log.model_dump_json())


@pytest.mark.slow
@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize(
    ("faults", "rates"),
    [({"reset": 0.03, "stall": 0.05}, {429: 0.05, 500: 0.02}), ({}, {429: 0.5})],
    ids=["spoilt", "half refused"],
)
def test_report_through_faults_is_that_of_the_undisturbed_run(
    faults: dict[str, float], rates: dict[int, float], whole: Finished, study: Path
) -> None:
    with OpenAIServer(ROWS) as server:
        server.seed, server.rates, server.faults, server.stall = 3, rates, faults, 600
        run = finish(changed(study, "quick.yaml", timeout=3), server)

    assert {r.fault for r in run.requests} - {""} == set(faults), "a fault never came up"
    check_same_report(run, whole)
    assert repeats(run.requests) == 0
    failed = len(run.requests) - len(run.answered)
    assert f", {failed} retries" in run.out


@pytest.mark.slow
@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize(
    ("part", "share", "status", "code"),
    [
        ("test", 1, 400, "context_length_exceeded"),
        ("test", 0.01, 400, "content_filter"),
        ("pool", 0.01, 500, None),
    ],
)
def test_question_without_an_answer_leaves_its_cell_unfinished_and_is_asked_again(
    part: str, share: float, status: int, code: str | None, whole: Finished, study: Path
) -> None:
    questions = sorted(questions_of(part, whole.log_dir))
    broken = questions[: math.ceil(share * len(questions))]
    with OpenAIServer(ROWS) as server:
        server.failing = {(SMALL, question): status for question in broken}
        server.error_code = code
        run = finish(study, server)
        missing = missing_cells(Experiment(read_logs(str(run.log_dir))))
        server.failing = {}
        again = finish(study, server)

    assert run.code == 1, run.said
    name = "zero" if part == "test" else "zero_pool"
    said = rf"✗ {name} +llama-3.1-8b-instruct +{len(broken)} of \d+ questions failed\n"
    said += ".*this question is broken"
    assert re.search(said, run.out), run.out
    assert len(missing) >= 1
    assert again.code == 0, again.said
    assert not repeats([*run.requests, *again.requests])
    assert tables_of(again.log_dir)["missing"].empty
    if part == "test":
        check_same_report(again, whole)


def test_reply_that_a_filter_took_is_unreadable_and_not_asked_again(
    server: OpenAIServer, whole: Finished, tmp_path: Path
) -> None:
    server.filtered = {(SMALL, min(questions_of("test", whole.log_dir)))}
    run = finish(write_study(tmp_path, **ZERO_SHOT), server)
    server.filtered = set()

    assert run.code == 0, run.said
    assert repeats(run.requests) == 0
    (letters,) = [{letter for letter, _ in of.values()} for of in answers(run.log_dir).values()]
    assert "" in letters


@pytest.mark.parametrize(
    ("status", "code", "why"),
    [
        (402, None, "no credit is left"),
        (429, "insufficient_quota", "no credit is left"),
        (404, None, "does not have the model"),
    ],
)
def test_refusal_that_cannot_pass_ends_the_run_and_names_the_model(
    status: int, code: str | None, why: str, server: OpenAIServer, study: Path
) -> None:
    server.broken, server.error_code = {LARGE: status}, code
    run = finish(study, server)
    server.broken, server.error_code = {}, None

    assert run.code == 1
    assert re.search(rf"^stopped: {openrouter(LARGE)}: .*{why}.*this model is", run.out, re.M)
    assert sum(r.model == LARGE for r in run.requests) <= 3 + CONNECTIONS
    logged = [s for f in list_eval_logs(str(run.log_dir)) for s in read_eval_log(f).samples or ()]
    assert len(run.answered) == sum(sample.error is None for sample in logged)  # all that was paid
    assert json.loads((run.log_dir / "summary.json").read_text("utf-8"))["ok"] is False


@pytest.mark.parametrize(
    ("broken", "limits"),
    [(503, {"SILENCE": 2}), (503, {"PROMPTS": 1000, "OUTAGE": 2}), (0, {"SILENCE": 2})],
)
def test_model_that_does_not_answer_ends_the_run_and_the_cause_is_said_before(
    broken: int, limits: Args, server: OpenAIServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = f"Error code: {broken} - this model is" if broken else "the reply has no content"
    monkeypatch.setattr(endpoint, "LONGEST_WAIT", 0.3)
    for name, value in {"SAID_AFTER": 0.5, **limits}.items():
        monkeypatch.setattr(stopping, name, value)
    if broken:
        monkeypatch.setattr(server, "broken", {SMALL: broken})
    else:
        empty = {"index": 0, "message": {"role": "assistant", "content": None}}
        monkeypatch.setattr(server, "latency", 0.3)  # else all tries are used up before `SILENCE`
        monkeypatch.setattr(server, "reshape", lambda content: content.update(choices=[empty]))
    run = finish(write_study(tmp_path, **ZERO_SHOT), server)

    assert run.code == 1
    assert run.out.index(f"still trying: {said}") < run.out.index("stopped:")
    assert re.search(rf"^stopped: \S+: no answer for \d s \({said}", run.out, re.M), run.said


@pytest.mark.parametrize(
    ("listed", "key", "said"),
    [
        ([SMALL, "qwen/qwen-2.5-7b-instruct"], None, "is not among the 2 models"),
        ([SMALL, LARGE], "another", "401"),
    ],
)
def test_model_or_key_that_an_endpoint_does_not_know_is_refused_before_any_call(
    listed: list[str], key: str | None, said: str, study: Path
) -> None:
    with OpenAIServer(ROWS) as server, pytest.MonkeyPatch.context() as patch:
        server.listed = listed
        if key:
            patch.setattr(server, "refuse", lambda call: (401, {"error": {"message": key}}))
        run = finish(study, server)

    assert run.code == 2, run.said
    assert said in run.err
    assert "\n" not in run.err
    assert not run.requests


def test_endpoint_that_is_not_there_is_refused_before_any_call(study: Path) -> None:
    with OpenAIServer(ROWS) as server:
        pass
    run = finish(study, server)

    assert run.code == 2, run.said
    assert re.search(f"(?i)nothing answers at {server.url} .*refused", run.err)


def test_an_unread_label_run_ends_early_others_go_on(server: OpenAIServer, tmp_path: Path) -> None:
    study = write_study(tmp_path, **{**STUDY, "shots": [0, 30], "test_size": 12})
    server.mute = {(SMALL, row["question"]) for row in ROWS}
    run = finish(study, server)
    again = finish(study, server)
    server.mute = set()

    assert run.code == again.code == 1
    pool = [r for r in run.requests if r.model == SMALL and r.shots == 0]
    assert len(pool) <= 12 + stopping.UnreadStop.first + CONNECTIONS
    assert re.search(
        rf"^! zero_pool of {openrouter(SMALL)}: of the first 24 repl.*empty", run.out, re.M
    )
    assert "gold_k30         qwen" in run.out
    assert "w2s_72b_k30      qwen" in run.out
    assert "w2s_8b_k30       qwen" not in run.out
    assert "came to" in run.out
    summary = json.loads((run.log_dir / "summary.json").read_text("utf-8"))
    assert {c["status"] for c in summary["cells"] if c["model"] == openrouter(LARGE)} == {"success"}
    assert not again.requests


def test_too_few_readable_labels_cost_two_rounds_and_no_bill_is_lost(tmp_path: Path) -> None:
    study = write_study(tmp_path, **{**STUDY, "models": [openrouter(SMALL)], "shots": [0, 5, 30]})
    with OpenAIServer(ROWS, unreadable=0.5) as server:
        run = finish(study, server)

    assert run.code == 1, run.said
    pool = {r.prompt.question for r in run.requests if not r.shots}
    assert 24 + 38 < len(pool) < 24 + 38 + 60
    assert "gold_k30" in run.out
    assert "w2s_8b_k05" in run.out
    assert re.search(r"^! \d+ questions have readable labels of all weak models", run.out, re.M)
    assert "came to" in run.out
    assert (run.log_dir / "summary.json").exists()


@pytest.mark.slow
def test_torn_files_stop_neither_the_next_run_nor_the_report(
    whole: Finished, server: OpenAIServer, tmp_path: Path
) -> None:
    log_dir = tmp_path / "logs"
    shutil.copytree(whole.log_dir, log_dir)
    victim = next(log_dir.glob("*_zero_*.eval"))
    victim.write_bytes(victim.read_bytes()[: victim.stat().st_size // 2])
    (log_dir / "eval-set.json").write_text('{"eval_set_id": ')
    (log_dir / "logs.json").write_text("")
    Results(read_logs(str(log_dir)))
    run = finish(whole.study, server, log_dir)

    assert f"{victim.name} is damaged" in run.out
    assert len(run.requests) == SMALL_STUDY["test_size"]
    check_same_report(run, whole)


@pytest.mark.parametrize(
    ("key", "value"), [("test_size", 23), ("seed", 43), ("style", "transcript"), ("max_tokens", 5)]
)
def test_study_that_defines_its_cells_otherwise_is_refused_before_any_call(
    key: str, value: object, whole: Finished, server: OpenAIServer
) -> None:
    run = finish(changed(whole.study, f"{key}.yaml", **{key: value}), server, whole.log_dir)

    assert run.code == 2, run.said
    assert not run.requests
    assert re.search(rf"its (generate\.)?{key} is ", run.err)
    assert "use another --log-dir" in run.err
