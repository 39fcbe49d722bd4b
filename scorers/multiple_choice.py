"""Scoring one reply: right, wrong, or not readable."""

import math
from collections.abc import Sequence
from functools import partial
from string import ascii_uppercase
from typing import Any, Literal

from inspect_ai import scorer as inspect_scorer
from inspect_ai.model import ModelOutput
from inspect_ai.scorer import Metric, SampleScore, Score, Scorer, Target, metric, scorer
from inspect_ai.solver import TaskState

from w2s_icl.errors import W2SError
from w2s_icl.record import READ_BY, SCORER, rotation
from w2s_icl.scorers.reading import Reading, read_reply

SCORER_VERSION = "2"  # rises when a reply could be read differently

Read = Literal["reply", "likelihood"]  # the text, or the probabilities of the first token
# providers of Inspect's that can send the most likely first tokens; a model of theirs may not
LOGPROB_PROVIDERS = (
    "google", "grok", "hf", "llama-cpp-python", "mockllm", "nnterp", "openai", "openai-api",
    "openrouter", "sglang", "vllm",
)  # fmt: skip
NO_LOGPROBS = (
    "read=likelihood needs log-probabilities, and {model} {verb}: use a model of a provider that "
    f"sends them ({', '.join(LOGPROB_PROVIDERS)}), or read=reply"
)


@metric
def readable() -> Metric:
    """Share of replies in which an answer could be read."""

    def compute(scores: list[SampleScore]) -> float:
        return sum(bool(s.score.answer) for s in scores) / len(scores) if scores else math.nan

    return compute


METRICS = [inspect_scorer.accuracy(), inspect_scorer.stderr(), readable()]


@scorer(name=SCORER, metrics=METRICS)
def multiple_choice_letter(permutations: int = 1, read: Read = "reply") -> Scorer:
    """Compare the letter that the reply gives with the right one.

    A reply without an answer has the value NOANSWER, which counts as wrong, an empty answer and a
    `reason`: Inspect's own `no_response`, `refusal` and `invalid_response_format`, `truncated`, or
    a stop reason. docs/reading.md has what stands in `Score.metadata`.

    Args:
        permutations: With n > 1, epoch e was asked with its options rotated to the left by
            (e - 1) mod n places. Answer, target and probabilities are letters of the options in
            their own order; `Score.metadata` keeps the letter that was `shown`.
        read: "reply" reads the text; "likelihood" takes the letter likeliest as first token.
    """

    async def score(state: TaskState, target: Target) -> Score:
        output, options = state.output, [choice.value for choice in state.choices]
        turn, letters = rotation(state.epoch, permutations, len(options)), ascii_uppercase
        own = dict(zip(letters, letters[turn : len(options)] + letters[:turn], strict=False))
        texts = dict(zip(letters, options, strict=False))
        metadata: dict[str, Any] = {READ_BY: SCORER_VERSION}
        # with these stop reasons some servers hand back an error text as a reply
        if output.stop_reason in ("model_length", "content_filter"):
            reading = Reading(None, output.stop_reason, output.stop_reason)
        elif read == "likelihood":
            masses = option_probabilities(output, len(options))
            total = sum(masses.values())  # of the options; `outside` is that of all other tokens
            shares = {own[letter]: p / total for letter, p in sorted(masses.items())}
            metadata |= {"option_probabilities": shares, "outside": max(0.0, 1 - total)}
            likeliest = max(masses, key=masses.__getitem__, default=None)
            reading = Reading(likeliest, "likelihood", "invalid_response_format")
        else:
            cut = output.stop_reason == "max_tokens"
            reading = read_reply(output.completion, options[turn:] + options[:turn], truncated=cut)
        metadata["read_as"] = reading.rule
        answer = own[reading.letter] if reading.letter else ""
        said = f"Not readable ({reading.rule}): {output.completion!r}"
        value, reason = inspect_scorer.NOANSWER, reading.reason
        if answer:
            said, reason = f"Answered {answer}) {texts[answer]}", None
            right = answer == target.text
            value = inspect_scorer.CORRECT if right else inspect_scorer.INCORRECT
            metadata |= {"shown": reading.letter} if permutations > 1 else {}
            metadata["option"] = texts[answer]
        said += f"\n\nGold: {target.text}) {texts[target.text]}"
        return Score(value=value, answer=answer, explanation=said, reason=reason, metadata=metadata)

    return score


# Inspect writes a scorer into the log under its bare name, and `inspect score` looks it up under
# that name, where a package's scorers are not found. A partial belongs to no package.
scorer(name=SCORER, metrics=METRICS)(partial(multiple_choice_letter))


def parse_answer(reply: str, options: Sequence[str], *, truncated: bool = False) -> str | None:
    """The letter of the option that a reply answers with; None where there is no single answer."""
    return read_reply(reply, options, truncated=truncated).letter


def refuse_without_logprobs(model: str) -> None:
    """Raise W2SError for a model whose provider is not known to send log-probabilities."""
    if model.partition("/")[0] not in LOGPROB_PROVIDERS:
        raise W2SError(NO_LOGPROBS.format(model=model, verb="is not known to send them"))


def option_probabilities(output: ModelOutput, n_options: int) -> dict[str, float]:
    """Probability of each option's letter as the first token, in any wrapping; of top ones only."""
    logprobs = output.choices[0].logprobs if output.choices else None
    if logprobs is None or not logprobs.content:
        raise W2SError(NO_LOGPROBS.format(model=output.model, verb="sent none"))
    first = logprobs.content[0]
    masses: dict[str, float] = {}
    for top in first.top_logprobs or (first,):
        # a space in a tokenizer's spelling, or a wrapping
        letter = top.token.strip(" \t\n▁ĠĊ()[]*_`\"'.:")
        # an empty token would be found in any string, so it is compared as a whole letter
        if len(letter) == 1 and letter in ascii_uppercase[:n_options]:
            masses[letter] = masses.get(letter, 0.0) + math.exp(top.logprob)
    return masses
