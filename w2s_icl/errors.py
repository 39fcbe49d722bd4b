"""The one error of this suite that a user can mend, and how an error is said in one line."""

import difflib
import sys
from collections.abc import Iterable, Mapping
from typing import IO, Any, TypeVar

import click
from pydantic import BaseModel, ValidationError

from w2s_icl.words import printable

Model = TypeVar("Model", bound=BaseModel)


class W2SError(click.ClickException):
    """A mistake that the user can mend: one line, exit code 2, no traceback.

    The text names the argument, what is allowed, what came, and the way out. `w2s` and
    `inspect eval` both print it without a traceback, since both are click programs.
    """

    exit_code = 2

    def __init__(self, message: str) -> None:
        """The text, in which a server's or a file's words may stand."""
        super().__init__(printable(message))

    def show(self, file: IO[Any] | None = None) -> None:
        """Print it; by itself, click would write UTF-8 into a stream that is ASCII."""
        super().show(file or sys.stderr)


class LabelsMissingError(W2SError):
    """The labels of a cell are not in the logs yet; the text says which command makes them."""


def first_line(error: BaseException, keys: Mapping[str, Any] | None = None) -> str:
    """What an error says, in one line.

    Of a text the first line, at most 200 characters; the error's class where it has no text. Of
    what pydantic refuses: the field, what is allowed and what came. `keys` are the `model_fields`
    of what was made; a field's `description` says what it must be.
    """
    if not isinstance(error, ValidationError):
        return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
    # a misspelt key may be the one that is missing
    first = min(error.errors(), key=lambda item: item["type"] != "extra_forbidden")
    kind, said, keys = first["type"], first["msg"].removeprefix("Value error, "), keys or {}
    key, *inner = map(str, first["loc"] or [""])
    where, got = ".".join([key, *inner])[:80], f"got {first['input']!r:.80}"
    if kind == "value_error" or not where:
        return f"{where}: {said}" if where else said
    if kind == "extra_forbidden" and not inner:
        return f"{where} is not a key; {nearest(where, keys)}"
    came = {"missing": f"{where} is missing", "extra_forbidden": f"{where} is not a key"}.get(kind)
    if must_be := getattr(keys.get(key), "description", None):
        return f"{key}: must be {must_be}, {came or got}"
    return came or f"{where}: {said[:1].lower()}{said[1:]}, {got}"


def checked(kind: type[Model], said: Any, where: str = "", **how: Any) -> Model:
    """What pydantic makes of what a user said; W2SError says where something is wrong, and what."""
    try:
        return kind.model_validate(said, **how)
    except ValidationError as error:
        raise W2SError(where + first_line(error, kind.model_fields)) from None


def nearest(name: str, names: Iterable[str]) -> str:
    """The name that was meant, in words; else all of them."""
    names = list(names)
    if near := difflib.get_close_matches(name, names, n=1, cutoff=0.75):
        return f"did you mean {near[0]}?"
    return f"allowed are {', '.join(names)}" if names else ""
