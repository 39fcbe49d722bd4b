"""The logs, looked at by cells and by arms: which runs a number is made of."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from string import ascii_uppercase
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from w2s_icl.analysis.logs import KEY, Logs
from w2s_icl.analysis.stats.paired import Floats
from w2s_icl.analysis.surface_rule import cross_fitted
from w2s_icl.record import FILE, MISSING_LIMIT, SELF, CellKey, short_name

DEFINITIONS: Mapping[str, tuple[str, str, str]] = {
    "pgr_gold": ("weak", "w2s", "gold"),
    "pgr_zero": ("weak", "w2s", "strong0"),
    "pgr_goldfloor": ("weak_gold", "w2s", "gold"),
    "egr": ("strong0", "w2s", "gold"),
}
"""Ratios by name: base, treated, ceiling. (treated - base) / (ceiling - base)."""

COLUMNS = ("weak", "strong0", "w2s", "gold")  # runs whose accuracy every row of `cells` carries

# arms in the order of the tables; others follow by name
ARMS = ("weak", "gold", "random", "noise_matched", "unlabelled", SELF, "flipped")


@dataclass(frozen=True)
class Common:
    """Questions on which runs are compared."""

    places: NDArray[np.intp]  # rows of `Logs.questions` that all the runs answered; shape (n,)
    n_union: int  # questions that any of the runs was asked

    @property
    def n(self) -> int:
        """Questions that all runs answered."""
        return len(self.places)

    @property
    def missing(self) -> float:
        """Share of `n_union` that some run has no answer to."""
        return 1 - self.n / self.n_union if self.n_union else 1.0

    @property
    def usable(self) -> bool:
        """Whether numbers are made of them."""
        return self.n > 0 and self.missing <= MISSING_LIMIT


class Arm(NamedTuple):
    """One kind of run of a cell, on the questions of the cell; matrices are (n, draws)."""

    runs: tuple[int, ...]  # rows of the logs, one per draw
    letters: NDArray[np.str_]  # of the first epoch, "" where unread
    correct: Floats
    unparsed: int  # over all draws and epochs


@dataclass(frozen=True)
class Cell(Common):
    """Everything that one (weak, strong, shots) compares, on the same questions."""

    weak: str
    strong: str
    shots: int
    arms: Mapping[str, Arm]  # those that were run: weak, strong0, w2s, gold, weak_gold

    @property
    def draws(self) -> int:
        """Draws of the demonstrations."""
        return len(self.arms["w2s"].runs) if "w2s" in self.arms else 0

    def compares(self, *arms: str) -> bool:
        """Whether it has demonstrations, and these arms can be compared."""
        return self.shots > 0 and self.usable and all(arm in self.arms for arm in arms)

    def status(self, definition: str) -> str:
        """Why a ratio is not computed at all; "" where it is."""
        if self.shots == 0:
            return "trivial"
        if self.weak == self.strong and definition != "egr":
            return "self"
        return "" if self.compares(*DEFINITIONS[definition]) else "incomplete"

    def columns(self, definition: str) -> tuple[Floats, Floats, Floats]:
        """Correctness of base, treated and ceiling; shape (n,) or (n, draws)."""
        base, treated, ceiling = (self.arms[arm].correct for arm in DEFINITIONS[definition])
        return base, treated, ceiling


class ArmRuns(NamedTuple):
    """One way to prompt the strong model of a pair, at one shot count."""

    weak: str
    strong: str
    shots: int
    arm: str  # weak, gold, self or the kind of a control, and the prompt unless that is plain
    labels: str  # this and the next two as the logs write them
    labelled_by: str
    prompt: str
    runs: Mapping[int, int]  # rows of the logs by draw


# what is compared: a run without draws, or the runs by draw of one or several shot counts
Column = int | Sequence[Mapping[int, int]]


@dataclass(frozen=True)
class Compared(Common):
    """Columns on the questions and draws that all of them have."""

    runs: NDArray[np.intp]  # rows of the logs that are compared
    draws: tuple[int, ...]  # in order
    # correctness, averaged over the shot counts of a column: (n,) without draws, else (n, draws)
    columns: tuple[Floats, ...]


class Rule(NamedTuple):
    """The surface rule, cross-fitted on the gold answers of the test; shape (questions,)."""

    right: NDArray[np.bool_]  # False off the test
    knows: Floats  # its probability of the right option minus that of a guess; nan off the test


class Experiment:
    """The logs, looked at by cells and by arms."""

    def __init__(self, logs: Logs) -> None:
        """Index the runs of `logs`."""
        self.logs, self.declaration = logs, logs.declaration
        columns = ["draw", "split", "model", "labels", "weak", "shots", "prompt"]
        own = logs.runs[columns][logs.runs["order"] == 0]  # other orders are for `repeats` alone
        # rows of the logs by draw, of each (split, model, labels, weak, shots, prompt)
        self.draws: dict[tuple[Any, ...], dict[int, int]] = {}
        for run, draw, *key in own.sort_values("draw", kind="stable").itertuples(name=None):
            self.draws.setdefault(tuple(key), {})[draw] = run
        every = pd.concat([logs.planned[list(KEY)], logs.runs[list(KEY)]])
        self._keys = [CellKey(*row) for row in every.itertuples(index=False, name=None)]
        # those on the test with the plain prompt
        self._plain = [key for key in self._keys if key.split == "test" and not key.prompt]

    @cached_property
    def models(self) -> list[str]:
        """All models in the order of the study file; others by accuracy, weakest first."""
        named = {name for key in self._keys for name in (key.model, key.weak)} - {""}
        models = {name for name in named if not name.startswith(FILE)}
        declared = [name for name in self.declaration.models if name in models]

        def accuracy(name: str) -> tuple[float, str]:
            run = self.zero_shot(name)
            right = np.array([]) if run is None else self.logs.correct[run]
            return math.inf if np.isnan(right).all() else float(np.nanmean(right)), name

        return [*dict.fromkeys(declared), *sorted(models.difference(declared), key=accuracy)]

    @cached_property
    def pairs(self) -> list[tuple[str, str]]:
        """(weak, strong) that were planned or run on the test, in the order of `models`."""
        of = {(k.weak, k.model) for k in self._keys if k.labels == "weak" and k.split == "test"}
        return [(w, s) for s in self.models for w in self.models if (w, s) in of]

    @cached_property
    def shots(self) -> list[int]:
        """Shot counts that were planned or run on the test with the plain prompt, 0 first."""
        return sorted({0, *(key.shots for key in self._plain)})

    @cached_property
    def headline(self) -> tuple[int, ...]:
        """Shot counts that the verdict is about: the study's, or the largest with weak labels."""
        given = [key.shots for key in self._plain if key.labels == "weak"]
        study = tuple(shots for shots in self.declaration.headline if shots > 0)
        return study or ((max(given),) if given else ())

    @cached_property
    def asked(self) -> pd.DataFrame:
        """The test questions, as `Logs.questions`."""
        of_test = self.logs.correct[self.logs.runs["split"] == "test"]
        return self.logs.questions.iloc[np.flatnonzero((~np.isnan(of_test)).any(axis=0))]

    def zero_shot(self, model: str, split: str = "test", prompt: str = "") -> int | None:
        """The run of a model without demonstrations."""
        return self.draws.get((split, model, "", "", 0, prompt), {}).get(0)

    def by_draw(self, model: str, labels: str, shots: int, weak: str = "") -> dict[int, int]:
        """The plain runs on the test, by draw; those without demonstrations where `shots` is 0."""
        key = (labels, weak, shots) if shots else ("", "", 0)
        return self.draws.get(("test", model, *key, ""), {})

    def base(self, strong: str, prompt: str = "") -> tuple[str, Column]:
        """What gains are counted from: zero-shot, asked in the same way; no draw if not run."""
        # nothing is disclosed where there are no demonstrations
        same = " ".join(w for w in prompt.split() if not w.startswith("disclosure="))
        run = self.zero_shot(strong, prompt=same)
        if run is None:
            same, run = "", self.zero_shot(strong)
        return f"zero_shot {same}".rstrip(), [{}] if run is None else run

    def matched(self, first: Mapping[int, int], second: Mapping[int, int]) -> dict[int, int]:
        """The `second` runs, by draw, without those known to show other questions or options.

        Known: both this run and the draw's `first` say what they show, and it differs.
        """
        shown = self.logs.runs[["demo_ids", "demo_choices"]].to_numpy()

        def differ(a: int, b: int) -> bool:
            return any(x and y and x != y for x, y in zip(shown[a], shown[b], strict=True))

        return {draw: run for draw, run in second.items() if not differ(first.get(draw, run), run)}

    def arms(self, weak: str, strong: str, shots: int) -> dict[str, ArmRuns]:
        """The arms of a pair that were run, by name; the main one first, then its controls."""
        arms: list[ArmRuns] = []
        for (split, model, labels, by, k, prompt), runs in self.draws.items():
            if not labels or (split, model, k) != ("test", strong, shots):
                continue
            # a model's own labels are "weak" ones in the logs; labels of no model are everybody's
            itself = labels == "weak" and by == strong != weak
            file = short_name(by) if by.startswith(FILE) else ""
            if itself or file or by in ("", weak):
                name = " ".join(filter(None, (SELF if itself else labels, file, prompt)))
                arms.append(ArmRuns(weak, strong, shots, name, labels, by, prompt, runs))
        rank, end = {name: i for i, name in enumerate(ARMS)}, len(ARMS)
        arms.sort(key=lambda a: (rank.get(a.arm, end), a.prompt, rank.get(a.labels, end), a.arm))
        return {arm.arm: arm for arm in arms}

    def all_arms(self) -> Iterator[ArmRuns]:
        """The arms of every pair, at all shot counts of its strong model."""
        for weak, strong in self.pairs:
            mine = {key[4] for key in self.draws if key[:2] == ("test", strong)}
            for shots in sorted(mine - {0}):
                yield from self.arms(weak, strong, shots).values()

    def compare(self, *columns: Column) -> Compared:
        """Columns on the questions and draws that all of them have."""
        drawn = [set(runs) for c in columns if not isinstance(c, int) for runs in c]
        draws = tuple(sorted(set.intersection(*drawn))) if drawn else ()
        grids = [
            np.array([[c]] if isinstance(c, int) else [[of[d] for d in draws] for of in c], np.intp)
            for c in columns
        ]
        rows = np.unique(np.concatenate([grid.ravel() for grid in grids]))
        common = self.common(rows if draws or not drawn else [])
        correct = [self.logs.correct[grid] for grid in grids]
        averaged = tuple(of[:, :, common.places].mean(axis=0).T for of in correct)
        return Compared(common.places, common.n_union, rows, draws, averaged)

    @cached_property
    def rule(self) -> Rule:
        """The surface rule, cross-fitted on the gold answers of the test."""
        choices, gold = self.asked["choices"], self.asked["gold"].map(ascii_uppercase.index)
        chosen, probability = cross_fitted(choices.tolist(), gold.tolist())
        test = self.logs.questions.index.isin(choices.index)
        right, knows = np.zeros(len(test), dtype=bool), np.full(len(test), np.nan)
        right[test] = chosen == gold
        knows[test] = probability - 1 / choices.map(len).to_numpy()
        return Rule(right, knows)

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """Every (weak, strong, shots), run or planned."""
        return tuple(self._cell(weak, strong, k) for weak, strong in self.pairs for k in self.shots)

    def _cell(self, weak: str, strong: str, shots: int) -> Cell:
        w2s = self.by_draw(strong, "weak", shots, weak)
        gold = self.matched(w2s, self.by_draw(strong, "gold", shots))
        if w2s and gold:  # a draw that one lacks is dropped from both
            w2s, gold = ({d: of[d] for d in w2s if d in gold} for of in (w2s, gold))
        weak0, strong0 = (self.by_draw(model, "", 0) for model in (weak, strong))
        by_draw = {"weak": weak0, "strong0": strong0, "w2s": w2s, "gold": gold}
        runs = {arm: list(of.values()) for arm, of in by_draw.items() if of}
        common = self.common([run for of in runs.values() for run in of])
        arms = {arm: self._arm(of, common.places) for arm, of in runs.items()}
        # an extra, which takes nothing from the rest: only with every draw and question of the cell
        extra = self.by_draw(weak, "gold", shots)
        if shots and w2s and w2s.keys() <= extra.keys():
            weak_gold = self._arm([extra[draw] for draw in w2s], common.places)
            if not np.isnan(weak_gold.correct).any():
                arms["weak_gold"] = weak_gold
        return Cell(common.places, common.n_union, weak, strong, shots, arms)

    def common(self, runs: Sequence[int] | NDArray[np.intp]) -> Common:
        """Questions that all runs answered, and how many any was asked."""
        if not len(runs):
            return Common(np.array([], dtype=np.intp), 0)
        has = ~np.isnan(self.logs.correct[runs])
        asked = int(self.logs.runs["asked"].to_numpy()[runs].max())
        return Common(np.flatnonzero(has.all(axis=0)), max(int(has.any(axis=0).sum()), asked))

    def _arm(self, runs: Sequence[int], places: NDArray[np.intp]) -> Arm:
        grid = np.ix_(np.array(runs, dtype=np.intp), places)
        unread = int(self.logs.unread[grid].sum())
        return Arm(tuple(runs), self.logs.letters[grid].T, self.logs.correct[grid].T, unread)
