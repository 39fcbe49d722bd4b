"""Where the demonstrations' labels come from: the request, the set, and the registry of sources.

A label source is a function that is registered under its name with `@label_source`. Labels are
option texts, so that they hold in any order of the options. `label_kinds` has the suite's own.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from string import ascii_uppercase
from typing import Any

from inspect_ai.dataset import Sample

from w2s_icl.errors import LabelsMissingError, W2SError, first_line
from w2s_icl.record import SELF, ExperimentRecord, LabelRecord
from w2s_icl.solvers.few_shot import Demonstration, Demonstrations

NAMED_WRONG_LABELS = 8
"""How many wrong labels the note in the transcript names."""

Labels = Mapping[int | str, str | None]
"""Option text by question id; None where the answer could not be read."""


@dataclass(frozen=True)
class LabelRequest:
    """What a label source may look at, for `shots` demonstrations of one draw.

    Attributes:
        pool: Questions in the order of the draw, without those in `skipped`.
        weak: Model that wrote the labels, or "file:PATH"; "" where the kind needs neither.
        experiment: What a label run must agree on; None where no log is read.
        settings: Settings of calls, and "read", by name: what else it must agree on.
        log_dir: Where finished logs are.
        others: Questions of the same set outside the pool, which a file of labels may name.
    """

    pool: Sequence[Sample]
    weak: str = ""
    shots: int = 0
    draw: int = 0
    seed: int = 42
    experiment: ExperimentRecord | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    log_dir: str = ""
    skipped: Sequence[Sample] = ()
    others: Sequence[Sample] = ()

    def chance(self, sample: Sample, purpose: str) -> random.Random:
        """Random numbers for a question, a draw and a kind of labels, equal at all shot counts."""
        return random.Random(f"{self.seed}/{self.draw}/{sample.id}/{purpose}")


@dataclass(frozen=True)
class LabelSet:
    """Labels for questions of the pool.

    Attributes:
        labels: Option text by question id. A question with None has no usable label and is passed
            over. A question that was never asked is absent: showing it is an error.
        by: Who labelled, as the transcript says it.
        command: The command that makes the labels, for errors.
        source: Who labelled, as the prompt's `disclosure` says it; `by` by default.
        shown: False when the demonstrations are shown without their labels.
    """

    kind: str
    labels: Labels
    by: str
    record: LabelRecord = field(default_factory=LabelRecord)
    command: str = ""
    source: str = ""
    shown: bool = True


LabelSource = Callable[[LabelRequest], LabelSet]

_SOURCES: dict[str, LabelSource] = {}
_NEED_WEAK: set[str] = set()


def label_source(kind: str, *, weak: bool = False) -> Callable[[LabelSource], LabelSource]:
    """Register a function as the source of labels that `-T labels=` and a study call `kind`.

    Args:
        kind: The name.
        weak: Whether a weak model's answers are needed, so that each weak model has its own cells.

    Example:
        >>> from w2s_icl.solvers import labels
        >>> @labels.label_source("last")
        ... def last_option(request):
        ...     return LabelSet("last", {s.id: s.choices[-1] for s in request.pool}, "nobody")
        >>> "last" in labels.known_kinds(), labels.needs_weak("last")
        (True, False)
        >>> del labels._SOURCES["last"]
    """

    def register(source: LabelSource) -> LabelSource:
        _SOURCES[kind] = source
        (_NEED_WEAK.add if weak else _NEED_WEAK.discard)(kind)
        return source

    return register


def known_kinds() -> tuple[str, ...]:
    """Names of the registered sources, and `SELF`."""
    return (*_SOURCES, SELF)


def check_kind(kind: str) -> None:
    """Refuse a kind of labels that no source has; other packages' sources are loaded first.

    Raises:
        W2SError: Naming the kinds that there are.
    """
    if kind in known_kinds():
        return
    for plugin in entry_points(group="inspect_ai"):
        try:
            plugin.load()
        except Exception as error:  # whatever a package raises when it is imported
            raise W2SError(
                f"labels={kind!r} is none of {', '.join(known_kinds())}, and the package of the "
                f"entry point {plugin.name} cannot be loaded: {first_line(error)}"
            ) from error
    if kind not in known_kinds():
        raise W2SError(f"labels must be one of {', '.join(known_kinds())}, got {kind!r}")


def needs_weak(kind: str) -> bool:
    """Whether labels of this kind are made from a weak model's answers, or from a file."""
    return kind in _NEED_WEAK


def read_labels(kind: str, request: LabelRequest) -> LabelSet:
    """Labels of one kind.

    Raises:
        W2SError: `kind` is unknown, `weak` is missing or superfluous, or the source's own errors.
        LabelsMissingError: No finished log holds the labels.
    """
    check_kind(kind)
    if needs_weak(kind) and not request.weak:
        raise W2SError(
            f"labels={kind} needs weak, the model whose zero-shot answers are the labels: "
            "-T weak=MODEL"
        )
    if not needs_weak(kind) and request.weak:
        raise W2SError(f"weak={request.weak!r} has no meaning with labels={kind}; leave it out")
    return _SOURCES[kind](request)


def demonstrations(
    pool: Sequence[Sample], label_set: LabelSet, *, shots: int
) -> tuple[Demonstrations, tuple[int | str, ...]]:
    """The first `shots` labelled questions of `pool`, in its order, and the ids passed over.

    The first k of a longer list are the list of k, so a longer prompt contains the shorter one.

    Raises:
        W2SError: The pool holds fewer questions than `shots`, or too few have a label.
        LabelsMissingError: A question that should be shown was never labelled.
    """
    if shots > len(pool):
        raise W2SError(f"shots must be between 0 and {len(pool)} (the pool), got {shots}")
    shown: list[Demonstration] = []
    unread: list[int | str] = []
    for sample in pool:
        if len(shown) == shots:
            break
        id_, choices = id_of(sample), sample.choices or []
        if id_ not in label_set.labels:
            raise LabelsMissingError(
                f"labels={label_set.kind}: question {id_!r} is among the first {shots} of the "
                f"draw, but {label_set.by} never answered it ({len(label_set.labels)} questions "
                f"are labelled). Label the whole pool: {label_set.command}"
            )
        text = label_set.labels[id_]
        if text is None:
            unread.append(id_)
            continue
        if text not in choices:
            raise W2SError(
                f"labels={label_set.kind}: the label {text!r} of question {id_!r} must be one of "
                "its options; these labels are of other questions or another seed"
            )
        label = ascii_uppercase[choices.index(text)] if label_set.shown else None
        question = (id_, str(sample.input), tuple(choices))
        shown.append(Demonstration(*question, label=label, gold=str(sample.target)))
    if len(shown) < shots:
        raise W2SError(
            f"shots={shots}, but only {len(shown)} of the {len(pool)} questions of the pool have a "
            f"usable label by {label_set.by}"
        )
    source = label_set.source or label_set.by
    return Demonstrations(tuple(shown), _note(shown, label_set), source), tuple(unread)


def labels_sha256(labels: Labels) -> str:
    """Digest of a label set, the same whatever order it was read in."""
    rows = sorted([str(key), text] for key, text in labels.items())
    return hashlib.sha256(json.dumps(rows, ensure_ascii=False).encode()).hexdigest()


def id_of(sample: Sample) -> int | str:
    """The id of a question; all questions of `evals.questions` have one."""
    if sample.id is None:
        raise ValueError("a question without an id cannot be shown")
    return sample.id


def _note(shown: Sequence[Demonstration], label_set: LabelSet) -> str:
    if not shown:
        return ""
    if not label_set.shown:
        return f"**{len(shown)} demonstrations** without answers."
    wrong = [f"`{d.id}` {d.label} (gold {d.gold})" for d in shown if d.label != d.gold]
    named = ": " + ", ".join(wrong[:NAMED_WRONG_LABELS]) if wrong else ""
    more = len(wrong) - NAMED_WRONG_LABELS
    named += f" and {more} more" if more > 0 else ""
    by = f"**{len(shown)} demonstrations**, labels by {label_set.by}"
    return f"{by}; {len(wrong)} are wrong{named}."
