"""What the data of a pair carry: seven conditions, one claim, and one reading.

A gain over the zero-shot run has many causes: the format of the demonstrations, the topic, marks on
the surface of the options, the weak model's own errors. Each condition sets the weak labels against
an arm in which one of them is left and the rest is taken away. docs/columns.md has the list.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from w2s_icl.analysis.checks import cautions, void_reasons
from w2s_icl.analysis.experiment import Column, Compared, Experiment
from w2s_icl.analysis.sentences import listed
from w2s_icl.analysis.stats.paired import (
    MIN_QUESTIONS,
    MIN_RANDOM_DRAWS,
    Difference,
    Floats,
    Line,
    gain_line,
    holm,
    paired_difference,
)
from w2s_icl.analysis.stats.ratio import gap_recovered
from w2s_icl.analysis.tables import scope
from w2s_icl.analysis.verdict_words import ALPHA, Pair, lead, rest

SURFACE = "survives_surface_rule"

# the conditions of a claim: weights of the arms in what must exceed 0; `strong0` and `weak0` are
# zero-shot runs. That of the surface rule is the gain where the rule knows nothing
CONTRASTS: Mapping[str, Mapping[str, float]] = {
    "beats_zero_shot": {"weak": 1, "strong0": -1},
    "beats_unlabelled": {"weak": 1, "unlabelled": -1},
    "beats_random": {"weak": 1, "random": -1},
    "keeps_half_the_gain": {"weak": 1, "strong0": -0.5, "noise_matched": -0.5},
    "beats_weak": {"weak": 1, "weak0": -1},
    "gap_established": {"gold": 1, "weak0": -1},
    SURFACE: {"weak": 1, "strong0": -1},
}


class Condition(NamedTuple):
    """One line of a verdict, as verdict.csv has it: a difference, its 95% interval, its meaning.

    `state` is "holds" where the interval lies above 0, "fails" below it, "equal" inside the margin
    around it, "undecided" otherwise; "not run" where an arm is missing, incomplete or shows other
    demonstrations, "" for a contrast beside the claim. Numbers are fractions, nan where nothing was
    compared.
    """

    name: str
    text: str  # what was compared, in words
    state: Literal["holds", "fails", "equal", "undecided", "not run", ""]
    estimate: float = math.nan
    low: float = math.nan
    high: float = math.nan
    p: float = math.nan  # one-sided, of the difference being above 0
    n: int = 0  # questions
    could_show: float = math.nan  # smallest true difference that 80% of such studies would show
    readable: float = math.nan  # the difference where all replies of its runs could be read
    detail: str = ""  # why it was not run or is undecided


@dataclass(frozen=True)
class Verdict:
    """What the data of one pair carry."""

    weak: str
    strong: str
    shots: tuple[int, ...]  # of the headline; correctness is averaged over them
    draws: int  # that all arms of the claim which were run have in common
    conditions: tuple[Condition, ...]  # the seven, in order
    beside: tuple[Condition, ...]  # contrasts that decide nothing, of the arms that were run
    p: float  # the largest of the seven p values; nan unless all were tested
    p_holm: float  # adjusted for the number of pairs
    void: tuple[str, ...]  # why no claim stands whatever the numbers, each reason in words
    cautions: tuple[str, ...]  # what else to know of the runs that it rests on
    claim: bool  # all seven hold, p_holm < 0.025, three common draws, nothing is void
    reading: str  # the first explanation that the data support
    fit: tuple[Mapping[str, Any], ...]  # rows of `fit_table`
    lead: str = ""  # the reading in words
    rest: str = ""  # what it rests on, in words


def verdicts(experiment: Experiment, names: Mapping[str, str] | None = None) -> list[Verdict]:
    """The verdict of each pair of different models at the headline, in words that use `names`."""
    pairs = [(w, s) for w, s in experiment.pairs if w != s] if experiment.headline else []
    headlines = [_Headline(experiment, w, s, names or {}) for w, s in pairs]
    adjusted = holm([of.p for of in headlines])
    return [of.verdict(float(p)) for of, p in zip(headlines, adjusted, strict=True)]


class _NotRunError(Exception):
    """Why columns cannot be compared, in words."""


class _Headline:
    """The columns of one pair at the headline, and the conditions that they meet."""

    def __init__(
        self, experiment: Experiment, weak: str, strong: str, names: Mapping[str, str]
    ) -> None:
        self.experiment, self.weak, self.strong = experiment, weak, strong
        self.words = Pair(names.get(weak, weak), names.get(strong, strong))
        self._categories = experiment.logs.questions["category"].to_numpy()
        self._arms = {k: experiment.arms(weak, strong, k) for k in experiment.headline}
        self.conditions = tuple(map(self._condition, CONTRASTS))
        self.p = float(np.max([c.p for c in self.conditions]))  # nan if one of them is

    def verdict(self, p_holm: float) -> Verdict:
        """The verdict, given its p value adjusted for the number of pairs."""
        e, conditions = self.experiment, self.conditions
        claimed = {arm for weights in CONTRASTS.values() for arm in weights}
        runs = [by_draw for arm in claimed for by_draw in self._runs_of(arm)]
        zero = (e.zero_shot(model) for model in (self.weak, self.strong))
        rows = {row for by_draw in runs for row in by_draw.values()}
        rows |= {row for row in zero if row is not None}
        draws = len(set.intersection(*map(set, runs))) if self._runs_of("weak") else 0
        void = tuple(void_reasons(e, self.weak, rows, self.words.weak))
        holds = all(c.state == "holds" for c in conditions)
        claim = holds and p_holm < ALPHA and draws >= MIN_RANDOM_DRAWS and not void
        reading = _reading({c.name: c.state for c in conditions}, claim=claim)
        found = (conditions, tuple(self._beside()), self.p, p_holm, void)
        said = (tuple(cautions(e, rows)), claim, reading, tuple(self._fit()))
        verdict = Verdict(self.weak, self.strong, e.headline, draws, *found, *said)
        return replace(verdict, lead=lead(verdict, self.words), rest=rest(verdict, self.words))

    def _runs_of(self, arm: str) -> list[Mapping[int, int]]:
        """Runs by draw at each shot count; [] unless there are some at all of them."""
        found = [arms[arm].runs for arms in self._arms.values() if arm in arms]
        return found if len(found) == len(self._arms) else []

    def _column(self, arm: str) -> Column:
        if arm in ("strong0", "weak0"):
            run = self.experiment.zero_shot(self.strong if arm == "strong0" else self.weak)
            if run is None:
                raise _NotRunError(f"{self.words.arm(arm)} was not run")
            return run
        if missing := [k for k, arms in self._arms.items() if arm not in arms]:
            raise _NotRunError(f"{self.words.arm(arm)} was not run at {listed(missing)} shots")
        runs = self._runs_of(arm)
        demo_ids = self.experiment.logs.runs["demo_ids"]
        shown_beside = self._runs_of("weak") if arm != "weak" else []
        for mine, its in zip(shown_beside, runs, strict=False):
            both = {draw: its[draw] for draw in set(mine) & set(its)}
            if not all(demo_ids[mine[d]] and demo_ids[run] for d, run in both.items()):
                raise _NotRunError("the logs do not say which demonstrations were shown")
            for draw in sorted(set(both) - set(self.experiment.matched(mine, both))):
                raise _NotRunError(f"{self.words.arm(arm)}: other demonstrations in draw {draw}")
        return runs

    def _joined(self, *arms: str) -> tuple[Compared, list[int]]:
        """The columns of some arms and their runs; _NotRunError where they cannot be compared."""
        columns = [self._column(arm) for arm in arms]
        joined = self.experiment.compare(*columns)
        if not joined.n_union:
            raise _NotRunError("the runs have no draw in common")
        if not joined.usable:
            lost = f"{100 * joined.missing:.1f}% of the questions have no answer"
            raise _NotRunError(f"incomplete: {lost}")
        zero = [column for column in columns if isinstance(column, int)]
        drawn = [of for column in columns if not isinstance(column, int) for of in column]
        return joined, [*zero, *(by_draw[d] for by_draw in drawn for d in joined.draws)]

    def _condition(self, name: str) -> Condition:
        blank = Condition(name, self.words.contrast(name), "not run")
        try:
            joined, runs = self._joined(*_arms(name))
        except _NotRunError as error:
            return blank._replace(detail=str(error))
        if name == SURFACE and np.ptp(self._known(joined)) == 0:
            return blank._replace(detail="the surface rule tells no two questions apart")
        everything = self._decided(blank, joined, np.ones(joined.n, dtype=bool))
        read = (self.experiment.logs.unread[runs][:, joined.places] == 0).all(axis=0)
        readable = everything if read.all() else self._decided(blank, joined, read)
        condition = everything._replace(readable=readable.estimate)
        if readable.state != everything.state:
            return condition._replace(state="undecided", detail="depends on unread replies")
        return condition

    def _known(self, joined: Compared) -> Floats:
        return self.experiment.rule.knows[joined.places]

    def _decided(self, blank: Condition, joined: Compared, kept: NDArray[np.bool_]) -> Condition:
        """A condition on some of the questions."""
        n = int(kept.sum())
        if n < MIN_QUESTIONS:
            few = f"only {n} questions, of at least {MIN_QUESTIONS}"
            return blank._replace(state="undecided", n=n, detail=few)
        if blank.name == SURFACE:
            line = self._line(joined, kept)
            return self._state(blank, line.at(0), against=line.slope.low > 0)
        columns = {arm: of[kept] for arm, of in zip(_arms(blank.name), joined.columns, strict=True)}
        weights = CONTRASTS[blank.name].items()
        more, less = (
            sum(abs(w) * columns[arm].reshape(n, -1) for arm, w in weights if w * sign > 0)
            for sign in (1, -1)
        )
        found = paired_difference(more, less, clusters=self._categories[joined.places[kept]])
        condition = self._state(blank, found, against=found.high < 0)
        if blank.name == "gap_established" and condition.state == "holds":
            ratio = gap_recovered(columns["weak0"], columns["weak"], columns["gold"])
            if ratio.status != "ok":
                small = "too small for its share to have an interval"
                return condition._replace(state="undecided", detail=small)
        return condition

    def _line(self, joined: Compared, kept: NDArray[np.bool_] | slice = slice(None)) -> Line:
        """The gain as a line of what the surface rule knows."""
        columns = (*joined.columns, self._known(joined), self._categories[joined.places])
        treated, base, known, clusters = (column[kept] for column in columns)
        return gain_line(treated, base, known, clusters=clusters)

    def _state(self, blank: Condition, d: Difference, *, against: bool) -> Condition:
        """A measured condition; `against`: there is evidence that it does not hold."""
        margin = self.experiment.declaration.margin
        measured = blank._replace(estimate=d.diff, low=d.low, high=d.high, p=d.p_above, n=d.n)
        measured = measured._replace(could_show=d.could_show, state="undecided")
        if d.low > 0:
            return measured._replace(state="holds")
        if against:
            return measured._replace(state="fails")
        return measured._replace(state="equal") if -margin < d.low and d.high < margin else measured

    def _beside(self) -> Iterator[Condition]:
        """Contrasts of the weak labels with arms that were run and decide nothing."""
        for arm in ("self", "noise_matched", "flipped"):
            try:
                joined, _ = self._joined("weak", arm)
            except _NotRunError:
                continue
            found = paired_difference(*joined.columns, clusters=self._categories[joined.places])
            blank = Condition(f"against_{arm}", self.words.contrast(arm), "")
            yield self._state(blank, found, against=False)._replace(state="")

    def _fit(self) -> Iterator[Mapping[str, Any]]:
        """Five equal-count bins of the questions, and the line with its band over their range."""
        if math.isnan(self.conditions[-1].estimate):
            return

        def row(kind: str, x: float, d: Difference) -> Mapping[str, Any]:
            ends = {"gain_lo": d.low, "gain_hi": d.high}
            return {"kind": kind, "x": float(x), "n": d.n, "gain": d.diff, **ends}

        joined, _ = self._joined(*_arms(SURFACE))
        treated, base = joined.columns
        known, line = self._known(joined), self._line(joined)
        for of in np.array_split(np.argsort(known, kind="stable"), 5):
            yield row("bin", known[of].mean(), paired_difference(treated[of], base[of]))
        for x in np.unique([0.0, *np.linspace(min(0.0, known.min()), known.max(), 40)]):
            yield row("line", x, line.at(x))


def _arms(condition: str) -> list[str]:
    """The arms that a condition compares; the ratio of the gap needs the weak labels too."""
    return list(dict.fromkeys([*CONTRASTS[condition], "weak"]))


def _reading(states: Mapping[str, str], *, claim: bool) -> str:
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
    if states[SURFACE] == "fails":
        return "surface rule"
    if claim:
        return "generalization"
    return "not tested" if "not run" in states.values() else "undecided"


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
    of_pair = ["weak", "strong", "shots", "draws", "scope"]
    of_condition = [
        *("condition", "compared", "state", "estimate", "lo", "hi", "p", "n", "could_show"),
        *("estimate_readable", "detail"),
    ]
    of_claim = ["p_claim", "p_claim_holm", "void", "cautions", "claim", "reading"]
    rows = [
        (
            *(v.weak, v.strong, " ".join(map(str, v.shots)), v.draws, scope(v.draws), *c),
            *(v.p, v.p_holm, "; ".join(v.void), "; ".join(v.cautions), v.claim, v.reading),
        )
        for v in found
        for c in (*v.conditions, *v.beside)
    ]
    return pd.DataFrame(rows, columns=[*of_pair, *of_condition, *of_claim])
