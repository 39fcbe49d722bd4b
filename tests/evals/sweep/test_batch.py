"""The tasks in Inspect's batch mode: its OpenAI provider, and a server that takes batches."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from inspect_ai.model import BatchConfig
from rich.console import Console

from tests.evals.sweep.openai_server import SMALL, Handler, Loopback, OpenAIServer
from tests.evals.sweep.test_http import made_up
from w2s_icl.evals.cells import all_cells, build
from w2s_icl.evals.study import Study
from w2s_icl.evals.sweep.run import run_study
from w2s_icl.record import PlanRecord

MODEL = "openai/gpt-4o-mini"
TEST_SIZE = 20
QUICK = BatchConfig(size=TEST_SIZE, send_delay=0.1, tick=0.05)


class BatchServer(Loopback):
    """Chat, files and batches as OpenAI takes them; what is answered is `OpenAIServer`'s."""

    def __init__(self, answers: OpenAIServer) -> None:
        super().__init__()
        self.answers = answers
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.posted: Counter[str] = Counter()  # how often each address was posted to
        self.sent: list[list[dict[str, str]]] = []  # messages of all calls asked in batches

    def get(self, call: Handler) -> None:
        if call.path == "/v1/models":
            known = {"id": MODEL.partition("/")[2], "object": "model"}
            call.send(200, json.dumps({"object": "list", "data": [known]}).encode())
        elif call.path.startswith("/v1/files/"):
            call.send(200, self.files[call.path.split("/")[3]])
        else:
            batch = self.batches[call.path.rsplit("/", 1)[1]]
            # a batch is never done when it is first looked at
            if batch["status"] == "in_progress":
                batch["status"] = "finalizing"
            elif batch["status"] == "finalizing":
                self._complete(batch)
            call.send(200, json.dumps(batch).encode())

    def post(self, call: Handler, body: bytes) -> None:
        self.posted[call.path] += 1
        number = f"{len(self.files) + len(self.batches)}"
        if call.path == "/v1/files":
            boundary = call.headers["Content-Type"].partition("boundary=")[2].encode()
            (part,) = (p for p in body.split(b"--" + boundary) if b'name="file"' in p)
            self.files[number] = part.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n")
            made = {"id": number, "object": "file", "bytes": len(body), "created_at": 0}
            made |= {"filename": "x", "purpose": "batch", "status": "processed"}
        elif call.path == "/v1/batches":
            made = {"id": number, "object": "batch", "status": "in_progress", "created_at": 0}
            self.batches[number] = made = {**made, **json.loads(body)}
        else:
            made = self._reply(json.loads(body))
        call.send(200, json.dumps(made).encode())

    def _complete(self, batch: dict[str, Any]) -> None:
        results = []
        asked = self.files[batch["input_file_id"]].splitlines()
        for line in map(json.loads, reversed(asked)):  # results come in any order
            self.sent.append(_messages(line["body"]))
            reply = self._reply(line["body"])
            response = {"status_code": 200, "request_id": "", "body": reply}
            results.append({"custom_id": line["custom_id"], "response": response, "error": None})
        batch["output_file_id"] = name = f"output-{batch['id']}"
        self.files[name] = "".join(json.dumps(result) + "\n" for result in results).encode()
        done = len(results)
        batch["request_counts"] = {"total": done, "completed": done, "failed": 0}
        batch["status"] = "completed"

    def _reply(self, body: dict[str, Any]) -> dict[str, Any]:
        """The reply to one call, whichever way it came."""
        asked = {"model": SMALL, "messages": _messages(body)}
        status, reply, _ = self.answers.handle(json.dumps(asked).encode())
        assert status == 200, reply
        return reply


def _messages(body: dict[str, Any]) -> list[dict[str, str]]:
    """Messages of a call, as the chat interface has them."""
    messages = body["messages"]
    return [m | {"role": "system"} if m["role"] == "developer" else m for m in messages]


@pytest.fixture
def dataset(tmp_path: Path) -> str:
    path = tmp_path / "questions.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in made_up(60, 4)), "utf-8")
    return str(path)


@pytest.fixture
def server(dataset: str) -> Iterator[BatchServer]:
    rows = [json.loads(line) for line in Path(dataset).read_text("utf-8").splitlines()]
    with OpenAIServer(rows) as answers, BatchServer(answers) as server:
        yield server


@pytest.mark.slow
def test_study_in_batches_labels_first_and_stays_itself(
    server: BatchServer, dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "x")
    study = Study(
        dataset=dataset,
        test_size=TEST_SIZE,
        models=(MODEL,),
        model_args={MODEL: {"base_url": f"{server.root}/v1"}},
        shots=(0, 4),
        batch=QUICK,
        timeout=0.01,
    )
    logs, quiet = str(tmp_path / "logs"), Console(quiet=True)
    assert run_study(study, logs, console=quiet).ok
    assert set(server.posted) == {"/v1/files", "/v1/batches"}
    prompts = [len(messages) for messages in server.sent]
    assert prompts == sorted(prompts)  # no demonstration is shown before all labels are there
    unbatched = study.model_copy(update={"batch": False, "timeout": 120})
    assert run_study(unbatched, logs, console=quiet).ok
    assert len(server.sent) == len(prompts)  # the cells are the same, asked in batches or not
    assert set(server.posted) == {"/v1/files", "/v1/batches"}


def test_only_batch_providers_get_batches(dataset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for key in ("OPENAI_API_KEY", "OPENROUTER_API_KEY"):
        monkeypatch.setenv(key, "x")
    models = ("openrouter/a/b", MODEL)
    study = Study(dataset=dataset, test_size=TEST_SIZE, shots=(0,), models=models, batch=500)
    tasks = [build(study, cell, "", PlanRecord()) for cell in all_cells(study, study.load_split())]
    batch = {str(task.model): task.model.config.batch for task in tasks if task.model}
    assert batch == {"openrouter/a/b": None, MODEL: 500}
    with pytest.raises(ValueError, match="batch needs a model of openai, anthropic"):
        Study(dataset=dataset, shots=(0,), models=models[:1], batch=True)
