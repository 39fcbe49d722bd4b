"""Students with a planted cause: what labels do to them, and the surface learner.

Each makes one explanation of a gain true and the others false, so that tests can see whether an
analysis finds the right one. They are stand-ins: their numbers say nothing about language models.
`simulated.SimulatedAPI` says what each does; here is what is theirs alone.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

STUDENTS: dict[str, dict[str, Any]] = {
    "learner": {"cause": "labels", "gain": 0.5},
    "format": {"cause": "format", "gain": 0.37},
    "copier": {"cause": "labels", "gain": 1.2, "copy": 0.16},
}
"""Parameters of the students that are formulas, beside those of `STUDENT`."""

STUDENT: dict[str, Any] = {
    "ability": 0.75,
    "dip": 0.0,
    "copy": 0.0,
    "refusal_rate": 0.0,  # unread replies fade with labels: another cause of a gain
    "prose_rate": 0.0,
}

SURFACE = "surface"
"""The student that is no formula."""

STUDENT_SCALE = 4.0
"""Demonstrations after which a student has 63% of their effect; at 16 it has 98%."""

STUDENT_FRESH = 0.0025
"""Part of the variance of a student's latent score that changes from prompt to prompt."""

FULL_QUALITY, NO_QUALITY = 0.80, 0.88
"""Share of wrong labels, over that expected by chance, up to which labels teach a learner all, and
from which on they teach nothing: of four options, 40% and 34% of the labels right."""

HABIT_FLOOR, HABIT_FULL = 0.07, 0.11
"""Excess of popular errors from which on a copier takes them over, and at which it does so in full.
The labels of a teacher of 0.55 have 0.25 on average; random errors have 0."""


def label_quality(wrong: float) -> float:
    """What labels are worth to a learner: 1, or less near chance, or 0.

    Args:
        wrong: Share of wrong labels, divided by the share expected by chance.

    Example:
        >>> [label_quality((1 - right) / 0.75) for right in (1.0, 0.55, 0.3, 0.0)]
        [1.0, 1.0, 0.0, 0.0]
    """
    return _ramp(wrong, NO_QUALITY, FULL_QUALITY)


def habit(excess: float) -> float:
    """How far a copier takes over its teacher's errors, from 0 to 1.

    Args:
        excess: Share of popular errors among the labels beyond what random errors would bring,
            divided by its value were all labels popular errors.
    """
    return _ramp(excess, HABIT_FLOOR, HABIT_FULL)


def _ramp(value: float, zero: float, one: float) -> float:
    return min(max((value - zero) / (one - zero), 0.0), 1.0)


# ----------------------------------------------------------------------------------------------
# The surface learner

RIDGE = 4.0
"""Strength of the pull towards the prior."""

_FAINT = 0.4
"""Scale of the features that are thought to matter less: the ridge then holds them back."""

FEATURES: dict[str, tuple[float, float]] = {
    # name: scale, prior weight
    "length": (1.0, 0.2),
    "longest": (_FAINT, 0.0),
    "word length": (_FAINT / 2, 0.0),
    "negations": (1.0, 0.0),
    "hedges": (1.0, 0.4),
    "absolutes": (1.0, -0.4),
    "links": (_FAINT, 0.0),
    "people": (_FAINT, 0.0),
    "being": (_FAINT, 0.0),
    "digits": (_FAINT, 0.0),
    "commas": (_FAINT, 0.0),
    "opens with no": (_FAINT, 0.0),
    "opens with yes": (_FAINT, 0.0),
    "opens with I": (_FAINT, 0.0),
    "opens with nothing": (1.0, 0.0),
    "opens as others do": (1.0, 0.0),
    "own words": (2.0, 0.0),
    "likeness of words": (2.0, 0.0),
    "likeness to nearest": (2.0, 0.0),
    "likeness of letters": (2.0, 0.0),
}
"""What the surface learner sees of an option, beside the other options of its question. Scales put
the features on one footing. The prior is a weak taste for long and hedged options."""

_SCALES = np.array([scale for scale, _ in FEATURES.values()])
PRIOR = np.array([weight for _, weight in FEATURES.values()])


def _listed(words: str) -> frozenset[str]:
    return frozenset(words.split())


_NEGATIONS = _listed(
    "no not none nothing never nobody nowhere neither nor cannot without isn't aren't don't "
    "doesn't didn't can't won't wasn't weren't wouldn't couldn't shouldn't hasn't haven't"
)
_HEDGES = _listed(
    "may might could can possibly perhaps probably likely sometimes often usually generally "
    "typically depends depending varies vary some many most about around roughly unclear unknown "
    "uncertain certain necessarily particular specific"
)
_ABSOLUTES = _listed(
    "all always any anyone every everyone everything entirely completely only must definitely "
    "certainly will whole"
)
_LINKS = _listed("but because although however so since if unless when while")
_PEOPLE = _listed("you your they them their he she his her we our people person")
_BEING = _listed("is are was were has have had")
_NOTHINGS = _listed("nothing nobody none there")
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")


@lru_cache(maxsize=65536)
def option_features(options: tuple[str, ...]) -> NDArray[np.float64]:
    """What the surface learner sees of the options of one question.

    Args:
        options: Option texts, at least two.

    Returns:
        Shape (options, `FEATURES`), of mean 0 over the options; row i belongs to option i.
    """
    words = [_WORD.findall(o.casefold().replace("\u2019", "'")) for o in options]
    sets = [frozenset(w) for w in words]
    grams = [_grams(w) for w in words]
    longest = max(map(len, words))
    rows = []
    for i, (text, mine) in enumerate(zip(options, words, strict=True)):
        others = [j for j in range(len(options)) if j != i]
        first = mine[0] if mine else ""
        alike = [_likeness(sets[i], sets[j]) for j in others]
        elsewhere = frozenset().union(*(sets[j] for j in others))
        size = max(len(mine), 1)
        rows.append(
            [
                math.log1p(len(mine)),
                len(mine) == longest,
                sum(map(len, mine)) / size,
                *(
                    min(sum(word in listed for word in mine), 2)
                    for listed in (_NEGATIONS, _HEDGES, _ABSOLUTES, _LINKS, _PEOPLE, _BEING)
                ),
                any(c.isdigit() for c in text),
                min(text.count(","), 2),
                first == "no",
                first == "yes",
                first == "i",
                first in _NOTHINGS,
                sum(words[j][:1] == mine[:1] for j in others) / len(others),
                len(sets[i] - elsewhere) / size,
                sum(alike) / len(others),
                max(alike),
                sum(_likeness(grams[i], grams[j]) for j in others) / len(others),
            ]
        )
    seen: NDArray[np.float64] = np.array(rows, dtype=np.float64) * _SCALES
    seen -= seen.mean(axis=0)
    seen.flags.writeable = False
    return seen


def _grams(words: Sequence[str]) -> frozenset[str]:
    text = f" {' '.join(words)} "
    return frozenset(text[i : i + 3] for i in range(len(text) - 2))


def _likeness(a: frozenset[str], b: frozenset[str]) -> float:
    return len(a & b) / max(len(a | b), 1)


def fit_surface(questions: Sequence[tuple[str, ...]], labels: Sequence[int]) -> NDArray[np.float64]:
    """Weights of a conditional logit on the options of labelled questions, by Newton's method.

    Maximises the log-likelihood of the labels minus `RIDGE` / 2 times the squared distance of the
    weights from `PRIOR`. Without questions these are the prior's.

    Args:
        questions: The options of each.
        labels: Index of the option that is shown as right, for each.
    """
    weights = PRIOR.copy()
    if not questions:
        return weights
    sizes = [len(options) for options in questions]
    seen = np.zeros((len(sizes), max(sizes), len(PRIOR)))
    there = np.zeros(seen.shape[:2], dtype=bool)
    for i, options in enumerate(questions):
        seen[i, : sizes[i]] = option_features(options)
        there[i, : sizes[i]] = True
    shown = seen[np.arange(len(sizes)), list(labels)].sum(axis=0)
    flat = seen.reshape(-1, len(PRIOR))
    for _ in range(50):  # strictly concave: 5 to 8 steps are enough
        scores = np.where(there, seen @ weights, -np.inf)
        chance = np.exp(scores - scores.max(axis=1, keepdims=True))
        chance /= chance.sum(axis=1, keepdims=True)
        mean = np.einsum("qk,qkf->qf", chance, seen)
        slope = shown - mean.sum(axis=0) - RIDGE * (weights - PRIOR)
        curvature = flat.T @ (flat * chance.reshape(-1, 1)) - mean.T @ mean
        step = np.linalg.solve(curvature + RIDGE * np.eye(len(PRIOR)), slope)
        weights += step
        if np.abs(step).max() < 1e-9:
            break
    return weights


def surface_probabilities(
    weights: NDArray[np.float64], options: tuple[str, ...]
) -> NDArray[np.float64]:
    """Probability of each option under the fitted weights."""
    scores = option_features(options) @ weights
    chance = np.exp(scores - scores.max())
    return np.asarray(chance / chance.sum())


def surface_ranking(weights: NDArray[np.float64], options: tuple[str, ...]) -> list[int]:
    """Options from the likeliest on; of equals the order is by hash of the text, not by place."""
    scores = np.round(option_features(options) @ weights, 9)
    return sorted(
        range(len(options)),
        key=lambda i: (-scores[i], sha256(options[i].encode("utf-8", "surrogatepass")).digest()),
    )
