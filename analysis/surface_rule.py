"""A question-blind rule: which option would one choose without reading the question?

Right answers of a benchmark often look different from wrong ones: longer, hedged, negated, unlike
the other options. A model can learn such marks from demonstrations and gain accuracy without
learning the task. The rule here sees the texts of the options and nothing else, so what it gets
right can be had from the surface; `cross_fitted` says how much of that the test questions offer.

The rule is a softmax regression over the options of each question (a conditional logit; McFadden
1974), with features of each option set against the other options of its question. Word lists are
English; text in other languages is measured by length, overlap, digits and capitals.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

Floats = NDArray[np.float64]
Question = Sequence[str]

# Of 1, 3, 5 and 10, tried on real TruthfulQA with 16 to 100 labels, 5 was best with labels of which
# 60% are true and within 1.1 points of the best with gold ones. Features are not scaled by their
# spread, which 16 questions do not show.
RIDGE: Final = 5.0

# Features that are 1 where an option has one of these words; "negated" also by a word in n't.
# Chosen after a look at which words mark right and wrong options of TruthfulQA as a whole, which
# flatters accuracies on it a little: without any one list but the negations they fall by at most
# 0.7 points, without all of them by 2 to 3.
_MARKS: Final = {
    "negated": "not no never nothing none nobody nowhere neither nor cannot without",
    "nothing": "nothing none nobody",
    "may": "may might could would perhaps possibly probably likely seem seems",
    "some": "some many most few several various different vary varies often sometimes usually "
    "generally typically mostly rarely very",
    "declines": "depends disagree evidence proven proof unknown unclear necessarily particular "
    "anything any scientifically exist exists single true",
    "comment": "comment",
    "absolute": "always all every everyone everything only ever entire completely best must",
    "will": "will should must",
    "contrast": "but while although though however",
    "and, or": "and or",
    "my": "my me i'm",
}
_THERE_IS_NO: Final = re.compile(r"\bthere(?:'s| (?:is|are|was|were)) not?\b|\b(?:is|are|was) no\b")
_WORD: Final = re.compile(r"[^\W_]+(?:'[^\W_]+)*")


def _named_features(texts: Question) -> dict[str, Sequence[float]]:
    """Every feature by name, a value per option."""
    words = [_WORD.findall(text.lower().replace("’", "'")) for text in texts]
    sets, k = [frozenset(tokens) for tokens in words], len(texts)
    options_with = Counter(word for tokens in sets for word in tokens)
    common = [word for word, count in options_with.items() if count >= max(2, k - 1)]
    first = [tokens[0] if tokens else "" for tokens in words]
    last = [tokens[-1] if tokens else "" for tokens in words]
    marks = {name: [bool(s & set(of.split())) for s in sets] for name, of in _MARKS.items()}
    contracted = [any(word.endswith("n't") for word in s) for s in sets]
    negated = [a or b for a, b in zip(marks["negated"], contracted, strict=True)]

    def share(part: int, whole: int) -> float:
        return part / whole if whole else 0.0

    others = [(s, sets[:i] + sets[i + 1 :]) for i, s in enumerate(sets)]
    jaccard = [[share(len(s & o), len(s | o)) for o in rest] for s, rest in others]
    covered = [[share(len(s & o), len(o)) for o in rest] for s, rest in others]
    capitals = [sum(word[0].isupper() for word in text.split()[1:]) for text in texts]
    return {
        "words": [float(np.log1p(len(tokens))) for tokens in words],
        "characters": [float(np.log1p(len(text))) for text in texts],
        **marks,
        "negated": negated,
        "only one negated": [n and sum(negated) == 1 for n in negated],
        "only one not negated": [not n and sum(negated) == k - 1 for n in negated],
        "there is no": [bool(_THERE_IS_NO.search(" ".join(tokens))) for tokens in words],
        "mean overlap": [float(np.mean(row)) for row in jaccard],
        "largest overlap": [max(row) for row in jaccard],
        "words of its own": [share(sum(options_with[w] == 1 for w in s), len(s)) for s in sets],
        "others' words": [float(np.mean(row)) for row in covered],
        "common words missing": [share(sum(w not in s for w in common), len(common)) for s in sets],
        "last word shared": [(last.count(word) - 1) / (k - 1) for word in last],
        "only one yes or no": [w in ("yes", "no") and first.count(w) == 1 for w in first],
        **{w: [word in (w, f"{w}'s") for word in first] for w in ("yes", "no", "there", "i")},
        "digits": [any(c.isdigit() for c in text) for text in texts],
        "capitals": [float(np.log1p(count)) for count in capitals],
    }


FEATURES: Final = tuple(_named_features(("", "")))
"""Names of the features, in the order of the columns of `Options.features`."""


@lru_cache(maxsize=20_000)
def _sorted_features(texts: tuple[str, ...]) -> Floats:
    table = np.array(list(_named_features(texts).values()), dtype=np.float64).T
    table -= table[0].copy()  # or the mean of equal values leaves rounding errors
    table -= table.mean(axis=0)
    table.flags.writeable = False
    return table


class Options:
    """The options of several questions below one another, in each sorted by text.

    Sorted, no rounding depends on the order in which options are given. `features` has a row per
    option and a column per name in `FEATURES`: logarithms of lengths, shares in [0, 1], and 1 or 0
    for having a mark, minus their mean over the options of the question, which says nothing.
    """

    def __init__(self, questions: Sequence[Question]) -> None:
        """Take the options of each question, at least two."""
        self.orders = [sorted(range(len(c)), key=c.__getitem__) for c in questions]
        tables = [_sorted_features(tuple(sorted(choices))) for choices in questions]
        self.features = np.concatenate(tables)  # (options of all questions, features)
        self.counts = [len(order) for order in self.orders]
        self.starts = np.cumsum([0, *self.counts[:-1]])  # row of each question's first option

    def softmax(self, weights: Floats) -> tuple[Floats, Floats]:
        """Probability of every option, and the logarithm of every question's normalizer."""
        scores = self.features @ weights
        top = np.maximum.reduceat(scores, self.starts)
        odds = np.exp(scores - np.repeat(top, self.counts))
        total = np.add.reduceat(odds, self.starts)
        return odds / np.repeat(total, self.counts), top + np.log(total)


@dataclass(frozen=True, eq=False)
class SurfaceRule:
    """A fitted rule: log odds per unit of each feature, shape (len(FEATURES),)."""

    weights: Floats

    def probabilities(self, questions: Sequence[Question]) -> list[Floats]:
        """Probability of each option, an array per question that sums to 1."""
        options = Options(questions)
        parts = np.split(options.softmax(self.weights)[0], options.starts[1:])
        return [p[np.argsort(order)] for p, order in zip(parts, options.orders, strict=True)]

    def choose(self, questions: Sequence[Question]) -> NDArray[np.intp]:
        """Index of the option that the rule finds most probable, shape (len(questions),).

        Among equally probable options it is the one whose text sorts first, wherever it stands;
        probabilities that differ by less than 1e-9 are equal, or rounding would choose.
        """
        chosen = [
            min((text, i) for i, text in enumerate(texts) if p[i] >= p.max() - 1e-9)[1]
            for p, texts in zip(self.probabilities(questions), questions, strict=True)
        ]
        return np.array(chosen, dtype=np.intp)


def fit_rule(questions: Sequence[Question], labels: Sequence[int]) -> SurfaceRule:
    """Fit the rule on labelled questions, at least one.

    A label is the index of an option, right or wrong. The weights have the largest likelihood minus
    RIDGE / 2 times the squared weights; those that the labels say nothing about are 0.
    """
    options = Options(questions)
    x, starts = options.features, options.starts
    places = [order.index(label) for order, label in zip(options.orders, labels, strict=True)]
    labelled = x[starts + places].sum(axis=0)

    def loss(weights: Floats) -> tuple[float, Floats]:
        p, normalizers = options.softmax(weights)
        value = normalizers.sum() - labelled @ weights + RIDGE / 2 * weights @ weights
        return float(value), p @ x - labelled + RIDGE * weights

    def curvature(weights: Floats) -> Floats:
        weighted = options.softmax(weights)[0][:, None] * x
        means = np.add.reduceat(weighted, starts, axis=0)
        return np.asarray(weighted.T @ x - means.T @ means + RIDGE * np.eye(len(weights)))

    start = np.zeros(x.shape[1])
    best = minimize(loss, start, jac=True, hess=curvature, method="trust-exact", tol=1e-6)
    return SurfaceRule(best.x)


def cross_fitted(
    questions: Sequence[Question], gold: Sequence[int], folds: int = 10
) -> tuple[NDArray[np.intp], Floats]:
    """The rule on each of two questions or more when fitted on the others' gold answers.

    A seeded permutation deals the questions into folds, of one question each where there are fewer
    than `folds`. Returns the index of the chosen option and the probability of the right one.
    """
    n = len(questions)
    fold = np.empty(n, dtype=np.intp)
    fold[np.random.default_rng(20240).permutation(n)] = np.arange(n) % folds
    chosen, probability = np.empty(n, dtype=np.intp), np.empty(n)
    for part in range(min(folds, n)):
        rest, held = np.flatnonzero(fold != part).tolist(), np.flatnonzero(fold == part).tolist()
        rule = fit_rule([questions[i] for i in rest], [gold[i] for i in rest])
        asked = [questions[i] for i in held]
        chosen[held], by_option = rule.choose(asked), rule.probabilities(asked)
        probability[held] = [p[gold[i]] for p, i in zip(by_option, held, strict=True)]
    return chosen, probability
