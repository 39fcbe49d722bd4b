"""What need not be asked: pool questions whose labels no cell shows, and prompts asked before."""

from collections import defaultdict
from collections.abc import Collection, Container, Mapping
from typing import Any, NamedTuple

from inspect_ai import Task
from inspect_ai.dataset import MemoryDataset
from inspect_ai.log import EvalLog

from w2s_icl.evals.cells import Cell, experiment_of, shown_by, without_file_label
from w2s_icl.evals.questions import Split
from w2s_icl.evals.study import RESERVE, Study
from w2s_icl.evals.sweep import logdir, stopping
from w2s_icl.evals.truthfulqa import label_settings
from w2s_icl.record import CellKey, CellRecord, ExperimentRecord, Id, Shown, file_of, is_complete
from w2s_icl.solvers.few_shot import TAKEN_OVER
from w2s_icl.solvers.label_logs import find_answers, outputs_of
from w2s_icl.solvers.labels import id_of


class Labelling(NamedTuple):
    """State of the weak models' labels in a log directory."""

    # by weak model, what its label run covers: what it has answered and what is still wanted
    ask: Mapping[str, frozenset[Id]]
    # what no cell shows: a weak model's answer could not be read, or a file of labels has none
    unread: frozenset[Id]
    complete: bool  # whether all label runs have answered what they are asked
    without: Mapping[str, str]  # what is to be said of weak models that give no labels
    readable: int  # questions with a readable label of every weak model, in each draw

    def asks(self, cell: Cell) -> Collection[Id] | None:
        """Ids of the only questions that a cell asks; None where it asks all of its part."""
        return self.ask.get(cell.model, ()) if cell.split == "pool" else None


def labelling(study: Study, split: Split, log_dir: str, unfit: Mapping[str, str] = {}) -> Labelling:
    """Which pool questions need labels, given the answers that are in the logs.

    A cell shows the first questions of a draw that all weak models answered readably. The first
    round asks the largest number of demonstrations and `RESERVE` more. Where more than those are
    unread, a second round asks as many again as are missing, and `RESERVE`. There is no third.
    A round's questions depend on the answers to the round before, once all of those are there:
    every process comes to the same, whenever it looks.

    `unfit` are further models that give no labels, and why.
    """
    experiment = experiment_of(study, split)
    ends: dict[str, list[str]] = defaultdict(list)
    shown_without: set[str] = set()
    for log in logdir.our_logs(log_dir):
        cell = CellRecord.from_log(log)
        same = ExperimentRecord.from_log(log).identity == experiment.identity
        if same and (cell.task, cell.split, cell.prompt) == ("zero_shot", "pool", ""):
            ends[log.eval.model].append(stopping.stopped_unread(log))
        elif cell.task == "few_shot" and is_complete(log):
            # what is still to run must show what finished cells show, whatever is answered now
            shown_without.update(map(str, Shown.from_log(log).skipped))
    said = {model: texts[-1] for model, texts in ends.items() if all(texts)} | dict(unfit)
    settings = label_settings(study.read, study.max_tokens, study.generate)
    labels: dict[str, Mapping[Id, str | None]] = {}
    for model in study.weak_models:
        if model not in said:
            answers = find_answers(model, "pool", experiment, settings, log_dir)
            labels[model] = answers.labels if answers else {}
    have = {model: frozenset(of) for model, of in labels.items()}
    none = {id_ for of in labels.values() for id_, label in of.items() if label is None}
    unlabelled = without_file_label(study, split)
    passed = unlabelled | {id_of(s) for s in split.pool if str(s.id) in shown_without}
    # what a file of labels lacks is not asked either
    pools = [map(id_of, split.draw(n)) for n in range(study.draws)]
    draws = [[id_ for id_ in pool if id_ not in unlabelled] for pool in pools]
    shots = max(study.shots)

    def front(unread: Collection[Id], more: int) -> frozenset[Id]:
        """The demonstrations of all draws, those passed over, and `more` questions after them."""
        ids: set[Id] = set()
        for order in draws:
            usable = [place for place, id_ in enumerate(order, 1) if id_ not in unread]
            reach = [0, *usable][shots] if shots <= len(usable) else len(order)
            ids.update(order[: reach + more])
        return frozenset(ids)

    everything = study.label_pool == "all"
    first = frozenset().union(*draws) if everything else front((), RESERVE)
    needed = front(passed | (none & first), 0)
    second = front(passed | (none & first), RESERVE)
    more: frozenset[Id] = frozenset()
    if not all(needed <= ids for ids in have.values()):
        more = second if all(first <= ids for ids in have.values()) else first
    every = frozenset.intersection(*have.values()) if have else second
    unread = passed | (none & (every | needed))
    return Labelling(
        ask={model: ids | more for model, ids in have.items()},
        unread=frozenset(unread),
        complete=not more,
        without={model: said[model] for model in study.weak_models if model in said},
        readable=min(sum(id_ in every and id_ not in unread for id_ in order) for order in draws),
    )


def same_prompts(tasks: Mapping[CellKey, Task], done: Container[CellKey]) -> dict[CellKey, CellKey]:
    """Cells whose prompts are another cell's to the byte, with that cell; `done` have a log.

    Where all weak labels are right, the weak arm's prompts are the gold arm's. A second call would
    put the noise of a rerun between two arms that do not differ.
    """
    groups: dict[tuple[str, str], list[CellKey]] = defaultdict(list)
    for key, task in tasks.items():
        if may_share(key, task):
            groups[key.model, shown_by(task).prompt_sha256].append(key)
    repeated: dict[CellKey, CellKey] = {}
    for keys in groups.values():
        source = min(keys, key=lambda key: key not in done)
        repeated |= {key: source for key in keys if key != source and key not in done}
    return repeated


def may_share(key: CellKey, task: Task) -> bool:
    """Whether a cell may take another's answers: it asks once in each rotation of the options.

    Where it asks more often, a second call is made to see what it changes.
    """
    once = (task.epochs or 1) == CellRecord.from_metadata(task.metadata or {}).permutations
    return bool(key.labels) and key.split == "test" and once


def take_answers(task: Task, source: EvalLog) -> None:
    """Give the samples of `task` the answers that the log `source` holds, as far as it goes."""
    outputs: dict[str, dict[str, Any]] = defaultdict(dict)
    for answered in outputs_of(source.location):
        if answered.error is None:
            output = answered.output.model_dump(mode="json", exclude_none=True)
            outputs[str(answered.id)][str(answered.epoch)] = output
    file = file_of(source)
    samples = [sample.model_copy() for sample in task.dataset]
    for sample in samples:
        given = outputs[str(sample.id)]
        if len(given) == (task.epochs or 1):  # else it failed there, and is asked here
            answer = {"cell": source.eval.task, "log": file, "outputs": given}
            sample.metadata = {**(sample.metadata or {}), "reused_from": file, TAKEN_OVER: answer}
    task.dataset = MemoryDataset(samples, name=task.dataset.name, location=task.dataset.location)
    task.metadata = {**(task.metadata or {}), "reused_from": file}
