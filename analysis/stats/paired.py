"""Accuracies, paired differences and their tests, and a gain as a line of what is known."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats
from scipy.optimize import brentq

from w2s_icl.analysis.stats.columns import (
    FLOOR,
    LEVEL,
    MIN_RANDOM_DRAWS,
    NO_VARIANCE,
    Estimates,
    Floats,
    clustered,
    columns_of,
    floored,
    is_binary,
    means_of,
    of_draws,
    t_interval,
)

MIN_EXPECTED: Final = 5  # least expected count of a place for the chi-square approximation
HABIT_P: Final = 0.001  # p value of `uniform_p` below which a habit of place is named


@lru_cache(maxsize=4096)
def wilson(k: int, n: int) -> tuple[float, float]:
    """Wilson's interval (1927, JASA 22) of `k` successes in `n` trials; nan without trials."""
    if n == 0:
        return np.nan, np.nan
    ends = stats.binomtest(int(k), int(n)).proportion_ci(LEVEL, method="wilson")
    return float(ends.low), float(ends.high)


def mean_interval(correct: ArrayLike) -> tuple[float, float]:
    """Interval of an accuracy: Wilson's for one 0/1 run, else a t interval cut to [0, 1].

    Where nothing varies (every answer right, in every draw) the variance is 4/n^2, that of a run
    with four wrong answers. nan for one question that is not a single 0/1 run.
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
    exact test (1947, Psychometrika 12), are nan where that test does not apply, and decide nothing.
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
    ) -> Self:
        """The t interval and test of an estimate; `exact` is what McNemar's test gave."""
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
    x, y = left.mean(axis=1), right.mean(axis=1)
    exact: tuple[float, ...] = ()
    if draws < MIN_RANDOM_DRAWS and is_binary(x, y):
        n10, n01 = int((x > y).sum()), int((x < y).sum())
        p = float(stats.binomtest(n10, n10 + n01).pvalue) if n10 + n01 else 1.0
        exact = (n10, n01, p)
    return Difference.tested(n, draws, diff, floored(variance, n), df, *exact)


def holm(p: ArrayLike) -> Floats:
    """P values of one family, shape (m,), adjusted for their number by Holm's step-down rule.

    nan is no test: it stays nan and does not count. Holm (1979), Scandinavian J. of Statistics 6.
    """
    adjusted = np.array(p, dtype=np.float64)
    tested = np.flatnonzero(~np.isnan(adjusted))
    order = tested[np.argsort(adjusted[tested], kind="stable")]
    steps = np.maximum.accumulate(adjusted[order] * np.arange(len(order), 0, -1))
    adjusted[order] = np.minimum(steps, 1)
    return adjusted


class Line(Estimates):
    """A fitted line: `values` are its intercept and slope."""

    def at(self, x: float) -> Difference:
        """The value at `x`, with a variance of at least 4/n^2; the intercept is that at 0."""
        value, variance, df = self.combine(1, x)
        return Difference.tested(self.n, self.draws, value, floored(variance, self.n), df)

    @property
    def slope(self) -> Difference:
        """The rise per unit; all but the value is nan where it has no variance."""
        return Difference.tested(self.n, self.draws, *self.combine(0, 1))


def gain_line(
    a: ArrayLike, b: ArrayLike, known: ArrayLike, *, clusters: ArrayLike | None = None
) -> Line:
    """Least squares of a - b on what is known of each question, `known`, shape (n,).

    Errors are HC3 (MacKinnon and White 1985, J. of Econometrics 29); from 20 clusters on, the
    larger of these and of those clustered by them; from three draws on, the variance over draws of
    each draw's own line is added. `known` must differ between at least three questions.
    """
    left, right = columns_of(a=a, b=b)
    x = np.asarray(known, dtype=np.float64)
    n, draws = left.shape
    if x.shape != (n,) or not np.isfinite(x).all() or n < 3 or np.ptp(x) == 0:
        raise ValueError(f"known must be {n} numbers, at least three, that differ, got {x}")
    design = np.stack([np.ones(n), x], axis=1)
    solve = np.linalg.inv(design.T @ design) @ design.T  # (2, n)
    lines = solve @ (left - right)  # (2, draws)
    values = lines.mean(axis=1)
    residuals = (left - right).mean(axis=1) - design @ values
    leverage = (design * solve.T).sum(axis=1)
    parts = solve.T * residuals[:, None]
    scaled = parts / (1 - leverage)[:, None]
    over_questions = [(scaled.T @ scaled, n - 2.0), *clustered(parts, clusters)]
    return Line(n, draws, values, over_questions, of_draws(lines))
