"""Everything that `w2s report` writes: tables, figures, one HTML page, and lines for the terminal.

No number is computed here: tables hold them, sentences word them, the template lays them out.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from w2s_icl.analysis import figures, sentences, tables, verdict
from w2s_icl.analysis.checks import Check, run_checks
from w2s_icl.analysis.experiment import Experiment
from w2s_icl.analysis.logs import Logs, read_logs
from w2s_icl.analysis.stats import MIN_QUESTIONS
from w2s_icl.analysis.verdict import Condition, Verdict

SIMULATED_BANNER = "simulated models: these numbers say nothing about language models"

TABLES = (
    *("verdict", "cells", "arms", "shortcuts", "rules", "positions", "repeats"),
    *("tests", "matching", "pooled", "models", "costs", "missing"),
)
"""Tables that are written, by name."""

_COMPARED = ("weak", "gold", "self", "noise_matched", "random", "unlabelled")

Row = Mapping[Any, Any]


@dataclass(frozen=True)
class Written:
    """What a report consists of.

    Attributes:
        files: In the order written.
        summary: For the terminal: accuracies and the ratio at the headline's shot count, the
            verdict of each pair, and what is wrong with the logs.
    """

    files: Sequence[Path]
    summary: str


@dataclass(frozen=True)
class View:
    """One figure of the report.

    Attributes:
        name: Of its files, and its anchor in the page.
        heading: In the words of the notebook that the project began from.
        sentence: What it shows, from the numbers and their intervals.
        caption: What is drawn, and by which method.
        table: The numbers drawn.
        draw: Makes the figure; None where there is nothing to draw, and `sentence` says why.
        shown: The rows of `table` that the page prints, where not all.
    """

    name: str
    heading: str
    sentence: str
    caption: str
    table: pd.DataFrame
    draw: Callable[[], Figure] | None
    shown: pd.DataFrame | None = None


class Results:
    """The tables of one experiment, and the one cell that the sentences are about."""

    def __init__(self, logs: Logs) -> None:
        """Compute every table."""
        self.logs = logs
        self.experiment = Experiment(logs)
        self.cells = tables.cells_table(self.experiment)
        self.gold = tables.gold_table(self.experiment)
        self.curves = tables.curves_table(self.cells, self.gold)
        self.tests = tables.tests_table(self.experiment)
        self.matching = tables.matching_table(self.experiment)
        self.arms = tables.arms_table(self.experiment)
        self.shortcuts = tables.shortcuts_table(self.experiment)
        self.rules = tables.rules_table(self.experiment)
        self.positions = tables.positions_table(self.experiment)
        self.repeats = tables.repeats_table(self.experiment)
        self.names = figures.display_names(self.experiment.models)
        self.verdicts = verdict.verdicts(self.experiment, self.names)
        self.verdict = verdict.verdict_table(self.verdicts)
        self.costs = tables.costs_table(self.experiment)
        self.missing = tables.missing_cells(self.experiment)
        self.models = tables.models_table(self.experiment)
        self.pooled = tables.pooled_table(self.experiment)
        self.checks = run_checks(self.experiment, self.cells)
        self.banner = SIMULATED_BANNER if logs.simulated else ""

    @property
    def last(self) -> int:
        """The shot count of the headline, the largest where there are several."""
        return max(self.experiment.headline, default=self.experiment.shots[-1])

    @cached_property
    def last_rows(self) -> Sequence[Row]:
        """The row of each pair at the headline's shot count."""
        return self.cells[self.cells["shots"] == self.last].to_dict("records")

    @cached_property
    def headline(self) -> Row | None:
        """The weakest labels for the strongest model at the headline's shot count, by rule.

        Picked before anything is seen: the best of many pairs would be an overestimate. A model's
        own labels where no other pair was planned; None without demonstrations.
        """
        order = {name: i for i, name in enumerate(self.experiment.models)}
        found = sorted(
            self.last_rows if self.last else [],
            key=lambda r: (r["weak"] == r["strong"], -order[r["strong"]], order[r["weak"]]),
        )
        return found[0] if found else None

    def test(self, row: Row, family: str) -> Row | None:
        """The row of `tests` for a cell."""
        return _only(self.tests[self.tests["family"] == family], row)

    def match(self, row: Row) -> Row | None:
        """The row of `matching` for a cell."""
        return _only(self.matching, row)

    def arm_rows(self, row: Row) -> Sequence[Row]:
        """The rows of `arms` for a cell."""
        return _of_cell(self.arms, row).to_dict("records")

    def split(self, row: Row) -> Row | None:
        """The row of `shortcuts` for the weak arm of a cell."""
        cut = self.shortcuts
        return _only(cut[(cut["arm"] == "weak") & (cut["rule"] == "demonstrations")], row)

    def words(self, weak: str) -> dict[str, str]:
        """What the arms that a verdict needs are called; `weak` is the model that labels."""
        return {arm: figures.arm_text(arm, self.names, self.names[weak]) for arm in _COMPARED}

    @property
    def planned_arms(self) -> Sequence[str]:
        """Plain arms that were planned at the headline's shot count."""
        plan = self.logs.planned
        plan = plan[(plan["split"] == "test") & (plan["prompt"] == "")]
        plan = plan[plan["shots"] == self.last]
        own = ["self"] * bool((plan["weak"] == plan["model"]).any())
        return [kind for kind in figures.ARMS if (plan["labels"] == kind).any()] + own

    def repeated(self, model: str) -> Row | None:
        """The row of `repeats` for a model's zero-shot run."""
        runs = self.repeats
        plain = (runs["shots"] == 0) & (runs["prompt"] == "") & (runs["model"] == model)
        found = runs[plain].to_dict("records")
        return found[0] if found else None

    def usage(self, row: Row) -> Row:
        """Tokens and cost of a cell's runs with weak labels, over its draws."""
        runs = self.costs
        mine = (runs["model"] == row["strong"]) & (runs["weak"] == row["weak"])
        mine &= (runs["labels"] == "weak") & (runs["shots"] == row["shots"])
        mine &= runs["prompt"] == ""
        return {
            "runs": int(mine.sum()),
            "input_tokens": int(runs.loc[mine, "input_tokens"].sum()),
            "cost": float(runs.loc[mine, "cost"].sum(skipna=False)),
        }

    @property
    def total(self) -> Row:
        """Calls, tokens and cost of everything."""
        sums = self.costs[self.costs["split"] == "all"]
        return {
            **{c: int(sums[c].sum()) for c in ("calls", "input_tokens", "output_tokens")},
            "cost": float(sums["cost"].sum(skipna=False)),
        }


def _of_cell(table: pd.DataFrame, row: Row) -> pd.DataFrame:
    same = (table["weak"] == row["weak"]) & (table["strong"] == row["strong"])
    found: pd.DataFrame = table[same & (table["shots"] == row["shots"])]
    return found


def _only(table: pd.DataFrame, row: Row) -> Row | None:
    found = _of_cell(table, row).to_dict("records")
    return found[0] if found else None


def write_report(log_dir: str, out: str | Path) -> Written:
    """Read the logs of a study and write its tables, figures and `report.html`.

    Args:
        log_dir: Inspect log directory, local or remote.
        out: Folder to write to; made when it is not there.

    Raises:
        LogError: As `read_logs`.
    """
    results = Results(read_logs(log_dir))
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    files: list[Path] = []
    for name in TABLES:
        table = getattr(results, name)
        files.append(out / f"{name}.csv")
        # the numbers of the figures `matching` and `arms` are those of the tables, under one name
        table.to_csv(files[-1], index=False)
    files.append(out / "stats.json")
    stats = tables.stats_info(results.experiment)
    files[-1].write_text(json.dumps(stats, indent=2) + "\n", "utf-8")
    drawn: list[tuple[View, Markup]] = []
    for view in views(results):
        if view.draw is None:
            drawn.append((view, Markup()))
            continue
        written = figures.save(view.draw(), out / view.name, view.table)
        files += [path for path in written if path not in files]
        svg = (out / view.name).with_suffix(".svg").read_text("utf-8")
        drawn.append((view, inline_svg(svg, view.name, view.heading, view.sentence)))
    files.append(out / "report.html")
    files[-1].write_text(page(results, drawn, stats), "utf-8")
    return Written(files, summary(results))


# --- figures --------------------------------------------------------------------------------------

_INTERVALS = (
    "Bars are 95% intervals: Wilson's for one draw, t over questions and draws for several."
)

_SURFACE_RULE = (
    " Dash-dotted: a rule over the surface of the options, fitted on the gold labels of the "
    "demonstrations, that never sees a question; its intervals are in rules.csv."
)


def views(results: Results) -> list[View]:
    """The notebook's views, in its order."""
    r, cells, curves, match = results, results.cells, results.curves, results.matching
    models, row, banner = r.experiment.models, results.headline, results.banner
    weak, strong = (r.names[row[k]] if row else "" for k in ("weak", "strong"))
    given = cells[cells["shots"] > 0]
    others = given[given["weak"] != given["strong"]]
    own = curves[curves["weak"] == curves["model"]]
    nothing = "No run with weak labels was planned or run."
    matched = r.match(row) if row else None
    drawn = bool(match["match_both"].notna().any())
    pair = row if row is not None and row["weak"] != row["strong"] else None
    no_pair = "No pair of different models was planned or run."
    arms = figures.at_shots(r.arms, r.last)
    cut = figures.at_shots(r.shortcuts[r.shortcuts["rule"] == "demonstrations"], r.last)
    cut = cut.dropna(subset=["gain_right", "gain_wrong"], how="all")
    return [
        View(
            "accuracy",
            "Accuracy against demonstrations, with gold curves",
            _join(
                sentences.accuracy(row, r.test(row, "w2s_vs_strong0"), weak, strong) if row else "",
                sentences.repeats(r.repeated(row["strong"]), strong) if row else "",
                sentences.over_cells(
                    r.tests, "w2s_vs_strong0", "the change against the model's own zero-shot run"
                ),
            )
            or nothing,
            f"{_INTERVALS} Points are shifted sideways so that bars do not cover each other; a "
            "line stops where a shot count was not run. Hollow circle: no demonstrations, one run "
            "for all curves. Dotted: the labeller's own zero-shot accuracy."
            + (_SURFACE_RULE if (r.rules["labels"] == "gold").any() else ""),
            curves,
            (lambda: figures.accuracy(curves, models, rules=r.rules, banner=banner))
            if len(curves)
            else None,
        ),
        View(
            "self_supervision",
            "Self-supervision",
            _self_sentence(r),
            f"A model is shown its own zero-shot answers as labels. {_INTERVALS}",
            curves[curves["model"].isin(set(own["model"])) & curves["weak"].isin(["", *models])],
            (lambda: figures.self_supervision(curves, models, banner=banner)) if len(own) else None,
        ),
        View(
            "pgr",
            "PGR with zero-shot ceiling, and PGR with gold ceiling",
            _pgr_sentence(r, row, weak, strong),
            "Performance gap recovered: 0 is the weak model, 1 the ceiling. Intervals are "
            "Fieller's, paired by question, with a minimum variance. Where the gap is not "
            "established or is reversed there is no ratio, and a mark on the axis says so. Hollow: "
            "fragile, the gap is below 3 standard errors. Dash: what the same model scores without "
            "any labels.",
            _columns(others, (*_CELL, "scope"), "pgr_", "egr"),
            (lambda: figures.pgr(cells, models, banner=banner)) if len(others) else None,
        ),
        View(
            "arms",
            f"Arms side by side at {r.last} demonstrations",
            sentences.arms(r.arm_rows(pair), r.words(pair["weak"]), strong) if pair else no_pair,
            "The paired gain of each arm over the prompted model's own zero-shot run. The arms "
            "show the same demonstrations in the same order and draws, with other labels: gold "
            "with as many errors has just as many wrong labels as the weak model gave, random ones "
            "are drawn from the options, no labels shows the questions alone. An arm that hides "
            "the question is compared to a run without demonstrations that hides it too, if there "
            "is one. Shaded: the interval of the weak labels. Intervals are paired by question.",
            r.arms,
            (
                lambda: figures.arms(
                    r.arms, models, shots=r.last, planned=r.planned_arms, banner=banner
                )
            )
            if arms["gain"].notna().any()
            else None,
            arms,
        ),
        View(
            "shortcut",
            "Gains where a surface rule is right, and where it is wrong",
            sentences.shortcut(r.split(pair), weak, strong) if pair else no_pair,
            "The rule sees the options alone: their length, negations, hedges, digits, overlap. It "
            "is fitted on the labels that the weak arm shows, and splits the test questions once "
            "for all arms of a pair. A gain that is there only where the rule is right could have "
            "been had without reading the question. Intervals are t intervals, paired by question.",
            cut,
            (lambda: figures.shortcut(cut, models, shots=r.last, banner=banner))
            if len(cut)
            else None,
        ),
        View(
            "matching",
            "Response matching, all questions",
            sentences.matches(matched, weak, strong) if row else nothing,
            "Shares of questions. An unreadable answer matches nobody. Panels of a model with "
            "itself know only its own zero-shot answer or another one.",
            match,
            (lambda: figures.matching(match, models, banner=banner)) if drawn else None,
        ),
        View(
            "matching_weak_wrong",
            "Response matching where the weak model was wrong",
            sentences.matches(matched, weak, strong, weak_wrong=True) if row else nothing,
            "As above, on the questions that the labeller's own zero-shot answer has wrong: here "
            "imitation costs. Below 30 questions the numbers are counts.",
            _columns(match, _CELL, "ww_"),
            (lambda: figures.matching(match, models, weak_wrong=True, banner=banner))
            if drawn
            else None,
        ),
        View(
            "conditional",
            "Correctness given the strong model's own answer",
            sentences.fixes(matched, weak, strong) if row else nothing,
            "Of the questions it had wrong zero-shot, the share it now has right; of those it had "
            f"right, the share it now has wrong. {_INTERVALS}",
            _columns(match, _CELL, "fix_", "break_", "strong_wrong", "strong_right"),
            (lambda: figures.conditional(match, models, banner=banner)) if drawn else None,
        ),
        View(
            "correlation",
            "Correlations per pair",
            sentences.correlations(matched, weak, strong) if row else nothing,
            "Phi, the correlation of right and wrong, over questions. Intervals are in the table: "
            "question bootstrap on the atanh scale. Phi rises with accuracy; error_consistency and "
            "capa in matching.csv correct for it.",
            _columns(match, _CELL, "phi"),
            (lambda: figures.correlation(match, models, banner=banner)) if drawn else None,
        ),
    ]


_CELL = ("weak", "strong", "shots", "n", "draws")


def _columns(table: pd.DataFrame, names: Sequence[str], *starts: str) -> pd.DataFrame:
    """The columns of these names, and those that start so."""
    return table[[c for c in map(str, table) if c in names or c.startswith(starts)]]


def _join(*parts: str) -> str:
    return " ".join(part for part in parts if part)


def _self_sentence(r: Results) -> str:
    rows = [
        (row, r.test(row, "w2s_vs_strong0"))
        for row in r.last_rows
        if row["weak"] == row["strong"] and r.last
    ]
    parts = [
        f"{r.names[row['strong']]} {sentences.change(test)}"
        for row, test in rows
        if test is not None
    ]
    if not parts:
        return "No model was shown its own labels at the headline's shot count."
    return (
        f"With {r.last} of its own labels, against its own zero-shot run: {'; '.join(parts)}. "
        "Intervals are paired by question."
    )


def _pgr_sentence(r: Results, row: Row | None, weak: str, strong: str) -> str:
    if row is None or row["weak"] == row["strong"]:
        return sentences.statuses(r.cells, "pgr_gold")
    return _join(
        sentences.recovered(row, "pgr_gold", weak, strong),
        sentences.recovered(row, "pgr_zero", weak, strong),
        f"Gold ceiling: {sentences.statuses(r.cells, 'pgr_gold')}",
        f"Zero-shot ceiling: {sentences.statuses(r.cells, 'pgr_zero')}",
    )


def inline_svg(svg: str, name: str, title: str, description: str) -> Markup:
    """A figure for the page: named, described, in colours that follow the theme.

    Args:
        svg: What matplotlib wrote.
        name: Prefix of every id in it, so that figures on one page stay apart.
        title: What a screen reader calls it.
        description: What a screen reader says of it.
    """
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
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


# --- the page -------------------------------------------------------------------------------------

DEFINITIONS = (
    ("pgr_gold", "(w2s − weak) / (gold − weak)", "the headline: the gap to the same model, shown "
     "the same demonstrations with gold labels"),
    ("pgr_zero", "(w2s − weak) / (strong zero-shot − weak)", "against the strong model's zero-shot "
     "accuracy; learning the format alone can lift it over 1"),
    ("pgr_goldfloor", "(w2s − weak with gold) / (gold − weak with gold)", "the weak model is shown "
     "gold labels too"),
    ("egr", "(w2s − strong zero-shot) / (gold − strong zero-shot)", "of the gain that gold labels "
     "give over none, the share that weak labels give"),
    ("pgr_no_supervision", "(strong zero-shot − weak) / (gold − weak)", "what ignoring the labels "
     "would score as pgr_gold; weak labels that leave the ratio below it have hurt"),
)  # fmt: skip
"""Ratios: column, formula, meaning."""


def page(results: Results, drawn: Sequence[tuple[View, Markup]], stats: Mapping[str, Any]) -> str:
    """`report.html`: one file that asks for nothing else."""
    r, metadata = results, results.logs.metadata
    runs = r.logs.runs.sort_values(["model", "split", "prompt", "labels", "weak", "shots", "draw"])
    study = ", ".join(metadata.get("study") or ()) or "logs"
    ids = "".join(sorted(str(i) for i in runs["eval_id"]))
    environment = Environment(
        loader=PackageLoader("w2s_icl.analysis", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    return environment.get_template("report.html.j2").render(
        banner=r.banner,
        study=study,
        run_id=hashlib.sha256(ids.encode()).hexdigest()[:12],
        n_test=int(r.cells["n"].max()) if len(r.cells) else int(runs["n"].max()),
        n_models=len(r.experiment.models),
        n_runs=len(runs),
        log_dir=r.logs.directory,
        missing=len(r.missing),
        verdicts=[_verdict(r, found) for found in _ordered(r)],
        declared=bool(metadata.get("headline")),
        cards=_cards(r),
        rows=[_summary_row(r, row) for row in r.last_rows],
        last=r.last,
        baselines=[_baseline(r, row) for row in r.models.to_dict("records")],
        views=[
            (view, svg, _numbers(view.table if view.shown is None else view.shown))
            for view, svg in drawn
        ],
        positions=_positions(r),
        repeats=_repeats(r),
        checks=r.checks,
        marks={"holds": "✓", "fails": "!", "unknown": "?"},
        definitions=DEFINITIONS,
        settings={key: metadata.get(key) for key in _SETTINGS},
        system_message=metadata.get("system_message"),
        stats=stats,
        runs=runs.to_dict("records"),
        colours=list(figures.COLOURS.items()),
    )


_SETTINGS = (
    *("dataset", "dataset_source", "dataset_sha256", "test_size", "n_pool", "n_near_duplicates"),
    *("seed", "near_duplicates", "style", "prompt_version", "scorer_version"),
)


@dataclass(frozen=True)
class Card:
    """One of the four numbers on top."""

    value: str
    what: str
    interval: str


def _cards(r: Results) -> list[Card]:
    row, total = r.headline, r.total
    unread = int(r.logs.runs["unparsed"].sum())
    answers = int(r.logs.runs["replies"].sum())
    cost = Card(
        sentences.money(total["cost"]) if not math.isnan(total["cost"]) else "cost unknown",
        f"for {total['calls']:,} calls, {sentences.tokens(total['input_tokens'])} tokens in",
        f"{sentences.percent(unread / answers if answers else math.nan)} of replies unreadable",
    )
    if row is None:
        return [cost]
    weak, strong = r.names[row["weak"]], r.names[row["strong"]]
    test = r.test(row, "w2s_vs_strong0")
    covers = test is not None and test["lo"] <= 0 <= test["hi"]
    itself = row["weak"] == row["strong"]
    definition = "egr" if itself else "pgr_gold"
    name = "of its gain from gold labels" if itself else "PGR, gold ceiling"
    status = row[f"{definition}_status"]
    ignoring = sentences.ratio(row["pgr_no_supervision"])
    value, low, high = (sentences.ratio(row[f"{definition}{end}"]) for end in ("", "_lo", "_hi"))
    sure = status == "ok"
    low_acc, high_acc = (sentences.percent(row[f"acc_w2s_{end}"]) for end in ("lo", "hi"))
    gain = ("–", "not run")
    if test is not None:
        diff = sentences.points(test["diff"])
        least, most = (sentences.points(test[k], sign=False) for k in ("lo", "hi"))
        gain = (f"{diff} points", f"95% {least} to {most}")
    return [
        Card(
            sentences.percent(row["acc_w2s"]),
            f"{strong} with {row['shots']} labels by {'itself' if itself else weak}",
            f"95% {low_acc} to {high_acc}" if not pd.isna(row["acc_w2s"]) else "not run",
        ),
        Card(
            gain[0],
            f"{'no clear change ' if covers else ''}against its own zero-shot run, paired",
            gain[1],
        ),
        Card(
            value if sure else "no ratio",
            name + (f"; without labels {ignoring}" if sure and not itself else ""),
            f"95% {low} to {high}" if sure else status.replace("_", " "),
        ),
        cost,
    ]


def _summary_row(r: Results, row: Row) -> list[tuple[str, str]]:
    """Cells of the summary table: what is said, and what is said below it."""
    weak, strong = row["weak"], row["strong"]
    test, usage = r.test(row, "w2s_vs_strong0"), r.usage(row)
    run = usage["runs"] > 0

    def accuracy(arm: str) -> tuple[str, str]:
        value, low, high = (row[f"acc_{arm}{end}"] for end in ("", "_lo", "_hi"))
        if pd.isna(value):
            return ("not run" if not run or arm != "w2s" else "incomplete", "")
        return f"{100 * value:.1f}", f"{100 * low:.1f} to {100 * high:.1f}"

    def recovered(definition: str) -> tuple[str, str]:
        status = row[f"{definition}_status"]
        if status in ("self", "trivial"):
            return "–", ""
        if status == "incomplete":
            return "–", "not run or incomplete"
        if status == "ok":
            low, high = (sentences.ratio(row[f"{definition}{end}"]) for end in ("_lo", "_hi"))
            fragile = ", fragile" if row[f"{definition}_fragile"] else ""
            return sentences.ratio(row[definition]), f"{low} to {high}{fragile}"
        gap = [row[f"{definition}_gap{end}"] for end in ("_lo", "_hi")]
        low, high = (sentences.points(end, sign=False) for end in gap)
        if pd.isna(row[f"{definition}_gap_lo"]) or row["n"] < MIN_QUESTIONS:
            return "no ratio", "too few questions"
        reason = "gap reversed" if status == "gap_reversed" else "gap not established"
        return "no ratio", f"{reason}: {low} to {high} points"

    gain = ("–", "")
    if test is not None:
        low, high = (sentences.points(test[k], sign=False) for k in ("lo", "hi"))
        gain = sentences.points(test["diff"]), f"{low} to {high}"
    unread = row["unparsed_w2s"]
    return [
        (f"{r.names[weak]} → {'itself' if weak == strong else r.names[strong]}", ""),
        (accuracy("weak")[0], ""),
        (accuracy("strong0")[0], ""),
        accuracy("w2s"),
        (accuracy("gold")[0], ""),
        gain,
        recovered("pgr_gold"),
        (sentences.ratio(row["pgr_no_supervision"]), ""),
        recovered("egr"),
        recovered("pgr_zero"),
        ("–" if pd.isna(unread) else f"{int(unread)}", ""),
        (sentences.tokens(usage["input_tokens"]) if run else "–", ""),
        (sentences.money(usage["cost"]) if run else "–", ""),
    ]


def _baseline(r: Results, row: Row) -> list[tuple[str, str]]:
    """Zero-shot accuracy of a model, and what all its runs cost."""
    sums = r.costs[(r.costs["model"] == row["model"]) & (r.costs["split"] == "all")]
    cost = float(sums["cost"].sum(skipna=False)) if len(sums) else math.nan
    low, high = (sentences.percent(row[f"accuracy_{end}"]) for end in ("lo", "hi"))
    known = not pd.isna(row["accuracy"])
    return [
        (r.names[row["model"]], row["model"]),
        (sentences.percent(row["accuracy"]), f"{low} to {high}" if known else "not run"),
        (sentences.percent(row["unparsed_share"]), ""),
        (sentences.percent(row["pool_accuracy"]), ""),
        (f"{int(sums['calls'].sum()):,}", ""),
        (sentences.tokens(float(sums["input_tokens"].sum())), ""),
        (sentences.money(cost), ""),
    ]


# --- verdict, positions, repeats ------------------------------------------------------------------

STATES = {
    "holds": ("✓", "hold"),
    "fails": ("✗", "fail"),
    "undecided": ("?", "undecided"),
    "not run": ("–", "not run"),
}
"""Of a condition: the mark of its state, which the word stands beside, and the word for several."""


@dataclass(frozen=True)
class VerdictText:
    """A verdict as the page prints it.

    Attributes:
        pair: In words.
        shots: Of the headline, in words.
        subject: Whose conditions they are.
        claim: Whether every condition holds.
        reading: What is left as explanation.
        lead: What the data carry, in a sentence.
        rest: Which conditions that rests on.
        tally: How many conditions are in each state.
        rows: A row per condition: state, mark, then the texts of its columns.
        main: Whether this is the pair of the page's headline.
    """

    pair: str
    shots: str
    subject: str
    claim: bool
    reading: str
    lead: str
    rest: str
    tally: str
    rows: Sequence[tuple[str, str, Sequence[tuple[str, str]]]]
    main: bool


def _ordered(r: Results) -> list[Verdict]:
    """The headline's pair first."""
    return sorted(r.verdicts, key=lambda v: not _is_main(r, v))


def _is_main(r: Results, found: Verdict) -> bool:
    return r.headline is not None and (found.weak, found.strong) == (
        r.headline["weak"],
        r.headline["strong"],
    )


def _verdict(r: Results, found: Verdict) -> VerdictText:
    shots = " and ".join(str(k) for k in found.shots)
    states = [c.state for c in found.conditions]
    return VerdictText(
        pair=f"{r.names[found.weak]} → {r.names[found.strong]}",
        shots=f"{shots} demonstrations, {found.draws} draw{'s' * (found.draws != 1)}",
        subject=f"{r.names[found.strong]} with labels by {r.names[found.weak]}",
        claim=found.claim,
        reading=found.reading,
        lead=_lead(found),
        rest=found.sentence.partition(". ")[2],
        tally=", ".join(
            f"{states.count(state)} {text}"
            for state, (_, text) in STATES.items()
            if state in states
        ),
        rows=[(c.state, STATES[c.state][0], _condition(c)) for c in found.conditions],
        main=_is_main(r, found),
    )


def _lead(found: Verdict) -> str:
    """The first sentence of a verdict; the rest goes through the conditions."""
    return found.sentence.partition(". ")[0].removesuffix(".") + "."


def _condition(c: Condition) -> list[tuple[str, str]]:
    """Texts of a condition's row, and what is said below them."""
    known = not pd.isna(c.estimate)
    low, high = (sentences.points(end, sign=False) for end in (c.low, c.high))
    return [
        (c.text, c.detail),
        (sentences.points(c.estimate), f"{low} to {high}" if known else ""),
        (f"above {100 * c.line:g}".replace("-", sentences.MINUS), ""),
        (sentences.p_value(c.p_holm), ""),
        (str(int(c.n)) if known else "–", ""),
    ]


@dataclass(frozen=True)
class PositionTexts:
    """Habits of position: one row per run, first the runs that the headline needs."""

    letters: Sequence[str]
    accuracy: Sequence[Sequence[tuple[str, str]]]
    shares: Sequence[Sequence[tuple[str, str]]]
    main: int


def _positions(r: Results) -> PositionTexts:
    letters = sorted(set(r.positions["position"]))
    rank = {kind: i for i, kind in enumerate(figures.arm_order(r.positions["labels"]))}
    rows: list[tuple[Any, ...]] = []
    for key, part in r.positions.groupby(list(tables.RUN), sort=False):
        run = dict(zip(tables.RUN, key, strict=True))
        at = part.set_index("position").reindex(letters).to_dict("records")
        name = _run_text(r, run)
        accuracy = [(_percent(p["accuracy"]), _interval(p, "accuracy")) for p in at]
        shares = [
            (_percent(p["share"]), "" if pd.isna(p["share"]) else f"of {_percent(p['uniform'])}")
            for p in at
        ]
        p = (sentences.p_value(part["p_uniform"].iloc[0]), "")
        # runs that are folded keep the order of the table
        place = (
            (-1 if run["shots"] == 0 else rank[str(run["labels"])])
            if _needed(r, run)
            else len(rank)
        )
        rows.append((place, [name, *accuracy], [name, *shares, p]))
    rows.sort(key=lambda row: row[0])
    main = sum(place < len(rank) for place, *_ in rows)
    return PositionTexts(letters, [a for _, a, _ in rows], [s for *_, s in rows], main)


def _needed(r: Results, run: Row) -> bool:
    """Whether a run is a plain zero-shot one, or an arm of the headline."""
    if run["shots"] == 0:
        return not run["prompt"]
    row = r.headline
    if row is None or run["prompt"] or (run["model"], run["shots"]) != (row["strong"], r.last):
        return False
    return run["weak"] in ("", row["weak"]) or (run["labels"], run["weak"]) == (
        "weak",
        row["strong"],
    )


def _run_text(r: Results, run: Row) -> tuple[str, str]:
    """The model of a run, and how it was prompted."""
    kind, weak, model = run["labels"] or "zero_shot", str(run["weak"]), str(run["model"])
    first, *via = weak.split(">")
    if kind == "weak" and weak == model:
        kind = "self"
    name = " ".join(filter(None, [kind, "via " + ">".join(via) if via else "", run["prompt"]]))
    how = figures.arm_text(name, r.names, r.names.get(first, first))
    if weak and kind not in ("weak", "self"):
        how += (" as " if kind == "noise_matched" else " of ") + ", ".join(
            r.names.get(model, model) for model in weak.split(",")
        )
    return r.names.get(model, model), (
        f"{run['shots']} demonstrations, {how}" if run["shots"] else how
    )


def _percent(share: float) -> str:
    return sentences.percent(share).removesuffix("%")


def _interval(row: Row, name: str) -> str:
    low, high = (row[f"{name}_{end}"] for end in ("lo", "hi"))
    return "" if pd.isna(low) else f"{100 * low:.1f} to {100 * high:.1f}"


def _repeats(r: Results) -> list[list[tuple[str, str]]]:
    """One row per run that was made several times."""
    return [
        [
            _run_text(r, row),
            (str(row["draw"]), ""),
            (str(row["epochs"]), ""),
            (str(row["n"]), ""),
            (sentences.percent(row["changed"]), _interval(row, "changed")),
        ]
        for row in r.repeats.to_dict("records")
    ]


def _numbers(table: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """A table as texts: three decimals, empty where there is nothing."""

    def text(value: Any) -> str:
        if isinstance(value, bool) or not isinstance(value, float):
            return str(value)
        return "" if math.isnan(value) else f"{value:.3f}".rstrip("0").rstrip(".").replace("-", "−")

    rows = [[text(value) for value in row] for row in table.itertuples(index=False, name=None)]
    return [str(column) for column in table.columns], rows


# --- the terminal ---------------------------------------------------------------------------------


def summary(results: Results) -> str:
    """The result of each pair at the headline's shot count, and what a reader must know."""
    r = results
    lines = [f"! {r.banner}"] if r.banner else []
    width = max([len(" → ") + 2 * max(map(len, r.names.values()), default=0), len("weak → strong")])
    lines.append(
        f"{'weak → strong':<{width}} shots   weak  strong    w2s   gold  PGR (gold ceiling)"
    )
    for row in r.last_rows:
        pair = f"{r.names[row['weak']]} → {r.names[row['strong']]}"
        accuracies = "  ".join(
            "    –" if pd.isna(row[f"acc_{arm}"]) else f"{100 * row[f'acc_{arm}']:5.1f}"
            for arm in ("weak", "strong0", "w2s", "gold")
        )
        ratio = sentences.ratio_with_interval(row, "pgr_gold")
        lines.append(f"{pair:<{width}} {row['shots']:>5}  {accuracies}  {ratio}")
    for found in _ordered(r):
        pair = f"{r.names[found.weak]} → {r.names[found.strong]}"
        lines.append(f"verdict, {pair}: {found.reading}. {_lead(found)}")
    for check in r.checks:
        lines += _check_lines(check)
    return "\n".join(lines)


def _check_lines(check: Check, most: int = 8) -> list[str]:
    """A check that fails, with at most so many of its items; remarks of one that holds."""
    if check.state == "unknown" or (check.state == "holds" and not check.items):
        return []
    more = len(check.items) - most
    return [
        f"{'!' if check.state == 'fails' else '·'} {check.text}",
        *(f"    {item}" for item in check.items[:most]),
        *([f"    and {more} more: see Checks in report.html"] if more > 0 else []),
    ]
