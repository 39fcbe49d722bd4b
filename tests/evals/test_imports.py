"""Answers recorded elsewhere become logs; what is damaged is refused by file and row."""

import json
import shutil
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
from w2s_icl.evals.truthfulqa import zero_shot
from w2s_icl.record import ImportRecord, Shown, key_of

RECORDED = SHARED / "recorded"
QUESTIONS = SHARED / "truthful_qa_mc"
N = 12


def invoke(*args: object) -> Result:
    return CliRunner().invoke(main, ["import", *map(str, args)])


def logs_of(log_dir: Path) -> list[EvalLog]:
    return [read_eval_log(info) for info in list_eval_logs(str(log_dir))]


def recorded() -> list[dict[str, Any]]:
    """Rows of a weak model, a strong one, and the strong one shown weak labels."""
    content = rows(N)
    found = []
    for model, labels, weak, shots, right in (
        ("m/small", "", "", 0, 5),
        ("m/large", "", "", 0, 9),
        ("m/large", "weak", "m/small", 4, 10),
    ):
        for i, row in enumerate(content):
            place = row["label"] if i < right else (row["label"] + 1) % 4
            arm = {"model": model, "labels": labels, "weak": weak, "shots": shots}
            found.append({**arm, "question": i, "answer": row["choices"][place]})
    return found


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    return write_questions(tmp_path / "questions.jsonl", rows(N))


Import = Callable[..., tuple[Result, list[EvalLog]]]


@pytest.fixture
def import_rows(tmp_path: Path, questions: Path) -> Import:
    """Import rows from a file; what was printed, and the logs."""

    def import_(content: list[dict[str, Any]], *args: object, file: str = "answers.csv") -> Any:
        answers, log_dir = write(tmp_path / file, content), tmp_path / "logs"
        done = invoke(answers, "--questions", questions, "--log-dir", log_dir, *args)
        return done, logs_of(log_dir) if log_dir.exists() else []

    return import_


def write(path: Path, content: list[dict[str, Any]]) -> Path:
    if path.suffix == ".parquet":
        pd.DataFrame(content).to_parquet(path)
    elif path.suffix == ".jsonl":
        write_questions(path, content)
    else:
        pd.DataFrame(content).to_csv(path, index=False)
    return path


def scores(log: EvalLog) -> list[tuple[Any, Any]]:
    """Letter and value of each answer."""
    found = [s.scores["letter"] for s in log.samples or () if s.scores]
    return [(score.answer, score.value) for score in found]


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_rows_become_one_log_per_cell(suffix: str, tmp_path: Path, import_rows: Import) -> None:
    file = f"answers.{suffix}"

    done, logs = import_rows(recorded(), "--source", "somebody", file=file)

    assert done.exit_code == 0, done.output
    assert {key_of(log)[:6]: sum(v == "C" for _, v in scores(log)) for log in logs} == {
        ("m/small", "zero_shot", "test", "", "", 0): 5,
        ("m/large", "zero_shot", "test", "", "", 0): 9,
        ("m/large", "few_shot", "test", "weak", "m/small", 4): 10,
    }
    assert len(samples_df(str(tmp_path / "logs"), quiet=True)) == 3 * N
    again, logs = import_rows(recorded(), file=file)
    assert (again.exit_code, len(logs)) == (2, 3)
    assert "holds logs already" in again.output
    told = ImportRecord.from_log(logs[0])
    assert told.source == "somebody"
    assert [(name, n) for name, _, n in told.files] == [(file, 3 * N)]
    assert "prompts" in told.not_recorded


def test_replies_are_read_and_what_is_odd_is_listed(import_rows: Import) -> None:
    content = recorded()
    content[0] |= {"reply": "ANSWER: B", "answer": ""}  # gold of question 0 is A
    content[1] |= {"reply": "ANSWER: D"}  # the file says the right one, B
    content[2] |= {"answer": "E"}
    content[3] |= {"answer": "an option of their own"}
    content[4] |= {"question": "04"}

    done, logs = import_rows(content)

    assert "in 1 of 36 rows the suite reads another answer" in done.output
    assert "line 3 (B, read as D)" in done.output
    assert "1 answers are a letter beyond the options and count as unread" in done.output
    assert "1 answers in 1 questions are none of the options" in done.output
    (small,) = [log for log in logs if log.eval.model == "m/small"]
    assert scores(small)[:4] == [("B", "I"), ("B", "C"), ("", "N"), ("E", "I")]


def test_recorded_demonstrations_are_kept(tmp_path: Path, import_rows: Import) -> None:
    arm = {"model": "m/large", "labels": "weak", "weak": "m/small"}
    shown = [
        {**arm, "place": i, "question": 8 + i, "label": row["choices"][row["label"]]}
        for i, row in enumerate(rows(N)[8:])
    ]

    done, logs = import_rows(recorded(), "--demonstrations", write(tmp_path / "d.csv", shown))

    assert done.exit_code == 0, done.output
    (of,) = [Shown.from_log(log) for log in logs if key_of(log).shots]
    assert (of.ids, of.right_share) == ((8, 9, 10, 11), 1.0)


Damage = Callable[[Any], Any]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda c: [r.pop("model") for r in c], "line 2: model is missing"),
        (lambda c: [r.pop("answer") for r in c], "no row has an answer or a reply"),
        (lambda c: c[3].update(question="q99"), "line 5: question 'q99' is not among the 12"),
        (lambda c: c[3].update(question=1.5), "line 5: question '1.5'"),
        (lambda c: [r.update(answer="other set") for r in c], "line 2: answer 'other set' is none"),
        (lambda c: c.append(dict(c[0])), "line 38: question 0 was answered in line 2 already"),
        (lambda c: c[30].update(weak=""), "line 32: labels is 'weak', weak ''"),
        (lambda c: c[30].update(shots=0), "line 32: labels is 'weak', weak 'm/small' and shots 0"),
        (lambda c: c[30].update(shots="many"), "line 32: shots: input should be a valid integer"),
        (lambda c: c[30].update(shots=10**7), "line 32: shots: input should be less than or equal"),
        (lambda c: c[2].update(model=""), "line 4: model is missing"),
        (lambda c: c[2].update(split="train"), "line 4: split"),
        (lambda c: c.clear(), "answers.csv: "),
    ],
)
def test_a_damaged_row_is_refused_by_line(damage: Damage, said: str, import_rows: Import) -> None:
    content = recorded()
    damage(content)

    done, logs = import_rows(content)

    assert (done.exit_code, logs) == (2, [])
    assert len(done.output.strip().splitlines()) == 1
    assert said in done.output


@needs_shared
@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda d: d.pop("dataset"), "dataset"),
        (lambda d: d["dataset"].update(test_size=100), "of 100 + 484 questions"),
        (lambda d: _first(d).update(num_correct=3), "num_correct says 3"),
        (lambda d: _first(d)["predictions"].pop(), "199 predictions"),
        (lambda d: _first(d).pop("num_correct"), "'num_correct' is missing"),
        (lambda d: d.update(model_pairs={}), "no model_pairs"),
    ],
)
def test_a_damaged_notebook_is_refused_by_file(damage: Damage, said: str, tmp_path: Path) -> None:
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


def test_imported_logs_mix_with_no_others(tmp_path: Path, import_rows: Import, run: Any) -> None:
    import_rows(recorded())
    run(zero_shot(dataset=str(tmp_path / "questions.jsonl"), test_size=8), ["A"])

    report = ["report", str(tmp_path / "logs"), "--out", str(tmp_path / "o")]
    done = CliRunner().invoke(main, report)

    assert done.exit_code == 2
    assert "different experiments" in done.output
    assert "directory of its own" in done.output
