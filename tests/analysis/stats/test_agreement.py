"""Agreement against the worked example and against resampling by index."""

import numpy as np
import pytest
from scipy import stats as scipy_stats

from tests.analysis.stats.samples import RIGHT_WEAK, TARGET, WEAK, Floats
from w2s_icl.analysis.stats.agreement import QuestionBootstrap


def column(row: str) -> np.ndarray[tuple[int, ...], np.dtype[np.str_]]:
    """Letters, shape (n, 1); "" where unparsed."""
    return np.array([[letter.strip("-")] for letter in row])


def test_unparsed_answers_match_nothing() -> None:
    answers = column("-A"), column("-A")
    value = QuestionBootstrap(2, resamples=2).agreement(*answers, [0, 1], [0, 1], [4, 4])["capa"][0]
    assert value == pytest.approx((0.5 - (0.25 + 0.25 / 3)) / (1 - (0.25 + 0.25 / 3)))


def by_hand(
    a: Floats, b: Floats, right_a: Floats, right_b: Floats, options: Floats
) -> tuple[float, float, float]:
    p1, p2 = right_a.mean(), right_b.mean()
    e = p1 * p2 + (1 - p1) * (1 - p2)
    chance = p1 * p2 + (1 - p1) * (1 - p2) * (1 / (options - 1)).mean()
    kappa = ((right_a == right_b).mean() - e) / (1 - e)
    return np.corrcoef(right_a, right_b)[0, 1], kappa, ((a == b).mean() - chance) / (1 - chance)


def test_bootstrap_against_resampling_by_index() -> None:
    rng = np.random.default_rng(8)
    options = rng.integers(2, 6, 90)
    a, b = (rng.integers(0, options) for _ in range(2))
    b = np.where(rng.random(90) < 0.5, a, b)
    columns = [a, b, a == 0, b == 0, options]

    found = QuestionBootstrap(90, resamples=300, seed=4).agreement(
        a.astype(str)[:, None], b.astype(str)[:, None], *columns[2:]
    )

    rows = np.random.default_rng(4).integers(0, 90, (300, 90))
    resampled = np.array([by_hand(*(column[i] for column in columns)) for i in rows])
    for e, value, values in zip(found.values(), by_hand(*columns), resampled.T, strict=True):
        se = np.arctanh(values).std(ddof=1)
        ends = np.tanh(np.arctanh(value) + scipy_stats.norm.ppf([0.025, 0.975]) * se)
        assert e == pytest.approx((value, *ends), abs=1e-5)


def test_bootstrap_of_a_constant_column_is_nan_and_of_identical_ones_holds_1() -> None:
    boot = QuestionBootstrap(40, resamples=200)
    weak, options = column(WEAK), [4] * 40
    constant = boot.agreement(column(TARGET), weak, np.ones(40), RIGHT_WEAK, options)
    assert np.isnan(list(constant.values())).all()
    same = boot.agreement(weak, weak, RIGHT_WEAK, RIGHT_WEAK, options)
    assert same["phi"] == pytest.approx((1, 0.999, 1))


def test_bootstrap_leaves_out_resamples_without_a_value() -> None:
    a = np.arange(30)[:, None] < 29  # a third of the resamples miss the one wrong answer
    b = np.arange(30)[:, None] < 20
    answers = np.where(a, "A", "B"), np.where(b, "A", "B")
    found = QuestionBootstrap(30, resamples=500).agreement(*answers, a, b, [4] * 30)
    value, low, high = found["phi"]
    assert low < value < high
