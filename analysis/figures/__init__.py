"""Figures. One function draws one figure from tables; the caller saves.

Every function takes a table, whose columns docs/columns.md explains, the models in their order, and
a banner: a warning to print into the figure. A shot count that was not run leaves a gap.
"""

from w2s_icl.analysis.figures.accuracy import accuracy, pgr
from w2s_icl.analysis.figures.arms import ARMS, arm_text, arms, at_shots, differences, surface_fit
from w2s_icl.analysis.figures.matching import conditional, correlation, matching
from w2s_icl.analysis.figures.style import COLOURS, arrow, display_names, save, write_csv

__all__ = [
    "ARMS", "COLOURS", "accuracy", "arm_text", "arms", "arrow", "at_shots",
    "conditional", "correlation", "differences", "display_names", "matching", "pgr", "save",
    "surface_fit", "write_csv",
]  # fmt: skip
