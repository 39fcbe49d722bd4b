"""The recorded answers: their import has all of them, and docs/results.md what is reported."""

import csv
import json
from collections import Counter, defaultdict
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pytest
from click.testing import CliRunner
from inspect_ai.log import list_eval_logs, read_eval_log, read_eval_log_sample_summaries

from tests.conftest import SHARED, needs_shared
from w2s_icl.cli import main
from w2s_icl.record import ImportRecord, key_of

pytestmark = [needs_shared, pytest.mark.slow]

PAGE = Path(__file__).parents[1] / "docs" / "results.md"
RECORDED, QUESTIONS = SHARED / "recorded", SHARED / "truthful_qa_mc"
SOURCES = {
    "A": ["notebook", str(RECORDED / "notebook"), "--source", "the notebook"],
    "B": [str(RECORDED / "answers.csv"), "--demonstrations", str(RECORDED / "demonstrations.csv")],
}


def rows_of(heading: str) -> list[list[str]]:
    """Cells of the rows "weak → strong | shots | ..." below a heading."""
    part = PAGE.read_text("utf-8").split(f"\n## {heading}:")[1].split("\n## ")[0]
    lines = [line for line in part.splitlines() if line.startswith("| llama")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def by_pair(table: pd.DataFrame) -> pd.DataFrame:
    weak, strong = (table[name].str.rpartition("/")[2] for name in ("weak", "strong"))
    pair = (weak + " → " + strong).str.replace("-instruct", "")
    return table.assign(pair=pair).set_index(["pair", "shots"])


def interval(value: float, low: float, high: float, form: str) -> str:
    return f"{value:{form}} ({low:{form.lstrip('+')}} to {high:{form.lstrip('+')}})".replace(
        "-", "−"
    )


class Reported(NamedTuple):
    logs: Path
    out: Path


Report = Callable[[str], Reported]


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """What is recorded, imported and reported once for all tests."""

    @cache
    def report(source: str) -> Reported:
        made = Reported(*(tmp_path_factory.mktemp(source) / name for name in ("logs", "out")))
        logs, out = map(str, made)
        questions = ["--questions", str(QUESTIONS)]
        for command in (["import", *SOURCES[source], *questions, "--log-dir", logs],
                        ["report", logs, "--out", out]):  # fmt: skip
            done = CliRunner().invoke(main, command)
            assert done.exit_code == 0, done.output
        return made

    return report


def counts_of(logs: Path) -> dict[Any, tuple[ImportRecord, Counter[Any]]]:
    """How often each score was given, by cell."""
    found = {}
    for info in list_eval_logs(str(logs)):
        header, samples = (
            read_eval_log(info, header_only=True),
            read_eval_log_sample_summaries(info),
        )
        values = Counter(s.scores["letter"].value for s in samples if s.scores)
        found[key_of(header)] = ImportRecord.from_log(header), values
    return found


def test_recorded_rows_have_the_counts_of_the_file(reported: Report) -> None:
    table = pd.read_parquet(next(QUESTIONS.rglob("*.parquet")))
    gold = [row.choices[row.label] for row in table.itertuples()]
    counts: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
    with (RECORDED / "answers.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            value = "C" if row["answer"] == gold[int(row["question"])] else "I"
            cell = (row["model"], row["labels"], row["weak"], row["shots"], row["prompt"])
            counts[cell][value if row["answer"] else "N"] += 1
    found = counts_of(reported("B").logs).items()
    assert counts == {(k.model, k.labels, k.weak, str(k.shots), k.prompt): n for k, (_, n) in found}


def test_the_notebook_has_the_counts_of_its_files(reported: Report) -> None:
    sweep = json.loads(next((RECORDED / "notebook").glob("weak_sweep*.json")).read_text("utf-8"))
    wanted = {
        (pair["strong_model"], pair["weak_model"] if of["num_few_shot"] else "", of["num_few_shot"])
        : of["num_correct"]
        for pair in sweep["model_pairs"].values()
        for of in pair["results"]
    }  # fmt: skip
    found = counts_of(reported("A").logs)
    full = {key: n["C"] for key, (record, n) in found.items() if not record.total}
    assert {(k.model, k.weak, k.shots): right for k, right in full.items()} == wanted
    assert len(found) - len(full) == 18


def test_the_report_says_what_it_cannot_show(reported: Report) -> None:
    out = reported("A").out
    page = (out / "report.html").read_text("utf-8")
    first = page[page.index("<header>") : page.index("</header>")]
    for said in ("Imported answers", "of the notebook", "the answers of 18 cells with gold labels"):
        assert said in first
    curves, cells = (pd.read_csv(out / f"{name}.csv") for name in ("accuracy", "cells"))
    gold = curves[(curves["labels"] == "gold") & (curves["shots"] == 100)]
    assert list(gold["accuracy"]) == [0.835, 0.89, 0.895]
    assert set(cells.loc[cells["shots"] > 0, "pgr_gold_status"]) == {"incomplete", "self"}
    assert (cells.loc[cells["shots"] > 0, "pgr_zero_status"] != "incomplete").all()
    assert not pd.read_csv(out / "missing.csv").size


@pytest.mark.parametrize("source", SOURCES)
def test_the_page_says_what_the_report_says(source: str, reported: Report) -> None:
    out = reported(source).out
    cells = by_pair(pd.read_csv(out / "cells.csv"))
    tests = pd.read_csv(out / "tests.csv")
    tests = by_pair(tests[tests["family"] == "w2s_vs_strong0"])
    assert len(rows_of(source)) in (6, 9)
    for pair, shots, *said in rows_of(source):
        row, gain = cells.loc[(pair, int(shots))], tests.loc[(pair, int(shots))]
        arms = ["weak", "strong0", "w2s", *(["gold"] if source == "B" else [])]
        ratio = "pgr_gold" if source == "B" else "pgr_zero"
        expected = [f"{100 * row[f'acc_{arm}']:.1f}" for arm in arms]
        expected.append(interval(row[ratio], row[f"{ratio}_lo"], row[f"{ratio}_hi"], ".2f"))
        if source == "B":
            expected.append(f"{row['pgr_no_supervision']:.2f}")
        points = [100 * gain[name] for name in ("diff", "lo", "hi")]
        expected.append(interval(points[0], points[1], points[2], "+.1f"))
        assert said == expected
