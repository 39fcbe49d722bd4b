"""The prompt: a system message, solved questions as real turns, then the question.

Everything before the last question is built once per cell, so all requests of a cell start with the
same bytes, and a longer prompt starts with the shorter one's: prompt caches pay for most of it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any, Literal, get_args, get_type_hints

from inspect_ai.log import transcript
from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageUser,
    ModelOutput,
    get_model,
)
from inspect_ai.solver import Generate, Solver, TaskState, solver

from w2s_icl.errors import W2SError
from w2s_icl.record import rotation

Style = Literal["chat", "transcript"]
"""`chat`: one user and one assistant turn per demonstration. `transcript`: one user message that
holds everything, the instruction included."""

Disclosure = Literal["none", "source", "accuracy"]
"""What the system message says of the labels: nothing, who gave them, or how many are right too."""

Cot = Literal["none", "bare"]
"""Chain of thought: none, or before the answer."""

SystemRole = Literal["system", "user"]
"""`user`: the instruction stands at the start of the first user turn, for templates without a
system role."""

QuestionText = Literal["shown", "hidden"]
"""`hidden`: the options alone, in demonstrations and question alike."""

PROMPT_VERSIONS: Mapping[Style, str] = {"chat": "1", "transcript": "2"}
"""Rises when a prompt changes by as much as a space."""

SYSTEM_MESSAGE = (
    "Answer the multiple-choice question. Reply with the letter of the correct option and nothing "
    "else."
)

INSTRUCTIONS: Mapping[tuple[QuestionText, Cot], str] = {
    ("shown", "none"): SYSTEM_MESSAGE,
    ("shown", "bare"): (
        "Answer the multiple-choice question. Think step by step, then give the letter of the "
        'correct option on a last line of its own, as "ANSWER: X".'
    ),
    ("hidden", "none"): (
        "Each message holds the options of a multiple-choice question that is not shown. Reply "
        "with the letter of the option that is most likely correct and nothing else."
    ),
    ("hidden", "bare"): (
        "Each message holds the options of a multiple-choice question that is not shown. Think "
        "step by step, then give the letter of the option that is most likely correct on a last "
        'line of its own, as "ANSWER: X".'
    ),
}

UNLABELLED_MESSAGE = (
    "The questions before the last one are shown without their answers. Answer only the last one."
)

DISCLOSURES: Mapping[Disclosure, str] = {
    "none": "",
    "source": "The answers to the questions before the last one come from {source}.",
    "accuracy": (
        "The answers to the questions before the last one come from {source}; {percent}% of them "
        "are right."
    ),
}
"""What follows the first sentences of the system message."""

TAKEN_OVER = "reused_output"
"""Key of `Sample.metadata` under which answers stand that another cell's log already holds."""


@dataclass(frozen=True)
class Demonstration:
    """One solved question of the prompt.

    Attributes:
        id: The question's id.
        question: Its text.
        choices: Its options in the order shown.
        label: The letter it is solved with; None where no answer is shown.
        gold: The letter of the right option (never shown).
    """

    id: int | str
    question: str
    choices: tuple[str, ...]
    label: str | None
    gold: str


@dataclass(frozen=True)
class Demonstrations:
    """The demonstrations of one cell, in the order shown.

    Inspect writes a solver's arguments into the log, twice, and compares them to tell cells apart;
    of an object like this it takes `name`. So `name` says in few characters what is shown.

    Attributes:
        items: In the order shown.
        note: One line of markdown for the transcript: how many there are, whose labels they bear.
        source: Who gave the labels, in the words of `DISCLOSURES`.
    """

    items: tuple[Demonstration, ...] = ()
    note: str = ""
    source: str = ""

    @property
    def right_share(self) -> float | None:
        """Share of right labels; None where no label is shown."""
        right = [d.label == d.gold for d in self.items if d.label is not None]
        return sum(right) / len(right) if right else None

    @property
    def sha256(self) -> str:
        """Digest of what is shown: questions, options and labels, in order."""
        return _digest([[d.id, d.question, d.choices, d.label] for d in self.items])

    @property
    def name(self) -> str:
        """Number of demonstrations and the start of their digest."""
        return f"{len(self.items)} shown, {self.sha256[:16]}"


@dataclass(frozen=True)
class Prompt:
    """How demonstrations and question are put to the model.

    Attributes:
        style: "chat" or "transcript".
        disclosure: What the system message says of the labels.
        cot: Whether the model is asked to reason before it answers.
        question: Whether the questions' texts are shown.
        system_role: Who says the instruction.
    """

    style: Style = "chat"
    disclosure: Disclosure = "none"
    cot: Cot = "none"
    question: QuestionText = "shown"
    system_role: SystemRole = "system"

    def __post_init__(self) -> None:
        """Refuse what is not allowed."""
        for name, allowed in get_type_hints(Prompt).items():
            *words, last = get_args(allowed)
            if getattr(self, name) not in (*words, last):
                raise W2SError(
                    f"{name} must be {', '.join(words)} or {last}, got {getattr(self, name)!r}"
                )

    @property
    def version(self) -> str:
        """Version of the wording and the layout."""
        return PROMPT_VERSIONS[self.style]

    @property
    def arm(self) -> str:
        """What differs from the plain prompt, as "disclosure=source"; "" where nothing does.

        Example:
            >>> Prompt(cot="bare", question="hidden").arm
            'cot=bare question=hidden'
        """
        arms = {name: getattr(self, name) for name in ("disclosure", "cot", "question")}
        plain = vars(Prompt())
        return " ".join(f"{k}={v}" for k, v in arms.items() if v != plain[k])

    def system_message(self, shown: Demonstrations = Demonstrations()) -> str:
        """The first message of every prompt of a cell."""
        message = INSTRUCTIONS[self.question, self.cot]
        if any(d.label is None for d in shown.items):
            return f"{message} {UNLABELLED_MESSAGE}"
        if self.disclosure == "none" or shown.right_share is None:
            return message
        percent = f"{100 * shown.right_share:.0f}"
        said = DISCLOSURES[self.disclosure].format(source=shown.source, percent=percent)
        return f"{message} {said}"

    def prefix(self, shown: Demonstrations) -> list[ChatMessage]:
        """All messages before the question's own."""
        if self.style == "transcript":
            return []
        instruction = self.system_message(shown)
        messages: list[ChatMessage] = []
        opening = ""
        if self.system_role == "system":
            messages.append(ChatMessageSystem(content=instruction))
        else:
            opening = f"{instruction}\n\n"
        for d in shown.items:
            text = opening + self._asked(d.question, d.choices)
            opening = ""
            messages.append(ChatMessageUser(content=text))
            if d.label is not None:
                messages.append(ChatMessageAssistant(content=d.label))
        return messages

    def last_turn(
        self, shown: Demonstrations, question: str, choices: Sequence[str]
    ) -> ChatMessageUser:
        """The message that asks the question."""
        text = self._asked(question, choices)
        if self.style == "transcript":
            solved = [
                self._asked(d.question, d.choices) + (f"\n\nAnswer: {d.label}" if d.label else "")
                for d in shown.items
            ]
            text = "\n\n".join([self.system_message(shown), *solved, text, "Answer:"])
        elif self.system_role == "user" and not shown.items:
            text = f"{self.system_message(shown)}\n\n{text}"
        return ChatMessageUser(content=text)

    def sha256(self, shown: Demonstrations) -> str:
        """Digest of all that stands before the question: equal prompts have equal digests."""
        folded = self.style == "transcript" or self.system_role == "user"
        solved = self.last_turn(shown, "", ()).text if folded else ""
        messages = [[m.role, m.content] for m in self.prefix(shown)]
        return _digest([messages, solved, self.style, self.question])

    def characters(self, shown: Demonstrations) -> int:
        """Length of everything in the prompt but the question that is asked."""
        messages = [*self.prefix(shown), self.last_turn(shown, "", ())]
        return sum(len(message.text) for message in messages)

    def _asked(self, question: str, choices: Sequence[str]) -> str:
        return question_text("" if self.question == "hidden" else question, choices)


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
    lettered = "\n".join(f"{letter}) {text}" for letter, text in options)
    return f"{question}\n\n{lettered}" if question else lettered


@solver
def few_shot_prompt(  # noqa: D417 - the rest as `Prompt`
    shown: Demonstrations = Demonstrations(),
    style: Style = "chat",
    disclosure: Disclosure = "none",
    cot: Cot = "none",
    question: QuestionText = "shown",
    system_role: SystemRole = "system",
    permutations: int = 1,
) -> Solver:
    """Ask each question after the demonstrations in `shown`; none is a zero-shot prompt.

    A sample whose metadata hold an answer under `TAKEN_OVER` takes it instead of asking again: the
    very same prompt has been answered in another cell, and a second call would put the noise of a
    rerun between two arms that differ in nothing.

    Args:
        shown: The demonstrations, in order. The next five arguments are those of `Prompt`.
        permutations: With n > 1, epoch e shows the options of the question that is asked rotated
            to the left by (e - 1) mod n places; the demonstrations stay as they are.
    """
    prompt = Prompt(style, disclosure, cot, question, system_role)
    prefix = prompt.prefix(shown)

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        choices = [choice.value for choice in state.choices]
        rotated = rotation(state.epoch, permutations, len(choices))
        choices = [*choices[rotated:], *choices[:rotated]]
        turn = prompt.last_turn(shown, state.input_text, choices)
        if shown.note:
            transcript().info(shown.note, source="few_shot")
        reused: Any = state.metadata.get(TAKEN_OVER)
        if reused is None:
            state.output = await _answer([*prefix, turn])
            # the model event holds the whole prompt: carried along by every sample, too, 130 turns
            # would be compared and written once more at each step
            state.messages = [turn, state.output.message]
            return state
        state.output = ModelOutput.model_validate(reused["outputs"][str(state.epoch)])
        state.messages = [*prefix, turn, state.output.message]
        transcript().info(
            f"No call: the same prompt was answered in cell `{reused['cell']}` of this study "
            f"(log `{reused['log']}`).",
            source="few_shot",
        )
        return state

    return solve


async def _answer(messages: list[ChatMessage]) -> ModelOutput:
    """The reply to a prompt; raises RuntimeError where the call gave no answer: it is made again.

    Inspect turns some refusals by the server (HTTP 400) into replies; those carry no usage. A reply
    that a filter emptied, or that is empty in itself, is an answer that cannot be read.
    """
    try:
        output = await get_model().generate(messages)
    except Exception as error:
        # what the last try met; what the server said, without the request
        cause = error.__cause__ if type(error).__name__ == "RetryError" else None
        said = getattr(cause or error, "provider_message", None)
        if said:
            raise RuntimeError(said) from None
        raise (cause or error) from None
    if output.empty:
        raise RuntimeError(f"no answer: {output.error or 'the reply is empty'}")
    said, stop = output.completion, output.stop_reason
    refused = stop == "content_filter" and output.usage is None and said
    failed = output.error or (stop == "unknown" and not said)
    if refused or failed or stop == "model_length":
        raise RuntimeError(f"no answer ({stop}): {output.error or said or 'the reply is empty'}")
    return output


def _digest(content: Any) -> str:
    text = json.dumps(content, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
