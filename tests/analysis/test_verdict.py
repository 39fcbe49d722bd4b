"""Verdicts on hand-built answers: states, readings, and what keeps a pair from a claim."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy import stats

from w2s_icl.analysis.declaration import Declaration
from w2s_icl.analysis.experiment import Experiment
from w2s_icl.analysis.logs import KEY, Logs
from w2s_icl.analysis.stats import holm
from w2s_icl.analysis.verdict import Condition, Verdict, verdict_table, verdicts

pytestmark = [
    pytest.mark.filterwarnings("error"),
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),  # what other tests left open
]

N = 200
Right = NDArray[np.bool_]

ORDER = np.random.default_rng(1).permutation(N)
RULE_RIGHT = np.arange(N) % 2 == 0
"""Where the rule is right that is fitted on the demonstrations: they choose the longest option."""

LABELS = {"self": "weak", "gold": "gold"}
HOLDING: Mapping[str, float] = {
    **{"teacher": 0.40, "zero": 0.50, "unlabelled": 0.51, "random": 0.52},
    **{"noise_matched": 0.60, "self": 0.62, "weak": 0.65, "gold": 0.75},
}
"""Accuracies with which every condition holds; the questions got right are nested."""

NAMES = (
    *("beats_zero_shot", "beats_unlabelled", "beats_random", "at_least_noise_matched"),
    *("at_least_self", "beats_teacher", "gap_established", "survives_surface_rule"),
)


def nested(accuracy: float) -> Right:
    """Right on so many questions, always the same first."""
    return np.asarray(round(accuracy * N) > ORDER)


def key(arm: str, weak: str, strong: str, shots: int, draw: int) -> tuple[Any, ...]:
    if arm in ("teacher", "zero"):
        model = weak if arm == "teacher" else strong
        return (model, "zero_shot", "test", "", "", 0, 0, "")
    giver = {"weak": weak, "noise_matched": weak, "self": strong}.get(arm, "")
    kind = LABELS.get(arm, arm)
    return (strong, "few_shot", "test", kind, giver, shots, draw, "")


def experiment(
    columns: Mapping[tuple[Any, ...], Right],
    *,
    metadata: Mapping[str, Any] | None = None,
    asked: int = N,
) -> Experiment:
    """Runs by whether each question is right; the right letter is A, a wrong one B."""
    correct = np.array([column[:asked] for column in columns.values()], dtype=float)
    demonstrations = [("no", "a rather longer one", "it", "or so")] * 8
    rows = [
        {
            **dict(zip(KEY, k, strict=True)),
            **{"n": asked, "asked": asked, "demo_label_accuracy": 0.5},
            "demo_ids": tuple(f"d{i}" for i in range(k[5])),
            **{"file": "log.eval", "eval_id": str(k), "label_eval_id": ""},
            "demo_choices": tuple(demonstrations[: k[5]]),
            "demo_labels": ("" if k[3] == "unlabelled" else "B",) * k[5],
        }
        for k in columns
    ]
    right_is_long = ("a rather longer one", "no", "it", "or so")
    right_is_short = ("no", "a rather longer one", "it", "or so")
    choices = [right_is_long if long else right_is_short for long in RULE_RIGHT[:asked]]
    questions = pd.DataFrame({"choices": choices, "gold": "A", "category": ""})
    declared = {"headline": [8], "margin": 0.02, **(metadata or {})}
    logs = Logs(
        directory="logs",
        runs=pd.DataFrame(rows),
        questions=questions,
        letters=np.where(correct == 1, "A", "B"),
        correct=correct,
        unread=np.zeros(correct.shape, dtype=np.intp),
        planned=pd.DataFrame(columns=list(KEY)),
        metadata=declared,
        notes=(),
        declaration=Declaration(headline=tuple(declared["headline"])),
    )
    return Experiment(logs)


def arms(
    accuracies: Mapping[str, float | Right],
    *,
    pair: tuple[str, str] = ("w", "s"),
    shots: int = 8,
    draws: int = 3,
) -> dict[tuple[Any, ...], Right]:
    return {
        key(arm, *pair, shots, draw): nested(of) if isinstance(of, float) else of
        for arm, of in accuracies.items()
        for draw in range(draws if arm not in ("teacher", "zero") else 1)
    }


def only(found: Sequence[Verdict]) -> tuple[Verdict, dict[str, Condition]]:
    (verdict,) = found
    return verdict, {c.name: c for c in verdict.conditions}


def states(verdict: Verdict) -> dict[str, str]:
    return {c.name: c.state for c in verdict.conditions if c.state != "holds"}


def says_the_word(verdict: Verdict) -> bool:
    return "generali" in verdict.sentence.lower()


# --- states and readings --------------------------------------------------------------------------


def test_a_claim_needs_all_conditions_and_says_the_word() -> None:
    e = experiment(arms(HOLDING))
    verdict, by = only(verdicts(e, {"w": "Small", "s": "Large"}))

    assert (verdict.claim, verdict.reading) == (True, "generalization")
    assert (verdict.shots, verdict.draws) == ((8,), 3)
    assert tuple(by) == NAMES
    assert {c.state for c in by.values()} == {"holds"}
    assert verdict.sentence.startswith(
        "Weak-to-strong generalization: with 8 demonstrations labelled by Small, Large meets all 8 "
        "conditions over 3 draws, with +15.0 points against its own zero-shot run (95% "
    )
    assert {name: c.line for name, c in by.items() if c.line} == {
        "at_least_noise_matched": -0.02,
        "at_least_self": -0.02,
    }
    expected = {"beats_zero_shot": 0.15, "beats_unlabelled": 0.14, "beats_random": 0.13}
    expected |= {"at_least_noise_matched": 0.05, "at_least_self": 0.03, "beats_teacher": 0.25}
    expected |= {"gap_established": 0.35}
    assert {name: by[name].estimate for name in expected} == pytest.approx(expected)
    gained = nested(0.65) & ~nested(0.5)
    left = by["survives_surface_rule"]
    assert left.detail == "the rule cross-fitted on the test questions"
    assert left.estimate == pytest.approx(gained[~e.cross_fitted_right].mean())
    assert left.estimate < gained[~RULE_RIGHT].mean()
    assert left.n == (~e.cross_fitted_right).sum()


def test_a_surface_student_is_found_out_though_the_demonstrations_hide_its_rule() -> None:
    treated = nested(0.65)  # right just where the right option says "may"
    e = experiment(arms({**HOLDING, "weak": treated}))
    choices = []
    for may, long in zip(treated, RULE_RIGHT, strict=True):
        options = ["it may", "a b", "c d", "e f"] if may else ["it is", "it may", "c d", "e f"]
        options[0 if long else 2] += " and rather longer words here"  # all that the shown rule sees
        choices.append(tuple(options))
    e.logs.questions["choices"] = choices
    verdict, by = only(verdicts(e))

    assert states(verdict) == {"survives_surface_rule": "undecided"}
    assert by["survives_surface_rule"].detail == "the rule cross-fitted on the test questions"
    assert (verdict.claim, verdict.reading) == (False, "surface rule")


def test_a_headline_must_be_declared_for_a_claim() -> None:
    verdict, _ = only(verdicts(experiment(arms(HOLDING), metadata={"headline": []})))

    assert states(verdict) == {}
    assert not verdict.claim
    assert "no headline was declared" in verdict.sentence
    assert not says_the_word(verdict)


@pytest.mark.parametrize(
    ("column", "value", "why"),
    [
        ("demo_ids", (0, 1, 2, 3, 4, 5, 6, 7), "test questions"),
        ("demo_label_accuracy", 0.25, "controls show other labels than they should"),
    ],
)
def test_a_check_that_fails_leaves_no_claim(column: str, value: Any, why: str) -> None:
    e = experiment(arms(HOLDING))
    runs = e.logs.runs
    kinds = ["noise_matched"] if column == "demo_label_accuracy" else list(runs["labels"])
    for row in runs.index[runs["labels"].isin(kinds) & (runs["shots"] > 0)]:
        runs.at[row, column] = value
    verdict, _ = only(verdicts(e))

    assert states(verdict) == {}
    assert not verdict.claim
    assert why in verdict.sentence.partition("no claim stands, because")[2]
    assert not says_the_word(verdict)


SURFACE = nested(0.5) | (RULE_RIGHT & nested(0.9))
"""A gain where the rule is right, and only there."""


@pytest.mark.parametrize(
    ("changed", "reading", "not_holding"),
    [
        ({"weak": 0.50}, "no gain", {"beats_zero_shot": "undecided"}),
        ({"weak": 0.40}, "no gain", {"beats_zero_shot": "fails"}),
        ({"random": 0.65}, "format", {"beats_random": "undecided"}),
        ({"random": 0.72}, "format", {"beats_random": "fails"}),
        ({"unlabelled": 0.65}, "format", {"beats_unlabelled": "undecided"}),
        ({"noise_matched": 0.75}, "imitation", {"at_least_noise_matched": "fails"}),
        (
            {"random": 0.65, "noise_matched": 0.75},
            "imitation",  # shown, where `format` is only not ruled out
            {"beats_random": "undecided", "at_least_noise_matched": "fails"},
        ),
        (
            {"random": 0.72, "noise_matched": 0.75},
            "format",
            {"beats_random": "fails", "at_least_noise_matched": "fails"},
        ),
        ({"noise_matched": 0.66}, "undecided", {"at_least_noise_matched": "undecided"}),
        ({"weak": SURFACE}, "surface rule", {"survives_surface_rule": "undecided"}),
        ({"self": 0.66}, "undecided", {"at_least_self": "undecided"}),
        ({"self": 0.80}, "undecided", {"at_least_self": "fails"}),
        ({"teacher": 0.65}, "undecided", {"beats_teacher": "undecided"}),
        (
            {"teacher": 0.85},
            "undecided",
            {"beats_teacher": "fails", "gap_established": "fails"},
        ),
        ({"gold": 0.40}, "undecided", {"gap_established": "undecided"}),
    ],
    ids=str,
)
def test_the_reading_follows_from_the_states(
    changed: Mapping[str, float | Right], reading: str, not_holding: Mapping[str, str]
) -> None:
    verdict, by = only(verdicts(experiment(arms({**HOLDING, **changed}))))

    found = states(verdict)
    assert {name: found.get(name) for name in not_holding} == not_holding
    if reading != "no gain":  # without a gain much else does not hold either
        assert found == not_holding
    assert verdict.reading == reading
    assert verdict.claim is False
    assert not says_the_word(verdict)
    for name, state in not_holding.items():
        assert (by[name].low <= by[name].line <= by[name].high) == (state == "undecided")
    assert "meets all" not in verdict.sentence


@pytest.mark.parametrize("arm", [arm for arm in HOLDING if arm != "weak"])
def test_a_missing_arm_is_not_run_and_no_claim(arm: str) -> None:
    verdict, by = only(
        verdicts(experiment(arms({name: a for name, a in HOLDING.items() if name != arm})))
    )

    expected = {
        "teacher": {"beats_teacher", "gap_established"},
        "zero": {"beats_zero_shot", "survives_surface_rule"},
        "unlabelled": {"beats_unlabelled"},
        "random": {"beats_random"},
        "noise_matched": {"at_least_noise_matched"},
        "self": {"at_least_self"},
        "gold": {"gap_established"},
    }[arm]
    assert set(states(verdict)) == expected
    assert set(states(verdict).values()) == {"not run"}
    assert all(by[name].detail and math.isnan(by[name].estimate) for name in expected)
    assert (verdict.claim, verdict.reading) == (False, "not tested")
    assert "not run: " in verdict.sentence.lower()
    assert not says_the_word(verdict)


def test_a_study_without_controls_has_not_run_lines_and_no_claim() -> None:
    main = {arm: HOLDING[arm] for arm in ("teacher", "zero", "weak", "gold")}
    verdict, by = only(verdicts(experiment(arms(main))))

    assert states(verdict) == dict.fromkeys(
        ("beats_unlabelled", "beats_random", "at_least_noise_matched", "at_least_self"), "not run"
    )
    assert verdict.reading == "not tested"
    assert by["beats_random"].detail == "no run with random labels at 8 shots"
    assert not says_the_word(verdict)


def test_without_the_main_arm_nothing_can_be_said() -> None:
    columns = arms({name: a for name, a in HOLDING.items() if name != "weak"})
    planned = pd.DataFrame([key("weak", "w", "s", 8, 0)], columns=list(KEY))
    e = experiment(columns)
    e.logs.planned.loc[0] = planned.iloc[0]
    verdict, _ = only(verdicts(e))

    assert set(states(verdict).values()) == {"not run"}
    assert (len(states(verdict)), verdict.draws) == (8, 0)
    assert "nothing can be said (no run with the labels of the weak model" in verdict.sentence


def test_an_arm_that_lacks_answers_is_incomplete() -> None:
    columns = arms(HOLDING)
    e = experiment(columns)
    row = list(columns).index(key("random", "w", "s", 8, 1))
    e.logs.correct[row, :5] = math.nan  # 2.5%
    verdict, by = only(verdicts(e))

    assert states(verdict) == {"beats_random": "not run"}
    assert by["beats_random"].detail == "incomplete: 2.5% of the questions lack an answer"


def test_runs_without_a_common_draw_are_not_compared() -> None:
    columns = {k: v for k, v in arms(HOLDING).items() if k[3] != "random"}
    columns[key("random", "w", "s", 8, 7)] = nested(0.52)
    verdict, by = only(verdicts(experiment(columns)))

    assert by["beats_random"].detail == "the runs have no draw in common"
    assert (verdict.draws, verdict.claim) == (0, False)


@pytest.mark.parametrize("kind", ["random", "unlabelled", "noise_matched", "gold"])
def test_an_arm_with_other_demonstrations_is_no_control(kind: str) -> None:
    e = experiment(arms(HOLDING))
    runs = e.logs.runs
    row = runs.index[(runs["labels"] == kind) & (runs["draw"] == 1)][0]
    runs.at[row, "demo_ids"] = tuple(f"d{i}" for i in range(1, 9))
    verdict, by = only(verdicts(e))

    (name,) = states(verdict)
    assert by[name].state == "not run"
    assert by[name].detail.endswith("stand on other demonstrations in draw 1")
    assert not verdict.claim
    assert not says_the_word(verdict)


def test_too_few_questions_decide_nothing() -> None:
    verdict, by = only(verdicts(experiment(arms(HOLDING), asked=25)))

    assert set(states(verdict).values()) == {"undecided"}
    assert by["beats_teacher"].detail == "only 25 questions, of at least 30"
    assert not says_the_word(verdict)


def test_logs_that_do_not_say_what_was_shown_have_no_surface_rule() -> None:
    e = experiment(arms(HOLDING))
    e.logs.runs["demo_choices"] = [()] * len(e.logs.runs)
    verdict, by = only(verdicts(e))

    assert states(verdict) == {"survives_surface_rule": "not run"}
    assert "do not say which options" in by["survives_surface_rule"].detail
    assert verdict.reading == "not tested"


# --- what else keeps a pair from a claim ----------------------------------------------------------


@pytest.mark.parametrize("draws", [1, 2])
def test_few_draws_never_carry_a_claim(draws: int) -> None:
    verdict, _ = only(verdicts(experiment(arms(HOLDING, draws=draws))))

    assert states(verdict) == {}
    assert (verdict.claim, verdict.reading, verdict.draws) == (False, "undecided", draws)
    assert f"with {draws} draw" in verdict.sentence
    assert "says nothing of others" in verdict.sentence
    assert not says_the_word(verdict)
    assert set(verdict_table([verdict])["scope"]) == {"fixed_demos"}


def test_one_control_with_few_draws_is_enough_to_keep_from_a_claim() -> None:
    columns = arms(HOLDING)
    del columns[key("random", "w", "s", 8, 2)]
    verdict, _ = only(verdicts(experiment(columns)))

    assert (states(verdict), verdict.draws, verdict.claim) == ({}, 2, False)


def test_holm_goes_over_the_pairs_of_each_condition() -> None:
    columns = arms(HOLDING) | arms({**HOLDING, "weak": 0.56, "zero": 0.54}, pair=("w", "t"))
    columns |= arms(
        {arm: HOLDING[arm] for arm in ("teacher", "zero", "weak", "gold")}, pair=("w", "u")
    )
    found = verdicts(experiment(columns))

    assert {(v.weak, v.strong) for v in found} == {("w", "s"), ("w", "t"), ("w", "u")}
    for i, name in enumerate(NAMES):
        p = [v.conditions[i].p for v in found]
        tested = 2 if name in NAMES[1:5] else 3
        assert sum(not math.isnan(value) for value in p) == tested
        adjusted = [v.conditions[i].p_holm for v in found]
        assert adjusted == pytest.approx(holm(p).tolist(), nan_ok=True)
    table = verdict_table(found)
    assert len(table) == 24
    assert table.columns.tolist() == [
        *("weak", "strong", "shots", "draws", "scope", "condition", "state", "estimate"),
        *("lo", "hi", "line", "p", "p_holm", "n", "reading"),
    ]


def test_what_holds_only_before_the_adjustment_carries_no_claim() -> None:
    # a gain of 2.5 points on 200 questions: p 0.024 alone, 0.07 among three pairs
    weak = {**HOLDING, "weak": 0.65, "self": 0.645}
    alone = verdicts(experiment(arms(weak), metadata={"margin": 0.015}))[0]
    by = {c.name: c for c in alone.conditions}
    assert (alone.claim, by["at_least_self"].state) == (True, "holds")
    others = arms(weak, pair=("w", "t")) | arms(weak, pair=("w", "u"))
    three = verdicts(experiment(arms(weak) | others, metadata={"margin": 0.015}))[0]

    assert states(three) == {}
    assert 0.01 < by["at_least_self"].p < 0.05 < three.conditions[4].p_holm
    assert (three.claim, three.reading) == (False, "undecided")
    assert "not so after adjustment for all pairs" in three.sentence
    assert not says_the_word(three)


@pytest.mark.parametrize("seed", range(10))
def test_no_gain_never_passes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    columns = {k: rng.random(N) < 0.6 for k in arms(HOLDING, draws=5)}
    verdict, _ = only(verdicts(experiment(columns)))

    assert verdict.claim is False
    assert not says_the_word(verdict)


# --- numbers --------------------------------------------------------------------------------------


def drawn(seed: int = 3) -> dict[tuple[Any, ...], Right]:
    """Arms whose draws differ in accuracy and in the questions they get right."""
    rng = np.random.default_rng(seed)
    return {
        k: np.asarray(v ^ (rng.random(N) < 0.03 * (1 + k[6]))) for k, v in arms(HOLDING).items()
    }


def by_hand(difference: NDArray[np.float64], line: float) -> tuple[float, float, float, float]:
    """Mean, interval and p of (n, draws) differences, by the formulas of the methods page."""
    n, draws = difference.shape
    vq = difference.mean(axis=1).var(ddof=1) / n
    vs = difference.mean(axis=0).var(ddof=1) / draws
    df = min(max((vq + vs) ** 2 / (vq**2 / (n - 1) + vs**2 / (draws - 1)), 1), n - 1)
    se = math.sqrt(max(vq + vs, 4 / n**2))
    mean = difference.mean()
    half = stats.t.ppf(0.975, df) * se
    return mean, mean - half, mean + half, 2 * stats.t.sf(abs(mean - line) / se, df)


def stack(columns: Mapping[tuple[Any, ...], Right], arm: str, shots: int = 8) -> Any:
    draws = range(1) if arm in ("teacher", "zero") else range(3)
    return np.column_stack([columns[key(arm, "w", "s", shots, d)] for d in draws]).astype(float)


@pytest.mark.parametrize(
    ("name", "other", "line"),
    [
        ("beats_zero_shot", "zero", 0.0),
        ("beats_random", "random", 0.0),
        ("at_least_noise_matched", "noise_matched", -0.02),
        ("beats_teacher", "teacher", 0.0),
    ],
)
def test_numbers_of_a_contrast_are_those_of_the_formulas(
    name: str, other: str, line: float
) -> None:
    columns = drawn()
    _, by = only(verdicts(experiment(columns)))

    expected = by_hand(stack(columns, "weak") - stack(columns, other), line)
    c = by[name]
    assert (c.estimate, c.low, c.high, c.p) == pytest.approx(expected)
    assert c.line == line


def test_a_headline_over_several_counts_averages_them_first() -> None:
    few, many = drawn(4), drawn(5)
    columns = many | {(*k[:5], 4, *k[6:]): v for k, v in few.items() if k[5]}
    e = experiment(columns, metadata={"headline": [4, 8]})
    verdict, by = only(verdicts(e))

    both = (stack(columns, "weak", 4) + stack(columns, "weak", 8)) / 2
    assert verdict.shots == (4, 8)
    expected = by_hand(both - stack(columns, "zero"), 0.0)
    c = by["beats_zero_shot"]
    assert (c.estimate, c.low, c.high, c.p) == pytest.approx(expected)
    other = (stack(columns, "random", 4) + stack(columns, "random", 8)) / 2
    assert by["beats_random"].estimate == pytest.approx((both - other).mean())
    gained = both - stack(columns, "zero")
    rules = {"labels shown": ~RULE_RIGHT, "test questions": ~e.cross_fitted_right}
    left = by["survives_surface_rule"]
    (wrong,) = (of for rule, of in rules.items() if left.detail.endswith(rule))
    assert left.estimate == pytest.approx(gained[wrong].mean())
    assert set(verdict_table([verdict])["shots"]) == {"4 8"}
    assert "4 and 8 demonstrations" in verdict.sentence


def test_a_headline_over_several_counts_needs_all_of_them() -> None:
    fewer = {arm: accuracy for arm, accuracy in HOLDING.items() if arm != "random"}
    columns = arms(HOLDING) | arms(fewer, shots=4)
    verdict, by = only(verdicts(experiment(columns, metadata={"headline": [4, 8]})))

    assert states(verdict) == {"beats_random": "not run"}
    assert by["beats_random"].detail == "no run with random labels at 4 shots"


def test_the_headline_is_the_largest_count_unless_it_is_declared() -> None:
    columns = arms({**HOLDING, "weak": 0.5}) | arms(HOLDING, shots=4)

    (last,) = verdicts(experiment(columns))
    (declared,) = verdicts(experiment(columns, metadata={"headline": [4]}))
    assert (last.shots, last.reading) == ((8,), "no gain")
    assert (declared.shots, declared.claim) == ((4,), True)


def test_the_margin_is_the_studys() -> None:
    columns = arms({**HOLDING, "self": 0.72})

    (close,) = verdicts(experiment(columns))
    (wide,) = verdicts(experiment(columns, metadata={"margin": 0.15}))
    assert states(close) == {"at_least_self": "fails"}
    assert (states(wide), wide.conditions[4].line) == ({}, -0.15)
    assert "at most 15 points below its own labels" in wide.conditions[4].text


def test_pairs_of_one_model_have_no_verdict() -> None:
    own = {k: v for k, v in arms(HOLDING, pair=("s", "s")).items() if k[3] != "noise_matched"}

    assert verdicts(experiment(own)) == []
    assert verdict_table([]).empty
    zero = {k: v for k, v in arms(HOLDING).items() if k[5] == 0}
    assert verdicts(experiment(zero)) == []
