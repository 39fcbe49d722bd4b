"""The arms of each pair: gains, and tests against the arm with weak labels."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import pandas as pd

from w2s_icl.analysis.experiment import ARMS, ArmRuns, Experiment
from w2s_icl.analysis.stats.paired import Difference, holm, paired_difference
from w2s_icl.analysis.tables.cells import CELL, difference, scope, share, with_ends

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


@lru_cache(maxsize=2)
def tests_table(experiment: Experiment) -> pd.DataFrame:
    """Paired differences of accuracy, one row per family and complete cell with demonstrations.

    The three of `FAMILIES` are on the questions of the cell, all others, one for each further arm
    that was run, on those that its two arms have. `n10` and `n01` count the questions that only the
    first, only the second run of `contrast` has right; they and `p_exact`, McNemar's, are empty
    where runs are not 0/1 or there are three draws. `p_holm` is `p`, adjusted within the family.
    """
    tested: list[tuple[str, tuple[str, str, int], Difference]] = []
    for cell in experiment.cells:
        for first, second in FAMILIES.values():
            itself = second == "weak" and cell.weak == cell.strong  # that is w2s_vs_strong0
            if not itself and cell.compares(first, second):
                found = paired_difference(cell.arms[first].correct, cell.arms[second].correct)
                tested.append((second, (cell.weak, cell.strong, cell.shots), found))
    for (weak, strong, shots, arm), found in _against_the_main_arm(experiment).items():
        if arm != "gold":  # that is w2s_vs_gold
            tested.append((arm, (weak, strong, shots), found))
    rank = {arm: i for i, arm in enumerate(["weak", "strong0", *ARMS[1:]])}
    tested.sort(key=lambda test: (rank.get(test[0], len(rank)), test[0]))
    rows = [
        {"family": f"w2s_vs_{arm}", **dict(zip(CELL, place, strict=True))}
        | {"contrast": f"w2s - {arm}", "diff": d.diff, "lo": d.low, "hi": d.high}
        | {"n10": d.n10, "n01": d.n01, "p": d.p, "p_exact": d.p_exact}
        for arm, place, d in tested
    ]
    table = pd.DataFrame(rows, columns=list(_TESTS))
    table["p_holm"] = table.groupby("family")["p"].transform(holm)
    return table


@lru_cache(maxsize=2)
def _against_the_main_arm(experiment: Experiment) -> dict[tuple[str, str, int, str], Difference]:
    """The plain arm with weak labels minus each other one, by weak, strong, shots and arm."""
    ahead: dict[tuple[str, str, int, str], Difference] = {}
    for weak, strong, shots, arms in experiment.all_arms():
        main = arms.pop("weak", None)
        for name, arm in arms.items():
            if main is None:
                continue
            both = experiment.compare([main.runs], [experiment.matched(main.runs, arm.runs)])
            if both.usable:
                ahead[weak, strong, shots, name] = paired_difference(*both.columns)
    return ahead


@lru_cache(maxsize=2)
def arms_table(experiment: Experiment) -> pd.DataFrame:
    """Every arm of every pair: one row per (weak, strong, shots, arm) that was run.

    `gain` is the arm minus `base`, the strong model without demonstrations, `ahead` the plain arm
    with weak labels minus this arm: paired by question and draw, each on what its two runs have.
    The rows without a weak model are prompted runs without demonstrations. Numbers are empty where
    more than 2% of the answers are missing.
    """
    runs = experiment.logs.runs
    zero = runs[(runs["task"] == "zero_shot") & (runs["split"] == "test") & (runs["prompt"] != "")]
    arms: list[tuple[str, str, int, ArmRuns, tuple[str, int | None]]] = []
    for strong in dict.fromkeys(strong for _, strong in experiment.pairs):
        for prompt in sorted(zero.loc[zero["model"] == strong, "prompt"]):
            run = experiment.zero_shot(strong, prompt=prompt)
            arm = ArmRuns(f"zero_shot {prompt}", "", "", prompt, {} if run is None else {0: run})
            arms.append(("", strong, 0, arm, experiment.base(strong)))
    arms += [
        (weak, strong, shots, arm, experiment.base(strong, arm.prompt))
        for weak, strong, shots, of in experiment.all_arms()
        for arm in of.values()
    ]
    ahead = _against_the_main_arm(experiment)
    labels_right = runs["demo_label_accuracy"]
    rows: list[dict[str, Any]] = []
    for weak, strong, shots, arm, (base, run) in arms:
        own = experiment.compare([arm.runs])
        both = None if run is None else experiment.compare([arm.runs], run)
        gain = paired_difference(*both.columns) if both and both.usable else None
        row: dict[str, Any] = {"weak": weak, "strong": strong, "shots": shots, "arm": arm.name}
        row |= {"labels": arm.labels, "labelled_by": arm.labelled_by, "prompt": arm.prompt}
        row |= {"base": base, "n": own.n, "draws": len(own.draws) if shots else 0}
        row |= {"scope": scope(len(own.draws))}
        row |= share("accuracy", own.columns[0] if own.usable else ()) | difference("gain", gain)
        row |= difference("ahead", ahead.get((weak, strong, shots, arm.name)))
        shown = labels_right.iloc[list(arm.runs.values())].mean(skipna=False)
        rows.append(row | {"demo_label_accuracy": shown})
    return pd.DataFrame(rows, columns=list(_ARMS))
