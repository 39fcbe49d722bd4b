"""Students with a planted cause of a gain, an Inspect provider: `planted/learner`, ...

Each makes one explanation of a gain true and the others false, so that a test can see whether the
analysis finds it. They read prompts as the stand-ins do, through the suite's own label sources and
prompts. `truth` says in closed form how accurate each is under each kind of labels.
"""

import math
from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any

import numpy as np
from inspect_ai.model import ModelAPI, modelapi

from w2s_icl.analysis.surface_rule import FEATURES, SurfaceRule, fit_rule
from w2s_icl.evals.standins import (
    NORMAL,
    Block,
    StandInAPI,
    known_question,
    normal,
    one_of,
    right_options,
)

DRAW_SD = 0.01  # how far a draw of demonstrations moves the accuracy of all arms that show it
UNLABELLED_WORTH = 0.3  # of demonstrations without labels to a learner; to a copier nothing
LOSS = 0.16  # accuracy that a copier loses once it has taken over its weak model's errors

# accuracy without demonstrations, and full gain
KINDS = {
    "weak": (0.60, 0.0),  # the model that writes the labels
    # gains from labels that are better than chance, as much from 60% right ones as from gold
    "learner": (0.72, 0.10),
    "nothing": (0.72, 0.0),  # a learner without a gain
    "format": (0.72, 0.10),  # gains from any demonstrations, whatever their labels
    "copier": (0.72, 0.22),  # a learner of its weak model's own kind of errors, not of random ones
    # no formula: the surface rule of the analysis, fitted to the labels in the prompt
    "surface": (math.nan, math.nan),
}

# what a verdict should say of each student, and in what share of studies it must
EXPECTED = {
    "learner": ("generalization", 0.8),
    "nothing": ("no gain", 0.0),
    "format": ("format", 0.75),
    "copier": ("imitation", 0.75),
    "surface": ("surface rule", 0.75),
}

# what the surface student believes without labels: a weak taste for long and hedged options
PRIOR = np.array([{"words": 0.2, "may": 0.4, "absolute": -0.4}.get(name, 0.0) for name in FEATURES])


def truth(kind: str, labels: str) -> float:
    """Accuracy over all questions and draws with many labels of a kind, "" for zero-shot."""
    start, gain = KINDS[kind]
    worth = 0.0 if labels in ("", "random", "flipped") else 1.0
    if kind == "format":
        worth = float(labels != "")
    elif labels == "unlabelled":
        worth = UNLABELLED_WORTH if kind != "copier" else 0.0
    return start + gain * worth - (LOSS if kind == "copier" and labels in ("weak", "self") else 0.0)


class PlantedAPI(StandInAPI):
    """A student or a weak model; arguments `seed` and `questions`."""

    variance = (0.62, 0.28, 0.10)  # as in the plan's own simulation of the verdict
    popular_rate = 0.9

    def __init__(
        self, model_name: str, base_url: Any, api_key: Any, config: Any, **args: Any
    ) -> None:
        ModelAPI.__init__(self, model_name, base_url, api_key, [], config)
        self.name = model_name.removeprefix("planted/")
        self.start, self.gain = KINDS[self.name]
        self.seed, self.questions = str(args.get("seed", 0)), str(args["questions"])
        self.known = right_options(self.questions)
        if self.name == "format":  # steadier, or arms that are equal could not be seen to be
            self.variance = (0.62, 0.36, 0.02)
        self.refusal_rate = 0.0  # unread replies fade with labels: another cause of a gain
        self.worth = cache(self._worth)

    def choose(self, asked: Block, shown: tuple[Block, ...]) -> int:
        if self.name == "surface":
            return int(_rule(shown).choose([asked.options])[0])
        return super().choose(asked, shown)

    def level(self, shown: tuple[Block, ...], n_options: int) -> float:
        return NORMAL.inv_cdf(min(max(self.start + self.worth(shown), 0.01), 0.99))

    def _worth(self, shown: tuple[Block, ...]) -> float:
        """What demonstrations add to the accuracy: by their labels, and by the luck of the draw."""
        luck = normal("draw", self.seed, [block.options for block in shown]) if shown else 0.0
        return self._taught(shown) + DRAW_SD * luck

    def _taught(self, shown: tuple[Block, ...]) -> float:
        labelled = [block for block in shown if block.label]
        if self.name == "format" and shown:
            return self.gain
        if not labelled:
            return self.gain * (UNLABELLED_WORTH if shown and self.name != "copier" else 0.0)
        wrong = chance = popular = popular_by_chance = 0.0
        for block in labelled:
            question = known_question(block, self.known)
            others = [option for option in block.options if option != self.known[question]]
            chance += 1 - 1 / len(block.options)
            if block.label != self.known[question]:
                wrong += 1
                popular += block.label == one_of(others, "popular", self.seed, question)
                popular_by_chance += 1 / len(others)
        habit = _ramp((popular - popular_by_chance) / len(labelled), 0.09, 0.13)
        loss = LOSS * habit if self.name == "copier" else 0.0
        return self.gain * _ramp(wrong / chance, 0.88, 0.80) - loss


@modelapi(name="planted")
def planted() -> Callable[..., ModelAPI]:
    return PlantedAPI


@lru_cache(maxsize=64)
def _rule(shown: tuple[Block, ...]) -> SurfaceRule:
    labelled = [block for block in shown if block.label]
    if not labelled:
        return SurfaceRule(PRIOR)
    places = [block.options.index(block.label) for block in labelled]
    fitted = fit_rule([block.options for block in labelled], places)
    return SurfaceRule(fitted.weights + PRIOR)


def _ramp(value: float, zero: float, one: float) -> float:
    return min(max((value - zero) / (one - zero), 0.0), 1.0)
