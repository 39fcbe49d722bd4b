"""Questions as Inspect samples: option order, test and pool, near-duplicates, draws."""

import hashlib
import json
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from string import ascii_uppercase
from typing import Literal, Self, get_args

import numpy as np
from inspect_ai.dataset import Sample

from w2s_icl.errors import W2SError

# whether pool questions that are near-duplicates of a test question may be shown
NearDuplicates = Literal["drop", "keep"]


@dataclass(frozen=True)
class Question:
    """One question with its options in the order of the file."""

    id: int | str  # row number of the dataset (the first is 0), or the file's own `id`
    question: str
    choices: tuple[str, ...]  # 2 to 26, all different
    gold: int  # index of the right option in `choices`
    category: str = ""  # of the dataset, "" where it has none

    @property
    def right(self) -> str:
        """Text of the right option."""
        return self.choices[self.gold]

    @property
    def wrong(self) -> list[str]:
        """Texts of the other options, in their order."""
        return [c for i, c in enumerate(self.choices) if i != self.gold]

    def sample(self, seed: int) -> Sample:
        """The question as an Inspect sample; (seed, id) alone decide the order of its options."""
        order = list(range(len(self.choices)))
        random.Random(f"{seed}/{self.id}/options").shuffle(order)
        return Sample(
            id=self.id,
            input=self.question,
            choices=[self.choices[i] for i in order],
            target=ascii_uppercase[order.index(self.gold)],
            metadata={"category": self.category, "n_choices": len(self.choices)},
        )

    def with_four_choices(self, seed: int) -> Self:
        """The question with its right option and three wrong ones, drawn by (seed, id)."""
        kept = random.Random(f"{seed}/{self.id}/distractors").sample(self.wrong, 3)
        return replace(self, choices=(self.right, *kept), gold=0)


@dataclass(frozen=True, eq=False)  # compared by identity, so that splits can be cached by it
class QuestionSet:
    """Questions in the order of their file."""

    name: str  # of `sources.DATASETS`, or the path that was given
    source: str  # repository and revision, URL or file
    questions: tuple[Question, ...]

    @cached_property
    def fingerprint(self) -> str:
        """Digest of ids, questions, options and gold."""
        digest = hashlib.sha256()
        for q in self.questions:
            row = json.dumps([q.id, q.question, list(q.choices), q.gold], ensure_ascii=False)
            digest.update(row.encode("utf-8", "surrogatepass") + b"\n")
        return digest.hexdigest()


@dataclass(frozen=True)
class Split:
    """Test and pool of a question set, as samples in their seeded option order."""

    test: tuple[Sample, ...]  # the scored questions, in the order of the split
    pool: tuple[Sample, ...]  # questions that may be shown, in the order of the split
    barred: tuple[Sample, ...]  # near-duplicates of a test question, which are neither
    seed: int  # of split, option order and draws
    near_duplicates: NearDuplicates
    of: QuestionSet

    def draw(self, draw: int) -> list[Sample]:
        """The pool in the order of one draw: a permutation seeded by (seed, draw)."""
        return random.Random(f"{self.seed}/{draw}/draw").sample(self.pool, len(self.pool))


def load_split(
    dataset: str = "mc4",
    test_size: int = 200,
    seed: int = 42,
    near_duplicates: NearDuplicates = "drop",
) -> Split:
    """Split a question set, named as for `sources.load_questions`, into test and pool.

    `random.Random(seed).sample(range(n), n)` orders the questions; the first `test_size` are the
    test, the rest is the pool. A pool question that is a near-duplicate of a test question (token
    Jaccard of the two questions >= 0.5) is barred unless `near_duplicates` is "keep". Questions
    that share a right answer alone are no near-duplicates: barring them would take a class of
    answers out of the demonstrations and leave it in the test. `seed` is also that of option
    order, draws and the wrong options of `mc4`.

    Raises:
        W2SError: As `sources.load_questions`; or an argument is outside what is allowed.
    """
    from w2s_icl.evals.sources import load_questions

    if isinstance(test_size, bool) or not isinstance(test_size, int) or test_size < 1:
        raise W2SError(f"test_size must be a whole number of at least 1, got {test_size!r}")
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise W2SError(f"seed must be a whole number, got {seed!r}")
    if near_duplicates not in get_args(NearDuplicates):
        raise W2SError(f"near_duplicates must be drop or keep, got {near_duplicates!r}")
    loaded = load_questions(str(dataset), seed=seed)
    if test_size > (n := len(loaded.questions)):
        among = f"{n}, the questions in {loaded.name}"
        raise W2SError(f"test_size must be at most {among}, got {test_size}")
    return _split(loaded, test_size, seed, near_duplicates)


@lru_cache(maxsize=8)  # every cell of a study splits the same questions
def _split(of: QuestionSet, test_size: int, seed: int, near_duplicates: NearDuplicates) -> Split:
    shuffled = random.Random(seed).sample(of.questions, len(of.questions))
    test, rest = shuffled[:test_size], shuffled[test_size:]
    barred = near_duplicates_of(test, rest) if near_duplicates == "drop" else frozenset()
    return Split(
        test=tuple(q.sample(seed) for q in test),
        pool=tuple(q.sample(seed) for q in rest if q.id not in barred),
        barred=tuple(q.sample(seed) for q in rest if q.id in barred),
        seed=seed,
        near_duplicates=near_duplicates,
        of=of,
    )


def near_duplicates_of(test: Sequence[Question], rest: Sequence[Question]) -> frozenset[int | str]:
    """Ids of the questions in `rest` that are near-duplicates of one in `test`."""
    asked = [_tokens(q.question) for q in test]
    column = {word: i for i, word in enumerate(set[str]().union(*asked))}
    has = np.array([[word in words for word in column] for words in asked], dtype=bool)
    sizes = has.sum(axis=1)

    def is_near(words: set[str]) -> bool:
        both = has[:, [column[word] for word in words if word in column]].sum(axis=1)
        # shared tokens are at least half of all that either question has
        return bool(((both > 0) & (3 * both >= len(words) + sizes)).any())

    return frozenset(q.id for q in rest if is_near(_tokens(q.question)))


def _tokens(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.casefold()))
