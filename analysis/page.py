"""From the results to what the template of the page shows: texts, and tables of texts."""

import hashlib
import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup, escape

from w2s_icl import words
from w2s_icl.analysis import figures, sentences
from w2s_icl.analysis.results import Results
from w2s_icl.analysis.sentences import Row
from w2s_icl.analysis.stats.paired import MIN_QUESTIONS
from w2s_icl.analysis.verdict import Condition

Cell = tuple[str, str] | str  # what a cell says, and what stands below it in small print


def render(results: Results, drawn: Sequence[tuple[Any, Markup]]) -> str:
    """`report.html`, one file that asks for nothing else, of views with their figures."""
    r, metadata = results, results.logs.metadata
    key = ["model", "split", "prompt", "labels", "weak", "shots", "draw", "order"]
    runs = r.logs.runs.sort_values(key)
    said = ["file", "model", "split", "labels", "weak", "prompt", "shots", "draw", "order", "n"]
    said += ["unparsed", "reused_from"]
    ids = "".join(sorted(str(i) for i in runs["eval_id"]))
    return template("report.html.j2").render(
        r=r,
        study=", ".join(metadata.get("study") or ()) or "logs",
        run_id=hashlib.sha256(ids.encode()).hexdigest()[:12],
        n_test=int((r.cells if len(r.cells) else runs)["n"].max()),
        condition=_condition,
        cards=_cards(r),
        rows=[_summary_row(r, row) for row in r.last_rows],
        baselines=[_baseline(r, row) for row in r.models.to_dict("records")],
        views=[(view, svg, *_numbers(view.shown, view.columns)) for view, svg in drawn],
        settings=metadata,
        log_columns=said,
        logs=runs[said].astype(str).to_numpy().tolist(),
    )


def template(name: str) -> Template:
    """A template of this folder, in which texts are escaped; `{{ text | ticks }}` is `ticks`."""
    environment = Environment(
        loader=PackageLoader("w2s_icl.analysis", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters["ticks"] = ticks
    return environment.get_template(name, globals={"colours": figures.COLOURS})


def ticks(text: str) -> Markup:
    """A text for the page, with what stands in backticks as code.

    Example:
        >>> ticks("run `w2s <plan>` & see")
        Markup('run <code>w2s &lt;plan&gt;</code> &amp; see')
    """
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def inline_svg(svg: str, name: str, title: str, description: str) -> Markup:
    """A figure of matplotlib's for the page, in colours that follow the theme.

    Every id in it begins with `name`, so that figures on one page stay apart. A screen reader says
    title and description.
    """
    body = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg[svg.index("<svg") :], flags=re.S)
    body = re.sub(r'\b(id="|href="#|url\(#)', rf"\g<1>{name}-", body)
    head, rest = body.replace("*{stroke", f"#{name}-svg *{{stroke").split(">", 1)
    head = re.sub(r' (?:width|height)="[^"]*"', "", head)
    for colour, (token, _) in figures.COLOURS.items():
        rest = rest.replace(colour, f"var(--{token})")
    label = Markup('<title id="{0}-title">{1}</title><desc id="{0}-desc">{2}</desc>').format(
        name, title, description
    )
    named = f'id="{name}-svg" role="img" aria-labelledby="{name}-title {name}-desc"'
    return Markup(f"{head} {named}>{label}{rest}")


def _percent(share: float) -> str:
    return sentences.percent(share).removesuffix("%")


def _measured(
    row: Row, name: str, text: Callable[[float], str] = _percent, nothing: str = "–"
) -> tuple[str, str]:
    """A number with its interval below; `nothing` where there is none."""
    low, high = row[f"{name}_lo"], row[f"{name}_hi"]
    return (nothing, "") if pd.isna(low) else (text(row[name]), f"{text(low)} to {text(high)}")


def _difference(value: float, low: float, high: float) -> tuple[str, str]:
    return _measured({"": value, "_lo": low, "_hi": high}, "", sentences.points)


def _gain(test: Row | None, nothing: str = "–") -> tuple[str, str]:
    return _difference(test["diff"], test["lo"], test["hi"]) if test else (nothing, "")


def _ratio(row: Row, definition: str) -> tuple[str, str]:
    """A ratio, or why there is none."""
    status = row[f"{definition}_status"]
    if status == "ok":
        value, interval = _measured(row, definition, sentences.ratio)
        return value, interval + (", fragile" if row[f"{definition}_fragile"] else "")
    if status in ("self", "trivial", "incomplete"):
        return "–", "not run or incomplete" if status == "incomplete" else ""
    if pd.isna(row[f"{definition}_gap_lo"]) or row["n"] < MIN_QUESTIONS:
        return "no ratio", "too few questions"
    gap = _measured(row, f"{definition}_gap", sentences.points)[1]
    return "no ratio", f"{status.replace('_', ' ')}: {gap} points"


def _cards(r: Results) -> list[tuple[str, str, str]]:
    """The numbers on top: value, what it is, interval."""
    row, total = r.headline, r.usage(split="all")
    unread, replies = (int(r.logs.runs[name].sum()) for name in ("unparsed", "replies"))
    cost = (
        "cost unknown" if math.isnan(total["cost"]) else words.money(total["cost"]),
        f"{total['calls']:,} calls, {words.tokens(total['input_tokens'])} tokens in",
        f"{sentences.percent(unread / replies if replies else math.nan)} of replies unreadable",
    )
    if row is None:
        return [cost]
    accuracy, accuracy_ends = _measured(row, "acc_w2s", sentences.percent, "not run")
    gain, gain_ends = _gain(r.gain(row), "not run")
    of_pair = r.names[row["weak"]], "of the gap recovered (PGR)", "pgr_gold"
    of_itself = "itself", "of its gain from gold labels recovered", "egr"
    weak, what, definition = of_pair if r.pair else of_itself
    ratio, ratio_ends = _ratio(row, definition)
    shown = f"{r.names[row['strong']]} with {row['shots']} labels by {weak}"
    return [
        (accuracy, shown, accuracy_ends),
        (gain + " points" * bool(gain_ends), "against its own zero-shot run", gain_ends),
        (ratio, what, ratio_ends),
        cost,
    ]


def _summary_row(r: Results, row: Row) -> list[Cell]:
    of_cell = {"model": row["strong"], "weak": row["weak"], "shots": row["shots"]}
    usage = r.usage(**of_cell, labels="weak", prompt="")
    run = usage["runs"] > 0

    def accuracy(arm: str) -> tuple[str, str]:
        there = run if arm == "w2s" else not pd.isna(row[f"unparsed_{arm}"])
        return _measured(row, f"acc_{arm}", _percent, "incomplete" if there else "not run")

    return [
        r.pair_text(row["weak"], row["strong"]),
        *(accuracy(arm)[0] for arm in ("weak", "strong0")),
        accuracy("w2s"),
        accuracy("gold")[0],
        _gain(r.gain(row)),
        _ratio(row, "pgr_gold"),
        sentences.ratio(row["pgr_no_supervision"]),
        _ratio(row, "egr"),
        _ratio(row, "pgr_zero"),
        "–" if pd.isna(row["unparsed_w2s"]) else str(int(row["unparsed_w2s"])),
        words.tokens(usage["input_tokens"]) if run else "–",
        words.money(usage["cost"]) if run else "–",
    ]


def _baseline(r: Results, row: Row) -> list[Cell]:
    """Zero-shot accuracy of a model, and what all its runs cost."""
    sums = r.usage(model=row["model"], split="all")
    return [
        (r.names[row["model"]], row["model"]),
        _measured(row, "accuracy", _percent, "not run"),
        *(_percent(row[share]) for share in ("unparsed_share", "pool_accuracy")),
        f"{sums['calls']:,}",
        words.tokens(sums["input_tokens"]),
        words.money(sums["cost"]) if sums["runs"] else "unknown",
    ]


def _condition(c: Condition) -> list[Cell]:
    return [
        _difference(c.estimate, c.low, c.high),
        sentences.points(c.could_show, sign=False) if c.state == "undecided" else "",
        sentences.p_value(c.p),
        "–" if pd.isna(c.estimate) else str(c.n),
    ]


def _numbers(table: pd.DataFrame, columns: str) -> tuple[list[str], list[list[str]]]:
    """Columns of a table as texts: three decimals, empty where there is nothing."""

    def text(value: Any) -> str:
        if not isinstance(value, float):
            return str(value)
        return "" if math.isnan(value) else f"{value:.3f}".rstrip("0").rstrip(".").replace("-", "−")

    texts = table.filter(regex=columns).astype(object).map(text)
    return list(map(str, texts)), texts.to_numpy().tolist()
