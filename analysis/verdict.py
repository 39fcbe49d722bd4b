"""What the data of a pair carry: eight conditions, and one reading that they must earn.

A gain over the zero-shot run has many causes: the format of the demonstrations, the topic, marks on
the surface of the options, the labeller's own errors. Each condition sets the weak labels against
an arm in which one of them is left and the rest is taken away. docs/methods.md has the list.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd

from w2s_icl.analysis.checks import voids
from w2s_icl.analysis.experiment import Column, Compared, Experiment
from w2s_icl.analysis.sentences import points
from w2s_icl.analysis.stats import (
    MIN_QUESTIONS,
    MIN_RANDOM_DRAWS,
    Difference,
    gap_recovered,
    holm,
    paired_difference,
    subgroup_difference,
)
from w2s_icl.analysis.tables import LEVEL, scope
from w2s_icl.record import MARGIN

State = Literal["holds", "fails", "undecided", "not run"]
Reading = Literal[
    "generalization",
    "no gain",
    "format",
    "imitation",
    "surface rule",
    "undecided",
    "not tested",
]

ALPHA = 0.05
"""Adjusted p values from here on do not carry a claim."""


@dataclass(frozen=True)
class Condition:
    """One line of a verdict. Fractions; nan where nothing was compared.

    Attributes:
        name: As verdict.csv has it.
        text: What holds where it holds, of the strong model with weak labels.
        state: "holds" where the interval lies above `line`, "fails" where it lies below,
            "undecided" where it covers it, "not run" where an arm is missing or incomplete.
        estimate: The difference.
        low: Lower end of its interval.
        high: Upper end.
        line: What the difference must exceed.
        p: Two-sided, of the difference being `line`.
        p_holm: Adjusted for the pairs that the condition was tested in.
        n: Questions.
        detail: Why it was not run, or is not decided; "" where the numbers say it.
    """

    name: str
    text: str
    state: State
    estimate: float = math.nan
    low: float = math.nan
    high: float = math.nan
    line: float = 0.0
    p: float = math.nan
    p_holm: float = math.nan
    n: int = 0
    detail: str = ""


@dataclass(frozen=True)
class Verdict:
    """What the data of one pair carry.

    Attributes:
        weak: The model that labelled.
        strong: The model that was prompted.
        shots: Shot counts of the headline; correctness is averaged over them.
        draws: Draws that all arms which were run have in common.
        conditions: The eight, in order.
        claim: Whether all of them hold, also after the adjustment for the number of pairs, over
            enough draws to speak of other demonstrations, at a headline that a study declared, and
            no check speaks against the logs.
        reading: What is left as explanation.
        sentence: All of it in words.
    """

    weak: str
    strong: str
    shots: tuple[int, ...]
    draws: int
    conditions: tuple[Condition, ...]
    claim: bool
    reading: Reading
    sentence: str


def verdicts(experiment: Experiment, names: Mapping[str, str] | None = None) -> list[Verdict]:
    """The verdict of each pair of different models, at the headline of the study.

    Args:
        experiment: The logs, by cells and arms.
        names: How sentences call the models; in full where absent.
    """
    shots = experiment.headline
    pairs = [(w, s) for w, s in experiment.pairs if w != s] if shots else []
    arms = [_Pair(experiment, weak, strong, shots) for weak, strong in pairs]
    found = [list(arm.conditions()) for arm in arms]
    for i in range(len(found[0]) if found else 0):
        for of, p in zip(found, holm([of[i].p for of in found]), strict=True):
            of[i] = replace(of[i], p_holm=float(p))
    against = voids(experiment)
    if not experiment.logs.metadata.get("headline"):
        against.insert(0, "no headline was declared (it is a key of a study)")
    return [
        _verdict(arm, tuple(of), names or {}, against) for arm, of in zip(arms, found, strict=True)
    ]


class _Pair:
    """The columns of one pair at the headline."""

    def __init__(
        self, experiment: Experiment, weak: str, strong: str, shots: tuple[int, ...]
    ) -> None:
        self.experiment, self.weak, self.strong, self.shots = experiment, weak, strong, shots
        self.margin = float(experiment.logs.metadata.get("margin", MARGIN))
        self._arms = [experiment.arms(weak, strong, k) for k in shots]

    @property
    def draws(self) -> int:
        """Draws that all arms have which were run at every shot count."""
        found = [set(runs) for name in _COMPARED for runs in self._shown(name) or ()]
        return len(set.intersection(*found)) if self._shown("weak") and found else 0

    def conditions(self) -> list[Condition]:
        """The eight conditions; `p_holm` is still open."""
        below = f"is at most {100 * self.margin:g} points below"
        return [
            self._paired("beats_zero_shot", "beats its own zero-shot run", "strong0"),
            self._paired(
                "beats_unlabelled", "beats the same demonstrations without labels", "unlabelled"
            ),
            self._paired("beats_random", "beats random labels", "random"),
            self._paired(
                "at_least_noise_matched",
                f"{below} gold labels with as many errors",
                "noise_matched",
                -self.margin,
            ),
            self._paired("at_least_self", f"{below} its own labels", "self", -self.margin),
            self._paired("beats_teacher", "beats its labeller", "teacher"),
            self._gap("gap_established", "beats its labeller when shown gold labels"),
            self._survives(
                "survives_surface_rule",
                "beats its own zero-shot run where the surface rule is wrong",
            ),
        ]

    def _shown(self, arm: str) -> list[Mapping[int, int]] | None:
        """Runs by draw at each shot count; None unless there are some at all of them."""
        if any(arm not in arms for arms in self._arms):
            return None
        return [arms[arm].runs for arms in self._arms]

    def _column(self, arm: str) -> Column | str:
        """The runs of an arm, or why there are none."""
        if arm in ("strong0", "teacher"):
            model = self.strong if arm == "strong0" else self.weak
            run = self.experiment.zero_shot(model)
            return f"{model} has no zero-shot run" if run is None else run
        shown = self._shown(arm)
        if shown is not None:
            return shown
        lacking = [k for k, arms in zip(self.shots, self._arms, strict=True) if arm not in arms]
        return f"no run with {_LABELS[arm]} at {_listed(map(str, lacking))} shots"

    def _joined(self, *arms: str) -> Compared | str:
        """The columns of some arms, or why they cannot be compared."""
        columns: list[Column] = []
        for arm in arms:
            column = self._column(arm)
            if isinstance(column, str):
                return column
            columns.append(column)
            if other := self._other_demonstrations(arm):
                return other
        return _usable(self.experiment.compare(*columns))

    def _other_demonstrations(self, arm: str) -> str:
        """Why an arm is no control of the weak labels: it does not show the same questions."""
        demo_ids = self.experiment.logs.runs["demo_ids"]
        for mine, its in zip(self._shown("weak") or (), self._shown(arm) or (), strict=False):
            both = {draw: its[draw] for draw in set(mine) & set(its)}
            if not all(demo_ids[mine[d]] and demo_ids[run] for d, run in both.items()):
                return "the logs do not say which demonstrations were shown"
            for draw in sorted(set(both) - set(self.experiment.matched(mine, both))):
                return f"{_LABELS[arm]} stand on other demonstrations in draw {draw}"
        return ""

    def _paired(self, name: str, text: str, other: str, line: float = 0.0) -> Condition:
        both = self._joined("weak", other)
        if isinstance(both, str):
            return Condition(name, text, "not run", line=line, detail=both)
        treated, against = both.columns
        found = paired_difference(treated, against, line=line, level=LEVEL)
        return _decided(name, text, found, line)

    def _gap(self, name: str, text: str) -> Condition:
        three = self._joined("teacher", "weak", "gold")
        if isinstance(three, str):
            return Condition(name, text, "not run", detail=three)
        weak, treated, gold = three.columns
        ratio = gap_recovered(weak, treated, gold, level=LEVEL)
        found = _decided(name, text, paired_difference(gold, weak, level=LEVEL), 0.0)
        if found.state == "holds" and ratio.status != "ok":
            detail = "too small for its share to have an interval"
            return replace(found, state="undecided", detail=detail)
        return found

    def _survives(self, name: str, text: str) -> Condition:
        shown = self._shown("weak")
        base = self._column("strong0")
        if shown is None or isinstance(base, str):
            why = base if isinstance(base, str) else self._column("weak")
            return Condition(name, text, "not run", detail=str(why))
        apart = _usable(self.experiment.compare(base, *([runs] for runs in shown)))
        if isinstance(apart, str):
            return Condition(name, text, "not run", detail=apart)
        zero, *treated = apart.columns
        wrong = []
        for runs in shown:
            fitted = [self.experiment.rule_right(runs[draw]) for draw in apart.draws]
            known = [~right[apart.places] for right in fitted if right is not None]
            if len(known) < len(fitted):
                detail = "the logs do not say which options and labels were shown"
                return Condition(name, text, "not run", detail=detail)
            wrong.append(np.column_stack(known))
        times = np.sum(wrong, axis=0)  # shot counts at which the rule has the question wrong
        answered = np.sum([a * w for a, w in zip(treated, wrong, strict=True)], axis=0)
        shown_rule = subgroup_difference(
            answered / np.maximum(times, 1), zero, times > 0, level=LEVEL
        )
        # the rule of a few demonstrations can be a weak one; a gain must survive the best one, too
        best = ~self.experiment.cross_fitted_right[apart.places]
        best_rule = subgroup_difference(np.mean(treated, axis=0), zero, best, level=LEVEL)
        both = []
        for of, found in (
            ("the rule fitted on the labels shown", shown_rule),
            ("the rule cross-fitted on the test questions", best_rule),
        ):
            c = _decided(name, text, found, 0.0)
            both.append(replace(c, detail="; ".join(filter(None, (of, c.detail)))))
        return min(both, key=lambda c: -math.inf if c.n < MIN_QUESTIONS else c.low)


_COMPARED = ("weak", "unlabelled", "random", "noise_matched", "self", "gold")
_LABELS = {
    "weak": "the labels of the weak model",
    "gold": "gold labels",
    "self": "the strong model's own labels",
    "random": "random labels",
    "noise_matched": "gold labels with as many errors",
    "unlabelled": "unlabelled demonstrations",
}


def _usable(joined: Compared) -> Compared | str:
    if joined.usable:
        return joined
    if not joined.n_union:
        return "the runs have no draw in common"
    return f"incomplete: {100 * joined.missing:.1f}% of the questions lack an answer"


def _decided(name: str, text: str, found: Difference, line: float) -> Condition:
    state: State = "undecided"
    detail = ""
    if found.n < MIN_QUESTIONS:
        detail = f"only {found.n} questions, of at least {MIN_QUESTIONS}"
    elif found.low > line:
        state = "holds"
    elif found.high < line:
        state = "fails"
    return Condition(
        name,
        text,
        state,
        found.diff,
        found.low,
        found.high,
        line,
        found.p,
        n=found.n,
        detail=detail,
    )


def _verdict(
    pair: _Pair,
    conditions: tuple[Condition, ...],
    names: Mapping[str, str],
    against: Sequence[str],
) -> Verdict:
    claim = (
        all(c.state == "holds" and c.p_holm < ALPHA for c in conditions)
        and pair.draws >= MIN_RANDOM_DRAWS
        and not against
    )
    reading = _reading({c.name: c.state for c in conditions}, claim=claim)
    without = Verdict(
        pair.weak, pair.strong, pair.shots, pair.draws, conditions, claim, reading, ""
    )
    weak, strong = (names.get(model, model) for model in (pair.weak, pair.strong))
    told = _sentence(without, weak, strong)
    if against:
        told = f"{told.removesuffix('.')}; no claim stands, because {'; '.join(against)}."
    return replace(without, sentence=told)


def _reading(states: Mapping[str, State], *, claim: bool) -> Reading:
    """The first explanation that the data do not rule out, one that they show before others."""
    if claim:
        return "generalization"
    if states["beats_zero_shot"] == "not run":
        return "not tested"
    if states["beats_zero_shot"] != "holds":
        return "no gain"
    lost: tuple[State, ...]
    for lost in (("fails",), ("fails", "undecided")):
        if states["beats_random"] in lost or states["beats_unlabelled"] in lost:
            return "format"
        if states["at_least_noise_matched"] == "fails":
            return "imitation"
        if states["survives_surface_rule"] in lost:
            return "surface rule"
    open_ = any(state in ("fails", "undecided") for state in states.values())
    return "not tested" if "not run" in states.values() and not open_ else "undecided"


def _sentence(verdict: Verdict, weak: str, strong: str) -> str:
    """A verdict in words; the one word that needs a claim stands only where there is one."""
    counts = _listed(map(str, verdict.shots))
    shown = f"with {counts} demonstration{'s' * (verdict.shots != (1,))} labelled by {weak}"
    by = {c.name: c for c in verdict.conditions}
    gain = by["beats_zero_shot"]
    if verdict.claim:
        over = [
            f"{points(by[name].estimate)} points {text} (95% {_ends(by[name])})"
            for name, text in (
                ("beats_zero_shot", "against its own zero-shot run"),
                ("beats_random", "against random labels"),
                ("survives_surface_rule", "where the surface rule is wrong"),
            )
        ]
        return (
            f"Weak-to-strong generalization: {shown}, {strong} meets all {len(by)} conditions over "
            f"{verdict.draws} draws, with {_listed(over)}."
        )
    lead = f"{shown[0].upper()}{shown[1:]}, {strong} {_change(gain)}; {_READINGS[verdict.reading]}"
    if gain.state == "not run":
        lead = f"{strong} {shown}: nothing can be said ({gain.detail})"
    groups = {
        state: [
            c.text + ("" if state == "not run" else f" ({_numbers(c)})")
            for c in verdict.conditions
            if c.state == state and c is not gain
        ]
        for state in ("holds", "fails", "undecided", "not run")
    }
    told = "; ".join(f"{state}: {', '.join(of)}" for state, of in groups.items() if of)
    return f"{lead}. {told[0].upper()}{told[1:]}{_short_of(verdict)}."


def _change(gain: Condition) -> str:
    if gain.state == "holds":
        diff = points(gain.estimate, sign=False)
        return f"gains {diff} points over its own zero-shot run (95% {_ends(gain)})"
    if gain.state == "fails":
        diff = points(-gain.estimate, sign=False)
        ends = f"{points(-gain.high, sign=False)} to {points(-gain.low, sign=False)}"
        return f"loses {diff} points against its own zero-shot run (95% {ends})"
    return f"shows no clear change from its own zero-shot run ({_numbers(gain)})"


_READINGS: Mapping[Reading, str] = {
    "no gain": "no gain is shown",
    "format": "the gain is not told from what the format of the demonstrations gives",
    "imitation": "it takes over its labeller's errors",
    "surface rule": "the gain is not told from that of a rule which never sees the question",
    "undecided": "not everything that a claim needs is shown",
    "not tested": "nothing speaks against a claim, but not all that it needs was run",
}


def _short_of(verdict: Verdict) -> str:
    """What else keeps a pair from a claim, beside its conditions."""
    text = ""
    weak = [c.text for c in verdict.conditions if c.state == "holds" and not c.p_holm < ALPHA]
    if weak:
        text += f"; of what holds, not so after adjustment for all pairs: {', '.join(weak)}"
    if 0 < verdict.draws < MIN_RANDOM_DRAWS:
        draws = f"{verdict.draws} draw{'s' * (verdict.draws > 1)}"
        text += f"; with {draws} of the demonstrations this says nothing of others"
    return text


def _numbers(c: Condition) -> str:
    if math.isnan(c.estimate):
        return c.detail
    return f"{points(c.estimate)} points, 95% {_ends(c)}" + (f"; {c.detail}" if c.detail else "")


def _ends(c: Condition) -> str:
    return f"{points(c.low, sign=False)} to {points(c.high, sign=False)}"


def _listed(parts: Iterable[str]) -> str:
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else last


def verdict_table(found: Sequence[Verdict]) -> pd.DataFrame:
    """One row per pair and condition; `shots` are separated by spaces."""
    fields: Mapping[str, Callable[[Verdict, Condition], object]] = {
        "weak": lambda v, _: v.weak,
        "strong": lambda v, _: v.strong,
        "shots": lambda v, _: " ".join(map(str, v.shots)),
        "draws": lambda v, _: v.draws,
        "scope": lambda v, _: scope(v.draws),
        "condition": lambda _, c: c.name,
        "state": lambda _, c: c.state,
        "estimate": lambda _, c: c.estimate,
        "lo": lambda _, c: c.low,
        "hi": lambda _, c: c.high,
        "line": lambda _, c: c.line,
        "p": lambda _, c: c.p,
        "p_holm": lambda _, c: c.p_holm,
        "n": lambda _, c: c.n,
        "reading": lambda v, _: v.reading,
    }
    rows = [{k: f(v, c) for k, f in fields.items()} for v in found for c in v.conditions]
    return pd.DataFrame(rows, columns=list(fields))
