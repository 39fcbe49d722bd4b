"""Which pool questions the weak models are asked, and which no cell shows."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from w2s_icl.errors import W2SError
from w2s_icl.evals.cells import Cell, experiment_of, settings_of_labels, without_file_label
from w2s_icl.evals.questions import Split
from w2s_icl.evals.study import RESERVE, Study
from w2s_icl.record import CellRecord, Shown, is_complete, is_ours
from w2s_icl.solvers.label_logs import find_answers, log_headers
from w2s_icl.solvers.labels import id_of


@dataclass(frozen=True)
class Labelling:
    """State of the weak models' labels in a log directory.

    Attributes:
        ask: By weak model, ids that its label run should cover: those it has answered and, until
            the labelling is complete, those still wanted.
        unread: Ids that some weak model answered unreadably, or that a file of labels lacks.
        complete: Whether every cell of the study could now be built.
    """

    ask: Mapping[str, frozenset[int | str]]
    unread: frozenset[int | str]
    complete: bool


def labelling(study: Study, split: Split, log_dir: str) -> Labelling:
    """Which pool questions need labels, given the answers that are in the logs.

    For each draw the first `max(shots)` questions that all weak models answered readably are shown;
    those, and `RESERVE` more, need labels.

    What is unread counts once all label runs have answered what is asked first, which is thus the
    same in every process, whenever it looks.
    """
    how = (experiment_of(study, split), settings_of_labels(study), log_dir)
    logs = {m: find_answers(m, "pool", *how) for m in study.weak_models}
    unlabelled = without_file_label(study, split)
    unread = {
        id_ for log in logs.values() if log for id_, letter in log.letters.items() if letter is None
    }
    unread |= _passed_over_before(split, log_dir)
    answered = {run: frozenset(log.letters) if log else frozenset() for run, log in logs.items()}
    first: set[int | str] = set()
    ask: set[int | str] = set()
    needed: set[int | str] = set()
    if logs or unlabelled:
        for draw in range(study.draws):
            order = [id_of(s) for s in split.draw(draw) if id_of(s) not in unlabelled]
            usable = [id_ for id_ in order if id_ not in unread]
            if len(usable) < max(study.shots):
                raise W2SError(
                    f"shots: {max(study.shots)} demonstrations are wanted, but only {len(usable)} "
                    f"of the {len(split.pool)} questions of the pool have a usable label by all "
                    "weak models and files of labels"
                )
            first.update(order[: max(study.shots) + RESERVE])
            last = order.index(usable[max(study.shots) - 1])
            needed.update(order[: last + 1])
            ask.update(order[: last + 1 + RESERVE])
        if study.label_pool == "all":
            first = ask = needed = {s.id for s in split.pool if s.id is not None}
    complete = all(needed <= have for have in answered.values())
    begun = all(first <= have for have in answered.values())
    more = frozenset() if complete else frozenset(ask if begun else first)
    return Labelling(
        {run: have | more for run, have in answered.items()},
        frozenset(unread | unlabelled),
        complete,
    )


def _passed_over_before(split: Split, log_dir: str) -> set[int | str]:
    """Pool questions that finished cells of the directory passed over.

    One that no call could answer in an earlier run may be answered in this one: it stays passed
    over, for the cells that are still to run must show what the finished ones show.
    """
    passed: set[str] = set()
    for log in log_headers(log_dir):
        if is_ours(log) and is_complete(log) and CellRecord.from_log(log).task == "few_shot":
            passed.update(map(str, Shown.from_log(log).skipped))
    return {s.id for s in split.pool if s.id is not None and str(s.id) in passed}


def pool_ask(cell: Cell, state: Labelling) -> Collection[int | str] | None:
    """Ids of the only questions that a cell asks; None where it asks all of its part."""
    return state.ask[cell.model] if cell.split == "pool" else None
