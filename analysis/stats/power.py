"""What a study of a given size can detect, before it is run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from w2s_icl.analysis.stats import (
    MAX_PLANNED_QUESTIONS,
    MIN_QUESTIONS,
    MIN_RANDOM_DRAWS,
    gap_needed,
    pgr_power,
    questions_needed,
    smallest_detectable,
)

DRAW_SD = 0.01
"""Assumed standard deviation of accuracy over draws: one point."""

ONLY_WORSE = 0.03
"""Assumed share of questions that only the worse of base and ceiling gets right."""

GAPS = (0.10, 0.20)
"""Gaps for which the smallest detectable difference is said."""

POWER = 0.8

TOLD_APART = (0.5, 0.8)
"""Recovered gaps that the draws are counted for."""

MANY_DRAWS = 30


def detectable(n: int, draws: int) -> dict[str, Any]:
    """What `n` test questions and `draws` draws can show, with 80% power.

    Args:
        n: Test questions.
        draws: Draws of the demonstrations.

    Returns:
        `gap_needed`, a fraction; `smallest_difference`, by gap, how far a PGR must be from 0.5;
        `draws_needed` and `questions_needed`, by gap, to tell 0.5 from 0.8; None where nothing is
        enough. `assumptions`; and `lines`, the same in words.

    Example:
        >>> found = detectable(200, 5)
        >>> found["gap_needed"], found["smallest_difference"]["0.10"], found["draws_needed"]["0.10"]
        (0.063, 0.41, None)
    """
    # fewer draws than three say nothing about others, and their interval holds no such doubt
    sd = DRAW_SD if draws >= MIN_RANDOM_DRAWS else 0.0
    found: dict[str, Any] = {
        "gap_needed": None,
        "smallest_difference": None,
        "draws_needed": None,
        "questions_needed": None,
        "assumptions": {"draw_sd": sd, "r_bc": ONLY_WORSE, "power": POWER},
    }
    if n < MIN_QUESTIONS:
        found["lines"] = [
            f"! can detect: nothing; no ratio is given below {MIN_QUESTIONS} test questions, "
            f"got test_size {n}"
        ]
        return found
    design: Any = {"power": POWER, "draws": draws, "draw_sd": sd, "r_bc": ONLY_WORSE}
    gap = gap_needed(n, **design)
    low, high = TOLD_APART
    smallest = {g: _known(smallest_detectable(g, n, **design)) for g in GAPS}
    more_draws = {g: _draws_needed(g, n) for g in GAPS}
    questions = {g: _known(questions_needed(g, low, high, **design)) for g in GAPS}

    def at(numbers: Mapping[float, float | None], without: str) -> str:
        return ", ".join(
            f"{without if v is None else f'{v:,g}'} at a gap of {100 * g:.0f} points"
            for g, v in numbers.items()
        )

    ratio = "no gap is enough" if math.isnan(gap) else f"{100 * gap:.1f} points"
    only = "" if sd else ", about these demonstrations only"
    found |= {
        "gap_needed": _known(gap),
        **{
            name: {f"{g:.2f}": v for g, v in numbers.items()}
            for name, numbers in (
                ("smallest_difference", smallest),
                ("draws_needed", more_draws),
                ("questions_needed", questions),
            )
        },
        "lines": [
            f"can detect ({100 * POWER:.0f}% power{only}):",
            f"  gap that a ratio needs: {ratio}",
            f"  PGR apart from {low:g}, by: {at(smallest, 'nothing')}",
            f"  to tell {low:g} from {high:g}, draws: {at(more_draws, f'over {MANY_DRAWS}')}",
            f"    or, with {draws} draw{'s' * (draws > 1)}, questions: "
            + at(questions, f"over {MAX_PLANNED_QUESTIONS:,}"),
            f"  assumed: sd of accuracy over draws {100 * sd:g} points, "
            f"{100 * ONLY_WORSE:.0f}% of questions right in the worse only",
        ],
    }
    return found


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _draws_needed(gap: float, n: int) -> int | None:
    """Fewest draws, of those that say something about others."""
    for draws in range(MIN_RANDOM_DRAWS, MANY_DRAWS + 1):
        if pgr_power(gap, *TOLD_APART, n, draws=draws, draw_sd=DRAW_SD, r_bc=ONLY_WORSE) >= POWER:
            return draws
    return None
