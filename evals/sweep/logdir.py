"""A log directory: the logs that count in it, torn ones, those of another experiment, its lock."""

import logging
import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import fsspec
from filelock import FileLock, Timeout
from inspect_ai import Task
from inspect_ai.log import EvalLog, list_eval_logs, read_eval_log, read_eval_log_sample_summaries

from w2s_icl import record
from w2s_icl.errors import W2SError, first_line
from w2s_icl.evals.cells import experiment_of, shown_by
from w2s_icl.evals.questions import Split
from w2s_icl.evals.study import Study
from w2s_icl.evals.sweep.stopping import stopped_unread
from w2s_icl.evals.truthfulqa import call_settings
from w2s_icl.solvers.label_logs import is_remote, log_headers

PATIENCE = 10.0  # seconds that a store may take to list a directory


def our_logs(log_dir: str) -> list[EvalLog]:
    """Headers of this suite's logs in a directory, the last written last."""
    return list(filter(record.is_ours, log_headers(log_dir)))


def finished_cells(log_dir: str) -> set[record.CellKey]:
    """Cells that have a complete log."""
    return {record.key_of(log) for log in our_logs(log_dir) if record.is_complete(log)}


def answers_all(log: EvalLog, task: Task) -> bool:
    """Whether a log is complete and was to ask all questions of a task, in each epoch."""
    asked = log.results.total_samples if log.results else 0
    return record.is_complete(log) and asked >= len(task.dataset) * (task.epochs or 1)


def log_of(task: Task, logs: Iterable[EvalLog]) -> EvalLog | None:
    """Of a cell's logs the one that counts: complete, or ended as unreadable, or written last.

    `task` says what the cell now shows and asks.
    """
    now = shown_by(task).prompt_sha256
    shown = [log for log in logs if record.Shown.from_log(log).prompt_sha256 == now]
    same = [log for log in shown if (log.eval.config.epochs or 1) <= (task.epochs or 1)]
    complete = sorted((log for log in same if answers_all(log, task)), key=record.precedence)
    ended = [log for log in same if stopped_unread(log)]
    return next(iter(complete or ended[::-1] or same[::-1]), None)


def refuse_unreachable(log_dir: str) -> None:
    """Stop where a log directory is a file, or its store does not answer; raises W2SError."""
    if Path(log_dir.removeprefix("file://")).is_file():
        raise W2SError(f"--log-dir must be a folder, {log_dir} is a file")
    problems = [f"no reply within {PATIENCE:g} s"]

    def reach() -> None:
        try:
            with suppress(FileNotFoundError):
                files, root = fsspec.core.url_to_fs(log_dir)
                files.ls(root)
            problems.clear()
        except Exception as error:  # each store has its own
            problems[0] = first_line(error)

    if is_remote(log_dir):
        # a store that is not there is tried for minutes by its client
        thread = threading.Thread(target=reach, daemon=True)
        thread.start()
        thread.join(PATIENCE)
        for problem in problems:
            raise W2SError(f"--log-dir {log_dir} cannot be reached: {problem}")


@contextmanager
def on_its_disk(log_dir: str) -> Iterator[None]:
    """Keep Inspect's temporary files on the disk of a log directory: no other disk need have room.

    Its trace goes there where the home directory has no room; else nothing is lost by that.
    """
    if is_remote(log_dir):
        yield
        return
    before, logging.raiseExceptions = (tempfile.tempdir, logging.raiseExceptions), False
    place = Path(log_dir.removeprefix("file://"))
    try:
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".tmp-", dir=place) as folder:
            try:
                home = os.environ.get("XDG_DATA_HOME") or Path.home()
                with tempfile.TemporaryFile(dir=home) as file:
                    file.write(bytes(1 << 20))  # as much as the trace may take
            except OSError:
                os.environ["XDG_DATA_HOME"] = folder
            tempfile.tempdir = folder
            yield
    finally:
        tempfile.tempdir, logging.raiseExceptions = before


def lay_aside_torn(log_dir: str) -> list[str]:
    """Rename damaged logs, at which Inspect would stop; lines that say so."""
    lines = []
    for info in () if is_remote(log_dir) else list_eval_logs(log_dir):  # a store tears nothing
        try:
            log = read_eval_log(info, header_only=True)
            read_eval_log_sample_summaries(info)
            if not record.is_ours(log) and str(log.eval.task_registry_name).startswith("w2s_icl/"):
                raise ValueError  # no metadata: Inspect takes it for its cell, and asks nothing
        except OSError:
            raise
        except Exception:  # a torn zip raises whatever its first bad byte leads to
            path = Path(info.name.removeprefix("file://"))
            path.rename(f"{path}.torn")
            lines.append(f"! {path.name} is damaged and kept as {path.name}.torn")
    return lines


def refuse_other_experiments(study: Study, split: Split, log_dir: str) -> None:
    """Stop before any call when a log of this suite is of another experiment; raises W2SError."""
    mine = experiment_of(study, split).identity
    for log in our_logs(log_dir):
        cell = record.CellRecord.from_log(log)
        # these make other cells to Inspect, which would be run beside the old ones
        cot: Literal["bare", "none"] = "bare" if "cot=bare" in cell.prompt else "none"
        config = call_settings(cot, study.read, study.max_tokens, study.generate)
        wanted = {**mine, "read": study.read}
        theirs = {**record.ExperimentRecord.from_log(log).identity, "read": cell.read}
        # a call's own seed has another name than the experiment's
        wanted |= {f"generate.{name}": getattr(config, name) for name in record.SETTINGS}
        theirs |= {f"generate.{name}": value for name, value in record.settings_of(log).items()}
        if cell.split == "test":
            wanted["permutations"], theirs["permutations"] = study.permutations, cell.permutations
        for key in (key for key, value in wanted.items() if theirs[key] != value):
            cause = f"its {key} is {theirs[key]!r}, this study's is {wanted[key]!r}"
            way_out = "use another --log-dir, or move the old logs away"
            said = f"{cause}. Their numbers must not be mixed: {way_out}"
            raise W2SError(f"{log_dir} holds {record.file_of(log)} of another experiment: {said}")


def refuse_other_demonstrations(tasks: Mapping[record.CellKey, Task], log_dir: str) -> None:
    """Stop when a finished cell has shown other demonstrations than now; raises W2SError."""
    for log in our_logs(log_dir):
        task = tasks.get(record.key_of(log)) if record.is_complete(log) else None
        shown = record.Shown.from_log(log).prompt_sha256
        if task and shown_by(task).prompt_sha256 != shown:
            raise W2SError(
                f"{log_dir} holds {record.file_of(log)}, a finished cell that showed other "
                "demonstrations than this study shows in the same cell: the weak labels were made "
                "anew, or a model that was added left a question unread that was shown before. "
                "Use another --log-dir, or move that log away to run the cell again"
            )


# Name of the file that says who holds the lock of a directory. On a disk the lock is a file lock,
# which ends with its process, however that ends. A store such as S3 has no locks: there the owner
# writes this file every `RENEWED` seconds, and another run takes over when it stays for `SILENT`
OWNER = ".w2s-run"
RENEWED, SILENT = 10.0, 35.0


class HeldError(W2SError):
    """Another run writes to the directory; the text says which."""


@contextmanager
def held(folder: str, say: Callable[[str], None] = lambda line: None) -> Iterator[None]:
    """Hold the lock of a log directory, local or on a store; raises HeldError if another run does.

    `say` is told where the lock of a run that is gone is taken over.
    """
    files, root = fsspec.core.url_to_fs(folder)
    path = f"{root.rstrip('/')}/{OWNER}"
    now = datetime.now(UTC).isoformat(timespec="seconds")
    owner = f"process {os.getpid()} on {socket.gethostname()}, since {now}"
    with ExitStack() as holding:
        try:
            if not is_remote(folder):
                with suppress(FileExistsError):  # a file of that name is said below
                    Path(root).mkdir(parents=True)
                holding.enter_context(FileLock(f"{root}/.w2s-lock", timeout=0))
            if before := _read(files, path):
                if is_remote(folder) and not _stays(files, path, before):
                    raise FileExistsError
                say(f"! {folder}: the run before did not end in order; this one continues it")
                files.rm_file(path)
            files.pipe_file(path, owner.encode(), mode="create")
        except (Timeout, FileExistsError):
            who = _read(files, path).split(";")[0] or "another process"
            said = f"{folder} is being written by {who}; wait for it or stop it, then run again"
            raise HeldError(said) from None
        except OSError as error:
            said = error.strerror or first_line(error)
            raise W2SError(f"{folder} cannot be written: {said}") from None
        holding.callback(files.rm_file, path)
        if is_remote(folder):
            ended = threading.Event()
            renewer = threading.Thread(target=_renew, args=(files, path, owner, ended), daemon=True)
            renewer.start()
            holding.callback(renewer.join, RENEWED)
            holding.callback(ended.set)  # which comes first, being the last
        yield


@contextmanager
def held_whole(log_dir: str, say: Callable[[str], None]) -> Iterator[None]:
    """As `held`; raises HeldError also while a part is being run: both would ask the same."""
    with held(log_dir, say):
        files, root = fsspec.core.url_to_fs(log_dir)
        for path in files.glob(f"{root.rstrip('/')}/part-*/{OWNER}"):
            with held(f"{log_dir.rstrip('/')}/{path.split('/')[-2]}"):
                pass
        yield


def _renew(files: Any, path: str, owner: str, ended: threading.Event) -> None:
    while not ended.wait(RENEWED):
        with suppress(Exception):  # the store may be away for a moment
            files.pipe_file(path, f"{owner}; renewed at {time.time()}".encode())


def _read(files: Any, path: str) -> str:
    files.invalidate_cache()
    try:
        return str(files.cat_file(path).decode())
    except FileNotFoundError:
        return ""


def _stays(files: Any, path: str, before: str) -> bool:
    """Whether an owner's file is not written any more."""
    end = time.monotonic() + SILENT
    while (stays := _read(files, path) == before) and time.monotonic() < end:
        time.sleep(1)
    return stays
