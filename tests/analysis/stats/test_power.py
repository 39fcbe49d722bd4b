import math
from dataclasses import replace

import pytest
from scipy import stats as scipy_stats

from tests.analysis.stats.samples import NAN
from w2s_icl.analysis.stats.power import Design


def test_example_plan() -> None:
    assert Design(200).pgr_power(0.1, 0.5, 0.8) == pytest.approx(0.4772, abs=5e-5)
    # the variance per question, 0.0491, is not returned: power follows from it with c of 199 df
    se, c = math.sqrt(0.0491 / 200), scipy_stats.t.ppf(0.975, 199)
    expected = scipy_stats.norm.sf(c - 0.03 / se)
    assert Design(200).pgr_power(0.1, 0.5, 0.8) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("gap", "expected"),
    [
        (0.05, [1302, NAN, 1979, NAN, 12430]),
        (0.10, [430, 477, 386, 653, 404]),
        (0.15, [237, 228, 199, 235, 195]),
        (0.20, [158, 146, 130, 142, 125]),
    ],
)
def test_questions_needed(gap: float, expected: list[float]) -> None:
    sizes = [(1, 0.0), (3, 0.01), (5, 0.01), (5, 0.02), (10, 0.02)]
    needed = [Design(draws=s, draw_sd=sd).questions_needed(gap, 0.5, 0.8) for s, sd in sizes]
    assert needed == pytest.approx(expected, abs=0, nan_ok=True)


def test_gap_needed_and_smallest_difference() -> None:
    assert [Design(n).gap_needed() for n in (100, 200, 484, 817)] == [0.114, 0.071, 0.041, 0.03]
    for gap, expected in ((0.1, [0.41, 0.28, 0.22]), (0.2, [0.25, 0.17, 0.13])):
        designs = [Design(n, draws=5, draw_sd=0.01) for n in (200, 484, 817)]
        assert [design.smallest_detectable(gap) for design in designs] == expected


def test_questions_needed_finds_a_number_below_which_power_falls_again() -> None:
    design = Design(draws=3, draw_sd=0.01)

    n = int(design.questions_needed(0.066, 0.5, 0.8))

    at = [replace(design, n=n).pgr_power(0.066, 0.5, 0.8) for n in (n, n - 1, 20_000)]
    assert at[0] >= 0.8 > max(at[1:])


def test_power_has_the_minimum_variance() -> None:
    c = scipy_stats.t.ppf(0.975, 99)
    power = Design(100, r_ac=0).pgr_power(0.1, 1.0, 0.8)  # 0.0196 / 100 is below 4 / 100**2
    assert power == pytest.approx(scipy_stats.norm.sf(c - 0.02 / math.sqrt(4 / 100**2)))


def test_points_and_small_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="gap must be in"):
        Design(200).pgr_power(10, 0.5, 0.8)
    with pytest.raises(ValueError, match="n must be at least 30"):
        Design(29)
    with pytest.raises(ValueError, match="power must be in"):
        Design(power=1)
    with pytest.raises(ValueError, match="draws must be"):
        Design(200, draws=0)
