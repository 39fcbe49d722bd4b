"""One run per directory: a lock that says who holds it.

On a disk it is a file lock, which ends with its process, however that ends. A store such as S3 has
no locks: there it is a small object that its owner writes again and again, and that another run
takes over when it has not changed for a while.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fsspec
from filelock import FileLock, Timeout

from w2s_icl.errors import W2SError, first_line
from w2s_icl.solvers.label_logs import is_remote

LOCK, OWNER = ".w2s-lock", ".w2s-run.json"
"""Names of the lock and of the file that says who holds it."""

RENEWED, SILENT = 10.0, 35.0
"""Seconds between two renewals of a store's object, and without one after which it is stale."""


TAKEN_OVER = "! {}: the run before did not end in order; this one continues it"


class HeldError(W2SError):
    """Another run writes to the directory; the text says which."""


@contextmanager
def held(folder: str, say: Callable[[str], None] = lambda line: None) -> Iterator[None]:
    """Hold the lock of a log directory.

    Args:
        folder: Local path, or any address that Inspect can write to.
        say: Told where the lock of a run that is gone is taken over.

    Raises:
        HeldError: Another run holds it.
    """
    with (_leased if is_remote(folder) else _locked)(folder.removeprefix("file://"), say):
        yield


def refuse_if_held(folder: str) -> None:
    """Stop where a run holds the lock of a directory; raises as `held`."""
    with held(folder):
        pass


def part_folder(log_dir: str, part: int) -> str:
    """Where the logs of a part lie, when many machines share a study."""
    return f"{log_dir.rstrip('/')}/part-{part:02d}"


@contextmanager
def held_whole(log_dir: str, say: Callable[[str], None]) -> Iterator[None]:
    """As `held`; raises HeldError also while a part is being run: both would ask the same."""
    with held(log_dir, say):
        files, root = fsspec.core.url_to_fs(log_dir)
        for path in files.glob(f"{root.rstrip('/')}/part-*/{OWNER}"):
            refuse_if_held(part_folder(log_dir, int(path.split("/")[-2].removeprefix("part-"))))
        yield


def _owner() -> dict[str, Any]:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return {"host": socket.gethostname(), "pid": os.getpid(), "since": now}


def _held_by(folder: str, text: str) -> HeldError:
    try:
        owner = json.loads(text)
        who = f"process {owner['pid']} on {owner['host']}, since {owner['since']}"
    except (ValueError, KeyError, TypeError):
        who = "another process"
    return HeldError(f"{folder} is being written by {who}; wait for it or stop it, then run again")


@contextmanager
def _locked(folder: str, say: Callable[[str], None]) -> Iterator[None]:
    path = Path(folder)
    owner = path / OWNER
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path / LOCK, timeout=0)
        lock.acquire()
    except Timeout:
        raise _held_by(folder, owner.read_text("utf-8") if owner.exists() else "") from None
    except OSError as error:
        raise W2SError(f"{folder} cannot be written: {error.strerror or error}") from None
    try:
        if owner.exists():
            say(TAKEN_OVER.format(folder))
        owner.write_text(json.dumps(_owner()), "utf-8")
        yield
    finally:
        owner.unlink(missing_ok=True)
        lock.release()


@contextmanager
def _leased(folder: str, say: Callable[[str], None]) -> Iterator[None]:
    files, root = fsspec.core.url_to_fs(folder)
    path, mine = f"{root.rstrip('/')}/{OWNER}", _owner()
    if before := _read(files, path):
        if not _gone(files, path, before):
            raise _held_by(folder, before)
        say(TAKEN_OVER.format(folder))
        files.rm_file(path)
    try:
        files.pipe_file(path, json.dumps(mine).encode(), mode="create")
    except FileExistsError:  # another run was faster
        raise _held_by(folder, _read(files, path)) from None
    except OSError as error:
        raise W2SError(f"{folder} cannot be written: {first_line(error)}") from None
    ended = threading.Event()

    def renew() -> None:
        times = 0
        while not ended.wait(RENEWED):
            times += 1
            with suppress(Exception):  # the store may be away for a moment
                files.pipe_file(path, json.dumps({**mine, "renewed": times}).encode())

    renewing = threading.Thread(target=renew, daemon=True)
    renewing.start()
    try:
        yield
    finally:
        ended.set()
        renewing.join(RENEWED)
        files.rm_file(path)


def _read(files: Any, path: str) -> str:
    files.invalidate_cache()
    try:
        return str(files.cat_file(path).decode())
    except FileNotFoundError:
        return ""


def _gone(files: Any, path: str, before: str) -> bool:
    """Whether the owner has ended: on this machine its process, elsewhere its renewals."""
    owner = json.loads(before)
    if owner["host"] == socket.gethostname() and not _alive(owner["pid"]):
        return True
    end = time.monotonic() + SILENT
    while time.monotonic() < end:
        time.sleep(1)
        if _read(files, path) != before:
            return False
    return True


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
