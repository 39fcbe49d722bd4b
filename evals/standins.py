"""Offline stand-in models, an Inspect provider: `simulated/small`, `medium`, `large`, `custom`.

They let the suite run without a key, a network or model weights. They are an item-response
simulator: their numbers say nothing about language models. `StandInAPI` says what they do.
"""

import logging
import math
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from hashlib import sha256
from statistics import NormalDist
from string import ascii_uppercase
from typing import Any, NamedTuple

import click
import rich
from inspect_ai import model as imodel
from inspect_ai.log import transcript
from inspect_ai.tool import ToolChoice, ToolInfo
from pydantic import BaseModel, Field

from w2s_icl.errors import W2SError, checked, first_line
from w2s_icl.evals.sources import load_questions
from w2s_icl.record import BANNER

# accuracy zero-shot on four options; `custom` takes its own from `-M ability=`
ABILITY = {"small": 0.62, "medium": 0.75, "large": 0.87}
SHOTS_SCALE = 14.0  # demonstrations after which 63% of their effect is there; at 64 it is 99%
UNLABELLED_WORTH = 0.2  # of a demonstration without a label, as a share of that of a right one
FORMS = ("{}.", "**{}**", "({})", "The answer is {}.")
REFUSALS = ("Sorry, this is not to be answered here.", "Much has been written about this question.")
REASONING = (
    "Most of what is offered repeats what people like to say. What is left fits the facts.",
    "Popular belief and evidence part ways on this. The evidence decides.",
)
NORMAL = NormalDist()


class Block(NamedTuple):
    """One question as it stands in a prompt."""

    question: str  # "" where it is hidden; the first one of a prompt may follow the instruction
    options: tuple[str, ...]
    label: str  # the text of the option that is shown as its answer, "" without one


# options on lines of their own up to an empty line, then perhaps the answer
_BLOCK = re.compile(r"^A\) (.+?)(?:\n\n(?:Answer: *([A-Z]?) *$)?|\Z)", re.MULTILINE | re.DOTALL)


def read_prompt(messages: Sequence[imodel.ChatMessage]) -> tuple[tuple[Block, ...], int]:
    """The questions of a prompt that `solvers.few_shot` wrote, and its length in characters.

    The last question is asked; before the first one the instruction may stand.
    """
    # an assistant's turn ends in its letter, whether it reasons before or not
    turns = [f"Answer: {m.text[-1:]}" if m.role == "assistant" else m.text for m in messages]
    shown, rest = _blocks("\n\n".join(turns[:-1]))
    asked, _ = _blocks(f"{rest}\n\n{turns[-1]}")
    return shown + asked, sum(map(len, turns)) + 2 * len(turns[1:])


@lru_cache(maxsize=64)  # what stands before the question is the same in all calls of a cell
def _blocks(text: str) -> tuple[tuple[Block, ...], str]:
    """The questions of a text, and what stands behind the last one."""
    blocks: list[Block] = []
    end = 0
    for match in _BLOCK.finditer(text):
        options = tuple(re.split(r"\n[B-Z]\) ", match[1]))
        label = dict(zip(ascii_uppercase, options, strict=False)).get(match[2], "")
        blocks.append(Block(text[end : match.start()].strip(), options, label))
        end = match.end()
    return tuple(blocks), text[end:]


@lru_cache(maxsize=8)
def right_options(questions: str) -> dict[str, str]:
    """Text of the right option by question, of a set named as a task's `dataset`."""
    # of two questions with the same words the first counts
    return {q.question.strip(): q.right for q in reversed(load_questions(questions).questions)}


def known_question(block: Block, known: dict[str, str]) -> str:
    """The question of a block as it is known, "" where it is not or its right option is missing."""
    # paragraphs before it, such as an instruction, do not count
    paragraphs = block.question.split("\n\n")
    ends = ("\n\n".join(paragraphs[start:]) for start in range(len(paragraphs)))
    return next((end for end in ends if known.get(end) in block.options), "")


def uniform(*key: object) -> float:
    """A number in (0, 1) by hash of the key, the same for the same key everywhere."""
    digest = sha256("\x1f".join(map(str, key)).encode("utf-8", "surrogatepass")).digest()
    return ((int.from_bytes(digest[:8]) >> 12) + 0.5) / 2**52


def normal(*key: object) -> float:
    """A standard normal number by hash of the key."""
    return NORMAL.inv_cdf(uniform(*key))


def one_of(texts: Sequence[str], *key: object) -> str:
    """One of the texts by hash of the key, whatever their order."""
    return min(texts, key=lambda text: uniform(*key, text))


class Arguments(BaseModel, extra="forbid"):
    """What `-M name=value` may say of a stand-in."""

    ability: float = Field(ge=0.01, le=0.99)  # accuracy zero-shot on four options
    gain: float = Field(0.4, ge=-2, le=2)  # effect of many right labels on z
    refusal_rate: float = Field(0.005, ge=0, le=0.5)  # share of unreadable replies zero-shot
    seed: int | str = 0  # of all chance: models are comparable by question within one seed
    questions: str = "misconceptions"  # what the model knows, as a task's `dataset`


class StandInAPI(imodel.ModelAPI):
    """A model that is a formula: its numbers say nothing about language models.

    It reads the prompts that this suite writes. It recognises a question and its right option by
    their texts. Where the question is hidden or not known, it guesses.

    **Right or wrong.** Model m answers question q of n options in prompt p rightly if

        sqrt(0.80) c_q + sqrt(0.18) e_mq + sqrt(0.02) e_mqp > -z

    with standard normals made by hashing their indices: with probability Phi(z). The easiness c_q
    is the same for all models, so their errors overlap.

        z = Phi^-1(ability, corrected for guessing among n) + gain Q (1 - exp(-k / 14))
        Q = 1 - 1.6 w^2

    k is the number of labelled demonstrations, w the share of wrong labels divided by the share
    expected by chance (1 - 1/n): Q is 1 for gold labels, -0.6 for random ones, 0.2 without labels.
    A wrong answer is in 70% of cases the question's popular error, the same for all models.

    **Words.** Zero-shot, 80% of the replies are a bare letter, the others forms such as "(B)", and
    a share `refusal_rate` names no option. Demonstrations teach the format: both fade with k. Asked
    to think step by step, a model writes two sentences before its answer.
    """

    variance = (0.80, 0.18, 0.02)  # of c_q, e_mq and e_mqp
    popular_rate = 0.7  # share of wrong answers that are the question's popular error

    def __init__(self, model_name: str, **given: Any) -> None:
        """Make a stand-in model; `Arguments` says which arguments there are."""
        super().__init__(model_name)
        self.name = model_name.removeprefix("simulated/")
        own = {"ability": ABILITY[self.name]} if self.name in ABILITY else {}
        if not own and self.name.partition("-")[0] != "custom":
            names = "simulated/small, medium, large, custom or custom-NAME"
            raise W2SError(f"model must be {names}, got simulated/{self.name}")
        try:
            of_servers = ("base_url", "api_key", "config")
            args = checked(Arguments, own | {k: v for k, v in given.items() if k not in of_servers})
            self.known = right_options(args.questions)
        except W2SError as error:
            raise W2SError(f"arguments of simulated/{self.name}: {first_line(error)}") from None
        self.ability, self.gain, self.refusal_rate = args.ability, args.gain, args.refusal_rate
        self.seed, self.questions = str(args.seed), args.questions

    def max_connections(self) -> int:
        """Calls at a time: there is no server to spare."""
        return 200

    async def generate(
        self,
        input: list[imodel.ChatMessage],
        tools: list[ToolInfo],
        tool_choice: ToolChoice,
        config: imodel.GenerateConfig,
    ) -> imodel.ModelOutput:
        """Answer the last question of the prompt."""
        transcript().info(BANNER, source="simulated")  # a script makes tasks before it names models
        blocks, characters = read_prompt(input)
        limit = config.max_tokens or 1_000_000
        reply = "Could you tell me the question and the options to choose from?"
        if blocks:
            option = self.choose(blocks[-1], blocks[:-1])
            reply = self._say(ascii_uppercase[option], blocks, limit)
        output = imodel.ModelOutput.from_content(self.model_name, reply[: 4 * limit])
        if _tokens(len(reply)) > limit:
            output.choices[0].stop_reason = "max_tokens"
        n_in, n_out = _tokens(characters), _tokens(len(output.completion))
        sizes = {"input_tokens": n_in, "output_tokens": n_out, "total_tokens": n_in + n_out}
        output.usage = imodel.ModelUsage(**sizes)
        output.metadata = {"warning": BANNER}
        return output

    def choose(self, asked: Block, shown: tuple[Block, ...]) -> int:
        """Index of the option that the model takes."""
        question = known_question(asked, self.known)
        if not question:
            if asked.question and "question that is not shown" not in asked.question:
                _warn_unknown(self.questions)
            guess = one_of(asked.options, "guess", self.seed, self.name, asked.question)
            return asked.options.index(guess)
        right = self.known[question]
        own = (self.seed, self.name, question)
        of_question, of_model, of_prompt = map(math.sqrt, self.variance)
        score = of_question * normal("question", self.seed, question)
        score += of_model * normal("model", *own)
        score += of_prompt * normal("prompt", *own, _digest(shown))
        if score > -self.level(shown, len(asked.options)):
            return asked.options.index(right)
        wrong = [option for option in asked.options if option != right]
        popular = one_of(wrong, "popular", self.seed, question)
        if len(wrong) > 1 and uniform("error", *own) > self.popular_rate:
            wrong.remove(popular)
            popular = one_of(wrong, "error", *own)
        return asked.options.index(popular)

    def level(self, shown: tuple[Block, ...], n_options: int) -> float:
        """The z of the formula."""
        knows = (self.ability - 0.25) / 0.75
        start = min(max(knows + (1 - knows) / n_options, 0.01), 0.99)
        return NORMAL.inv_cdf(start) + self.gain * _evidence(shown, self.questions)

    def _say(self, letter: str, blocks: tuple[Block, ...], limit: int) -> str:
        key = (self.seed, self.name, blocks[-1], _digest(blocks[:-1]))
        fading = 1 + sum(bool(block.label) for block in blocks[:-1]) / 4
        style = uniform("style", *key)
        if uniform("refusal", *key) < self.refusal_rate / fading:
            return REFUSALS[int(style * len(REFUSALS))]
        if "step by step" in blocks[0].question:
            return f"{REASONING[int(style * len(REASONING))]}\n\nANSWER: {letter}"
        form = FORMS[int(style * len(FORMS))].format(letter)
        bare = uniform("bare", *key) > 0.2 / fading or _tokens(len(form)) > limit
        return letter if bare else form


@imodel.modelapi(name="simulated")
def simulated() -> Callable[..., imodel.ModelAPI]:
    """Provider of the stand-in models."""
    return StandInAPI


@lru_cache(maxsize=64)
def _evidence(shown: tuple[Block, ...], questions: str) -> float:
    """What demonstrations are worth, as a share of many right labels: Q (1 - exp(-k / 14))."""
    known = right_options(questions)
    labelled = [block for block in shown if block.label]
    wrong = chance = 0.0
    for block in labelled:
        if question := known_question(block, known):
            wrong += block.label != known[question]
            chance += 1 - 1 / len(block.options)
    quality = 1 - 1.6 * (wrong / chance) ** 2 if chance else UNLABELLED_WORTH
    return quality * (1 - math.exp(-len(labelled or shown) / SHOTS_SCALE))


@lru_cache(maxsize=64)
def _digest(shown: tuple[Block, ...]) -> str:
    return sha256(repr([block[1:] for block in shown]).encode()).hexdigest()


def _tokens(characters: int) -> int:
    return max(1, -(-characters // 4))


@lru_cache(maxsize=1)
def _warn_unknown(questions: str) -> None:
    """Say once per process that what is asked is not what the models know."""
    text = (
        f"simulated models know the questions of {questions!r} only; they guess at all others. "
        "Give them yours: -M questions=PATH, or in a study model_args: {MODEL: {questions: PATH}}"
    )
    logging.getLogger(__name__).warning(text)  # into the log, and on Inspect's terminal
    if rich.get_console().quiet:
        click.echo(f"! {text}", err=True)
