"""Students with a planted cause of a gain, an Inspect provider: `planted/learner`, ...

Each makes one explanation of a gain true and the others false, so that a test can see whether the
analysis finds it. They read prompts as the stand-ins do, through the suite's own label sources and
prompts. `truth` says in closed form how accurate each is under each kind of labels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache, lru_cache
from hashlib import sha256
from typing import Any

import numpy as np
from inspect_ai.model import (
    ChatMessage,
    GenerateConfig,
    ModelAPI,
    ModelOutput,
    ModelUsage,
    modelapi,
)
from inspect_ai.tool import ToolChoice, ToolInfo

from w2s_icl.analysis.surface_rule import FEATURES, SurfaceRule, fit_rule
from w2s_icl.evals.standins import (
    NORMAL,
    Block,
    known_question,
    normal,
    one_of,
    read_prompt,
    right_options,
    uniform,
)

SHARED, OWN, FRESH = 0.62, 0.28, 0.10
"""Variance of the score on a question: of all models, of one model, of one prompt (STATS.md 15)."""

DRAW_SD = 0.01
"""How far a draw of demonstrations moves the accuracy of all arms that show it."""

UNLABELLED_WORTH = 0.3
"""What demonstrations without labels are worth to a learner; to a copier nothing."""

POPULAR_RATE = 0.7
"""Share of wrong answers that are the question's popular error."""

LOSS = 0.16
"""Accuracy that a copier loses once it has taken over its weak model's errors."""

KINDS: dict[str, dict[str, float]] = {
    "weak": {"start": 0.60, "gain": 0.0},
    "learner": {"start": 0.72, "gain": 0.10},
    "nothing": {"start": 0.72, "gain": 0.0},
    "format": {"start": 0.72, "gain": 0.10},
    "copier": {"start": 0.72, "gain": 0.22},
    "surface": {"start": math.nan, "gain": math.nan},
}
"""Accuracy without demonstrations and full gain, both settable as model arguments.

weak     the model that writes the labels
learner  gains from labels that are better than chance, as much from 60% right ones as from gold
nothing  a learner without a gain
format   gains from any demonstrations, whatever their labels
copier   a learner that takes over its weak model's own kind of errors, not random ones
surface  no formula: the surface rule of the analysis, fitted to the labels in the prompt
"""

READINGS = {
    "learner": "generalization",
    "nothing": "no gain",
    "format": "format",
    "copier": "imitation",
    "surface": "surface rule",
}
"""What a verdict should say of each student."""

PRIOR = np.array([{"words": 0.2, "may": 0.4, "absolute": -0.4}.get(name, 0.0) for name in FEATURES])
"""What the surface student believes without labels: a weak taste for long and hedged options."""


def truth(kind: str, labels: str, **changes: float) -> float:
    """Accuracy over all questions and draws, in closed form.

    Args:
        kind: Of `KINDS`, not `surface`.
        labels: Kind of labels, "" for no demonstrations; many of them.
        **changes: As the model's arguments.
    """
    start, gain = (changes.get(name, KINDS[kind][name]) for name in ("start", "gain"))
    worth = 0.0 if labels in ("", "random", "flipped") else 1.0
    if kind == "format":
        worth = float(labels != "")
    elif labels == "unlabelled":
        worth = UNLABELLED_WORTH if kind != "copier" else 0.0
    return start + gain * worth - (LOSS if kind == "copier" and labels in ("weak", "self") else 0.0)


class PlantedAPI(ModelAPI):
    """A student or a weak model; arguments `start`, `gain`, `seed` and `questions`."""

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig = GenerateConfig(),  # noqa: B008
        **model_args: Any,
    ) -> None:
        super().__init__(model_name, base_url, api_key, [], config)
        self.kind = model_name.removeprefix("planted/")
        values: Mapping[str, Any] = KINDS[self.kind] | model_args
        self.start, self.gain = float(values["start"]), float(values["gain"])
        self.seed = values.get("seed", 0)
        self.questions = str(values["questions"])
        self.known = right_options(self.questions)
        self.worth = cache(self._worth)

    def max_connections(self) -> int:
        return 200

    async def generate(
        self,
        input: list[ChatMessage],
        tools: list[ToolInfo],
        tool_choice: ToolChoice,
        config: GenerateConfig,
    ) -> ModelOutput:
        prompt = read_prompt(input)
        assert prompt.asked is not None
        letter = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[self.choose(prompt.asked, prompt.shown)]
        output = ModelOutput.from_content(self.model_name, letter)
        output.usage = ModelUsage(input_tokens=1, output_tokens=1, total_tokens=2)
        return output

    def choose(self, asked: Block, shown: tuple[Block, ...]) -> int:
        """Index of the option that is taken."""
        if self.kind == "surface":
            return int(_rule(shown).choose([asked.options])[0])
        question = known_question(asked, self.known)
        right = self.known[question]
        key = (self.seed, self.kind, question)
        score = (
            math.sqrt(SHARED) * normal("question", self.seed, question)
            + math.sqrt(OWN) * normal("model", *key)
            + math.sqrt(FRESH) * normal("prompt", *key, _digest(shown))
        )
        accuracy = self.start + self.worth(shown)
        if score > -NORMAL.inv_cdf(min(max(accuracy, 0.01), 0.99)):
            return asked.options.index(right)
        wrong = [option for option in asked.options if option != right]
        error = self.popular(question, wrong)
        if len(wrong) > 1 and uniform("error", *key) > POPULAR_RATE:
            wrong.remove(error)
            error = one_of(wrong, "error", *key)
        return asked.options.index(error)

    def popular(self, question: str, wrong: Sequence[str]) -> str:
        """The wrong option that tempts all models."""
        return one_of(wrong, "popular", self.seed, question)

    def _worth(self, shown: tuple[Block, ...]) -> float:
        """What demonstrations add to the accuracy: by their labels, and by the luck of the draw."""
        luck = normal("draw", self.seed, [block.options for block in shown]) if shown else 0.0
        return self._taught(shown) + DRAW_SD * luck

    def _taught(self, shown: tuple[Block, ...]) -> float:
        labelled = [block for block in shown if block.label]
        if self.kind == "format" and shown:
            return self.gain
        if not labelled:
            return self.gain * (UNLABELLED_WORTH if shown and self.kind != "copier" else 0.0)
        wrong = chance = popular = popular_by_chance = 0.0
        for block in labelled:
            question = known_question(block, self.known)
            others = [option for option in block.options if option != self.known[question]]
            chance += 1 - 1 / len(block.options)
            if block.label != self.known[question]:
                wrong += 1
                popular += block.label == self.popular(question, others)
                popular_by_chance += 1 / len(others)
        habit = _ramp((popular - popular_by_chance) / len(labelled), 0.05, 0.075)
        loss = LOSS * habit if self.kind == "copier" else 0.0
        return self.gain * _ramp(wrong / chance, 0.88, 0.80) - loss


@modelapi(name="planted")
def planted() -> Callable[..., ModelAPI]:
    return PlantedAPI


@lru_cache(maxsize=64)
def _digest(shown: tuple[Block, ...]) -> str:
    return sha256(repr([block[1:] for block in shown]).encode()).hexdigest()


@lru_cache(maxsize=64)
def _rule(shown: tuple[Block, ...]) -> SurfaceRule:
    labelled = [block for block in shown if block.label]
    if not labelled:
        return SurfaceRule(PRIOR, 0)
    places = [block.options.index(block.label) for block in labelled]
    fitted = fit_rule([block.options for block in labelled], places)
    return SurfaceRule(fitted.weights + PRIOR, fitted.n)


def _ramp(value: float, zero: float, one: float) -> float:
    return min(max((value - zero) / (one - zero), 0.0), 1.0)
