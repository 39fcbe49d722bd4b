"""The prompt: a system message, solved questions as real turns, then the question.

All prompts of a cell start with the same bytes, and a longer prompt starts with the shorter one, so
that prompt caches serve most of it.
"""

import hashlib
import json
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from string import ascii_uppercase
from typing import Any, Literal, Self, get_args, get_type_hints

from inspect_ai.log import transcript
from inspect_ai.model import ChatMessage, ModelOutput, get_model
from inspect_ai.solver import Generate, Solver, TaskState, solver
from pydantic import TypeAdapter

from w2s_icl.errors import W2SError
from w2s_icl.record import rotation

Style = Literal["chat", "transcript"]  # two turns per demonstration, or one message for all
Disclosure = Literal["none", "source", "accuracy"]  # of the labels: who gave them, how many right
Cot = Literal["none", "bare"]  # reasoning before the answer
SystemRole = Literal["system", "user"]  # "user": the instruction opens the first user turn
QuestionText = Literal["shown", "hidden"]  # hidden in demonstrations and question alike

PROMPT_VERSIONS: Mapping[Style, str] = {"chat": "1", "transcript": "2"}  # rise with any change

# what is asked for, and what the right option is called
INSTRUCTIONS: Mapping[QuestionText, tuple[str, str]] = {
    "shown": ("Answer the multiple-choice question.", "correct option"),
    "hidden": (
        "Each message holds the options of a multiple-choice question that is not shown.",
        "option that is most likely correct",
    ),
}
REPLIES: Mapping[Cot, str] = {
    "none": "Reply with the letter of the {} and nothing else.",
    "bare": "Think step by step, then give the letter of the {} on a last line of its own, as "
    '"ANSWER: X".',
}
UNLABELLED_MESSAGE = (
    "The questions before the last one are shown without their answers. Answer only the last one."
)
DISCLOSURES: Mapping[Disclosure, str] = {
    "source": "The answers to the questions before the last one come from {source}.",
    "accuracy": "The answers to the questions before the last one come from {source}; {percent}% "
    "of them are right.",
}

Turn = tuple[str, str]  # role and text of a message
_MESSAGES = TypeAdapter(list[ChatMessage])
TAKEN_OVER = "reused_output"  # in `Sample.metadata`: answers that another cell's log holds


@dataclass(frozen=True)
class Demonstration:
    """One solved question of the prompt."""

    id: int | str
    question: str
    choices: tuple[str, ...]  # in the order shown
    label: str | None  # the letter shown as the answer, None where none is shown
    gold: str  # the right letter


@dataclass(frozen=True)
class Demonstrations:
    """The demonstrations of one cell."""

    items: tuple[Demonstration, ...] = ()  # in the order shown
    note: str = ""  # a line of markdown for the transcript: how many, and who labelled them
    source: str = ""  # who labelled them, in the words of `DISCLOSURES`

    def in_order(self, order: int, seed: str) -> Self:
        """The same demonstrations in another order: 0 is their own, and no two are the same."""
        n, most = len(self.items), math.factorial(len(self.items))
        if order and order >= most:
            raise W2SError(f"order must be below {most} with {n} demonstrations, got {order}")
        generator = random.Random(seed)
        orders = {self.items: None}
        while len(orders) <= order:
            orders.setdefault(tuple(generator.sample(self.items, n)))
        return replace(self, items=[*orders][order])

    @property
    def right_share(self) -> float | None:
        """Share of right labels; None where no label is shown."""
        right = [d.label == d.gold for d in self.items if d.label is not None]
        return sum(right) / len(right) if right else None

    @property
    def sha256(self) -> str:
        """Digest of what is shown: questions, options and labels, in order."""
        return digest([[d.id, d.question, d.choices, d.label] for d in self.items])

    @property
    def name(self) -> str:
        """What Inspect writes into the log, twice, in place of a solver's argument."""
        return f"{len(self.items)} shown, {self.sha256[:16]}"


@dataclass(frozen=True)
class Prompt:
    """How demonstrations and question are put to the model."""

    style: Style = "chat"
    disclosure: Disclosure = "none"
    cot: Cot = "none"
    question: QuestionText = "shown"
    system_role: SystemRole = "system"

    def __post_init__(self) -> None:
        """Refuse what is not allowed."""
        for name, kind in get_type_hints(Prompt).items():
            *words, last = get_args(kind)
            if (value := getattr(self, name)) not in get_args(kind):
                raise W2SError(f"{name} must be {', '.join(words)} or {last}, got {value!r}")

    @property
    def arm(self) -> str:
        """What differs from the plain prompt, as `cot=bare question=hidden`; "" where nothing."""
        names = ("disclosure", "cot", "question")
        return " ".join(f"{k}={v}" for k in names if (v := getattr(self, k)) != getattr(Prompt, k))

    def system_message(self, shown: Demonstrations = Demonstrations()) -> str:
        """The first message of every prompt of a cell."""
        asked, option = INSTRUCTIONS[self.question]
        message = f"{asked} {REPLIES[self.cot].format(option)}"
        if any(d.label is None for d in shown.items):
            return f"{message} {UNLABELLED_MESSAGE}"
        if self.disclosure == "none" or shown.right_share is None:
            return message
        of = {"source": shown.source, "percent": f"{100 * shown.right_share:.0f}"}
        return f"{message} {DISCLOSURES[self.disclosure].format(**of)}"

    def turns(
        self, shown: Demonstrations, question: str = "", choices: Sequence[str] = ()
    ) -> list[Turn]:
        """The whole prompt; the last turn asks the question, those before it are the prefix."""
        turns: list[Turn] = []
        solved = [(d.question, d.choices, d.label) for d in shown.items]
        for asked, options, label in [*solved, (question, choices, None)]:
            text = question_text("" if self.question == "hidden" else asked, options)
            turns += [("user", text), ("assistant", label)] if label else [("user", text)]
        instruction = self.system_message(shown)
        if self.style == "transcript":
            return [("user", "\n\n".join([instruction, *_texts(turns), "Answer:"]))]
        if self.system_role == "system":
            return [("system", instruction), *turns]
        return [("user", f"{instruction}\n\n{turns[0][1]}"), *turns[1:]]

    def sha256(self, shown: Demonstrations) -> str:
        """Digest of all that stands before the question: equal prompts have equal digests."""
        *prefix, (_, last) = self.turns(shown)
        return digest([prefix, last, self.style, self.question])

    def characters(self, shown: Demonstrations) -> int:
        """Length of everything in the prompt but the question that is asked."""
        return sum(len(text) for _, text in self.turns(shown))


def messages(turns: Sequence[Turn]) -> list[ChatMessage]:
    """The turns as Inspect sends them."""
    return _MESSAGES.validate_python([{"role": role, "content": text} for role, text in turns])


def question_text(question: str, choices: Sequence[str]) -> str:
    """The question, if shown, and its lettered options, as one user turn."""
    lettered = "\n".join(f"{a}) {text}" for a, text in zip(ascii_uppercase, choices, strict=False))
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
    """Ask each question after the demonstrations in `shown`; without any, zero-shot.

    A sample with an answer under `TAKEN_OVER` in its metadata takes that answer without a call:
    another cell has asked the same prompt, and a second call would add the noise of a rerun.

    Args:
        shown: The demonstrations, in order.
        permutations: With n > 1, epoch e shows the options of the question that is asked rotated
            to the left by (e - 1) mod n places; the demonstrations stay as they are.
    """
    prompt = Prompt(style, disclosure, cot, question, system_role)
    *prefix, _ = prompt.turns(shown)
    # for the viewer's Messages tab all turns in one message: 130 of them would take as much time as
    # the rest of a call. The model event of the transcript has the turns as they were sent
    told = [turn for turn in prefix if turn[0] == "system"]
    if solved := _texts(prefix[len(told) :]):
        told.append(("user", "\n\n".join(["(Demonstrations, sent as a turn each.)", *solved])))
    sent, to_read = messages(prefix), messages(told)

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        choices = [choice.value for choice in state.choices]
        place = rotation(state.epoch, permutations, len(choices))
        asked = prompt.turns(shown, state.input_text, choices[place:] + choices[:place])[-1:]
        turn = messages(asked)[0]
        if shown.note:
            transcript().info(shown.note, source="few_shot")
        reused: Any = state.metadata.get(TAKEN_OVER)
        if reused is None:
            state.output = await _answer([*sent, turn])
        else:
            state.output = ModelOutput.model_validate(reused["outputs"][str(state.epoch)])
            where = f"in cell `{reused['cell']}` of this study (log `{reused['log']}`)"
            transcript().info(f"No call: the same prompt was answered {where}.", source="few_shot")
        state.messages = [*to_read, turn, state.output.message]
        return state

    return solve


def _texts(turns: Sequence[Turn]) -> list[str]:
    return [text if role == "user" else f"Answer: {text}" for role, text in turns]


async def _answer(messages: list[ChatMessage]) -> ModelOutput:
    """The reply to a prompt; raises RuntimeError where the call gave none, and is to be repeated.

    Inspect turns some refusals by the server (HTTP 400) into replies; those carry no usage. An
    empty reply, or one that a filter emptied, is an answer that cannot be read.
    """
    try:
        output = await get_model().generate(messages)
    except Exception as error:
        # what the last try met; what the server said, without the request
        cause = (error.__cause__ if type(error).__name__ == "RetryError" else None) or error
        said = getattr(cause, "provider_message", None)
        raise (RuntimeError(said) if said else cause) from None
    said, stop = output.completion, "unknown" if output.empty else output.stop_reason
    refused = stop == "content_filter" and output.usage is None and said
    failed = output.error or (stop == "unknown" and not said)
    if refused or failed or stop == "model_length":
        raise RuntimeError(f"no answer ({stop}): {output.error or said or 'the reply is empty'}")
    return output


def digest(content: Any) -> str:
    """The sha256 of what JSON can hold."""
    text = json.dumps(content, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
