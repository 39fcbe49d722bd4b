"""Checks of what prompts showed: leaks, labels, demonstrations, controls."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import pandas as pd

from w2s_icl.analysis.experiment import Experiment
from w2s_icl.analysis.sentences import percent
from w2s_icl.analysis.stats.columns import MIN_QUESTIONS

FAR = 4.0
"""Standard errors between labels and test answers of one model from which they are not its own."""


@dataclass(frozen=True)
class Check:
    """One check: what was found, in a sentence, and what failed or else must be known, by file."""

    state: Literal["holds", "fails", "unknown"]
    text: str
    items: tuple[str, ...] = ()


def check(items: Iterable[str], good: str, bad: str, unknown: str = "") -> Check:
    """A check that fails where there are `items`; `unknown` says why it could not have failed."""
    named = tuple(items)
    if named:
        return Check("fails", bad, named)
    return Check("unknown", unknown) if unknown else Check("holds", good)


Found = tuple[Mapping[int, str], int]
"""What is wrong, by run, and how many runs or labels were looked at."""


def shown_by(experiment: Experiment) -> Iterator[tuple[int, dict[str, Any]]]:
    """Runs with demonstrations, each with its row."""
    for i, row in enumerate(experiment.logs.runs.to_dict("records")):
        if row["shots"] > 0:
            yield i, {str(name): value for name, value in row.items()}


@lru_cache(maxsize=2)
def leaks(experiment: Experiment) -> Found:
    """Test questions among the demonstrations."""
    tested = {str(id_) for id_ in experiment.logs.questions.index.take(experiment.test)}
    shown = {i: {str(id_) for id_ in run["demo_ids"]} for i, run in shown_by(experiment)}
    wrong = {
        i: f"shows test question {', '.join(sorted(ids & tested))}"
        for i, ids in shown.items()
        if ids & tested
    }
    return wrong, sum(bool(ids) for ids in shown.values())


@lru_cache(maxsize=2)
def other_labels(experiment: Experiment) -> Found:
    """Labels that differ from the source that the log names: gold, or a label run."""
    logs = experiment.logs
    place = {id_: i for i, id_ in enumerate(logs.questions.index)}
    wrong: dict[int, str] = {}
    compared = 0
    for i, run in shown_by(experiment):
        source: Any = logs.questions["gold"].to_numpy() if run["labels"] == "gold" else None
        if run["labels"] == "weak" and (row := _label_run(experiment, run)) is not None:
            source = logs.letters[row]
        if source is None:
            continue
        shown = zip(run["demo_ids"], run["demo_labels"], strict=False)
        known = [(source[place[id_]], label) for id_, label in shown if id_ in place]
        compared += len(known)
        if differ := sum(logged != label for logged, label in known):
            wrong[i] = f"{differ} of {len(known)} labels differ"
    return wrong, compared


def _label_run(experiment: Experiment, run: Mapping[str, Any]) -> int | None:
    """The run that a cell's weak labels are the answers of."""
    ids = experiment.logs.runs["eval_id"]
    named = np.flatnonzero(ids == run["label_eval_id"])  # a model can have several label runs
    if len(named):
        return int(named[0])
    return None if run["prompt"] else experiment.zero_shot(run["weak"], "pool")


@lru_cache(maxsize=2)
def other_controls(experiment: Experiment) -> Found:
    """Controls whose labels are not as defined: none, none right, as many wrong as weak ones."""
    gold = experiment.logs.questions["gold"].to_dict()

    def wrong_labels(run: Mapping[str, Any]) -> int | None:
        """None where the logs do not say."""
        if run["demo_ids"] and all(id_ in gold for id_ in run["demo_ids"]):
            pairs = zip(run["demo_ids"], run["demo_labels"], strict=True)
            return sum(bool(label != gold[id_]) for id_, label in pairs)
        share = float(run["demo_label_accuracy"])
        return None if pd.isna(share) else round((1 - share) * int(run["shots"]))

    runs = list(shown_by(experiment))
    by_weak: dict[tuple[Any, ...], int | None] = {}
    for _, run in runs:
        if run["labels"] == "weak":
            by_weak.setdefault((run["weak"], run["shots"], run["draw"]), wrong_labels(run))
    bad: dict[int, str] = {}
    compared = 0
    for i, run in runs:
        kind, shots, errors = run["labels"], int(run["shots"]), wrong_labels(run)
        wanted = by_weak.get((run["weak"], shots, run["draw"]))
        if kind == "unlabelled":
            compared += 1
            if any(run["demo_labels"]):
                bad[i] = "`unlabelled` shows labels"
        elif kind == "flipped" and errors is not None:
            compared += 1
            if errors < shots:
                bad[i] = f"{shots - errors} of {shots} `flipped` labels are right"
        elif kind == "noise_matched" and None not in (errors, wanted):
            compared += 1
            if errors != wanted:
                bad[i] = f"{errors} labels are wrong, of those by {run['weak']} {wanted}"
    return bad, compared


SHOWN: Mapping[str, tuple[Callable[[Experiment], Found], str, str]] = {
    "test questions are among the demonstrations": (
        leaks,
        "no test question is among the demonstrations",
        "no log says which demonstrations were shown",
    ),
    "labels shown are not those of their log": (
        other_labels,
        "all {n:,} labels shown whose source is among these logs equal it: the logged answers of "
        "the weak model, or the gold ones",
        "the labels' source is not among these logs",
    ),
    "controls show other labels than they should": (
        other_controls,
        "the labels of {n} controls are as defined: none, none right, or as many wrong ones as the "
        "weak model's",
        "no run with unlabelled, flipped or noise-matched demonstrations",
    ),
}
"""Checks that leave no claim on a run that fails one: how they look, what they say otherwise."""


def shown_checks(experiment: Experiment) -> Iterator[Check]:
    """The checks of what prompts showed."""
    for bad, (find, good, unknown) in SHOWN.items():
        wrong, n = find(experiment)
        items = by_file(experiment, wrong)
        yield check(items.values(), good.format(n=n), bad, "" if n else unknown)
    yield _labels_plausible(experiment)
    yield _same_demonstrations(experiment)


def by_file(experiment: Experiment, wrong: Mapping[int, str]) -> dict[int, str]:
    """What is wrong with runs, with their files."""
    files = experiment.logs.runs["file"]
    return {run: f"{files[run]}: {text}" for run, text in wrong.items()}


def _label_scores(experiment: Experiment) -> Iterator[tuple[str, float, int, float, int, float]]:
    """By weak model: share right and number of its labels, the same of its test answers, chance.

    Of readable answers alone: an unread one is no label.
    """
    logs = experiment.logs
    right = logs.letters == logs.questions["gold"].to_numpy(dtype=np.str_)
    readable = logs.letters != ""
    chance = 1 / logs.questions["n_options"].to_numpy(dtype=float)
    sources = {
        (run["weak"], _label_run(experiment, run))
        for _, run in shown_by(experiment)
        if run["labels"] == "weak"
    }
    for weak, row in sorted(source for source in sources if source[1] is not None):
        test = experiment.zero_shot(weak)
        labelled = readable[row]
        if test is not None and labelled.any() and readable[test].any():
            labels, answers = right[row][labelled], right[test][readable[test]]
            scores = float(labels.mean()), len(labels), float(answers.mean()), len(answers)
            yield weak, *scores, float(chance[labelled].mean())


@lru_cache(maxsize=2)
def implausible(experiment: Experiment) -> Mapping[str, str]:
    """Weak models whose labels cannot be what they answered, and why."""
    found: dict[str, str] = {}
    for weak, labels, n, test, m, chance in _label_scores(experiment):
        both = (labels * n + test * m) / (n + m)
        se = np.sqrt(both * (1 - both) * (1 / n + 1 / m))
        right = f"are right on {percent(labels)} of {n} pool questions"
        if labels < chance:
            found[weak] = f"{right}, below the {percent(chance)} of a guess"
        elif se > 0 and abs(labels - test) > FAR * se:
            found[weak] = f"{right}, its test answers on {percent(test)} of {m}: too far apart"
    return found


def _labels_plausible(experiment: Experiment) -> Check:
    counts = [min(n, m) for _, _, n, _, m, _ in _label_scores(experiment)]
    unknown = ""
    if not counts:
        unknown = "no model has both a label run and a zero-shot run here"
    elif min(counts) < MIN_QUESTIONS:
        unknown = f"only {min(counts)} answers: too few to tell labels from their model"
    return check(
        (f"{weak}: its labels {why}" for weak, why in implausible(experiment).items()),
        "the labels of each weak model are about as often right as its test answers, and more "
        "often than a guess",
        "labels that cannot be what the model answered",
        unknown,
    )


def _same_demonstrations(experiment: Experiment) -> Check:
    """Runs of a draw on the test; where an arm passed over a question, how the others do too."""
    runs = [run for _, run in shown_by(experiment) if run["split"] == "test" and run["demo_ids"]]
    passed: dict[int, dict[Any, None]] = defaultdict(dict)
    seen: dict[int, Counter[tuple[Any, ...]]] = defaultdict(Counter)
    for run in runs:
        passed[run["draw"]] |= dict.fromkeys(run["passed_over"])
        if not run["order"]:
            seen[run["draw"]][run["demo_ids"]] += 1
    # the order of a draw: of its longest prompts, what most of them show of what none passed over
    orders = {
        draw: max(of, key=lambda ids: (len(ids), -len({*ids} & {*passed[draw]}), of[ids]))
        for draw, of in seen.items()
    }
    wrong = []
    for run in runs:
        draw, ids = run["draw"], run["demo_ids"]
        there = orders.get(draw, ())[: len(ids)]
        if sorted(map(str, ids)) != sorted(map(str, there)) if run["order"] else ids != there:
            text = f"{run['file']}: other demonstrations than draw {draw} elsewhere"
            if not {*ids}.isdisjoint(passed[draw]):
                skip = ",".join(map(str, passed[draw]))
                text += f"; move it away, and run its command again with `-T skip={skip}`"
            wrong.append(text)
    unknown = ""
    if not runs:
        unknown = "the logs do not say which demonstrations were shown"
    elif len(runs) == len(orders):
        unknown = "one run a draw: nothing to compare its demonstrations with"
    return check(
        wrong,
        "all arms of a draw show the same demonstrations in the same order, a longer prompt the "
        "shorter one's first",
        "arms that should differ in labels alone show different demonstrations",
        unknown,
    )
