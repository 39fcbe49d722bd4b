"""What was run, what it cost, what is missing, and what a reader checks before believing it."""

import math
from functools import lru_cache
from importlib.metadata import version
from string import ascii_uppercase
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from w2s_icl.analysis.experiment import Experiment
from w2s_icl.analysis.logs import KEY
from w2s_icl.analysis.stats import paired
from w2s_icl.analysis.stats.agreement import RESAMPLES, SEED
from w2s_icl.analysis.tables.arms import MAIN, tests_table
from w2s_icl.analysis.tables.cells import interval, share, table
from w2s_icl.record import IDENTITY, MISSING_LIMIT

_USAGE = ["calls", "input_tokens", "output_tokens", "cached_tokens", "cost"]
RUN = ("model", "labels", "weak", "shots", "prompt")
"""Columns that tell the kinds of runs apart, over their draws."""


def models_table(experiment: Experiment) -> pd.DataFrame:
    """One row per model: its zero-shot run on the test questions, and its label run (`pool_*`).

    Empty where there is no such run. An unread answer counts as wrong; `unparsed` counts those of
    all epochs, `unparsed_share` is their share of the replies.
    """
    rows = []
    for model in experiment.models:
        row: dict[str, Any] = {"model": model}
        for split, prefix in (("test", ""), ("pool", "pool_")):
            if (run := experiment.zero_shot(model, split)) is None:
                continue
            correct = experiment.logs.correct[run]
            n, unparsed, replies = experiment.logs.runs[["n", "unparsed", "replies"]].iloc[run]
            row |= {f"{prefix}n": n, f"{prefix}unparsed": unparsed}
            row |= share(f"{prefix}accuracy", correct[~np.isnan(correct)])
            row[f"{prefix}unparsed_share"] = unparsed / replies if replies else math.nan
        rows.append(row)
    of_pool = "pool_n pool_accuracy pool_unparsed"
    return table(rows, "model n accuracy± unparsed unparsed_share", of_pool)


def costs_table(experiment: Experiment) -> pd.DataFrame:
    """Calls, tokens and dollars of each run, and after the runs of a model their sum ("all").

    A cell that took its answers from another has no calls and cost 0. The cost of any other run
    without a recorded call, or with a call without a price, is unknown, and so are their sums.
    """
    by = ["split", "prompt", "labels", "weak", "shots", "draw", "order"]
    runs = experiment.logs.runs.sort_values(by, kind="stable")
    recorded = (runs["calls"] > 0) | (runs["reused_from"] != "")
    runs = runs.assign(cost=runs["cost"].where(recorded))
    rows: list[dict[Any, Any]] = []
    for model in experiment.models:
        part = runs[runs["model"] == model]
        if len(part):
            everything = dict.fromkeys(("split", "labels", "weak", "prompt"), "all")
            total = part[_USAGE].sum(skipna=False).to_dict()
            rows += [*part.to_dict("records"), {"model": model, **everything, **total}]
    made = table(rows, "model", *KEY[2:], *_USAGE)
    made["cost_known"] = made["cost"].notna()
    integers = ["shots", "draw", "order", *_USAGE[:-1]]
    return made.astype(dict.fromkeys(integers, "Int64") | {"cost": "float64"})


def stats_info(experiment: Experiment) -> dict[str, Any]:
    """What the numbers of the other tables were computed with."""
    metadata = experiment.logs.metadata
    tested = tests_table(experiment)["family"].tolist()
    families = dict.fromkeys([*(f"w2s_vs_{arm}" for arm in MAIN), *tested])
    return {
        "level": paired.LEVEL,
        "resamples": RESAMPLES,
        "seed": SEED,
        "versions": {name: version(name) for name in ("w2s-icl", "numpy", "scipy", "pandas")},
        "log_versions": {key: metadata.get(key) for key in ("w2s_icl", "inspect_ai")},
        "families": {
            name: {"contrast": name.replace("w2s_vs_", "w2s - ", 1), "tests": tested.count(name)}
            for name in families
        },
        "experiment": {key: metadata.get(key) for key in ("dataset", *IDENTITY, "scorer_version")},
    }


def missing_cells(experiment: Experiment) -> pd.DataFrame:
    """Planned cells without a usable run; `why` says which kind.

    "not run": there is no log. "incomplete": over 2% of the answers are missing, or no run ended.
    """
    logs = experiment.logs
    test = logs.runs["split"] == "test"
    asked = logs.runs["asked"].mask(test, logs.runs.loc[test, "asked"].max())
    short = 1 - logs.runs["n"] / asked > MISSING_LIMIT
    lacks = dict(zip(logs.runs[list(KEY)].itertuples(index=False, name=None), short, strict=True))
    lacks |= dict.fromkeys(map(tuple, logs.unfinished), True)
    rows = [
        (*key, "incomplete" if key in lacks else "not run")
        for key in logs.planned[list(KEY)].itertuples(index=False, name=None)
        if lacks.get(key, True) and key not in logs.counts
    ]
    return pd.DataFrame(rows, columns=[*KEY, "why"])


@lru_cache(maxsize=2)
def positions_table(experiment: Experiment) -> pd.DataFrame:
    """Answers by place on the page, one row per place and (model, labels, weak, shots, prompt).

    The interval of `accuracy` counts a question once however often it was asked. Errors are by the
    place of the first epoch's answer, a question counted once over all draws.
    """
    rows: list[dict[Any, Any]] = []
    tested = _of_the_test(experiment)
    for key, runs in tested[tested["order"] == 0].groupby(list(RUN), sort=False):
        places = np.array(runs["positions"].tolist())
        used = np.flatnonzero(places.any(axis=(0, 2)))
        if not used.size:
            continue
        last = int(used[-1]) + 1
        asked, right, answers, expected, _ = places[:, :last].sum(axis=0).T
        accuracy = right / np.where(asked, asked, np.nan)
        once = places[:, :last, -1].max(axis=0)
        counts = np.column_stack([np.nan_to_num(accuracy * once).round(), once]).astype(int)
        low, high = zip(*(paired.wilson(k, n) for k, n in counts.tolist()), strict=True)
        columns: dict[Any, Any] = {"position": [*ascii_uppercase[:last]]}
        columns |= {"asked": asked.astype(int), "right_here": right.astype(int)}
        columns |= {"accuracy": accuracy, "accuracy_lo": low, "accuracy_hi": high}
        columns |= {"answers": answers.astype(int), "share": answers / (answers.sum() or math.nan)}
        columns |= {"uniform": expected / (expected.sum() or math.nan)}
        columns |= _errors(experiment, runs.index.to_numpy(), last)
        rows += pd.DataFrame(dict(zip(RUN, key, strict=True)) | columns).to_dict("records")
    return table(
        rows,
        *RUN,
        "position asked right_here accuracy± answers share uniform",
        "errors errors_share errors_even wrong_n p_errors habit_seen",
    )


def _errors(experiment: Experiment, runs: NDArray[np.intp], places: int) -> dict[str, Any]:
    """The columns of the errors, by place."""
    questions, letters = experiment.logs.questions, experiment.logs.letters[runs]
    gold = questions["gold"].to_numpy(dtype=np.str_)
    wrong = (letters != "") & (letters != gold)
    known = wrong.any(axis=0)
    letters, wrong, gold = letters[:, known], wrong[:, known], gold[known]
    options = questions["n_options"].to_numpy(dtype=float)[known]
    times, chance = wrong.sum(axis=0), 1 / np.maximum(options - 1, 1)
    errors, even = np.zeros((2, places))
    for i, letter in enumerate(ascii_uppercase[:places]):
        errors[i] = (((letters == letter) & wrong).sum(axis=0) / times).sum()
        even[i] = ((i < options) & (gold != letter)) @ chance
    n, p = len(gold), paired.uniform_p(errors, even)
    row = {"errors": errors, "wrong_n": n, "p_errors": p, "errors_share": errors / (n or math.nan)}
    row |= {"errors_even": even / (n or math.nan)}
    return row | {"habit_seen": math.nan if math.isnan(p) else paired.habit_seen(even)}


@lru_cache(maxsize=2)
def repeats_table(experiment: Experiment) -> pd.DataFrame:
    """What changes between runs that should agree: one row per run that was repeated.

    `changed` compares pairs of epochs with the same order of options; two replies that could not be
    read do not differ. After these, one row per arm whose demonstrations were shown in several
    orders, on the `n` questions that all its runs answered.
    """
    runs = _of_the_test(experiment)
    repeated = runs[(runs["changes"].map(len) > 0) & (runs["order"] == 0)]
    rows: list[dict[Any, Any]] = [
        run | {"n": len(run["changes"]), **share("changed", run["changes"])}
        for run in repeated[[*RUN, "draw", "epochs", "changes"]].to_dict("records")
    ]
    for key, arm in runs.groupby(list(RUN), sort=False):
        rows_of = arm.index.to_numpy(dtype=np.intp)
        common = experiment.common(rows_of)
        if not arm["order"].any() or not common.usable:
            continue
        accuracy = experiment.logs.correct[np.ix_(rows_of, common.places)].mean(axis=1)
        of_draw = [accuracy[arm["draw"] == draw] for draw in arm["draw"].unique()]
        found = paired.variance_components(of_draw)
        row = dict(zip(RUN, key, strict=True)) | {"n": common.n, "draws": len(of_draw)}
        row |= {"orders": max(map(len, of_draw)), "sd_draws": math.sqrt(max(found.draws, 0))}
        row |= interval("sd_orders", math.sqrt(found.orders), found.low, found.high)
        rows.append(row | {"var_orders": found.orders, "var_draws": found.draws})
    columns = "draw epochs n changed± draws orders sd_orders± sd_draws var_orders var_draws"
    made = table(rows, *RUN, columns)
    return made.astype(dict.fromkeys(("draw", "epochs", "draws", "orders"), "Int64"))


def _of_the_test(experiment: Experiment) -> pd.DataFrame:
    """Runs on the test questions, by model and shot count, further orders included."""
    place = {name: i for i, name in enumerate(experiment.models)}
    runs = experiment.logs.runs[experiment.logs.runs["split"] == "test"]
    by = ["_place", "prompt", "shots", "labels", "weak", "draw", "order"]
    return runs.assign(_place=runs["model"].map(place)).sort_values(by, kind="stable")
