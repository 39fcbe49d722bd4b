"""The arms of each pair: gains, and tests against the arm with weak labels."""

from functools import lru_cache
from typing import Any

import pandas as pd

from w2s_icl.analysis.experiment import ARMS, ArmRuns, Experiment
from w2s_icl.analysis.stats.paired import Difference, holm, paired_difference
from w2s_icl.analysis.tables.cells import CELL, difference, scope, share, table

MAIN = ("weak", "strong0", "gold")
"""Runs that those with weak labels are tested against in every cell, each in a family."""


@lru_cache(maxsize=2)
def tests_table(experiment: Experiment) -> pd.DataFrame:
    """Paired differences of accuracy, one row per family and complete cell with demonstrations.

    Those with the arms of `MAIN` are on the questions of the cell, all others, one for each further
    arm that was run, on those that its two arms have.
    """
    tested = {
        (arm, cell.weak, cell.strong, cell.shots): paired_difference(
            cell.arms["w2s"].correct, cell.arms[arm].correct
        )
        for cell in experiment.cells
        for arm in MAIN[cell.weak == cell.strong :]  # a self pair's weak model is its strong0
        if cell.compares("w2s", arm)
    }
    ahead = _against_the_main_arm(experiment)
    tested |= {(arm, w, s, k): d for (w, s, k, arm), d in ahead.items() if arm not in MAIN}
    rank = {arm: i for i, arm in enumerate(["weak", "strong0", *ARMS[1:]])}
    rows = [
        {"family": f"w2s_vs_{arm}", "contrast": f"w2s - {arm}", "lo": d.low, "hi": d.high}
        | {**vars(d), "weak": weak, "strong": strong, "shots": shots}
        for (arm, weak, strong, shots), d in sorted(
            tested.items(), key=lambda test: (rank.get(test[0][0], len(rank)), test[0][0])
        )
    ]
    made = table(rows, "family", *CELL, "contrast diff lo hi n10 n01 p p_holm p_exact")
    made["p_holm"] = made.groupby("family")["p"].transform(holm)
    return made


@lru_cache(maxsize=2)
def _against_the_main_arm(experiment: Experiment) -> dict[tuple[str, str, int, str], Difference]:
    """The plain arm with weak labels minus each other one, by weak, strong, shots and arm."""
    ahead: dict[tuple[str, str, int, str], Difference] = {}
    for weak, strong, shots, arms in experiment.all_arms():
        if (main := arms.pop("weak", None)) is None:
            continue
        for name, arm in arms.items():
            both = experiment.compare([main.runs], [experiment.matched(main.runs, arm.runs)])
            if both.usable:
                ahead[weak, strong, shots, name] = paired_difference(*both.columns)
    return ahead


def arms_table(experiment: Experiment) -> pd.DataFrame:
    """Every arm of every pair: one row per (weak, strong, shots, arm) that was run.

    Gains and what an arm is ahead by are paired by question and draw, each on what its two runs
    have. The rows without a weak model are prompted runs without demonstrations. Numbers are empty
    where more than 2% of the answers are missing.
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
        shown = runs["demo_label_accuracy"].iloc[list(arm.runs.values())]
        rows.append(row | {"demo_label_accuracy": shown.mean(skipna=False)})
    return table(
        rows,
        *CELL,
        "arm labels labelled_by prompt base n draws scope accuracy± gain± gain_p",
        "ahead± ahead_p demo_label_accuracy",
    )
