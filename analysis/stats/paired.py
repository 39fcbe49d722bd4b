"""Accuracies, paired differences and their tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats
from scipy.optimize import brentq

from w2s_icl.analysis.stats.columns import (
    FLOOR,
    MIN_RANDOM_DRAWS,
    NO_VARIANCE,
    Floats,
    check_level,
    cluster_codes,
    clustered,
    columns_of,
    floored,
    is_binary,
    means_of,
    satterthwaite,
    t_interval,
)

MIN_EXPECTED: Final = 5
"""Least expected count of a cell for the chi-square approximation."""


def wilson(k: int, n: int, *, level: float = 0.95) -> tuple[float, float]:
    """Wilson's interval of a share of `k` successes in `n` trials.

    Returns:
        Lower and upper end, in [0, 1]; (nan, nan) when there are no trials.

    Raises:
        ValueError: `k` is not in 0..n, or `level` is outside (0, 1).

    References:
        Wilson (1927), Probable Inference, the Law of Succession, and Statistical Inference,
        JASA 22.

    Example:
        >>> [round(end, 3) for end in wilson(14, 40)]
        [0.221, 0.505]
    """
    check_level(level)
    if not 0 <= k <= n:
        raise ValueError(f"k must be in 0..n, got k={k}, n={n}")
    if n == 0:
        return np.nan, np.nan
    ends = stats.binomtest(int(k), int(n)).proportion_ci(level, method="wilson")
    return float(ends.low), float(ends.high)


def mean_interval(correct: ArrayLike, *, level: float = 0.95) -> tuple[float, float]:
    """Interval of an accuracy: Wilson's for one 0/1 run, else a t interval.

    Where nothing varies (every answer right, in every draw) the variance is 4/n^2, that of a run
    with four wrong answers. The t interval is cut to [0, 1].

    Args:
        correct: Correctness per question, in [0, 1], shape (n,) or (n, draws).
        level: Coverage, in (0, 1).

    Returns:
        Lower and upper end; (nan, nan) for one question that is not a single 0/1 run.

    Raises:
        ValueError: There are no questions, a value is not in [0, 1], or `level` is outside (0, 1).

    Example:
        >>> right = np.arange(200)
        >>> [round(end, 3) for end in mean_interval(right < 150)]
        [0.686, 0.805]
        >>> [round(end, 3) for end in mean_interval(np.ones((200, 3)))]
        [0.98, 1.0]
    """
    check_level(level)
    (column,) = columns_of(correct=correct)
    if column.shape[1] == 1 and is_binary(column):
        return wilson(int(column.sum()), len(column), level=level)
    mean, variance, df = means_of(column).combine(1)
    if variance <= NO_VARIANCE:
        variance = FLOOR / len(column) ** 2
    low, high = t_interval(mean, variance, df, level)
    return float(np.maximum(low, 0)), float(np.minimum(high, 1))


def uniform_p(counts: ArrayLike, expected: ArrayLike) -> float:
    """P value of counts by place against expected ones, by chi-square.

    Places where fewer than `MIN_EXPECTED` are expected are taken together, for the approximation
    to hold.

    Args:
        counts: Answers by place, shape (m,); fractions where a question was asked several times.
        expected: What is expected there, with the same sum.

    Returns:
        nan with fewer than two places to compare.

    Example:
        >>> round(uniform_p([30, 20, 25, 25], [25, 25, 25, 25]), 3)
        0.572
        >>> uniform_p([100, 0, 0, 0], [25, 25, 25, 25]) < 1e-9
        True
    """
    seen, wanted = (np.asarray(values, dtype=np.float64) for values in (counts, expected))
    large = wanted >= MIN_EXPECTED
    cells = [(f, w) for f, w in zip(seen[large], wanted[large], strict=True)]
    rest = (seen[~large].sum(), wanted[~large].sum())
    if rest[1] >= MIN_EXPECTED:
        cells.append(rest)
    elif cells:
        least = min(range(len(cells)), key=lambda i: cells[i][1])
        cells[least] = (cells[least][0] + rest[0], cells[least][1] + rest[1])
    if len(cells) < 2:
        return np.nan
    observed, at_random = np.array(cells).T
    return float(stats.chisquare(observed, at_random).pvalue)


def habit_seen(expected: ArrayLike, *, p: float = 0.001, power: float = 0.8) -> float:
    """Share of counts at one place that `uniform_p` finds below `p` with the given power.

    Args:
        expected: Counts by place without a habit, shape (m,).
        p: Level of the test.
        power: Probability of finding it.

    Returns:
        Of the places, the least visible habit; above 1 where the counts are too few to show any.

    Example:
        >>> round(habit_seen([5, 5, 5, 5]), 2), round(habit_seen([50, 50, 50, 50]), 2)
        (0.7, 0.39)
    """
    even = np.asarray(expected, dtype=np.float64)
    n, shares = even.sum(), even[even > 0] / even.sum()
    df = max(len(shares) - 1, 1)
    least = stats.chi2.isf(p, df)
    distance = brentq(lambda d: stats.ncx2.sf(least, df, d) - power, 1e-6, 1e4)
    return float((shares + np.sqrt(distance * shares * (1 - shares) / n)).max())


def mcnemar(a: ArrayLike, b: ArrayLike) -> tuple[int, int, float]:
    """Exact McNemar test of two single runs on the same questions.

    Args:
        a: Correctness per question, 0/1, shape (n,).
        b: As `a`.

    Returns:
        Questions only `a` has right, questions only `b` has right, and the two-sided p value:
        1 when there are neither.

    Raises:
        ValueError: Shapes differ, there are no questions, several draws, or values other than 0/1.

    References:
        McNemar (1947), Note on the Sampling Error of the Difference Between Correlated
        Proportions, Psychometrika 12.

    Example:
        >>> mcnemar([1, 1, 1, 1, 1, 1, 0], [1, 0, 0, 0, 0, 0, 0])
        (5, 0, 0.0625)
    """
    left, right = columns_of(a=a, b=b)
    if left.shape[1] > 1 or not is_binary(left, right):
        raise ValueError("a and b must be single runs that hold only 0 and 1")
    n10, n01 = int((left > right).sum()), int((left < right).sum())
    p = stats.binomtest(n10, n10 + n01).pvalue if n10 + n01 else 1.0
    return n10, n01, float(p)


@dataclass(frozen=True)
class Difference:
    """A paired difference of two accuracies. Fractions; nan where nothing is reported.

    Attributes:
        n: Questions.
        draws: Draws of the demonstrations.
        diff: Mean a minus mean b.
        low: Lower end of its interval.
        high: Upper end.
        p: Two-sided p value of the t test that belongs to the interval: below 0.05 exactly where
            the 95% interval leaves out the line.
        n10: Questions only `a` has right (an int); nan unless McNemar's test applies.
        n01: Questions only `b` has right (an int); nan unless McNemar's test applies.
        p_exact: Two-sided p value of the exact McNemar test of 0/1 runs; nan where it does not
            apply. It stands beside `p`; nothing is decided by it.
        df: Degrees of freedom of the interval.
    """

    n: int
    draws: int
    diff: float
    low: float
    high: float
    p: float
    n10: float = np.nan
    n01: float = np.nan
    p_exact: float = np.nan
    df: float = np.nan

    @property
    def p_above(self) -> float:
        """One-sided p value of the true difference being above 0; `p` must be of the line 0."""
        return self.p / 2 if self.diff > 0 else 1 - self.p / 2

    @property
    def could_show(self) -> float:
        """Smallest true difference whose interval would leave out 0 in 80% of such studies."""
        se = (self.high - self.diff) / stats.t.ppf(0.975, self.df)
        return float(se * (stats.t.ppf(0.975, self.df) + stats.t.ppf(0.8, self.df)))


def paired_difference(
    a: ArrayLike,
    b: ArrayLike,
    *,
    line: float = 0.0,
    level: float = 0.95,
    clusters: ArrayLike | None = None,
) -> Difference:
    """Mean of a - b with its t interval and test, paired by question.

    The variance is that of the ratios, at least 4/n^2. McNemar's test stands beside the t test
    where both are a single 0/1 run, or two draws that agree on every question.

    Args:
        a: Correctness per question, in [0, 1], shape (n,) or (n, draws).
        b: As `a`; row i is the same question, column j the same draw.
        line: The difference that is tested.
        level: Coverage of the interval, in (0, 1).
        clusters: Cluster of each question, such as its category; shape (n,). From 20 clusters on,
            the variance over questions is the larger of the plain one and the one clustered by
            them, which has as many degrees of freedom as there are clusters, less one.

    Returns:
        Fractions. The interval and `p` are nan for one question.

    Raises:
        ValueError: As `gap_recovered`.

    Example:
        >>> right = np.arange(200)
        >>> d = paired_difference(right < 150, right < 145)
        >>> [round(value, 3) for value in (d.diff, d.low, d.high, d.p, d.p_exact)]
        [0.025, 0.003, 0.047, 0.025, 0.062]
    """
    check_level(level)
    left, right = columns_of(a=a, b=b)
    n, draws = left.shape
    means = means_of(left - right)
    diff, variance, df = means.combine(1)
    codes = cluster_codes(clusters, n)
    if codes is not None:
        residuals = (left - right).mean(axis=1) - diff
        vq = float(clustered(residuals[:, None], codes)[0, 0]) / n**2
        if vq > means.by_question[0, 0]:
            vs, df = float(means.by_draw[0, 0]), float(codes.max())
            variance = vq + vs
            df = satterthwaite(vq, df, vs, draws) if vs > NO_VARIANCE else df
    variance = floored(variance, n)
    low, high = t_interval(diff, variance, df, level)
    p = float(2 * stats.t.sf(abs(diff - line) / np.sqrt(variance), df))
    exact: tuple[float, float, float] = (np.nan, np.nan, np.nan)
    per_question = left.mean(axis=1), right.mean(axis=1)
    if line == 0 and draws < MIN_RANDOM_DRAWS and is_binary(*per_question):
        exact = mcnemar(*per_question)
    return Difference(n, draws, diff, low, high, p, *exact, df)


def subgroup_difference(
    a: ArrayLike, b: ArrayLike, where: ArrayLike, *, level: float = 0.95
) -> Difference:
    """Mean of a - b over a subgroup of the questions that may differ from draw to draw.

    The estimate is a ratio, d = sum of where (a - b) / sum of where, over questions and draws.
    Its variance is that of the mean of e = where (a - b - d) / mean(where) over the m questions
    that count in any draw, as in `paired_difference`: over questions, from three draws on also
    over draws, with degrees of freedom from m - 1. It is at least 4 / k^2, k the mean number of
    questions of a draw. Where the subgroup is the same in every draw, or there is one draw, all
    this is `paired_difference` of the subgroup, and that is what is returned.

    Args:
        a: Correctness per question, in [0, 1], shape (n,) or (n, draws).
        b: As `a`; row i is the same question, column j the same draw.
        where: Whether the question counts, bool, shape (n,) or (n, draws). Draws without any
            question are allowed.
        level: Coverage of the interval, in (0, 1).

    Returns:
        Fractions. `n` is k, rounded, at least 1. All is nan and `n` is 0 when no question counts;
        the interval and `p` are nan when one does.

    Raises:
        ValueError: As `gap_recovered`, or `where` holds other values than true and false.

    References:
        Cochran (1977), Sampling Techniques, 3rd edition, chapter 6 (the linearized ratio).

    Example:
        >>> right = np.arange(200)
        >>> d = subgroup_difference(right < 150, right < 145, right >= 100)
        >>> d.n, round(d.diff, 3), round(d.low, 3), round(d.high, 3)
        (100, 0.05, 0.007, 0.093)
    """
    check_level(level)
    left, right, mask = columns_of(a=a, b=b, where=where)
    if not is_binary(mask):
        raise ValueError("where must hold only true and false")
    counted = mask.any(axis=1)
    left, right, mask = left[counted], right[counted], mask[counted]
    draws = mask.shape[1]
    if not len(mask):
        return Difference(0, draws, np.nan, np.nan, np.nan, np.nan)
    if mask.all():
        return paired_difference(left, right, level=level)
    difference = left - right
    diff = float((mask * difference).sum() / mask.sum())
    _, variance, df = means_of(mask * (difference - diff) / mask.mean()).combine(1)
    per_draw = float(mask.sum() / draws)
    variance = floored(variance, per_draw)
    low, high = t_interval(diff, variance, df, level)
    p = float(2 * stats.t.sf(abs(diff) / np.sqrt(variance), df))
    return Difference(max(round(per_draw), 1), draws, diff, low, high, p, df=df)


def holm(p: ArrayLike) -> Floats:
    """P values adjusted for their number, by Holm's step-down rule.

    Args:
        p: The p values of one family, in [0, 1], shape (m,). nan is no test: it stays nan and
            does not count.

    Returns:
        Adjusted p values in the order given, shape (m,).

    Raises:
        ValueError: `p` is not one-dimensional or a value is outside [0, 1].

    References:
        Holm (1979), A Simple Sequentially Rejective Multiple Test Procedure, Scandinavian
        Journal of Statistics 6.

    Example:
        >>> holm([0.01, 0.04, float("nan"), 0.03, 0.2]).round(4).tolist()
        [0.04, 0.09, nan, 0.09, 0.2]
    """
    adjusted = np.array(p, dtype=np.float64)
    if adjusted.ndim != 1:
        raise ValueError(f"p must have shape (m,), got {adjusted.shape}")
    tested = np.flatnonzero(~np.isnan(adjusted))
    values = adjusted[tested]
    if not np.all((values >= 0) & (values <= 1)):
        raise ValueError("p must be in [0, 1] or nan")
    order = np.argsort(values, kind="stable")
    steps = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    adjusted[tested[order]] = np.minimum(steps, 1)
    return adjusted
