"""Tables that a user names: CSV, JSON, JSON lines or parquet, read row by row or refused."""

import csv
import gzip
import io
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from w2s_icl.errors import W2SError, first_line


class Row(NamedTuple):
    """One row of a table."""

    place: str  # file and line, as an editor counts; of a list or parquet the row, the first is 1
    values: dict[str, Any]  # by column; in a CSV file all are texts


def is_empty(value: Any) -> bool:
    """Whether a cell of a table holds nothing: None, nan or ""."""
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def read_rows(path: Path) -> list[Row]:
    """Rows of a `.csv`, `.tsv`, `.jsonl`, `.json` or `.parquet` file, also one packed by gzip.

    A CSV file has commas, semicolons, tabs or bars; texts are UTF-8, or UTF-16 with its mark.

    Raises:
        W2SError: The file is of another kind, or cannot be read; names the file and the line.
    """
    kind = path.name.lower().removesuffix(".gz").rpartition(".")[2]
    if kind not in READERS:
        raise W2SError(f"{path}: must be a .jsonl, .json, .csv, .tsv or .parquet file")
    try:
        content = path.read_bytes()
        if content.startswith(b"\x1f\x8b"):
            content = gzip.decompress(content)
        if content.lstrip()[:1] == b"<":
            raise ValueError("it is a web page, not data")
        rows = [Row(f"{path.name}: {place}", row) for place, row in READERS[kind](content)]
    except Exception as error:  # each kind of file has errors of its own
        reason = getattr(error, "strerror", None) or first_line(error)
        raise W2SError(f"{path.name}: cannot be read as {kind}: {reason}") from None
    for place, row in rows:
        if not isinstance(row, dict):
            raise W2SError(f"{place}: must be an object with the columns as keys, got {row!r:.80}")
    if not rows:
        raise W2SError(f"{path.name}: holds no rows")
    return rows


def _numbered(rows: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    return ((f"row {n} (the first is 1)", row) for n, row in enumerate(rows, start=1))


def _parquet(content: bytes) -> Iterator[tuple[str, Any]]:
    import pyarrow.parquet

    return _numbered(pyarrow.parquet.read_table(io.BytesIO(content)).to_pylist())


def _text(content: bytes) -> str:
    text = content.decode("utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    if "\0" in text:
        raise ValueError("it holds zero bytes: save it as UTF-8")
    return text


def _json(content: bytes) -> Iterator[tuple[str, Any]]:
    """Rows of a list, or of lines with an object each, whatever the file is called."""
    text = _text(content)
    if text.lstrip()[:1] == "[":
        yield from _numbered(json.loads(text))
        return
    for n, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                yield f"line {n}", json.loads(line)
            except json.JSONDecodeError as error:
                at = line[error.pos :] or "the end"
                raise ValueError(f"line {n}: {error.msg} at {at!r:.40}") from None


def _csv(content: bytes) -> Iterator[tuple[str, Any]]:
    lines = io.StringIO(_text(content), newline="").readlines()
    delimiter = max(",;\t|", key="".join(lines[:1]).count)
    csv.field_size_limit(2**31 - 1)  # Python's own limit is 131,072 characters
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    last = 0
    try:
        header = next(filter(None, reader), [])
        last = reader.line_num
        if twice := [name for name in header if header.count(name) > 1]:
            raise ValueError(f"the column {twice[0]!r} stands in the header twice")
        for fields in reader:
            first, last = last + 1, reader.line_num
            if fields and len(fields) != len(header):
                raise ValueError(f"line {first} has {len(fields)} fields, the header {len(header)}")
            if first < last and _are_rows(lines[first - 1 : last], len(header), delimiter):
                taken = f"its field takes in the rows up to line {last}"
                raise ValueError(f'line {first}: a quote (") is missing or stray: {taken}')
            if fields:
                yield f"line {first}", dict(zip(header, fields, strict=True))
    except csv.Error as error:
        said = f'line {last + 1}: {error}: a quote (") is missing or stray, or the file is cut'
        raise ValueError(said) from None


def _are_rows(lines: Sequence[str], width: int, delimiter: str) -> bool:
    """Whether each line is a row without the two quotes that make one row of them.

    A text of several lines has another number of commas, or spaces behind them.
    """
    opening, closing = "".join(lines[0].rsplit('"', 1)), lines[-1].replace('"', "", 1)
    rows = filter(None, csv.reader([opening, *lines[1:-1], closing], delimiter=delimiter))
    return all(len(row) == width and not any(f.startswith(" ") for f in row) for row in rows)


READERS = {"csv": _csv, "tsv": _csv, "jsonl": _json, "json": _json, "parquet": _parquet}
