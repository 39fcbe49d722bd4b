"""What leaves the client and what it logs of the bill, over real HTTP."""

import json
from base64 import b64encode
from collections.abc import Iterator
from typing import Any

import pytest
from inspect_ai import Task, eval
from inspect_ai.dataset import Sample
from inspect_ai.log import EvalLog
from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageUser,
    GenerateConfig,
    Model,
    ModelCost,
    ModelInfo,
    get_model,
    set_model_info,
)
from inspect_ai.solver import Generate, Solver, TaskState, solver

from tests.evals.sweep.openai_server import SMALL, OpenAIServer, at_address_of
from w2s_icl.evals.sweep.endpoint import REPORTED_COST, secrets, watched

ROWS = [
    {"question": "Why “quotes” & <tags>?", "choices": ["né", '"b"\\'], "label": 1},
    {"question": "And now? 🍉", "choices": ["one", "two"], "label": 0},
]
TURNS: list[ChatMessage] = [
    ChatMessageSystem(content="Reply with a letter."),
    ChatMessageUser(content='Why “quotes” & <tags>?\n\nA) né\nB) "b"\\'),
    ChatMessageAssistant(content="B"),
    ChatMessageUser(content="And now? 🍉\n\nA) one\nB) two"),
]


UPSTREAM = {"upstream_inference_cost": 0.02}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenAIServer]:
    with OpenAIServer(ROWS, unreadable=0) as running, at_address_of(running):
        monkeypatch.setenv("LOCAL_BASE_URL", running.url)
        monkeypatch.setenv("LOCAL_API_KEY", "x")
        yield running


@solver
def asked() -> Solver:
    async def solve(state: TaskState, generate: Generate) -> TaskState:
        state.output = await get_model().generate(TURNS)
        return state

    return solve


def ask(model: Model) -> EvalLog:
    config = GenerateConfig(temperature=0, max_tokens=16, extra_body={"top_k": 1})
    samples = [Sample(input="x", id=i) for i in range(2)]
    (log,) = eval(Task(dataset=samples, solver=asked(), config=config), model, display="none")
    assert log.status == "success", log.error
    return log


def fresh(provider: str = "openrouter") -> Model:
    return get_model(f"{provider}/{SMALL}", memoize=False)


@pytest.mark.parametrize("provider", ["openrouter", "openai-api/local"])
def test_bytes_sent_are_those_of_the_plain_client(provider: str, server: OpenAIServer) -> None:
    ask(fresh(provider))
    ask(watched(watched(fresh(provider))))

    assert len(server.requests) == 4
    assert {r.raw for r in server.requests} == {server.requests[0].raw}
    sent = json.loads(server.requests[0].raw)
    assert [m["content"] for m in sent["messages"]] == [m.text for m in TURNS]
    assert sent["top_k"] == 1
    # Inspect's own is one per sample, and would send the samples of a cell to different providers
    assert server.sessions[2:] == [None, None]
    assert (server.sessions[0] is not None) == (provider == "openrouter")


@pytest.mark.parametrize(
    ("usage", "each"),
    [
        ({"cost": 0}, 0.0),
        ({"cost": 0.001, "is_byok": True, "cost_details": UPSTREAM}, 0.021),
        ({"cost": 0.02, "cost_details": UPSTREAM}, 0.02),
        ({"cost": 0.01, "prompt_tokens_details": {"cached_tokens": 990}}, 0.01),
        ({}, 10e-6 * 1000 + 1000e-6),
    ],
)
def test_cost_that_the_reply_reports_is_logged_and_else_the_price_counts(
    usage: dict[str, Any], each: float, server: OpenAIServer
) -> None:
    tokens = {"prompt_tokens": 1000, "completion_tokens": 1, "total_tokens": 1001}
    server.reshape = lambda content: content.update(usage={**tokens, **usage})
    price = ModelCost(input=10, output=1000, input_cache_read=10, input_cache_write=10)
    set_model_info(f"openrouter/{SMALL}", ModelInfo(cost=price))
    log = ask(watched(fresh()))

    (used,) = log.stats.model_usage.values()
    assert used.total_cost == pytest.approx(2 * each)
    for sample in log.samples or []:
        assert (sample.output.metadata or {}).get(REPORTED_COST) == (each if usage else None)


def test_password_in_a_url_is_hidden_in_the_form_of_a_header_as_well() -> None:
    class API:
        base_url = "https://someone:p%40ssword-1@host.example/v1"

    hidden = secrets(API())

    assert {"p%40ssword-1", "p@ssword-1"} <= set(hidden)
    assert b64encode(b"someone:p@ssword-1").decode() in hidden
