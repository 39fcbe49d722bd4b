"""From the results to what the template of the page shows: texts, and tables of texts."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from w2s_icl import words
from w2s_icl.analysis import figures, sentences
from w2s_icl.analysis.results import Results, Row
from w2s_icl.analysis.stats import MIN_QUESTIONS
from w2s_icl.analysis.tables import RUN
from w2s_icl.analysis.verdict import Condition, Verdict

Cell = tuple[str, str]
"""A cell of a table: what it says, and what stands below it in small print."""

DEFINITIONS = (
    ("pgr_gold", "(w2s − weak) / (gold − weak)", "performance gap recovered, the headline: the gap "
     "to the same model, shown the same demonstrations with gold labels"),
    ("pgr_zero", "(w2s − weak) / (strong zero-shot − weak)", "against the strong model's zero-shot "
     "accuracy; learning the format alone can lift it over 1"),
    ("pgr_goldfloor", "(w2s − weak with gold) / (gold − weak with gold)", "the weak model is shown "
     "gold labels too"),
    ("egr", "(w2s − strong zero-shot) / (gold − strong zero-shot)", "elicited gain recovered: of "
     "the gain that gold labels give over none, the share that weak labels give"),
    ("pgr_no_supervision", "(strong zero-shot − weak) / (gold − weak)", "what ignoring the labels "
     "would score as pgr_gold; weak labels that leave the ratio below it have hurt"),
)  # fmt: skip
"""Ratios: column, formula, meaning."""

_SETTINGS = (
    *("dataset", "dataset_source", "dataset_sha256", "test_size", "n_pool", "n_near_duplicates"),
    *("seed", "near_duplicates", "style", "prompt_version", "scorer_version"),
)


def render(results: Results, drawn: Sequence[tuple[Any, Markup]]) -> str:
    """`report.html`: one file that asks for nothing else.

    Args:
        results: The tables.
        drawn: Views of `report`, each with its figure; empty where there is none.
    """
    r, metadata = results, results.logs.metadata
    runs = r.logs.runs.sort_values(["model", "split", "prompt", "labels", "weak", "shots", "draw"])
    ids = "".join(sorted(str(i) for i in runs["eval_id"]))
    environment = Environment(
        loader=PackageLoader("w2s_icl.analysis", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters["ticks"] = ticks
    return environment.get_template("report.html.j2").render(
        banner=r.banner,
        imported=r.logs.imported,
        study=", ".join(metadata.get("study") or ()) or "logs",
        run_id=hashlib.sha256(ids.encode()).hexdigest()[:12],
        n_test=int(r.cells["n"].max()) if len(r.cells) else int(runs["n"].max()),
        n_models=len(r.experiment.models),
        log_dir=r.logs.directory,
        missing=len(r.missing),
        verdicts=[_verdict(r, verdict) for verdict in ordered_verdicts(r)],
        declared=r.experiment.declaration.declared,
        cards=_cards(r),
        rows=[_summary_row(r, row) for row in r.last_rows],
        last=r.last,
        baselines=[_baseline(r, row) for row in r.models.to_dict("records")],
        views=[
            (view, svg, *_numbers(view.table if view.shown is None else view.shown))
            for view, svg in drawn
        ],
        positions=_positions(r),
        repeats=[
            [
                _run_text(r, row),
                *_plain(row["draw"], row["epochs"], row["n"]),
                _cell(*_ends(row, "changed")),
            ]
            for row in r.repeats.to_dict("records")
        ],
        checks=r.checks,
        marks={"holds": "✓", "fails": "!", "unknown": "?"},
        definitions=DEFINITIONS,
        settings={key: metadata.get(key) for key in _SETTINGS},
        system_message=metadata.get("system_message"),
        stats=r.stats,
        runs=runs.to_dict("records"),
        colours=list(figures.COLOURS.items()),
    )


def ticks(text: str) -> Markup:
    """A text for the page, with what stands in backticks as code.

    Example:
        >>> ticks("run `w2s <plan>` & see")
        Markup('run <code>w2s &lt;plan&gt;</code> &amp; see')
    """
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def inline_svg(svg: str, name: str, title: str, description: str) -> Markup:
    """A figure for the page: named, described, in colours that follow the theme.

    Args:
        svg: What matplotlib wrote.
        name: Prefix of every id in it, so that figures on one page stay apart.
        title: What a screen reader calls it.
        description: What a screen reader says of it.
    """
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", body, flags=re.DOTALL)
    body = re.sub(r'\b(id="|href="#|url\(#)', rf"\g<1>{name}-", body)
    body = body.replace("*{stroke", f"#{name}-svg *{{stroke")
    head, rest = body.split(">", 1)
    head = re.sub(r' (?:width|height)="[^"]*"', "", head)
    for colour, (token, _) in figures.COLOURS.items():
        rest = rest.replace(colour, f"var(--{token})")
    label = Markup('<title id="{0}-title">{1}</title><desc id="{0}-desc">{2}</desc>').format(
        name, title, description
    )
    named = f'id="{name}-svg" role="img" aria-labelledby="{name}-title {name}-desc"'
    return Markup(f"{head} {named}>{label}{rest}")


# --- cells ----------------------------------------------------------------------------------------


def _percent(share: float) -> str:
    return sentences.percent(share).removesuffix("%")


def _cell(
    value: float,
    low: float = math.nan,
    high: float = math.nan,
    text: Callable[[float], str] = _percent,
) -> Cell:
    """A number with its interval below; "–" where there is none."""
    return text(value), "" if pd.isna(low) else f"{text(low)} to {text(high)}"


def _ends(row: Row, name: str) -> tuple[float, float, float]:
    return row[name], row[f"{name}_lo"], row[f"{name}_hi"]


def _plain(*texts: Any) -> list[Cell]:
    return [(str(text), "") for text in texts]


def _gain(test: Row | None) -> Cell:
    if test is None:
        return "–", ""
    return _cell(test["diff"], test["lo"], test["hi"], sentences.points)


def _ratio(row: Row, definition: str) -> Cell:
    """A ratio, or why there is none."""
    status = row[f"{definition}_status"]
    if status in ("self", "trivial"):
        return "–", ""
    if status == "incomplete":
        return "–", "not run or incomplete"
    if status == "ok":
        value, interval = _cell(*_ends(row, definition), sentences.ratio)
        return value, interval + (", fragile" if row[f"{definition}_fragile"] else "")
    if pd.isna(row[f"{definition}_gap_lo"]) or row["n"] < MIN_QUESTIONS:
        return "no ratio", "too few questions"
    gap = _cell(*_ends(row, f"{definition}_gap"), sentences.points)[1]
    return "no ratio", f"{status.replace('_', ' ')}: {gap} points"


# --- summary --------------------------------------------------------------------------------------


def _cards(r: Results) -> list[tuple[str, str, str]]:
    """The numbers on top: value, what it is, interval."""
    row, total = r.headline, r.usage(split="all")
    unread, replies = (int(r.logs.runs[name].sum()) for name in ("unparsed", "replies"))
    known = not math.isnan(total["cost"])
    cost = (
        words.money(total["cost"]) if known else "cost unknown",
        f"{total['calls']:,} calls, {words.tokens(total['input_tokens'])} tokens in",
        f"{sentences.percent(unread / replies if replies else math.nan)} of replies unreadable",
    )
    if row is None:
        return [cost]
    weak, strong = r.names[row["weak"]], r.names[row["strong"]]
    itself = row["weak"] == row["strong"]
    accuracy, gain = _cell(*_ends(row, "acc_w2s"), sentences.percent), _gain(r.gain(row))
    ratio = _ratio(row, "egr" if itself else "pgr_gold")
    return [
        (
            accuracy[0] if accuracy[1] else "not run",
            f"{strong} with {row['shots']} labels by {'itself' if itself else weak}",
            accuracy[1],
        ),
        (
            f"{gain[0]} points" if gain[1] else "not run",
            "against its own zero-shot run",
            gain[1],
        ),
        (
            ratio[0],
            "of its gain from gold labels recovered" if itself else "of the gap recovered (PGR)",
            ratio[1],
        ),
        cost,
    ]


def _summary_row(r: Results, row: Row) -> list[Cell]:
    usage = r.usage(
        model=row["strong"], weak=row["weak"], labels="weak", shots=row["shots"], prompt=""
    )
    run = usage["runs"] > 0

    def accuracy(arm: str) -> Cell:
        if pd.isna(row[f"acc_{arm}"]):
            there = run if arm == "w2s" else not pd.isna(row[f"unparsed_{arm}"])
            return "incomplete" if there else "not run", ""
        return _cell(*_ends(row, f"acc_{arm}"))

    return [
        (r.pair_text(row), ""),
        *((accuracy(arm)[0], "") for arm in ("weak", "strong0")),
        accuracy("w2s"),
        (accuracy("gold")[0], ""),
        _gain(r.gain(row)),
        _ratio(row, "pgr_gold"),
        (sentences.ratio(row["pgr_no_supervision"]), ""),
        _ratio(row, "egr"),
        _ratio(row, "pgr_zero"),
        *_plain(
            "–" if pd.isna(row["unparsed_w2s"]) else int(row["unparsed_w2s"]),
            words.tokens(usage["input_tokens"]) if run else "–",
            words.money(usage["cost"]) if run else "–",
        ),
    ]


def _baseline(r: Results, row: Row) -> list[Cell]:
    """Zero-shot accuracy of a model, and what all its runs cost."""
    sums = r.usage(model=row["model"], split="all")
    accuracy = _cell(*_ends(row, "accuracy"))
    return [
        (r.names[row["model"]], row["model"]),
        accuracy if accuracy[1] else ("not run", ""),
        *_plain(_percent(row["unparsed_share"]), _percent(row["pool_accuracy"])),
        *_plain(f"{sums['calls']:,}", words.tokens(sums["input_tokens"])),
        (words.money(sums["cost"]) if sums["runs"] else "unknown", ""),
    ]


# --- verdict --------------------------------------------------------------------------------------

STATES: Mapping[str, str] = {"holds": "✓", "fails": "✗", "equal": "=", "undecided": "?"}
"""Of a condition: the mark of its state, which the word stands beside."""


def ordered_verdicts(r: Results) -> list[Verdict]:
    """The headline's pair first."""
    return sorted(r.verdicts, key=lambda v: not _is_main(r, v))


def verdict_lead(verdict: Verdict) -> str:
    """The first sentence of a verdict; the rest goes through the conditions."""
    return verdict.sentence.partition(". ")[0].removesuffix(".") + "."


def _is_main(r: Results, v: Verdict) -> bool:
    return r.headline is not None and (v.weak, v.strong) == (
        r.headline["weak"],
        r.headline["strong"],
    )


def _verdict(r: Results, v: Verdict) -> dict[str, Any]:
    """A verdict as the page prints it; `rows` holds state, mark and cells of each condition."""
    states = [c.state for c in v.conditions]
    return {
        "pair": r.pair_text({"weak": v.weak, "strong": v.strong}),
        "shots": f"{' and '.join(map(str, v.shots))} demonstrations, "
        f"{v.draws} draw{'s' * (v.draws != 1)}",
        "claim": v.claim,
        "reading": v.reading,
        "lead": verdict_lead(v),
        "rest": v.sentence.partition(". ")[2],
        "tally": ", ".join(f"{states.count(s)} {s}" for s in dict.fromkeys(states)),
        "rows": [
            (c.state or "beside the claim", STATES.get(c.state, "–"), _condition(c))
            for c in (*v.conditions, *v.beside)
        ],
        "void": v.void,
        "cautions": v.cautions,
        "main": _is_main(r, v),
    }


def _condition(c: Condition) -> list[Cell]:
    return [
        (c.text, c.detail),
        _cell(c.estimate, c.low, c.high, sentences.points),
        *_plain(
            sentences.points(c.could_show, sign=False) if c.state == "undecided" else "",
            sentences.p_value(c.p),
            "–" if pd.isna(c.estimate) else int(c.n),
        ),
    ]


# --- positions, repeats, numbers ------------------------------------------------------------------


def _positions(r: Results) -> dict[str, Any]:
    """Habits of position: a row per run, first the `main` ones, which the headline needs."""
    letters = sorted(set(r.positions["position"]))
    rank = {kind: i for i, kind in enumerate(figures.arm_order(r.positions["labels"]))}
    rows: list[tuple[int, list[Cell], list[Cell]]] = []
    for key, part in r.positions.groupby(list(RUN), sort=False):
        run = dict(zip(RUN, key, strict=True))
        at = part.set_index("position").reindex(letters).to_dict("records")
        name = _run_text(r, run)
        shares = [
            (
                _percent(p["errors_share"]),
                "" if pd.isna(p["errors_share"]) else f"of {_percent(p['errors_even'])}",
            )
            for p in at
        ]
        p = (sentences.p_value(part["p_errors"].iloc[0]), "")
        # runs that are folded keep the order of the table
        place = -1 if run["shots"] == 0 else rank[str(run["labels"])]
        accuracy = [_cell(*_ends(p, "accuracy")) for p in at]
        rows.append(
            (place if _needed(r, run) else len(rank), [name, *accuracy], [name, *shares, p])
        )
    rows.sort(key=lambda row: row[0])
    main = sum(place < len(rank) for place, *_ in rows)
    return {
        "letters": letters,
        "accuracy": [accuracy for _, accuracy, _ in rows],
        "shares": [shares for *_, shares in rows],
        "main": main,
    }


def _needed(r: Results, run: Row) -> bool:
    """Whether a run is a plain zero-shot one, or an arm of the headline."""
    if run["prompt"] or run["shots"] == 0:
        return not run["prompt"]
    row = r.headline
    if row is None or (run["model"], run["shots"]) != (row["strong"], r.last):
        return False
    own = (run["labels"], run["weak"]) == ("weak", row["strong"])
    return own or run["weak"] in ("", row["weak"])


def _run_text(r: Results, run: Row) -> Cell:
    """The model of a run, and how it was prompted."""
    kind, weak, model = run["labels"] or "zero_shot", str(run["weak"]), str(run["model"])
    if kind == "weak" and weak == model:
        kind = "self"
    how = figures.arm_text(f"{kind} {run['prompt']}".rstrip(), r.names, r.names.get(weak, weak))
    if weak and kind not in ("weak", "self"):
        how += f" as {r.names.get(weak, weak)}"
    return r.names.get(model, model), (
        f"{run['shots']} demonstrations, {how}" if run["shots"] else how
    )


def _numbers(table: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """A table as texts: three decimals, empty where there is nothing."""

    def text(value: Any) -> str:
        if isinstance(value, bool) or not isinstance(value, float):
            return str(value)
        return "" if math.isnan(value) else f"{value:.3f}".rstrip("0").rstrip(".").replace("-", "−")

    rows = [[text(value) for value in row] for row in table.itertuples(index=False, name=None)]
    return [str(column) for column in table.columns], rows
