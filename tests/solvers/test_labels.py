"""Labels from files, and which label runs are taken."""

import json
import os
import shutil
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pandas as pd
import pytest
from inspect_ai import eval
from inspect_ai import model as models

from tests.conftest import Args, Done, Run, Write, script
from w2s_icl.errors import LabelsMissingError, W2SError
from w2s_icl.evals.questions import load_split
from w2s_icl.evals.truthfulqa import few_shot, zero_shot

WEAK = "mockllm/weak"
LETTERS = "ABCD"


@pytest.fixture
def table(tmp_path: Path) -> Write:
    """Write rows as a file of labels; its `file:PATH`."""

    def write(content: list[dict[str, Any]], name: str = "votes.jsonl") -> str:
        path = tmp_path / name
        if path.suffix == ".csv":
            pd.DataFrame(content).to_csv(path, index=False)
        else:
            path.write_text("".join(json.dumps(row) + "\n" for row in content), "utf-8")
        return f"file:{path}"

    return write


def record(**arguments: Any) -> Mapping[str, Any]:
    return few_shot(**arguments).metadata or {}


def votes(questions: Args, letter: str = "B", **changes: Any) -> list[dict[str, Any]]:
    pool = load_split(**questions).pool
    return [{"question": s.id, "label": letter, "reasoning": "said so", **changes} for s in pool]


@pytest.mark.parametrize("name", ["votes.jsonl", "my votes, (2)>1.csv"])
def test_labels_of_a_file_are_shown_and_logged(name: str, table: Write, questions: Args) -> None:
    file = table(votes(questions), name)
    gold = record(labels="gold", shots=4, **questions)
    shown = record(labels=file, shots=4, **questions)
    path = Path(file.removeprefix("file:"))
    pool = load_split(**questions).pool

    assert (shown["demo_ids"], shown["demo_labels"]) == (gold["demo_ids"], ["B"] * 4)
    assert (shown["labels"], shown["weak"]) == ("file", f"file:{name}")
    assert shown["label_log"] == str(path)
    assert shown["label_file_sha256"] == sha256(path.read_bytes()).hexdigest()
    assert shown["labels_coverage"] == 1
    assert shown["labels_accuracy"] == sum(s.target == "B" for s in pool) / len(pool)


def test_texts_and_letters_name_the_same_option(table: Write, questions: Args) -> None:
    pool = load_split(**questions).pool
    texts = [{"id": s.id, "label": (s.choices or [])[1]} for s in pool]
    by_text = record(labels=table(texts, "texts.csv"), shots=8, **questions)
    by_letter = record(labels=table(votes(questions, "b")), shots=8, **questions)

    assert by_letter["demo_labels"] == ["B"] * 8
    for key in ("demo_labels", "labels_sha256", "prompt_sha256"):
        assert by_text[key] == by_letter[key]


def test_questions_that_a_file_lacks_are_passed_over(table: Write, questions: Args) -> None:
    order = [s.id for s in load_split(**questions).draw(0)]
    kept = [row for row in votes(questions) if row["question"] not in order[1:3]]

    shown = record(labels=table(kept), shots=3, **questions)

    assert shown["demo_ids"] == [order[0], order[3], order[4]]
    assert shown["unread"] == order[1:3]
    assert shown["labels_coverage"] == (len(order) - 2) / len(order)
    with pytest.raises(W2SError, match=r"shots=4, but only 3 of the \d+ .* by votes.jsonl"):
        few_shot(labels=table(kept[:3]), shots=4, **questions)


def test_noise_is_matched_to_a_file(table: Write, questions: Args) -> None:
    file = table(votes(questions))
    shown = record(labels=file, shots=12, **questions)
    noise = record(labels="noise_matched", weak=file, shots=12, **questions)

    for key in ("demo_ids", "demo_label_accuracy", "weak"):
        assert noise[key] == shown[key]


def test_a_finished_log_is_a_file_of_labels(run: Run, questions: Args, tmp_path: Path) -> None:
    pool = run(zero_shot(split="pool", cot="bare", **questions), LETTERS)
    test = run(zero_shot(**questions), LETTERS)
    plain = run(zero_shot(split="pool", **questions), LETTERS)
    weak = record(labels="weak", weak=WEAK, shots=4, **questions)

    shown = record(labels=f"file:{plain.location}", shots=4, **questions)

    for key in ("demo_ids", "demo_labels", "label_eval_id", "labels_accuracy"):
        assert shown[key] == weak[key]
    assert record(labels=f"file:{pool.location}", shots=4, **questions)["demo_labels"]
    with pytest.raises(W2SError, match="must be a finished run of this suite on the pool"):
        few_shot(labels=f"file:{test.location}", shots=4, **questions)
    with pytest.raises(W2SError, match=r"its seed is 42 \(/.*\), this run's is 7 \("):
        few_shot(labels=f"file:{plain.location}", shots=4, seed=7, **questions)
    (tmp_path / "torn.eval").write_bytes(Path(plain.location).read_bytes()[:99])
    with pytest.raises(W2SError, match=r"torn.eval: cannot be read"):
        few_shot(labels=f"file:{tmp_path / 'torn.eval'}", shots=4, **questions)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"question": 99, "label": "A"}, "must be an id of the dataset, got '99'"),
        ({"question": 0, "label": "E"}, "a letter from A to D or an option of .*, got 'E'"),
        ({}, r"question .or id. must be an id of the dataset, got none \(columns: \)"),
        ({"id": 0}, r"label must be .*, got none \(columns: id\)"),
        ({"label": "A"}, r"question .or id. must be an id .*, got none \(columns: label\)"),
    ],
)
def test_a_bad_row_is_named_by_line(row: Args, message: str, table: Write, questions: Args) -> None:
    good = [row for row in votes(questions) if row["question"] != 0][:3]
    with pytest.raises(W2SError, match=rf"^votes.jsonl: line 4: .*{message}"):
        few_shot(labels=table([*good, row]), shots=2, **questions)


def test_a_file_that_is_no_table_of_labels_is_refused(questions: Args, tmp_path: Path) -> None:
    path = tmp_path / "votes.csv"
    with pytest.raises(W2SError, match=r"votes.csv: cannot be read .* No such file"):
        few_shot(labels=f"file:{path}", shots=2, **questions)
    path.write_text("question,label\n1,A\n2,B\n1,C\n")
    with pytest.raises(W2SError, match=r"line 4: question '1' has a label in votes.csv: line 2"):
        few_shot(labels=f"file:{path}", shots=2, **questions)


def test_labels_made_with_other_settings_are_refused_by_name(run: Run, questions: Args) -> None:
    settings = {"generate": {"temperature": 1.0}, "max_tokens": 99}
    run(zero_shot(split="pool", **settings, **questions), LETTERS)

    said = r"\.eval was made with temperature=1.0, this run asks temperature=0.0"
    with pytest.raises(LabelsMissingError, match=said):
        few_shot(labels="weak", weak=WEAK, shots=2, **questions)
    with pytest.raises(LabelsMissingError, match=r"made with max_tokens=99, this run asks .*=16"):
        few_shot(labels="weak", weak=WEAK, generate=settings["generate"], **questions)
    assert record(labels="weak", weak=WEAK, shots=2, **settings, **questions)["label_eval_id"]


def test_a_setting_is_taken_out_by_null(questions: Args) -> None:
    assert zero_shot(generate={"temperature": None}, **questions).config.temperature is None


def test_likelihood_asks_one_token_and_is_another_label_run(questions: Args, log_dir: str) -> None:
    task = zero_shot(split="pool", read="likelihood", **questions)
    reply = models.ModelOutput.from_content(WEAK, "?")
    likely = models.Logprob(token="B", logprob=-0.1, top_logprobs=[])
    reply.choices[0].logprobs = models.Logprobs(content=[likely])
    reply.usage = models.ModelUsage()
    outputs = [reply] * len(task.dataset)
    model = models.get_model(WEAK, custom_outputs=outputs, memoize=False)
    (log,) = eval(task, model, log_dir=log_dir, display="none")
    assert log.status == "success"
    likely_labels = record(labels="weak", weak=WEAK, shots=2, read="likelihood", **questions)
    assert likely_labels["demo_labels"] == ["B", "B"]

    assert (task.config.max_tokens, task.config.top_logprobs) == (1, 20)
    assert (task.metadata or {})["read"] == "likelihood"
    with pytest.raises(LabelsMissingError, match=r"made with max_tokens=1, this run asks .*=16"):
        few_shot(labels="weak", weak=WEAK, **questions)
    with pytest.raises(W2SError, match="cot must be none, got 'bare'"):
        zero_shot(read="likelihood", cot="bare", **questions)


@pytest.mark.slow
def test_file_route_finds_the_label_run_where_inspect_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Path(__file__).parents[2]
    (tmp_path / "evals").mkdir()
    shutil.copy(root / "evals" / "truthfulqa.py", tmp_path / "evals")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("INSPECT_LOG_DIR")
    named: list[str] = ["--log-dir", "mine"]
    weak = ["evals/truthfulqa.py@few_shot", "-T", "labels=weak", "-T", "weak=simulated/small"]
    pool = ["evals/truthfulqa.py@zero_shot", "-T", "split=pool"]

    def inspect_eval(*arguments: str, **env: str) -> Done:
        data = ["-T", "dataset=misconceptions", "-T", "test_size=2", "--display", "none"]
        with patch.dict(os.environ, env):
            return script("inspect", "eval", *arguments, "--model", "simulated/small", *data)

    assert inspect_eval(*pool, *named).code == 0
    shutil.copytree(tmp_path / "mine", tmp_path / "logs")
    for options, env in ((named, {}), ([], {"INSPECT_LOG_DIR": "mine"}), ([], {})):
        found = inspect_eval(*weak, *options, **env)
        assert found.code == 0, found
    elsewhere = inspect_eval(*weak, "--log-dir", "other", INSPECT_LOG_DIR="mine")

    assert [len(list((tmp_path / name).glob("*.eval"))) for name in ("mine", "logs")] == [3, 2]
    # labels of another directory are not taken
    assert elsewhere.code == 2
    assert elsewhere.err.startswith(f"Error: labels=weak: no finished log in {tmp_path}/other")
    assert "Traceback" not in elsewhere.err
    assert elsewhere.err.count("\n") == 1
