"""What `w2s report` writes: tables, figures, one HTML page, and lines for the terminal.

No number is computed here: tables hold them, sentences word them, the template lays them out.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup
from matplotlib.figure import Figure

from w2s_icl.analysis import figures, sentences
from w2s_icl.analysis.logs import read_logs
from w2s_icl.analysis.page import inline_svg, ordered_verdicts, render, verdict_lead
from w2s_icl.analysis.results import Results, Row
from w2s_icl.analysis.shown_checks import Check
from w2s_icl.analysis.verdict_words import surface_rule
from w2s_icl.errors import W2SError

TABLES = (
    *("verdict", "cells", "arms", "surface_rule", "rules", "positions", "repeats"),
    *("tests", "matching", "pooled", "models", "costs", "missing"),
)
"""Tables that are written, by name."""


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


def write_report(log_dir: str, out: str | Path) -> Written:
    """Read the logs of a study and write its tables, figures and `report.html`.

    Args:
        log_dir: Inspect log directory, local or remote.
        out: Folder to write to; made when it is not there.

    Raises:
        W2SError: The folder cannot be made or written to, or as `read_logs`.
    """
    out = Path(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=out).close()
    except OSError as error:
        raise W2SError(
            f"--out must be a folder that can be made and written to, got {out} "
            f"({error.strerror}): name another one"
        ) from None
    results = Results(read_logs(log_dir))
    files: list[Path] = []
    for name in TABLES:
        files.append(out / f"{name}.csv")
        figures.write_csv(getattr(results, name), files[-1])
    files.append(out / "columns.md")
    files[-1].write_bytes(resources.files("w2s_icl").joinpath("docs", "columns.md").read_bytes())
    files.append(out / "stats.json")
    files[-1].write_text(json.dumps(results.stats, indent=2) + "\n", "utf-8")
    drawn: list[tuple[View, Markup]] = []
    for view in views(results):
        svg = Markup()
        if view.draw is not None:
            written = figures.save(view.draw(), out / view.name, view.table)
            files += [path for path in written if path not in files]
            text = (out / view.name).with_suffix(".svg").read_text("utf-8")
            svg = inline_svg(text, view.name, view.heading, view.sentence)
        drawn.append((view, svg))
    files.append(out / "report.html")
    files[-1].write_text(render(results, drawn), "utf-8")
    return Written(files, summary(results))


# --- figures --------------------------------------------------------------------------------------

_INTERVALS = (
    "Bars are 95% intervals: Wilson's for one draw, t over questions and draws for several."
)
_COMPARED = ("weak", "gold", "self", "noise_matched", "random", "unlabelled")
"""Arms that the sentence about arms speaks of."""


def views(results: Results) -> list[View]:
    """The figures of the report, in order."""
    r, row, pair, banner = results, results.headline, results.pair, results.banner
    models, match, curves = r.experiment.models, results.matching, results.curves
    weak, strong = (r.names[row[k]] if row else "" for k in ("weak", "strong"))
    given = r.cells[(r.cells["shots"] > 0) & (r.cells["weak"] != r.cells["strong"])]
    nothing = "No run with weak labels was planned or run."
    no_pair = "No pair of different models was planned or run."
    matched = r.match(row) if row else None
    drawn = bool(match["match_both"].notna().any())
    arms = figures.at_shots(r.arms, r.last)
    words = {
        arm: figures.arm_text(arm, r.names, r.names[pair["weak"]] if pair else "")
        for arm in _COMPARED
    }
    judged = r.pair_verdict()
    return [
        View(
            "accuracy",
            "Accuracy against demonstrations, with gold curves",
            _join(
                sentences.accuracy(row, r.gain(row), weak, strong) if row else "",
                sentences.repeats(r.repeated(row["strong"]), strong) if row else "",
                _self_sentence(r),
                sentences.over_cells(
                    r.tests, "w2s_vs_strong0", "the change against the model's own zero-shot run"
                ),
            )
            or nothing,
            f"{_INTERVALS} Points are shifted sideways so that bars do not cover each other; a "
            "line stops where a shot count was not run. The zero-shot run is one run for all "
            "curves. A model that is shown its own zero-shot answers (self-supervision) has its "
            "own colour in its own panel. Beside each panel: the values at its right end.",
            curves,
            (lambda: figures.accuracy(curves, models, chance=r.chance, banner=banner))
            if len(curves)
            else None,
        ),
        View(
            "pgr",
            "PGR with zero-shot ceiling, and PGR with gold ceiling",
            _pgr_sentence(r, pair, weak, strong),
            "Intervals are Fieller's, paired by question, with a minimum variance. Where the gap "
            "is not established or is reversed there is no ratio, and a mark says so.",
            _columns(given, (*_CELL, "scope"), "pgr_", "egr"),
            (lambda: figures.pgr(r.cells, models, banner=banner)) if len(given) else None,
        ),
        View(
            "arms",
            f"Arms side by side at {r.last} demonstrations",
            sentences.arms(r.arm_rows(pair), words, strong) if pair else no_pair,
            "The paired gain of each arm over the prompted model's own zero-shot run. The arms "
            "show the same demonstrations in the same order and draws, with other labels: gold "
            "with as many errors has just as many wrong labels as the weak model gave, random ones "
            "are drawn from the options, no labels shows the questions alone. An arm that hides "
            "the question is compared to a run without demonstrations that hides it too, if there "
            "is one. Intervals are paired by question.",
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
            "surface_fit",
            "Gain against what a surface rule knows",
            surface_rule(judged) if judged else no_pair,
            "The rule sees the options alone: their length, negations, hedges, digits, overlap. It "
            "is fitted on the gold answers of the other test questions. Points are fifths of the "
            "questions, by the rule's probability of the right option; the line with its 95% band "
            "is the verdict's. Where the rule is right and wrong is in surface_rule.csv.",
            r.surface_fit,
            (lambda: figures.surface_fit(r.surface_fit, models, banner=banner))
            if len(r.surface_fit)
            else None,
            r.surface_fit[r.surface_fit["kind"] == "bin"],
        ),
        View(
            "matching",
            "Response matching, all questions",
            sentences.matches(matched, weak, strong) if row else nothing,
            "An unreadable answer matches nobody. Panels of a model with itself know only its own "
            "zero-shot answer or another one.",
            match,
            (lambda: figures.matching(match, models, banner=banner)) if drawn else None,
        ),
        View(
            "matching_weak_wrong",
            "Response matching where the weak model was wrong",
            sentences.matches(matched, weak, strong, weak_wrong=True) if row else nothing,
            "As above, on the questions that the weak model's own zero-shot answer has wrong: here "
            "imitation costs.",
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
            "Intervals are in the table: question bootstrap on the atanh scale. Phi rises with "
            "accuracy; `error_consistency` and `capa` in matching.csv correct for it.",
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
    own = [row for row in r.last_rows if r.last and row["weak"] == row["strong"]]
    tested = [(row, r.gain(row)) for row in own]
    parts = [f"{r.names[row['strong']]} {sentences.change(g)}" for row, g in tested if g]
    return (
        f"With {r.last} of its own labels, against its own zero-shot run: {'; '.join(parts)}."
        if parts
        else ""
    )


def _pgr_sentence(r: Results, pair: Row | None, weak: str, strong: str) -> str:
    if pair is None:
        return sentences.statuses(r.cells, "pgr_gold")
    return _join(
        sentences.recovered(pair, "pgr_gold", weak, strong),
        sentences.recovered(pair, "pgr_zero", weak, strong),
        f"Gold ceiling: {sentences.statuses(r.cells, 'pgr_gold')}",
        f"Zero-shot ceiling: {sentences.statuses(r.cells, 'pgr_zero')}",
    )


# --- the terminal ---------------------------------------------------------------------------------


def summary(results: Results) -> str:
    """The result of each pair at the headline's shot count, and what a reader must know."""
    r = results
    lines = [f"! {r.banner}"] if r.banner else []
    if told := r.logs.imported:
        lines.append("! imported answers; not recorded: " + "; ".join(told.not_recorded))
    width = max(map(len, ["weak → strong", *(r.pair_text(row) for row in r.last_rows)]))
    lines.append(
        f"{'weak → strong':<{width}} shots   weak  strong    w2s   gold  PGR (gold ceiling)"
    )
    for row in r.last_rows:
        accuracies = "  ".join(
            "    –" if pd.isna(row[f"acc_{arm}"]) else f"{100 * row[f'acc_{arm}']:5.1f}"
            for arm in ("weak", "strong0", "w2s", "gold")
        )
        ratio = sentences.ratio_with_interval(row, "pgr_gold")
        lines.append(f"{r.pair_text(row):<{width}} {row['shots']:>5}  {accuracies}  {ratio}")
    for verdict in ordered_verdicts(r):
        pair: dict[str, Any] = {"weak": verdict.weak, "strong": verdict.strong}
        lines.append(f"verdict, {r.pair_text(pair)}: {verdict.reading}. {verdict_lead(verdict)}")
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
