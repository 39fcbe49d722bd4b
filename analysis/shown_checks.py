"""Checks of what prompts showed: leaks, labels, demonstrations, controls."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from w2s_icl.analysis.experiment import Experiment
from w2s_icl.analysis.sentences import percent
from w2s_icl.analysis.stats import MIN_QUESTIONS

FAR = 4.0
"""Standard errors between labels and test answers of one model from which they are not its own."""

State = Literal["holds", "fails", "unknown"]


@dataclass(frozen=True)
class Check:
    """One check: what was found, in a sentence, and what failed or else must be known, by file."""

    state: State
    text: str
    items: tuple[str, ...] = ()


def check(items: Iterable[str], good: str, bad: str) -> Check:
    """A check that fails where there are `items`."""
    named = tuple(items)
    return Check("fails", bad, named) if named else Check("holds", good)


def shown_by(experiment: Experiment) -> Iterator[tuple[int, dict[str, Any]]]:
    """Runs with demonstrations, each with its row."""
    for i, row in enumerate(experiment.logs.runs.to_dict("records")):
        if row["shots"] > 0:
            yield i, {str(name): value for name, value in row.items()}


def leaks(experiment: Experiment) -> dict[int, str]:
    """Runs that show test questions, and which."""
    logs = experiment.logs
    tested = {str(id_) for id_ in logs.questions.index.take(experiment.test)}
    return {
        i: f"{run['file']}: shows test question {', '.join(sorted(leaked))}"
        for i, run in shown_by(experiment)
        if (leaked := {str(id_) for id_ in run["demo_ids"]} & tested)
    }


def no_leak(experiment: Experiment) -> Check:
    """No demonstration is a test question."""
    if not any(run["demo_ids"] for _, run in shown_by(experiment)):
        return Check("unknown", "no log says which demonstrations were shown")
    return check(
        leaks(experiment).values(),
        "no test question is among the demonstrations",
        "test questions are among the demonstrations",
    )


def _label_run(experiment: Experiment, run: Any) -> int | None:
    """The run that a cell's weak labels are the answers of."""
    ids = experiment.logs.runs["eval_id"]
    named = np.flatnonzero(ids == run["label_eval_id"])  # a model can have several label runs
    if len(named):
        return int(named[0])
    return None if run["prompt"] else experiment.zero_shot(run["weak"], "pool")


def other_labels(experiment: Experiment) -> tuple[dict[int, str], int]:
    """Runs whose labels differ from the source that the log names; labels that were compared."""
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
        differ = sum(logged != label for logged, label in known)
        if differ:
            wrong[i] = f"{run['file']}: {differ} of {len(known)} labels differ"
    return wrong, compared


def labels_are_the_logged_answers(experiment: Experiment) -> Check:
    """Labels shown are those of the source that the log names."""
    wrong, compared = other_labels(experiment)
    if not compared:
        return Check("unknown", "the labels' source is not among these logs")
    return check(
        wrong.values(),
        f"all {compared:,} labels shown whose source is among these logs equal it: the logged "
        "answers of the weak model, or the gold ones",
        "labels shown differ from the logged answers they were taken from",
    )


def _label_scores(experiment: Experiment) -> Iterator[tuple[str, float, int, float, int, float]]:
    """By weak model: share right and number of its labels, the same of its test answers, chance.

    Of readable answers alone: an unread one is no label.
    """
    logs = experiment.logs
    right = logs.letters == logs.questions["gold"].to_numpy(dtype=np.str_)
    readable = logs.letters != ""
    chance = 1 / logs.questions["n_options"].to_numpy(dtype=float)
    sources: dict[str, set[int | None]] = {}
    for _, run in shown_by(experiment):
        if run["labels"] == "weak":
            sources.setdefault(run["weak"], set()).add(_label_run(experiment, run))
    for weak, rows in sources.items():
        test = experiment.zero_shot(weak)
        for row in sorted(row for row in rows if row is not None and test is not None):
            labelled, answered = readable[row], readable[test]
            if labelled.any() and answered.any():
                labels, test_answers = right[row][labelled], right[test][answered]
                yield (
                    weak,
                    float(labels.mean()),
                    len(labels),
                    float(test_answers.mean()),
                    len(test_answers),
                    float(chance[labelled].mean()),
                )


def implausible(experiment: Experiment) -> dict[str, str]:
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


def labels_plausible(experiment: Experiment) -> Check:
    """Labels are as often right as their model is on the test."""
    scores = list(_label_scores(experiment))
    if not scores:
        return Check("unknown", "no model has both a label run and a zero-shot run here")
    least = min(n for _, _, n, _, m, _ in scores for n in (n, m))
    if least < MIN_QUESTIONS:
        return Check("unknown", f"only {least} answers: too few to tell labels from their model")
    return check(
        (f"{weak}: its labels {why}" for weak, why in implausible(experiment).items()),
        "the labels of each weak model are about as often right as its test answers, and more "
        "often than a guess",
        "labels that cannot be what the model answered",
    )


def same_demonstrations(experiment: Experiment) -> Check:
    """Runs of a draw on the test show the same demonstrations."""
    runs = [run for _, run in shown_by(experiment) if run["split"] == "test" and run["demo_ids"]]
    draws: dict[int, Counter[tuple[Any, ...]]] = {}
    for run in runs:
        draws.setdefault(run["draw"], Counter())[run["demo_ids"]] += 1
    # the order of a draw: of its longest prompts, what most of them show
    orders = {
        draw: max(seen, key=lambda ids: (len(ids), seen[ids])) for draw, seen in draws.items()
    }
    wrong = [
        f"{run['file']}: other demonstrations than draw {run['draw']} elsewhere"
        for run in runs
        if run["demo_ids"] != orders[run["draw"]][: len(run["demo_ids"])]
    ]
    if not runs:
        return Check("unknown", "the logs do not say which demonstrations were shown")
    if len(runs) == len(orders):
        return Check("unknown", "one run a draw: nothing to compare its demonstrations with")
    return check(
        wrong,
        "all arms of a draw show the same demonstrations in the same order, a longer prompt the "
        "shorter one's first",
        "arms that should differ in labels alone show different demonstrations",
    )


def other_controls(experiment: Experiment) -> tuple[dict[int, str], int]:
    """Controls whose labels are not as defined; controls that were looked at."""
    logs = experiment.logs
    gold = dict(zip(logs.questions.index, logs.questions["gold"], strict=True))

    def wrong_labels(run: dict[str, Any]) -> int | None:
        """None where the logs do not say."""
        if run["demo_ids"] and all(id_ in gold for id_ in run["demo_ids"]):
            pairs = zip(run["demo_ids"], run["demo_labels"], strict=True)
            return sum(bool(label != gold[id_]) for id_, label in pairs)
        share = float(run["demo_label_accuracy"])
        return None if pd.isna(share) else round((1 - share) * int(run["shots"]))

    runs = list(shown_by(experiment))
    errors: dict[tuple[Any, ...], int | None] = {}
    for _, run in runs:
        if run["labels"] == "weak":
            errors.setdefault((run["weak"], run["shots"], run["draw"]), wrong_labels(run))
    bad: dict[int, str] = {}
    compared = 0
    for i, run in runs:
        if run["labels"] == "unlabelled":
            compared += 1
            if any(run["demo_labels"]):
                bad[i] = f"{run['file']}: `unlabelled` shows labels"
            continue
        errors_here = wrong_labels(run)
        if run["labels"] == "flipped" and errors_here is not None:
            compared += 1
            if errors_here < run["shots"]:
                right = run["shots"] - errors_here
                bad[i] = f"{run['file']}: {right} of {run['shots']} `flipped` labels are right"
        elif run["labels"] == "noise_matched" and errors_here is not None:
            wanted = errors.get((run["weak"], run["shots"], run["draw"]))
            compared += wanted is not None
            if wanted is not None and errors_here != wanted:
                bad[i] = (
                    f"{run['file']}: {errors_here} labels are wrong, of those by {run['weak']} "
                    f"{wanted}"
                )
    return bad, compared


def labels_as_defined(experiment: Experiment) -> Check:
    """Controls show the labels that their kind says."""
    bad, compared = other_controls(experiment)
    if not compared:
        return Check("unknown", "no run with unlabelled, flipped or noise-matched demonstrations")
    return check(
        bad.values(),
        f"the labels of {compared} controls are as defined: none, none right, or as many wrong "
        "ones as the weak model's",
        "controls show other labels than they should",
    )
