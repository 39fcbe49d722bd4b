"""Which pool questions the weak models are asked, and which no cell shows."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from w2s_icl.evals.cells import Cell
from w2s_icl.evals.questions import Split
from w2s_icl.evals.study import RESERVE, Study, StudyError
from w2s_icl.evals.truthfulqa import split_metadata
from w2s_icl.record import is_complete
from w2s_icl.solvers.labels import (
    find_answers,
    log_headers,
)


@dataclass(frozen=True)
class Labelling:
    """State of the weak models' labels in a log directory.

    Attributes:
        ask: By weak model, ids that its label run should cover: those it has answered and, until
            the labelling is complete, those still wanted.
        unread: Ids that some weak model answered unreadably.
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
    split_of = split_metadata(split, study.style)
    logs = {m: find_answers(m, "pool", split_of, log_dir) for m in study.weak_models}
    unread = {
        id_ for log in logs.values() if log for id_, letter in log.letters.items() if letter is None
    }
    unread |= _passed_over_before(split, log_dir)
    answered = {run: frozenset(log.letters) if log else frozenset() for run, log in logs.items()}
    first: set[int | str] = set()
    ask: set[int | str] = set()
    needed: set[int | str] = set()
    if logs:
        for draw in range(study.draws):
            order = [s.id for s in split.draw(draw) if s.id is not None]
            usable = [id_ for id_ in order if id_ not in unread]
            if len(usable) < max(study.shots):
                raise StudyError(
                    f"shots: {max(study.shots)} demonstrations are wanted, but all weak models "
                    f"gave a readable answer to only {len(usable)} of the {len(order)} "
                    "questions in the pool"
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
        {run: have | more for run, have in answered.items()}, frozenset(unread), complete
    )


def _passed_over_before(split: Split, log_dir: str) -> set[int | str]:
    """Pool questions that finished cells of the directory passed over.

    One that no call could answer in an earlier run may be answered in this one: it stays passed
    over, for the cells that are still to run must show what the finished ones show.
    """
    passed: set[str] = set()
    for log in log_headers(log_dir):
        metadata = log.eval.metadata or {}
        if is_complete(log) and metadata.get("task") == "few_shot":
            passed.update(map(str, metadata.get("skipped") or ()))
    return {s.id for s in split.pool if s.id is not None and str(s.id) in passed}


def pool_ask(cell: Cell, state: Labelling) -> Collection[int | str] | None:
    """Ids of the only questions that a cell asks; None where it asks all of its part."""
    return state.ask[cell.model] if cell.split == "pool" else None
