import math
import re
from collections import Counter
from dataclasses import astuple, replace
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats as scipy_stats

from w2s_icl.analysis.stats import (
    MatchCounts,
    QuestionBootstrap,
    Ratio,
    _fieller,
    _means,
    brier,
    capa,
    clustered_ratio,
    ece,
    error_consistency,
    gap_needed,
    gap_recovered,
    holm,
    imitation_excess,
    matching_counts,
    mcnemar,
    mean_interval,
    paired_difference,
    pgr_power,
    phi,
    pooled_gap_recovered,
    questions_needed,
    smallest_detectable,
    subgroup_difference,
    wilson,
)

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Triple = tuple[Floats, Floats, Floats]

# The worked example of STATS.md, section 14: 40 questions, "-" is unparsed.
TARGET = "ACAABBDDDDAADAAADBBABCDCDABCCAABADCDCCBB"
WEAK = "AABDC-DCBDADCABABABDCBBDABBABAACBBCDBBBB"
STRONG = "ABCACBCDDDAADAAADDBABDACAABACAAAADCDCCBC"
W2S = (
    "AABABBADDDAADABADCBABCBCAABCCAABADCDCCBB",
    "AAAAB-DDDDAADAAADBBABBACAABCCAABADCDCCBB",
    "AABABBDDDDAADAAADBBABCACBABCCAABADCDCCBC",
)
GOLD = (
    "ABDABBDDDDAADAAADBBABCACDABCCAABADCDCCBB",
    "AAAABBDDDDAADAAADBBABCACDABCCAABADCDCCBB",
    "ABAACBDDDDAADAAADDBABDACDABCCAABADCDCCBB",
)


def letters(row: str) -> list[str | None]:
    return [None if letter == "-" else letter for letter in row]


def graded(*rows: str) -> Floats:
    columns = [[float(a == t) for a, t in zip(row, TARGET, strict=True)] for row in rows]
    return np.array(columns[0]) if len(rows) == 1 else np.array(columns).T


RIGHT_WEAK, RIGHT_STRONG = graded(WEAK), graded(STRONG)
RIGHT_W2S, RIGHT_GOLD = graded(*W2S), graded(*GOLD)


def printed(*values: float) -> object:
    """The values to the six decimals of the specification."""
    return pytest.approx(values, abs=5.1e-7, nan_ok=True)


# --- The worked example -----------------------------------------------------------------------


def test_example_accuracies() -> None:
    assert RIGHT_WEAK.mean() == 0.35
    assert RIGHT_STRONG.mean() == 0.725
    assert RIGHT_W2S.mean(axis=0).tolist() == [0.825, 0.875, 0.875]
    assert RIGHT_GOLD.mean(axis=0).tolist() == [0.925, 0.95, 0.875]
    assert wilson(14, 40) == printed(0.221345, 0.504941)
    assert mean_interval(RIGHT_WEAK) == wilson(14, 40)


def test_example_covariances() -> None:
    base = RIGHT_WEAK[:, None]

    means = _means(RIGHT_W2S - base, RIGHT_GOLD - base)

    expected = [[0.00626603, 0.00550570], [0.00550570, 0.00572650]]
    assert means.by_question == pytest.approx(np.array(expected), abs=5.1e-9)
    expected = [[0.000277778, -0.0000694444], [-0.0000694444, 0.000486111]]
    assert means.by_draw == pytest.approx(np.array(expected), abs=5.1e-10)


NAN = math.nan


@pytest.mark.parametrize(
    ("triple", "gap", "ratio", "status"),
    [
        pytest.param(
            (RIGHT_WEAK, RIGHT_W2S[:, 0], RIGHT_GOLD[:, 0]),
            (0.475, 0.575, 0.414887, 0.735113, 7.263932, 39),
            (0.826087, 0.640064, 1.002164),
            ("ok", "fixed_demos", 1),
            id="pgr_gold, draw 0 only",
        ),
        pytest.param(
            (RIGHT_WEAK, RIGHT_W2S[:, :2], RIGHT_GOLD[:, :2]),
            (0.5, 0.5875, 0.430124, 0.744876, 7.550886, 39),
            (0.851064, 0.698131, 1.025439),
            ("ok", "fixed_demos", 2),
            id="pgr_gold, draws 0-1",
        ),
        pytest.param(
            (RIGHT_WEAK, RIGHT_W2S, RIGHT_GOLD),
            (0.508333, 0.566667, 0.407238, 0.726095, 7.189368, 9.414050),
            (0.897059, 0.719901, 1.106712),
            ("ok", "random_demos", 3),
            id="pgr_gold, all draws",
        ),
        pytest.param(
            (RIGHT_WEAK, RIGHT_W2S, RIGHT_STRONG),
            (0.508333, 0.375, 0.187710, 0.562290, 4.049922, 39),
            (1.355556, 1.043848, 2.102374),
            ("ok", "random_demos", 3),
            id="pgr_zero, all draws",
        ),
        pytest.param(
            (RIGHT_STRONG, RIGHT_W2S, RIGHT_GOLD),
            (0.133333, 0.191667, 0.065246, 0.318088, 3.073504, 10.070793),
            (0.695652, 0.100787, 1.436265),
            ("ok", "random_demos", 3),
            id="egr, all draws",
        ),
        pytest.param(
            (RIGHT_WEAK, RIGHT_GOLD[:, 0], RIGHT_GOLD[:, 0]),
            (0.575, 0.575, 0.414887, 0.735113, 7.263932, 39),
            (1.0, 0.836579, 1.195345),
            ("ok", "fixed_demos", 1),
            id="treated is the ceiling",
        ),
        pytest.param(
            (RIGHT_GOLD[:, 0], RIGHT_W2S[:, 0], RIGHT_WEAK),
            (-0.1, -0.575, -0.735113, -0.414887, -7.263932, 39),
            (NAN, NAN, NAN),
            ("gap_reversed", "fixed_demos", 1),
            id="reversed",
        ),
    ],
)
def test_example_ratios(
    triple: Triple,
    gap: tuple[float, ...],
    ratio: tuple[float, ...],
    status: tuple[str, str, int],
) -> None:
    r = gap_recovered(*triple)

    assert (r.numerator, r.gap, r.gap_low, r.gap_high, r.t_gap, r.df) == printed(*gap)
    assert (r.value, r.low, r.high) == printed(*ratio)
    assert (r.status, r.scope, r.draws) == status
    assert r.n == 40
    assert not r.fragile


def test_example_no_supervision() -> None:
    r = gap_recovered(RIGHT_WEAK, RIGHT_STRONG, RIGHT_GOLD)
    assert r.value == pytest.approx(0.661765, abs=5e-7)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (RIGHT_W2S[:, 0], RIGHT_WEAK, (20, 1, 2.098083e-05)),
        (RIGHT_GOLD[:, 0], RIGHT_W2S[:, 0], (4, 0, 0.125)),
        (RIGHT_W2S[:, 0], RIGHT_STRONG, (5, 1, 0.21875)),
    ],
)
def test_example_mcnemar(a: Floats, b: Floats, expected: tuple[int, int, float]) -> None:
    assert mcnemar(a, b) == pytest.approx(expected, rel=1e-6)
    d = paired_difference(a, b)
    assert (d.n10, d.n01, d.p) == mcnemar(a, b)


def test_example_holm() -> None:
    assert holm([0.01, 0.04, 0.03, 0.2]) == pytest.approx(np.array([0.04, 0.09, 0.09, 0.2]))


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

    point = phi(a, b), error_consistency(a, b), capa(*answers, a, b, n_options=4)
    boot = QuestionBootstrap(40, resamples=500).agreement(*answers, a, b, n_options=4)

    assert point == printed(*expected)
    for value, estimate in zip(point, (boot.phi, boot.error_consistency, boot.capa), strict=True):
        assert estimate.value == value
        assert estimate.low < value < estimate.high


def test_example_quadratic() -> None:
    v = np.array([[0.0009, 0.0007], [0.0007, 0.0010]])
    c = 1.971957
    # The ends are printed cut off, not rounded: 0.34277346 and 1.38448457.
    assert _fieller(0.08, 0.10, v, c) == pytest.approx((0.342773, 1.384484), abs=1e-6)
    assert 0.05**2 - c**2 * v[1, 1] == pytest.approx(-0.00138861, abs=5e-9)
    assert np.isnan(_fieller(0.03, 0.05, v, c)).all()


def test_example_plan() -> None:
    assert questions_needed(0.1, 0.5, 0.8) == 430
    assert questions_needed(0.1, 0.5, 0.8, draws=5, draw_sd=0.01) == 386
    assert questions_needed(0.1, 0.5, 0.8, draws=5, draw_sd=0.02) == 653
    assert pgr_power(0.1, 0.5, 0.8, 200) == pytest.approx(0.4772, abs=5e-5)
    # v = 0.0491 is not returned: the power follows from it with the c of 199 df.
    se = math.sqrt(0.0491 / 200)
    c = scipy_stats.t.ppf(0.975, 199)
    expected = scipy_stats.norm.sf(c - 0.03 / se)
    assert pgr_power(0.1, 0.5, 0.8, 200) == pytest.approx(expected, abs=1e-9)


# --- The other printed numbers ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("gap", "expected"),
    [
        (0.05, [1302, NAN, 1979, NAN, 12430]),
        (0.10, [430, 477, 386, 653, 404]),
        (0.15, [237, 228, 199, 235, 195]),
        (0.20, [158, 146, 130, 142, 125]),
    ],
)
def test_plan_table(gap: float, expected: list[float]) -> None:
    designs = [(1, 0.0), (3, 0.01), (5, 0.01), (5, 0.02), (10, 0.02)]
    found = [questions_needed(gap, 0.5, 0.8, draws=s, draw_sd=sd) for s, sd in designs]
    assert found == pytest.approx(expected, abs=0, nan_ok=True)


def test_plan_gap_needed() -> None:
    assert [gap_needed(n) for n in (100, 200, 484, 817)] == [0.114, 0.071, 0.041, 0.03]


@pytest.mark.parametrize(
    ("gap", "expected"), [(0.1, [0.41, 0.28, 0.22]), (0.2, [0.25, 0.17, 0.13])]
)
def test_plan_smallest_detectable(gap: float, expected: list[float]) -> None:
    found = [smallest_detectable(gap, n, draws=5, draw_sd=0.01) for n in (200, 484, 817)]
    assert found == expected


@pytest.mark.parametrize(("draws", "draw_sd"), [(1, 0.0), (2, 0.01), (3, 0.01), (5, 0.01)])
def test_questions_needed_is_the_first_number_with_the_power(draws: int, draw_sd: float) -> None:
    def power(n: int) -> float:
        return pgr_power(0.15, 0.5, 0.9, n, draws=draws, draw_sd=draw_sd)

    n = questions_needed(0.15, 0.5, 0.9, draws=draws, draw_sd=draw_sd)

    assert power(int(n)) >= 0.8 > power(int(n) - 1)


def test_questions_needed_finds_a_number_below_which_power_falls_again() -> None:
    def power(n: int) -> float:
        return pgr_power(0.066, 0.5, 0.8, n, draws=3, draw_sd=0.01)

    n = questions_needed(0.066, 0.5, 0.8, draws=3, draw_sd=0.01)

    assert power(int(n)) >= 0.8 > power(20_000)


def test_power_has_the_minimum_variance() -> None:
    c = scipy_stats.t.ppf(0.975, 99)
    found = pgr_power(0.1, 1.0, 0.8, 100, r_ac=0)  # 0.0196 / 100 is below 4 / 100**2
    assert found == pytest.approx(scipy_stats.norm.sf(c - 0.02 / math.sqrt(4 / 100**2)))


def test_plan_rejects_points_and_small_samples() -> None:
    with pytest.raises(ValueError, match="gap must be in"):
        pgr_power(10, 0.5, 0.8, 200)
    with pytest.raises(ValueError, match="n must be at least 30"):
        gap_needed(29)
    with pytest.raises(ValueError, match="power must be in"):
        questions_needed(0.1, 0.5, 0.8, power=1)
    with pytest.raises(ValueError, match="draws must be"):
        smallest_detectable(0.1, 200, draws=0)


# --- A second implementation, question by question --------------------------------------------

Table = list[list[int]]


def slow_gap_recovered(base: Table, treated: Table, ceiling: Table) -> dict[str, float | str]:
    """`gap_recovered` for 0/1 runs: integer sums, and ends found by bisection of the test."""
    n = len(base)
    draws = 1
    for table in (base, treated, ceiling):
        draws = max(draws, len(table[0]))

    x_of_question, d_of_question = [], []
    x_of_draw, d_of_draw = [0] * draws, [0] * draws
    for q in range(n):
        x_sum = d_sum = 0
        for s in range(draws):
            b = base[q][s] if len(base[q]) > 1 else base[q][0]
            a = treated[q][s] if len(treated[q]) > 1 else treated[q][0]
            c = ceiling[q][s] if len(ceiling[q]) > 1 else ceiling[q][0]
            x_sum += a - b
            d_sum += c - b
            x_of_draw[s] += a - b
            d_of_draw[s] += c - b
        x_of_question.append(x_sum)
        d_of_question.append(d_sum)
    x_total, d_total = sum(x_of_question), sum(d_of_question)

    def variances(p: Fraction, r: Fraction) -> tuple[Fraction, Fraction]:
        """Of the mean of p X - r D: over questions and over draws, exactly."""
        centre = (p * x_total - r * d_total) / n
        squares = Fraction(0)
        for (xq, dq), times in Counter(zip(x_of_question, d_of_question, strict=True)).items():
            squares += times * (p * xq - r * dq - centre) ** 2
        over_questions = squares / (n - 1) / n / draws**2
        over_draws = Fraction(0)
        if draws >= 3:
            centre = (p * x_total - r * d_total) / draws
            for xs, ds in zip(x_of_draw, d_of_draw, strict=True):
                over_draws += (p * xs - r * ds - centre) ** 2
            over_draws = over_draws / (draws - 1) / draws / n**2
        return over_questions, over_draws

    def quantile(over_questions: Fraction, over_draws: Fraction) -> tuple[float, float]:
        df = float(n - 1)
        if over_draws > 0:
            top = (over_questions + over_draws) ** 2
            bottom = over_questions**2 / (n - 1) + over_draws**2 / (draws - 1)
            df = min(max(float(top / bottom), 1.0), n - 1.0)
        return df, float(scipy_stats.t.isf(0.025, df))

    out: dict[str, float | str] = {}
    for name, total, p, r in (("numerator", x_total, 1, 0), ("gap", d_total, 0, -1)):
        vq, vs = variances(Fraction(p), Fraction(r))
        _, c_here = quantile(vq, vs)
        se = math.sqrt(max(vq + vs, Fraction(4, n * n)))
        mean = total / (n * draws)
        out[name], out[f"{name}_low"] = mean, mean - c_here * se
        out[f"{name}_high"] = mean + c_here * se
        out["t_gap"] = mean / se
    out.update(df=NAN, value=NAN, low=NAN, high=NAN, status="gap_not_established")
    if d_total == 0:
        return out

    ratio = Fraction(x_total, d_total)
    out["df"], c_ratio = quantile(*variances(Fraction(1), ratio))
    x, d = x_total / (n * draws), d_total / (n * draws)
    v_xx = float(sum(variances(Fraction(1), Fraction(0))))
    v_dd = float(sum(variances(Fraction(0), Fraction(1))))
    v_xd = (v_xx + v_dd - float(sum(variances(Fraction(1), Fraction(1))))) / 2
    if float(out["gap_high"]) < 0:
        out["status"] = "gap_reversed"
    if float(out["gap_low"]) <= 0:
        return out

    lows: list[float] = []
    highs: list[float] = []
    for xx, xd, dd in ((v_xx, v_xd, v_dd), (4 / n**2, 2 / n**2, 4 / n**2)):
        if d * d <= c_ratio**2 * dd:
            return out
        for sign, ends in ((-1, lows), (1, highs)):

            def rejected(r: float, xx: float = xx, xd: float = xd, dd: float = dd) -> bool:
                return abs(x - r * d) > c_ratio * math.sqrt(max(xx - 2 * r * xd + r * r * dd, 0.0))

            inside, step = float(ratio), 0.5
            while not rejected(float(ratio) + sign * step):
                inside = float(ratio) + sign * step
                step *= 2
            outside = float(ratio) + sign * step
            for _ in range(100):
                middle = (inside + outside) / 2
                if rejected(middle):
                    outside = middle
                else:
                    inside = middle
            ends.append(inside)
    out.update(status="ok", value=float(ratio), low=min(lows), high=max(highs))
    return out


def random_table(rng: np.random.Generator, latent: Floats, accuracy: float, draws: int) -> Bools:
    shift = rng.normal(0, 0.1 * rng.integers(0, 2), draws)
    noise = rng.normal(0, rng.choice([0.2, 0.7]), (len(latent), draws))
    return latent[:, None] + noise + shift < scipy_stats.norm.ppf(accuracy)


def random_triple(rng: np.random.Generator, n: int, draws: int) -> list[Bools]:
    """Runs of related accuracy: gaps of both signs and none, some columns identical or single."""
    latent = rng.normal(size=n)
    start = rng.uniform(0.2, 0.7)
    gap = rng.choice([-0.3, -0.05, 0.0, 0.03, 0.1, 0.3])
    levels = [start, start + gap * rng.choice([0.0, 0.4, 0.8, 1.0, 1.2]), start + gap]
    tables = [
        random_table(rng, latent, float(np.clip(level, 0.01, 0.99)), int(rng.choice([1, draws])))
        for level in levels
    ]
    match rng.integers(0, 12):
        case 0:
            tables[1] = tables[0]
        case 1:
            tables[1] = tables[2]
        case 2:
            tables[2] = tables[0]
        case 3:
            tables[1] = tables[2][:, ::-1]  # equal means over draws
        case 4:
            tables = [tables[0]] * 3
    return tables


def test_second_implementation_agrees() -> None:
    rng = np.random.default_rng(1954)
    seen: Counter[str] = Counter()
    for i in range(300):
        n, draws = int(rng.integers(30, 818)), 1 + i % 5
        tables = random_triple(rng, n, draws)

        fast = gap_recovered(*[t[:, 0] if t.shape[1] == 1 else t for t in tables])
        slow = slow_gap_recovered(*[t.astype(int).tolist() for t in tables])

        assert fast.status == slow.pop("status"), (i, fast)
        for name, value in slow.items():
            expected = pytest.approx(value, rel=1e-6, abs=1e-6, nan_ok=True)
            assert getattr(fast, name) == expected, (i, name, fast)
        seen[fast.status] += 1
    assert min(seen["ok"], seen["gap_reversed"], seen["gap_not_established"]) > 50


# --- Properties of the ratio ------------------------------------------------------------------


@st.composite
def triples(draw: st.DrawFn, max_draws: int = 4) -> list[Bools]:
    n = draw(st.integers(30, 120))
    draws = draw(st.integers(1, max_draws))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    return random_triple(rng, n, draws)


def close(a: Ratio, b: Ratio) -> bool:
    return all(
        left == right
        if isinstance(left, str | bool)
        else left == pytest.approx(right, rel=1e-6, abs=1e-6, nan_ok=True)
        for left, right in zip(astuple(a), astuple(b), strict=True)
    )


@given(triples())
def test_swapping_base_and_ceiling_of_errors_mirrors_the_ratio(tables: list[Bools]) -> None:
    base, treated, ceiling = tables

    r = gap_recovered(base, treated, ceiling)
    mirrored = gap_recovered(~ceiling, ~treated, ~base)

    assert mirrored.status == r.status
    expected = (r.gap, r.t_gap, r.df, 1 - r.value, 1 - r.high, 1 - r.low)
    got = (mirrored.gap, mirrored.t_gap, mirrored.df, mirrored.value, mirrored.low, mirrored.high)
    assert got == pytest.approx(expected, rel=1e-6, abs=1e-6, nan_ok=True)


@given(triples())
def test_counting_errors_reverses_the_gap(tables: list[Bools]) -> None:
    r = gap_recovered(*tables)
    errors = gap_recovered(*[~t for t in tables])

    reverse = {"ok": "gap_reversed", "gap_reversed": "ok"}
    assert errors.gap == pytest.approx(-r.gap)
    assert (errors.gap_low, errors.gap_high) == pytest.approx((-r.gap_high, -r.gap_low))
    if r.status == "ok":
        assert errors.status == reverse[r.status]
        assert math.isnan(errors.value)


@given(triples(), st.integers(0, 1000))
def test_order_of_questions_does_not_matter(tables: list[Bools], seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(tables[0]))
    assert close(gap_recovered(*[t[order] for t in tables]), gap_recovered(*tables))


@given(triples(), st.integers(0, 1000))
def test_joint_order_of_draws_does_not_matter(tables: list[Bools], seed: int) -> None:
    order = np.random.default_rng(seed).permutation(max(t.shape[1] for t in tables))
    shuffled = [t if t.shape[1] == 1 else t[:, order] for t in tables]
    assert close(gap_recovered(*shuffled), gap_recovered(*tables))


@given(triples())
def test_repeating_a_single_column_is_what_happens_anyway(tables: list[Bools]) -> None:
    draws = max(t.shape[1] for t in tables)
    repeated = [np.repeat(t, draws // t.shape[1], axis=1) for t in tables]
    assert close(gap_recovered(*repeated), gap_recovered(*tables))


@given(triples())
def test_treated_equal_to_ceiling_or_base_is_around_1_or_0(tables: list[Bools]) -> None:
    base, _, ceiling = tables
    n = len(base)

    one, zero = gap_recovered(base, ceiling, ceiling), gap_recovered(base, base, ceiling)

    assert zero.numerator == 0
    for r, value in ((one, 1), (zero, 0)):
        if r.status == "ok":
            assert r.value == value
            assert r.low < value < r.high
            c = float(scipy_stats.t.ppf(0.975, n - 1))
            floor = np.array([[4, 2], [2, 4]]) / n**2
            assert (r.low, r.high) == pytest.approx(_fieller(r.numerator, r.gap, floor, c))


@given(triples(max_draws=1), st.floats(-1, 3))
def test_plain_set_holds_a_value_when_the_t_test_does_not_reject_it(
    tables: list[Bools], r: float
) -> None:
    base, treated, ceiling = (t.astype(float) for t in tables)
    means = _means(treated - base, ceiling - base)
    x, d = means.total / means.n
    c = float(scipy_stats.t.ppf(0.975, means.n - 1))
    low, high = _fieller(x, d, means.by_question, c)
    residuals = ((treated - base) - r * (ceiling - base))[:, 0]
    if math.isnan(low) or np.ptp(residuals) == 0 or min(abs(r - low), abs(r - high)) < 1e-9:
        return

    p = scipy_stats.ttest_1samp(residuals, 0).pvalue

    assert (low <= r <= high) == (p >= 0.05)


@given(
    st.floats(-0.5, 0.5),
    st.floats(0.01, 0.5),
    st.floats(1e-6, 1e-2),
    st.floats(1e-6, 1e-2),
    st.floats(-1, 1),
)
def test_fieller_ends_match_a_scan(
    x: float, d: float, v_xx: float, v_dd: float, correlation: float
) -> None:
    c, v_xd = 2.0, correlation * math.sqrt(v_xx * v_dd)
    low, high = _fieller(x, d, np.array([[v_xx, v_xd], [v_xd, v_dd]]), c)
    if math.isnan(low):
        assert d**2 <= c**2 * v_dd
        return
    width = max(high - low, 1e-6)
    grid = np.linspace(low - width, high + width, 3001)
    inside = (x - grid * d) ** 2 <= c**2 * (v_xx - 2 * grid * v_xd + grid**2 * v_dd)
    clear = np.minimum(abs(grid - low), abs(grid - high)) > width / 2000
    assert (inside == ((grid >= low) & (grid <= high)))[clear].all()


def test_level_enters_the_quantile() -> None:
    right = np.arange(200)
    triple = right < 120, right < 150, right < 160
    wide, narrow = gap_recovered(*triple, level=0.99), gap_recovered(*triple, level=0.8)
    assert wide.low < narrow.low < narrow.value == wide.value < narrow.high < wide.high
    assert wide.gap_low < narrow.gap_low


# --- Statuses and inputs of the ratio ---------------------------------------------------------


def stairs(n: int, *thresholds: int) -> list[Bools]:
    return [np.arange(n) < threshold for threshold in thresholds]


@pytest.mark.parametrize(
    ("triple", "status", "fragile"),
    [
        (stairs(200, 100, 120, 150), "ok", False),
        (stairs(200, 100, 104, 108), "ok", True),  # t_gap 2.88
        (stairs(200, 100, 104, 109), "ok", False),  # t_gap 3.06
        (stairs(200, 100, 130, 103), "gap_not_established", False),
        (stairs(200, 100, 110, 100), "gap_not_established", False),  # no gap at all
        (stairs(200, 100, 100, 100), "gap_not_established", False),
        (stairs(200, 150, 120, 100), "gap_reversed", False),
        (stairs(29, 5, 15, 25), "gap_not_established", False),
        (stairs(29, 25, 15, 5), "gap_not_established", False),
        (stairs(30, 5, 15, 25), "ok", False),
        (stairs(1, 0, 0, 1), "gap_not_established", False),
    ],
)
def test_status(triple: list[Bools], status: str, fragile: bool) -> None:
    r = gap_recovered(*triple)
    assert (r.status, r.fragile) == (status, fragile)
    assert np.isnan([r.value, r.low, r.high]).all() == (status != "ok")
    assert r.numerator == pytest.approx(triple[1].mean() - triple[0].mean())
    assert math.isnan(r.gap_low) == (r.n == 1)


def test_a_gap_can_be_established_and_the_set_of_the_ratio_unbounded() -> None:
    # The gap repeats in every draw, the numerator does not: few degrees of freedom at the ratio.
    n = 100
    base, ceiling = stairs(n, 50, 57)
    treated = np.stack(stairs(n, 20, 57, 95), axis=1)

    r = gap_recovered(base, treated, ceiling)

    assert r.gap_low > 0
    assert r.df < 3
    assert r.status == "gap_not_established"
    assert math.isnan(r.value)


def test_rounding_is_not_taken_for_variance_over_draws() -> None:
    rng = np.random.default_rng(7)
    ceiling = (rng.random((90, 3)) < [0.4, 0.6, 0.7]).astype(float)

    r = gap_recovered(np.zeros(90), 0.3 * ceiling, ceiling)  # residuals are 0 up to rounding

    assert r.df == 89
    assert r.value == pytest.approx(0.3)
    assert r.low < 0.3 < r.high


def test_bools_ints_and_floats_are_the_same() -> None:
    triple = stairs(60, 20, 40, 50)
    expected = gap_recovered(*triple)
    assert gap_recovered(*[t.astype(int) for t in triple]) == expected
    assert gap_recovered(*[t.astype(np.float32) for t in triple]) == expected
    assert gap_recovered(*[t.tolist() for t in triple]) == expected
    assert expected == replace(expected, n=60, draws=1, scope="fixed_demos")


@pytest.mark.parametrize(
    ("base", "treated", "message"),
    [
        (np.zeros(39), np.zeros(40), "same questions"),
        (np.zeros((40, 2)), np.zeros((40, 3)), "same draws"),
        (np.zeros(0), np.zeros(0), "base must have shape"),
        (np.zeros((40, 0)), np.zeros(40), "base must have shape"),
        (np.zeros((40, 2, 2)), np.zeros(40), "base must have shape"),
        (0.5, np.zeros(40), "base must have shape"),
        (np.full(40, 1.1), np.zeros(40), re.escape("base must be finite and in [0, 1]")),
        (np.zeros(40), np.full(40, -0.1), "treated must be finite"),
        (np.zeros(40), np.full(40, np.nan), "treated must be finite"),
        (np.zeros(40), np.full(40, np.inf), "treated must be finite"),
    ],
)
def test_bad_columns_are_refused(base: Floats, treated: Floats, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        gap_recovered(base, treated, np.ones(40) if np.size(base) else base)


@pytest.mark.parametrize("level", [0, 1, -0.1, NAN])
def test_bad_levels_are_refused(level: float) -> None:
    zeros = np.zeros(40)
    boot = QuestionBootstrap(40, resamples=10)
    for call in (
        lambda: gap_recovered(zeros, zeros, zeros, level=level),
        lambda: pooled_gap_recovered([(zeros, zeros, zeros)], level=level),
        lambda: paired_difference(zeros, zeros, level=level),
        lambda: mean_interval(zeros, level=level),
        lambda: wilson(1, 2, level=level),
        lambda: imitation_excess(zeros, zeros, level=level),
        lambda: boot.bands(np.zeros((40, 2)), level=level),
        lambda: pgr_power(0.1, 0.5, 0.8, 200, level=level),
    ):
        with pytest.raises(ValueError, match="level must be in"):
            call()


# --- Pooling and clusters ---------------------------------------------------------------------


@given(triples())
def test_pooling_one_cell_or_copies_of_it_changes_nothing(tables: list[Bools]) -> None:
    base, treated, ceiling = tables
    expected = gap_recovered(base, treated, ceiling)
    assert close(pooled_gap_recovered([(base, treated, ceiling)]), expected)
    assert close(pooled_gap_recovered([(base, treated, ceiling)] * 3), expected)


def test_pooled_is_the_ratio_of_means_paired_by_question() -> None:
    rng = np.random.default_rng(5)
    cells = [random_triple(rng, 200, 4) for _ in range(6)]
    numerator = np.mean([a.mean() - b.mean() for b, a, _ in cells])
    gap = np.mean([c.mean() - b.mean() for b, _, c in cells])

    r = pooled_gap_recovered([(b, a, c) for b, a, c in cells])

    assert (r.numerator, r.gap) == pytest.approx((numerator, gap))
    assert (r.n, r.draws) == (200, 4)
    mean = [np.mean([np.broadcast_to(cell[i], (200, 4)) for cell in cells], 0) for i in range(3)]
    assert close(r, gap_recovered(*mean))


def test_pooled_refuses_no_cells_and_unequal_cells() -> None:
    with pytest.raises(ValueError, match="at least one cell"):
        pooled_gap_recovered([])
    with pytest.raises(ValueError, match="same questions"):
        pooled_gap_recovered([(np.zeros(40),) * 3, (np.zeros(41),) * 3])


@given(triples())
def test_clusters_of_one_question_change_nothing(tables: list[Bools]) -> None:
    base, treated, ceiling = tables
    found = clustered_ratio(base, treated, ceiling, np.arange(len(base)))
    assert math.isnan(found) or found == pytest.approx(1)


@pytest.mark.parametrize("draws", [1, 2, 3, 5])
def test_clustered_ratio_by_hand(draws: int) -> None:
    rng = np.random.default_rng(draws)
    latent = rng.normal(size=120)
    b, a, c = (random_table(rng, latent, p, draws).astype(float) for p in (0.4, 0.6, 0.7))
    names = rng.choice(["law", "health", "myths", "food"], 120)

    x, d = a - b, c - b
    r = x.mean() / d.mean()
    e = [float(np.mean(x[q] - r * d[q])) for q in range(120)]
    plain = sum(v * v for v in e) / (120 * 119)
    sums = {name: 0.0 for name in names}
    for name, v in zip(names, e, strict=True):
        sums[name] += v
    clustered = 4 / 3 * sum(v * v for v in sums.values()) / 120**2
    of_draw = [float(np.mean(x[:, s] - r * d[:, s])) for s in range(draws)]
    extra = sum(v * v for v in of_draw) / (draws - 1) / draws if draws >= 3 else 0.0
    expected = math.sqrt((clustered + extra) / (plain + extra))

    assert clustered_ratio(b, a, c, names) == pytest.approx(expected, rel=1e-9)


def test_clustered_ratio_is_nan_where_it_is_not_defined() -> None:
    b, a, c = stairs(60, 20, 30, 40)
    assert math.isnan(clustered_ratio(b, a, b, np.arange(60) // 5))  # no gap
    assert math.isnan(clustered_ratio(b, c, c, np.arange(60) // 5))  # no variance
    assert math.isnan(clustered_ratio(b, a, c, np.zeros(60)))  # one cluster
    with pytest.raises(ValueError, match="clusters must have shape"):
        clustered_ratio(b, a, c, np.zeros(59))


# --- Accuracies, differences, p values --------------------------------------------------------


def test_wilson_without_trials_is_nan() -> None:
    assert np.isnan(wilson(0, 0)).all()
    assert wilson(0, 50)[0] == 0
    assert wilson(50, 50)[1] == 1
    with pytest.raises(ValueError, match="k must be in"):
        wilson(3, 2)


def test_accuracy_over_draws_has_the_t_interval_of_its_variance() -> None:
    x = RIGHT_W2S
    vq = x.mean(axis=1).var(ddof=1) / 40
    vs = x.mean(axis=0).var(ddof=1) / 3
    df = (vq + vs) ** 2 / (vq**2 / 39 + vs**2 / 2)
    half = scipy_stats.t.ppf(0.975, df) * math.sqrt(vq + vs)
    assert mean_interval(x) == pytest.approx((x.mean() - half, x.mean() + half))


@pytest.mark.parametrize("value", [0, 1])
def test_accuracy_without_variance_keeps_a_width(value: int) -> None:
    low, high = mean_interval(np.full((200, 3), value))
    assert (low, high) == pytest.approx((0, 0.0197) if value == 0 else (0.9803, 1), abs=1e-4)
    assert low < high


def test_repeated_runs_get_the_t_interval() -> None:
    x = np.repeat([0.0, 0.5, 1.0], 40)
    low, high = mean_interval(x)
    half = scipy_stats.t.ppf(0.975, 119) * x.std(ddof=1) / math.sqrt(120)
    assert (low, high) == pytest.approx((0.5 - half, 0.5 + half))


@given(triples())
def test_a_difference_changes_sign_with_its_columns(tables: list[Bools]) -> None:
    a, b, _ = tables
    there, back = paired_difference(a, b), paired_difference(b, a)
    assert (there.diff, there.low, there.high) == pytest.approx((-back.diff, -back.high, -back.low))
    assert (there.n10, there.n01, there.p) == pytest.approx(
        (back.n01, back.n10, back.p), nan_ok=True
    )


@given(triples())
def test_the_gap_is_the_paired_difference_of_ceiling_and_base(tables: list[Bools]) -> None:
    base, treated, ceiling = tables
    draws = max(t.shape[1] for t in tables)
    base, treated, ceiling = (np.broadcast_to(t, (len(t), draws)) for t in tables)
    r, d = gap_recovered(base, treated, ceiling), paired_difference(ceiling, base)
    assert (r.gap, r.gap_low, r.gap_high) == pytest.approx((d.diff, d.low, d.high))


def test_the_t_test_is_that_of_scipy_for_repeated_runs() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.integers(0, 3, 100) / 2, rng.integers(0, 3, 100) / 2
    d = paired_difference(a, b)
    assert d.p == pytest.approx(scipy_stats.ttest_rel(a, b).pvalue)
    assert math.isnan(d.n10)
    assert math.isnan(d.n01)


def test_the_test_is_mcnemars_only_without_variation_over_draws() -> None:
    a, b = stairs(100, 60, 50)
    single = paired_difference(a, b)
    twice = paired_difference(np.stack([a, a], 1), b)
    differing = paired_difference(np.stack([a, ~a], 1), b)
    thrice = paired_difference(np.stack([a, a, a], 1), b)
    assert (single.n10, single.n01) == (twice.n10, twice.n01) == (10, 0)
    assert single.p == twice.p == pytest.approx(2**-9)
    assert math.isnan(differing.n10)
    assert math.isnan(thrice.n10)
    assert (thrice.low, thrice.high) == pytest.approx((single.low, single.high))


def test_identical_columns_have_p_1_and_a_width() -> None:
    a = np.arange(200) < 90
    for columns in (a, np.stack([a, a, a], 1)):
        d = paired_difference(columns, columns)
        assert (d.diff, d.p) == (0, 1)
        assert (d.low, d.high) == pytest.approx((-0.0197, 0.0197), abs=1e-4)


def test_mcnemar_refuses_draws_and_shares() -> None:
    with pytest.raises(ValueError, match="single runs"):
        mcnemar(RIGHT_W2S, RIGHT_WEAK)
    with pytest.raises(ValueError, match="only 0 and 1"):
        mcnemar([0.5], [1])


def test_one_question_has_no_interval() -> None:
    d = paired_difference([1], [0])
    assert (d.diff, d.p) == (1, 1)
    assert np.isnan([d.low, d.high]).all()
    assert np.isnan(mean_interval([0.5])).all()


@given(triples(max_draws=1), st.integers(0, 1000))
def test_a_subgroup_of_one_draw_is_a_paired_difference(tables: list[Bools], seed: int) -> None:
    a, b, _ = (table.reshape(-1) for table in tables)
    where = np.random.default_rng(seed).random(len(a)) < 0.6
    where[0] = True

    assert astuple(subgroup_difference(a, b, where)) == pytest.approx(
        astuple(paired_difference(a[where], b[where])), rel=0, abs=0, nan_ok=True
    )


@given(triples(), st.integers(0, 1000))
def test_a_subgroup_of_all_or_the_same_questions_is_a_paired_difference(
    tables: list[Bools], seed: int
) -> None:
    a, b, _ = tables
    same = np.random.default_rng(seed).random(len(a)) < 0.6
    same[0] = True
    for where in (np.ones(len(a), dtype=bool), same):
        assert astuple(subgroup_difference(a, b, where)) == pytest.approx(
            astuple(paired_difference(a[where], b[where])), rel=0, abs=0, nan_ok=True
        )


@given(triples(), st.integers(0, 1000))
def test_a_question_that_never_counts_changes_nothing(tables: list[Bools], seed: int) -> None:
    a, b, _ = tables
    where = np.random.default_rng(seed).random((len(a), max(a.shape[1], b.shape[1]))) < 0.6
    more = [np.concatenate([t, t[:1]]) for t in (a, b)]
    none = np.concatenate([where, np.zeros_like(where[:1])])

    assert astuple(subgroup_difference(*more, none)) == pytest.approx(
        astuple(subgroup_difference(a, b, where)), nan_ok=True
    )


def test_a_subgroup_of_its_own_in_each_draw_by_hand() -> None:
    # Four kinds of question, 100 of each; a - b where it counts: (1, 0), (1, -), (-, 0), (-, -).
    # d = 200 / 400. m = 300, and e = 1.5 (a - b - 0.5) has the row means 0, 3/8, -3/8.
    a = np.repeat([[1, 0], [1, 1], [1, 0], [1, 1]], 100, axis=0)
    b = np.zeros(400)
    where = np.repeat([[1, 1], [1, 0], [0, 1], [0, 0]], 100, axis=0).astype(bool)
    vq = 200 * (3 / 8) ** 2 / 299 / 300

    d = subgroup_difference(a, b, where)

    half = scipy_stats.t.ppf(0.975, 299) * math.sqrt(vq)
    assert (d.n, d.draws, d.diff) == (200, 2, 0.5)
    assert (d.low, d.high) == pytest.approx((0.5 - half, 0.5 + half))
    assert d.p == pytest.approx(2 * scipy_stats.t.sf(0.5 / math.sqrt(vq), 299))
    assert math.isnan(d.n10)

    # A third draw without any: e = 2.25 (a - b - 0.5), row means as before, column means
    # 3/4, -3/4, 0. Both kinds of variance are in the interval now.
    a, where = (np.concatenate([t, np.zeros_like(t[:, :1])], axis=1) for t in (a, where))
    vs = 2 * (3 / 4) ** 2 / 2 / 3
    df = (vq + vs) ** 2 / (vq**2 / 299 + vs**2 / 2)

    d = subgroup_difference(a, b, where)

    half = scipy_stats.t.ppf(0.975, df) * math.sqrt(vq + vs)
    assert (d.n, d.draws, d.diff) == (133, 3, 0.5)
    assert (d.low, d.high) == pytest.approx((0.5 - half, 0.5 + half))


def test_a_subgroup_difference_keeps_a_width_where_columns_agree() -> None:
    a = np.arange(200) < 90
    where = np.stack([np.arange(200) % 2 == 0, np.arange(200) % 2 == 1, np.arange(200) < 100], 1)
    d = subgroup_difference(a, a, where)
    assert (d.n, d.diff, d.p) == (100, 0, 1)
    assert (d.low, d.high) == pytest.approx((-0.0394, 0.0394), abs=1e-4)


def test_a_subgroup_without_questions_is_nan_and_one_question_has_no_interval() -> None:
    none = subgroup_difference([1, 0], [0, 0], [[False] * 3] * 2)
    assert (none.n, none.draws) == (0, 3)
    assert np.isnan([none.diff, none.low, none.high, none.n10, none.n01, none.p]).all()

    one = subgroup_difference([1, 0], [0, 0], [[True, False, False], [False] * 3])
    assert (one.n, one.diff) == (1, 1)
    assert np.isnan([one.low, one.high, one.p]).all()


def test_a_subgroup_is_true_or_false_per_question() -> None:
    with pytest.raises(ValueError, match="where must hold only true and false"):
        subgroup_difference([1, 0], [0, 0], [0.5, 1])
    with pytest.raises(ValueError, match="same questions"):
        subgroup_difference([1, 0], [0, 0], [True])


@pytest.mark.parametrize("draws", [1, 3, 5])
def test_coverage_of_a_subgroup_difference(draws: int) -> None:
    # Two kinds of question; the second is in the subgroup more often and gains more. From three
    # draws on, draws differ in how much they repair.
    counts, right, repaired, broken = (
        np.array(pair) for pair in ([0.3, 0.6], [0.6, 0.4], [0.15, 0.35], [0.04, 0.02])
    )
    truth = np.average((1 - right) * repaired - right * broken, weights=counts)
    rng = np.random.default_rng(draws)
    covered = 0
    for _ in range(400):
        kind = rng.integers(0, 2, 160)
        b = rng.random((160, 1)) < right[kind][:, None]
        luck = rng.normal(0, 0.04, draws) if draws >= 3 else 0.0
        # half of what decides is the question's and the same in every draw
        u, v = (
            np.where(rng.random((160, draws)) < 0.5, rng.random((160, draws)), rng.random((160, 1)))
            for _ in range(2)
        )
        a = np.where(b, u > broken[kind][:, None], u < repaired[kind][:, None] + luck)
        d = subgroup_difference(a, b, v < counts[kind][:, None])
        covered += d.low <= truth <= d.high
    assert 0.92 <= covered / 400 <= 0.985


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


def test_holm_refuses_what_is_not_a_family_of_p_values() -> None:
    with pytest.raises(ValueError, match="nan"):
        holm([0.1, 1.1])
    with pytest.raises(ValueError, match="shape"):
        holm([[0.1]])


# --- Answers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("unparsed", ["", None, NAN])
def test_unparsed_answers_match_nothing(unparsed: str | float | None) -> None:
    nothing, a = [unparsed] * 3, ["A", "B", "C"]
    m = matching_counts(nothing, nothing, nothing, a)
    assert m.every == MatchCounts(3, (0,), (0,), (0,), (3,))
    assert m.weak_wrong.n == 3
    assert (m.fixed, m.strong_wrong, m.broken, m.strong_right) == ((0,), 3, (0,), 0)
    boths = capa([unparsed, "A"], [unparsed, "A"], [0, 1], [0, 1], 4)
    assert boths == pytest.approx((0.5 - (0.25 + 0.25 / 3)) / (1 - (0.25 + 0.25 / 3)))


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


def test_a_self_pair_matches_both_or_neither() -> None:
    m = matching_counts(list("ABCD"), list("ABDD"), list("ABDD"), list("AAAA"))
    assert m.every == MatchCounts(4, (3,), (0,), (0,), (1,))


def test_matching_refuses_draws_of_the_references() -> None:
    with pytest.raises(ValueError, match="weak must have shape"):
        matching_counts(["A"], ["A"], np.array([["A", "B"]]), ["A"])


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


# --- Agreement and its bootstrap --------------------------------------------------------------

bits = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=60)


@given(bits)
def test_agreement_symmetries(rows: list[tuple[bool, bool]]) -> None:
    a, b = np.array(rows).T

    def same(x: float, y: float) -> bool:
        return bool(x == pytest.approx(y, abs=1e-9, nan_ok=True))

    assert same(phi(a, b), phi(b, a))
    assert same(phi(~a, b), -phi(a, b))
    assert same(error_consistency(a, b), error_consistency(b, a))
    assert same(error_consistency(~a, ~b), error_consistency(a, b))
    if a.all() or b.all() or not a.any() or not b.any():
        assert math.isnan(phi(a, b))
        assert math.isnan(error_consistency(a, b))
    else:
        assert same(phi(a, b), float(np.corrcoef(a, b)[0, 1]))
        assert phi(a, a) == pytest.approx(1)
        assert error_consistency(a, a) == pytest.approx(1)


@given(bits)
def test_capa_with_two_options_is_error_consistency(rows: list[tuple[bool, bool]]) -> None:
    a, b = np.array(rows).T
    answers = [["B", "A"][int(right)] for right in a], [["B", "A"][int(right)] for right in b]
    assert capa(*answers, a, b, 2) == pytest.approx(error_consistency(a, b), nan_ok=True)


def test_agreement_over_draws_is_the_mean_over_draws() -> None:
    expected = np.mean([phi(column, RIGHT_WEAK) for column in RIGHT_W2S.T])
    assert phi(RIGHT_W2S, RIGHT_WEAK) == pytest.approx(expected)
    answers = np.array([letters(row) for row in W2S], dtype=object).T
    each = [
        capa(answers[:, i], letters(WEAK), RIGHT_W2S[:, i], RIGHT_WEAK, [4] * 40) for i in range(3)
    ]
    found = capa(answers, letters(WEAK), RIGHT_W2S, RIGHT_WEAK, 4)
    assert found == pytest.approx(np.mean(each))


def test_bootstrap_against_resampling_by_index() -> None:
    rng = np.random.default_rng(8)
    options = rng.integers(2, 6, 90)
    a, b = (rng.integers(0, options) for _ in range(2))
    b = np.where(rng.random(90) < 0.5, a, b)
    right_a, right_b = a == 0, b == 0

    boot = QuestionBootstrap(90, resamples=300, seed=4)
    found = boot.agreement(a, b, right_a, right_b, options)

    rows = np.random.default_rng(4).integers(0, 90, (300, 90))
    assert boot.counts.tolist() == [np.bincount(row, minlength=90).tolist() for row in rows]
    by_index = {
        "phi": [phi(right_a[i], right_b[i]) for i in rows],
        "error_consistency": [error_consistency(right_a[i], right_b[i]) for i in rows],
        "capa": [capa(a[i], b[i], right_a[i], right_b[i], options[i]) for i in rows],
    }
    for name, values in by_index.items():
        e = getattr(found, name)
        se = np.arctanh(values).std(ddof=1)
        ends = np.tanh(np.arctanh(e.value) + scipy_stats.norm.ppf([0.025, 0.975]) * se)
        assert (e.low, e.high) == pytest.approx(tuple(ends), abs=1e-5)


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


def test_bootstrap_is_the_same_each_time_and_refuses_other_questions() -> None:
    a, b = QuestionBootstrap(50, resamples=20), QuestionBootstrap(50, resamples=20)
    assert np.array_equal(a.counts, b.counts)
    assert (a.counts.sum(axis=1) == 50).all()
    assert (a.n, a.resamples, a.seed) == (50, 20, 20240)
    assert a.means(np.zeros((50, 3, 2))).shape == (20, 3, 2)
    with pytest.raises(ValueError, match="50 questions"):
        a.means(np.zeros(49))
    with pytest.raises(ValueError, match="at least 1"):
        QuestionBootstrap(0)


@pytest.mark.parametrize("options", [1, [4] * 39, [4] * 39 + [1]])
def test_capa_refuses_bad_options(options: int | list[int]) -> None:
    with pytest.raises(ValueError, match="n_options"):
        capa(letters(WEAK), letters(STRONG), RIGHT_WEAK, RIGHT_STRONG, options)


def test_capa_refuses_answers_and_correctness_of_other_shapes() -> None:
    with pytest.raises(ValueError, match="differ in shape"):
        capa(["A"], ["A"], RIGHT_WEAK, RIGHT_STRONG, 4)


def test_bands_are_wider_than_the_intervals_and_narrower_than_bonferroni() -> None:
    rng = np.random.default_rng(3)
    differences = rng.integers(-1, 2, (200, 30)).astype(float)
    differences[:, 0] = 0
    low, high = QuestionBootstrap(200).bands(differences)
    se = differences.std(axis=0, ddof=1) / math.sqrt(200)
    se[0] = 2 / 200  # the minimum
    crit = (high - low) / 2 / se
    assert crit == pytest.approx(crit[0])
    assert 2.6 < crit[0] < scipy_stats.norm.isf(0.025 / 30) + 0.2
    assert (low + high) / 2 == pytest.approx(differences.mean(axis=0))


# --- Calibration ------------------------------------------------------------------------------


def test_brier_and_ece_by_hand() -> None:
    assert brier([[1, 0], [1, 0]], [0, 1]) == 1
    assert ece(np.full(100, 0.75), np.arange(100) < 75) == 0
    confidence = np.linspace(0.1, 0.9, 50)
    right = np.arange(50) % 3 == 0
    by_bin = [abs(chunk.sum()) for chunk in np.array_split(confidence - right, 10)]
    assert ece(confidence, right) == pytest.approx(sum(by_bin) / 50)
    assert ece(np.repeat([0.2, 0.8], 50), np.repeat([1, 0], 50), bins=2) == pytest.approx(0.8)


@given(st.integers(0, 1000))
def test_ece_does_not_depend_on_the_order_of_questions(seed: int) -> None:
    rng = np.random.default_rng(seed)
    confidence, right = rng.integers(0, 5, 57) / 4, rng.integers(0, 2, 57)
    order = rng.permutation(57)
    assert ece(confidence[order], right[order]) == pytest.approx(ece(confidence, right))


def test_calibration_intervals_hold_the_value() -> None:
    rng = np.random.default_rng(9)
    p = rng.dirichlet(np.ones(4), 150)
    gold = rng.integers(0, 4, 150)
    right = p.argmax(axis=1) == gold
    boot = QuestionBootstrap(150, resamples=2000)
    b, e = boot.brier(p, gold), boot.ece(p.max(axis=1), right)
    assert b.value == brier(p, gold)
    assert e.value == pytest.approx(ece(p.max(axis=1), right))
    assert b.low < b.value < b.high
    assert e.low < e.value < e.high
    se = np.square(p - np.eye(4)[gold]).sum(axis=1).std() / math.sqrt(150)
    assert (b.high - b.low) / 2 / 1.96 == pytest.approx(se, rel=0.06)


@pytest.mark.parametrize(
    ("p", "target", "message"),
    [
        ([[0.5, 0.6]], [0], "sum to 1"),
        ([[-0.5, 1.5]], [0], "sum to 1"),
        ([[0.5, 0.5]], [2], "target must hold"),
        ([[0.5, 0.5]], [0.5], "target must hold"),
        ([0.5, 0.5], [0, 0], "probabilities must have shape"),
    ],
)
def test_brier_refuses(p: list[list[float]], target: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        brier(p, target)


# --- Coverage ---------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("n", "gap"), [*product((200, 817), (0.1, 0.2))])
@pytest.mark.parametrize("pgr", [0.0, 0.5, 0.8, 1.0])
def test_coverage(n: int, gap: float, pgr: float) -> None:
    rng = np.random.default_rng([20240, n, int(10 * gap), int(10 * pgr)])
    data_sets = 2000
    need = [-scipy_stats.norm.ppf(acc) for acc in (0.85 - gap, 0.85 - gap + pgr * gap, 0.85)]
    quantile = scipy_stats.t.ppf(0.975, n - 1)
    covered = reported = 0
    for _ in range(data_sets):
        common, e0, e1, e2, e3 = rng.standard_normal((5, n))
        shared = math.sqrt(0.62) * common + math.sqrt(0.36) * e1
        base = math.sqrt(0.62) * common + math.sqrt(0.38) * e0 > need[0]
        treated = shared + math.sqrt(0.02) * e2 > need[1]
        ceiling = shared + math.sqrt(0.02) * e3 > need[2]

        residuals = (treated * 1.0 - base) - pgr * (ceiling * 1.0 - base)
        floor = 4 * (1 - pgr + pgr**2) / n**2
        kept = abs(residuals.mean()) <= quantile * math.sqrt(max(residuals.var(ddof=1) / n, floor))
        covered += kept

        r = gap_recovered(base, treated, ceiling)
        if r.status == "ok":
            reported += 1
            assert (r.low <= pgr <= r.high) == kept
    assert reported > 0.8 * data_sets
    assert 0.93 <= covered / data_sets <= 0.97
