from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import SHARED, needs_shared
from w2s_icl.analysis.surface_rule import FEATURES, RIDGE, Floats, Options, cross_fitted, fit_rule
from w2s_icl.evals.sources import load_questions

texts = st.text(max_size=30) | st.sampled_from(
    ["It may help.", "No, it does not.", "Yes.", "Yes", "There is no 3rd way.", "I don’t know."]
)
options = st.lists(texts, min_size=2, max_size=6)
labelled = st.lists(
    options.flatmap(lambda c: st.tuples(st.just(c), st.integers(0, len(c) - 1))),
    min_size=1,
    max_size=6,
)


def option_features(choices: list[str]) -> Floats:
    options = Options([choices])
    return options.features[np.argsort(options.orders[0])]


@pytest.mark.parametrize(
    ("name", "choices", "expected"),
    [
        ("words", ["a b c", "a", ""], [np.log(4), np.log(2), 0]),
        ("characters", ["abc", ""], [np.log(4), 0]),
        ("negated", ["It is not.", "It isn't.", "It isn’t.", "It is.", "A note"], [1, 1, 1, 0, 0]),
        ("only one negated", ["Never.", "Ever.", "All."], [1, 0, 0]),
        ("only one not negated", ["Never.", "Not.", "All."], [0, 0, 1]),
        ("there is no", ["There's no such thing.", "No, there is."], [1, 0]),
        ("may", ["It could.", "It can."], [1, 0]),
        ("mean overlap", ["a b", "a c", "d"], [1 / 6, 1 / 6, 0]),
        ("largest overlap", ["a b", "a c", "d"], [1 / 3, 1 / 3, 0]),
        ("words of its own", ["a b", "a c d", "a"], [1 / 2, 2 / 3, 0]),
        ("others' words", ["a b", "a", "c"], [1 / 2, 1 / 4, 0]),
        ("common words missing", ["a b", "a c", "d"], [0, 0, 1]),
        ("last word shared", ["red end", "new end", "other"], [1 / 2, 1 / 2, 0]),
        ("only one yes or no", ["Yes, a.", "Yes, b.", "No, c."], [0, 0, 1]),
        ("yes", ["Yes.", "No."], [1, 0]),
        ("digits", ["In 1990.", "In May."], [1, 0]),
        ("capitals", ["A Big Man", "A big man"], [np.log(3), 0]),
    ],
)
def test_features_of_options(name: str, choices: list[str], expected: list[float]) -> None:
    column = option_features(choices)[:, FEATURES.index(name)]
    assert column - column.min() == pytest.approx(expected, abs=1e-6)


def test_a_fit_has_the_largest_penalized_likelihood() -> None:
    questions = [["It may be.", "It is 3."], ["No.", "Yes, it is.", "Nothing, but red."], ["a"] * 2]
    labels = [1, 2, 0]

    weights = fit_rule(questions, labels).weights

    slope = -RIDGE * weights
    for choices, label in zip(questions, labels, strict=True):
        x = option_features(choices)
        p = np.exp(x @ weights) / np.exp(x @ weights).sum()
        slope += x[label] - p @ x
    assert slope == pytest.approx(0, abs=1e-6)


@given(labelled, st.integers(0, 1000))
def test_the_order_of_options_moves_nothing(pairs: list[tuple[list[str], int]], seed: int) -> None:
    rng = np.random.default_rng(seed)
    questions, labels = [choices for choices, _ in pairs], [label for _, label in pairs]
    orders = [rng.permutation(len(choices)).tolist() for choices in questions]
    moved = [[c[i] for i in order] for c, order in zip(questions, orders, strict=True)]
    moved_labels = [order.index(label) for order, label in zip(orders, labels, strict=True)]
    here, there = fit_rule(questions, labels), fit_rule(moved, moved_labels)

    picks = zip(here.choose(questions), there.choose(moved), questions, moved, strict=True)
    assert all(ours[i] == theirs[j] for i, j, ours, theirs in picks)
    assert here.weights.tolist() == there.weights.tolist()
    for p, q, order in zip(
        here.probabilities(questions), there.probabilities(moved), orders, strict=True
    ):
        assert p[order] == pytest.approx(q)
        assert p.sum() == pytest.approx(1)


def test_one_question_and_equal_options_are_enough() -> None:
    one = fit_rule([["It may be.", "It is."]], [0])
    assert one.choose([["They may go.", "They go."]]).tolist() == [0]

    alike = fit_rule([["same", "same", "same"]], [2])
    assert not alike.weights.any()
    assert alike.probabilities([["a", "not b"]])[0].tolist() == [0.5, 0.5]
    for choices in permutations(["Cat.", "Ant.", "Bee."]):  # a tie: the text that sorts first
        assert choices[alike.choose([choices])[0]] == "Ant."


def test_other_languages_and_odd_text_do_not_crash() -> None:
    questions = [["Это не так.", "Да, это так."], ["没有评论。", ""], ["لا", "٣"]]
    questions.append(["\ud800", "🐈", "   "])
    chosen, probability = cross_fitted(questions, [0, 1, 0, 2])
    assert len(chosen) == np.isfinite(probability).sum() == 4


def test_cross_fitting_uses_no_question_on_itself() -> None:
    # Each right option has a mark that no other question has, so nothing can be learned.
    marks = ["my a", "may a", "not a", "3 a", "and a", "will a"]
    questions = [["a", mark] for mark in marks]
    gold = [1] * len(marks)

    chosen, probability = cross_fitted(questions, gold)

    for i, (pick, p) in enumerate(zip(chosen, probability, strict=True)):
        rest = [j for j in range(len(marks)) if j != i]
        rule = fit_rule([questions[j] for j in rest], [gold[j] for j in rest])
        assert pick == rule.choose([questions[i]])[0]
        assert p == rule.probabilities([questions[i]])[0][1]


@needs_shared
def test_truthfulqa_can_be_answered_without_the_question() -> None:
    loaded = load_questions(str(SHARED / "truthful_qa_mc")).questions
    questions, gold = [q.choices for q in loaded], [q.gold for q in loaded]

    assert (cross_fitted(questions, gold)[0] == gold).mean() == pytest.approx(0.78, abs=0.02)
