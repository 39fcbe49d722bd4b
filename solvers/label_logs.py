"""Reading answers in Inspect logs: weak labels have no store of their own.

A label run is chosen by what it is, never by its age: task, model, split, dataset, prompt version
and the settings of its calls.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from string import ascii_uppercase
from typing import Any, NamedTuple, TypeVar

import fsspec
from inspect_ai.log import (
    EvalLog,
    EvalSample,
    EvalSampleSummary,
    list_eval_logs,
    read_eval_log_async,
    read_eval_log_sample_summaries,
    read_eval_log_sample_summaries_async,
    read_eval_log_samples,
)
from inspect_ai.scorer import CORRECT

from w2s_icl.errors import W2SError, first_line
from w2s_icl.record import (
    CellRecord,
    ExperimentRecord,
    attempt_of,
    file_of,
    is_complete,
    is_ours,
    settings_of,
)
from w2s_icl.solvers.labels import Labels

T = TypeVar("T")

AT_ONCE = 16
"""Logs that are read at the same time."""

KEPT = 8192
"""Headers that are kept; running logs change all the time."""

MAY_FAIL = 8
"""Questions that may fail for good in a label run that is still good for labels."""

NETWORK = ("aiohttp", "azure", "botocore", "gcsfs", "google")
"""Packages whose errors say that a store was not reached, not that a log is broken."""


# --- files ----------------------------------------------------------------------------------------


class Stamp(NamedTuple):
    """A log as a listing shows it; a log that is written again has another."""

    name: str
    mtime: float | None
    size: int


_headers: dict[Stamp, EvalLog | None] = {}


def is_remote(address: str) -> bool:
    """Whether logs are reached through a network."""
    return "://" in address and not address.startswith("file://")


def headers(stamps: Sequence[Stamp]) -> list[EvalLog | None]:
    """Headers of logs, None for a file that cannot be read; unchanged files are read once."""
    if len(_headers) + len(stamps) > KEPT:
        _headers.clear()
    new = [stamp for stamp in dict.fromkeys(stamps) if stamp not in _headers]
    read = partial(read_eval_log_async, header_only=True)
    _headers.update(zip(new, _each([stamp.name for stamp in new], read), strict=True))
    return [_headers[stamp] for stamp in stamps]


def log_headers(log_dir: str) -> list[EvalLog]:
    """Headers of all logs in a directory that can be read, the last written last."""
    return [header for _, header in _listed(log_dir)]


def _listed(log_dir: str) -> list[tuple[Stamp, EvalLog]]:
    files = sorted(list_eval_logs(log_dir), key=lambda info: info.mtime or 0)
    stamps = [Stamp(info.name, info.mtime, info.size) for info in files]
    return [(s, log) for s, log in zip(stamps, headers(stamps), strict=True) if log is not None]


def summaries(names: Sequence[str]) -> Iterator[tuple[str, list[EvalSampleSummary]]]:
    """Logs with the summaries of their samples, none where they cannot be read."""
    for name, read in zip(names, _each(names, read_eval_log_sample_summaries_async), strict=True):
        yield name, read or []


def outputs_of(location: str) -> Iterator[EvalSample]:
    """The samples of a log one by one, without their transcripts, which are most of it."""
    with tempfile.TemporaryDirectory() as folder:
        copy = location
        if is_remote(location):  # each sample would be a request
            files, path = fsspec.core.url_to_fs(location)
            copy = str(Path(folder) / Path(path).name)
            files.get_file(path, copy)
        yield from read_eval_log_samples(
            copy,
            all_samples_required=False,
            exclude_fields={"messages", "events", "events_data", "attachments", "store"},
        )


def _each(names: Sequence[str], read: Callable[[str], Awaitable[T]]) -> Iterator[T | None]:
    """What is read of each log; None where that fails, in whatever way a broken log makes it."""

    async def one(name: str) -> T | None:
        try:
            return await read(name)
        except Exception as error:
            _refuse_unreached(name, error)
            return None

    async def together(some: Sequence[str]) -> list[T | None]:
        # the public functions connect anew for each log: 16 headers on S3 take 8 s and more, over
        # one connection 2 s
        from inspect_ai._util.asyncfiles import AsyncFilesystem  # noqa: TID251

        async with AsyncFilesystem():
            return await asyncio.gather(*map(one, some))

    for start in range(0, len(names), AT_ONCE):
        with ThreadPoolExecutor(1) as thread:  # which has no event loop yet
            some = names[start : start + AT_ONCE]
            yield from thread.submit(asyncio.run, together(some)).result()


def _refuse_unreached(name: str, error: Exception) -> None:
    """Raise ConnectionError where a store does not answer: the log that it holds may be whole."""
    if is_remote(name) and not isinstance(error, FileNotFoundError):
        package = type(error).__module__.partition(".")[0]
        if isinstance(error, OSError) or package in NETWORK:
            raise ConnectionError(f"{name} cannot be read: {first_line(error)}") from error


# --- answers --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answers:
    """The answers of one model in one log, by question id.

    Attributes:
        log: The log's header.
        letters: None where the reply could not be read.
        choices: Options in the order shown.
        correct: Whether the answer was right.
        failed: Questions that no call could answer.
    """

    log: EvalLog
    letters: Mapping[int | str, str | None]
    choices: Mapping[int | str, Sequence[str]]
    correct: Mapping[int | str, bool]
    failed: int = 0

    def options(self) -> Labels:
        """Text of the chosen option by question id."""
        return {
            key: None if letter is None else self.choices[key][ascii_uppercase.index(letter)]
            for key, letter in self.letters.items()
        }


def find_answers(
    model: str,
    part: str,
    experiment: ExperimentRecord,
    settings: Mapping[str, Any],
    log_dir: str,
) -> Answers | None:
    """The finished log with a model's zero-shot answers on one part of a split.

    Where there is none, a label run will do in which at most `MAY_FAIL` questions failed for good:
    those are unread. Of several, the one with most answers counts; of equals, the first that was
    finished. They must agree wherever both answered, unless two workers of one run wrote them:
    nobody chose between those.

    Args:
        model: The model.
        part: "test" or "pool".
        experiment: What the log must agree on.
        settings: Settings of calls, and "read", that the log must agree on, by name.
        log_dir: Where finished logs are.

    Raises:
        W2SError: Two finished logs of different runs answer the same question differently.
    """
    ended = _runs(model, part, experiment, log_dir)
    runs = [_answers(stamp, log) for stamp, log in ended if not _difference(log, settings)]
    usable = [answers for answers in runs if is_complete(answers.log)]
    if not usable and part == "pool":
        failed = [a for a in runs if a.failed <= MAY_FAIL < len(a.letters)]
        usable = sorted(failed, key=lambda a: (a.failed, *_ended(a.log)))[:1]
    if not usable:
        return None
    first, *others = sorted(usable, key=lambda a: (-len(a.letters), *_ended(a.log)))
    mine, attempts = first.options(), {attempt_of(first.log)}
    for other in others:
        attempt, theirs = attempt_of(other.log), other.options()
        if attempt and attempt in attempts:
            continue
        attempts.add(attempt)
        differ = [key for key in theirs if key in mine and mine[key] != theirs[key]]
        if differ:
            raise W2SError(
                f"{model} answered {len(differ)} questions of the {part} differently in "
                f"{file_of(first.log)} and {file_of(other.log)} (the first: question "
                f"{differ[0]!r}). Keep the one that counts and move the other out of the log "
                "directory"
            )
    return first


def other_runs(
    model: str, experiment: ExperimentRecord, settings: Mapping[str, Any], log_dir: str
) -> str:
    """What an error says of complete label runs with other settings; "" without any."""
    for _, log in _runs(model, "pool", experiment, log_dir):
        if is_complete(log) and (difference := _difference(log, settings)):
            return (
                f": {file_of(log)} was made with {difference}, and labels made with other settings "
                "are not taken"
            )
    return ""


def answers_of(path: Path, experiment: ExperimentRecord | None) -> Answers:
    """The answers of a log on the pool that a user named; raises W2SError where it is of no use."""
    try:
        file = path.stat()
    except OSError as error:
        raise W2SError(f"{path}: cannot be read: {error.strerror or first_line(error)}") from None
    stamp = Stamp(str(path), file.st_mtime * 1000, file.st_size)
    (log,) = headers([stamp])
    if log is None:
        raise W2SError(f"{path.name}: not a log, or a damaged one")
    if not is_ours(log):
        raise W2SError(f"{path.name}: must be a log of this suite, of task {log.eval.task!r}")
    if not is_complete(log):
        raise W2SError(f"{path.name}: must be finished, its status is {log.status}")
    cell, theirs = CellRecord.from_log(log), ExperimentRecord.from_log(log)
    if cell.split != "pool":
        raise W2SError(f"{path.name}: must be a run on the pool (split=pool), got {cell.split}")
    for name in ("dataset_sha256", "test_size", "seed") if experiment else ():
        mine, its = getattr(experiment, name), getattr(theirs, name)
        if its != mine:
            raise W2SError(f"{path.name}: its {name} is {its!r}, this run's is {mine!r}")
    return _answers(stamp, log)


def label_command(model: str, experiment: ExperimentRecord, settings: Mapping[str, Any]) -> str:
    """The command that makes the label run of a weak model."""
    read = settings.get("read", "reply")
    usual = {"dataset": "mc4", "test_size": 200, "seed": 42, "near_duplicates": "drop"}
    usual |= {"style": "chat", "system_role": "system", "read": "reply"}
    usual |= {"max_tokens": 16 if read == "reply" else 1}
    mine = {**settings, **experiment.model_dump()}  # `seed` is the experiment's
    said = [f" -T {key}={mine[key]}" for key, v in usual.items() if mine.get(key, v) != v]
    return f"inspect eval w2s_icl/zero_shot -T split=pool{''.join(said)} --model {model}"


def _runs(
    model: str, part: str, experiment: ExperimentRecord, log_dir: str
) -> Iterator[tuple[Stamp, EvalLog]]:
    """Ended logs of a model's plain zero-shot runs on one part of a split."""
    for stamp, log in _listed(log_dir):
        if log.eval.model != model or not is_ours(log):
            continue
        if log.status not in ("success", "error") or log.invalidated:
            continue
        cell = CellRecord.from_log(log)
        if (cell.task, cell.split, cell.prompt) != ("zero_shot", part, ""):
            continue
        if ExperimentRecord.from_log(log).identity == experiment.identity:
            yield stamp, log


def _ended(log: EvalLog) -> tuple[str, str]:
    return log.stats.completed_at, file_of(log)


def _difference(log: EvalLog, settings: Mapping[str, Any]) -> str:
    """The first setting in which a log differs, in words; "" where there is none."""
    theirs = settings_of(log) | {"read": CellRecord.from_log(log).read}
    for name, value in settings.items():
        if theirs.get(name) != value:
            return f"{name}={theirs.get(name)}, this run asks {name}={value}"
    return ""


@lru_cache(maxsize=16)
def _summaries(stamp: Stamp) -> list[EvalSampleSummary]:
    return sorted(read_eval_log_sample_summaries(stamp.name), key=lambda s: s.epoch)


def _answers(stamp: Stamp, log: EvalLog) -> Answers:
    letters: dict[int | str, str | None] = {}
    choices: dict[int | str, Sequence[str]] = {}
    correct: dict[int | str, bool] = {}
    failed = 0
    for summary in _summaries(stamp):
        if summary.id in letters:
            continue  # the first epoch is the label
        score = next(iter((summary.scores or {}).values()), None)
        letters[summary.id] = (score.answer or None) if score else None
        choices[summary.id] = summary.choices or []
        correct[summary.id] = score is not None and score.value == CORRECT
        failed += summary.error is not None
    # a run that failed may lack a question altogether
    lost = [id_ for id_ in log.eval.dataset.sample_ids or () if id_ not in letters]
    letters |= dict.fromkeys(lost)
    correct |= dict.fromkeys(lost, False)
    return Answers(log, letters, choices, correct, failed + len(lost))
