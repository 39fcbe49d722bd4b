"""Which pool questions the weak models are asked, and which no cell shows."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from w2s_icl.evals.cells import Cell
from w2s_icl.evals.questions import Split
from w2s_icl.evals.study import RESERVE, Study, StudyError
from w2s_icl.evals.truthfulqa import split_metadata
from w2s_icl.record import is_complete
from w2s_icl.solvers.labels import (
    Answers,
    find_answers,
    log_headers,
    majority,
)


@dataclass(frozen=True)
class Labelling:
    """State of the weak models' labels in a log directory.

    Attributes:
        ask: By weak model and arm of its prompt, ids that this label run should cover: those it has
            answered and, until the labelling is complete, those still wanted.
        unread: Ids that some weak model answered unreadably, and ties of a vote.
        complete: Whether every cell of the study could now be built.
    """

    ask: Mapping[tuple[str, str], frozenset[int | str]]
    unread: frozenset[int | str]
    complete: bool


def labelling(study: Study, split: Split, log_dir: str) -> Labelling:
    """Which pool questions need labels, given the answers that are in the logs.

    For each draw the first `max(shots)` questions that all weak models answered readably are shown;
    those, and `RESERVE` more, need labels. A chain needs the last ones of the draw as well: its
    label runs show them.

    What is unread counts once all label runs have answered what is asked first, which is thus the
    same in every process, whenever it looks.
    """
    split_of = split_metadata(split, study.style)
    logs = {
        (model, prompt): find_answers(model, "pool", split_of, log_dir, prompt=prompt)
        for prompt in study.label_prompts
        for model in study.weak_models
    }
    unread = {
        id_ for log in logs.values() if log for id_, letter in log.letters.items() if letter is None
    }
    unread |= _passed_over_before(split, log_dir)
    if "majority" in study.labels:
        unread |= _ties([log for (_, prompt), log in logs.items() if not prompt])
    answered = {run: frozenset(log.letters) if log else frozenset() for run, log in logs.items()}
    first: set[int | str] = set()
    ask: set[int | str] = set()
    needed: set[int | str] = set()
    if logs:
        for draw in range(study.draws):
            order = [s.id for s in split.draw(draw) if s.id is not None]
            for ids in (order, order[::-1]) if study.chains else (order,):
                usable = [id_ for id_ in ids if id_ not in unread]
                if len(usable) < max(study.shots):
                    raise StudyError(
                        f"shots: {max(study.shots)} demonstrations are wanted, but all weak models "
                        f"gave a readable answer to only {len(usable)} of the {len(order)} "
                        "questions in the pool"
                    )
                first.update(ids[: max(study.shots) + RESERVE])
                last = ids.index(usable[max(study.shots) - 1])
                needed.update(ids[: last + 1])
                ask.update(ids[: last + 1 + RESERVE])
        # the most confident labels can only be found among all
        if study.label_pool == "all" or "confident" in study.labels:
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


def _ties(logs: Sequence[Answers | None]) -> set[int | str]:
    """Questions that all weak models answered, and on which no answer leads."""
    options = [log.options() for log in logs if log]
    if len(options) < len(logs) or not options:
        return set()
    asked = set.intersection(*(set(one) for one in options))
    return {id_ for id_ in asked if majority([one[id_] for one in options]) is None}


def pool_ask(
    study: Study, cell: Cell, split: Split, state: Labelling
) -> Collection[int | str] | None:
    """Ids of the only questions that a cell asks; None where it asks all of its part."""
    if cell.split != "pool":
        return None
    if cell.labels:
        return chain_ask(study, cell, split, state.unread)
    return state.ask[cell.model, cell.prompt]


def chain_ask(
    study: Study, cell: Cell, split: Split, skip: Collection[int | str]
) -> set[int | str]:
    """Pool questions that a chain's label run asks: what its labels are shown on.

    That is the start of the draw, for the cell that ends the chain, and the far end of it, for a
    label run further down. Inspect leaves out those that the run itself shows.
    """
    order = [s.id for s in split.draw(cell.draw) if s.id is not None and s.id not in skip]
    hops = max(len(chain) for chain in study.chains) - 1
    return {*order[: cell.shots + RESERVE], *order[-(hops * cell.shots + RESERVE) :]}
