"""From a directory of Inspect logs to aligned answers; the only reader of logs on this side."""

import json
import math
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import fsspec
import numpy as np
import pandas as pd
from inspect_ai.log import EvalLog, EvalLogInfo, list_eval_logs, read_eval_log
from inspect_ai.log import read_eval_log_sample_summaries as read_summaries
from numpy.typing import NDArray

from w2s_icl import record
from w2s_icl.analysis import answers
from w2s_icl.errors import W2SError, first_line

KEY = record.CellKey._fields  # columns that tell cells apart; `prompt` is "" for the plain prompt
# settings of a call that its reply does not depend on
CLIENT = {"max_connections", "max_retries", "timeout", "attempt_timeout", "batch", "cache"}


@dataclass(frozen=True)
class Note:
    """Something about the logs that a reader must know, in one sentence."""

    level: Literal["problem", "remark"]  # a problem where numbers are missing because of it
    file: str  # "" where it is about all logs
    text: str


@dataclass(frozen=True)
class Declaration:
    """What the study of the earliest log declared, before any result was there (`PlanRecord`)."""

    headline: tuple[int, ...] = ()
    declared: bool = False
    margin: float = record.MARGIN
    models: tuple[str, ...] = ()  # with those that later studies added, as `pairs`
    pairs: tuple[tuple[str, str], ...] = ()
    conflicts: tuple[str, ...] = ()  # what later logs changed, so that it does not bind the results
    plans: Mapping[record.PlanRecord, str] = field(default_factory=dict)  # and their first logs


@dataclass(frozen=True)
class Logs:
    """The finished cells of one experiment. Matrices have the shape (runs, questions)."""

    directory: str
    runs: pd.DataFrame  # a row per cell, index 0.. = row of the matrices; `_row` has the columns
    questions: pd.DataFrame  # index id, sorted; question, choices, gold, n_options, category
    letters: NDArray[np.str_]  # of the first epoch that has an answer; "" unread, or none
    correct: NDArray[np.float64]  # 1 or 0 (unread), the mean over epochs; nan without an answer
    unread: NDArray[np.intp]  # replies that could not be read, over all epochs
    planned: pd.DataFrame  # columns of `KEY`, each cell that a study planned
    metadata: Mapping[str, Any]  # dataset, identity and versions
    notes: Sequence[Note]
    declaration: Declaration = field(default_factory=Declaration)
    unfinished: frozenset[record.CellKey] = frozenset()  # cells of which no log came to its end
    # right and all answers of imported cells of which nothing else is known
    counts: Mapping[record.CellKey, tuple[int, int]] = field(default_factory=dict)
    imported: record.ImportRecord | None = None  # None for the suite's own runs


class _Run:
    """The header of a log of this suite, its parts checked, and its answers once they are read."""

    def __init__(self, info: EvalLogInfo, log: EvalLog) -> None:
        self.info, self.log, self.file = info, log, record.file_of(log)
        self.experiment = record.ExperimentRecord.from_log(log)
        self.cell = record.CellRecord.from_log(log)
        self.shown = record.Shown.from_log(log)
        self.labels = record.LabelRecord.from_log(log)
        self.run = record.RunRecord.from_log(log)
        self.plan = record.PlanRecord.in_log(log)
        self.imported = record.ImportRecord.in_log(log)
        self.key = self.cell.key(log.eval.model)
        self.finished = log.status == "success" and not log.invalidated
        self.answers = answers.Answers()


def read_logs(directory: str) -> Logs:
    """Read all finished cells of a log directory: a folder, or what Inspect can list (`s3://...`).

    Logs of other tasks, unfinished attempts and files that cannot be read are left out with a note.

    Raises:
        W2SError: There are no logs of this suite; they are of several experiments, or were asked
            or read differently; two finished logs of one cell, of different runs, disagree; a log
            holds a question twice, or was not scored by this suite.
    """
    notes: list[Note] = []
    questions: dict[record.Id, answers.Question] = {}
    with _on_this_machine(directory) as infos:
        parsed = _headers(infos, notes)
        finished = [run for run in parsed if run.finished]
        _refuse_different(finished)
        by_cell = _read_answers(finished, questions, notes)
    if not by_cell:
        none = f"{len(infos)} log files, none a finished one of this suite"
        said = f"no results to analyse ({none if infos else 'no log files'})"
        named = "".join(f"\n  {note.file}: {note.text}" for note in notes)
        raise W2SError(f"{directory}: {said}. Give the --log-dir of a `w2s run`{named}")
    runs = [_one_per_cell(of, notes) for of in by_cell.values()]
    version = _scorer_version(runs)
    # neither numbers nor files may depend on the order in which a directory lists its logs
    runs.sort(key=lambda run: run.key)
    unfinished = [run for run in parsed if not run.finished and run.key not in by_cell]
    notes += (Note("problem", r.file, f"not finished: status {r.log.status}") for r in unfinished)
    declaration = _declaration(parsed, _plans_beside(directory))
    first, *others = declaration.plans.values() or [""]
    notes += [Note("remark", file, f"its plan differs from that of {first}") for file in others]
    ids, letters, correct, unread = answers.matrices_of([run.answers for run in runs], questions)
    index, fields = pd.Index(ids, name="id", dtype=object), list(answers.Question._fields)
    asked = pd.DataFrame([questions[id_] for id_ in ids], index, columns=fields)
    asked["n_options"] = asked["choices"].map(len)
    planned = dict.fromkeys(cell for plan in declaration.plans for cell in plan.cells())
    imports = [(run.key, run.imported) for run in finished if run.imported]
    return Logs(
        directory,
        pd.DataFrame([_row(run, questions) for run in runs]),
        asked[["question", "choices", "gold", "n_options", "category"]],
        letters,
        correct,
        unread,
        pd.DataFrame(list(planned), columns=list(KEY)),
        {**_metadata(finished), "scorer_version": version},
        tuple(sorted(notes, key=lambda note: (note.file, note.text))),
        declaration,
        frozenset(run.key for run in unfinished),
        {key: (of.correct or 0, of.total) for key, of in imports if of.total},
        next((of for _, of in imports), None),
    )


@contextmanager
def _on_this_machine(directory: str) -> Iterator[Sequence[EvalLogInfo]]:
    """The logs of a directory as local files: through a network, all at once are faster read."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            infos = list_eval_logs(directory, descending=False)
            if infos and "://" in directory and not directory.startswith("file://"):
                files, _ = fsspec.core.url_to_fs(directory)
                files.get([i.name for i in infos], [f"{folder}/{_file(i)}" for i in infos])
                infos = list_eval_logs(folder, descending=False)
        except (OSError, ValueError) as error:
            raise W2SError(f"{directory}: cannot be listed or read: {error}") from None
        yield infos


def _file(info: EvalLogInfo) -> str:
    return info.name.rsplit("/", 1)[-1]


@contextmanager
def _damage_noted(info: EvalLogInfo, notes: list[Note]) -> Iterator[None]:
    """Name a file that cannot be read: a torn zip raises whatever its first bad byte leads to."""
    try:
        yield
    except Exception as error:
        reason = first_line(error).removeprefix(f"{_file(info)}: ")
        notes.append(Note("problem", _file(info), f"cannot be read: {reason}"))


def _headers(infos: Sequence[EvalLogInfo], notes: list[Note]) -> list[_Run]:
    parsed: list[_Run] = []
    for info in infos:
        with _damage_noted(info, notes):
            log = read_eval_log(info, header_only=True)
            if record.is_ours(log):
                parsed.append(_Run(info, log))
            else:
                text = f"left out: a log of the task {log.eval.task}"
                notes.append(Note("remark", _file(info), text))
    return parsed


def _read_answers(
    finished: Sequence[_Run], questions: dict[record.Id, answers.Question], notes: list[Note]
) -> Mapping[record.CellKey, list[_Run]]:
    """The runs of each cell with their answers, but those of which only counts are known."""
    by_cell: dict[record.CellKey, list[_Run]] = defaultdict(list)
    for run in finished:
        samples = None
        if run.imported and run.imported.total:
            continue
        with _damage_noted(run.info, notes):
            samples = list(read_summaries(run.info))
        if samples is not None:
            run.answers = answers.answers_of(samples, questions, run.file)
            by_cell[run.key].append(run)
    return by_cell


def _refuse_different(runs: Sequence[_Run]) -> None:
    """Raise W2SError for runs that differ in how they were asked or read, not in their labels.

    Permutations and the settings of a model must agree among plain runs on the test.
    """
    first: dict[tuple[str, str], tuple[str, Any]] = {}
    for run in runs:
        said = {(name, ""): value for name, value in run.experiment.identity.items()}
        said["read", ""] = run.cell.read
        if run.cell.split == "test" and not run.cell.prompt:
            said["permutations", ""] = run.cell.permutations
            said |= {(name, run.key.model): of for name, of in record.settings_of(run.log).items()}
        for key, value in said.items():
            file, other = first.setdefault(key, (run.file, value))
            if value != other:
                differ = f"{key[0]} is {value!r} in the one and {other!r} in the other"
                raise W2SError(
                    f"{run.file} and {file} are of different experiments: {differ}. Analyse each "
                    "from a directory of its own"
                )


def _scorer_version(runs: Sequence[_Run]) -> str:
    """The version of the reading; refuse several."""
    files: dict[str, str] = {}
    for run in runs:
        files |= dict.fromkeys(run.answers.versions or {run.experiment.scorer_version}, run.file)
    if len(files) > 1:
        raise W2SError(
            f"{' and '.join(files.values())} were read by different versions of the scorer "
            f"({', '.join(files)}): score the older again with `inspect score LOG --scorer "
            f"{record.SCORER}`, or analyse each from a directory of its own"
        )
    return next(iter(files))


def _metadata(runs: Sequence[_Run]) -> dict[str, Any]:
    """What all logs agree on, and the versions that wrote them."""
    shared = ("dataset", "dataset_source", "n_pool", "n_near_duplicates")
    return {
        **runs[0].experiment.identity,
        **{name: getattr(runs[0].experiment, name) for name in shared},
        "study": sorted({run.plan.name for run in runs if run.plan} - {""}),
        "system_message": runs[0].shown.system_message,
        "w2s_icl": sorted({run.experiment.w2s_icl for run in runs}),
        "inspect_ai": sorted({run.log.eval.packages.get("inspect_ai", "") for run in runs}),
    }


def _row(run: _Run, questions: dict[record.Id, answers.Question]) -> dict[str, Any]:
    """A row of `Logs.runs`, beside the columns of `KEY`."""
    log, shown, replies, orders = run.log, run.shown, run.answers.replies, run.cell.permutations
    # by sample: the header of a resumed run counts its last attempt only
    read, written, cached = map(sum, zip(*run.answers.tokens or [(0, 0, 0)], strict=True))
    epochs = log.eval.config.epochs or 1
    # a run that tolerates failed questions has no results where all of them failed
    samples = log.eval.dataset.samples or len(replies)
    in_view = run.imported is None or run.imported.as_shown
    settings = record.all_settings_of(log).items()
    further = sorted((k, v) for k, v in settings if k not in (*record.SETTINGS, *CLIENT))
    paid = run.answers.dollars or run.run.reused_from
    return run.key._asdict() | {
        "file": run.file,
        "eval_id": log.eval.eval_id,
        "n": len(replies),  # questions with an answer
        "asked": log.results.total_samples // epochs if log.results else samples,
        "epochs": epochs,
        "replies": sum(map(len, replies.values())),  # over all epochs
        "unparsed": sum(not letter for of in replies.values() for letter in of.values()),
        "permutations": orders,  # in which each question was shown
        "changes": answers.changes_of(replies, orders, questions),  # by question that has any
        "positions": answers.positions_of(replies if in_view else {}, orders, questions),
        "demo_ids": shown.ids,
        "demo_labels": shown.labels,  # letters, "" where none is shown
        "demo_choices": shown.choices,
        "demo_label_accuracy": math.nan if shown.right_share is None else shown.right_share,
        "passed_over": (*shown.skipped, *shown.unread),  # pool questions that have no label
        "label_eval_id": run.labels.label_eval_id,
        "reused_from": run.run.reused_from,
        "in_study": run.plan is not None,
        # address, arguments, and the settings that logs of one experiment need not share
        "endpoint": f"{log.eval.model_base_url} {sorted(log.eval.model_args.items())} {further}",
        "settings": {**record.settings_of(log), "read": run.cell.read, "permutations": orders},
        "calls": len(run.answers.tokens),
        "input_tokens": read,
        "output_tokens": written,
        "cached_tokens": cached,
        "cost": math.fsum(run.answers.dollars) if paid else math.nan,  # nan where a price is
        "simulated": log.eval.model.startswith(record.STANDIN) or bool(run.run.warning),
    }


def _one_per_cell(runs: Sequence[_Run], notes: list[Note]) -> _Run:
    """The fullest of the finished logs of one cell; of equals, the first that ended.

    Two workers of one run may both have answered a cell: nobody chose between their logs, so the
    rule does, even where they disagree. Logs of different runs must not disagree.
    """
    kept, *others = sorted(runs, key=lambda run: record.precedence(run.log))
    attempts = {record.attempt_of(kept.log)}
    for other in others:
        attempt = record.attempt_of(other.log)
        differ = [
            id_
            for id_, by_epoch in other.answers.replies.items()
            for epoch, letter in by_epoch.items()
            if kept.answers.replies.get(id_, {}).get(epoch, letter) != letter
        ]
        if differ and not (attempt and attempt in attempts):
            raise W2SError(
                f"{kept.file} and {other.file} are both finished logs of one cell and differ in "
                f"{len(differ)} answers (the first: question {differ[0]!r}). Keep the one that "
                "counts and move the other out of the directory"
            )
        attempts.add(attempt)
        unlike = f", {len(differ)} answers differ" if differ else ""
        text = f"left out: the same cell as {kept.file}{unlike}; the costs are of that log alone"
        notes.append(Note("remark", other.file, text))
    return kept


def _plans_beside(directory: str) -> list[record.PlanRecord]:
    """Plans of runs that wrote no log, since nothing was left to ask."""
    files, path = fsspec.core.url_to_fs(f"{directory.rstrip('/')}/{record.PLANS}")
    lines = files.cat_file(path).decode(errors="replace").splitlines() if files.exists(path) else []
    try:
        return [record.PlanRecord.from_metadata(json.loads(line), record.PLANS) for line in lines]
    except (json.JSONDecodeError, TypeError, AttributeError, RecursionError) as error:
        raise W2SError(f"{path}: a line is no plan ({first_line(error)}): remove it") from None


def _declaration(runs: Sequence[_Run], beside: Sequence[record.PlanRecord]) -> Declaration:
    """The declaration of the earliest log, finished or not, held against all other plans."""
    plans: dict[record.PlanRecord, _Run] = {}
    for run in sorted(runs, key=lambda run: run.log.eval.created):
        if run.plan:
            plans.setdefault(run.plan, run)
    if not plans:
        return Declaration()
    # Inspect writes all times as UTC in ISO 8601, which sort as texts
    arms = [run.log for run in runs if run.key[1:3] == ("few_shot", "test")]
    ends = [log.stats.completed_at for log in arms if record.is_complete(log)]
    first_end = min(filter(None, ends), default="9999")
    first, *_ = plans
    held = [(plan, run.log.eval.created > first_end) for plan, run in plans.items()]
    held += [(plan, True) for plan in beside]  # where all arms were finished
    conflicts = [text for plan, late in held for text in _conflicts(first, plan, late=late)]
    return Declaration(
        tuple(sorted(first.headline)),
        first.declared,
        first.margin,
        tuple(dict.fromkeys(name for plan in plans for name in plan.models)),
        tuple(dict.fromkeys(pair for plan in plans for pair in plan.pairs)),
        tuple(dict.fromkeys(conflicts)),
        {plan: run.file for plan, run in plans.items()},
    )


def _conflicts(first: record.PlanRecord, plan: record.PlanRecord, *, late: bool) -> Iterator[str]:
    """How a plan departs from the first; `late` where an arm was finished before it."""

    def counts(of: record.PlanRecord) -> str:
        return f"{', '.join(map(str, of.headline))} shots" if of.declared else "none declared"

    if (plan.headline, plan.declared) != (first.headline, first.declared):
        yield f"the headline was changed from {counts(first)} to {counts(plan)}"
    if set(plan.pairs) != set(first.pairs):
        yield "the pairs were changed"
    if plan.models != first.models:
        same = set(plan.models) == set(first.models)
        yield f"the {'order of the models was' if same else 'models were'} changed"
    before, now = (
        {tuple(arm): draws for *arm, _, draws in sorted(of.blocks, key=lambda block: block[-1])}
        for of in (first, plan)
    )
    more = [(n, now[arm]) for arm, n in before.items() if now.get(arm, 0) > n]
    if late and more:
        were, are = more[0]
        yield f"draws were added after the first arm was finished: {were}, then {are}"
