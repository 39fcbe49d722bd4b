"""What a study of a given size can detect, before it is run."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from scipy import stats

from w2s_icl.analysis.stats.claim_power import power_lines
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
        """Questions it takes to tell the ratios `TOLD_APART`, at least 30; nan above 20,000.

        Example:
            >>> Design(draws=5, draw_sd=0.01).questions_needed(0.10)
            386
        """

        def enough(n: int) -> bool:
            return replace(self, n=n).pgr_power(gap, *TOLD_APART) >= POWER

        return _smallest(enough, MIN_QUESTIONS, MAX_QUESTIONS)

    def draws_needed(self, gap: float) -> float:
        """Draws it takes, at least the three that speak of other demonstrations; nan above 30."""
        for draws in range(MIN_RANDOM_DRAWS, MANY_DRAWS + 1):
            if replace(self, draws=draws).pgr_power(gap, *TOLD_APART) >= POWER:
                return draws
        return np.nan

    def gap_needed(self) -> float:
        """True gap at which a ratio is reported (`status` "ok"), rounded up to 0.001; nan if none.

        The approximation of `pgr_power` for the gap itself: the variance per question is
        gap + 2 R_BC - gap^2.

        Example:
            >>> Design(484).gap_needed()
            0.041
        """

        def enough(step: int) -> bool:
            gap = step / 1000
            return self._power(gap, gap + 2 * R_BC - gap**2, 1, FLOOR) >= POWER

        return _smallest(enough, 1, 1000) / 1000

    def smallest_detectable(self, gap: float) -> float:
        """How far above 0.5 a ratio must lie to be told apart from it; rounded up to 0.01.

        nan when even a difference of 1 in accuracy is not enough.

        Example:
            >>> Design(484, draws=5, draw_sd=0.01).smallest_detectable(0.10)
            0.28
        """
        r0 = TOLD_APART[0]

        def enough(step: int) -> bool:
            return self.pgr_power(gap, r0, r0 + step / 100) >= POWER

        return _smallest(enough, 1, int(100 * (1 / gap - r0))) / 100


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
    enough. `verdict` is as `power_lines` has it; `lines` are the same in words.

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
    smallest = {g: design.smallest_detectable(g) for g in GAPS}
    more_draws = {g: replace(design, draw_sd=0.01).draws_needed(g) for g in GAPS}
    questions = {g: design.questions_needed(g) for g in GAPS}

    def at(numbers: Mapping[float, float], without: str) -> str:
        return ", ".join(
            f"{without if np.isnan(v) else f'{v:,g}'} at a gap of {100 * g:.0f} points"
            for g, v in numbers.items()
        )

    def by_gap(numbers: Mapping[float, float]) -> dict[str, float | None]:
        return {f"{g:.2f}": _known(v) for g, v in numbers.items()}

    verdict, verdict_lines = power_lines(n, draws)
    low, high = TOLD_APART
    ratio = "no gap is enough" if np.isnan(gap) else f"{100 * gap:.1f} points"
    only = "" if sd else ", about these demonstrations only"
    return {
        "gap_needed": _known(gap),
        "smallest_difference": by_gap(smallest),
        "draws_needed": by_gap(more_draws),
        "questions_needed": by_gap(questions),
        "verdict": verdict,
        "assumptions": {"draw_sd": sd, "r_bc": R_BC, "power": POWER},
        "lines": [
            f"can detect ({100 * POWER:.0f}% power{only}):",
            f"  gap that a ratio needs: {ratio}",
            f"  PGR apart from {low:g}, by: {at(smallest, 'nothing')}",
            f"  to tell {low:g} from {high:g}, draws: {at(more_draws, f'over {MANY_DRAWS}')}",
            f"    or, with {draws} draw{'s' * (draws > 1)}, questions: "
            + at(questions, f"over {MAX_QUESTIONS:,}"),
            f"  assumed: sd of accuracy over draws {100 * sd:g} points, "
            f"{100 * R_BC:.0f}% of questions right in the worse only",
            *verdict_lines,
        ],
    }


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
