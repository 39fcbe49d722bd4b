"""What a study of a given size can detect, before it is run: its ratios and its claim."""

from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from w2s_icl.analysis.stats import paired
from w2s_icl.analysis.stats.paired import FLOOR, MIN_QUESTIONS, MIN_RANDOM_DRAWS, Floats

GAPS: Final = (0.10, 0.20)  # for which is said what can be told apart
TOLD_APART: Final = (0.5, 0.8)  # ratios that draws and questions are counted for
POWER: Final = 0.8  # probability with which a difference is to be seen
DRAW_SD: Final = 0.01  # standard deviation of accuracy over draws
MAX_QUESTIONS: Final = 20_000  # where even so many are not enough, it takes more draws
# share of questions that only the worse gets right, of base B, treated A and ceiling C
R_BC, R_AB, R_AC = 0.03, 0.03, 0.01

GAINS: Final = (0.08, 0.10, 0.15)  # true gains of the simulated student
WANTED: Final = (0.10, 0.8)  # gain and share of claims below which a plan warns
CONDITIONS: Final = (
    *("beats_zero_shot", "beats_unlabelled", "beats_random", "keeps_half_the_gain"),
    *("beats_weak", "gap_established", "survives_surface_rule"),
)
_BATCH: Final = 50  # studies simulated at a time, for the memory's sake


def _power(
    effect: Any, spread: Any, draw_spread: float, floor: float, n: Any, draws: Any, draw_sd: float
) -> Floats:
    """Power against a mean of `effect` whose questions have variance `spread`."""
    # 0.3 of the variance of a question is run noise, which averages out over draws
    vq = np.maximum(spread * (0.7 + 0.3 / draws) / n, floor / n**2)
    vs = draw_sd**2 * draw_spread / draws
    estimated, df = vq, n - 1.0
    if np.min(draws) >= MIN_RANDOM_DRAWS:
        seen = vs + 0.3 * spread / (n * draws)
        estimated, df = vq + seen, paired.satterthwaite(vq, df, seen, draws)
    distance = stats.t.ppf(0.975, df) * np.sqrt(estimated) - np.abs(effect)
    return np.asarray(stats.norm.sf(distance / np.sqrt(vq + vs)))


def pgr_power(
    gap: float, r0: float, r1: ArrayLike, *, n: Any, draws: Any = 1, draw_sd: float = 0.0
) -> Floats:
    """Probability that the interval of a ratio leaves out `r0` when the true ratio is `r1`.

    A normal approximation, within 4 points of simulation, for a true gap in (0, 1]; `r1`, `n` and
    `draws` may be arrays. With t1 = r1 gap, t2 = (1 - r1) gap the variance per question at r0 is

        (1 - r0) (|t1| + 2 R_AB - t1^2) - r0 (1 - r0) (gap + 2 R_BC - gap^2)
        + r0 (|t2| + 2 R_AC - t2^2)
    """
    r1 = np.asarray(r1)
    t1, t2 = r1 * gap, (1 - r1) * gap
    spread = (
        (1 - r0) * (abs(t1) + 2 * R_AB - t1**2)
        - r0 * (1 - r0) * (gap + 2 * R_BC - gap**2)
        + r0 * (abs(t2) + 2 * R_AC - t2**2)
    )
    draw_spread = 1 + r0**2 - 1.4 * r0  # effects of a draw on treated and ceiling correlate 0.7
    floor = FLOOR * (1 - r0 + r0**2)
    return _power((r1 - r0) * gap, np.maximum(spread, 0), draw_spread, floor, n, draws, draw_sd)


def _first(values: NDArray[Any], power: Floats) -> float | None:
    """The first value with enough power; None where none has it."""
    return next(map(float, values[power >= POWER]), None)


def questions_needed(gap: float, draws: int, draw_sd: float) -> float | None:
    """Questions it takes to tell the ratios `TOLD_APART`, at least 30; None above 20,000."""
    n = np.arange(MIN_QUESTIONS, MAX_QUESTIONS + 1)
    return _first(n, pgr_power(gap, *TOLD_APART, n=n, draws=draws, draw_sd=draw_sd))


def gap_needed(n: int, draws: int, draw_sd: float) -> float | None:
    """True gap at which a ratio is reported (`status` "ok"), rounded up to 0.001; None if none.

    As in `pgr_power`, of the gap itself: its variance per question is gap + 2 R_BC - gap^2.
    """
    gaps = np.arange(1, 1001) / 1000
    return _first(gaps, _power(gaps, gaps + 2 * R_BC - gaps**2, 1, FLOOR, n, draws, draw_sd))


def smallest_difference(gap: float, n: int, draws: int, draw_sd: float) -> float | None:
    """How far above 0.5 a ratio must lie to be told apart from it; rounded up to 0.01.

    None when even a difference of 1 in accuracy is not enough.
    """
    r0 = TOLD_APART[0]
    above = np.arange(1, int(100 * (1 / gap - r0)) + 1) / 100
    return _first(above, pgr_power(gap, r0, r0 + above, n=n, draws=draws, draw_sd=draw_sd))


def detectable(n: int, draws: int) -> dict[str, Any]:
    """What `n` test questions and `draws` draws can show, with 80% power.

    `gap_needed` is a fraction; `smallest_difference`, by gap, how far a PGR must be from 0.5;
    `questions_needed`, by gap, what tells 0.5 from 0.8; None where nothing is enough. `verdict` is
    as `claim_power` has it; `lines` are the same in words.
    """
    if n < MIN_QUESTIONS:
        names = ("gap_needed", "smallest_difference", "questions_needed", "verdict")
        line = (
            f"! can detect: nothing; no ratio is given below {MIN_QUESTIONS} test questions, "
            f"got test_size {n}"
        )
        return dict.fromkeys(names) | {"assumptions": {}, "lines": [line]}
    # fewer draws than three say nothing about others, and their interval holds no such doubt
    sd = DRAW_SD if draws >= MIN_RANDOM_DRAWS else 0.0
    gap = gap_needed(n, draws, sd)
    smallest = {f"{g:.2f}": smallest_difference(g, n, draws, sd) for g in GAPS}
    needed = {f"{g:.2f}": questions_needed(g, draws, sd) for g in GAPS}

    def at(by_gap: dict[str, float | None], without: str) -> str:
        texts = {g: without if v is None else f"{v:,g}" for g, v in by_gap.items()}
        return ", ".join(f"{of} at a gap of {100 * float(g):.0f} points" for g, of in texts.items())

    verdict, verdict_lines = _verdict(n, draws)
    low, high = TOLD_APART
    ratio = "no gap is enough" if gap is None else f"{100 * gap:.1f} points"
    only = "" if sd else ", about these demonstrations only"
    return {
        "gap_needed": gap,
        "smallest_difference": smallest,
        "questions_needed": needed,
        "verdict": verdict,
        "assumptions": {"draw_sd": sd, "r_bc": R_BC, "power": POWER},
        "lines": [
            f"can detect ({100 * POWER:.0f}% power{only}):",
            f"  gap that a ratio needs: {ratio}",
            f"  PGR apart from {low:g}, by: {at(smallest, 'nothing')}",
            f"  to tell {low:g} from {high:g} with {draws} draw{'s' * (draws > 1)}, questions: "
            + at(needed, f"over {MAX_QUESTIONS:,}"),
            f"  assumed: sd of accuracy over draws {100 * sd:g} points, "
            f"{100 * R_BC:.0f}% of questions right in the worse only",
            *verdict_lines,
        ],
    }


def _verdict(n: int, draws: int) -> tuple[dict[str, Any], list[str]]:
    """The power of the verdict, and the same in words."""
    if draws < MIN_RANDOM_DRAWS:
        return {"claims": {f"{g:.2f}": 0.0 for g in GAINS}}, [
            f"! verdict: no claim can be made with {draws} draw{'s' * (draws != 1)}; it takes at "
            f"least {MIN_RANDOM_DRAWS} (`draws: 5` in the study)"
        ]
    power, (gain, share) = claim_power(n, draws), WANTED
    claims: dict[str, float] = power["claims"]
    shown = ", ".join(f"{name} {100 * d:.1f}" for name, d in power["could_show"].items())
    lines = [
        "verdict: share of studies of this size that claim a student's true gain (simulated; all "
        "controls run):",
        "  " + ", ".join(f"{p:.2f} at {100 * float(g):.0f} points" for g, p in claims.items()),
        f"  smallest difference shown with 80% power, in points: {shown}",
    ]
    if (claimed := claims[f"{gain:.2f}"]) < share:
        enough, more = power["questions_needed"], power["draws_needed"]
        lines.append(
            f"! a gain of {100 * gain:.0f} points is claimed in {claimed:.0%} of such studies, "
            f"below {share:.0%}: {f'about {enough:,.0f}' if enough else 'over 20,000'} questions "
            "would do; " + (f"so would {more} draws" if more else "more draws alone would not")
        )
    return power, lines


def claim_power(n: int, draws: int) -> dict[str, Any]:
    """Simulate 1,000 studies of one pair whose student learns what the labels say.

    Needs at least 30 questions, and three draws: no claim is made with fewer. `claims` is the share
    of studies that make the claim, by true gain; `could_show`, by condition, the smallest true
    difference shown in 80% of them; `questions_needed` and `draws_needed` about how many would do
    for `WANTED`, None where these do, or 20,000 questions or 20 draws would not.
    """
    gain, share = WANTED
    z, se = np.moveaxis(_simulated(n, draws, GAINS, 1000), 2, 0)
    claims, at = _claimed(z), GAINS.index(gain)
    could_show = (stats.norm.ppf(0.975) + stats.norm.ppf(0.8)) * se[at].mean(axis=1, dtype=float)
    sizes = range(n, MAX_QUESTIONS, 10) if claims[at] < share else ()
    more = (m for m in (10, 20) if m > draws and claims[at] < share)
    # with more questions each z grows as their root, and varies as it did
    means = z[at].mean(axis=1, keepdims=True)
    grown = ((s, z[at] + (np.sqrt(s / n) - 1) * means) for s in sizes)
    drawn = ((m, _simulated(n, m, (gain,), 200)[0, :, 0]) for m in more)
    return {
        "claims": {f"{g:.2f}": float(p) for g, p in zip(GAINS, claims, strict=True)},
        "could_show": dict(zip(CONDITIONS, could_show.tolist(), strict=True)),
        "questions_needed": next((s for s, of in grown if _claimed(of) >= share), None),
        "draws_needed": next((m for m, of in drawn if _claimed(of) >= share), None),
    }


def _claimed(z: Floats) -> Floats:
    """Share of studies, on the last axis, that show every condition, on the one before."""
    return np.asarray((z.min(axis=-2) > stats.norm.ppf(0.975)).mean(axis=-1))


def _simulated(n: int, draws: int, gains: tuple[float, ...], studies: int) -> Floats:
    """`_tested` by gain and condition, shape (gains, conditions, 2, studies).

    The weak model is 12 points below the strong one's zero-shot run; weak, gold and noise-matched
    labels add the true gain, demonstrations without labels 0.3 of it, random labels nothing.
    Answers come from a latent normal of which all runs share 0.62 of the variance and those of the
    strong model 0.28 more; accuracy varies over draws by 1 point (sd); the surface rule gives the
    right one of four options a probability of Beta(2.2, 1).
    """
    rng = np.random.default_rng(20240)
    return np.concatenate([_batch(rng, n, draws, gains) for _ in range(studies // _BATCH)], axis=-1)


def _batch(rng: np.random.Generator, n: int, draws: int, gains: tuple[float, ...]) -> Floats:
    def normal(columns: int, share: float) -> NDArray[np.float32]:
        values = rng.standard_normal((_BATCH, n, columns), dtype=np.float32)
        return values * np.float32(np.sqrt(share))

    every, own, zero_shot = 0.62, 0.28, 0.72
    rest = 1 - every - own
    shared = normal(1, every)
    weak, strong = shared + normal(1, 1 - every), shared + normal(1, own)
    latent = {name: strong + normal(draws, rest) for name in ("A", "U", "R", "N", "G")}
    alone = strong + normal(1, rest)
    shifts = dict(zip("AURNGS", rng.normal(0, DRAW_SD, (6, _BATCH, 1, draws)), strict=True))
    rule = rng.beta(2.2, 1, (_BATCH, n)).astype(np.float32) - np.float32(0.25)

    def right(of: NDArray[np.float32], accuracy: Any) -> NDArray[np.float32]:
        level = stats.norm.ppf(np.clip(accuracy, 0.001, 0.999))
        return np.asarray(of < level, dtype=np.float32)

    def arm(name: str, gain: float) -> NDArray[np.float32]:
        return right(latent[name], zero_shot + gain + shifts[name])

    w, s, r = right(weak, np.float32(zero_shot - 0.12)), right(alone, zero_shot), arm("R", 0)
    found = []
    for gain in gains:
        a, g, noisy, u = arm("A", gain), arm("G", gain), arm("N", gain), arm("U", 0.3 * gain)
        half = (s + noisy) * np.float32(0.5)
        plain = [_tested(a - than) for than in (s, u, r, half, w)]
        found.append([*plain, _tested(g - w), _tested(a - s, rule)])
    return np.array(found)


def _tested(difference: NDArray[np.float32], known: NDArray[np.float32] | None = None) -> Floats:
    """Of many studies: the normal quantile of each one-sided p, and the standard error.

    Of the mean, as `paired_difference`, or with `known` of the intercept, as `gain_line`.
    """
    _, n, draws = difference.shape
    d: Any = difference.mean(axis=2)
    if known is None:
        value, by_draw, df = d.mean(axis=1), difference.mean(axis=1), n - 1
        vq = d.var(axis=1, ddof=1) / n
    else:
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
    se = np.sqrt(np.maximum(vq + vs, FLOOR / n**2))
    p = stats.t.sf(value / se, paired.satterthwaite(vq, df, vs, draws))
    return np.stack([-stats.norm.ppf(np.clip(p, 1e-300, 1 - 1e-16)), se])
