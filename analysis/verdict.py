"""What the data of a pair carry: seven conditions, one claim, and one reading.

A gain over the zero-shot run has many causes: the format of the demonstrations, the topic, marks on
the surface of the options, the weak model's own errors. Each condition sets the weak labels against
an arm in which one of them is left and the rest is taken away. docs/columns.md has the list.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from w2s_icl.analysis.checks import cautions, void_reasons
from w2s_icl.analysis.experiment import Column, Compared, Experiment
from w2s_icl.analysis.sentences import change, interval, listed, points
from w2s_icl.analysis.stats import paired
from w2s_icl.analysis.stats.ratio import gap_recovered
from w2s_icl.analysis.tables.cells import difference, scope, table

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

_ARMS: Mapping[str, str] = {
    "weak0": "{weak} shown nothing",
    "strong0": "{strong} shown nothing",
    "weak": "{strong} shown {weak}'s labels",
    "gold": "{strong} shown gold labels",
    "self": "{strong} shown its own labels",
    "random": "{strong} shown random labels",
    "noise_matched": "{strong} shown gold labels with as many errors as {weak}'s",
    "unlabelled": "{strong} shown the same questions without labels",
    "flipped": "{strong} shown wrong labels only",
}

# what a condition says where it holds
_SAYS: Mapping[str, str] = {
    "beats_zero_shot": "a gain over no demonstrations",
    "beats_unlabelled": "a gain over the same questions without labels",
    "beats_random": "a gain over random labels",
    "keeps_half_the_gain": "half the gain of gold labels with as many errors",
    "beats_weak": "a lead over {weak}",
    "gap_established": "a lead of gold labels over {weak}",
    SURFACE: "a gain where the surface rule knows nothing",
}

_HEADINGS = {
    **{"holds": "Shown", "fails": "Shown not to be so", "equal": "No difference"},
    **{"undecided": "Undecided", "not run": "Not run"},
}

ALPHA = 0.025  # one-sided: a claim's adjusted p value lies below


class Condition(NamedTuple):
    """One line of a verdict, as verdict.csv has it: a difference, its 95% interval, its meaning.

    `state` is "holds" where the interval lies above 0, "fails" below it, "equal" inside the margin
    around it, "undecided" otherwise; "not run" where an arm is missing, incomplete or shows other
    demonstrations, "" for a contrast beside the claim. Numbers are fractions, nan without a result.
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

    @property
    def numbers(self) -> str:
        """The difference in words."""
        return f"{points(self.estimate)} points ({interval(self.low, self.high)})"

    @property
    def open(self) -> str:
        """The largest difference that the interval does not exclude, or why there is none."""
        if math.isnan(self.estimate):
            return self.detail
        most = f"up to {points(self.high, sign=False)} points are not excluded"
        most = "the interval leaves none" if self.high <= 0 else most
        return "; ".join(filter(None, (self.numbers, self.detail, most)))


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
    words: Mapping[str, str]  # what sentences call the `weak` and the `strong` model

    @property
    def lead(self) -> str:
        """What the data carry, in a sentence; "generalization" is said of a claim alone."""
        weak, strong, gain = self.words["weak"], self.words["strong"], self.conditions[0]
        plural = "s" * (self.shots != (1,))
        shown = f"shown {listed(self.shots)} demonstration{plural} labelled by {weak}"
        if gain.state == "not run":
            return f"{strong}, {shown}: nothing can be said, {gain.detail}."
        if self.claim:
            met = f"{strong} meets all seven conditions over {self.draws} draws"
            return f"Weak-to-strong generalization: {shown}, {met}."
        return f"{shown[0].upper()}{shown[1:]}, {strong} {self._carried()}."

    def _carried(self) -> str:
        """What the reading says of the strong model."""
        by, weak = {c.name: c for c in self.conditions}, self.words["weak"]
        gain = by["beats_zero_shot"]
        changes = f"changes by {gain.numbers} against its zero-shot run"
        arms = {"beats_random": "random labels", "beats_unlabelled": "no labels"}
        than = [arm for name, arm in arms.items() if by[name].state in ("equal", "fails")]
        if self.reading == "no gain" and gain.state == "fails":
            return f"{change(gain.estimate, gain.low, gain.high)} against its zero-shot run"
        if self.reading == "undecided" and all(c.state == "holds" for c in self.conditions):
            return f"{changes} and meets all seven conditions, but no claim stands"
        return {
            "no gain": f"does as well as without demonstrations: {gain.numbers}",
            "format": f"{changes}, no more than with {' and '.join(than)}: it is the format",
            "imitation": "keeps less than half of what gold labels with as many errors give: it "
            f"takes over {weak}'s own kind of errors",
            "no better than weak": f"does no better than {weak}: {by['beats_weak'].numbers}",
            "surface rule": "gains where a rule that reads only the options knows the answer, and "
            "is not shown to gain where it knows nothing",
            "not tested": f"{changes}; not everything that a claim needs was run",
            "undecided": f"{changes}; these data do not decide whether a claim could stand",
        }[self.reading]

    @property
    def rest(self) -> str:
        """The conditions by their state, and what else keeps a pair from a claim."""
        found: dict[str, list[str]] = {}
        for c in self.conditions:
            says = _SAYS[c.name].format(**self.words)
            text = f"{says}, {c.open if c.state == 'undecided' else c.numbers}"
            found.setdefault(c.state, []).append(c.detail if c.state == "not run" else text)
        sentences = [
            f"{heading}: {'; '.join(dict.fromkeys(found[state]))}."
            for state, heading in _HEADINGS.items()
            if state in found
        ]
        reasons = list(self.void)
        if 0 < self.draws < paired.MIN_RANDOM_DRAWS:
            draws = f"{self.draws} draw{'s' * (self.draws > 1)}"
            reasons.append(f"with {draws}, the numbers say nothing about other demonstrations")
        if [*found] == ["holds"] and not self.p_holm < ALPHA:
            reasons.append(f"p is {self.p_holm:.3f} after adjustment for the number of pairs")
        if reasons:
            sentences.append(f"No claim stands, because {'; '.join(reasons)}.")
        return " ".join(sentences)


def surface_rule(verdict: Verdict) -> str:
    """Whether the gain is there where a rule that reads only the options knows nothing."""
    c = verdict.conditions[-1]
    if math.isnan(c.estimate):
        return f"Nothing to fit: {c.detail}."
    return (
        f"{c.text}: {c.numbers}, {c.n} questions. This is where the fitted line of the gain "
        "meets a rule that knows no more than a guess; a model that only follows the rule has no "
        "gain there."
    )


def verdicts(experiment: Experiment, names: Mapping[str, str] | None = None) -> list[Verdict]:
    """The verdict of each pair of different models at the headline, in words that use `names`."""
    pairs = [(w, s) for w, s in experiment.pairs if w != s] if experiment.headline else []
    called = {name: name for name in experiment.models} | dict(names or {})
    said = [{"weak": called[weak], "strong": called[strong]} for weak, strong in pairs]
    headlines = [_Headline(experiment, *pair, of) for pair, of in zip(pairs, said, strict=True)]
    p = np.array([of.p for of in headlines], dtype=float)
    # a pair that was not tested to the end is still one of them, and has no p of its own
    adjusted = np.where(np.isnan(p), np.nan, paired.holm(np.nan_to_num(p, nan=1.0)))
    return [of.verdict(float(p_holm)) for of, p_holm in zip(headlines, adjusted, strict=True)]


class _NotRunError(Exception):
    """Why columns cannot be compared, in words."""


class _Headline:
    """The columns of one pair at the headline, and the conditions that they meet."""

    def __init__(
        self, experiment: Experiment, weak: str, strong: str, words: Mapping[str, str]
    ) -> None:
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
        void = [*void_reasons(e, self.weak, rows, self.words["weak"])]
        arm = "labels == 'weak' and weak == @self.weak and model == @self.strong and prompt == ''"
        declared = e.logs.planned.query(f"{arm} and shots in @e.headline")["draw"].nunique()
        if draws < declared:
            void.append(f"{draws} of {declared} declared draws are finished in all arms")
        holds = all(c.state == "holds" for c in conditions)
        claim = holds and p_holm < ALPHA and draws >= paired.MIN_RANDOM_DRAWS and not void
        reading = _reading({c.name: c.state for c in conditions}, claim=claim)
        found = (conditions, tuple(self._beside()), self.p, p_holm, tuple(void))
        said = (tuple(cautions(e, rows)), claim, reading, tuple(self._fit()), self.words)
        return Verdict(self.weak, self.strong, e.headline, draws, *found, *said)

    def _runs_of(self, arm: str) -> list[Mapping[int, int]]:
        """Runs by draw at each shot count; [] unless there are some at all of them."""
        found = [arms[arm].runs for arms in self._arms.values() if arm in arms]
        return found if len(found) == len(self._arms) else []

    def _column(self, arm: str) -> Column:
        text = _ARMS[arm].format(**self.words)
        if arm in ("strong0", "weak0"):
            run = self.experiment.zero_shot(self.strong if arm == "strong0" else self.weak)
            if run is None:
                raise _NotRunError(f"{text} was not run")
            return run
        if missing := [k for k, arms in self._arms.items() if arm not in arms]:
            raise _NotRunError(f"{text} was not run at {listed(missing)} shots")
        runs = self._runs_of(arm)
        demo_ids = self.experiment.logs.runs["demo_ids"]
        shown_beside = self._runs_of("weak") if arm != "weak" else []
        for mine, its in zip(shown_beside, runs, strict=False):
            both = {draw: its[draw] for draw in set(mine) & set(its)}
            if not all(demo_ids[mine[d]] and demo_ids[run] for d, run in both.items()):
                raise _NotRunError("the logs do not say which demonstrations were shown")
            for draw in sorted(set(both) - set(self.experiment.matched(mine, both))):
                raise _NotRunError(f"{text}: other demonstrations in draw {draw}")
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

    def _text(self, name: str) -> str:
        """What a condition, or the contrast with an arm, compares: who was shown what by whom."""
        shown = "gold labels" if name == "gap_established" else "{weak}'s labels"
        less = [_ARMS[arm] for arm, w in CONTRASTS.get(name, {name: -1}).items() if w < 0]
        other = f"halfway from {' to '.join(less)}" if len(less) > 1 else less[0]
        where = ", where the surface rule knows nothing" * (name == SURFACE)
        return f"{{strong}}, shown {shown}, against {other}{where}".format(**self.words)

    def _condition(self, name: str) -> Condition:
        blank = Condition(name, self._text(name), "not run")
        try:
            joined = self._joined(*CONTRASTS[name])
        except _NotRunError as error:
            return blank._replace(detail=str(error))
        if name == SURFACE and np.ptp(self.experiment.rule.knows[joined.places]) == 0:
            return blank._replace(detail="the surface rule tells no two questions apart")
        everything = self._decided(blank, joined, np.ones(joined.n, dtype=bool))
        read = np.all(self.experiment.logs.unread[np.ix_(joined.runs, joined.places)] == 0, axis=0)
        readable = everything if read.all() else self._decided(blank, joined, read)
        condition = everything._replace(readable=readable.estimate)
        if readable.state != everything.state:
            return condition._replace(state="undecided", detail="depends on unread replies")
        return condition

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
        every = (self.experiment.rule.knows, self._categories)
        columns = (*joined.columns, *(of[joined.places] for of in every))
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
            blank = Condition(f"against_{arm}", self._text(arm), "")
            yield self._state(blank, found, against=False)._replace(state="")

    def _fit(self) -> Iterator[Mapping[str, Any]]:
        """Five equal-count bins of the questions, and the line with its band over their range."""
        if math.isnan(self.conditions[-1].estimate):
            return
        joined = self._joined(*CONTRASTS[SURFACE])
        treated, base = joined.columns
        known, line = self.experiment.rule.knows[joined.places], self._line(joined)
        for of in np.array_split(np.argsort(known, kind="stable"), 5):
            gain = paired.paired_difference(treated[of], base[of])
            yield {"kind": "bin", "x": known[of].mean(), "n": gain.n} | difference("gain", gain)
        for x in np.unique([0.0, *np.linspace(min(0.0, known.min()), known.max(), 40)]):
            yield {"kind": "line", "x": x, "n": joined.n} | difference("gain", line.at(x))


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
    rows = [{"weak": v.weak, "strong": v.strong, **row} for v in found for row in v.fit]
    return table(rows, "weak strong kind x n gain±")


def verdict_table(found: Sequence[Verdict]) -> pd.DataFrame:
    """One row per pair and condition, then those beside; docs/columns.md has the columns."""
    rows = [
        (
            *(v.weak, v.strong, " ".join(map(str, v.shots)), v.draws, scope(v.draws), *c),
            *(v.p, v.p_holm, "; ".join(v.void), "; ".join(v.cautions), v.claim, v.reading),
        )
        for v in found
        for c in (*v.conditions, *v.beside)
    ]
    return table(
        rows,
        "weak strong shots draws scope condition compared state estimate lo hi p n could_show",
        "estimate_readable detail p_claim p_claim_holm void cautions claim reading",
    )
