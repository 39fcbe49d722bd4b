"""From aligned answers to tables; docs/columns.md says what each column means."""

from w2s_icl.analysis.tables.arms import arms_table, classes_table, surface_rule_table, tests_table
from w2s_icl.analysis.tables.audits import (
    RUN,
    costs_table,
    missing_cells,
    models_table,
    positions_table,
    repeats_table,
    stats_info,
)
from w2s_icl.analysis.tables.cells import cells_table, curves_table, matching_table, pooled_table

__all__ = [
    "RUN", "arms_table", "cells_table", "classes_table", "costs_table", "curves_table",
    "matching_table", "missing_cells", "models_table", "pooled_table", "positions_table",
    "repeats_table", "stats_info", "surface_rule_table", "tests_table",
]  # fmt: skip
