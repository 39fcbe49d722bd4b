"""The suite's own label sources: gold, weak, the controls, and a file."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path, PurePath
from string import ascii_uppercase
from typing import Any

from inspect_ai.dataset import Sample

from w2s_icl.errors import LabelsMissingError, W2SError
from w2s_icl.inputs import absolute
from w2s_icl.record import FILE, LabelRecord, file_of
from w2s_icl.rows import read_rows
from w2s_icl.solvers.label_logs import answers_of, find_answers, label_command, other_runs
from w2s_icl.solvers.labels import LabelRequest, LabelSet, id_of, label_source, labels_sha256


@label_source("gold")
def _gold(request: LabelRequest) -> LabelSet:
    """The dataset's own answers."""
    labels = {id_of(s): _gold_text(s) for s in request.pool}
    return LabelSet("gold", labels, "the dataset (gold)", source="the authors of the questions")


@label_source("weak", weak=True)
def _weak(request: LabelRequest) -> LabelSet:
    """The weak model's own zero-shot answers on the pool, wrong ones included."""
    if request.weak.startswith(FILE):
        raise W2SError(f"labels=weak needs a model, got {request.weak!r}: -T labels={request.weak}")
    if request.experiment is None:
        raise ValueError("labels=weak needs the experiment whose label run is to be read")
    how = (request.experiment, request.settings)
    answers = find_answers(request.weak, "pool", *how, request.log_dir)
    command = label_command(request.weak, *how)
    if answers is None:
        raise LabelsMissingError(
            f"labels=weak: no finished log in {request.log_dir} holds the answers of "
            f"{request.weak} on this pool{other_runs(request.weak, *how, request.log_dir)}. Make "
            f"it with: {command} (logs elsewhere: set INSPECT_LOG_DIR)"
        )
    labels = answers.labels
    right = [answers.correct[key] for key, text in labels.items() if text is not None]
    record = LabelRecord(
        label_log=file_of(answers.log),
        label_eval_id=answers.log.eval.eval_id,
        labels_sha256=labels_sha256(labels),
        labels_n=len(labels),
        labels_unread=len(labels) - len(right),
        labels_coverage=_share(len(right), request.experiment.n_pool),
        labels_accuracy=_share(sum(right), len(right)),
    )
    return LabelSet("weak", labels, request.weak, record, command, "another language model")


@label_source("unlabelled")
def _unlabelled(request: LabelRequest) -> LabelSet:
    """The questions and options alone."""
    return replace(_gold(request), kind="unlabelled", by="nobody", shown=False)


@label_source("random")
def _random(request: LabelRequest) -> LabelSet:
    """Any option, all equally likely."""
    labels = {id_of(s): request.chance(s, "random").choice(s.choices or []) for s in request.pool}
    return LabelSet("random", labels, "a random draw", source="a random draw among the options")


@label_source("flipped")
def _flipped(request: LabelRequest) -> LabelSet:
    """Always a wrong option."""
    labels = {id_of(s): _wrong(request, s) for s in request.pool}
    return LabelSet("flipped", labels, "a random draw among the wrong options")


@label_source("noise_matched", weak=True)
def _noise_matched(request: LabelRequest) -> LabelSet:
    """Gold labels, as many of them wrong as of the weak labels among the same demonstrations."""
    weak = (_file if request.weak.startswith(FILE) else _weak)(request)
    labelled = [s for s in request.pool if weak.labels.get(id_of(s)) is not None]
    shown = labelled[: request.shots]
    errors = sum(weak.labels[id_of(s)] != _gold_text(s) for s in shown)
    ranked = sorted(shown, key=lambda s: request.chance(s, "noise").random())
    labels: dict[int | str, str | None] = dict.fromkeys(weak.labels)  # unread: passed over here too
    labels |= {id_of(s): _gold_text(s) for s in labelled}
    labels |= {id_of(s): _wrong(request, s) for s in ranked[:errors]}
    return LabelSet(
        "noise_matched",
        labels,
        f"the dataset, with as many errors as {weak.by} makes",
        weak.record.model_copy(update={"noise_errors": errors}),
        weak.command,
        source="a source that makes random errors",
    )


@label_source("file", weak=True)
def _file(request: LabelRequest) -> LabelSet:
    """Labels from a table or a log: a vote, a filtered set, people, any other method."""
    path = absolute(request.weak.removeprefix(FILE))
    if path.suffix == ".eval":
        answers = answers_of(path, request.experiment)
        named, eval_id = answers.labels, answers.log.eval.eval_id
    else:
        named, eval_id = _table(path, request), ""
    pool = {id_of(s): _gold_text(s) for s in (*request.pool, *request.skipped)}
    labels = {id_: text for id_, text in named.items() if id_ in pool and text is not None}
    right = sum(text == pool[id_] for id_, text in labels.items())
    record = LabelRecord(
        label_log=str(path),
        label_eval_id=eval_id,
        label_file_sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        labels_sha256=labels_sha256(labels),
        labels_n=len(named) if eval_id else len(labels),
        labels_unread=len(named) - len(labels) if eval_id else 0,
        labels_coverage=_share(len(labels), len(pool)),
        labels_accuracy=_share(right, len(labels)),
    )
    # a question that the file does not name has no label: it is passed over
    every = {id_: labels.get(id_) for id_ in pool}
    return LabelSet("file", every, path.name, record, source="another source")


def file_name(weak: str) -> str:
    """How a log names who labelled: a model as it is, a file without its folder.

    Example:
        >>> file_name("file:/home/me/votes.csv"), file_name("openai/gpt-4o")
        ('file:votes.csv', 'openai/gpt-4o')
    """
    return FILE + PurePath(weak.removeprefix(FILE)).name if weak.startswith(FILE) else weak


def _table(path: Path, request: LabelRequest) -> dict[int | str, str | None]:
    """Option texts by question id, every row checked."""
    questions = {str(s.id): s for s in (*request.pool, *request.skipped, *request.others)}
    labels: dict[int | str, str | None] = {}
    places: dict[str, str] = {}
    for where, row in read_rows(path):
        id_ = str(row.get("question", row.get("id", ""))).strip()
        if not {"question", "id"} & row.keys() or "label" not in row:
            raise W2SError(
                f"{where}: the columns are {', '.join(row)}; needed are question (or id), the id "
                "of a question, and label, a letter or an option's text"
            )
        if id_ not in questions:
            raise W2SError(f"{where}: question {id_!r} is none of the dataset's ids")
        if places.setdefault(id_, where) != where:
            raise W2SError(f"{where}: question {id_!r} has a label in {places[id_]} already")
        labels[id_of(questions[id_])] = _option(row["label"], questions[id_], where)
    return labels


def _option(label: Any, sample: Sample, where: str) -> str:
    """The option that a label names by its text, or by its letter in the order shown."""
    options, said = sample.choices or [], str(label).strip()
    if said in options:
        return said
    letters = ascii_uppercase[: len(options)]
    if len(said) == 1 and said.upper() in letters:
        return options[letters.index(said.upper())]
    raise W2SError(
        f"{where}: the label {said!r:.80} is no option of question {sample.id!r}; allowed are the "
        f"letters A to {letters[-1]}, or {', '.join(repr(o)[:40] for o in options)}"
    )


def _gold_text(sample: Sample) -> str:
    return (sample.choices or [])[ascii_uppercase.index(str(sample.target))]


def _wrong(request: LabelRequest, sample: Sample) -> str:
    """A wrong option, all equally likely."""
    gold = _gold_text(sample)
    wrong = [text for text in sample.choices or [] if text != gold]
    return request.chance(sample, "wrong").choice(wrong)


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
