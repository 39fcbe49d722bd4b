"""One Inspect log per cell of a recording."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from string import ascii_uppercase

from inspect_ai.log import (
    EvalConfig,
    EvalDataset,
    EvalLog,
    EvalMetric,
    EvalPlan,
    EvalResults,
    EvalSample,
    EvalScore,
    EvalSpec,
    EvalStats,
    write_eval_log,
)
from inspect_ai.model import ChatMessageAssistant, ChatMessageUser, ModelOutput
from inspect_ai.scorer import CORRECT, INCORRECT, NOANSWER, Score

from w2s_icl.evals.imports.recording import Answer, Recording
from w2s_icl.evals.truthfulqa import cell_name
from w2s_icl.record import (
    SCORER,
    CellKey,
    CellRecord,
    ExperimentRecord,
    ImportRecord,
    PlanRecord,
    Record,
    Shown,
    blocks_of,
)
from w2s_icl.scorers.multiple_choice import SCORER_VERSION


def write_logs(recording: Recording, log_dir: str, name: str, source: str) -> None:
    """Write a log for each cell of a recording."""
    Path(log_dir).mkdir(parents=True, exist_ok=True)
    keys = list(dict.fromkeys([*recording.cells, *recording.counts]))
    records = [_experiment(recording), _plan(name, list(recording.cells))]
    for place, key in enumerate(keys):
        counts = recording.counts.get(key, (None, None))
        told = ImportRecord(
            source=source,
            files=tuple(recording.files),
            imported_at=datetime.now(UTC).date().isoformat(),
            not_recorded=tuple(recording.not_recorded),
            notes=tuple(recording.notes),
            as_shown=recording.as_shown,
            correct=counts[0],
            total=counts[1],
        )
        log = _log(key, recording, [*records, told, recording.shown.get(key, Shown())])
        stamp = log.eval.created.replace(":", "-").replace("+", "-")
        write_eval_log(log, f"{log_dir}/{stamp}_{log.eval.task.replace('_', '-')}_{place:03d}.eval")


def _experiment(recording: Recording) -> ExperimentRecord:
    asked = {a.question.id for k, of in recording.cells.items() if k.split == "test" for a in of}
    digest = hashlib.sha256(json.dumps(recording.files).encode()).hexdigest()[:12]
    return ExperimentRecord(
        dataset=recording.questions.name,
        dataset_sha256=recording.questions.fingerprint,
        dataset_source=recording.questions.source,
        test_size=len(asked),
        seed=0,
        near_duplicates="not recorded",
        style="not recorded",
        prompt_version=f"imported {digest}",
        scorer_version=SCORER_VERSION,
    )


def _plan(name: str, keys: Sequence[CellKey]) -> PlanRecord:
    """What was recorded, in the order of the files; nothing was declared."""
    models = dict.fromkeys([k.model for k in keys if not k.labels] + [k.model for k in keys])
    pairs = dict.fromkeys((k.weak, k.model) for k in keys if k.labels == "weak")
    return PlanRecord(name=name, models=tuple(models), pairs=tuple(pairs), blocks=blocks_of(keys))


def _log(key: CellKey, recording: Recording, records: Sequence[Record]) -> EvalLog:
    cell = CellRecord(**{k: v for k, v in key._asdict().items() if k != "model"})
    now = datetime.now(UTC).isoformat(timespec="seconds")
    answers = recording.cells.get(key, [])
    asked = list(dict.fromkeys(a.question.id for a in answers))
    right, n = recording.counts.get(key, (sum(a.letter == a.target for a in answers), len(answers)))
    accuracy = EvalMetric(name="accuracy", value=right / n if n else math.nan)
    return EvalLog(
        status="success",
        eval=EvalSpec(
            created=now,
            task=cell_name(cell),
            dataset=EvalDataset(
                name=f"{recording.questions.name} {key.split}",
                location=recording.questions.source,
                samples=len(asked),
                sample_ids=asked,
            ),
            model=key.model,
            config=EvalConfig(epochs=max((a.epoch for a in answers), default=1)),
            tags=["imported"],
            metadata={k: v for part in (cell, *records) for k, v in part.to_metadata().items()},
        ),
        plan=EvalPlan(),
        results=EvalResults(
            total_samples=len(answers),
            completed_samples=len(answers),
            scores=[EvalScore(name=SCORER, scorer=SCORER, metrics={"accuracy": accuracy})],
        ),
        stats=EvalStats(started_at=now, completed_at=now),
        samples=[_sample(key.model, answer) for answer in answers],
    )


def _sample(model: str, answer: Answer) -> EvalSample:
    question, gold = answer.question, answer.target
    option = answer.choices[ascii_uppercase.index(answer.letter)] if answer.letter else ""
    said = answer.reply or (f"{answer.letter}) {option}" if option else "")
    gold_text = f"Gold: {gold}) {question.choices[question.gold]}"
    options = "\n".join(f"{k}) {c}" for k, c in zip(ascii_uppercase, answer.choices, strict=False))
    if answer.letter:
        value = CORRECT if answer.letter == gold else INCORRECT
        explanation = f"Answered {answer.letter}) {option}\n\n{gold_text}"
    else:
        value, explanation = NOANSWER, f"Not readable\n\n{gold_text}"
    return EvalSample(
        id=question.id,
        epoch=answer.epoch,
        input=question.question,
        choices=list(answer.choices),
        target=gold,
        messages=[
            ChatMessageUser(content=f"{question.question}\n\n{options}"),
            ChatMessageAssistant(content=said, model=model),
        ],
        output=ModelOutput.from_content(model, said),
        scores={
            SCORER: Score(
                value=value,
                answer=answer.letter,
                explanation=explanation,
                metadata={"read_as": "imported", "option": option},
            )
        },
        metadata={"category": question.category, "n_choices": len(answer.choices)},
        model_usage={model: answer.usage} if answer.usage else {},
    )
