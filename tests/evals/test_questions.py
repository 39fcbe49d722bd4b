"""Loading, checking and splitting questions, on files, folders, a hub and no network."""

import json
import os
import random
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from string import ascii_uppercase
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import SHARED, Args, Write, hub_folder, needs_shared, rows
from tests.evals.sweep.openai_server import Handler, Loopback
from w2s_icl.errors import W2SError
from w2s_icl.evals.questions import load_split
from w2s_icl.evals.sources import HUB_FILES, TRUTHFULQA, load_questions


def mc1(n: int, options: int) -> list[dict[str, Any]]:
    labels = [1] + [0] * (options - 1)
    return [
        {"question": r["question"], "mc1_targets": {"choices": r["choices"], "labels": labels}}
        for r in rows(n, options)
    ]


def test_what_has_changed_is_read_again(write_jsonl: Write, tmp_path: Path) -> None:
    before, after = load_questions(write_jsonl(rows(5))), load_questions(write_jsonl(rows(6)))
    first = load_questions(str(hub_folder(tmp_path / "a" / "same", rows(3))))
    second = load_questions(str(hub_folder(tmp_path / "b" / "same", rows(5)[2:])))

    assert (len(before.questions), len(after.questions)) == (5, 6)
    assert before.fingerprint != after.fingerprint
    assert first.questions[0].question != second.questions[0].question


@given(n=st.integers(2, 40), seed=st.integers(0, 9), data=st.data())
@settings(max_examples=30, deadline=None)
def test_split_is_the_seeded_sample_and_parts_are_disjoint(
    tmp_path_factory: pytest.TempPathFactory, n: int, seed: int, data: st.DataObject
) -> None:
    size = data.draw(st.integers(1, n))
    path = tmp_path_factory.mktemp("q") / "q.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows(n)))

    split = load_split(str(path), test_size=size, seed=seed, near_duplicates="keep")

    order = random.Random(seed).sample(range(n), n)
    assert [s.id for s in split.test] == order[:size]
    assert [s.id for s in split.pool] == order[size:]
    for sample in (*split.test, *split.pool):
        row = rows(n)[int(str(sample.id))]
        choices = sample.choices or []
        assert sorted(choices) == sorted(row["choices"])
        gold = choices[ascii_uppercase.index(str(sample.target))]
        assert gold == row["choices"][row["label"]]


def test_option_order_belongs_to_the_question(write_jsonl: Write) -> None:
    content = [row | {"id": f"q{i}"} for i, row in enumerate(rows(30))]
    whole = load_split(write_jsonl(content), test_size=10)
    part = load_split(write_jsonl(content[5:], "part.jsonl"), test_size=10)

    order = {s.id: s.choices for s in (*whole.test, *whole.pool)}
    assert all(order[s.id] == s.choices for s in (*part.test, *part.pool))
    letters = {str(s.target) for s in (*whole.test, *whole.pool)}
    assert len(letters) == 4  # the right option stands in every place somewhere


def test_near_duplicates_of_test_questions_are_barred_and_counted(write_jsonl: Write) -> None:
    content = rows(40)
    test_ids = [s.id for s in load_split(write_jsonl(content), test_size=10).test]
    pool_ids = [i for i in range(40) if i not in test_ids]
    test_row = content[int(str(test_ids[0]))]
    content[pool_ids[0]]["question"] = test_row["question"] + " really"
    right = test_row["choices"][test_row["label"]]
    content[pool_ids[1]] |= {"choices": [right.upper(), "p", "q", "r"], "label": 0}
    path = write_jsonl(content)

    dropped = load_split(path, test_size=10)
    kept = load_split(path, test_size=10, near_duplicates="keep")

    # one that shares a right answer alone may be shown
    assert {s.id for s in kept.pool} - {s.id for s in dropped.pool} == {pool_ids[0]}
    assert [s.id for s in dropped.barred] == [pool_ids[0]]
    assert len(kept.pool) == 30
    assert [s.id for s in dropped.test] == [s.id for s in kept.test]


def test_draws_are_permutations_that_differ(write_jsonl: Write) -> None:
    split = load_split(write_jsonl(rows(60)), test_size=10)
    draws = [[str(s.id) for s in split.draw(d)] for d in (0, 1, 2, 1)]

    assert {tuple(sorted(d)) for d in draws} == {tuple(sorted(str(s.id) for s in split.pool))}
    assert draws[0] != draws[1] != draws[2]
    assert draws[1] == draws[3]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"test_size": 0}, "test_size must be a whole number of at least 1, got 0"),
        ({"test_size": 31}, "test_size must be at most 30"),
        ({"seed": 1.5}, "seed must be a whole number"),
        ({"near_duplicates": "maybe"}, "near_duplicates must be drop or keep"),
    ],
)
def test_bad_arguments_are_refused(arguments: Args, message: str, write_jsonl: Write) -> None:
    with pytest.raises(W2SError, match=message):
        load_split(write_jsonl(rows(30)), **{"test_size": 5, **arguments})


COMMIT = "c" * 40
CARD = (
    "---\ndataset_info:\n- config_name: all\n  splits:\n  - {name: test, num_bytes: 1, "
    "num_examples: 30}\n  download_size: 1\n  dataset_size: 1\nconfigs:\n- config_name: all\n"
    "  data_files:\n  - {split: test, path: all/test-*}\n---\n"
)


def fetch(code: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run `code` in a process of its own: the hub's client reads its settings at import."""
    full = f"from w2s_icl.evals.sources import *\n{code}"
    return subprocess.run(
        [sys.executable, "-c", full],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


class Hub(Loopback):
    """The requests that fetching files at a commit makes of the hub."""

    def __init__(self, files: dict[str, bytes], home: Path) -> None:
        super().__init__()
        self.files = files
        self.asked: list[str] = []
        # what the environment must say for the hub to be this one
        self.env = {"HF_ENDPOINT": self.root, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1"}

    def get(self, call: Handler) -> None:
        self.asked.append(f"{call.command} {call.path}")
        path = call.path.partition("?")[0]
        content = next((c for name, c in self.files.items() if path.endswith(name)), None)
        revision = TRUTHFULQA.revision if TRUTHFULQA.revision in path else COMMIT
        if "/tree/" in path:
            listed = [{"type": "file", "path": n, "size": len(c), "oid": n}
                      for n, c in self.files.items()]  # fmt: skip
            content = json.dumps(listed).encode()
        elif "/revision/" in path:
            content = json.dumps({"id": "owner/set", "sha": revision}).encode()
        call.send_response(404 if content is None and path != "/" else 200)
        call.send_header("X-Repo-Commit", revision)
        call.send_header("ETag", f'"{abs(hash(content))}"')
        call.send_header("Content-Length", str(len(content or b"")))
        call.end_headers()
        if call.command == "GET":
            call.wfile.write(content or b"")
        call.wfile.flush()


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    folder = hub_folder(tmp_path / "source", mc1(800, 5) + mc1(17, 3))
    path = HUB_FILES["mc4"][0]
    pq.write_table(pa.Table.from_pylist(rows(30)), tmp_path / "q.parquet")
    files = {
        path: (folder / path).read_bytes(),
        "README.md": CARD.encode(),
        "all/test-00000-of-00001.parquet": (tmp_path / "q.parquet").read_bytes(),
    }
    with Hub(files, tmp_path / "cache") as server:
        yield server


@pytest.mark.slow
def test_hub_file_is_fetched_at_its_revision_once_and_no_web_page_stays(hub: Hub) -> None:
    code = (
        "a, b = load_questions('mc4'), load_questions('mc1')\n"
        "print(len(a.questions), len(b.questions), {len(q.choices) for q in a.questions},\n"
        "      {q.choices[q.gold][-1] for q in b.questions}, a.questions[-1].id)"
    )
    path = HUB_FILES["mc4"][0]
    good, hub.files[path] = hub.files[path], b"<!doctype html><p>log in first</p>"

    refused = fetch("load_questions('mc4')", **hub.env)
    hub.files[path] = good
    online = fetch(code, **hub.env)
    asked = len(hub.asked)
    offline = fetch(code, **hub.env, HF_HUB_OFFLINE="1")

    assert "is a web page, not data" in refused.stderr
    assert online.stdout == "800 817 {4} {'w'} 799\n", online.stderr
    assert any(TRUTHFULQA.revision in request for request in hub.asked)
    assert offline.stdout == online.stdout
    assert len(hub.asked) == asked


@pytest.mark.slow
def test_a_mapped_dataset_of_the_hub_is_fetched_once_and_pinned_or_warned_about(
    hub: Hub, tmp_path: Path
) -> None:
    mapping = tmp_path / "map.yaml"
    code = f"q = load_questions({str(mapping)!r}); print(len(q.questions), q.source)"
    mapping.write_text("path: owner/set\nname: all\nsplit: test\n")

    online, asked = fetch(code, **hub.env), len(hub.asked)
    offline = fetch(code, **hub.env, HF_HUB_OFFLINE="1")
    again = len(hub.asked)
    hub.files["README.md"] = CARD.replace(": 30", ": 31").encode()
    cut = fetch(code, **hub.env | {"HF_HOME": str(tmp_path / "cut")})
    hub.files["README.md"] = CARD.encode()
    mapping.write_text(mapping.read_text() + f"revision: {COMMIT}\n")
    pinned = fetch(code, **hub.env | {"HF_HOME": str(tmp_path / "pinned")})

    for done in (online, offline, pinned):
        assert done.stdout == f"30 owner/set@{COMMIT} all test\n", done.stderr
        warned = f"pin what is read now with revision: {COMMIT}" in done.stderr
        assert warned == (done is not pinned)
    assert again == asked
    assert "30 rows were read, 31 must be there" in cut.stderr


@pytest.mark.slow
@pytest.mark.parametrize("network", ["answers nothing", "HF_HUB_OFFLINE"])
def test_without_network_file_and_flag_are_named_within_10_s(network: str, tmp_path: Path) -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        if network == "answers nothing":
            listening.listen()
        port = listening.getsockname()[1]
        env = {"HF_ENDPOINT": f"http://127.0.0.1:{port}", "HF_HOME": str(tmp_path)}
        if network == "HF_HUB_OFFLINE":
            env["HF_HUB_OFFLINE"] = "1"
        code = (
            "import time; start = time.monotonic()\n"
            "try: load_questions('mc4')\n"
            "except W2SError as error: print(f'{time.monotonic() - start:.1f} {error}')"
        )
        seconds, _, message = fetch(code, **env).stdout.partition(" ")

    assert float(seconds) < 10
    assert message.count("\n") == 1
    for part in (HUB_FILES["mc4"][0], "truthfulqa/truthful_qa", "-T dataset="):
        assert part in message


@needs_shared
@pytest.mark.parametrize(
    ("path", "n", "options"),
    [("truthful_qa", 817, None), ("truthful_qa_mc", 684, {4}), ("TruthfulQA.csv", 790, {2})],
)
def test_real_truthfulqa_loads_and_splits(path: str, n: int, options: set[int] | None) -> None:
    loaded = load_questions(str(SHARED / path))
    split = load_split(str(SHARED / path), test_size=200)

    assert len(loaded.questions) == n
    assert options in (None, {len(q.choices) for q in loaded.questions})
    assert len(split.pool) >= 64
    assert len(split.test) + len(split.pool) + len(split.barred) == n
