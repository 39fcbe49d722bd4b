"""What must hold before the numbers are believed; each check says what it found, by file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pandas as pd

from w2s_icl.analysis.experiment import Experiment
from w2s_icl.analysis.sentences import percent
from w2s_icl.analysis.shown_checks import (
    Check,
    check,
    implausible,
    labels_are_the_logged_answers,
    labels_as_defined,
    labels_plausible,
    leaks,
    no_leak,
    other_controls,
    other_labels,
    same_demonstrations,
)
from w2s_icl.analysis.stats import HABIT_P, MIN_QUESTIONS
from w2s_icl.analysis.tables import RUN, missing_cells, positions_table, repeats_table
from w2s_icl.analysis.verdict_words import Pair
from w2s_icl.record import UNREAD_LIMIT

VOID_UNREAD = 0.1
"""Share of unreadable replies of one arm above which no claim rests on it."""

CLUSTER_LIMIT = 1.15
"""Clustered over plain standard error above which it is named."""


def run_checks(experiment: Experiment, cells: pd.DataFrame) -> list[Check]:
    """All checks of logs and cells (`tables.cells_table`), in the order of the report."""
    return [
        _complete(experiment),
        _files(experiment),
        _same_questions(experiment, cells),
        no_leak(experiment),
        labels_are_the_logged_answers(experiment),
        labels_plausible(experiment),
        same_demonstrations(experiment),
        labels_as_defined(experiment),
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


def void_reasons(
    experiment: Experiment, weak: str, runs: Iterable[int], words: Pair
) -> Iterator[str]:
    """What leaves no claim on these runs standing, whatever its numbers; each reason in words."""
    declaration = experiment.declaration
    if not declaration.declared:
        yield "the study file declares no headline (`headline` in the study)"
    yield from declaration.conflicts
    rows = set(runs)
    for reason, named in (
        ("test questions are among the demonstrations", leaks(experiment)),
        ("labels shown are not those of their log", other_labels(experiment)[0]),
        ("controls show other labels than they should", other_controls(experiment)[0]),
    ):
        files = [text for run, text in named.items() if run in rows]
        if files:
            more = f" and {len(files) - 1} more" if len(files) > 1 else ""
            yield f"{reason} ({files[0]}{more})"
    if why := implausible(experiment).get(weak):
        yield f"{words.weak}'s labels {why}"
    for arm, unread in _unread_by_arm(experiment, rows):
        if unread > VOID_UNREAD:
            yield f"{percent(unread)} of the replies cannot be read ({arm})"


def cautions(experiment: Experiment, runs: Iterable[int]) -> Iterator[str]:
    """What a reader of a verdict must know of the runs that it rests on, in words."""
    rows = set(runs)
    for arm, unread in _unread_by_arm(experiment, rows):
        if UNREAD_LIMIT < unread <= VOID_UNREAD:
            yield f"{percent(unread)} of the replies cannot be read and count as wrong ({arm})"
    table = experiment.logs.runs.loc[sorted(rows)]
    kinds = set(table[list(RUN)].itertuples(index=False, name=None))
    habits = [text for key, text in _habits(experiment) if key in kinds and text]
    if habits:
        once = bool((table["permutations"] == 1).any())
        why = ", each question in one order of its options" if once else ""
        yield f"errors fall on some places of the options{why} ({habits[0]})"


def _unread_by_arm(experiment: Experiment, rows: set[int]) -> Iterator[tuple[str, float]]:
    table = experiment.logs.runs.loc[sorted(rows)]
    arms = table.groupby(list(RUN), sort=False)[["unparsed", "replies"]].sum()
    for key, unread, replies in arms.itertuples(name=None):
        if replies:
            yield _run_text(dict(zip(RUN, key, strict=True))), unread / replies


def _complete(experiment: Experiment) -> Check:
    planned, missing = experiment.logs.planned, missing_cells(experiment)
    if planned.empty:
        return Check("unknown", "no plan is in the logs (they were not made by `w2s run`)")
    return check(
        (f"{_cell_text(row)}: {row['why']}" for row in missing.to_dict("records")),
        f"{len(planned)} of {len(planned)} planned cells are finished",
        f"{len(planned) - len(missing)} of {len(planned)} planned cells are finished",
    )


def _cell_text(row: Any) -> str:
    if row["task"] == "zero_shot":
        return _run_text(row, f" on the {row['split']}")
    where = " on the pool" if row["split"] == "pool" else ""
    return _run_text(row, f", draw {row['draw']}") + where


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
    if len(test) < 2:
        return Check("unknown", "one run on the test questions: nothing to compare it with")
    smaller = cells[(cells["n"] < cells["n_union"]) & (cells["n"] > 0)]
    lost = f"; {len(smaller)} cells are computed on the questions that all their runs answered"
    return check(
        short,
        "all runs answer the same test questions with the same options in the same order",
        f"{len(short)} runs lack answers{lost if len(smaller) else ''}",
    )


def _one_zero_shot(experiment: Experiment) -> Check:
    without = [
        f"{model}: no finished zero-shot run on the test questions"
        for model in experiment.models
        if experiment.zero_shot(model) is None
    ]
    return check(
        without,
        "one zero-shot run of each model, used as its baseline everywhere",
        "zero-shot baselines are missing",
    )


def _readable(experiment: Experiment) -> Check:
    runs = experiment.logs.runs
    unread = runs["unparsed"] / runs["replies"].where(runs["replies"] > 0)
    return check(
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
    return check(
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
    return check(
        (f"{model}: cost of {n} runs unknown" for model, n in unknown.items()),
        "the cost of every call is known",
        "no price is known for some calls: sums of cost are left open (`prices` in the study)",
    )


def _headline(experiment: Experiment) -> Check:
    declaration = experiment.declaration
    if declaration.conflicts:
        text = "the earliest log's study is the declared one; later logs depart from it"
        return Check("fails", text, declaration.conflicts)
    if not declaration.declared:
        return Check("unknown", "the study file declares no headline: no claim can be made")
    wanted = [cell for cell in experiment.cells if cell.shots in declaration.headline]
    lost = [
        f"{cell.weak} → {cell.strong}, {cell.shots} shots: a run is missing or incomplete"
        for cell in wanted
        if cell.status("pgr_gold") == "incomplete" and cell.weak != cell.strong
    ]
    run = {cell.shots for cell in wanted}
    lost += [f"{shots} shots: not run" for shots in declaration.headline if shots not in run]
    return check(
        lost,
        f"the headline that the earliest log declares was run "
        f"({', '.join(map(str, declaration.headline))} shots)",
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
    return check(
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
    return check(
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


def _habits(experiment: Experiment) -> Iterator[tuple[tuple[Any, ...], str | None]]:
    """Kinds of runs whose errors are enough to show a habit of place, and the habit, "" for none.

    None where the errors are too few.
    """
    for key, of in positions_table(experiment).groupby(list(RUN), sort=False):
        p, habit = of[["p_errors", "habit_seen"]].iloc[0]
        text: str | None = None if pd.isna(p) or habit > 1 else ""
        if text is not None and p < HABIT_P:
            most = of.iloc[int((of["errors_share"] - of["errors_even"]).to_numpy().argmax())]
            text = (
                f"{_run_text(most)}: {percent(most['errors_share'])} of the errors at "
                f"{most['position']}, {percent(most['errors_even'])} by equal chances"
            )
        yield key, text


def _positions(experiment: Experiment) -> Check:
    """Over the questions that a run has wrong: right answers are spread evenly by design."""
    kinds = list(_habits(experiment))
    uneven = [text for _, text in kinds if text]
    blind = tuple(
        f"{_run_text(dict(zip(RUN, key, strict=True)))}: too few errors to see any habit"
        for key, text in kinds
        if text is None
    )
    visible = len(kinds) - len(blind)
    if not visible:
        return Check("unknown", "too few errors to see a habit of answering by place", blind)
    if uneven:
        text = (
            f"errors fall on some places of the options in {len(uneven)} of {visible} kinds of "
            "runs: a habit can pass for knowledge (`permutations` in the study)"
        )
        return Check("fails", text, (*uneven, *blind))
    seen = positions_table(experiment)["habit_seen"]
    return Check(
        "holds",
        f"errors fall evenly on the places of the options in {visible} kinds of runs; a place that "
        f"draws {percent(seen[seen <= 1].max(), 0)} of the errors would have been seen in each, a "
        "weaker habit maybe not",
        blind,
    )


def _run_text(row: Any, more: str = "") -> str:
    prompt = f"{more}, {row['prompt']}" if row["prompt"] else more
    if not row["shots"]:
        return f"{row['model']}, zero-shot{prompt}"
    by = f" of {row['weak']}" if row["weak"] else ""
    return f"{row['model']}, {row['shots']} {row['labels']} labels{by}{prompt}"


def _pair_text(row: Any) -> str:
    return f"{row['weak']} → {row['strong']}, {row['shots']} shots"
