"""The bundled questions: well formed, original, and without cues on the surface."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import logsumexp

from tests.conftest import SHARED, needs_shared
from w2s_icl.evals.questions import load_split
from w2s_icl.evals.sources import MISCONCEPTIONS, load_questions

QUESTIONS = load_questions("misconceptions").questions
NEGATION = re.compile(r"\b(?:no|not|never|none|nothing|nobody|without|neither|nor)\b|n't\b", re.I)
HEDGES = re.compile(
    r"\b(?:some|may|might|can|could|usually|often|mostly|about|around|roughly|nearly|almost|"
    r"partly|likely|sometimes|many|most|several|certain|vary|varies|depends?)\b",
    re.I,
)
ABSOLUTES = re.compile(r"\b(?:all|always|every|only|any|entirely|completely|must|ever)\b", re.I)


def words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.casefold()))


def features(question: str, choices: tuple[str, ...]) -> NDArray[np.float64]:
    """Surface of each option beside that of its rivals; shape (options, features)."""
    length = np.array([len(c) for c in choices], dtype=float)
    table = np.stack(
        [
            length / length.mean(),
            length == length.max(),
            length == length.min(),
            [len(c.split()) for c in choices] / np.mean([len(c.split()) for c in choices]),
            [len(NEGATION.findall(c)) for c in choices],
            [len(HEDGES.findall(c)) for c in choices],
            [len(ABSOLUTES.findall(c)) for c in choices],
            [len(re.findall(r"\d", c)) for c in choices],
            [c.count(",") for c in choices],
            [sum(ch.isupper() for ch in c) for c in choices],
            [len(words(c) & words(question)) / len(words(c)) for c in choices],
            [
                np.mean(
                    [len(words(c) & words(o)) / len(words(c) | words(o)) for o in choices if o != c]
                )
                for c in choices
            ],
        ],
        axis=1,
    ).astype(float)
    return table - table.mean(axis=0)


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


def test_the_split_leaves_a_pool_for_the_largest_prompt() -> None:
    assert len(load_split("misconceptions", test_size=100).pool) >= 128


def test_a_question_blind_rule_stays_near_chance() -> None:
    x = np.stack([features(q.question, q.choices) for q in QUESTIONS])
    x /= x.std(axis=(0, 1)) + 1e-9
    gold = np.array([q.gold for q in QUESTIONS])
    rows = np.arange(len(gold))

    def loss(w: NDArray[np.float64], among: NDArray[np.intp]) -> float:
        scores = x[among] @ w
        chosen = scores[np.arange(len(among)), gold[among]]
        return float((logsumexp(scores, axis=1) - chosen).mean() + 0.01 * (w @ w))

    right = np.zeros(len(gold))
    order = np.random.default_rng(0).permutation(rows)
    for fold in range(10):
        held = order[fold::10]
        fitted = minimize(loss, np.zeros(x.shape[2]), args=(np.setdiff1d(order, held),)).x
        right[held] = (x[held] @ fitted).argmax(axis=1) == gold[held]

    # chance is 0.25 with a standard error of 0.027 on 254 questions
    assert right.mean() < 0.25 + 2.5 * 0.027


@pytest.mark.parametrize("pick", ["longest", "shortest"])
def test_length_alone_is_no_rule(pick: str) -> None:
    share = 0.0
    for q in QUESTIONS:
        lengths = [len(c) for c in q.choices]
        best = max(lengths) if pick == "longest" else min(lengths)
        share += (lengths[q.gold] == best) / lengths.count(best)
    assert 0.15 < share / len(QUESTIONS) < 0.35


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
