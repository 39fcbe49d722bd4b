"""The worked example of STATS.md, section 14, and random data."""

import math

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats as scipy_stats

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
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


RIGHT_WEAK = np.array([float(a == t) for a, t in zip(WEAK, TARGET, strict=True)])


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


def by_hand(difference: Floats) -> tuple[float, float, float, float]:
    """Mean, interval and one-sided p of (n, draws) differences, by STATS.md 3 and 4."""
    n, draws = difference.shape
    vq, df = difference.mean(axis=1).var(ddof=1) / n, n - 1.0
    vs = difference.mean(axis=0).var(ddof=1) / draws if draws > 1 else 0.0
    if vs:
        df = min(max((vq + vs) ** 2 / (vq**2 / (n - 1) + vs**2 / (draws - 1)), 1), n - 1)
    mean, se = difference.mean(), math.sqrt(max(vq + vs, 4 / n**2))
    half = scipy_stats.t.ppf(0.975, df) * se
    return mean, mean - half, mean + half, scipy_stats.t.sf(mean / se, df)


@st.composite
def triples(draw: st.DrawFn, max_draws: int = 4) -> list[Bools]:
    n = draw(st.integers(30, 120))
    draws = draw(st.integers(1, max_draws))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    return random_triple(rng, n, draws)
