"""How many tokens a prompt has, without its model's tokenizer.

The sizes of real prompts are taken in three ways: words, characters, and the pieces into which the
tokenizers of GPT-4, Llama 3 and Qwen 2.5 cut a text before anything else. What a token is to a
model is then learnt from the calls that the logs already hold; before that, it is a stated
estimate.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Literal

import numpy as np
from inspect_ai.model import ChatMessage, ModelUsage
from numpy.typing import NDArray

PIECES = re.compile(
    r"'(?:[sdmt]|ll|ve|re)(?![^\W\d_])"  # the end of "isn't"
    r"|(?:[^\w\r\n]|_)?[^\W\d_]+"  # a word and the space before it
    r"|\d{1,3}"
    r"| ?(?:[^\w\s]|_)+[\r\n]*"  # punctuation
    r"|\s*[\r\n]+|\s+"
)

TOKENS_PER_PIECE = 1.05
"""Of questions with options in English: within 3% of the tokens (cl100k_base) of each of three
question sets, TruthfulQA among them."""

TOKENS_PER_MESSAGE = 4.0
"""What a chat format puts round a message: 4 in OpenAI's, 5 in Llama 3's and Qwen 2.5's."""

TOKENS_PER_CALL = 3.0
"""What it puts before the reply."""

REPLY_TOKENS = 2.0
"""A letter and the end of the reply."""

REASONED_REPLY_TOKENS = 250.0
"""A few sentences, then a letter."""

MIN_CALLS = 8
"""Logged calls from which a model's own tokens are learnt."""

Unit = Literal["pieces", "characters", "words"]

USUAL: Mapping[Unit, tuple[float, float]] = {
    "pieces": (TOKENS_PER_PIECE, 0.1),
    "characters": (0.25, 0.03),
    "words": (1.3, 0.3),
}
"""Tokens of a piece, a character and a word, and how far they may usually be off."""


@dataclass(frozen=True)
class Size:
    """Size of a prompt or of a part of one."""

    messages: int = 0
    pieces: int = 0
    characters: int = 0
    words: int = 0

    def __add__(self, other: Size) -> Size:
        """Sizes add up; a word that spans two parts is not there."""
        return Size(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


def size_of(messages: Sequence[ChatMessage]) -> Size:
    """Size of some messages.

    Example:
        >>> from inspect_ai.model import ChatMessageUser
        >>> size_of([ChatMessageUser(content="Isn't it 2024?")])
        Size(messages=1, pieces=7, characters=14, words=3)
    """
    texts = [m.text for m in messages]
    return Size(
        len(texts),
        sum(sum(1 for _ in PIECES.finditer(text)) for text in texts),
        sum(map(len, texts)),
        sum(len(text.split()) for text in texts),
    )


@dataclass(frozen=True)
class TokenCount:
    """Tokens of a prompt as a linear function of its size.

    Attributes:
        unit: What is counted.
        per_unit: Tokens for each of them.
        per_message: Tokens for each message.
        per_call: Tokens for each call.
        calls: Logged calls that this was learnt from; 0 for the stated estimate.
    """

    unit: Unit = "pieces"
    per_unit: float = TOKENS_PER_PIECE
    per_message: float = TOKENS_PER_MESSAGE
    per_call: float = TOKENS_PER_CALL
    calls: int = 0

    def tokens(self, size: Size, calls: int = 1) -> float:
        """Tokens of prompts of this size together; 0 calls are a part of a prompt."""
        units: int = getattr(size, self.unit)
        return units * self.per_unit + size.messages * self.per_message + calls * self.per_call

    @property
    def basis(self) -> str:
        """Where the number comes from, in words."""
        if self.calls:
            return f"learnt from {self.calls:,} logged calls"
        return (
            f"estimate, {self.per_unit:g} per word or punctuation mark and "
            f"{self.per_message:g} per message; learnt once calls are logged"
        )


def usage_tokens(usage: ModelUsage) -> int:
    """Tokens of a prompt as the provider counted them.

    Inspect's `input_tokens` leave out what the provider's cache served.
    """
    cached = (usage.input_tokens_cache_read or 0) + (usage.input_tokens_cache_write or 0)
    return usage.input_tokens + cached


def learn(sizes: Sequence[Size], tokens: Sequence[int]) -> TokenCount:
    """The tokens of a model, from calls whose prompts and usage are known.

    The unit is the one that fits best. As long as all prompts have the same number of messages, the
    logs cannot tell what a message costs from what a call costs: what is there beyond the text is
    then put down to the messages, up to `TOKENS_PER_MESSAGE` each.

    Args:
        sizes: Of the prompts.
        tokens: What each was counted to have.

    Example:
        >>> sizes = [Size(2, 0, 40 * n, 0) for n in range(1, 10)]
        >>> found = learn(sizes, [10 * n + 8 for n in range(1, 10)])
        >>> found.unit, round(found.per_unit, 2), round(found.per_message), round(found.per_call)
        ('characters', 0.25, 4, 0)
    """
    if len(tokens) < MIN_CALLS:
        return TokenCount()
    y = np.array(tokens, float)
    messages = np.array([size.messages for size in sizes], float)
    one_shape = bool((messages == messages[0]).all())
    around = [(messages, TOKENS_PER_MESSAGE, 3.0), (np.ones(len(y)), TOKENS_PER_CALL, 15.0)]
    if one_shape:
        # text that is dearer than usual is likelier than much that stands round it
        around = [(np.ones(len(y)), messages[0] * TOKENS_PER_MESSAGE + TOKENS_PER_CALL, 4.0)]
    fits: list[tuple[float, Unit, NDArray[np.float64]]] = []
    for unit, (per_unit, doubt) in USUAL.items():
        x = np.array([getattr(size, unit) for size in sizes], float)
        if x.any():
            error, found = _fit([(x, per_unit, doubt), *around], y)
            fits.append((error, unit, found))
    if not fits:
        return TokenCount()
    _, unit, found = min(fits, key=lambda fit: fit[0])
    if one_shape:
        per_message = float(np.clip(found[1] / messages[0], 0, TOKENS_PER_MESSAGE))
        per_call = float(found[1]) - per_message * messages[0]
    else:
        per_message, per_call = float(found[1]), float(found[2])
    return TokenCount(unit, float(found[0]), per_message, per_call, len(y))


def _fit(
    columns: Sequence[tuple[NDArray[np.float64], float, float]], y: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64]]:
    """Error and coefficients of a least-squares fit that keeps to what is usual where it can.

    Calls of much the same length say little of what a word is worth and what stands round a text.
    Each coefficient is therefore expected somewhere, within some doubt, and the calls overrule that
    as far as they tell.

    Args:
        columns: Of each: the values, the expected coefficient, the doubt about it.
        y: What is to be fitted.
    """
    values = np.column_stack([column for column, _, _ in columns])
    expected = np.array([usual for _, usual, _ in columns])
    doubt = np.array([width for _, _, width in columns])
    plain, *_ = np.linalg.lstsq(values, y, rcond=None)
    noise = float(np.sqrt(np.mean((y - values @ plain) ** 2))) + 0.3  # counts are whole numbers
    found, *_ = np.linalg.lstsq(
        np.vstack([values, np.diag(noise / doubt)]),
        np.concatenate([y, expected * noise / doubt]),
        rcond=None,
    )
    return float(np.sqrt(np.mean((y - values @ found) ** 2))), found
