"""What must hold before the numbers are believed; each check says what it found, by file."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import pandas as pd

from w2s_icl.analysis.experiment import Experiment
from w2s_icl.analysis.sentences import ends, percent
from w2s_icl.analysis.stats.paired import HABIT_P, MIN_QUESTIONS, MIN_RANDOM_DRAWS
from w2s_icl.analysis.tables.audits import RUN, missing_cells, positions_table, repeats_table
from w2s_icl.record import UNREAD_LIMIT

VOID_UNREAD = 0.1  # share of unreadable replies of one arm above which no claim rests on it

# what is wrong, by run; and what is said where nothing is, where something is, and, unless "", why
# nothing could have been found
ByRun = tuple[Mapping[int, str], str, str, str]


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


def run_checks(experiment: Experiment, cells: pd.DataFrame) -> list[Check]:
    """All checks of logs and cells (`tables.cells_table`), in the order of the report."""
    odd, *said = _implausible(experiment)
    return [
        *_of_logs(experiment),
        *(check(wrong.values(), *of) for wrong, *of in _wrongly_shown(experiment)),
        check((f"{weak}: its labels {why}" for weak, why in odd.items()), *said),
        _same_demonstrations(experiment),
        *_of_runs(experiment),
        _headline(experiment),
        *_of_cells(cells),
        _repeats(experiment),
        _positions(experiment),
    ]


def void_reasons(experiment: Experiment, weak: str, runs: set[int], name: str) -> list[str]:
    """Why no claim on these runs stands, whatever its numbers; the weak model is called `name`."""
    declaration = experiment.declaration
    undeclared = "the study file declares no headline (`headline` in the study)"
    reasons = [*([] if declaration.declared else [undeclared]), *declaration.conflicts]
    for wrong, _, bad, _ in _wrongly_shown(experiment):
        if files := [text for run, text in wrong.items() if run in runs]:
            more = f" and {len(files) - 1} more" if len(files) > 1 else ""
            reasons.append(f"{bad} ({files[0]}{more})")
    if why := _implausible(experiment)[0].get(weak):
        reasons.append(f"{name}'s labels {why}")
    shown = [run for i, run in _shown(experiment) if i in runs]
    sources = [_label_run(experiment, run) for run in shown if run["labels"] == "weak"]
    if None in sources:
        reasons.append(f"the run that wrote {name}'s labels is not among these logs")
    if alone := [run["file"] for run in shown if not run["in_study"]]:
        reasons.append(f"an arm was run before or beside the study ({alone[0]})")
    rests = experiment.logs.runs[experiment.logs.runs.index.isin([*runs, *sources])]
    reasons += [f"{model} was reached in {n} ways" for model, n in _ways(rests).items() if n > 1]
    return reasons + [
        f"{percent(unread)} of the replies cannot be read ({arm})"
        for arm, unread in _unread_by_arm(experiment, runs)
        if unread > VOID_UNREAD
    ]


def cautions(experiment: Experiment, runs: set[int]) -> Iterator[str]:
    """What a reader of a verdict must know of the runs that it rests on, in words."""
    for arm, unread in _unread_by_arm(experiment, runs):
        if UNREAD_LIMIT < unread <= VOID_UNREAD:
            yield f"{percent(unread)} of the replies cannot be read and count as wrong ({arm})"
    table = experiment.logs.runs.loc[sorted(runs)]
    kinds = set(table[list(RUN)].itertuples(index=False, name=None))
    if habits := [text for key, text in _habits(experiment).items() if key in kinds and text]:
        once = (table["permutations"] == 1).any()
        why = ", each question in one order of its options" if once else ""
        yield f"errors fall on some places of the options{why} ({habits[0]})"


def _unread_by_arm(experiment: Experiment, runs: set[int]) -> Iterator[tuple[str, float]]:
    by_arm = experiment.logs.runs.loc[sorted(runs)].groupby(list(RUN), sort=False, as_index=False)
    for row in _rows(by_arm[["unparsed", "replies"]].sum()):
        if row["replies"]:
            yield _run_text(row), row["unparsed"] / row["replies"]


def _of_logs(experiment: Experiment) -> Iterator[Check]:
    """The plan, files, and answers."""
    logs, missing = experiment.logs, missing_cells(experiment)
    of_all = len(logs.planned)
    finished = f"{of_all - len(missing)} of {of_all} planned cells are finished"
    unknown = "" if of_all else "no plan is in the logs (they were not made by `w2s run`)"
    wrong = [f"{_cell_text(row)}: {row['why']}" for row in _rows(missing)]
    yield check(wrong, finished, finished, unknown)
    told = [(n.level, f"{n.file}: {n.text}" if n.file else n.text) for n in logs.notes]
    if problems := tuple(text for level, text in told if level == "problem"):
        yield Check("fails", f"{len(problems)} logs could not be used", problems)
    else:
        good = "every log of the suite in the directory could be read"
        yield Check("holds", good, tuple(text for _, text in told))
    test = logs.runs[logs.runs["split"] == "test"]
    asked = int(test[["n", "asked"]].to_numpy().max(initial=0))
    short = _rows(test[test["n"] < asked])
    rule = "a cell is computed on the questions that all its runs answered"
    yield check(
        [f"{row['file']}: {row['n']} of {asked} questions have an answer" for row in short],
        "all runs answer the same test questions with the same options in the same order",
        f"{len(short)} runs lack answers; {rule}",
        "" if len(test) > 1 else "one run on the test questions: nothing to compare it with",
    )


@lru_cache(maxsize=2)
def _shown(experiment: Experiment) -> list[tuple[int, Mapping[Any, Any]]]:
    """Runs with demonstrations, each with its row."""
    return [(i, row) for i, row in enumerate(_rows(experiment.logs.runs)) if row["shots"] > 0]


@lru_cache(maxsize=2)
def _wrongly_shown(experiment: Experiment) -> list[ByRun]:
    """Checks that leave no claim on a run that fails one."""
    return [_leaks(experiment), _other_labels(experiment), _other_controls(experiment)]


def _leaks(experiment: Experiment) -> ByRun:
    """Test questions among the demonstrations."""
    tested = set(map(str, experiment.asked.index))
    said, wrong = False, dict[int, str]()
    for i, run in _shown(experiment):
        said = said or bool(run["demo_ids"])
        if ids := sorted(tested.intersection(map(str, run["demo_ids"]))):
            wrong[i] = f"{run['file']}: shows test question {', '.join(ids)}"
    return (
        wrong,
        "no test question is among the demonstrations",
        "test questions are among the demonstrations",
        "" if said else "no log says which demonstrations were shown",
    )


def _other_labels(experiment: Experiment) -> ByRun:
    """Labels that differ from the source that the log names: gold, or a label run."""
    logs, compared, wrong = experiment.logs, 0, dict[int, str]()
    for i, run in _shown(experiment):
        row = _label_run(experiment, run)
        if row is None and run["labels"] != "gold":
            continue
        source = logs.questions["gold"] if row is None else logs.letters[row]
        label_of = dict(zip(logs.questions.index, source, strict=True))
        shown = zip(run["demo_ids"], run["demo_labels"], strict=False)
        same = [label_of[id_] == label for id_, label in shown if id_ in label_of]
        compared += len(same)
        if not all(same):
            wrong[i] = f"{run['file']}: {same.count(False)} of {len(same)} labels differ"
    return (
        wrong,
        f"all {compared:,} labels shown whose source is among these logs equal it: the logged "
        "answers of the weak model, or the gold ones",
        "labels shown are not those of their log",
        "" if compared else "the labels' source is not among these logs",
    )


def _label_run(experiment: Experiment, run: Mapping[Any, Any]) -> int | None:
    """The run that a cell's labels are the answers of, if they are weak ones."""
    if run["labels"] != "weak":
        return None
    # a model can have several label runs
    named = np.flatnonzero(experiment.logs.runs["eval_id"] == run["label_eval_id"])
    of_model = None if run["prompt"] else experiment.zero_shot(run["weak"], "pool")
    return int(named[0]) if len(named) else of_model


def _other_controls(experiment: Experiment) -> ByRun:
    """Controls whose labels are not as defined: none, none right, as many wrong as weak ones."""
    gold, runs = experiment.logs.questions["gold"].to_dict(), _shown(experiment)

    def wrong_labels(run: Mapping[Any, Any]) -> int | None:
        """None where the logs do not say."""
        if run["demo_ids"] and all(id_ in gold for id_ in run["demo_ids"]):
            pairs = zip(run["demo_ids"], run["demo_labels"], strict=True)
            return sum(bool(label != gold[id_]) for id_, label in pairs)
        share = float(run["demo_label_accuracy"])
        return None if pd.isna(share) else round((1 - share) * int(run["shots"]))

    by_weak = {
        (run["weak"], run["shots"], run["draw"]): wrong_labels(run)
        for _, run in reversed(runs)  # of several prompts, the first counts
        if run["labels"] == "weak"
    }
    found: dict[int, str] = {}  # "" where a control is as defined
    for i, run in runs:
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
    return (
        {i: f"{experiment.logs.runs['file'][i]}: {text}" for i, text in found.items() if text},
        f"the labels of {len(found)} controls are as defined: none, none right, or as many wrong "
        "ones as the weak model's",
        "controls show other labels than they should",
        "" if found else "no run with unlabelled, flipped or noise-matched demonstrations",
    )


@lru_cache(maxsize=2)
def _implausible(experiment: Experiment) -> tuple[Mapping[str, str], str, str, str]:
    """Models whose labels cannot be their (readable) answers, and why; the rest as `ByRun`."""
    logs = experiment.logs
    right = logs.letters == logs.questions["gold"].to_numpy(dtype=np.str_)
    readable, guess = logs.letters != "", 1 / logs.questions["n_options"].to_numpy(dtype=float)
    sources = {(run["weak"], _label_run(experiment, run)) for _, run in _shown(experiment)}
    counts, odd = list[int](), dict[str, str]()
    for weak, row in sorted(source for source in sources if source[1] is not None):
        zero = experiment.zero_shot(weak)
        if zero is None or not readable[row].any() or not readable[zero].any():
            continue
        labels, test = right[row][readable[row]], right[zero][readable[zero]]
        n, m = len(labels), len(test)
        counts.append(min(n, m))
        chance, both = guess[readable[row]].mean(), np.concatenate([labels, test]).mean()
        se = np.sqrt(both * (1 - both) * (1 / n + 1 / m))
        said = f"are right on {percent(labels.mean())} of {n} pool questions"
        if labels.mean() < chance:
            odd[weak] = f"{said}, below the {percent(chance)} of a guess"
        elif se > 0 and abs(labels.mean() - test.mean()) > 4 * se:
            odd[weak] = f"{said}, its test answers on {percent(test.mean())} of {m}: too far apart"
    unknown = "" if counts else "no model has both a label run and a zero-shot run here"
    if counts and min(counts) < MIN_QUESTIONS:
        unknown = f"only {min(counts)} answers: too few to tell labels from their model"
    return (
        odd,
        "the labels of each weak model are about as often right as its test answers, and more "
        "often than a guess",
        "labels that cannot be what the model answered",
        unknown,
    )


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
    wrong = list[str]()
    for run in runs:
        draw, ids = run["draw"], run["demo_ids"]
        there = orders.get(draw, ())[: len(ids)]
        if sorted(map(str, ids)) != sorted(map(str, there)) if run["order"] else ids != there:
            text = f"{run['file']}: other demonstrations than draw {draw} elsewhere"
            if not {*ids}.isdisjoint(passed[draw]):
                skip = ",".join(map(str, passed[draw]))
                text += f"; move it away, and run its command again with `-T skip={skip}`"
            wrong.append(text)
    unknown = "" if runs else "the logs do not say which demonstrations were shown"
    if runs and len(runs) == len(orders):
        unknown = "one run a draw: nothing to compare its demonstrations with"
    return check(
        wrong,
        "all arms of a draw show the same demonstrations in the same order, a longer prompt the "
        "shorter one's first",
        "arms that should differ in labels alone show different demonstrations",
        unknown,
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
    yield check(
        [f"{m}: {n} addresses or sets of arguments" for m, n in _ways(runs).items() if n > 1],
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


def _ways(runs: pd.DataFrame) -> dict[Any, int]:
    """In how many ways each model was reached: addresses, arguments, settings of its calls."""
    return runs.groupby("model", sort=False)["endpoint"].nunique().to_dict()


def _headline(experiment: Experiment) -> Check:
    declaration = experiment.declaration
    if declaration.conflicts:
        text = "the earliest log's study is the declared one; later logs depart from it"
        return Check("fails", text, declaration.conflicts)
    if not declaration.declared:
        return Check("unknown", "the study file declares no headline: no claim can be made")
    lost = [
        f"{cell.weak} → {cell.strong}, {cell.shots} shots: a run is missing or incomplete"
        for cell in experiment.cells
        if cell.shots in declaration.headline and cell.status("pgr_gold") == "incomplete"
    ]
    run = {cell.shots for cell in experiment.cells}
    lost += [f"{shots} shots: not run" for shots in declaration.headline if shots not in run]
    counts = ", ".join(map(str, declaration.headline))
    good = f"the headline that the earliest log declares was run ({counts} shots)"
    return check(lost, good, "the declared headline is not whole")


def _of_cells(cells: pd.DataFrame) -> Iterator[Check]:
    """Enough draws, and questions that go together."""
    draws = cells.loc[(cells["shots"] > 0) & (cells["draws"] > 0), "draws"]
    fewer = "the intervals speak about these demonstrations only, not about others (`draws: 5`)"
    many = "the intervals speak about demonstrations like these"
    if draws.empty:
        yield Check("unknown", "no cell with weak labels: nothing to say about draws")
    elif draws.min() < MIN_RANDOM_DRAWS:
        yield Check("fails", f"fewer than {MIN_RANDOM_DRAWS} draws: {fewer}")
    else:
        yield Check("holds", f"at least {MIN_RANDOM_DRAWS} draws: {many}")
    ratios, most = cells["se_ratio_cluster"], 1.15
    none = "no standard error by category: no categories, or no ratio is reported"
    yield check(
        [
            f"{row['weak']} → {row['strong']}, {row['shots']} shots: "
            f"{row['se_ratio_cluster']:.2f} times the plain standard error"
            for row in _rows(cells[ratios > most])
        ],
        f"standard errors clustered by category are at most {most} times the plain ones "
        f"(largest {ratios.max():.2f})",
        "questions of a category go together: plain intervals are too short there",
        none if ratios.isna().all() else "",
    )


def _repeats(experiment: Experiment) -> Check:
    repeats = repeats_table(experiment).dropna(subset="changed")
    if repeats.empty:
        return Check("unknown", "no run was repeated: how much answers vary by themselves is open")
    changed = percent((repeats["changed"] * repeats["n"]).sum() / repeats["n"].sum())
    of_all = f"of the answers change between identical runs, over {len(repeats)} repeated runs"
    of_runs = (
        f"{_run_text(row)}, draw {row['draw']}: {percent(row['changed'])} of {row['n']} "
        f"({ends(row, 'changed')})"
        for row in _rows(repeats)
    )
    return Check("holds", f"{changed} {of_all}", tuple(of_runs))


@lru_cache(maxsize=2)
def _habits(experiment: Experiment) -> dict[tuple[Any, ...], str | None]:
    """The habit of place in the errors of each kind of runs; "" for none, None if not visible."""
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
    blind, named = len(habits) - len(visible), list(filter(None, visible))
    seen = positions_table(experiment)["habit_seen"]
    few = f"; {blind} more have too few errors to tell" if blind else ""
    return check(
        named,
        f"errors fall evenly on the places of the options in {len(visible)} kinds of runs; a place "
        f"that draws {percent(seen[seen <= 1].max(), 0)} of the errors would have been seen in "
        f"each, a weaker habit maybe not{few}",
        f"errors fall on some places of the options in {len(named)} of {len(visible)} kinds of "
        f"runs: a habit can pass for knowledge (`permutations` in the study){few}",
        "" if visible else "too few errors to see a habit of answering by place",
    )


def _rows(table: pd.DataFrame) -> list[dict[Any, Any]]:
    return table.to_dict("records")


def _cell_text(row: Any) -> str:
    zero_shot = row["task"] == "zero_shot"
    return _run_text(row, f" on the {row['split']}" if zero_shot else f", draw {row['draw']}")


def _run_text(row: Any, more: str = "") -> str:
    prompt = f"{more}, {row['prompt']}" if row["prompt"] else more
    if not row["shots"]:
        return f"{row['model']}, zero-shot{prompt}"
    by = f" of {row['weak']}" if row["weak"] else ""
    return f"{row['model']}, {row['shots']} {row['labels']} labels{by}{prompt}"
