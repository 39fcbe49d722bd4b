"""What a user names on the command line: files, tables, the log directory, settings of a run.

`inspect eval` makes a task before it says where logs go. It is a click program, so click tells.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from w2s_icl.errors import W2SError, first_line

_LOG_DIR: ContextVar[str] = ContextVar("log_dir", default="")


def _option(name: str) -> Any:
    """Value of an option of the command that is running, None where there is none."""
    context = click.get_current_context(silent=True)
    return context.params.get(name) if context else None


def given_settings(names: Iterable[str]) -> dict[str, Any]:
    """Those settings of a model's calls that the command line names, as `--temperature`."""
    return {name: value for name in names if (value := _option(name)) is not None}


def absolute(text: str | Path) -> Path:
    """The path of a file as it was typed.

    `inspect eval evals/truthfulqa.py` makes the task in that file's folder; paths are relative to
    the directory in which the command was typed all the same.
    """
    path = Path(text).expanduser()
    return path if path.is_absolute() else Path(os.path.normpath(_typed_in() / path))


def _typed_in() -> Path:
    here = Path.cwd()
    files = [
        Path(os.path.normpath(str(spec).partition(".py")[0] + ".py"))
        for spec in _option("tasks") or ()
        if ".py" in str(spec)
    ]
    for file in files:
        inner = file.parent.parts
        if inner and not file.is_absolute() and here.parts[-len(inner) :] == inner:
            return Path(*here.parts[: -len(inner)])
    return Path(os.environ.get("PWD", here)) if files else here


@contextmanager
def logs_in(log_dir: str) -> Iterator[None]:
    """Say where logs are, for as long as a task is being made."""
    token = _LOG_DIR.set(log_dir)
    try:
        yield
    finally:
        _LOG_DIR.reset(token)


def log_directory() -> str:
    """Absolute address of the log directory: as `logs_in` says, else where Inspect writes.

    That is `--log-dir`, else INSPECT_LOG_DIR, else `./logs`.
    """
    named = _LOG_DIR.get() or _option("log_dir") or os.environ.get("INSPECT_LOG_DIR") or "logs"
    return str(named) if "://" in str(named) else str(absolute(named))


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Rows of a `.csv`, `.jsonl`, `.json` or `.parquet` file; all texts in a CSV file.

    Raises:
        W2SError: The file is of another kind or cannot be read; names the file and, where the
            reader knows it, the line.
    """
    kind = path.suffix.lower().removeprefix(".")
    if kind not in ("csv", "jsonl", "json", "parquet"):
        raise W2SError(f"{path}: must be a .jsonl, .json, .csv or .parquet file")
    try:
        rows = _rows(path, kind)
    except OSError as error:
        raise W2SError(f"{path}: cannot be read: {error.strerror or first_line(error)}") from None
    except (ValueError, csv.Error) as error:  # not this kind of file, not UTF-8
        raise W2SError(f"{path.name}: not a {kind} file: {first_line(error)}") from None
    if not isinstance(rows, list):
        raise W2SError(f"{path.name}: must hold a list of rows, got one {type(rows).__name__}")
    for i, row in enumerate(rows):
        if not isinstance(row, dict):
            raise W2SError(
                f"{path.name}: row {i} (the first is 0): must be an object with the columns as "
                f"keys, got {row!r:.80}"
            )
    return rows


def _rows(path: Path, kind: str) -> Any:
    if kind == "parquet":
        import pyarrow.parquet

        return pyarrow.parquet.read_table(path).to_pylist()
    text = path.read_bytes().decode("utf-8-sig")
    if kind == "json":
        return json.loads(text)
    rows = []
    if kind == "csv":
        reader = csv.DictReader(io.StringIO(text, newline=""), restval="", strict=True)
        for row in reader:
            if None in row:
                raise ValueError(f"line {reader.line_num} has more fields than there are columns")
            rows.append(row)
        return rows
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError as error:
                raise ValueError(f"line {number}: {error}") from None
    return rows


SECRET = re.compile(r"api[_-]?key|authorization|password|secret|(^|[_-])token$", re.IGNORECASE)
"""Names of arguments that hold a key."""


def secret_in(args: Any, path: str = "") -> str:
    """Where in model arguments a key or a password stands; "" where there is none."""
    if isinstance(args, str) and "://" in args and urlsplit(args).password:
        return path
    for name, value in args.items() if isinstance(args, Mapping) else ():
        place = f"{path}.{name}".lstrip(".")
        place = place if value and SECRET.search(str(name)) else secret_in(value, place)
        if place:
            return place
    return ""
