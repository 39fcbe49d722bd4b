"""What a study of a given size can detect, before it is run."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from scipy import stats

from w2s_icl.analysis.stats.claim_power import GAINS, WANTED, claim_power
from w2s_icl.analysis.stats.columns import (
    FLOOR,
    MIN_QUESTIONS,
    MIN_RANDOM_DRAWS,
    satterthwaite,
    t_quantile,
)

MAX_QUESTIONS: Final = 20_000
"""Where even so many questions are not enough, it takes more draws."""

MANY_DRAWS: Final = 30
"""More draws than anybody would run."""

GAPS: Final = (0.10, 0.20)
"""Gaps for which the smallest detectable difference is said."""

TOLD_APART: Final = (0.5, 0.8)
"""Recovered gaps that draws and questions are counted for."""

POWER: Final = 0.8
"""Probability with which a difference is to be seen."""

R_BC: Final = 0.03
R_AB: Final = 0.03
R_AC: Final = 0.01
"""Share of questions only the worse gets right, of base and ceiling, treated and base, treated and
ceiling."""


@dataclass(frozen=True)
class Design:
    """A study's size: test questions, draws, and the standard deviation of accuracy over draws."""

    n: int = MIN_QUESTIONS
    draws: int = 1
    draw_sd: float = 0.0

    def _power(self, effect: float, spread: float, draw_spread: float, floor: float) -> float:
        """Power against a mean of `effect` whose questions have variance `spread`."""
        n, draws = self.n, self.draws
        # 0.3 of the variance of a question is run noise, which averages out over draws.
        vq = max(spread * (0.7 + 0.3 / draws) / n, floor / n**2)
        vs = self.draw_sd**2 * draw_spread / draws
        total, estimated, df = vq + vs, vq, float(n - 1)
        if draws >= MIN_RANDOM_DRAWS:
            seen = vs + 0.3 * spread / (n * draws)
            estimated = vq + seen
            df = satterthwaite(vq, df, seen, draws)
        c = t_quantile(df)
        return float(stats.norm.sf(c * np.sqrt(estimated / total) - abs(effect) / np.sqrt(total)))

    def pgr_power(self, gap: float, r0: float, r1: float) -> float:
        """Probability that the interval of a ratio leaves out `r0` when the true ratio is `r1`.

        A normal approximation, within 4 points of simulation, for a true gap in (0, 1]. With
        t1 = r1 gap, t2 = (1 - r1) gap the variance per question at r0 is

            (1 - r0) (|t1| + 2 R_AB - t1^2) - r0 (1 - r0) (gap + 2 R_BC - gap^2)
            + r0 (|t2| + 2 R_AC - t2^2)

        Example:
            >>> round(Design(200).pgr_power(0.10, 0.5, 0.8), 4)
            0.4772
        """
        t1, t2 = r1 * gap, (1 - r1) * gap
        spread = (
            (1 - r0) * (abs(t1) + 2 * R_AB - t1**2)
            - r0 * (1 - r0) * (gap + 2 * R_BC - gap**2)
            + r0 * (abs(t2) + 2 * R_AC - t2**2)
        )
        draw_spread = 1 + r0**2 - 1.4 * r0  # effects of a draw on treated and ceiling correlate 0.7
        floor = FLOOR * (1 - r0 + r0**2)
        return self._power((r1 - r0) * gap, max(spread, 0), draw_spread, floor)

    def questions_needed(self, gap: float) -> float:
        """Questions it takes to tell the ratios `TOLD_APART`, at least 30; nan above 20,000."""
        return _smallest(
            lambda n: replace(self, n=n).pgr_power(gap, *TOLD_APART) >= POWER,
            MIN_QUESTIONS,
            MAX_QUESTIONS,
        )

    def draws_needed(self, gap: float) -> float:
        """Draws it takes, at least the three that speak of other demonstrations; nan above 30."""
        draws = range(MIN_RANDOM_DRAWS, MANY_DRAWS + 1)
        power = (replace(self, draws=d).pgr_power(gap, *TOLD_APART) for d in draws)
        return next((d for d, p in zip(draws, power, strict=True) if p >= POWER), np.nan)

    def gap_needed(self) -> float:
        """True gap at which a ratio is reported (`status` "ok"), rounded up to 0.001; nan if none.

        The approximation of `pgr_power` for the gap itself: the variance per question is
        gap + 2 R_BC - gap^2.
        """

        def enough(step: int) -> bool:
            gap = step / 1000
            return self._power(gap, gap + 2 * R_BC - gap**2, 1, FLOOR) >= POWER

        return _smallest(enough, 1, 1000) / 1000

    def smallest_detectable(self, gap: float) -> float:
        """How far above 0.5 a ratio must lie to be told apart from it; rounded up to 0.01.

        nan when even a difference of 1 in accuracy is not enough.
        """
        r0 = TOLD_APART[0]
        steps = _smallest(
            lambda step: self.pgr_power(gap, r0, r0 + step / 100) >= POWER,
            1,
            int(100 * (1 / gap - r0)),
        )
        return steps / 100


def _smallest(enough: Callable[[int], bool], low: int, high: int) -> float:
    """Smallest number in low..high that is enough; nan when none is.

    Power can fall again as questions are added: three draws then carry most of the variance, and
    the degrees of freedom drop towards two. So a first number that is enough is sought by
    doubling, not at `high`.
    """
    reach = min(low, high)
    while not enough(reach):
        if reach >= high:
            return np.nan
        low, reach = reach + 1, min(2 * reach, high)
    return bisect_left(range(reach), True, lo=low, key=enough)


def detectable(n: int, draws: int) -> dict[str, Any]:
    """What `n` test questions and `draws` draws can show, with 80% power.

    `gap_needed` is a fraction; `smallest_difference`, by gap, how far a PGR must be from 0.5;
    `draws_needed` and `questions_needed`, by gap, what tells 0.5 from 0.8; None where nothing is
    enough. `verdict` is as `claim_power` has it; `lines` are the same in words.

    Example:
        >>> shown = detectable(200, 5)
        >>> shown["gap_needed"], shown["smallest_difference"]["0.10"], shown["draws_needed"]["0.10"]
        (0.063, 0.41, None)
    """
    if n < MIN_QUESTIONS:
        names = ("gap_needed", "smallest_difference", "draws_needed", "questions_needed")
        line = (
            f"! can detect: nothing; no ratio is given below {MIN_QUESTIONS} test questions, "
            f"got test_size {n}"
        )
        return dict.fromkeys((*names, "verdict")) | {"assumptions": {}, "lines": [line]}
    # fewer draws than three say nothing about others, and their interval holds no such doubt
    sd = 0.01 if draws >= MIN_RANDOM_DRAWS else 0.0
    design = Design(n, draws, sd)
    gap = design.gap_needed()
    by_gap = {
        "smallest_difference": {g: design.smallest_detectable(g) for g in GAPS},
        "draws_needed": {g: replace(design, draw_sd=0.01).draws_needed(g) for g in GAPS},
        "questions_needed": {g: design.questions_needed(g) for g in GAPS},
    }

    def at(name: str, without: str) -> str:
        return ", ".join(
            f"{without if np.isnan(v) else f'{v:,g}'} at a gap of {100 * g:.0f} points"
            for g, v in by_gap[name].items()
        )

    verdict, verdict_lines = _verdict(n, draws)
    low, high = TOLD_APART
    ratio = "no gap is enough" if np.isnan(gap) else f"{100 * gap:.1f} points"
    only = "" if sd else ", about these demonstrations only"
    return {
        "gap_needed": _known(gap),
        **{k: {f"{g:.2f}": _known(v) for g, v in of.items()} for k, of in by_gap.items()},
        "verdict": verdict,
        "assumptions": {"draw_sd": sd, "r_bc": R_BC, "power": POWER},
        "lines": [
            f"can detect ({100 * POWER:.0f}% power{only}):",
            f"  gap that a ratio needs: {ratio}",
            f"  PGR apart from {low:g}, by: {at('smallest_difference', 'nothing')}",
            f"  to tell {low:g} from {high:g}, draws: {at('draws_needed', f'over {MANY_DRAWS}')}",
            f"    or, with {draws} draw{'s' * (draws > 1)}, questions: "
            + at("questions_needed", f"over {MAX_QUESTIONS:,}"),
            f"  assumed: sd of accuracy over draws {100 * sd:g} points, "
            f"{100 * R_BC:.0f}% of questions right in the worse only",
            *verdict_lines,
        ],
    }


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _verdict(n: int, draws: int) -> tuple[Mapping[str, Any], list[str]]:
    """The power of the verdict, and the same in words."""
    if draws < MIN_RANDOM_DRAWS:
        few = f"{draws} draw{'s' * (draws != 1)}"
        return {"claims": {f"{g:.2f}": 0.0 for g in GAINS}}, [
            f"! verdict: no claim can be made with {few}; it takes at least {MIN_RANDOM_DRAWS} "
            "(`draws: 5` in the study)"
        ]
    power = claim_power(n, draws)
    claimed = ", ".join(
        f"{p:.2f} at {100 * float(g):.0f} points" for g, p in power["claims"].items()
    )
    shown = ", ".join(f"{name} {100 * d:.1f}" for name, d in power["could_show"].items())
    lines = [
        "verdict: share of studies of this size that claim a student's true gain (simulated; all "
        "controls run):",
        f"  {claimed}",
        f"  smallest difference shown with 80% power, in points: {shown}",
    ]
    gain, share = WANTED
    if (claims := power["claims"][f"{gain:.2f}"]) < share:
        enough, more = power["questions_needed"], power["draws_needed"]
        questions = f"about {enough:,.0f}" if enough else "over 20,000"
        lines.append(
            f"! a gain of {100 * gain:.0f} points is claimed in {claims:.0%} of such studies, "
            f"below {share:.0%}: {questions} questions would do; "
            + (f"so would {more} draws" if more else "more draws alone would not")
        )
    return power, lines
