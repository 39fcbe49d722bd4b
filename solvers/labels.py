"""Where the demonstrations' labels come from: the request, the set, and the registry of sources.

Labels are option texts, so that they hold in any order of the options.
"""

import importlib
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from string import ascii_uppercase
from typing import Any

from inspect_ai.dataset import Sample

from w2s_icl.errors import LabelsMissingError, W2SError, first_line
from w2s_icl.record import SELF, ExperimentRecord, LabelRecord
from w2s_icl.solvers.few_shot import Demonstration, Demonstrations, digest

Labels = Mapping[int | str, str | None]  # option text by question id; None where there is none


@dataclass(frozen=True)
class LabelRequest:
    """What a label source may look at, for `shots` demonstrations of one draw."""

    pool: Sequence[Sample]  # questions in the order of the draw, without those in `skipped`
    weak: str = ""  # model that wrote the labels, or "file:PATH"; "" where the kind needs neither
    shots: int = 0
    draw: int = 0
    seed: int = 42
    experiment: ExperimentRecord | None = None  # what a label run must agree on; None: no log
    settings: Mapping[str, Any] = field(default_factory=dict)  # of calls, and "read": likewise
    log_dir: str = ""  # where finished logs are
    skipped: Sequence[Sample] = ()
    others: Sequence[Sample] = ()  # questions outside the pool, which a file of labels may name

    def chance(self, sample: Sample, purpose: str) -> random.Random:
        """Random numbers for a question, a draw and a kind of labels, equal at all shot counts."""
        return random.Random(f"{self.seed}/{self.draw}/{sample.id}/{purpose}")


@dataclass(frozen=True)
class LabelSet:
    """Labels for questions of the pool."""

    kind: str
    labels: Labels  # None: the question is passed over; to show an absent one is an error
    by: str  # who labelled, as the transcript says it
    record: LabelRecord = field(default_factory=LabelRecord)
    command: str = ""  # the command that makes the labels, for errors
    source: str = ""  # who labelled, as the prompt's `disclosure` says it; `by` by default
    shown: bool = True  # False when the demonstrations are shown without their labels


LabelSource = Callable[[LabelRequest], LabelSet]

_SOURCES: dict[str, tuple[LabelSource, bool]] = {}  # with whether they need a weak model


def label_source(kind: str, *, weak: bool = False) -> Callable[[LabelSource], LabelSource]:
    """Register a function as the source of labels that `-T labels=` and a study call `kind`.

    With `weak`, each weak model has its own cells. docs/labels.md has an example.
    """

    def register(source: LabelSource) -> LabelSource:
        _SOURCES[kind] = (source, weak)
        return source

    return register


def known_kinds() -> tuple[str, ...]:
    """Names of the registered sources, and `SELF`."""
    return (*_SOURCES, SELF)


def check_kind(kind: str) -> None:
    """Raise W2SError for a kind that no source has; other packages' sources are loaded first."""
    for plugin in entry_points(group="inspect_ai") if kind not in known_kinds() else ():
        import_plugin(plugin.module)
    if kind not in known_kinds():
        known = ", ".join("file:PATH" if one == "file" else one for one in known_kinds())
        raise W2SError(f"labels must be one of {known}, got {kind!r}")


def import_plugin(module: str) -> str:
    """Import a module that registers label sources; raises W2SError where that fails."""
    try:
        importlib.import_module(module)
    except (Exception, SystemExit) as error:  # whatever a user's module raises
        raise W2SError(f"the plugin {module} cannot be imported: {first_line(error)}") from error
    return module


def needs_weak(kind: str) -> bool:
    """Whether labels of this kind are made from a weak model's answers, or from a file."""
    return kind in _SOURCES and _SOURCES[kind][1]


def read_labels(kind: str, request: LabelRequest) -> LabelSet:
    """Labels of one kind; LabelsMissingError where no finished log holds them, W2SError else."""
    check_kind(kind)
    if needs_weak(kind) and not request.weak:
        whose = "the model whose zero-shot answers are the labels: -T weak=MODEL"
        raise W2SError(f"labels={kind} needs weak, {whose}")
    if not needs_weak(kind) and request.weak:
        raise W2SError(f"weak={request.weak!r} has no meaning with labels={kind}; leave it out")
    return _SOURCES[kind][0](request)


def demonstrations(
    pool: Sequence[Sample], label_set: LabelSet, *, shots: int
) -> tuple[Demonstrations, tuple[int | str, ...]]:
    """The first `shots` labelled questions of `pool`, in its order, and the ids passed over.

    Raises:
        W2SError: Fewer questions of the pool than `shots` have a label.
        LabelsMissingError: A question that should be shown was never labelled.
    """
    labels = f"labels={label_set.kind}"
    shown: list[Demonstration] = []
    unread: list[int | str] = []
    for sample in pool:
        if len(shown) == shots:
            break
        id_, choices = id_of(sample), tuple(sample.choices or ())
        if id_ not in label_set.labels:
            n, asked = len(label_set.labels), f"{id_!r} is among the first {shots} of the draw"
            never = f"{label_set.by} never answered it ({n} questions are labelled)"
            way_out = f"Label the whole pool: {label_set.command}"
            raise LabelsMissingError(f"{labels}: question {asked}, but {never}. {way_out}")
        text = label_set.labels[id_]
        if text is None:
            unread.append(id_)
            continue
        if text not in choices:
            must_be = f"the label {text!r} of question {id_!r} must be one of its options"
            others = "these labels are of other questions or another seed"
            raise W2SError(f"{labels}: {must_be}; {others}")
        label = ascii_uppercase[choices.index(text)] if label_set.shown else None
        shown.append(Demonstration(id_, str(sample.input), choices, label, str(sample.target)))
    if len(shown) < shots:
        have = f"only {len(shown)} of the {len(pool)} questions of the pool have a usable label"
        raise W2SError(f"shots={shots}, but {have} by {label_set.by}")
    wrong = sum(d.label != d.gold for d in shown)
    by = f", labels by {label_set.by}; {wrong} are wrong" if label_set.shown else " without answers"
    note = f"**{len(shown)} demonstrations**{by}." if shown else ""
    return Demonstrations(tuple(shown), note, label_set.source or label_set.by), tuple(unread)


def labels_sha256(labels: Labels) -> str:
    """Digest of a label set, the same whatever order it was read in."""
    return digest(sorted([str(key), text] for key, text in labels.items()))


def id_of(sample: Sample) -> int | str:
    """The id of a question; all questions of `evals.questions` have one."""
    if sample.id is None:
        raise ValueError("a question without an id cannot be shown")
    return sample.id
