"""One prompt, one call: a cell whose prompts another cell has asked takes that cell's answers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from typing import Any

from inspect_ai import Task
from inspect_ai.dataset import MemoryDataset
from inspect_ai.log import EvalLog

from w2s_icl.record import CellKey, file_of
from w2s_icl.solvers.few_shot import TAKEN_OVER
from w2s_icl.solvers.label_logs import outputs_of


def same_prompts(
    tasks: Iterable[tuple[CellKey, Task]], finished: Collection[CellKey]
) -> dict[CellKey, CellKey]:
    """Cells whose prompts are another cell's to the byte, with that cell.

    Where all weak labels are right, the weak arm's prompts are the gold arm's. A second call would
    put the noise of a rerun between two arms that do not differ. `finished` cells have a log.
    """
    groups: dict[tuple[str, str], list[CellKey]] = defaultdict(list)
    for key, task in tasks:
        if may_share(key, task):
            groups[key.model, (task.metadata or {})["prompt_sha256"]].append(key)
    repeated: dict[CellKey, CellKey] = {}
    for keys in groups.values():
        source = next((key for key in keys if key in finished), keys[0])
        repeated |= {key: source for key in keys if key != source and key not in finished}
    return repeated


def may_share(key: CellKey, task: Task) -> bool:
    """Whether a cell may take another's answers: it asks once in each rotation of the options.

    Where it asks more often, a second call is made to see what it changes.
    """
    once = (task.epochs or 1) == (task.metadata or {})["permutations"]
    return bool(key.labels) and key.split == "test" and once


def take_answers(task: Task, source: EvalLog) -> None:
    """Give the samples of `task` the answers that the log `source` holds, as far as it goes."""
    outputs: dict[str, dict[str, Any]] = defaultdict(dict)
    for answered in outputs_of(source.location):
        if answered.error is None:
            output = answered.output.model_dump(mode="json", exclude_none=True)
            outputs[str(answered.id)][str(answered.epoch)] = output
    file = file_of(source)
    samples = []
    for sample in task.dataset:
        given = outputs[str(sample.id)]
        if len(given) == (task.epochs or 1):  # else it failed there, and is asked here
            answer = {"cell": source.eval.task, "log": file, "outputs": given}
            metadata = {**(sample.metadata or {}), "reused_from": file, TAKEN_OVER: answer}
            sample = sample.model_copy(update={"metadata": metadata})
        samples.append(sample)
    task.dataset = MemoryDataset(samples, name=task.dataset.name, location=task.dataset.location)
    task.metadata = {**(task.metadata or {}), "reused_from": file}
