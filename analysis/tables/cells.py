"""Accuracies and ratios: one row per (weak, strong, shots); what all tables share.

A row is one cell of the experiment over all its draws. Fractions throughout; nan, and an empty
field in the CSV files, where there is nothing to report.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from w2s_icl.analysis.experiment import (
    COLUMNS,
    DEFINITIONS,
    Cell,
    Experiment,
)
from w2s_icl.analysis.stats import (
    MIN_RANDOM_DRAWS,
    Ratio,
    clustered_ratio,
    gap_recovered,
    mean_interval,
    pooled_gap_recovered,
    wilson,
)
from w2s_icl.record import MISSING_LIMIT, CellKey

CELL = ("weak", "strong", "shots")
"""Columns that tell cells apart."""

T = TypeVar("T")


def with_ends(*names: str) -> tuple[str, ...]:
    """Columns of estimates, each followed by the two ends of its interval."""
    return tuple(name + end for name in names for end in ("", "_lo", "_hi"))


def scope(draws: int) -> str:
    """What intervals over so many draws speak about."""
    return "random_demos" if draws >= MIN_RANDOM_DRAWS else "fixed_demos"


def usable(cell: Cell, *arms: str) -> bool:
    """Whether these arms of a cell with demonstrations can be compared."""
    complete = cell.n > 0 and cell.missing <= MISSING_LIMIT
    return cell.shots > 0 and complete and all(arm in cell.arms for arm in arms)


def interval(name: str, value: float, low: float, high: float) -> dict[str, float]:
    """The three columns of an estimate."""
    return {name: value, f"{name}_lo": low, f"{name}_hi": high}


def share(name: str, events: ArrayLike) -> dict[str, float]:
    """The mean of `events`, shape (n,) or (n, draws), with its interval; nan without any."""
    values = np.asarray(events, dtype=np.float64)
    if not len(values):
        return interval(name, math.nan, math.nan, math.nan)
    return interval(name, float(values.mean()), *mean_interval(values))


def once(make: Callable[[Experiment], T]) -> Callable[[Experiment], T]:
    """A table is made once for an experiment; who asks for it leaves it as it is."""

    @wraps(make)
    def once(experiment: Experiment) -> T:
        if make.__name__ not in experiment.made:
            experiment.made[make.__name__] = make(experiment)
        found: T = experiment.made[make.__name__]
        return found

    return once


_CURVES = (
    *("model", "labels", "weak", "shots", "n", "draws", "scope"),
    *with_ends("accuracy"),
)

_POOLED = (
    *("scope", "cells", "n", "draws"),
    *with_ends("pgr_pooled", "pgr_pooled_num", "pgr_pooled_gap"),
    *(f"pgr_pooled_{name}" for name in ("t_gap", "df", "status", "fragile")),
    "pgr_mean",
    "pgr_median",
)


def cells_table(experiment: Experiment) -> pd.DataFrame:
    """One row per (weak, strong, shots): accuracies and the four ratios.

    `acc_*` are accuracies with Wilson intervals for one run and t intervals over draws;
    `unparsed_*` are counts over all draws and epochs; `{ratio}_num` and `{ratio}_gap` are
    numerator and denominator; `{ratio}` and its interval are empty unless `{ratio}_status` is "ok".
    """
    rows = [_cell_row(experiment, cell) for cell in experiment.cells]
    if not rows:  # zero-shot logs alone: no rows, but the columns all the same
        nobody = Cell("", "", 0, {}, np.array([], dtype=np.intp), 0, 1.0)
        return pd.DataFrame([_cell_row(experiment, nobody)]).iloc[:0]
    return pd.DataFrame(rows)


def _cell_row(experiment: Experiment, cell: Cell) -> dict[str, Any]:
    row: dict[str, Any] = {
        "weak": cell.weak,
        "strong": cell.strong,
        "shots": cell.shots,
        "n": cell.n,
        "n_union": cell.n_union,
        "draws": cell.draws,
        "scope": "random_demos" if cell.draws >= 3 else "fixed_demos",
    }
    complete = cell.n > 0 and cell.missing <= MISSING_LIMIT
    for name in COLUMNS:
        arm = cell.arms.get(name)
        value = low = high = math.nan
        if arm is not None and complete:
            value = float(arm.correct.mean())
            low, high = mean_interval(arm.correct)
        row |= {f"acc_{name}": value, f"acc_{name}_lo": low, f"acc_{name}_hi": high}
    for name in COLUMNS:
        arm = cell.arms.get(name)
        row[f"unparsed_{name}"] = math.nan if arm is None else arm.unparsed
    treated = cell.arms.get("w2s")
    several = treated is not None and cell.draws > 1 and complete
    row["draw_sd"] = (
        float(treated.correct.mean(axis=0).std(ddof=1)) if treated and several else math.nan
    )
    shown = (
        experiment.logs.runs["demo_label_accuracy"].to_numpy()[list(treated.runs)]
        if treated and cell.shots
        else np.array([])
    )
    row["demo_label_accuracy"] = float(shown.mean()) if len(shown) else math.nan
    for definition in DEFINITIONS:
        row |= _ratio_columns(definition, cell)
    row["pgr_no_supervision"] = _no_supervision(cell)
    row |= _parsed_only(cell)
    row["se_ratio_cluster"] = _clustered(experiment, cell)
    return row


def _ratio_columns(definition: str, cell: Cell) -> dict[str, Any]:
    status = cell.status(definition)
    ratio = None if status else gap_recovered(*cell.columns(definition))
    return _ratio_fields(definition, ratio, status or "")


def _no_supervision(cell: Cell) -> float:
    """What a student that ignored the labels would score as `pgr_gold`."""
    if cell.status("pgr_gold") is not None or "strong0" not in cell.arms:
        return math.nan
    weak, _, gold = (float(column.mean()) for column in cell.columns("pgr_gold"))
    if gap_recovered(*cell.columns("pgr_gold")).status != "ok":
        return math.nan
    return (float(cell.arms["strong0"].correct.mean()) - weak) / (gold - weak)


def _parsed_only(cell: Cell) -> dict[str, Any]:
    """`pgr_gold` on the questions that every column answered readably."""
    value, low, high = math.nan, math.nan, math.nan
    if cell.status("pgr_gold") is None:
        read = np.ones(cell.n, dtype=bool)
        for name in DEFINITIONS["pgr_gold"]:
            read &= (cell.arms[name].letters != "").all(axis=1)
        if read.any():
            ratio = gap_recovered(*(column[read] for column in cell.columns("pgr_gold")))
            value, low, high = ratio.value, ratio.low, ratio.high
    return {"pgr_gold_parsed": value, "pgr_gold_parsed_lo": low, "pgr_gold_parsed_hi": high}


def _clustered(experiment: Experiment, cell: Cell) -> float:
    """Standard error clustered by category over the plain one; nan without categories."""
    if cell.status("pgr_gold") is not None:
        return math.nan
    categories = experiment.logs.questions["category"].to_numpy()[cell.places]
    if len(set(categories)) < 2:
        return math.nan
    if gap_recovered(*cell.columns("pgr_gold")).status != "ok":
        return math.nan
    return clustered_ratio(*cell.columns("pgr_gold"), categories)


def gold_table(experiment: Experiment) -> pd.DataFrame:
    """One row per (model, shots) with gold labels: accuracy and interval; 0 is zero-shot.

    A run that lacks more than 2% of its answers has no row. A cell of which only counts were
    imported has Wilson's interval.
    """
    rows: list[dict[str, Any]] = []
    counted = {key.shots for key in experiment.logs.counts}
    for model in experiment.models:
        for shots in sorted({*experiment.shots, *counted}):
            task = ("few_shot", "test", "gold") if shots else ("zero_shot", "test", "")
            counts = experiment.logs.counts.get(CellKey(model, *task, "", shots, 0, ""))
            if counts:
                share = interval("accuracy", counts[0] / counts[1], *wilson(*counts))
                rows.append({"model": model, "shots": shots, "n": counts[1], "draws": 1, **share})
                continue
            zero = experiment.zero_shot(model)
            runs: Sequence[int] = (
                list(experiment.few_shot(model, "gold", shots).values())
                if shots
                else ([] if zero is None else [zero])
            )
            if not runs:
                continue
            correct = experiment.logs.correct[list(runs)]
            asked = experiment.logs.runs["asked"].to_numpy()[list(runs)].max()
            both = correct[:, ~np.isnan(correct).any(axis=0)].T
            if not len(both) or 1 - len(both) / asked > MISSING_LIMIT:
                continue
            low, high = mean_interval(both)
            rows.append(
                {
                    "model": model,
                    "shots": shots,
                    "n": len(both),
                    "draws": len(runs),
                    "accuracy": float(both.mean()),
                    "accuracy_lo": low,
                    "accuracy_hi": high,
                }
            )
    columns = ["model", "shots", "n", "draws", *with_ends("accuracy")]
    return pd.DataFrame(rows, columns=columns)


def curves_table(cells: pd.DataFrame, gold: pd.DataFrame) -> pd.DataFrame:
    """Accuracy of every prompted model, one row per point of its curves.

    `labels` is "none" for the zero-shot run, else "gold" or "weak"; `weak` is the weak model where
    there is one. Points that were not run or are incomplete have no row.

    Args:
        cells: As `cells_table`.
        gold: As `gold_table`.
    """
    labels = np.where(gold["shots"] == 0, "none", "gold")
    scope = np.where(gold["draws"] >= 3, "random_demos", "fixed_demos")
    treated = {"strong": "model", **{f"acc_w2s{e}": f"accuracy{e}" for e in ("", "_lo", "_hi")}}
    taught = cells[cells["shots"] > 0].rename(columns=treated).assign(labels="weak")
    parts = [gold.assign(labels=labels, weak="", scope=scope), taught]
    table = pd.concat([p[list(_CURVES)] for p in parts if len(p)] or [parts[0][list(_CURVES)]])
    return table.dropna(subset="accuracy").reset_index(drop=True)


def pooled_table(experiment: Experiment) -> pd.DataFrame:
    """`pgr_gold` over several cells: the ratio of their mean numerator and mean gap.

    One row per pair over all its shots, per shot count over all pairs, and over everything; pairs
    of a model with itself have no ratio. `cells` counts the complete cells, which alone are used,
    on the `n` questions and the `draws` that all of them have. `pgr_mean` and `pgr_median` of the
    ratios that are reported one by one are secondary, and have no interval.
    """
    cells = [cell for cell in experiment.cells if cell.shots and cell.weak != cell.strong]
    scopes: dict[str, list[Cell]] = defaultdict(list)
    for cell in cells:
        scopes[f"{cell.weak} → {cell.strong}, all shots"].append(cell)
    for cell in cells:
        scopes[f"all pairs, {cell.shots} shot{'s' * (cell.shots != 1)}"].append(cell)
    if cells:
        scopes["all pairs, all shots"] = cells
    rows = [{"scope": scope, **_pooled(experiment, group)} for scope, group in scopes.items()]
    return pd.DataFrame(rows, columns=list(_POOLED))


def _pooled(experiment: Experiment, cells: Sequence[Cell]) -> dict[str, Any]:
    used = [cell for cell in cells if cell.status("pgr_gold") is None]
    ratio = None
    if used:
        draw = experiment.logs.runs["draw"].to_numpy()
        drawn = [draw[list(cell.arms["w2s"].runs)] for cell in used]  # the same in gold
        draws = set(drawn[0]).intersection(*drawn)
        places = set(used[0].places).intersection(*(cell.places for cell in used))
        triples = []
        for cell, its in zip(used, drawn, strict=True):
            rows, columns = np.isin(cell.places, list(places)), np.isin(its, list(draws))
            base, treated, ceiling = (column[rows] for column in cell.columns("pgr_gold"))
            triples.append((base, treated[:, columns], ceiling[:, columns]))
        if places and draws:
            ratio = pooled_gap_recovered(triples)
    single = [gap_recovered(*cell.columns("pgr_gold")) for cell in used]
    values = [one.value for one in single if one.status == "ok"]
    return {
        "cells": len(used),
        "n": ratio.n if ratio else 0,
        "draws": ratio.draws if ratio else 0,
        **_ratio_fields("pgr_pooled", ratio, "incomplete"),
        "pgr_mean": float(np.mean(values)) if values else math.nan,
        "pgr_median": float(np.median(values)) if values else math.nan,
    }


def _ratio_fields(name: str, ratio: Ratio | None, status: str) -> dict[str, Any]:
    """The columns of a ratio; `status` says why there is none."""
    fields: Mapping[str, Callable[[Ratio], float]] = {
        "_num": lambda r: r.numerator,
        "_num_lo": lambda r: r.numerator_low,
        "_num_hi": lambda r: r.numerator_high,
        "_gap": lambda r: r.gap,
        "_gap_lo": lambda r: r.gap_low,
        "_gap_hi": lambda r: r.gap_high,
        "": lambda r: r.value,
        "_lo": lambda r: r.low,
        "_hi": lambda r: r.high,
        "_df": lambda r: r.df,
        "_t_gap": lambda r: r.t_gap,
    }
    return {
        **{name + k: math.nan if ratio is None else f(ratio) for k, f in fields.items()},
        f"{name}_status": ratio.status if ratio else status,
        f"{name}_fragile": bool(ratio and ratio.fragile),
    }
