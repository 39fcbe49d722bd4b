"""Answers recorded as rows of a CSV, JSONL or parquet file, an answer each."""

from __future__ import annotations

import csv
import io
import json
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from string import ascii_uppercase
from typing import Any, TypeVar

import pandas as pd
from inspect_ai.model import ModelUsage
from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, NonNegativeInt, ValidationError

from w2s_icl.errors import W2SError, first_line
from w2s_icl.evals.imports.recording import Answer, Recording, sha256_of
from w2s_icl.evals.questions import Question, QuestionSet
from w2s_icl.record import (
    CellKey,
    Shown,
)
from w2s_icl.scorers.multiple_choice import parse_answer

LISTED = 5
"""How many rows of a kind a note names."""

UNLISTED_LIMIT = 0.1
"""Share of rows whose answer is none of the question's options above which nothing is imported."""


class AnswerRow(BaseModel):
    """One recorded answer; the columns of a file of answers."""

    model_config = ConfigDict(extra="ignore", str_strip_whitespace=True)

    model: str = Field(min_length=1)
    question: str = Field(min_length=1)
    answer: str = ""
    labels: str = ""
    weak: str = ""
    shots: NonNegativeInt = 0
    draw: NonNegativeInt = 0
    prompt: str = ""
    split: str = Field("test", pattern="^(test|pool)$")
    epoch: int = Field(1, ge=1, le=10_000)
    reply: str = ""
    input_tokens: NonNegativeInt | None = None
    output_tokens: NonNegativeInt | None = None
    cost: NonNegativeFloat | None = None

    @property
    def usage(self) -> ModelUsage | None:
        """Tokens and dollars; None where none are recorded."""
        tokens = (self.input_tokens, self.output_tokens)
        if tokens == (None, None) and self.cost is None:
            return None
        counts = [count or 0 for count in tokens]
        return ModelUsage(
            input_tokens=counts[0],
            output_tokens=counts[1],
            total_tokens=sum(counts),
            total_cost=self.cost,
        )


class DemonstrationRow(BaseModel):
    """One recorded demonstration; the columns of a file of demonstrations."""

    model_config = ConfigDict(extra="ignore", str_strip_whitespace=True)

    model: str = Field(min_length=1)
    labels: str = Field(min_length=1)
    weak: str = ""
    draw: NonNegativeInt = 0
    place: NonNegativeInt
    question: str = Field(min_length=1)
    label: str = Field(min_length=1)


def read_answers(path: Path, questions: QuestionSet) -> Recording:
    """Read and check a file of answers; raises as `import_answers`."""
    rows = [
        (line, row, _question(row.question, questions, path, line), _key(row, path, line))
        for line, row in _rows(path, AnswerRow)
    ]
    if not any(row.answer or row.reply for _, row, _, _ in rows):
        raise W2SError(f"{path.name}: no row has an answer or a reply")
    recording = Recording(questions, not_recorded=["prompts", "sampling settings"])
    recording.files.append((path.name, sha256_of(path), len(rows)))
    recording.not_recorded.append("the order in which options were shown")
    if not any(row.reply for _, row, _, _ in rows):
        recording.not_recorded.append("replies")
    options = _options(path, rows, recording)
    seen: dict[tuple[CellKey, int | str, int], int] = {}
    beyond: list[str] = []
    differ: list[str] = []
    for line, row, question, key in rows:
        if (first := seen.setdefault((key, question.id, row.epoch), line)) != line:
            raise W2SError(
                f"{path.name}: line {line}: question {question.id!r} was answered in line {first} "
                "already, in the same cell; give each answer once, or number repeated runs in a "
                "column epoch"
            )
        choices = options.get(question.id, question.choices)
        letter = _letter(row.answer, choices) or ""
        if letter not in ascii_uppercase[: len(choices)]:
            beyond.append(f"line {line} ({letter})")
            letter = ""
        if row.reply:
            read = parse_answer(row.reply, choices) or ""
            if not row.answer:
                letter = read
            elif read != letter:
                differ.append(f"line {line} ({letter or 'none'}, read as {read or 'none'})")
        answer = Answer(question, choices, letter, row.epoch, row.reply, row.usage)
        recording.cells[key].append(answer)
    if beyond:
        recording.notes.append(
            f"{len(beyond)} answers are a letter beyond the options and count as unread: "
            f"{_some(beyond)}"
        )
    if differ:
        recording.notes.append(
            f"in {len(differ)} of {len(rows)} rows the suite reads another answer in the reply "
            f"than the file gives; the file's answer is taken: {_some(differ)}"
        )
    asked = [
        frozenset(answer.question.id for answer in answers)
        for key, answers in recording.cells.items()
        if key.split == "test"
    ]
    if len(set(asked)) > 1:
        recording.notes.append(
            f"cells were asked between {min(map(len, asked))} and {max(map(len, asked))} test "
            f"questions, of which {len(frozenset.intersection(*asked))} are common to all cells"
        )
    return recording


def _key(row: AnswerRow, path: Path, line: int) -> CellKey:
    """The cell of a row, where its columns agree."""
    mistake = ""
    if not row.labels and (row.shots or row.weak):
        mistake = "labels is empty, but shots or weak is given; say who labelled (gold, weak, ...)"
    elif row.labels and not row.shots:
        mistake = f"shots is 0, but labels is {row.labels!r}; without demonstrations leave it empty"
    elif row.labels == "weak" and not row.weak:
        mistake = "labels is weak, but weak, the model that labelled, is empty"
    if mistake:
        raise W2SError(f"{path.name}: line {line}: {mistake}")
    task = "few_shot" if row.labels else "zero_shot"
    return CellKey(
        row.model, task, row.split, row.labels, row.weak, row.shots, row.draw, row.prompt
    )


def _question(given: str, questions: QuestionSet, path: Path, line: int) -> Question:
    """The question with this id, or else in this row, counted from 0."""
    rows = questions.questions
    given = given.removesuffix(".0")  # pandas writes whole numbers so beside an empty cell
    place = questions.places.get(given)
    if place is None and given.isdecimal() and int(given) < len(rows):
        place = int(given)
    if place is None:
        raise W2SError(
            f"{path.name}: line {line}: question {given!r:.60} is not among the {len(rows)} "
            f"questions of {questions.name}; give an id, or a row number from 0"
        )
    return rows[place]


def _options(
    path: Path, rows: Sequence[tuple[int, AnswerRow, Question, CellKey]], recording: Recording
) -> dict[int | str, tuple[str, ...]]:
    """Options of the questions that were asked with others than the question set lists.

    Some sets keep three of a question's wrong options, and not everybody the same three: an answer
    that is not listed is another wrong option.

    Raises:
        W2SError: Too many answers are not listed for the questions to be the recorded ones.
    """
    options: dict[int | str, tuple[str, ...]] = {}
    unlisted: list[tuple[int, str, Question]] = []
    for line, row, question, _ in rows:
        if row.answer and _letter(row.answer, question.choices) is None:
            unlisted.append((line, row.answer, question))
            mine = options.get(question.id, question.choices)
            if _letter(row.answer, mine) is None:
                options[question.id] = (*mine, row.answer)
    if len(unlisted) > UNLISTED_LIMIT * len(rows):
        line, answer, question = unlisted[0]
        raise W2SError(
            f"{path.name}: line {line}: answer {answer!r:.60} is none of the options of question "
            f"{question.id!r} (the first: {question.choices[0]!r:.60}), and so in {len(unlisted)} "
            f"of {len(rows)} rows: give an option's text or its letter, and the recorded questions"
        )
    if unlisted:
        recording.notes.append(
            f"{len(unlisted)} answers in {len(options)} questions are none of the options that "
            f"{recording.questions.name} lists; they count as further wrong options: "
            + _some([f"line {line} ({answer!r:.40})" for line, answer, _ in unlisted])
        )
    return options


def _letter(answer: str, choices: Sequence[str]) -> str | None:
    """Letter of an answer given as option text or letter; "" where empty, None where neither."""
    if not answer:
        return ""
    plain = [" ".join(choice.split()).casefold() for choice in choices]
    wanted = " ".join(answer.split()).casefold()
    if wanted in plain:
        return ascii_uppercase[plain.index(wanted)]
    return answer.upper() if len(answer) == 1 and answer.upper() in ascii_uppercase else None


def read_demonstrations(path: Path, recording: Recording) -> None:
    """Read which demonstrations were shown; a cell with k shots showed the first k places."""
    places: dict[tuple[str, ...], dict[int, tuple[Question, str]]] = defaultdict(dict)
    n = 0
    for n, (line, row) in enumerate(_rows(path, DemonstrationRow), start=1):  # noqa: B007
        question = _question(row.question, recording.questions, path, line)
        letter = _letter(row.label, question.choices)
        if letter is None:  # as in `_options`
            question = replace(question, choices=(*question.choices, row.label))
            letter = ascii_uppercase[len(question.choices) - 1]
        if letter not in ascii_uppercase[: len(question.choices)]:
            raise W2SError(
                f"{path.name}: line {line}: label {row.label!r} is a letter beyond the options of "
                f"question {question.id!r}"
            )
        of = places[row.model, row.labels, row.weak, str(row.draw)]
        if row.place in of:
            raise W2SError(f"{path.name}: line {line}: place {row.place} is given twice")
        of[row.place] = (question, letter)
    missing = 0
    for key in recording.cells:
        of = places.get((key.model, key.labels, key.weak, str(key.draw)), {})
        if key.shots and all(place in of for place in range(key.shots)):
            shown = [of[place] for place in range(key.shots)]
            right = [letter == ascii_uppercase[q.gold] for q, letter in shown]
            recording.shown[key] = Shown(
                ids=tuple(q.id for q, _ in shown),
                labels=tuple(letter for _, letter in shown),
                choices=tuple(q.choices for q, _ in shown),
                right_share=sum(right) / len(right),
            )
        missing += bool(key.shots) and key not in recording.shown
    recording.files.append((path.name, sha256_of(path), n))
    if missing:
        recording.not_recorded.append(f"the demonstrations of {missing} cells")


Row = TypeVar("Row", bound=BaseModel)


def _rows(path: Path, kind: type[Row]) -> Iterator[tuple[int, Row]]:
    """Line in the file (of parquet: row) and checked row.

    Raises:
        W2SError: The file or a row cannot be read.
    """
    try:
        if path.suffix == ".parquet":
            raw = list(enumerate(pd.read_parquet(path).to_dict("records"), start=1))
        else:
            text = path.read_text("utf-8-sig")
            raw = list(_of_jsonl(text) if path.suffix == ".jsonl" else _of_csv(text))
    except OSError as error:
        raise W2SError(f"{path}: cannot be read: {error.strerror or first_line(error)}") from None
    except UnicodeDecodeError:
        raise W2SError(f"{path.name}: cannot be read: it is not UTF-8") from None
    except (csv.Error, ValueError) as error:
        raise W2SError(f"{path.name}: cannot be read: {first_line(error)}") from None
    required = {name for name, field in kind.model_fields.items() if field.is_required()}
    lacking = sorted(required - {str(name) for _, record in raw[:1] for name in record})
    if lacking or not raw:
        raise W2SError(
            f"{path.name}: has no {'column ' + ', '.join(lacking) if lacking else 'rows'}; its "
            f"columns may be {', '.join(kind.model_fields)}"
        )
    for line, record in raw:
        if None in record or (path.suffix == ".csv" and None in record.values()):
            raise W2SError(f"{path.name}: line {line}: another number of fields than the header")
        given = {str(k): _text(v) for k, v in record.items() if _text(v)}
        try:
            yield line, kind.model_validate(given)
        except ValidationError as error:
            first = error.errors()[0]
            came = "" if first["type"] == "missing" else f", got {first['input']!r:.60}"
            name = ".".join(map(str, first["loc"]))
            raise W2SError(
                f"{path.name}: line {line}: {name}: {first['msg'].lower()}{came}"
            ) from None


def _text(value: Any) -> str:
    """A cell of a table as text: "" where it is empty, whole numbers without a fraction."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return str(int(value) if isinstance(value, float) and value.is_integer() else value).strip()


def _of_csv(text: str) -> Iterator[tuple[int, dict[Any, Any]]]:
    csv.field_size_limit(10_000_000)
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    before = 1
    for record in reader:
        yield before + 1, record
        before = reader.line_num


def _of_jsonl(text: str) -> Iterator[tuple[int, dict[Any, Any]]]:
    for line, content in enumerate(text.splitlines(), start=1):
        if content.strip():
            try:
                record = json.loads(content)
            except json.JSONDecodeError as error:
                raise ValueError(f"line {line} is not JSON: {first_line(error)}") from None
            if not isinstance(record, dict):
                raise ValueError(f"line {line} is not an object of columns")
            yield line, record


def _some(items: Sequence[str]) -> str:
    more = len(items) - LISTED
    return ", ".join(items[:LISTED]) + (f" and {more} more" if more > 0 else "")
