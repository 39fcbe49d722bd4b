"""Whose answers a strong model gives once it was shown weak labels."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from w2s_icl.analysis.experiment import Cell, Experiment
from w2s_icl.analysis.stats import (
    MatchCounts,
    QuestionBootstrap,
    imitation_excess,
    matching_counts,
)
from w2s_icl.analysis.tables.cells import CELL, interval, share, with_ends

RESAMPLES = 10_000

SEED = 20240

_MATCHES = ("match_both", "match_strong", "match_weak", "match_neither")
_SHARES = (*_MATCHES, "neither_right", "neither_wrong")

_AGREEMENT = ("phi", "error_consistency", "capa")

_MATCHING = (
    *(*CELL, "n", "draws", *_SHARES, *(f"{name}_count" for name in _SHARES)),
    *("ww_n", *(f"ww_{name}" for name in _SHARES), *(f"ww_{name}_count" for name in _SHARES)),
    *(*with_ends("fix_rate"), "fix_count", "strong_wrong_n"),
    *(*with_ends("break_rate"), "break_count", "strong_right_n"),
    *("imitation_m", "imitation_w2s", "imitation_gold", *with_ends("imitation_excess")),
    *with_ends(*(f"{name}_{other}" for name in _AGREEMENT for other in ("weak", "strong"))),
)


def matching_table(experiment: Experiment) -> pd.DataFrame:
    """Whose answers the runs with weak labels give; one row per (weak, strong, shots > 0).

    Shares of questions, and `*_count`, both averaged over draws; `ww_*` over the questions that
    the weak model has wrong. `neither_right` and `neither_wrong` (wrong or unread) split
    `match_neither`. In a self pair `match_strong` and `match_weak` do not exist. Everything is
    about the first answer where a cell was run several times; agreement is then empty, unless
    all answers were right or wrong each time.
    """
    # resamples of one size can take 30 MB
    bootstrap = lru_cache(maxsize=4)(lambda n: QuestionBootstrap(n, RESAMPLES, SEED))
    rows = [_matching_row(experiment, cell, bootstrap) for cell in experiment.cells if cell.shots]
    return pd.DataFrame(rows, columns=list(_MATCHING))


def _matching_row(
    experiment: Experiment, cell: Cell, bootstrap: Callable[[int], QuestionBootstrap]
) -> dict[str, Any]:
    row: dict[str, Any] = {name: getattr(cell, name) for name in (*CELL, "n", "draws")}
    if not cell.compares("weak", "strong0", "w2s"):
        return row
    arms = cell.arms
    questions = experiment.logs.questions.iloc[cell.places]
    target = questions["gold"].to_numpy(dtype=np.str_)[:, None]
    weak, strong, treated = (arms[arm].letters for arm in ("weak", "strong0", "w2s"))
    counts = matching_counts(treated, strong[:, 0], weak[:, 0], target[:, 0])
    right = treated == target
    weak_wrong, strong_wrong = (weak != target)[:, 0], (strong != target)[:, 0]
    elsewhere = right & (treated != strong) & (treated != weak)
    self_pair = cell.weak == cell.strong
    row |= _match_shares("", counts.every, elsewhere, self_pair)
    row |= _match_shares("ww_", counts.weak_wrong, elsewhere[weak_wrong], self_pair)
    row["ww_n"] = counts.weak_wrong.n
    row |= share("fix_rate", right[strong_wrong])
    row |= {"fix_count": float(np.mean(counts.fixed)), "strong_wrong_n": counts.strong_wrong}
    row |= share("break_rate", ~right[~strong_wrong])
    row |= {"break_count": float(np.mean(counts.broken)), "strong_right_n": counts.strong_right}
    if "gold" in arms:
        errors = weak_wrong & (weak[:, 0] != "")
        repeated = [(arms[arm].letters == weak)[errors] for arm in ("w2s", "gold")]
        excess = imitation_excess(*repeated)
        row |= {
            "imitation_m": excess.m,
            "imitation_w2s": excess.treated,
            "imitation_gold": excess.gold,
            **interval("imitation_excess", excess.value, excess.low, excess.high),
        }
    if all(np.isin(arms[arm].correct, (0, 1)).all() for arm in ("weak", "strong0", "w2s")):
        # a resample is the same questions whatever the order of the log
        ids = questions.index
        by_id = sorted(range(cell.n), key=lambda i: (isinstance(ids[i], str), ids[i]))
        for name, other in (("weak", arms["weak"]), ("strong", arms["strong0"])):
            found = bootstrap(cell.n).agreement(
                treated[by_id],
                other.letters[by_id],
                arms["w2s"].correct[by_id],
                other.correct[by_id],
                questions["n_options"].to_numpy()[by_id],
            )
            for statistic in _AGREEMENT:
                e = getattr(found, statistic)
                row |= interval(f"{statistic}_{name}", e.value, e.low, e.high)
    return row


def _match_shares(
    prefix: str, counts: MatchCounts, elsewhere: NDArray[np.bool_], self_pair: bool
) -> dict[str, float]:
    """Shares and mean counts; `elsewhere` is right with the answer of neither, (n, draws)."""
    each = zip(_MATCHES, (counts.both, counts.strong, counts.weak, counts.neither), strict=True)
    means = {name: float(np.mean(of)) for name, of in each}
    if self_pair:
        means |= {"match_strong": math.nan, "match_weak": math.nan}
    means["neither_right"] = float(elsewhere.sum(axis=0).mean())
    means["neither_wrong"] = means["match_neither"] - means["neither_right"]
    return {
        **{prefix + k: v / counts.n if counts.n else math.nan for k, v in means.items()},
        **{f"{prefix}{k}_count": v for k, v in means.items()},
    }
