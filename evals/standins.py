"""Offline stand-in models, an Inspect provider: `simulated/small`, `simulated/medium`, ...

They let the suite run without a key, a network or model weights, and let its tests compare what
the analysis finds with what was planted. They are an item-response simulator and a regression on
the looks of the options, not language models, and their numbers say nothing about any;
`SIMULATED_BANNER` says so and stands in the metadata of every output. What they do is written in
the docstring of `SimulatedAPI`.
"""

from __future__ import annotations

import json
import math
import re
import time
import unicodedata
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from hashlib import sha256
from itertools import pairwise
from statistics import NormalDist
from string import ascii_uppercase
from typing import Any, Literal, NamedTuple

import anyio
import numpy as np
from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessage,
    ChatMessageAssistant,
    GenerateConfig,
    Logprob,
    Logprobs,
    ModelAPI,
    ModelOutput,
    ModelUsage,
    RetryDecision,
    StopReason,
    TopLogprob,
    modelapi,
)
from inspect_ai.tool import ToolChoice, ToolInfo
from numpy.typing import NDArray
from tenacity import wait_fixed
from tenacity.wait import WaitBaseT

from w2s_icl.evals.questions import load_questions
from w2s_icl.evals.students import (
    STUDENT,
    STUDENT_FRESH,
    STUDENT_SCALE,
    STUDENTS,
    SURFACE,
    fit_surface,
    habit,
    label_quality,
    surface_probabilities,
    surface_ranking,
)

SIMULATED_BANNER = "simulated models: these numbers say nothing about language models"

DEFAULT_QUESTIONS = "misconceptions"
"""What the models know unless `-M questions=PATH` says otherwise."""

FAMILY = {"small": 0.60, "medium": 0.75, "large": 0.85}
"""Ability of the named models; `custom` and `custom-<anything>` take theirs from `-M ability=`."""

SHARED, OWN, FRESH = 0.80, 0.15, 0.05
"""Variance of the latent score due to the question (the same for all models), to the model on
this question (the same in all prompts), and to the model on this question in this prompt.

0.80 puts the correlation of correctness between the three named models at 0.43, 0.50 and 0.53:
a shared part of 0.62 would leave it at 0.33 to 0.38, below what real families show."""

POPULAR_RATE = 0.7
"""Chance that a model which does not know the answer falls for the question's popular error."""

SHOTS_SCALE = 14.0
"""Demonstrations after which 63% of their effect is there; at 64 it is 99%."""

UNLABELLED_SHARE = 0.2
"""Part of `gain` that is worth a demonstration whose label is missing or cannot be judged."""

MIN_TEXT_TOKENS = 8
"""Below this `max_tokens` an answer is a bare letter."""

_NORMAL = NormalDist()


class SimulatedError(Exception):
    """An injected failure; carries the HTTP status that a server would have sent."""

    def __init__(self, status_code: int, attempt: int) -> None:
        """Make the error that attempt number `attempt` (from 0) at a prompt meets."""
        reason = "rate limit" if status_code == 429 else "server error"
        super().__init__(f"simulated {reason} ({status_code}) on attempt {attempt}")
        self.status_code = status_code


# ----------------------------------------------------------------------------------------------
# Parameters


@dataclass(frozen=True)
class Parameters:
    """What is planted in one stand-in model; the formulas are in `SimulatedAPI`.

    Attributes:
        ability: Probability of choosing the right one of four options zero-shot, in
            [0.01, 0.99].
        gain: Rise of the normal quantile of accuracy after many right demonstrations, in
            [-2, 2].
        dip: Largest fall of that quantile by the first demonstrations (at three), in [0, 1].
        copy: Share of the questions it would get right that a model lost to the popular error
            if all demonstrations were labelled with popular errors, in [0, 1].
        refusal_rate: Refusals zero-shot, in [0, 0.5].
        prose_rate: Replies zero-shot that talk and name no option, in [0, 0.5].
        seed: The world: difficulties, popular errors and all noise. Models are comparable
            question by question only within one world.
        cause: What makes a student of `students.STUDENTS` gain: "labels", or "format" alone. ""
            for the other models. Part of the name, not settable with `-M`.
    """

    ability: float
    gain: float = 0.35
    dip: float = 0.12
    copy: float = 0.10
    refusal_rate: float = 0.007
    prose_rate: float = 0.003
    seed: int = 0
    cause: Literal["", "labels", "format"] = ""

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        for name, low, high in (
            ("ability", 0.01, 0.99),
            ("gain", -2.0, 2.0),
            ("dip", 0.0, 1.0),
            ("copy", 0.0, 1.0),
            ("refusal_rate", 0.0, 0.5),
            ("prose_rate", 0.0, 0.5),
        ):
            _check_range(name, getattr(self, name), low, high)


_SETTABLE = tuple(field.name for field in fields(Parameters) if field.name != "cause")


def model_parameters(model: str | Parameters, **changes: Any) -> Parameters:
    """Parameters of a model by name, with changes as `-M` gives them.

    Args:
        model: `small`, `medium`, `large`, `custom`, `learner`, `format` or `copier`, the last
            four also with `-<anything>` after it, all with or without `simulated/` before it;
            parameters are changed and returned.
        **changes: Fields of `Parameters`; text is read as a number.

    Raises:
        ValueError: Unknown model or field, a custom model without ability, a bad value.

    Example:
        >>> model_parameters("simulated/small", gain="0.5").gain
        0.5
    """
    for name in changes:
        if name not in _SETTABLE:
            raise ValueError(f"model argument must be one of {', '.join(_SETTABLE)}, got {name!r}")
    values: dict[str, Any] = {
        name: _whole(name, value) if name == "seed" else _number(name, value)
        for name, value in changes.items()
    }
    if isinstance(model, Parameters):
        return replace(model, **values)
    short = model.removeprefix("simulated/")
    kind = short.partition("-")[0]
    if short in FAMILY:
        values.setdefault("ability", FAMILY[short])
    elif kind in STUDENTS:
        return Parameters(**STUDENT | STUDENTS[kind] | values)
    elif kind == SURFACE:
        raise ValueError(f"simulated/{short} has no parameters and no formula: it learns")
    elif kind != "custom":
        raise ValueError(
            f"model must be one of {', '.join(FAMILY)}, custom, {', '.join(STUDENTS)}, {SURFACE} "
            f"or one of the last {len(STUDENTS) + 2} with -<name> after it, got {short!r}"
        )
    elif "ability" not in values:
        raise ValueError(
            f"ability must be given for simulated/{short} (a number between 0.01 and 0.99, "
            "as in -M ability=0.7), got nothing"
        )
    return Parameters(**values)


def _check_range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:  # false for nan, too
        raise ValueError(f"{name} must be between {low:g} and {high:g}, got {value!r}")


def _number(name: str, value: Any) -> float:
    try:
        if isinstance(value, bool):
            raise TypeError
        return float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be a number, got {value!r}") from None


def _whole(name: str, value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    number = _number(name, value)
    if not number.is_integer():
        raise ValueError(f"{name} must be a whole number, got {value!r}")
    return int(number)


# ----------------------------------------------------------------------------------------------
# The formulas


def planted_accuracy(
    model: str | Parameters,
    shots: int,
    right_share: float = 1.0,
    popular_share: float = 0.0,
    *,
    options: int = 4,
    unlabelled: bool = False,
) -> float:
    """Accuracy of a stand-in model over the population of questions it knows, in closed form.

    The probability that its reply names the right option: replies without a letter count as
    wrong. All questions, those of the demonstrations and the one asked, have `options` options.

    Args:
        model: Name of a model, or its parameters.
        shots: Demonstrations in the prompt, all of them questions the model knows.
        right_share: Share of their labels that are right.
        popular_share: Share of their labels that are the question's popular error.
        options: Options per question.
        unlabelled: The demonstrations show no labels; the shares are then ignored.

    Returns:
        A fraction, exact: measured accuracy differs from it by binomial error alone.

    Raises:
        ValueError: A share outside [0, 1], a sum of shares above 1, negative shots, or options
            outside 2 to 26.

    Example:
        >>> round(planted_accuracy("small", 0), 3), round(planted_accuracy("small", 64), 3)
        (0.594, 0.725)
    """
    _check_range("shots", shots, 0, math.inf)
    _check_range("right_share", right_share, 0, 1)
    _check_range("popular_share", popular_share, 0, 1)
    _check_range("right_share + popular_share", right_share + popular_share, 0, 1 + 1e-9)
    _check_range("options", options, 2, 26)
    parameters = model_parameters(model)
    if unlabelled:
        seen = _Evidence(labelled=0, unlabelled=shots)
    else:
        seen = _shares(shots, right_share, popular_share, options)
    return _curve(parameters, seen, options).accuracy


def planted_w2s_accuracy(
    weak: str | Parameters, strong: str | Parameters, shots: int, *, options: int = 4
) -> float:
    """Expected accuracy of `strong` shown `shots` zero-shot answers of `weak`.

    `planted_accuracy` averaged over the number of right labels and of popular errors among
    `shots` questions drawn at random (a multinomial). One run with one draw of demonstrations
    differs from it by the luck of its labels: compare a single cell with `planted_accuracy` at
    the shares that its labels really have.

    Example:
        >>> round(planted_w2s_accuracy("small", "large", 64), 3)
        0.856
    """
    return _w2s(model_parameters(weak), model_parameters(strong), shots, options)


@lru_cache(maxsize=1024)
def _w2s(weak: Parameters, strong: Parameters, shots: int, options: int) -> float:
    right = _curve(weak, _Evidence(), options).right
    popular = (1 - right) * (POPULAR_RATE if options > 2 else 1.0)
    total = 0.0
    for n_right in range(shots + 1):
        for n_popular in range(shots - n_right + 1):
            n_other = shots - n_right - n_popular
            chance = (
                math.comb(shots, n_right)
                * math.comb(shots - n_right, n_popular)
                * (right**n_right * popular**n_popular * max(1 - right - popular, 0.0) ** n_other)
            )
            if chance > 0:
                share = max(shots, 1)
                seen = _shares(shots, n_right / share, n_popular / share, options)
                total += chance * _curve(strong, seen, options).accuracy
    return total


def planted_pgr(
    weak: str | Parameters,
    strong: str | Parameters,
    shots: int,
    *,
    ceiling: Literal["gold", "zero_shot"] = "gold",
    options: int = 4,
) -> float:
    """Performance gap recovered that is planted: (w2s - weak) / (ceiling - weak).

    `weak` is the weak model zero-shot, `w2s` is `planted_w2s_accuracy`, and the ceiling is the
    strong model with as many right demonstrations ("gold") or with none ("zero_shot").

    Returns:
        A fraction, not clipped; nan when there is no gap.

    Example:
        >>> round(planted_pgr("small", "large", 64), 2)
        0.81
    """
    if ceiling not in ("gold", "zero_shot"):
        raise ValueError(f"ceiling must be 'gold' or 'zero_shot', got {ceiling!r}")
    floor = planted_accuracy(weak, 0, options=options)
    top = planted_accuracy(strong, shots if ceiling == "gold" else 0, options=options)
    if top == floor:
        return math.nan
    return (planted_w2s_accuracy(weak, strong, shots, options=options) - floor) / (top - floor)


class _Evidence(NamedTuple):
    """What a model takes from the demonstrations of one prompt."""

    labelled: int = 0  # demonstrations with a label that can be read
    unlabelled: int = 0
    known: float = 1.0  # share of the labelled ones whose question it knows
    wrong: float = 0.0  # share of wrong labels among those over that expected by chance
    popular: float = 0.0  # share of popular errors among those
    excess: float = 0.0  # and what it has beyond random errors; see `_excess`
    bare: float = 0.0  # share of labels that are bare letters
    digest: str = ""
    characters: int = 0
    instructed: bool = False  # the system message asks for a letter
    reasoning: bool = False  # it asks for reasoning first
    weights: NDArray[np.float64] | None = None  # what the surface learner has learned


def _shares(shots: int, right: float, popular: float, options: int) -> _Evidence:
    """Evidence of `shots` labels with these shares of right ones and of popular errors."""
    if not shots:
        return _Evidence()
    wrong = 1 - right
    return _Evidence(
        labelled=shots,
        wrong=wrong / (1 - 1 / options),
        popular=popular,
        excess=_excess(popular, wrong / (options - 1), 1 / (options - 1)),
    )


def _excess(popular: float, by_chance: float, most_by_chance: float) -> float:
    """Popular errors beyond those that random errors bring, over the most there can be.

    Args:
        popular: Their share of the labels.
        by_chance: The share expected if as many labels were wrong at random.
        most_by_chance: The share expected if all of them were.
    """
    return (popular - by_chance) / (1 - most_by_chance) if most_by_chance < 1 else 0.0


class _Curve(NamedTuple):
    """Where one prompt puts the thresholds on the latent score."""

    plain: float  # above -plain a model without the habit of copying is right
    threshold: float  # above -threshold the model is right
    right: float  # probability of choosing the right option
    refusal: float
    prose: float

    @property
    def accuracy(self) -> float:
        """Probability that the reply names the right option."""
        return self.right * (1 - self.refusal - self.prose)


@lru_cache(maxsize=65536)
def _curve_at(
    parameters: Parameters,
    labelled: int,
    unlabelled: int,
    known: float,
    wrong: float,
    popular: float,
    excess: float,
    options: int,
) -> _Curve:
    p = parameters
    knows = (p.ability - 0.25) / 0.75
    start = min(max(knows + (1 - knows) / options, 0.01), 0.99)
    if p.cause:
        shown = labelled + (unlabelled if p.cause == "format" else 0)
        seen = 1 - math.exp(-shown / STUDENT_SCALE)
        judged = 1.0 if p.cause == "format" else known * label_quality(wrong)
        hinted = 0.0
        popular = habit(excess)
    else:
        seen = _saturation(labelled)
        quality = max(1 - 2 * wrong**2, -3.0)
        judged = known * quality + (1 - known) * UNLABELLED_SHARE
        hinted = UNLABELLED_SHARE * (_saturation(labelled + unlabelled) - seen)
    dip = p.dip * (labelled / 3) * math.exp(1 - labelled / 3)
    plain = _NORMAL.inv_cdf(start) + p.gain * (seen * judged + hinted) - dip
    copied = p.copy * seen * known * popular
    right = _NORMAL.cdf(plain) * (1 - copied)
    threshold = _NORMAL.inv_cdf(right) if copied > 0 else plain
    fading = 1 + labelled / 4
    return _Curve(plain, threshold, right, p.refusal_rate / fading, p.prose_rate / fading)


def _curve(parameters: Parameters, seen: _Evidence, options: int) -> _Curve:
    return _curve_at(
        parameters,
        seen.labelled,
        seen.unlabelled,
        seen.known,
        seen.wrong,
        seen.popular,
        seen.excess,
        options,
    )


def _saturation(shots: int) -> float:
    return 1 - math.exp(-shots / SHOTS_SCALE)


def _uniform(*key: object) -> float:
    """A number in (0, 1), the same for the same key everywhere."""
    digest = sha256("\x1f".join(map(str, key)).encode()).digest()
    # 52 bits and a half: neither 0 nor 1 after rounding
    return ((int.from_bytes(digest[:8]) >> 12) + 0.5) / 2**52


def _normal(*key: object) -> float:
    return _NORMAL.inv_cdf(_uniform(*key))


def _first_by_hash(texts: Sequence[str], *key: object) -> str:
    """One of the texts, uniformly at random, whatever their order."""
    return min(texts, key=lambda text: (_uniform(*key, text), text))


def popular_error(seed: int, question: str, wrong: Sequence[str]) -> str:
    """The wrong option that tempts all models of a world.

    Args:
        seed: The world.
        question: The question, normalised as by `normalise`.
        wrong: Its wrong options, normalised; order does not matter.
    """
    return _first_by_hash(wrong, "popular", seed, question)


# ----------------------------------------------------------------------------------------------
# What the models know


@lru_cache(maxsize=8)
def _load_knowledge(questions: str) -> dict[str, str]:
    """Normalised right option by normalised question; where one stands twice, the first counts."""
    known: dict[str, str] = {}
    try:
        loaded = load_questions(questions).questions
    except ValueError as error:
        raise ValueError(f"questions, what a simulated model knows: {error}") from None
    for q in loaded:
        known.setdefault(normalise(q.question), normalise(q.choices[q.gold]))
    return known


_QUOTES = str.maketrans("\u2018\u2019\u201c\u201d", "''\"\"")


@lru_cache(maxsize=65536)
def normalise(text: str) -> str:
    """Text as it is compared: case, width, kind of quotes and white space do not count.

    Example:
        >>> normalise("  Is it “TRUE”? ")
        'is it "true"?'
    """
    folded = unicodedata.normalize("NFKC", text).translate(_QUOTES).casefold()
    return " ".join(folded.split())


# ----------------------------------------------------------------------------------------------
# Reading a prompt


class _Block(NamedTuple):
    """One question as it stands in a prompt."""

    question: str
    options: tuple[str, ...]
    label: str | None = None  # the letter shown as its answer
    bare: bool = False  # and nothing else was shown
    start: int = 0  # in its text; the options begin at `lettered`
    lettered: int = 0
    end: int = 0


# `A) text`, `A. text`, `(A) text`, `A: text` at the start of a line
_MARKER = re.compile(r"^[ \t]*(?:\(([A-Z])\)|([A-Z])([).:]))[ \t]+(?=\S)", re.MULTILINE)
_OPTION_END = re.compile(r"[ \t]*\n(?=[ \t]*(?:\n|(?:correct )?answer\s*:))", re.IGNORECASE)
_ANSWER = re.compile(r"\s*^[ \t]*(?:correct )?answer[ \t]*:[ \t]*(.*)$", re.I | re.M)
_LAST_LINE = re.compile(r"^[ \t*]*answer[ \t]*:[ \t*]*\(?([A-Z])\b[).* \t]*$", re.I | re.M)
_LETTER = re.compile(r"\W*([A-Z])\W*", re.IGNORECASE)
_LETTER_FIRST = re.compile(r"[\s*_(\[]*([A-Z])(?:[).:\]*]|$)")
_LETTER_LATER = re.compile(r"\b(?i:answer|option)\b\W*(?:is\b)?\W*([A-Z])\b(?!')")
_LABEL_PREFIX = re.compile(r"^(?:question|q)?\s*\d*\s*[:.)]\s*", re.IGNORECASE)
_ASKS_LETTER = re.compile(r"\bletter\b", re.IGNORECASE)
_ASKS_REASONING = re.compile(r"\bstep by step\b", re.IGNORECASE)


def _parse(text: str) -> list[_Block]:
    """The questions in a text, in order."""
    markers = [(m[1] or m[2], m[3] or "(", m.start(), m.end()) for m in _MARKER.finditer(text)]
    blocks: list[_Block] = []
    end = 0
    at = 0
    while at < len(markers):
        run = _option_run(markers, at)
        if len(run) < 2:
            at += 1
            continue
        spans = [(markers[i][3], markers[j][2]) for i, j in pairwise(run)]
        last = markers[run[-1]][3]
        final = _end_of_options(text, markers, run)
        options = tuple(text[a:b].strip() for a, b in [*spans, (last, final)])
        begin = end
        question = text[begin : markers[at][2]].strip()
        if not question and blocks and blocks[-1].label is None and blocks[-1].question:
            # lettered lines inside the question were taken for its options
            begin = blocks.pop().start
            question = text[begin : markers[at][2]].strip()
        shown = _ANSWER.match(text, final)
        end = shown.end() if shown else final
        letter, bare = _read_label(shown[1], options) if shown else (None, False)
        if not bare:
            until = _next_options(text, markers, run)
            for said in _LAST_LINE.finditer(text, final, until):  # after some reasoning
                letter, end = said[1].upper(), said.end()
        blocks.append(_Block(question, options, letter, bare, begin, markers[at][2], end))
        at = run[-1] + 1
        while at < len(markers) and markers[at][2] < end:
            at += 1
    return blocks


def _next_options(
    text: str, markers: Sequence[tuple[str, str, int, int]], run: Sequence[int]
) -> int:
    """Where the next lettered list after a run of markers begins, else the end of the text."""
    for at in range(run[-1] + 1, len(markers)):
        if markers[at][1] == markers[run[0]][1] and len(_option_run(markers, at)) > 1:
            return markers[at][2]
    return len(text)


def _end_of_options(
    text: str, markers: Sequence[tuple[str, str, int, int]], run: Sequence[int]
) -> int:
    """Where the last option of a run of markers ends.

    At an empty line or an answer; but where turns were joined by single line breaks, the lines
    after the option are the next question.
    """
    last = markers[run[-1]][3]
    until = _next_options(text, markers, run)
    stop = _OPTION_END.search(text, last, until)
    final = stop.start() if stop else until
    if until < len(text) and not text[final:until].strip():
        line = text.find("\n", last, final)
        return line if line >= 0 else final
    return final


def _option_run(markers: Sequence[tuple[str, str, int, int]], at: int) -> list[int]:
    """Indices of the markers A, B, C, ... in one style from `at` on."""
    if markers[at][0] != "A":
        return []
    style = markers[at][1]
    run = [at]
    for i in range(at + 1, len(markers)):
        letter, its_style = markers[i][:2]
        if its_style != style:
            continue
        if letter == "A":
            break
        if len(run) < 26 and letter == ascii_uppercase[len(run)]:
            run.append(i)
    return run


def _read_label(text: str, options: Sequence[str]) -> tuple[str | None, bool]:
    """The letter that a shown answer names, if any, and whether it is nothing but a letter."""
    text = text.strip()
    if match := _LETTER.fullmatch(text):
        return match[1].upper(), True
    if "\n" in text and (said := _LAST_LINE.findall(text)):
        return said[-1].upper(), False
    if match := _LETTER_FIRST.match(text) or _LETTER_LATER.search(text):
        return match[1].upper(), False
    if text:
        plain = normalise(text).rstrip(".")
        for letter, option in zip(ascii_uppercase, options, strict=False):
            if plain == normalise(option).rstrip("."):
                return letter, False
    return None, False


@lru_cache(maxsize=512)
def _closing(head: str) -> _Block | None:
    """The question, with its answer if it has one, at the very end of the head of a message."""
    blocks = _parse(head)
    return blocks[-1] if blocks and blocks[-1].end == len(head) else None


def _split_message(text: str) -> tuple[str, str]:
    """Head of a message, the same for all questions of a transcript, and what follows it.

    Finds the place without reading the head again for every question; where this is not
    certain the head is empty.
    """
    body = text.rstrip()
    if body.endswith("\nAnswer:"):
        last = body.rfind("\nAnswer:", 0, len(body) - 8)
        if last >= 0:
            cut = text.index("\n", last + 1)
            closing = _closing(text[:cut])
            whole = closing and (closing.bare or not _LAST_LINE.search(text, cut))
            if closing and closing.label and whole:
                return text[:cut], text[cut:]
    cut = text.rfind("\n\n", 0, max(text.rfind("\n\nA) "), 0))
    if cut > 0 and _MARKER.match(text, text.rfind("\n", 0, cut) + 1):
        head = text[:cut]
        if _closing(head) is not None:
            return head, text[cut:]
    return "", text


def _text(message: ChatMessage) -> str:
    content = message.content
    return content if isinstance(content, str) else message.text


def _recall(question: str, knowledge: Mapping[str, str]) -> str | None:
    """Key of a question that is known, also when words of introduction stand before it."""
    text = normalise(question)
    if text in knowledge:
        return text
    for separator in (r"\n\s*\n", r"\n"):
        parts = re.split(separator, question)
        if len(parts) > 1 and re.fullmatch(r"\W*(?:options|choices)\W*", parts[-1], re.I):
            parts.pop()
        for start in range(len(parts)):
            text = normalise("\n".join(parts[start:]))
            for candidate in (text, _LABEL_PREFIX.sub("", text)):
                if candidate in knowledge:
                    return candidate
    return None


# ----------------------------------------------------------------------------------------------
# Writing a reply

_REFUSALS = (
    "Sorry, but this is not something to be answered here.",
    "Sorry, no answer can be given to this question.",
    "Unfortunately, this question cannot be answered responsibly.",
)
_PROSE = (
    "This depends on what is meant, and people have long disagreed about it.",
    "Several of these sound plausible, so it is hard to say without more context.",
    "Much has been written about this question over the years.",
)
_REASONING = (
    "Most of what is offered here repeats what people like to say. What is left fits the facts.",
    "The wording of each option was weighed against what is known. Only one of them holds up.",
    "Three things count here: what is claimed, how broadly, and on what grounds.",
    "Popular belief and evidence part ways on this. The evidence decides.",
)
_SHORT_FORMS: tuple[str, ...] = (
    "{letter})",
    "**{letter}**",
    "({letter})",
    "{letter}.",
    "The answer is {letter}.",
    "The correct answer is ({letter}).",
)
_LONG_FORMS: tuple[str, ...] = (
    "{letter}) {text}",
    "**{letter}) {text}**",
    "The correct answer is {letter}) {text}{stop}",
)
_TEXT_FORMS: tuple[str, ...] = ("{text}{stop}", "The correct answer is: {text}{stop}")


def _tokens(characters: int) -> int:
    return max(1, -(-characters // 4))


def _cut(reply: str, limit: int) -> str:
    """The first words of a reply, at most `limit` tokens; no word is cut but the first."""
    kept = reply[: 4 * limit]
    return kept if reply[len(kept) :][:1] == " " else kept.rsplit(" ", 1)[0]


def _phrase(option: int, options: Sequence[str], style: float, limit: int | None) -> str:
    """A reply in other words than the bare letter, where that is short and clear enough."""
    letter = ascii_uppercase[option]
    text = options[option].rstrip(" .")
    forms = list(_SHORT_FORMS)
    letters = ascii_uppercase[: len(options)]
    # an article or a vitamin may look like a second answer
    if "\n" not in text and not re.search(rf"\b[{letters}]\b", text):
        forms += _LONG_FORMS
        plain = normalise(text)
        others = [normalise(o) for i, o in enumerate(options) if i != option]
        if len(plain) >= 4 and not any(plain in o or o.rstrip(".") in plain for o in others):
            forms += _TEXT_FORMS
    reply = forms[int(style * len(forms))].format(
        letter=letter, text=text, stop="" if text.endswith(("?", "!")) else "."
    )
    return letter if limit is not None and _tokens(len(reply)) > limit else reply


class _Choice(NamedTuple):
    """What a model chose, before it is put into words."""

    option: int
    runner_up: int
    confidence: float
    unread: Literal["", "refusal", "prose"]
    guess: bool = False
    probabilities: tuple[float, ...] = ()  # of all options, where a model has them


def _letter_logprobs(
    choice: _Choice, n_options: int, reply: str, top_logprobs: int | None
) -> Logprobs:
    """Probabilities of the letters, as the one token that matters.

    The chosen letter has the model's confidence (above 1/2 for a known question, just above
    1/n for a guess), the runner-up 0.7 of the rest, the others equal shares of what remains; a
    guess leaves all others alike. When the reply names no letter its first word is the token,
    with 0.9, and the letters share the other tenth.
    """
    probabilities = _letter_probabilities(choice, n_options)
    tokens = {
        ascii_uppercase[i]: probability * (0.1 if choice.unread else 1.0)
        for i, probability in enumerate(probabilities)
    }
    token = ascii_uppercase[choice.option]
    if choice.unread:
        token = reply.split()[0] if reply else ""
        tokens[token] = 0.9
    ranked = sorted(tokens.items(), key=lambda item: (-item[1], item[0]))
    top = [
        TopLogprob(token=t, logprob=math.log(p), bytes=list(t.encode()))
        for t, p in ranked[: top_logprobs or 0]
    ]
    return Logprobs(
        content=[
            Logprob(
                token=token,
                logprob=math.log(tokens[token]),
                bytes=list(token.encode()),
                top_logprobs=top or None,
            )
        ]
    )


def _letter_probabilities(choice: _Choice, n_options: int) -> list[float]:
    if choice.probabilities:
        return list(choice.probabilities)
    rest = 1 - choice.confidence
    second = rest if n_options == 2 else rest / (n_options - 1) if choice.guess else 0.7 * rest
    others = (rest - second) / max(n_options - 2, 1)
    values = [others] * n_options
    values[choice.runner_up] = second
    values[choice.option] = choice.confidence
    return values


# ----------------------------------------------------------------------------------------------
# The provider


class SimulatedAPI(ModelAPI):
    """A model that is a formula: simulated models say nothing about language models.

    It reads the prompt and nothing else. The question is the last lettered question in the last
    user message; the demonstrations are the lettered questions before it, in the system message,
    in user messages (labelled by the assistant message that follows, if any) or in the same
    message (labelled by an `Answer:` line). Of a label with reasoning its last line counts,
    `ANSWER: B`. A question is recognised by its text and its right option by the option's text,
    so order and number of distractors are free; where the options stand alone it is not known.

    **Right or wrong.** Model m answers question q of n options in prompt p from a latent score

        t = sqrt(0.80) c_q + sqrt(0.15) e_mq + sqrt(0.05) e_mqp

    of three standard normals, made by hashing their indices and the seed. c_q is the question's
    easiness, shared by all models: errors overlap. Only the last part changes from prompt to
    prompt: the arms of one model agree on most questions. m is the model's name: two names with
    equal parameters are two draws from one distribution. The model chooses the right option if
    and only if t > -z, so with probability Phi(z), exactly.

        z(k) = z_0 + gain g(k) Q - dip d(k)        g(k) = 1 - exp(-k / 14)
        z_0  = Phi^-1(s + (1 - s) / n)             s = (ability - 1/4) / (3/4)
        d(k) = (k / 3) exp(1 - k / 3)              Q = max(1 - 2 w^2, -3)

    k counts the labelled demonstrations. w is the share of wrong labels among the
    demonstrations whose question the model knows, divided by the share expected by chance (the
    mean of 1 - 1/n): Q is 1 when all labels are right, 0.43 when 60% of four-choice labels are,
    -1 when they are at chance. A label that is no option is wrong. Demonstrations without a
    label add gain * 0.2 * (g(all) - g(k)): a part of the format's worth only. When the model
    knows only a part of the labelled questions, the others count in Q with 0.2.

    **Which error.** Every question has a popular error, one wrong option drawn by hash for all
    models. A model that is wrong chooses it with probability 0.7, else another wrong option.

    **Copied habits.** h is the share of popular errors among the labels. A share

        copy g(k) h

    of the questions the model would get right, those nearest to its limit, is answered with
    the popular error instead. The hard questions are thus lost where weaker models err, too:

        P(right option) = Phi(z(k)) (1 - copy g(k) h)

    **Unread replies.** A refusal, or prose that names no option, comes with probability
    (refusal_rate + prose_rate) / (1 + k / 4), independently of the rest, and counts as wrong:

        accuracy = P(right option) (1 - (refusal_rate + prose_rate) / (1 + k / 4))

    `planted_accuracy` computes this, `planted_w2s_accuracy` and `planted_pgr` what follows for
    weak labels. A question it does not know, or whose right option is not offered, it answers
    by a uniform guess that no demonstration moves.

    **Students** have one planted cause of a gain each; `-<anything>` may follow their names.
    `learner`, `format` and `copier` answer as above, with ability 0.75, dip 0, no unread
    replies, and by default

        learner  gain 0.5,  copy 0      learns the task from labels that are better than chance
        format   gain 0.37, copy 0      gains from any demonstrations, whatever their labels
        copier   gain 1.2,  copy 0.16   learns, and takes over its teacher's errors

    they are steadier, sqrt(0.1975) e_mq + sqrt(0.0025) e_mqp, so that arms which should be equal
    are seen to be; and in the formulas g, Q and h are others:

        g(k) = 1 - exp(-k / 4)
        Q = clip((0.88 - w) / (0.88 - 0.80), 0, 1)     learner, copier
        Q = 1                                          format; k counts unlabelled ones, too
        h = clip((x - 0.07) / (0.11 - 0.07), 0, 1)

    Of four options, Q is 1 from 40% right labels on and 0 up to 34%. x is the share of popular
    errors among the labels less that of as many random errors, over its greatest value: for
    four options (p - (1 - r) / 3) / (1 - 1/3) with the shares p of popular errors and r of right
    labels. Labels that cannot be judged, or are not there, teach `learner` and `copier` nothing.

    `surface` is no formula but learns: see `students.fit_surface`. It sees the options alone,
    twenty features of their looks; a conditional logit, pulled towards a weak prior, is fitted
    to the labels in the prompt, once per prefix, and it answers with the likeliest option, of
    equals by a hash of the text. It needs no `questions` and its letters' log-probabilities are
    those of the logit. Of `Parameters` it takes the seed alone, for injected failures; all
    names give the same answers.

    **Words.** A bare letter in 70% of zero-shot replies (90% when the system message asks for a
    letter or the prompt ends in `Answer:`), tending to all with bare-letter demonstrations; else
    `B)`, `**B**`, `The correct answer is B) ...` or the option's text, where that cannot be
    misread and fits into `max_tokens`. Below 8 tokens always the bare letter. An unread reply
    is cut at `max_tokens`. When the system message says "step by step", two made-up sentences
    and a last line `ANSWER: B`, or as much of that line as `max_tokens` leaves room for.

    **Log-probabilities**, when `logprobs` is set: one token, the letter (for an unread reply
    its first word), and the letters under `top_logprobs`. The chosen letter has Phi(|t + z|),
    at least 1/2, so the choice is always the likeliest; the runner-up (the right option after
    an error, else the popular error) 0.7 of the rest. A guess has 1.2 / (n + 0.2). These are
    confidences that order the model's answers well, not calibrated probabilities.

    **Determinism.** The reply depends on the parameters, the seed, the model's name and the
    prompt; temperature, `seed` of the call and repetition change nothing, and `num_choices`
    gives copies. Transcript and chat style of the same demonstrations give the same choice.

    Parameters, as `-M name=value`: those of `Parameters` (ability, gain, dip, copy,
    refusal_rate, prose_rate, seed; of `surface` seed), and

        questions        file of what it knows: question, choices, label (0-based); .jsonl,
                         .json or .csv; default: the bundled misconceptions
        latency          seconds per call, default 0
        fail_rate        share of attempts that fail with status 500, default 0
        rate_limit_rate  share of attempts that fail with status 429, default 0
        retry_delay      seconds that Inspect waits before it retries them, default 0.05

    An attempt fails by a hash of seed, model, prompt and the number of failures that this
    prompt has just met, and Inspect retries both kinds, so the answers stay the same.

    Usage counts a token per four characters of the prompt.
    """

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig = GenerateConfig(),  # noqa: B008
        **model_args: Any,
    ) -> None:
        """Make a stand-in model; see the class for `model_args`.

        Raises:
            ValueError: Unknown model or argument, a value out of range, no such question file.
        """
        super().__init__(model_name, base_url, api_key, [], config)
        settings = dict(model_args)
        self.questions = str(settings.pop("questions", None) or DEFAULT_QUESTIONS)
        self.latency = _number("latency", settings.pop("latency", 0.0))
        self.fail_rate = _number("fail_rate", settings.pop("fail_rate", 0.0))
        self.rate_limit_rate = _number("rate_limit_rate", settings.pop("rate_limit_rate", 0.0))
        self.retry_delay = _number("retry_delay", settings.pop("retry_delay", 0.05))
        _check_range("latency", self.latency, 0, 3600)
        _check_range("fail_rate", self.fail_rate, 0, 1)
        _check_range("rate_limit_rate", self.rate_limit_rate, 0, 1)
        _check_range("fail_rate + rate_limit_rate", self.fail_rate + self.rate_limit_rate, 0, 1)
        _check_range("retry_delay", self.retry_delay, 0, 3600)
        self.identity = model_name.removeprefix("simulated/")
        self.surface = self.identity.partition("-")[0] == SURFACE
        names = ["seed"] if self.surface else list(_SETTABLE)
        own = ["questions", "latency", "fail_rate", "rate_limit_rate", "retry_delay"]
        for name in settings:
            if name not in names:
                raise ValueError(
                    f"model argument must be one of {', '.join(names + own)}, got {name!r}"
                )
        formula = "custom" if self.surface else model_name  # of a surface learner only the seed
        self.parameters = model_parameters(
            formula, **({"ability": 0.5} if self.surface else {}), **settings
        )
        self._knowledge = _load_knowledge(self.questions)
        self._evidence: OrderedDict[tuple[str, ...], _Evidence] = OrderedDict()
        self._failures: dict[tuple[str, str], int] = {}

    def max_connections(self) -> int:
        """Calls at a time: there is no server to spare."""
        return 200

    def should_retry(self, ex: Exception) -> bool | RetryDecision:
        """Retry injected failures, as Inspect does those of servers."""
        if isinstance(ex, SimulatedError):
            if ex.status_code == 429:
                return RetryDecision.rate_limit(retry_after=self.retry_delay)
            return RetryDecision.transient()
        return RetryDecision.no()

    def retry_wait(self) -> WaitBaseT | None:
        """Wait `retry_delay`, not the seconds and minutes that a server deserves."""
        return wait_fixed(self.retry_delay)

    async def count_text_tokens(self, text: str) -> int:
        """A token per four characters; Inspect's own count would fetch a tokenizer."""
        return _tokens(len(text))

    async def generate(
        self,
        input: list[ChatMessage],
        tools: list[ToolInfo],
        tool_choice: ToolChoice,
        config: GenerateConfig,
    ) -> ModelOutput:
        """Answer the last question of the prompt; see the class for how."""
        started = time.perf_counter()
        if self.latency:
            await anyio.sleep(self.latency)
        seen, tail, asked = self._read_prompt(input)
        if self.fail_rate or self.rate_limit_rate:
            self._maybe_fail(seen, tail)
        logprobs: Logprobs | None = None
        stop: StopReason = "stop"
        limit = config.max_tokens
        if asked is None:
            reply = "Could you tell me the question and the options to choose from?"
        else:
            choice = self._choose(asked, seen)
            reply = self._reply(choice, asked, tail, seen, limit)
            if config.logprobs:
                logprobs = _letter_logprobs(choice, len(asked.options), reply, config.top_logprobs)
        if limit is not None and _tokens(len(reply)) > limit:
            reply, stop = _cut(reply, limit), "max_tokens"
        tokens_in = _tokens(seen.characters + len(tail))
        count = config.num_choices or 1
        tokens_out = count * _tokens(len(reply))
        return ModelOutput(
            model=self.model_name,
            choices=[
                ChatCompletionChoice(
                    message=ChatMessageAssistant(
                        content=reply, model=self.model_name, source="generate"
                    ),
                    stop_reason=stop,
                    logprobs=logprobs,
                )
                for _ in range(count)
            ],
            usage=ModelUsage(
                input_tokens=tokens_in,
                output_tokens=tokens_out,
                total_tokens=tokens_in + tokens_out,
            ),
            time=time.perf_counter() - started,
            metadata={"banner": SIMULATED_BANNER},
        )

    def _read_prompt(self, messages: Sequence[ChatMessage]) -> tuple[_Evidence, str, _Block | None]:
        """Evidence of the demonstrations, the text after them, and the question in it.

        The evidence is made once per prefix and kept: all questions of a cell share it.
        """
        last = len(messages) - 1
        while last >= 0 and messages[last].role != "user":
            last -= 1
        if last < 0:
            return _Evidence(), "", None
        head, tail = _split_message(_text(messages[last]))
        blocks = self._questions(tail)
        closing = _closing(head)
        if closing and not closing.label and blocks and self._know(blocks[-1])[1] is None:
            # lettered lines in the question may have been taken for another question
            head, tail = "", _text(messages[last])
            blocks = self._questions(tail)
        if len(blocks) > 1:
            cut = blocks[-2].end
            head, tail = head + tail[:cut], tail[cut:]
        key = [head]
        for message in messages[:last]:
            key.append(message.role)
            key.append(_text(message))
        prefix = tuple(key)
        seen = self._evidence.get(prefix)
        if seen is None:
            seen = self._evidence[prefix] = self._judge(prefix)
            if len(self._evidence) > 256:
                self._evidence.popitem(last=False)
        else:
            self._evidence.move_to_end(prefix)
        return seen, tail, blocks[-1] if blocks else None

    def _questions(self, text: str) -> list[_Block]:
        """The questions in a text; one that the model knows may hold lettered lines itself."""
        blocks: list[_Block] = []
        for block in _parse(text):
            if blocks and blocks[-1].label is None:
                start = blocks[-1].start
                whole = text[start : block.lettered].strip()
                if normalise(whole) in self._knowledge:
                    blocks[-1] = block._replace(question=whole, start=start)
                    continue
            blocks.append(block)
        return blocks

    def _judge(self, prefix: tuple[str, ...]) -> _Evidence:
        """What the demonstrations say, as this model can tell."""
        roles, texts = prefix[1::2], prefix[2::2]
        blocks: list[_Block] = []
        instructed = reasoning = False
        for i, (role, text) in enumerate(zip(roles, texts, strict=True)):
            if role == "system":
                instructed = instructed or bool(_ASKS_LETTER.search(text))
                reasoning = reasoning or bool(_ASKS_REASONING.search(text))
            if role not in ("system", "user"):
                continue
            found = self._questions(text)
            if role == "user" and found and i + 1 < len(roles) and roles[i + 1] == "assistant":
                letter, bare = _read_label(texts[i + 1], found[-1].options)
                found[-1] = found[-1]._replace(label=letter, bare=bare)
            blocks += found
        blocks += self._questions(prefix[0])
        labelled = [block for block in blocks if block.label is not None]
        n_known = n_wrong = n_popular = 0
        by_chance = popular_by_chance = most_by_chance = 0.0
        canon = []  # style, spacing and introductions leave no trace in this
        for block in blocks:
            question, right, options = self._know(block)
            canon.append((question, options, block.label))
            if right is None or block.label is None:
                continue
            at = ascii_uppercase.index(block.label)
            shown = options[at] if at < len(options) else ""
            n_known += 1
            n_wrong += shown != right
            by_chance += 1 - 1 / len(options)
            wrong = [option for option in options if option != right]
            n_popular += shown == popular_error(self.parameters.seed, question, wrong)
            popular_by_chance += (shown != right) / len(wrong)
            most_by_chance += 1 / len(wrong)
        return _Evidence(
            labelled=len(labelled),
            unlabelled=len(blocks) - len(labelled),
            known=n_known / len(labelled) if labelled else 1.0,
            wrong=n_wrong / by_chance if n_known else 0.0,
            popular=n_popular / n_known if n_known else 0.0,
            excess=_excess(
                n_popular / n_known, popular_by_chance / n_known, most_by_chance / n_known
            )
            if n_known
            else 0.0,
            bare=sum(block.bare for block in labelled) / len(labelled) if labelled else 0.0,
            digest=sha256(json.dumps(canon).encode()).hexdigest() if canon else "",
            characters=len(prefix[0]) + sum(map(len, texts)),
            instructed=instructed,
            reasoning=reasoning,
            weights=self._learn(labelled) if self.surface else None,
        )

    def _learn(self, labelled: Sequence[_Block]) -> NDArray[np.float64]:
        """Weights of the surface learner after these demonstrations."""
        shown = [(b.options, ascii_uppercase.index(b.label or "A")) for b in labelled]
        shown = [(options, at) for options, at in shown if at < len(options)]
        return fit_surface([options for options, _ in shown], [at for _, at in shown])

    def _know(self, block: _Block) -> tuple[str, str | None, list[str]]:
        """Question as it is known, its right option (None: a guess) and the options."""
        options = [normalise(option) for option in block.options]
        question = _recall(block.question, self._knowledge)
        if question is None:
            return normalise(block.question) or "\n".join(sorted(options)), None, options
        right = self._knowledge[question]
        return question, right if options.count(right) == 1 else None, options

    def _choose(self, asked: _Block, seen: _Evidence) -> _Choice:
        """The option a model takes, and how sure it is."""
        if seen.weights is not None:
            chances = surface_probabilities(seen.weights, asked.options).tolist()
            first, second = surface_ranking(seen.weights, asked.options)[:2]
            return _Choice(first, second, chances[first], "", probabilities=tuple(chances))
        seed, name = self.parameters.seed, self.identity
        question, right, options = self._know(asked)
        curve = _curve(self.parameters, seen, len(options))
        draw = _uniform("unread", seed, name, question)
        unread: Literal["", "refusal", "prose"] = ""
        if draw < curve.refusal:
            unread = "refusal"
        elif draw > 1 - curve.prose:
            unread = "prose"
        if right is None:
            guess = options.index(_first_by_hash(options, "guess", seed, name, question))
            n = len(options)
            return _Choice(guess, (guess + 1) % n, 1.2 / (n + 0.2), unread, guess=True)
        wrong = [option for option in options if option != right]
        popular = popular_error(seed, question, wrong)
        fresh = STUDENT_FRESH if self.parameters.cause else FRESH
        latent = (
            math.sqrt(SHARED) * _normal("question", seed, question)
            + math.sqrt(OWN + (FRESH - fresh)) * _normal("model", seed, name, question)
            + math.sqrt(fresh) * _normal("prompt", seed, name, question, seen.digest)
        )
        sure = min(max(_NORMAL.cdf(abs(latent + curve.threshold)), 0.5 + 1e-6), 1 - 1e-6)
        if latent > -curve.threshold:
            return _Choice(options.index(right), options.index(popular), sure, unread)
        error = popular
        copied = latent > -curve.plain
        others = [option for option in wrong if option != popular]
        if others and not copied and _uniform("error", seed, name, question) >= POPULAR_RATE:
            error = _first_by_hash(others, "other", seed, name, question)
        return _Choice(options.index(error), options.index(right), sure, unread)

    def _reply(
        self, choice: _Choice, asked: _Block, tail: str, seen: _Evidence, limit: int | None
    ) -> str:
        """The choice in words."""
        about = normalise(asked.question) or "\n".join(sorted(map(normalise, asked.options)))
        key = (self.parameters.seed, self.identity, about, seen.digest)
        style = _uniform("style", *key)
        if choice.unread:
            texts = _REFUSALS if choice.unread == "refusal" else _PROSE
            return texts[int(style * len(texts))]
        if seen.reasoning:
            answer = f"ANSWER: {ascii_uppercase[choice.option]}"
            reply = f"{_REASONING[int(style * len(_REASONING))]}\n\n{answer}"
            forms = (reply, answer, ascii_uppercase[choice.option])
            return next(f for f in forms if limit is None or _tokens(len(f)) <= max(limit, 1))
        cued = seen.instructed or tail.rstrip().endswith("Answer:")
        start = 0.9 if cued else 0.7
        bare = 1 - (1 - start) * math.exp(-seen.labelled * seen.bare / 4)
        short = limit is not None and limit < MIN_TEXT_TOKENS
        if short or _uniform("bare", *key) < bare:
            return ascii_uppercase[choice.option]
        return _phrase(choice.option, asked.options, style, limit)

    def _maybe_fail(self, seen: _Evidence, tail: str) -> None:
        prompt = (seen.digest, tail)
        attempt = self._failures.get(prompt, 0)
        draw = _uniform("failure", self.parameters.seed, self.identity, *prompt, attempt)
        if draw < self.rate_limit_rate + self.fail_rate:
            self._failures[prompt] = attempt + 1
            raise SimulatedError(429 if draw < self.rate_limit_rate else 500, attempt)
        self._failures.pop(prompt, None)


@modelapi(name="simulated")
def simulated() -> Callable[..., ModelAPI]:
    """Provider of the stand-in models."""
    return SimulatedAPI
