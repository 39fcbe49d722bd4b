"""Checks of what prompts showed: leaks, labels, demonstrations, controls."""

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

Found = tuple[Mapping[int, str], int]
"""What is wrong, by run, and how many runs or labels were looked at."""


@dataclass(frozen=True)
class Check:
    """One check: what was found, in a sentence, and what failed or else must be known, by file."""

    state: Literal["holds", "fails", "unknown"]
    text: str
    items: tuple[str, ...] = ()


def check(items: Iterable[str], good: str, bad: str, unknown: str = "") -> Check:
    """A check that fails where there are `items`; `unknown` says why it could not have failed."""
    if named := tuple(items):
        return Check("fails", bad, named)
    return Check("unknown", unknown) if unknown else Check("holds", good)


def _shown(experiment: Experiment) -> Iterator[tuple[int, Mapping[Any, Any]]]:
    """Runs with demonstrations, each with its row."""
    rows = enumerate(experiment.logs.runs.to_dict("records"))
    return ((i, row) for i, row in rows if row["shots"] > 0)


def _leaks(experiment: Experiment) -> Found:
    """Test questions among the demonstrations."""
    tested = set(map(str, experiment.asked.index))
    shown = {i: set(map(str, run["demo_ids"])) for i, run in _shown(experiment) if run["demo_ids"]}
    wrong = {
        i: f"shows test question {', '.join(sorted(ids & tested))}"
        for i, ids in shown.items()
        if ids & tested
    }
    return wrong, len(shown)


def _other_labels(experiment: Experiment) -> Found:
    """Labels that differ from the source that the log names: gold, or a label run."""
    logs = experiment.logs
    place = {id_: i for i, id_ in enumerate(logs.questions.index)}
    wrong: dict[int, str] = {}
    compared = 0
    for i, run in _shown(experiment):
        source: Any = logs.questions["gold"].to_numpy() if run["labels"] == "gold" else None
        if run["labels"] == "weak" and (row := _label_run(experiment, run)) is not None:
            source = logs.letters[row]
        if source is None:
            continue
        shown = zip(run["demo_ids"], run["demo_labels"], strict=False)
        same = [source[place[id_]] == label for id_, label in shown if id_ in place]
        compared += len(same)
        if not all(same):
            wrong[i] = f"{same.count(False)} of {len(same)} labels differ"
    return wrong, compared


def _label_run(experiment: Experiment, run: Mapping[Any, Any]) -> int | None:
    """The run that a cell's weak labels are the answers of."""
    ids = experiment.logs.runs["eval_id"]
    named = np.flatnonzero(ids == run["label_eval_id"])  # a model can have several label runs
    if len(named):
        return int(named[0])
    return None if run["prompt"] else experiment.zero_shot(run["weak"], "pool")


def _other_controls(experiment: Experiment) -> Found:
    """Controls whose labels are not as defined: none, none right, as many wrong as weak ones."""
    gold = experiment.logs.questions["gold"].to_dict()

    def wrong_labels(run: Mapping[Any, Any]) -> int | None:
        """None where the logs do not say."""
        if run["demo_ids"] and all(id_ in gold for id_ in run["demo_ids"]):
            pairs = zip(run["demo_ids"], run["demo_labels"], strict=True)
            return sum(bool(label != gold[id_]) for id_, label in pairs)
        share = float(run["demo_label_accuracy"])
        return None if pd.isna(share) else round((1 - share) * int(run["shots"]))

    by_weak: dict[tuple[Any, ...], int | None] = {}
    for _, run in _shown(experiment):
        if run["labels"] == "weak":
            by_weak.setdefault((run["weak"], run["shots"], run["draw"]), wrong_labels(run))
    found: dict[int, str] = {}  # "" where a control is as defined
    for i, run in _shown(experiment):
        kind, shots, errors = run["labels"], run["shots"], wrong_labels(run)
        wanted = by_weak.get((run["weak"], shots, run["draw"]))
        if kind == "unlabelled":
            found[i] = "`unlabelled` shows labels" if any(run["demo_labels"]) else ""
        elif kind == "flipped" and errors is not None:
            right = f"{shots - errors} of {shots} `flipped` labels are right"
            found[i] = right if errors < shots else ""
        elif kind == "noise_matched" and None not in (errors, wanted):
            many = f"{errors} labels are wrong, of those by {run['weak']} {wanted}"
            found[i] = many if errors != wanted else ""
    return {i: text for i, text in found.items() if text}, len(found)


_SHOWN: Mapping[str, tuple[Callable[[Experiment], Found], str, str]] = {
    "test questions are among the demonstrations": (
        _leaks,
        "no test question is among the demonstrations",
        "no log says which demonstrations were shown",
    ),
    "labels shown are not those of their log": (
        _other_labels,
        "all {n:,} labels shown whose source is among these logs equal it: the logged answers of "
        "the weak model, or the gold ones",
        "the labels' source is not among these logs",
    ),
    "controls show other labels than they should": (
        _other_controls,
        "the labels of {n} controls are as defined: none, none right, or as many wrong ones as the "
        "weak model's",
        "no run with unlabelled, flipped or noise-matched demonstrations",
    ),
}
"""Checks that leave no claim on a run that fails one: how they look, what they say otherwise."""


@lru_cache(maxsize=2)
def wrongly_shown(experiment: Experiment) -> Mapping[str, Found]:
    """What leaves no claim on a run standing: in words, with the runs, what and in which file."""
    files = experiment.logs.runs["file"]
    found = {bad: find(experiment) for bad, (find, *_) in _SHOWN.items()}
    return {
        bad: ({run: f"{files[run]}: {text}" for run, text in wrong.items()}, n)
        for bad, (wrong, n) in found.items()
    }


def shown_checks(experiment: Experiment) -> Iterator[Check]:
    """The checks of what prompts showed."""
    for bad, (wrong, n) in wrongly_shown(experiment).items():
        _, good, unknown = _SHOWN[bad]
        yield check(wrong.values(), good.format(n=n), bad, "" if n else unknown)
    least, odd = implausible(experiment)
    unknown = ""
    if least is None:
        unknown = "no model has both a label run and a zero-shot run here"
    elif least < MIN_QUESTIONS:
        unknown = f"only {least} answers: too few to tell labels from their model"
    yield check(
        (f"{weak}: its labels {why}" for weak, why in odd.items()),
        "the labels of each weak model are about as often right as its test answers, and more "
        "often than a guess",
        "labels that cannot be what the model answered",
        unknown,
    )
    yield _same_demonstrations(experiment)


@lru_cache(maxsize=2)
def implausible(experiment: Experiment) -> tuple[int | None, Mapping[str, str]]:
    """The fewest answers that a weak model was judged by; models whose labels cannot be theirs.

    Of readable answers alone: an unread one is no label. None where no model can be judged.
    """
    logs = experiment.logs
    right = logs.letters == logs.questions["gold"].to_numpy(dtype=np.str_)
    readable = logs.letters != ""
    weak_runs = [run for _, run in _shown(experiment) if run["labels"] == "weak"]
    sources = {(run["weak"], _label_run(experiment, run)) for run in weak_runs}
    counts: list[int] = []
    found: dict[str, str] = {}
    for weak, row in sorted(source for source in sources if source[1] is not None):
        zero = experiment.zero_shot(weak)
        if zero is None or not readable[row].any() or not readable[zero].any():
            continue
        labels, test = right[row][readable[row]], right[zero][readable[zero]]
        n, m = len(labels), len(test)
        counts.append(min(n, m))
        chance = (1 / logs.questions["n_options"].to_numpy(dtype=float))[readable[row]].mean()
        both = np.concatenate([labels, test]).mean()
        se = np.sqrt(both * (1 - both) * (1 / n + 1 / m))
        said = f"are right on {percent(labels.mean())} of {n} pool questions"
        if labels.mean() < chance:
            found[weak] = f"{said}, below the {percent(chance)} of a guess"
        elif se > 0 and abs(labels.mean() - test.mean()) > 4 * se:
            found[weak] = (
                f"{said}, its test answers on {percent(test.mean())} of {m}: too far apart"
            )
    return min(counts, default=None), found


def _same_demonstrations(experiment: Experiment) -> Check:
    """Runs of a draw on the test; where an arm passed over a question, how the others do too."""
    runs = [run for _, run in _shown(experiment) if run["split"] == "test" and run["demo_ids"]]
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
