"""Whose answers a strong model gives once it was shown weak labels."""

import math
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from w2s_icl.analysis.experiment import Cell, Experiment
from w2s_icl.analysis.stats.agreement import QuestionBootstrap
from w2s_icl.analysis.stats.paired import paired_difference
from w2s_icl.analysis.tables.cells import CELL, interval, share, table

_SHARES = (
    *("match_both", "match_strong", "match_weak", "match_neither"),
    *("neither_right", "neither_wrong"),
)
_bootstrap = lru_cache(maxsize=2)(QuestionBootstrap)  # resamples of one size can take 30 MB


def matching_table(experiment: Experiment) -> pd.DataFrame:
    """Whose answers the runs with weak labels give; one row per (weak, strong, shots > 0).

    An unread answer matches nothing. In a self pair `match_strong` and `match_weak` do not exist.
    Everything is about the first answer where a cell was run several times; agreement is then
    empty, unless all answers were right or wrong each time.
    """
    rows = [_matching_row(experiment, cell) for cell in experiment.cells if cell.shots]
    whose = [*_SHARES, *(f"{name}_count" for name in _SHARES)]
    statistics = ("phi", "error_consistency", "capa")
    agreement = (f"{name}_{of}±" for name in statistics for of in ("weak", "strong"))
    return table(
        rows,
        *(*CELL, "n draws", *whose, "ww_n", *(f"ww_{name}" for name in whose)),
        "fix_rate± fix_count strong_wrong_n break_rate± break_count strong_right_n",
        "imitation_m imitation_w2s imitation_gold imitation_excess±",
        *agreement,
    )


def _matching_row(experiment: Experiment, cell: Cell) -> dict[str, Any]:
    row: dict[str, Any] = {name: getattr(cell, name) for name in (*CELL, "n", "draws")}
    if not cell.compares("weak", "strong0", "w2s"):
        return row
    arms = cell.arms
    questions = experiment.logs.questions.iloc[cell.places]
    target = questions["gold"].to_numpy(dtype=np.str_)[:, None]
    weak, strong, treated = (arms[arm].letters for arm in ("weak", "strong0", "w2s"))
    right, parsed = treated == target, treated != ""
    like_strong, like_weak = parsed & (treated == strong), parsed & (treated == weak)
    neither = ~like_strong & ~like_weak
    whose = (like_strong & like_weak, like_strong & ~like_weak, ~like_strong & like_weak, neither)
    classes = dict(zip(_SHARES, (*whose, neither & right, neither & ~right), strict=True))
    weak_wrong, wrong = (weak != target)[:, 0], (strong != target)[:, 0]
    for prefix, among in (("", np.ones(cell.n, dtype=bool)), ("ww_", weak_wrong)):
        for name, of in classes.items():
            absent = cell.weak == cell.strong and name in ("match_strong", "match_weak")
            count = math.nan if absent else float(of[among].sum(axis=0).mean())
            row[f"{prefix}{name}"] = count / among.sum() if among.any() else math.nan
            row[f"{prefix}{name}_count"] = count
    row["ww_n"] = int(weak_wrong.sum())
    for rate, of, had, where in ("fix", right, "wrong", wrong), ("break", ~right, "right", ~wrong):
        row |= share(f"{rate}_rate", of[where]) | {f"strong_{had}_n": int(where.sum())}
        row[f"{rate}_count"] = float(of[where].sum(axis=0).mean())
    errors = weak_wrong & (weak != "")[:, 0]
    if "gold" in arms:
        row["imitation_m"] = int(errors.sum())
    if "gold" in arms and errors.any():
        of_w2s, of_gold = (of[errors] == weak[errors] for of in (treated, arms["gold"].letters))
        row |= {"imitation_w2s": float(of_w2s.mean()), "imitation_gold": float(of_gold.mean())}
        d = paired_difference(of_w2s, of_gold)
        row |= interval("imitation_excess", d.diff, max(d.low, -1.0), min(d.high, 1.0))
    if all(np.isin(arms[arm].correct, (0, 1)).all() for arm in ("weak", "strong0", "w2s")):
        options = questions["n_options"].to_numpy()
        for name, other in (("weak", arms["weak"]), ("strong", arms["strong0"])):
            correct = arms["w2s"].correct, other.correct
            found = _bootstrap(cell.n).agreement(treated, other.letters, *correct, options)
            for statistic, estimate in found.items():
                row |= interval(f"{statistic}_{name}", *estimate)
    return row
