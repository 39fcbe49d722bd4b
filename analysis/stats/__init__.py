"""Statistics of the evaluation suite, on plain arrays: no files, no frames.

Rows are questions. A column is one run, shape (n,), or several draws of the demonstrations,
shape (n, draws); a column without draws stands beside columns that have them by being repeated.
Row i is the same question and column j the same draw in all arguments of a function. Correctness is
0/1 (or a mean in [0, 1] when a cell was run several times) and every result is a fraction, not
percent. Columns of other shapes, without questions, or with values outside [0, 1] raise a
ValueError. All intervals are two-sided, of 95%; with one or two draws they speak of those
demonstrations only. What cannot be reported is nan, never 0.
"""
