"""A verdict in words: what was compared, in whose words, and what the data carry."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from w2s_icl.analysis.sentences import interval, listed, points

if TYPE_CHECKING:
    from w2s_icl.analysis.verdict import Condition, Verdict


@dataclass(frozen=True)
class Pair:
    """What sentences call the two models of a pair."""

    weak: str
    strong: str

    def arm(self, name: str) -> str:
        """A model and what it was shown."""
        if name == "weak0":
            return f"{self.weak} shown nothing"
        shown = {
            "weak": f"{self.weak}'s labels",
            "strong0": "nothing",
            "gold": "gold labels",
            "self": "its own labels",
            "random": "random labels",
            "noise_matched": "gold labels with as many errors",
            "unlabelled": "the same questions without labels",
            "flipped": "wrong labels only",
        }
        return f"{self.strong} shown {shown[name]}"

    def contrast(self, condition: str) -> str:
        """What a condition compares."""
        if condition == "gap_established":
            return f"{self.strong}, shown gold labels, against {self.arm('weak0')}"
        against = {
            "beats_zero_shot": self.arm("strong0"),
            "beats_unlabelled": self.arm("unlabelled"),
            "beats_random": self.arm("random"),
            "keeps_half_the_gain": (
                f"halfway from {self.arm('strong0')} to {self.arm('noise_matched')}"
            ),
            "beats_weak": self.arm("weak0"),
            "survives_surface_rule": (
                f"{self.arm('strong0')}, where the surface rule knows nothing"
            ),
            "against_self": self.arm("self"),
            "against_noise_matched": self.arm("noise_matched"),
            "against_flipped": self.arm("flipped"),
        }
        return f"{self.strong}, shown {self.weak}'s labels, against {against[condition]}"

    def says(self, condition: str) -> str:
        """What a condition says where it holds."""
        return {
            "beats_zero_shot": "a gain over no demonstrations",
            "beats_unlabelled": "a gain over the same questions without labels",
            "beats_random": "a gain over random labels",
            "keeps_half_the_gain": "half the gain of gold labels with as many errors",
            "beats_weak": f"a lead over {self.weak}",
            "gap_established": f"a lead of gold labels over {self.weak}",
            "survives_surface_rule": "a gain where the surface rule knows nothing",
        }[condition]


def numbers(c: Condition) -> str:
    """A difference with its interval."""
    return f"{points(c.estimate)} points ({interval(c.low, c.high)})"


def sentence(verdict: Verdict, words: Pair) -> str:
    """What the data carry, then what it rests on; "generalization" is said of a claim alone."""
    by = {c.name: c for c in verdict.conditions}
    plural = "s" * (verdict.shots != (1,))
    shown = f"shown {listed(verdict.shots)} demonstration{plural} labelled by {words.weak}"
    if by["beats_zero_shot"].state == "not run":
        lead = f"{words.strong}, {shown}: nothing can be said, {by['beats_zero_shot'].detail}"
    elif verdict.claim:
        lead = (
            f"Weak-to-strong generalization: {shown}, {words.strong} meets all seven conditions "
            f"over {verdict.draws} draws"
        )
    else:
        lead = f"{shown[0].upper()}{shown[1:]}, {words.strong} {_carried(verdict, by, words)}"
    rest = [
        f"{heading}: {'; '.join(texts)}."
        for heading, texts in (
            ("Shown", _those(verdict, words, "holds")),
            ("Shown not to be so", _those(verdict, words, "fails")),
            ("No difference", _those(verdict, words, "equal")),
            ("Undecided", [_open(c, words) for c in verdict.conditions if c.state == "undecided"]),
            ("Not run", list(_not_run(verdict))),
        )
        if texts
    ]
    return " ".join([f"{lead}.", *rest, *_no_claim(verdict)])


def _those(verdict: Verdict, words: Pair, state: str) -> list[str]:
    return [f"{words.says(c.name)}, {numbers(c)}" for c in verdict.conditions if c.state == state]


def _not_run(verdict: Verdict) -> Iterable[str]:
    return dict.fromkeys(c.detail for c in verdict.conditions if c.state == "not run")


def _open(c: Condition, words: Pair) -> str:
    if math.isnan(c.estimate):
        return f"{words.says(c.name)}, {c.detail}"
    most = f"up to {points(c.high, sign=False)} points are not excluded" if c.high > 0 else "none"
    return "; ".join(filter(None, (f"{words.says(c.name)}, {numbers(c)}", c.detail, most)))


def _carried(verdict: Verdict, by: Mapping[str, Condition], words: Pair) -> str:
    """What the reading says of the strong model."""
    gain = by["beats_zero_shot"]
    if verdict.reading == "no gain":
        if gain.state == "fails":
            loss = points(-gain.estimate, sign=False)
            ends = interval(-gain.high, -gain.low)
            return f"loses {loss} points against its zero-shot run ({ends})"
        return f"does as well as without demonstrations: {numbers(gain)}"
    lead = f"changes by {numbers(gain)} against its zero-shot run"
    lost = ("equal", "fails")
    if verdict.reading == "format":
        names = [n for n in ("beats_random", "beats_unlabelled") if by[n].state in lost]
        arms = {"beats_random": "random labels", "beats_unlabelled": "no labels"}
        return f"{lead}, no more than with {listed([arms[n] for n in names])}: it is the format"
    carried = {
        "imitation": f"keeps less than half of what gold labels with as many errors give: it takes "
        f"over {words.weak}'s own kind of errors",
        "no better than weak": f"does no better than {words.weak}: {numbers(by['beats_weak'])}",
        "surface rule": "gains where a rule that reads only the options knows the answer, and is "
        "not shown to gain where it knows nothing",
        "not tested": f"{lead}; not everything that a claim needs was run",
    }
    if verdict.reading in carried:
        return carried[verdict.reading]
    if all(c.state == "holds" for c in verdict.conditions):
        return f"{lead} and meets all seven conditions, but no claim stands"
    return f"{lead}; these data do not decide whether a claim could stand"


def _no_claim(verdict: Verdict) -> list[str]:
    """What else keeps a pair from a claim, beside its conditions."""
    reasons = list(verdict.void)
    if 0 < verdict.draws < 3:
        draws = f"{verdict.draws} draw{'s' * (verdict.draws > 1)}"
        reasons.append(f"with {draws}, the numbers say nothing about other demonstrations")
    held = all(c.state == "holds" for c in verdict.conditions)
    if held and not verdict.p_holm < 0.025:
        reasons.append(f"p is {verdict.p_holm:.3f} after adjustment for the number of pairs")
    return [f"No claim stands, because {'; '.join(reasons)}."] if reasons else []


def surface_rule(verdict: Verdict) -> str:
    """Whether the gain is there where a rule that reads only the options knows nothing."""
    (c,) = (c for c in verdict.conditions if c.name == "survives_surface_rule")
    if math.isnan(c.estimate):
        return f"Nothing to fit: {c.detail}."
    return (
        f"{c.text}: {numbers(c)}, {c.n} questions. This is where the fitted line of the gain meets "
        "a rule that knows no more than a guess; a model that only follows the rule has no gain "
        "there."
    )
