"""How numbers, models, arms and strange texts are written: in terminal, tables and report."""

import math

from rich.console import Console


def money(dollars: float) -> str:
    """Dollars, as "$6.82" or "$0.0042"; nan is an unknown price, and said so."""
    if math.isnan(dollars):
        return "unknown"
    return f"${dollars:.2f}" if dollars >= 0.1 or dollars == 0 else f"${dollars:.2g}"


def tokens(count: float) -> str:
    """A number of tokens, rounded, as "22.91 M", "23 k", "6.2 k" or "999"."""
    if count >= 1e5:
        return f"{count / 1e6:.2f} M"
    if count >= 1e3:
        return f"{count / 1e3:.{0 if count >= 1e4 else 1}f} k"
    return f"{count:.0f}"


def model_name(model: str) -> str:
    """A model's own name, without provider and maker; "simulated/small" stays."""
    return model.rsplit("/", 1)[-1] if model.count("/") > 1 else model


def arm_name(labels: str, weak: str = "", prompt: str = "") -> str:
    """The kind of labels, who wrote them, and the arm of the prompt, as "weak by 8b, cot=bare"."""
    by = f" by {weak}" if weak else ""
    return (labels or "no demonstrations") + by + (f", {prompt}" if prompt else "")


def printable(text: str) -> str:
    r"""A text that does nothing to a terminal: its control characters are written as escapes."""
    out = (c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)
    return "".join(out)


def fitted(text: str, width: int) -> str:
    """A text in at most `width` characters: where it is longer, its middle is left out."""
    rest = len(text) - (width - 1) // 2
    return text if len(text) <= width else f"{text[: width // 2]}…{text[rest:]}"


def say(console: Console, *lines: str) -> None:
    """Print lines as they are, without markup; in a terminal they break between words."""
    soft = not console.is_terminal
    for line in lines:
        console.print(printable(line), highlight=False, markup=False, soft_wrap=soft)
