"""What `w2s report` writes: tables, figures, one HTML page, and lines for the terminal.

No number is computed here: tables hold them, sentences word them, the template lays them out.
"""

import hashlib
import json
import math
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup, escape
from matplotlib.figure import Figure

from w2s_icl.analysis import figures, sentences
from w2s_icl.analysis.checks import Check
from w2s_icl.analysis.experiment import COLUMNS
from w2s_icl.analysis.logs import read_logs
from w2s_icl.analysis.results import Results, rows_of, where
from w2s_icl.analysis.sentences import Row
from w2s_icl.analysis.stats.paired import MIN_QUESTIONS
from w2s_icl.analysis.verdict import Condition, surface_rule
from w2s_icl.errors import W2SError
from w2s_icl.words import money, printable, tokens

TABLES = (
    *("verdict", "cells", "arms", "classes", "surface_rule", "positions", "repeats"),
    *("tests", "matching", "pooled", "models", "costs", "missing"),
)
"""Tables that are written, by name."""

Cell = tuple[str, str] | str  # what a cell says, and what stands below it in small print


class View(NamedTuple):
    """One figure of the report, or one table without a figure."""

    name: str  # of its files, and its anchor in the page
    sentence: str  # what it shows, from the numbers and their intervals, or why it is not there
    table: pd.DataFrame
    figure: Callable[..., Figure] | None  # draws `table`; None where there is nothing to draw
    columns: str  # pattern of the columns that are written
    shown: pd.DataFrame  # the rows of `table` that the page prints


def write_report(log_dir: str, out: str | Path) -> tuple[list[Path], str]:
    """Read the logs of a study and write its tables, figures and `report.html` to a folder.

    Returns the files, the page last, and a summary for the terminal. A folder that cannot be made
    or written to is a W2SError, and what `read_logs` refuses.
    """
    out = writable(out)
    results = Results(read_logs(log_dir))
    files: list[Path] = []
    drawn: list[tuple[View, str]] = []
    for view in views(results):
        svg = ""
        if view.figure is not None:
            figure = view.figure(view.table, results.experiment.models, banner=results.banner)
            files += figures.save(figure, out / view.name, view.table.filter(regex=view.columns))
            svg = (out / f"{view.name}.svg").read_text("utf-8")
        drawn.append((view, svg))
    # after the figures, some of which draw a part of their table
    files += [figures.write_csv(getattr(results, name), out / f"{name}.csv") for name in TABLES]
    stats = json.dumps(results.stats, indent=2) + "\n"
    files += write_texts(out, {"stats.json": stats, "report.html": render(results, drawn)})
    return list(dict.fromkeys(files)), summary(results)


def write_texts(out: Path, texts: Mapping[str, str]) -> list[Path]:
    """Write texts to a folder, by name of their files, and what the columns of its tables mean."""
    columns = resources.files("w2s_icl").joinpath("docs", "columns.md").read_text("utf-8")
    for name, text in (texts := {"columns.md": columns, **texts}).items():
        (out / name).write_text(text, "utf-8")
    return [out / name for name in texts]


def writable(out: str | Path) -> Path:
    """The folder to write to, made where it is not there; a W2SError where that cannot be."""
    out = Path(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=out).close()
    except OSError as error:
        must_be = "a folder that can be made and written to"
        said = f"--out must be {must_be}, got {out} ({error.strerror})"
        raise W2SError(f"{said}: name another one") from None
    return out


def views(results: Results) -> list[View]:
    """The figures of the report, in order."""
    r, row, pair = results, results.headline, results.pair
    weak, strong = (r.names[row[k]] if row else "" for k in ("weak", "strong"))
    no_pair = "No pair of different models was planned or run: there is no gap to recover."
    nothing = "No run with weak labels was planned or run."
    cell = "^(weak|strong|shots|n|draws)$|^"
    made: list[View] = []

    def add(name: str, said: str, of: pd.DataFrame, draw: Any, columns: str = ".") -> None:
        shown = where(of, kind="bin") if name == "surface_fit" else of
        made.append(View(name, said, of, draw, columns, shown))

    chance = float((1 / r.experiment.asked["n_options"]).mean())  # accuracy of guessing
    draw: Any = partial(figures.accuracy, chance=chance) if len(r.curves) else None
    add("accuracy", _accuracy_sentence(r, weak, strong) or nothing, r.curves, draw)

    given = r.cells[(r.cells["shots"] > 0) & (r.cells["weak"] != r.cells["strong"])]
    both = [sentences.recovered(pair, of, weak, strong) for of in ("pgr_gold", "pgr_zero") if pair]
    draw = figures.pgr if len(given) else None
    add("pgr", " ".join(both) or no_pair, given, draw, f"{cell}(scope$|pgr_|egr)")

    arms = figures.at_shots(r.arms, r.last)
    compared = ("weak", "gold", "self", "noise_matched", "random", "unlabelled")
    words = {arm: figures.arm_text(arm, weak) for arm in compared}
    said = sentences.arms(rows_of(r.arms, pair), words, strong) if pair else no_pair
    plan = where(r.logs.planned, split="test", prompt="", shots=r.last)
    planned = [kind for kind in figures.ARMS if (plan["labels"] == kind).any()]
    planned += ["self"] * bool((plan["weak"] == plan["model"]).any())
    draw = partial(figures.arms, planned=planned) if arms["gain"].notna().any() else None
    add("arms", said, arms, draw)

    classes = rows_of(r.classes, row) if row else []
    columns = "^(by|class|n|acc_.*[^io]|gain|gain_lo|gain_hi|gain_part|gain_p_holm|pgr_gold)$"
    table = pd.DataFrame(classes, columns=list(r.classes))
    add("classes", sentences.classes(classes), table, None, columns)

    said = surface_rule(r.verdicts[0]) if pair else no_pair
    add("surface_fit", said, r.surface_fit, figures.surface_fit if len(r.surface_fit) else None)

    matches = rows_of(r.matching, row) if row else []
    any_match = r.matching["match_both"].notna().any()
    wrong = {"weak_wrong": True}
    for name, sentence, draw, columns, how in (
        ("matching", sentences.matches, figures.matching, ".", {}),
        ("matching_weak_wrong", sentences.matches, figures.matching, f"{cell}ww_", wrong),
        ("conditional", sentences.fixes, figures.conditional, f"{cell}(fix|break|strong)_", {}),
        ("correlation", sentences.correlations, figures.correlation, f"{cell}phi", {}),
    ):
        said = " ".join(sentence(match, weak, strong, **how) for match in matches) or nothing
        add(name, said, r.matching, partial(draw, **how) if any_match else None, columns)
    return made


def _accuracy_sentence(r: Results, weak: str, strong: str) -> str:
    parts: list[str] = []
    if row := r.headline:
        parts.append(sentences.accuracy(row, r.gain(row), weak, strong))
        of = {"model": row["strong"], "prompt": ""}
        parts += [sentences.repeats(own, strong) for own in rows_of(r.repeats, **of, shots=0)[:1]]
        of |= {"labels": "weak", "weak": row["weak"], "shots": row["shots"]}
        ordered = rows_of(r.repeats.dropna(subset="sd_orders"), **of)
        parts += [sentences.orders(again, weak, strong) for again in ordered]
    changes = "; ".join(
        f"{r.names[row['strong']]} {sentences.change(gain['diff'], gain['lo'], gain['hi'])}"
        for row in r.last_rows
        if r.last and row["weak"] == row["strong"] and (gain := r.gain(row))
    )
    if changes:
        parts.append(f"With {r.last} of its own labels, against its own zero-shot run: {changes}.")
    return " ".join(filter(None, parts))


def render(results: Results, drawn: Sequence[tuple[View, str]]) -> str:
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
    loader = PackageLoader("w2s_icl.analysis", ".")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    environment.trim_blocks = environment.lstrip_blocks = True
    environment.filters["ticks"] = ticks
    environment.globals |= {"colours": figures.COLOURS, "inline_svg": inline_svg}
    return environment.get_template(name)


def ticks(text: str) -> Markup:
    """A text for the page, with what stands in backticks as code.

    Example:
        >>> ticks("run `w2s <plan>` & see")
        Markup('run <code>w2s &lt;plan&gt;</code> &amp; see')
    """
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def inline_svg(svg: str, name: str, title: str, description: str) -> Markup:
    """A figure of matplotlib's for the page, in colours that follow the theme.

    Its ids begin with `name`, to be unique on the page. A screen reader says title and description.
    """
    body = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg[svg.index("<svg") :], flags=re.S)
    body = re.sub(r'\b(id="|href="#|url\(#)', rf"\g<1>{name}-", body)
    head, rest = body.replace("*{stroke", f"#{name}-svg *{{stroke").split(">", 1)
    head = re.sub(r' (?:width|height)="[^"]*"', "", head)
    for colour, (token, _) in figures.COLOURS.items():
        rest = rest.replace(colour, f"var(--{token})")
    label = Markup('<title id="{0}-title">{1}</title><desc id="{0}-desc">{2}</desc>')
    named = f'id="{name}-svg" role="img" aria-labelledby="{name}-title {name}-desc"'
    return Markup(f"{head} {named}>{label.format(name, title, description)}{rest}")


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
        "cost unknown" if math.isnan(total["cost"]) else money(total["cost"]),
        f"{total['calls']:,} calls, {tokens(total['input_tokens'])} tokens in",
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
        tokens(usage["input_tokens"]) if run else "–",
        money(usage["cost"]) if run else "–",
    ]


def _baseline(r: Results, row: Row) -> list[Cell]:
    """Zero-shot accuracy of a model, and what all its runs cost."""
    sums = r.usage(model=row["model"], split="all")
    return [
        (r.names[row["model"]], row["model"]),
        _measured(row, "accuracy", _percent, "not run"),
        *(_percent(row[share]) for share in ("unparsed_share", "pool_accuracy")),
        f"{sums['calls']:,}",
        tokens(sums["input_tokens"]),
        money(sums["cost"]) if sums["runs"] else "unknown",
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


def summary(results: Results) -> str:
    """The result of each pair at the headline's shot count, and what a reader must know."""
    r = results
    lines = [f"! {r.banner}"] if r.banner else []
    if told := r.logs.imported:
        lines.append("! imported answers; not recorded: " + "; ".join(told.not_recorded))
    rows = {"weak → strong": "shots   weak  strong    w2s   gold  PGR (gold ceiling)"}
    for row in r.last_rows:
        accuracies = "  ".join(f"{_percent(row[f'acc_{arm}']):>5}" for arm in COLUMNS)
        ratio = sentences.ratio_with_interval(row, "pgr_gold")
        pair = r.pair_text(row["weak"], row["strong"])
        rows[pair] = f"{row['shots']:>5}  {accuracies}  {ratio}"
    width = max(map(len, rows))
    lines += [f"{pair:<{width}} {numbers}" for pair, numbers in rows.items()]
    for v in r.verdicts:
        lines.append(f"verdict, {r.pair_text(v.weak, v.strong)}: {v.reading}. {v.lead}")
    return printable("\n".join([*lines, *(line for of in r.checks for line in _check_lines(of))]))


def _check_lines(check: Check, most: int = 8) -> list[str]:
    """A check that fails, with at most so many of its items; remarks of one that holds."""
    if check.state == "unknown" or (check.state == "holds" and not check.items):
        return []
    lines = [f"{'!' if check.state == 'fails' else '·'} {check.text}"]
    lines += [f"    {item}" for item in check.items[:most]]
    more = len(check.items) - most
    return lines + [f"    and {more} more: see Checks in report.html"] * (more > 0)
