"""From the rows of any multiple-choice set to questions: which column is what, read and checked."""

from __future__ import annotations

import ast
import difflib
import json
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from string import ascii_uppercase
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, PositiveInt, ValidationError

from w2s_icl.errors import W2SError
from w2s_icl.evals.questions import Question
from w2s_icl.inputs import read_yaml
from w2s_icl.rows import Row, is_empty

MAX_OPTIONS = len(ascii_uppercase)

LITERAL = r"""(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")"""
"""A text as Python prints it."""


class Columns(BaseModel):
    """Where a question set is, and which of its columns hold what: the keys of a mapping file.

    A column may be a path into a nested one, as `choices.text`.

    Attributes:
        path: A dataset of the hub, as `cais/mmlu`; or a folder or file, relative to the mapping.
        name: Config, where the dataset has several.
        split: Split, where the config has several.
        revision: Commit of the hub.
        question: Column of the question, or several, joined by line breaks.
        choices: Column of the options: a list, or texts with labels of their own as in ARC. Or a
            list: of columns with an option each, or of texts that are the options of all questions.
        label: Column of the right answer; or a number, the place of the right option in all rows.
        label_from: Number of the first place, 0 or 1.
        id: Column of the question's id; by default the number of the row, from 0.
        category: Column of a class of questions.
        rows: How many rows there must be.
        bad_rows: "drop" leaves out rows that cannot be used, and says which.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str
    name: str = ""
    split: str = ""
    revision: str = ""
    question: str | tuple[str, ...] = "question"
    choices: str | tuple[str, ...] = "choices"
    label: str = "label"
    label_from: Literal["0", "1"] = "0"
    id: str = ""
    category: str = ""
    rows: PositiveInt | None = None
    bad_rows: Literal["refuse", "drop"] = "refuse"


MC1 = Columns(path="", choices="mc1_targets.choices", label="mc1_targets.labels")
"""Columns of TruthfulQA on the hub."""

BINARY = Columns(
    path="",
    question="Question",
    choices=("Best Answer", "Best Incorrect Answer"),
    label="0",
    category="Category",
)
"""Columns of the authors' file."""


def columns_of(row: Mapping[str, Any]) -> Columns:
    """The columns of a file that no mapping describes."""
    if "mc1_targets" in row:
        own = MC1
    elif "Best Incorrect Answer" in row and "choices" not in row:
        own = BINARY
    else:
        own = Columns(path="")
    return own.model_copy(update={name: name for name in ("id", "category") if name in row})


def read_columns(path: Path) -> Columns:
    """Read a mapping file.

    Raises:
        W2SError: It is not YAML, or a key or value is not allowed.
    """
    keys = ", ".join(Columns.model_fields)
    content = read_yaml(path, texts=True)
    try:
        return Columns.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0])
        if first["type"] == "extra_forbidden":
            text = f"{key} is not a key; {_nearest(key, Columns.model_fields)}the keys are {keys}"
        elif first["type"] == "missing":
            text = f"{key} is missing; the keys are {keys}"
        else:
            text = f"{key}: {first['msg'].lower()}, got {first['input']!r:.100}"
        raise W2SError(f"{path}: {text}") from None


def _nearest(name: str, names: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(names), n=1, cutoff=0.75)
    return f"did you mean {near[0]}? " if near else ""


# --- from rows to questions -----------------------------------------------------------------------


class _Item(NamedTuple):
    """What a row holds, before it is known how its column names the right option."""

    place: str
    id: int | str
    question: str
    choices: tuple[str, ...]
    own: tuple[str, ...]  # the options' own labels
    label: Any
    category: str


class _UnusableError(Exception):
    """Why a row cannot be used."""


def questions_of(rows: Sequence[Row], columns: Columns) -> list[Question]:
    """The questions of a set, every row checked.

    Raises:
        W2SError: Names file, line, id, what is wrong and what came.
    """
    if columns.rows not in (None, len(rows)):
        raise W2SError(
            f"{rows[0].place.split(':')[0]}: {len(rows)} rows were read, {columns.rows} must be "
            "there: the file is cut, or of another revision"
        )
    items: list[_Item] = []
    unusable: list[str] = []
    first_of: dict[str, str] = {}
    for i, row in enumerate(rows):
        id_: int | str = i
        try:
            id_ = _id(_value(row.values, columns.id), i) if columns.id else i
            if (first := first_of.setdefault(str(id_), row.place)) != row.place:
                raise _UnusableError(f"stands in {first} already; ids must be different")
            items.append(_item(row, id_, columns))
        except _UnusableError as error:
            unusable.append(f"{row.place}, id {id_!r:.80}: {error}")
    golds = _golds(items, columns)
    found = []
    for item, gold in zip(items, golds, strict=True):
        if isinstance(gold, str):
            unusable.append(f"{item.place}, id {item.id!r:.80}: {gold}")
        else:
            found.append(Question(item.id, item.question, item.choices, gold, item.category))
    if unusable and columns.bad_rows == "refuse":
        more = f" ({len(unusable) - 1} more rows cannot be used)" if len(unusable) > 1 else ""
        raise W2SError(unusable[0] + more)
    if unusable:
        told = f"bad_rows: drop leaves out {len(unusable)} of {len(rows)} rows: "
        logging.getLogger(__name__).warning(told + "; ".join(unusable[:3]))
    return found


def _value(row: Mapping[str, Any], column: str) -> Any:
    """What stands in a column, or at a path into it."""
    if column in row:
        return row[column]
    name, dot, inner = column.partition(".")
    if dot and name in row:
        if isinstance(nested := _parsed(row[name]), Mapping):
            return _value(nested, inner)
        raise _UnusableError(f"{name} must hold {inner}, got {row[name]!r:.80}")
    raise _UnusableError(
        f"no {column} among the columns {', '.join(map(str, row))}; "
        f"{_nearest(column, map(str, row))}a mapping file says which column is what"
    )


def _id(value: Any, i: int) -> int | str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool | float | list | dict):
        raise _UnusableError(f"id must be a whole number or a text, got {value!r:.80}")
    value = value.strip() if isinstance(value, str) else value
    return i if value in ("", None) else value


def _said(value: Any, column: str) -> str:
    """A cell as a text, "" where it is empty."""
    if is_empty(value):
        return ""
    if isinstance(value, list | dict | bytes):
        raise _UnusableError(f"{column} must be a text, got {value!r:.80}")
    return str(value).strip()


def _item(row: Row, id_: int | str, columns: Columns) -> _Item:
    values = row.values
    asked = (columns.question,) if isinstance(columns.question, str) else columns.question
    texts = [_said(_value(values, column), column) for column in asked]
    if "" in texts:
        raise _UnusableError(f"{asked[texts.index('')]} must not be empty")
    choices, own = _choices(values, columns)
    if not 2 <= len(choices) <= MAX_OPTIONS:
        raise _UnusableError(f"2 to {MAX_OPTIONS} choices are allowed, got {len(choices)}")
    if "" in choices:
        raise _UnusableError(f"choices must not be empty, got {list(choices)!r:.120}")
    if twice := [choice for choice in choices if choices.count(choice) > 1]:
        raise _UnusableError(f"choices must be different, {twice[0]!r:.80} stands there twice")
    fixed = columns.label not in values and columns.label.isdecimal()
    label = int(columns.label) if fixed else _value(values, columns.label)
    category = _said(_value(values, columns.category), "category") if columns.category else ""
    return _Item(row.place, id_, "\n".join(texts), choices, own, label, category)


def _choices(
    values: Mapping[str, Any], columns: Columns
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The options of a row, and their own labels where they have some."""
    named = columns.choices
    if not isinstance(named, str):
        if not any(n.partition(".")[0] in values or _nearest(n, map(str, values)) for n in named):
            return named, ()
        return tuple(_said(_value(values, name), name) for name in named), ()
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
    return tuple(_said(c, named) for c in given), tuple(_said(c, named) for c in own)


def _parsed(value: Any) -> Any:
    """A list or an object, also from a cell of a CSV file: as JSON, Python or numpy print it."""
    if not isinstance(value, str) or value.strip()[:1] not in ("[", "{"):
        return value
    with suppress(ValueError, RecursionError):
        return json.loads(value)
    if re.fullmatch(rf"\[\s*{LITERAL}(\s+{LITERAL})*\s*\]", value.strip(), re.DOTALL):
        return [ast.literal_eval(literal) for literal in re.findall(LITERAL, value, re.DOTALL)]
    if "array(" in value:
        raise _UnusableError(f"holds numpy arrays as text, {value!r:.60}; write it as JSON")
    try:
        read = ast.literal_eval(value.strip())
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        raise _UnusableError(f"is not a list as JSON writes it: {value!r:.80}") from None
    # Python joins neighbouring texts: a comma that is missing would join two options
    if isinstance(read, list) and len(re.findall(LITERAL, value, re.DOTALL)) > len(read):
        raise _UnusableError(f"a comma is missing between texts: {value!r:.80}")
    return read


# --- the right option -----------------------------------------------------------------------------


def _golds(items: Sequence[_Item], columns: Columns) -> list[int | str]:
    """Place of the right option of each row, or why there is none.

    One way to read the label holds for the whole file: "2" may be a place or a text.
    """
    first = int(columns.label_from)
    kinds = {"own": _own} if any(item.own for item in items) else _KINDS
    read = {name: [kind(item, first) for item in items] for name, kind in kinds.items()}
    fits = {tuple(of): name for name, of in read.items() if None not in of}
    if len(fits) > 1:
        one, other, *_ = fits.values()
        item = next(x for x, a, b in zip(items, read[one], read[other], strict=True) if a != b)
        raise W2SError(
            f"{item.place}, id {item.id!r:.80}: label {item.label!r:.40} may be a {one} or a "
            f"{other} of the choices {list(item.choices)!r:.120}, here and in all rows: write "
            "labels as letters"
        )
    best = max(read.values(), key=lambda of: sum(gold is not None for gold in of))
    return [
        _no_gold(item, first) if gold is None else gold
        for item, gold in zip(items, best, strict=True)
    ]


def _no_gold(item: _Item, first: int) -> str:
    """Why a label names no option."""
    n, label = len(item.choices), item.label
    if is_empty(label):
        return "label is empty"
    if str(label) == "-1":
        return "label is -1: this split does not give its answers"
    if str(label) == str(n + first) and not first:
        return f"label must be a place from 0 to {n - 1}, got {n}; label_from: 1 counts from 1"
    letters = f"a letter from A to {ascii_uppercase[n - 1]}"
    own = f" or one of {', '.join(item.own)}" if item.own else ""
    return (
        f"label must be a place from {first} to {n - 1 + first}, {letters}, a choice's text{own}, "
        f"got {label!r:.80}"
    )


def _place(item: _Item, first: int) -> int | None:
    """Of a number, a truth value, or a list with a single 1."""
    label = item.label
    if isinstance(label, str) and label.strip().lower() in ("true", "false"):
        label = label.strip().lower() == "true"
    if isinstance(label, bool):
        return int(label) if len(item.choices) == 2 else None
    if isinstance(label, list):
        ones = [i for i, mark in enumerate(label) if mark == 1]
        return ones[0] if len(ones) == 1 and len(label) == len(item.choices) else None
    number = re.fullmatch(r"\s*(\d+)(\.0)?\s*", str(label))
    place = int(number[1]) - first if number else -1
    return place if 0 <= place < len(item.choices) else None


def _letter(item: _Item, first: int) -> int | None:
    letter = str(item.label).strip().upper()
    letters = ascii_uppercase[: len(item.choices)]
    return letters.index(letter) if len(letter) == 1 and letter in letters else None


def _text(item: _Item, first: int) -> int | None:
    text = str(item.label).strip()
    return item.choices.index(text) if text in item.choices else None


def _own(item: _Item, first: int) -> int | None:
    label = str(item.label).strip()
    return item.own.index(label) if item.own.count(label) == 1 else _letter(item, first)


_KINDS = {"place": _place, "letter": _letter, "text": _text}
