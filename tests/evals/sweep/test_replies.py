"""Replies of every shape, and servers that say of themselves what they can: over real HTTP."""

import json
import threading
from collections.abc import Callable, Iterator
from copy import deepcopy
from itertools import pairwise, takewhile
from pathlib import Path
from typing import Any

import pytest

from tests.evals.sweep.openai_server import LARGE, SMALL, OpenAIServer, Request, at_address_of, http
from tests.evals.sweep.test_http import ROWS, Finished, answers, finish, openrouter, write_study
from w2s_icl.evals.study import load_study
from w2s_icl.evals.sweep import endpoint
from w2s_icl.evals.sweep.endpoint import look_up, model_info
from w2s_icl.evals.sweep.run import checked_plan

Content = dict[str, Any]
Shape = Callable[[Content], object]
USAGE = {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}


def top(**values: Any) -> Shape:
    """Keys of the reply; None is null."""
    return lambda content: content.update(values)


def choice(**values: Any) -> Shape:
    return lambda content: content["choices"][0].update(values)


def message(**values: Any) -> Shape:
    return lambda content: content["choices"][0]["message"].update(values)


def without(key: str) -> Shape:
    return lambda content: content.pop(key)


def parts(of: Callable[[str], Any]) -> Shape:
    return lambda content: message(content=of(content["choices"][0]["message"]["content"]))(content)


ANSWERS: list[Shape] = [
    *(top(usage=usage) for usage in (None, [1, 2], "12", 5, {"prompt_tokens": 3})),
    *(top(usage={**USAGE, "prompt_tokens": n}) for n in (None, 3.5, "3")),
    top(usage={**USAGE, "prompt_tokens_details": {"cached_tokens": 1.5}}),
    without("usage"),
    *(top(model=model) for model in (None, 7, "another")),
    *(top(id=id_) for id_ in (None, 3, "the same")),
    *(without(key) for key in ("model", "id", "created", "object")),
    *(choice(finish_reason=reason) for reason in (None, "eos", "STOP", 3, ["stop"])),
    *(choice(index=index) for index in (None, "0")),
    *(choice(logprobs=junk) for junk in ("x", {"content": None}, {"tokens": ["A"]})),
    *(lambda content, k=key: content["choices"][0].pop(k) for key in ("index", "finish_reason")),
    *(parts(of) for of in (lambda t: [{"type": "text", "text": t}], lambda t: [t])),
    parts(lambda text: {"type": "text", "text": text}),
    *(message(reasoning_content=text) for text in ("since", ["since"])),
    message(role="model", tool_calls=[], function_call=None, annotations="x"),
    top(usage={**USAGE, "cost": "1", "is_byok": True, "cost_details": [1]}),
    top(error=None, created="now", extra={"keys": [1]}, prompt_logprobs="x"),
    lambda content: content["choices"].append(deepcopy(content["choices"][0]) | {"index": 1}),
]  # fmt: skip


def reply(shape: Shape) -> Callable[[Content], bytes]:
    def whole(content: Content) -> bytes:
        shape(content)
        return http(200, json.dumps(content).encode())

    return whole


def refusal(status: int, *more: str) -> Callable[[Content], bytes]:
    body = json.dumps({"error": {"message": "not now", "code": status}}).encode()
    return lambda content: http(status, body, "application/json", *more)


NO_ANSWERS: list[Callable[[Content], bytes]] = [
    *(reply(top(choices=choices)) for choices in (None, [], {"a": 1}, ["A"])),
    *(reply(choice(message=turn)) for turn in (None, "A")),
    *(reply(parts(of)) for of in (lambda t: None, lambda t: 5)),
    *(reply(top(choices=[], error={"message": "late", "code": code})) for code in (429, 503)),
    reply(without("choices")),
    reply(choice(finish_reason="error")),
    *(lambda content, b=body: http(200, b) for body in (b"", b"null", b"[1]", b"\xff")),
    lambda content: http(200, json.dumps(content).encode()[:60]),
    lambda content: http(200, b"<html>Bad gateway</html>", "text/html"),
    lambda content: http(200, b"data: {}\n\n", "text/event-stream"),
    lambda content: http(200, b"no gzip", "application/json", "Content-Encoding: gzip"),
    lambda content: http(204, b""),
    *(refusal(status) for status in (408, 409, 425, 429, 500, 502, 503, 504, 520, 529)),
    *(refusal(429, f"Retry-After: {s}") for s in ("0", "3600", "0.2", "-1", "soon", "Wed, 21 Oct")),
]  # fmt: skip


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer(ROWS) as running:
        yield running


def zero_shot(folder: Path, server: OpenAIServer, questions: int, **keys: Any) -> Finished:
    keys = {"models": [openrouter(SMALL)], "shots": [0], "test_size": questions, **keys}
    return finish(write_study(folder, **keys), server)


def test_an_answer_counts_whatever_else_a_reply_says(server: OpenAIServer, tmp_path: Path) -> None:
    n = len(ANSWERS)
    expected = zero_shot(tmp_path / "plain", server, n)
    shapes = iter(ANSWERS)
    server.reshape = lambda content: next(shapes)(content)
    run = zero_shot(tmp_path / "shaped", server, n)

    assert run.code == 0, run.said
    assert len(run.requests) == n
    assert answers(run.log_dir) == answers(expected.log_dir)
    assert f"came to {n} calls, " in run.out
    assert "0 retries" in run.out


def test_a_reply_without_an_answer_is_asked_again_and_each_repeated_request_counted(
    server: OpenAIServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint, "LONGEST_WAIT", 0.01)
    n = len(NO_ANSWERS)
    expected = zero_shot(tmp_path / "plain", server, n)
    left, seen = list(NO_ANSWERS), set()

    def whole(request: Request, content: Content) -> bytes:
        first = request.raw not in seen
        seen.add(request.raw)
        return left.pop()(content) if first else b""

    server.whole = whole
    run = zero_shot(tmp_path / "shaped", server, n)

    assert run.code == 0, run.said
    assert not left
    assert len(run.requests) == 2 * n
    assert len(run.answered) == n
    assert answers(run.log_dir) == answers(expected.log_dir)
    assert f", {n} retries" in run.out


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"not to my taste", "not to my taste"),
        (b"<html><head><title>Oh</title></head><body><p>No such page", "Oh No such page"),
        (b'{"detail": "no field x"}', '{"detail": "no field x"}'),
        (b'{"error": "not a word"}', "not a word"),
    ],
)
def test_words_of_a_refusal_are_named_whatever_their_form(
    body: bytes, said: str, server: OpenAIServer, tmp_path: Path
) -> None:
    server.whole = lambda request, content: http(400, body, "text/plain")
    run = zero_shot(tmp_path, server, 2)

    assert run.code == 1
    assert f"2 of 2 questions failed\n    Error code: 400 - {said}\n" in run.out


@pytest.mark.parametrize(
    ("about", "props", "limit"),
    [
        ({"max_model_len": 300}, None, 300),
        ({"meta": {"n_ctx_train": 32768, "n_ctx": 400}}, None, 400),
        ({}, {"default_generation_settings": {"n_ctx": 512}, "total_slots": 4}, 512),
        ({}, None, None),
    ],
    ids=["vLLM", "llama.cpp", "its props", "silent"],
)
def test_the_context_is_what_the_endpoint_says(
    about: Content, props: Content | None, limit: int | None, server: OpenAIServer, tmp_path: Path
) -> None:
    server.listed, server.about, server.props = [SMALL], about, props
    study = load_study(write_study(tmp_path, models=[openrouter(SMALL)], shots=[0, 1]))
    with pytest.MonkeyPatch.context() as patch, at_address_of(server):
        patch.setenv("OPENROUTER_BASE_URL", server.url.replace("/api/v1", "/v1"))
        plan = checked_plan(study)

    assert plan.context[openrouter(SMALL)] == limit


def test_a_name_without_its_tag_is_the_latest(
    server: OpenAIServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.listed = ["llama3.2:latest", "llama3.2:70b", "mistral"]
    monkeypatch.setenv("LOCAL_BASE_URL", server.url)
    monkeypatch.setenv("LOCAL_API_KEY", "x")
    monkeypatch.setattr("inspect_ai.model._model._models", {})
    models = [f"openai-api/local/{name}" for name in ("llama3.2", "mistral:latest", "gemma")]
    study = load_study(write_study(tmp_path, models=models))
    served = look_up(study, models)

    assert [of.problem[:24] for of in served.values()] == ["", "", "is not among the 3 model"]


@pytest.mark.parametrize(
    "model", ["openai/gpt-4o-minix", "openai-api/local/llama-3.1-8b", "ollama/gpt-4o"]
)
def test_a_name_that_is_only_like_one_in_the_table_says_nothing(model: str) -> None:
    assert model_info(model).context_length is None
    assert model_info("openai/gpt-4o-mini").context_length


@pytest.mark.slow
def test_one_connection_keeps_the_prefix_of_a_cell(server: OpenAIServer, tmp_path: Path) -> None:
    server.slot = threading.Lock()
    models = [openrouter(SMALL), openrouter(LARGE)]
    run = zero_shot(tmp_path, server, 30, models=models, shots=[0, 16], max_connections=1)

    assert run.code == 0, run.said
    # what a server with one slot has of a prompt from the call before
    long = [(a.text, b.text) for a, b in pairwise(run.requests) if b.shots == 16]
    same = [takewhile(lambda ab: ab[0] == ab[1], zip(*texts, strict=False)) for texts in long]
    assert sum(len(list(of)) for of in same) >= 0.85 * sum(len(text) for _, text in long)


def test_waiting_in_a_servers_queue_is_no_failed_call(server: OpenAIServer, tmp_path: Path) -> None:
    server.slot, server.latency = threading.Lock(), 0.3
    run = zero_shot(tmp_path, server, 20, timeout=3, max_connections=20)

    assert run.code == 0, run.said
    assert len(run.requests) == 20
    assert len(run.answered) == 20
