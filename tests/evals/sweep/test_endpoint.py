"""What leaves the client and what it logs of the bill, over real HTTP."""

from __future__ import annotations

import json
import threading
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
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

from w2s_icl.evals.sweep.calls import REPORTED_COST, secrets, watched

TURNS: list[ChatMessage] = [
    ChatMessageSystem(content="Reply with a letter."),
    ChatMessageUser(content='Why “quotes” & <tags>?\n\nA) né\nB) "b"\\'),
    ChatMessageAssistant(content="B"),
    ChatMessageUser(content="And now? 🍉\n\nA) one\nB) two"),
]


@dataclass
class Endpoint:
    """A server that answers A, and what it was sent."""

    url: str = ""
    usage: dict[str, Any] = field(default_factory=dict)
    bodies: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    found = Endpoint()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            found.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            found.headers.append({name.lower(): value for name, value in self.headers.items()})
            message = {"role": "assistant", "content": "A"}
            tokens = {"prompt_tokens": 1000, "completion_tokens": 1, "total_tokens": 1001}
            content = {
                "id": "x",
                "object": "chat.completion",
                "created": 1,
                "model": json.loads(found.bodies[-1])["model"],
                "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                "usage": {**tokens, **found.usage},
            }
            body = json.dumps(content).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    found.url = f"http://127.0.0.1:{server.server_port}/v1"
    for service in ("OPENROUTER", "LOCAL", "OPENAI"):
        monkeypatch.setenv(f"{service}_BASE_URL", found.url)
        monkeypatch.setenv(f"{service}_API_KEY", "x")
    yield found
    server.shutdown()
    server.server_close()
    thread.join()


@solver
def asked_with(turns: list[ChatMessage]) -> Solver:
    async def solve(state: TaskState, generate: Generate) -> TaskState:
        state.output = await get_model().generate(turns)
        return state

    return solve


def ask(model: Model, turns: list[ChatMessage] = TURNS) -> EvalLog:
    task = Task(
        dataset=[Sample(input="x", id=i) for i in range(2)],
        solver=asked_with(turns),
        config=GenerateConfig(temperature=0, max_tokens=16, extra_body={"top_k": 1}),
    )
    (log,) = eval(task, model, display="none")
    assert log.status == "success", log.error
    return log


def fresh(name: str) -> Model:
    return get_model(name, memoize=False)


@pytest.mark.parametrize("name", ["openrouter/maker/model", "openai-api/local/model"])
def test_the_bytes_on_the_wire_are_those_of_the_plain_client(name: str, endpoint: Endpoint) -> None:
    ask(fresh(name))
    ask(watched(watched(fresh(name))))

    assert len(endpoint.bodies) == 4
    plain, sent = (json.loads(body) for body in endpoint.bodies[1:3])
    assert sent == plain
    assert list(sent) == list(plain)
    assert [m["content"] for m in sent["messages"]] == [m.text for m in TURNS]
    assert sent["top_k"] == 1
    assert set(endpoint.bodies) == {endpoint.bodies[0]}


def test_all_samples_of_a_cell_are_one_session_to_openrouter(endpoint: Endpoint) -> None:
    ask(fresh("openrouter/maker/model"))
    ask(watched(fresh("openrouter/maker/model")))

    ids = [headers.get("x-session-id") for headers in endpoint.headers]
    assert ids[0] != ids[1]  # Inspect's own: one per sample
    assert ids[2:] == [None, None]
    assert all(headers["authorization"] == "Bearer x" for headers in endpoint.headers)


@pytest.mark.parametrize(
    ("usage", "each"),
    [
        ({"cost": 0.0125}, 0.0125),
        ({"cost": 0}, 0.0),
        (
            {
                "cost": 0.001,
                "is_byok": True,
                "cost_details": {"upstream_inference_cost": 0.02},
            },
            0.021,
        ),
        ({"cost": 0.02, "cost_details": {"upstream_inference_cost": 0.02}}, 0.02),
        ({"cost": 0.01, "prompt_tokens_details": {"cached_tokens": 990}}, 0.01),
    ],
)
@pytest.mark.parametrize("priced", [False, True])
def test_the_cost_that_the_reply_reports_is_the_cost_logged(
    priced: bool, usage: dict[str, Any], each: float, endpoint: Endpoint
) -> None:
    endpoint.usage = usage
    name = f"openrouter/maker/reported-{priced}"
    if priced:
        price = ModelCost(input=500, output=500, input_cache_read=500, input_cache_write=500)
        set_model_info(name, ModelInfo(cost=price))

    log = ask(watched(fresh(name)))

    (used,) = log.stats.model_usage.values()
    assert used.total_cost == pytest.approx(2 * each)
    assert log.samples
    assert {(sample.output.metadata or {})[REPORTED_COST] for sample in log.samples} == {each}


def test_without_a_report_the_table_prices_the_call_and_without_a_price_nothing_does(
    endpoint: Endpoint,
) -> None:
    price = ModelCost(input=10, output=1000, input_cache_read=10, input_cache_write=10)
    set_model_info("openrouter/maker/priced", ModelInfo(cost=price))

    priced, unpriced = (
        ask(watched(fresh(f"openrouter/maker/{m}"))) for m in ("priced", "unpriced")
    )

    (used,) = priced.stats.model_usage.values()
    assert used.total_cost == pytest.approx(2 * (0.01 + 0.001))
    (used,) = unpriced.stats.model_usage.values()
    assert used.total_cost is None


def test_password_in_a_url_is_hidden_in_the_form_of_a_header_as_well() -> None:
    class API:
        base_url = "https://someone:p%40ssword-1@host.example/v1"

    hidden = secrets(API())

    assert {"p%40ssword-1", "p@ssword-1"} <= set(hidden)
    assert b64encode(b"someone:p@ssword-1").decode() in hidden
