"""From a directory of Inspect logs to aligned answers; the only reader of logs on this side.

Questions are found by id and checked by content; what cannot be used is named.
"""

from __future__ import annotations

import math
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Literal

import fsspec
import numpy as np
import pandas as pd
from inspect_ai.log import (
    EvalLog,
    EvalLogInfo,
    list_eval_logs,
    read_eval_log,
    read_eval_log_sample_summaries,
)
from numpy.typing import NDArray

from w2s_icl.analysis.answers import (
    Answers,
    Question,
    Questions,
    answers_of,
    changes_of,
    matrices_of,
    positions_of,
)
from w2s_icl.analysis.declaration import Declaration, declaration_of, plans_beside
from w2s_icl.errors import W2SError, first_line
from w2s_icl.record import (
    SCORER,
    CellKey,
    CellRecord,
    ExperimentRecord,
    ImportRecord,
    LabelRecord,
    PlanRecord,
    RunRecord,
    Shown,
    attempt_of,
    file_of,
    is_ours,
    is_simulated,
    precedence,
    settings_of,
)

KEY = CellKey._fields
"""Columns that tell cells apart; `prompt` is "" for the plain prompt."""


@dataclass(frozen=True)
class Note:
    """Something about the logs that a reader must know, in one sentence.

    A "problem" where numbers are missing because of it; `file` is "" where it is about all logs.
    """

    level: Literal["problem", "remark"]
    file: str
    text: str


@dataclass(frozen=True)
class Logs:
    """The finished cells of one experiment.

    Attributes:
        directory: Where they were read.
        runs: One row per cell, index 0.. = row of the matrices. Columns: those of `KEY`, and file,
            eval_id, n (questions with an answer), asked, epochs, replies (answers over all epochs),
            unparsed (those of the replies that could not be read), demo_ids, demo_labels (letters,
            "" where none is shown), demo_choices (the options of each demonstration),
            demo_label_accuracy, passed_over (pool questions that the prompt left out, for want of a
            label), permutations (orders in which each question was shown), changes (share of pairs
            of identical reruns that differ, by question that has any), changed and changed_n (their
            mean and number), positions (a `Position` by place on the page), label_eval_id,
            reused_from, calls, input_tokens, output_tokens, cached_tokens, cost (dollars, nan where
            a call's price is unknown), endpoint (address and arguments of the model), settings (of
            the calls, and how replies are read), simulated.
        questions: One row per question, index = id. Columns: question, choices, gold (letter),
            n_options, category.
        letters: Answer of run i to question j, of the first epoch that has one; "" where the reply
            could not be read or there is none. Shape (runs, questions).
        correct: 1 or 0 (unread is 0); the mean over epochs where a cell was run several times; nan
            where there is no answer. Shape (runs, questions).
        unread: Replies that could not be read, over all epochs. Shape (runs, questions).
        planned: Columns of `KEY` for each cell that a study planned, empty when no log says.
        metadata: Dataset, identity and versions.
        notes: What a reader must know of the logs.
        declaration: What the study of the earliest log declared.
        unfinished: Cells of which there are only logs of runs that did not come to their end.
        counts: Right answers and all answers of imported cells of which nothing else is known.
        imported: Where imported answers come from; None for the suite's own runs.
    """

    directory: str
    runs: pd.DataFrame
    questions: pd.DataFrame
    letters: NDArray[np.str_]
    correct: NDArray[np.float64]
    unread: NDArray[np.intp]
    planned: pd.DataFrame
    metadata: Mapping[str, Any]
    notes: Sequence[Note]
    declaration: Declaration = field(default_factory=Declaration)
    unfinished: frozenset[CellKey] = frozenset()
    counts: Mapping[CellKey, tuple[int, int]] = field(default_factory=dict)
    imported: ImportRecord | None = None

    @property
    def simulated(self) -> bool:
        """Whether a stand-in model has part in any of the numbers."""
        return bool(self.runs["simulated"].any())


class _Run:
    """The header of a log of this suite, its parts checked, and its answers once they are read."""

    def __init__(self, info: EvalLogInfo, log: EvalLog) -> None:
        self.info, self.log, self.file = info, log, file_of(log)
        self.experiment = ExperimentRecord.from_log(log)
        self.cell = CellRecord.from_log(log)
        self.shown = Shown.from_log(log)
        self.labels = LabelRecord.from_log(log)
        self.run = RunRecord.from_log(log)
        self.plan = PlanRecord.in_log(log)
        self.imported = ImportRecord.in_log(log)
        self.key = self.cell.key(log.eval.model)
        self.finished = log.status == "success" and not log.invalidated
        self.answers = Answers()


def read_logs(directory: str) -> Logs:
    """Read all finished cells of a log directory.

    Args:
        directory: A local folder, or any address that Inspect can list, such as `s3://...`.

    Returns:
        Aligned answers. Logs of other tasks, attempts that did not finish, and files that cannot
        be read are left out with a note.

    Raises:
        W2SError: There are no logs of this suite; they are of several experiments, or were asked
            or read differently; two finished logs of one cell, of different runs, disagree; a log
            holds a question twice, or was not scored by this suite.
    """
    with _on_this_machine(directory) as infos:
        return _read_logs(directory, infos)


@contextmanager
def _on_this_machine(directory: str) -> Iterator[Sequence[EvalLogInfo]]:
    """The logs of a directory as local files: through a network, all at once are faster read."""
    try:
        infos = list_eval_logs(directory, descending=False)
        if "://" not in directory or directory.startswith("file://") or not infos:
            yield infos
            return
    except (OSError, ValueError) as error:
        raise W2SError(f"{directory}: cannot be listed: {error}") from None
    files, _ = fsspec.core.url_to_fs(directory)
    with tempfile.TemporaryDirectory() as folder:
        try:
            files.get([i.name for i in infos], [f"{folder}/{_file(i)}" for i in infos])
        except OSError as error:
            raise W2SError(f"{directory}: cannot be read: {error}") from None
        yield list_eval_logs(folder, descending=False)


def _file(info: EvalLogInfo) -> str:
    return PurePosixPath(info.name).name


@contextmanager
def _damage_noted(info: EvalLogInfo, notes: list[Note]) -> Iterator[None]:
    """Name a file that cannot be read: a torn zip raises whatever its first bad byte leads to."""
    try:
        yield
    except Exception as error:
        reason = first_line(error).removeprefix(f"{_file(info)}: ")
        notes.append(Note("problem", _file(info), f"cannot be read: {reason}"))


def _read_logs(directory: str, infos: Sequence[EvalLogInfo]) -> Logs:
    notes: list[Note] = []
    parsed: list[_Run] = []
    for info in infos:
        with _damage_noted(info, notes):
            log = read_eval_log(info, header_only=True)
            if is_ours(log):
                parsed.append(_Run(info, log))
            else:
                other = f"left out: a log of the task {log.eval.task}"
                notes.append(Note("remark", _file(info), other))
    finished = [run for run in parsed if run.finished]
    _refuse_different(finished)
    questions = Questions()
    by_cell: dict[CellKey, list[_Run]] = defaultdict(list)
    counts: dict[CellKey, tuple[int, int]] = {}
    for run in finished:
        if run.imported and run.imported.total:
            counts[run.key] = (run.imported.correct or 0, run.imported.total)
            continue
        samples = None
        with _damage_noted(run.info, notes):
            samples = list(read_eval_log_sample_summaries(run.info))
        if samples is not None:
            run.answers = answers_of(samples, questions, run.file)
            by_cell[run.key].append(run)
    if not by_cell:
        none = f"{len(infos)} log files, none a finished one of this suite"
        named = "".join(f"\n  {note.file}: {note.text}" for note in notes)
        raise W2SError(
            f"{directory}: no results to analyse ({none if infos else 'no log files'}). "
            f"Give the --log-dir of a `w2s run`{named}"
        )
    runs = [_one_per_cell(of, notes) for of in by_cell.values()]
    version = _scorer_version(runs)
    # neither numbers nor files may depend on the order in which a directory lists its logs
    runs.sort(key=lambda run: run.key)
    unfinished = [run for run in parsed if not run.finished and run.key not in by_cell]
    notes += [
        Note("problem", run.file, f"not finished: status {run.log.status}") for run in unfinished
    ]
    declaration = declaration_of([(run.log, run.plan) for run in parsed], plans_beside(directory))
    first, *others = declaration.plans.values() or [""]
    notes += [Note("remark", file, f"its plan differs from that of {first}") for file in others]
    ids, letters, correct, unread = matrices_of([run.answers for run in runs], questions)
    asked = pd.DataFrame(
        [questions[id_] for id_ in ids],
        pd.Index(ids, name="id", dtype=object),
        columns=list(Question._fields),
    )
    asked["n_options"] = [len(choices) for choices in asked["choices"]]
    planned = dict.fromkeys(cell for plan in declaration.plans for cell in plan.cells())
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
        counts,
        next((run.imported for run in finished if run.imported), None),
    )


APART = "Analyse each from a directory of its own"


def _refuse_different(runs: Sequence[_Run]) -> None:
    """Runs are compared that differ in their labels, not in how they were asked.

    Raises:
        W2SError: They are of several experiments or were read in several ways, or plain runs on the
            test were asked in other permutations, or one model with other settings.
    """
    first: dict[tuple[str, str, str], tuple[str, Any]] = {}
    experiments, asked = "are of different experiments", "were asked differently"
    for run in runs:
        said = {(experiments, name, ""): value for name, value in run.experiment.identity.items()}
        said[asked, "read", ""] = run.cell.read
        if run.cell.split == "test" and not run.cell.prompt:
            said[asked, "permutations", ""] = run.cell.permutations
            said |= {(asked, k, run.key.model): v for k, v in settings_of(run.log).items()}
        for key, value in said.items():
            file, other = first.setdefault(key, (run.file, value))
            if value != other:
                how, name, _ = key
                raise W2SError(
                    f"{run.file} and {file} {how}: {name} is {value!r} in the one and {other!r} in "
                    f"the other. {APART}"
                )


def _scorer_version(runs: Sequence[_Run]) -> str:
    """The version of the reading; refuse several."""
    files: dict[str, str] = {}
    for run in runs:
        for version in run.answers.versions or {run.experiment.scorer_version}:
            files.setdefault(version, run.file)
    (one, file), *others = files.items()
    for other, another in others:
        raise W2SError(
            f"{another} and {file} were read by different versions of the scorer ({other!r} and "
            f"{one!r}): score the older again with `inspect score LOG --scorer {SCORER}`. {APART}"
        )
    return one


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


def _row(run: _Run, questions: Questions) -> dict[str, Any]:
    """A row of `Logs.runs`."""
    log, replies, permutations = run.log, run.answers.replies, run.cell.permutations
    # by sample: the header of a resumed run counts its last attempt only
    tokens, dollars = run.answers.tokens, run.answers.dollars
    epochs = log.eval.config.epochs or 1
    # a run that tolerates failed questions has no results where all of them failed
    samples = log.eval.dataset.samples or len(replies)
    changes = changes_of(replies, permutations, questions)
    share = run.shown.right_share
    return {
        **run.key._asdict(),
        "file": run.file,
        "eval_id": log.eval.eval_id,
        "n": len(replies),
        "asked": log.results.total_samples // epochs if log.results else samples,
        "epochs": epochs,
        "replies": sum(len(of) for of in replies.values()),
        "unparsed": sum(not letter for of in replies.values() for letter in of.values()),
        "permutations": permutations,
        "changed": math.fsum(changes) / len(changes) if changes else math.nan,
        "changed_n": len(changes),
        "changes": changes,
        "positions": positions_of(replies, permutations, questions)
        if run.imported is None or run.imported.as_shown
        else (),
        "demo_ids": run.shown.ids,
        "demo_labels": run.shown.labels,
        "demo_choices": run.shown.choices,
        "demo_label_accuracy": math.nan if share is None else share,
        "passed_over": (*run.shown.skipped, *run.shown.unread),
        "label_eval_id": run.labels.label_eval_id,
        "reused_from": run.run.reused_from,
        "endpoint": f"{log.eval.model_base_url} {sorted(log.eval.model_args.items())}",
        "settings": {**settings_of(log), "read": run.cell.read, "permutations": permutations},
        "calls": len(tokens),
        "input_tokens": sum(read for read, _, _ in tokens),
        "output_tokens": sum(written for _, written, _ in tokens),
        "cached_tokens": sum(cached for *_, cached in tokens),
        "cost": math.fsum(dollars) if dollars or run.run.reused_from else math.nan,
        "simulated": is_simulated(log),
    }


def _one_per_cell(runs: Sequence[_Run], notes: list[Note]) -> _Run:
    """The fullest of the finished logs of one cell; of equals, the first that ended.

    Two workers of one run may both have answered a cell: nobody chose between their logs, so the
    rule does, even where they disagree.

    Raises:
        W2SError: Logs of different runs answer the same question differently.
    """
    kept, *others = sorted(runs, key=lambda run: precedence(run.log))
    mine, attempts = kept.answers.given(), {attempt_of(kept.log)}
    for other in others:
        attempt, theirs = attempt_of(other.log), other.answers.given()
        differ = [key for key, letter in theirs.items() if mine.get(key, letter) != letter]
        if differ and not (attempt and attempt in attempts):
            raise W2SError(
                f"{kept.file} and {other.file} are both finished logs of one cell and differ in "
                f"{len(differ)} answers (the first: question {differ[0][0]!r}). Keep the one that "
                "counts and move the other out of the directory"
            )
        attempts.add(attempt)
        unlike = f", {len(differ)} answers differ" if differ else ""
        text = f"left out: the same cell as {kept.file}{unlike}; the costs are of that log alone"
        notes.append(Note("remark", other.file, text))
    return kept
