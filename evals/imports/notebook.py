"""Answers recorded by the notebook that this project began from: its JSON files."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from w2s_icl.errors import W2SError, first_line
from w2s_icl.evals.imports.recording import Answer, Recording
from w2s_icl.evals.questions import QuestionSet
from w2s_icl.record import CellKey

NOTEBOOK_SEED = 42
"""Seed of the notebook's split; plus the row number, of the order of its options."""


def read_notebook(folder: Path, questions: QuestionSet) -> Recording:
    """Read and check the notebook's JSON files; raises as `import_answers`."""
    shown = "which demonstrations were shown, and their labels"
    recording = Recording(questions, ["prompts", "sampling settings", "replies", shown], True)
    files = {path: _read(path) for path in sorted(folder.rglob("*.json"))}
    if not files:
        raise W2SError(f"{folder}: no JSON files; give the notebook's folder of results")
    # of two runs of one cell the sweep's is taken: baselines, which name a model, come last
    for path, file in sorted(files.items(), key=lambda item: "model" in item[1]):
        try:
            cells = list(_cells(file))
            for key, result in cells:
                arm = f"{key.labels or 'zero-shot'}, {key.shots} shots"
                _add(recording, file, f"{path.name}: {key.model}, {arm}", key, result)
        except KeyError as error:
            raise W2SError(f"{path.name}: {error} is missing in it") from None
        except (TypeError, ValueError, AttributeError) as error:
            raise W2SError(f"{path.name}: is damaged: {first_line(error)}") from None
        if not cells:
            raise W2SError(f"{path.name}: no model_pairs, models or results of a model in it")
        recording.add_file(path, len(cells))
    if unread := sum(not answer.letter for of in recording.cells.values() for answer in of):
        recording.notes.append(f"{unread} answers are none of the options: unread")
    if recording.counts:
        recording.not_recorded.append(
            f"the answers of {len(recording.counts)} cells with gold labels, only how many were "
            "right: they give accuracies and nothing paired"
        )
    return recording


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_bytes()))
    except (OSError, TypeError, ValueError) as error:
        raise W2SError(f"{path.name}: is damaged: {first_line(error)}") from None


def _cells(file: dict[str, Any]) -> Iterator[tuple[CellKey, dict[str, Any]]]:
    """The cells of one file: a sweep over weak labels, over gold labels, or a baseline."""
    found = [(of["strong_model"], "weak", of["weak_model"], of["results"])
             for of in file.get("model_pairs", {}).values()]  # fmt: skip
    found += [(model, "gold", "", of["results"]) for model, of in file.get("models", {}).items()]
    if "model" in file:
        found.append((file["model"], "", "", [file["results"]]))
    for model, labels, weak, results in found:
        for result in results:
            shots = int(result.get("num_few_shot", 0))
            key = CellKey(model, "few_shot", "test", labels, weak, shots, 0, "")
            yield key if shots else CellKey(model, "zero_shot", "test", "", "", 0, 0, ""), result


def _add(
    recording: Recording, file: dict[str, Any], where: str, key: CellKey, result: dict[str, Any]
) -> None:
    """Add one cell of the notebook; raises W2SError where two files disagree about it."""
    right, n = int(result["num_correct"]), int(result["num_total"])
    if not 0 <= right <= n:
        raise W2SError(f"{where}: {right} right of {n}")
    if result.get("predictions") is None:
        if key not in recording.cells and recording.counts.setdefault(key, (right, n)) != (
            right,
            n,
        ):
            raise W2SError(f"{where}: given twice, with other counts; keep the file that counts")
        return
    answers = _answers(recording.questions, file["dataset"], where, result)
    if sum(a.letter == a.target for a in answers) != right:
        raise W2SError(
            f"{where}: its predictions are right {sum(a.letter == a.target for a in answers)} "
            f"times, num_correct says {right}; the file is damaged, or of other questions than "
            f"{recording.questions.name}"
        )
    if key not in recording.cells:
        recording.cells[key] = answers
        recording.counts.pop(key, None)
        return
    differ = sum(a != b for a, b in zip(answers, recording.cells[key], strict=True))
    if "model" in file:
        recording.notes.append(
            f"{where}: another run of this cell, {differ} answers differ; the sweep's run is taken"
        )
    elif differ:
        raise W2SError(
            f"{where}: given twice, with {differ} different answers; keep the file that counts"
        )


def _answers(
    questions: QuestionSet, size: dict[str, int], where: str, result: dict[str, Any]
) -> list[Answer]:
    """The answers of a cell, in the notebook's split and order of options."""
    n, test, given = len(questions.questions), size["test_size"], result["predictions"]
    if test + size["train_size"] != n:
        raise W2SError(
            f"{where}: the file is of {test + size['train_size']} questions, but {questions.name} "
            f"holds {n}; name the notebook's set with --questions"
        )
    if not len(given) == result["num_total"] == test:
        raise W2SError(
            f"{where}: {len(given)} predictions, num_total {result['num_total']} and test_size "
            f"{test} must be the same number"
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
    return answers
