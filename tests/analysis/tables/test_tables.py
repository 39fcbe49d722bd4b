"""Tables against the worked example of STATS section 14, and against damage."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.analysis.stats.samples import GOLD, STRONG, TARGET, W2S, WEAK, by_hand
from tests.analysis.synthetic import logs_of
from tests.conftest import warnings_are_errors
from w2s_icl.analysis.experiment import Experiment
from w2s_icl.analysis.stats.ratio import gap_recovered
from w2s_icl.analysis.tables import arms, audits, cells  # pytest would collect `tests_table`

pytestmark = warnings_are_errors
TABLES = vars(arms) | vars(audits) | vars(cells)

UNREAD = "-" * len(TARGET)

Key = tuple[Any, ...]


def zero(model: str, split: str = "test") -> Key:
    return (model, "zero_shot", split, "", "", 0, 0, "")


def shown(model: str, weak: str = "", draw: int = 0, shots: int = 4) -> Key:
    """A run with the labels of `weak`, gold ones without."""
    return (model, "few_shot", "test", "weak" if weak else "gold", weak, shots, draw, "")


def drawn(letters: Sequence[str], model: str, weak: str = "", shots: int = 4) -> dict[Key, str]:
    return {shown(model, weak, draw, shots): column for draw, column in enumerate(letters)}


def experiment(answers: Mapping[Key, str], planned: Any = (), columns: Any = None) -> Experiment:
    """Runs by their letters: "-" is unread, " " no answer; `columns` changes a run's row."""
    questions = pd.DataFrame(
        {
            "choices": [tuple(f"{word} {i}" for word in "wxyz") for i in range(len(TARGET))],
            **{"gold": list(TARGET), "n_options": 4, "category": ""},
        }
    )
    letters = {key: np.array(list(column)) for key, column in answers.items()}
    read = {key: np.where(row == "-", "", row) for key, row in letters.items()}
    return Experiment(logs_of(read, questions, planned, columns))


ZERO = {zero("w"): WEAK, zero("s"): STRONG}
EXAMPLE = {**ZERO, **drawn(W2S, "s", "w"), **drawn(GOLD, "s")}


def only(table: pd.DataFrame, **where: Any) -> dict[str, Any]:
    """The one row of a table where the columns have these values."""
    (row,) = (row for row in table.to_dict("records") if all(row[k] == v for k, v in where.items()))
    return {str(name): value for name, value in row.items()}


def right(*columns: str) -> Any:
    """(n, draws) of whether each is right."""
    return np.array([[a == t for t, a in zip(TARGET, c, strict=True)] for c in columns]).T * 1.0


def draws(n: int) -> dict[Key, str]:
    return {**ZERO, **drawn(W2S[:n], "s", "w"), **drawn(GOLD[:n], "s")}


def assert_values(row: Mapping[str, Any], expected: Mapping[str, float]) -> None:
    found = {name: row[name] for name in expected}
    assert found == pytest.approx(expected, abs=5.1e-7, nan_ok=True)


@pytest.mark.parametrize(
    ("n_draws", "of", "values"),
    [
        (1, "gold", ".475 .575 .414887 .735113 7.263932 39 .826087 .640064 1.002164"),
        (2, "gold", ".5 .5875 .430124 .744876 7.550886 39 .851064 .698131 1.025439"),
        (3, "gold", ".508333 .566667 .407238 .726095 7.189368 9.41405 .897059 .719901 1.106712"),
        (3, "zero", ".508333 .375 .18771 .56229 4.049922 39 1.355556 1.043848 2.102374"),
        (3, "egr", ".133333 .191667 .065246 .318088 3.073504 10.070793 .695652 .100787 1.436265"),
    ],
)
def test_ratios_of_the_example(n_draws: int, of: str, values: str) -> None:
    definition = of if of == "egr" else f"pgr_{of}"
    row = only(cells.cells_table(experiment(draws(n_draws))), shots=4)

    ends = ("_num", "_gap", "_gap_lo", "_gap_hi", "_t_gap", "_df", "", "_lo", "_hi")
    numbers = map(float, values.split())
    assert_values(row, {definition + end: v for end, v in zip(ends, numbers, strict=True)})
    assert row[f"{definition}_status"] == "ok"
    assert row["scope"] == ("random_demos" if n_draws == 3 else "fixed_demos")
    assert_values(row, {"acc_weak": 0.35, "acc_weak_lo": 0.221345, "acc_weak_hi": 0.504941})
    assert_values(row, {"acc_strong0": 0.725})
    if n_draws == 3:
        assert_values(row, {"acc_w2s": 2.575 / 3, "acc_gold": 2.75 / 3})
        assert_values(row, {"pgr_no_supervision": 0.661765})


def test_tests_of_the_example_are_mcnemars_for_one_draw() -> None:
    table = arms.tests_table(experiment(draws(1)))

    assert table["contrast"].tolist() == ["w2s - weak", "w2s - strong0", "w2s - gold"]
    assert table[["n10", "n01"]].to_numpy().tolist() == [[20, 1], [5, 1], [0, 4]]
    assert table["p_exact"].tolist() == pytest.approx([2.098083e-05, 0.21875, 0.125], rel=1e-6)
    assert table["diff"].tolist() == pytest.approx([0.475, 0.1, -0.1])
    assert table["p_holm"].tolist() == table["p"].tolist()  # each is alone in its family
    over_three_draws = arms.tests_table(experiment(EXAMPLE))
    assert over_three_draws[["n10", "n01", "p_exact"]].isna().all(axis=None)


def test_matching_over_the_draws_of_the_example() -> None:
    row = only(cells.matching_table(experiment(EXAMPLE)))

    counts = {"both": 38 / 3, "strong": 52 / 3, "weak": 4, "neither": 6}
    assert_values(row, {f"match_{name}_count": k for name, k in counts.items()})
    assert_values(row, {f"match_{name}": k / 40 for name, k in counts.items()})
    assert_values(row, {"ww_match_both_count": 2 / 3, "ww_match_strong_count": 17, "ww_n": 26})
    assert_values(row, {"ww_match_weak_count": 8 / 3, "ww_match_neither_count": 17 / 3})
    assert_values(row, {"fix_count": 6, "strong_wrong_n": 11, "fix_rate": 6 / 11})
    assert_values(row, {"break_count": 2 / 3, "strong_right_n": 29, "break_rate": 2 / 87})
    assert row["neither_right"] + row["neither_wrong"] == pytest.approx(row["match_neither"])
    excess = {"imitation_w2s": 0.133333, "imitation_gold": 0.026667, "imitation_excess": 0.106667}
    assert_values(row, excess | {"imitation_m": 25, "n": 40, "draws": 3})
    assert row["imitation_excess_lo"] < 0.106667 < row["imitation_excess_hi"]


def test_agreement_and_rates_of_the_first_draw() -> None:
    row = only(cells.matching_table(experiment(draws(1))))

    expected = {"phi_weak": 0.200019, "error_consistency_weak": 0.121339, "capa_weak": 0.183168}
    expected |= {"phi_strong": 0.600463, "error_consistency_strong": 0.575972}
    expected |= {"capa_strong": 0.287257, "fix_rate": 5 / 11, "break_rate": 1 / 29}
    assert_values(row, expected)
    for name in expected:
        assert row[f"{name}_lo"] < row[name] < row[f"{name}_hi"]


def test_pooling_keeps_the_draws_and_questions_that_all_cells_have() -> None:
    two_draws = {**drawn(W2S[:2], "s", "w", shots=8), **drawn(GOLD[:2], "s", shots=8)}
    missing = {zero("w2"): " " + WEAK[1:], **drawn(W2S, "s", "w2")}

    table = cells.pooled_table(experiment(EXAMPLE | two_draws | missing))
    row = only(table, scope="w → s, all shots")
    everything = only(table, scope="all pairs, all shots")

    columns = right(WEAK), right(*W2S[:2]), right(*GOLD[:2])
    assert (row["cells"], row["draws"], row["n"]) == (2, 2, 40)
    assert row["pgr_pooled"] == gap_recovered(*columns).value
    assert row["pgr_mean"] == pytest.approx((0.897059 + 0.851064) / 2, abs=1e-6)
    assert everything["cells"] == 2  # one question of 40 is more than 2%
    assert everything["n"] == 40


def test_holm_goes_over_the_cells_of_a_family() -> None:
    second = {**drawn([W2S[1]], "s", "w", shots=8), **drawn([GOLD[1]], "s", shots=8)}

    table = arms.tests_table(experiment(draws(1) | second))

    for _, family in table.groupby("family"):
        low, high = sorted(family["p"])
        adjusted = min(2 * low, 1)
        assert sorted(family["p_holm"]) == pytest.approx([adjusted, max(adjusted, high)])
    assert len(table) == 6


def test_a_draw_that_one_arm_lacks_is_dropped() -> None:
    lacking = {key: column for key, column in EXAMPLE.items() if key != shown("s", draw=2)}
    e = experiment(lacking)

    assert only(cells.matching_table(e))["draws"] == 2
    assert_values(only(cells.cells_table(e), shots=4), {"pgr_gold": 0.851064, "pgr_gold_df": 39})
    assert_values(only(cells.pooled_table(e), scope="all pairs, 4 shots"), {"draws": 2})


def test_a_cell_with_too_few_answers_has_counts_only() -> None:
    key = shown("s", "w", 1)
    planned = [*EXAMPLE, zero("w", "pool")]
    e = experiment(EXAMPLE | {key: " " + W2S[1][1:]}, planned)

    row = only(cells.matching_table(e))
    assert (row["n"], row["draws"]) == (39, 3)
    known = {name for name, v in row.items() if not pd.isna(v)}
    assert known == {"weak", "strong", "shots", "n", "draws"}
    assert arms.tests_table(e).empty
    pooled = only(cells.pooled_table(e), scope="w → s, all shots")
    assert (pooled["cells"], pooled["pgr_pooled_status"]) == (0, "incomplete")
    assert math.isnan(pooled["pgr_pooled"])
    expected = [[*key, 0, "incomplete"], [*zero("w", "pool"), 0, "not run"]]
    assert audits.missing_cells(e).to_numpy().tolist() == expected


def test_without_a_strong_baseline_the_other_numbers_stand() -> None:
    rest = {key: column for key, column in EXAMPLE.items() if key != zero("s")}
    e = experiment(rest, list(EXAMPLE))

    row = only(cells.cells_table(e), shots=4)
    assert_values(row, {"pgr_gold": 0.897059, "pgr_no_supervision": math.nan})
    assert (row["pgr_zero_status"], row["egr_status"]) == ("incomplete", "incomplete")
    assert set(arms.tests_table(e)["family"]) == {"w2s_vs_weak", "w2s_vs_gold"}
    assert_values(only(arms.arms_table(e), arm="weak"), {"gain": math.nan})
    assert audits.missing_cells(e).to_numpy().tolist() == [[*zero("s"), 0, "not run"]]


def test_unread_replies_are_wrong_and_match_nothing() -> None:
    e = experiment({**ZERO, **drawn([UNREAD] * 3, "s", "w"), **drawn(GOLD, "s")})

    row = only(cells.matching_table(e))
    assert_values(row, {"match_neither": 1, "neither_wrong": 1, "fix_rate": 0, "break_rate": 1})
    assert_values(row, {"imitation_w2s": 0, "phi_weak": math.nan, "capa_strong": math.nan})
    assert only(arms.tests_table(e), family="w2s_vs_weak")["diff"] == pytest.approx(-0.35)


def test_a_self_pair_is_compared_with_its_own_answers_only() -> None:
    e = experiment({zero("s"): STRONG, **drawn(W2S, "s", "s"), **drawn(GOLD, "s")})

    row = only(cells.matching_table(e))
    assert_values(row, {"match_both_count": 30, "match_neither_count": 10} | {"match_both": 0.75})
    for name in ("match_strong", "match_weak"):
        empty = (name, f"{name}_count", f"ww_{name}", f"ww_{name}_count")
        assert_values(row, dict.fromkeys(empty, math.nan))
    assert row["phi_weak"] == row["phi_strong"]
    assert arms.tests_table(e)["family"].tolist() == ["w2s_vs_strong0", "w2s_vs_gold"]
    assert cells.pooled_table(e).empty


def test_repeated_runs_have_no_agreement() -> None:
    e = experiment(EXAMPLE)
    e.logs.correct[2, 0] = 0.5
    row = only(cells.matching_table(e))

    assert_values(row, {"phi_weak": math.nan, "capa_strong_hi": math.nan, "fix_count": 6})


def arm(labels: str, weak: str = "", draw: int = 0, prompt: str = "", model: str = "s") -> Key:
    return (model, "few_shot", "test", labels, weak, 4, draw, prompt)


CONTROLS: dict[Key, str] = {
    arm("random", draw=0): GOLD[0],
    arm("random", draw=1): STRONG,
    arm("unlabelled", draw=0): STRONG,
    arm("noise_matched", "w", draw=0): GOLD[1],
    arm("noise_matched", "v", draw=0): GOLD[1],  # of another pair
    arm("mine", draw=0): STRONG,
    arm("weak", "s", draw=0): WEAK,
    arm("weak", "w", draw=0, prompt="disclosure=accuracy"): STRONG,
    arm("gold", draw=0, prompt="disclosure=accuracy"): STRONG,
}


def test_arms_of_a_pair_are_those_of_its_labels() -> None:
    table = arms.arms_table(experiment(EXAMPLE | CONTROLS))
    mine = table[table["weak"] == "w"]

    assert mine["arm"].tolist() == [
        *("weak", "gold", "random", "noise_matched", "unlabelled", "self", "mine"),
        *("weak disclosure=accuracy", "gold disclosure=accuracy"),
    ]
    assert mine["labelled_by"].tolist() == ["w", "", "", "w", "", "s", "", "w", ""]
    own = table[table["weak"] == "s"]  # the labels are its own
    assert own["arm"].tolist()[:2] == ["weak", "gold"]
    assert "noise_matched" not in own["arm"].tolist()


def test_an_arm_with_other_demonstrations_is_compared_in_no_table() -> None:
    e = experiment(EXAMPLE | CONTROLS)
    runs = e.logs.runs
    other = np.where(runs["labels"].isin(["random", "gold"]), "b", "a")
    runs["demo_ids"] = [(name,) * k for name, k in zip(other, runs["shots"], strict=True)]

    random = only(arms.arms_table(e), weak="w", arm="random")
    assert_values(random, {"ahead": math.nan})
    assert "w2s_vs_random" not in set(arms.tests_table(e)["family"])
    table = cells.cells_table(e)
    cell = table[(table["weak"] == "w") & (table["shots"] > 0)].iloc[0]
    assert cell["pgr_gold_status"] == "incomplete"


def test_gains_of_arms_are_paired_with_what_both_have() -> None:
    table = arms.arms_table(experiment(EXAMPLE | CONTROLS))

    main = only(table, weak="w", arm="weak")
    random = only(table, weak="w", arm="random")
    assert_values(main, {"draws": 3, "accuracy": 2.575 / 3, "gain": 2.575 / 3 - 0.725})
    assert_values(main, {"ahead": math.nan, "ahead_p": math.nan})
    gain = right(GOLD[0], STRONG).mean() - 0.725
    ahead = right(W2S[0], W2S[1]).mean() - right(GOLD[0], STRONG).mean()
    assert_values(random, {"n": 40, "draws": 2, "gain": gain, "ahead": ahead})
    _, low, high, _ = by_hand((right(*W2S[:2]) - right(GOLD[0], STRONG)).mean(axis=1)[:, None])
    assert_values(random, {"ahead_lo": low, "ahead_hi": high})
    disclosed = only(table, weak="w", arm="weak disclosure=accuracy")
    assert (disclosed["base"], disclosed["gain"]) == ("zero_shot", 0)


def test_every_arm_that_was_run_is_a_family_of_tests() -> None:
    e = experiment(EXAMPLE | CONTROLS)
    table = arms.tests_table(e)

    families = list(dict.fromkeys(table["family"]))
    assert families == [
        *("w2s_vs_weak", "w2s_vs_strong0", "w2s_vs_gold", "w2s_vs_random", "w2s_vs_noise_matched"),
        *("w2s_vs_unlabelled", "w2s_vs_self"),
        *("w2s_vs_gold disclosure=accuracy", "w2s_vs_mine", "w2s_vs_weak disclosure=accuracy"),
    ]
    row = only(table, family="w2s_vs_noise_matched", weak="w")
    assert row["contrast"] == "w2s - noise_matched"
    ahead, behind = right(W2S[0]) > right(GOLD[1]), right(W2S[0]) < right(GOLD[1])
    assert (row["n10"], row["n01"]) == (ahead.sum(), behind.sum())
    info = audits.stats_info(e)
    assert info["families"]["w2s_vs_random"] == {"contrast": "w2s - random", "tests": 2}
    assert list(info["families"]) == families
    assert set(info["versions"]) == {"w2s-icl", "numpy", "scipy", "pandas"}
    assert (info["log_versions"]["inspect_ai"], info["experiment"]["seed"]) == (["0.3.285"], 42)


def with_classes(e: Experiment, categories: int) -> Experiment:
    """Categories in turn; every fifth right answer declines."""
    asked = e.logs.questions
    choices = [
        tuple("I have no comment." if x == gold and i % 5 == 0 else x for x in "ABCD")
        for i, gold in enumerate(asked["gold"])
    ]
    named = [f"c{i % categories}" for i in range(len(asked))]
    questions = asked.assign(choices=pd.Series(choices), category=named)
    return Experiment(dataclasses.replace(e.logs, questions=questions))


@pytest.mark.parametrize("categories", [2, 20])
def test_classes_add_up_to_the_whole_and_are_what_their_questions_say(categories: int) -> None:
    table = arms.classes_table(with_classes(experiment(EXAMPLE), categories))

    assert (table["shots"] == 4).all()
    whole = only(table, by="all")
    assert_values(whole, {"n": 40, "acc_w2s": 2.575 / 3, "gain": 2.575 / 3 - 0.725})
    for _, rows in table.groupby("by"):
        assert rows["n"].sum() == 40
        assert rows["gain_part"].sum() == pytest.approx(whole["gain"])
        for name in ("acc_weak", "acc_gold", "pgr_gold_num", "pgr_gold_gap"):
            assert rows["n"] @ rows[name] / 40 == pytest.approx(whole[name])
    weak, strong0, treated, ceiling = right(WEAK), right(STRONG), right(*W2S), right(*GOLD)
    gain = treated - strong0
    # questions of a category do not go together here: the wider interval is the plain one
    assert (whole["gain_lo"], whole["gain_hi"]) == pytest.approx(by_hand(gain)[1:3])
    declined = only(table, by="right answer", **{"class": "declines"})
    of = np.arange(40) % 5 == 0
    assert (declined["n"], declined["pgr_gold_status"]) == (8, "gap_not_established")
    numerator, gap = (treated - weak)[of].mean(), (ceiling - weak)[of].mean()
    assert_values(declined, {"pgr_gold_num": numerator, "pgr_gold_gap": gap})
    assert (declined["gain_lo"], declined["gain_hi"]) == pytest.approx(by_hand(gain[of])[1:3])
    by_category = table[table["by"] == "category"]
    adjusted = min(1, categories * by_category["gain_p"].min())
    assert by_category["gain_p_holm"].min() == pytest.approx(adjusted)


def with_options(e: Experiment, long: Sequence[bool]) -> Experiment:
    """The right option of each question is the long one or not."""
    choices = []
    for gold, is_long in zip(TARGET, long, strict=True):
        place = ("ABCD".index(gold) + (not is_long)) % 4
        choices.append(tuple("a rather longer one" if i == place else f"no{i}" for i in range(4)))
    questions = e.logs.questions.assign(choices=pd.Series(choices))
    return Experiment(dataclasses.replace(e.logs, questions=questions))


def test_gains_are_split_by_the_rule() -> None:
    e = with_options(experiment(EXAMPLE | CONTROLS), [i % 4 != 0 for i in range(40)])

    row = only(arms.surface_rule_table(e), weak="w", arm="weak")
    where = e.rule.right
    assert_values(row, {"n": 40, "draws": 3, "rule_accuracy": where.mean()})
    assert_values(row, {"right_n": where.sum(), "wrong_n": (~where).sum()})
    gain = right(*W2S) - right(STRONG)
    assert_values(row, {"gain_right": gain[where].mean(), "gain_wrong": gain[~where].mean()})
    assert row["gain_wrong_lo"] <= row["gain_wrong"] <= row["gain_wrong_hi"]


def test_models_have_their_zero_shot_run_and_their_label_run() -> None:
    e = experiment(EXAMPLE | {zero("w", "pool"): TARGET[:30] + UNREAD[:5] + " " * 5})

    table = audits.models_table(e)

    assert table["model"].tolist() == ["w", "s"]
    weak = only(table, model="w")
    assert_values(weak, {"n": 40, "accuracy": 0.35, "accuracy_lo": 0.221345, "unparsed": 1})
    pool = {"pool_n": 35, "pool_accuracy": 30 / 35, "pool_unparsed": 5}
    assert_values(weak, {"unparsed_share": 1 / 40, **pool})
    assert_values(only(table, model="s"), {"accuracy": 0.725, "pool_accuracy": math.nan})


def test_unknown_cost_is_never_zero_and_a_reused_answer_costs_nothing() -> None:
    free = {"calls": 0, "input_tokens": 0, "output_tokens": 0, "cost": 0.0}
    changed: dict[Key, dict[str, Any]] = {
        shown("s", draw=1): {"cost": math.nan},
        shown("s", "w"): free | {"reused_from": "a.eval"},
        zero("w", "pool"): free,
    }
    runs = EXAMPLE | {zero("w", "pool"): TARGET, zero("x"): TARGET}

    table = audits.costs_table(experiment(runs, columns=changed))

    assert len(table) == len(runs) + 3
    unpriced = only(table, model="s", labels="gold", draw=1)
    reused = only(table, model="s", labels="weak", draw=0)
    unrecorded = only(table, model="w", split="pool")
    totals = [only(table, model=model, labels="all") for model in "wsx"]
    costs = [row["cost"] for row in (unpriced, reused, unrecorded, *totals)]
    assert costs == pytest.approx([math.nan, 0, math.nan, math.nan, math.nan, 0.5], nan_ok=True)
    known = [row["cost_known"] for row in (unpriced, reused, unrecorded, *totals)]
    assert known == [False, True, False, False, False, True]
    assert [row["calls"] for row in totals] == [40, 240, 40]
    assert table["shots"].isna().sum() == 3


def test_orders_have_rows_of_their_own_and_move_no_other_number() -> None:
    orders = {(*shown("s", "w", d), o): GOLD[(d + o) % 3] for d in range(3) for o in (1, 2)}
    plain, more = experiment(EXAMPLE), experiment({**EXAMPLE, **orders})
    accuracy = [
        [right(W2S[d]).mean(), *(right(orders[*shown("s", "w", d), o]).mean() for o in (1, 2))]
        for d in range(3)
    ]

    (row,) = audits.repeats_table(more).to_dict("records")

    assert (row["model"], row["weak"]) == ("s", "w")
    assert (row["draws"], row["orders"], row["n"]) == (3, 3, 40)
    assert row["var_orders"] == pytest.approx(np.var(accuracy, axis=1, ddof=1).mean())
    between = np.mean(accuracy, axis=1).var(ddof=1) - row["var_orders"] / 3
    assert row["var_draws"] == pytest.approx(between)
    assert row["sd_draws"] == pytest.approx(max(between, 0) ** 0.5)
    assert audits.repeats_table(plain).empty
    for name in ("cells", "tests", "arms", "matching", "pooled", "positions"):
        make = TABLES[f"{name}_table"]
        pd.testing.assert_frame_equal(make(more), make(plain))


def test_columns_do_not_depend_on_the_rows() -> None:
    full = with_options(experiment(EXAMPLE, [zero("x")]), [True] * 40)
    full.logs.runs["changes"] = [(0.0, 1.0)] * len(full.logs.runs)
    empty = experiment(ZERO)

    names = "tests matching pooled models costs arms classes surface_rule positions repeats"
    made = [TABLES[f"{name}_table"] for name in names.split()]
    for make in (audits.missing_cells, *made):
        assert make(empty).columns.tolist() == make(full).columns.tolist()
        assert not make(full).empty
