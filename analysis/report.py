"""What `w2s report` writes: tables, figures, one HTML page, and lines for the terminal.

No number is computed here: tables hold them, sentences word them, the template lays them out.
"""

import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup
from matplotlib.figure import Figure

from w2s_icl.analysis import figures, sentences
from w2s_icl.analysis.checks import Check
from w2s_icl.analysis.experiment import COLUMNS
from w2s_icl.analysis.logs import read_logs
from w2s_icl.analysis.page import inline_svg, render
from w2s_icl.analysis.results import Results, rows_of, where
from w2s_icl.analysis.verdict_words import surface_rule
from w2s_icl.errors import W2SError
from w2s_icl.words import printable

TABLES = (
    *("verdict", "cells", "arms", "classes", "surface_rule", "positions", "repeats"),
    *("tests", "matching", "pooled", "models", "costs", "missing"),
)
"""Tables that are written, by name."""

HEADINGS: Mapping[str, str] = {
    "accuracy": "Accuracy against demonstrations, with gold curves",
    "pgr": "PGR with zero-shot ceiling, and PGR with gold ceiling",
    "arms": "Arms side by side at {} demonstrations",
    "classes": "Where the gain comes from: classes of questions",
    "surface_fit": "Gain against what a surface rule knows",
    "matching": "Response matching, all questions",
    "matching_weak_wrong": "Response matching where the weak model was wrong",
    "conditional": "Correctness given the strong model's own answer",
    "correlation": "Correlations per pair",
}
"""Figures and tables of the report, in its order, by name of their files."""


@dataclass(frozen=True)
class View:
    """One figure of the report, or one table without a figure."""

    name: str  # of its files, and its anchor in the page
    heading: str
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
    drawn: list[tuple[View, Markup]] = []
    for view in views(results):
        svg = Markup()
        if view.figure is not None:
            figure = view.figure(view.table, results.experiment.models, banner=results.banner)
            written = figures.save(figure, out / view.name, view.table.filter(regex=view.columns))
            svg = inline_svg(written[1].read_text("utf-8"), view.name, view.heading, view.sentence)
            files += written
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
        raise W2SError(
            f"--out must be a folder that can be made and written to, got {out} "
            f"({error.strerror}): name another one"
        ) from None
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
        made.append(View(name, HEADINGS[name].format(r.last), said, of, draw, columns, shown))

    chance = float((1 / r.experiment.asked["n_options"]).mean())  # accuracy of guessing
    draw: Any = partial(figures.accuracy, chance=chance) if len(r.curves) else None
    add("accuracy", _accuracy_sentence(r, weak, strong) or nothing, r.curves, draw)

    given = r.cells[(r.cells["shots"] > 0) & (r.cells["weak"] != r.cells["strong"])]
    ratios = [sentences.recovered(pair, of, weak, strong) for of in figures.PGR_ROWS if pair]
    draw = figures.pgr if len(given) else None
    add("pgr", " ".join(ratios[::-1]) or no_pair, given, draw, f"{cell}(scope$|pgr_|egr)")

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
    changes = [
        f"{r.names[row['strong']]} {sentences.change(gain['diff'], gain['lo'], gain['hi'])}"
        for row in r.last_rows
        if r.last and row["weak"] == row["strong"] and (gain := r.gain(row))
    ]
    if changes:
        them = "; ".join(changes)
        parts.append(f"With {r.last} of its own labels, against its own zero-shot run: {them}.")
    return " ".join(filter(None, parts))


def summary(results: Results) -> str:
    """The result of each pair at the headline's shot count, and what a reader must know."""
    r = results
    lines = [f"! {r.banner}"] if r.banner else []
    if told := r.logs.imported:
        lines.append("! imported answers; not recorded: " + "; ".join(told.not_recorded))
    pairs = [r.pair_text(row["weak"], row["strong"]) for row in r.last_rows]
    width = max(map(len, ["weak → strong", *pairs]))
    lines.append(
        f"{'weak → strong':<{width}} shots   weak  strong    w2s   gold  PGR (gold ceiling)"
    )
    for pair, row in zip(pairs, r.last_rows, strict=True):
        shares = [sentences.percent(row[f"acc_{arm}"]) for arm in COLUMNS]
        accuracies = "  ".join(f"{share.removesuffix('%'):>5}" for share in shares)
        ratio = sentences.ratio_with_interval(row, "pgr_gold")
        lines.append(f"{pair:<{width}} {row['shots']:>5}  {accuracies}  {ratio}")
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
