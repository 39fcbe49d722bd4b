"""Whole studies of planted students as logs: real cells, label sources, prompts and readings."""

import asyncio
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path
from unittest.mock import patch

import yaml
from inspect_ai import Task, eval
from inspect_ai.event import ModelEvent
from inspect_ai.log import EvalLog, EvalSample, resolve_sample_attachments, write_eval_log
from inspect_ai.model import ChatMessage, GenerateConfig, ModelName, ModelOutput
from inspect_ai.scorer import Target
from inspect_ai.solver import TaskState

from tests.planted import students  # noqa: F401 - registers the provider
from w2s_icl.evals.cells import all_cells, build, few_shot_cells, plan_record, zero_shot_cells
from w2s_icl.evals.study import load_study
from w2s_icl.scorers.multiple_choice import multiple_choice_letter
from w2s_icl.solvers.few_shot import Demonstrations, Prompt, messages

SHOTS = 64
LABELS = ("gold", "weak", "noise_matched", "random", "unlabelled", "self")


def planted_study(
    folder: Path, student: str, questions: Path, seed: int, draws: int = 5, test_size: int = 484
) -> str:
    """Make the logs of one student and its weak model; returns their directory.

    `seed` is that of split, draws, labels and models; the headline is `SHOTS`.
    """
    pair = ["planted/weak", f"planted/{student}"]
    path = folder / "study.yaml"
    content = {
        **{"dataset": str(questions), "test_size": test_size, "seed": seed},
        **{"models": pair, "pairs": [pair], "shots": [0, SHOTS], "headline": SHOTS},
        **{"draws": draws, "labels": list(LABELS)},
        "model_args": {name: {"questions": str(questions), "seed": seed} for name in pair},
    }
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content), "utf-8")
    study, log_dir = load_study(path), str(folder / "logs")
    split = study.load_split()
    plan = plan_record(study, all_cells(study, split))
    # Inspect looks through all installed packages for each log: 0.3 s
    with patch("inspect_ai._util.package.packages_distributions", cache(packages_distributions)):
        prompted = [cell for cell in few_shot_cells(study, (), split) if cell.shots]
        for cell in [*zero_shot_cells(study), *prompted]:
            record(build(study, cell, log_dir, plan), log_dir)
    return log_dir


def record(task: Task, log_dir: str) -> EvalLog:
    """Run a cell as Inspect would, but for the bookkeeping of all questions after the first.

    The first question goes through `eval`. The others are put to the same model behind the prefix
    that Inspect logged for the first, and are scored by the suite's scorer: the same answers at a
    tenth of the time, without a transcript per question.
    """
    (log,) = eval(
        task, log_dir=log_dir, limit=1, display="none", log_realtime=False, log_format="json"
    )
    assert log.status == "success", log.error
    assert log.samples is not None
    assert log.results is not None
    first = resolve_sample_attachments(log.samples[0], "full")
    (call,) = (event for event in first.events if isinstance(event, ModelEvent))
    first.events, first.attachments = [], {}
    log.samples = asyncio.run(_ask(task, call.input[:-1], first))
    log.eval.config.limit = None
    log.eval.dataset.samples = len(task.dataset)
    log.eval.dataset.sample_ids = [sample.id or 0 for sample in task.dataset]
    log.results.total_samples = log.results.completed_samples = len(log.samples)
    write_eval_log(log, log.location)
    return log


async def _ask(task: Task, prefix: list[ChatMessage], first: EvalSample) -> list[EvalSample]:
    assert task.model is not None
    assert first.scores is not None
    model, scorer = task.model, multiple_choice_letter()
    (name,) = first.scores
    answered = [first]
    for sample in list(task.dataset)[1:]:
        choices, id_, text = list(sample.choices or ()), sample.id or 0, str(sample.input)
        _, turn = messages(Prompt().turns(Demonstrations(), text, choices))
        output = await model.api.generate([*prefix, turn], [], "auto", GenerateConfig())
        assert isinstance(output, ModelOutput)
        target = Target(sample.target)
        state = TaskState(
            ModelName(model), id_, 1, text, [turn], target=target, choices=choices, output=output
        )
        changes = {
            **{"id": id_, "input": text, "choices": choices, "target": sample.target},
            **{"metadata": sample.metadata or {}, "messages": [], "output": output},
            **{"scores": {name: await scorer(state, target)}, "uuid": f"{first.uuid}-{id_}"},
        }
        answered.append(first.model_copy(update=changes))
    return answered
