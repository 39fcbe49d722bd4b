"""The logs, looked at by cells and by arms: which runs a number is made of."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from string import ascii_uppercase
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from w2s_icl.analysis.declaration import Declaration
from w2s_icl.analysis.logs import KEY, Logs
from w2s_icl.analysis.surface_rule import cross_fitted, fit_rule
from w2s_icl.record import FILE, MISSING_LIMIT, SELF, short_name

DEFINITIONS: Mapping[str, tuple[str, str, str]] = {
    "pgr_gold": ("weak", "w2s", "gold"),
    "pgr_zero": ("weak", "w2s", "strong0"),
    "pgr_goldfloor": ("weak_gold", "w2s", "gold"),
    "egr": ("strong0", "w2s", "gold"),
}
"""Ratios by name: base, treated, ceiling. (treated - base) / (ceiling - base)."""

COLUMNS = ("weak", "strong0", "w2s", "gold")
"""Runs whose accuracy every row of `cells` carries."""

Floats = NDArray[np.float64]
Texts = NDArray[np.str_]


@dataclass(frozen=True)
class Arm:
    """One kind of run of a cell, on the questions of `Cell.places`.

    Attributes:
        runs: Rows of the logs, one per draw.
        letters: Of the first epoch, shape (n, draws); "" where unread.
        correct: Shape (n, draws).
        unparsed: Replies that could not be read, over all draws and epochs.
    """

    runs: tuple[int, ...]
    letters: Texts
    correct: Floats
    unparsed: int


@dataclass(frozen=True)
class Cell:
    """Everything that one (weak, strong, shots) compares, on the same questions.

    Attributes:
        weak: The model that wrote the labels.
        strong: The model that was prompted.
        shots: Demonstrations in the prompt.
        arms: By name: weak, strong0, w2s, gold, weak_gold; those that were run.
        places: Rows of `Logs.questions` on which all runs have an answer; shape (n,).
        n_union: Questions that any run was asked.
        missing: Share of `n_union` that some run of the cell has no answer to.
    """

    weak: str
    strong: str
    shots: int
    arms: Mapping[str, Arm]
    places: NDArray[np.intp]
    n_union: int
    missing: float

    @property
    def n(self) -> int:
        """Questions that all arms answered."""
        return len(self.places)

    @property
    def draws(self) -> int:
        """Draws of the demonstrations."""
        return len(self.arms["w2s"].runs) if "w2s" in self.arms else 0

    def status(self, definition: str) -> str | None:
        """Why a ratio is not computed at all; None where it is."""
        if self.shots == 0:
            return "trivial"
        if self.weak == self.strong and definition != "egr":
            return "self"
        if any(arm not in self.arms for arm in DEFINITIONS[definition]):
            return "incomplete"
        if self.n == 0 or self.missing > MISSING_LIMIT:
            return "incomplete"
        return None

    def columns(self, definition: str) -> tuple[Floats, Floats, Floats]:
        """Correctness of base, treated and ceiling; shape (n,) or (n, draws)."""
        base, treated, ceiling = (self.arms[arm].correct for arm in DEFINITIONS[definition])
        return base, treated, ceiling


@dataclass(frozen=True)
class ArmRuns:
    """One way to prompt the strong model of a pair, at one shot count.

    Attributes:
        name: weak, gold, self or the kind of a control, with the prompt behind it where that is
            not the plain one.
        labels: Kind of the labels.
        labelled_by: Model that wrote them, as the logs write it; "" where none did.
        prompt: As the logs write it.
        runs: Rows of the logs by draw.
    """

    name: str
    labels: str
    labelled_by: str
    prompt: str
    runs: Mapping[int, int]


Column = int | Sequence[Mapping[int, int]]
"""What is compared: a run without draws, or the runs by draw of one or several shot counts."""


@dataclass(frozen=True)
class Compared:
    """Columns on the questions and draws that all of them have.

    Attributes:
        places: Rows of `Logs.questions`; shape (n,).
        draws: In order.
        n_union: Questions that any run was asked.
        missing: Share of `n_union` that some run has no answer to.
        columns: Correctness, averaged over the shot counts of a column; shape (n,) for a run
            without draws, else (n, draws).
    """

    places: NDArray[np.intp]
    draws: tuple[int, ...]
    n_union: int
    missing: float
    columns: tuple[Floats, ...]

    @property
    def n(self) -> int:
        """Questions."""
        return len(self.places)

    @property
    def usable(self) -> bool:
        """Whether numbers are made of them."""
        return self.n > 0 and self.missing <= MISSING_LIMIT


class Experiment:
    """The logs, looked at by cells and by arms."""

    def __init__(self, logs: Logs) -> None:
        """Index the runs of `logs`."""
        self.logs = logs
        columns = ["task", "split", "model", "labels", "weak", "shots", "prompt", "draw"]
        self._draws: dict[tuple[Any, ...], dict[int, int]] = {}
        self._shown: dict[tuple[str, int], dict[tuple[str, str, str], dict[int, int]]] = {}
        for run, (*key, draw) in enumerate(logs.runs[columns].itertuples(index=False, name=None)):
            by_draw = self._draws.setdefault(tuple(key), {})
            by_draw[draw] = run
            task, split, model, labels, weak, shots, prompt = key
            if task == "few_shot" and split == "test":
                self._shown.setdefault((model, shots), {})[labels, weak, prompt] = by_draw
        self._rules: dict[tuple[Any, ...], NDArray[np.bool_]] = {}
        self.made: dict[str, Any] = {}  # tables, by `tables.cells.once`

    @property
    def declaration(self) -> Declaration:
        """What the study of the earliest log declared."""
        return self.logs.declaration

    @cached_property
    def _keys(self) -> pd.DataFrame:
        """Cells that were planned or run."""
        columns = [self.logs.planned[list(KEY)], self.logs.runs[list(KEY)]]
        return pd.concat(columns, ignore_index=True).drop_duplicates(ignore_index=True)

    @cached_property
    def models(self) -> list[str]:
        """All models in the order of the study file; others by accuracy, weakest first."""
        declared = {name: i for i, name in enumerate(self.declaration.models)}
        last = len(declared)

        def order(name: str) -> tuple[int, float, str]:
            run = self.zero_shot(name) if name not in declared else None
            right = np.array([]) if run is None else self.logs.correct[run]
            answered = right[~np.isnan(right)]
            accuracy = float(answered.mean()) if len(answered) else math.inf
            return declared.get(name, last), accuracy, name

        named = {*self._keys["model"], *self._keys["weak"]} - {""}
        return sorted((name for name in named if not name.startswith(FILE)), key=order)

    @cached_property
    def pairs(self) -> list[tuple[str, str]]:
        """(weak, strong) that were planned or run on the test, in the order of `models`."""
        keys = self._keys[(self._keys["labels"] == "weak") & (self._keys["split"] == "test")]
        order = {name: i for i, name in enumerate(self.models)}
        return sorted(
            set(keys[["weak", "model"]].itertuples(index=False, name=None)),
            key=lambda pair: (order[pair[1]], order[pair[0]]),
        )

    @cached_property
    def shots(self) -> list[int]:
        """Shot counts that were planned or run on the test with the plain prompt, 0 first."""
        plain = self._keys[(self._keys["split"] == "test") & (self._keys["prompt"] == "")]
        return sorted({0, *(int(k) for k in plain["shots"])})

    @cached_property
    def headline(self) -> tuple[int, ...]:
        """Shot counts that the verdict is about: the study's, or the largest with weak labels."""
        plain = self._keys[(self._keys["split"] == "test") & (self._keys["prompt"] == "")]
        given = plain.loc[plain["labels"] == "weak", "shots"]
        study = tuple(k for k in self.declaration.headline if k > 0)
        return study or ((int(given.max()),) if len(given) else ())

    @cached_property
    def test(self) -> NDArray[np.intp]:
        """Rows of `Logs.questions` that are test questions."""
        runs = (self.logs.runs["split"] == "test").to_numpy()
        return np.flatnonzero((~np.isnan(self.logs.correct[runs])).any(axis=0))

    def zero_shot(self, model: str, split: str = "test", prompt: str = "") -> int | None:
        """The run of a model without demonstrations."""
        return self._draws.get(("zero_shot", split, model, "", "", 0, prompt), {}).get(0)

    def few_shot(
        self, model: str, labels: str, shots: int, weak: str = "", prompt: str = ""
    ) -> dict[int, int]:
        """Runs by draw."""
        runs = self._draws.get(("few_shot", "test", model, labels, weak, shots, prompt), {})
        return dict(sorted(runs.items()))

    def base(self, strong: str, prompt: str = "") -> tuple[str, int | None]:
        """Name and run that an arm's gain is counted from: zero-shot, asked in the same way."""
        # nothing is disclosed where there are no demonstrations
        same = " ".join(w for w in prompt.split() if not w.startswith("disclosure="))
        run = self.zero_shot(strong, prompt=same) if same else None
        if run is not None:
            return f"zero_shot {same}", run
        return "zero_shot", self.zero_shot(strong)

    def matched(self, first: Mapping[int, int], second: Mapping[int, int]) -> dict[int, int]:
        """Those of the `second` runs, by draw, that show what the first shows in the same draw.

        Where a log does not say what was shown, the run stays.
        """
        shown = self.logs.runs["demo_ids"].tolist()
        choices = self.logs.runs["demo_choices"].tolist()

        def differ(of: Sequence[Any], a: int, b: int) -> bool:
            return bool(of[a] and of[b] and of[a] != of[b])

        return {
            draw: run
            for draw, run in second.items()
            if draw not in first
            or not (differ(shown, first[draw], run) or differ(choices, first[draw], run))
        }

    def arm_shots(self, strong: str) -> list[int]:
        """Shot counts at which a model was prompted in any way."""
        return sorted({shots for model, shots in self._shown if model == strong})

    def arms(self, weak: str, strong: str, shots: int) -> dict[str, ArmRuns]:
        """The arms of a pair that were run, by name; the main one first, then its controls."""
        arms: list[ArmRuns] = []
        for (labels, by, prompt), runs in self._shown.get((strong, shots), {}).items():
            # a model's own labels are "weak" ones in the logs; labels of no model are everybody's
            itself = labels == "weak" and by == strong != weak
            file = short_name(by) if by.startswith(FILE) else ""
            if itself or file or by in ("", weak):
                name = " ".join(filter(None, (SELF if itself else labels, file, prompt)))
                arms.append(ArmRuns(name, labels, by, prompt, dict(sorted(runs.items()))))
        rank = {name: i for i, name in enumerate(ARMS)}
        last = len(rank)
        arms.sort(
            key=lambda a: (rank.get(a.name, last), a.prompt, rank.get(a.labels, last), a.name)
        )
        return {arm.name: arm for arm in arms}

    def compare(self, *columns: Column) -> Compared:
        """Columns on the questions and draws that all of them have."""
        drawn = [set(runs) for c in columns if not isinstance(c, int) for runs in c]
        draws = tuple(sorted(set.intersection(*drawn))) if drawn else ()
        grids = [
            [[c]] if isinstance(c, int) else [[runs[d] for d in draws] for runs in c]
            for c in columns
        ]
        rows = sorted({run for grid in grids for row in grid for run in row})
        places, n_union = self._common(rows if draws or not drawn else [])
        return Compared(
            places,
            draws,
            n_union,
            1 - len(places) / n_union if n_union else 1.0,
            tuple(
                self.logs.correct[np.array(grid, dtype=np.intp)][:, :, places].mean(axis=0).T
                for grid in grids
            ),
        )

    def rule_right(self, run: int) -> NDArray[np.bool_] | None:
        """Where the surface rule fitted on the labels that a run was shown is right.

        Shape (questions,), False where a question is no test question; None where the log does not
        say what was shown, or no labels were.
        """
        shown, labels = self.logs.runs[["demo_choices", "demo_labels"]].iloc[run]
        if not shown or len(shown) != len(labels) or not all(labels):
            return None
        if (shown, labels) not in self._rules:
            rule = fit_rule(shown, [ascii_uppercase.index(letter) for letter in labels])
            self._rules[shown, labels] = self._right(rule.choose(self._test_choices))
        return self._rules[shown, labels]

    @cached_property
    def _cross_fitted(self) -> tuple[NDArray[np.intp], Floats]:
        return cross_fitted(self._test_choices, self._gold[self.test].tolist())

    @cached_property
    def cross_fitted_right(self) -> NDArray[np.bool_]:
        """Where the surface rule cross-fitted on the gold answers of the test is right."""
        return self._right(self._cross_fitted[0])

    @cached_property
    def rule_knows(self) -> Floats:
        """That rule's probability of the right option minus a guess's; nan off the test."""
        knows = np.full(len(self.logs.questions), np.nan)
        guess = 1 / np.array([len(choices) for choices in self._test_choices])
        knows[self.test] = self._cross_fitted[1] - guess
        return knows

    @cached_property
    def _test_choices(self) -> list[tuple[str, ...]]:
        return self.logs.questions["choices"].iloc[self.test].tolist()

    @cached_property
    def _gold(self) -> NDArray[np.intp]:
        return np.array([ascii_uppercase.index(g) for g in self.logs.questions["gold"]])

    def _right(self, chosen: NDArray[np.intp]) -> NDArray[np.bool_]:
        right = np.zeros(len(self.logs.questions), dtype=bool)
        right[self.test] = chosen == self._gold[self.test]
        return right

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """Every (weak, strong, shots), run or planned."""
        return tuple(self.cell(weak, strong, k) for weak, strong in self.pairs for k in self.shots)

    def cell(self, weak: str, strong: str, shots: int) -> Cell:
        """What one (weak, strong, shots) compares."""
        runs: dict[str, dict[int, int]] = {}
        for arm, run in (("weak", self.zero_shot(weak)), ("strong0", self.zero_shot(strong))):
            if run is not None:
                runs[arm] = {0: run}
        if shots:
            w2s = self.few_shot(strong, "weak", shots, weak)
            gold = self.matched(w2s, self.few_shot(strong, "gold", shots))
            # a draw that one arm lacks is dropped from both; an arm that was not run drops nothing
            draws = sorted(set(w2s) & set(gold) if w2s and gold else {*w2s, *gold})
            for arm, by_draw in (("w2s", w2s), ("gold", gold)):
                if by_draw and draws:
                    runs[arm] = {draw: by_draw[draw] for draw in draws}
        elif "strong0" in runs:
            runs["w2s"] = runs["gold"] = runs["strong0"]
        places, n_union = self._common([run for of in runs.values() for run in of.values()])
        arms = {arm: self._arm(list(of.values()), places) for arm, of in runs.items()}
        if shots and "w2s" in runs:
            self._add_weak_gold(arms, weak, shots, list(runs["w2s"]), places)
        missing = 1 - len(places) / n_union if n_union else 1.0
        return Cell(weak, strong, shots, arms, places, n_union, missing)

    def _common(self, runs: Sequence[int]) -> tuple[NDArray[np.intp], int]:
        """Questions that all runs answered, and how many any was asked."""
        if not runs:
            return np.array([], dtype=np.intp), 0
        has = ~np.isnan(self.logs.correct[runs])
        asked = int(self.logs.runs["asked"].to_numpy()[runs].max())
        return np.flatnonzero(has.all(axis=0)), max(int(has.any(axis=0).sum()), asked)

    def _arm(self, runs: Sequence[int], places: NDArray[np.intp]) -> Arm:
        grid = np.ix_(np.array(runs, dtype=np.intp), places)
        unread = int(self.logs.unread[grid].sum())
        return Arm(tuple(runs), self.logs.letters[grid].T, self.logs.correct[grid].T, unread)

    def _add_weak_gold(
        self,
        arms: dict[str, Arm],
        weak: str,
        shots: int,
        draws: Sequence[int],
        places: NDArray[np.intp],
    ) -> None:
        """The weak model with gold demonstrations: an extra, which takes nothing from the rest.

        It joins a cell only where it has every draw and every question of the cell.
        """
        runs = self.few_shot(weak, "gold", shots)
        if all(draw in runs for draw in draws):
            arm = self._arm([runs[draw] for draw in draws], places)
            if not np.isnan(arm.correct).any():
                arms["weak_gold"] = arm


ARMS = ("weak", "gold", "random", "noise_matched", "unlabelled", SELF, "flipped")
"""Arms in the order of the tables; others follow by name."""
