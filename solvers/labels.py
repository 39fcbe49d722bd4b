"""Where the demonstrations' labels come from.

A label source is one function, registered under its name with `@label_source`: it gets the pool in
the order of the draw and returns a `LabelSet`. Labels are option texts, not letters, so they
survive a reshuffle. Weak labels have no store of their own: they are read from the finished log in
which the weak model answered the pool.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from string import ascii_uppercase
from typing import Any

from inspect_ai.dataset import Sample
from inspect_ai.log import (
    EvalLog,
    EvalSampleSummary,
    list_eval_logs,
    read_eval_log,
    read_eval_log_sample_summaries,
)

from w2s_icl.solvers.few_shot import Demonstration, Demonstrations

NAMED_WRONG_LABELS = 8
"""How many wrong labels the note in the transcript names."""

IDENTITY = ("dataset_sha256", "test_size", "seed", "near_duplicates", "style", "prompt_version")
"""Metadata on which two logs must agree to be of one experiment."""


class LabelError(ValueError):
    """Labels that are not there or not usable: says what is missing and how to get it."""


@dataclass(frozen=True)
class LabelRequest:
    """What a label source may look at.

    Attributes:
        pool: Questions in the order of the draw, skipped ones taken out.
        weak: The model whose labels are wanted, where the kind needs one.
        draw: Number of the draw.
        split: Metadata of dataset, split and prompt; a label log must agree on `IDENTITY`.
        log_dir: Where finished logs are.
    """

    pool: Sequence[Sample]
    weak: str | None = None
    draw: int = 0
    split: Mapping[str, Any] = field(default_factory=dict)
    log_dir: str = ""


@dataclass(frozen=True)
class LabelSet:
    """Labels for questions of the pool.

    Attributes:
        kind: Name of the label source.
        labels: Option text by question id. A question that was asked but whose answer could not be
            read is there with None: it is passed over. One that was never asked is absent.
        giver: Who labelled, as the transcript says it.
        provenance: For the log's metadata.
        command: The command that makes the labels, for errors.
    """

    kind: str
    labels: Mapping[int | str, str | None]
    giver: str
    provenance: Mapping[str, Any] = field(default_factory=dict)
    command: str = ""


LabelSource = Callable[[LabelRequest], LabelSet]

_SOURCES: dict[str, LabelSource] = {}
_NEED_WEAK: set[str] = set()


def label_source(kind: str, *, weak: bool = False) -> Callable[[LabelSource], LabelSource]:
    """Register a function as the source of labels of the name `kind`.

    Args:
        kind: What `-T labels=` and a study call it.
        weak: Whether it is made from a weak model's answers, so that each weak model has its own.
    """

    def register(source: LabelSource) -> LabelSource:
        _SOURCES[kind] = source
        (_NEED_WEAK.add if weak else _NEED_WEAK.discard)(kind)
        return source

    return register


def label_kinds() -> tuple[str, ...]:
    """Names of all registered label sources."""
    return tuple(_SOURCES)


def needs_weak(kind: str) -> bool:
    """Whether labels of this kind are made from a weak model's answers."""
    return kind in _NEED_WEAK


def read_labels(
    kind: str,
    pool: Sequence[Sample],
    *,
    weak: str | None = None,
    draw: int = 0,
    split: Mapping[str, Any] | None = None,
    log_dir: str | None = None,
) -> LabelSet:
    """Labels of one kind for the questions of `pool`.

    Args:
        kind: One of `label_kinds()`.
        pool: Questions that may be shown, in the order of the draw.
        weak: The weak model, as Inspect names it; required by "weak", refused by "gold".
        draw: Number of the draw.
        split: Metadata of dataset, split and prompt; a label log must agree on `IDENTITY`.
        log_dir: Where to look for the weak model's log (default: INSPECT_LOG_DIR, or ./logs).

    Raises:
        ValueError: `kind` is unknown, or `weak` is missing or superfluous.
        LabelError: No finished log holds the labels, or two hold different ones.
    """
    if kind not in _SOURCES:
        raise ValueError(f"labels must be one of {', '.join(_SOURCES)}, got {kind!r}")
    if needs_weak(kind) and not weak:
        raise ValueError(
            f"labels={kind} needs weak, the model whose zero-shot answers are the labels: "
            "-T weak=MODEL"
        )
    if not needs_weak(kind) and weak:
        raise ValueError(f"weak={weak!r} has no meaning with labels={kind}; leave it out")
    request = LabelRequest(
        pool=pool,
        weak=weak,
        draw=draw,
        split=split or {},
        log_dir=log_dir or default_log_dir(),
    )
    return _SOURCES[kind](request)


def demonstrations(
    pool: Sequence[Sample], label_set: LabelSet, *, shots: int
) -> tuple[Demonstrations, list[int | str]]:
    """The first `shots` labelled questions of the pool, and the ids passed over on the way.

    A question whose label could not be read is passed over. The first k of a longer list are the
    list of k, so a longer prompt contains the shorter one.

    Args:
        pool: Questions in the order of the draw.
        label_set: Their labels.
        shots: How many to show.

    Raises:
        ValueError: `shots` is negative or more than the pool holds.
        LabelError: A question that should be shown was never labelled.
    """
    if isinstance(shots, bool) or not isinstance(shots, int) or shots < 0:
        raise ValueError(f"shots must be a whole number from 0, got {shots!r}")
    if shots > len(pool):
        raise ValueError(f"shots must be between 0 and {len(pool)} (the pool), got {shots}")
    shown: list[Demonstration] = []
    unread: list[int | str] = []
    for sample in pool:
        if len(shown) == shots:
            break
        if sample.id not in label_set.labels:
            raise LabelError(
                f"labels={label_set.kind}: question {sample.id!r} is among the first {shots} of "
                f"the draw, but {label_set.giver} never answered it "
                f"({len(label_set.labels)} questions are labelled). Label the whole pool: "
                f"{label_set.command}"
            )
        text = label_set.labels[_id(sample)]
        if text is None:
            unread.append(_id(sample))
            continue
        choices = sample.choices or []
        if text not in choices:
            raise LabelError(
                f"labels={label_set.kind}: the label {text!r} of question {sample.id!r} is none "
                "of its options; the labels are of other questions or another seed"
            )
        shown.append(
            Demonstration(
                id=_id(sample),
                question=str(sample.input),
                choices=tuple(choices),
                label=ascii_uppercase[choices.index(text)],
                gold=str(sample.target),
            )
        )
    if len(shown) < shots:
        raise LabelError(
            f"shots={shots}, but only {len(shown)} questions of the pool have a label that could "
            f"be read; {len(unread)} have none"
        )
    return Demonstrations(tuple(shown), _note(shown, label_set)), unread


def labels_sha256(labels: Mapping[int | str, str | None]) -> str:
    """Digest of a label set, the same whatever order it was read in."""
    rows = sorted([str(key), text] for key, text in labels.items())
    return hashlib.sha256(json.dumps(rows, ensure_ascii=False).encode()).hexdigest()


def default_log_dir() -> str:
    """Inspect's log directory: INSPECT_LOG_DIR, or ./logs."""
    return os.environ.get("INSPECT_LOG_DIR") or "./logs"


def _id(sample: Sample) -> int | str:
    if sample.id is None:
        raise ValueError("a question without an id cannot be shown")
    return sample.id


def _note(shown: Sequence[Demonstration], label_set: LabelSet) -> str:
    if not shown:
        return ""
    wrong = [d for d in shown if d.label != d.gold]
    note = f"**{len(shown)} demonstrations**, labels by {label_set.giver}; {len(wrong)} are wrong"
    if wrong:
        named = ", ".join(f"`{d.id}` {d.label} (gold {d.gold})" for d in wrong[:NAMED_WRONG_LABELS])
        more = len(wrong) - NAMED_WRONG_LABELS
        note += f": {named}" + (f" and {more} more" if more > 0 else "")
    return note + "."


# --- the sources ----------------------------------------------------------------------------------


@label_source("gold")
def _gold(request: LabelRequest) -> LabelSet:
    """TruthfulQA's own answers."""
    gold = {_id(s): (s.choices or [])[ascii_uppercase.index(str(s.target))] for s in request.pool}
    return LabelSet("gold", gold, "the dataset (gold)")


@label_source("weak", weak=True)
def _weak(request: LabelRequest) -> LabelSet:
    """The weak model's own zero-shot answers on the pool, wrong ones included."""
    weak = request.weak or ""
    command = f"inspect eval w2s_icl/zero_shot -T split=pool{_flags(request.split)} --model {weak}"
    log = find_answers(weak, "pool", request.split, request.log_dir)
    if log is None:
        raise LabelError(
            f"labels=weak: no finished log in {request.log_dir} holds the zero-shot answers of "
            f"{weak} on this pool. Make it with: {command}"
        )
    labels = log.options()
    read = {key: text for key, text in labels.items() if text is not None}
    right = sum(log.correct[key] for key in read)
    return LabelSet(
        "weak",
        labels,
        weak,
        {
            "label_log": log.file,
            "label_eval_id": log.eval_id,
            "labels_sha256": labels_sha256(labels),
            "labels_n": len(labels),
            "labels_unread": len(labels) - len(read),
            "labels_coverage": len(read) / n if (n := request.split.get("n_pool")) else None,
            "labels_accuracy": right / len(read) if read else None,
        },
        command,
    )


def _flags(split: Mapping[str, Any]) -> str:
    """The `-T` flags that a label run needs to be of the same pool."""
    defaults = {"dataset": "mc4", "test_size": 200, "seed": 42, "near_duplicates": "drop"}
    return "".join(
        f" -T {key}={split[key]}"
        for key, default in defaults.items()
        if split.get(key, default) != default
    )


# --- answers in logs ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answers:
    """The zero-shot answers of one model in one finished log.

    Attributes:
        file: Name of the log file.
        eval_id: Inspect's id of the run.
        letters: Letter by question id, None where the reply could not be read.
        choices: Options by question id, in the order shown.
        correct: Whether the answer was right, by question id.
    """

    file: str
    eval_id: str
    letters: Mapping[int | str, str | None]
    choices: Mapping[int | str, Sequence[str]]
    correct: Mapping[int | str, bool]

    def options(self) -> dict[int | str, str | None]:
        """Text of the chosen option by question id."""
        return {
            key: None if letter is None else self.choices[key][ascii_uppercase.index(letter)]
            for key, letter in self.letters.items()
        }


def find_answers(model: str, part: str, split: Mapping[str, Any], log_dir: str) -> Answers | None:
    """The finished zero-shot log of `model` on `part` ("test" or "pool") of the same split.

    It is chosen by content: task, model, status, dataset, split and prompt version. Of several that
    agree wherever both answered, the one with most answers counts; of equals, the first written.

    Raises:
        LabelError: Two finished logs answer the same question differently.
    """
    identity = {key: split[key] for key in IDENTITY if key in split}
    wanted = {"task": "zero_shot", "split": part, **identity}
    found: list[Answers] = []
    for info in list_eval_logs(log_dir):
        header = _header(info.name, info.mtime, info.size)
        if header is None or header.status != "success" or header.invalidated:
            continue
        metadata = header.eval.metadata or {}
        if header.eval.model == model and all(metadata.get(k) == v for k, v in wanted.items()):
            found.append(_answers(info.name, info.mtime, info.size))
    found.sort(key=lambda a: (-len(a.letters), a.file))
    for other in found[1:]:
        mine, theirs = found[0].options(), other.options()
        differ = [key for key in theirs if key in mine and mine[key] != theirs[key]]
        if differ:
            raise LabelError(
                f"{model} answered {len(differ)} questions of the {part} differently in "
                f"{found[0].file} and {other.file} (the first: question {differ[0]!r}). Keep the "
                "one that counts and move the other out of the log directory"
            )
    return found[0] if found else None


@lru_cache(maxsize=4096)
def _header(name: str, mtime: float | None, size: int) -> EvalLog | None:
    """A log's header; None for a file that is no finished log. The cache knows changed files."""
    try:
        return read_eval_log(name, header_only=True)
    except Exception:  # whatever a broken or foreign file makes Inspect raise: it is no label log
        return None


@lru_cache(maxsize=64)
def _answers(name: str, mtime: float | None, size: int) -> Answers:
    header = _header(name, mtime, size)
    letters: dict[int | str, str | None] = {}
    choices: dict[int | str, Sequence[str]] = {}
    correct: dict[int | str, bool] = {}
    for summary in read_eval_log_sample_summaries(name):
        letter, right = _read(summary)
        letters.setdefault(summary.id, letter)
        choices.setdefault(summary.id, summary.choices or [])
        correct.setdefault(summary.id, right)
    return Answers(
        file=name.rsplit("/", 1)[-1],
        eval_id=header.eval.eval_id if header else "",
        letters=letters,
        choices=choices,
        correct=correct,
    )


def _read(summary: EvalSampleSummary) -> tuple[str | None, bool]:
    score = next(iter((summary.scores or {}).values()), None)
    if score is None:
        return None, False
    return score.answer or None, score.value == "C"
