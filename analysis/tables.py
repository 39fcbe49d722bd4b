"""From aligned answers to tables; docs/methods.md says what each column means.

A row is one cell of the experiment, (weak, strong, shots), over all its draws. Fractions
throughout; nan, and an empty field in the CSV files, where there is nothing to report.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from w2s_icl.analysis.logs import MISSING_LIMIT, Logs
from w2s_icl.analysis.stats import (
    Ratio,
    clustered_ratio,
    gap_recovered,
    mean_interval,
)

DEFINITIONS: Mapping[str, tuple[str, str, str]] = {
    "pgr_gold": ("weak", "w2s", "gold"),
    "pgr_zero": ("weak", "w2s", "strong0"),
    "pgr_goldfloor": ("weak_gold", "w2s", "gold"),
    "egr": ("strong0", "w2s", "gold"),
}
"""Ratios by name: base, treated, ceiling. (treated - base) / (ceiling - base)."""

COLUMNS = ("weak", "strong0", "w2s", "gold")
"""Runs whose accuracy every row of `cells` carries."""

Floats = NDArray[np.float64]
Texts = NDArray[np.str_]


@dataclass(frozen=True)
class Arm:
    """One kind of run of a cell, on the questions of `Cell.places`.

    Attributes:
        runs: Rows of the logs, one per draw.
        letters: Shape (n, draws); "" where unread.
        correct: Shape (n, draws).
    """

    runs: tuple[int, ...]
    letters: Texts
    correct: Floats

    @property
    def unparsed(self) -> int:
        """Replies that could not be read, over all draws."""
        return int((self.letters == "").sum())


@dataclass(frozen=True)
class Cell:
    """Everything that one (weak, strong, shots) compares, on the same questions.

    Attributes:
        weak: The model that labelled.
        strong: The model that was prompted.
        shots: Demonstrations in the prompt.
        arms: By name: weak, strong0, w2s, gold, weak_gold; those that were run.
        places: Rows of `Logs.questions` on which all runs have an answer; shape (n,).
        n_union: Questions that any run was asked.
        missing: Share of `n_union` that some run of the cell has no answer to.
    """

    weak: str
    strong: str
    shots: int
    arms: Mapping[str, Arm]
    places: NDArray[np.intp]
    n_union: int
    missing: float

    @property
    def n(self) -> int:
        """Questions that all arms answered."""
        return len(self.places)

    @property
    def draws(self) -> int:
        """Draws of the demonstrations."""
        return len(self.arms["w2s"].runs) if "w2s" in self.arms else 0

    def status(self, definition: str) -> str | None:
        """Why a ratio is not computed at all; None where it is."""
        if self.shots == 0:
            return "trivial"
        if self.weak == self.strong and definition != "egr":
            return "self"
        if any(arm not in self.arms for arm in DEFINITIONS[definition]):
            return "incomplete"
        if self.n == 0 or self.missing > MISSING_LIMIT:
            return "incomplete"
        return None

    def columns(self, definition: str) -> tuple[Floats, Floats, Floats]:
        """Correctness of base, treated and ceiling; shape (n,) or (n, draws)."""
        base, treated, ceiling = (self.arms[arm].correct for arm in DEFINITIONS[definition])
        return base, treated, ceiling


class Experiment:
    """The logs, looked at by cells."""

    def __init__(self, logs: Logs) -> None:
        """Index the runs of `logs`."""
        self.logs = logs
        columns = ["task", "split", "model", "labels", "weak", "shots", "draw"]
        self._draws: dict[tuple[Any, ...], dict[int, int]] = {}
        for run, key in enumerate(logs.runs[columns].itertuples(index=False, name=None)):
            self._draws.setdefault(key[:-1], {})[key[-1]] = run

    @cached_property
    def models(self) -> list[str]:
        """All models, in the order of their zero-shot accuracy, weakest first; unknown last."""
        both = pd.concat([self.logs.planned, self.logs.runs], ignore_index=True)
        names = [name for name in dict.fromkeys([*both["model"], *both["weak"]]) if name]
        accuracy: dict[str, float] = {}
        for name in names:
            run = self.zero_shot(name)
            right = np.array([]) if run is None else self.logs.correct[run]
            answered = right[~np.isnan(right)]
            accuracy[name] = float(answered.mean()) if len(answered) else math.inf
        return sorted(names, key=lambda name: (accuracy[name], name))

    @cached_property
    def pairs(self) -> list[tuple[str, str]]:
        """(weak, strong) that were planned or run, in the order of `models`."""
        both = pd.concat([self.logs.planned, self.logs.runs], ignore_index=True)
        found = both.loc[both["labels"] == "weak", ["weak", "model"]].drop_duplicates()
        order = {name: i for i, name in enumerate(self.models)}
        last = len(order)
        return sorted(
            found.itertuples(index=False, name=None),
            key=lambda pair: (order.get(pair[1], last), order.get(pair[0], last), pair),
        )

    @cached_property
    def shots(self) -> list[int]:
        """Shot counts that were planned or run, 0 first."""
        both = pd.concat([self.logs.planned["shots"], self.logs.runs["shots"]])
        return sorted({0, *(int(k) for k in both)})

    def zero_shot(self, model: str, split: str = "test") -> int | None:
        """The run of a model without demonstrations."""
        return self._draws.get(("zero_shot", split, model, "", "", 0), {}).get(0)

    def few_shot(self, model: str, labels: str, shots: int, weak: str = "") -> dict[int, int]:
        """Runs by draw."""
        found = self._draws.get(("few_shot", "test", model, labels, weak, shots), {})
        return dict(sorted(found.items()))

    def cells(self) -> Iterator[Cell]:
        """Every (weak, strong, shots), run or planned."""
        for weak, strong in self.pairs:
            for shots in self.shots:
                yield self.cell(weak, strong, shots)

    def cell(self, weak: str, strong: str, shots: int) -> Cell:
        """What one (weak, strong, shots) compares."""
        found: dict[str, dict[int, int]] = {}
        for arm, run in (("weak", self.zero_shot(weak)), ("strong0", self.zero_shot(strong))):
            if run is not None:
                found[arm] = {0: run}
        if shots:
            by_draw = {
                "w2s": self.few_shot(strong, "weak", shots, weak),
                "gold": self.few_shot(strong, "gold", shots),
            }
            # a draw that one arm lacks is dropped from both; an arm that was not run drops nothing
            common = [set(runs) for runs in by_draw.values() if runs]
            draws = sorted(set.intersection(*common)) if common else []
            found |= {
                arm: {d: runs[d] for d in draws} for arm, runs in by_draw.items() if runs and draws
            }
        elif "strong0" in found:
            found["w2s"] = found["gold"] = found["strong0"]
        places, n_union = self._common(found)
        arms = {arm: self._arm(list(runs.values()), places) for arm, runs in found.items()}
        if shots and "w2s" in found:
            self._add_weak_gold(arms, weak, shots, list(found["w2s"]), places)
        missing = 1 - len(places) / n_union if n_union else 1.0
        return Cell(weak, strong, shots, arms, places, n_union, missing)

    def _common(self, found: Mapping[str, Mapping[int, int]]) -> tuple[NDArray[np.intp], int]:
        """Questions that all runs answered, and how many any was asked."""
        rows = [run for runs in found.values() for run in runs.values()]
        if not rows:
            return np.array([], dtype=np.intp), 0
        has = ~np.isnan(self.logs.correct[rows])
        asked = int(self.logs.runs["asked"].to_numpy()[rows].max())
        return np.flatnonzero(has.all(axis=0)), max(int(has.any(axis=0).sum()), asked)

    def _arm(self, runs: Sequence[int], places: NDArray[np.intp]) -> Arm:
        grid = np.ix_(np.array(runs, dtype=np.intp), places)
        return Arm(tuple(runs), self.logs.letters[grid].T, self.logs.correct[grid].T)

    def _add_weak_gold(
        self,
        arms: dict[str, Arm],
        weak: str,
        shots: int,
        draws: Sequence[int],
        places: NDArray[np.intp],
    ) -> None:
        """The weak model with gold demonstrations: an extra, which takes nothing from the rest.

        It joins a cell only where it has every draw and every question of the cell.
        """
        runs = self.few_shot(weak, "gold", shots)
        if all(draw in runs for draw in draws):
            arm = self._arm([runs[draw] for draw in draws], places)
            if not np.isnan(arm.correct).any():
                arms["weak_gold"] = arm


def cells_table(experiment: Experiment) -> pd.DataFrame:
    """One row per (weak, strong, shots): accuracies and the four ratios.

    `acc_*` are accuracies with Wilson intervals for one run and t intervals over draws;
    `unparsed_*` are counts over all draws; `{ratio}_num` and `{ratio}_gap` are numerator and
    denominator; `{ratio}` and its interval are empty unless `{ratio}_status` is "ok".
    """
    rows = [_cell_row(experiment, cell) for cell in experiment.cells()]
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
        **{definition + k: math.nan if ratio is None else f(ratio) for k, f in fields.items()},
        f"{definition}_status": status or (ratio.status if ratio else "incomplete"),
        f"{definition}_fragile": bool(ratio and ratio.fragile),
    }


def _no_supervision(cell: Cell) -> float:
    """What a student that ignored the labels would score as `pgr_gold`."""
    if cell.status("pgr_gold") is not None:
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
    """One row per (model, shots) with gold labels: accuracy and interval; 0 is zero-shot."""
    rows: list[dict[str, Any]] = []
    for model in experiment.models:
        for shots in experiment.shots:
            zero = experiment.zero_shot(model)
            runs: Sequence[int] = (
                list(experiment.few_shot(model, "gold", shots).values())
                if shots
                else ([] if zero is None else [zero])
            )
            if not runs:
                continue
            correct = experiment.logs.correct[list(runs)]
            both = correct[:, ~np.isnan(correct).any(axis=0)].T
            if not len(both):
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
    columns = ["model", "shots", "n", "draws", "accuracy", "accuracy_lo", "accuracy_hi"]
    return pd.DataFrame(rows, columns=columns)
