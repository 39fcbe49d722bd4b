"""Tables that a user names: CSV, JSON, JSON lines or parquet, read row by row or refused.

The reason of a refusal is the damage itself: a web page, a cut file, a quote that takes in rows.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from w2s_icl.errors import W2SError, first_line

DELIMITERS: Final = ",;\t|"

LONGEST_FIELD: Final = 2**31 - 1
"""Characters in a field of a CSV file; Python's own limit is 131,072."""

BEGINNINGS: Final = {
    b"PK\x03\x04": "is a zip archive: unpack it",
    b"PAR1": "is a parquet file: call it .parquet",
    b"ARROW1": "is an Arrow file: write it as parquet",
    b"\xff\xff\xff\xff": "is an Arrow file of save_to_disk: write it with to_parquet",
    b"version https://git-lfs": "is a pointer of Git LFS, not the data: run git lfs pull",
}
"""How files begin that are not what their name says."""


class Row(NamedTuple):
    """One row of a table.

    Attributes:
        place: File and line, as an editor counts; of parquet the row, the first is 1.
        values: By column. In a CSV file all are texts.
    """

    place: str
    values: dict[str, Any]


def is_empty(value: Any) -> bool:
    """Whether a cell of a table holds nothing: None, nan or ""."""
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


class _DamageError(Exception):
    """What is wrong with a file, in words."""


def read_rows(path: Path) -> list[Row]:
    """Rows of a `.csv`, `.tsv`, `.jsonl`, `.json` or `.parquet` file, also one packed by gzip.

    A CSV file may be separated by commas, semicolons, tabs or bars; texts are UTF-8, or UTF-16
    with its mark.

    Raises:
        W2SError: The file is of another kind, damaged or cannot be read; names the file and, where
            there is one, the line.
    """
    kind = path.name.lower().removesuffix(".gz").rpartition(".")[2]
    if kind not in READERS:
        raise W2SError(f"{path}: must be a .jsonl, .json, .csv, .tsv or .parquet file")
    try:
        content = path.read_bytes()
        if content.startswith(b"\x1f\x8b"):
            content = gzip.decompress(content)
        _refuse_foreign(content, kind)
        rows = [Row(f"{path.name}: {place}", row) for place, row in READERS[kind](content)]
    except EOFError:  # of gzip
        raise W2SError(f"{path.name}: ends in the middle: fetch or write it again") from None
    except OSError as error:
        raise W2SError(f"{path}: cannot be read: {error.strerror or first_line(error)}") from None
    except _DamageError as error:
        raise W2SError(f"{path.name}: {error}") from None
    for place, row in rows:
        if not isinstance(row, dict):
            raise W2SError(f"{place}: must be an object with the columns as keys, got {row!r:.80}")
    if not rows:
        raise W2SError(f"{path.name}: holds no rows")
    return rows


def _refuse_foreign(content: bytes, kind: str) -> None:
    if not content.strip():
        raise _DamageError("is empty")
    if re.match(rb"(?i)\s*(\xef\xbb\xbf)?\s*<(!doctype|html|head|body|\?xml)", content):
        raise _DamageError("is a web page, not data: fetch the file itself")
    for beginning, meaning in BEGINNINGS.items():
        if content.startswith(beginning) and not (kind == "parquet" and beginning == b"PAR1"):
            raise _DamageError(meaning)


def _parquet(content: bytes) -> Iterator[tuple[str, Any]]:
    import pyarrow.parquet

    if not content.startswith(b"PAR1"):
        raise _DamageError("is not a parquet file")
    if not content.endswith(b"PAR1"):
        raise _DamageError("ends in the middle: fetch or write it again")
    try:
        rows = pyarrow.parquet.read_table(io.BytesIO(content)).to_pylist()
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise _DamageError(f"is damaged: {first_line(error)}") from None
    yield from ((f"row {i} (the first is 1)", row) for i, row in enumerate(rows, start=1))


def _text(content: bytes) -> str:
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _DamageError(f"line {line} is not UTF-8: save the file as UTF-8") from None
    if "\0" in text:
        raise _DamageError("holds zero bytes (UTF-16 without its mark?): save it as UTF-8")
    return text


# --- JSON -----------------------------------------------------------------------------------------


def _json(content: bytes) -> Iterator[tuple[str, Any]]:
    """Rows of a list, or of lines with an object each, whatever the file is called."""
    text = _text(content)
    if text.lstrip()[:1] == "[":
        yield from _listed(text)
        return
    lines = text.split("\n")
    last = max(n for n, line in enumerate(lines, start=1) if line.strip())
    for n, line in enumerate(lines, start=1):
        if line.strip():
            try:
                yield f"line {n}", json.loads(line)
            except (json.JSONDecodeError, RecursionError) as error:
                cut = "ends in the middle" if 1 < n == last else "is not JSON"
                raise _DamageError(f"line {n} {cut}: {first_line(error)}") from None


def _listed(text: str) -> Iterator[tuple[str, Any]]:
    """The objects of one list, each with the line on which it begins."""
    decode, blank = json.JSONDecoder().raw_decode, re.compile(r"\s*")

    def after(at: int) -> int:
        return blank.match(text, at).end()  # type: ignore[union-attr]  # it matches nothing too

    at, line, counted, n = after(text.index("[") + 1), 1, 0, 0
    while text[at : at + 1] != "]":
        line, counted, n = line + text.count("\n", counted, at), at, n + 1
        try:
            value, end = decode(text, at)
        except (json.JSONDecodeError, RecursionError) as error:
            cut = "ends in the middle" if _at_end(error, text) else "is not JSON"
            raise _DamageError(f"line {line}: row {n} {cut}: {first_line(error)}") from None
        yield f"line {line} (row {n})", value
        at = after(end)
        if text[at : at + 1] == ",":
            at = after(at + 1)
        elif text[at : at + 1] != "]":
            cut = "the file ends in the middle, after" if at >= len(text) else "no comma after"
            raise _DamageError(f"line {line}: {cut} row {n}")
    if after(at + 1) < len(text):
        raise _DamageError("goes on after the list of its rows")


def _at_end(error: Exception, text: str) -> bool:
    open_text = isinstance(error, json.JSONDecodeError) and "Unterminated" in error.msg
    return open_text or getattr(error, "pos", 0) >= len(text.rstrip())


# --- CSV ------------------------------------------------------------------------------------------


def _csv(content: bytes) -> Iterator[tuple[str, Any]]:
    lines = io.StringIO(_text(content), newline="").readlines()
    delimiter = max(DELIMITERS, key=lines[0].count)
    csv.field_size_limit(LONGEST_FIELD)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    spans: list[tuple[int, int, list[str]]] = []  # first and last line of each row
    before = 0
    try:
        for fields in reader:
            if fields:
                spans.append((before + 1, reader.line_num, fields))
            before = reader.line_num
    except csv.Error as error:
        at = f'line {before + 1}: a quote (") is missing or stray there'
        raise _DamageError(
            f"{at}, or the file ends in the middle"
            if "end of data" in str(error)
            else f"{at}: {error}"
        ) from None
    header = spans.pop(0)[2]
    if twice := sorted({name for name in header if header.count(name) > 1}):
        raise _DamageError(f"the column {twice[0]!r} stands in the header twice")
    for first, last, fields in spans:
        if len(fields) != len(header):
            cut = " (the file may end in the middle)" if last == len(lines) else ""
            raise _DamageError(
                f"line {first} has {len(fields)} fields, the header {len(header)}{cut}"
            )
    if taken := _taken_in(spans, lines, delimiter):
        raise _DamageError(
            f'line {taken[0]}: a quote (") is missing or stray: its field takes in line '
            f"{taken[1]}, which is a row of its own"
        )
    for first, _, fields in spans:
        yield f"line {first}", dict(zip(header, fields, strict=True))


def _taken_in(
    spans: Sequence[tuple[int, int, list[str]]], lines: Sequence[str], delimiter: str
) -> tuple[int, int] | None:
    """First line of a row of several lines, and a line of it that looks like a whole row.

    A whole row closes its quotes, has as many fields as the header, and in each column that holds
    only whole numbers, or a few words, such a value: a text of several lines with commas has not.
    """
    single = [fields for first, last, fields in spans if first == last]
    closed: dict[int, Callable[[str], bool]] = {}
    for column, values in enumerate(zip(*single, strict=True)):
        if all(value.isdecimal() for value in values):
            closed[column] = str.isdecimal
        elif len(set(values)) <= len(values) ** 0.5 and "" not in values:
            closed[column] = frozenset(values).__contains__
    for first, last, fields in spans:
        for n in range(first, last + 1) if closed and first < last else ():
            if lines[n - 1].count('"') % 2:
                continue
            parts = next(csv.reader([lines[n - 1].rstrip("\r\n")], delimiter=delimiter), [])
            if len(parts) == len(fields) and all(is_(parts[c]) for c, is_ in closed.items()):
                return first, n
    return None


READERS: Final[Mapping[str, Callable[[bytes], Iterator[tuple[str, Any]]]]] = {
    "csv": _csv,
    "tsv": _csv,
    "jsonl": _json,
    "json": _json,
    "parquet": _parquet,
}
"""By the end of a file's name."""
