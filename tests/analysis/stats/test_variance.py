"""Variance components against other ways to compute them."""

from itertools import combinations, product

import numpy as np
import pytest
from scipy.stats import chi2

from w2s_icl.analysis.stats.paired import variance_components

RNG = np.random.default_rng(5)


def test_balanced_components_are_means_over_pairs_of_runs() -> None:
    runs = 0.7 + 0.03 * RNG.normal(size=(5, 1)) + 0.02 * RNG.normal(size=(5, 4))
    found = variance_components(list(runs))

    within = [(a - b) ** 2 / 2 for of in runs for a, b in combinations(of, 2)]
    across = [(a - b) ** 2 / 2 for x, y in combinations(runs, 2) for a, b in product(x, y)]
    assert found.orders == pytest.approx(np.mean(within))
    assert found.draws == pytest.approx(np.mean(across) - np.mean(within))
    # the ends are the variances at which the mean square would be an extreme of its distribution
    for end, p in ((found.low, 0.975), (found.high, 0.025)):
        assert chi2.cdf(15 * found.orders / end**2, 15) == pytest.approx(p)


def test_unbalanced_components_solve_the_equations_of_expected_squares() -> None:
    sizes = [1, 4, 2, 6]
    draw = np.repeat(np.arange(4), sizes)
    y = RNG.normal(size=13)
    z = (draw[:, None] == np.arange(4)).astype(float)
    of_draws, of_all = z @ np.linalg.pinv(z), np.full((13, 13), 1 / 13)
    forms = [np.eye(13) - of_draws, of_draws - of_all]
    expected = [[np.trace(a), np.trace(a @ z @ z.T)] for a in forms]

    orders, draws = np.linalg.solve(expected, [y @ a @ y for a in forms])

    found = variance_components([y[draw == d] for d in range(4)])
    assert (found.orders, found.draws) == pytest.approx((orders, draws))


def test_what_cannot_be_told_is_nan() -> None:
    one_draw = variance_components([np.array([0.5, 0.6])])
    assert one_draw.orders == pytest.approx(0.005)
    assert np.isnan(one_draw.draws)
    one_order = variance_components([np.array([0.5]), np.array([0.6])])
    assert np.isnan([one_order.orders, one_order.draws, one_order.low]).all()
    equal = variance_components([np.array([0.7, 0.7, 0.7])])
    assert (equal.orders, np.isnan(equal.high)) == (0, True)
