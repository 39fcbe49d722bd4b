"""What the data of a pair carry: seven conditions, one claim, and one reading.

A gain over the zero-shot run has many causes: the format of the demonstrations, the topic, marks on
the surface of the options, the weak model's own errors. Each condition sets the weak labels against
an arm in which one of them is left and the rest is taken away. docs/columns.md has the list.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from w2s_icl.analysis.checks import cautions, void_reasons
from w2s_icl.analysis.experiment import Column, Compared, Experiment
from w2s_icl.analysis.sentences import listed
from w2s_icl.analysis.stats import (
    MIN_QUESTIONS,
    MIN_RANDOM_DRAWS,
    Difference,
    Floats,
    Line,
    gain_line,
    gap_recovered,
    holm,
    paired_difference,
)
from w2s_icl.analysis.tables import scope
from w2s_icl.analysis.verdict_words import Pair, sentence

State = Literal["holds", "fails", "equal", "undecided", "not run"]
Reading = Literal[
    "no gain",
    "format",
    "imitation",
    "no better than weak",
    "surface rule",
    "generalization",
    "not tested",
    "undecided",
]

ALPHA = 0.025
"""One-sided: a claim's adjusted p value lies below."""

CONTRASTS: Mapping[str, Mapping[str, float]] = {
    "beats_zero_shot": {"weak": 1, "strong0": -1},
    "beats_unlabelled": {"weak": 1, "unlabelled": -1},
    "beats_random": {"weak": 1, "random": -1},
    "keeps_half_the_gain": {"weak": 1, "strong0": -0.5, "noise_matched": -0.5},
    "beats_weak": {"weak": 1, "weak0": -1},
    "gap_established": {"gold": 1, "weak0": -1},
    "survives_surface_rule": {"weak": 1, "strong0": -1},
}
"""The conditions of a claim: weights of the arms in what must exceed 0; `strong0` and `weak0` are
zero-shot runs. That of the surface rule is the gain where the rule knows nothing."""

BESIDE: Mapping[str, Mapping[str, float]] = {
    "against_self": {"weak": 1, "self": -1},
    "against_noise_matched": {"weak": 1, "noise_matched": -1},
    "against_flipped": {"weak": 1, "flipped": -1},
}
"""Contrasts that are reported and decide nothing."""

CLAIMED = tuple(dict.fromkeys(arm for weights in CONTRASTS.values() for arm in weights))
"""The arms of a claim."""

BINS = 5
"""Equal-count bins of the questions, by what the surface rule knows of them."""


@dataclass(frozen=True)
class Condition:
    """One line of a verdict. Fractions; nan where nothing was compared.

    Attributes:
        name: As verdict.csv has it.
        text: What was compared, in words.
        state: "holds" where the 95% interval lies above 0, "fails" below it, "equal" inside the
            margin around it, "undecided" otherwise; "not run" where an arm is missing, incomplete
            or shows other demonstrations. "" for a contrast beside the claim.
        estimate: The difference.
        low: Lower end of its interval.
        high: Upper end.
        p: One-sided, of the difference being above 0.
        n: Questions.
        could_show: Smallest true difference that 80% of such studies would show.
        readable: The difference on the questions that all its runs answered readably.
        detail: Why it was not run or is undecided; "" where the numbers say it.
    """

    name: str
    text: str
    state: State | Literal[""]
    estimate: float = math.nan
    low: float = math.nan
    high: float = math.nan
    p: float = math.nan
    n: int = 0
    could_show: float = math.nan
    readable: float = math.nan
    detail: str = ""


@dataclass(frozen=True)
class Verdict:
    """What the data of one pair carry.

    Attributes:
        weak: The model that wrote the labels.
        strong: The model that was prompted.
        shots: Shot counts of the headline; correctness is averaged over them.
        draws: Draws that all arms of the claim which were run have in common.
        conditions: The seven, in order.
        beside: Contrasts that decide nothing, of the arms that were run.
        p: The largest of the seven p values; nan unless all were tested.
        p_holm: Adjusted for the number of pairs.
        void: Why no claim stands whatever the numbers, each reason in words.
        cautions: What else to know of the runs that it rests on.
        claim: Whether all seven hold, `p_holm` is below 0.025, there are three common draws, and
            nothing is void.
        reading: The first explanation that the data support.
        sentence: All of it in words.
        fit: The figure's rows: gain against what the surface rule knows; see `fit_table`.
    """

    weak: str
    strong: str
    shots: tuple[int, ...]
    draws: int
    conditions: tuple[Condition, ...]
    beside: tuple[Condition, ...]
    p: float
    p_holm: float
    void: tuple[str, ...]
    cautions: tuple[str, ...]
    claim: bool
    reading: Reading
    sentence: str
    fit: tuple[Mapping[str, Any], ...]


def verdicts(experiment: Experiment, names: Mapping[str, str] | None = None) -> list[Verdict]:
    """The verdict of each pair of different models at the study's headline.

    Sentences call the models by `names`, in full where absent.
    """
    pairs = [(w, s) for w, s in experiment.pairs if w != s] if experiment.headline else []
    headlines = [_Headline(experiment, w, s, names or {}) for w, s in pairs]
    tested = [tuple(map(of.condition, CONTRASTS)) for of in headlines]
    p = [float(np.max([c.p for c in conditions])) for conditions in tested]  # nan if one is
    return [
        _verdict(of, conditions, its_p, float(adjusted))
        for of, conditions, its_p, adjusted in zip(headlines, tested, p, holm(p), strict=True)
    ]


class _Headline:
    """The columns of one pair at the headline."""

    def __init__(
        self, experiment: Experiment, weak: str, strong: str, names: Mapping[str, str]
    ) -> None:
        self.experiment, self.weak, self.strong = experiment, weak, strong
        self.shots = shots = experiment.headline
        self.words = Pair(names.get(weak, weak), names.get(strong, strong))
        self.margin = experiment.declaration.margin
        self._arms = [experiment.arms(weak, strong, k) for k in shots]
        self.fit: tuple[Mapping[str, Any], ...] = ()

    @property
    def draws(self) -> int:
        """Draws that all arms of the claim have which were run at every shot count."""
        sets = [set(runs) for arm in CLAIMED for runs in self._shown(arm) or ()]
        return len(set.intersection(*sets)) if self._shown("weak") and sets else 0

    @property
    def runs(self) -> set[int]:
        """All runs that the claim rests on."""
        found = {run for arm in CLAIMED for runs in self._shown(arm) or () for run in runs.values()}
        zero = (self.experiment.zero_shot(model) for model in (self.weak, self.strong))
        return found | {run for run in zero if run is not None}

    def _shown(self, arm: str) -> list[Mapping[int, int]] | None:
        """Runs by draw at each shot count; None unless there are some at all of them."""
        if any(arm not in arms for arms in self._arms):
            return None
        return [arms[arm].runs for arms in self._arms]

    def _column(self, arm: str) -> Column | str:
        """The runs of an arm, or why there are none."""
        if arm in ("strong0", "weak0"):
            run = self.experiment.zero_shot(self.strong if arm == "strong0" else self.weak)
            return f"{self.words.arm(arm)} was not run" if run is None else run
        shown = self._shown(arm)
        if shown is not None:
            return self._same_demonstrations(arm, shown)
        counts = [k for k, arms in zip(self.shots, self._arms, strict=True) if arm not in arms]
        return f"{self.words.arm(arm)} was not run at {listed(counts)} shots"

    def _same_demonstrations(self, arm: str, shown: list[Mapping[int, int]]) -> Column | str:
        """The runs, or why they are no control of the weak labels: they show other questions."""
        demo_ids = self.experiment.logs.runs["demo_ids"]
        for mine, its in zip(self._shown("weak") or (), shown, strict=False):
            both = {draw: its[draw] for draw in set(mine) & set(its)}
            if not all(demo_ids[mine[d]] and demo_ids[run] for d, run in both.items()):
                return "the logs do not say which demonstrations were shown"
            for draw in sorted(set(both) - set(self.experiment.matched(mine, both))):
                return f"{self.words.arm(arm)}: other demonstrations in draw {draw}"
        return shown

    def _joined(self, *arms: str) -> tuple[Compared, list[int]] | str:
        """The columns of some arms and their runs, or why they cannot be compared."""
        columns: list[Column] = []
        for arm in arms:
            column = self._column(arm)
            if isinstance(column, str):
                return column
            columns.append(column)
        joined = self.experiment.compare(*columns)
        if not joined.n_union:
            return "the runs have no draw in common"
        if not joined.usable:
            return f"incomplete: {100 * joined.missing:.1f}% of the questions have no answer"
        runs: list[int] = []
        for column in columns:
            if isinstance(column, int):
                runs.append(column)
            else:
                runs += [by_draw[d] for by_draw in column for d in joined.draws]
        return joined, runs

    def condition(self, name: str) -> Condition:
        """One of the seven conditions."""
        blank = Condition(name, self.words.contrast(name), "not run")
        found = self._joined(*_arms(name))
        if isinstance(found, str):
            return replace(blank, detail=found)
        joined, runs = found
        known = self.experiment.rule_knows[joined.places]
        if name == "survives_surface_rule" and (len(known) < 3 or np.ptp(known) == 0):
            return replace(blank, detail="the surface rule tells no two questions apart")
        everything = self._decided(blank, joined, np.ones(joined.n, dtype=bool))
        read = (self.experiment.logs.unread[runs][:, joined.places] == 0).all(axis=0)
        if read.all():
            return replace(everything, readable=everything.estimate)
        readable = self._decided(blank, joined, read)
        condition = replace(everything, readable=readable.estimate)
        if readable.state != everything.state:
            detail = "depends on unread replies"
            return replace(condition, state="undecided", detail=detail)
        return condition

    def _decided(self, blank: Condition, joined: Compared, kept: NDArray[np.bool_]) -> Condition:
        """A condition on some of the questions."""
        n = int(kept.sum())
        if n < MIN_QUESTIONS:
            detail = f"only {n} questions, of at least {MIN_QUESTIONS}"
            return replace(blank, state="undecided", n=n, detail=detail)
        columns = {arm: of[kept] for arm, of in zip(_arms(blank.name), joined.columns, strict=True)}
        places = joined.places[kept]
        clusters = self.experiment.logs.questions["category"].to_numpy()[places]
        if blank.name == "survives_surface_rule":
            known = self.experiment.rule_knows[places]
            gained = columns["weak"], columns["strong0"]
            line = gain_line(*gained, known, clusters=clusters)
            if kept.all():
                self.fit = tuple(_fit_rows(*gained, known, line))
            return self._state(blank, line.intercept, follows=line.slope.low > 0)
        found = _contrast(columns, CONTRASTS[blank.name], clusters)
        condition = self._state(blank, found)
        if blank.name == "gap_established" and condition.state == "holds":
            ratio = gap_recovered(columns["weak0"], columns["weak"], columns["gold"])
            if ratio.status != "ok":
                detail = "too small for its share to have an interval"
                return replace(condition, state="undecided", detail=detail)
        return condition

    def _state(self, blank: Condition, d: Difference, *, follows: bool | None = None) -> Condition:
        """`follows` says of the surface rule whether the gain grows with what the rule knows."""
        state: State = "undecided"
        if d.low > 0:
            state = "holds"
        elif d.high < 0 if follows is None else follows:
            state = "fails"
        elif -self.margin < d.low and d.high < self.margin:
            state = "equal"
        measured = replace(blank, state=state, n=d.n, p=d.p_above, could_show=d.could_show)
        return replace(measured, estimate=d.diff, low=d.low, high=d.high)

    def beside(self) -> Iterator[Condition]:
        """Contrasts outside the claim, of the arms that were run."""
        for name, weights in BESIDE.items():
            found = self._joined(*weights)
            if not isinstance(found, str):
                joined, _ = found
                columns = dict(zip(weights, joined.columns, strict=True))
                clusters = self.experiment.logs.questions["category"].to_numpy()[joined.places]
                blank = Condition(name, self.words.contrast(name), "")
                difference = _contrast(columns, weights, clusters)
                yield replace(self._state(blank, difference), state="")


def _arms(condition: str) -> list[str]:
    """The arms that a condition compares; the ratio of the gap needs the weak labels too."""
    return list(dict.fromkeys([*CONTRASTS[condition], "weak"]))


def _contrast(
    columns: Mapping[str, Floats], weights: Mapping[str, float], clusters: Any
) -> Difference:
    def side(sign: int) -> Any:
        of_sign = [(arm, sign * w) for arm, w in weights.items() if sign * w > 0]
        return sum(w * columns[arm].reshape(len(clusters), -1) for arm, w in of_sign)

    return paired_difference(side(1), side(-1), clusters=clusters)


def _verdict(of: _Headline, conditions: tuple[Condition, ...], p: float, p_holm: float) -> Verdict:
    void = tuple(void_reasons(of.experiment, of.weak, of.runs, of.words))
    claim = (
        all(c.state == "holds" for c in conditions)
        and p_holm < ALPHA
        and of.draws >= MIN_RANDOM_DRAWS
        and not void
    )
    verdict = Verdict(
        weak=of.weak,
        strong=of.strong,
        shots=of.shots,
        draws=of.draws,
        conditions=conditions,
        beside=tuple(of.beside()),
        p=p,
        p_holm=p_holm,
        void=void,
        cautions=tuple(cautions(of.experiment, of.runs)),
        claim=claim,
        reading=_reading({c.name: c.state for c in conditions}, claim=claim),
        sentence="",
        fit=of.fit,
    )
    return replace(verdict, sentence=sentence(verdict, of.words))


def _reading(states: Mapping[str, str], *, claim: bool) -> Reading:
    """The first explanation that the data support."""
    lost = ("equal", "fails")
    if states["beats_zero_shot"] in lost:
        return "no gain"
    if states["beats_random"] in lost or states["beats_unlabelled"] in lost:
        return "format"
    if states["keeps_half_the_gain"] == "fails":
        return "imitation"
    if states["beats_weak"] in lost:
        return "no better than weak"
    if states["survives_surface_rule"] == "fails":
        return "surface rule"
    if claim:
        return "generalization"
    return "not tested" if "not run" in states.values() else "undecided"


def _fit_rows(
    treated: Floats, base: Floats, known: Floats, line: Line
) -> Iterator[Mapping[str, Any]]:
    """Five equal-count bins of the questions, and the line with its band over their range."""

    def row(kind: str, x: float, d: Difference) -> Mapping[str, Any]:
        ends = {"gain_lo": d.low, "gain_hi": d.high}
        return {"kind": kind, "x": float(x), "n": d.n, "gain": d.diff, **ends}

    for places in np.array_split(np.argsort(known, kind="stable"), BINS):
        yield row("bin", known[places].mean(), paired_difference(treated[places], base[places]))
    for x in np.unique([0.0, *np.linspace(min(0.0, known.min()), known.max(), 40)]):
        yield row("line", x, line.at(x))


def fit_table(found: Sequence[Verdict]) -> pd.DataFrame:
    """The gain against what the surface rule knows, by pair.

    `x` is the rule's probability of the right option minus that of a guess. Rows of kind "bin" are
    the mean gain of a fifth of the questions, rows of kind "line" the verdict's fitted line with
    its band; where `x` is 0, it is the condition `survives_surface_rule`.
    """
    columns = ["weak", "strong", "kind", "x", "n", "gain", "gain_lo", "gain_hi"]
    rows = [{"weak": v.weak, "strong": v.strong, **row} for v in found for row in v.fit]
    return pd.DataFrame(rows, columns=columns)


def verdict_table(found: Sequence[Verdict]) -> pd.DataFrame:
    """One row per pair and condition, then those beside; docs/columns.md has the columns."""
    fields: Mapping[str, Callable[[Verdict, Condition], object]] = {
        "weak": lambda v, _: v.weak,
        "strong": lambda v, _: v.strong,
        "shots": lambda v, _: " ".join(map(str, v.shots)),
        "draws": lambda v, _: v.draws,
        "scope": lambda v, _: scope(v.draws),
        "condition": lambda _, c: c.name,
        "compared": lambda _, c: c.text,
        "state": lambda _, c: c.state,
        "estimate": lambda _, c: c.estimate,
        "lo": lambda _, c: c.low,
        "hi": lambda _, c: c.high,
        "p": lambda _, c: c.p,
        "n": lambda _, c: c.n,
        "could_show": lambda _, c: c.could_show,
        "estimate_readable": lambda _, c: c.readable,
        "detail": lambda _, c: c.detail,
        "p_claim": lambda v, _: v.p,
        "p_claim_holm": lambda v, _: v.p_holm,
        "void": lambda v, _: "; ".join(v.void),
        "cautions": lambda v, _: "; ".join(v.cautions),
        "claim": lambda v, _: v.claim,
        "reading": lambda v, _: v.reading,
    }
    rows = [
        {k: f(v, c) for k, f in fields.items()} for v in found for c in (*v.conditions, *v.beside)
    ]
    return pd.DataFrame(rows, columns=list(fields))
