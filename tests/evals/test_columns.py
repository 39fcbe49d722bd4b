"""Any multiple-choice set: which column is what, and files as programs leave them."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from datasets import Dataset

from tests.conftest import Args, Write, hub_folder, rows
from w2s_icl.errors import W2SError
from w2s_icl.evals.questions import Question
from w2s_icl.evals.sources import load_questions

TEXTS = [row["choices"] for row in rows(8)]
MMLU = [{"question": r["question"], "subject": "s", "choices": r["choices"], "answer": r["label"]}
        for r in rows(8)]  # fmt: skip
ARC = [
    {
        "id": f"q{i}",
        "question": r["question"],
        "choices": {"text": r["choices"], "label": list("1234" if i % 2 else "ABCD")},
        "answerKey": ("1234" if i % 2 else "ABCD")[r["label"]],
    }
    for i, r in enumerate(rows(8))
]
BOOLQ = [{"question": r["question"], "answer": i % 4 > 1, "passage": f"Passage {i}"}
         for i, r in enumerate(rows(8))]  # fmt: skip

MAPS = {
    "mmlu": "label: answer\ncategory: subject",
    "arc": "id: id\nlabel: answerKey",
    "boolq": "question: [passage, question]\nchoices: [no, yes]\nlabel: answer",
}
SETS: dict[str, list[dict[str, Any]]] = {"mmlu": MMLU, "arc": ARC, "boolq": BOOLQ}


def mapped(folder: Path, path: str, columns: str) -> tuple[Question, ...]:
    file = folder / "map.yaml"
    file.write_text(f"path: {path}\n{columns}\n")
    return load_questions(str(file)).questions


def refusal(folder: Path, path: str, columns: str = "") -> str:
    with pytest.raises(W2SError) as error:
        mapped(folder, path, columns)
    assert "\n" not in error.value.message
    return error.value.message


@pytest.mark.parametrize("kind", ["jsonl", "json", "csv", "parquet", "folder"])
@pytest.mark.parametrize("name", SETS)
def test_sets_of_others_are_read_by_a_mapping(name: str, kind: str, tmp_path: Path) -> None:
    content = SETS[name]
    path = tmp_path / f"q.{kind}"
    if kind == "folder":
        hub_folder(path, content)
    elif kind == "parquet":
        pd.DataFrame(content).to_parquet(path)
    elif kind == "csv":
        pd.DataFrame(content).to_csv(path, index=False)
    else:
        pd.DataFrame(content).to_json(path, orient="records", lines=kind == "jsonl")

    questions = mapped(tmp_path, path.name, MAPS[name])

    gold = [r["label"] for r in rows(8)] if name != "boolq" else [0, 0, 1, 1] * 2
    assert [q.gold for q in questions] == gold
    assert [q.id for q in questions] == [r.get("id", i) for i, r in enumerate(content)]
    assert {q.category for q in questions} == {"s" if name == "mmlu" else ""}
    if name == "boolq":
        assert questions[3].question == f"Passage 3\n{BOOLQ[3]['question']}"
        assert questions[3].choices == ("no", "yes")
    else:
        assert [list(q.choices) for q in questions] == TEXTS


@pytest.mark.parametrize(
    ("labels", "columns"),
    [
        (list("ABCDABCD"), ""),
        ([1, 2, 3, 4, 1, 2, 3, 4], "label_from: 1"),
        ([0.0, 1.0, 2.0, 3.0] * 2, ""),
        ([t[i % 4] for i, t in enumerate(TEXTS)], ""),
        ([np.eye(4, dtype=int)[i % 4].tolist() for i in range(8)], ""),
    ],
)
def test_a_label_is_a_place_a_letter_a_text_or_a_list_with_a_one(
    labels: list[Any], columns: str, write_jsonl: Write, tmp_path: Path
) -> None:
    write_jsonl([r | {"label": label} for r, label in zip(rows(8), labels, strict=True)])

    assert [q.gold for q in mapped(tmp_path, "questions.jsonl", columns)] == [0, 1, 2, 3] * 2


def test_a_label_that_may_be_a_place_or_a_text_is_refused(write_jsonl: Write) -> None:
    path = write_jsonl([r | {"choices": list("3210"), "label": "0"} for r in rows(4)])

    with pytest.raises(W2SError, match="line 1, id 0: label '0' may be a place or a text"):
        load_questions(path)


def test_options_may_be_columns(write_jsonl: Write, tmp_path: Path) -> None:
    write_jsonl([{"q": f"q{i}?", "right": f"yes {i}", "wrong": f"no {i}"} for i in range(3)])

    columns = "question: q\nchoices: [right, wrong]\nlabel: 0"

    questions = mapped(tmp_path, "questions.jsonl", columns)

    assert [(q.choices[q.gold], q.choices[1]) for q in questions][2] == ("yes 2", "no 2")
    said = refusal(tmp_path, "questions.jsonl", columns.replace("right", "rigth"))
    assert "no column rigth; did you mean right?" in said


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ("questoin: q", "questoin is not a key; did you mean question?"),
        ("label: a\nlabel: b", "the key label stands there twice"),
        ("label_from: 2", "label_from: input should be '0' or '1', got '2'"),
        ("split: [test", "not YAML"),
        ("rows: 5", "2 rows were read, 5 must be there"),
        ("revision: abc", "revision is for the hub only"),
        ("label: labels", "line 1, id 0: no column labels; did you mean label?"),
        ("choices: [choice, other]", "no column choice; did you mean choices?"),
    ],
)
def test_a_mapping_is_checked(columns: str, said: str, write_jsonl: Write, tmp_path: Path) -> None:
    write_jsonl(rows(2))

    assert said in refusal(tmp_path, "questions.jsonl", columns)


def test_configs_and_splits_are_chosen_by_name(tmp_path: Path) -> None:
    (tmp_path / "set" / "data").mkdir(parents=True)
    for split, n in (("train", 4), ("test", 6)):
        pd.DataFrame(rows(n)).to_parquet(tmp_path / "set" / "data" / f"{split}.parquet")

    assert len(mapped(tmp_path, "set", "split: test")) == 6
    assert "split must be one of train, test" in refusal(tmp_path, "set")
    assert "name must be one of default, got 'all'" in refusal(tmp_path, "set", "name: all")
    assert len(mapped(tmp_path, "set", "name: data\nsplit: test")) == 6  # a config by its folder
    assert "there is no" in refusal(tmp_path, "./nowhere")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"question": "  "}, "question must not be empty"),
        ({"question": ["a"]}, "question must be a text, got ['a']"),
        ({"choices": ["a"]}, "2 to 26 choices with a text are needed, got ['a']"),
        ({"choices": ["a", "b", " a"]}, "'a' stands there twice"),
        ({"choices": [["a"], "b"]}, "choices must be a text, got ['a']"),
        ({"choices": "a, b"}, "must be a list of texts, got 'a, b'"),
        ({"choices": "['a', 'b' 'c', 'd']"}, "a comma is missing"),
        ({"label": 4}, "a place from 0 to 3 (key label_from), a letter from A to D, a choice's"),
        ({"label": float("nan")}, "got nan"),
        ({"label": True}, "got True"),
        ({"id": "q0"}, "id 'q0': stands in questions.jsonl: line 1 already"),
        ({"id": 1.5}, "id must be a whole number or a text, got 1.5"),
        ({"mc1_targets": {"choices": ["a", "b"], "labels": [1, 1]}}, "got [1, 1]"),
    ],
)
def test_a_bad_row_is_named_by_line_and_id(change: Args, said: str, write_jsonl: Write) -> None:
    content = [r | {"id": f"q{i}"} for i, r in enumerate(rows(4))]
    if "mc1_targets" in change:
        good = {"mc1_targets": {"choices": ["a", "b"], "labels": [1, 0]}}
        content = [r | good for r in content]
    content[2] |= change

    with pytest.raises(W2SError) as error:
        load_questions(write_jsonl(content))

    assert error.value.message.startswith("questions.jsonl: line 3, id ")
    assert said in error.value.message


def test_bad_rows_may_be_left_out(
    write_jsonl: Write, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    content = rows(6)
    content[2]["choices"] = ["a", "a"]
    content[4]["label"] = 7
    write_jsonl(content)

    assert len(mapped(tmp_path, "questions.jsonl", "bad_rows: drop")) == 4
    assert "leaves out 2 of 6 rows: questions.jsonl: line 3, id 2" in caplog.text
    assert "(1 more rows cannot be used)" in refusal(tmp_path, "questions.jsonl")


# files as programs leave them
PLAIN = [{"n": i, **r, "choices": json.dumps(r["choices"])} for i, r in enumerate(rows(9))]
CSV = pd.DataFrame(PLAIN).to_csv(index=False)
LONG = CSV.replace("What is thing3a of place3b?", '"What\n, is ' + "x" * 140_000 + '"')
LINES = "".join(json.dumps(r) + "\n" for r in rows(9))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("q.csv", CSV.encode("utf-16")),
        ("q.csv", CSV.encode("utf-8-sig")),
        ("q.csv", gzip.compress(CSV.encode())),
        ("q.csv", pd.DataFrame(PLAIN).to_csv(index=False, sep=";").encode()),
        ("q.tsv", pd.DataFrame(PLAIN).to_csv(index=False, sep="\t").encode()),
        ("q.csv", LONG.encode()),
        ("q.csv", pd.DataFrame([r | {"choices": str(np.array(r["choices"]))} for r in rows(9)])
            .to_csv().encode()),
        ("q.csv", pd.DataFrame(rows(9)).to_csv().encode()),
        ("q.json", LINES.encode()),
        ("q.jsonl", json.dumps(rows(9), indent=2).encode()),
        ("q.jsonl.gz", gzip.compress(LINES.encode())),
    ],
)  # fmt: skip
def test_common_exports_are_read(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)

    questions = load_questions(str(tmp_path / name)).questions

    assert [list(q.choices) for q in questions] == [r["choices"] for r in rows(9)]
    assert [q.gold for q in questions] == [r["label"] for r in rows(9)]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("q.csv", b"", "holds no rows"),
        ("q.parquet", b"<!DOCTYPE html><p>gone</p>", "is a web page, not data"),
        ("q.csv", CSV.encode("utf-16")[2:], "holds zero bytes"),
        ("q.csv", CSV.replace("thing4", "caf\xe9").encode("latin-1"), "can't decode byte 0xe9"),
        ("q.csv", CSV[:-3].encode(), "line 10 has 3 fields, the header 4"),
        ("q.csv", CSV[:-30].encode(), "line 10: unexpected end of data"),
        ("q.csv", b"question,label\n\nWhy?,1\n\nHow?\n", "line 5 has 1 fields, the header 2"),
        ("q.csv", CSV.replace("3,What", '3,"What').encode(), "line 5: ',' expected after '\"'"),
        ("q.csv", b'n,q,label\n1,"a,0\n2,b,1\n3,c",1\n4,d,0\n', "the rows up to line 4"),
        ("q.csv", b"question,label,label\n", "the column 'label' stands in the header twice"),
        ("q.jsonl", LINES[:-9].encode(), "line 9: "),
        ("q.jsonl", LINES.replace("}", "", 1).encode(), "line 1: Expecting ',' delimiter"),
        ("q.jsonl", b"version https://git-lfs.github.com/spec/v1", "at 'version https://git-lfs"),
        ("q.json", json.dumps(rows(9), indent=1)[:-30].encode(), "line 88"),
        ("q.jsonl", b"[[1], [2]]", "row 1 (the first is 1): must be an object"),
        ("q.parquet", b"PAR1abc", "cannot be read as parquet"),
        ("q.csv", gzip.compress(CSV.encode())[:-9], "ended before the end-of-stream"),
        ("q.csv", gzip.compress(CSV.encode()).replace(b"\x00", b"\x01"), "cannot be read as csv"),
        ("q.xlsx", b"PK\x03\x04", "must be a .jsonl, .json, .csv, .tsv or .parquet file"),
    ],
)
def test_damage_is_named_in_one_line(name: str, content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)

    with pytest.raises(W2SError) as error:
        load_questions(str(tmp_path / name))

    assert said in error.value.message
    assert name in error.value.message
    assert "\n" not in error.value.message


def test_a_folder_of_save_to_disk_is_refused_with_the_way_out(tmp_path: Path) -> None:
    Dataset.from_list(rows(3)).save_to_disk(str(tmp_path / "saved"))

    with pytest.raises(W2SError, match=r"written by save_to_disk.*to_parquet"):
        load_questions(str(tmp_path / "saved"))
