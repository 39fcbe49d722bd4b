"""What a reader checks before believing a number: positions, reruns, the surface rule."""

import math
from functools import lru_cache
from string import ascii_uppercase
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from w2s_icl.analysis.answers import Position
from w2s_icl.analysis.experiment import Experiment
from w2s_icl.analysis.stats.paired import (
    habit_seen,
    paired_difference,
    uniform_p,
    variance_components,
    wilson,
)
from w2s_icl.analysis.tables.cells import CELL, interval, share, table

RUN = ("model", "labels", "weak", "shots", "prompt")
"""Columns that tell the kinds of runs apart, over their draws."""


@lru_cache(maxsize=2)
def positions_table(experiment: Experiment) -> pd.DataFrame:
    """Answers by place on the page, one row per place and (model, labels, weak, shots, prompt).

    The interval of `accuracy` counts a question once however often it was asked. Errors are by the
    place of the first epoch's answer, a question counted once over all draws.
    """
    rows: list[dict[Any, Any]] = []
    tested = _of_the_test(experiment)
    for key, runs in tested[tested["order"] == 0].groupby(list(RUN), sort=False):
        last = max(map(len, runs["positions"]))
        if not last:
            continue
        places = np.zeros((len(runs), last, len(Position._fields)))
        for i, of in enumerate(runs["positions"]):
            places[i, : len(of)] = np.reshape(of, (len(of), -1))
        asked, right, answers, expected, _ = places.sum(axis=0).T
        accuracy = right / np.where(asked, asked, np.nan)
        once = places[:, :, -1].max(axis=0)
        counts = np.column_stack([np.nan_to_num(accuracy * once).round(), once]).astype(int)
        ends = zip(*(wilson(k, n) for k, n in counts.tolist()), strict=True)
        columns = {
            **dict(zip(RUN, key, strict=True)),
            **{"position": list(ascii_uppercase[:last])},
            **{"asked": asked.astype(int), "right_here": right.astype(int), "accuracy": accuracy},
            **dict(zip(("accuracy_lo", "accuracy_hi"), ends, strict=True)),
            **{"answers": answers.astype(int), "share": answers / (answers.sum() or math.nan)},
            "uniform": expected / (expected.sum() or math.nan),
            **_errors(experiment, runs.index.to_numpy(), last),
        }
        rows += pd.DataFrame(columns).to_dict("records")
    return table(
        rows,
        *RUN,
        "position asked right_here accuracy± answers share uniform",
        "errors errors_share errors_even wrong_n p_errors habit_seen",
    )


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
    of_n = {"errors": errors, "errors_share": errors / (n or math.nan)}
    of_n |= {"errors_even": even / (n or math.nan)}
    seen = math.nan if math.isnan(p) else habit_seen(even)
    return of_n | {"wrong_n": n, "p_errors": p, "habit_seen": seen}


@lru_cache(maxsize=2)
def repeats_table(experiment: Experiment) -> pd.DataFrame:
    """What changes between runs that should agree: one row per run that was repeated.

    `changed` compares pairs of epochs with the same order of options; two replies that could not be
    read do not differ. After these, one row per arm whose demonstrations were shown in several
    orders, on the `n` questions that all its runs answered.
    """
    runs = _of_the_test(experiment)
    repeated = runs[(runs["changes"].map(len) > 0) & (runs["order"] == 0)]
    rows: list[dict[str, Any]] = [
        {name: run[name] for name in (*RUN, "draw", "epochs")}
        | {"n": len(run["changes"]), **share("changed", run["changes"])}
        for run in repeated.to_dict("records")
    ]
    for key, arm in runs.groupby(list(RUN), sort=False):
        rows_of = arm.index.to_numpy(dtype=np.intp)
        common = experiment.common(rows_of)
        if not arm["order"].any() or not common.usable:
            continue
        accuracy = experiment.logs.correct[np.ix_(rows_of, common.places)].mean(axis=1)
        of_draw = [accuracy[arm["draw"] == draw] for draw in arm["draw"].unique()]
        found = variance_components(of_draw)
        row = dict(zip(RUN, key, strict=True)) | {"n": common.n, "draws": len(of_draw)}
        row |= {"orders": max(map(len, of_draw)), "sd_draws": math.sqrt(max(found.draws, 0))}
        row |= interval("sd_orders", math.sqrt(found.orders), found.low, found.high)
        rows.append(row | {"var_orders": found.orders, "var_draws": found.draws})
    made = table(
        rows, *RUN, "draw epochs n changed± draws orders sd_orders± sd_draws var_orders var_draws"
    )
    return made.astype(dict.fromkeys(("draw", "epochs", "draws", "orders"), "Int64"))


def _of_the_test(experiment: Experiment) -> pd.DataFrame:
    """Runs on the test questions, by model and shot count, further orders included."""
    place = {name: i for i, name in enumerate(experiment.models)}
    runs = experiment.logs.runs[experiment.logs.runs["split"] == "test"]
    by = ["_place", "prompt", "shots", "labels", "weak", "draw", "order"]
    return runs.assign(_place=runs["model"].map(place)).sort_values(by, kind="stable")


def surface_rule_table(experiment: Experiment) -> pd.DataFrame:
    """Each arm's gain where a rule that never sees a question is right, and where it is wrong."""
    rows: list[dict[str, Any]] = []
    for weak, strong, shots, arms in experiment.all_arms():
        for name, arm in arms.items():
            row = {"weak": weak, "strong": strong, "shots": shots, "arm": name, "n": 0, "draws": 0}
            rows.append(row)
            _, base = experiment.base(strong, arm.prompt)
            both = None if base is None else experiment.compare([arm.runs], base)
            if both is None or not both.usable:
                continue
            right = experiment.rule.right[both.places]
            row |= {"n": both.n, "draws": len(both.draws)}
            row |= share("rule_accuracy", np.repeat(right[:, None], len(both.draws), axis=1))
            for end, where in (("right", right), ("wrong", ~right)):
                row[f"{end}_n"] = int(where.sum())
                if where.any():
                    gain = paired_difference(*(column[where] for column in both.columns))
                    row |= interval(f"gain_{end}", gain.diff, gain.low, gain.high)
    return table(rows, *CELL, "arm n draws rule_accuracy± right_n wrong_n gain_right± gain_wrong±")
