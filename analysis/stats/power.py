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


@dataclass(frozen=True)
class Design:
    """A study's size, and what is assumed of its models. Fractions.

    Attributes:
        n: Test questions.
        draws: Draws of the demonstrations.
        draw_sd: Standard deviation of accuracy over draws (0.01 is one point).
        r_bc: Share of questions only the worse of base and ceiling gets right.
        r_ab: The same for treated and base.
        r_ac: The same for treated and ceiling.
        power: Probability with which a difference is to be seen.

    Raises:
        ValueError: An argument is outside its range.
    """

    n: int = MIN_QUESTIONS
    draws: int = 1
    draw_sd: float = 0.0
    r_bc: float = 0.03
    r_ab: float = 0.03
    r_ac: float = 0.01
    power: float = 0.8

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.n < MIN_QUESTIONS:
            raise ValueError(f"n must be at least {MIN_QUESTIONS}, got {self.n}")
        if self.draws < 1 or self.draw_sd < 0:
            raise ValueError(
                "draws must be at least 1 and draw_sd not negative, got "
                f"{self.draws} and {self.draw_sd}"
            )
        if not 0 < self.power < 1:
            raise ValueError(f"power must be in (0, 1), got {self.power}")

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
        c = t_quantile(df, 0.95)
        return float(stats.norm.sf(c * np.sqrt(estimated / total) - abs(effect) / np.sqrt(total)))

    def pgr_power(self, gap: float, r0: float, r1: float) -> float:
        """Probability that the interval of a ratio leaves out `r0` when the true ratio is `r1`.

        A normal approximation, within 4 points of simulation. With t1 = r1 gap, t2 = (1 - r1) gap
        the variance per question at r0 is

            (1 - r0) (|t1| + 2 r_ab - t1^2) - r0 (1 - r0) (gap + 2 r_bc - gap^2)
            + r0 (|t2| + 2 r_ac - t2^2)

        Args:
            gap: Accuracy of the ceiling minus that of the base, a fraction in (0, 1].
            r0: Ratio to be told apart from.
            r1: True ratio.

        Raises:
            ValueError: `gap` is outside its range.

        Example:
            >>> round(Design(200).pgr_power(0.10, 0.5, 0.8), 4)
            0.4772
        """
        if not 0 < gap <= 1:
            raise ValueError(f"gap must be in (0, 1] (a fraction, not points), got {gap}")
        t1, t2 = r1 * gap, (1 - r1) * gap
        spread = (
            (1 - r0) * (abs(t1) + 2 * self.r_ab - t1**2)
            - r0 * (1 - r0) * (gap + 2 * self.r_bc - gap**2)
            + r0 * (abs(t2) + 2 * self.r_ac - t2**2)
        )
        draw_spread = 1 + r0**2 - 1.4 * r0  # effects of a draw on treated and ceiling correlate 0.7
        floor = FLOOR * (1 - r0 + r0**2)
        return self._power((r1 - r0) * gap, max(spread, 0), draw_spread, floor)

    def questions_needed(self, gap: float, r0: float, r1: float) -> float:
        """Questions it takes to tell a ratio of `r1` from `r0`, whatever `n`.

        Returns:
            A whole number, at least 30; nan when 20,000 are not enough: then it takes more draws,
            not more questions.

        Example:
            >>> Design().questions_needed(0.10, 0.5, 0.8)
            430
            >>> Design(draws=5, draw_sd=0.01).questions_needed(0.10, 0.5, 0.8)
            386
        """

        def enough(n: int) -> bool:
            return replace(self, n=n).pgr_power(gap, r0, r1) >= self.power

        return _smallest(enough, MIN_QUESTIONS, MAX_QUESTIONS)

    def draws_needed(self, gap: float, r0: float, r1: float) -> float:
        """Draws it takes, at least the three that speak of other demonstrations; nan above 30."""
        for draws in range(MIN_RANDOM_DRAWS, MANY_DRAWS + 1):
            if replace(self, draws=draws).pgr_power(gap, r0, r1) >= self.power:
                return draws
        return np.nan

    def gap_needed(self) -> float:
        """True gap at which a ratio is reported (`status` "ok"); rounded up to 0.001.

        The approximation of `pgr_power` for the gap itself: the variance per question is
        gap + 2 r_bc - gap^2. nan when no gap is enough.

        Example:
            >>> Design(484).gap_needed()
            0.041
        """

        def enough(step: int) -> bool:
            gap = step / 1000
            return self._power(gap, gap + 2 * self.r_bc - gap**2, 1, FLOOR) >= self.power

        return _smallest(enough, 1, 1000) / 1000

    def smallest_detectable(self, gap: float, r0: float = 0.5) -> float:
        """How far above `r0` a ratio must lie to be told apart from it; rounded up to 0.01.

        nan when even a difference of 1 in accuracy is not enough.

        Example:
            >>> Design(484, draws=5, draw_sd=0.01).smallest_detectable(0.10)
            0.28
        """

        def enough(step: int) -> bool:
            return self.pgr_power(gap, r0, r0 + step / 100) >= self.power

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

    Args:
        n: Test questions.
        draws: Draws of the demonstrations.

    Returns:
        `gap_needed`, a fraction; `smallest_difference`, by gap, how far a PGR must be from 0.5;
        `draws_needed` and `questions_needed`, by gap, to tell 0.5 from 0.8; None where nothing is
        enough. `verdict`, as `claim_power` has it; `assumptions`; and `lines`, the same in words.

    Example:
        >>> shown = detectable(200, 5)
        >>> shown["gap_needed"], shown["smallest_difference"]["0.10"], shown["draws_needed"]["0.10"]
        (0.063, 0.41, None)
    """
    # fewer draws than three say nothing about others, and their interval holds no such doubt
    sd = 0.01 if draws >= MIN_RANDOM_DRAWS else 0.0
    if n < MIN_QUESTIONS:
        names = ("gap_needed", "smallest_difference", "draws_needed", "questions_needed")
        line = (
            f"! can detect: nothing; no ratio is given below {MIN_QUESTIONS} test questions, "
            f"got test_size {n}"
        )
        return dict.fromkeys((*names, "verdict")) | {"assumptions": {}, "lines": [line]}
    design = Design(n, draws=draws, draw_sd=sd)
    others = replace(design, draw_sd=0.01)
    gap = design.gap_needed()
    smallest = {g: design.smallest_detectable(g) for g in GAPS}
    more_draws = {g: others.draws_needed(g, *TOLD_APART) for g in GAPS}
    questions = {g: design.questions_needed(g, *TOLD_APART) for g in GAPS}

    def at(numbers: Mapping[float, float], without: str) -> str:
        return ", ".join(
            f"{without if np.isnan(v) else f'{v:,g}'} at a gap of {100 * g:.0f} points"
            for g, v in numbers.items()
        )

    verdict, verdict_lines = power_lines(n, draws)
    low, high = TOLD_APART
    ratio = "no gap is enough" if np.isnan(gap) else f"{100 * gap:.1f} points"
    only = "" if sd else ", about these demonstrations only"
    by_gap = (
        ("smallest_difference", smallest),
        ("draws_needed", more_draws),
        ("questions_needed", questions),
    )
    return {
        "gap_needed": _known(gap),
        **{k: {f"{g:.2f}": _known(v) for g, v in numbers.items()} for k, numbers in by_gap},
        "verdict": verdict,
        "assumptions": {"draw_sd": sd, "r_bc": design.r_bc, "power": design.power},
        "lines": [
            f"can detect ({100 * design.power:.0f}% power{only}):",
            f"  gap that a ratio needs: {ratio}",
            f"  PGR apart from {low:g}, by: {at(smallest, 'nothing')}",
            f"  to tell {low:g} from {high:g}, draws: {at(more_draws, f'over {MANY_DRAWS}')}",
            f"    or, with {draws} draw{'s' * (draws > 1)}, questions: "
            + at(questions, f"over {MAX_QUESTIONS:,}"),
            f"  assumed: sd of accuracy over draws {100 * sd:g} points, "
            f"{100 * design.r_bc:.0f}% of questions right in the worse only",
            *verdict_lines,
        ],
    }


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
