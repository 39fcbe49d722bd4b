"""Verdicts on hand-built answers: states, readings, and what keeps a pair from a claim."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from tests.analysis.stats.samples import by_hand
from tests.analysis.synthetic import logs_of
from tests.conftest import Args, warnings_are_errors
from w2s_icl.analysis.experiment import Experiment, Rule
from w2s_icl.analysis.logs import KEY, Declaration
from w2s_icl.analysis.stats.paired import gain_line, holm
from w2s_icl.analysis.surface_rule import cross_fitted
from w2s_icl.analysis.verdict import CONTRASTS, Verdict, fit_table, verdict_table, verdicts

pytestmark = warnings_are_errors

N = 400
Right = NDArray[np.bool_]
Floats = NDArray[np.float64]
Accuracies = Mapping[str, float | Right]
Columns = dict[tuple[Any, ...], Right]

ORDER = np.random.default_rng(1).permutation(N)
RULE_RIGHT = np.arange(N) % 4 != 0  # where a rule that takes the longest option is right

HOLDING: Mapping[str, float] = {
    **{"weak0": 0.40, "strong0": 0.50, "unlabelled": 0.51, "random": 0.52},
    **{"noise_matched": 0.60, "self": 0.62, "weak": 0.65, "gold": 0.75},
}
"""Accuracies with which every condition holds; the questions got right are nested."""

ZERO = ("weak0", "strong0")
DECLARED = Declaration(headline=(8,), declared=True)

LONG = ("a rather longer one", "no", "it", "or so")  # the right option is the first
SHORT = ("no", "a rather longer one", "it", "or so")


def nested(accuracy: float) -> Right:
    """Right on so many questions, always the same first."""
    return np.asarray(round(accuracy * N) > ORDER)


def key(arm: str, weak: str, strong: str, shots: int, draw: int) -> tuple[Any, ...]:
    if arm == "labels":
        return (weak, "zero_shot", "pool", "", "", 0, 0, "")
    if arm in ZERO:
        return (weak if arm == "weak0" else strong, "zero_shot", "test", "", "", 0, 0, "")
    by = {"weak": weak, "noise_matched": weak, "self": strong}.get(arm, "")
    return (strong, "few_shot", "test", "weak" if arm == "self" else arm, by, shots, draw, "")


def experiment(of: Columns, declared: Declaration = DECLARED, category: Any = "") -> Experiment:
    """Runs by whether each question is right; the right letter is A, a wrong one B."""
    asked = len(next(iter(of.values())))
    choices = [LONG if long else SHORT for long in RULE_RIGHT[:asked]]
    questions = pd.DataFrame(
        {"choices": choices, "gold": "A", "n_options": 4, "category": category},
        index=pd.Index(range(asked), name="id", dtype=object),
    )
    shown = {
        k: {
            **{"file": "log.eval", "demo_label_accuracy": 0.5},
            "demo_ids": tuple(f"d{i}" for i in range(k[5])),
            "demo_choices": (SHORT,) * k[5],
            "demo_labels": ("" if k[3] == "unlabelled" else "B",) * k[5],
        }
        for k in of
    }
    answers: Any = {k: np.where(column, "A", "B") for k, column in of.items()}
    e = Experiment(logs_of(answers, questions, (), shown, declared))
    e.__dict__["rule"] = fitted(asked)  # of the same questions every time
    return e


@lru_cache
def fitted(asked: int) -> Rule:
    choices = [LONG if long else SHORT for long in RULE_RIGHT[:asked]]
    chosen, probability = cross_fitted(choices, [0] * asked)
    return Rule(chosen == 0, probability - 1 / 4)


def arms(accuracies: Accuracies, pair: tuple[str, str] = ("w", "s")) -> Columns:
    """Runs of a pair, the one that wrote the weak model's labels included."""
    runs = {
        key(arm, *pair, 8, draw): nested(of) if isinstance(of, float) else of
        for arm, of in accuracies.items()
        for draw in range(1 if arm in ZERO else 3)
    }
    return runs | {key("labels", *pair, 8, 0): nested(0.4)}


def only(found: Sequence[Verdict]) -> tuple[Verdict, Args]:
    (verdict,) = found
    return verdict, {c.name: c for c in verdict.conditions}


def states(verdict: Verdict) -> dict[str, str]:
    return {c.name: c.state for c in verdict.conditions if c.state != "holds"}


def sentence(verdict: Verdict) -> str:
    return f"{verdict.lead} {verdict.rest}"


def says_the_word(verdict: Verdict) -> bool:
    return "generali" in sentence(verdict).lower()


def test_a_claim_needs_all_conditions_and_says_the_word() -> None:
    verdict, by = only(verdicts(experiment(arms(HOLDING)), {"w": "small", "s": "large"}))

    assert (verdict.claim, verdict.reading) == (True, "generalization")
    assert (verdict.shots, verdict.draws, verdict.void) == ((8,), 3, ())
    assert (tuple(by), states(verdict)) == (tuple(CONTRASTS), {})
    assert sentence(verdict).startswith(
        "Weak-to-strong generalization: shown 8 demonstrations labelled by small, large meets all "
        "seven conditions over 3 draws. Shown: a gain over no demonstrations, +15.0 points (95% CI "
    )
    estimates = [c.estimate for c in verdict.conditions[:-1]]
    assert estimates == pytest.approx([0.15, 0.14, 0.13, 0.10, 0.25, 0.35])
    assert verdict.p == max(c.p for c in by.values()) == verdict.p_holm < 0.025
    assert {c.name: (c.state, round(c.estimate, 2)) for c in verdict.beside} == {
        "against_self": ("", 0.03),
        "against_noise_matched": ("", 0.05),
    }
    assert by["beats_random"].text == (
        "large, shown small's labels, against large shown random labels"
    )
    assert by["keeps_half_the_gain"].text == (
        "large, shown small's labels, against halfway from large shown nothing to large shown gold "
        "labels with as many errors as small's"
    )


def test_the_surface_rule_is_fitted_on_all_questions() -> None:
    e = experiment(arms(HOLDING))
    verdict, by = only(verdicts(e))

    gained = nested(0.65), nested(0.5)
    line = gain_line(*(np.repeat(c[:, None], 3, 1) for c in gained), e.rule.knows)
    c = by["survives_surface_rule"]
    at = line.at(0)
    assert (c.estimate, c.low, c.high) == pytest.approx((at.diff, at.low, at.high))
    assert c.n == N
    fit = fit_table([verdict])
    bins = fit[fit["kind"] == "bin"]
    assert bins["n"].tolist() == [N / 5] * 5
    assert bins["gain"].mean() == pytest.approx(0.15)
    (at_0,) = fit[(fit["kind"] == "line") & (fit["x"] == 0)].to_dict("records")
    assert (at_0["gain"], at_0["gain_lo"]) == pytest.approx((c.estimate, c.low))
    assert fit["x"].max() <= 0.75


# a gain where the rule is right, a loss where it is wrong
SURFACE = np.where(RULE_RIGHT, nested(0.85), nested(0.35))
NEAR = nested(0.65)  # as often right as the weak arm, nearly, and on other questions
NEAR[np.flatnonzero(nested(0.40))[:20]] = False
NEAR[np.flatnonzero(~nested(0.65))[:18]] = True


@pytest.mark.parametrize(
    ("changed", "reading", "not_holding"),
    [
        ({"weak": 0.50}, "no gain", {"beats_zero_shot": "equal"}),
        ({"weak": 0.40}, "no gain", {"beats_zero_shot": "fails"}),
        ({"random": 0.65}, "format", {"beats_random": "equal"}),
        ({"random": NEAR}, "undecided", {"beats_random": "undecided"}),
        ({"unlabelled": 0.65}, "format", {"beats_unlabelled": "equal"}),
        ({"noise_matched": 0.90}, "imitation", {"keeps_half_the_gain": "fails"}),
        ({"noise_matched": 0.80}, "undecided", {"keeps_half_the_gain": "undecided"}),
        (
            {"random": 0.72, "noise_matched": 0.90},
            "format",
            {"beats_random": "fails", "keeps_half_the_gain": "fails"},
        ),
        ({"weak0": 0.65}, "no better than weak", {"beats_weak": "equal"}),
        ({"weak": SURFACE}, "surface rule", {"survives_surface_rule": "fails"}),
        ({"gold": 0.30}, "undecided", {"gap_established": "fails"}),
    ],
)
def test_the_reading_follows_from_the_states(
    changed: Accuracies, reading: str, not_holding: Mapping[str, str]
) -> None:
    verdict, by = only(verdicts(experiment(arms({**HOLDING, **changed}))))

    open_ = states(verdict)
    assert {name: open_.get(name) for name in not_holding} == not_holding
    if "weak" not in changed:  # else much else does not hold either
        assert open_ == not_holding
    assert (verdict.reading, verdict.claim) == (reading, False)
    assert not says_the_word(verdict)
    for name, state in not_holding.items():
        low, high = by[name].low, by[name].high
        if state == "equal":
            assert -0.02 < low <= high < 0.02
        if state == "undecided":
            assert low <= 0 <= high
            text = f"up to {100 * high:.1f} points are not excluded"
            assert text in sentence(verdict)


def test_the_margin_is_the_studys() -> None:
    columns = arms({**HOLDING, "random": NEAR})

    (close,) = verdicts(experiment(columns))
    (wide,) = verdicts(experiment(columns, replace(DECLARED, margin=0.05)))
    assert (close.conditions[2].state, wide.conditions[2].state) == ("undecided", "equal")


@pytest.mark.parametrize("arm", [arm for arm in HOLDING if arm != "weak"])
def test_a_missing_arm_is_not_run_and_no_claim(arm: str) -> None:
    columns = arms({name: a for name, a in HOLDING.items() if name != arm})
    verdict, by = only(verdicts(experiment(columns)))

    expected = {name for name, weights in CONTRASTS.items() if arm in weights}
    assert set(states(verdict)) == expected
    assert all(by[name].state == "not run" for name in expected)
    assert all(by[name].detail and math.isnan(by[name].estimate) for name in expected)
    if arm == "self":
        assert [c.name for c in verdict.beside] == ["against_noise_matched"]
        return
    assert (verdict.claim, verdict.reading) == (False, "not tested")
    assert math.isnan(verdict.p)
    assert not says_the_word(verdict)


def test_without_the_main_arm_nothing_can_be_said() -> None:
    e = experiment(arms({name: a for name, a in HOLDING.items() if name != "weak"}))
    e.logs.planned.loc[0] = [*key("weak", "w", "s", 8, 0), 0]
    verdict, _ = only(verdicts(Experiment(e.logs), {"w": "small", "s": "large"}))

    assert set(states(verdict).values()) == {"not run"}
    assert (len(states(verdict)), verdict.draws) == (7, 0)
    expected = "nothing can be said, large shown small's labels was not run at 8 shots."
    assert expected in sentence(verdict)


def test_an_arm_that_lacks_answers_is_incomplete() -> None:
    columns = arms(HOLDING)
    e = experiment(columns)
    row = list(columns).index(key("random", "w", "s", 8, 1))
    e.logs.correct[row, :10] = math.nan  # 2.5%
    verdict, by = only(verdicts(e))

    assert states(verdict) == {"beats_random": "not run"}
    assert by["beats_random"].detail == "incomplete: 2.5% of the questions have no answer"


@pytest.mark.parametrize("kind", ["random", "unlabelled", "noise_matched", "gold"])
def test_an_arm_with_other_demonstrations_is_no_control(kind: str) -> None:
    e = experiment(arms(HOLDING))
    runs = e.logs.runs
    row = runs.index[(runs["labels"] == kind) & (runs["draw"] == 1)][0]
    runs.at[row, "demo_ids"] = tuple(f"d{i}" for i in range(1, 9))
    verdict, by = only(verdicts(e))

    (name,) = states(verdict)
    assert by[name].state == "not run"
    assert by[name].detail.endswith("other demonstrations in draw 1")
    assert not verdict.claim


def test_where_no_log_says_what_was_shown_arms_with_demonstrations_are_not_compared() -> None:
    e = experiment(arms(HOLDING))
    e.logs.runs["demo_ids"] = [()] * len(e.logs.runs)
    verdict, by = only(verdicts(e))

    both = {"beats_unlabelled", "beats_random", "keeps_half_the_gain", "gap_established"}
    assert states(verdict) == dict.fromkeys(both, "not run")
    assert by["beats_random"].detail == "the logs do not say which demonstrations were shown"
    assert not verdict.claim


def test_too_few_questions_decide_nothing() -> None:
    verdict, by = only(verdicts(experiment({k: v[:25] for k, v in arms(HOLDING).items()})))

    assert set(states(verdict).values()) == {"undecided"}
    assert by["beats_weak"].detail == "only 25 questions, of at least 30"


def test_a_state_that_depends_on_unread_replies_is_undecided() -> None:
    columns = arms({**HOLDING, "weak": 0.56})
    e = experiment(columns)
    gained = np.flatnonzero(nested(0.56) & ~nested(0.5))
    row = list(columns).index(key("strong0", "w", "s", 0, 0))
    e.logs.unread[row, gained[:22]] = 1  # questions that the zero-shot run did not answer
    _, by = only(verdicts(e))

    c = by["beats_zero_shot"]
    assert (c.state, c.detail) == ("undecided", "depends on unread replies")
    assert c.low > 0
    assert c.readable == pytest.approx(2 / 378)
    assert by["beats_weak"].state == "holds"


def test_questions_of_a_category_may_go_together() -> None:
    gained = nested(0.65) & ~nested(0.5)
    together = np.argsort(np.argsort(~gained, kind="stable")) // 20

    def low(categories: Any = "") -> float:
        return verdicts(experiment(arms(HOLDING), category=categories))[0].conditions[0].low

    assert len({*together}) == 20
    assert low([f"c{i % 19}" for i in together]) == low() > low([f"c{i}" for i in together])


@pytest.mark.parametrize("draws", [1, 2])
def test_few_draws_of_one_control_carry_no_claim(draws: int) -> None:
    columns = arms(HOLDING)
    for draw in range(draws, 3):
        del columns[key("random", "w", "s", 8, draw)]
    verdict, _ = only(verdicts(experiment(columns)))

    assert states(verdict) == {}
    assert (verdict.claim, verdict.reading, verdict.draws) == (False, "undecided", draws)
    assert f"with {draws} draw" in sentence(verdict)
    assert not says_the_word(verdict)
    assert set(verdict_table([verdict])["scope"]) == {"fixed_demos"}


@pytest.mark.parametrize(
    ("declared", "changed", "why"),
    [
        ({"declared": False}, (), "the study file declares no headline"),
        ({"conflicts": ("the pairs were changed",)}, (), "the pairs were changed"),
        (
            {},
            ("noise_matched", "demo_label_accuracy", 0.25),
            "controls show other labels than they should (log.eval: 6 labels are wrong, of those "
            "by w 4 and 2 more)",
        ),
        ({}, ("random", "in_study", False), "an arm was run before or beside the study (log.eval)"),
        ({}, ("random", "endpoint", "elsewhere []"), "s was reached in 2 ways"),
        ({}, ("random", "unparsed", 41), "10.2% of the replies cannot be read (s, 8 random labels"),
    ],
)
def test_what_is_void_has_no_claim(declared: Args, changed: tuple[str, str, Any], why: str) -> None:
    e = experiment(arms(HOLDING), replace(DECLARED, **declared))
    if changed:
        e.logs.runs.loc[e.logs.runs["labels"] == changed[0], changed[1]] = changed[2]
    verdict, _ = only(verdicts(e))

    assert (states(verdict), verdict.claim) == ({}, False)
    assert any(reason.startswith(why) for reason in verdict.void)
    assert why in sentence(verdict).partition("No claim stands, because")[2]
    assert not says_the_word(verdict)


def test_labels_whose_run_is_not_here_carry_no_claim() -> None:
    columns = {k: right for k, right in arms(HOLDING).items() if k[2] == "test"}
    verdict, _ = only(verdicts(experiment(columns)))

    assert (states(verdict), verdict.claim) == ({}, False)
    assert verdict.void == ("the run that wrote w's labels is not among these logs",)


def test_a_claim_takes_all_draws_that_were_declared() -> None:
    e = experiment(arms(HOLDING))
    draws = [(*key("weak", "w", "s", 8, draw), 0) for draw in range(5)]
    declared = Experiment(replace(e.logs, planned=pd.DataFrame(draws, columns=list(KEY))))
    declared.__dict__["rule"] = e.rule
    verdict, _ = only(verdicts(declared))

    assert (states(verdict), verdict.claim) == ({}, False)
    assert verdict.void == ("3 of 5 declared draws are finished in all arms",)


def test_unread_replies_and_habits_of_place_stand_beside_the_verdict() -> None:
    e = experiment(arms(HOLDING))
    e.logs.runs.loc[e.logs.runs["labels"] == "random", "unparsed"] = 20
    verdict, _ = only(verdicts(e))

    assert verdict.claim
    unread, habit = verdict.cautions
    assert unread.startswith("5.0% of the replies cannot be read and count as wrong (s, 8 random")
    assert habit.startswith("errors fall on some places of the options, each question in one order")
    assert habit.endswith("zero-shot: 100.0% of the errors at B, 33.3% by equal chances)")


def test_a_leaked_question_voids_the_claim_that_rests_on_it_alone() -> None:
    e = experiment(arms(HOLDING) | arms(HOLDING, pair=("w", "t")))
    runs = e.logs.runs
    for row in runs.index[(runs["model"] == "t") & (runs["shots"] > 0)]:
        runs.at[row, "demo_ids"] = (0, *(f"d{i}" for i in range(1, 8)))

    by = {v.strong: v for v in verdicts(e)}
    assert (by["s"].claim, by["t"].claim) == (True, False)
    says = "test questions are among the demonstrations (log.eval: shows"
    assert by["t"].void[0].startswith(says)


def test_holm_goes_over_the_pairs_on_the_largest_p() -> None:
    columns = arms(HOLDING)
    columns |= arms({**HOLDING, "weak": 0.59, "unlabelled": 0.57}, pair=("w", "t"))
    columns |= arms({arm: HOLDING[arm] for arm in (*ZERO, "weak", "gold")}, pair=("w", "u"))
    pairs = verdicts(experiment(columns))

    assert {(v.weak, v.strong) for v in pairs} == {("w", "s"), ("w", "t"), ("w", "u")}
    for v in pairs:
        p = [c.p for c in v.conditions]
        assert v.p == pytest.approx(max(p) if v.strong != "u" else math.nan, nan_ok=True)
    adjusted = [v.p_holm for v in pairs]
    *two, alone = holm([*(v.p for v in pairs[:2]), 1.0])  # what was not tested is in the family
    assert (adjusted, alone) == (pytest.approx([*two, math.nan], nan_ok=True), 1.0)
    assert len(verdict_table(pairs)) == 3 * 7 + 2 * 2
    # 2 points over `unlabelled`: p 0.005 alone
    close = {**HOLDING, "weak": 0.6, "unlabelled": 0.588}
    alone = verdicts(experiment(arms(close)))[0]
    three = arms(close) | arms(close, pair=("w", "t")) | arms(close, pair=("w", "u"))
    (first, *_) = verdicts(experiment(three))
    assert (alone.claim, states(first)) == (True, {})
    assert (first.claim, first.reading, first.p_holm) == (False, "undecided", 3 * first.p)
    assert "after adjustment for the number of pairs" in sentence(first)


def test_pairs_of_one_model_have_no_verdict() -> None:
    own = {k: v for k, v in arms(HOLDING, pair=("s", "s")).items() if k[3] != "noise_matched"}

    assert verdicts(experiment(own)) == []
    assert verdict_table([]).empty
    assert fit_table([]).empty
    assert verdicts(experiment({k: v for k, v in arms(HOLDING).items() if k[5] == 0})) == []


def drawn(seed: int = 3) -> Columns:
    """Arms whose draws differ in accuracy and in the questions they get right."""
    rng = np.random.default_rng(seed)
    moved = {k: rng.random(N) < 0.03 * (1 + k[6]) for k in arms(HOLDING)}
    return {k: column ^ moved[k] for k, column in arms(HOLDING).items()}


def stack(columns: Columns, arm: str, shots: int = 8) -> Any:
    draws = range(1 if arm in ZERO else 3)
    return np.column_stack([columns[key(arm, "w", "s", shots, d)] for d in draws]).astype(float)


@pytest.mark.parametrize("name", [name for name in CONTRASTS if "surface" not in name])
def test_numbers_of_a_contrast_are_those_of_the_formulas(name: str) -> None:
    columns = drawn()
    _, by = only(verdicts(experiment(columns)))

    expected = by_hand(sum(w * stack(columns, arm) for arm, w in CONTRASTS[name].items()))
    c = by[name]
    assert (c.estimate, c.low, c.high, c.p) == pytest.approx(expected)


def test_a_headline_over_several_counts_averages_them_first() -> None:
    few, many = drawn(4), drawn(5)
    columns = many | {(*k[:5], 4, *k[6:]): v for k, v in few.items() if k[5]}
    e = experiment(columns, replace(DECLARED, headline=(4, 8)))
    verdict, by = only(verdicts(e))

    both = (stack(columns, "weak", 4) + stack(columns, "weak", 8)) / 2
    expected = by_hand(both - stack(columns, "strong0"))
    c = by["beats_zero_shot"]
    assert (c.estimate, c.low, c.high, c.p) == pytest.approx(expected)
    other = (stack(columns, "random", 4) + stack(columns, "random", 8)) / 2
    assert by["beats_random"].estimate == pytest.approx((both - other).mean())
    line = gain_line(both, stack(columns, "strong0"), e.rule.knows)
    assert by["survives_surface_rule"].low == pytest.approx(line.at(0).low)
    assert set(verdict_table([verdict])["shots"]) == {"4 8"}
    assert "4 and 8 demonstrations" in sentence(verdict)
