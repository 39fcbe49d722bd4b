"""How much of an accuracy is the order of the demonstrations, how much is which they are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2

from w2s_icl.analysis.stats.columns import LEVEL, Floats


@dataclass(frozen=True)
class Components:
    """Variance of an accuracy on fixed questions, by source; nan where the runs cannot tell.

    Attributes:
        orders: Between orders of the same demonstrations; noise from run to run is in it.
        draws: Between draws, beyond what the orders within them explain. An estimate below 0 is
            left as it is.
        low: Lower end of the 95% interval of the square root of `orders`; nan where that is 0.
        high: Upper end.
    """

    orders: float
    draws: float
    low: float
    high: float


def variance_components(accuracy: Sequence[Floats]) -> Components:
    """Split the variance of accuracies into that between orders and that between draws.

    Analysis of variance of nested groups (method of moments): the mean square within draws
    estimates `orders`, that between draws estimates `orders` + n0 `draws`, where n0 is the number
    of orders of a draw, or its equivalent where draws have different numbers. The interval is
    that of a variance (chi-square), which takes the accuracies of a draw as normal.

    Args:
        accuracy: By draw, the accuracies in its orders, each of shape (orders of the draw,).

    References:
        Searle, Casella and McCulloch (1992), Variance Components, chapter 3.
        Lu et al. (2022), Fantastically Ordered Prompts and Where to Find Them, arXiv:2104.08786.

    Example:
        >>> found = variance_components([np.array([0.70, 0.74]), np.array([0.80, 0.80])])
        >>> round(found.orders, 6), round(found.draws, 6)
        (0.0004, 0.003)
    """
    sizes = np.array([len(of) for of in accuracy])
    means = np.array([of.mean() for of in accuracy])
    n, groups = int(sizes.sum()), len(sizes)
    squares = sum(float(((of - of.mean()) ** 2).sum()) for of in accuracy)
    if n == groups:  # one order of each draw
        return Components(math.nan, math.nan, math.nan, math.nan)
    orders = squares / (n - groups)
    draws = math.nan
    if groups > 1:
        between = float(sizes @ (means - sizes @ means / n) ** 2) / (groups - 1)
        draws = (between - orders) / ((n - sizes @ sizes / n) / (groups - 1))
    if squares < 1e-20:  # all equal, but for rounding
        return Components(0.0, float(draws), math.nan, math.nan)
    low, high = (
        math.sqrt(squares / float(chi2.ppf(p, n - groups)))
        for p in ((1 + LEVEL) / 2, (1 - LEVEL) / 2)
    )
    return Components(orders, float(draws), low, high)
