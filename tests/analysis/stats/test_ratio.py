import math
from collections import Counter
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from scipy import stats as scipy_stats

from tests.analysis.stats.samples import Bools, Floats, random_table, random_triple, stairs, triples
from w2s_icl.analysis.stats.ratio import (
    _fieller,
    clustered_ratio,
    gap_recovered,
)


def test_example_quadratic() -> None:
    v = np.array([[0.0009, 0.0007], [0.0007, 0.0010]])
    c = 1.971957
    # The ends are printed cut off, not rounded: 0.34277346 and 1.38448457.
    assert _fieller(0.08, 0.10, v, c) == pytest.approx((0.342773, 1.384484), abs=1e-6)
    assert 0.05**2 - c**2 * v[1, 1] == pytest.approx(-0.00138861, abs=5e-9)
    assert np.isnan(_fieller(0.03, 0.05, v, c)).all()


def test_an_interval_ends_where_the_test_of_a_ratio_begins_to_reject() -> None:
    rng = np.random.default_rng(1954)
    seen: Counter[str] = Counter()
    for i in range(300):
        n, draws = int(rng.integers(30, 818)), 1 + i % 5
        tables = random_triple(rng, n, draws)
        found = gap_recovered(*tables)
        seen[found.status] += 1
        if found.status != "ok":
            continue
        b, a, c = (np.broadcast_to(t, (n, found.draws)).astype(float) for t in tables)
        for end in (found.low, found.high):
            e = (a - b) - end * (c - b)
            variance = e.mean(axis=1).var(ddof=1) / n
            if found.draws >= 3:
                variance += e.mean(axis=0).var(ddof=1) / found.draws
            most = max(variance, 4 * (1 - end + end**2) / n**2)
            quantile = scipy_stats.t.isf(0.025, found.df)
            assert e.mean() ** 2 == pytest.approx(quantile**2 * most, rel=1e-6), (i, found)
    assert min(seen["ok"], seen["gap_reversed"], seen["gap_not_established"]) > 50


@given(triples())
def test_swapping_base_and_ceiling_of_errors_mirrors_the_ratio(tables: list[Bools]) -> None:
    base, treated, ceiling = tables

    r = gap_recovered(base, treated, ceiling)
    mirrored = gap_recovered(~ceiling, ~treated, ~base)

    assert mirrored.status == r.status
    expected = (r.gap, r.t_gap, r.df, 1 - r.value, 1 - r.high, 1 - r.low)
    got = (mirrored.gap, mirrored.t_gap, mirrored.df, mirrored.value, mirrored.low, mirrored.high)
    assert got == pytest.approx(expected, rel=1e-6, abs=1e-6, nan_ok=True)


@pytest.mark.parametrize(
    ("triple", "status", "fragile"),
    [
        (stairs(200, 100, 120, 150), "ok", False),
        (stairs(200, 100, 104, 108), "ok", True),  # t_gap 2.88
        (stairs(200, 100, 104, 109), "ok", False),  # t_gap 3.06
        (stairs(200, 100, 130, 103), "gap_not_established", False),
        (stairs(200, 100, 110, 100), "gap_not_established", False),  # no gap at all
        (stairs(200, 150, 120, 100), "gap_reversed", False),
        (stairs(29, 5, 15, 25), "gap_not_established", False),
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


@pytest.mark.parametrize(
    ("base", "treated", "message"),
    [
        (np.zeros(39), np.zeros(40), "same questions"),
        (np.zeros((40, 2)), np.zeros((40, 3)), "same questions and draws, got"),
        (np.zeros((40, 2, 2)), np.zeros(40), "base must have shape"),
        (np.full(40, 1.1), np.zeros(40), "base must"),
        (np.zeros(40), np.full(40, np.nan), "treated must"),
    ],
)
def test_bad_columns_are_refused(base: Floats, treated: Floats, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        gap_recovered(base, treated, np.ones(40))


def test_pooled_is_the_ratio_of_means_paired_by_question() -> None:
    rng = np.random.default_rng(5)
    cells = [random_triple(rng, 200, 4) for _ in range(6)]
    numerator = np.mean([a.mean() - b.mean() for b, a, _ in cells])
    gap = np.mean([c.mean() - b.mean() for b, _, c in cells])

    mean = [np.mean([np.broadcast_to(cell[i], (200, 4)) for cell in cells], 0) for i in range(3)]
    r = gap_recovered(*mean)

    assert (r.numerator, r.gap) == pytest.approx((numerator, gap))
    assert (r.n, r.draws) == (200, 4)


@pytest.mark.parametrize("draws", [1, 2, 3, 5])
def test_clustered_ratio_by_hand(draws: int) -> None:
    rng = np.random.default_rng(draws)
    latent = rng.normal(size=120)
    b, a, c = (random_table(rng, latent, p, draws).astype(float) for p in (0.4, 0.6, 0.7))
    names = rng.choice(["law", "health", "myths", "food"], 120)

    e = (a - b) - (a - b).mean() / (c - b).mean() * (c - b)
    plain = e.mean(axis=1).var(ddof=1) / 120
    sums = [e.mean(axis=1)[names == name].sum() for name in set(names)]
    clustered = 4 / 3 * np.square(sums).sum() / 120**2
    extra = e.mean(axis=0).var(ddof=1) / draws if draws >= 3 else 0.0
    expected = math.sqrt((clustered + extra) / (plain + extra))

    assert clustered_ratio(b, a, c, names) == pytest.approx(expected, rel=1e-9)


def test_clustered_ratio_is_nan_where_it_is_not_defined() -> None:
    b, a, c = stairs(60, 20, 30, 40)
    assert math.isnan(clustered_ratio(b, a, b, np.arange(60) // 5))  # no gap
    assert math.isnan(clustered_ratio(b, c, c, np.arange(60) // 5))  # no variance
    assert math.isnan(clustered_ratio(b, a, c, np.zeros(60)))  # one cluster


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
