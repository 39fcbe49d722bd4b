"""Everything that `w2s report` writes, and what it says in the terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from w2s_icl.analysis import figures, tables
from w2s_icl.analysis.logs import Logs, read_logs
from w2s_icl.analysis.tables import Experiment

SIMULATED_BANNER = "simulated models: these numbers say nothing about language models"


@dataclass(frozen=True)
class Written:
    """What a report consists of.

    Attributes:
        files: In the order written.
        summary: For the terminal: accuracies and the ratio at the largest shot count, and what is
            wrong with the logs.
    """

    files: Sequence[Path]
    summary: str


def write_report(log_dir: str, out: str | Path) -> Written:
    """Read the logs of a study and write its tables and figures.

    Args:
        log_dir: Inspect log directory, local or remote.
        out: Folder to write to; made when it is not there.

    Raises:
        LogError: As `read_logs`.
    """
    logs = read_logs(log_dir)
    experiment = Experiment(logs)
    cells, gold = tables.cells_table(experiment), tables.gold_table(experiment)
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    files: list[Path] = []
    for name, table in {
        "cells": cells,
        "tests": tables.tests_table(experiment),
        "matching": tables.matching_table(experiment),
        "pooled": tables.pooled_table(experiment),
        "models": tables.models_table(experiment),
        "costs": tables.costs_table(experiment),
        "missing": tables.missing_cells(experiment),
    }.items():
        files.append(out / f"{name}.csv")
        table.to_csv(files[-1], index=False)
    files.append(out / "stats.json")
    files[-1].write_text(json.dumps(tables.stats_info(experiment), indent=2) + "\n", "utf-8")
    banner = SIMULATED_BANNER if logs.simulated else ""
    figure = figures.accuracy(cells, gold, experiment.models, banner=banner)
    files += figures.save(figure, out / "accuracy", cells)
    return Written(files, summary(logs, experiment, cells))


def summary(logs: Logs, experiment: Experiment, cells: pd.DataFrame) -> str:
    """The result at the largest shot count of each pair, and what a reader must know."""
    lines = []
    if logs.simulated:
        lines.append(f"! {SIMULATED_BANNER}")
    last = cells.sort_values("shots", kind="stable").groupby(["weak", "strong"]).tail(1)
    last = last.sort_index()
    lines.append(f"{'weak → strong':<58} shots   weak  strong    w2s   gold  PGR (gold ceiling)")
    for row in last.to_dict("records"):
        pair = f"{figures.display_name(row['weak'])} → {figures.display_name(row['strong'])}"
        accuracies = "  ".join(
            "    –" if pd.isna(row[f"acc_{arm}"]) else f"{100 * row[f'acc_{arm}']:5.1f}"
            for arm in ("weak", "strong0", "w2s", "gold")
        )
        lines.append(f"{pair:<58} {row['shots']:>5}  {accuracies}  {ratio_text(row, 'pgr_gold')}")
    missing = tables.missing_cells(experiment)
    if len(missing):
        lines.append(f"! {len(missing)} planned cells are not there or not complete (missing.csv)")
    lines += [
        f"{'!' if note.level == 'problem' else '·'} {note.file}: {note.text}" for note in logs.notes
    ]
    return "\n".join(lines)


def ratio_text(row: Mapping[Any, Any], definition: str) -> str:
    """A ratio with its interval where it is reported, else why it is not.

    Example:
        >>> ratio_text({"egr": 0.7, "egr_lo": 0.1, "egr_hi": 1.4, "egr_status": "ok"}, "egr")
        '0.70 (0.10 to 1.40)'
        >>> ratio_text({"egr_status": "gap_reversed"}, "egr")
        'gap reversed'
    """
    status = str(row[f"{definition}_status"])
    if status != "ok":
        return status.replace("_", " ")
    value, low, high = (row[f"{definition}{end}"] for end in ("", "_lo", "_hi"))
    return f"{value:.2f} ({low:.2f} to {high:.2f})"
