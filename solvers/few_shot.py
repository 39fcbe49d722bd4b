"""The prompt: a system message, solved questions as real turns, then the question.

The solver knows demonstrations, not where their labels came from. Everything before the last
question is built once per cell, so all requests of a cell start with the same bytes, and a longer
prompt starts with the shorter one's: prompt caches of providers and of vLLM pay for most of it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any, Literal, get_args

from inspect_ai.log import transcript
from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageUser,
    ModelOutput,
)
from inspect_ai.solver import Generate, Solver, TaskState, solver

Style = Literal["chat", "transcript"]
"""`chat`: one user and one assistant turn per demonstration. `transcript`: all in one message."""

PROMPT_VERSION = "1"
"""Rises when a prompt changes by as much as a space."""

SYSTEM_MESSAGE = (
    "Answer the multiple-choice question. Reply with the letter of the correct option and nothing "
    "else."
)

REUSED = "reused_output"
"""Key of `Sample.metadata` under which an answer stands that another cell's log already holds."""


@dataclass(frozen=True)
class Demonstration:
    """One solved question of the prompt.

    Attributes:
        id: The question's id.
        question: Its text.
        choices: Its options in the order shown.
        label: The letter it is solved with.
        gold: The letter of the right option (never shown).
    """

    id: int | str
    question: str
    choices: tuple[str, ...]
    label: str
    gold: str


@dataclass(frozen=True)
class Demonstrations:
    """The demonstrations of one cell, in the order shown.

    Inspect writes a solver's arguments into the log, twice, and compares them to tell cells apart;
    of an object like this it takes `name`. So `name` says in few characters what is shown.

    Attributes:
        items: In the order shown.
        note: One line of markdown for the transcript: how many there are, whose labels they bear.
    """

    items: tuple[Demonstration, ...] = ()
    note: str = ""

    @property
    def sha256(self) -> str:
        """Digest of what is shown: questions, options and labels, in order."""
        shown = [[d.id, d.question, d.choices, d.label] for d in self.items]
        text = json.dumps(shown, ensure_ascii=False)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

    @property
    def name(self) -> str:
        """Number of demonstrations and the start of their digest."""
        return f"{len(self.items)} shown, {self.sha256[:16]}"


def question_text(question: str, choices: Sequence[str]) -> str:
    """The question and its lettered options, as one user turn.

    Example:
        >>> print(question_text("Where do polar bears live?", ["In the Arctic", "In Antarctica"]))
        Where do polar bears live?
        <BLANKLINE>
        A) In the Arctic
        B) In Antarctica
    """
    options = zip(ascii_uppercase, choices, strict=False)
    return question + "\n\n" + "\n".join(f"{letter}) {text}" for letter, text in options)


def prompt_messages(
    shown: Demonstrations, question: str, choices: Sequence[str], style: Style = "chat"
) -> list[ChatMessage]:
    """The whole prompt for one question."""
    return [*_prefix(shown, style), _last_turn(shown, question, choices, style)]


@solver
def few_shot_prompt(shown: Demonstrations = Demonstrations(), style: Style = "chat") -> Solver:
    """Ask each question after the demonstrations in `shown`; none is a zero-shot prompt.

    A sample whose metadata hold an answer under `REUSED` takes it instead of asking again: the very
    same prompt has been answered in another cell, and a second call would put the noise of a rerun
    between two arms that differ in nothing.

    Args:
        shown: The demonstrations, in order.
        style: `chat` or `transcript`.
    """
    if style not in get_args(Style):
        raise ValueError(f"style must be chat or transcript, got {style!r}")
    prefix = _prefix(shown, style)

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        choices = [choice.value for choice in state.choices]
        state.messages = [*prefix, _last_turn(shown, state.input_text, choices, style)]
        if shown.note:
            transcript().info(shown.note, source="few_shot")
        reused: Any = state.metadata.get(REUSED)
        if reused is None:
            return await generate(state)
        state.output = ModelOutput.model_validate(reused["output"])
        state.messages.append(state.output.message)
        transcript().info(
            f"No call: the same prompt was answered in cell `{reused['cell']}` of this study "
            f"(log `{reused['log']}`).",
            source="few_shot",
        )
        return state

    return solve


def _prefix(shown: Demonstrations, style: Style) -> list[ChatMessage]:
    """All messages before the question's own."""
    messages: list[ChatMessage] = [ChatMessageSystem(content=SYSTEM_MESSAGE)]
    if style == "chat":
        for d in shown.items:
            messages.append(ChatMessageUser(content=question_text(d.question, d.choices)))
            messages.append(ChatMessageAssistant(content=d.label))
    return messages


def _last_turn(
    shown: Demonstrations, question: str, choices: Sequence[str], style: Style
) -> ChatMessageUser:
    text = question_text(question, choices)
    if style == "transcript":
        solved = [
            f"{question_text(d.question, d.choices)}\n\nAnswer: {d.label}" for d in shown.items
        ]
        text = "\n\n".join([*solved, f"{text}\n\nAnswer:"])
    return ChatMessageUser(content=text)
