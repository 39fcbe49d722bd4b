"""A gain as a straight line of what is known of each question: least squares, robust errors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from w2s_icl.analysis.stats.columns import (
    MIN_RANDOM_DRAWS,
    Floats,
    cluster_codes,
    clustered,
    columns_of,
    floored,
    satterthwaite,
)
from w2s_icl.analysis.stats.paired import Difference


@dataclass(frozen=True)
class Line:
    """A fitted line.

    Attributes:
        n: Questions.
        draws: Draws of the demonstrations.
        coefficients: Intercept and slope.
        plain: Their HC3 covariance over questions, shape (2, 2).
        together: The one clustered by category; None where it does not apply.
        clusters: Number of clusters.
        by_draw: Covariance of the mean over draws of each draw's own line; 0 below three draws.
    """

    n: int
    draws: int
    coefficients: Floats
    plain: Floats
    together: Floats | None
    clusters: int
    by_draw: Floats

    def combine(self, *weights: float, least: bool = False) -> Difference:
        """A weighted sum of intercept and slope; `least` for the minimum variance, 4/n^2."""
        w = np.array(weights)
        vq, df = float(w @ self.plain @ w), float(self.n - 2)
        if self.together is not None and (other := float(w @ self.together @ w)) > vq:
            vq, df = other, float(self.clusters - 1)
        vs = float(w @ self.by_draw @ w)
        df = satterthwaite(vq, df, vs, self.draws)
        variance = floored(vq + vs, self.n) if least else vq + vs
        return Difference.tested(self.n, self.draws, float(w @ self.coefficients), variance, df)

    @property
    def intercept(self) -> Difference:
        """The value at 0, with a variance of at least 4/n^2."""
        return self.combine(1, 0, least=True)

    @property
    def slope(self) -> Difference:
        """The rise per unit; all but the value is nan where it has no variance."""
        return self.combine(0, 1)


def gain_line(
    a: ArrayLike, b: ArrayLike, known: ArrayLike, *, clusters: ArrayLike | None = None
) -> Line:
    """Least squares of a - b on what is known of each question, `known`, shape (n,).

    Errors are HC3; from 20 clusters on, the larger of these and of those clustered by them (CR1);
    from three draws on, the variance over draws of each draw's own line is added.

    Raises:
        ValueError: `known` does not hold one number per question, or there are fewer than three
            questions or all have the same number.

    References:
        MacKinnon and White (1985), Some Heteroskedasticity-Consistent Covariance Matrix Estimators,
        Journal of Econometrics 29 (HC3).

    Example:
        >>> known = np.arange(200) / 200
        >>> line = gain_line(known > 0.5, np.zeros(200), known)
        >>> line.coefficients.round(2).tolist(), bool(line.slope.low > 0)
        ([-0.25, 1.5], True)
    """
    left, right = columns_of(a=a, b=b)
    x = np.asarray(known, dtype=np.float64)
    n, draws = left.shape
    if x.shape != (n,) or not np.isfinite(x).all():
        raise ValueError(f"known must hold {n} numbers, got shape {x.shape}")
    if n < 3 or np.ptp(x) == 0:
        raise ValueError("known must differ between at least three questions")
    design = np.stack([np.ones(n), x], axis=1)
    solve = np.linalg.inv(design.T @ design) @ design.T  # (2, n)
    lines = solve @ (left - right)  # (2, draws)
    coefficients = lines.mean(axis=1)
    residuals = (left - right).mean(axis=1) - design @ coefficients
    leverage = (design * solve.T).sum(axis=1)
    parts = solve.T * residuals[:, None]
    scaled = parts / (1 - leverage)[:, None]
    codes = cluster_codes(clusters, n)
    return Line(
        n,
        draws,
        coefficients,
        scaled.T @ scaled,
        None if codes is None else clustered(parts, codes),
        0 if codes is None else int(codes.max()) + 1,
        np.cov(lines) / draws if draws >= MIN_RANDOM_DRAWS else np.zeros((2, 2)),
    )
