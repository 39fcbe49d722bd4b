"""The tables of one experiment, computed once, and what is looked up in them for sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import pandas as pd

from w2s_icl.analysis import figures, tables, verdict
from w2s_icl.analysis.checks import run_checks
from w2s_icl.analysis.experiment import Experiment
from w2s_icl.analysis.logs import Logs
from w2s_icl.record import BANNER

Row = Mapping[Any, Any]


class Results:
    """The tables of one experiment, and the one cell that the sentences are about."""

    def __init__(self, logs: Logs) -> None:
        """Compute every table."""
        self.logs = logs
        self.experiment = Experiment(logs)
        self.cells = tables.cells_table(self.experiment)
        self.curves = tables.curves_table(self.cells, tables.gold_table(self.experiment))
        self.tests = tables.tests_table(self.experiment)
        self.matching = tables.matching_table(self.experiment)
        self.arms = tables.arms_table(self.experiment)
        self.surface_rule = tables.surface_rule_table(self.experiment)
        self.rules = tables.rules_table(self.experiment)
        self.positions = tables.positions_table(self.experiment)
        self.repeats = tables.repeats_table(self.experiment)
        self.names = figures.display_names(self.experiment.models)
        self.verdicts = verdict.verdicts(self.experiment, self.names)
        self.verdict = verdict.verdict_table(self.verdicts)
        self.surface_fit = verdict.fit_table(self.verdicts)
        self.costs = tables.costs_table(self.experiment)
        self.missing = tables.missing_cells(self.experiment)
        self.models = tables.models_table(self.experiment)
        self.pooled = tables.pooled_table(self.experiment)
        self.checks = run_checks(self.experiment, self.cells)
        self.stats = tables.stats_info(self.experiment)
        self.banner = BANNER if logs.simulated else ""

    @property
    def last(self) -> int:
        """The shot count of the headline, the largest where there are several."""
        return max(self.experiment.headline, default=self.experiment.shots[-1])

    @cached_property
    def last_rows(self) -> Sequence[Row]:
        """The row of each pair at the headline's shot count."""
        return self.cells[self.cells["shots"] == self.last].to_dict("records")

    @cached_property
    def headline(self) -> Row | None:
        """The weakest labels for the strongest model at the headline's shot count, by rule.

        By the study's order of models, not by a result: the best of many pairs would be an
        overestimate. A model's own labels where no other pair was planned; None without
        demonstrations.
        """
        order = {name: i for i, name in enumerate(self.experiment.models)}
        return min(
            self.last_rows if self.last else [],
            key=lambda r: (r["weak"] == r["strong"], -order[r["strong"]], order[r["weak"]]),
            default=None,
        )

    @property
    def pair(self) -> Row | None:
        """The headline, where it is of two models."""
        row = self.headline
        return row if row is not None and row["weak"] != row["strong"] else None

    @property
    def chance(self) -> float:
        """Accuracy of guessing on the test questions."""
        options = self.logs.questions["n_options"].iloc[self.experiment.test]
        return float((1 / options).mean())

    def gain(self, row: Row) -> Row | None:
        """The row of `tests` that compares a cell with the strong model's zero-shot run."""
        return _only(self.tests[self.tests["family"] == "w2s_vs_strong0"], row)

    def match(self, row: Row) -> Row | None:
        """The row of `matching` for a cell."""
        return _only(self.matching, row)

    def arm_rows(self, row: Row) -> Sequence[Row]:
        """The rows of `arms` for a cell."""
        return _of_cell(self.arms, row).to_dict("records")

    def pair_verdict(self) -> verdict.Verdict | None:
        """The verdict of the headline's pair."""
        row = self.pair or {"weak": "", "strong": ""}
        pair = row["weak"], row["strong"]
        return next((v for v in self.verdicts if (v.weak, v.strong) == pair), None)

    def pair_text(self, row: Any) -> str:
        """A pair in words."""
        return figures.arrow((row["weak"], row["strong"]), self.names)

    @property
    def planned_arms(self) -> Sequence[str]:
        """Plain arms that were planned at the headline's shot count."""
        plan = self.logs.planned
        plan = plan[(plan["split"] == "test") & (plan["prompt"] == "")]
        plan = plan[plan["shots"] == self.last]
        own = ["self"] * bool((plan["weak"] == plan["model"]).any())
        return [kind for kind in figures.ARMS if (plan["labels"] == kind).any()] + own

    def repeated(self, model: str) -> Row | None:
        """The row of `repeats` for a model's zero-shot run."""
        runs = self.repeats
        plain = (runs["shots"] == 0) & (runs["prompt"] == "") & (runs["model"] == model)
        return next(iter(runs[plain].to_dict("records")), None)

    def usage(self, **columns: Any) -> Row:
        """Number, calls, tokens and cost of the runs with these values; cached tokens are in."""
        runs = self.costs
        for name, value in columns.items():
            runs = runs[runs[name] == value]
        return {
            "runs": len(runs),
            "calls": int(runs["calls"].sum()),
            "input_tokens": int(runs[["input_tokens", "cached_tokens"]].sum().sum()),
            "cost": float(runs["cost"].sum(skipna=False)),
        }


def _of_cell(table: pd.DataFrame, row: Row) -> pd.DataFrame:
    same = (table["weak"] == row["weak"]) & (table["strong"] == row["strong"])
    rows: pd.DataFrame = table[same & (table["shots"] == row["shots"])]
    return rows


def _only(table: pd.DataFrame, row: Row) -> Row | None:
    return next(iter(_of_cell(table, row).to_dict("records")), None)
