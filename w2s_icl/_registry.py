"""What Inspect finds through the `inspect_ai` entry point: tasks, scorer, solver, provider."""

from w2s_icl.evals import standins, truthfulqa  # noqa: F401 - importing them registers theirs
from w2s_icl.scorers import multiple_choice  # noqa: F401
from w2s_icl.solvers import few_shot  # noqa: F401
