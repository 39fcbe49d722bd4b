"""A verdict in words: what was compared, in whose words, and what the data carry."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from w2s_icl.analysis.sentences import change, interval, listed, points
from w2s_icl.analysis.stats.paired import MIN_RANDOM_DRAWS

if TYPE_CHECKING:
    from w2s_icl.analysis.verdict import Condition, Verdict

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


def _numbers(c: Condition) -> str:
    return f"{points(c.estimate)} points ({interval(c.low, c.high)})"


def lead(verdict: Verdict, words: Pair) -> str:
    """What the data carry, in a sentence; "generalization" is said of a claim alone."""
    plural = "s" * (verdict.shots != (1,))
    shown = f"shown {listed(verdict.shots)} demonstration{plural} labelled by {words.weak}"
    gain = verdict.conditions[0]
    if gain.state == "not run":
        return f"{words.strong}, {shown}: nothing can be said, {gain.detail}."
    if verdict.claim:
        met = f"{words.strong} meets all seven conditions over {verdict.draws} draws"
        return f"Weak-to-strong generalization: {shown}, {met}."
    return f"{shown[0].upper()}{shown[1:]}, {words.strong} {_carried(verdict, words)}."


def rest(verdict: Verdict, words: Pair) -> str:
    """The conditions by their state, and what else keeps a pair from a claim."""
    found: dict[str, list[str]] = {}
    for c in verdict.conditions:
        text = f"{words.says(c.name)}, {_open(c) if c.state == 'undecided' else _numbers(c)}"
        found.setdefault(c.state, []).append(c.detail if c.state == "not run" else text)
    headings = {
        **{"holds": "Shown", "fails": "Shown not to be so", "equal": "No difference"},
        **{"undecided": "Undecided", "not run": "Not run"},
    }
    sentences = [
        f"{heading}: {'; '.join(dict.fromkeys(found[state]))}."
        for state, heading in headings.items()
        if state in found
    ]
    reasons = list(verdict.void)
    if 0 < verdict.draws < MIN_RANDOM_DRAWS:
        draws = f"{verdict.draws} draw{'s' * (verdict.draws > 1)}"
        reasons.append(f"with {draws}, the numbers say nothing about other demonstrations")
    if [*found] == ["holds"] and not verdict.p_holm < ALPHA:
        reasons.append(f"p is {verdict.p_holm:.3f} after adjustment for the number of pairs")
    if reasons:
        sentences.append(f"No claim stands, because {'; '.join(reasons)}.")
    return " ".join(sentences)


def _open(c: Condition) -> str:
    """The largest difference that the interval does not exclude, or why there is none."""
    if math.isnan(c.estimate):
        return c.detail
    most = f"up to {points(c.high, sign=False)} points are not excluded"
    if c.high <= 0:
        most = "the interval leaves none"
    return "; ".join(filter(None, (_numbers(c), c.detail, most)))


def _carried(verdict: Verdict, words: Pair) -> str:
    """What the reading says of the strong model."""
    by = {c.name: c for c in verdict.conditions}
    gain = by["beats_zero_shot"]
    changes = f"changes by {_numbers(gain)} against its zero-shot run"
    arms = {"beats_random": "random labels", "beats_unlabelled": "no labels"}
    than = [arm for name, arm in arms.items() if by[name].state in ("equal", "fails")]
    if verdict.reading == "no gain" and gain.state == "fails":
        return f"{change(gain.estimate, gain.low, gain.high)} against its zero-shot run"
    if verdict.reading == "undecided" and all(c.state == "holds" for c in verdict.conditions):
        return f"{changes} and meets all seven conditions, but no claim stands"
    return {
        "no gain": f"does as well as without demonstrations: {_numbers(gain)}",
        "format": f"{changes}, no more than with {' and '.join(than)}: it is the format",
        "imitation": f"keeps less than half of what gold labels with as many errors give: it takes "
        f"over {words.weak}'s own kind of errors",
        "no better than weak": f"does no better than {words.weak}: {_numbers(by['beats_weak'])}",
        "surface rule": "gains where a rule that reads only the options knows the answer, and is "
        "not shown to gain where it knows nothing",
        "not tested": f"{changes}; not everything that a claim needs was run",
        "undecided": f"{changes}; these data do not decide whether a claim could stand",
    }[verdict.reading]


def surface_rule(verdict: Verdict) -> str:
    """Whether the gain is there where a rule that reads only the options knows nothing."""
    c = verdict.conditions[-1]
    if math.isnan(c.estimate):
        return f"Nothing to fit: {c.detail}."
    return (
        f"{c.text}: {_numbers(c)}, {c.n} questions. This is where the fitted line of the gain "
        "meets a rule that knows no more than a guess; a model that only follows the rule has no "
        "gain there."
    )
