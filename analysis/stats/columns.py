"""Columns of correctness: their checks, their means with variances, and t intervals.

One variance serves all statistics: the sample covariance over questions of the means over draws
and, from three draws on, also that over draws of the means over questions. Where questions are
clustered, the larger of the plain and the clustered variance over questions counts.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Floats = NDArray[np.float64]

LEVEL: Final = 0.95  # coverage of all intervals
MIN_QUESTIONS: Final = 30  # fewer questions give no ratio and decide nothing
MIN_RANDOM_DRAWS: Final = 3  # from here on an interval speaks of demonstrations that were not shown
MIN_CLUSTERS: Final = 20  # fewer clusters do not show how much questions go together
NO_VARIANCE: Final = 1e-14  # below this a variance of fractions is rounding error

FLOOR: Final = 4.0
"""Times 1/n^2: the variance of a mean difference when four of n questions differ.

Two standard errors are then 4/n, near the exact bound 3.7/n for no event in n. It keeps an interval
from collapsing where two columns agree everywhere.
"""


def columns_of(**arrays: ArrayLike) -> list[Floats]:
    """The named arrays, shape (n,) or (n, draws), as (n, draws) with one number of draws."""
    columns = {name: np.asarray(array, dtype=np.float64) for name, array in arrays.items()}
    shapes = {name: column.shape for name, column in columns.items()}
    for name, column in columns.items():
        if column.ndim not in (1, 2) or not column.size:
            raise ValueError(
                f"{name} must have shape (n,) or (n, draws) and not be empty, got {column.shape}"
            )
        if not np.all((column >= 0) & (column <= 1)):  # nan fails too
            raise ValueError(f"{name} must be finite and in [0, 1]")
    tables = [column.reshape(len(column), -1) for column in columns.values()]
    n, draws = len(tables[0]), max(table.shape[1] for table in tables)
    if any(len(table) != n or table.shape[1] not in (1, draws) for table in tables):
        raise ValueError(f"columns must hold the same questions and draws, got shapes {shapes}")
    return [np.broadcast_to(table, (n, draws)) for table in tables]


def is_binary(*columns: NDArray[Any]) -> bool:
    """Whether all values are 0 or 1."""
    return all(bool(np.all((column == 0) | (column == 1))) for column in columns)


@dataclass(frozen=True)
class Estimates:
    """m estimates from the same questions, and how their errors vary together."""

    n: int
    draws: int
    values: Floats  # shape (m,)
    # covariances, shape (m, m), with degrees of freedom: the plain one, and that of clusters if any
    over_questions: list[tuple[Floats, float]]
    over_draws: Floats  # covariance, shape (m, m); 0 below three draws

    def combine(self, *weights: float) -> tuple[float, float, float]:
        """Value, variance and degrees of freedom of a weighted sum."""
        found = (self.variance(of, df, *weights) for of, df in self.over_questions)
        value = float(np.array(weights) @ self.values)
        return value, *max(found, key=lambda variance: variance[0])

    def variance(self, over_questions: Floats, df: float, *weights: float) -> tuple[float, float]:
        """Variance of a weighted sum, with its degrees of freedom, by one of `over_questions`."""
        w = np.array(weights)
        vq, vs = (max(float(w @ of @ w), 0.0) for of in (over_questions, self.over_draws))
        varies = vs > NO_VARIANCE * float(w @ w)
        return vq + vs, float(satterthwaite(vq, df, vs, self.draws)) if varies else df


def means_of(
    *columns: Floats, clusters: ArrayLike | None = None, least: int = MIN_CLUSTERS
) -> Estimates:
    """Means of columns of shape (n, draws); clustered where there are `least` clusters."""
    cube = np.stack(columns)
    m, n, draws = cube.shape
    by_question = cube.mean(axis=2)
    plain = np.cov(by_question).reshape(m, m) / n if n > 1 else np.full((m, m), np.nan)
    values = cube.mean(axis=(1, 2))
    residuals = (by_question - values[:, None]).T / n
    together = clustered(residuals, clusters, least)
    over_draws = of_draws(cube.mean(axis=1)) if n > 1 else np.zeros((m, m))
    return Estimates(n, draws, values, [(plain, n - 1.0), *together], over_draws)


def of_draws(by_draw: Floats) -> Floats:
    """Covariance of the means over draws of m rows, shape (m, draws); 0 below three draws."""
    m, draws = by_draw.shape
    many = draws >= MIN_RANDOM_DRAWS
    return np.cov(by_draw).reshape(m, m) / draws if many else np.zeros((m, m))


def clustered(
    residuals: Floats, clusters: ArrayLike | None, least: int = MIN_CLUSTERS
) -> list[tuple[Floats, float]]:
    """Covariance of the sum of `residuals`, shape (n, m), whose questions go together.

    K / (K - 1) times the sum over the K clusters of the products of their sums, shape (m, m), with
    K - 1 degrees of freedom; nothing where there are fewer than `least` clusters. CR1: Cameron and
    Miller (2015), A Practitioner's Guide to Cluster-Robust Inference, J. of Human Resources 50.
    """
    if clusters is None:
        return []
    labels = np.asarray(clusters)
    if labels.shape != (len(residuals),):
        raise ValueError(f"clusters must have shape ({len(residuals)},), got {labels.shape}")
    names, codes = np.unique(labels, return_inverse=True)
    k = len(names)
    if k < least:
        return []
    sums = np.stack([np.bincount(codes, weights=of) for of in residuals.T], axis=1)
    return [(np.asarray(k / (k - 1) * sums.T @ sums), k - 1.0)]


def satterthwaite(vq: Any, df: Any, vs: Any, draws: Any) -> Any:
    """Degrees of freedom of vq + vs (Satterthwaite 1946); vq has `df`, vs those of the draws."""
    return np.clip((vq + vs) ** 2 / (vq**2 / df + vs**2 / (draws - 1)), 1, df)


def floored(variance: float, n: float) -> float:
    """A variance, no smaller than `FLOOR` allows; nan stays."""
    return float(np.maximum(variance, FLOOR / n**2))


@lru_cache(maxsize=4096)
def t_quantile(df: float) -> float:
    """Quantile of a two-sided interval."""
    return float(stats.t.ppf((1 + LEVEL) / 2, df))


def t_interval(mean: float, variance: float, df: float) -> tuple[float, float]:
    """Mean plus and minus the quantile times the standard error."""
    half = t_quantile(df) * float(np.sqrt(variance))
    return mean - half, mean + half
