"""The worked example of STATS.md, section 14, random data, and a second ratio in plain loops."""

import math
from collections.abc import Callable

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats as scipy_stats
from scipy.optimize import brentq

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Table = list[list[int]]
NAN = math.nan

# 40 questions, "-" is unparsed
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


def graded(*rows: str) -> Floats:
    columns = [[float(a == t) for a, t in zip(row, TARGET, strict=True)] for row in rows]
    return np.array(columns[0]) if len(rows) == 1 else np.array(columns).T


RIGHT_WEAK, RIGHT_STRONG = graded(WEAK), graded(STRONG)
RIGHT_W2S, RIGHT_GOLD = graded(*W2S), graded(*GOLD)


def stairs(n: int, *thresholds: int) -> list[Bools]:
    return [np.arange(n) < threshold for threshold in thresholds]


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


@st.composite
def triples(draw: st.DrawFn, max_draws: int = 4) -> list[Bools]:
    n = draw(st.integers(30, 120))
    draws = draw(st.integers(1, max_draws))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    return random_triple(rng, n, draws)


def slow_gap_recovered(base: Table, treated: Table, ceiling: Table) -> dict[str, float | str]:
    """`gap_recovered`, from the residuals of the test and a search for the ends of the interval."""
    draws = max(len(table[0]) for table in (base, treated, ceiling))
    b, a, c = (np.repeat(t, draws // len(t[0]), axis=1) for t in (base, treated, ceiling))
    n = len(b)

    def parts(p: float, r: float) -> tuple[float, float, float]:
        """Mean, variance and degrees of freedom of p (A - B) - r (C - B)."""
        e = p * (a - b) - r * (c - b)
        vq = e.mean(axis=1).var(ddof=1) / n
        vs = e.mean(axis=0).var(ddof=1) / draws if draws >= 3 else 0.0
        df = n - 1.0
        if vs > 1e-14:
            df = min(max((vq + vs) ** 2 / (vq**2 / (n - 1) + vs**2 / (draws - 1)), 1), n - 1)
        return float(e.mean()), vq + vs, df

    out: dict[str, float | str] = {}
    for name, p, r in (("numerator", 1, 0), ("gap", 0, -1)):
        mean, variance, df = parts(p, r)
        se = math.sqrt(max(variance, 4 / n**2))
        half = scipy_stats.t.isf(0.025, df) * se
        out |= {name: mean, f"{name}_low": mean - half, f"{name}_high": mean + half}
        out["t_gap"] = mean / se
    out.update(df=NAN, value=NAN, low=NAN, high=NAN, status="gap_not_established")
    x, d = (a - b).sum(), (c - b).sum()
    if d == 0:
        return out
    ratio = x / d
    out["df"] = parts(1, ratio)[2]
    quantile = scipy_stats.t.isf(0.025, out["df"])
    if float(out["gap_high"]) < 0:
        out["status"] = "gap_reversed"
    least = [lambda r: parts(1, r)[1], lambda r: 4 * (1 - r + r * r) / n**2]
    bounded = [(d / (n * draws)) ** 2 > quantile**2 * v for v in (parts(0, 1)[1], 4 / n**2)]
    if float(out["gap_low"]) <= 0 or not all(bounded):
        return out
    ends = []
    for variance_at in least:

        def outside(r: float, variance_at: Callable[[float], float] = variance_at) -> float:
            return parts(1, r)[0] ** 2 - quantile**2 * max(variance_at(r), 0)

        for sign in (-1, 1):
            step = 0.5
            while outside(ratio + sign * step) <= 0:
                step *= 2
            inner = ratio
            end = ratio if outside(inner) >= 0 else brentq(outside, inner, ratio + sign * step)
            ends.append(end)
    out.update(status="ok", value=ratio, low=min(ends), high=max(ends))
    return out
