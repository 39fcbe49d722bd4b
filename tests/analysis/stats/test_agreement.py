from collections import Counter
from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from tests.analysis.stats.samples import (
    GOLD,
    NAN,
    RIGHT_STRONG,
    RIGHT_WEAK,
    STRONG,
    TARGET,
    W2S,
    WEAK,
    Floats,
    graded,
    letters,
    printed,
)
from w2s_icl.analysis.stats.agreement import (
    MatchCounts,
    QuestionBootstrap,
    imitation_excess,
    matching_counts,
)
from w2s_icl.analysis.stats.paired import paired_difference


def test_example_matching_fix_and_break() -> None:
    treated = np.array([letters(row) for row in W2S], dtype=object).T

    m = matching_counts(treated, letters(STRONG), letters(WEAK), letters(TARGET))

    assert m.every == MatchCounts(40, (13, 13, 12), (16, 17, 19), (5, 4, 3), (6, 6, 6))
    assert m.weak_wrong == MatchCounts(26, (1, 1, 0), (16, 17, 18), (4, 2, 2), (5, 6, 6))
    assert (m.fixed, m.strong_wrong) == ((5, 7, 6), 11)
    assert (m.broken, m.strong_right) == ((1, 1, 0), 29)


def test_example_imitation() -> None:
    wrong = [i for i in range(40) if WEAK[i] not in ("-", TARGET[i])]

    def is_weak(rows: tuple[str, ...]) -> Floats:
        return np.array([[float(row[i] == WEAK[i]) for row in rows] for i in wrong])

    e = imitation_excess(is_weak(W2S), is_weak(GOLD))

    assert e.m == 25
    assert (e.treated, e.gold, e.value) == printed(0.133333, 0.026667, 0.106667)
    assert e.low < 0 < e.value < e.high


@pytest.mark.parametrize(
    ("other", "expected"),
    [(WEAK, (0.200019, 0.121339, 0.183168)), (STRONG, (0.600463, 0.575972, 0.287257))],
)
def test_example_agreement(other: str, expected: tuple[float, ...]) -> None:
    a, b = graded(W2S[0]), graded(other)
    answers = letters(W2S[0]), letters(other)

    boot = QuestionBootstrap(40, resamples=500).agreement(*answers, a, b, n_options=4)

    estimates = (boot.phi, boot.error_consistency, boot.capa)
    assert tuple(e.value for e in estimates) == printed(*expected)
    assert all(e.low < e.value < e.high for e in estimates)


@pytest.mark.parametrize("unparsed", ["", None, NAN])
def test_unparsed_answers_match_nothing(unparsed: str | float | None) -> None:
    nothing, a = [unparsed] * 3, ["A", "B", "C"]
    m = matching_counts(nothing, nothing, nothing, a)
    assert m.every == MatchCounts(3, (0,), (0,), (0,), (3,))
    assert m.weak_wrong.n == 3
    assert (m.fixed, m.strong_wrong, m.broken, m.strong_right) == ((0,), 3, (0,), 0)
    boot = QuestionBootstrap(2, resamples=2)
    both = boot.agreement([unparsed, "A"], [unparsed, "A"], [0, 1], [0, 1], 4).capa.value
    assert both == pytest.approx((0.5 - (0.25 + 0.25 / 3)) / (1 - (0.25 + 0.25 / 3)))


@given(st.lists(st.tuples(*[st.sampled_from(["A", "B", "C", ""])] * 4), min_size=1))
def test_matching_counts_by_a_loop_and_symmetric(rows: list[tuple[str, str, str, str]]) -> None:
    a, s, w, t = map(list, zip(*rows, strict=True))
    m, swapped = matching_counts(a, s, w, t), matching_counts(a, w, s, t)
    kinds = Counter((x != "" and x == y, x != "" and x == z) for x, y, z, _ in rows)
    assert m.every.both == (kinds[True, True],)
    assert m.every.strong == (kinds[True, False],) == swapped.every.weak
    assert m.every.weak == (kinds[False, True],) == swapped.every.strong
    assert m.every.neither == (kinds[False, False],)
    counts = m.weak_wrong
    total = counts.both[0] + counts.strong[0] + counts.weak[0] + counts.neither[0]
    assert total == counts.n == sum(z != u or z == "" for _, _, z, u in rows)
    assert m.strong_wrong + m.strong_right == len(rows)


def test_imitation_interval() -> None:
    a, b = np.arange(50) < 20, np.arange(50) < 10
    e, d = imitation_excess(a, b), paired_difference(a, b)
    assert (e.value, e.low, e.high) == (d.diff, d.low, d.high)
    same = imitation_excess(a, a)
    half = scipy_stats.t.ppf(0.975, 49) * 2 / 50
    assert (same.low, same.high) == pytest.approx((-half, half))
    assert np.isnan(astuple(imitation_excess([], []))[1:]).all()
    assert imitation_excess([], []).m == 0
    with pytest.raises(ValueError, match="treated_is_weak"):
        imitation_excess([], [1])


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

    agreement = QuestionBootstrap(90, resamples=300, seed=4).agreement(*columns)

    rows = np.random.default_rng(4).integers(0, 90, (300, 90))
    resampled = np.array([by_hand(*(column[i] for column in columns)) for i in rows])
    estimates = (agreement.phi, agreement.error_consistency, agreement.capa)
    for e, value, values in zip(estimates, by_hand(*columns), resampled.T, strict=True):
        se = np.arctanh(values).std(ddof=1)
        ends = np.tanh(np.arctanh(value) + scipy_stats.norm.ppf([0.025, 0.975]) * se)
        assert (e.value, e.low, e.high) == pytest.approx((value, *ends), abs=1e-5)


def test_bootstrap_of_a_constant_column_is_nan_and_of_identical_ones_holds_1() -> None:
    boot = QuestionBootstrap(40, resamples=200)
    ones, answers = np.ones(40), letters(TARGET)
    constant = boot.agreement(answers, letters(WEAK), ones, RIGHT_WEAK, 4)
    assert np.isnan(astuple(constant.phi) + astuple(constant.capa)).all()
    same = boot.agreement(letters(WEAK), letters(WEAK), RIGHT_WEAK, RIGHT_WEAK, 4)
    assert astuple(same.phi) == pytest.approx((1, 0.999, 1))


def test_bootstrap_leaves_out_resamples_without_a_value() -> None:
    a = np.arange(30) < 29  # a third of the resamples miss the one wrong answer
    b = np.arange(30) < 20
    answers = [["B", "A"][int(right)] for right in a], [["B", "A"][int(right)] for right in b]
    e = QuestionBootstrap(30, resamples=500).agreement(*answers, a, b, 4).phi
    assert np.isfinite(astuple(e)).all()
    assert e.low < e.value < e.high


def test_bootstrap_refuses_other_questions_options_and_shapes() -> None:
    boot = QuestionBootstrap(40, resamples=2)
    pair = letters(WEAK), letters(STRONG), RIGHT_WEAK, RIGHT_STRONG
    with pytest.raises(ValueError, match="do not hold 39 questions"):
        QuestionBootstrap(39, resamples=2).agreement(*pair, 4)
    with pytest.raises(ValueError, match="n_options"):
        boot.agreement(*pair, [4] * 39 + [1])
    with pytest.raises(ValueError, match="differ in shape"):
        boot.agreement(["A"], ["A"], *pair[2:], 4)
