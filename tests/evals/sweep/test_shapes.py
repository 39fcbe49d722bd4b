"""Servers with habits of their own: log-probabilities, refused roles, turns and settings."""

import hashlib
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from inspect_ai.log import list_eval_logs, read_eval_log

from tests.evals.sweep.openai_server import LARGE, SMALL, OpenAIServer, Request, http
from tests.evals.sweep.test_http import ROWS, write_study
from w2s_icl.cli import main
from w2s_icl.record import key_of

Refusal = Callable[[dict[str, Any]], str]
ONE, OTHER = f"openai-api/one/{SMALL}", f"openai-api/other/{LARGE}"


@dataclass
class Habits:
    """What a server of the llama.cpp kind makes of a reply: prose, and log-probabilities."""

    refuses: Refusal = lambda body: ""  # why a request is refused, "" where it is not
    silent: str = ""  # a model that sends no log-probabilities

    def __call__(self, request: Request, content: dict[str, Any]) -> bytes:
        body = json.loads(request.raw)
        if said := self.refuses(body):
            error = {"error": {"message": said, "type": "invalid_request_error"}}
            return http(400, json.dumps(error).encode())
        if not body.get("logprobs"):
            return b""
        choice = content["choices"][0]
        choice["message"]["content"], choice["finish_reason"] = "Well", "length"
        if self.silent != body["model"]:
            letters = likelihoods(request.prompt.question, list(request.prompt.options))
            tokens = {f" {letter}": p for letter, p in letters.items()} | {"Well": 0.4, "": 0.05}
            top = [{"token": k, "logprob": math.log(p), "bytes": None} for k, p in tokens.items()]
            choice["logprobs"] = {"content": [{**top[-2], "top_logprobs": top}]}
        return http(200, json.dumps(content).encode())


def likelihoods(question: str, letters: list[str]) -> dict[str, float]:
    """Half of the mass, spread over the letters by the question alone."""
    digests = {k: hashlib.sha256(f"{question} {k}".encode()).digest() for k in letters}
    total = sum(digest[0] + 1 for digest in digests.values())
    return {k: 0.5 * (digest[0] + 1) / total for k, digest in digests.items()}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenAIServer]:
    with OpenAIServer(ROWS, unreadable=0) as running:
        for name in ("ONE", "OTHER"):
            monkeypatch.setenv(f"{name}_BASE_URL", running.url)
            monkeypatch.setenv(f"{name}_API_KEY", "none")
        monkeypatch.setattr("inspect_ai.model._model._models", {})
        yield running


def run(folder: Path, **keys: Any) -> Any:
    keys = {"test_size": 8, "models": [ONE, OTHER], "shots": [0, 2], **keys}
    study, log_dir = write_study(folder, **keys), str(folder / "l")
    return CliRunner().invoke(main, ["run", str(study), "--log-dir", log_dir, "--yes"])


@pytest.mark.slow
def test_likelihood_reads_the_most_probable_letter(server: OpenAIServer, tmp_path: Path) -> None:
    server.whole = Habits()
    done = run(tmp_path, read="likelihood")

    assert done.exit_code == 0, done.output
    for info in list_eval_logs(str(tmp_path / "l")):
        log = read_eval_log(info)
        for sample in log.samples or ():
            p = likelihoods(str(sample.input), ["A", "B", "C", "D"])
            score = (sample.scores or {})["letter"]
            assert score.answer == max(p, key=lambda letter: p[letter])
            assert sum((score.metadata or {})["option_probabilities"].values()) == pytest.approx(1)
        assert (log.eval.metadata or {})["read"] == "likelihood"
    bodies = [json.loads(request.raw) for request in server.requests]
    assert {(body["max_tokens"], body["top_logprobs"]) for body in bodies} == {(1, 20)}


@pytest.mark.slow
def test_a_model_without_logprobs_fails_by_name(server: OpenAIServer, tmp_path: Path) -> None:
    server.whole = Habits(silent=LARGE)
    done = run(tmp_path, read="likelihood", max_connections=2)

    assert done.exit_code == 1
    assert f"needslog-probabilities,and{OTHER}sentnone" in "".join(done.output.split())
    assert sum(request.model == LARGE for request in server.requests) <= 4
    logs = [read_eval_log(info, header_only=True) for info in list_eval_logs(str(tmp_path / "l"))]
    assert {key_of(log)[:5] for log in logs if log.status == "success"} == {
        (ONE, "zero_shot", "test", "", ""),
        (ONE, "zero_shot", "pool", "", ""),
        (ONE, "few_shot", "test", "gold", ""),
        (ONE, "few_shot", "test", "weak", ONE),
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
        lambda body: "Conversation roles must alternate user/..." if len(roles(body)) > 1 else "",
        {"style": "transcript"},
        "style: transcript",
    ),
    "no temperature": (
        lambda body: "'temperature' does not support 0." if "temperature" in body else "",
        {"generate": {"temperature": None}},
        "generate: {temperature: null}",
    ),
    "no max_tokens": (
        lambda body: "'max_tokens' is not supported here." if "max_tokens" in body else "",
        {"generate": {"max_tokens": None}},
        "generate: {max_tokens: null}",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
def test_a_refused_shape_names_its_remedy(shape: str, server: OpenAIServer, tmp_path: Path) -> None:
    refuses, keys, remedy = SHAPES[shape]
    server.whole = Habits(refuses)
    refused = run(tmp_path, models=[ONE], shots=[0])
    assert refused.exit_code == 1
    assert f"(set {remedy})" in " ".join(refused.output.split())
    done = run(tmp_path / "again", models=[ONE], shots=[0], **keys)
    assert done.exit_code == 0, done.output
