"""Gains by arm, by class of question and by a rule that never sees one, and their tests."""

import re
from collections.abc import Iterator
from functools import lru_cache
from string import ascii_uppercase
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from w2s_icl.analysis.experiment import ARMS, COLUMNS, ArmRuns, Cell, Experiment
from w2s_icl.analysis.stats.paired import Difference, holm, paired_difference
from w2s_icl.analysis.stats.ratio import gap_recovered
from w2s_icl.analysis.tables.cells import CELL, difference, ratio_columns, scope, share, table
from w2s_icl.words import printable

MAIN = ("weak", "strong0", "gold")
"""Runs that those with weak labels are tested against in every cell, each in a family."""

_DECLINES: Final = re.compile(
    r"\bno comment\b"
    r"|\b(?:i|we) (?:do not|don['’]?t|can ?not|can['’]?t) (?:know|say|tell|answer|comment)\b"
    r"|\b(?:can ?not|can['’]?t|could not) be (?:answered|determined|known|said|told)\b"
    r"|\b(?:not enough|insufficient|no) information\b"
    r"|^\W*(?:it is |it's )?(?:unknown|unanswerable|undetermined|not known)\W*$",
    re.IGNORECASE,
)


@lru_cache(maxsize=2)
def tests_table(experiment: Experiment) -> pd.DataFrame:
    """Paired differences of accuracy, one row per family and complete cell with demonstrations.

    Those with the arms of `MAIN` are on the questions of the cell, all others, one for each further
    arm that was run, on those that its two arms have.
    """
    tested = {
        (cell.weak, cell.strong, cell.shots, arm): paired_difference(
            cell.arms["w2s"].correct, cell.arms[arm].correct
        )
        for cell in experiment.cells
        for arm in MAIN[cell.weak == cell.strong :]  # a self pair's weak model is its strong0
        if cell.compares("w2s", arm)
    }
    ahead = _against_the_main_arm(experiment)
    tested |= {key: d for key, d in ahead.items() if key[-1] not in MAIN}
    rank = {arm: i for i, arm in enumerate(["weak", "strong0", *ARMS[1:]])}
    order = sorted(tested, key=lambda key: (rank.get(key[-1], len(rank)), key[-1]))
    rows = [
        {"family": f"w2s_vs_{arm}", "contrast": f"w2s - {arm}", "lo": d.low, "hi": d.high}
        | {**vars(d), **dict(zip(CELL, cell, strict=True))}
        for (*cell, arm), d in ((key, tested[key]) for key in order)
    ]
    made = table(rows, "family", *CELL, "contrast diff lo hi n10 n01 p p_holm p_exact")
    made["p_holm"] = made.groupby("family")["p"].transform(holm)
    return made


@lru_cache(maxsize=2)
def _against_the_main_arm(experiment: Experiment) -> dict[tuple[str, str, int, str], Difference]:
    """The plain arm with weak labels minus each other one, by weak, strong, shots and arm."""
    main = {arm[:3]: arm.runs for arm in experiment.all_arms() if arm.arm == "weak"}
    ahead: dict[tuple[str, str, int, str], Difference] = {}
    for arm in experiment.all_arms():
        if arm.arm != "weak" and (runs := main.get(arm[:3])):
            both = experiment.compare([runs], [experiment.matched(runs, arm.runs)])
            if both.usable:
                ahead[arm[:4]] = paired_difference(*both.columns)
    return ahead


def arms_table(experiment: Experiment) -> pd.DataFrame:
    """Every arm of every pair: one row per (weak, strong, shots, arm) that was run.

    Gains and leads are paired by question and draw, each on what its two runs have. Rows without a
    weak model are prompted runs without demonstrations. Numbers are empty above 2% missing answers.
    """
    zero_shot = (
        ArmRuns("", strong, 0, f"zero_shot {prompt}", "", "", prompt, runs)
        for strong in dict.fromkeys(strong for _, strong in experiment.pairs)
        for (*key, prompt), runs in sorted(experiment.draws.items())
        if key == ["test", strong, "", "", 0] and prompt
    )
    ahead, shown = _against_the_main_arm(experiment), experiment.logs.runs["demo_label_accuracy"]
    rows: list[dict[str, Any]] = []
    for arm in (*zero_shot, *experiment.all_arms()):
        base, column = experiment.base(arm.strong, arm.prompt if arm.shots else "")
        own, both = experiment.compare([arm.runs]), experiment.compare([arm.runs], column)
        gain = paired_difference(*both.columns) if both.usable else None
        row = arm._asdict() | {"base": base, "n": own.n, "scope": scope(len(own.draws))}
        row |= {"draws": len(own.draws) if arm.shots else 0}
        row |= share("accuracy", own.columns[0] if own.usable else ())
        row |= difference("gain", gain) | difference("ahead", ahead.get(arm[:4]))
        right = shown.iloc[list(arm.runs.values())].mean(skipna=False)
        rows.append(row | {"demo_label_accuracy": right})
    return table(
        rows,
        *CELL,
        "arm labels labelled_by prompt base n draws scope accuracy± gain± gain_p",
        "ahead± ahead_p demo_label_accuracy",
    )


def surface_rule_table(experiment: Experiment) -> pd.DataFrame:
    """Each arm's gain where a rule that never sees a question is right, and where it is wrong."""
    rows: list[dict[str, Any]] = []
    for arm in experiment.all_arms():
        rows.append(row := arm._asdict() | {"n": 0, "draws": 0})
        both = experiment.compare([arm.runs], experiment.base(arm.strong, arm.prompt)[1])
        if not both.usable:
            continue
        right = experiment.rule.right[both.places]
        row |= {"n": both.n, "draws": len(both.draws)}
        row |= share("rule_accuracy", np.repeat(right[:, None], len(both.draws), axis=1))
        for end, where in (("right", right), ("wrong", ~right)):
            row[f"{end}_n"] = int(where.sum())
            if where.any():
                gain = paired_difference(*(column[where] for column in both.columns))
                row |= difference(f"gain_{end}", gain)
    return table(rows, *CELL, "arm n draws rule_accuracy± right_n wrong_n gain_right± gain_wrong±")


def declines(answer: str) -> bool:
    """Whether an answer says that it gives none."""
    return bool(_DECLINES.search(answer))


def classes_table(experiment: Experiment) -> pd.DataFrame:
    """One row per (weak, strong, shots) of the headline and class of questions.

    Intervals of a class are over its questions; those of all questions are clustered by category
    from 20 categories on. Cells without a usable run with weak labels have no row.
    """
    rows = [
        row
        for cell in experiment.cells
        if cell.shots in experiment.headline and cell.compares("w2s", "strong0")
        for row in _classes(experiment, cell)
    ]
    accuracies, ratio = (f"acc_{name}±" for name in COLUMNS), ratio_columns("pgr_gold")
    gain = "gain± gain_p gain_p_holm gain_part"
    made = table(rows, *CELL, "by class n draws scope", *accuracies, gain, *ratio)
    made["gain_p_holm"] = made.groupby([*CELL, "by"])["gain_p"].transform(holm)
    return made


def _classes(experiment: Experiment, cell: Cell) -> Iterator[dict[str, Any]]:
    """The rows of a cell: all its questions, and those of each class where there are several."""
    questions = experiment.logs.questions.iloc[cell.places]
    categories = questions["category"].map(printable).to_numpy()
    right = zip(questions["choices"], questions["gold"], strict=True)
    declined = [declines(choices[ascii_uppercase.index(gold)]) for choices, gold in right]
    yield _class(cell, "all", "all", np.ones(cell.n, dtype=bool), categories)
    answers = np.where(declined, "declines", "answers")
    for by, classes in (("category", categories), ("right answer", answers)):
        names = sorted(set(classes))
        for name in names if len(names) > 1 else ():
            yield _class(cell, by, name, classes == name)


def _class(
    cell: Cell, by: str, name: str, of: NDArray[np.bool_], clusters: NDArray[Any] | None = None
) -> dict[str, Any]:
    """The numbers of the questions `of` a cell."""
    arms = {arm: runs.correct[of] for arm, runs in cell.arms.items()}
    gain = paired_difference(arms["w2s"], arms["strong0"], clusters=clusters)
    status, ratio = cell.status("pgr_gold"), None
    if not status:
        ratio = gap_recovered(arms["weak"], arms["w2s"], arms["gold"], clusters=clusters)
    row: dict[str, Any] = {column: getattr(cell, column) for column in (*CELL, "draws")}
    row |= {"by": by, "class": name, "n": gain.n, "scope": scope(cell.draws)}
    for arm in COLUMNS:
        row |= share(f"acc_{arm}", arms.get(arm, ()))
    row |= difference("gain", gain) | {"gain_part": gain.diff * gain.n / cell.n}
    return row | ratio_columns("pgr_gold", ratio, status)
