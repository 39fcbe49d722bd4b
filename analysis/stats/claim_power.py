"""How often a study of a given size earns its verdict's claim, by simulation."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from w2s_icl.analysis.stats.columns import FLOOR, Floats

GAINS: Final = (0.08, 0.10, 0.15)
"""True gains of the student that is simulated."""

WANTED: Final = (0.10, 0.8)
"""Gain and share of claims below which a plan warns."""

ZERO_SHOT: Final = 0.72
BELOW: Final = 0.12
"""Accuracy of the strong model without demonstrations; how far the weak model is below it."""

SHARED: Final = (0.62, 0.28)
"""Of the variance behind an answer: what all runs share, and what the strong model's share."""

_DRAW_SD: Final = 0.01
_BATCH: Final = 50
_Runs = NDArray[np.float32]
_Tested = dict[str, tuple[Floats, Floats]]
"""By condition: of each study the normal quantile of its one-sided p, and the standard error."""


@lru_cache(maxsize=8)
def claim_power(n: int, draws: int) -> dict[str, Any]:
    """Simulate studies of one pair whose student learns what the labels say.

    The weak model is 12 points below the strong one's zero-shot run; weak, gold and noise-matched
    labels add the true gain, demonstrations without labels 0.3 of it, random labels nothing.
    Answers come from a latent normal of which all runs share 0.62 of the variance and those of the
    strong model 0.28 more; accuracy varies over draws by 1 point (sd); the surface rule gives the
    right one of four options a probability of Beta(2.2, 1). Needs at least 30 questions, and three
    draws: no claim is made with fewer.

    Returns:
        `claims`: share of simulated studies that make the claim, by true gain. `could_show`: by
        condition, the smallest true difference shown in 80% of the studies. `questions_needed`,
        `draws_needed`: about how many would do for `WANTED`; None where these do, or 20,000
        questions or 20 draws would not.

    Example:
        >>> power = claim_power(200, 5)
        >>> power["claims"]["0.15"] > 0.8 > power["claims"]["0.10"]
        True
    """
    gain, share = WANTED
    studies = _studies(n, draws, GAINS, 1000)
    claims = {g: _claimed(_z(tested)) for g, tested in studies.items()}
    quantiles = stats.norm.ppf(0.975) + stats.norm.ppf(0.8)
    questions = more_draws = None
    if claims[gain] < share:
        # with more questions each z grows as their root, and varies as it did
        z = _z(studies[gain])
        sizes = np.arange(n, 20_000, 10)
        grown = (z + (np.sqrt(size / n) - 1) * z.mean(axis=0) for size in sizes)
        enough = (float(s) for s, of in zip(sizes, grown, strict=True) if _claimed(of) >= share)
        questions = next(enough, None)
        more = (m for m in (10, 20) if m > draws)
        simulated = ((m, _z(_studies(n, m, (gain,), 200)[gain])) for m in more)
        more_draws = next((m for m, of in simulated if _claimed(of) >= share), None)
    return {
        "claims": {f"{g:.2f}": p for g, p in claims.items()},
        "could_show": {k: float(quantiles * se.mean()) for k, (_, se) in studies[gain].items()},
        "questions_needed": questions,
        "draws_needed": more_draws,
    }


def _z(tested: _Tested) -> Floats:
    return np.stack([z for z, _ in tested.values()], axis=1)


def _claimed(z: Floats) -> float:
    return float((z.min(axis=1) > stats.norm.ppf(0.975)).mean())


def _studies(n: int, draws: int, gains: tuple[float, ...], studies: int) -> dict[float, _Tested]:
    """Many studies, by gain."""
    rng = np.random.default_rng(20240)
    batches = [_batch(rng, n, draws, gains) for _ in range(studies // _BATCH)]

    def joined(gain: float, name: str) -> tuple[Floats, Floats]:
        z, se = zip(*(batch[gain][name] for batch in batches), strict=True)
        return np.concatenate(z), np.concatenate(se)

    return {g: {name: joined(g, name) for name in batches[0][g]} for g in gains}


def _batch(
    rng: np.random.Generator, n: int, draws: int, gains: tuple[float, ...]
) -> dict[float, _Tested]:
    def normal(columns: int, share: float = 1.0) -> _Runs:
        values: _Runs = rng.standard_normal((_BATCH, n, columns), dtype=np.float32)
        values *= np.float32(np.sqrt(share))
        return values

    every, own = SHARED
    shared = normal(1, every)
    weak = shared + normal(1, 1 - every)
    strong = shared + normal(1, own)
    rest = 1 - every - own
    latent = {name: strong + normal(draws, rest) for name in ("A", "U", "R", "N", "G")}
    latent["S"] = strong + normal(1, rest)
    shift = {name: rng.normal(0, _DRAW_SD, (_BATCH, 1, draws)) for name in latent}
    rule = rng.beta(2.2, 1, (_BATCH, n)).astype(np.float32) - np.float32(0.25)

    def right(name: str, accuracy: float) -> _Runs:
        level = np.clip(accuracy + (shift[name] if name != "S" else 0), 0.001, 0.999)
        correct: _Runs = (latent[name] < stats.norm.ppf(level)).astype(np.float32)
        return correct

    w = (weak < np.float32(stats.norm.ppf(ZERO_SHOT - BELOW))).astype(np.float32)
    s, r = right("S", ZERO_SHOT), right("R", ZERO_SHOT)
    result, half = {}, np.float32(0.5)
    for gain in gains:
        a, g, noisy = (right(name, ZERO_SHOT + gain) for name in ("A", "G", "N"))
        u = right("U", ZERO_SHOT + 0.3 * gain)
        result[gain] = {
            "beats_zero_shot": _tested(a - s),
            "beats_unlabelled": _tested(a - u),
            "beats_random": _tested(a - r),
            "keeps_half_the_gain": _tested(a - (s + noisy) * half),
            "beats_weak": _tested(a - w),
            "gap_established": _tested(g - w),
            "survives_surface_rule": _tested(a - s, rule),
        }
    return result


def _tested(difference: _Runs, known: _Runs | None = None) -> tuple[Floats, Floats]:
    """Of many studies: the normal quantile of each one-sided p, and the standard error.

    Of the mean, as `paired_difference`, or with `known` of the intercept, as `gain_line`.
    """
    _, n, draws = difference.shape
    d: Any = difference.mean(axis=2)
    value, by_draw, df = d.mean(axis=1), difference.mean(axis=1), n - 1
    vq = d.var(axis=1, ddof=1) / n
    if known is not None:
        middle = known.mean(axis=1, keepdims=True)
        centred = known - middle
        squares = (centred**2).sum(axis=1, keepdims=True)
        weights = 1 / n - middle * centred / squares
        slope = (centred * d).sum(axis=1, keepdims=True) / squares
        residuals = d - d.mean(axis=1, keepdims=True) - slope * centred
        leverage = 1 / n + centred**2 / squares
        vq = ((weights * residuals / (1 - leverage)) ** 2).sum(axis=1)
        value, df = (weights * d).sum(axis=1), n - 2
        by_draw = np.matmul(weights[:, None, :], difference)[:, 0]
    vs = by_draw.var(axis=1, ddof=1) / draws
    both = vq + vs
    df = np.clip(both**2 / (vq**2 / df + vs**2 / (draws - 1)), 1, df)
    se = np.sqrt(np.maximum(both, FLOOR / n**2))
    return -stats.norm.ppf(np.clip(stats.t.sf(value / se, df), 1e-300, 1 - 1e-16)), se
