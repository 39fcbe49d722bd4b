"""Which pool questions the weak models are asked, and which no cell shows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from w2s_icl.evals.cells import Cell, experiment_of, without_file_label
from w2s_icl.evals.questions import Split
from w2s_icl.evals.study import RESERVE, Study
from w2s_icl.evals.sweep.unread import stopped_unread
from w2s_icl.evals.truthfulqa import label_settings
from w2s_icl.record import CellRecord, ExperimentRecord, Id, Shown, is_complete, is_ours
from w2s_icl.solvers.label_logs import find_answers, log_headers
from w2s_icl.solvers.labels import id_of


@dataclass(frozen=True)
class Labelling:
    """State of the weak models' labels in a log directory.

    Attributes:
        ask: By weak model, the questions that its label run covers: those it has answered and,
            until `complete`, those still wanted.
        unread: Questions that no cell shows: a weak model's answer could not be read, or a file of
            labels has none.
        complete: Whether all label runs have answered what they are asked.
        without: By weak model whose label run was ended as unreadable, what is to be said of it.
        readable: Questions that every weak model's readable answers suffice for, in each draw.
    """

    ask: Mapping[str, frozenset[Id]]
    unread: frozenset[Id]
    complete: bool
    without: Mapping[str, str]
    readable: int


def labelling(
    study: Study, split: Split, log_dir: str, useless: Mapping[str, str] | None = None
) -> Labelling:
    """Which pool questions need labels, given the answers that are in the logs.

    A cell shows the first questions of a draw that all weak models answered readably. The first
    round asks the largest number of demonstrations and `RESERVE` more. Where more than those are
    unread, a second round asks as many again as are missing, and `RESERVE`. There is no third.

    `useless` are further models that give no labels, and why.

    Each round's questions depend on the answers to the round before, once all of those are there:
    every process comes to the same, whenever it looks.
    """
    settings = label_settings(study.read, study.max_tokens, study.generate)
    how = (experiment_of(study, split), settings, log_dir)
    without = _ended_runs(study, split, log_dir)
    without |= {m: text for m, text in (useless or {}).items() if m in study.weak_models}
    labels: dict[str, Mapping[Id, str | None]] = {}
    for model in study.weak_models:
        if model not in without:
            answers = find_answers(model, "pool", *how)
            labels[model] = answers.labels if answers else {}
    have = {model: frozenset(of) for model, of in labels.items()}
    none = {id_ for of in labels.values() for id_, label in of.items() if label is None}
    unlabelled = without_file_label(study, split)
    passed = _passed_over_before(split, log_dir) | unlabelled
    # what a file of labels lacks is not asked either
    pools = [[id_of(s) for s in split.draw(n)] for n in range(study.draws)]
    draws = [[id_ for id_ in pool if id_ not in unlabelled] for pool in pools]
    shots = max(study.shots)

    def front(unread: Collection[Id], more: int) -> frozenset[Id]:
        """The demonstrations of all draws, those passed over, and `more` questions after them."""
        ids: set[Id] = set()
        for order in draws:
            usable = [place for place, id_ in enumerate(order, 1) if id_ not in unread]
            enough = len(usable) >= shots
            reach = 0 if shots == 0 else usable[shots - 1] if enough else len(order)
            ids.update(order[: reach + more])
        return frozenset(ids)

    everything = study.label_pool == "all"
    first = frozenset().union(*draws) if everything else front((), RESERVE)
    unread = passed | (none & first)
    needed, second = front(unread, 0), front(unread, RESERVE)
    more: frozenset[Id] = frozenset()
    if not all(needed <= ids for ids in have.values()):
        more = second if all(first <= ids for ids in have.values()) else first
    every = frozenset.intersection(*have.values()) if have else second
    unread = passed | (none & (every | needed))
    return Labelling(
        {model: ids | more for model, ids in have.items()},
        frozenset(unread),
        not more,
        without,
        min(sum(id_ in every and id_ not in unread for id_ in order) for order in draws),
    )


def pool_ask(cell: Cell, state: Labelling) -> Collection[Id] | None:
    """Ids of the only questions that a cell asks; None where it asks all of its part."""
    return state.ask.get(cell.model, ()) if cell.split == "pool" else None


def _ended_runs(study: Study, split: Split, log_dir: str) -> dict[str, str]:
    """Weak models whose label runs were ended as unreadable, and what is to be said of each."""
    mine = experiment_of(study, split).identity
    runs: dict[str, list[str]] = defaultdict(list)
    for log in filter(is_ours, log_headers(log_dir)):
        cell = CellRecord.from_log(log)
        same = ExperimentRecord.from_log(log).identity == mine
        if same and (cell.task, cell.split, cell.prompt) == ("zero_shot", "pool", ""):
            runs[log.eval.model].append(stopped_unread(log))
    return {m: texts[-1] for m, texts in runs.items() if m in study.weak_models and all(texts)}


def _passed_over_before(split: Split, log_dir: str) -> set[Id]:
    """Pool questions that finished cells of the directory passed over.

    One that no call could answer in an earlier run may be answered in this one: it stays passed
    over, for the cells that are still to run must show what the finished ones show.
    """
    passed: set[str] = set()
    for log in filter(is_ours, log_headers(log_dir)):
        if is_complete(log) and CellRecord.from_log(log).task == "few_shot":
            passed.update(map(str, Shown.from_log(log).skipped))
    return {s.id for s in split.pool if s.id is not None and str(s.id) in passed}
