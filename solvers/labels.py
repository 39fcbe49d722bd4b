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
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from string import ascii_uppercase
from typing import Any

from inspect_ai.dataset import Sample
from inspect_ai.log import (
    EvalLog,
    EvalSample,
    list_eval_logs,
    read_eval_log_sample_summaries,
    read_eval_log_samples,
)

from w2s_icl.record import is_complete
from w2s_icl.solvers.few_shot import Demonstration, Demonstrations
from w2s_icl.solvers.label_logs import Stamp, headers, local_copy, stamp_of

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
        weak: Model that gave the weak labels, where the kind needs one.
        shots: How many demonstrations will be shown.
        draw: Number of the draw.
        split: Metadata of dataset, split and prompt; a label log must agree on `IDENTITY`.
        log_dir: Where finished logs are.
    """

    pool: Sequence[Sample]
    weak: str | None = None
    shots: int = 0
    draw: int = 0
    split: Mapping[str, Any] = field(default_factory=dict)
    log_dir: str = ""

    def chance(self, sample: Sample, purpose: str) -> random.Random:
        """A generator for one question of one draw: the same in every cell and at every shot count.

        Args:
            sample: The question.
            purpose: Keeps the choices of different label kinds apart.
        """
        seed = self.split.get("seed", 42)
        return random.Random(f"{seed}/{self.draw}/{sample.id}/{purpose}")


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
        source: Who labelled, as the prompt's `disclosure` says it; `giver` by default.
        shown: False when the demonstrations are shown without their labels.
    """

    kind: str
    labels: Mapping[int | str, str | None]
    giver: str
    provenance: Mapping[str, Any] = field(default_factory=dict)
    command: str = ""
    source: str = ""
    shown: bool = True


LabelSource = Callable[[LabelRequest], LabelSet]

_SOURCES: dict[str, LabelSource] = {}
_NEED_WEAK: set[str] = set()


MAY_FAIL = 8
"""Questions that may fail for good in a label run that is still good for labels."""

SELF = "self"
"""`labels=self` is `labels=weak` with the prompted model as its own weak model."""


def label_source(kind: str, *, weak: bool = False) -> Callable[[LabelSource], LabelSource]:
    """Register a function as the source of labels of the name `kind`.

    Args:
        kind: What `-T labels=` and a study call it.
        weak: Whether it is made from a weak model's answers, so that each weak model has its own.

    Example:
        >>> from w2s_icl.solvers import labels
        >>> @labels.label_source("last")
        ... def last_option(request):
        ...     return LabelSet("last", {s.id: s.choices[-1] for s in request.pool}, "nobody")
        >>> "last" in labels.label_kinds(), labels.needs_weak("last")
        (True, False)
        >>> del labels._SOURCES["last"]
    """

    def register(source: LabelSource) -> LabelSource:
        _SOURCES[kind] = source
        (_NEED_WEAK.add if weak else _NEED_WEAK.discard)(kind)
        return source

    return register


def label_kinds() -> tuple[str, ...]:
    """Names of all label kinds: the registered sources, and `SELF`."""
    return (*_SOURCES, SELF)


def needs_weak(kind: str) -> bool:
    """Whether labels of this kind are made from a weak model's answers."""
    return kind in _NEED_WEAK


def read_labels(
    kind: str,
    pool: Sequence[Sample],
    *,
    weak: str | None = None,
    shots: int = 0,
    draw: int = 0,
    split: Mapping[str, Any] | None = None,
    log_dir: str | None = None,
) -> LabelSet:
    """Labels of one kind for the questions of `pool`.

    Args:
        kind: A registered label source.
        pool: Questions that may be shown, in the order of the draw.
        weak: Who gave the weak labels, as in `LabelRequest`; required by the kinds that are made
            from them, refused by the others.
        shots: How many demonstrations will be shown.
        draw: Number of the draw.
        split: Metadata of dataset, split and prompt; a label log must agree on `IDENTITY`.
        log_dir: Where to look for the weak model's log (default: INSPECT_LOG_DIR, or ./logs).

    Raises:
        ValueError: `kind` is unknown, or `weak` is missing or superfluous.
        LabelError: No finished log holds the labels, or two hold different ones.
    """
    if kind not in _SOURCES:
        raise ValueError(f"labels must be one of {', '.join(label_kinds())}, got {kind!r}")
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
        shots=shots,
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
                label=ascii_uppercase[choices.index(text)] if label_set.shown else None,
                gold=str(sample.target),
            )
        )
    if len(shown) < shots:
        raise LabelError(
            f"shots={shots}, but only {len(shown)} questions of the pool have a label that could "
            f"be read; {len(unread)} have none"
        )
    source = label_set.source or label_set.giver
    return Demonstrations(tuple(shown), _note(shown, label_set), source), unread


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
    if not label_set.shown:
        return f"**{len(shown)} demonstrations** without answers."
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
    return LabelSet(
        "gold",
        {_id(s): _gold_text(s) for s in request.pool},
        "the dataset (gold)",
        source="the authors of the questions",
    )


def _label_run(request: LabelRequest) -> Answers:
    """The answers that are the weak labels."""
    weak = request.weak or ""
    log = find_answers(weak, "pool", request.split, request.log_dir)
    if log is None:
        raise LabelError(
            f"labels=weak: no finished log in {request.log_dir} holds the answers of {weak} on "
            "this pool. Make it with: "
            f"{label_command(weak, request)}"
        )
    return log


@label_source("weak", weak=True)
def _weak(request: LabelRequest) -> LabelSet:
    """The weak model's own answers on the pool, wrong ones included."""
    return _weak_labels(request, _label_run(request))


def _weak_labels(request: LabelRequest, log: Answers) -> LabelSet:
    weak = request.weak or ""
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
        label_command(weak, request),
        source="another language model",
    )


@label_source("random")
def _random(request: LabelRequest) -> LabelSet:
    """Any option, all equally likely."""
    labels = {_id(s): request.chance(s, "random").choice(s.choices or []) for s in request.pool}
    return LabelSet("random", labels, "a random draw", source="a random draw among the options")


@label_source("flipped")
def _flipped(request: LabelRequest) -> LabelSet:
    """Always a wrong option."""
    labels = {_id(s): _wrong(request, s) for s in request.pool}
    return LabelSet("flipped", labels, "a random draw among the wrong options")


@label_source("noise_matched", weak=True)
def _noise_matched(request: LabelRequest) -> LabelSet:
    """Gold labels, as many of them wrong as of the weak labels among the same demonstrations."""
    weak = _weak(request)
    shown = [s for s in request.pool if weak.labels.get(_id(s)) is not None][: request.shots]
    errors = sum(weak.labels[_id(s)] != _gold_text(s) for s in shown)
    ranked = sorted(shown, key=lambda s: request.chance(s, "noise").random())
    wrong = {s.id for s in ranked[:errors]}
    # what the weak model left unread is passed over here as well
    labels: dict[int | str, str | None] = {
        _id(s): _wrong(request, s) if s.id in wrong else _gold_text(s)
        for s in request.pool
        if weak.labels.get(_id(s)) is not None
    }
    labels |= {key: None for key, text in weak.labels.items() if text is None}
    return LabelSet(
        "noise_matched",
        labels,
        f"the dataset, with as many errors as {request.weak} makes",
        {**weak.provenance, "noise_errors": errors},
        weak.command,
        source="a source that makes random errors",
    )


@label_source("unlabelled")
def _unlabelled(request: LabelRequest) -> LabelSet:
    """The questions and options alone."""
    return LabelSet("unlabelled", {_id(s): _gold_text(s) for s in request.pool}, "", shown=False)


def _gold_text(sample: Sample) -> str:
    return (sample.choices or [])[ascii_uppercase.index(str(sample.target))]


def _wrong(request: LabelRequest, sample: Sample) -> str:
    """A wrong option, all equally likely."""
    gold = _gold_text(sample)
    wrong = [text for text in sample.choices or [] if text != gold]
    return request.chance(sample, "wrong").choice(wrong)


def label_command(weak: str, request: LabelRequest) -> str:
    """The command that makes the label run of a weak model."""
    return f"inspect eval w2s_icl/zero_shot -T split=pool{_flags(request.split)} --model {weak}"


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

    def options(self) -> dict[int | str, str | None]:
        """Text of the chosen option by question id."""
        return {
            key: None if letter is None else self.choices[key][ascii_uppercase.index(letter)]
            for key, letter in self.letters.items()
        }


def find_answers(
    weak: str,
    part: str,
    split: Mapping[str, Any],
    log_dir: str,
) -> Answers | None:
    """The finished log with a model's zero-shot answers on `part` ("test" or "pool") of a split.

    Where there is none, a label run will do in which at most `MAY_FAIL` questions failed for good:
    those are unread.

    It is chosen by content: task, model, status, dataset, split and plain prompt. Of several that
    agree wherever both answered, the one with most answers counts; of equals, the first that was
    finished. Two workers of one run may have answered the same cell: of their logs that one counts
    even where they disagree, since nobody chose between them.

    Args:
        weak: The model.
        part: "test" or "pool".
        split: Metadata of dataset, split and prompt version.
        log_dir: Where finished logs are.

    Raises:
        LabelError: Two finished logs of different runs answer the same question differently.
    """
    identity = {key: split[key] for key in IDENTITY if key in split}
    wanted = {"task": "zero_shot", "split": part, **identity}
    found: list[Answers] = []
    failed: list[Answers] = []
    stamps = [stamp_of(info) for info in list_eval_logs(log_dir)]
    for stamp, header in zip(stamps, headers(stamps), strict=True):
        if header is None or header.status not in ("success", "error") or header.invalidated:
            continue
        metadata = header.eval.metadata or {}
        same = all(metadata.get(k) == v for k, v in wanted.items())
        if header.eval.model == weak and same and not metadata.get("prompt"):
            answers = _answers(stamp)
            if is_complete(header):
                found.append(answers)
            elif part == "pool" and answers.failed <= MAY_FAIL < len(answers.letters):
                failed.append(answers)
    found = found or sorted(failed, key=lambda a: (a.failed, a.completed, a.file))[:1]
    found.sort(key=lambda a: (-len(a.letters), a.completed, a.file))
    attempts: set[str] = set()
    for other in found:
        if other.attempt in attempts:
            continue
        attempts.update({other.attempt} - {""})
        mine, theirs = found[0].options(), other.options()
        differ = [key for key in theirs if key in mine and mine[key] != theirs[key]]
        if differ:
            raise LabelError(
                f"{weak} answered {len(differ)} questions of the {part} differently in "
                f"{found[0].file} and {other.file} (the first: question {differ[0]!r}). Keep the "
                "one that counts and move the other out of the log directory"
            )
    return found[0] if found else None


def attempt_of(log: EvalLog) -> str:
    """What two logs have in common that two workers of one run wrote; "" where nothing tells.

    Besides Inspect's id of the run, the arguments of task and model: a study that was changed goes
    on under the same id, and its answers are no repetition of the earlier ones.
    """
    return f"{log.eval.eval_set_id} {arguments_of(log)}" if log.eval.eval_set_id else ""


def arguments_of(log: EvalLog) -> str:
    """The arguments of a log's task and model, as one text."""
    args = [log.eval.task_args_passed, log.eval.model_args]
    return json.dumps(args, sort_keys=True, default=str)


def log_headers(log_dir: str) -> list[EvalLog]:
    """Headers of all logs in a directory that can be read, the last written last."""
    files = sorted(list_eval_logs(log_dir), key=lambda info: info.mtime or 0)
    return [header for header in headers(map(stamp_of, files)) if header is not None]


@lru_cache(maxsize=64)
def _answers(stamp: Stamp) -> Answers:
    (header,), name = headers([stamp]), stamp.name
    letters: dict[int | str, str | None] = {}
    choices: dict[int | str, Sequence[str]] = {}
    correct: dict[int | str, bool] = {}
    failed = 0
    for summary in read_eval_log_sample_summaries(name):
        if summary.id in letters:
            continue  # the first epoch is the label
        score = next(iter((summary.scores or {}).values()), None)
        letters[summary.id] = (score.answer or None) if score else None
        choices[summary.id] = summary.choices or []
        correct[summary.id] = score is not None and score.value == "C"
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


def outputs_of(location: str) -> Iterator[EvalSample]:
    """The samples of a log one by one, without their transcripts, which are most of it."""
    with local_copy(location) as copy:
        yield from read_eval_log_samples(
            copy,
            all_samples_required=False,
            exclude_fields={"messages", "events", "events_data", "attachments", "store"},
        )
