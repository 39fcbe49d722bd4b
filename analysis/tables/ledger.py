"""What was run: models, costs, what is missing, and what computed the numbers."""

from __future__ import annotations

import math
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd

from w2s_icl.analysis.experiment import Experiment
from w2s_icl.analysis.logs import KEY
from w2s_icl.analysis.stats.columns import LEVEL
from w2s_icl.analysis.tables.arms import FAMILIES, tests_table
from w2s_icl.analysis.tables.cells import share, with_ends
from w2s_icl.analysis.tables.matching import RESAMPLES, SEED
from w2s_icl.record import IDENTITY, MISSING_LIMIT

_MODELS = (
    *("model", "n", *with_ends("accuracy"), "unparsed", "unparsed_share"),
    *("pool_n", "pool_accuracy", "pool_unparsed"),
)

_USAGE = ["calls", "input_tokens", "output_tokens", "cached_tokens", "cost"]

_COSTS = (*KEY[:1], *KEY[2:], *_USAGE, "cost_known")


def models_table(experiment: Experiment) -> pd.DataFrame:
    """One row per model: its zero-shot run on the test questions, and its label run (`pool_*`).

    Empty where there is no such run. An unread answer counts as wrong; `unparsed` counts those of
    all epochs, `unparsed_share` is their share of the replies.
    """
    rows, runs = [], experiment.logs.runs
    for model in experiment.models:
        row: dict[str, Any] = {"model": model}
        for split, prefix in (("test", ""), ("pool", "pool_")):
            run = experiment.zero_shot(model, split)
            if run is None:
                continue
            correct = experiment.logs.correct[run]
            n, unparsed, replies = runs[["n", "unparsed", "replies"]].iloc[run]
            row |= {f"{prefix}n": n, f"{prefix}unparsed": unparsed}
            row |= share(f"{prefix}accuracy", correct[~np.isnan(correct)])
            row[f"{prefix}unparsed_share"] = unparsed / replies if replies else math.nan
        rows.append(row)
    return pd.DataFrame(rows, columns=list(_MODELS))


def costs_table(experiment: Experiment) -> pd.DataFrame:
    """Calls, tokens and dollars of each run, and after the runs of a model their sum ("all").

    A cell that took its answers from another has no calls and cost 0. Any other run without a
    recorded call is not taken for free: its cost is unknown, like that of a call without a price,
    and so is every sum it is part of.
    """
    runs = experiment.logs.runs
    rows: list[dict[str, Any]] = []
    for model in experiment.models:
        part = runs[runs["model"] == model].sort_values(
            ["split", "prompt", "labels", "weak", "shots", "draw", "order"], kind="stable"
        )
        if part.empty:
            continue
        recorded = (part["calls"] > 0) | (part["reused_from"] != "")
        part = part.assign(cost=part["cost"].where(recorded))
        rows += [{str(k): v for k, v in row.items()} for row in part.to_dict("records")]
        everything = dict.fromkeys(("split", "labels", "weak", "prompt"), "all")
        rows.append({"model": model, **everything, **part[_USAGE].sum(skipna=False)})
    table = pd.DataFrame(rows, columns=list(_COSTS))
    table["cost_known"] = table["cost"].notna()
    integers = ["shots", "draw", "order", *_USAGE[:-1]]
    return table.astype(dict.fromkeys(integers, "Int64") | {"cost": "float64"})


def stats_info(experiment: Experiment) -> dict[str, Any]:
    """What the numbers of the other tables were computed with."""
    metadata = experiment.logs.metadata
    tested = tests_table(experiment).groupby(["family", "contrast"], sort=False).size()
    contrasts = {family: f"{first} - {second}" for family, (first, second) in FAMILIES.items()}
    contrasts |= {family: contrast for family, contrast in tested.index if family not in FAMILIES}
    return {
        "level": LEVEL,
        "resamples": RESAMPLES,
        "seed": SEED,
        "versions": {name: version(name) for name in ("w2s-icl", "numpy", "scipy", "pandas")},
        "log_versions": {key: metadata.get(key) for key in ("w2s_icl", "inspect_ai")},
        "families": {
            family: {"contrast": contrast, "tests": int(tested.get((family, contrast), 0))}
            for family, contrast in contrasts.items()
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
