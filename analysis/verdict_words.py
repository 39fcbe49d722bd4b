"""A verdict in words: what was compared, in whose words, and what the data carry."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from w2s_icl.analysis.sentences import change, interval, listed, points
from w2s_icl.analysis.stats.paired import MIN_RANDOM_DRAWS

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

# what a condition compares with, and what it says where it holds
_CONDITIONS: Mapping[str, tuple[str, str]] = {
    "beats_zero_shot": (_ARMS["strong0"], "a gain over no demonstrations"),
    "beats_unlabelled": (_ARMS["unlabelled"], "a gain over the same questions without labels"),
    "beats_random": (_ARMS["random"], "a gain over random labels"),
    "keeps_half_the_gain": (
        f"halfway from {_ARMS['strong0']} to {_ARMS['noise_matched']}",
        "half the gain of gold labels with as many errors",
    ),
    "beats_weak": (_ARMS["weak0"], "a lead over {weak}"),
    "gap_established": (_ARMS["weak0"], "a lead of gold labels over {weak}"),
    "survives_surface_rule": (
        f"{_ARMS['strong0']}, where the surface rule knows nothing",
        "a gain where the surface rule knows nothing",
    ),
}

_HEADINGS = {
    **{"holds": "Shown", "fails": "Shown not to be so", "equal": "No difference"},
    **{"undecided": "Undecided", "not run": "Not run"},
}

ALPHA = 0.025  # one-sided: a claim's adjusted p value lies below


class Pair(NamedTuple):
    """What sentences call the two models of a pair."""

    weak: str
    strong: str

    def arm(self, name: str) -> str:
        """A model and what it was shown."""
        return _ARMS[name].format(**self._asdict())

    def contrast(self, name: str) -> str:
        """What a condition, or the contrast with an arm, compares: who was shown what by whom."""
        shown = "gold labels" if name == "gap_established" else "{weak}'s labels"
        other = _CONDITIONS[name][0] if name in _CONDITIONS else _ARMS[name]
        return f"{{strong}}, shown {shown}, against {other}".format(**self._asdict())

    def says(self, condition: str) -> str:
        """What a condition says where it holds."""
        return _CONDITIONS[condition][1].format(**self._asdict())


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
    words: Pair

    @property
    def lead(self) -> str:
        """What the data carry, in a sentence; "generalization" is said of a claim alone."""
        strong, gain = self.words.strong, self.conditions[0]
        plural = "s" * (self.shots != (1,))
        shown = f"shown {listed(self.shots)} demonstration{plural} labelled by {self.words.weak}"
        if gain.state == "not run":
            return f"{strong}, {shown}: nothing can be said, {gain.detail}."
        if self.claim:
            met = f"{strong} meets all seven conditions over {self.draws} draws"
            return f"Weak-to-strong generalization: {shown}, {met}."
        return f"{shown[0].upper()}{shown[1:]}, {strong} {self._carried()}."

    def _carried(self) -> str:
        """What the reading says of the strong model."""
        by, weak = {c.name: c for c in self.conditions}, self.words.weak
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
            text = f"{self.words.says(c.name)}, {c.open if c.state == 'undecided' else c.numbers}"
            found.setdefault(c.state, []).append(c.detail if c.state == "not run" else text)
        sentences = [
            f"{heading}: {'; '.join(dict.fromkeys(found[state]))}."
            for state, heading in _HEADINGS.items()
            if state in found
        ]
        reasons = list(self.void)
        if 0 < self.draws < MIN_RANDOM_DRAWS:
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
