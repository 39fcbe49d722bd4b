"""What a recording holds, and one Inspect log for each of its cells."""

import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from string import ascii_uppercase

from inspect_ai import log as ilog
from inspect_ai.model import ChatMessageAssistant, ChatMessageUser, ModelOutput, ModelUsage
from inspect_ai.scorer import CORRECT, INCORRECT, NOANSWER, Score

from w2s_icl import record
from w2s_icl.evals.questions import Question, QuestionSet
from w2s_icl.evals.truthfulqa import cell_name
from w2s_icl.record import SCORER, CellKey, Shown
from w2s_icl.scorers.multiple_choice import SCORER_VERSION


@dataclass(frozen=True)
class Answer:
    """One answer of a cell."""

    question: Question
    choices: tuple[str, ...]  # as shown
    letter: str  # "" where unread
    epoch: int = 1
    reply: str = ""
    usage: ModelUsage | None = None

    @property
    def target(self) -> str:
        """Letter of the right option."""
        return ascii_uppercase[self.choices.index(self.question.right)]


@dataclass
class Recording:
    """Everything that is read from the files, before a log is written."""

    questions: QuestionSet
    not_recorded: list[str]  # what the files do not say
    as_shown: bool = False  # whether the options stand in the order in which they were shown
    cells: dict[CellKey, list[Answer]] = field(default_factory=lambda: defaultdict(list))
    # right answers and all answers of cells of which nothing else is known
    counts: dict[CellKey, tuple[int, int]] = field(default_factory=dict)
    shown: dict[CellKey, Shown] = field(default_factory=dict)
    files: list[tuple[str, str, int]] = field(default_factory=list)  # name, sha256, rows
    notes: list[str] = field(default_factory=list)  # what was met on the way

    def add_file(self, path: Path, rows: int) -> None:
        """Note a file that was read."""
        self.files.append((path.name, hashlib.sha256(path.read_bytes()).hexdigest(), rows))

    def note(self, text: str, places: Sequence[str]) -> None:
        """Note what some rows have in common, with the first five of them."""
        if places:
            more = f" and {len(places) - 5} more" if len(places) > 5 else ""
            self.notes.append(f"{text}: {', '.join(places[:5])}{more}")


def write_logs(recording: Recording, log_dir: str, name: str, source: str) -> None:
    """Write a log for each cell of a recording."""
    Path(log_dir).mkdir(parents=True, exist_ok=True)
    keys, questions = list(recording.cells), recording.questions  # in the order of the files
    tested = {a.question.id for k in keys if k.split == "test" for a in recording.cells[k]}
    digest = hashlib.sha256(json.dumps(recording.files).encode()).hexdigest()[:12]
    experiment = record.ExperimentRecord(
        dataset=questions.name,
        dataset_sha256=questions.fingerprint,
        dataset_source=questions.source,
        test_size=len(tested),
        seed=0,
        near_duplicates="not recorded",
        style="not recorded",
        prompt_version=f"imported {digest}",
        scorer_version=SCORER_VERSION,
    )
    plan = record.PlanRecord(  # nothing was declared
        name=name,
        models=tuple(dict.fromkeys(k.model for k in sorted(keys, key=lambda k: bool(k.labels)))),
        pairs=tuple(dict.fromkeys((k.weak, k.model) for k in keys if k.labels == "weak")),
        blocks=record.blocks_of(keys),
    )
    today = datetime.now(UTC).date().isoformat()
    # the record takes those fields of a recording that it has too
    told = record.ImportRecord(source=source, imported_at=today, **vars(recording))
    for place, key in enumerate(dict.fromkeys([*keys, *recording.counts])):
        correct, total = recording.counts.get(key, (None, None))
        own = told.model_copy(update={"correct": correct, "total": total})
        log = _log(key, recording, [experiment, plan, own, recording.shown.get(key, Shown())])
        file = f"{log.eval.created}_{log.eval.task}".translate(str.maketrans(":+_", "---"))
        ilog.write_eval_log(log, f"{log_dir}/{file}_{place:03d}.eval")


def _log(key: CellKey, recording: Recording, records: Sequence[record.Record]) -> ilog.EvalLog:
    cell = record.CellRecord(**key._asdict())  # which has no model
    now = datetime.now(UTC).isoformat(timespec="seconds")
    answers, questions = recording.cells.get(key, []), recording.questions
    asked = list(dict.fromkeys(a.question.id for a in answers))
    right, n = recording.counts.get(key, (sum(a.letter == a.target for a in answers), len(answers)))
    accuracy = ilog.EvalMetric(name="accuracy", value=right / n if n else math.nan)
    score = ilog.EvalScore(name=SCORER, scorer=SCORER, metrics={"accuracy": accuracy})
    done = len(answers)
    return ilog.EvalLog(
        status="success",
        eval=ilog.EvalSpec(
            created=now,
            task=cell_name(cell),
            dataset=ilog.EvalDataset(
                name=f"{questions.name} {key.split}",
                location=questions.source,
                samples=len(asked),
                sample_ids=asked,
            ),
            model=key.model,
            config=ilog.EvalConfig(epochs=max((a.epoch for a in answers), default=1)),
            tags=["imported"],
            metadata={k: v for part in (cell, *records) for k, v in part.to_metadata().items()},
        ),
        plan=ilog.EvalPlan(),
        results=ilog.EvalResults(total_samples=done, completed_samples=done, scores=[score]),
        stats=ilog.EvalStats(started_at=now, completed_at=now),
        samples=[_sample(key.model, answer) for answer in answers],
    )


def _sample(model: str, answer: Answer) -> ilog.EvalSample:
    question, letter, gold = answer.question, answer.letter, answer.target
    options = dict(zip(ascii_uppercase, answer.choices, strict=False))
    page = "\n".join([question.question, "", *(f"{k}) {text}" for k, text in options.items())])
    answered = f"{letter}) {options[letter]}" if letter else ""
    said = answer.reply or answered
    score = Score(
        value=(CORRECT if letter == gold else INCORRECT) if letter else NOANSWER,
        answer=letter,
        explanation=f"Answered {answered or 'nothing readable'}\n\nGold: {gold}) {question.right}",
        metadata={"read_as": "imported", "option": options.get(letter, "")},
    )
    return ilog.EvalSample(
        id=question.id,
        epoch=answer.epoch,
        input=question.question,
        choices=list(answer.choices),
        target=gold,
        messages=[ChatMessageUser(content=page), ChatMessageAssistant(content=said, model=model)],
        output=ModelOutput.from_content(model, said),
        scores={SCORER: score},
        metadata={"category": question.category, "n_choices": len(answer.choices)},
        model_usage={model: answer.usage} if answer.usage else {},
    )
