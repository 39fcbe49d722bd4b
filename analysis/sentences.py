"""Sentences of the report, made from numbers and their intervals; none claims more than they do.

A `row` is one of the named table, None without one; `weak` and `strong` are the models' names.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import pandas as pd

from w2s_icl.analysis.stats.paired import MIN_QUESTIONS

Row = Mapping[Any, Any]

FEW = 30  # below this denominator sentences give counts, not percentages
MINUS = "\N{MINUS SIGN}"


def percent(share: float, digits: int = 1) -> str:
    """A fraction as percent; "–" where there is none."""
    return "–" if pd.isna(share) else f"{100 * share:.{digits}f}%"


def points(difference: float, *, sign: bool = True) -> str:
    """A difference of fractions in percentage points, without the word."""
    if pd.isna(difference):
        return "–"
    text = f"{100 * difference:+.1f}" if sign else f"{100 * difference:.1f}"
    return "0.0" if float(text) == 0 else text.replace("-", MINUS)


_unsigned = partial(points, sign=False)


def ratio(value: float) -> str:
    """A ratio, whose digits mean nothing far out."""
    if pd.isna(value):
        return "–"
    if abs(value) > 10:
        return "over 10" if value > 0 else f"below {MINUS}10"
    return f"{value:.2f}".replace("-", MINUS)


def ends(row: Row, name: str, text: Callable[[float], str] = percent) -> str:
    """The interval of the column `name`: "95% CI 2.0% to 4.0%"."""
    return f"95% CI {text(row[f'{name}_lo'])} to {text(row[f'{name}_hi'])}"


def ratio_with_interval(row: Row, definition: str) -> str:
    """A ratio with its interval where it is reported, else why it is not."""
    if row[f"{definition}_status"] != "ok":
        return str(row[f"{definition}_status"]).replace("_", " ")
    fragile = ", fragile" if row[f"{definition}_fragile"] else ""
    return f"{ratio(row[definition])} ({ends(row, definition, ratio)}{fragile})"


def interval(low: float, high: float) -> str:
    """The ends of a difference, in points: "95% CI −2.0 to 4.0"."""
    return f"95% CI {_unsigned(low)} to {_unsigned(high)}"


def listed(parts: Iterable[Any]) -> str:
    """Words or numbers in a row: "4, 8 and 16"."""
    *first, last = map(str, parts)
    return f"{', '.join(first)} and {last}" if first else last


def change(diff: float, low: float, high: float) -> str:
    """A paired difference; no claim where the interval covers 0."""
    if low > 0:
        return f"gains {_unsigned(diff)} points ({interval(low, high)})"
    if high < 0:
        return f"loses {_unsigned(-diff)} points ({interval(-high, -low)})"
    return f"changes by {points(diff)} points ({interval(low, high)}), not distinguishable from 0"


def p_value(p: float) -> str:
    """A probability, no smaller than anybody can vouch for."""
    return "–" if pd.isna(p) else "below 0.001" if p < 0.0005 else f"{p:.3f}"


def _demonstrations(shots: int) -> str:
    return f"{shots} demonstration{'s' * (shots != 1)}"


def accuracy(row: Row, gain: Row | None, weak: str, strong: str) -> str:
    """The accuracy of a row of cells.csv, and what its row `gain` of tests.csv says it changes."""
    if pd.isna(row["acc_w2s"]):
        return f"{strong} with labels by {weak} was not run, or is incomplete."
    gold = percent(row["acc_gold"])
    beside = "" if gold == "–" else f"; with gold labels for the same questions {gold}"
    text = (
        f"With {_demonstrations(row['shots'])} labelled by {weak}, {strong} answers "
        f"{percent(row['acc_w2s'])} right ({ends(row, 'acc_w2s')}), zero-shot "
        f"{percent(row['acc_strong0'])}{beside}."
    )
    if gain is None:
        return text
    changes = change(gain["diff"], gain["lo"], gain["hi"])
    return f"{text} Against its own zero-shot run: {changes}, paired by question."


def arms(rows: Sequence[Row], words: Mapping[str, str], strong: str) -> str:
    """What the weak arm of a cell gains, and its lead over the others; arms.csv."""
    found = {row["arm"]: row for row in rows if not pd.isna(row["gain"])}
    if "weak" not in found:
        return f"{strong} with {words['weak']} was not run, or is incomplete."
    first = found["weak"]
    gain = change(first["gain"], first["gain_lo"], first["gain_hi"])
    shown = f"{strong} with {_demonstrations(first['shots'])} and {words['weak']}"
    text = f"{shown}, against its own zero-shot run: {gain}."
    leads = [
        f"{points(row['ahead'])} ({ends(row, 'ahead', _unsigned)}) over {words[arm]}"
        for arm, row in found.items()
        if arm != "weak" and arm in words and not pd.isna(row["ahead"])
    ]
    if leads:
        text += f" Its lead in points, paired by question: {', '.join(leads)}."
    lacking = [name for arm, name in words.items() if arm not in found]
    return f"{text} Not run: {', '.join(lacking)}." if lacking else text


def repeats(row: Row, strong: str) -> str:
    """How much of an accuracy is chance from run to run; repeats.csv."""
    return (
        f"Of {strong}'s answers, {percent(row['changed'])} change between identical runs "
        f"({ends(row, 'changed')}, {int(row['n'])} questions): noise that the intervals contain."
    )


def orders(row: Row, weak: str, strong: str) -> str:
    """How much of an accuracy is the order of the demonstrations alone; repeats.csv."""
    sd, low, high = (_unsigned(row[f"sd_orders{end}"]) for end in ("", "_lo", "_hi"))
    if pd.isna(row["sd_draws"]):
        draws = "one draw does not say what other demonstrations change"
    elif row["var_draws"] <= 0:
        draws = f"its {int(row['draws'])} draws do not differ by more than that"
    else:
        more = _unsigned(row["sd_draws"])
        draws = f"between {int(row['draws'])} draws, {more} points beyond that"
    return (
        f"Order alone: {strong}'s accuracy on these questions, with {int(row['shots'])} labels by "
        f"{weak}, has a standard deviation of {sd} points (95% {low} to {high}) over "
        f"{int(row['orders'])} orders of the same demonstrations, run-to-run noise included; "
        f"{draws}."
    )


def recovered(row: Row, definition: str, weak: str, strong: str) -> str:
    """One ratio of a cell, the column `definition` of cells.csv, or why there is none."""
    gold, n, status = definition == "pgr_gold", row["n"], row[f"{definition}_status"]
    above = "its ceiling with gold labels" if gold else "its own zero-shot accuracy"
    place = f"{weak} → {strong}, {_demonstrations(row['shots'])}"
    if status == "ok":
        text = (
            f"{place}: weak labels recover {ratio(row[definition])} of the gap between the weak "
            f"model and {above} ({ends(row, definition, ratio)})."
        )
        if row[f"{definition}_fragile"]:
            text += " The gap is below 3 of its standard errors: the ratio is fragile."
        if gold and not pd.isna(row["pgr_no_supervision"]):
            text += (
                f" The same model without any labels would score "
                f"{ratio(row['pgr_no_supervision'])}; of its gain from gold labels, weak ones give "
                f"{ratio_with_interval(row, 'egr')} (egr)."
            )
        return text
    gap = f"{points(row[f'{definition}_gap'])} points ({ends(row, f'{definition}_gap', _unsigned)})"
    if status == "gap_reversed":
        why = f"the weak model is above {above}: the gap is {gap}"
    elif status == "incomplete":
        why = "a run that it needs is missing or incomplete"
    elif n < MIN_QUESTIONS:
        why = f"there are only {n} questions, of at least {MIN_QUESTIONS}"
    else:
        why = (
            f"the gap between the weak model and {above} is {gap}, too small to be told from 0 "
            f"with {n} questions; that is a result about the sample size, not about the method"
        )
    return f"{place}: no ratio with {above} as ceiling, because {why}."


def matches(row: Row, weak: str, strong: str, *, weak_wrong: bool = False) -> str:
    """Whose answers the prompted model gives, on all or the weak model's errors; matching.csv."""
    prefix = "ww_" if weak_wrong else ""
    if pd.isna(row[f"{prefix}match_both"]):
        return f"{weak} → {strong}: nothing to compare."
    n = int(row[f"{prefix}n"])
    both, own, its, another = (
        f"{row[f'{column}_count']:.3g}" if n < FEW else percent(row[column], 0)
        for column in (f"{prefix}match_{of}" for of in ("both", "strong", "weak", "neither"))
    )
    text = f"On the {n} questions that {weak} has wrong" if weak_wrong else f"On {n} questions"
    if pd.isna(row[f"{prefix}match_weak"]):
        shown = f"{row['shots']} of its own labels"
        text += f", {strong} with {shown} keeps its zero-shot answer on {both}."
    else:
        text += (
            f", {strong} with {row['shots']} labels by {weak} gives the answer that both gave "
            f"zero-shot on {both}, only its own on {own}, only {weak}'s on {its}, another one on "
            f"{another}."
        )
    if weak_wrong and row["imitation_m"] >= FEW and not pd.isna(row["imitation_excess"]):
        covers = row["imitation_excess_lo"] <= 0 <= row["imitation_excess_hi"]
        text += (
            f" It repeats {weak}'s wrong answer {points(row['imitation_excess'])} points more "
            f"often than with gold labels ({ends(row, 'imitation_excess', _unsigned)})"
            f"{' (no clear difference)' if covers else ''}."
        )
    return text


def fixes(row: Row, weak: str, strong: str) -> str:
    """What the labels fix and break in a cell; matching.csv."""
    parts: list[str] = []
    for kind, verb, before in ("fix", "right", "wrong"), ("break", "wrong", "right"):
        n, rate = row[f"strong_{before}_n"], row[f"{kind}_rate"]
        if not pd.isna(rate):
            share = f" ({percent(rate, 0)}, {ends(row, f'{kind}_rate')})" if n >= FEW else ""
            count = f"{row[f'{kind}_count']:.3g} of the {int(n)} questions"
            parts.append(f"gets {verb} {count} it had {before} zero-shot{share}")
    if not parts:
        return f"{weak} → {strong}: nothing to compare."
    return f"With {row['shots']} labels by {weak}, {strong} {' and '.join(parts)}."


def correlations(row: Row, weak: str, strong: str) -> str:
    """Phi of a cell; matching.csv."""
    names = {"phi_strong": strong} | ({"phi_weak": weak} if weak != strong else {})
    parts = [
        f"{ratio(row[phi])} with {name} zero-shot ({ends(row, phi, ratio)})"
        for phi, name in names.items()
        if not pd.isna(row[phi])
    ]
    if not parts:
        return f"{weak} → {strong}: no correlation; a run is all right, all wrong or missing."
    shown = f"{strong} is right with {row['shots']} labels by {weak}"
    return f"Whether {shown} correlates {' and '.join(parts)}."


def classes(rows: Sequence[Row]) -> str:
    """Where the gain comes from; `rows` of `classes` for a cell. Names no class near 0."""
    if not rows:
        return "No run with weak labels can be compared with a zero-shot run at the headline."
    (whole,) = (row for row in rows if row["by"] == "all")
    categories, parts = [row["by"] for row in rows].count("category"), list[str]()
    for row in rows:
        unclear = row["gain_p_holm"] >= 0.05 or row["gain_lo"] <= 0 <= row["gain_hi"]
        if row["by"] == "all" or pd.isna(row["gain_p_holm"]) or unclear:
            continue
        gives = "none, such as “I have no comment”" if row["class"] == "declines" else "one"
        of = f"Questions whose right answer gives {gives}"
        if row["by"] == "category":
            of, categories = f"Category {row['class'] or 'none'}", 0
        parts.append(
            f"{of} ({row['n']} of {whole['n']} questions): {points(row['gain'])} points, "
            f"{interval(row['gain_lo'], row['gain_hi'])}, which is {points(row['gain_part'])} of "
            f"the {points(whole['gain'])} points over all questions."
        )
    if categories:
        parts.append(
            f"Of {categories} categories none has a gain or loss that can be told from 0, "
            "adjusted for their number (Holm)."
        )
    return " ".join(parts) or "No class of questions has a gain or loss that can be told from 0."
