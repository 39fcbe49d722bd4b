"""Answers recorded by the notebook that this project began from: its JSON files."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from string import ascii_uppercase

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, ValidationError

from w2s_icl.errors import W2SError
from w2s_icl.evals.imports.recording import Answer, Recording
from w2s_icl.evals.questions import QuestionSet
from w2s_icl.record import CellKey

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

    def cells(self) -> Iterator[tuple[CellKey, _Result]]:
        """What each of the file's results is of."""
        found = [(of.strong_model, "weak", of.weak_model, of) for of in self.model_pairs.values()]
        found += [(model, "gold", "", of) for model, of in self.models.items()]
        if self.results:
            found.append((self.model, "", "", _Of(results=[self.results])))
        for model, labels, weak, of in found:
            for result in of.results:
                if shots := result.num_few_shot:
                    yield CellKey(model, "few_shot", "test", labels, weak, shots, 0, ""), result
                else:
                    yield CellKey(model, "zero_shot", "test", "", "", 0, 0, ""), result


def read_notebook(folder: Path, questions: QuestionSet) -> Recording:
    """Read and check the notebook's JSON files; raises as `import_answers`."""
    shown = "which demonstrations were shown, and their labels"
    recording = Recording(questions, ["prompts", "sampling settings", "replies", shown], True)
    files = {path: _read(path) for path in sorted(folder.rglob("*.json"))}
    if not files:
        raise W2SError(f"{folder}: no JSON files; give the notebook's folder of results")
    # of two runs of one cell the sweep's is taken: sweeps come first
    for path, file in sorted(files.items(), key=lambda item: item[1].experiment == "baseline"):
        cells = list(file.cells())
        for key, result in cells:
            arm = f"{key.labels or 'zero-shot'}, {key.shots} shots"
            _add(recording, file, f"{path.name}: {key.model}, {arm}", key, result)
        recording.add_file(path, len(cells))
    unread = sum(not answer.letter for of in recording.cells.values() for answer in of)
    if unread:
        recording.notes.append(f"{unread} answers are none of the options: unread")
    if recording.counts:
        recording.not_recorded.append(
            f"the answers of {len(recording.counts)} cells with gold labels, only how many were "
            "right: they give accuracies and nothing paired"
        )
    return recording


def _read(path: Path) -> _File:
    try:
        file = _File.model_validate_json(path.read_bytes())
    except OSError as error:
        raise W2SError(f"{path}: cannot be read: {error.strerror}") from None
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"])) or "the file"
        raise W2SError(f"{path.name}: {name}: {first['msg'][:120].lower()}") from None
    if not any(True for _ in file.cells()):
        raise W2SError(f"{path.name}: no model_pairs, models or results of a model in it")
    for key, _ in file.cells():
        if not key.model or (key.labels == "weak" and not key.weak):
            raise W2SError(f"{path.name}: the name of a model is missing")
    return file


def _add(recording: Recording, file: _File, where: str, key: CellKey, result: _Result) -> None:
    """Add one cell of the notebook; raises W2SError where two files disagree about it."""
    if result.predictions is None:
        count = (result.num_correct, result.num_total)
        if count[0] > count[1]:
            raise W2SError(f"{where}: {count[0]} right of {count[1]}")
        if key not in recording.cells and recording.counts.setdefault(key, count) != count:
            raise W2SError(
                f"{where}: given twice, with {recording.counts[key][0]} and {count[0]} right; keep "
                "the file that counts"
            )
        return
    answers = _answers(recording.questions, file, where, result)
    if key not in recording.cells:
        recording.cells[key] = answers
        recording.counts.pop(key, None)
        return
    taken = [answer.letter for answer in recording.cells[key]]
    differ = sum(a.letter != b for a, b in zip(answers, taken, strict=False))
    if file.experiment == "baseline":
        recording.notes.append(
            f"{where}: another run of this cell, {differ} answers differ; the sweep's run is taken"
        )
    elif differ:
        raise W2SError(
            f"{where}: given twice, with {differ} different answers; keep the file that counts"
        )


def _answers(questions: QuestionSet, file: _File, where: str, result: _Result) -> list[Answer]:
    """The answers of a cell, in the notebook's split and order of options."""
    n, test = len(questions.questions), file.dataset.test_size
    if (of_file := test + file.dataset.train_size) != n:
        raise W2SError(
            f"{where}: the file is of {of_file} questions, but {questions.name} holds {n}; name "
            "the notebook's set with --questions"
        )
    given = result.predictions or []
    if not len(given) == result.num_total == test:
        raise W2SError(
            f"{where}: {len(given)} predictions, num_total {result.num_total} and test_size {test} "
            "must be the same number"
        )
    answers = []
    for row, said in zip(random.Random(NOTEBOOK_SEED).sample(range(n), n), given, strict=False):
        question = questions.questions[row]
        right = question.choices[question.gold]
        choices = [right, *(c for i, c in enumerate(question.choices) if i != question.gold)]
        random.Random(row + NOTEBOOK_SEED).shuffle(choices)
        letter = (said or "").strip().upper()
        read = len(letter) == 1 and letter in ascii_uppercase[: len(choices)]
        answers.append(Answer(question, tuple(choices), letter if read else ""))
    if (right_n := sum(a.letter == a.target for a in answers)) != result.num_correct:
        raise W2SError(
            f"{where}: its predictions are right {right_n} times, num_correct says "
            f"{result.num_correct}; the file is damaged, or of other questions than "
            f"{questions.name}"
        )
    return answers
