"""Columns of correctness: accuracies, paired differences, and a gain as a line of what is known.

One variance serves all statistics: the sample covariance over questions of the means over draws
and, from three draws on, also that over draws of the means over questions. Where questions are
clustered, the larger of the plain and the clustered variance over questions counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from scipy.optimize import brentq

Floats = NDArray[np.float64]
Clusters = ArrayLike | None  # of each question what it goes together with, such as its category

LEVEL: Final = 0.95  # coverage of all intervals
MIN_QUESTIONS: Final = 30  # fewer questions give no ratio and decide nothing
MIN_CLUSTERS: Final = 20  # fewer do not show how much questions go together
MIN_RANDOM_DRAWS: Final = 3  # from here on an interval speaks of demonstrations that were not shown
NO_VARIANCE: Final = 1e-14  # below this a variance of fractions is rounding error
HABIT_P: Final = 0.001  # p value of `uniform_p` below which a habit of place is named

FLOOR: Final = 4.0
"""Times 1/n^2: the variance of a mean difference when four of n questions differ.

Two standard errors are then 4/n, near the exact bound 3.7/n for no event in n. It keeps an interval
from collapsing where two columns agree everywhere.
"""


def columns_of(**arrays: ArrayLike) -> list[Floats]:
    """The named arrays, shape (n,) or (n, draws), as (n, draws) with one number of draws."""
    columns = {name: np.asarray(array, dtype=np.float64) for name, array in arrays.items()}
    for name, of in columns.items():
        if of.ndim not in (1, 2) or not of.size or not np.all((of >= 0) & (of <= 1)):  # nor nan
            raise ValueError(
                f"{name} must have shape (n,) or (n, draws) and values in [0, 1], got {of.shape}"
            )
    tables = [column.reshape(len(column), -1) for column in columns.values()]
    n, draws = len(tables[0]), max(table.shape[1] for table in tables)
    if shapes := {table.shape for table in tables} - {(n, 1), (n, draws)}:
        raise ValueError(f"columns need the same questions and draws, got {n, draws} and {shapes}")
    return [np.broadcast_to(table, (n, draws)) for table in tables]


class Estimates(NamedTuple):
    """m estimates from the same questions, and how their errors vary together."""

    n: int
    draws: int
    values: Floats  # shape (m,)
    # covariances, shape (m, m), with degrees of freedom: the plain one, and that of clusters if any
    over_questions: list[tuple[Floats, float]]
    over_draws: Floats  # covariance, shape (m, m); 0 below three draws

    def combine(self, *weights: float) -> tuple[float, float, float]:
        """Value, variance and degrees of freedom of a weighted sum."""
        found = (self.variance(*of, *weights) for of in self.over_questions)
        value = float(np.array(weights) @ self.values)
        return value, *max(found, key=lambda variance: variance[0])

    def variance(self, over_questions: Floats, df: float, *weights: float) -> tuple[float, float]:
        """Variance of a weighted sum, with its degrees of freedom, by one of `over_questions`."""
        w = np.array(weights)
        vq, vs = (max(float(w @ of @ w), 0.0) for of in (over_questions, self.over_draws))
        varies = vs > NO_VARIANCE * float(w @ w)
        return vq + vs, float(satterthwaite(vq, df, vs, self.draws)) if varies else df

    def floored(self, *weights: float) -> tuple[float, float, float]:
        """As `combine`, with a variance no smaller than `FLOOR` allows; nan stays."""
        value, variance, df = self.combine(*weights)
        return value, float(np.maximum(variance, FLOOR / self.n**2)), df


def means_of(*columns: Floats, clusters: Clusters = None, least: int = MIN_CLUSTERS) -> Estimates:
    """Means of columns of shape (n, draws); clustered where there are `least` clusters."""
    cube = np.stack(columns)
    m, n, draws = cube.shape
    by_question, values = cube.mean(axis=2), cube.mean(axis=(1, 2))
    plain = np.cov(by_question).reshape(m, m) / n if n > 1 else np.full((m, m), np.nan)
    together = clustered((by_question - values[:, None]).T / n, clusters, least)
    over_draws = of_draws(cube.mean(axis=1)) if n > 1 else np.zeros((m, m))
    return Estimates(n, draws, values, [(plain, n - 1.0), *together], over_draws)


def of_draws(by_draw: Floats) -> Floats:
    """Covariance of the means over draws of m rows, shape (m, draws); 0 below three draws."""
    m, draws = by_draw.shape
    many = draws >= MIN_RANDOM_DRAWS
    return np.cov(by_draw).reshape(m, m) / draws if many else np.zeros((m, m))


def clustered(residuals: Floats, clusters: Clusters, least: int) -> list[tuple[Floats, float]]:
    """Covariance of the sum of `residuals`, shape (n, m), whose questions go together.

    K / (K - 1) times the sum over the K clusters of the products of their sums, shape (m, m), with
    K - 1 degrees of freedom; nothing where there are fewer than `least` clusters. CR1: Cameron and
    Miller (2015), A Practitioner's Guide to Cluster-Robust Inference, J. of Human Resources 50.
    """
    if clusters is None:
        return []
    names, codes = np.unique(np.asarray(clusters), return_inverse=True)
    if (k := len(names)) < least:
        return []
    sums = np.stack([np.bincount(codes, weights=of) for of in residuals.T], axis=1)
    return [(np.asarray(k / (k - 1) * sums.T @ sums), k - 1.0)]


def satterthwaite(vq: Any, df: Any, vs: Any, draws: Any) -> Any:
    """Degrees of freedom of vq + vs (Satterthwaite 1946); vq has `df`, vs those of the draws."""
    return np.clip((vq + vs) ** 2 / (vq**2 / df + vs**2 / (draws - 1)), 1, df)


def t_quantile(df: float) -> float:
    """Quantile of a two-sided interval."""
    return float(stats.t.ppf((1 + LEVEL) / 2, df))


def t_interval(mean: float, variance: float, df: float) -> tuple[float, float]:
    """Mean plus and minus the quantile times the standard error."""
    half = t_quantile(df) * float(np.sqrt(variance))
    return mean - half, mean + half


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
    if column.shape[1] == 1 and np.isin(column, (0, 1)).all():
        return wilson(int(column.sum()), len(column))
    found = (means := means_of(column)).combine(1)
    low, high = t_interval(*(means.floored(1) if found[1] <= NO_VARIANCE else found))
    return float(np.maximum(low, 0)), float(np.minimum(high, 1))


def uniform_p(counts: ArrayLike, expected: ArrayLike) -> float:
    """P value of counts by place against expected ones of the same sum, by chi-square.

    Places where fewer than 5 are expected are taken together, for the approximation to hold. nan
    with fewer than two places to compare.
    """
    table = np.array([counts, expected], dtype=np.float64)
    large = table[1] >= 5
    cells, rest = table[:, large], table[:, ~large].sum(axis=1)
    if rest[1] >= 5:
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
    """A paired difference of two accuracies: mean a minus mean b. Fractions; nan where none."""

    n: int
    diff: float
    low: float
    high: float
    p: float  # two-sided and that of the interval: below 0.05 exactly where it leaves out 0
    df: float = np.nan
    # questions that only a, only b has right, and McNemar's exact test (1947, Psychometrika 12);
    # nan where it does not apply; they decide nothing
    n10: float = np.nan
    n01: float = np.nan
    p_exact: float = np.nan

    @classmethod
    def tested(cls, n: int, diff: float, variance: float, df: float, *exact: float) -> Self:
        """The t interval and test of an estimate; `exact` is what McNemar's test gave."""
        p = float(2 * stats.t.sf(abs(diff) / np.sqrt(variance), df)) if variance else np.nan
        return cls(n, diff, *t_interval(diff, variance, df), p, df, *exact)

    @property
    def p_above(self) -> float:
        """One-sided p value of the true difference being above 0."""
        return self.p / 2 if self.diff > 0 else 1 - self.p / 2

    @property
    def could_show(self) -> float:
        """Smallest true difference whose interval would leave out 0 in 80% of such studies."""
        quantile = stats.t.ppf(0.975, self.df)
        return float((self.high - self.diff) / quantile * (quantile + stats.t.ppf(0.8, self.df)))


def paired_difference(a: ArrayLike, b: ArrayLike, *, clusters: Clusters = None) -> Difference:
    """Mean of a - b with its t interval and test, paired by question and by draw.

    The variance is that of the ratios, at least 4/n^2. From 20 clusters of questions on, such as
    their categories, that over questions is the larger of the plain and the clustered one, which
    has as many degrees of freedom as there are clusters, less one. McNemar's test stands beside the
    t test where both are a single 0/1 run, or two draws that agree on every question. The interval
    and `p` are nan for one question.

    Example:
        >>> right = np.arange(200)
        >>> d = paired_difference(right < 150, right < 145)
        >>> [round(value, 3) for value in (d.diff, d.low, d.high, d.p, d.p_exact)]
        [0.025, 0.003, 0.047, 0.025, 0.062]
    """
    left, right = columns_of(a=a, b=b)
    x, y = left.mean(axis=1), right.mean(axis=1)
    exact: tuple[float, ...] = ()
    if left.shape[1] < MIN_RANDOM_DRAWS and np.isin([x, y], (0, 1)).all():
        n10, n01 = int((x > y).sum()), int((x < y).sum())
        exact = (n10, n01, float(stats.binomtest(n10, n10 + n01).pvalue) if n10 + n01 else 1.0)
    found = means_of(left - right, clusters=clusters).floored(1)
    return Difference.tested(len(x), *found, *exact)


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
        return Difference.tested(self.n, *self.floored(1, x))

    @property
    def slope(self) -> Difference:
        """The rise per unit; all but the value is nan where it has no variance."""
        return Difference.tested(self.n, *self.combine(0, 1))


def gain_line(a: ArrayLike, b: ArrayLike, known: ArrayLike, *, clusters: Clusters = None) -> Line:
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
    over_questions = [(scaled.T @ scaled, n - 2.0), *clustered(parts, clusters, MIN_CLUSTERS)]
    return Line(n, draws, values, over_questions, of_draws(lines))


class Components(NamedTuple):
    """Variance of an accuracy on fixed questions, by source; nan where the runs cannot tell."""

    orders: float = np.nan  # between orders of the same demonstrations, with noise between runs
    draws: float = np.nan  # between draws, beyond what orders explain; may be below 0
    low: float = np.nan  # 95% interval of the square root of `orders`; nan where that is 0
    high: float = np.nan


def variance_components(accuracy: Sequence[Floats]) -> Components:
    """Split the variance of accuracies, by draw and of shape (orders of the draw,).

    Analysis of variance of nested groups (method of moments; Searle, Casella and McCulloch 1992,
    Variance Components, chapter 3): the mean square within draws estimates `orders`, that between
    draws estimates `orders` + n0 `draws`, where n0 is the number of orders of a draw, or its
    equivalent where draws have different numbers. The interval is that of a variance (chi-square),
    which takes the accuracies of a draw as normal.
    """
    sizes, means = np.array([(len(of), of.mean()) for of in accuracy]).T
    n, groups = int(sizes.sum()), len(sizes)
    squares = sum(float(((of - of.mean()) ** 2).sum()) for of in accuracy)
    if n == groups:  # one order of each draw
        return Components()
    orders, draws = squares / (n - groups), np.nan
    if groups > 1:
        between = float(sizes @ (means - sizes @ means / n) ** 2) / (groups - 1)
        draws = float((between - orders) / ((n - sizes @ sizes / n) / (groups - 1)))
    if squares < 1e-20:  # all equal, but for rounding
        return Components(0.0, draws)
    ends = np.sqrt(squares / stats.chi2.ppf([(1 + LEVEL) / 2, (1 - LEVEL) / 2], n - groups))
    return Components(orders, draws, *ends.tolist())
