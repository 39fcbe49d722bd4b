"""What the data of a pair carry: seven conditions, one claim, and one reading.

A gain over the zero-shot run has many causes: the format of the demonstrations, the topic, marks on
the surface of the options, the weak model's own errors. Each condition sets the weak labels against
an arm in which one of them is left and the rest is taken away. docs/columns.md has the list.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from w2s_icl.analysis.checks import cautions, void_reasons
from w2s_icl.analysis.experiment import Column, Compared, Experiment
from w2s_icl.analysis.sentences import listed
from w2s_icl.analysis.stats import paired
from w2s_icl.analysis.stats.ratio import gap_recovered
from w2s_icl.analysis.tables import scope
from w2s_icl.analysis.verdict_words import ALPHA, Condition, Pair, Verdict

SURFACE = "survives_surface_rule"

# the conditions of a claim: weights of the arms in what must exceed 0; `strong0` and `weak0` are
# zero-shot runs. That of the surface rule is the gain where the rule knows nothing
CONTRASTS: Mapping[str, Mapping[str, float]] = {
    "beats_zero_shot": {"weak": 1, "strong0": -1},
    "beats_unlabelled": {"weak": 1, "unlabelled": -1},
    "beats_random": {"weak": 1, "random": -1},
    "keeps_half_the_gain": {"weak": 1, "strong0": -0.5, "noise_matched": -0.5},
    "beats_weak": {"weak": 1, "weak0": -1},
    "gap_established": {"gold": 1, "weak0": -1, "weak": 0},  # its ratio needs all three
    SURFACE: {"weak": 1, "strong0": -1},
}


def verdicts(experiment: Experiment, names: Mapping[str, str] | None = None) -> list[Verdict]:
    """The verdict of each pair of different models at the headline, in words that use `names`."""
    pairs = [(w, s) for w, s in experiment.pairs if w != s] if experiment.headline else []
    called = dict(zip(experiment.models, experiment.models, strict=True)) | dict(names or {})
    headlines = [_Headline(experiment, w, s, Pair(called[w], called[s])) for w, s in pairs]
    adjusted = paired.holm([of.p for of in headlines])
    return [of.verdict(float(p)) for of, p in zip(headlines, adjusted, strict=True)]


class _NotRunError(Exception):
    """Why columns cannot be compared, in words."""


class _Headline:
    """The columns of one pair at the headline, and the conditions that they meet."""

    def __init__(self, experiment: Experiment, weak: str, strong: str, words: Pair) -> None:
        self.experiment, self.weak, self.strong, self.words = experiment, weak, strong, words
        self._categories = experiment.logs.questions["category"].to_numpy()
        self._arms = {k: experiment.arms(weak, strong, k) for k in experiment.headline}
        self.conditions = tuple(map(self._condition, CONTRASTS))
        self.p = float(np.max([c.p for c in self.conditions]))  # nan if one of them is

    def verdict(self, p_holm: float) -> Verdict:
        """The verdict, given its p value adjusted for the number of pairs."""
        e, conditions = self.experiment, self.conditions
        claimed = {arm for weights in CONTRASTS.values() for arm in weights}
        runs = [by_draw for arm in claimed for by_draw in self._runs_of(arm)]
        zero = [run for of in (self.weak, self.strong) if (run := e.zero_shot(of)) is not None]
        rows = {*zero, *(run for by_draw in runs for run in by_draw.values())}
        draws = len(set.intersection(*map(set, runs))) if self._runs_of("weak") else 0
        void = tuple(void_reasons(e, self.weak, rows, self.words.weak))
        holds = all(c.state == "holds" for c in conditions)
        claim = holds and p_holm < ALPHA and draws >= paired.MIN_RANDOM_DRAWS and not void
        reading = _reading({c.name: c.state for c in conditions}, claim=claim)
        found = (conditions, tuple(self._beside()), self.p, p_holm, void)
        said = (tuple(cautions(e, rows)), claim, reading, tuple(self._fit()), self.words)
        return Verdict(self.weak, self.strong, e.headline, draws, *found, *said)

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

    def _joined(self, *arms: str) -> Compared:
        """The columns of some arms; _NotRunError where they cannot be compared."""
        joined = self.experiment.compare(*map(self._column, arms))
        if not joined.n_union:
            raise _NotRunError("the runs have no draw in common")
        if not joined.usable:
            lost = f"{100 * joined.missing:.1f}% of the questions have no answer"
            raise _NotRunError(f"incomplete: {lost}")
        return joined

    def _condition(self, name: str) -> Condition:
        blank = Condition(name, self.words.contrast(name), "not run")
        try:
            joined = self._joined(*CONTRASTS[name])
        except _NotRunError as error:
            return blank._replace(detail=str(error))
        if name == SURFACE and np.ptp(self._known(joined)) == 0:
            return blank._replace(detail="the surface rule tells no two questions apart")
        everything = self._decided(blank, joined, np.ones(joined.n, dtype=bool))
        read = np.all(self.experiment.logs.unread[np.ix_(joined.runs, joined.places)] == 0, axis=0)
        readable = everything if read.all() else self._decided(blank, joined, read)
        condition = everything._replace(readable=readable.estimate)
        if readable.state != everything.state:
            return condition._replace(state="undecided", detail="depends on unread replies")
        return condition

    def _known(self, joined: Compared) -> paired.Floats:
        return self.experiment.rule.knows[joined.places]

    def _decided(self, blank: Condition, joined: Compared, kept: NDArray[np.bool_]) -> Condition:
        """A condition on some of the questions."""
        n = int(kept.sum())
        if n < paired.MIN_QUESTIONS:
            few = f"only {n} questions, of at least {paired.MIN_QUESTIONS}"
            return blank._replace(state="undecided", n=n, detail=few)
        if blank.name == SURFACE:
            line = self._line(joined, kept)
            return self._state(blank, line.at(0), against=line.slope.low > 0)
        weights, clusters = CONTRASTS[blank.name], self._categories[joined.places[kept]]
        columns = {arm: of[kept] for arm, of in zip(weights, joined.columns, strict=True)}
        more, less = (
            sum(abs(w) * columns[arm].reshape(n, -1) for arm, w in weights.items() if w * sign > 0)
            for sign in (1, -1)
        )
        found = paired.paired_difference(more, less, clusters=clusters)
        condition = self._state(blank, found, against=found.high < 0)
        if blank.name == "gap_established" and condition.state == "holds":
            ratio = gap_recovered(columns["weak0"], columns["weak"], columns["gold"])
            if ratio.status != "ok":
                small = "too small for its share to have an interval"
                return condition._replace(state="undecided", detail=small)
        return condition

    def _line(self, joined: Compared, kept: NDArray[np.bool_] | slice = slice(None)) -> paired.Line:
        """The gain as a line of what the surface rule knows."""
        columns = (*joined.columns, self._known(joined), self._categories[joined.places])
        treated, base, known, clusters = (column[kept] for column in columns)
        return paired.gain_line(treated, base, known, clusters=clusters)

    def _state(self, blank: Condition, d: paired.Difference, *, against: bool) -> Condition:
        """A measured condition; `against`: there is evidence that it does not hold."""
        margin = self.experiment.declaration.margin
        measured = blank._replace(estimate=d.diff, low=d.low, high=d.high, p=d.p_above, n=d.n)
        measured = measured._replace(could_show=d.could_show)
        if d.low > 0 or against:
            return measured._replace(state="holds" if d.low > 0 else "fails")
        equal = -margin < d.low and d.high < margin
        return measured._replace(state="equal" if equal else "undecided")

    def _beside(self) -> Iterator[Condition]:
        """Contrasts of the weak labels with arms that were run and decide nothing."""
        for arm in ("self", "noise_matched", "flipped"):
            try:
                joined = self._joined("weak", arm)
            except _NotRunError:
                continue
            clusters = self._categories[joined.places]
            found = paired.paired_difference(*joined.columns, clusters=clusters)
            blank = Condition(f"against_{arm}", self.words.contrast(arm), "")
            yield self._state(blank, found, against=False)._replace(state="")

    def _fit(self) -> Iterator[Mapping[str, Any]]:
        """Five equal-count bins of the questions, and the line with its band over their range."""
        if math.isnan(self.conditions[-1].estimate):
            return

        def row(kind: str, x: float, d: paired.Difference) -> Mapping[str, Any]:
            ends = {"gain_lo": d.low, "gain_hi": d.high}
            return {"kind": kind, "x": float(x), "n": d.n, "gain": d.diff, **ends}

        joined = self._joined(*CONTRASTS[SURFACE])
        treated, base = joined.columns
        known, line = self._known(joined), self._line(joined)
        for of in np.array_split(np.argsort(known, kind="stable"), 5):
            yield row("bin", known[of].mean(), paired.paired_difference(treated[of], base[of]))
        for x in np.unique([0.0, *np.linspace(min(0.0, known.min()), known.max(), 40)]):
            yield row("line", x, line.at(x))


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
