"""What was run: models, costs, what is missing, and what computed the numbers."""

import math
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd

from w2s_icl.analysis.experiment import Experiment
from w2s_icl.analysis.logs import KEY
from w2s_icl.analysis.stats.agreement import RESAMPLES, SEED
from w2s_icl.analysis.stats.paired import LEVEL
from w2s_icl.analysis.tables.arms import MAIN, tests_table
from w2s_icl.analysis.tables.cells import share, table
from w2s_icl.record import IDENTITY, MISSING_LIMIT

_USAGE = ["calls", "input_tokens", "output_tokens", "cached_tokens", "cost"]


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
        "level": LEVEL,
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

    "not run" where there is no log; "incomplete" where more than 2% of the answers are missing or
    no run came to its end.
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
