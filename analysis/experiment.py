"""The logs, looked at by cells and by arms: which runs a number is made of."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from string import ascii_uppercase
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from w2s_icl.analysis.logs import KEY, MISSING_LIMIT, Logs
from w2s_icl.analysis.surface_rule import cross_fitted, fit_rule

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
        letters: Shape (n, draws); "" where unread.
        correct: Shape (n, draws).
    """

    runs: tuple[int, ...]
    letters: Texts
    correct: Floats

    @property
    def unparsed(self) -> int:
        """Replies that could not be read, over all draws; of the first epoch."""
        return int((self.letters == "").sum())


@dataclass(frozen=True)
class Cell:
    """Everything that one (weak, strong, shots) compares, on the same questions.

    Attributes:
        weak: The model that labelled.
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
class Treatment:
    """One way to prompt the strong model of a pair, at one shot count.

    Attributes:
        name: weak, gold, self, the kind of a control, "weak via MID" for a chain, each with the
            prompt behind it where that is not the plain one.
        labels: Kind of the labels.
        giver: Who gave them, as the logs write it; "" where nobody did.
        prompt: As the logs write it.
        runs: Rows of the logs by draw.
    """

    name: str
    labels: str
    giver: str
    prompt: str
    runs: Mapping[int, int]

    @property
    def depth(self) -> int:
        """Models that the labels went through; 0 where no model labelled."""
        return self.giver.count(">") + 1 if self.giver else 0


Column = int | Sequence[Mapping[int, int]]
"""What is compared: a run without draws, or the runs by draw of one or several shot counts."""


@dataclass(frozen=True)
class Joined:
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
            found = self._draws.setdefault(tuple(key), {})
            found[draw] = run
            task, split, model, labels, weak, shots, prompt = key
            if task == "few_shot" and split == "test":
                self._shown.setdefault((model, shots), {})[labels, weak, prompt] = found
        self._rules: dict[tuple[Any, ...], NDArray[np.bool_]] = {}
        self.made: dict[str, Any] = {}  # by `_once`

    @cached_property
    def _keys(self) -> pd.DataFrame:
        """Cells that were planned or run."""
        columns = [self.logs.planned[list(KEY)], self.logs.runs[list(KEY)]]
        return pd.concat(columns, ignore_index=True).drop_duplicates(ignore_index=True)

    @cached_property
    def models(self) -> list[str]:
        """All models, in the order of their zero-shot accuracy, weakest first; unknown last."""
        both = dict.fromkeys([*self._keys["model"], *self._keys["weak"]])
        names = [name for name in both if name and not is_several(name)]
        accuracy: dict[str, float] = {}
        for name in names:
            run = self.zero_shot(name)
            right = np.array([]) if run is None else self.logs.correct[run]
            answered = right[~np.isnan(right)]
            accuracy[name] = float(answered.mean()) if len(answered) else math.inf
        return sorted(names, key=lambda name: (accuracy[name], name))

    @cached_property
    def pairs(self) -> list[tuple[str, str]]:
        """(weak, strong) that were planned or run on the test, in the order of `models`."""
        keys = self._keys[(self._keys["labels"] == "weak") & (self._keys["split"] == "test")]
        found = keys.loc[~keys["weak"].map(is_several), ["weak", "model"]].drop_duplicates()
        order = {name: i for i, name in enumerate(self.models)}
        last = len(order)
        return sorted(
            found.itertuples(index=False, name=None),
            key=lambda pair: (order.get(pair[1], last), order.get(pair[0], last), pair),
        )

    @cached_property
    def shots(self) -> list[int]:
        """Shot counts that were planned or run on the test with the plain prompt, 0 first."""
        plain = self._keys[(self._keys["split"] == "test") & (self._keys["prompt"] == "")]
        return sorted({0, *(int(k) for k in plain["shots"])})

    @cached_property
    def headline(self) -> tuple[int, ...]:
        """Shot counts that the verdict is about: declared, or the largest with weak labels."""
        declared = tuple(k for k in self.logs.metadata.get("headline") or () if k > 0)
        plain = self._keys[(self._keys["split"] == "test") & (self._keys["prompt"] == "")]
        given = plain.loc[plain["labels"] == "weak", "shots"]
        return declared or ((int(given.max()),) if len(given) else ())

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
        found = self._draws.get(("few_shot", "test", model, labels, weak, shots, prompt), {})
        return dict(sorted(found.items()))

    def base(self, strong: str, prompt: str = "") -> tuple[str, int | None]:
        """Name and run that an arm's gain is counted from: zero-shot, asked in the same way."""
        # nothing is disclosed and no reasoning shown where there are no demonstrations
        words = [w for w in prompt.split() if not w.startswith("disclosure=")]
        same = " ".join(words).replace("cot=reasoning", "cot=bare")
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

    def arms(self, weak: str, strong: str, shots: int) -> dict[str, Treatment]:
        """The arms of a pair that were run, by name; the main one first, then its controls."""
        found: dict[str, list[Treatment]] = defaultdict(list)
        for (labels, giver, prompt), runs in self._shown.get((strong, shots), {}).items():
            kind = _arm_name(weak, strong, labels, giver)
            if kind is not None:
                name = f"{kind} {prompt}".rstrip()
                runs = dict(sorted(runs.items()))
                found[name].append(Treatment(name, labels, giver, prompt, runs))
        arms = [
            arm if len(same) == 1 else replace(arm, name=f"{name} of {arm.giver}")
            for name, same in found.items()
            for arm in same
        ]
        rank = {name: i for i, name in enumerate(ARMS)}
        arms.sort(key=lambda a: (a.prompt, a.depth > 1, rank.get(a.labels, len(ARMS)), a.name))
        arms.sort(key=lambda a: rank.get(a.name, len(ARMS)))
        return {arm.name: arm for arm in arms}

    def joined(self, *columns: Column) -> Joined:
        """Columns on the questions and draws that all of them have."""
        drawn = [set(runs) for c in columns if not isinstance(c, int) for runs in c]
        draws = tuple(sorted(set.intersection(*drawn))) if drawn else ()
        grids = [
            [[c]] if isinstance(c, int) else [[runs[d] for d in draws] for runs in c]
            for c in columns
        ]
        rows = sorted({run for grid in grids for row in grid for run in row})
        places, n_union = self._common(rows if draws or not drawn else [])
        return Joined(
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
    def cross_fitted_right(self) -> NDArray[np.bool_]:
        """Where the surface rule cross-fitted on the gold answers of the test is right."""
        gold = self._gold[self.test]
        return self._right(cross_fitted(self._test_choices, gold.tolist()))

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

    def cells(self) -> Sequence[Cell]:
        """Every (weak, strong, shots), run or planned."""
        return self._cells

    @cached_property
    def _cells(self) -> tuple[Cell, ...]:
        return tuple(self.cell(weak, strong, k) for weak, strong in self.pairs for k in self.shots)

    def cell(self, weak: str, strong: str, shots: int) -> Cell:
        """What one (weak, strong, shots) compares."""
        found: dict[str, dict[int, int]] = {}
        for arm, run in (("weak", self.zero_shot(weak)), ("strong0", self.zero_shot(strong))):
            if run is not None:
                found[arm] = {0: run}
        if shots:
            by_draw = {
                "w2s": self.few_shot(strong, "weak", shots, weak),
                "gold": self.few_shot(strong, "gold", shots),
            }
            by_draw["gold"] = self.matched(by_draw["w2s"], by_draw["gold"])
            # a draw that one arm lacks is dropped from both; an arm that was not run drops nothing
            common = [set(runs) for runs in by_draw.values() if runs]
            draws = sorted(set.intersection(*common)) if common else []
            found |= {
                arm: {d: runs[d] for d in draws} for arm, runs in by_draw.items() if runs and draws
            }
        elif "strong0" in found:
            found["w2s"] = found["gold"] = found["strong0"]
        places, n_union = self._common([r for runs in found.values() for r in runs.values()])
        arms = {arm: self._arm(list(runs.values()), places) for arm, runs in found.items()}
        if shots and "w2s" in found:
            self._add_weak_gold(arms, weak, shots, list(found["w2s"]), places)
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
        return Arm(tuple(runs), self.logs.letters[grid].T, self.logs.correct[grid].T)

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


def is_several(giver: str) -> bool:
    """Whether this names a vote or a chain of models, not one model."""
    return "," in giver or ">" in giver


def _arm_name(weak: str, strong: str, labels: str, giver: str) -> str | None:
    """The arm that labels are in a pair; None where they are those of another pair."""
    if labels == "weak" and giver == strong != weak:
        return "self"
    first, _, via = giver.partition(">")
    if via:
        return f"{labels} via {via}" if first == weak else None
    return labels if giver in ("", weak) or "," in giver else None


ARMS = (
    *("weak", "gold", "random", "noise_matched", "unlabelled", "self", "flipped"),
    *("majority", "confident"),
)
"""Arms in the order of the tables; others follow by name."""
