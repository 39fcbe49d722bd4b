"""Answers recorded by the notebook that this project began from: its JSON files."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from w2s_icl.errors import W2SError, first_line
from w2s_icl.evals.imports.logs import Answer, Recording
from w2s_icl.evals.questions import QuestionSet
from w2s_icl.record import CellKey

NOTEBOOK_SEED = 42  # of the notebook's split; plus the row number, of the order of its options


def read_notebook(folder: Path, questions: QuestionSet) -> Recording:
    """Read and check the notebook's JSON files; raises as `import_recorded`."""
    recording = Recording(questions, ["prompts", "sampling settings", "replies"], as_shown=True)
    paths = sorted(folder.rglob("*.json"))
    if not paths:
        raise W2SError(f"{folder}: no JSON files; give the notebook's folder of results")
    files = {}
    try:
        for path in paths:
            files[path] = dict(json.loads(path.read_bytes()))
        # of two runs of one cell the sweep's is taken: baselines, which name a model, come last
        for path in sorted(paths, key=lambda path: "model" in files[path]):
            cells = list(_cells(files[path]))
            if not cells:
                raise ValueError("no model_pairs, models or results of a model in it")
            for key, result in cells:
                _add(recording, files[path], key, result, path.name)
            recording.add_file(path, len(cells))
    except (KeyError, OSError, TypeError, ValueError, AttributeError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else first_line(error)
        raise W2SError(f"{path.name}: cannot be used: {what}") from None
    if unread := sum(not answer.letter for of in recording.cells.values() for answer in of):
        recording.notes.append(f"{unread} answers are none of the options: unread")
    if n := len(recording.counts):
        right = f"the answers of {n} cells with gold labels, only how many were right"
        recording.not_recorded.append(f"{right}: they give accuracies and nothing paired")
    return recording


def _cells(file: dict[str, Any]) -> Iterator[tuple[CellKey, dict[str, Any]]]:
    """The cells of one file: a sweep over weak labels, over gold labels, or a baseline."""
    pairs = file.get("model_pairs", {}).values()
    found = [(of["strong_model"], "weak", of["weak_model"], of["results"]) for of in pairs]
    found += [(model, "gold", "", of["results"]) for model, of in file.get("models", {}).items()]
    found += [(file["model"], "", "", [file["results"]])] if "model" in file else []
    for model, labels, weak, results in found:
        for result in results:
            shots = int(result.get("num_few_shot", 0))
            key = CellKey(model, "few_shot", "test", labels, weak, shots)
            yield key if shots else CellKey(model, "zero_shot", "test"), result


def _add(
    recording: Recording, file: dict[str, Any], key: CellKey, result: dict[str, Any], name: str
) -> None:
    """Add one cell of a file; raises ValueError where two files disagree about it."""
    counts = right, n = int(result["num_correct"]), int(result["num_total"])
    arm = f"{key.model}, {key.labels or 'zero-shot'}, {key.shots} shots"
    if not 0 <= right <= n:
        raise ValueError(f"{arm}: {right} right of {n}")
    if result.get("predictions") is None:
        if key not in recording.cells and recording.counts.setdefault(key, counts) != counts:
            raise ValueError(f"{arm}: given twice, with other counts; keep one")
        return
    answers = _answers(recording.questions, file["dataset"], result["predictions"], n)
    if (counted := sum(a.letter == a.target for a in answers)) != right:
        said = f"{arm}: its predictions are right {counted} times, num_correct says {right}"
        others = f"of other questions than {recording.questions.name}"
        raise ValueError(f"{said}: damaged, or {others}")
    recording.counts.pop(key, None)
    kept = recording.cells.setdefault(key, answers)
    differ = sum(a != b for a, b in zip(answers, kept, strict=True))
    if kept is not answers and "model" in file:
        told = f"another run of this cell, {differ} answers differ; the sweep's run is taken"
        recording.notes.append(f"{name}: {arm}: {told}")
    elif differ:
        raise ValueError(f"{arm}: given twice, with {differ} different answers; keep one")


def _answers(
    questions: QuestionSet, size: dict[str, int], predictions: list[str | None], n: int
) -> list[Answer]:
    """The answers of a cell, in the notebook's split and order of options."""
    total = len(questions.questions)
    test, train = size["test_size"], size["train_size"]
    if test + train != total or n != test:
        given = f"of {test} + {train} questions, num_total {n}, but {questions.name} holds {total}"
        raise ValueError(f"{given}; name the notebook's set with --questions")
    if len(predictions) != n:
        raise ValueError(f"{len(predictions)} predictions, num_total says {n}")
    answers = []
    order = random.Random(NOTEBOOK_SEED).sample(range(total), total)
    for row, said in zip(order, predictions, strict=False):  # the test comes first
        question = questions.questions[row]
        choices = [question.right, *question.wrong]
        random.Random(row + NOTEBOOK_SEED).shuffle(choices)
        letter = (said or "").strip().upper()
        read = len(letter) == 1 and letter in ascii_uppercase[: len(choices)]
        answers.append(Answer(question, tuple(choices), letter if read else ""))
    return answers
