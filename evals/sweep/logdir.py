"""What a log directory holds: torn logs, logs that lack answers, logs of another experiment."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import fsspec
from inspect_ai import Task
from inspect_ai.log import (
    EvalError,
    EvalLog,
    WriteConflictError,
    list_eval_logs,
    read_eval_log,
    read_eval_log_sample_summaries,
    write_eval_log,
)

from w2s_icl.errors import W2SError, first_line
from w2s_icl.evals.cells import experiment_of
from w2s_icl.evals.questions import Split
from w2s_icl.evals.study import Study
from w2s_icl.evals.sweep.unread import stopped_unread
from w2s_icl.evals.truthfulqa import call_settings
from w2s_icl.record import (
    SETTINGS,
    CellKey,
    CellRecord,
    ExperimentRecord,
    Shown,
    file_of,
    is_complete,
    is_ours,
    key_of,
    precedence,
    settings_of,
)
from w2s_icl.solvers.few_shot import Cot
from w2s_icl.solvers.label_logs import is_remote, log_headers

TORN = ".torn"
"""What is added to the name of a log that cannot be read: Inspect stops at such a file."""

ROOM = 1 << 20
"""Bytes that Inspect's trace may take."""

PATIENCE = 10.0
"""Seconds that a store may take to list a directory."""


def finished_cells(log_dir: str) -> set[CellKey]:
    """Cells that have a complete log."""
    return {key_of(log) for log in log_headers(log_dir) if is_ours(log) and is_complete(log)}


def answers_all(log: EvalLog, calls: int) -> bool:
    """Whether a log is complete and was to ask at least so many questions, each epoch counted."""
    return is_complete(log) and log.results is not None and log.results.total_samples >= calls


def lacks_answers(log: EvalLog) -> bool:
    """Whether a log says success though questions failed in it: Inspect would ask nothing more."""
    return (
        log.status == "success"
        and not log.invalidated
        and not is_complete(log)
        and not stopped_unread(log)
    )


def calls_of(task: Task) -> int:
    """Questions that a task asks, each epoch counted."""
    return len(task.dataset) * (task.epochs or 1)


def log_of(key: CellKey, task: Task, logs: Iterable[EvalLog]) -> EvalLog | None:
    """The log of a cell that counts: a complete one, one that was ended as unreadable, or the last.

    Args:
        key: The cell.
        task: Its task, with what it now shows and asks.
        logs: Headers of this suite's logs, the last written last.
    """
    shown = Shown.from_metadata(task.metadata or {}).prompt_sha256
    same = [
        log
        for log in logs
        if key_of(log) == key
        and Shown.from_log(log).prompt_sha256 == shown
        and (log.eval.config.epochs or 1) == (task.epochs or 1)
    ]
    complete = sorted((log for log in same if answers_all(log, calls_of(task))), key=precedence)
    ended = [log for log in same if stopped_unread(log)]
    return next(iter(complete or ended[::-1] or same[::-1]), None)


# --- reached, whole and complete ------------------------------------------------------------------


def refuse_unreachable(log_dir: str) -> None:
    """Stop where the store of a log directory does not answer; raises W2SError."""
    outcome: list[Exception | None] = []

    def reach() -> None:
        try:
            files, root = fsspec.core.url_to_fs(log_dir)
            files.ls(root)
            outcome.append(None)
        except FileNotFoundError:
            outcome.append(None)
        except Exception as error:  # each store has its own
            outcome.append(error)

    if is_remote(log_dir):
        # a store that is not there is tried for minutes by its client
        thread = threading.Thread(target=reach, daemon=True)
        thread.start()
        thread.join(PATIENCE)
        error = outcome[0] if outcome else TimeoutError(f"no reply within {PATIENCE:g} s")
        if error:
            raise W2SError(f"--log-dir {log_dir} cannot be reached: {first_line(error)}")


@contextmanager
def on_its_disk(log_dir: str) -> Iterator[None]:
    """Keep Inspect's temporary files on the disk of a log directory: no other disk need have room.

    Its trace goes there where the home directory has no room; else nothing is lost by that.
    """
    before, logging.raiseExceptions = (tempfile.tempdir, logging.raiseExceptions), False
    try:
        if is_remote(log_dir):
            yield
        else:
            place = Path(log_dir.removeprefix("file://"))
            place.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".tmp-", dir=place) as folder:
                try:
                    home = os.environ.get("XDG_DATA_HOME") or Path.home()
                    with tempfile.TemporaryFile(dir=home) as file:
                        file.write(bytes(ROOM))
                except OSError:
                    os.environ["XDG_DATA_HOME"] = folder
                tempfile.tempdir = folder
                yield
    finally:
        tempfile.tempdir, logging.raiseExceptions = before


def repair(log_dir: str) -> list[str]:
    """Rename torn logs, and have the questions asked again that a log of success lacks.

    Nothing in a log can be read that a full disk or a crash has torn. Inspect would ask nothing
    more of a log that says success though questions failed in it, as it does where failures are
    tolerated: it gets the status "error". Inspect continues from the last written, so the fullest
    log is written last.

    Returns:
        Lines that say what was done.
    """
    lines = []
    for info in () if is_remote(log_dir) else list_eval_logs(log_dir):  # a store tears nothing
        try:
            log = read_eval_log(info, header_only=True)
            read_eval_log_sample_summaries(info)
            # Inspect would take it for its cell's, and ask nothing
            if not is_ours(log) and str(log.eval.task_registry_name).startswith("w2s_icl/"):
                raise ValueError("a log of our task without the metadata that say of which cell")
        except OSError:
            raise
        except Exception:  # a torn zip raises whatever its first bad byte leads to
            path = Path(info.name.removeprefix("file://"))
            path.rename(f"{path}{TORN}")
            lines.append(f"{path.name} was torn and is kept as {path.name}{TORN}")
    cells: dict[CellKey, list[EvalLog]] = defaultdict(list)
    for log in filter(is_ours, log_headers(log_dir)):
        cells[key_of(log)].append(log)
    for log in [log for logs in cells.values() for log in unmarked(logs)]:
        _mark(log.location)
        lines.append(f"questions failed in {file_of(log)}; they are asked again")
    return lines


def unmarked(logs: Sequence[EvalLog]) -> list[EvalLog]:
    """Logs of one cell that Inspect would take for complete though they lack answers.

    Returns:
        The fullest last; none that another log of the cell makes up for.
    """

    def made_up(log: EvalLog) -> bool:
        calls = log.results.total_samples if log.results else log.eval.dataset.samples or 0
        return any(answers_all(other, calls) for other in logs)

    incomplete = [log for log in logs if lacks_answers(log) and not made_up(log)]
    return sorted(incomplete, key=precedence, reverse=True)


def _mark(location: str) -> None:
    log = read_eval_log(location, header_only=True)
    calls = (log.eval.dataset.samples or 0) * (log.eval.config.epochs or 1)
    answered = log.results.completed_samples if log.results else 0
    text = f"{calls - answered} of {calls} questions failed"
    log.status, log.error = "error", EvalError(message=text, traceback="", traceback_ansi="")
    if is_remote(location):
        with suppress(WriteConflictError):  # somebody else was faster
            write_eval_log(log, location, if_match_etag=log.etag, header_only=True)
        return
    # Inspect writes into the file itself, and a full disk or a kill would tear it
    target = Path(location.removeprefix("file://"))
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        copy = Path(shutil.copy(target, folder))
        write_eval_log(log, copy, header_only=True)
        copy.replace(target)


# --- what must not mix ----------------------------------------------------------------------------


def refuse_other_experiments(study: Study, split: Split, log_dir: str) -> None:
    """Stop before any call when the directory holds this suite's logs of another experiment.

    Raises:
        W2SError: Naming the log, what differs, and the way out.
    """
    mine = experiment_of(study, split).identity
    for log in filter(is_ours, log_headers(log_dir)):
        cell = CellRecord.from_log(log)
        theirs: dict[str, Any] = ExperimentRecord.from_log(log).identity
        # these make other cells to Inspect, which would be run beside the old ones
        cot: Cot = "bare" if "cot=bare" in cell.prompt else "none"
        config = call_settings(cot, study.read, study.max_tokens, study.generate)
        # a call's own seed has another name than the experiment's
        wanted = mine | {f"generate.{k}": getattr(config, k) for k in SETTINGS}
        theirs |= {f"generate.{k}": value for k, value in settings_of(log).items()}
        wanted["read"], theirs["read"] = study.read, cell.read
        if cell.split == "test":
            wanted["permutations"] = study.permutations
            theirs["permutations"] = cell.permutations
        for key, value in wanted.items():
            if theirs[key] != value:
                raise W2SError(
                    f"{log_dir} holds {file_of(log)} of another experiment: its {key} is "
                    f"{theirs[key]!r}, this study's is {value!r}. Their numbers must not be "
                    "mixed: use another --log-dir, or move the old logs away"
                )


def refuse_other_demonstrations(tasks: Mapping[CellKey, Task], log_dir: str) -> None:
    """Stop when a finished cell has shown other demonstrations than it would now.

    Raises:
        W2SError: Naming the log and the way out.
    """
    for log in filter(is_ours, log_headers(log_dir)):
        task = tasks.get(key_of(log)) if is_complete(log) else None
        if task is None:
            continue
        if (
            Shown.from_metadata(task.metadata or {}).prompt_sha256
            != Shown.from_log(log).prompt_sha256
        ):
            raise W2SError(
                f"{log_dir} holds {file_of(log)}, a finished cell that showed other "
                "demonstrations than this study shows in the same cell: the weak labels were made "
                "anew, or a model that was added left a question unread that was shown before. "
                "Use another --log-dir, or move that log away to run the cell again"
            )
