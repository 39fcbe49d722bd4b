"""What must hold before the numbers are believed; each check says what it found, by file."""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

import pandas as pd

from w2s_icl.analysis.experiment import Experiment
from w2s_icl.analysis.sentences import percent
from w2s_icl.analysis.shown_checks import Check, check, implausible, shown_checks, wrongly_shown
from w2s_icl.analysis.stats.columns import MIN_RANDOM_DRAWS
from w2s_icl.analysis.stats.paired import HABIT_P
from w2s_icl.analysis.tables import RUN, missing_cells, positions_table, repeats_table
from w2s_icl.record import UNREAD_LIMIT

VOID_UNREAD = 0.1
"""Share of unreadable replies of one arm above which no claim rests on it."""


def run_checks(experiment: Experiment, cells: pd.DataFrame) -> list[Check]:
    """All checks of logs and cells (`tables.cells_table`), in the order of the report."""
    return [
        *_of_logs(experiment),
        *shown_checks(experiment),
        *_of_runs(experiment),
        _headline(experiment),
        *_of_cells(cells),
        _repeats(experiment),
        _positions(experiment),
    ]


def void_reasons(experiment: Experiment, weak: str, runs: Iterable[int], name: str) -> list[str]:
    """What leaves no claim on these runs standing, whatever its numbers; each reason in words.

    `name` is what the weak model is called.
    """
    declaration, rows = experiment.declaration, set(runs)
    reasons = list(declaration.conflicts)
    if not declaration.declared:
        reasons.insert(0, "the study file declares no headline (`headline` in the study)")
    for reason, (wrong, _) in wrongly_shown(experiment).items():
        if files := [text for run, text in wrong.items() if run in rows]:
            more = f" and {len(files) - 1} more" if len(files) > 1 else ""
            reasons.append(f"{reason} ({files[0]}{more})")
    if why := implausible(experiment)[1].get(weak):
        reasons.append(f"{name}'s labels {why}")
    return reasons + [
        f"{percent(unread)} of the replies cannot be read ({arm})"
        for arm, unread in _unread_by_arm(experiment, rows)
        if unread > VOID_UNREAD
    ]


def cautions(experiment: Experiment, runs: Iterable[int]) -> Iterator[str]:
    """What a reader of a verdict must know of the runs that it rests on, in words."""
    rows = set(runs)
    for arm, unread in _unread_by_arm(experiment, rows):
        if UNREAD_LIMIT < unread <= VOID_UNREAD:
            yield f"{percent(unread)} of the replies cannot be read and count as wrong ({arm})"
    table = experiment.logs.runs.loc[sorted(rows)]
    kinds = set(table[list(RUN)].itertuples(index=False, name=None))
    habits = [text for key, text in _habits(experiment).items() if key in kinds and text]
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


def _of_logs(experiment: Experiment) -> Iterator[Check]:
    """The plan, files, and answers."""
    logs, runs = experiment.logs, experiment.logs.runs
    missing = missing_cells(experiment)
    all_cells = len(logs.planned)
    finished = f"{all_cells - len(missing)} of {all_cells} planned cells are finished"
    yield check(
        [f"{_cell_text(row)}: {row['why']}" for row in _rows(missing)],
        finished,
        finished,
        "" if all_cells else "no plan is in the logs (they were not made by `w2s run`)",
    )
    told = [(n.level, f"{n.file}: {n.text}" if n.file else n.text) for n in logs.notes]
    if problems := tuple(text for level, text in told if level == "problem"):
        yield Check("fails", f"{len(problems)} logs could not be used", problems)
    else:
        good = "every log of the suite in the directory could be read"
        yield Check("holds", good, tuple(text for _, text in told))
    test = runs[runs["split"] == "test"]
    asked = int(test[["n", "asked"]].to_numpy().max(initial=0))
    short = test[test["n"] < asked]
    yield check(
        [f"{r['file']}: {r['n']} of {asked} questions have an answer" for r in _rows(short)],
        "all runs answer the same test questions with the same options in the same order",
        f"{len(short)} runs lack answers; a cell is computed on the questions that all its runs "
        "answered",
        "" if len(test) > 1 else "one run on the test questions: nothing to compare it with",
    )


def _of_runs(experiment: Experiment) -> Iterator[Check]:
    """Baselines, readable replies, endpoints, and costs."""
    runs = experiment.logs.runs
    without = [model for model in experiment.models if experiment.zero_shot(model) is None]
    yield check(
        [f"{model}: no finished zero-shot run on the test questions" for model in without],
        "one zero-shot run of each model, used as its baseline everywhere",
        "zero-shot baselines are missing",
    )
    unread = runs["unparsed"] / runs["replies"].where(runs["replies"] > 0)
    yield check(
        [
            f"{r['file']}: {r['unparsed']} of {r['replies']} replies of {r['model']} not readable"
            for r in _rows(runs[unread > UNREAD_LIMIT])
        ],
        f"at least {1 - UNREAD_LIMIT:.0%} of the replies of every run are readable "
        f"({percent(unread.max())} of the worst are not)",
        "many replies could not be read; they count as wrong (pgr_gold_parsed in cells.csv leaves "
        "them out)",
    )
    several = runs.groupby("model", sort=False)["endpoint"].nunique()
    yield check(
        [f"{m}: {n} addresses or sets of model arguments" for m, n in several.items() if n > 1],
        "one address and one set of arguments per model (behind a router, this does not tell which "
        "provider answered)",
        "a model was reached in several ways",
    )
    unknown = runs[runs["cost"].isna()]["model"].value_counts(sort=False)
    yield check(
        [f"{model}: cost of {n} runs unknown" for model, n in unknown.items()],
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
        if cell.status("pgr_gold") == "incomplete"
    ]
    run = {cell.shots for cell in wanted}
    lost += [f"{shots} shots: not run" for shots in declaration.headline if shots not in run]
    counts = ", ".join(map(str, declaration.headline))
    return check(
        lost,
        f"the headline that the earliest log declares was run ({counts} shots)",
        "the declared headline is not whole",
    )


def _of_cells(cells: pd.DataFrame) -> Iterator[Check]:
    """Enough draws, and questions that go together."""
    draws = cells.loc[(cells["shots"] > 0) & (cells["draws"] > 0), "draws"]
    fewer = "the intervals speak about these demonstrations only, not about others (`draws: 5`)"
    if draws.empty:
        yield Check("unknown", "no cell with weak labels: nothing to say about draws")
    elif draws.min() < MIN_RANDOM_DRAWS:
        yield Check("fails", f"fewer than {MIN_RANDOM_DRAWS} draws: {fewer}")
    else:
        many = "the intervals speak about demonstrations like these"
        yield Check("holds", f"at least {MIN_RANDOM_DRAWS} draws: {many}")
    ratios, most = cells["se_ratio_cluster"], 1.15
    yield check(
        [
            f"{row['weak']} → {row['strong']}, {row['shots']} shots: "
            f"{row['se_ratio_cluster']:.2f} times the plain standard error"
            for row in _rows(cells[ratios > most])
        ],
        f"standard errors clustered by category are at most {most} times the plain ones "
        f"(largest {ratios.max():.2f})",
        "questions of a category go together: plain intervals are too short there",
        "no standard error by category: no categories, or no ratio is reported"
        if ratios.isna().all()
        else "",
    )


def _repeats(experiment: Experiment) -> Check:
    repeats = repeats_table(experiment).dropna(subset="changed")
    if repeats.empty:
        return Check("unknown", "no run was repeated: how much answers vary by themselves is open")
    changed = float((repeats["changed"] * repeats["n"]).sum() / repeats["n"].sum())
    return Check(
        "holds",
        f"{percent(changed)} of the answers change between identical runs, over {len(repeats)} "
        "repeated runs",
        tuple(
            f"{_run_text(row)}, draw {row['draw']}: {percent(row['changed'])} of {row['n']} (95% "
            f"CI {percent(row['changed_lo'])} to {percent(row['changed_hi'])})"
            for row in _rows(repeats)
        ),
    )


@lru_cache(maxsize=2)
def _habits(experiment: Experiment) -> dict[tuple[Any, ...], str | None]:
    """The habit of place that the errors of each kind of runs show, "" for none.

    None where the errors are too few to show one.
    """
    found: dict[tuple[Any, ...], str | None] = {}
    for key, of in positions_table(experiment).groupby(list(RUN), sort=False):
        p, habit = of[["p_errors", "habit_seen"]].iloc[0]
        found[key] = None if pd.isna(p) or habit > 1 else ""
        if p < HABIT_P:
            most = of.iloc[int((of["errors_share"] - of["errors_even"]).to_numpy().argmax())]
            found[key] = (
                f"{_run_text(most)}: {percent(most['errors_share'])} of the errors at "
                f"{most['position']}, {percent(most['errors_even'])} by equal chances"
            )
    return found


def _positions(experiment: Experiment) -> Check:
    """Over the questions that a run has wrong: right answers are spread evenly by design."""
    habits = _habits(experiment).values()
    visible = [text for text in habits if text is not None]
    blind = len(habits) - len(visible)
    seen = positions_table(experiment)["habit_seen"]
    few = f"; {blind} more have too few errors to tell" if blind else ""
    return check(
        filter(None, visible),
        f"errors fall evenly on the places of the options in {len(visible)} kinds of runs; a place "
        f"that draws {percent(seen[seen <= 1].max(), 0)} of the errors would have been seen in "
        f"each, a weaker habit maybe not{few}",
        f"errors fall on some places of the options in {sum(map(bool, visible))} of {len(visible)} "
        f"kinds of runs: a habit can pass for knowledge (`permutations` in the study){few}",
        "" if visible else "too few errors to see a habit of answering by place",
    )


def _rows(table: pd.DataFrame) -> list[dict[Any, Any]]:
    return table.to_dict("records")


def _cell_text(row: Any) -> str:
    if row["task"] == "zero_shot":
        return _run_text(row, f" on the {row['split']}")
    where = " on the pool" if row["split"] == "pool" else ""
    return _run_text(row, f", draw {row['draw']}") + where


def _run_text(row: Any, more: str = "") -> str:
    prompt = f"{more}, {row['prompt']}" if row["prompt"] else more
    if not row["shots"]:
        return f"{row['model']}, zero-shot{prompt}"
    by = f" of {row['weak']}" if row["weak"] else ""
    return f"{row['model']}, {row['shots']} {row['labels']} labels{by}{prompt}"
