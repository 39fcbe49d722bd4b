"""Answers recorded by the notebook that this project began from: its JSON files."""

from __future__ import annotations

import random
from pathlib import Path
from string import ascii_uppercase

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, ValidationError

from w2s_icl.errors import W2SError
from w2s_icl.evals.imports.recording import Answer, Recording, sha256_of
from w2s_icl.evals.questions import QuestionSet
from w2s_icl.record import (
    CellKey,
)

NOTEBOOK_SEED = 42
"""Seed of the notebook's split; plus the row number, of the order of its options."""


class _Result(BaseModel):
    """Accuracy and answers of one cell of the notebook."""

    num_few_shot: NonNegativeInt = 0
    num_correct: NonNegativeInt
    num_total: int = Field(gt=0)
    predictions: list[str | None] | None = None


class _Of(BaseModel):
    model_config = ConfigDict(protected_namespaces=())

    results: list[_Result]
    weak_model: str = ""
    strong_model: str = ""


class _Size(BaseModel):
    test_size: int = Field(gt=0)
    train_size: NonNegativeInt


class _File(BaseModel):
    """One JSON file of the notebook: a sweep over gold labels, over weak labels, or a baseline."""

    experiment: str = "baseline"
    dataset: _Size
    models: dict[str, _Of] = {}
    model_pairs: dict[str, _Of] = {}
    model: str = ""
    results: _Result | None = None


def read_notebook(folder: Path, questions: QuestionSet) -> Recording:
    """Read and check the notebook's JSON files; raises as `import_answers`."""
    recording = Recording(
        questions,
        as_shown=True,
        not_recorded=[
            "prompts",
            "sampling settings",
            "replies",
            "which demonstrations were shown, and their labels",
        ],
    )
    paths = sorted(folder.rglob("*.json"))
    if not paths:
        raise W2SError(f"{folder}: no JSON files; give the notebook's folder of results")
    files = {path: _notebook_file(path) for path in paths}
    # of two runs of one cell the sweep's is taken: sweeps come first
    for path, file in sorted(files.items(), key=lambda item: item[1].experiment == "baseline"):
        cells = 0
        for of in file.model_pairs.values():
            for result in of.results:
                labels = "weak" if result.num_few_shot else ""
                weak = of.weak_model if labels else ""
                _add(recording, file, path, of.strong_model, labels, weak, result)
                cells += 1
        for model, of in file.models.items():
            for result in of.results:
                labels = "gold" if result.num_few_shot else ""
                _add(recording, file, path, model, labels, "", result)
                cells += 1
        if file.results is not None:
            _add(recording, file, path, file.model, "", "", file.results)
            cells += 1
        recording.files.append((path.name, sha256_of(path), cells))
    unread = sum(not answer.letter for of in recording.cells.values() for answer in of)
    if unread:
        recording.notes.append(f"{unread} answers are none of the options: unread")
    if recording.counts:
        recording.not_recorded.append(
            f"the answers of {len(recording.counts)} cells with gold labels, only how many were "
            "right: they give accuracies and nothing paired"
        )
    return recording


def _notebook_file(path: Path) -> _File:
    try:
        file = _File.model_validate_json(path.read_bytes())
    except OSError as error:
        raise W2SError(f"{path}: cannot be read: {error.strerror}") from None
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"])) or "the file"
        raise W2SError(f"{path.name}: {name}: {first['msg'][:120].lower()}") from None
    if not (file.model_pairs or file.models or (file.results and file.model)):
        raise W2SError(f"{path.name}: no model_pairs, models or results of a model in it")
    return file


def _add(
    recording: Recording,
    file: _File,
    path: Path,
    model: str,
    labels: str,
    weak: str,
    result: _Result,
) -> None:
    """Add one cell of the notebook, or say why its answers are not taken."""
    where = f"{path.name}: {model}, {labels or 'zero-shot'}, {result.num_few_shot} shots"
    if not model or (labels == "weak" and not weak):
        raise W2SError(f"{where}: the name of a model is missing")
    task = "few_shot" if labels else "zero_shot"
    key = CellKey(model, task, "test", labels, weak, result.num_few_shot, 0, "")
    if result.num_correct > result.num_total:
        raise W2SError(f"{where}: {result.num_correct} right of {result.num_total}")
    if result.predictions is None:
        if key not in recording.cells:
            known = recording.counts.setdefault(key, (result.num_correct, result.num_total))
            if known != (result.num_correct, result.num_total):
                raise W2SError(
                    f"{where}: given twice, with {known[0]} and {result.num_correct} "
                    "right; keep the file that counts"
                )
        return
    answers = _notebook_answers(recording, file, where, result)
    if key in recording.cells:
        mine = [a.letter for a in recording.cells[key]]
        other = sum(a.letter != b for a, b in zip(answers, mine, strict=False))
        if other and file.experiment != "baseline":
            raise W2SError(
                f"{where}: given twice, with {other} different answers; keep the file that counts"
            )
        if file.experiment == "baseline":
            recording.notes.append(
                f"{path.name} is another run of {model} zero-shot, {other} answers differ; the "
                "sweep's run is taken"
            )
        return
    recording.cells[key] = answers
    recording.counts.pop(key, None)


def _notebook_answers(
    recording: Recording, file: _File, where: str, result: _Result
) -> list[Answer]:
    """The answers of a cell, in the notebook's split and order of options."""
    questions, size = recording.questions.questions, file.dataset
    n = len(questions)
    if size.test_size + size.train_size != n:
        raise W2SError(
            f"{where}: the file is of {size.test_size + size.train_size} questions, but "
            f"{recording.questions.name} holds {n}; name the notebook's set with --questions"
        )
    given = result.predictions or []
    if not len(given) == result.num_total == size.test_size:
        raise W2SError(
            f"{where}: {len(given)} predictions, num_total {result.num_total} and test_size "
            f"{size.test_size} must be the same number"
        )
    rows = random.Random(NOTEBOOK_SEED).sample(range(n), n)[: size.test_size]
    answers = []
    for row, letter in zip(rows, given, strict=True):
        question = questions[row]
        right = question.choices[question.gold]
        choices = [right, *(c for i, c in enumerate(question.choices) if i != question.gold)]
        random.Random(row + NOTEBOOK_SEED).shuffle(choices)
        read = (letter or "").strip().upper()
        if len(read) != 1 or read not in ascii_uppercase[: len(choices)]:
            read = ""
        answers.append(Answer(question, tuple(choices), read))
    right_n = sum(answer.letter == answer.target for answer in answers)
    if right_n != result.num_correct:
        raise W2SError(
            f"{where}: its predictions are right {right_n} times, num_correct says "
            f"{result.num_correct}; the file is damaged, or of other questions than "
            f"{recording.questions.name}"
        )
    return answers
