import math

import pytest
from scipy import stats as scipy_stats

from w2s_icl.analysis.stats import power
from w2s_icl.analysis.verdict import CONTRASTS


def test_example_plan() -> None:
    # the variance per question, 0.0491, is not returned: power follows from it with c of 199 df
    se, c = math.sqrt(0.0491 / 200), scipy_stats.t.ppf(0.975, 199)
    expected = scipy_stats.norm.sf(c - 0.03 / se)
    assert expected == pytest.approx(0.4772, abs=5e-5)
    assert power.pgr_power(0.1, 0.5, 0.8, n=200) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("gap", "expected"),
    [
        (0.05, [1302, None, 1979, None, 12430]),
        (0.10, [430, 477, 386, 653, 404]),
        (0.15, [237, 228, 199, 235, 195]),
        (0.20, [158, 146, 130, 142, 125]),
    ],
)
def test_questions_needed(gap: float, expected: list[float | None]) -> None:
    sizes = [(1, 0.0), (3, 0.01), (5, 0.01), (5, 0.02), (10, 0.02)]
    assert [power.questions_needed(gap, draws, sd) for draws, sd in sizes] == expected


def test_gap_needed_and_smallest_difference() -> None:
    needed = [power.gap_needed(n, 1, 0.0) for n in (100, 200, 484, 817)]
    assert needed == [0.114, 0.071, 0.041, 0.03]
    for gap, expected in ((0.1, [0.41, 0.28, 0.22]), (0.2, [0.25, 0.17, 0.13])):
        assert [power.smallest_difference(gap, n, 5, 0.01) for n in (200, 484, 817)] == expected


def test_power_has_the_minimum_variance() -> None:
    c = scipy_stats.t.ppf(0.975, 99)
    found = power.pgr_power(0.1, 1.0, 0.8, n=100)  # 0.0396 / 100 is below 4 / 100**2
    assert found == pytest.approx(scipy_stats.norm.sf(c - 0.02 / math.sqrt(4 / 100**2)))


@pytest.mark.parametrize(("n", "expected"), [(200, (0.26, 0.53, 0.88)), (484, (0.76, 0.92, 0.99))])
def test_claims_are_those_of_an_independent_simulation(n: int, expected: tuple[float, ...]) -> None:
    assert list(power.claim_power(n, 5)["claims"].values()) == pytest.approx(expected, abs=0.045)


def test_the_plan_says_what_a_claim_would_take() -> None:
    small, large, few = (power.detectable(n, draws) for n, draws in ((200, 5), (484, 5), (484, 2)))

    assert [w for w in small["lines"] if w.startswith("!")] == [
        "! a gain of 10 points is claimed in 50% of such studies, below 80%: about 350 questions "
        "would do; more draws alone would not"
    ]
    assert small["verdict"]["questions_needed"] == 350
    assert set(large["verdict"]["could_show"]) == set(CONTRASTS)
    assert not any(w.startswith("!") for w in large["lines"])
    assert "! verdict: no claim can be made with 2 draws" in few["lines"][-1]
    assert "got test_size 20" in power.detectable(20, 5)["lines"][0]
