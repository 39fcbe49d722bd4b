"""The arms of each pair: gains, and tests against the arm with weak labels."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from w2s_icl.analysis.experiment import (
    ARMS,
    ArmRuns,
    Experiment,
)
from w2s_icl.analysis.stats import (
    Difference,
    holm,
    paired_difference,
)
from w2s_icl.analysis.tables.cells import (
    CELL,
    interval,
    once,
    scope,
    share,
    usable,
    with_ends,
)

FAMILIES: Mapping[str, tuple[str, str]] = {
    "w2s_vs_weak": ("w2s", "weak"),
    "w2s_vs_strong0": ("w2s", "strong0"),
    "w2s_vs_gold": ("w2s", "gold"),
}
"""Tests that are adjusted together, by name: the two arms compared."""

_TESTS = (
    *("family", *CELL, "contrast", "diff", "lo", "hi", "n10", "n01"),
    *("p", "p_holm", "p_exact"),
)

_ARMS = (
    *(*CELL, "arm", "labels", "labelled_by", "prompt", "base", "n", "draws", "scope"),
    *with_ends("accuracy"),
    *with_ends("gain"),
    "gain_p",
    *with_ends("ahead"),
    "ahead_p",
    "demo_label_accuracy",
)


@once
def tests_table(experiment: Experiment) -> pd.DataFrame:
    """Paired differences of accuracy, one row per family and complete cell with demonstrations.

    The three of `FAMILIES` are on the questions of the cell, all others, one for each further arm
    that was run, on those that its two arms have. `n10` and `n01` count the questions that only the
    first, only the second run of `contrast` has right; they and `p_exact`, McNemar's, are empty
    where runs are not 0/1 or there are three draws. `p_holm` is `p`, adjusted within the family.
    """
    tested: dict[str, list[dict[str, Any]]] = {family: [] for family in FAMILIES}

    def add(cell: tuple[str, str, int], second: str, d: Difference) -> None:
        family = f"w2s_vs_{second}"
        row: dict[str, Any] = {"family": family, **dict(zip(CELL, cell, strict=True))}
        row |= {"contrast": f"w2s - {second}"}
        row |= {"diff": d.diff, "lo": d.low, "hi": d.high, "n10": d.n10, "n01": d.n01}
        row |= {"p": d.p, "p_exact": d.p_exact}
        tested.setdefault(family, []).append(row)

    for cell in experiment.cells:
        for first, second in FAMILIES.values():
            itself = second == "weak" and cell.weak == cell.strong  # that is w2s_vs_strong0
            if itself or not usable(cell, first, second):
                continue
            columns = cell.arms[first].correct, cell.arms[second].correct
            place = (cell.weak, cell.strong, cell.shots)
            add(place, second, paired_difference(*columns))
    for (weak, strong, shots, arm), found in _against_the_main_arm(experiment).items():
        if arm != "gold":  # that is w2s_vs_gold
            add((weak, strong, shots), arm, found)
    order = [*FAMILIES, *(f"w2s_vs_{arm}" for arm in ARMS)]
    rank = {family: i for i, family in enumerate(dict.fromkeys(order))}
    rows: list[dict[str, Any]] = []
    for family in sorted(tested, key=lambda family: (rank.get(family, len(rank)), family)):
        adjusted = holm([row["p"] for row in tested[family]])
        rows += [row | {"p_holm": p} for row, p in zip(tested[family], adjusted, strict=True)]
    return pd.DataFrame(rows, columns=list(_TESTS))


@once
def _against_the_main_arm(experiment: Experiment) -> dict[tuple[str, str, int, str], Difference]:
    """The plain arm with weak labels minus each other one, by weak, strong, shots and arm."""
    found: dict[tuple[str, str, int, str], Difference] = {}
    for weak, strong in experiment.pairs:
        for shots in experiment.arm_shots(strong):
            arms = experiment.arms(weak, strong, shots)
            main = arms.pop("weak", None)
            for name, arm in arms.items():
                if main is None:
                    continue
                matched = experiment.matched(main.runs, arm.runs)
                both = experiment.compare([main.runs], [matched])
                if both.usable:
                    found[weak, strong, shots, name] = paired_difference(*both.columns)
    return found


@once
def arms_table(experiment: Experiment) -> pd.DataFrame:
    """Every arm of every pair: one row per (weak, strong, shots, arm) that was run.

    `gain` is the arm minus `base`, the strong model without demonstrations, `ahead` the plain arm
    with weak labels minus this arm: paired by question and draw, each on what its two runs have.
    The rows without a weak model are prompted runs without demonstrations. Numbers are empty where
    more than 2% of the answers are missing.
    """
    ahead = _against_the_main_arm(experiment)
    rows: list[dict[str, Any]] = []
    for strong in dict.fromkeys(strong for _, strong in experiment.pairs):
        prompts = experiment.logs.runs
        prompts = prompts[(prompts["model"] == strong) & (prompts["split"] == "test")]
        for prompt in sorted(set(prompts.loc[prompts["task"] == "zero_shot", "prompt"]) - {""}):
            run, plain = experiment.zero_shot(strong, prompt=prompt), experiment.zero_shot(strong)
            if run is not None:
                arm = ArmRuns(f"zero_shot {prompt}", "", "", prompt, {0: run})
                rows.append(_arm_row(experiment, "", strong, 0, arm, ("zero_shot", plain), None))
    for weak, strong in experiment.pairs:
        for shots in experiment.arm_shots(strong):
            for name, arm in experiment.arms(weak, strong, shots).items():
                base = experiment.base(strong, arm.prompt)
                other = ahead.get((weak, strong, shots, name))
                rows.append(_arm_row(experiment, weak, strong, shots, arm, base, other))
    return pd.DataFrame(rows, columns=list(_ARMS))


def _arm_row(
    experiment: Experiment,
    weak: str,
    strong: str,
    shots: int,
    arm: ArmRuns,
    base: tuple[str, int | None],
    ahead: Difference | None,
) -> dict[str, Any]:
    name, run = base
    own = experiment.compare([arm.runs])
    both = None if run is None else experiment.compare([arm.runs], run)
    shown = experiment.logs.runs["demo_label_accuracy"].to_numpy()[list(arm.runs.values())]
    return {
        "weak": weak,
        "strong": strong,
        "shots": shots,
        "arm": arm.name,
        "labels": arm.labels,
        "labelled_by": arm.labelled_by,
        "prompt": arm.prompt,
        "base": name,
        "n": own.n,
        "draws": len(own.draws) if shots else 0,
        "scope": scope(len(own.draws)),
        **share("accuracy", own.columns[0] if own.usable else ()),
        **_gain(
            "gain",
            paired_difference(*both.columns) if both and both.usable else None,
        ),
        **_gain("ahead", ahead),
        "demo_label_accuracy": float(shown.mean()),
    }


def _gain(name: str, found: Difference | None) -> dict[str, float]:
    if found is None:
        return interval(name, math.nan, math.nan, math.nan) | {f"{name}_p": math.nan}
    return interval(name, found.diff, found.low, found.high) | {f"{name}_p": found.p}
