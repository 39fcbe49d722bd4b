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
from w2s_icl.analysis.experiment import Experiment
from w2s_icl.analysis.stats.paired import habit_seen, paired_difference, uniform_p, wilson
from w2s_icl.analysis.stats.variance import variance_components
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

_SURFACE_RULE = (
    *(*CELL, "arm", "n", "draws", *with_ends("rule_accuracy"), "right_n", "wrong_n"),
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
    rows: list[dict[str, Any]] = []
    tested = _of_the_test(experiment)
    for key, runs in tested[tested["order"] == 0].groupby(list(RUN), sort=False):
        last = max(len(of) for of in runs["positions"])
        if not last:
            continue
        places = np.zeros((len(runs), last, len(Position._fields)))
        for i, of in enumerate(runs["positions"]):
            places[i, : len(of)] = np.reshape(of, (len(of), -1))
        asked, right, answers, expected, _ = places.sum(axis=0).T
        questions = places[:, :, -1].max(axis=0)
        errors = _errors(experiment, runs.index.to_numpy(), last)
        for i, letter in enumerate(ascii_uppercase[:last]):
            accuracy = right[i] / asked[i] if asked[i] else math.nan
            ends = (math.nan, math.nan)
            if questions[i]:
                ends = wilson(round(accuracy * questions[i]), int(questions[i]))
            row = dict(zip(RUN, key, strict=True)) | {"position": letter}
            row |= {"asked": int(asked[i]), "right_here": int(right[i])}
            row |= interval("accuracy", accuracy, *ends) | {"answers": int(answers[i])}
            row["share"] = answers[i] / answers.sum() if answers.sum() else math.nan
            row["uniform"] = expected[i] / expected.sum() if expected.sum() else math.nan
            rows.append(row | {name: of[i] for name, of in errors.items()})
    return pd.DataFrame(rows, columns=list(_POSITIONS))


def _errors(
    experiment: Experiment, runs: NDArray[np.intp], places: int
) -> dict[str, NDArray[np.float64]]:
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
        "errors_share": errors / (n or math.nan),
        "errors_even": even / (n or math.nan),
        "wrong_n": np.full(places, n),
        "p_errors": np.full(places, p),
        "habit_seen": np.full(places, math.nan if math.isnan(p) else habit_seen(even)),
    }


@lru_cache(maxsize=2)
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

    The rule is fitted on the options and labels of each draw's demonstrations, gold
    ones and those of each model. No row where the logs do not say what was shown.
    """
    runs = experiment.logs.runs
    labelled = runs[(runs["split"] == "test") & runs["labels"].isin(("gold", "weak"))]
    models = {name: i for i, name in enumerate(["", *experiment.models])}
    rows: list[dict[str, Any]] = []
    by_cell = labelled.sort_values("draw", kind="stable").groupby(["labels", "weak", "shots"])
    for key, of in by_cell:
        by_draw: dict[int, NDArray[np.bool_]] = {}
        for run, draw in of[["draw"]].itertuples(name=None):
            if draw not in by_draw and (right := experiment.rule_right(run)) is not None:
                by_draw[draw] = right[experiment.test]
        if by_draw:
            row = dict(zip(("labels", "weak", "shots"), key, strict=True))
            row |= {"n": len(experiment.test), "draws": len(by_draw), "scope": scope(len(by_draw))}
            rows.append(row | share("accuracy", np.column_stack(list(by_draw.values()))))
    rows.sort(key=lambda row: (row["labels"], models[row["weak"]], row["shots"]))
    return pd.DataFrame(rows, columns=list(_RULES))


@lru_cache(maxsize=2)
def surface_rule_table(experiment: Experiment) -> pd.DataFrame:
    """Each arm's gain where a rule that never sees a question is right, and where it is wrong.

    One row per (weak, strong, shots, arm). The rule is cross-fitted on the gold answers of the
    test; `right_n` and `wrong_n` count the questions.
    """
    rows: list[dict[str, Any]] = []
    for weak, strong, shots, arms in experiment.all_arms():
        for name, arm in arms.items():
            row = {"weak": weak, "strong": strong, "shots": shots, "arm": name, "n": 0, "draws": 0}
            _, base = experiment.base(strong, arm.prompt)
            both = None if base is None else experiment.compare([arm.runs], base)
            if both is not None and both.usable:
                right = experiment.cross_fitted_right[both.places]
                row |= {"n": both.n, "draws": len(both.draws)}
                row |= share("rule_accuracy", np.repeat(right[:, None], len(both.draws), axis=1))
                for end, where in (("right", right), ("wrong", ~right)):
                    row[f"{end}_n"] = int(where.sum())
                    if where.any():
                        gain = paired_difference(*(column[where] for column in both.columns))
                        row |= interval(f"gain_{end}", gain.diff, gain.low, gain.high)
            rows.append(row)
    return pd.DataFrame(rows, columns=list(_SURFACE_RULE))
