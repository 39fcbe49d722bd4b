"""Answers that were recorded elsewhere, read from rows or from the notebook's JSON files.

They become logs like any other. Everything is checked before the first log is written.
"""

import json
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from string import ascii_uppercase
from typing import Any, Literal, Self, TypeVar

from inspect_ai.log import list_eval_logs
from inspect_ai.model import ModelUsage
from pydantic import BaseModel, Field, model_validator

from w2s_icl.errors import W2SError, checked, first_line
from w2s_icl.evals.imports.logs import Answer, Recording, write_logs
from w2s_icl.evals.questions import Question, QuestionSet
from w2s_icl.evals.sources import load_questions
from w2s_icl.record import CellKey, Count, Shown
from w2s_icl.rows import is_empty, read_rows
from w2s_icl.scorers.multiple_choice import parse_answer

NOTEBOOK_SEED = 42  # of the notebook's split; plus the row number, of the order of its options
Options = dict[int | str, tuple[str, ...]]  # by the id of a question


def import_recorded(
    path: str,
    log_dir: str,
    *,
    notebook: bool = False,
    questions: str | None = None,
    demonstrations: str | None = None,
    name: str | None = None,
    source: str = "",
) -> Recording:
    """Make logs of recorded answers, one per cell, in a directory without logs.

    `path` is a file with the columns of `AnswerRow`, or with `notebook` the folder of the
    notebook's JSON files; `demonstrations` has the columns of `DemonstrationRow`; `questions`
    are named as the tasks' `dataset`; `source` says who recorded the answers.

    Raises:
        W2SError: The files cannot be used; names file and row. Nothing has been written.
    """
    if list_eval_logs(log_dir):  # an import never mixes with other runs
        said = f"--log-dir {log_dir} holds logs already"
        raise W2SError(f"{said}; imported answers need their own directory")
    loaded, file = load_questions(questions or "truthful_qa_mc"), Path(path)
    recording = (read_notebook if notebook else read_answers)(file, loaded)
    if demonstrations:
        read_demonstrations(Path(demonstrations), recording)
    if not recording.shown:
        recording.not_recorded.append("which demonstrations were shown, and their labels")
    write_logs(recording, log_dir, name or file.stem, source)
    return recording


class RecordedRow(BaseModel, extra="ignore", str_strip_whitespace=True):
    """The columns that both kinds of files have."""

    model: str
    question: str
    labels: str = ""
    weak: str = ""
    draw: Count = 0


class AnswerRow(RecordedRow):
    """One recorded answer; the columns of a file of answers."""

    answer: str = ""
    shots: Count = 0
    prompt: str = ""
    split: Literal["test", "pool"] = "test"
    epoch: int = Field(1, ge=1, le=10_000)
    reply: str = ""
    input_tokens: int | None = Field(None, ge=0)
    output_tokens: int | None = Field(None, ge=0)
    cost: float | None = Field(None, ge=0)

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        few_shot = self.labels and self.shots and (self.weak or self.labels != "weak")
        if not few_shot and (self.labels or self.shots or self.weak):
            given = f"labels is {self.labels!r}, weak {self.weak!r} and shots {self.shots}"
            needed = "demonstrations need labels and shots, weak labels also weak"
            raise ValueError(f"{given}: {needed}; without demonstrations all three stay empty")
        return self

    @property
    def key(self) -> CellKey:
        """The cell that the answer is of."""
        task = "few_shot" if self.labels else "zero_shot"
        arm = (self.labels, self.weak, self.shots, self.draw, self.prompt)
        return CellKey(self.model, task, self.split, *arm)

    @property
    def usage(self) -> ModelUsage | None:
        """Tokens and dollars; None where none are recorded."""
        if {self.input_tokens, self.output_tokens, self.cost} == {None}:
            return None
        tokens = {"input_tokens": self.input_tokens or 0, "output_tokens": self.output_tokens or 0}
        return ModelUsage(**tokens, total_tokens=sum(tokens.values()), total_cost=self.cost)


class DemonstrationRow(RecordedRow):
    """One recorded demonstration; the columns of a file of demonstrations."""

    labels: str
    place: Count
    label: str


def read_answers(path: Path, questions: QuestionSet) -> Recording:
    """Read and check a file of answers; raises as `import_recorded`."""
    missing = ["prompts", "sampling settings", "the order in which options were shown"]
    recording = Recording(questions, missing)
    rows = _read(path, AnswerRow, recording)
    if not any(row.answer or row.reply for _, row, _ in rows):
        raise W2SError(f"{path.name}: no row has an answer or a reply")
    if not any(row.reply for _, row, _ in rows):
        missing.append("replies")
    options = _options(rows, recording)
    seen: dict[tuple[CellKey, int | str, int], str] = {}
    beyond, differ = [], []
    for place, row, question in rows:
        line = place.rpartition(": ")[2]
        if (first := seen.setdefault((row.key, question.id, row.epoch), line)) != line:
            way_out = "give each answer once, or number repeated runs in a column epoch"
            said = f"question {question.id!r} was answered in {first} already, in the same cell"
            raise W2SError(f"{place}: {said}; {way_out}")
        choices = options.get(question.id, question.choices)
        if (letter := _letter(row.answer, choices) or "") not in ascii_uppercase[: len(choices)]:
            beyond.append(f"{line} ({letter})")
            letter = ""
        if row.reply:
            read = parse_answer(row.reply, choices) or ""
            letter = letter if row.answer else read
            if read != letter:
                differ.append(f"{line} ({letter or 'none'}, read as {read or 'none'})")
        answer = Answer(question, choices, letter, row.epoch, row.reply, row.usage)
        recording.cells[row.key].append(answer)
    outside = "answers are a letter beyond the options and count as unread"
    recording.note(f"{len(beyond)} {outside}", beyond)
    other = "the suite reads another answer in the reply than the file gives; the file's answer is"
    recording.note(f"in {len(differ)} of {len(rows)} rows {other} taken", differ)
    return recording


def _options(rows: list[tuple[str, AnswerRow, Question]], recording: Recording) -> Options:
    """Options of the questions that were asked with others than the question set lists.

    Some sets keep three of a question's wrong options, and not everybody the same three: an answer
    that is not listed is another wrong option. With over 10% of these, the questions are others.
    """
    options: Options = {}
    unlisted = [x for x in rows if _letter(x[1].answer, x[2].choices) is None]
    for _, row, question in unlisted:
        mine = options.get(question.id, question.choices)
        if _letter(row.answer, mine) is None:
            options[question.id] = (*mine, row.answer)
    if len(unlisted) > 0.1 * len(rows):
        place, row, question = unlisted[0]
        raise W2SError(
            f"{place}: answer {row.answer!r:.60} is none of the options of question "
            f"{question.id!r} (the first: {question.choices[0]!r:.60}), and so in {len(unlisted)} "
            f"of {len(rows)} rows: give an option's text or its letter, and the recorded questions"
        )
    recording.note(
        f"{len(unlisted)} answers in {len(options)} questions are none of the options that "
        f"{recording.questions.name} lists; they count as further wrong options",
        [f"{place.rpartition(': ')[2]} ({row.answer!r:.40})" for place, row, _ in unlisted],
    )
    return options


def _letter(answer: str, choices: Sequence[str]) -> str | None:
    """Letter of an answer given as option text or letter; "" where empty, None where neither."""
    if not answer:
        return ""
    for same in (str, str.casefold):
        plain = [same(" ".join(choice.split())) for choice in choices]
        if (wanted := same(" ".join(answer.split()))) in plain:
            return ascii_uppercase[plain.index(wanted)]
    return answer.upper() if len(answer) == 1 and answer.upper() in ascii_uppercase else None


def read_demonstrations(path: Path, recording: Recording) -> None:
    """Read which demonstrations were shown; a cell with k shots showed the first k places."""
    shown: dict[tuple[str, str, str, int], dict[int, tuple[Question, str]]] = defaultdict(dict)
    for place, row, question in _read(path, DemonstrationRow, recording):
        letter = _letter(row.label, question.choices)
        if letter is None:  # as in `_options`
            question = replace(question, choices=(*question.choices, row.label))
            letter = ascii_uppercase[len(question.choices) - 1]
        if letter not in ascii_uppercase[: len(question.choices)]:
            raise W2SError(f"{place}: label {row.label!r} is beyond the question's options")
        of = shown[row.model, row.labels, row.weak, row.draw]
        if row.place in of:
            raise W2SError(f"{place}: place {row.place} is given twice")
        of[row.place] = (question, letter)
    few_shot = [key for key in recording.cells if key.shots]
    for key in few_shot:
        of = shown[key.model, key.labels, key.weak, key.draw]
        items = [of[i] for i in range(key.shots) if i in of]
        right = sum(letter == ascii_uppercase[question.gold] for question, letter in items)
        if len(items) == key.shots:
            recording.shown[key] = Shown(
                ids=tuple(question.id for question, _ in items),
                labels=tuple(letter for _, letter in items),
                choices=tuple(question.choices for question, _ in items),
                right_share=right / key.shots,
            )
    if missing := len(few_shot) - len(recording.shown):
        recording.not_recorded.append(f"the demonstrations of {missing} cells")


AnyRow = TypeVar("AnyRow", bound=RecordedRow)


def _read(path: Path, kind: type[AnyRow], into: Recording) -> list[tuple[str, AnyRow, Question]]:
    """Place, content and question of each row; W2SError where the file or a row cannot be read."""
    known, found = into.questions, []
    # by its id, or else by its row, counted from 0; the first where an id stands twice
    by_name = {str(row): question for row, question in enumerate(known.questions)}
    by_name |= {str(question.id): question for question in reversed(known.questions)}
    for place, values in read_rows(path):
        given = {}
        for name, value in values.items():
            whole = isinstance(value, float) and value.is_integer()
            if text := "" if is_empty(value) else str(int(value) if whole else value).strip():
                given[name] = text
        row = checked(kind, given, f"{place}: ")
        # pandas writes whole numbers so beside an empty cell
        name = row.question.removesuffix(".0")
        name = str(int(name)) if name.isdecimal() and name not in by_name else name
        if name not in by_name:
            among = f"the {len(known.questions)} questions of {known.name}"
            said = f"{place}: question {name!r:.60} is not among {among}"
            raise W2SError(f"{said}; give an id, or a row number from 0")
        found.append((place, row, by_name[name]))
    into.add_file(path, len(found))
    return found


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
            cells = list(_notebook_cells(files[path]))
            if not cells:
                raise ValueError("no model_pairs, models or results of a model in it")
            for key, result in cells:
                _add_cell(recording, files[path], key, result, path.name)
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


def _notebook_cells(file: dict[str, Any]) -> Iterator[tuple[CellKey, dict[str, Any]]]:
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


def _add_cell(
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
    answers = _notebook_answers(recording.questions, file["dataset"], result["predictions"], n)
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


def _notebook_answers(
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
