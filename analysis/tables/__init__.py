"""From aligned answers to tables; docs/methods.md says what each column means.

A row is one cell of the experiment, (weak, strong, shots), over all its draws. Fractions
throughout; nan, and an empty field in the CSV files, where there is nothing to report.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, wraps
from importlib.metadata import version
from string import ascii_uppercase
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from w2s_icl.analysis.experiment import (
    ARMS,
    COLUMNS,
    DEFINITIONS,
    Cell,
    Experiment,
    Joined,
    Treatment,
    is_several,
)
from w2s_icl.analysis.logs import IDENTITY, KEY, MISSING_LIMIT
from w2s_icl.analysis.stats import (
    MIN_RANDOM_DRAWS,
    Difference,
    MatchCounts,
    QuestionBootstrap,
    Ratio,
    clustered_ratio,
    gap_recovered,
    holm,
    imitation_excess,
    matching_counts,
    mean_interval,
    paired_difference,
    pooled_gap_recovered,
    subgroup_difference,
    uniform_p,
    wilson,
)


def cells_table(experiment: Experiment) -> pd.DataFrame:
    """One row per (weak, strong, shots): accuracies and the four ratios.

    `acc_*` are accuracies with Wilson intervals for one run and t intervals over draws;
    `unparsed_*` are counts over all draws; `{ratio}_num` and `{ratio}_gap` are numerator and
    denominator; `{ratio}` and its interval are empty unless `{ratio}_status` is "ok".
    """
    rows = [_cell_row(experiment, cell) for cell in experiment.cells()]
    if not rows:  # zero-shot logs alone: no rows, but the columns all the same
        nobody = Cell("", "", 0, {}, np.array([], dtype=np.intp), 0, 1.0)
        return pd.DataFrame([_cell_row(experiment, nobody)]).iloc[:0]
    return pd.DataFrame(rows)


def _cell_row(experiment: Experiment, cell: Cell) -> dict[str, Any]:
    row: dict[str, Any] = {
        "weak": cell.weak,
        "strong": cell.strong,
        "shots": cell.shots,
        "n": cell.n,
        "n_union": cell.n_union,
        "draws": cell.draws,
        "scope": "random_demos" if cell.draws >= 3 else "fixed_demos",
    }
    complete = cell.n > 0 and cell.missing <= MISSING_LIMIT
    for name in COLUMNS:
        arm = cell.arms.get(name)
        value = low = high = math.nan
        if arm is not None and complete:
            value = float(arm.correct.mean())
            low, high = mean_interval(arm.correct)
        row |= {f"acc_{name}": value, f"acc_{name}_lo": low, f"acc_{name}_hi": high}
    for name in COLUMNS:
        arm = cell.arms.get(name)
        row[f"unparsed_{name}"] = math.nan if arm is None else arm.unparsed
    treated = cell.arms.get("w2s")
    several = treated is not None and cell.draws > 1 and complete
    row["draw_sd"] = (
        float(treated.correct.mean(axis=0).std(ddof=1)) if treated and several else math.nan
    )
    shown = (
        experiment.logs.runs["demo_label_accuracy"].to_numpy()[list(treated.runs)]
        if treated and cell.shots
        else np.array([])
    )
    row["demo_label_accuracy"] = float(shown.mean()) if len(shown) else math.nan
    for definition in DEFINITIONS:
        row |= _ratio_columns(definition, cell)
    row["pgr_no_supervision"] = _no_supervision(cell)
    row |= _parsed_only(cell)
    row["se_ratio_cluster"] = _clustered(experiment, cell)
    return row


def _ratio_columns(definition: str, cell: Cell) -> dict[str, Any]:
    status = cell.status(definition)
    ratio = None if status else gap_recovered(*cell.columns(definition))
    return _ratio_fields(definition, ratio, status or "")


def _no_supervision(cell: Cell) -> float:
    """What a student that ignored the labels would score as `pgr_gold`."""
    if cell.status("pgr_gold") is not None:
        return math.nan
    weak, _, gold = (float(column.mean()) for column in cell.columns("pgr_gold"))
    if gap_recovered(*cell.columns("pgr_gold")).status != "ok":
        return math.nan
    return (float(cell.arms["strong0"].correct.mean()) - weak) / (gold - weak)


def _parsed_only(cell: Cell) -> dict[str, Any]:
    """`pgr_gold` on the questions that every column answered readably."""
    value, low, high = math.nan, math.nan, math.nan
    if cell.status("pgr_gold") is None:
        read = np.ones(cell.n, dtype=bool)
        for name in DEFINITIONS["pgr_gold"]:
            read &= (cell.arms[name].letters != "").all(axis=1)
        if read.any():
            ratio = gap_recovered(*(column[read] for column in cell.columns("pgr_gold")))
            value, low, high = ratio.value, ratio.low, ratio.high
    return {"pgr_gold_parsed": value, "pgr_gold_parsed_lo": low, "pgr_gold_parsed_hi": high}


def _clustered(experiment: Experiment, cell: Cell) -> float:
    """Standard error clustered by category over the plain one; nan without categories."""
    if cell.status("pgr_gold") is not None:
        return math.nan
    categories = experiment.logs.questions["category"].to_numpy()[cell.places]
    if len(set(categories)) < 2:
        return math.nan
    if gap_recovered(*cell.columns("pgr_gold")).status != "ok":
        return math.nan
    return clustered_ratio(*cell.columns("pgr_gold"), categories)


def gold_table(experiment: Experiment) -> pd.DataFrame:
    """One row per (model, shots) with gold labels: accuracy and interval; 0 is zero-shot.

    A run that lacks more than 2% of its answers has no row.
    """
    rows: list[dict[str, Any]] = []
    for model in experiment.models:
        for shots in experiment.shots:
            zero = experiment.zero_shot(model)
            runs: Sequence[int] = (
                list(experiment.few_shot(model, "gold", shots).values())
                if shots
                else ([] if zero is None else [zero])
            )
            if not runs:
                continue
            correct = experiment.logs.correct[list(runs)]
            asked = experiment.logs.runs["asked"].to_numpy()[list(runs)].max()
            both = correct[:, ~np.isnan(correct).any(axis=0)].T
            if not len(both) or 1 - len(both) / asked > MISSING_LIMIT:
                continue
            low, high = mean_interval(both)
            rows.append(
                {
                    "model": model,
                    "shots": shots,
                    "n": len(both),
                    "draws": len(runs),
                    "accuracy": float(both.mean()),
                    "accuracy_lo": low,
                    "accuracy_hi": high,
                }
            )
    columns = ["model", "shots", "n", "draws", *_with_ends("accuracy")]
    return pd.DataFrame(rows, columns=columns)


def curves_table(cells: pd.DataFrame, gold: pd.DataFrame) -> pd.DataFrame:
    """Accuracy of every prompted model, one row per point of its curves.

    `labels` is "none" for the zero-shot run, else "gold" or "weak", `weak` the labeller where there
    is one. Points that were not run or are incomplete have no row.

    Args:
        cells: As `cells_table`.
        gold: As `gold_table`.
    """
    labels = np.where(gold["shots"] == 0, "none", "gold")
    scope = np.where(gold["draws"] >= 3, "random_demos", "fixed_demos")
    treated = {"strong": "model", **{f"acc_w2s{e}": f"accuracy{e}" for e in ("", "_lo", "_hi")}}
    taught = cells[cells["shots"] > 0].rename(columns=treated).assign(labels="weak")
    parts = [gold.assign(labels=labels, weak="", scope=scope), taught]
    table = pd.concat([p[list(_CURVES)] for p in parts if len(p)] or [parts[0][list(_CURVES)]])
    return table.dropna(subset="accuracy").reset_index(drop=True)


LEVEL = 0.95
RESAMPLES = 10_000
SEED = 20240

FAMILIES: Mapping[str, tuple[str, str]] = {
    "w2s_vs_weak": ("w2s", "weak"),
    "w2s_vs_strong0": ("w2s", "strong0"),
    "w2s_vs_gold": ("w2s", "gold"),
}
"""Tests that are adjusted together, by name: the two arms compared."""


def _with_ends(*names: str) -> tuple[str, ...]:
    return tuple(name + end for name in names for end in ("", "_lo", "_hi"))


_CELL = ("weak", "strong", "shots")
_TESTS = ("family", *_CELL, "contrast", "diff", "lo", "hi", "n10", "n01", "p", "p_holm")
_CURVES = (
    *("model", "labels", "weak", "shots", "n", "draws", "scope"),
    *_with_ends("accuracy"),
)
_ARMS = (
    *(*_CELL, "arm", "labels", "giver", "prompt", "depth", "base", "n", "draws", "scope"),
    *_with_ends("accuracy"),
    *_with_ends("gain"),
    "gain_p",
    *_with_ends("ahead"),
    "ahead_p",
    "demo_label_accuracy",
)
_RULES = ("labels", "weak", "shots", "n", "draws", "scope", *_with_ends("accuracy"))
_SHORTCUTS = (
    *(*_CELL, "arm", "rule", "n", "draws"),
    *_with_ends("rule_accuracy"),
    *("right_n", "wrong_n"),
    *_with_ends("gain_right", "gain_wrong"),
)
RUN = ("model", "labels", "weak", "shots", "prompt")
"""Columns that tell the kinds of runs apart, over their draws."""
_POSITIONS = (
    *(*RUN, "position", "asked", "right_here"),
    *_with_ends("accuracy"),
    *("answers", "share", "uniform", "p_uniform"),
)
_REPEATS = (*RUN, "draw", "epochs", "n", *_with_ends("changed"))
_SHARES = (
    "match_both",
    "match_strong",
    "match_weak",
    "match_neither",
    "neither_right",
    "neither_wrong",
)
_AGREEMENT = ("phi", "error_consistency", "capa")
_MATCHING = (
    *_CELL,
    "n",
    "draws",
    *_SHARES,
    *(f"{name}_count" for name in _SHARES),
    "ww_n",
    *(f"ww_{name}" for name in _SHARES),
    *(f"ww_{name}_count" for name in _SHARES),
    *_with_ends("fix_rate"),
    "fix_count",
    "strong_wrong_n",
    *_with_ends("break_rate"),
    "break_count",
    "strong_right_n",
    "imitation_m",
    "imitation_w2s",
    "imitation_gold",
    *_with_ends("imitation_excess"),
    *_with_ends(*(f"{name}_{other}" for name in _AGREEMENT for other in ("weak", "strong"))),
)
_POOLED = (
    *("scope", "cells", "n", "draws"),
    *_with_ends("pgr_pooled", "pgr_pooled_num", "pgr_pooled_gap"),
    *(f"pgr_pooled_{name}" for name in ("t_gap", "df", "status", "fragile")),
    "pgr_mean",
    "pgr_median",
)
_MODELS = (
    *("model", "n", *_with_ends("accuracy"), "unparsed", "unparsed_share"),
    *("pool_n", "pool_accuracy", "pool_unparsed"),
)
_USAGE = ["calls", "input_tokens", "output_tokens", "cached_tokens", "cost"]
_COSTS = ("model", "split", "labels", "weak", "shots", "draw", "prompt", *_USAGE, "cost_known")


def _usable(cell: Cell, *arms: str) -> bool:
    """Whether these arms of a cell with demonstrations can be compared."""
    complete = cell.n > 0 and cell.missing <= MISSING_LIMIT
    return cell.shots > 0 and complete and all(arm in cell.arms for arm in arms)


def _interval(name: str, value: float, low: float, high: float) -> dict[str, float]:
    return {name: value, f"{name}_lo": low, f"{name}_hi": high}


def _share(name: str, events: ArrayLike) -> dict[str, float]:
    """The mean of `events`, shape (n,) or (n, draws), with its interval; nan without any."""
    values = np.asarray(events, dtype=np.float64)
    if not len(values):
        return _interval(name, math.nan, math.nan, math.nan)
    return _interval(name, float(values.mean()), *mean_interval(values, level=LEVEL))


T = TypeVar("T")


def _once(make: Callable[[Experiment], T]) -> Callable[[Experiment], T]:
    """A table is made once for an experiment; who asks for it leaves it as it is."""

    @wraps(make)
    def once(experiment: Experiment) -> T:
        if make.__name__ not in experiment.made:
            experiment.made[make.__name__] = make(experiment)
        found: T = experiment.made[make.__name__]
        return found

    return once


@_once
def tests_table(experiment: Experiment) -> pd.DataFrame:
    """Paired differences of accuracy, one row per family and complete cell with demonstrations.

    The three of `FAMILIES` are on the questions of the cell, all others, one for each further arm
    that was run, on those that its two arms have. `n10` and `n01` count the questions that only the
    first, only the second run of `contrast` has right; they are empty where the test is not
    McNemar's. `p_holm` is adjusted within the family.
    """
    tested: dict[str, list[dict[str, Any]]] = {family: [] for family in FAMILIES}

    def add(cell: tuple[str, str, int], second: str, d: Difference) -> None:
        family = f"w2s_vs_{second}"
        row: dict[str, Any] = {"family": family, **dict(zip(_CELL, cell, strict=True))}
        row |= {"contrast": f"w2s - {second}"}
        row |= {"diff": d.diff, "lo": d.low, "hi": d.high, "n10": d.n10, "n01": d.n01, "p": d.p}
        tested.setdefault(family, []).append(row)

    for cell in experiment.cells():
        for first, second in FAMILIES.values():
            itself = second == "weak" and cell.weak == cell.strong  # that is w2s_vs_strong0
            if itself or not _usable(cell, first, second):
                continue
            columns = cell.arms[first].correct, cell.arms[second].correct
            place = (cell.weak, cell.strong, cell.shots)
            add(place, second, paired_difference(*columns, level=LEVEL))
    for (weak, strong, shots, arm), found in _against_the_main_arm(experiment).items():
        if arm != "gold":  # that is w2s_vs_gold
            add((weak, strong, shots), arm, found)
    order = [*FAMILIES, *(f"w2s_vs_{arm}" for arm in ARMS)]
    rank = {family: i for i, family in enumerate(dict.fromkeys(order))}
    rows: list[dict[str, Any]] = []
    for family in sorted(tested, key=lambda family: (rank.get(family, len(rank)), family)):
        adjusted = holm([row["p"] for row in tested[family]])
        rows += [row | {"p_holm": p} for row, p in zip(tested[family], adjusted, strict=True)]
    return pd.DataFrame(rows, columns=list(_TESTS))


@_once
def _against_the_main_arm(experiment: Experiment) -> dict[tuple[str, str, int, str], Difference]:
    """The plain arm with weak labels minus each other one, by weak, strong, shots and arm."""
    found: dict[tuple[str, str, int, str], Difference] = {}
    for weak, strong in experiment.pairs:
        for shots in experiment.arm_shots(strong):
            arms = experiment.arms(weak, strong, shots)
            main = arms.pop("weak", None)
            for name, arm in arms.items():
                if main is None:
                    continue
                # these pick their demonstrations by the labels: that is what they are
                picks = arm.labels in ("confident", "majority") or arm.depth > 1
                runs = arm.runs if picks else experiment.matched(main.runs, arm.runs)
                both = experiment.joined([main.runs], [runs])
                if both.usable:
                    found[weak, strong, shots, name] = paired_difference(*both.columns, level=LEVEL)
    return found


@_once
def arms_table(experiment: Experiment) -> pd.DataFrame:
    """Every arm of every pair: one row per (weak, strong, shots, arm) that was run.

    `gain` is the arm minus `base`, the strong model without demonstrations, `ahead` the plain arm
    with weak labels minus this arm: paired by question and draw, each on what its two runs have.
    The rows without a weak model are prompted runs without demonstrations. Numbers are empty where
    more than 2% of the answers are missing.
    """
    ahead = _against_the_main_arm(experiment)
    rows: list[dict[str, Any]] = []
    for strong in dict.fromkeys(strong for _, strong in experiment.pairs):
        prompts = experiment.logs.runs
        prompts = prompts[(prompts["model"] == strong) & (prompts["split"] == "test")]
        for prompt in sorted(set(prompts.loc[prompts["task"] == "zero_shot", "prompt"]) - {""}):
            run, plain = experiment.zero_shot(strong, prompt=prompt), experiment.zero_shot(strong)
            if run is not None:
                arm = Treatment(f"zero_shot {prompt}", "", "", prompt, {0: run})
                rows.append(_arm_row(experiment, "", strong, 0, arm, ("zero_shot", plain), None))
    for weak, strong in experiment.pairs:
        for shots in experiment.arm_shots(strong):
            for name, arm in experiment.arms(weak, strong, shots).items():
                base = experiment.base(strong, arm.prompt)
                other = ahead.get((weak, strong, shots, name))
                rows.append(_arm_row(experiment, weak, strong, shots, arm, base, other))
    return pd.DataFrame(rows, columns=list(_ARMS))


def _arm_row(
    experiment: Experiment,
    weak: str,
    strong: str,
    shots: int,
    arm: Treatment,
    base: tuple[str, int | None],
    ahead: Difference | None,
) -> dict[str, Any]:
    name, run = base
    own = experiment.joined([arm.runs])
    both = None if run is None else experiment.joined([arm.runs], run)
    shown = experiment.logs.runs["demo_label_accuracy"].to_numpy()[list(arm.runs.values())]
    return {
        "weak": weak,
        "strong": strong,
        "shots": shots,
        "arm": arm.name,
        "labels": arm.labels,
        "giver": arm.giver,
        "prompt": arm.prompt,
        "depth": arm.depth,
        "base": name,
        "n": own.n,
        "draws": len(own.draws) if shots else 0,
        "scope": scope(len(own.draws)),
        **_share("accuracy", own.columns[0] if own.usable else ()),
        **_gain(
            "gain",
            paired_difference(*both.columns, level=LEVEL) if both and both.usable else None,
        ),
        **_gain("ahead", ahead),
        "demo_label_accuracy": float(shown.mean()),
    }


def scope(draws: int) -> str:
    """What intervals over so many draws speak about."""
    return "random_demos" if draws >= MIN_RANDOM_DRAWS else "fixed_demos"


def _gain(name: str, found: Difference | None) -> dict[str, float]:
    if found is None:
        return _interval(name, math.nan, math.nan, math.nan) | {f"{name}_p": math.nan}
    return _interval(name, found.diff, found.low, found.high) | {f"{name}_p": found.p}


@_once
def rules_table(experiment: Experiment) -> pd.DataFrame:
    """Accuracy on the test of a rule that never sees a question, by whose labels it was fitted on.

    The rule is fitted on the options and labels of each draw's demonstrations (`shortcuts`), gold
    ones and those of each model. No row where the logs do not say what was shown.
    """
    runs = experiment.logs.runs
    labelled = (runs["task"] == "few_shot") & (runs["split"] == "test")
    labelled &= runs["labels"].isin(("gold", "weak")) & ~runs["weak"].map(is_several)
    found: dict[tuple[str, str, int], dict[int, NDArray[np.bool_]]] = {}
    for run, *cell, draw in runs.loc[labelled, ["labels", "weak", "shots", "draw"]].itertuples(
        name=None
    ):
        of = found.setdefault((cell[0], cell[1], cell[2]), {})
        right = None if draw in of else experiment.rule_right(run)
        if right is not None:
            of[draw] = right[experiment.test]
    order = {name: i for i, name in enumerate(["", *experiment.models])}
    rows: list[dict[str, Any]] = [
        {
            "labels": labels,
            "weak": weak,
            "shots": shots,
            "n": len(experiment.test),
            "draws": len(of),
            "scope": scope(len(of)),
            **_share("accuracy", np.column_stack([of[draw] for draw in sorted(of)])),
        }
        for (labels, weak, shots), of in sorted(
            found.items(), key=lambda item: (item[0][0], order[item[0][1]], item[0][2])
        )
        if of
    ]
    return pd.DataFrame(rows, columns=list(_RULES))


@_once
def shortcuts_table(experiment: Experiment) -> pd.DataFrame:
    """Each arm's gain where a rule that never sees a question is right, and where it is wrong.

    One row per (weak, strong, shots, arm) and rule. All arms of a cell are split by one rule: that
    fitted on the labels which the plain arm with weak labels was shown in the same draw
    ("demonstrations"), or that cross-fitted on the gold answers of the test ("cross-fitted").
    `right_n` and `wrong_n` are questions, averaged over draws.
    """
    rows: list[dict[str, Any]] = []
    for weak, strong in experiment.pairs:
        for shots in experiment.arm_shots(strong):
            arms = experiment.arms(weak, strong, shots)
            main = arms.get("weak")
            fitted = {
                draw: right
                for draw, run in (main.runs if main else {}).items()
                if (right := experiment.rule_right(run)) is not None
            }
            for name, arm in arms.items():
                cell = {"weak": weak, "strong": strong, "shots": shots, "arm": name}
                _, base = experiment.base(strong, arm.prompt)
                known = {draw: run for draw, run in arm.runs.items() if draw in fitted}
                for rule, runs in (("demonstrations", known), ("cross-fitted", arm.runs)):
                    row = {**cell, "rule": rule, "n": 0, "draws": 0}
                    both = None if base is None else experiment.joined([runs], base)
                    if both is not None and both.usable:
                        split = np.column_stack(
                            [
                                fitted[draw]
                                if rule == "demonstrations"
                                else experiment.cross_fitted_right
                                for draw in both.draws
                            ]
                        )
                        row |= _split_gain(both, split[both.places])
                    rows.append(row)
    return pd.DataFrame(rows, columns=list(_SHORTCUTS))


def _split_gain(both: Joined, right: NDArray[np.bool_]) -> dict[str, Any]:
    """The gain of the first column over the second, by whether a rule is right; (n, draws)."""
    row: dict[str, Any] = {
        "n": both.n,
        "draws": len(both.draws),
        **_share("rule_accuracy", right),
        "right_n": float(right.sum(axis=0).mean()),
        "wrong_n": float((~right).sum(axis=0).mean()),
    }
    arm, base = both.columns
    for name, where in (("gain_right", right), ("gain_wrong", ~right)):
        found = subgroup_difference(arm, base, where, level=LEVEL)
        row |= _interval(name, found.diff, found.low, found.high)
    return row


@_once
def positions_table(experiment: Experiment) -> pd.DataFrame:
    """Answers by place on the page, one row per place and (model, labels, weak, shots, prompt).

    `accuracy` is over the questions whose right option stood at the place, `right_here` of the
    `asked`, over all draws and epochs; its interval counts a question once however often it was
    asked. `share` of the readable answers went there, `uniform` is what equal chances would give;
    `p_uniform` tests all places of the run together (chi-square, a question counted once).
    """
    rows: list[dict[str, Any]] = []
    for key, runs in _of_the_test(experiment).groupby(list(RUN), sort=False):
        last = max(len(of) for of in runs["positions"])
        if not last:
            continue
        places = [[of[i] for of in runs["positions"] if i < len(of)] for i in range(last)]
        answers = np.array([sum(p.answers for p in of) for of in places], dtype=np.float64)
        expected = np.array([sum(p.expected for p in of) for of in places])
        times = runs["replies"].sum() / runs["n"].max()
        p = uniform_p(answers / times, expected / times)
        for letter, of, given, uniform in zip(
            ascii_uppercase, places, answers, expected, strict=False
        ):
            asked, right = sum(p.asked for p in of), sum(p.right for p in of)
            questions = max(p.questions for p in of)
            once = round(right / asked * questions) if asked else 0
            ends = wilson(once, questions, level=LEVEL) if asked else (math.nan, math.nan)
            rows.append(
                {
                    **dict(zip(RUN, key, strict=True)),
                    "position": letter,
                    "asked": asked,
                    "right_here": right,
                    **_interval("accuracy", right / asked if asked else math.nan, *ends),
                    "answers": int(given),
                    "share": given / answers.sum() if answers.sum() else math.nan,
                    "uniform": uniform / expected.sum() if expected.sum() else math.nan,
                    "p_uniform": p,
                }
            )
    return pd.DataFrame(rows, columns=list(_POSITIONS))


def repeats_table(experiment: Experiment) -> pd.DataFrame:
    """Answers that change between identical runs; one row per run that was repeated.

    `changed` is the share of pairs of epochs with the same order of options that differ, averaged
    over `n` questions. Two replies that could not be read do not differ.
    """
    runs = _of_the_test(experiment)
    rows = [
        {
            **{name: run[name] for name in (*RUN, "draw", "epochs")},
            "n": run["changed_n"],
            **_share("changed", run["changes"]),
        }
        for run in runs[runs["changed_n"] > 0].to_dict("records")
    ]
    return pd.DataFrame(rows, columns=list(_REPEATS))


def _of_the_test(experiment: Experiment) -> pd.DataFrame:
    """Runs on the test questions, by model and shot count."""
    order = {name: i for i, name in enumerate(experiment.models)}
    runs = experiment.logs.runs[experiment.logs.runs["split"] == "test"]
    by = ["_order", "prompt", "shots", "labels", "weak", "draw"]
    return runs.assign(_order=runs["model"].map(order)).sort_values(by, kind="stable")


def matching_table(experiment: Experiment) -> pd.DataFrame:
    """Whose answers the runs with weak labels give; one row per (weak, strong, shots > 0).

    Shares of questions, and `*_count`, both averaged over draws; `ww_*` over the questions that
    the weak model has wrong. `neither_right` and `neither_wrong` (wrong or unread) split
    `match_neither`. In a self pair `match_strong` and `match_weak` do not exist. Everything is
    about the first answer where a cell was run several times; agreement is then empty, unless
    all answers were right or wrong each time.
    """
    bootstrap = lru_cache(maxsize=4)(_bootstrap)  # one can take 30 MB
    rows = [_matching_row(experiment, cell, bootstrap) for cell in experiment.cells() if cell.shots]
    return pd.DataFrame(rows, columns=list(_MATCHING))


def _bootstrap(n: int) -> QuestionBootstrap:
    return QuestionBootstrap(n, RESAMPLES, SEED)


def _matching_row(
    experiment: Experiment, cell: Cell, bootstrap: Callable[[int], QuestionBootstrap]
) -> dict[str, Any]:
    row: dict[str, Any] = {
        "weak": cell.weak,
        "strong": cell.strong,
        "shots": cell.shots,
        "n": cell.n,
        "draws": cell.draws,
    }
    if not _usable(cell, "weak", "strong0", "w2s"):
        return row
    arms = cell.arms
    questions = experiment.logs.questions.iloc[cell.places]
    target = questions["gold"].to_numpy(dtype=np.str_)[:, None]
    weak, strong, treated = (arms[arm].letters for arm in ("weak", "strong0", "w2s"))
    counts = matching_counts(treated, strong[:, 0], weak[:, 0], target[:, 0])
    right = treated == target
    weak_wrong, strong_wrong = (weak != target)[:, 0], (strong != target)[:, 0]
    elsewhere = right & (treated != strong) & (treated != weak)
    self_pair = cell.weak == cell.strong
    row |= _match_shares("", counts.every, elsewhere, self_pair)
    row |= _match_shares("ww_", counts.weak_wrong, elsewhere[weak_wrong], self_pair)
    row["ww_n"] = counts.weak_wrong.n
    row |= _share("fix_rate", right[strong_wrong])
    row |= {"fix_count": float(np.mean(counts.fixed)), "strong_wrong_n": counts.strong_wrong}
    row |= _share("break_rate", ~right[~strong_wrong])
    row |= {"break_count": float(np.mean(counts.broken)), "strong_right_n": counts.strong_right}
    if "gold" in arms:
        errors = weak_wrong & (weak[:, 0] != "")
        repeated = [(arms[arm].letters == weak)[errors] for arm in ("w2s", "gold")]
        excess = imitation_excess(*repeated, level=LEVEL)
        row |= {
            "imitation_m": excess.m,
            "imitation_w2s": excess.treated,
            "imitation_gold": excess.gold,
            **_interval("imitation_excess", excess.value, excess.low, excess.high),
        }
    if all(np.isin(arms[arm].correct, (0, 1)).all() for arm in ("weak", "strong0", "w2s")):
        for name, other in (("weak", arms["weak"]), ("strong", arms["strong0"])):
            found = bootstrap(cell.n).agreement(
                treated,
                other.letters,
                arms["w2s"].correct,
                other.correct,
                questions["n_options"].to_numpy(),
                level=LEVEL,
            )
            for statistic in _AGREEMENT:
                e = getattr(found, statistic)
                row |= _interval(f"{statistic}_{name}", e.value, e.low, e.high)
    return row


def _match_shares(
    prefix: str, counts: MatchCounts, elsewhere: NDArray[np.bool_], self_pair: bool
) -> dict[str, float]:
    """Shares and mean counts; `elsewhere` is right with the answer of neither, (n, draws)."""
    found = {
        "match_both": np.mean(counts.both),
        "match_strong": math.nan if self_pair else np.mean(counts.strong),
        "match_weak": math.nan if self_pair else np.mean(counts.weak),
        "match_neither": np.mean(counts.neither),
        "neither_right": elsewhere.sum(axis=0).mean(),
    }
    found["neither_wrong"] = found["match_neither"] - found["neither_right"]
    return {
        **{prefix + k: float(v) / counts.n if counts.n else math.nan for k, v in found.items()},
        **{f"{prefix}{k}_count": float(v) for k, v in found.items()},
    }


def pooled_table(experiment: Experiment) -> pd.DataFrame:
    """`pgr_gold` over several cells: the ratio of their mean numerator and mean gap.

    One row per pair over all its shots, per shot count over all pairs, and over everything; pairs
    of a model with itself have no ratio. `cells` counts the complete cells, which alone are used,
    on the `n` questions and the `draws` that all of them have. `pgr_mean` and `pgr_median` of the
    ratios that are reported one by one are secondary, and have no interval.
    """
    cells = [cell for cell in experiment.cells() if cell.shots and cell.weak != cell.strong]
    scopes: dict[str, list[Cell]] = defaultdict(list)
    for cell in cells:
        scopes[f"{cell.weak} → {cell.strong}, all shots"].append(cell)
    for cell in cells:
        scopes[f"all pairs, {cell.shots} shot{'s' * (cell.shots != 1)}"].append(cell)
    if cells:
        scopes["all pairs, all shots"] = cells
    rows = [{"scope": scope, **_pooled(experiment, group)} for scope, group in scopes.items()]
    return pd.DataFrame(rows, columns=list(_POOLED))


def _pooled(experiment: Experiment, cells: Sequence[Cell]) -> dict[str, Any]:
    used = [cell for cell in cells if cell.status("pgr_gold") is None]
    ratio = None
    if used:
        draw = experiment.logs.runs["draw"].to_numpy()
        drawn = [draw[list(cell.arms["w2s"].runs)] for cell in used]  # the same in gold
        draws = set(drawn[0]).intersection(*drawn)
        places = set(used[0].places).intersection(*(cell.places for cell in used))
        triples = []
        for cell, its in zip(used, drawn, strict=True):
            rows, columns = np.isin(cell.places, list(places)), np.isin(its, list(draws))
            base, treated, ceiling = (column[rows] for column in cell.columns("pgr_gold"))
            triples.append((base, treated[:, columns], ceiling[:, columns]))
        if places and draws:
            ratio = pooled_gap_recovered(triples, level=LEVEL)
    single = [gap_recovered(*cell.columns("pgr_gold"), level=LEVEL) for cell in used]
    values = [one.value for one in single if one.status == "ok"]
    return {
        "cells": len(used),
        "n": ratio.n if ratio else 0,
        "draws": ratio.draws if ratio else 0,
        **_ratio_fields("pgr_pooled", ratio, "incomplete"),
        "pgr_mean": float(np.mean(values)) if values else math.nan,
        "pgr_median": float(np.median(values)) if values else math.nan,
    }


def _ratio_fields(name: str, ratio: Ratio | None, status: str) -> dict[str, Any]:
    """The columns of a ratio; `status` says why there is none."""
    fields: Mapping[str, Callable[[Ratio], float]] = {
        "_num": lambda r: r.numerator,
        "_num_lo": lambda r: r.numerator_low,
        "_num_hi": lambda r: r.numerator_high,
        "_gap": lambda r: r.gap,
        "_gap_lo": lambda r: r.gap_low,
        "_gap_hi": lambda r: r.gap_high,
        "": lambda r: r.value,
        "_lo": lambda r: r.low,
        "_hi": lambda r: r.high,
        "_df": lambda r: r.df,
        "_t_gap": lambda r: r.t_gap,
    }
    return {
        **{name + k: math.nan if ratio is None else f(ratio) for k, f in fields.items()},
        f"{name}_status": ratio.status if ratio else status,
        f"{name}_fragile": bool(ratio and ratio.fragile),
    }


def models_table(experiment: Experiment) -> pd.DataFrame:
    """One row per model: its zero-shot run on the test questions, and its label run (`pool_*`).

    Empty where there is no such run. An unread answer counts as wrong; `unparsed` counts those of
    all epochs, `unparsed_share` is their share of the replies.
    """
    rows, runs = [], experiment.logs.runs
    for model in experiment.models:
        row: dict[str, Any] = {"model": model}
        for split, prefix in (("test", ""), ("pool", "pool_")):
            run = experiment.zero_shot(model, split)
            if run is None:
                continue
            correct = experiment.logs.correct[run]
            n, unparsed, replies = runs[["n", "unparsed", "replies"]].iloc[run]
            row |= {f"{prefix}n": n, f"{prefix}unparsed": unparsed}
            row |= _share(f"{prefix}accuracy", correct[~np.isnan(correct)])
            row[f"{prefix}unparsed_share"] = unparsed / replies if replies else math.nan
        rows.append(row)
    return pd.DataFrame(rows, columns=list(_MODELS))


def costs_table(experiment: Experiment) -> pd.DataFrame:
    """Calls, tokens and dollars of each run, and after the runs of a model their sum ("all").

    A cell that took its answers from another has no calls and cost 0. Any other run without a
    recorded call is not taken for free: its cost is unknown, like that of a call without a price,
    and so is every sum it is part of.
    """
    runs = experiment.logs.runs
    rows: list[dict[str, Any]] = []
    for model in experiment.models:
        part = runs[runs["model"] == model].sort_values(
            ["split", "prompt", "labels", "weak", "shots", "draw"], kind="stable"
        )
        if part.empty:
            continue
        recorded = (part["calls"] > 0) | (part["reused_from"] != "")
        part = part.assign(cost=part["cost"].where(recorded))
        rows += [{str(k): v for k, v in row.items()} for row in part.to_dict("records")]
        everything = dict.fromkeys(("split", "labels", "weak", "prompt"), "all")
        rows.append({"model": model, **everything, **part[_USAGE].sum(skipna=False)})
    table = pd.DataFrame(rows, columns=list(_COSTS))
    table["cost_known"] = table["cost"].notna()
    integers = ["shots", "draw", *_USAGE[:-1]]
    return table.astype(dict.fromkeys(integers, "Int64") | {"cost": "float64"})


def stats_info(experiment: Experiment) -> dict[str, Any]:
    """What the numbers of the other tables were computed with."""
    metadata = experiment.logs.metadata
    tested = tests_table(experiment).groupby(["family", "contrast"], sort=False).size()
    contrasts = {family: f"{first} - {second}" for family, (first, second) in FAMILIES.items()}
    contrasts |= {family: contrast for family, contrast in tested.index if family not in FAMILIES}
    return {
        "level": LEVEL,
        "resamples": RESAMPLES,
        "seed": SEED,
        "versions": {name: version(name) for name in ("w2s-icl", "numpy", "scipy", "pandas")},
        "log_versions": {key: metadata.get(key) for key in ("w2s_icl", "inspect_ai")},
        "families": {
            family: {"contrast": contrast, "tests": int(tested.get((family, contrast), 0))}
            for family, contrast in contrasts.items()
        },
        "experiment": {key: metadata.get(key) for key in ("dataset", *IDENTITY, "scorer_version")},
    }


def missing_cells(experiment: Experiment) -> pd.DataFrame:
    """Planned runs that are not there, or lack more than 2% of their answers; see `why`."""
    logs = experiment.logs
    test = logs.runs["split"] == "test"
    asked = logs.runs["asked"].mask(test, logs.runs.loc[test, "asked"].max())
    short = 1 - logs.runs["n"] / asked > MISSING_LIMIT
    state = dict(zip(logs.runs[list(KEY)].itertuples(index=False, name=None), short, strict=True))
    rows = [
        (*key, "incomplete" if key in state else "not run")
        for key in logs.planned[list(KEY)].itertuples(index=False, name=None)
        if state.get(key, True)
    ]
    return pd.DataFrame(rows, columns=[*KEY, "why"])
