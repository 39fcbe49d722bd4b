"""From a directory of Inspect logs to aligned answers; the only reader of logs on this side.

Questions are rows of one table, found by id and checked by content; a run is a row of two matrices
over them: which letter it answered, and whether that was right. Nothing is joined by position, and
what cannot be used is named, never dropped in silence.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from string import ascii_uppercase
from typing import Any, Literal, NamedTuple

import fsspec
import numpy as np
import pandas as pd
from inspect_ai.log import (
    EvalLog,
    EvalLogInfo,
    EvalSampleSummary,
    list_eval_logs,
    read_eval_log,
    read_eval_log_sample_summaries,
)
from inspect_ai.model import ModelUsage
from numpy.typing import NDArray

IDENTITY = ("dataset_sha256", "test_size", "seed", "near_duplicates", "style", "prompt_version")
"""Metadata on which all logs of one report must agree."""

KEY = ("model", "task", "split", "labels", "weak", "shots", "draw", "prompt")
"""Columns that tell cells apart; `prompt` is "" for the plain prompt."""

MARGIN = 0.02
"""Margin of the verdict's "at least", as a fraction, where no study says."""

MISSING_LIMIT = 0.02
"""Share of questions without an answer above which a cell is incomplete."""


class Position(NamedTuple):
    """What a run says of one place on the page, over all its questions and epochs.

    Attributes:
        asked: How often the right option stood there.
        right: How many of those were answered right.
        answers: Answers given there.
        expected: Answers there if each readable reply fell on any option with equal chance.
        questions: Different questions whose right option stood there at some time.
    """

    asked: int
    right: int
    answers: int
    expected: float
    questions: int


class LogError(ValueError):
    """Logs that must not be analysed together: names the files and the way out."""


@dataclass(frozen=True)
class Note:
    """Something about the logs that a reader must know.

    Attributes:
        level: "problem" when numbers are missing because of it, else "remark".
        file: The log it is about, "" for all.
        text: One sentence.
    """

    level: Literal["problem", "remark"]
    file: str
    text: str


@dataclass(frozen=True)
class Logs:
    """The finished cells of one experiment.

    Attributes:
        directory: Where they were read.
        runs: One row per cell, index 0.. = row of `letters` and `correct`. Columns: those of `KEY`,
            and file, eval_id, n (questions with an answer), asked, epochs, replies (answers over
            all epochs), unparsed (those of the replies that could not be read), demo_ids,
            demo_labels (letters, "" where none is shown), demo_choices (the options of each
            demonstration), demo_label_accuracy, permutations (orders in which each question was
            shown), changed (share of pairs of identical reruns that differ, mean over the
            `changed_n` questions that have any), changes (that share by question), positions (a
            `Position` by place on the page), shown_sha256, label_eval_id, reused_from, calls,
            input_tokens, output_tokens, cached_tokens, cost (dollars, nan where a call's price is
            unknown), endpoint (address and arguments of the model), simulated. Among them are runs
            with demonstrations on the pool: the labels of a chain, never a result.
        questions: One row per question, index = id. Columns: question, choices, gold (letter),
            n_options, category.
        letters: Answer of run i to question j, of the first epoch that has one; "" where the reply
            could not be read or there is none. Shape (runs, questions).
        correct: 1 or 0 (unread is 0); the mean over epochs where a cell was run several times; nan
            where there is no answer. Shape (runs, questions).
        planned: Columns of `KEY` for each cell that the study planned, empty when no log says.
        metadata: What `IDENTITY` says, dataset and versions; headline (shot counts that the study
            declared its own, [] where none) and margin (fraction) of its verdict.
        notes: What was found on the way.
    """

    directory: str
    runs: pd.DataFrame
    questions: pd.DataFrame
    letters: NDArray[np.str_]
    correct: NDArray[np.float64]
    planned: pd.DataFrame
    metadata: Mapping[str, Any]
    notes: Sequence[Note]

    @property
    def simulated(self) -> bool:
        """Whether a stand-in model has part in any of the numbers."""
        return bool(self.runs["simulated"].any())


@dataclass
class _Run:
    """One finished log, before alignment.

    Attributes:
        info: Where it lies.
        row: As `Logs.runs`.
        attempt: What logs have in common that two workers of one run wrote; "" where nothing tells.
        completed: When the run ended.
    """

    info: EvalLogInfo
    row: dict[str, Any]
    attempt: str = ""
    completed: str = ""
    ids: list[int | str] = field(default_factory=list)
    letters: list[str] = field(default_factory=list)
    correct: list[float] = field(default_factory=list)


@dataclass
class _Questions:
    """Questions met so far, each with the run that first asked it."""

    place: dict[int | str, int] = field(default_factory=dict)
    content: list[tuple[str, tuple[str, ...], str]] = field(default_factory=list)
    category: list[str] = field(default_factory=list)
    file: list[str] = field(default_factory=list)

    def add(self, sample: EvalSampleSummary, file: str) -> None:
        target = sample.target if isinstance(sample.target, str) else ",".join(sample.target)
        content = (str(sample.input), tuple(sample.choices or ()), target)
        place = self.place.setdefault(sample.id, len(self.content))
        if place == len(self.content):
            self.content.append(content)
            self.category.append(str(sample.metadata.get("category") or ""))
            self.file.append(file)
        elif self.content[place] != content:
            differs = "right answer" if self.content[place][:2] == content[:2] else "wording"
            raise LogError(
                f"{file} and {self.file[place]} have another {differs} for question {sample.id!r}; "
                "logs of different questions or option orders cannot be analysed together: move "
                "one of them out of the directory"
            )


def read_logs(directory: str) -> Logs:
    """Read all finished cells of a log directory.

    Args:
        directory: A local folder, or any address that Inspect can list, such as `s3://...`.

    Returns:
        Aligned answers. Logs of other tasks are left out with a note; so are attempts that did not
        finish, and files that cannot be read.

    Raises:
        LogError: There are no logs of this suite; they are of several experiments; two finished
            logs of one cell, of different runs, disagree; or a log holds a question twice.
    """
    with _on_this_machine(directory) as folder:
        return _read_logs(directory, list_eval_logs(folder, descending=False))


@contextmanager
def _on_this_machine(directory: str) -> Iterator[str]:
    """A folder with the logs of a directory: through a network, all at once are far faster read.

    Raises:
        LogError: It cannot be listed or read.
    """
    try:
        infos = list_eval_logs(directory)
    except (OSError, ValueError) as error:
        raise LogError(f"{directory}: cannot be listed: {error}") from None
    if "://" not in directory or directory.startswith("file://") or not infos:
        yield directory
        return
    files, _ = fsspec.core.url_to_fs(directory)
    with tempfile.TemporaryDirectory() as folder:
        try:
            files.get([i.name for i in infos], [f"{folder}/{_file(i.name)}" for i in infos])
        except OSError as error:
            raise LogError(f"{directory}: cannot be read: {error}") from None
        yield folder


def _read_logs(directory: str, infos: Sequence[EvalLogInfo]) -> Logs:
    notes: list[Note] = []
    headers: list[tuple[EvalLogInfo, EvalLog]] = []
    unfinished: list[tuple[str, EvalLog]] = []
    for info in infos:
        file = _file(info.name)
        try:
            header = read_eval_log(info, header_only=True)
        except Exception as error:  # a torn zip raises whatever its first bad byte leads to
            notes.append(Note("problem", file, f"cannot be read: {_first_line(error)}"))
            continue
        if not _ours(header):
            notes.append(Note("remark", file, f"left out: a log of the task {header.eval.task}"))
        elif header.status != "success" or header.invalidated:
            unfinished.append((file, header))
        else:
            headers.append((info, header))
    if not headers:
        raise _nothing(directory, infos, notes)
    metadata = _one_experiment(headers)

    questions = _Questions()
    runs: dict[tuple[Any, ...], list[_Run]] = defaultdict(list)
    for info, header in headers:
        try:
            run = _read_run(info, header, questions)
        except LogError:
            raise
        except Exception as error:  # as above: the header is whole, the samples are not
            file = _file(info.name)
            notes.append(Note("problem", file, f"cannot be read: {_first_line(error)}"))
            continue
        runs[tuple(run.row[k] for k in KEY)].append(run)
    if not runs:
        raise _nothing(directory, infos, notes)
    kept = [_one_per_cell(of, notes) for of in runs.values()]
    for file, header in unfinished:
        if tuple(_cell(header)[k] for k in KEY) not in runs:
            notes.append(Note("problem", file, f"not finished: status {header.status}"))
    plans = _plans([header for _, header in headers] + [header for _, header in unfinished])
    metadata |= _declared(plans, notes)
    return _aligned(directory, kept, questions, _planned(plans), metadata, notes)


def _nothing(directory: str, infos: Sequence[EvalLogInfo], notes: Sequence[Note]) -> LogError:
    found = (
        f"{len(infos)} log files, none a finished one of this suite" if infos else "no log files"
    )
    named = "".join(f"\n  {note.file}: {note.text}" for note in notes)
    return LogError(
        f"{directory}: no results to analyse ({found}). Give the --log-dir of a `w2s run`{named}"
    )


def _ours(header: EvalLog) -> bool:
    metadata = header.eval.metadata or {}
    return metadata.get("task") in ("zero_shot", "few_shot") and "prompt_version" in metadata


def _one_experiment(headers: Sequence[tuple[EvalLogInfo, EvalLog]]) -> dict[str, Any]:
    """What all logs agree on.

    Raises:
        LogError: They do not agree.
    """
    first_info, first = headers[0]
    mine = first.eval.metadata or {}
    for info, header in headers[1:]:
        theirs = header.eval.metadata or {}
        for key in (*IDENTITY, "scorer_version"):
            if theirs.get(key) != mine.get(key):
                raise LogError(
                    f"{_file(info.name)} and {_file(first_info.name)} are of different "
                    f"experiments: {key} is {theirs.get(key)!r} in the one and {mine.get(key)!r} "
                    "in the other. Analyse each from a directory of its own"
                )
    _same_settings(headers)
    keys = (*IDENTITY, "dataset", "dataset_source", "n_pool", "n_near_duplicates", "scorer_version")
    versions = {str((h.eval.metadata or {}).get("w2s_icl", "")) for _, h in headers}
    inspect = {h.eval.packages.get("inspect_ai", "") for _, h in headers}
    studies = {
        str(((h.eval.metadata or {}).get("study") or {}).get("name", "")) for _, h in headers
    }
    return {
        **{key: mine.get(key) for key in keys},
        "study": sorted(studies - {""}),
        "system_message": mine.get("system_message"),
        "w2s_icl": sorted(versions),
        "inspect_ai": sorted(inspect),
    }


SETTINGS = ("temperature", "top_p", "top_k", "seed", "max_tokens", "reasoning_effort")
"""Settings of a call on which all plain runs of a model on the test questions must agree."""


def _same_settings(headers: Sequence[tuple[EvalLogInfo, EvalLog]]) -> None:
    """Runs are compared that differ in their labels, not in how they were asked.

    Raises:
        LogError: One was asked in other permutations, or one of a model with other settings.
    """
    first: dict[tuple[str, str], tuple[str, Any]] = {}
    for info, header in headers:
        metadata = header.eval.metadata or {}
        if metadata.get("split") != "test" or metadata.get("prompt"):
            continue
        asked = header.plan.config.model_dump(exclude_none=True)
        asked |= header.eval.model_generate_config.model_dump(exclude_none=True)
        settings: dict[tuple[str, str], Any] = {
            ("", "permutations"): int(metadata.get("permutations") or 1)
        }
        settings |= {(header.eval.model, name): asked.get(name) for name in SETTINGS}
        for key, value in settings.items():
            file, other = first.setdefault(key, (_file(info.name), value))
            if value != other:
                raise LogError(
                    f"{_file(info.name)} and {file} were asked differently: {key[1]} is {value!r} "
                    f"in the one and {other!r} in the other. Analyse each from a directory of its "
                    "own"
                )


def _cell(header: EvalLog) -> dict[str, Any]:
    """The columns of `KEY` for one log."""
    metadata = header.eval.metadata or {}
    return {
        "model": header.eval.model,
        "task": metadata.get("task"),
        "split": metadata.get("split"),
        "labels": metadata.get("labels") or "",
        "weak": metadata.get("weak") or "",
        "shots": int(metadata.get("shots") or 0),
        "draw": int(metadata.get("draw") or 0),
        "prompt": metadata.get("prompt") or "",
    }


def _read_run(info: EvalLogInfo, header: EvalLog, questions: _Questions) -> _Run:
    file = _file(info.name)
    metadata = header.eval.metadata or {}
    run = _Run(info, {}, _attempt(header), header.stats.completed_at)
    replies: dict[int | str, dict[int, str]] = defaultdict(dict)
    marks: dict[int | str, list[float]] = defaultdict(list)
    seen: set[tuple[int | str, int]] = set()
    calls = 0
    # by sample: the header of a resumed run counts its last attempt only
    usage: list[ModelUsage] = []
    # all of them first: a torn log must leave no questions
    samples = sorted(read_eval_log_sample_summaries(info), key=lambda sample: sample.epoch)
    for sample in samples:
        if (sample.id, sample.epoch) in seen:
            raise LogError(f"{file}: question {sample.id!r} is in it twice (epoch {sample.epoch})")
        seen.add((sample.id, sample.epoch))
        questions.add(sample, file)
        calls += bool(sample.model_usage)
        usage += sample.model_usage.values()
        score = next(iter((sample.scores or {}).values()), None)
        if sample.error or score is None:
            continue  # no answer is missing, not wrong
        replies[sample.id][sample.epoch] = score.answer or ""
        marks[sample.id].append(1.0 if score.value == "C" and score.answer else 0.0)
    run.ids = list(marks)
    run.letters = [next(iter(replies[id_].values())) for id_ in run.ids]
    run.correct = [math.fsum(marks[id_]) / len(marks[id_]) for id_ in run.ids]
    epochs = header.eval.config.epochs or 1
    # a run that tolerates failed questions has no results where all of them failed
    planned = header.eval.dataset.samples or len(run.ids)
    asked = header.results.total_samples // epochs if header.results else planned
    permutations = int(metadata.get("permutations") or 1)
    changes = _changes(replies.values(), permutations)
    costs = [u.total_cost for u in usage]
    run.row = {
        **_cell(header),
        "file": file,
        "eval_id": header.eval.eval_id,
        "n": len(run.ids),
        "asked": asked,
        "epochs": epochs,
        "replies": sum(len(of) for of in replies.values()),
        "unparsed": sum(not letter for of in replies.values() for letter in of.values()),
        "permutations": permutations,
        "changed": math.fsum(changes) / len(changes) if changes else math.nan,
        "changed_n": len(changes),
        "changes": changes,
        "positions": _positions(replies, permutations, questions),
        "demo_ids": tuple(metadata.get("demo_ids") or ()),
        "demo_labels": tuple(metadata.get("demo_labels") or ()),
        "demo_choices": tuple(tuple(of) for of in metadata.get("demo_choices") or ()),
        "demo_label_accuracy": _number(metadata.get("demo_label_accuracy")),
        "shown_sha256": metadata.get("shown_sha256") or "",
        "label_eval_id": metadata.get("label_eval_id") or "",
        "reused_from": metadata.get("reused_from") or "",
        "endpoint": f"{header.eval.model_base_url} {sorted(header.eval.model_args.items())}",
        "calls": calls,
        "input_tokens": sum(u.input_tokens for u in usage),
        "output_tokens": sum(u.output_tokens for u in usage),
        "cached_tokens": sum(u.input_tokens_cache_read or 0 for u in usage),
        "cost": _cost(costs, free=bool(metadata.get("reused_from"))),
        "simulated": header.eval.model.startswith("simulated/") or "warning" in metadata,
    }
    return run


def _rotation(epoch: int, permutations: int) -> int:
    """Places to the left by which an epoch shows the options."""
    return (epoch - 1) % permutations


def _changes(replies: Iterable[Mapping[int, str]], permutations: int) -> tuple[float, ...]:
    """By question, the share of pairs of identical reruns that differ; of those that have any.

    Two replies that could not be read are no change, one of two is.
    """
    found = []
    for of in replies:
        groups: dict[int, Counter[str]] = defaultdict(Counter)
        for epoch, letter in of.items():
            groups[_rotation(epoch, permutations)][letter] += 1
        pairs = sum(math.comb(group.total(), 2) for group in groups.values())
        same = sum(math.comb(k, 2) for group in groups.values() for k in group.values())
        if pairs:
            found.append((pairs - same) / pairs)
    return tuple(found)


def _positions(
    replies: Mapping[int | str, Mapping[int, str]], permutations: int, questions: _Questions
) -> tuple[Position, ...]:
    """By place on the page: the option at place j of K is shown at (j - rotation) % K."""
    counts: dict[int, Counter[str]] = defaultdict(Counter)
    expected: dict[int, float] = defaultdict(float)
    met: dict[int, set[int | str]] = defaultdict(set)
    for id_, of in replies.items():
        _, choices, target = questions.content[questions.place[id_]]
        options = ascii_uppercase[: len(choices)]
        if len(target) != 1 or target not in options:
            continue  # several right options stand at no one place
        for epoch, letter in of.items():
            back = _rotation(epoch, permutations)
            here = (options.index(target) - back) % len(options)
            counts[here]["asked"] += 1
            counts[here]["right"] += letter == target
            met[here].add(id_)
            if letter and letter in options:
                counts[(options.index(letter) - back) % len(options)]["answers"] += 1
                for place in range(len(options)):
                    expected[place] += 1 / len(options)
    last = max([*counts, *expected], default=-1)
    return tuple(
        Position(
            asked=counts[place]["asked"],
            right=counts[place]["right"],
            answers=counts[place]["answers"],
            expected=expected[place],
            questions=len(met[place]),
        )
        for place in range(last + 1)
    )


def _cost(costs: Sequence[float | None], *, free: bool) -> float:
    """Dollars; nan where a price is unknown, or a cell that made calls reports no usage."""
    known = [cost for cost in costs if cost is not None]
    return math.fsum(known) if len(known) == len(costs) and (known or free) else math.nan


def _attempt(header: EvalLog) -> str:
    """Inspect's id of the run, and the arguments: a study that was changed goes on under one id."""
    spec = header.eval
    if not spec.eval_set_id:
        return ""
    args = [spec.eval_set_id, spec.task_args_passed, spec.model_args]
    return json.dumps(args, sort_keys=True, default=str)


def _one_per_cell(runs: Sequence[_Run], notes: list[Note]) -> _Run:
    """The most complete of the finished logs of one cell; of equals, the first that ended.

    Two workers of one run may both have answered a cell: nobody chose between their logs, so the
    rule does, even where they disagree.

    Raises:
        LogError: Logs of different runs answer the same question differently.
    """
    kept, *others = sorted(
        runs,
        key=lambda run: (-len(run.ids), -run.row["replies"], run.completed, run.row["file"]),
    )
    mine = dict(zip(kept.ids, zip(kept.letters, kept.correct, strict=True), strict=True))
    attempts = {kept.attempt} - {""}
    for other in others:
        file = other.row["file"]
        differ = [
            id_
            for id_, *answer in zip(other.ids, other.letters, other.correct, strict=True)
            if mine.get(id_, tuple(answer)) != tuple(answer)
        ]
        if differ and other.attempt not in attempts:
            raise LogError(
                f"{kept.row['file']} and {file} are both finished logs of one cell and differ in "
                f"{len(differ)} answers (the first: question {differ[0]!r}). Keep the one that "
                "counts and move the other out of the directory"
            )
        attempts.update({other.attempt} - {""})
        text = f"left out: the same cell as {kept.row['file']}"
        if differ:
            text += f", {len(differ)} answers differ"
        notes.append(Note("remark", file, text + _paid_besides(other, kept)))
    return kept


def _paid_besides(left: _Run, kept: _Run) -> str:
    """What the answers of a log that is left out took, but those that the other took over."""
    there = {sample.uuid for sample in read_eval_log_sample_summaries(kept.info)} - {None}
    usage = [
        list(sample.model_usage.values())
        for sample in read_eval_log_sample_summaries(left.info)
        if sample.model_usage and sample.uuid not in there
    ]
    if not usage:
        return ""
    cost = _cost([one.total_cost for of in usage for one in of], free=False)
    bill = "whose cost is unknown" if math.isnan(cost) else f"${cost:.3g}"
    return f"; its {len(usage)} calls ({bill}) were paid as well and are not in the costs"


def _plans(headers: Sequence[EvalLog]) -> list[Mapping[str, Any]]:
    """What the studies named in the logs planned, each once."""
    plans: dict[str, Mapping[str, Any]] = {}
    for header in headers:
        plan = (header.eval.metadata or {}).get("study")
        if isinstance(plan, Mapping) and "blocks" in plan:
            plans.setdefault(str(plan), plan)
    return list(plans.values())


def _planned(plans: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """All cells that the studies planned; `KEY` columns, no row twice."""
    rows = [
        {
            "model": model,
            "task": task,
            "split": split,
            "labels": labels,
            "weak": weak,
            "shots": int(shots),
            "draw": draw,
            "prompt": prompt,
        }
        for plan in plans
        for model, task, split, labels, weak, prompt, counts, draws in plan["blocks"]
        for draw in range(int(draws))
        for shots in counts
    ]
    return pd.DataFrame(rows, columns=list(KEY)).drop_duplicates(ignore_index=True)


def _declared(plans: Sequence[Mapping[str, Any]], notes: list[Note]) -> dict[str, Any]:
    """Headline and margin of the studies.

    Where they differ, the headline is that of the largest and the margin the smallest, with a note.
    """
    found: dict[tuple[tuple[int, ...], float], tuple[int, str]] = {}
    for plan in plans:
        margin = plan.get("margin")
        declared = (
            tuple(sorted(int(k) for k in plan.get("headline") or ())),
            MARGIN if margin is None else float(margin),
        )
        size = sum(len(counts) * int(draws) for *_, counts, draws in plan["blocks"])
        found[declared] = max(found.get(declared, (0, "")), (size, str(plan.get("name") or "")))
    if not found:
        return {"headline": [], "margin": MARGIN}
    kept = max(found, key=lambda declared: (found[declared], declared))
    if len(found) > 1:
        others = "; ".join(
            f"{name or 'another'} declares {_declared_text(*declared)}"
            for declared, (_, name) in sorted(found.items(), key=lambda item: item[1])
            if declared != kept
        )
        text = (
            f"the verdict follows the largest study, {found[kept][1]}, which declares "
            f"{_declared_text(*kept)}, with the smallest margin; {others}"
        )
        notes.append(Note("remark", "", text))
    return {"headline": list(kept[0]), "margin": min(margin for _, margin in found)}


def _declared_text(headline: Sequence[int], margin: float) -> str:
    counts = f"{', '.join(map(str, headline))} shots" if headline else "no headline"
    return f"{counts} and a margin of {100 * margin:g} points"


def _aligned(
    directory: str,
    runs: Sequence[_Run],
    questions: _Questions,
    planned: pd.DataFrame,
    metadata: Mapping[str, Any],
    notes: Sequence[Note],
) -> Logs:
    # neither numbers nor files may depend on the order in which a directory lists its logs
    runs = sorted(runs, key=lambda run: tuple(run.row[k] for k in KEY))
    ids = sorted(questions.place, key=lambda id_: (isinstance(id_, str), id_))
    place = {id_: i for i, id_ in enumerate(ids)}
    letters = np.full((len(runs), len(ids)), "", dtype="U1")
    correct = np.full(letters.shape, np.nan)
    for i, run in enumerate(runs):
        places = [place[id_] for id_ in run.ids]
        letters[i, places] = run.letters
        correct[i, places] = run.correct
    content = [questions.content[questions.place[id_]] for id_ in ids]
    table = pd.DataFrame(
        {
            "question": [c[0] for c in content],
            "choices": [c[1] for c in content],
            "gold": [c[2] for c in content],
            "n_options": [len(c[1]) for c in content],
            "category": [questions.category[questions.place[id_]] for id_ in ids],
        },
        index=pd.Index(ids, name="id", dtype=object),
    )
    frame = pd.DataFrame([run.row for run in runs])
    told = tuple(sorted(notes, key=lambda note: (note.file, note.text)))
    return Logs(directory, frame, table, letters, correct, planned, metadata, told)


def _file(name: str) -> str:
    return name.rsplit("/", 1)[-1]


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
