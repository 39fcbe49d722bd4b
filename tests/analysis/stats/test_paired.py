import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from tests.analysis.stats.samples import NAN, Bools, stairs, triples
from w2s_icl.analysis.stats.paired import holm, mean_interval, paired_difference, uniform_p, wilson


def test_wilson_without_trials_is_nan() -> None:
    assert np.isnan(wilson(0, 0)).all()
    assert wilson(0, 50)[0] == 0
    assert wilson(50, 50)[1] == 1


@pytest.mark.parametrize("value", [0, 1])
def test_accuracy_without_variance_keeps_a_width(value: int) -> None:
    low, high = mean_interval(np.full((200, 3), value))
    assert (low, high) == pytest.approx((0, 0.0197) if value == 0 else (0.9803, 1), abs=1e-4)
    assert low < high


@given(triples())
def test_a_difference_changes_sign_with_its_columns(tables: list[Bools]) -> None:
    a, b, _ = tables
    there, back = paired_difference(a, b), paired_difference(b, a)
    assert (there.diff, there.low, there.high) == pytest.approx((-back.diff, -back.high, -back.low))
    assert (there.n10, there.n01, there.p, there.p_exact) == pytest.approx(
        (back.n01, back.n10, back.p, back.p_exact), nan_ok=True
    )


def test_the_t_test_is_that_of_scipy_for_repeated_runs() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.integers(0, 3, 100) / 2, rng.integers(0, 3, 100) / 2
    d = paired_difference(a, b)
    assert d.p == pytest.approx(scipy_stats.ttest_rel(a, b).pvalue)
    assert math.isnan(d.n10)
    assert math.isnan(d.n01)


def test_mcnemars_test_stands_beside_only_without_variation_over_draws() -> None:
    a, b = stairs(100, 60, 50)
    single = paired_difference(a, b)
    twice = paired_difference(np.stack([a, a], 1), b)
    differing = paired_difference(np.stack([a, ~a], 1), b)
    thrice = paired_difference(np.stack([a, a, a], 1), b)
    assert (single.n10, single.n01) == (twice.n10, twice.n01) == (10, 0)
    assert single.p_exact == twice.p_exact == pytest.approx(2**-9)
    assert math.isnan(differing.n10)
    assert math.isnan(thrice.n10)
    assert (thrice.low, thrice.high) == pytest.approx((single.low, single.high))


def test_identical_columns_have_p_1_and_a_width() -> None:
    a = np.arange(200) < 90
    for columns in (a, np.stack([a, a, a], 1)):
        d = paired_difference(columns, columns)
        assert (d.diff, d.p) == (0, 1)
        assert (d.low, d.high) == pytest.approx((-0.0197, 0.0197), abs=1e-4)


def test_one_question_has_no_interval() -> None:
    d = paired_difference([1], [0])
    assert (d.diff, d.p_exact) == (1, 1)
    assert np.isnan([d.low, d.high, d.p]).all()
    assert np.isnan(mean_interval([0.5])).all()


@given(st.lists(st.one_of(st.just(NAN), st.floats(0, 1)), max_size=12))
def test_holm_by_its_definition(p: list[float]) -> None:
    found = holm(p)
    family = sorted(v for v in p if not math.isnan(v))
    for value, adjusted in zip(p, found, strict=True):
        if math.isnan(value):
            assert math.isnan(adjusted)
        else:
            upto = [(len(family) - i) * v for i, v in enumerate(family) if v <= value]
            # Of tied values the first, with the largest factor, decides for all.
            assert adjusted == pytest.approx(min(1, max(upto)))


def test_p_is_below_5_percent_exactly_where_the_interval_leaves_out_0() -> None:
    rng = np.random.default_rng(15)
    excluded = 0
    for i in range(2_000):
        n, draws = int(rng.integers(5, 60)), 1 + i % 4
        a, b = rng.random((2, n, draws)) < rng.uniform(0.2, 0.8, (2, 1, 1))
        d = paired_difference(a, b)
        assert (d.p < 0.05) == (d.low > 0 or d.high < 0)
        excluded += d.p < 0.05
    assert 200 < excluded < 1_800


def test_places_where_little_is_expected_are_taken_together() -> None:
    square = 0.5**2 / 11.5 + 0.5**2 / 9.5  # the third place goes with the first

    assert uniform_p([11, 10, 0], [9.5, 9.5, 2]) == pytest.approx(scipy_stats.chi2.sf(square, 1))
    assert uniform_p([11, 10, 3, 3], [9.5, 9.5, 4, 4]) == pytest.approx(
        scipy_stats.chi2.sf(2.25 / 9.5 + 0.25 / 9.5 + 4 / 8, 2)
    )
    assert math.isnan(uniform_p([9, 1], [8, 2]))
