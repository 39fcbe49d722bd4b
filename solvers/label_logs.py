"""Reading answers in Inspect logs: weak labels have no store of their own.

A label run is chosen by what it is, never by its age: task, model, split, dataset, prompt version
and the settings of its calls.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from string import ascii_uppercase
from typing import Any, NamedTuple, TypeVar

import fsspec
from inspect_ai.log import (
    EvalLog,
    EvalLogInfo,
    EvalSample,
    EvalSampleSummary,
    list_eval_logs,
    read_eval_log,
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
    is_complete,
    is_ours,
    settings_of,
)
from w2s_icl.solvers.labels import Labels

T = TypeVar("T")

AT_ONCE = 16
"""Logs that are read at the same time through a network."""

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
    read = partial(read_eval_log, header_only=True)
    read_async = partial(read_eval_log_async, header_only=True)
    read_headers = _each([stamp.name for stamp in new], read, read_async)
    for stamp, (_, header) in zip(new, read_headers, strict=True):
        _headers[stamp] = header
    return [_headers[stamp] for stamp in stamps]


def log_headers(log_dir: str) -> list[EvalLog]:
    """Headers of all logs in a directory that can be read, the last written last."""
    files = sorted(list_eval_logs(log_dir), key=lambda info: info.mtime or 0)
    return [header for header in headers(map(stamp_of, files)) if header is not None]


def summaries(names: Sequence[str]) -> Iterator[tuple[str, list[EvalSampleSummary]]]:
    """Logs with the summaries of their samples, none where they cannot be read."""
    reads = (read_eval_log_sample_summaries, read_eval_log_sample_summaries_async)
    for name, read in _each(names, *reads):
        yield name, read or []


def outputs_of(location: str) -> Iterator[EvalSample]:
    """The samples of a log one by one, without their transcripts, which are most of it."""
    with _local_copy(location) as copy:
        yield from read_eval_log_samples(
            copy,
            all_samples_required=False,
            exclude_fields={"messages", "events", "events_data", "attachments", "store"},
        )


def _each(
    names: Sequence[str], read: Callable[[str], T], read_async: Callable[[str], Awaitable[T]]
) -> Iterator[tuple[str, T | None]]:
    """What is read of each log; None where that fails, in whatever way a broken log makes it."""

    def one(name: str) -> T | None:
        try:
            return read(name)
        except Exception as error:
            _refuse_unreached(name, error)
            return None

    async def one_of_many(name: str) -> T | None:
        try:
            return await read_async(name)
        except Exception as error:
            _refuse_unreached(name, error)
            return None

    async def together(some: Sequence[str]) -> list[T | None]:
        # `read_eval_log_headers_async` and threads connect anew for each log: 16 headers on S3 take
        # 8 s and more, over one connection 2 s; no public function shares one
        from inspect_ai._util.asyncfiles import AsyncFilesystem  # noqa: TID251

        async with AsyncFilesystem():
            return await asyncio.gather(*map(one_of_many, some))

    if len(names) > 1 and is_remote(names[0]):
        for start in range(0, len(names), AT_ONCE):
            some = names[start : start + AT_ONCE]
            with ThreadPoolExecutor(1) as thread:  # which has no event loop yet
                yield from zip(
                    some, thread.submit(asyncio.run, together(some)).result(), strict=True
                )
    else:
        for name in names:
            yield name, one(name)


def _refuse_unreached(name: str, error: Exception) -> None:
    """A log that cannot be read is passed over, but one that cannot be reached may be whole.

    Raises:
        ConnectionError: The store does not answer.
    """
    if is_remote(name) and not isinstance(error, FileNotFoundError):
        package = type(error).__module__.partition(".")[0]
        if isinstance(error, OSError) or package in NETWORK:
            raise ConnectionError(f"{name} cannot be read: {first_line(error)}") from error


@contextmanager
def _local_copy(name: str) -> Iterator[str]:
    """A log as a file on this machine: through a network, each sample would be a request."""
    if not is_remote(name):
        yield name
        return
    files, path = fsspec.core.url_to_fs(name)
    with tempfile.TemporaryDirectory() as folder:
        copy = str(Path(folder) / path.rsplit("/", 1)[-1])
        files.get_file(path, copy)
        yield copy


# --- answers --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answers:
    """The answers of one model in one finished log.

    Attributes:
        location: Address of the log.
        eval_id: Inspect's id of the run.
        letters: Letter by question id, None where the reply could not be read.
        choices: Options by question id, in the order shown.
        correct: Whether the answer was right, by question id.
        failed: Questions that no call could answer.
        attempt: As `attempt_of`.
        completed: When the run ended.
    """

    location: str
    eval_id: str
    letters: Mapping[int | str, str | None]
    choices: Mapping[int | str, Sequence[str]]
    correct: Mapping[int | str, bool]
    failed: int = 0
    attempt: str = ""
    completed: str = ""

    @property
    def file(self) -> str:
        """Name of the log file."""
        return self.location.rsplit("/", 1)[-1]

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
    those are unread. Of several that agree wherever both answered, the one with most answers
    counts; of equals, the first that was finished. Two workers of one run may have answered the
    same cell: of their logs that one counts even where they disagree, since nobody chose between
    them.

    Args:
        model: The model.
        part: "test" or "pool".
        experiment: What the log must agree on.
        settings: Settings of calls, and "read", that the log must agree on, by name.
        log_dir: Where finished logs are.

    Raises:
        W2SError: Two finished logs of different runs answer the same question differently.
    """
    complete: list[Answers] = []
    failed: list[Answers] = []
    for stamp, log in _runs(model, part, experiment, log_dir):
        if _difference(log, settings):
            continue
        answers = _answers(stamp)
        if is_complete(log):
            complete.append(answers)
        elif part == "pool" and answers.failed <= MAY_FAIL < len(answers.letters):
            failed.append(answers)
    usable = complete or sorted(failed, key=lambda a: (a.failed, a.completed, a.file))[:1]
    usable.sort(key=lambda a: (-len(a.letters), a.completed, a.file))
    attempts: set[str] = set()
    for other in usable:
        if other.attempt in attempts:
            continue
        attempts.update({other.attempt} - {""})
        mine, theirs = usable[0].options(), other.options()
        differ = [key for key in theirs if key in mine and mine[key] != theirs[key]]
        if differ:
            raise W2SError(
                f"{model} answered {len(differ)} questions of the {part} differently in "
                f"{usable[0].file} and {other.file} (the first: question {differ[0]!r}). Keep the "
                "one that counts and move the other out of the log directory"
            )
    return usable[0] if usable else None


def other_runs(
    model: str,
    part: str,
    experiment: ExperimentRecord,
    settings: Mapping[str, Any],
    log_dir: str,
) -> str:
    """What an error says of complete runs that were made with other settings; "" without any."""
    for _, log in _runs(model, part, experiment, log_dir):
        if is_complete(log) and (difference := _difference(log, settings)):
            return (
                f": {log.location.rsplit('/', 1)[-1]} was made with {difference}, and labels made "
                "with other settings are not taken"
            )
    return ""


def answers_of(path: Path, experiment: ExperimentRecord | None) -> Answers:
    """The answers of one log on the pool, which a user named.

    Raises:
        W2SError: It cannot be read, is not complete, or is not of this suite, dataset and pool.
    """
    try:
        log = read_eval_log(str(path), header_only=True)
    except OSError as error:
        raise W2SError(f"{path}: cannot be read: {error.strerror or first_line(error)}") from None
    except Exception as error:  # whatever a broken log makes it
        raise W2SError(f"{path.name}: not a log: {first_line(error)}") from None
    if not is_ours(log):
        raise W2SError(f"{path.name}: must be a log of this suite, of task {log.eval.task!r}")
    if not is_complete(log):
        raise W2SError(f"{path.name}: must be finished, its status is {log.status}")
    cell, theirs = CellRecord.from_log(log), ExperimentRecord.from_log(log)
    if cell.split != "pool":
        raise W2SError(f"{path.name}: must be a run on the pool (split=pool), got {cell.split}")
    for name in ("dataset_sha256", "test_size", "seed"):
        mine = getattr(experiment, name, None)
        if experiment is not None and getattr(theirs, name) != mine:
            raise W2SError(
                f"{path.name}: its {name} is {getattr(theirs, name)!r}, this run's is {mine!r}"
            )
    file = path.stat()
    return _answers(Stamp(str(path), file.st_mtime * 1000, file.st_size))


def label_command(model: str, experiment: ExperimentRecord, settings: Mapping[str, Any]) -> str:
    """The command that makes the label run of a weak model."""
    read = settings.get("read", "reply")
    flags = {
        "dataset": (experiment.dataset, "mc4"),
        "test_size": (experiment.test_size, 200),
        "seed": (experiment.seed, 42),
        "near_duplicates": (experiment.near_duplicates, "drop"),
        "style": (experiment.style, "chat"),
        "system_role": (experiment.system_role, "system"),
        "read": (read, "reply"),
        "max_tokens": (settings.get("max_tokens"), 16 if read == "reply" else 1),
    }
    said = "".join(f" -T {key}={value}" for key, (value, usual) in flags.items() if value != usual)
    return f"inspect eval w2s_icl/zero_shot -T split=pool{said} --model {model}"


def _runs(
    model: str, part: str, experiment: ExperimentRecord, log_dir: str
) -> Iterator[tuple[Stamp, EvalLog]]:
    """Ended logs of a model's plain zero-shot runs on one part of a split."""
    stamps = [stamp_of(info) for info in list_eval_logs(log_dir)]
    for stamp, log in zip(stamps, headers(stamps), strict=True):
        if log is None or log.status not in ("success", "error") or log.invalidated:
            continue
        if log.eval.model != model or not is_ours(log):
            continue
        cell = CellRecord.from_log(log)
        if (cell.task, cell.split, cell.prompt) != ("zero_shot", part, ""):
            continue
        if ExperimentRecord.from_log(log).identity == experiment.identity:
            yield stamp, log


def _difference(log: EvalLog, settings: Mapping[str, Any]) -> str:
    """The first setting in which a log differs, in words; "" where there is none."""
    theirs = settings_of(log) | {"read": CellRecord.from_log(log).read}
    for name, value in settings.items():
        if theirs.get(name) != value:
            return f"{name}={theirs.get(name)}, this run asks {name}={value}"
    return ""


@lru_cache(maxsize=64)
def _answers(stamp: Stamp) -> Answers:
    (header,), name = headers([stamp]), stamp.name
    letters: dict[int | str, str | None] = {}
    choices: dict[int | str, Sequence[str]] = {}
    correct: dict[int | str, bool] = {}
    failed = 0
    for summary in sorted(read_eval_log_sample_summaries(name), key=lambda s: s.epoch):
        if summary.id in letters:
            continue  # the first epoch is the label
        score = next(iter((summary.scores or {}).values()), None)
        letters[summary.id] = (score.answer or None) if score else None
        choices[summary.id] = summary.choices or []
        correct[summary.id] = score is not None and score.value == CORRECT
        failed += summary.error is not None
    for id_ in (header.eval.dataset.sample_ids if header else None) or ():
        if id_ not in letters:  # a run that failed may lack a question altogether
            letters[id_], choices[id_], correct[id_] = None, [], False
            failed += 1
    return Answers(
        location=name,
        eval_id=header.eval.eval_id if header else "",
        letters=letters,
        choices=choices,
        correct=correct,
        failed=failed,
        attempt=attempt_of(header) if header else "",
        completed=header.stats.completed_at if header else "",
    )
