"""Whole studies over real HTTP: `run_study`, the `openrouter/` provider, a server that counts."""

import io
import json
import math
import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from tests.evals.sweep.openai_server import (
    LARGE,
    MEDIUM,
    SMALL,
    Demonstration,
    OpenAIServer,
    Request,
    at_address_of,
    options_of,
    question_of,
)
from w2s_icl.analysis.experiment import Experiment
from w2s_icl.analysis.logs import KEY, read_logs
from w2s_icl.analysis.tables.cells import cells_table
from w2s_icl.errors import W2SError
from w2s_icl.evals.questions import load_split
from w2s_icl.evals.study import load_study
from w2s_icl.evals.sweep.run import run_study

MODELS = (SMALL, MEDIUM, LARGE)
PAIRS = [(weak, strong) for i, weak in enumerate(MODELS) for strong in MODELS[i:]]
SHOTS = (0, 2, 8)
TEST_SIZE = 20
N_QUESTIONS = 684
N_TWINS = 120  # that repeat an earlier one, with a word changed or the same right answer
PLAIN = {"NO_COLOR": "1", "NO_PROXY": "127.0.0.1", "PYTHONUNBUFFERED": "1"}

Process = subprocess.Popen[str]
Prefix = tuple[Demonstration, ...]
Requests = Sequence[Request]
Row = dict[str, Any]

# with one demonstration the weak labels are right: weak and gold arm have the same prompts
SMALL_STUDY = {
    "models": [f"openrouter/{model}" for model in (SMALL, LARGE)],
    "shots": [0, 1, 5],
    "test_size": 24,
}


def made_up(n: int = N_QUESTIONS, twins: int = N_TWINS) -> list[Row]:
    """Four-choice questions of made-up words, some of them near-duplicates of others."""
    rng = random.Random("made-up questions")
    syllables = [c + v for c in "bdfgklmnprstvz" for v in "aeiouéü"]

    def words(count: int) -> str:
        return " ".join("".join(rng.choices(syllables, k=3)) for _ in range(count))

    rows: list[Row] = []
    originals = rng.sample(range(n - twins), twins)
    for i in range(n):
        label = rng.randrange(4)
        question = f"What does the {words(3)} of “{words(1)}” say about {words(3)}?"
        choices = [f'{words(2)} "{words(1)}" [{words(1)}]' for _ in range(4)]
        if i >= n - twins:
            other = rows[originals[i - n]]
            if i % 2:
                question = other["question"].replace("about", "against")
            else:
                choices[label] = other["choices"][other["label"]].upper()
        rows.append({"question": question, "choices": choices, "label": label})
    return rows


ROWS = made_up()
GOLD: dict[str, str] = {row["question"]: row["choices"][row["label"]] for row in ROWS}
assert len(GOLD) == N_QUESTIONS


def openrouter(model: str) -> str:
    return f"openrouter/{model}"


def changed(study: Path, name: str, **changes: Any) -> Path:
    """Another study beside `study`, on the same questions."""
    path = study.with_name(name)
    path.write_text(json.dumps({**json.loads(study.read_text("utf-8")), **changes}), "utf-8")
    return path


def write_study(folder: Path, **changes: Any) -> Path:
    """A study of all three models and its question file; `changes` are keys of the study."""
    folder.mkdir(parents=True, exist_ok=True)
    questions = folder / "questions.jsonl"
    if not questions.exists():
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
        questions.write_text("".join(lines), "utf-8")
    study = {
        "dataset": questions.name,
        "test_size": TEST_SIZE,
        "models": [openrouter(model) for model in MODELS],
        "shots": list(SHOTS),
        "labels": ["gold", "weak"],
        **changes,
    }
    path = folder / "study.yaml"
    path.write_text(json.dumps(study), "utf-8")  # JSON is YAML
    return path


def pool_order(study: Path) -> list[str]:
    """Questions of the pool in the order in which a prompt shows them."""
    dataset = str(study.with_name("questions.jsonl"))
    return [str(sample.input) for sample in load_split(dataset, test_size=TEST_SIZE).draw(0)]


@dataclass(frozen=True)
class Finished:
    """A `w2s run` that has ended."""

    study: Path
    log_dir: Path
    requests: Requests
    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        return f"exit code {self.code}\n{self.out}\n{self.err}"

    @property
    def answered(self) -> list[Request]:
        return [request for request in self.requests if request.status == 200]


def finish(study: Path, server: OpenAIServer, log_dir: Path | None = None) -> Finished:
    """Run a study to its end, in this process; the server's record starts afresh."""
    log_dir = log_dir or study.with_name("logs")
    server.requests.clear()
    said, err = io.StringIO(), ""
    console = Console(file=said, soft_wrap=True)
    with at_address_of(server):
        try:
            code = run_study(load_study(study), str(log_dir), console=console).exit_code
        except (W2SError, ValueError) as error:
            code, err = 2, str(error)
    return Finished(study, log_dir, tuple(server.requests), code, said.getvalue(), err)


def start(study: Path, log_dir: Path | str, *options: str, **environment: str) -> Process:
    """`w2s run`, as a person starts it."""
    script = str(Path(sys.executable).with_name("w2s"))
    return subprocess.Popen(
        [script, "run", str(study), "--log-dir", str(log_dir), "--yes", *options],
        env={**os.environ, **PLAIN, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


@pytest.fixture(scope="module")
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer(ROWS) as running:
        yield running


@pytest.fixture(scope="module")
def undisturbed(server: OpenAIServer, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """The study of this file, run once without anything going wrong.

    One weak model leaves a question unread that would be shown.
    """
    folder = tmp_path_factory.mktemp("undisturbed")
    study = write_study(folder)
    server.mute = {(MEDIUM, pool_order(study)[1])}
    return finish(study, server)


@pytest.fixture
def copied(undisturbed: Finished, tmp_path: Path) -> Finished:
    """The undisturbed run in a folder of this test's own; its question file stays where it was."""
    log_dir = tmp_path / "logs"
    shutil.copytree(undisturbed.log_dir, log_dir)
    return replace(undisturbed, log_dir=log_dir)


def zero_shot_answers(requests: Requests) -> dict[tuple[str, str], Request]:
    """Requests without demonstrations, by model and question."""
    return {(r.model, r.prompt.question): r for r in requests if r.shots == 0}


def is_gold(demonstration: Demonstration) -> bool:
    turn, label = demonstration
    return options_of(turn)[label] == GOLD[question_of(turn)]


def gold_prefixes(requests: Requests) -> dict[int, Prefix]:
    """The demonstrations of the gold arm by their number: those whose labels are all right."""
    found: dict[int, set[Prefix]] = {}
    for request in requests:
        if all(map(is_gold, request.prompt.demonstrations)):
            found.setdefault(request.shots, set()).add(request.prompt.demonstrations)
    assert all(len(prefixes) == 1 for prefixes in found.values())
    return {shots: prefixes.pop() for shots, prefixes in found.items()}


def weak_prefix(gold: Sequence[Demonstration], weak: str, requests: Requests) -> Prefix:
    """The questions of `gold`, labelled with what the server answered for the weak model."""
    zero = zero_shot_answers(requests)
    labelled = []
    for turn, _ in gold:
        answer = zero[weak, question_of(turn)].answer
        assert answer is not None, f"{weak} gave no readable answer to a question that was shown"
        labelled.append((turn, answer))
    return tuple(labelled)


def cell_of(requests: Requests, model: str, prefix: Prefix, test: set[str]) -> list[Request]:
    """The requests of one cell, one per test question."""
    found = [
        r
        for r in requests
        if r.model == model and r.prompt.demonstrations == prefix and r.prompt.question in test
    ]
    assert Counter(r.prompt.question for r in found) == dict.fromkeys(test, 1)
    return found


def questions_of(split: str, log_dir: Path) -> set[str]:
    """Texts of the questions that a part of the data holds or, of the pool, was asked."""
    logs = read_logs(str(log_dir))
    rows = logs.runs.index[(logs.runs["task"] == "zero_shot") & (logs.runs["split"] == split)]
    asked = (~np.isnan(logs.correct[rows])).any(axis=0)
    return set(logs.questions["question"].to_numpy()[asked])


def answers(log_dir: Path) -> dict[tuple[Any, ...], dict[int | str, tuple[str, float]]]:
    """Letter and correctness of every question in every cell."""
    logs = read_logs(str(log_dir))
    return {
        key: {
            id_: (str(logs.letters[i, j]), float(logs.correct[i, j]))
            for j, id_ in enumerate(logs.questions.index)
            if not math.isnan(logs.correct[i, j])
        }
        for i, key in enumerate(logs.runs[list(KEY)].itertuples(index=False, name=None))
    }


def prompts(requests: Requests) -> Counter[tuple[str, bytes]]:
    """How often each prompt was asked."""
    return Counter((r.model, r.raw) for r in requests)


def test_study_asks_each_prompt_once_and_shows_no_test_question(undisturbed: Finished) -> None:
    assert undisturbed.code == 0, undisturbed.said
    test, pool = (questions_of(split, undisturbed.log_dir) for split in ("test", "pool"))
    assert len(test) == TEST_SIZE
    assert not test & pool
    requests = undisturbed.answered
    assert len(requests) == len(undisturbed.requests), {r.status for r in undisturbed.requests}
    assert set(prompts(requests).values()) == {1}, "a prompt was asked twice"
    assert {r.prompt.question for r in requests if r.shots} == test
    assert {r.shots for r in requests} == set(SHOTS)
    zero = [(r.model, r.prompt.question) for r in requests if r.shots == 0]
    assert Counter(zero) == {(model, q): 1 for model in MODELS for q in test | pool}
    # a few more than are shown, for answers that cannot be read
    assert max(SHOTS) <= len(pool) <= max(SHOTS) + 20
    assert pool >= {question_of(turn) for r in requests for turn, _ in r.prompt.demonstrations}


def test_arms_show_the_same_questions_in_order_behind_the_same_bytes(undisturbed: Finished) -> None:
    requests = undisturbed.answered
    gold = gold_prefixes(requests)
    assert sorted(gold) == sorted(SHOTS)
    longest = gold[max(SHOTS)]
    assert len({question_of(turn) for turn, _ in longest}) == max(SHOTS)
    expected = {(model, gold[k]) for model in MODELS for k in SHOTS}
    for weak, strong in PAIRS:
        labelled = weak_prefix(longest, weak, requests)
        expected |= {(strong, labelled[:k]) for k in SHOTS}
    assert len(expected) > len(MODELS) * len(SHOTS), "weak labels must be wrong somewhere"
    assert all(gold[k] == longest[:k] for k in SHOTS)
    assert {(r.model, r.prompt.demonstrations) for r in requests} == expected
    heads: dict[tuple[str, Prefix], bytes] = {}
    for request in requests:
        key = (request.model, request.prompt.demonstrations)
        asked = json.dumps(request.messages[-1]["content"], ensure_ascii=False).encode()
        head = request.raw[: request.raw.rindex(asked)]
        assert heads.setdefault(key, head) == head
    for (model, prefix), head in heads.items():
        for k in (k for k in SHOTS if k < len(prefix)):
            # both end within the turn of the question, which differs in its text only
            assert head.startswith(heads[model, prefix[:k]])


def test_cells_table_holds_exactly_the_right_answers_of_the_server(undisturbed: Finished) -> None:
    requests, test = undisturbed.answered, questions_of("test", undisturbed.log_dir)
    gold = gold_prefixes(requests)
    table = cells_table(Experiment(read_logs(str(undisturbed.log_dir))))
    rows = {(of.weak, of.strong, of.shots): of._asdict() for of in table.itertuples()}
    places = [(weak, strong, k) for weak, strong in PAIRS for k in SHOTS]
    assert set(rows) == {(openrouter(weak), openrouter(strong), k) for weak, strong, k in places}
    unparsed = 0
    for weak, strong, k in places:
        row = rows[openrouter(weak), openrouter(strong), k]
        arms = {
            "weak": (weak, ()),
            "strong0": (strong, ()),
            "w2s": (strong, weak_prefix(gold[k], weak, requests)),
            "gold": (strong, gold[k]),
        }
        assert row["n"] == TEST_SIZE
        for arm, (model, prefix) in arms.items():
            cell = cell_of(requests, model, prefix, test)
            right, unread = (sum(r.right for r in cell), sum(r.answer is None for r in cell))
            unparsed += unread
            assert round(row[f"acc_{arm}"] * TEST_SIZE, 9) == right, (weak, strong, k, arm)
            assert row[f"unparsed_{arm}"] == unread, (weak, strong, k, arm)
    assert unparsed > 0, "the server must have answered unreadably somewhere"


def test_question_that_a_weak_model_left_unread_is_in_no_cell(undisturbed: Finished) -> None:
    zero = zero_shot_answers(undisturbed.answered)
    order = pool_order(undisturbed.study)
    last = 1 + max(i for i, q in enumerate(order) if all((m, q) in zero for m in MODELS))
    read = [q for q in order[:last] if all(zero[m, q].answer for m in MODELS)]
    gold = gold_prefixes(undisturbed.answered)
    shown = [question_of(turn) for turn, _ in gold[max(SHOTS)]]
    assert shown == read[: max(SHOTS)]
    assert zero[MEDIUM, order[1]].answer is None
    assert order[1] not in shown


def test_second_run_asks_and_changes_nothing(copied: Finished, server: OpenAIServer) -> None:
    before = files(copied.log_dir)
    run = finish(copied.study, server, copied.log_dir)

    assert run.code == 0, run.said
    assert not run.requests
    assert files(copied.log_dir) == before
    assert accuracies(run.out) == accuracies(copied.out)


def test_changed_data_is_refused_before_any_call(copied: Finished, server: OpenAIServer) -> None:
    study = write_study(copied.log_dir.with_name("changed"))
    questions = study.with_name("questions.jsonl")
    first, rest = questions.read_text("utf-8").split("\n", maxsplit=1)
    questions.write_text(first.replace("What does", "What did") + "\n" + rest, "utf-8")
    before = files(copied.log_dir)
    run = finish(study, server, copied.log_dir)

    assert run.code == 2, run.said
    assert not run.requests
    (line,) = run.err.strip().splitlines()
    assert "dataset" in line
    assert files(copied.log_dir) == before


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix == ".eval"}


def accuracies(out: str) -> str:
    """The final table, as printed."""
    return out[out.index("accuracy, %") : out.index("\n!")]
