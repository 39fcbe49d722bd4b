"""Reading many logs at once.

Inspect connects anew for every log that it is asked for by itself; where logs are on S3 that takes
longer than reading them.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import fsspec
from inspect_ai.log import (
    EvalLog,
    EvalLogInfo,
    EvalSampleSummary,
    read_eval_log,
    read_eval_log_async,
    read_eval_log_sample_summaries,
    read_eval_log_sample_summaries_async,
)

T = TypeVar("T")

AT_ONCE = 16
"""Logs that are read at the same time."""

KEPT = 8192
"""Headers that are kept; running logs change all the time."""

NETWORK = ("aiohttp", "azure", "botocore", "gcsfs", "google")
"""Packages whose errors say that a store was not reached, not that a log is broken."""


class Stamp(NamedTuple):
    """A log as a listing shows it; a log that is written again has another."""

    name: str
    mtime: float | None
    size: int


_headers: dict[Stamp, EvalLog | None] = {}


def is_remote(address: str) -> bool:
    """Whether logs are reached through a network."""
    return "://" in address and not address.startswith("file://")


def local_folder(log_dir: str) -> str:
    """Path of a log directory on this machine, "" where it is reached through a network."""
    return "" if is_remote(log_dir) else log_dir.removeprefix("file://")


def stamp_of(info: EvalLogInfo) -> Stamp:
    """What tells a log from an earlier state of it."""
    return Stamp(info.name, info.mtime, info.size)


def headers(stamps: Iterable[Stamp]) -> list[EvalLog | None]:
    """Headers of logs, None for a file that cannot be read; unchanged files are read once."""
    stamps = list(stamps)
    if len(_headers) + len(stamps) > KEPT:
        _headers.clear()
    new = [stamp for stamp in dict.fromkeys(stamps) if stamp not in _headers]
    names = [stamp.name for stamp in new]
    read = partial(read_eval_log, header_only=True)
    read_async = partial(read_eval_log_async, header_only=True)
    for stamp, (_, header) in zip(new, _each(names, read, read_async), strict=True):
        _headers[stamp] = header
    return [_headers[stamp] for stamp in stamps]


def summaries(names: Sequence[str]) -> Iterator[tuple[str, list[EvalSampleSummary]]]:
    """Logs with the summaries of their samples, none where they cannot be read; some at a time."""
    each = _each(names, read_eval_log_sample_summaries, read_eval_log_sample_summaries_async)
    for name, found in each:
        yield name, found or []


def _each(
    names: Sequence[str], read: Callable[[str], T], read_async: Callable[[str], Awaitable[T]]
) -> Iterator[tuple[str, T | None]]:
    """What is read of each log; None where that fails, in whatever way a broken log makes it."""
    for start in range(0, len(names), AT_ONCE):
        some = names[start : start + AT_ONCE]
        if len(some) > 1 and is_remote(some[0]):
            with ThreadPoolExecutor(1) as thread:  # which has no event loop yet
                found = thread.submit(asyncio.run, _gathered(some, read_async)).result()
            yield from zip(some, found, strict=True)
            continue
        for name in some:
            try:
                yield name, read(name)
            except Exception as error:
                _refuse_unreached(name, error)
                yield name, None


def _refuse_unreached(name: str, error: Exception) -> None:
    """A log that cannot be read is passed over, but one that cannot be reached may be whole.

    Raises:
        ConnectionError: The store does not answer.
    """
    if is_remote(name) and not isinstance(error, FileNotFoundError):
        kind = type(error).__module__.partition(".")[0]
        if isinstance(error, OSError) or kind in NETWORK:
            said = (str(error).splitlines() or [type(error).__name__])[0]
            raise ConnectionError(f"{name} cannot be read: {said}") from error


async def _gathered(names: Sequence[str], read: Callable[[str], Awaitable[T]]) -> list[T | None]:
    async def one(name: str) -> T | None:
        try:
            return await read(name)
        except Exception as error:
            _refuse_unreached(name, error)
            return None

    async with _one_connection():
        return await asyncio.gather(*map(one, names))


def _one_connection() -> Any:
    try:
        from inspect_ai._util.asyncfiles import AsyncFilesystem  # noqa: TID251 - only makes it fast
    except ImportError:
        return nullcontext()
    return AsyncFilesystem()


@contextmanager
def local_copy(name: str) -> Iterator[str]:
    """A log as a file on this machine, for reading it sample by sample."""
    if not is_remote(name):
        yield name
        return
    files, path = fsspec.core.url_to_fs(name)
    with tempfile.TemporaryDirectory() as folder:
        copy = str(Path(folder) / path.rsplit("/", 1)[-1])
        files.get_file(path, copy)
        yield copy
