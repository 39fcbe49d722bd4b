"""The numbers of docs/results.md are those that the suite reports of the recorded answers."""

from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

from tests.conftest import SHARED, needs_shared
from w2s_icl.cli import main

PAGE = Path(__file__).parents[1] / "docs" / "results.md"
RECORDED = SHARED / "recorded"
SOURCES = {
    "A": ["notebook", str(RECORDED / "notebook")],
    "B": [str(RECORDED / "answers.csv"), "--demonstrations", str(RECORDED / "demonstrations.csv")],
}


def rows_of(heading: str) -> list[list[str]]:
    """Cells of the rows "weak → strong | shots | ..." below a heading."""
    part = PAGE.read_text("utf-8").split(f"\n## {heading}:")[1].split("\n## ")[0]
    lines = [line for line in part.splitlines() if line.startswith("| llama")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def by_pair(table: pd.DataFrame) -> pd.DataFrame:
    names = [
        table[name].str.rpartition("/")[2].str.removesuffix("-instruct")
        for name in ("weak", "strong")
    ]
    return table.assign(pair=names[0] + " → " + names[1]).set_index(["pair", "shots"])


def interval(value: float, low: float, high: float, form: str) -> str:
    return f"{value:{form}} ({low:{form.lstrip('+')}} to {high:{form.lstrip('+')}})".replace(
        "-", "−"
    )


@needs_shared
@pytest.mark.slow
@pytest.mark.parametrize("source", SOURCES)
def test_the_page_says_what_the_report_says(source: str, tmp_path: Path) -> None:
    questions = ["--questions", str(SHARED / "truthful_qa_mc")]
    logs, out = str(tmp_path / "logs"), str(tmp_path / "out")
    for command in (["import", *SOURCES[source], *questions, "--log-dir", logs],
                    ["report", logs, "--out", out]):  # fmt: skip
        done = CliRunner().invoke(main, command)
        assert done.exit_code == 0, done.output
    cells = by_pair(pd.read_csv(f"{out}/cells.csv"))
    tests = pd.read_csv(f"{out}/tests.csv")
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
