"""Studies that are killed, stopped, refused or lied to, over real HTTP."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd
import pytest
from inspect_ai.log import list_eval_logs, read_eval_log

from tests.openai_server import LARGE, SMALL, OpenAIServer, Request
from tests.test_http import (
    GOLD,
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
from w2s_icl.analysis.report import TABLES, Results
from w2s_icl.evals.run import LOG_BUFFER

KILLS = int(os.environ.get("W2S_KILLS", "2"))
"""How many runs are killed at a random moment; twenty take about seven minutes."""

CONNECTIONS = 6
STUDY = {**SMALL_STUDY, "max_connections": CONNECTIONS}
CELLS_AT_ONCE = 10

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
            wait_until(lambda: len(server.requests) > after or process.poll() is not None)
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
    print(f"repeated {repeats(every)} of {len(whole.answered)}, bound {bound}, {out[-80:]!r}")
    assert repeats(every) <= bound
