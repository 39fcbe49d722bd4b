"""Made-up questions with cues on the surface: right options are often marked in another way."""

from pathlib import Path
from random import Random

from tests.conftest import write_questions

# words that the surface rule knows and the surface student's prior does not
RIGHT_MARKS = ("often", "sometimes", "usually", "mostly", "rarely", "typically")
WRONG_MARKS = ("but", "although", "though", "while", "however")
WORDS = ("tea", "salt", "moon", "river", "glass", "iron", "paper", "cloud", "stone", "wheat")


def cued_questions(path: Path, n: int = 700) -> Path:
    """Write `n` questions of four options; a rule that never sees them gets about 70% right.

    An option bears up to four marks, so that what the rule knows of a question is a matter of
    degree, as with real questions: where one mark decides, the gain of a student who always takes
    the likelier option is a step, and a line through a step does not pass through 0.
    """
    rng = Random(0)
    made = []
    for i in range(n):
        options = [f"It {' '.join(rng.sample(WORDS, 3))} {i}{letter}" for letter in "wxyz"]
        gold = rng.randrange(4)
        for j in range(4):
            for _ in range(4):
                if rng.random() < 0.6:
                    right = rng.random() < (0.8 if j == gold else 0.3)
                    options[j] += f" {rng.choice(RIGHT_MARKS if right else WRONG_MARKS)}"
        text = f"What of thing{i}a and place{i}b?"
        made.append({"question": text, "choices": options, "label": gold})
    return write_questions(path, made)
