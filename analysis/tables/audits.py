"""What a reader checks before believing a number: positions, reruns, the surface rule."""

from __future__ import annotations

import math
from functools import lru_cache
from string import ascii_uppercase
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from w2s_icl.analysis.answers import Position
from w2s_icl.analysis.experiment import Compared, Experiment
from w2s_icl.analysis.stats import (
    habit_seen,
    subgroup_difference,
    uniform_p,
    variance_components,
    wilson,
)
from w2s_icl.analysis.tables.cells import CELL, interval, scope, share, with_ends

RUN = ("model", "labels", "weak", "shots", "prompt")
"""Columns that tell the kinds of runs apart, over their draws."""

_POSITIONS = (
    *(*RUN, "position", "asked", "right_here"),
    *with_ends("accuracy"),
    *("answers", "share", "uniform"),
    *("errors", "errors_share", "errors_even", "wrong_n", "p_errors", "habit_seen"),
)

_REPEATS = (
    *(*RUN, "draw", "epochs", "n", *with_ends("changed"), "draws", "orders"),
    *(*with_ends("sd_orders"), "sd_draws", "var_orders", "var_draws"),
)

_RULES = ("labels", "weak", "shots", "n", "draws", "scope", *with_ends("accuracy"))

_SHORTCUTS = (
    *(*CELL, "arm", "rule", "n", "draws"),
    *with_ends("rule_accuracy"),
    *("right_n", "wrong_n"),
    *with_ends("gain_right", "gain_wrong"),
)


@lru_cache(maxsize=2)
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
    parts: list[pd.DataFrame] = []
    tested = _of_the_test(experiment)
    for key, runs in tested[tested["order"] == 0].groupby(list(RUN), sort=False):
        last = max(len(of) for of in runs["positions"])
        if not last:
            continue
        places = np.zeros((len(runs), last, len(Position._fields)))
        for i, of in enumerate(runs["positions"]):
            places[i, : len(of)] = np.reshape(of, (len(of), -1))
        asked, right, answers, expected, _ = places.sum(axis=0).T
        with np.errstate(invalid="ignore"):  # 0 / 0: nothing to report
            accuracy, share = right / asked, answers / answers.sum()
            uniform = expected / expected.sum()
        questions = places[:, :, -1].max(axis=0)
        ends = [
            wilson(round(a * n), int(n)) if n else (math.nan, math.nan)
            for a, n in zip(accuracy, questions, strict=True)
        ]
        parts.append(
            pd.DataFrame(
                {
                    **dict(zip(RUN, key, strict=True)),
                    "position": list(ascii_uppercase[:last]),
                    "asked": asked.astype(int),
                    "right_here": right.astype(int),
                    "accuracy": accuracy,
                    **dict(zip(("accuracy_lo", "accuracy_hi"), np.transpose(ends), strict=True)),
                    "answers": answers.astype(int),
                    "share": share,
                    "uniform": uniform,
                    **_errors(experiment, runs.index.to_numpy(), last),
                }
            )
        )
    if not parts:
        return pd.DataFrame(columns=list(_POSITIONS))
    return pd.concat(parts, ignore_index=True)


def _errors(experiment: Experiment, runs: NDArray[np.intp], places: int) -> dict[str, Any]:
    """The columns of the errors, by place."""
    questions = experiment.logs.questions
    letters = experiment.logs.letters[runs]
    gold = questions["gold"].to_numpy(dtype=np.str_)
    wrong = (letters != "") & (letters != gold)
    known = wrong.any(axis=0)
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
        "errors_share": errors / n if n else math.nan,
        "errors_even": even / n if n else math.nan,
        "wrong_n": n,
        "p_errors": p,
        "habit_seen": math.nan if math.isnan(p) else habit_seen(even),
    }


def repeats_table(experiment: Experiment) -> pd.DataFrame:
    """What changes between runs that should agree: one row per run that was repeated.

    `changed` is the share of pairs of epochs with the same order of options that differ, averaged
    over `n` questions. Two replies that could not be read do not differ. After these, one row per
    arm whose demonstrations were shown in several orders: the variance of its accuracy on the `n`
    questions that all its runs answered, between orders of the same demonstrations, and between
    draws (`stats.variance_components`); `sd_draws` is 0 where that estimate is not above 0.
    """
    runs = _of_the_test(experiment)
    rows = [
        {
            **{name: run[name] for name in (*RUN, "draw", "epochs")},
            "n": run["changed_n"],
            **share("changed", run["changes"]),
        }
        for run in runs[(runs["changed_n"] > 0) & (runs["order"] == 0)].to_dict("records")
    ]
    for key, arm in runs.groupby(list(RUN), sort=False):
        rows_of = arm.index.to_numpy(dtype=np.intp)
        common = experiment.common(rows_of)
        if not arm["order"].any() or not common.usable:
            continue
        accuracy = experiment.logs.correct[np.ix_(rows_of, common.places)].mean(axis=1)
        of_draw = [accuracy[arm["draw"] == draw] for draw in arm["draw"].unique()]
        found = variance_components(of_draw)
        rows.append(
            {
                **dict(zip(RUN, key, strict=True)),
                **{"n": common.n, "draws": len(of_draw), "orders": max(map(len, of_draw))},
                **interval("sd_orders", math.sqrt(found.orders), found.low, found.high),
                "sd_draws": math.sqrt(max(found.draws, 0)),
                **{"var_orders": found.orders, "var_draws": found.draws},
            }
        )
    integers = dict.fromkeys(("draw", "epochs", "draws", "orders"), "Int64")
    return pd.DataFrame(rows, columns=list(_REPEATS)).astype(integers)


def _of_the_test(experiment: Experiment) -> pd.DataFrame:
    """Runs on the test questions, by model and shot count, further orders included."""
    place = {name: i for i, name in enumerate(experiment.models)}
    runs = experiment.logs.runs[experiment.logs.runs["split"] == "test"]
    by = ["_place", "prompt", "shots", "labels", "weak", "draw", "order"]
    return runs.assign(_place=runs["model"].map(place)).sort_values(by, kind="stable")


@lru_cache(maxsize=2)
def rules_table(experiment: Experiment) -> pd.DataFrame:
    """Accuracy on the test of a rule that never sees a question, by whose labels it was fitted on.

    The rule is fitted on the options and labels of each draw's demonstrations (`shortcuts`), gold
    ones and those of each model. No row where the logs do not say what was shown.
    """
    runs = experiment.logs.runs
    labelled = runs[(runs["split"] == "test") & runs["labels"].isin(("gold", "weak"))]
    order = {name: i for i, name in enumerate(["", *experiment.models])}
    rows: list[dict[str, Any]] = []
    by_cell = labelled.sort_values("draw", kind="stable").groupby(["labels", "weak", "shots"])
    for key, of in by_cell:
        by_draw: dict[int, NDArray[np.bool_]] = {}
        for run, draw in of[["draw"]].itertuples(name=None):
            right = None if draw in by_draw else experiment.rule_right(run)
            if right is not None:
                by_draw[draw] = right[experiment.test]
        if by_draw:
            rows.append(
                {
                    **dict(zip(("labels", "weak", "shots"), key, strict=True)),
                    **{"n": len(experiment.test), "draws": len(by_draw)},
                    "scope": scope(len(by_draw)),
                    **share("accuracy", np.column_stack(list(by_draw.values()))),
                }
            )
    rows.sort(key=lambda row: (row["labels"], order[row["weak"]], row["shots"]))
    return pd.DataFrame(rows, columns=list(_RULES))


@lru_cache(maxsize=2)
def surface_rule_table(experiment: Experiment) -> pd.DataFrame:
    """Each arm's gain where a rule that never sees a question is right, and where it is wrong.

    One row per (weak, strong, shots, arm) and rule. All arms of a cell are split by one rule: that
    fitted on the labels which the plain arm with weak labels was shown in the same draw
    ("demonstrations"), or that cross-fitted on the gold answers of the test ("cross-fitted").
    `right_n` and `wrong_n` are questions, averaged over draws.
    """
    rows: list[dict[str, Any]] = []
    for weak, strong, shots, arms in experiment.all_arms():
        main = arms["weak"].runs if "weak" in arms else {}
        rules = {draw: experiment.rule_right(run) for draw, run in main.items()}
        fitted = {draw: right for draw, right in rules.items() if right is not None}
        for name, arm in arms.items():
            _, base = experiment.base(strong, arm.prompt)
            cross_fitted = dict.fromkeys(arm.runs, experiment.cross_fitted_right)
            for rule, right in (("demonstrations", fitted), ("cross-fitted", cross_fitted)):
                row = {"weak": weak, "strong": strong, "shots": shots, "arm": name, "rule": rule}
                runs = {draw: run for draw, run in arm.runs.items() if draw in right}
                both = None if base is None else experiment.compare([runs], base)
                if both is not None and both.usable:
                    split = np.column_stack([right[draw] for draw in both.draws])
                    row |= _split_gain(both, split[both.places])
                rows.append({"n": 0, "draws": 0} | row)
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
