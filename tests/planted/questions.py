"""Made-up questions with cues on the surface: right options are often marked in another way."""

from __future__ import annotations

from pathlib import Path
from random import Random

from tests.conftest import write_questions

# words that the surface rule knows and the surface student's prior does not
RIGHT_MARKS = ("often", "sometimes", "usually", "mostly", "rarely", "typically")
WRONG_MARKS = ("but", "although", "though", "while", "however")
WORDS = ("tea", "salt", "moon", "river", "glass", "iron", "paper", "cloud", "stone", "wheat")


def cued_questions(path: Path, n: int = 700) -> Path:
    """Write `n` questions of four options; a rule that never sees them gets about 70% right."""
    rng = Random(0)
    made = []
    for i in range(n):
        options = [f"It {' '.join(rng.sample(WORDS, 3))} {i}{letter}" for letter in "wxyz"]
        gold = rng.randrange(4)
        for j in range(4):
            true_cue = rng.random() < 0.6
            if true_cue or rng.random() < 0.3:
                marks = RIGHT_MARKS if (j == gold) == true_cue else WRONG_MARKS
                options[j] += f" {rng.choice(marks)}"
        text = f"What of thing{i}a and place{i}b?"
        made.append({"question": text, "choices": options, "label": gold})
    return write_questions(path, made)
