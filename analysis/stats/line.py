"""A gain as a straight line of what is known of each question: least squares, robust errors."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from w2s_icl.analysis.stats.columns import (
    MIN_RANDOM_DRAWS,
    Estimates,
    clustered,
    columns_of,
    floored,
)
from w2s_icl.analysis.stats.paired import Difference


class Line(Estimates):
    """A fitted line: `values` are its intercept and slope."""

    def at(self, x: float) -> Difference:
        """The value at `x`, with a variance of at least 4/n^2."""
        value, variance, df = self.combine(1, x)
        return Difference.tested(self.n, self.draws, value, floored(variance, self.n), df)

    @property
    def intercept(self) -> Difference:
        """The value at 0, with a variance of at least 4/n^2."""
        return self.at(0)

    @property
    def slope(self) -> Difference:
        """The rise per unit; all but the value is nan where it has no variance."""
        return Difference.tested(self.n, self.draws, *self.combine(0, 1))


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
        >>> line.values.round(2).tolist(), bool(line.slope.low > 0)
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
    values = lines.mean(axis=1)
    residuals = (left - right).mean(axis=1) - design @ values
    leverage = (design * solve.T).sum(axis=1)
    parts = solve.T * residuals[:, None]
    scaled = parts / (1 - leverage)[:, None]
    over_questions = [(scaled.T @ scaled, n - 2.0), *clustered(parts, clusters)]
    many = draws >= MIN_RANDOM_DRAWS
    over_draws = np.cov(lines) / draws if many else np.zeros((2, 2))
    return Line(n, draws, values, over_questions, over_draws)
