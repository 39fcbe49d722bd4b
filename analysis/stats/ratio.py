"""Ratios: the share of a gap that is recovered, with Fieller's interval."""

from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from w2s_icl.analysis.stats import paired
from w2s_icl.analysis.stats.paired import MIN_QUESTIONS, means_of, t_interval, t_quantile

_NO_MEAN: Final = 1e-12  # below this a mean of fractions is rounding error


class Ratio(NamedTuple):
    """A share of a gap. Fractions; nan where nothing is reported."""

    n: int
    draws: int
    numerator: float  # mean treated minus mean base
    numerator_low: float
    numerator_high: float
    gap: float  # mean ceiling minus mean base
    gap_low: float
    gap_high: float
    t_gap: float  # the gap over its standard error
    df: float
    value: float  # nan, with its interval, unless `status` is "ok"
    low: float
    high: float
    # "gap_reversed": the interval of the gap lies below 0. "gap_not_established": it holds 0, the
    # set of the ratio is unbounded, or there are fewer than 30 questions.
    status: Literal["ok", "gap_not_established", "gap_reversed"]

    @property
    def fragile(self) -> bool:
        """An "ok" ratio with `t_gap` below 3, to be drawn hollow."""
        return self.status == "ok" and self.t_gap < 3


def _fieller(x: float, d: float, covariance: paired.Floats, c: float) -> tuple[float, float]:
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
    base: ArrayLike, treated: ArrayLike, ceiling: ArrayLike, *, clusters: paired.Clusters = None
) -> Ratio:
    """Share of the gap between `base` and `ceiling` that `treated` recovers.

    (mean treated - mean base) / (mean ceiling - mean base): 0 when the treated runs are no better
    than the base, 1 when they reach the ceiling. Never clipped: a value outside [0, 1] is a result.

    The ratio is that of Burns et al. (2023), arXiv:2312.09390; the interval is Fieller's (1954,
    JRSS B 16), paired by question: the values r at which the mean of (treated - base) -
    r (ceiling - base) does not differ from 0, united with the same set under a minimum variance. At
    0 that test compares treated with base, at 1 treated with ceiling; the set is bounded when
    ceiling and base differ. From 20 clusters of questions on, such as their categories, it is
    united with the set under the variance clustered by them, too.

    Columns that are means over several cells, of the same questions and draws, give the ratio of
    means: the cells are not counted as independent, and one with a tiny gap decides nothing.

    Example:
        >>> right = np.arange(200)  # question i is right when i < threshold
        >>> ratio = gap_recovered(right < 120, right < 150, right < 160)
        >>> ratio.value, round(ratio.low, 3), round(ratio.high, 3), ratio.status
        (0.75, 0.609, 0.891, 'ok')
    """
    b, a, c = paired.columns_of(base=base, treated=treated, ceiling=ceiling)
    over_base, gaps = a - b, c - b
    means = means_of(over_base, gaps, clusters=clusters)
    n = means.n
    x, x_variance, x_df = means.floored(1, 0)
    d, d_variance, d_df = means.floored(0, 1)
    d_low, d_high = t_interval(d, d_variance, d_df)
    df = ratio = value = low = high = np.nan
    status: Literal["ok", "gap_not_established", "gap_reversed"] = "gap_not_established"
    if abs(d) > _NO_MEAN:
        ratio = float(over_base.sum() / gaps.sum())  # of 0/1 columns, exactly rounded
        df = means.combine(1, -ratio)[2]
    if n >= MIN_QUESTIONS and d_high < 0:
        status = "gap_reversed"
    elif n >= MIN_QUESTIONS and d_low > 0:
        sets = [
            (of + means.over_draws, means.variance(of, of_df, 1, -ratio)[1])
            for of, of_df in means.over_questions
        ]
        # `FLOOR` for the two differences, which share the base
        sets.append((paired.FLOOR / n**2 * np.array([[1, 0.5], [0.5, 1]]), df))
        ends = np.array([_fieller(x, d, of, t_quantile(of_df)) for of, of_df in sets])
        if not np.isnan(ends).any():
            status = "ok"
            value, low, high = ratio, float(ends[:, 0].min()), float(ends[:, 1].max())
    numerator, gap = (x, *t_interval(x, x_variance, x_df)), (d, d_low, d_high)
    t_gap = d / float(np.sqrt(d_variance))
    return Ratio(n, means.draws, *numerator, *gap, t_gap, df, value, low, high, status)


def clustered_ratio(
    base: ArrayLike, treated: ArrayLike, ceiling: ArrayLike, clusters: ArrayLike
) -> float:
    """Standard error of the ratio with clustered questions over the one without.

    Of e_q = (treated - base) - ratio (ceiling - base), mean over draws, on question q: the variance
    over questions by `means_of`, clustered and not; from three draws on, that over draws is added
    to both. The K - 1 degrees of freedom are left out. Above 1.15 the plain interval is too short
    to be shown without a warning. It is 1 for clusters of one question each, and nan when the gap
    is 0, there is one cluster, or the plain standard error is 0.
    """
    b, a, c = paired.columns_of(base=base, treated=treated, ceiling=ceiling)
    means = means_of(a - b, c - b, clusters=clusters, least=2)
    if len(means.over_questions) < 2 or abs(means.values[1]) <= _NO_MEAN:
        return np.nan
    ratio = float(means.values[0] / means.values[1])
    plain, together = (means.variance(*of, 1, -ratio)[0] for of in means.over_questions)
    varies = plain > paired.NO_VARIANCE * (1 + ratio**2)
    return float(np.sqrt(together / plain)) if varies else np.nan
