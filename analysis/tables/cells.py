"""Accuracies, ratios and matching answers by (weak, strong, shots), and what all tables share.

Fractions throughout; nan, an empty field in the CSV files, where there is nothing to report.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from w2s_icl.analysis.experiment import COLUMNS, DEFINITIONS, Cell, Experiment
from w2s_icl.analysis.stats import paired
from w2s_icl.analysis.stats.agreement import QuestionBootstrap
from w2s_icl.analysis.stats.ratio import Ratio, clustered_ratio, gap_recovered
from w2s_icl.record import CellKey

CELL = ("weak", "strong", "shots")
"""Columns that tell cells apart."""

_MATCHES = ("match_both", "match_strong", "match_weak", "match_neither")
_SHARES = (*_MATCHES, "neither_right", "neither_wrong")
_bootstrap = lru_cache(maxsize=2)(QuestionBootstrap)  # resamples of one size can take 30 MB


def table(rows: Sequence[Any], *columns: str) -> pd.DataFrame:
    """Rows in columns that do not depend on them: "gain±" is an estimate and its interval's ends.

    Example:
        >>> table([], "weak strong", "gain±").columns.tolist()
        ['weak', 'strong', 'gain', 'gain_lo', 'gain_hi']
    """
    names = (
        name.removesuffix("±") + end
        for name in " ".join(columns).split()
        for end in (("", "_lo", "_hi") if name.endswith("±") else ("",))
    )
    return pd.DataFrame(rows, columns=list(names))


def scope(draws: int) -> str:
    """What intervals over so many draws speak about."""
    return "random_demos" if draws >= paired.MIN_RANDOM_DRAWS else "fixed_demos"


def interval(
    name: str, value: float = math.nan, low: float = math.nan, high: float = math.nan
) -> dict[str, float]:
    """The three columns of an estimate."""
    return {name: value, f"{name}_lo": low, f"{name}_hi": high}


def difference(name: str, found: paired.Difference | None) -> dict[str, float]:
    """The columns of a paired difference; nan where there is none."""
    if found is None:
        return interval(name) | {f"{name}_p": math.nan}
    return interval(name, found.diff, found.low, found.high) | {f"{name}_p": found.p}


def share(name: str, events: ArrayLike) -> dict[str, float]:
    """The mean of `events`, shape (n,) or (n, draws), with its interval; nan without any."""
    values = np.asarray(events, dtype=np.float64)
    return interval(name, *((values.mean(), *paired.mean_interval(values)) if len(values) else ()))


def ratio_columns(name: str, ratio: Ratio | None = None, status: str = "") -> dict[str, Any]:
    """The columns of a ratio; `status` says why there is none."""
    ends = {"_num": "numerator", "_num_lo": "numerator_low", "_num_hi": "numerator_high"}
    ends |= {"_gap": "gap", "_gap_lo": "gap_low", "_gap_hi": "gap_high"}
    ends |= {"": "value", "_lo": "low", "_hi": "high", "_df": "df", "_t_gap": "t_gap"}
    # nan is what `None` has for a field
    row: dict[str, Any] = {name + end: getattr(ratio, of, math.nan) for end, of in ends.items()}
    row[f"{name}_status"] = ratio.status if ratio else status
    return row | {f"{name}_fragile": bool(ratio and ratio.fragile)}


def cells_table(experiment: Experiment) -> pd.DataFrame:
    """One row per (weak, strong, shots): accuracies and the four ratios."""
    # zero-shot logs alone: no rows, but the columns all the same
    nobody = Cell(np.array([], dtype=np.intp), 0, "", "", 0, {})
    rows = [_cell_row(experiment, cell) for cell in experiment.cells or [nobody]]
    return pd.DataFrame(rows).iloc[: len(experiment.cells)]


def _cell_row(experiment: Experiment, cell: Cell) -> dict[str, Any]:
    row: dict[str, Any] = {name: getattr(cell, name) for name in (*CELL, "n", "n_union", "draws")}
    row["scope"] = scope(cell.draws)
    complete = {name: arm.correct for name, arm in cell.arms.items() if cell.usable}
    for name in COLUMNS:
        row |= share(f"acc_{name}", complete.get(name, ()))
    for name in COLUMNS:
        row[f"unparsed_{name}"] = cell.arms[name].unparsed if name in cell.arms else math.nan
    row |= {"draw_sd": math.nan, "demo_label_accuracy": math.nan}
    if "w2s" in complete and cell.draws > 1:
        row["draw_sd"] = complete["w2s"].mean(axis=0).std(ddof=1)
    if "w2s" in cell.arms:
        shown = experiment.logs.runs["demo_label_accuracy"].to_numpy()
        row["demo_label_accuracy"] = shown[list(cell.arms["w2s"].runs)].mean()
    for definition in DEFINITIONS:
        status = cell.status(definition)
        ratio = None if status else gap_recovered(*cell.columns(definition))
        row |= ratio_columns(definition, ratio, status)
    return row | _gold_ratio(experiment, cell, row["pgr_gold_status"])


def _gold_ratio(experiment: Experiment, cell: Cell, status: str) -> dict[str, float]:
    """What else is said of `pgr_gold`, whose status is given."""
    row = {"pgr_no_supervision": math.nan, **interval("pgr_gold_parsed")}
    row["se_ratio_cluster"] = math.nan
    if cell.status("pgr_gold"):
        return row
    columns = cell.columns("pgr_gold")
    letters = np.hstack([cell.arms[name].letters for name in DEFINITIONS["pgr_gold"]])
    read = (letters != "").all(axis=1)
    if read.any():
        ratio = gap_recovered(*(column[read] for column in columns))
        row |= interval("pgr_gold_parsed", ratio.value, ratio.low, ratio.high)
    if status == "ok":
        if "strong0" in cell.arms:
            weak, _, gold = (column.mean() for column in columns)
            strong = cell.arms["strong0"].correct.mean()
            row["pgr_no_supervision"] = (strong - weak) / (gold - weak)
        categories = experiment.logs.questions["category"].to_numpy()[cell.places]
        if len(set(categories)) > 1:
            row["se_ratio_cluster"] = clustered_ratio(*columns, categories)
    return row


def curves_table(experiment: Experiment, cells: pd.DataFrame) -> pd.DataFrame:
    """Accuracy of every prompted model, one row per point of its curves.

    `labels` is "none" for the zero-shot run, else "gold", or "weak" as in `cells` (`cells_table`).
    Points that were not run or lack more than 2% of their answers have no row. A cell of which only
    counts were imported has Wilson's interval.
    """
    rows: list[dict[Any, Any]] = []
    all_counts = experiment.logs.counts
    for model in experiment.models:
        for shots in sorted({*experiment.shots, *(key.shots for key in all_counts)}):
            task = ("few_shot", "test", "gold") if shots else ("zero_shot", "test", "")
            own = experiment.compare([experiment.by_draw(model, "gold", shots)])
            n, draws = own.n, len(own.draws)
            accuracy = share("accuracy", own.columns[0] if own.usable else ())
            if counts := all_counts.get(CellKey(model, *task, "", shots, 0, "")):
                n, draws = counts[1], 1
                accuracy = interval("accuracy", counts[0] / n, *paired.wilson(*counts))
            row: dict[str, Any] = {"model": model, "weak": "", "shots": shots, "n": n}
            row |= {"labels": "gold" if shots else "none", "draws": draws, "scope": scope(draws)}
            rows.append(row | accuracy)
    for cell in cells[cells["shots"] > 0].to_dict("records"):
        ends = interval("accuracy", *(cell[f"acc_w2s{end}"] for end in ("", "_lo", "_hi")))
        rows.append(cell | {"model": cell["strong"], "labels": "weak"} | ends)
    made = table(rows, "model labels weak shots n draws scope accuracy±")
    return made.dropna(subset="accuracy").reset_index(drop=True)


def pooled_table(experiment: Experiment) -> pd.DataFrame:
    """`pgr_gold` over several cells: the ratio of their mean numerator and mean gap.

    One row per pair over all its shots, per shot count over all pairs, and over everything; pairs
    of a model with itself have no ratio. Only complete cells, on questions and draws that all have.
    """
    cells = [cell for cell in experiment.cells if cell.shots and cell.weak != cell.strong]
    pairs, shots = defaultdict(list), defaultdict(list)
    for cell in cells:
        pairs[f"{cell.weak} → {cell.strong}, all shots"].append(cell)
        shots[f"all pairs, {cell.shots} shot{'s' * (cell.shots != 1)}"].append(cell)
    groups = pairs | shots | ({"all pairs, all shots": cells} if cells else {})
    rows = [{"scope": scope, **_pooled(experiment, group)} for scope, group in groups.items()]
    ratio = ratio_columns("pgr_pooled")
    return table(rows, "scope cells n draws", *ratio, "pgr_mean pgr_median")


def _pooled(experiment: Experiment, cells: Sequence[Cell]) -> dict[str, Any]:
    used = [cell for cell in cells if not cell.status("pgr_gold")]
    row = {"cells": len(used), "n": 0, "draws": 0}
    if not used:
        return row | ratio_columns("pgr_pooled", None, "incomplete")
    draw = experiment.logs.runs["draw"].to_numpy()
    drawn = [draw[list(cell.arms["w2s"].runs)] for cell in used]  # the same in gold
    draws = list(set(drawn[0]).intersection(*drawn))
    places = list(set(used[0].places).intersection(*(cell.places for cell in used)))
    triples = []
    for cell, its in zip(used, drawn, strict=True):
        rows, columns = np.isin(cell.places, places), np.isin(its, draws)
        base, treated, ceiling = (column[rows] for column in cell.columns("pgr_gold"))
        triples.append((base, treated[:, columns], ceiling[:, columns]))
    means = (np.mean(of, axis=0) for of in zip(*triples, strict=True))
    ratio = gap_recovered(*means) if places and draws else None
    single = [gap_recovered(*cell.columns("pgr_gold")) for cell in used]
    values = [one.value for one in single if one.status == "ok"] or [math.nan]
    row |= {"n": ratio.n, "draws": ratio.draws} if ratio else {}
    row |= ratio_columns("pgr_pooled", ratio, "incomplete")
    return row | {"pgr_mean": np.mean(values), "pgr_median": np.median(values)}


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
        d = paired.paired_difference(of_w2s, of_gold)
        row |= interval("imitation_excess", d.diff, max(d.low, -1.0), min(d.high, 1.0))
    if all(np.isin(arms[arm].correct, (0, 1)).all() for arm in ("weak", "strong0", "w2s")):
        options = questions["n_options"].to_numpy()
        for name, other in (("weak", arms["weak"]), ("strong", arms["strong0"])):
            correct = arms["w2s"].correct, other.correct
            found = _bootstrap(cell.n).agreement(treated, other.letters, *correct, options)
            for statistic, estimate in found.items():
                row |= interval(f"{statistic}_{name}", *estimate)
    return row
