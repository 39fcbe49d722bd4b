"""One prompt, one call: a cell whose prompts another cell has asked takes that cell's answers."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from inspect_ai import Task
from inspect_ai.dataset import MemoryDataset
from inspect_ai.log import EvalLog

from w2s_icl.record import file_of
from w2s_icl.solvers.few_shot import TAKEN_OVER
from w2s_icl.solvers.label_logs import outputs_of


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
