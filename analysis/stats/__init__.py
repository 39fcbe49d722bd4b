"""Statistics of the evaluation suite, on plain arrays: no files, no frames.

Rows are questions. A column is one run, shape (n,), or several draws of the demonstrations,
shape (n, draws); a column without draws stands beside columns that have them by being repeated.
Correctness is 0/1 (or a mean in [0, 1] when a cell was run several times) and every result is a
fraction, not percent. Intervals are two-sided. What cannot be reported is nan, never 0.

With one or two draws an interval speaks of those demonstrations only: `scope` says which it is.
"""

from w2s_icl.analysis.stats.agreement import (
    Agreement,
    Answers,
    Estimate,
    Excess,
    MatchCounts,
    Matching,
    QuestionBootstrap,
    imitation_excess,
    matching_counts,
)
from w2s_icl.analysis.stats.columns import MIN_QUESTIONS, MIN_RANDOM_DRAWS, Floats, Scope
from w2s_icl.analysis.stats.line import Line, gain_line
from w2s_icl.analysis.stats.paired import (
    Difference,
    habit_seen,
    holm,
    mcnemar,
    mean_interval,
    paired_difference,
    subgroup_difference,
    uniform_p,
    wilson,
)
from w2s_icl.analysis.stats.ratio import (
    Ratio,
    Status,
    clustered_ratio,
    gap_recovered,
    pooled_gap_recovered,
)

__all__ = [
    "MIN_QUESTIONS",
    "MIN_RANDOM_DRAWS",
    "Agreement",
    "Answers",
    "Difference",
    "Estimate",
    "Excess",
    "Floats",
    "Line",
    "MatchCounts",
    "Matching",
    "QuestionBootstrap",
    "Ratio",
    "Scope",
    "Status",
    "clustered_ratio",
    "gain_line",
    "gap_recovered",
    "habit_seen",
    "holm",
    "imitation_excess",
    "matching_counts",
    "mcnemar",
    "mean_interval",
    "paired_difference",
    "pooled_gap_recovered",
    "subgroup_difference",
    "uniform_p",
    "wilson",
]
