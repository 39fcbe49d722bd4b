"""Scoring one reply: right, wrong, or not readable."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from string import ascii_uppercase
from typing import Any

from inspect_ai.model import ModelOutput
from inspect_ai.scorer import (
    CORRECT,
    INCORRECT,
    NOANSWER,
    Metric,
    SampleScore,
    Score,
    Scorer,
    Target,
    accuracy,
    metric,
    scorer,
    stderr,
)
from inspect_ai.solver import TaskState

from w2s_icl.scorers.reading import Reading, parse_answer, read_reply

__all__ = ["SCORER_VERSION", "multiple_choice_letter", "parse_answer", "readable"]

SCORER_VERSION = "1"
"""Rises when a reply could be read differently."""

NO_ANSWER_STOPS = ("model_length", "content_filter")
"""Stop reasons of replies that are no answer: some servers hand back an error text as a reply."""


@metric
def readable() -> Metric:
    """Share of replies in which an answer could be read."""

    def compute(scores: list[SampleScore]) -> float:
        if not scores:
            return math.nan
        return sum(bool(s.score.answer) for s in scores) / len(scores)

    return compute


METRICS = [accuracy(), stderr(), readable()]


@scorer(name="letter", metrics=METRICS)
def multiple_choice_letter(permutations: int = 1) -> Scorer:
    """Compare the letter that the reply gives with the right one.

    A reply that cannot be read has the value NOANSWER, which counts as wrong, an empty answer and a
    `reason`: Inspect's own `no_response`, `refusal` and `invalid_response_format`, or the stop
    reason where the reply is no answer at all. `Score.metadata` says how the reply was read
    (`read_as`), the text of the option (`option`), and the options' probabilities
    (`option_probabilities`) where the provider sent log-probabilities.

    Args:
        permutations: With n > 1, epoch e was asked with its options rotated to the left by
            (e - 1) mod n places. Answer, target and probabilities are letters of the options in
            their own order all the same; `Score.metadata` keeps the letter that was `shown`.
    """

    async def score(state: TaskState, target: Target) -> Score:
        options = [choice.value for choice in state.choices]
        turn = (state.epoch - 1) % permutations % max(len(options), 1)
        letters = ascii_uppercase[: len(options)]
        own = dict(zip(letters, letters[turn:] + letters[:turn], strict=True))
        reading, reason = _read(state.output, [*options[turn:], *options[:turn]])
        gold = f"Gold: {_option(target.text, options)}"
        metadata: dict[str, Any] = {"read_as": reading.how}
        probabilities = option_probabilities(state.output, len(options))
        if probabilities:
            metadata["option_probabilities"] = {own[k]: p for k, p in probabilities.items()}
        if reading.letter is not None and permutations > 1:
            metadata["shown"] = reading.letter
            reading = replace(reading, letter=own[reading.letter])
        if reading.letter is None:
            return Score(
                value=NOANSWER,
                answer="",
                explanation=f"Not readable ({reading.how}): {state.output.completion!r}\n\n{gold}",
                reason=reason,
                metadata=metadata,
            )
        answered = _option(reading.letter, options)
        return Score(
            value=CORRECT if reading.letter == target.text else INCORRECT,
            answer=reading.letter,
            explanation=f"Answered {answered}\n\n{gold}",
            metadata={**metadata, "option": options[ascii_uppercase.index(reading.letter)]},
        )

    return score


# Inspect writes a scorer into the log under its bare name, and `inspect score` looks it up under
# that name, where a package's scorers are not found. A partial belongs to no package.
scorer(name="letter", metrics=METRICS)(partial(multiple_choice_letter))


def option_probabilities(output: ModelOutput, n_options: int) -> dict[str, float] | None:
    """Probability of each option's letter as the first token of the reply.

    Args:
        output: The model's output.
        n_options: Options of the question.

    Returns:
        Sums over tokens that are the letter but for white space and case of brackets, by letter; a
        letter that is not among the top tokens is absent. None where no log-probabilities came.
    """
    logprobs = output.choices[0].logprobs if output.choices else None
    if logprobs is None or not logprobs.content:
        return None
    first = logprobs.content[0]
    found: dict[str, float] = {}
    tokens = [(top.token, top.logprob) for top in first.top_logprobs or ()]
    for token, logprob in tokens or [(first.token, first.logprob)]:
        letter = token.strip().strip("()*.:")
        # an empty token would be found in any string, so it is compared as a whole letter
        if len(letter) == 1 and letter in ascii_uppercase[:n_options]:
            found[letter] = found.get(letter, 0.0) + math.exp(logprob)
    return found or None


def _read(output: ModelOutput, options: Sequence[str]) -> tuple[Reading, str | None]:
    """How the reply reads, and the reason where it does not."""
    if output.stop_reason in NO_ANSWER_STOPS:
        return Reading(None, output.stop_reason), output.stop_reason
    reading = read_reply(output.completion, options)
    if reading.letter is not None:
        return reading, None
    reasons = {"empty": "no_response", "refusal": "refusal"}
    return reading, reasons.get(reading.how, "invalid_response_format")


def _option(letter: str, options: Sequence[str]) -> str:
    return f"{letter}) {options[ascii_uppercase.index(letter)]}"
