"""What must hold before the numbers are believed; each check says what it found, by file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from w2s_icl.analysis.experiment import Experiment
from w2s_icl.analysis.sentences import percent
from w2s_icl.analysis.stats import MIN_QUESTIONS
from w2s_icl.analysis.tables import RUN, missing_cells, positions_table, repeats_table

UNREAD_LIMIT = 0.02
"""Share of unreadable replies of one run above which it is named."""

CLUSTER_LIMIT = 1.15
"""Clustered over plain standard error above which it is named."""

HABIT_P = 0.001
"""P value of evenly spread answers below which a run is named."""

State = Literal["holds", "fails", "unknown"]


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        state: "unknown" where the logs do not say.
        text: What was found, one sentence.
        items: What failed, or what else a reader must know; each names its file or cell.
    """

    state: State
    text: str
    items: tuple[str, ...] = ()


def run_checks(experiment: Experiment, cells: pd.DataFrame) -> list[Check]:
    """All checks of logs and cells, in the order of the report.

    Args:
        experiment: The logs, by cells.
        cells: As `tables.cells_table`.
    """
    return [
        _complete(experiment),
        _files(experiment),
        _same_questions(experiment, cells),
        _no_leak(experiment),
        _labels_are_the_logged_answers(experiment),
        _same_demonstrations(experiment),
        _labels_as_defined(experiment),
        _one_zero_shot(experiment),
        _readable(experiment),
        _one_endpoint(experiment),
        _costs(experiment),
        _headline(experiment),
        _draws(experiment, cells),
        _enough_questions(cells),
        _clusters(cells),
        _repeats(experiment),
        _positions(experiment),
    ]


def voids(experiment: Experiment) -> list[str]:
    """What the checks found that leaves no claim standing, whatever its numbers."""
    found = (
        _no_leak(experiment),
        _labels_are_the_logged_answers(experiment),
        _labels_as_defined(experiment),
    )
    return [check.text for check in found if check.state == "fails"]


def _check(items: Iterable[str], good: str, bad: str) -> Check:
    found = tuple(items)
    return Check("fails", bad, found) if found else Check("holds", good)


def _shown(experiment: Experiment) -> Iterator[dict[str, Any]]:
    """Runs with demonstrations."""
    runs = experiment.logs.runs
    for row in runs[runs["shots"] > 0].to_dict("records"):
        yield {str(name): value for name, value in row.items()}


def _complete(experiment: Experiment) -> Check:
    planned, missing = experiment.logs.planned, missing_cells(experiment)
    if planned.empty:
        return Check("unknown", "no plan is in the logs (they were not made by `w2s run`)")
    return _check(
        (f"{_cell_text(row)}: {row['why']}" for row in missing.to_dict("records")),
        f"{len(planned)} of {len(planned)} planned cells are finished",
        f"{len(planned) - len(missing)} of {len(planned)} planned cells are finished",
    )


def _cell_text(row: Any) -> str:
    prompt = f", {row['prompt']}" if row["prompt"] else ""
    if row["task"] == "zero_shot":
        return f"{row['model']}, zero-shot on the {row['split']}{prompt}"
    giver = f" of {row['weak']}" if row["weak"] else ""
    where = " on the pool" if row["split"] == "pool" else ""
    return (
        f"{row['model']}, {row['shots']} {row['labels']} labels{giver}, draw {row['draw']}"
        f"{prompt}{where}"
    )


def _files(experiment: Experiment) -> Check:
    notes = experiment.logs.notes
    told = [(note.level, f"{note.file}: {note.text}" if note.file else note.text) for note in notes]
    problems = [text for level, text in told if level == "problem"]
    if problems:
        return Check("fails", f"{len(problems)} logs could not be used", tuple(problems))
    other = tuple(text for _, text in told)
    return Check("holds", "every log of the suite in the directory could be read", other)


def _same_questions(experiment: Experiment, cells: pd.DataFrame) -> Check:
    runs = experiment.logs.runs
    test = runs[runs["split"] == "test"]
    asked = int(test[["n", "asked"]].to_numpy().max(initial=0))
    short = [
        f"{row['file']}: {row['n']} of {asked} questions have an answer"
        for row in test[test["n"] < asked].to_dict("records")
    ]
    smaller = cells[(cells["n"] < cells["n_union"]) & (cells["n"] > 0)]
    lost = f"; {len(smaller)} cells are computed on the questions that all their runs answered"
    return _check(
        short,
        "all runs answer the same test questions with the same options in the same order",
        f"{len(short)} runs lack answers{lost if len(smaller) else ''}",
    )


def _no_leak(experiment: Experiment) -> Check:
    logs = experiment.logs
    test = (logs.runs["split"] == "test").to_numpy()
    asked = np.flatnonzero(~np.isnan(logs.correct[test]).all(axis=0))
    tested = {str(id_) for id_ in logs.questions.index.take(asked)}
    return _check(
        (
            f"{run['file']}: shows test question {', '.join(sorted(leaked))}"
            for run in _shown(experiment)
            if (leaked := {str(id_) for id_ in run["demo_ids"]} & tested)
        ),
        "no test question is among the demonstrations",
        "test questions are among the demonstrations",
    )


def _labels_are_the_logged_answers(experiment: Experiment) -> Check:
    logs = experiment.logs
    place = {id_: i for i, id_ in enumerate(logs.questions.index)}
    gold = logs.questions["gold"].to_numpy()
    by_id = {eval_id: i for i, eval_id in enumerate(logs.runs["eval_id"])}
    wrong, compared = [], 0
    for run in _shown(experiment):
        labels = list(zip(run["demo_ids"], run["demo_labels"], strict=False))
        if run["labels"] == "gold":
            source = gold
        elif run["labels"] == "weak":
            # the log says whose answers it took: a model can have several label runs
            pool = by_id.get(run["label_eval_id"])
            if pool is None and not run["prompt"]:
                pool = experiment.zero_shot(run["weak"], "pool")
            if pool is None:
                continue
            source = logs.letters[pool]
        else:
            continue
        known = [(source[place[id_]], label) for id_, label in labels if id_ in place]
        compared += len(known)
        differ = sum(logged != label for logged, label in known)
        if differ:
            wrong.append(f"{run['file']}: {differ} of {len(known)} labels differ")
    if not compared:
        return Check("unknown", "the labels' source is not among these logs")
    return _check(
        wrong,
        f"all {compared:,} labels shown equal the logged answers of the weak run, or the gold ones",
        "labels shown differ from the logged answers they were taken from",
    )


def _same_demonstrations(experiment: Experiment) -> Check:
    """Of runs on the test: the label runs of a chain may show others."""
    runs = [run for run in _shown(experiment) if run["split"] == "test"]
    # these pick or pass over questions by their labels
    free = [_picks(run) for run in runs]
    seen: dict[int, Counter[tuple[Any, ...]]] = {}
    for run, picks in zip(runs, free, strict=True):
        if not picks:
            seen.setdefault(run["draw"], Counter())[run["demo_ids"]] += 1
    # the order of a draw: of its longest prompts, what most of them show
    orders = {
        draw: max(found, key=lambda ids: (len(ids), found[ids])) for draw, found in seen.items()
    }
    wrong, passed = [], []
    for run, picks in zip(runs, free, strict=True):
        order = orders.get(run["draw"])
        if order is None or run["demo_ids"] == order[: len(run["demo_ids"])]:
            continue
        if not picks:
            wrong.append(f"{run['file']}: other demonstrations than draw {run['draw']} elsewhere")
        elif run["labels"] != "confident":
            passed.append(f"{run['file']}: passes over questions that have no {picks}")
    if not any(run["demo_ids"] for run in runs):
        return Check("unknown", "the logs do not say which demonstrations were shown")
    if wrong:
        text = "arms that should differ in labels alone show different demonstrations"
        return Check("fails", text, tuple(wrong))
    return Check(
        "holds",
        "all arms of a draw show the same demonstrations in the same order, a longer prompt the "
        "shorter one's first" + (" (`confident` picks its own)" if any(free) else ""),
        tuple(passed),
    )


def _picks(run: dict[str, Any]) -> str:
    """By what a run may show other questions than the rest of its draw; "" where it may not."""
    if run["labels"] == "confident":
        return "confidence"
    if run["labels"] == "majority" or "," in run["weak"]:
        return "majority"
    return "readable label" if ">" in run["weak"] else ""


def _labels_as_defined(experiment: Experiment) -> Check:
    logs = experiment.logs
    gold = dict(zip(logs.questions.index, logs.questions["gold"], strict=True))

    def wrong_labels(run: dict[str, Any]) -> int | None:
        """None where the logs do not say."""
        if run["demo_ids"] and all(id_ in gold for id_ in run["demo_ids"]):
            pairs = zip(run["demo_ids"], run["demo_labels"], strict=True)
            return sum(bool(label != gold[id_]) for id_, label in pairs)
        share = float(run["demo_label_accuracy"])
        return None if pd.isna(share) else round((1 - share) * int(run["shots"]))

    runs = list(_shown(experiment))
    errors: dict[tuple[Any, ...], int | None] = {}
    for run in runs:
        if run["labels"] == "weak":
            errors.setdefault((run["weak"], run["shots"], run["draw"]), wrong_labels(run))
    bad, compared = [], 0
    for run in runs:
        if run["labels"] == "unlabelled":
            compared += 1
            if any(run["demo_labels"]):
                bad.append(f"{run['file']}: `unlabelled` shows labels")
            continue
        found = wrong_labels(run)
        if run["labels"] == "flipped" and found is not None:
            compared += 1
            if found < run["shots"]:
                right = run["shots"] - found
                bad.append(f"{run['file']}: {right} of {run['shots']} `flipped` labels are right")
        elif run["labels"] == "noise_matched" and found is not None:
            wanted = errors.get((run["weak"], run["shots"], run["draw"]))
            compared += wanted is not None
            if wanted is not None and found != wanted:
                bad.append(
                    f"{run['file']}: {found} labels are wrong, of those by {run['weak']} {wanted}"
                )
    if not compared:
        return Check("unknown", "no run with unlabelled, flipped or noise-matched demonstrations")
    return _check(
        bad,
        f"the labels of {compared} controls are as defined: none, none right, or as many wrong "
        "ones as the weak model's",
        "controls show other labels than they should",
    )


def _one_zero_shot(experiment: Experiment) -> Check:
    without = [
        f"{model}: no finished zero-shot run on the test questions"
        for model in experiment.models
        if experiment.zero_shot(model) is None
    ]
    return _check(
        without,
        "one zero-shot run of each model, used as its baseline everywhere",
        "zero-shot baselines are missing",
    )


def _readable(experiment: Experiment) -> Check:
    runs = experiment.logs.runs
    unread = runs["unparsed"] / runs["replies"].where(runs["replies"] > 0)
    return _check(
        (
            f"{row['file']}: {row['unparsed']} of {row['replies']} replies of {row['model']} not "
            "readable"
            for row in runs[unread > UNREAD_LIMIT].to_dict("records")
        ),
        f"at least {1 - UNREAD_LIMIT:.0%} of the replies of every run are readable "
        f"({percent(unread.max())} of the worst are not)",
        "many replies could not be read; they count as wrong (pgr_gold_parsed in cells.csv leaves "
        "them out)",
    )


def _one_endpoint(experiment: Experiment) -> Check:
    runs = experiment.logs.runs
    several = runs.groupby("model", sort=False)["endpoint"].nunique()
    return _check(
        (
            f"{model}: {n} addresses or sets of model arguments"
            for model, n in several.items()
            if n > 1
        ),
        "one address and one set of arguments per model (behind a router, this does not tell which "
        "provider answered)",
        "a model was reached in several ways",
    )


def _costs(experiment: Experiment) -> Check:
    runs = experiment.logs.runs
    unknown = runs[runs["cost"].isna()]["model"].value_counts(sort=False)
    return _check(
        (f"{model}: cost of {n} runs unknown" for model, n in unknown.items()),
        "the cost of every call is known",
        "no price is known for some calls: sums of cost are left open (`prices` in the study)",
    )


def _headline(experiment: Experiment) -> Check:
    declared = tuple(experiment.logs.metadata.get("headline") or ())
    if not declared:
        return Check("unknown", "no headline was declared: the verdict takes the most shots")
    wanted = [cell for cell in experiment.cells if cell.shots in declared]
    lost = [
        f"{cell.weak} → {cell.strong}, {cell.shots} shots: a run is missing or incomplete"
        for cell in wanted
        if cell.status("pgr_gold") == "incomplete" and cell.weak != cell.strong
    ]
    lost += [
        f"{shots} shots: not run"
        for shots in declared
        if not any(cell.shots == shots for cell in wanted)
    ]
    return _check(
        lost,
        f"the declared headline was run ({', '.join(map(str, declared))} shots)",
        "the declared headline is not whole",
    )


def _draws(experiment: Experiment, cells: pd.DataFrame) -> Check:
    few = cells[(cells["shots"] > 0) & (cells["draws"] > 0)]
    planned: dict[tuple[Any, ...], set[int]] = {}
    columns = ["split", "prompt", "model", "labels", "weak", "shots", "draw"]
    for *cell, draw in experiment.logs.planned[columns].itertuples(index=False, name=None):
        planned.setdefault(tuple(cell), set()).add(draw)
    lost = []
    for row in few.to_dict("records"):
        here = ("test", "", row["strong"])
        weak = planned.get((*here, "weak", row["weak"], row["shots"]), set())
        gold = planned.get((*here, "gold", "", row["shots"]), set())
        wanted = len(weak & gold if gold else weak)
        if row["draws"] < wanted:
            lost.append(_pair_text(row) + f": {row['draws']} of {wanted} draws")
    if lost:
        return Check("fails", "cells use fewer draws than were planned", tuple(lost))
    if few.empty:
        return Check("unknown", "no cell with weak labels: nothing to say about draws")
    if (few["draws"] < 3).any():
        return Check(
            "fails",
            "fewer than 3 draws: the intervals speak about these demonstrations only, not about "
            "others (`draws: 5` in the study)",
        )
    return Check("holds", "at least 3 draws: the intervals speak about demonstrations like these")


def _enough_questions(cells: pd.DataFrame) -> Check:
    few = cells[(cells["n"] > 0) & (cells["n"] < MIN_QUESTIONS)]
    return _check(
        (_pair_text(row) + f": {row['n']} questions" for row in few.to_dict("records")),
        f"every cell has at least {MIN_QUESTIONS} questions",
        f"cells with fewer than {MIN_QUESTIONS} questions have no ratio",
    )


def _clusters(cells: pd.DataFrame) -> Check:
    ratios: Sequence[float] = cells["se_ratio_cluster"].dropna().tolist()
    if not ratios:
        return Check(
            "unknown", "no standard error by category: no categories, or no ratio is reported"
        )
    wide = cells[cells["se_ratio_cluster"] > CLUSTER_LIMIT]
    return _check(
        (
            f"{_pair_text(row)}: {row['se_ratio_cluster']:.2f} times the plain standard error"
            for row in wide.to_dict("records")
        ),
        f"standard errors clustered by category are at most {CLUSTER_LIMIT} times the plain ones "
        f"(largest {max(ratios):.2f})",
        "questions of a category go together: plain intervals are too short there",
    )


def _repeats(experiment: Experiment) -> Check:
    repeats = repeats_table(experiment)
    if repeats.empty:
        return Check("unknown", "no run was repeated: how much answers vary by themselves is open")
    changed = float((repeats["changed"] * repeats["n"]).sum() / repeats["n"].sum())
    return Check(
        "holds",
        f"{percent(changed)} of the answers change between identical runs, over {len(repeats)} "
        "repeated runs",
        tuple(
            f"{_run_text(row)}, draw {row['draw']}: {percent(row['changed'])} of {row['n']} (95% "
            f"{percent(row['changed_lo'])} to {percent(row['changed_hi'])})"
            for row in repeats.to_dict("records")
        ),
    )


def _positions(experiment: Experiment) -> Check:
    positions = positions_table(experiment)
    if not positions["p_uniform"].notna().any():
        return Check("unknown", "too few answers to see a habit of answering by place")
    runs = positions.groupby(list(RUN), sort=False)
    uneven = []
    for key, of in runs:
        if of["p_uniform"].iloc[0] < HABIT_P:
            most = of.iloc[int((of["share"] - of["uniform"]).abs().to_numpy().argmax())]
            uneven.append(
                f"{_run_text(dict(zip(RUN, key, strict=True)))}: {percent(most['share'])} "
                f"of the answers at {most['position']}, {percent(most['uniform'])} by equal chances"
            )
    return Check(
        "holds",
        f"answers fall evenly on the places of the options in {runs.ngroups - len(uneven)} of "
        f"{runs.ngroups} kinds of runs"
        + ("; a habit can pass for knowledge (`permutations` in the study)" if uneven else ""),
        tuple(uneven),
    )


def _run_text(row: Any) -> str:
    prompt = f", {row['prompt']}" if row["prompt"] else ""
    if not row["shots"]:
        return f"{row['model']}, zero-shot{prompt}"
    giver = f" of {row['weak']}" if row["weak"] else ""
    return f"{row['model']}, {row['shots']} {row['labels']} labels{giver}{prompt}"


def _pair_text(row: Any) -> str:
    return f"{row['weak']} → {row['strong']}, {row['shots']} shots"
