"""Answers recorded as rows of a CSV, JSONL or parquet file, an answer each."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from string import ascii_uppercase
from typing import Literal, Self, TypeVar

from inspect_ai.model import ModelUsage
from pydantic import BaseModel, Field, model_validator

from w2s_icl.errors import W2SError, checked
from w2s_icl.evals.imports.logs import Answer, Recording
from w2s_icl.evals.questions import Question, QuestionSet
from w2s_icl.record import CellKey, Count, Shown
from w2s_icl.rows import is_empty, read_rows
from w2s_icl.scorers.multiple_choice import parse_answer

Options = dict[int | str, tuple[str, ...]]  # by the id of a question


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
    that is not listed is another wrong option. Over 10% of such answers are refused: the questions
    are others.
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
        if name not in by_name:
            among = f"the {len(known.questions)} questions of {known.name}"
            said = f"{place}: question {name!r:.60} is not among {among}"
            raise W2SError(f"{said}; give an id, or a row number from 0")
        found.append((place, row, by_name[name]))
    into.add_file(path, len(found))
    return found
