"""What Inspect finds through the `inspect_ai` entry point: tasks, scorer, solver, provider."""

from w2s_icl.evals.standins import simulated
from w2s_icl.evals.truthfulqa import few_shot, zero_shot
from w2s_icl.scorers.multiple_choice import multiple_choice_letter, readable
from w2s_icl.solvers.few_shot import few_shot_prompt

__all__ = [
    "few_shot",
    "few_shot_prompt",
    "multiple_choice_letter",
    "readable",
    "simulated",
    "zero_shot",
]
