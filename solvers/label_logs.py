"""Answers in Inspect logs: a weak model's labels are the answers in its label run."""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from pathlib import Path
from string import ascii_uppercase
from typing import Any, NamedTuple, TypeVar

import fsspec
from inspect_ai import log as logs
from inspect_ai.log import EvalLog, EvalSample, EvalSampleSummary
from inspect_ai.scorer import CORRECT

from w2s_icl import record
from w2s_icl.errors import W2SError, first_line
from w2s_icl.record import CellRecord, ExperimentRecord, file_of, is_complete
from w2s_icl.solvers.labels import Labels

T = TypeVar("T")
Settings = Mapping[str, Any]
Stamp = tuple[str, float | None, int]  # name, time and size: a log written again has another

MAY_FAIL = 8  # questions that may fail for good in a label run that is still good for labels

_headers: dict[Stamp, EvalLog | None] = {}  # None: cannot be read


def is_remote(address: str) -> bool:
    """Whether logs are reached through a network."""
    return "://" in address and not address.startswith("file://")


def log_headers(log_dir: str) -> list[EvalLog]:
    """Headers of all logs in a directory that can be read, the last written last."""
    return [header for _, header in _listed(log_dir)]


def _listed(log_dir: str) -> list[tuple[Stamp, EvalLog]]:
    files = sorted(logs.list_eval_logs(log_dir), key=lambda info: info.mtime or 0)
    stamps = [(info.name, info.mtime, info.size) for info in files]
    new = [stamp for stamp in stamps if stamp not in _headers]
    read = partial(logs.read_eval_log_async, header_only=True)
    _headers.update(zip(new, _each([name for name, *_ in new], read), strict=True))
    return [(stamp, header) for stamp in stamps if (header := _headers[stamp])]


def summaries(names: Sequence[str]) -> Iterator[list[EvalSampleSummary]]:
    """The summaries of each log's samples, none where they cannot be read."""
    return (read or [] for read in _each(names, logs.read_eval_log_sample_summaries_async))


def outputs_of(location: str) -> Iterator[EvalSample]:
    """The samples of a log one by one, without their transcripts, which are most of it."""
    with tempfile.TemporaryDirectory() as folder:
        log = location
        if is_remote(location):  # each sample would be a request
            files, path = fsspec.core.url_to_fs(location)
            log = str(Path(folder) / Path(path).name)
            files.get_file(path, log)
        heavy = {"messages", "events", "events_data", "attachments", "store"}
        yield from logs.read_eval_log_samples(log, all_samples_required=False, exclude_fields=heavy)


def _each(names: Sequence[str], read: Callable[[str], Awaitable[T]]) -> Iterator[T | None]:
    """What is read of each log; None where that fails, in whatever way a broken log makes it."""

    async def one(name: str) -> T | None:
        try:
            return await read(name)
        except Exception as error:
            package = type(error).__module__.partition(".")[0]
            stores = ("aiohttp", "azure", "botocore", "gcsfs", "google")
            unreached = isinstance(error, OSError) or package in stores  # the log may be whole
            if is_remote(name) and unreached and not isinstance(error, FileNotFoundError):
                raise ConnectionError(f"{name} cannot be read: {first_line(error)}") from error
            return None

    async def together(some: Sequence[str]) -> list[T | None]:
        # the public functions connect anew for each log: 16 headers on S3 take 8 s, and here 2 s
        from inspect_ai._util.asyncfiles import AsyncFilesystem  # noqa: TID251

        async with AsyncFilesystem():
            return await asyncio.gather(*map(one, some))

    for start in range(0, len(names), 16):
        with ThreadPoolExecutor(1) as thread:  # which has no event loop yet
            some = names[start : start + 16]
            yield from thread.submit(asyncio.run, together(some)).result()


class Answers(NamedTuple):
    """The answers of one model in one log."""

    log: EvalLog  # its header
    labels: Labels  # text of the chosen option by question; None where the reply was unreadable
    correct: Mapping[int | str, bool]  # by question
    failed: int  # questions that no call could answer


def find_answers(
    model: str, part: str, experiment: ExperimentRecord, settings: Settings, log_dir: str
) -> Answers | None:
    """The finished log with a model's zero-shot answers on "test" or "pool"; None without one.

    The log must agree on experiment, settings of calls and "read". Without a better one, a label
    run counts in which at most `MAY_FAIL` questions failed for good: those are unread. The log with
    most answers counts, of equals the first to end. Runs must agree where both answered (W2SError).
    """
    ended = _runs(model, part, experiment, settings, log_dir)
    runs = [_answers(stamp, log) for stamp, log, difference in ended if not difference]
    runs.sort(key=lambda a: (a.failed - len(a.labels), a.log.stats.completed_at, file_of(a.log)))
    nearly = [a for a in runs if part == "pool" and a.failed <= MAY_FAIL < len(a.labels)]
    by_attempt: dict[str, Answers] = {}
    for answers in [a for a in runs if is_complete(a.log)] or nearly[:1]:
        by_attempt.setdefault(record.attempt_of(answers.log) or answers.log.location, answers)
    if not by_attempt:
        return None
    first, *others = by_attempt.values()
    for other in others:
        differ = [i for i, text in other.labels.items() if first.labels.get(i, text) != text]
        if differ:
            raise W2SError(
                f"{model} answered {len(differ)} questions of the {part} (as {differ[0]!r}) "
                f"differently in {file_of(first.log)} and {file_of(other.log)}: move the one that "
                "does not count out of the log directory"
            )
    return first


def other_runs(model: str, experiment: ExperimentRecord, settings: Settings, log_dir: str) -> str:
    """What an error says of complete label runs with other settings; "" without any."""
    for _, log, difference in _runs(model, "pool", experiment, settings, log_dir):
        if is_complete(log) and difference:
            return f": {file_of(log)} was made with {difference}, and is not taken"
    return ""


def answers_of(path: Path, experiment: ExperimentRecord | None) -> Answers:
    """The answers of a log on the pool that a user named; raises W2SError where it is of no use."""
    try:
        file = path.stat()
        stamp = (str(path), file.st_mtime, file.st_size)
        log = _headers.get(stamp) or logs.read_eval_log(str(path), header_only=True)
    except Exception as error:  # a damaged log raises whatever its first bad byte leads to
        raise W2SError(f"{path}: cannot be read: {first_line(error)}") from None
    _headers[stamp] = log
    ours = record.is_ours(log) and is_complete(log)
    if not ours or CellRecord.from_log(log).split != "pool":
        must_be = "must be a finished run of this suite on the pool (split=pool)"
        raise W2SError(f"{path.name}: {must_be}, got task {log.eval.task}, status {log.status}")
    theirs = ExperimentRecord.from_log(log)
    for name in ("dataset_sha256", "test_size", "seed") if experiment else ():
        mine, its = getattr(experiment, name), getattr(theirs, name)
        if its != mine:
            said = f"its {name} is {its!r} ({theirs.dataset}), this run's is {mine!r}"
            raise W2SError(f"{path.name}: {said} ({experiment and experiment.dataset})")
    return _answers(stamp, log)


def label_command(model: str, experiment: ExperimentRecord, settings: Settings) -> str:
    """The command that makes the label run of a weak model."""
    usual = {"dataset": "mc4", "test_size": 200, "seed": 42, "near_duplicates": "drop"}
    usual |= {"style": "chat", "system_role": "system", "read": "reply"}
    usual |= {"max_tokens": 16 if settings.get("read", "reply") == "reply" else 1}
    mine = {**settings, **experiment.model_dump()}  # `seed` is the experiment's
    said = [f" -T {key}={mine[key]}" for key, v in usual.items() if mine.get(key, v) != v]
    return f"inspect eval w2s_icl/zero_shot -T split=pool{''.join(said)} --model {model}"


def _runs(
    model: str, part: str, experiment: ExperimentRecord, settings: Settings, log_dir: str
) -> Iterator[tuple[Stamp, EvalLog, str]]:
    """Ended logs of a model's plain zero-shot runs on a part, with a setting that differs or ""."""
    for stamp, log in _listed(log_dir):
        if log.eval.model == model and record.is_ours(log) and not log.invalidated:
            cell = CellRecord.from_log(log)
            plain = (cell.task, cell.split, cell.prompt) == ("zero_shot", part, "")
            same = plain and ExperimentRecord.from_log(log).identity == experiment.identity
            if same and log.status in ("success", "error"):
                theirs = record.settings_of(log) | {"read": cell.read}
                differ = [name for name, value in settings.items() if theirs.get(name) != value]
                said = [f"{n}={theirs.get(n)}, this run asks {n}={settings[n]}" for n in differ]
                yield stamp, log, said[0] if said else ""


@lru_cache(maxsize=16)
def _summaries(stamp: Stamp) -> list[EvalSampleSummary]:
    name, *_ = stamp
    try:
        read = sorted(logs.read_eval_log_sample_summaries(name), key=lambda s: -s.epoch)
        return [*{summary.id: summary for summary in read}.values()]  # the first epoch is the label
    except Exception as error:  # a damaged log raises whatever its first bad byte leads to
        if is_remote(name):  # the store may not answer, and the log be whole
            raise
        repair = "answers that were paid for: repair it, or move it away to have them asked again"
        said = f"cannot be read: {first_line(error)}; it holds {repair}"
        raise W2SError(f"{Path(name).name}: {said}") from None


def _answers(stamp: Stamp, log: EvalLog) -> Answers:
    asked = log.eval.dataset.sample_ids or ()  # a run that failed may lack some altogether
    labels: dict[int | str, str | None] = dict.fromkeys(asked)
    correct: dict[int | str, bool] = dict.fromkeys(asked, False)
    found = _summaries(stamp)
    for summary in found:
        options = dict(zip(ascii_uppercase, summary.choices or (), strict=False))
        scores = summary.scores or {}
        score = scores.get(record.SCORER)
        given = score.answer or "" if score else ""
        if (scores and not score) or given not in ("", *options):
            must_be = f"must be scored by {record.SCORER} with one of its options"
            where, came = f"{file_of(log)}: question {summary.id!r}", given or ", ".join(scores)
            raise W2SError(f"{where} {must_be}, got {came!r:.40}")
        labels[summary.id] = options.get(given)
        correct[summary.id] = score is not None and score.value == CORRECT
    answered = sum(summary.error is None for summary in found)
    return Answers(log, labels, correct, failed=len(labels) - answered)
