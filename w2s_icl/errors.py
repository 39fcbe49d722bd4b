"""The one error of this suite that a user can mend, and how an error is said in one line."""

from __future__ import annotations

import click


class W2SError(click.ClickException):
    """A mistake that the user can mend: one line, exit code 2, no traceback.

    The text names the argument, what is allowed, what came, and the way out. `w2s` and
    `inspect eval` both print it without a traceback, since both are click programs.
    """

    exit_code = 2


class LabelsMissingError(W2SError):
    """The labels of a cell are not in the logs yet; the text says which command makes them."""


def first_line(error: BaseException) -> str:
    r"""First line of an error's text, at most 200 characters; its class where it has no text.

    Example:
        >>> first_line(OSError("no space\nleft")), first_line(KeyError())
        ('no space', 'KeyError')
    """
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
