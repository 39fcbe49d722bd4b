"""Whose answers a run gives: matching, imitation, and agreement beyond chance.

Answers are letters, shape (n,) or (n, draws). "" and None (and nan) are unparsed: they match
nothing, not even each other, and are wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from w2s_icl.analysis.stats.columns import LEVEL, Floats, aligned, columns_of, is_binary
from w2s_icl.analysis.stats.paired import paired_difference

Answers = Sequence[Hashable] | Sequence[Sequence[Hashable]] | NDArray[Any]

_ATANH_CLIP: Final = 0.999


def _answers(**arrays: Answers) -> list[NDArray[np.object_]]:
    return aligned({name: np.asarray(array, dtype=object) for name, array in arrays.items()})


def _same(a: NDArray[np.object_], b: NDArray[np.object_]) -> NDArray[np.bool_]:
    parsed = (a != "") & (a != np.array(None))  # nan, not equal to itself, needs no rule
    return np.asarray(parsed & (a == b), dtype=bool)


@dataclass(frozen=True)
class MatchCounts:
    """Questions by whose answer the treated run gives; one count per draw, sum `n`.

    `both` is the answer of the strong and of the weak model, which are the same; `strong` and
    `weak` only that of one; `neither` that of neither, or unparsed.
    """

    n: int
    both: tuple[int, ...]
    strong: tuple[int, ...]
    weak: tuple[int, ...]
    neither: tuple[int, ...]


@dataclass(frozen=True)
class Matching:
    """Whose answers a treated run gives, and what it repairs and spoils.

    Attributes:
        every: Over all questions.
        weak_wrong: Over the questions the weak model has wrong, unparsed answers included.
        fixed: Per draw, questions the strong model has wrong and the treated run right.
        strong_wrong: Questions the strong model has wrong: the denominator of `fixed`.
        broken: Per draw, questions the strong model has right and the treated run wrong.
        strong_right: Questions the strong model has right: the denominator of `broken`.
    """

    every: MatchCounts
    weak_wrong: MatchCounts
    fixed: tuple[int, ...]
    strong_wrong: int
    broken: tuple[int, ...]
    strong_right: int


def matching_counts(treated: Answers, strong: Answers, weak: Answers, target: Answers) -> Matching:
    """Count whose answers the treated runs give, and which of the strong model's they change.

    `strong` and `weak` are the answers without demonstrations, `target` the right ones, each of
    shape (n,). When weak and strong are the same run, the counts `strong` and `weak` are 0.

    Example:
        >>> m = matching_counts(list("ABCA"), list("ABBB"), list("ACCB"), list("ABCD"))
        >>> m.every
        MatchCounts(n=4, both=(1,), strong=(1,), weak=(1,), neither=(1,))
        >>> m.weak_wrong.n, m.fixed, m.strong_wrong, m.broken, m.strong_right
        (2, (1,), 2, (0,), 2)
    """
    a, s, w, t = _answers(treated=treated, strong=strong, weak=weak, target=target)
    like_strong, like_weak, right = _same(a, s), _same(a, w), _same(a, t)
    strong_right, weak_right = _same(s, t), _same(w, t)

    def per_draw(which: NDArray[np.bool_]) -> tuple[int, ...]:
        return tuple(which.sum(axis=0).tolist())

    def count(among: NDArray[np.bool_]) -> MatchCounts:
        return MatchCounts(
            n=int(among[:, 0].sum()),
            both=per_draw(among & like_strong & like_weak),
            strong=per_draw(among & like_strong & ~like_weak),
            weak=per_draw(among & ~like_strong & like_weak),
            neither=per_draw(among & ~like_strong & ~like_weak),
        )

    return Matching(
        every=count(np.ones_like(right)),
        weak_wrong=count(~weak_right),
        fixed=per_draw(right & ~strong_right),
        strong_wrong=int((~strong_right[:, 0]).sum()),
        broken=per_draw(~right & strong_right),
        strong_right=int(strong_right[:, 0].sum()),
    )


@dataclass(frozen=True)
class Excess:
    """How much more often the treated runs repeat a weak error. Fractions.

    `m` questions the weak model answered, wrongly; `treated` and `gold` are the shares of them with
    the weak answer in these runs; `value` is treated - gold, with its interval.
    """

    m: int
    treated: float
    gold: float
    value: float
    low: float
    high: float


def imitation_excess(treated_is_weak: ArrayLike, gold_is_weak: ArrayLike) -> Excess:
    """Share of the weak errors repeated, beyond what the gold-prompted model repeats.

    0 when runs with weak labels give the weak model's wrong answers no more often than runs with
    gold labels on the same demonstrations. The interval is that of `paired_difference`, cut to
    [-1, 1]. Without questions all are nan; with one the interval is.

    The columns say, 0/1, whether the answer is the weak model's, on the m questions where the weak
    model's answer is parsed and wrong.

    Example:
        >>> wrong = np.arange(50)
        >>> e = imitation_excess(wrong < 20, wrong < 10)
        >>> round(e.value, 3), round(e.low, 3), round(e.high, 3)
        (0.2, 0.085, 0.315)
    """
    if np.size(treated_is_weak) == np.size(gold_is_weak) == 0:
        return Excess(0, np.nan, np.nan, np.nan, np.nan, np.nan)
    treated, gold = columns_of(treated_is_weak=treated_is_weak, gold_is_weak=gold_is_weak)
    d = paired_difference(treated, gold)
    low, high = np.clip([d.low, d.high], -1, 1)
    return Excess(d.n, float(treated.mean()), float(gold.mean()), d.diff, float(low), float(high))


# --- Agreement --------------------------------------------------------------------------------

# The statistics are functions of means over questions, so that one matrix product serves the
# estimate and all its resamples: rows of axis -2 are right_a, right_b, both right, same answer and
# 1 / (options - 1); the last axis is draws.


def _beyond(expected: Floats, reached: Floats, most: Floats, p1: Floats, p2: Floats) -> Floats:
    """(reached - expected) / most; nan where a run is always right or always wrong."""
    varies = (p1 > 0) & (p1 < 1) & (p2 > 0) & (p2 < 1)
    return np.where(varies, reached - expected, np.nan) / np.where(varies, most, 1)


def _phi(means: Floats) -> Floats:
    p1, p2, p11, _, _ = np.moveaxis(means, -2, 0)
    return _beyond(p1 * p2, p11, np.sqrt(p1 * (1 - p1) * p2 * (1 - p2)), p1, p2)


def _error_consistency(means: Floats) -> Floats:
    p1, p2, p11, _, _ = np.moveaxis(means, -2, 0)
    expected = p1 * p2 + (1 - p1) * (1 - p2)
    return _beyond(expected, 1 - p1 - p2 + 2 * p11, 1 - expected, p1, p2)


def _capa(means: Floats) -> Floats:
    p1, p2, _, same, chance = np.moveaxis(means, -2, 0)
    expected = p1 * p2 + (1 - p1) * (1 - p2) * chance
    return _beyond(expected, same, 1 - expected, p1, p2)


@dataclass(frozen=True)
class Estimate:
    """A value and the ends of its interval; all nan when it is undefined."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Agreement:
    """Agreement of two runs, over draws the mean of each draw's value.

    Attributes:
        phi: Pearson correlation of their correctness, in [-1, 1].
        error_consistency: Agreement in being right or wrong, beyond that of independent errors
            (Cohen's kappa): (o - e) / (1 - e), o the share of questions that both have right or
            both wrong, e = p1 p2 + (1 - p1)(1 - p2) from the two accuracies.
        capa: Agreement in the answers: (o - e) / (1 - e), o the share of questions with one and the
            same parsed answer, e = p1 p2 + (1 - p1)(1 - p2) mean(1 / (options - 1)).
    """

    phi: Estimate
    error_consistency: Estimate
    capa: Estimate


class QuestionBootstrap:
    """Resamples of n questions, drawn once and shared by all cells and statistics.

    A resample takes a question with all its columns and draws. It is kept as the number of times
    each question is in it, so resampled means are one matrix product.
    """

    def __init__(self, n: int, resamples: int = 10_000, seed: int = 20240) -> None:
        """Draw the resamples; both numbers are at least 1."""
        self.n, self.resamples = n, resamples
        rows = np.random.default_rng(seed).integers(0, n, (resamples, n))
        flat = (rows + n * np.arange(resamples)[:, None]).ravel()
        counts = np.bincount(flat, minlength=resamples * n).reshape(resamples, n)
        # Products of counts and 0/1 are small integers: exact in float32, at half the memory.
        self.counts = counts.astype(np.float32)

    def agreement(
        self,
        a_answers: Answers,
        b_answers: Answers,
        a_correct: ArrayLike,
        b_correct: ArrayLike,
        n_options: ArrayLike,
    ) -> Agreement:
        """Phi, error consistency and CAPA of two runs, with intervals.

        The interval is normal on the scale of atanh, where values are cut at 0.999, with the
        standard deviation over resamples as standard error; resamples in which a run is always
        right or always wrong have no value and are left out. It is extended to hold the value:
        two runs without a difference give (0.999, 1), from which nothing about other questions
        follows. All is nan when the correctness of a run is constant.

        `n_options` is at least 2 for each question, shape (n,), or one number for all.

        Raises:
            ValueError: Shapes differ, the columns do not hold n questions, correctness is not 0/1,
                or a question has fewer than 2 options.

        References:
            Geirhos, Meding and Wichmann (2020), Beyond Accuracy: Quantifying Trial-by-trial
            Behaviour of CNNs and Humans by Measuring Error Consistency, arXiv:2006.16736.
            Goel et al. (2025), Great Models Think Alike and this Undermines AI Oversight,
            arXiv:2502.04313 (CAPA, discrete form).

        Example:
            >>> a, b = ["A", "B"] * 50, ["A", "B", "A", "A"] * 25  # the target is always "A"
            >>> right_a, right_b = np.array(a) == "A", np.array(b) == "A"
            >>> both = QuestionBootstrap(100).agreement(a, b, right_a, right_b, 4)
            >>> round(both.phi.value, 3), round(both.phi.low, 1), round(both.phi.high, 1)
            (0.577, 0.4, 0.7)
        """
        right_a, right_b = columns_of(a_correct=a_correct, b_correct=b_correct)
        same = _same(*_answers(a_answers=a_answers, b_answers=b_answers))
        options = np.asarray(n_options, dtype=np.float64)
        if not is_binary(right_a, right_b):
            raise ValueError("a_correct and b_correct must hold only 0 and 1")
        if not same.shape == right_a.shape == (self.n, right_a.shape[1]):
            raise ValueError(
                f"answers and correctness differ in shape, or do not hold {self.n} questions: "
                f"{same.shape}, {right_a.shape}"
            )
        if options.shape not in ((), (self.n,)) or not np.all(options >= 2):
            raise ValueError(f"n_options must be one number or shape ({self.n},), at least 2")
        chance = np.broadcast_to(1 / (options.reshape(-1, 1) - 1), right_a.shape)
        columns = np.stack([right_a, right_b, right_a * right_b, same, chance], axis=1)
        sums = self.counts @ columns.astype(np.float32).reshape(self.n, -1)
        resampled = (sums.astype(np.float64) / self.n).reshape(-1, *columns.shape[1:])
        means = columns.mean(axis=0)
        z = float(stats.norm.ppf((1 + LEVEL) / 2))

        def estimate(statistic: Callable[[Floats], Floats]) -> Estimate:
            value = float(statistic(means).mean())
            if np.isnan(value):
                return Estimate(np.nan, np.nan, np.nan)
            values = statistic(resampled).mean(axis=-1)
            scaled = np.arctanh(np.clip(values[~np.isnan(values)], -_ATANH_CLIP, _ATANH_CLIP))
            centre = np.arctanh(np.clip(value, -_ATANH_CLIP, _ATANH_CLIP))
            half = z * scaled.std(ddof=1) if len(scaled) > 1 else np.nan
            low, high = np.tanh(centre - half), np.tanh(centre + half)
            return Estimate(value, float(np.minimum(low, value)), float(np.maximum(high, value)))

        return Agreement(estimate(_phi), estimate(_error_consistency), estimate(_capa))
