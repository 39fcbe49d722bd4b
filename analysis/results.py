"""The tables of one experiment, computed once, and what is looked up in them for sentences."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from w2s_icl.analysis import figures, verdict
from w2s_icl.analysis.checks import run_checks
from w2s_icl.analysis.experiment import Experiment
from w2s_icl.analysis.logs import Logs
from w2s_icl.analysis.sentences import Row
from w2s_icl.analysis.tables import arms, audits, cells
from w2s_icl.record import BANNER


class Results:
    """The tables of one experiment, and the one cell that the sentences are about."""

    def __init__(self, logs: Logs) -> None:
        """Compute every table."""
        self.logs = logs
        self.experiment = e = Experiment(logs)
        self.names = figures.display_names(e.models)  # for people
        self.banner = BANNER if logs.runs["simulated"].any() else ""  # stands on everything
        self.cells = cells.cells_table(e)
        self.curves = cells.curves_table(e, self.cells)
        self.tests = arms.tests_table(e)
        self.matching = cells.matching_table(e)
        self.arms = arms.arms_table(e)
        self.surface_rule = arms.surface_rule_table(e)
        self.positions = audits.positions_table(e)
        self.repeats = audits.repeats_table(e)
        self.classes = arms.classes_table(e)
        self.costs = audits.costs_table(e)
        self.missing = audits.missing_cells(e)
        self.models = audits.models_table(e)
        self.pooled = cells.pooled_table(e)
        self.checks = run_checks(e, self.cells)
        self.stats = audits.stats_info(e)
        # the shot count of the headline, the largest where there are several, and its cells
        self.last = max(e.headline, default=e.shots[-1])
        self.last_rows = rows_of(self.cells, shots=self.last)
        # the weakest labels for the strongest model by the study's order, not by a result: the best
        # of many pairs would be an overestimate; a model's own labels where there is no other pair
        order = {name: i for i, name in enumerate(e.models)}
        self.headline: Row | None = min(
            self.last_rows if self.last else [],
            key=lambda r: (r["weak"] == r["strong"], -order[r["strong"]], order[r["weak"]]),
            default=None,
        )
        row = self.headline
        self.pair = row if row and row["weak"] != row["strong"] else None  # if of two models
        verdicts = verdict.verdicts(e, self.names)
        self.verdict = verdict.verdict_table(verdicts)
        self.surface_fit = verdict.fit_table(verdicts)
        self.verdicts = sorted(verdicts, key=lambda v: not self.is_headline(v))

    def is_headline(self, of: verdict.Verdict) -> bool:
        """Whether a verdict is about the headline's pair."""
        pair = self.pair
        return pair is not None and (of.weak, of.strong) == (pair["weak"], pair["strong"])

    def gain(self, cell: Row) -> Row | None:
        """The row of `tests` that compares a cell with the strong model's zero-shot run."""
        return next(iter(rows_of(self.tests, cell, family="w2s_vs_strong0")), None)

    def pair_text(self, weak: str, strong: str) -> str:
        """A pair in words."""
        return figures.arrow((weak, strong), self.names)

    def usage(self, **columns: Any) -> Row:
        """Number, calls, tokens and cost of the runs with these values; cached tokens are in."""
        runs = where(self.costs, **columns)
        return {
            "runs": len(runs),
            "calls": int(runs["calls"].sum()),
            "input_tokens": int(runs[["input_tokens", "cached_tokens"]].sum().sum()),
            "cost": float(runs["cost"].sum(skipna=False)),
        }


def where(table: pd.DataFrame, **values: Any) -> pd.DataFrame:
    """The rows of a table that have these values."""
    for name, value in values.items():
        table = table[table[name] == value]
    return table


def rows_of(table: pd.DataFrame, cell: Row | None = None, **values: Any) -> Sequence[Row]:
    """The rows of a table with these values, and of this cell where one is given."""
    of_cell = {name: cell[name] for name in ("weak", "strong", "shots")} if cell else {}
    return where(table, **of_cell, **values).to_dict("records")
