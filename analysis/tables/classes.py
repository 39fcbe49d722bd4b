"""Where a gain comes from: accuracy, gain and `pgr_gold` by class of question."""

import re
from collections.abc import Iterator
from string import ascii_uppercase
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from w2s_icl.analysis.experiment import COLUMNS, Cell, Experiment
from w2s_icl.analysis.stats.paired import holm, paired_difference
from w2s_icl.analysis.stats.ratio import gap_recovered
from w2s_icl.analysis.tables.cells import CELL, difference, ratio_columns, scope, share, table
from w2s_icl.words import printable

_DECLINES: Final = re.compile(
    r"\bno comment\b"
    r"|\b(?:i|we) (?:do not|don['’]?t|can ?not|can['’]?t) (?:know|say|tell|answer|comment)\b"
    r"|\b(?:can ?not|can['’]?t|could not) be (?:answered|determined|known|said|told)\b"
    r"|\b(?:not enough|insufficient|no) information\b"
    r"|^\W*(?:it is |it's )?(?:unknown|unanswerable|undetermined|not known)\W*$",
    re.IGNORECASE,
)


def declines(answer: str) -> bool:
    """Whether an answer says that it gives none.

    Example:
        >>> declines("I have no comment."), declines("Cannot be determined"), declines("No")
        (True, True, False)
    """
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
        for row in _rows(experiment, cell)
    ]
    accuracies, ratio = (f"acc_{name}±" for name in COLUMNS), ratio_columns("pgr_gold")
    gain = "gain± gain_p gain_p_holm gain_part"
    made = table(rows, *CELL, "by class n draws scope", *accuracies, gain, *ratio)
    made["gain_p_holm"] = made.groupby([*CELL, "by"])["gain_p"].transform(holm)
    return made


def _rows(experiment: Experiment, cell: Cell) -> Iterator[dict[str, Any]]:
    questions = experiment.logs.questions.iloc[cell.places]
    categories = questions["category"].map(printable).to_numpy()
    right = zip(questions["choices"], questions["gold"], strict=True)
    declined = [declines(choices[ascii_uppercase.index(gold)]) for choices, gold in right]
    kinds = {
        "all": np.full(cell.n, "all", dtype=object),
        "category": categories,
        "right answer": np.where(declined, "declines", "answers"),
    }
    for by, classes in kinds.items():
        names = sorted(set(classes))
        if len(names) > 1 or by == "all":  # one class is all questions
            for name in names:
                row = {of: getattr(cell, of) for of in CELL} | {"by": by, "class": name}
                yield row | _row(cell, classes == name, categories if by == "all" else None)


def _row(cell: Cell, of: NDArray[np.bool_], clusters: NDArray[Any] | None) -> dict[str, Any]:
    """The numbers of the questions `of` a cell."""
    arms = {name: arm.correct[of] for name, arm in cell.arms.items()}
    gain = paired_difference(arms["w2s"], arms["strong0"], clusters=clusters)
    status, ratio = cell.status("pgr_gold"), None
    if not status:
        ratio = gap_recovered(arms["weak"], arms["w2s"], arms["gold"], clusters=clusters)
    row: dict[str, Any] = {"n": gain.n, "draws": cell.draws, "scope": scope(cell.draws)}
    for name in COLUMNS:
        row |= share(f"acc_{name}", arms.get(name, ()))
    row |= difference("gain", gain) | {"gain_part": gain.diff * gain.n / cell.n}
    return row | ratio_columns("pgr_gold", ratio, status)
