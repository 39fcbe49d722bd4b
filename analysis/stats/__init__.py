"""Statistics of the evaluation suite, on plain arrays: no files, no frames.

Rows are questions. A column is one run, shape (n,), or several draws of the demonstrations,
shape (n, draws); a column without draws stands beside columns that have them by being repeated.
Correctness is 0/1 (or a mean in [0, 1] when a cell was run several times) and every result is a
fraction, not percent. Intervals are two-sided. What cannot be reported is nan, never 0.

Row i is the same question and column j the same draw in all arguments of a function. Columns of
other shapes, without questions, or with values outside [0, 1] raise a ValueError. All intervals
have a coverage of 95%; with one or two draws they speak of those demonstrations only.
"""

from w2s_icl.analysis.stats.agreement import QuestionBootstrap
from w2s_icl.analysis.stats.columns import LEVEL, MIN_QUESTIONS, MIN_RANDOM_DRAWS, Floats
from w2s_icl.analysis.stats.line import Line, gain_line
from w2s_icl.analysis.stats.paired import (
    HABIT_P,
    Difference,
    habit_seen,
    holm,
    mean_interval,
    paired_difference,
    uniform_p,
    wilson,
)
from w2s_icl.analysis.stats.ratio import (
    Ratio,
    clustered_ratio,
    gap_recovered,
    pooled_gap_recovered,
)
from w2s_icl.analysis.stats.variance import variance_components

__all__ = [
    "HABIT_P", "LEVEL", "MIN_QUESTIONS", "MIN_RANDOM_DRAWS", "Difference", "Floats", "Line",
    "QuestionBootstrap", "Ratio", "clustered_ratio", "gain_line", "gap_recovered", "habit_seen",
    "holm", "mean_interval", "paired_difference", "pooled_gap_recovered", "uniform_p",
    "variance_components", "wilson",
]  # fmt: skip
