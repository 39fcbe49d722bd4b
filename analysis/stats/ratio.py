"""Ratios: the share of a gap that is recovered, with Fieller's interval."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import ArrayLike

from w2s_icl.analysis.stats.columns import (
    MIN_QUESTIONS,
    MIN_RANDOM_DRAWS,
    NO_VARIANCE,
    Floats,
    Means,
    Scope,
    check_level,
    clustered,
    columns_of,
    floored,
    means_of,
    t_interval,
    t_quantile,
)

Status = Literal["ok", "gap_not_established", "gap_reversed"]

_RATIO_FLOOR: Final = np.array([[4.0, 2.0], [2.0, 4.0]])
"""`FLOOR` for the two differences of a ratio, which share the base."""

_NO_MEAN: Final = 1e-12
"""Below this a mean of fractions is rounding error."""


@dataclass(frozen=True)
class Ratio:
    """A share of a gap. Fractions; nan where nothing is reported.

    Attributes:
        n: Questions.
        draws: Draws of the demonstrations.
        scope: "random_demos" from three draws on; else "fixed_demos": the intervals speak of the
            demonstrations shown and of no others.
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
        status: "gap_not_established" when the interval of the gap holds 0, the set of the ratio is
            unbounded, or there are fewer than 30 questions; "gap_reversed" when the interval of the
            gap lies below 0; else "ok".
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
        Fractions, not percent. `value`, `low` and `high` are nan unless `status` is "ok": a ratio
        is not reported when its own gap is not established. The numerator and the gap have
        intervals in any case, except that one question gives none.

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
    check_level(level)
    b, a, c = columns_of(base=base, treated=treated, ceiling=ceiling)
    return _ratio(means_of(a - b, c - b), level)


def _ratio(means: Means, level: float) -> Ratio:
    n = means.n
    x, x_variance, x_df = means.combine(1, 0)
    d, d_variance, d_df = means.combine(0, 1)
    x_low, x_high = t_interval(x, floored(x_variance, n), x_df, level)
    d_low, d_high = t_interval(d, floored(d_variance, n), d_df, level)
    t_gap = d / float(np.sqrt(floored(d_variance, n)))

    df = ratio = value = low = high = np.nan
    status: Status = "gap_not_established"
    if abs(d) > _NO_MEAN:
        ratio = float(means.total[0] / means.total[1])  # of 0/1 columns, exactly rounded
        df = means.combine(1, -ratio)[2]
    if n >= MIN_QUESTIONS and d_high < 0:
        status = "gap_reversed"
    elif n >= MIN_QUESTIONS and d_low > 0:
        quantile = t_quantile(df, level)
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
    share questions, demonstrations or a model are not counted as independent. A cell with a large
    gap weighs more; in a mean of ratios, one cell with a tiny gap could decide the result.

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
    check_level(level)
    named = {
        f"cell {i} {name}": column
        for i, triple in enumerate(triples)
        for name, column in zip(("base", "treated", "ceiling"), triple, strict=True)
    }
    if not named:
        raise ValueError("triples must hold at least one cell")
    cube = np.stack(columns_of(**named))
    b, a, c = cube[0::3].mean(axis=0), cube[1::3].mean(axis=0), cube[2::3].mean(axis=0)
    return _ratio(means_of(a - b, c - b), level)


def clustered_ratio(
    base: ArrayLike, treated: ArrayLike, ceiling: ArrayLike, clusters: ArrayLike
) -> float:
    """Standard error of the ratio with clustered questions over the one without.

    With r = numerator / gap, e_q = mean over draws of (treated - base) - r (ceiling - base) on
    question q (their sum is 0) and K clusters, the variance over questions is

        plain:     sum_q e_q^2 / (n (n - 1))
        clustered: K / (K - 1) * sum_k (sum_{q in k} e_q)^2 / n^2

    From three draws on, the variance over draws is added to both. A clustered interval would also
    use K - 1 degrees of freedom, which this number leaves out. Above 1.15 the plain interval is too
    short to be shown without a warning.

    Args:
        base: As in `gap_recovered`.
        treated: As in `gap_recovered`.
        ceiling: As in `gap_recovered`.
        clusters: Cluster of each question, such as its category; shape (n,).

    Returns:
        The square root of clustered over plain; 1 for clusters of one question each; nan when the
        gap is 0, there is one cluster, or the plain standard error is 0.

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
    b, a, c = columns_of(base=base, treated=treated, ceiling=ceiling)
    labels = np.asarray(clusters)
    if labels.shape != b.shape[:1]:
        raise ValueError(f"clusters must have shape ({len(b)},), got {labels.shape}")
    means = means_of(a - b, c - b)
    cluster = np.unique(labels, return_inverse=True)[1]
    k, n = int(cluster.max()) + 1, means.n
    if abs(means.combine(0, 1)[0]) <= _NO_MEAN or k == 1:
        return np.nan
    weights = np.array([1.0, -means.total[0] / means.total[1]])
    residuals = np.stack([a - b, c - b], axis=-1).mean(axis=1) @ weights
    by_draw = float(weights @ means.by_draw @ weights)
    plain = float(weights @ means.by_question @ weights) + by_draw
    together = float(clustered(residuals[:, None], cluster)[0, 0]) / n**2 + by_draw
    if plain <= NO_VARIANCE * float(weights @ weights):
        return np.nan
    return float(np.sqrt(together / plain))
