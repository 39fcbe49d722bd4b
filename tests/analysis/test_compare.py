"""Two log directories: differences by hand, what is matched, what is refused."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from tests.analysis.stats.samples import by_hand
from tests.analysis.synthetic import NAMES, logs, without_zero_shot
from w2s_icl.analysis import compare as module
from w2s_icl.analysis.compare import compare, write_comparison
from w2s_icl.analysis.logs import Logs
from w2s_icl.cli import main
from w2s_icl.errors import W2SError


def again(made: Logs, changed: float = 0.2, **fields: Any) -> Logs:
    """The same questions in another directory, a share of the answers made right or wrong."""
    rng = np.random.default_rng(1)
    flip = rng.random(made.correct.shape) < changed
    correct = np.where(flip, rng.random(made.correct.shape) < 0.8, made.correct)
    return replace(made, directory="logs/again", correct=correct, **fields)


def test_differences_are_those_of_an_independent_computation() -> None:
    one = logs(2, shots=(0, 8, 64), draws=4, n=90)
    two = again(one)
    table = compare(one, two).table

    p = []
    for row in table.to_dict("records"):
        runs = one.runs
        arm = [runs[c] == row[c] for c in ("model", "labels", "weak", "shots", "prompt")]
        at = np.flatnonzero(np.logical_and.reduce(arm))
        x = (two.correct[at] - one.correct[at]).T
        mean, low, high, above = by_hand(x)
        p.append(2 * min(above, 1 - above))
        expected = [mean, low, high, p[-1]]
        assert [row[c] for c in ("diff", "lo", "hi", "p")] == pytest.approx(expected, abs=1e-12)
        assert (row["n"], row["n_union"], row["draws"]) == (90, 90, len(at))
    assert set(table["state"]) == {"compared"}
    assert len(table) == 2 + 2 * 2 + 3 * 2  # zero-shot, gold, weak
    order = np.argsort(p)
    steps = np.maximum.accumulate(np.array(p)[order] * np.arange(len(p), 0, -1)).clip(max=1)
    assert table["p_holm"].to_numpy()[order] == pytest.approx(steps)


@pytest.mark.parametrize(
    ("column", "new", "given"),
    [
        ("model", "maker/new-1b", []),
        ("prompt", "cot=bare", []),
        ("prompt", "cot=bare", ["plain=cot=bare"]),
    ],
)
def test_a_new_model_or_prompt_is_matched_and_said(column: str, new: str, given: list[str]) -> None:
    one = logs(1, shots=(0, 8), n=60)
    runs = one.runs.assign(prompt=new) if column == "prompt" else one.runs.replace(NAMES[0], new)
    made = compare(one, again(one, runs=runs), given)

    assert set(made.table["state"]) == {"compared"}
    assert f"of the first is compared with {new!r}" in made.notes[0]


def test_what_is_not_shared_is_listed_and_means_are_over_common_questions_and_draws() -> None:
    one, two = logs(2, shots=(0, 8), draws=3, n=60), logs(2, shots=(0, 8), draws=4, n=60)
    two = without_zero_shot(again(two, metadata={**two.metadata, "style": "transcript"}), NAMES[1])
    two.correct[:, :2] = np.nan
    two.runs["asked"] = 58
    two.runs["settings"] = [{"temperature": 1.0}] * len(two.runs)
    one.runs["settings"] = [{"temperature": 0.0}] * len(one.runs)
    made = compare(one, two)

    assert made.notes[:3] == [
        "differs: style, None and 'transcript'",
        "differs: temperature, 0.0 and 1.0",
        "2 test questions only in first: q0, q1",
    ]
    assert made.notes[-1] == "only in first: llama-3.1-70b, no demonstrations"
    assert sum("second: draw 3 of " in note for note in made.notes) == len(made.notes) - 4
    done = made.table[made.table["state"] == "compared"]
    assert set(done["n"]) == {58}
    assert set(done.loc[done["shots"] > 0, "draws"]) == {3}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda q: q.rename(index=lambda i: f"x{i}"), "no id of a test question is in both"),
        (lambda q: q.assign(question="what"), "'q0' has another wording, 'what' and"),
        (lambda q: q.assign(choices=[("a", "b", "c", "d")] * 60), "'q0' has another options"),
        (lambda q: q.assign(gold=q["gold"].replace("A", "B")), "has another right answer"),
    ],
)
def test_other_questions_are_refused_by_name(change: Callable[..., Any], message: str) -> None:
    made = logs(1, shots=(0,), n=60)
    with pytest.raises(W2SError, match=f"logs/again and logs/made-up ask different.*{message}"):
        compare(made, again(made, questions=change(made.questions.copy())))


def test_three_directories_make_one_page_whose_columns_are_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = logs(2, shots=(0, 8), n=60)
    odd = replace(again(one), directory="logs/<b>&=")
    monkeypatch.setattr(module, "read_logs", {"a": one, "b": again(one), "c": odd}.__getitem__)
    _, summary = write_comparison(["a", "b", "c"], tmp_path / "out")

    page = (tmp_path / "out" / "compare.html").read_text("utf-8")
    assert page.count("<svg") == 1
    assert "<b>&=" not in page
    section = (tmp_path / "out" / "columns.md").read_text("utf-8").partition("\n## compare.csv")[2]
    told = re.findall(r"`(\w+)`", section.partition("\n## ")[0])
    missing = set(pd.read_csv(tmp_path / "out" / "compare.csv")) - set(told)
    assert {re.sub("_(lo|hi)$", "", name) for name in missing} <= set(told)
    assert "of 7 shared arms" in summary
    with pytest.raises(W2SError, match="--as must be OLD=NEW"):
        write_comparison(["a", "b"], tmp_path / "out", ["nobody=8b"])
    with pytest.raises(W2SError, match="different log directories: a/ is given twice"):
        write_comparison(["a", "b", "a/"], tmp_path / "out")
    done = CliRunner().invoke(main, ["compare", "a", "--out", str(tmp_path)])
    assert (done.exit_code, "two log directories" in done.output) == (2, True)
