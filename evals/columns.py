"""From the rows of any multiple-choice set to questions: which column is what, read and checked."""

import ast
import json
import logging
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from string import ascii_uppercase
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, PositiveInt

from w2s_icl.errors import W2SError, checked, nearest
from w2s_icl.evals.questions import Question
from w2s_icl.inputs import read_yaml
from w2s_icl.rows import Row, is_empty


class Columns(BaseModel, extra="forbid", frozen=True):
    """Where a question set is, and which of its columns hold what: the keys of a mapping file.

    A column may be a path into a nested one, as `choices.text`.
    """

    path: str  # of the hub, as `cais/mmlu`; or a folder or file, relative to the mapping
    name: str = ""  # config, where there are several
    split: str = ""  # where the config has several
    revision: str = ""  # commit of the hub
    question: str | tuple[str, ...] = "question"  # several are joined by line breaks
    # a list, or texts with labels of their own as in ARC. Or several: columns with an option each,
    # or texts that are the options of all questions
    choices: str | tuple[str, ...] = "choices"
    label: str = "label"  # or a number: the place of the right option in all rows
    label_from: Literal["0", "1"] = "0"  # number of the first place
    id: str = ""  # the number of the row, from 0, where no column is named
    category: str = ""  # class of questions
    rows: PositiveInt | None = None  # how many there must be
    bad_rows: Literal["refuse", "drop"] = "refuse"  # "drop" leaves them out, and says which


# of TruthfulQA on the hub, and of the authors' own file
MC1 = Columns(path="", choices="mc1_targets.choices", label="mc1_targets.labels")
ANSWERS = ("Best Answer", "Best Incorrect Answer")
BINARY = Columns(path="", question="Question", choices=ANSWERS, label="0", category="Category")


def columns_of(row: Mapping[str, Any]) -> Columns:
    """The columns of a file that no mapping describes."""
    binary = "Best Incorrect Answer" in row and "choices" not in row
    own = MC1 if "mc1_targets" in row else BINARY if binary else Columns(path="")
    return own.model_copy(update={name: name for name in ("id", "category") if name in row})


def read_columns(path: Path) -> Columns:
    """Read a mapping file; raises W2SError where it is not YAML or says what is not allowed."""
    return checked(Columns, read_yaml(path, texts=True), f"{path}: ")


class _Item(NamedTuple):
    """A question, before it is known how the label's column names the right option."""

    where: str
    question: Question
    own: tuple[str, ...]  # the options' own labels
    label: Any


class _UnusableError(Exception):
    """Why a row cannot be used."""


def questions_of(rows: Sequence[Row], columns: Columns) -> list[Question]:
    """The questions of a set; what is wrong in a row is refused by file, line and id."""
    if columns.rows not in (None, len(rows)):
        file, reason = rows[0].place.split(":")[0], "the file is cut, or of another revision"
        counts = f"{len(rows)} rows were read, {columns.rows} must be there"
        raise W2SError(f"{file}: {counts}: {reason}")
    items: list[_Item] = []
    unusable: list[str] = []
    first_of: dict[str, str] = {}  # place by id
    for i, row in enumerate(rows):
        id_: int | str = i
        try:
            id_ = _id(_value(row.values, columns.id), i) if columns.id else i
            if (first := first_of.setdefault(str(id_), row.place)) != row.place:
                raise _UnusableError(f"stands in {first} already; ids must be different")
            items.append(_item(row, id_, columns))
        except _UnusableError as error:
            unusable.append(f"{row.place}, id {id_!r:.80}: {error}")
    first_place, own = int(columns.label_from), any(item.own for item in items)
    read = [(item, _places(item, first_place, own=own)) for item in items]
    way = _way(read)
    for item in (item for item, places in read if way not in places):
        last = len(item.question.choices) - 1
        further = f", one of {', '.join(item.own)}" if item.own else ""
        unusable.append(
            f"{item.where}: label must be a place from {first_place} to {last + first_place} "
            f"(key label_from), a letter from A to {ascii_uppercase[last]}, a choice's "
            f"text{further}, got {item.label!r:.80}"
        )
    if unusable and columns.bad_rows == "refuse":
        more = f" ({len(unusable) - 1} more rows cannot be used)" if len(unusable) > 1 else ""
        raise W2SError(unusable[0] + more)
    if unusable:
        told = f"bad_rows: drop leaves out {len(unusable)} of {len(rows)} rows: "
        logging.getLogger(__name__).warning(told + "; ".join(unusable[:3]))
    return [replace(item.question, gold=of[way]) for item, of in read if way in of]


def _value(row: Mapping[str, Any], column: str) -> Any:
    """What stands in a column, or at a path into it."""
    if column in row:
        return row[column]
    name, dot, inner = column.partition(".")
    if dot and name in row:
        if isinstance(nested := _parsed(row[name]), Mapping):
            return _value(nested, inner)
        raise _UnusableError(f"{name} must hold {inner}, got {row[name]!r:.80}")
    raise _UnusableError(f"no column {column}; {nearest(column, map(str, row))}")


def _id(value: Any, i: int) -> int | str:
    value = value.strip() if isinstance(value, str) else value
    if is_empty(value):
        return i
    if isinstance(value, bool | list | dict) or (isinstance(value, float) and value % 1):
        raise _UnusableError(f"id must be a whole number or a text, got {value!r:.80}")
    return int(value) if isinstance(value, float) else value


def _said(value: Any, column: str) -> str:
    """A cell as a text, "" where it is empty."""
    if isinstance(value, list | dict | bytes):
        raise _UnusableError(f"{column} must be a text, got {value!r:.80}")
    return "" if is_empty(value) else str(value).strip()


def _item(row: Row, id_: int | str, columns: Columns) -> _Item:
    values = row.values
    asked = (columns.question,) if isinstance(columns.question, str) else columns.question
    texts = [_said(_value(values, column), column) for column in asked]
    if "" in texts:
        raise _UnusableError(f"{asked[texts.index('')]} must not be empty")
    choices, own = _choices(values, columns)
    if not 2 <= len(choices) <= len(ascii_uppercase) or "" in choices:
        raise _UnusableError(f"2 to 26 choices with a text are needed, got {choices!r:.120}")
    if twice := [choice for choice in choices if choices.count(choice) > 1]:
        raise _UnusableError(f"choices must be different, {twice[0]!r:.80} stands there twice")
    fixed = columns.label not in values and columns.label.isdecimal()
    label = int(columns.label) if fixed else _value(values, columns.label)
    category = _said(_value(values, columns.category), "category") if columns.category else ""
    question = Question(id_, "\n".join(texts), tuple(choices), gold=-1, category=category)
    return _Item(f"{row.place}, id {id_!r:.80}", question, tuple(own), label)


def _choices(values: Mapping[str, Any], columns: Columns) -> tuple[list[str], list[str]]:
    """The options of a row, and their own labels where they have some."""
    named = columns.choices
    if not isinstance(named, str):
        near = [name for name in named if get_close_matches(name, map(str, values), cutoff=0.75)]
        if near or any(name.partition(".")[0] in values for name in named):
            return [_said(_value(values, name), name) for name in named], []
        return list(named), []
    given = _parsed(_value(values, named))
    own: Any = ()
    if isinstance(given, list) and given and all(isinstance(c, Mapping) for c in given):
        given = {key: [option.get(key) for option in given] for key in ("text", "label")}
    if isinstance(given, Mapping) and "text" in given:
        given, own = given["text"], given.get("label") or ()
    if not isinstance(given, list):
        raise _UnusableError(f"{named} must be a list of texts, got {given!r:.120}")
    if own and len(own) != len(given):
        raise _UnusableError(f"{named} has {len(given)} texts and {len(own)} labels")
    return [_said(c, named) for c in given], [_said(c, named) for c in own]


def _parsed(value: Any) -> Any:
    """A list or an object, also from a cell of a CSV file: as JSON, Python or numpy print it."""
    if not isinstance(value, str) or value.strip()[:1] not in ("[", "{"):
        return value
    with suppress(ValueError, RecursionError):
        return json.loads(value)
    literal = r"""(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")"""  # a text as Python prints it
    texts = re.findall(literal, value, re.DOTALL)
    if re.fullmatch(rf"\[\s*{literal}(\s+{literal})*\s*\]", value.strip(), re.DOTALL):
        return [ast.literal_eval(text) for text in texts]
    try:
        read = ast.literal_eval(value.strip())
    except Exception:  # of many kinds
        raise _UnusableError(f"is not a list as JSON writes it: {value!r:.80}") from None
    # Python joins neighbouring texts: a comma that is missing would join two options
    if isinstance(read, list) and len(texts) > len(read):
        raise _UnusableError(f"a comma is missing between texts: {value!r:.80}")
    return read


def _places(item: _Item, first: int, *, own: bool) -> dict[str, int]:
    """Place of the right option by each way in which the label can be read.

    A place is a number, a truth value of two options, or a list with a single 1. Where options
    have labels of their own, these come before letters, and nothing else is read.
    """
    label, choices = item.label, item.question.choices
    n, said = len(choices), str(label).strip()
    letter = ascii_uppercase.find(said.upper()) if len(said) == 1 else None
    if own:
        found = {"own label": item.own.index(said) if item.own.count(said) == 1 else letter}
    else:
        found = {"letter": letter, "text": choices.index(said) if said in choices else None}
        if number := re.fullmatch(r"(\d+)(\.0)?", said):
            found["place"] = int(number[1]) - first
        elif isinstance(label, list) and len(label) == n and label.count(1) == 1:
            found["place"] = label.index(1)
        elif n == 2 and said.lower() in ("false", "true"):
            found["place"] = int(said.lower() == "true")
    return {way: place for way, place in found.items() if place is not None and 0 <= place < n}


def _way(read: Sequence[tuple[_Item, Mapping[str, int]]]) -> str:
    """The way to read the label that holds for the whole file: "2" may be a place or a text."""
    ways = ("place", "letter", "text", "own label")
    fits = [way for way in ways if all(way in places for _, places in read)]
    for item, places in read:
        if len({places[way] for way in fits}) > 1:
            among = f"{' or a '.join(fits)} of the choices {list(item.question.choices)!r:.120}"
            said = f"{item.where}: label {item.label!r:.40} may be a {among}"
            raise W2SError(f"{said}, here and in all rows: write labels as letters")
    return max(ways, key=lambda way: sum(way in places for _, places in read))
