"""The bundled questions: well formed, original, and without cues on the surface."""

import json
import re

import numpy as np

from tests.conftest import SHARED, needs_shared
from w2s_icl.analysis.surface_rule import cross_fitted
from w2s_icl.evals.questions import load_split
from w2s_icl.evals.sources import MISCONCEPTIONS, load_questions

QUESTIONS = load_questions("misconceptions").questions


def words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.casefold()))


def test_there_are_enough_questions_of_four_options_each_with_category_and_source() -> None:
    rows = [json.loads(line) for line in MISCONCEPTIONS.read_text("utf-8").splitlines()]

    assert len(rows) >= 200
    for row in rows:
        assert len(row["choices"]) == 4
        assert row["category"]
        assert len(row["source"]) > 10
        assert row["question"].endswith("?")
    positions = np.bincount([row["label"] for row in rows], minlength=4) / len(rows)
    assert positions.min() > 0.15
    assert len(load_split("misconceptions", test_size=100).pool) >= 128  # the largest prompt


def test_a_question_blind_rule_stays_near_chance() -> None:
    gold = np.array([q.gold for q in QUESTIONS])

    chosen, _ = cross_fitted([q.choices for q in QUESTIONS], gold.tolist())

    # chance is 0.25 with a standard error of 0.027 on 254 questions
    assert (chosen == gold).mean() < 0.25 + 3 * 0.027


def test_no_two_questions_are_near_duplicates() -> None:
    tokens = [words(q.question) for q in QUESTIONS]
    for i, a in enumerate(tokens):
        for b in tokens[:i]:
            assert len(a & b) / len(a | b) < 0.55


@needs_shared
def test_no_question_is_one_of_truthfulqa() -> None:
    theirs = [words(q.question) for q in load_questions(str(SHARED / "truthful_qa")).questions]
    for q in QUESTIONS:
        mine = words(q.question)
        assert max(len(mine & t) / len(mine | t) for t in theirs) < 0.5, q.question
