"""Console scripts in processes of their own that find everything imported already.

A process of `w2s run` spends three to four seconds of processor time on imports before its first
line of ours. Here one process per test session imports once, and every command is a fork of it:
a process with its own memory, environment, signals, session and exit code, as if newly started.
What a fork cannot show (what an interpreter does with signals that its parent ignored, say, or
what is imported when) has to be tested with a process that is started in full.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import io
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

SCRIPTS = ("w2s", "inspect")

IMPORTED = (
    "inspect_ai.model._providers.openrouter",
    "w2s_icl._registry",
    "w2s_icl.analysis.stats.power",
    "w2s_icl.analysis.report",
    "w2s_icl.evals.sweep.run",
)
"""What the scripts import late."""


# --- the side of the tests ------------------------------------------------------------------------


_one_at_a_time = threading.Lock()


@cache
def _forks() -> Path:
    """Socket of the process that forks; it ends with the process that asked for it."""
    folder = Path(tempfile.mkdtemp(prefix="warm"))
    path = folder / "socket"
    process = subprocess.Popen(
        [sys.executable, __file__, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={k: v for k, v in os.environ.items() if not k.startswith(("INSPECT_", "W2S_"))},
    )
    atexit.register(_end, process, folder)
    assert process.stdout
    assert process.stdout.readline() == b"ready\n", "the process that forks has not come up"
    return path


def _end(process: subprocess.Popen[bytes], folder: Path) -> None:
    process.communicate()  # closes its input
    shutil.rmtree(folder)


def run(
    script: str,
    *arguments: str,
    cwd: Path | str | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float = 200,
) -> subprocess.CompletedProcess[str]:
    """Run a console script to its end, as `subprocess.run` with `capture_output` does.

    Args:
        script: Of `SCRIPTS`.
        arguments: After its name.
        cwd: Its working directory; by default this process's.
        env: Its whole environment; by default this process's.
        timeout: Seconds, after which it is killed and `subprocess.TimeoutExpired` raised.
    """
    command = [script, *arguments]
    request = {
        "command": command,
        "cwd": str(cwd or Path.cwd()),
        "env": dict(os.environ if env is None else env),
    }
    with (
        tempfile.TemporaryFile() as out,
        tempfile.TemporaryFile() as err,
        socket.socket(socket.AF_UNIX) as asked,
    ):
        with _one_at_a_time:
            asked.connect(str(_forks()))
        socket.send_fds(asked, [b"!"], [out.fileno(), err.fileno()])
        answers = asked.makefile("rw", encoding="utf-8")
        answers.write(json.dumps(request) + "\n")
        answers.flush()
        child = int(answers.readline())
        asked.settimeout(timeout)
        try:
            code = int(answers.readline())
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            raise subprocess.TimeoutExpired(command, timeout, _read(out), _read(err)) from None
        return subprocess.CompletedProcess(command, code, _read(out), _read(err))


def _read(file: Any) -> str:
    file.seek(0)
    text: str = file.read().decode("utf-8")
    return text


# --- the side of the forks ------------------------------------------------------------------------


def _next_command(path: str) -> Callable[[], object]:
    """Serve until there is a command, and return what it calls: in a process of its own."""
    every = entry_points(group="console_scripts")
    scripts = {script.name: script.load() for script in every if script.name in SCRIPTS}
    for name in IMPORTED:
        import_module(name)
    import_module("inspect_ai.model").get_model_info("openai/gpt-4o")  # reads the table of models
    gc.collect()
    gc.freeze()  # what is shared is left alone
    assert threading.active_count() == 1, "a fork takes no thread along"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        os.write(1, b"ready\n")
        others: list[int] = []
        while True:
            ready, _, _ = select.select([listening, 0], [], [])
            if 0 in ready:
                os._exit(0)  # the tests are over
            asked, _ = listening.accept()
            waiting = os.fork()
            if waiting == 0:
                break
            asked.close()
            others = [
                other for other in [*others, waiting] if os.waitpid(other, os.WNOHANG)[0] == 0
            ]
    _, files, _, _ = socket.recv_fds(asked, 1, 2)
    answers = asked.makefile("rw", encoding="utf-8")
    request = json.loads(answers.readline())
    child = os.fork()
    if child:
        answers.write(f"{child}\n")
        answers.flush()
        _, status = os.waitpid(child, 0)
        with contextlib.suppress(BrokenPipeError):
            answers.write(f"{os.waitstatus_to_exitcode(status)}\n")
            answers.flush()
        os._exit(0)
    answers.close()
    asked.close()
    _become(request, files)
    return scripts[request["command"][0]]


def _become(request: Mapping[str, Any], files: Sequence[int]) -> None:
    """Take on all that a process is given at its start."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for file, place in zip([os.open(os.devnull, os.O_RDONLY), *files], range(3), strict=True):
        os.dup2(file, place)
        os.close(file)
    for stream in (sys.stdout, sys.stderr):
        assert isinstance(stream, io.TextIOWrapper)
        stream.reconfigure(write_through=True)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.argv = request["command"]


if __name__ == "__main__":
    sys.exit(_next_command(sys.argv[1])())
