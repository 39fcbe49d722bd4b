"""From the samples of one log to its answers, checked one by one."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from string import ascii_uppercase
from typing import NamedTuple

import numpy as np
from inspect_ai.log import EvalSampleSummary
from inspect_ai.scorer import CORRECT, INCORRECT, NOANSWER, Score
from numpy.typing import NDArray

from w2s_icl.errors import W2SError
from w2s_icl.record import READ_BY, SCORER, Id, rotation

# letters by question and epoch, the epochs in order; "" where a reply could not be read
Replies = Mapping[Id, Mapping[int, str]]


class Question(NamedTuple):
    """A question as it was asked, and the log that asked it first."""

    question: str
    choices: tuple[str, ...]
    gold: str
    category: str
    file: str


@dataclass
class Answers:
    """The answers of one log."""

    # of the questions that have an answer; an epoch may lack some
    replies: dict[Id, dict[int, str]] = field(default_factory=dict)
    versions: set[str] = field(default_factory=set)  # of the reading, where the scores say it
    # in, out and cached, of each sample that called a model; and its dollars, nan if unknown
    tokens: list[tuple[int, int, int]] = field(default_factory=list)
    dollars: list[float] = field(default_factory=list)

    def add_usage(self, sample: EvalSampleSummary, where: str) -> None:
        """Count what a sample took."""
        usage = sample.model_usage.values()
        tokens = [(u.input_tokens, u.output_tokens, u.input_tokens_cache_read or 0) for u in usage]
        costs = [of.total_cost for of in usage if of.total_cost is not None]
        if not all(0 <= amount < 1e12 for amount in (*chain(*tokens), *costs)):  # more is no count
            raise W2SError(f"{where}: tokens and dollars must be 0 or more, got {tokens}, {costs}")
        if usage:
            read, written, cached = map(sum, zip(*tokens, strict=True))
            self.tokens.append((read, written, cached))
            self.dollars.append(math.fsum(costs) if len(costs) == len(usage) else math.nan)


def answers_of(
    samples: Iterable[EvalSampleSummary], questions: dict[Id, Question], file: str
) -> Answers:
    """Read the samples of a log; a sample that failed has no answer, which is not a wrong one.

    Raises:
        W2SError: A question is there twice, was asked otherwise in another log, has no right
            answer, or was not scored by this suite; names file and question.
    """
    answers = Answers()
    seen: set[tuple[Id, int]] = set()
    for sample in sorted(samples, key=lambda sample: sample.epoch):
        where = f"{file}: question {sample.id!r}"
        if (sample.id, sample.epoch) in seen:
            raise W2SError(f"{where} is in it twice (epoch {sample.epoch})")
        seen.add((sample.id, sample.epoch))
        question = _question(sample, questions, file)
        answers.add_usage(sample, where)
        if sample.scores and not sample.error:
            score = _checked(sample.scores, question, where)
            answers.replies.setdefault(sample.id, {})[sample.epoch] = score.answer or ""
            version = (score.metadata or {}).get(READ_BY)
            answers.versions |= {str(version)} if version else set()
    return answers


def _question(sample: EvalSampleSummary, met: dict[Id, Question], file: str) -> Question:
    """The question of a sample; a W2SError where another log asks it otherwise."""
    gold = sample.target if isinstance(sample.target, str) else ",".join(sample.target)
    choices = tuple(sample.choices or ())
    if gold not in [*ascii_uppercase[: len(choices)]]:
        allowed = f"must be one of its {len(choices)} options, got {gold!r:.40}"
        raise W2SError(f"{file}: the right answer of question {sample.id!r} {allowed}")
    category = str(sample.metadata.get("category") or "")
    mine = Question(str(sample.input), choices, gold, category, file)
    first = met.setdefault(sample.id, mine)
    for what, own, its in zip(Question._fields[:-1], mine, first, strict=False):
        if own != its:
            raise W2SError(
                f"{file} and {first.file} have another `{what}` in question {sample.id!r}; logs of "
                "different questions or option orders cannot be analysed together: move one of "
                "them out of the directory"
            )
    return first


def _checked(scores: Mapping[str, Score], question: Question, where: str) -> Score:
    """The score of this suite; a W2SError where it is not as its scorer gives."""
    score, letters = scores.get(SCORER), ascii_uppercase[: len(question.choices)]
    if score is None:
        wrong = f"must be scored by {SCORER}, got a score of {', '.join(scores)}"
    elif (letter := score.answer or "") not in ("", *letters):
        wrong = f"the answer must be one of {', '.join(letters)}, got {letter!r:.40}"
    elif score.value not in ((CORRECT,) if letter == question.gold else (INCORRECT, NOANSWER)):
        given = f"{letter or 'none'} has the value {score.value!r:.40}"
        wrong = f"the answer must be judged by the right one, {question.gold}, but {given}"
    else:
        return score
    again = f"score the log again with `inspect score LOG --scorer {SCORER}`, or move it away"
    raise W2SError(f"{where}: {wrong}; {again}")


def matrices_of(
    runs: Sequence[Answers], questions: Mapping[Id, Question]
) -> tuple[list[Id], NDArray[np.str_], NDArray[np.float64], NDArray[np.intp]]:
    """The questions in order; and letters, shares right and unread replies, as `Logs` has them."""
    ids = sorted(questions, key=lambda id_: (isinstance(id_, str), id_))
    place = {id_: i for i, id_ in enumerate(ids)}
    letters = np.full((len(runs), len(ids)), "", dtype="U1")
    correct = np.full(letters.shape, np.nan)
    unread = np.zeros(letters.shape, dtype=np.intp)
    for i, run in enumerate(runs):
        for id_, by_epoch in run.replies.items():
            j, given = place[id_], list(by_epoch.values())
            letters[i, j] = given[0]
            correct[i, j] = given.count(questions[id_].gold) / len(given)
            unread[i, j] = given.count("")
    return ids, letters, correct, unread


def changes_of(
    replies: Replies, permutations: int, questions: Mapping[Id, Question]
) -> tuple[float, ...]:
    """By question with identical reruns, the share of pairs of them that differ; "" equals ""."""
    shares: list[float] = []
    for id_, by_epoch in replies.items():
        groups: dict[int, list[str]] = defaultdict(list)
        for epoch, letter in by_epoch.items():
            groups[rotation(epoch, permutations, len(questions[id_].choices))].append(letter)
        counts = [Counter(group) for group in groups.values()]
        pairs = sum(math.comb(of.total(), 2) for of in counts)
        same = sum(math.comb(n, 2) for of in counts for n in of.values())
        shares += [(pairs - same) / pairs] if pairs else []
    return tuple(shares)


def positions_of(
    replies: Replies, permutations: int, questions: Mapping[Id, Question]
) -> tuple[tuple[float, ...], ...]:
    """What a run says of each place on the page, over all questions and epochs; 26 rows of 5.

    How often the right option stood there; how many of those were answered right; answers given
    there; those expected if each readable reply fell on any option with equal chance; and different
    questions whose right option stood there. The option at place j of K is at (j - rotation) % K.
    """
    by_place, options = np.zeros((len(ascii_uppercase), 5)), Counter[int]()
    for id_, by_epoch in replies.items():
        k, gold = len(questions[id_].choices), questions[id_].gold
        met = set[int]()
        for epoch, letter in by_epoch.items():
            back = rotation(epoch, permutations, k)
            place = (ascii_uppercase.index(gold) - back) % k
            by_place[place, :2] += 1, letter == gold
            met.add(place)
            if letter:
                by_place[(ascii_uppercase.index(letter) - back) % k, 2] += 1
                options[k] += 1
        by_place[[*met], 4] += 1
    for place, row in enumerate(by_place):
        row[3] = math.fsum(n / k for k, n in options.items() if k > place)
    return tuple(map(tuple, by_place.tolist()))
