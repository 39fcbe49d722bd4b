"""The suite's own label sources: gold, weak, the controls, and a file."""

import hashlib
from dataclasses import replace
from pathlib import Path, PurePath
from string import ascii_uppercase

from inspect_ai.dataset import Sample

from w2s_icl.errors import LabelsMissingError, W2SError
from w2s_icl.inputs import absolute
from w2s_icl.record import FILE, LabelRecord, file_of
from w2s_icl.rows import read_rows
from w2s_icl.solvers.label_logs import answers_of, find_answers, label_command, other_runs
from w2s_icl.solvers.labels import LabelRequest, LabelSet, id_of, label_source, labels_sha256


@label_source("gold")
def _gold(request: LabelRequest) -> LabelSet:
    labels = {id_of(s): _gold_text(s) for s in request.pool}
    return LabelSet("gold", labels, "the dataset (gold)", source="the authors of the questions")


@label_source("weak", weak=True)
def _weak(request: LabelRequest) -> LabelSet:
    """The weak model's own zero-shot answers on the pool, wrong ones included."""
    model, experiment, log_dir = request.weak, request.experiment, request.log_dir
    if model.startswith(FILE):
        raise W2SError(f"labels=weak needs a model, got {model!r}: -T labels={model}")
    if experiment is None:
        raise ValueError("labels=weak needs the experiment whose label run is to be read")
    how = (experiment, request.settings)
    answers, command = find_answers(model, "pool", *how, log_dir), label_command(model, *how)
    if answers is None:
        lacks = f"no finished log in {log_dir} holds the answers of {model} on this pool"
        lacks += other_runs(model, *how, log_dir)
        way_out = f"Make it with: {command} (logs elsewhere: set INSPECT_LOG_DIR)"
        raise LabelsMissingError(f"labels=weak: {lacks}. {way_out}")
    labels = answers.labels
    right = [answers.correct[key] for key, text in labels.items() if text is not None]
    record = LabelRecord(
        label_log=file_of(answers.log),
        label_eval_id=answers.log.eval.eval_id,
        labels_sha256=labels_sha256(labels),
        labels_n=len(labels),
        labels_unread=len(labels) - len(right),
        labels_coverage=_share(len(right), experiment.n_pool),
        labels_accuracy=_share(sum(right), len(right)),
    )
    return LabelSet("weak", labels, model, record, command, "another language model")


@label_source("unlabelled")
def _unlabelled(request: LabelRequest) -> LabelSet:
    """The questions and options alone."""
    return replace(_gold(request), kind="unlabelled", by="nobody", shown=False)


@label_source("random")
def _random(request: LabelRequest) -> LabelSet:
    labels = {id_of(s): request.chance(s, "random").choice(s.choices or []) for s in request.pool}
    return LabelSet("random", labels, "a random draw", source="a random draw among the options")


@label_source("flipped")
def _flipped(request: LabelRequest) -> LabelSet:
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
    by = f"the dataset, with as many errors as {weak.by} makes"
    record = weak.record.model_copy(update={"noise_errors": errors})
    source = "a source that makes random errors"
    return LabelSet("noise_matched", labels, by, record, weak.command, source)


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
    every = {id_: labels.get(id_) for id_ in pool}  # what the file does not name is passed over
    return LabelSet("file", every, path.name, record, source="another source")


def file_name(weak: str) -> str:
    """How a log names who labelled: a model as it is, a file without its folder."""
    return FILE + PurePath(weak.removeprefix(FILE)).name if weak.startswith(FILE) else weak


def _table(path: Path, request: LabelRequest) -> dict[int | str, str | None]:
    """Option texts by question id, every row checked; a letter is that of the order shown."""
    questions = {str(s.id): s for s in (*request.pool, *request.skipped, *request.others)}
    labels: dict[int | str, str | None] = {}
    places: dict[str, str] = {}
    for where, row in read_rows(path):
        id_ = str(row.get("question", row.get("id", ""))).strip()
        if id_ not in questions:
            got = repr(id_) if id_ else f"none (columns: {', '.join(row)})"
            raise W2SError(f"{where}: question (or id) must be an id of the dataset, got {got}")
        if places.setdefault(id_, where) != where:
            raise W2SError(f"{where}: question {id_!r} has a label in {places[id_]} already")
        options, said = questions[id_].choices or [], str(row.get("label", "")).strip()
        lettered = dict(zip(ascii_uppercase, options, strict=False))
        text = said if said in options else lettered.get(said.upper())
        if text is None:
            texts = ", ".join(repr(option)[:40] for option in options)
            must_be = f"a letter from A to {max(lettered)} or an option of question {id_!r}"
            got = f"{said!r:.80}" if said else f"none (columns: {', '.join(row)})"
            raise W2SError(f"{where}: label must be {must_be} ({texts}), got {got}")
        labels[id_of(questions[id_])] = text
    return labels


def _gold_text(sample: Sample) -> str:
    return (sample.choices or [])[ascii_uppercase.index(str(sample.target))]


def _wrong(request: LabelRequest, sample: Sample) -> str:
    """A wrong option, all equally likely."""
    gold = _gold_text(sample)
    return request.chance(sample, "wrong").choice([t for t in sample.choices or [] if t != gold])


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
