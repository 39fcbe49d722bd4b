"""Accuracies, paired differences and their tests."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats
from scipy.optimize import brentq

from w2s_icl.analysis.stats.columns import (
    FLOOR,
    LEVEL,
    MIN_RANDOM_DRAWS,
    NO_VARIANCE,
    Floats,
    columns_of,
    floored,
    is_binary,
    means_of,
    t_interval,
)

MIN_EXPECTED: Final = 5
"""Least expected count of a cell for the chi-square approximation."""

HABIT_P: Final = 0.001
"""P value of `uniform_p` below which a habit of place is named."""


@lru_cache(maxsize=4096)
def wilson(k: int, n: int) -> tuple[float, float]:
    """Wilson's interval of a share of `k` successes in `n` trials; nan without trials.

    References:
        Wilson (1927), Probable Inference, the Law of Succession, and Statistical Inference,
        JASA 22.

    Example:
        >>> [round(end, 3) for end in wilson(14, 40)]
        [0.221, 0.505]
    """
    if n == 0:
        return np.nan, np.nan
    ends = stats.binomtest(int(k), int(n)).proportion_ci(LEVEL, method="wilson")
    return float(ends.low), float(ends.high)


def mean_interval(correct: ArrayLike) -> tuple[float, float]:
    """Interval of an accuracy: Wilson's for one 0/1 run, else a t interval cut to [0, 1].

    Where nothing varies (every answer right, in every draw) the variance is 4/n^2, that of a run
    with four wrong answers. nan for one question that is not a single 0/1 run.

    Example:
        >>> right = np.arange(200)
        >>> [round(end, 3) for end in mean_interval(right < 150)]
        [0.686, 0.805]
        >>> [round(end, 3) for end in mean_interval(np.ones((200, 3)))]
        [0.98, 1.0]
    """
    (column,) = columns_of(correct=correct)
    if column.shape[1] == 1 and is_binary(column):
        return wilson(int(column.sum()), len(column))
    mean, variance, df = means_of(column).combine(1)
    if variance <= NO_VARIANCE:
        variance = FLOOR / len(column) ** 2
    low, high = t_interval(mean, variance, df)
    return float(np.maximum(low, 0)), float(np.minimum(high, 1))


def uniform_p(counts: ArrayLike, expected: ArrayLike) -> float:
    """P value of counts by place against expected ones of the same sum, by chi-square.

    Places where fewer than `MIN_EXPECTED` are expected are taken together, for the approximation
    to hold. nan with fewer than two places to compare.

    Example:
        >>> round(uniform_p([30, 20, 25, 25], [25, 25, 25, 25]), 3)
        0.572
        >>> uniform_p([100, 0, 0, 0], [25, 25, 25, 25]) < 1e-9
        True
    """
    table = np.array([counts, expected], dtype=np.float64)
    large = table[1] >= MIN_EXPECTED
    cells, rest = table[:, large], table[:, ~large].sum(axis=1)
    if rest[1] >= MIN_EXPECTED:
        cells = np.column_stack([cells, rest])
    elif cells.size:
        cells[:, cells[1].argmin()] += rest
    return float(stats.chisquare(*cells).pvalue) if cells.shape[1] > 1 else np.nan


def habit_seen(expected: ArrayLike) -> float:
    """Share of counts at one place that `uniform_p` finds below `HABIT_P` with a power of 0.8.

    Of the places, the least visible habit, from the counts that are expected without one; above 1
    where they are too few to show any.

    Example:
        >>> round(habit_seen([5, 5, 5, 5]), 2), round(habit_seen([50, 50, 50, 50]), 2)
        (0.7, 0.39)
    """
    even = np.asarray(expected, dtype=np.float64)
    n, shares = even.sum(), even[even > 0] / even.sum()
    df = max(len(shares) - 1, 1)
    least = stats.chi2.isf(HABIT_P, df)
    distance = brentq(lambda d: stats.ncx2.sf(least, df, d) - 0.8, 1e-6, 1e4)
    return float((shares + np.sqrt(distance * shares * (1 - shares) / n)).max())


@dataclass(frozen=True)
class Difference:
    """A paired difference of two accuracies: mean a minus mean b. Fractions; nan where none.

    `p` is two-sided and that of the interval: below 0.05 exactly where it leaves out 0. `n10` and
    `n01` count the questions that only `a`, only `b` has right; they and `p_exact`, of McNemar's
    exact test, are nan where that test does not apply, and decide nothing.
    """

    n: int
    draws: int
    diff: float
    low: float
    high: float
    p: float
    df: float = np.nan
    n10: float = np.nan
    n01: float = np.nan
    p_exact: float = np.nan

    @classmethod
    def tested(
        cls, n: int, draws: int, diff: float, variance: float, df: float, *exact: float
    ) -> Difference:
        """The t interval and test of an estimate; `exact` is what `mcnemar` returned."""
        p = float(2 * stats.t.sf(abs(diff) / np.sqrt(variance), df)) if variance else np.nan
        return cls(n, draws, diff, *t_interval(diff, variance, df), p, df, *exact)

    @property
    def p_above(self) -> float:
        """One-sided p value of the true difference being above 0."""
        return self.p / 2 if self.diff > 0 else 1 - self.p / 2

    @property
    def could_show(self) -> float:
        """Smallest true difference whose interval would leave out 0 in 80% of such studies."""
        se = (self.high - self.diff) / stats.t.ppf(0.975, self.df)
        return float(se * (stats.t.ppf(0.975, self.df) + stats.t.ppf(0.8, self.df)))


def mcnemar(a: Floats, b: Floats) -> tuple[int, int, float]:
    """McNemar's exact test of two single 0/1 runs (1947, Psychometrika 12).

    Questions only `a` has right, questions only `b` has right, and the two-sided p value: 1 when
    there are neither.

    Example:
        >>> mcnemar(np.array([1, 1, 1, 1, 1, 1, 0]), np.array([1, 0, 0, 0, 0, 0, 0]))
        (5, 0, 0.0625)
    """
    n10, n01 = int((a > b).sum()), int((a < b).sum())
    return n10, n01, float(stats.binomtest(n10, n10 + n01).pvalue) if n10 + n01 else 1.0


def paired_difference(
    a: ArrayLike, b: ArrayLike, *, clusters: ArrayLike | None = None
) -> Difference:
    """Mean of a - b with its t interval and test, paired by question and by draw.

    The variance is that of the ratios, at least 4/n^2. From 20 clusters of questions on, such as
    their categories, the variance over questions is the larger of the plain one and the one
    clustered by them, which has as many degrees of freedom as there are clusters, less one.
    McNemar's test stands beside the t test where both are a single 0/1 run, or two draws that agree
    on every question. The interval and `p` are nan for one question.

    Example:
        >>> right = np.arange(200)
        >>> d = paired_difference(right < 150, right < 145)
        >>> [round(value, 3) for value in (d.diff, d.low, d.high, d.p, d.p_exact)]
        [0.025, 0.003, 0.047, 0.025, 0.062]
    """
    left, right = columns_of(a=a, b=b)
    n, draws = left.shape
    diff, variance, df = means_of(left - right, clusters=clusters).combine(1)
    per_question = left.mean(axis=1), right.mean(axis=1)
    mcnemars = draws < MIN_RANDOM_DRAWS and is_binary(*per_question)
    exact = mcnemar(*per_question) if mcnemars else ()
    return Difference.tested(n, draws, diff, floored(variance, n), df, *exact)


def holm(p: ArrayLike) -> Floats:
    """P values of one family, shape (m,), adjusted for their number by Holm's step-down rule.

    nan is no test: it stays nan and does not count.

    References:
        Holm (1979), A Simple Sequentially Rejective Multiple Test Procedure, Scandinavian
        Journal of Statistics 6.

    Example:
        >>> holm([0.01, 0.04, float("nan"), 0.03, 0.2]).round(4).tolist()
        [0.04, 0.09, nan, 0.09, 0.2]
    """
    adjusted = np.array(p, dtype=np.float64)
    tested = np.flatnonzero(~np.isnan(adjusted))
    values = adjusted[tested]
    order = np.argsort(values, kind="stable")
    steps = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    adjusted[tested[order]] = np.minimum(steps, 1)
    return adjusted
