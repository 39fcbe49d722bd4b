"""What a reader checks before believing a number: positions, reruns, the surface rule."""

from __future__ import annotations

import math
from string import ascii_uppercase
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from w2s_icl.analysis.experiment import (
    Compared,
    Experiment,
)
from w2s_icl.analysis.stats import (
    habit_seen,
    subgroup_difference,
    uniform_p,
    wilson,
)
from w2s_icl.analysis.tables.cells import (
    CELL,
    interval,
    once,
    scope,
    share,
    with_ends,
)

RUN = ("model", "labels", "weak", "shots", "prompt")
"""Columns that tell the kinds of runs apart, over their draws."""

_POSITIONS = (
    *(*RUN, "position", "asked", "right_here"),
    *with_ends("accuracy"),
    *("answers", "share", "uniform"),
    *("errors", "errors_share", "errors_even", "wrong_n", "p_errors", "habit_seen"),
)

_REPEATS = (*RUN, "draw", "epochs", "n", *with_ends("changed"))

_RULES = ("labels", "weak", "shots", "n", "draws", "scope", *with_ends("accuracy"))

_SHORTCUTS = (
    *(*CELL, "arm", "rule", "n", "draws"),
    *with_ends("rule_accuracy"),
    *("right_n", "wrong_n"),
    *with_ends("gain_right", "gain_wrong"),
)


@once
def positions_table(experiment: Experiment) -> pd.DataFrame:
    """Answers by place on the page, one row per place and (model, labels, weak, shots, prompt).

    `accuracy` is over the questions whose right option stood at the place, `right_here` of the
    `asked`, over all draws and epochs; its interval counts a question once however often it was
    asked. `share` of the readable answers went there, `uniform` is what equal chances would give.
    `errors` are of the `wrong_n` questions that the run has wrong, by the place of the first
    epoch's answer, a question counted once over all draws; `errors_even` is their share if each
    fell on any wrong option. `p_errors` tests all places together (chi-square); `habit_seen` is the
    share of errors at one place which that test finds (p below 0.001) in 80% of such runs, above 1
    where it finds none.
    """
    rows: list[dict[str, Any]] = []
    for key, runs in _of_the_test(experiment).groupby(list(RUN), sort=False):
        last = max(len(of) for of in runs["positions"])
        if not last:
            continue
        places = [[of[i] for of in runs["positions"] if i < len(of)] for i in range(last)]
        answers = np.array([sum(p.answers for p in of) for of in places], dtype=np.float64)
        expected = np.array([sum(p.expected for p in of) for of in places])
        errors = _errors(experiment, runs.index.to_numpy(), last)
        for i, (letter, of, given, uniform) in enumerate(
            zip(ascii_uppercase, places, answers, expected, strict=False)
        ):
            asked, right = sum(p.asked for p in of), sum(p.right for p in of)
            questions = max(p.questions for p in of)
            once = round(right / asked * questions) if asked else 0
            ends = wilson(once, questions) if asked else (math.nan, math.nan)
            rows.append(
                {
                    **dict(zip(RUN, key, strict=True)),
                    "position": letter,
                    "asked": asked,
                    "right_here": right,
                    **interval("accuracy", right / asked if asked else math.nan, *ends),
                    "answers": int(given),
                    "share": given / answers.sum() if answers.sum() else math.nan,
                    "uniform": uniform / expected.sum() if expected.sum() else math.nan,
                    **{name: column[i] for name, column in errors.items()},
                }
            )
    return pd.DataFrame(rows, columns=list(_POSITIONS))


def _errors(experiment: Experiment, runs: NDArray[np.intp], places: int) -> dict[str, Any]:
    """The columns of the errors, by place."""
    questions = experiment.logs.questions
    letters = experiment.logs.letters[runs]
    gold = questions["gold"].to_numpy(dtype=np.str_)
    wrong = (letters != "") & (letters != gold)
    known = wrong.any(axis=0) & (np.char.str_len(gold) == 1)
    times = wrong[:, known].sum(axis=0)
    alphabet = ascii_uppercase[:places]
    at = [((letters == letter) & wrong)[:, known].sum(axis=0) / times for letter in alphabet]
    errors = np.array([of.sum() for of in at])
    options = questions["n_options"].to_numpy(dtype=float)[known]
    could_be = [(i < options) & (gold[known] != letter) for i, letter in enumerate(alphabet)]
    even = np.array([of @ (1 / np.maximum(options - 1, 1)) for of in could_be])
    n = int(known.sum())
    p = uniform_p(errors, even) if n else math.nan
    return {
        "errors": errors,
        "errors_share": errors / n if n else np.full(places, np.nan),
        "errors_even": even / n if n else np.full(places, np.nan),
        "wrong_n": [n] * places,
        "p_errors": [p] * places,
        "habit_seen": [math.nan if math.isnan(p) else habit_seen(even)] * places,
    }


def repeats_table(experiment: Experiment) -> pd.DataFrame:
    """Answers that change between identical runs; one row per run that was repeated.

    `changed` is the share of pairs of epochs with the same order of options that differ, averaged
    over `n` questions. Two replies that could not be read do not differ.
    """
    runs = _of_the_test(experiment)
    rows = [
        {
            **{name: run[name] for name in (*RUN, "draw", "epochs")},
            "n": run["changed_n"],
            **share("changed", run["changes"]),
        }
        for run in runs[runs["changed_n"] > 0].to_dict("records")
    ]
    return pd.DataFrame(rows, columns=list(_REPEATS))


def _of_the_test(experiment: Experiment) -> pd.DataFrame:
    """Runs on the test questions, by model and shot count."""
    order = {name: i for i, name in enumerate(experiment.models)}
    runs = experiment.logs.runs[experiment.logs.runs["split"] == "test"]
    by = ["_order", "prompt", "shots", "labels", "weak", "draw"]
    return runs.assign(_order=runs["model"].map(order)).sort_values(by, kind="stable")


@once
def rules_table(experiment: Experiment) -> pd.DataFrame:
    """Accuracy on the test of a rule that never sees a question, by whose labels it was fitted on.

    The rule is fitted on the options and labels of each draw's demonstrations (`shortcuts`), gold
    ones and those of each model. No row where the logs do not say what was shown.
    """
    runs = experiment.logs.runs
    labelled = (runs["task"] == "few_shot") & (runs["split"] == "test")
    labelled &= runs["labels"].isin(("gold", "weak"))
    found: dict[tuple[str, str, int], dict[int, NDArray[np.bool_]]] = {}
    for run, *cell, draw in runs.loc[labelled, ["labels", "weak", "shots", "draw"]].itertuples(
        name=None
    ):
        of = found.setdefault((cell[0], cell[1], cell[2]), {})
        right = None if draw in of else experiment.rule_right(run)
        if right is not None:
            of[draw] = right[experiment.test]
    order = {name: i for i, name in enumerate(["", *experiment.models])}
    rows: list[dict[str, Any]] = [
        {
            "labels": labels,
            "weak": weak,
            "shots": shots,
            "n": len(experiment.test),
            "draws": len(of),
            "scope": scope(len(of)),
            **share("accuracy", np.column_stack([of[draw] for draw in sorted(of)])),
        }
        for (labels, weak, shots), of in sorted(
            found.items(), key=lambda item: (item[0][0], order[item[0][1]], item[0][2])
        )
        if of
    ]
    return pd.DataFrame(rows, columns=list(_RULES))


@once
def surface_rule_table(experiment: Experiment) -> pd.DataFrame:
    """Each arm's gain where a rule that never sees a question is right, and where it is wrong.

    One row per (weak, strong, shots, arm) and rule. All arms of a cell are split by one rule: that
    fitted on the labels which the plain arm with weak labels was shown in the same draw
    ("demonstrations"), or that cross-fitted on the gold answers of the test ("cross-fitted").
    `right_n` and `wrong_n` are questions, averaged over draws.
    """
    rows: list[dict[str, Any]] = []
    for weak, strong in experiment.pairs:
        for shots in experiment.arm_shots(strong):
            arms = experiment.arms(weak, strong, shots)
            main = arms.get("weak")
            fitted = {
                draw: right
                for draw, run in (main.runs if main else {}).items()
                if (right := experiment.rule_right(run)) is not None
            }
            for name, arm in arms.items():
                cell = {"weak": weak, "strong": strong, "shots": shots, "arm": name}
                _, base = experiment.base(strong, arm.prompt)
                known = {draw: run for draw, run in arm.runs.items() if draw in fitted}
                for rule, runs in (("demonstrations", known), ("cross-fitted", arm.runs)):
                    row = {**cell, "rule": rule, "n": 0, "draws": 0}
                    both = None if base is None else experiment.compare([runs], base)
                    if both is not None and both.usable:
                        split = np.column_stack(
                            [
                                fitted[draw]
                                if rule == "demonstrations"
                                else experiment.cross_fitted_right
                                for draw in both.draws
                            ]
                        )
                        row |= _split_gain(both, split[both.places])
                    rows.append(row)
    return pd.DataFrame(rows, columns=list(_SHORTCUTS))


def _split_gain(both: Compared, right: NDArray[np.bool_]) -> dict[str, Any]:
    """The gain of the first column over the second, by whether a rule is right; (n, draws)."""
    row: dict[str, Any] = {
        "n": both.n,
        "draws": len(both.draws),
        **share("rule_accuracy", right),
        "right_n": float(right.sum(axis=0).mean()),
        "wrong_n": float((~right).sum(axis=0).mean()),
    }
    arm, base = both.columns
    for name, where in (("gain_right", right), ("gain_wrong", ~right)):
        found = subgroup_difference(arm, base, where)
        row |= interval(name, found.diff, found.low, found.high)
    return row
