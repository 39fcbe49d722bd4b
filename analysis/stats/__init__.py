"""Statistics of the evaluation suite, on plain arrays: no files, no frames.

Rows are questions. A column is one run, shape (n,), or several draws of the demonstrations,
shape (n, draws); a column without draws stands beside columns that have them by being repeated.
Correctness is 0/1 (or a mean in [0, 1] when a cell was run several times) and every result is a
fraction, not percent. Intervals are two-sided. What cannot be reported is nan, never 0.

One variance serves all of it (`_Means`): the sample covariance over questions of the means over
draws, and from three draws on also that over draws of the means over questions. With one or two
draws an interval therefore speaks of those demonstrations only: `scope` says which it is.

Differences and ratios never get a variance below that of two columns that disagree on four
questions (`_FLOOR`), or their intervals would collapse where two columns agree everywhere.
"""

from bisect import bisect_left
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Floats = NDArray[np.float64]
Answers = Sequence[Hashable] | Sequence[Sequence[Hashable]] | NDArray[Any]
_T = TypeVar("_T", bound=np.generic)
Status = Literal["ok", "gap_not_established", "gap_reversed"]
Scope = Literal["fixed_demos", "random_demos"]

MIN_QUESTIONS: Final = 30
MIN_RANDOM_DRAWS: Final = 3
MIN_EXPECTED: Final = 5
MAX_PLANNED_QUESTIONS: Final = 20_000

# Times 1/n^2: the variance of a mean difference when four of n questions differ (2 standard
# errors are 4/n, near the exact bound 3.7/n for no event in n), and the covariance of the two
# differences of a ratio, which share the base.
_FLOOR: Final = 4.0
_RATIO_FLOOR: Final = np.array([[4.0, 2.0], [2.0, 4.0]])

# Below these a mean or a variance of fractions is rounding error.
_NO_MEAN: Final = 1e-12
_NO_VARIANCE: Final = 1e-14

_ATANH_CLIP: Final = 0.999


# --- Means, variances, t intervals ------------------------------------------------------------


@dataclass(frozen=True)
class _Means:
    """Sums of m columns of shape (n, draws), and the covariances of their means."""

    n: int
    draws: int
    total: Floats  # (m,), sums over questions and draws
    by_question: Floats  # (m, m)
    by_draw: Floats  # (m, m), zero below three draws

    def combine(self, *weights: float) -> tuple[float, float, float]:
        """Mean, variance and degrees of freedom (Satterthwaite 1946) of a weighted sum."""
        w = np.array(weights)
        vq, vs = float(w @ self.by_question @ w), float(w @ self.by_draw @ w)
        df = float(self.n - 1)
        if vs > _NO_VARIANCE * float(w @ w):
            satterthwaite = (vq + vs) ** 2 / (vq**2 / df + vs**2 / (self.draws - 1))
            df = float(np.clip(satterthwaite, 1, df))
        return float(w @ self.total) / (self.n * self.draws), vq + vs, df


def _means(*columns: Floats) -> _Means:
    cube = np.stack(columns)
    m, n, draws = cube.shape
    by_question, by_draw = np.full((m, m), np.nan), np.zeros((m, m))
    if n > 1:
        by_question = np.cov(cube.mean(axis=2)).reshape(m, m) / n
        if draws >= MIN_RANDOM_DRAWS:
            by_draw = np.cov(cube.mean(axis=1)).reshape(m, m) / draws
    return _Means(n, draws, cube.sum(axis=(1, 2)), by_question, by_draw)


def _floored(variance: float, n: float) -> float:
    return float(np.maximum(variance, _FLOOR / n**2))


def _t_quantile(df: float, level: float) -> float:
    return float(stats.t.ppf((1 + level) / 2, df))


def _t_interval(mean: float, variance: float, df: float, level: float) -> tuple[float, float]:
    half = _t_quantile(df, level) * float(np.sqrt(variance))
    return mean - half, mean + half


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"level must be in (0, 1), got {level}")


def _columns(**arrays: ArrayLike) -> list[Floats]:
    """The named arrays, checked, as (n, draws) with one number of draws."""
    columns: dict[str, Floats] = {}
    for name, array in arrays.items():
        column = np.asarray(array, dtype=np.float64)
        if column.ndim not in (1, 2) or column.size == 0:
            raise ValueError(
                f"{name} must have shape (n,) or (n, draws) and not be empty, got {column.shape}"
            )
        if not np.all((column >= 0) & (column <= 1)):  # nan fails too
            raise ValueError(f"{name} must be finite and in [0, 1]")
        columns[name] = column
    return _align(columns)


def _align(columns: dict[str, NDArray[_T]]) -> list[NDArray[_T]]:
    shapes = {name: column.shape for name, column in columns.items()}
    if len({shape[0] for shape in shapes.values()}) != 1:
        raise ValueError(f"columns must hold the same questions, got shapes {shapes}")
    tables = [column.reshape(len(column), -1) for column in columns.values()]
    draws = max(table.shape[1] for table in tables)
    if any(table.shape[1] not in (1, draws) for table in tables):
        raise ValueError(f"columns with draws must have the same draws, got shapes {shapes}")
    return [np.broadcast_to(table, (len(table), draws)) for table in tables]


def _is_binary(*columns: Floats) -> bool:
    return all(bool(np.all((column == 0) | (column == 1))) for column in columns)


def _binary(**arrays: ArrayLike) -> list[Floats]:
    columns = _columns(**arrays)
    if not _is_binary(*columns):
        raise ValueError(f"{', '.join(arrays)} must hold only 0 and 1")
    return columns


# --- Ratios -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ratio:
    """A share of a gap. Fractions; nan where nothing is reported.

    Attributes:
        n: Questions.
        draws: Draws of the demonstrations.
        scope: "random_demos" from three draws on; else "fixed_demos", and the intervals speak
            of the demonstrations shown and no others.
        numerator: Mean treated minus mean base, with its interval.
        numerator_low: Lower end.
        numerator_high: Upper end.
        gap: Mean ceiling minus mean base, with its interval.
        gap_low: Lower end.
        gap_high: Upper end.
        t_gap: Gap over its standard error.
        df: Degrees of freedom of the interval of the ratio; nan when the gap is 0.
        value: numerator / gap; it and its interval are nan unless `status` is "ok".
        low: Lower end.
        high: Upper end.
        status: "ok"; "gap_not_established" when the interval of the gap holds 0, the set of the
            ratio is unbounded, or there are fewer than 30 questions; "gap_reversed" when the
            interval of the gap lies below 0.
        fragile: An "ok" ratio with `t_gap` below 3, to be drawn hollow.
    """

    n: int
    draws: int
    scope: Scope
    numerator: float
    numerator_low: float
    numerator_high: float
    gap: float
    gap_low: float
    gap_high: float
    t_gap: float
    df: float
    value: float
    low: float
    high: float
    status: Status
    fragile: bool


def _fieller(x: float, d: float, covariance: Floats, c: float) -> tuple[float, float]:
    """Ends of {r: (x - r d)^2 <= c^2 var(x - r d)}; nan when the set is unbounded."""
    xx, xd, dd = covariance[0, 0], covariance[0, 1], covariance[1, 1]
    a = d**2 - c**2 * dd
    if not a > 0:
        return np.nan, np.nan
    b = x * d - c**2 * xd
    # The set holds x / d, so a negative discriminant is rounding error.
    root = np.sqrt(max(b**2 - a * (x**2 - c**2 * xx), 0.0))
    return float((b - root) / a), float((b + root) / a)


def gap_recovered(
    base: ArrayLike, treated: ArrayLike, ceiling: ArrayLike, *, level: float = 0.95
) -> Ratio:
    """Share of the gap between `base` and `ceiling` that `treated` recovers.

    (mean treated - mean base) / (mean ceiling - mean base): 0 when the treated runs are no
    better than the base, 1 when they reach the ceiling. Never clipped: a value below 0 or
    above 1 is a result.

    The interval is Fieller's, paired by question: the values r at which the mean of
    (treated - base) - r (ceiling - base) does not differ from 0, united with the same set under
    a minimum variance. At 0 that test compares treated with base, at 1 treated with ceiling;
    the set is bounded when ceiling and base differ.

    Args:
        base: Correctness per question, in [0, 1], shape (n,) or (n, draws). Row i is the same
            question, and column j the same draw, in all three arrays.
        treated: As `base`.
        ceiling: As `base`.
        level: Coverage of the intervals, in (0, 1).

    Returns:
        Fractions, not percent. `value`, `low` and `high` are nan unless `status` is "ok":
        a ratio is not reported when its own gap is not established. The numerator and the gap
        have intervals in any case, except that one question gives none.

    Raises:
        ValueError: Numbers of questions or of draws differ, there are none, a value is not in
            [0, 1], or `level` is outside (0, 1).

    References:
        Burns et al. (2023), Weak-to-Strong Generalization, arXiv:2312.09390 (the ratio).
        Fieller (1954), Some Problems in Interval Estimation, JRSS B 16 (the interval).

    Example:
        >>> right = np.arange(200)  # question i is right when i < threshold
        >>> ratio = gap_recovered(right < 120, right < 150, right < 160)
        >>> ratio.value, round(ratio.low, 3), round(ratio.high, 3), ratio.status
        (0.75, 0.609, 0.891, 'ok')
    """
    _check_level(level)
    b, a, c = _columns(base=base, treated=treated, ceiling=ceiling)
    return _ratio(_means(a - b, c - b), level)


def _ratio(means: _Means, level: float) -> Ratio:
    n = means.n
    x, x_variance, x_df = means.combine(1, 0)
    d, d_variance, d_df = means.combine(0, 1)
    x_low, x_high = _t_interval(x, _floored(x_variance, n), x_df, level)
    d_low, d_high = _t_interval(d, _floored(d_variance, n), d_df, level)
    t_gap = d / float(np.sqrt(_floored(d_variance, n)))

    df = ratio = value = low = high = np.nan
    status: Status = "gap_not_established"
    if abs(d) > _NO_MEAN:
        ratio = float(means.total[0] / means.total[1])  # of 0/1 columns, exactly rounded
        df = means.combine(1, -ratio)[2]
    if n >= MIN_QUESTIONS and d_high < 0:
        status = "gap_reversed"
    elif n >= MIN_QUESTIONS and d_low > 0:
        quantile = _t_quantile(df, level)
        covariances = (means.by_question + means.by_draw, _RATIO_FLOOR / n**2)
        ends = np.array([_fieller(x, d, covariance, quantile) for covariance in covariances])
        if not np.isnan(ends).any():
            status = "ok"
            value, low, high = ratio, float(ends[:, 0].min()), float(ends[:, 1].max())
    return Ratio(
        n=n,
        draws=means.draws,
        scope="random_demos" if means.draws >= MIN_RANDOM_DRAWS else "fixed_demos",
        numerator=x,
        numerator_low=x_low,
        numerator_high=x_high,
        gap=d,
        gap_low=d_low,
        gap_high=d_high,
        t_gap=t_gap,
        df=df,
        value=value,
        low=low,
        high=high,
        status=status,
        fragile=status == "ok" and t_gap < 3,
    )


def pooled_gap_recovered(
    triples: Iterable[tuple[ArrayLike, ArrayLike, ArrayLike]], *, level: float = 0.95
) -> Ratio:
    """The ratio of means over several cells: `gap_recovered` of their average columns.

    The differences are averaged over cells question by question and draw by draw, so cells that
    share questions, demonstrations or a model are not counted as independent. A cell with a
    large gap weighs more, which keeps a cell with a tiny one from deciding the result, as it
    would in a mean of ratios.

    Args:
        triples: (base, treated, ceiling) of each cell, as in `gap_recovered`. The questions, and
            the draws of the cells that have them, are the same in all cells.
        level: Coverage of the intervals, in (0, 1).

    Returns:
        As `gap_recovered`.

    Raises:
        ValueError: There are no cells, cells differ in questions or draws, or as in
            `gap_recovered`.

    Example:
        >>> right = np.arange(200)
        >>> wide = (right < 100, right < 150, right < 160)  # 50 of 60 questions
        >>> narrow = (right < 100, right < 130, right < 120)  # 30 of 20 questions
        >>> pooled_gap_recovered([wide, narrow]).value
        1.0
    """
    _check_level(level)
    named = {
        f"cell {i} {name}": column
        for i, triple in enumerate(triples)
        for name, column in zip(("base", "treated", "ceiling"), triple, strict=True)
    }
    if not named:
        raise ValueError("triples must hold at least one cell")
    cube = np.stack(_columns(**named))
    b, a, c = cube[0::3].mean(axis=0), cube[1::3].mean(axis=0), cube[2::3].mean(axis=0)
    return _ratio(_means(a - b, c - b), level)


def clustered_ratio(
    base: ArrayLike, treated: ArrayLike, ceiling: ArrayLike, clusters: ArrayLike
) -> float:
    """Standard error of the ratio with clustered questions over the one without.

    With r = numerator / gap, e_q = mean over draws of (treated - base) - r (ceiling - base) on
    question q (their sum is 0) and K clusters, the variance over questions is

        plain:     sum_q e_q^2 / (n (n - 1))
        clustered: K / (K - 1) * sum_k (sum_{q in k} e_q)^2 / n^2

    From three draws on, the variance over draws is added to both. The result is the square root
    of clustered over plain; clusters of one question each give exactly 1. A clustered interval
    would also use K - 1 degrees of freedom, which this number leaves out. Above 1.15 the plain
    interval is too short to be shown without a warning.

    Args:
        base: As in `gap_recovered`.
        treated: As in `gap_recovered`.
        ceiling: As in `gap_recovered`.
        clusters: Cluster of each question, such as its category; shape (n,).

    Returns:
        A ratio of standard errors, at least 0; nan when the gap is 0, there is one cluster, or
        the plain standard error is 0.

    Raises:
        ValueError: As `gap_recovered`, or `clusters` does not hold one value per question.

    References:
        Cameron and Miller (2015), A Practitioner's Guide to Cluster-Robust Inference, Journal
        of Human Resources 50 (CR1).

    Example:
        >>> right = np.arange(200)
        >>> triple = right < 120, right < 150, right < 160
        >>> round(clustered_ratio(*triple, clusters=right), 6)
        1.0
        >>> round(clustered_ratio(*triple, clusters=right // 5), 2)
        2.26
    """
    b, a, c = _columns(base=base, treated=treated, ceiling=ceiling)
    labels = np.asarray(clusters)
    if labels.shape != b.shape[:1]:
        raise ValueError(f"clusters must have shape ({len(b)},), got {labels.shape}")
    means = _means(a - b, c - b)
    cluster = np.unique(labels, return_inverse=True)[1]
    k, n = int(cluster.max()) + 1, means.n
    if abs(means.combine(0, 1)[0]) <= _NO_MEAN or k == 1:
        return np.nan
    weights = np.array([1.0, -means.total[0] / means.total[1]])
    residuals = np.stack([a - b, c - b], axis=-1).mean(axis=1) @ weights
    by_draw = float(weights @ means.by_draw @ weights)
    plain = float(weights @ means.by_question @ weights) + by_draw
    sums = np.bincount(cluster, weights=residuals)
    clustered = k / (k - 1) * float(sums @ sums) / n**2 + by_draw
    if plain <= _NO_VARIANCE * float(weights @ weights):
        return np.nan
    return float(np.sqrt(clustered / plain))


# --- Accuracies and differences ---------------------------------------------------------------


def wilson(k: int, n: int, *, level: float = 0.95) -> tuple[float, float]:
    """Wilson's interval of a share.

    Args:
        k: Successes.
        n: Trials.
        level: Coverage, in (0, 1).

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
    _check_level(level)
    if not 0 <= k <= n:
        raise ValueError(f"k must be in 0..n, got k={k}, n={n}")
    if n == 0:
        return np.nan, np.nan
    ends = stats.binomtest(int(k), int(n)).proportion_ci(level, method="wilson")
    return float(ends.low), float(ends.high)


def mean_interval(correct: ArrayLike, *, level: float = 0.95) -> tuple[float, float]:
    """Interval of an accuracy: Wilson's for one 0/1 run, else a t interval.

    The t interval has the variance of the ratios: over questions, from three draws on also over
    draws. Where nothing varies (every answer right, in every draw) that is 0, and 4/n^2 is used,
    the variance of a run with four wrong answers: the width is then near that of the exact
    bound 3.7/n. It is cut to [0, 1].

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
    _check_level(level)
    (column,) = _columns(correct=correct)
    if column.shape[1] == 1 and _is_binary(column):
        return wilson(int(column.sum()), len(column), level=level)
    mean, variance, df = _means(column).combine(1)
    if variance <= _NO_VARIANCE:
        variance = _FLOOR / len(column) ** 2
    low, high = _t_interval(mean, variance, df, level)
    return float(np.maximum(low, 0)), float(np.minimum(high, 1))


def uniform_p(counts: ArrayLike, expected: ArrayLike) -> float:
    """P value of counts by place against the counts of a uniform choice, by chi-square.

    Places where fewer than `MIN_EXPECTED` are expected are taken together, for the approximation
    to hold. Where the options are not equally many the test is conservative.

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
    found, wanted = (np.asarray(values, dtype=np.float64) for values in (counts, expected))
    large = wanted >= MIN_EXPECTED
    cells = [(f, w) for f, w in zip(found[large], wanted[large], strict=True)]
    rest = (found[~large].sum(), wanted[~large].sum())
    if rest[1] >= MIN_EXPECTED:
        cells.append(rest)
    elif cells:
        least = min(range(len(cells)), key=lambda i: cells[i][1])
        cells[least] = (cells[least][0] + rest[0], cells[least][1] + rest[1])
    if len(cells) < 2:
        return np.nan
    square = sum((f - w) ** 2 / w for f, w in cells)
    return float(stats.chi2.sf(square, len(cells) - 1))


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
    left, right = _binary(a=a, b=b)
    if left.shape[1] > 1:
        raise ValueError(f"a and b must be single runs, got {left.shape[1]} draws")
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
        n10: Questions only `a` has right (an int); nan unless the test is McNemar's.
        n01: Questions only `b` has right (an int); nan unless the test is McNemar's.
        p: Two-sided p value.
    """

    n: int
    draws: int
    diff: float
    low: float
    high: float
    n10: float
    n01: float
    p: float


def paired_difference(
    a: ArrayLike, b: ArrayLike, *, line: float = 0.0, level: float = 0.95
) -> Difference:
    """Mean of a - b with its t interval and test, paired by question.

    The variance is that of the ratios, at least 4/n^2. The test is exact McNemar when both are
    a single 0/1 run, or two draws that agree on every question; in all other cases, two draws
    that differ, repeated runs and lines other than 0 among them, it is the t test that belongs to
    the interval.

    Args:
        a: Correctness per question, in [0, 1], shape (n,) or (n, draws).
        b: As `a`; row i is the same question, column j the same draw.
        line: The difference that is tested.
        level: Coverage of the interval, in (0, 1).

    Returns:
        Fractions. The interval is nan for one question, and so is a p value that needs it.

    Raises:
        ValueError: As `gap_recovered`.

    Example:
        >>> right = np.arange(200)
        >>> d = paired_difference(right < 150, right < 145)
        >>> round(d.diff, 3), round(d.low, 3), round(d.high, 3), d.n10, d.n01, d.p
        (0.025, 0.003, 0.047, 5, 0, 0.0625)
    """
    _check_level(level)
    left, right = _columns(a=a, b=b)
    n, draws = left.shape
    diff, variance, df = _means(left - right).combine(1)
    variance = _floored(variance, n)
    low, high = _t_interval(diff, variance, df, level)
    n10: float = np.nan
    n01: float = np.nan
    per_question = left.mean(axis=1), right.mean(axis=1)
    if line == 0 and draws < MIN_RANDOM_DRAWS and _is_binary(*per_question):
        n10, n01, p = mcnemar(*per_question)
    else:
        p = float(2 * stats.t.sf(abs(diff - line) / np.sqrt(variance), df))
    return Difference(n, draws, diff, low, high, n10, n01, p)


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
        the interval and a p value that needs it are nan when one does.

    Raises:
        ValueError: As `gap_recovered`, or `where` holds other values than true and false.

    References:
        Cochran (1977), Sampling Techniques, 3rd edition, chapter 6 (the linearized ratio).

    Example:
        >>> right = np.arange(200)
        >>> d = subgroup_difference(right < 150, right < 145, right >= 100)
        >>> d.n, round(d.diff, 3), round(d.low, 3), round(d.high, 3), d.n10, d.p
        (100, 0.05, 0.007, 0.093, 5, 0.0625)
    """
    _check_level(level)
    left, right, mask = _columns(a=a, b=b, where=where)
    if not _is_binary(mask):
        raise ValueError("where must hold only true and false")
    counted = mask.any(axis=1)
    left, right, mask = left[counted], right[counted], mask[counted]
    draws = mask.shape[1]
    if not len(mask):
        return Difference(0, draws, np.nan, np.nan, np.nan, np.nan, np.nan, np.nan)
    if mask.all():
        return paired_difference(left, right, level=level)
    difference = left - right
    diff = float((mask * difference).sum() / mask.sum())
    _, variance, df = _means(mask * (difference - diff) / mask.mean()).combine(1)
    per_draw = float(mask.sum() / draws)
    variance = _floored(variance, per_draw)
    low, high = _t_interval(diff, variance, df, level)
    p = float(2 * stats.t.sf(abs(diff) / np.sqrt(variance), df))
    return Difference(max(round(per_draw), 1), draws, diff, low, high, np.nan, np.nan, p)


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


# --- Answers: matching and imitation ----------------------------------------------------------


def _answers(**arrays: Answers) -> list[NDArray[np.object_]]:
    columns: dict[str, NDArray[np.object_]] = {}
    for name, array in arrays.items():
        column = np.asarray(array, dtype=object)
        if column.ndim not in (1, 2) or column.size == 0:
            raise ValueError(
                f"{name} must have shape (n,) or (n, draws) and not be empty, got {column.shape}"
            )
        columns[name] = column
    return _align(columns)


def _same(a: NDArray[np.object_], b: NDArray[np.object_]) -> NDArray[np.bool_]:
    parsed = (a != "") & (a != np.array(None))  # nan, not equal to itself, needs no rule
    return np.asarray(parsed & (a == b), dtype=bool)


@dataclass(frozen=True)
class MatchCounts:
    """Questions by whose answer the treated run gives; one count per draw, sum `n`.

    Attributes:
        n: Questions.
        both: The answer of the strong and of the weak model, which are the same.
        strong: Only that of the strong model.
        weak: Only that of the weak model.
        neither: That of neither; an unparsed answer is always here.
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

    Counts, because a share of few questions should be printed as a count. Shares are counts over
    `n`, over draws the mean of them. `wilson(fixed[0], strong_wrong)` is the interval of the fix
    rate of a single draw.

    Args:
        treated: Answers, such as letters, shape (n,) or (n, draws). "" and None (and nan) are
            unparsed: they match nothing, not even each other, and are wrong.
        strong: Answers of the strong model without demonstrations, shape (n,).
        weak: Answers of the weak model without demonstrations, shape (n,).
        target: Right answers, shape (n,).

    Returns:
        Counts per draw. When weak and strong are the same run, `strong` and `weak` are 0.

    Raises:
        ValueError: Numbers of questions differ, there are none, or a column other than
            `treated` has draws.

    Example:
        >>> m = matching_counts(list("ABCA"), list("ABBB"), list("ACCB"), list("ABCD"))
        >>> m.every
        MatchCounts(n=4, both=(1,), strong=(1,), weak=(1,), neither=(1,))
        >>> m.weak_wrong.n, m.fixed, m.strong_wrong, m.broken, m.strong_right
        (2, (1,), 2, (0,), 2)
    """
    for name, column in (("strong", strong), ("weak", weak), ("target", target)):
        shape = np.asarray(column, dtype=object).shape
        if len(shape) != 1:
            raise ValueError(f"{name} must have shape (n,), got {shape}")
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

    Attributes:
        m: Questions the weak model answered, wrongly.
        treated: Share of them with the weak answer in the treated runs.
        gold: The same in the gold runs.
        value: treated - gold.
        low: Lower end of its interval.
        high: Upper end.
    """

    m: int
    treated: float
    gold: float
    value: float
    low: float
    high: float


def imitation_excess(
    treated_is_weak: ArrayLike, gold_is_weak: ArrayLike, *, level: float = 0.95
) -> Excess:
    """Share of the weak errors repeated, beyond what the gold-prompted model repeats.

    0 when runs with weak labels give the weak model's wrong answers no more often than runs with
    gold labels on the same demonstrations. The interval is that of `paired_difference`.

    Args:
        treated_is_weak: Whether the answer is the weak model's, 0/1, shape (m,) or (m, draws),
            for the m questions where the weak model's answer is parsed and wrong.
        gold_is_weak: As `treated_is_weak`, for the gold runs; row i is the same question.
        level: Coverage of the interval, in (0, 1).

    Returns:
        Fractions. Without questions all are nan; with one the interval is.

    Raises:
        ValueError: Numbers of questions or of draws differ, a value is not in [0, 1], or `level`
            is outside (0, 1).

    Example:
        >>> wrong = np.arange(50)
        >>> e = imitation_excess(wrong < 20, wrong < 10)
        >>> round(e.value, 3), round(e.low, 3), round(e.high, 3)
        (0.2, 0.085, 0.315)
    """
    _check_level(level)
    if np.size(treated_is_weak) == np.size(gold_is_weak) == 0:
        return Excess(0, np.nan, np.nan, np.nan, np.nan, np.nan)
    treated, gold = _columns(treated_is_weak=treated_is_weak, gold_is_weak=gold_is_weak)
    m = len(treated)
    value, variance, df = _means(treated - gold).combine(1)
    low, high = _t_interval(value, _floored(variance, m), df, level)
    return Excess(m, float(treated.mean()), float(gold.mean()), value, low, high)


# --- Agreement --------------------------------------------------------------------------------

# The statistics are functions of means over questions, so that one matrix product serves the
# estimate and all its resamples: rows of axis -2 are right_a, right_b, both right, and for capa
# also same answer and 1 / (options - 1); the last axis is draws.


def _where_both_vary(numerator: Floats, denominator: Floats, p1: Floats, p2: Floats) -> Floats:
    varies = (p1 > 0) & (p1 < 1) & (p2 > 0) & (p2 < 1)
    return np.where(varies, numerator, np.nan) / np.where(varies, denominator, 1)


def _phi(means: Floats) -> Floats:
    p1, p2, p11 = (means[..., i, :] for i in range(3))
    return _where_both_vary(p11 - p1 * p2, np.sqrt(p1 * (1 - p1) * p2 * (1 - p2)), p1, p2)


def _error_consistency(means: Floats) -> Floats:
    p1, p2, p11 = (means[..., i, :] for i in range(3))
    expected = p1 * p2 + (1 - p1) * (1 - p2)
    return _where_both_vary(1 - p1 - p2 + 2 * p11 - expected, 1 - expected, p1, p2)


def _capa(means: Floats) -> Floats:
    p1, p2, _, same, chance = (means[..., i, :] for i in range(5))
    expected = p1 * p2 + (1 - p1) * (1 - p2) * chance
    return _where_both_vary(same - expected, 1 - expected, p1, p2)


def _over_draws(statistic: Callable[[Floats], Floats], means: Floats) -> Floats:
    return np.asarray(statistic(means).mean(axis=-1))


def _correctness(a: ArrayLike, b: ArrayLike) -> Floats:
    right_a, right_b = _binary(a=a, b=b)
    return np.stack([right_a, right_b, right_a * right_b], axis=1)


def _full(
    a_answers: Answers,
    b_answers: Answers,
    a_correct: ArrayLike,
    b_correct: ArrayLike,
    n_options: ArrayLike,
) -> Floats:
    right_a, right_b = _binary(a_correct=a_correct, b_correct=b_correct)
    same = _same(*_answers(a_answers=a_answers, b_answers=b_answers))
    if same.shape != right_a.shape:
        raise ValueError(f"answers and correctness differ in shape: {same.shape}, {right_a.shape}")
    options = np.asarray(n_options, dtype=np.float64)
    if options.shape not in ((), (len(same),)) or not np.all(options >= 2):
        raise ValueError(f"n_options must be one number or shape ({len(same)},), all at least 2")
    chance = np.broadcast_to(1 / (options.reshape(-1, 1) - 1), right_a.shape)
    return np.stack([right_a, right_b, right_a * right_b, same, chance], axis=1)


def phi(a: ArrayLike, b: ArrayLike) -> float:
    """Pearson correlation of the correctness of two runs.

    Args:
        a: Correctness per question, 0/1, shape (n,) or (n, draws).
        b: As `a`; row i is the same question.

    Returns:
        In [-1, 1], the mean over draws; nan when a column is constant.

    Raises:
        ValueError: Numbers of questions or of draws differ, there are none, or a value is not 0/1.

    Example:
        >>> round(phi([1, 1, 1, 0], [1, 1, 0, 0]), 4)
        0.5774
    """
    return float(_over_draws(_phi, _correctness(a, b).mean(axis=0)))


def error_consistency(a: ArrayLike, b: ArrayLike) -> float:
    """Agreement in being right or wrong, beyond that of independent errors (Cohen's kappa).

    (o - e) / (1 - e) with o the share of questions both have right or both wrong, and
    e = p1 p2 + (1 - p1)(1 - p2) from the two accuracies.

    Args:
        a: Correctness per question, 0/1, shape (n,) or (n, draws).
        b: As `a`; row i is the same question.

    Returns:
        At most 1, the mean over draws; nan when a column is constant.

    Raises:
        ValueError: As `phi`.

    References:
        Geirhos, Meding and Wichmann (2020), Beyond Accuracy: Quantifying Trial-by-trial
        Behaviour of CNNs and Humans by Measuring Error Consistency, arXiv:2006.16736.

    Example:
        >>> error_consistency([1, 1, 1, 0], [1, 1, 0, 0])
        0.5
    """
    return float(_over_draws(_error_consistency, _correctness(a, b).mean(axis=0)))


def capa(
    a_answers: Answers,
    b_answers: Answers,
    a_correct: ArrayLike,
    b_correct: ArrayLike,
    n_options: ArrayLike,
) -> float:
    """Chance-adjusted agreement of two runs in their answers, discrete form.

    (o - e) / (1 - e) with o the share of questions with one and the same parsed answer, and
    e = p1 p2 + (1 - p1)(1 - p2) mean(1 / (options - 1)): wrong answers meet by chance.

    Args:
        a_answers: Answers, such as letters, shape (n,) or (n, draws). "" and None (and nan) are
            unparsed and match nothing.
        b_answers: As `a_answers`; row i is the same question.
        a_correct: Correctness of `a_answers`, 0/1.
        b_correct: Correctness of `b_answers`, 0/1.
        n_options: Options of each question, at least 2; shape (n,), or one number for all.

    Returns:
        At most 1, the mean over draws; nan when the correctness of a run is constant.

    Raises:
        ValueError: Shapes differ, there are no questions, correctness is not 0/1, or a question
            has fewer than 2 options.

    References:
        Goel et al. (2025), Great Models Think Alike and this Undermines AI Oversight,
        arXiv:2502.04313.

    Example:
        >>> capa(list("ABCA"), list("ABBD"), [1, 1, 0, 0], [1, 1, 1, 0], n_options=4)
        0.14285714285714285
    """
    columns = _full(a_answers, b_answers, a_correct, b_correct, n_options)
    return float(_over_draws(_capa, columns.mean(axis=0)))


@dataclass(frozen=True)
class Estimate:
    """A value and the ends of its interval; all nan when it is undefined."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Agreement:
    """The three agreement statistics of two runs; see the functions of the same names."""

    phi: Estimate
    error_consistency: Estimate
    capa: Estimate


class QuestionBootstrap:
    """Resamples of n questions, drawn once and shared by all cells and statistics.

    A resample takes a question with all its columns and draws. It is kept as the number of times
    each question is in it, so resampled means are one matrix product.

    Args:
        n: Questions.
        resamples: Resamples.
        seed: Seed of `numpy.random.default_rng`; record it with the output.

    Raises:
        ValueError: `n` or `resamples` is below 1.

    Example:
        >>> right = np.arange(200)
        >>> boot = QuestionBootstrap(200, resamples=1000)
        >>> boot.means(right < 150).std().round(3)  # sqrt(.75 * .25 / 200) = 0.031
        np.float64(0.03)
    """

    def __init__(self, n: int, resamples: int = 10_000, seed: int = 20240) -> None:
        """Draw the resamples."""
        if n < 1 or resamples < 1:
            raise ValueError(f"n and resamples must be at least 1, got {n} and {resamples}")
        self.n, self.resamples, self.seed = n, resamples, seed
        rows = np.random.default_rng(seed).integers(0, n, (resamples, n))
        flat = (rows + n * np.arange(resamples)[:, None]).ravel()
        counts = np.bincount(flat, minlength=resamples * n).reshape(resamples, n)
        # Products of counts and 0/1 are small integers: exact in float32, at half the memory.
        self.counts = counts.astype(np.float32)

    def means(self, columns: ArrayLike) -> Floats:
        """Means over each resample.

        Args:
            columns: Values per question, shape (n, ...).

        Returns:
            Shape (resamples, ...).

        Raises:
            ValueError: `columns` does not hold n questions.
        """
        table = np.asarray(columns, dtype=np.float32)
        if table.shape[:1] != (self.n,):
            raise ValueError(f"columns must hold {self.n} questions, got shape {table.shape}")
        sums = (self.counts @ table.reshape(self.n, -1)).astype(np.float64)
        return (sums / self.n).reshape(self.resamples, *table.shape[1:])

    def agreement(
        self,
        a_answers: Answers,
        b_answers: Answers,
        a_correct: ArrayLike,
        b_correct: ArrayLike,
        n_options: ArrayLike,
        *,
        level: float = 0.95,
    ) -> Agreement:
        """`phi`, `error_consistency` and `capa` of two runs, with intervals.

        The interval is normal on the scale of atanh, where values are cut at 0.999, with the
        standard deviation over resamples as standard error; resamples in which a run is always
        right or always wrong have no value and are left out. It is extended to hold the value:
        two runs without a difference give (0.999, 1), from which nothing about other questions
        follows.

        Args:
            a_answers: As in `capa`.
            b_answers: As in `capa`.
            a_correct: As in `capa`.
            b_correct: As in `capa`.
            n_options: As in `capa`.
            level: Coverage of the intervals, in (0, 1).

        Returns:
            Values and intervals; nan when the correctness of a run is constant.

        Raises:
            ValueError: As `capa`, or the columns do not hold n questions.

        Example:
            >>> a, b = ["A", "B"] * 50, ["A", "B", "A", "A"] * 25  # the target is always "A"
            >>> right_a, right_b = np.array(a) == "A", np.array(b) == "A"
            >>> found = QuestionBootstrap(100).agreement(a, b, right_a, right_b, 4)
            >>> round(found.phi.value, 3), round(found.phi.low, 1), round(found.phi.high, 1)
            (0.577, 0.4, 0.7)
        """
        _check_level(level)
        columns = _full(a_answers, b_answers, a_correct, b_correct, n_options)
        means, resampled = columns.mean(axis=0), self.means(columns)
        z = float(stats.norm.ppf((1 + level) / 2))

        def estimate(statistic: Callable[[Floats], Floats]) -> Estimate:
            value = float(_over_draws(statistic, means))
            if np.isnan(value):
                return Estimate(np.nan, np.nan, np.nan)
            values = _over_draws(statistic, resampled)
            scaled = np.arctanh(np.clip(values[~np.isnan(values)], -_ATANH_CLIP, _ATANH_CLIP))
            centre = np.arctanh(np.clip(value, -_ATANH_CLIP, _ATANH_CLIP))
            half = z * scaled.std(ddof=1) if len(scaled) > 1 else np.nan
            low, high = np.tanh(centre - half), np.tanh(centre + half)
            return Estimate(value, float(np.minimum(low, value)), float(np.maximum(high, value)))

        return Agreement(estimate(_phi), estimate(_error_consistency), estimate(_capa))

    def brier(
        self, probabilities: ArrayLike, target: ArrayLike, *, level: float = 0.95
    ) -> Estimate:
        """The Brier score (see `brier`) with its interval.

        Args:
            probabilities: As in `brier`.
            target: As in `brier`.
            level: Coverage of the interval, in (0, 1).

        Returns:
            Value, and the normal interval with the standard deviation over resamples.

        Raises:
            ValueError: As `brier`.
        """
        _check_level(level)
        losses = _brier_losses(probabilities, target)
        return self._normal(float(losses.mean()), self.means(losses), level)

    def ece(
        self, confidence: ArrayLike, correct: ArrayLike, *, bins: int = 10, level: float = 0.95
    ) -> Estimate:
        """The expected calibration error (see `ece`) with its interval.

        Args:
            confidence: As in `ece`.
            correct: As in `ece`.
            bins: As in `ece`; resamples keep the bins of the sample.
            level: Coverage of the interval, in (0, 1).

        Returns:
            Value, and the normal interval with the standard deviation over resamples. Chance
            makes the value too large when bins are small; the interval does not correct that.

        Raises:
            ValueError: As `ece`.
        """
        _check_level(level)
        by_bin = _overconfidence(confidence, correct, bins)
        resampled = np.abs(self.means(by_bin)).sum(axis=1)
        return self._normal(float(np.abs(by_bin.mean(axis=0)).sum()), resampled, level)

    @staticmethod
    def _normal(value: float, resampled: Floats, level: float) -> Estimate:
        half = float(stats.norm.ppf((1 + level) / 2) * resampled.std(ddof=1))
        return Estimate(value, max(value - half, 0.0), value + half)

    def bands(self, differences: ArrayLike, *, level: float = 0.95) -> tuple[Floats, Floats]:
        """Intervals of the mean differences of many cells that hold all at once (max-T).

        Mean -/+ crit standard errors, the latter as in `paired_difference` for a single draw,
        with crit the `level` quantile over resamples of the largest deviation of any cell.

        Args:
            differences: Per question and cell, in [-1, 1], shape (n, cells).
            level: Probability that every interval holds its value, in (0, 1).

        Returns:
            Lower and upper ends, shape (cells,).

        Raises:
            ValueError: `differences` does not hold n >= 2 questions or `level` is outside (0, 1).

        References:
            Westfall and Young (1993), Resampling-Based Multiple Testing.
        """
        _check_level(level)
        table = np.asarray(differences, dtype=np.float64)
        if table.ndim != 2 or len(table) < 2:
            raise ValueError(f"differences must have shape (n >= 2, cells), got {table.shape}")
        mean = table.mean(axis=0)
        se = np.sqrt(np.maximum(table.var(axis=0, ddof=1) / self.n, _FLOOR / self.n**2))
        largest = (np.abs(self.means(table) - mean) / se).max(axis=1)
        crit = np.quantile(largest, level)
        return mean - crit * se, mean + crit * se


# --- Calibration ------------------------------------------------------------------------------


def _brier_losses(probabilities: ArrayLike, target: ArrayLike) -> Floats:
    p, gold = np.asarray(probabilities, dtype=np.float64), np.asarray(target)
    if p.ndim != 2 or p.size == 0 or gold.shape != p.shape[:1]:
        raise ValueError(
            f"probabilities must have shape (n, options) and target (n,), got {p.shape} "
            f"and {gold.shape}"
        )
    if not (np.all(p >= 0) and np.allclose(p.sum(axis=1), 1, atol=1e-6)):
        raise ValueError("probabilities must not be negative and sum to 1 in each row")
    if not np.issubdtype(gold.dtype, np.integer) or gold.min() < 0 or gold.max() >= p.shape[1]:
        raise ValueError(f"target must hold integers in 0..{p.shape[1] - 1}")
    return np.asarray(np.square(p - np.eye(p.shape[1])[gold]).sum(axis=1))


def brier(probabilities: ArrayLike, target: ArrayLike) -> float:
    """Mean squared distance of the option probabilities from the right answer.

    Args:
        probabilities: Probability of each option, shape (n, options), rows sum to 1; 0 for
            options a question does not have.
        target: Index of the right option, shape (n,).

    Returns:
        In [0, 2], summed over options: 0 is certain and right, 2 certain and wrong.

    Raises:
        ValueError: Shapes differ, a row is not a distribution, or a target is not an option.

    References:
        Brier (1950), Verification of Forecasts Expressed in Terms of Probability, Monthly
        Weather Review 78.

    Example:
        >>> round(brier([[0.5, 0.5, 0.0], [0.0, 0.2, 0.8]], [0, 2]), 3)
        0.29
    """
    return float(_brier_losses(probabilities, target).mean())


def _overconfidence(confidence: ArrayLike, correct: ArrayLike, bins: int) -> Floats:
    """Confidence minus correctness in the column of the question's bin, shape (n, bins)."""
    sure, right = _columns(confidence=confidence, correct=correct)
    if sure.shape[1] > 1:
        raise ValueError(f"confidence and correct must have shape (n,), got {sure.shape}")
    if bins < 1:
        raise ValueError(f"bins must be at least 1, got {bins}")
    sure, right = sure[:, 0], right[:, 0]
    # Ranked by the number below, ties share a bin and the order of the questions does not matter.
    bin_of = np.searchsorted(np.sort(sure), sure) * bins // len(sure)
    table = np.zeros((len(sure), bins))
    table[np.arange(len(sure)), bin_of] = sure - right
    return table


def ece(confidence: ArrayLike, correct: ArrayLike, *, bins: int = 10) -> float:
    """Expected calibration error, in bins that hold equally many questions.

    The mean over questions of |mean confidence - accuracy| of the question's bin.

    Args:
        confidence: Probability given to the answer, in [0, 1], shape (n,).
        correct: Correctness of the answer, shape (n,).
        bins: Bins by increasing confidence. They differ by at most one question, except that
            equal confidences are never parted.

    Returns:
        In [0, 1]; 0 when confidence equals accuracy in every bin.

    Raises:
        ValueError: Shapes differ, there are no questions or bins, or a value is not in [0, 1].

    References:
        Naeini, Cooper and Hauskrecht (2015), Obtaining Well Calibrated Probabilities Using
        Bayesian Binning, AAAI.

    Example:
        >>> round(ece([0.5, 0.5, 0.9, 0.9], [0, 1, 1, 1], bins=2), 3)
        0.05
    """
    return float(np.abs(_overconfidence(confidence, correct, bins).mean(axis=0)).sum())


# --- Planning ---------------------------------------------------------------------------------


def _power(
    effect: float,
    spread: float,
    draw_spread: float,
    n: int,
    draws: int,
    draw_sd: float,
    floor: float,
    level: float,
) -> float:
    """Power against a mean of `effect` whose questions have variance `spread`."""
    # 0.3 of the variance of a question is run noise, which averages out over draws.
    vq = max(spread * (0.7 + 0.3 / draws) / n, floor / n**2)
    vs = draw_sd**2 * draw_spread / draws
    total = vq + vs
    estimated, df = vq, float(n - 1)
    if draws >= MIN_RANDOM_DRAWS:
        seen = vs + 0.3 * spread / (n * draws)
        estimated = vq + seen
        df = estimated**2 / (vq**2 / (n - 1) + seen**2 / (draws - 1))
        df = float(np.clip(df, 1, n - 1))
    c = _t_quantile(df, level)
    return float(stats.norm.sf(c * np.sqrt(estimated / total) - abs(effect) / np.sqrt(total)))


def _check_design(
    n: int, draws: int, draw_sd: float, level: float, power: float = 0.8, gap: float = 0.5
) -> None:
    _check_level(level)
    if n < MIN_QUESTIONS:
        raise ValueError(f"n must be at least {MIN_QUESTIONS} (no ratio is given below), got {n}")
    if draws < 1 or draw_sd < 0:
        raise ValueError(f"draws must be at least 1 and draw_sd not negative: {draws}, {draw_sd}")
    if not 0 < power < 1:
        raise ValueError(f"power must be in (0, 1), got {power}")
    if not 0 < gap <= 1:
        raise ValueError(f"gap must be in (0, 1] (a fraction, not points), got {gap}")


def _smallest(enough: Callable[[int], bool], low: int, high: int) -> int | None:
    """Smallest number in low..high that is enough; None when none is.

    Power can fall again as questions are added: three draws then carry most of the variance, and
    the degrees of freedom drop towards two. So a first number that is enough is sought by
    doubling, not at `high`.
    """
    reach = min(low, high)
    while not enough(reach):
        if reach >= high:
            return None
        low, reach = reach + 1, min(2 * reach, high)
    return bisect_left(range(reach), True, lo=low, key=enough)


def pgr_power(
    gap: float,
    r0: float,
    r1: float,
    n: int,
    *,
    draws: int = 1,
    draw_sd: float = 0.0,
    r_bc: float = 0.03,
    r_ab: float = 0.03,
    r_ac: float = 0.01,
    level: float = 0.95,
) -> float:
    """Probability that the interval of a ratio leaves out `r0` when the true ratio is `r1`.

    A normal approximation, within 4 points of simulation. With t1 = r1 gap, t2 = (1 - r1) gap
    the variance per question at r0 is

        (1 - r0) (|t1| + 2 r_ab - t1^2) - r0 (1 - r0) (gap + 2 r_bc - gap^2)
        + r0 (|t2| + 2 r_ac - t2^2)

    Args:
        gap: Accuracy of the ceiling minus that of the base, a fraction in (0, 1].
        r0: Ratio to be told apart from.
        r1: True ratio.
        n: Questions, at least 30.
        draws: Draws of the demonstrations.
        draw_sd: Standard deviation of accuracy over draws, a fraction (0.01 is one point).
        r_bc: Share of questions only the worse of base and ceiling gets right.
        r_ab: The same for treated and base.
        r_ac: The same for treated and ceiling.
        level: Coverage of the interval, in (0, 1).

    Returns:
        A probability.

    Raises:
        ValueError: An argument is outside its range.

    Example:
        >>> round(pgr_power(0.10, 0.5, 0.8, 200), 4)
        0.4772
    """
    _check_design(n, draws, draw_sd, level, gap=gap)
    t1, t2 = r1 * gap, (1 - r1) * gap
    spread = (
        (1 - r0) * (abs(t1) + 2 * r_ab - t1**2)
        - r0 * (1 - r0) * (gap + 2 * r_bc - gap**2)
        + r0 * (abs(t2) + 2 * r_ac - t2**2)
    )
    draw_spread = 1 + r0**2 - 1.4 * r0  # effects of a draw on treated and ceiling correlate 0.7
    floor = _FLOOR * (1 - r0 + r0**2)
    effect = (r1 - r0) * gap
    return _power(effect, max(spread, 0), draw_spread, n, draws, draw_sd, floor, level)


def questions_needed(
    gap: float,
    r0: float,
    r1: float,
    *,
    power: float = 0.8,
    draws: int = 1,
    draw_sd: float = 0.0,
    r_bc: float = 0.03,
    r_ab: float = 0.03,
    r_ac: float = 0.01,
    level: float = 0.95,
) -> float:
    """Questions it takes to tell a ratio of `r1` from `r0`.

    Args:
        gap: As in `pgr_power`.
        r0: As in `pgr_power`.
        r1: As in `pgr_power`.
        power: Probability wanted, in (0, 1).
        draws: As in `pgr_power`.
        draw_sd: As in `pgr_power`.
        r_bc: As in `pgr_power`.
        r_ab: As in `pgr_power`.
        r_ac: As in `pgr_power`.
        level: As in `pgr_power`.

    Returns:
        A whole number, at least 30; nan when 20,000 are not enough: then it takes more draws,
        not more questions.

    Raises:
        ValueError: An argument is outside its range.

    Example:
        >>> questions_needed(0.10, 0.5, 0.8)
        430
        >>> questions_needed(0.10, 0.5, 0.8, draws=5, draw_sd=0.01)
        386
    """
    _check_design(MIN_QUESTIONS, draws, draw_sd, level, power, gap)

    def enough(n: int) -> bool:
        reached = pgr_power(
            gap,
            r0,
            r1,
            n,
            draws=draws,
            draw_sd=draw_sd,
            r_bc=r_bc,
            r_ab=r_ab,
            r_ac=r_ac,
            level=level,
        )
        return reached >= power

    found = _smallest(enough, MIN_QUESTIONS, MAX_PLANNED_QUESTIONS)
    return np.nan if found is None else found


def gap_needed(
    n: int,
    *,
    power: float = 0.8,
    draws: int = 1,
    draw_sd: float = 0.0,
    r_bc: float = 0.03,
    level: float = 0.95,
) -> float:
    """True gap at which a ratio is reported (`status` "ok") with the given probability.

    The approximation of `pgr_power` for the gap itself: the variance per question is
    gap + 2 r_bc - gap^2.

    Args:
        n: Questions, at least 30.
        power: Probability wanted, in (0, 1).
        draws: As in `pgr_power`.
        draw_sd: As in `pgr_power`.
        r_bc: As in `pgr_power`.
        level: As in `pgr_power`.

    Returns:
        A fraction, rounded up to 0.001; nan when no gap is enough.

    Raises:
        ValueError: An argument is outside its range.

    Example:
        >>> gap_needed(484)
        0.041
    """
    _check_design(n, draws, draw_sd, level, power)

    def enough(step: int) -> bool:
        gap = step / 1000
        spread = gap + 2 * r_bc - gap**2
        return _power(gap, spread, 1, n, draws, draw_sd, _FLOOR, level) >= power

    found = _smallest(enough, 1, 1000)
    return np.nan if found is None else found / 1000


def smallest_detectable(
    gap: float,
    n: int,
    *,
    r0: float = 0.5,
    power: float = 0.8,
    draws: int = 1,
    draw_sd: float = 0.0,
    r_bc: float = 0.03,
    r_ab: float = 0.03,
    r_ac: float = 0.01,
    level: float = 0.95,
) -> float:
    """How far above `r0` a ratio must lie to be told apart from it.

    Args:
        gap: As in `pgr_power`.
        n: As in `pgr_power`.
        r0: As in `pgr_power`.
        power: Probability wanted, in (0, 1).
        draws: As in `pgr_power`.
        draw_sd: As in `pgr_power`.
        r_bc: As in `pgr_power`.
        r_ab: As in `pgr_power`.
        r_ac: As in `pgr_power`.
        level: As in `pgr_power`.

    Returns:
        r1 - r0, rounded up to 0.01; nan when even a difference of 1 in accuracy is not enough.

    Raises:
        ValueError: An argument is outside its range.

    Example:
        >>> smallest_detectable(0.10, 484, draws=5, draw_sd=0.01)
        0.28
    """
    _check_design(n, draws, draw_sd, level, power, gap)

    def enough(step: int) -> bool:
        reached = pgr_power(
            gap,
            r0,
            r0 + step / 100,
            n,
            draws=draws,
            draw_sd=draw_sd,
            r_bc=r_bc,
            r_ab=r_ab,
            r_ac=r_ac,
            level=level,
        )
        return reached >= power

    found = _smallest(enough, 1, int(100 * (1 / gap - r0)))
    return np.nan if found is None else found / 100
