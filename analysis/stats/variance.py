"""How much of an accuracy is the order of the demonstrations, how much is which they are."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import chi2

from w2s_icl.analysis.stats.columns import LEVEL, Floats


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
    sizes = np.array([len(of) for of in accuracy])
    means = np.array([of.mean() for of in accuracy])
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
    ends = np.sqrt(squares / chi2.ppf([(1 + LEVEL) / 2, (1 - LEVEL) / 2], n - groups))
    return Components(orders, draws, *ends.tolist())
