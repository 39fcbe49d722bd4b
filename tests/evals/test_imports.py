"""Answers recorded elsewhere become logs; what is damaged is refused by file and row."""

from __future__ import annotations

import csv
import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner, Result
from inspect_ai.analysis import samples_df
from inspect_ai.log import EvalLog, list_eval_logs, read_eval_log

from tests.conftest import SHARED, needs_shared, rows, write_questions
from w2s_icl.cli import main
from w2s_icl.record import ImportRecord, key_of

RECORDED = SHARED / "recorded"
QUESTIONS = SHARED / "truthful_qa_mc"
N = 12


def invoke(*args: object) -> Result:
    return CliRunner().invoke(main, ["import", *map(str, args)])


def logs_of(log_dir: Path) -> list[EvalLog]:
    return [read_eval_log(info) for info in list_eval_logs(str(log_dir))]


def recorded(n: int = N, **changed: Any) -> list[dict[str, Any]]:
    """Rows of a weak model, a strong one, and the strong one shown weak labels."""
    content = rows(n)
    found = []
    for model, labels, weak, shots, right in (
        ("m/small", "", "", 0, 5),
        ("m/large", "", "", 0, 9),
        ("m/large", "weak", "m/small", 4, 10),
    ):
        for i, row in enumerate(content):
            place = row["label"] if i < right else (row["label"] + 1) % 4
            arm = {"model": model, "labels": labels, "weak": weak, "shots": shots}
            found.append({**arm, "question": i, "answer": row["choices"][place], **changed})
    return found


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    return write_questions(tmp_path / "questions.jsonl", rows(N))


def write(path: Path, content: list[dict[str, Any]]) -> Path:
    frame = pd.DataFrame(content)
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in content), "utf-8")
    else:
        frame.to_csv(path, index=False)
    return path


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_rows_become_one_log_per_cell(suffix: str, tmp_path: Path, questions: Path) -> None:
    answers = write(tmp_path / f"answers{suffix}", recorded())

    done = invoke(answers, "--questions", questions, "--log-dir", tmp_path / "logs", "--source",
                  "somebody")  # fmt: skip

    assert done.exit_code == 0, done.output
    right = {
        key_of(log)[:6]: sum(s.scores["letter"].value == "C" for s in log.samples or () if s.scores)
        for log in logs_of(tmp_path / "logs")
    }
    assert right == {
        ("m/small", "zero_shot", "test", "", "", 0): 5,
        ("m/large", "zero_shot", "test", "", "", 0): 9,
        ("m/large", "few_shot", "test", "weak", "m/small", 4): 10,
    }
    assert len(samples_df(str(tmp_path / "logs"), quiet=True)) == 3 * N
    told = ImportRecord.from_log(logs_of(tmp_path / "logs")[0])
    assert told is not None
    assert told.source == "somebody"
    assert [(name, n) for name, _, n in told.files] == [(answers.name, 3 * N)]
    assert "prompts" in told.not_recorded


def test_replies_are_read_and_what_is_odd_is_listed(tmp_path: Path, questions: Path) -> None:
    content = recorded()
    content[0] |= {"reply": "ANSWER: B", "answer": ""}  # gold of question 0 is A
    content[1] |= {"reply": "ANSWER: D"}  # the file says the right one, B
    content[2] |= {"answer": "E"}
    answers = write(tmp_path / "answers.csv", content)

    done = invoke(answers, "--questions", questions, "--log-dir", tmp_path / "logs")

    assert "in 1 of 36 rows the suite reads another answer" in done.output
    assert "line 3 (B, read as D)" in done.output
    assert "1 answers are a letter beyond the options and count as unread" in done.output
    small = next(log for log in logs_of(tmp_path / "logs") if log.eval.model == "m/small")
    read = [(s.scores["letter"].answer, s.scores["letter"].value)
            for s in small.samples or () if s.scores]  # fmt: skip
    assert read[:3] == [("B", "I"), ("B", "C"), ("", "N")]


def test_demonstrations_are_kept_where_they_are_recorded(tmp_path: Path, questions: Path) -> None:
    content = rows(N)
    shown = [
        {"model": "m/large", "labels": "weak", "weak": "m/small", "place": i, "question": 8 + i,
         "label": content[8 + i]["choices"][content[8 + i]["label"]]}
        for i in range(4)
    ]  # fmt: skip
    answers = write(tmp_path / "answers.csv", recorded())
    demos = write(tmp_path / "demos.csv", shown)

    done = invoke(answers, "--questions", questions, "--log-dir", tmp_path / "logs",
                  "--demonstrations", demos)  # fmt: skip

    assert done.exit_code == 0, done.output
    (log,) = [log for log in logs_of(tmp_path / "logs") if key_of(log).shots]
    assert (log.eval.metadata or {})["demo_ids"] == [8, 9, 10, 11]
    assert (log.eval.metadata or {})["demo_label_accuracy"] == 1.0


Damage = Callable[[list[dict[str, Any]]], Any]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda c: [r.pop("model") for r in c], "line 2: model is missing"),
        (lambda c: [r.pop("question") for r in c], "line 2: question is missing"),
        (lambda c: [r.pop("answer") for r in c], "no row has an answer or a reply"),
        (lambda c: c[3].update(question="q99"), "line 5: question 'q99' is not among the 12"),
        (lambda c: c[3].update(question=-1), "line 5: question '-1'"),
        (lambda c: c[3].update(question=1.5), "line 5: question '1.5'"),
        (lambda c: [r.update(answer="other set") for r in c], "line 2: answer 'other set' is none"),
        (lambda c: c.append(dict(c[0])), "line 38: question 0 was answered in line 2 already"),
        (lambda c: c[30].update(weak=""), "line 32: labels is weak, but weak"),
        (lambda c: c[30].update(labels=""), "line 32: labels is '', weak 'm/small' and shots 4"),
        (lambda c: c[30].update(shots=0), "line 32: labels is 'weak', weak 'm/small' and shots 0"),
        (lambda c: c[30].update(shots=-4), "line 32: shots"),
        (lambda c: c[30].update(shots="many"), "line 32: shots"),
        (lambda c: c[2].update(model=""), "line 4: model"),
        (lambda c: c[2].update(split="train"), "line 4: split"),
        (lambda c: c[2].update(epoch=0), "line 4: epoch"),
        (lambda c: c[2].update(input_tokens="x"), "line 4: input_tokens"),
        (lambda c: c.clear(), "answers.csv: "),
    ],
)
def test_a_damaged_row_is_refused_by_line(
    damage: Damage, said: str, tmp_path: Path, questions: Path
) -> None:
    content = recorded()
    damage(content)
    answers = write(tmp_path / "answers.csv", content)

    done = invoke(answers, "--questions", questions, "--log-dir", tmp_path / "logs")

    assert done.exit_code == 2
    assert len(done.output.strip().splitlines()) == 1
    assert said in done.output
    assert not (tmp_path / "logs").exists()


def test_a_directory_with_logs_is_refused(tmp_path: Path, questions: Path) -> None:
    answers = write(tmp_path / "answers.csv", recorded())
    invoke(answers, "--questions", questions, "--log-dir", tmp_path / "logs")

    again = invoke(answers, "--questions", questions, "--log-dir", tmp_path / "logs")

    assert again.exit_code == 2
    assert "holds logs already" in again.output
    assert len(logs_of(tmp_path / "logs")) == 3


# --- the recordings of real models ----------------------------------------------------------------


@needs_shared
def test_recorded_rows_have_the_counts_of_the_file(tmp_path: Path) -> None:
    done = invoke(RECORDED / "answers.csv", "--questions", QUESTIONS, "--log-dir", tmp_path / "l",
                  "--demonstrations", RECORDED / "demonstrations.csv")  # fmt: skip

    assert done.exit_code == 0, done.output
    table = pd.read_parquet(next(QUESTIONS.rglob("*.parquet")))
    gold = [row.choices[row.label] for row in table.itertuples()]
    right: Counter[tuple[str, ...]] = Counter()
    unread: Counter[tuple[str, ...]] = Counter()
    with (RECORDED / "answers.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            cell = (row["model"], row["labels"], row["weak"], row["shots"], row["prompt"])
            right[cell] += row["answer"] == gold[int(row["question"])]
            unread[cell] += not row["answer"]
    logs = logs_of(tmp_path / "l")
    assert len(logs) == len(right)
    for log in logs:
        key = key_of(log)
        cell = (key.model, key.labels, key.weak, str(key.shots), key.prompt)
        values = Counter(s.scores["letter"].value for s in log.samples or () if s.scores)
        assert values["C"] == right[cell]
        assert values["N"] == unread[cell]


@needs_shared
def test_the_notebook_has_the_counts_of_its_files(tmp_path: Path) -> None:
    done = invoke("notebook", RECORDED / "notebook", "--questions", QUESTIONS, "--log-dir",
                  tmp_path / "l")  # fmt: skip

    assert done.exit_code == 0, done.output
    sweep = json.loads(next((RECORDED / "notebook").glob("weak_sweep*.json")).read_text("utf-8"))
    wanted = {
        (pair["strong_model"], pair["weak_model"] if of["num_few_shot"] else "", of["num_few_shot"])
        : of["num_correct"]
        for pair in sweep["model_pairs"].values()
        for of in pair["results"]
    }  # fmt: skip
    counted = {}
    only_counts = 0
    for log in logs_of(tmp_path / "l"):
        key, told = key_of(log), ImportRecord.from_log(log)
        assert told is not None
        if told.total:
            only_counts += 1
            continue
        counted[key.model, key.weak, key.shots] = sum(
            s.scores["letter"].value == "C" for s in log.samples or () if s.scores
        )
    assert counted == wanted
    assert only_counts == 18


@needs_shared
@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda d: d.pop("dataset"), "dataset"),
        (lambda d: d["dataset"].update(test_size=100), "of 100 + 484 questions"),
        (lambda d: _first(d).update(num_correct=3), "num_correct says 3"),
        (lambda d: _first(d)["predictions"].pop(), "199 predictions"),
        (lambda d: _first(d).update(predictions="ABC"), "predictions"),
        (lambda d: _first(d).pop("num_correct"), "num_correct"),
        (lambda d: d.update(model_pairs={}), "no model_pairs"),
    ],
)
def test_a_damaged_notebook_is_refused_by_file(
    damage: Callable[[dict[str, Any]], Any], said: str, tmp_path: Path
) -> None:
    folder = tmp_path / "results"
    shutil.copytree(RECORDED / "notebook", folder)
    sweep = next(folder.glob("weak_sweep*.json"))
    sweep.chmod(0o644)
    content = json.loads(sweep.read_text("utf-8"))
    damage(content)
    sweep.write_text(json.dumps(content), "utf-8")

    done = invoke("notebook", folder, "--questions", QUESTIONS, "--log-dir", tmp_path / "logs")

    assert done.exit_code == 2
    assert len(done.output.strip().splitlines()) == 1
    assert sweep.name in done.output
    assert said in done.output
    assert not (tmp_path / "logs").exists()


def _first(content: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = next(iter(content["model_pairs"].values()))["results"][1]
    return found


@needs_shared
@pytest.mark.slow
def test_a_report_over_the_notebook_says_what_it_cannot_show(tmp_path: Path) -> None:
    invoke("notebook", RECORDED / "notebook", "--questions", QUESTIONS, "--log-dir", tmp_path / "l",
           "--source", "the notebook")  # fmt: skip

    done = CliRunner().invoke(main, ["report", str(tmp_path / "l"), "--out", str(tmp_path / "out")])

    assert done.exit_code == 0, done.output
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    first = page[page.index("<header>") : page.index("</header>")]
    assert "Imported answers" in first
    assert "of the notebook" in first
    assert "the answers of 18 cells with gold labels" in first
    curves = pd.read_csv(tmp_path / "out" / "accuracy.csv")
    gold = curves[(curves["labels"] == "gold") & (curves["shots"] == 100)]
    assert list(gold["accuracy"]) == [0.835, 0.89, 0.895]
    cells = pd.read_csv(tmp_path / "out" / "cells.csv")
    assert set(cells.loc[cells["shots"] > 0, "pgr_gold_status"]) == {"incomplete", "self"}
    assert (cells.loc[cells["shots"] > 0, "pgr_zero_status"] != "incomplete").all()
    assert not pd.read_csv(tmp_path / "out" / "missing.csv").size


def test_imported_logs_never_mix_with_the_suites_own(
    tmp_path: Path, questions: Path, run: Any
) -> None:
    from w2s_icl.evals.truthfulqa import zero_shot

    write(tmp_path / "answers.csv", recorded())
    invoke(tmp_path / "answers.csv", "--questions", questions, "--log-dir", tmp_path / "logs")
    run(zero_shot(dataset=str(questions), test_size=8), ["A"])

    done = CliRunner().invoke(
        main, ["report", str(tmp_path / "logs"), "--out", str(tmp_path / "o")]
    )

    assert done.exit_code == 2
    assert "different experiments" in done.output
    assert "directory of its own" in done.output
