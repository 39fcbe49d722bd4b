"""The one error of this suite that a user can mend, and how an error is said in one line."""

from __future__ import annotations

import sys
from typing import IO, Any

import click
from pydantic import ValidationError

from w2s_icl.words import printable


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


def first_line(error: BaseException) -> str:
    r"""First line of an error's text, at most 200 characters; its class where it has no text.

    Example:
        >>> first_line(OSError("no space\nleft")), first_line(KeyError())
        ('no space', 'KeyError')
    """
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def damage(error: BaseException, *under: str) -> str:
    r"""What is wrong with something that was read: the field that is refused, and why.

    The first line of the error where it is of no field. `under` is where the fields stand.

    Example:
        >>> from pydantic import TypeAdapter
        >>> try:
        ...     TypeAdapter(dict[str, int]).validate_python({"shots": "many"})
        ... except ValueError as error:
        ...     damage(error, "study").partition(" (")[0]
        "the log's field study.shots cannot be used"
    """
    if not isinstance(error, ValidationError):
        return first_line(error)
    first = error.errors()[0]
    field = "the log's field " + ".".join(map(str, (*under, *first["loc"])))
    if first["type"] == "missing":
        return f"{field} is missing"
    return f"{field} cannot be used ({first['msg'].lower()}, got {first['input']!r:.80})"
