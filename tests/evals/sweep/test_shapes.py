"""Servers with habits of their own: log-probabilities, refused roles, turns and settings."""

from __future__ import annotations

import hashlib
import json
import math
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from inspect_ai.log import list_eval_logs, read_eval_log

from tests.conftest import rows, write_questions
from tests.evals.sweep.openai_server import options_of, question_of
from w2s_icl.cli import main
from w2s_icl.record import key_of

Refusal = Callable[[dict[str, Any]], str]
SMALL, LARGE = "openai-api/small/tiny", "openai-api/large/big"


class Server:
    """A server of the llama.cpp kind: its replies are prose, its log-probabilities know letters.

    `refuses` says why a request is refused ("" where it is not), `silent` names a model that sends
    no log-probabilities.
    """

    def __init__(self) -> None:
        self.refuses: Refusal = lambda body: ""
        self.silent = ""
        self.bodies: list[dict[str, Any]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *args: Any) -> None:
                pass

            def do_GET(self) -> None:
                self.send(404, {"error": {"message": "no list here"}})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                outer.bodies.append(body)
                if said := outer.refuses(body):
                    self.send(400, {"error": {"message": said, "type": "invalid_request_error"}})
                else:
                    self.send(200, outer.reply(body))

            def send(self, status: int, content: dict[str, Any]) -> None:
                raw = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http.server_port}/v1"

    def reply(self, body: dict[str, Any]) -> dict[str, Any]:
        turn = body["messages"][-1]["content"]
        choice: dict[str, Any] = {
            "index": 0,
            "finish_reason": "length" if body.get("logprobs") else "stop",
            "message": {"role": "assistant", "content": "Well" if body.get("logprobs") else "A"},
        }
        if body.get("logprobs") and self.silent not in (body["model"], "all"):
            letters = options_of(turn)
            top = [
                {"token": mark + letter, "logprob": math.log(p), "bytes": None, "id": 7}
                for letter, p in likelihoods(question_of(turn), list(letters)).items()
                for mark in (" ",)
            ]
            top.append({"token": "Well", "logprob": math.log(0.4), "bytes": None, "id": 8})
            top.append({"token": "", "logprob": math.log(0.05), "bytes": None, "id": 9})
            first = {"token": "Well", "logprob": math.log(0.4), "bytes": None, "top_logprobs": top}
            choice["logprobs"] = {"content": [first]}
        return {
            "id": "x",
            "object": "chat.completion",
            "created": 0,
            "model": body["model"],
            "choices": [choice],
            "usage": {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10},
        }


def likelihoods(question: str, letters: list[str]) -> dict[str, float]:
    """Half of the mass, spread over the letters by the question alone."""
    weights = [
        hashlib.sha256(f"{question} {letter}".encode()).digest()[0] + 1 for letter in letters
    ]
    return {k: 0.5 * w / sum(weights) for k, w in zip(letters, weights, strict=True)}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    running = Server()
    for name in ("SMALL", "LARGE"):
        monkeypatch.setenv(f"{name}_BASE_URL", running.url)
        monkeypatch.setenv(f"{name}_API_KEY", "none")
    monkeypatch.setattr("inspect_ai.model._model._models", {})
    yield running
    running.http.shutdown()
    running.http.server_close()


def run(folder: Path, **keys: Any) -> Any:
    write_questions(folder / "questions.jsonl", rows(40))
    study = {"dataset": "questions.jsonl", "test_size": 8, "models": [SMALL, LARGE],
             "shots": [0, 2], **keys}  # fmt: skip
    path = folder / "study.yaml"
    path.write_text(json.dumps(study), "utf-8")
    return CliRunner().invoke(main, ["run", str(path), "--log-dir", str(folder / "l"), "--yes"])


@pytest.mark.slow
def test_likelihood_reads_the_most_probable_letter(server: Server, tmp_path: Path) -> None:
    done = run(tmp_path, read="likelihood")

    assert done.exit_code == 0, done.output
    for info in list_eval_logs(str(tmp_path / "l")):
        log = read_eval_log(info)
        for sample in log.samples or ():
            letters = ["A", "B", "C", "D"]
            p = likelihoods(str(sample.input), letters)
            assert sample.scores is not None
            score = sample.scores["letter"]
            assert score.answer == max(p, key=lambda letter: p[letter])
            assert score.metadata is not None
            assert sum(score.metadata["option_probabilities"].values()) == pytest.approx(1)
        assert log.eval.metadata is not None
        assert log.eval.metadata["read"] == "likelihood"
    assert {body["max_tokens"] for body in server.bodies} == {1}
    assert {body["top_logprobs"] for body in server.bodies} == {20}


@pytest.mark.slow
def test_a_model_without_log_probabilities_fails_by_name(server: Server, tmp_path: Path) -> None:
    server.silent = "big"

    done = run(tmp_path, read="likelihood", max_connections=2)

    assert done.exit_code == 1
    assert "needslog-probabilities,andopenai-api/large/bigsentnone" in "".join(done.output.split())
    assert sum(body["model"] == "big" for body in server.bodies) <= 4
    complete = [log for info in list_eval_logs(str(tmp_path / "l"))
                if (log := read_eval_log(info, header_only=True)).status == "success"]  # fmt: skip
    assert {key_of(log)[:5] for log in complete} == {
        (SMALL, "zero_shot", "test", "", ""),
        (SMALL, "zero_shot", "pool", "", ""),
        (SMALL, "few_shot", "test", "gold", ""),
        (SMALL, "few_shot", "test", "weak", SMALL),
    }


def test_a_provider_without_log_probabilities_is_refused_before_a_call(tmp_path: Path) -> None:
    done = run(tmp_path, read="likelihood", models=["anthropic/claude-x"], pairs=[])

    assert done.exit_code == 2
    assert "anthropic/claude-x is not known to send them" in done.output
    assert "vllm" in done.output
    assert not (tmp_path / "l").exists() or not list_eval_logs(str(tmp_path / "l"))


def roles(body: dict[str, Any]) -> list[str]:
    return [message["role"] for message in body["messages"]]


SHAPES: dict[str, tuple[Refusal, dict[str, Any], str]] = {
    "no system role": (
        lambda body: "System role not supported" if "system" in roles(body) else "",
        {"system_role": "user"},
        "system_role: user",
    ),
    "strict turns": (
        lambda body: (
            "Conversation roles must alternate user/assistant/user/assistant/..."
            if len(roles(body)) > 2 or "system" in roles(body)
            else ""
        ),
        {"style": "transcript"},
        "style: transcript",
    ),
    "no temperature": (
        lambda body: (
            "Unsupported value: 'temperature' does not support 0 with this model."
            if "temperature" in body
            else ""
        ),
        {"generate": {"temperature": None}},
        "generate: {temperature: null}",
    ),
    "no max_tokens": (
        lambda body: (
            "Unsupported parameter: 'max_tokens' is not supported with this model."
            if "max_tokens" in body
            else ""
        ),
        {"generate": {"max_tokens": None}},
        "generate: {max_tokens: null}",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
def test_a_refused_shape_names_the_key_that_helps(
    shape: str, server: Server, tmp_path: Path
) -> None:
    server.refuses, keys, remedy = SHAPES[shape]

    refused = run(tmp_path, models=[SMALL], pairs=[[SMALL, SMALL]])
    assert refused.exit_code == 1
    assert f"(set {remedy})" in " ".join(refused.output.split())

    (tmp_path / "again").mkdir()
    done = run(tmp_path / "again", models=[SMALL], pairs=[[SMALL, SMALL]], **keys)
    assert done.exit_code == 0, done.output
