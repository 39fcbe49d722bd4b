"""A small OpenAI-compatible chat server for tests: loopback, scripted, and it forgets nothing.

Its models read the prompt as a model does: question and options from the last user message, solved
questions from the turns before it. Which option is right they look up in a question file; whether
they say so is decided by a hash of (model, prompt), with a probability that depends on the model,
on how many demonstrations it sees and on how many of their labels are right. The same prompt
always gets the same reply.
"""

import hashlib
import json
import math
import re
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import pytest

SMALL = "meta-llama/llama-3.1-8b-instruct"
MEDIUM = "meta-llama/llama-3.1-70b-instruct"
LARGE = "qwen/qwen-2.5-72b-instruct"

# probability of a right answer without demonstrations
ABILITY: Mapping[str, float] = {SMALL: 0.50, MEDIUM: 0.65, LARGE: 0.75}
LEARNED = 0.3  # what many demonstrations add to it when all their labels are right

FORMS = (
    "{0}", "{0}", "{0}", "{0})", "({0})", "{0}.", " {0}\n", "**{0}**", "The answer is {0}.",
    "Answer: {0}", "The correct answer is ({0}).",
)  # fmt: skip
UNREADABLE = ("I'm not sure about this one.", "It depends on what is meant by that.", "")

# status, in the record, of a request whose client went away before the reply was sent, and of one
# whose reply was none that a client can use
CLOSED, SPOILT = 499, 599

Demonstration = tuple[str, str]  # a user turn and the assistant's after it, "" where there is none
Questions = Sequence[Mapping[str, Any]]
Reply = tuple[int, dict[str, Any]]  # status and body
ANSWER_LINE = re.compile(r"^ANSWER: ([A-Z])$", re.MULTILINE)


@dataclass(frozen=True)
class Prompt:
    """What a request shows: the demonstrations, then the question that is asked."""

    demonstrations: tuple[Demonstration, ...]
    question: str
    options: Mapping[str, str]


@dataclass
class Request:
    """One request and what became of it."""

    number: int  # from 0, in the order of arrival
    model: str  # as the request names it
    raw: bytes  # the body
    prompt: Prompt  # what it shows
    status: int = 0  # HTTP status of the reply
    reply: str | None = None  # text of the reply, None where there was none
    answer: str | None = None  # its letter, None where it is meant to be unreadable
    right: bool = False  # whether that letter is the right one
    cost: float = 0.0  # dollars, where the server has a price
    fault: str = ""  # how the reply was spoilt

    @property
    def shots(self) -> int:
        return len(self.prompt.demonstrations)

    @property
    def option(self) -> str | None:
        """Text of the option that was answered."""
        return None if self.answer is None else self.prompt.options[self.answer]

    @property
    def text(self) -> str:
        """All that the model reads."""
        return "\n".join(message["content"] for message in self.messages)

    @property
    def messages(self) -> list[dict[str, str]]:
        found: list[dict[str, str]] = json.loads(self.raw)["messages"]
        return found


class Handler(BaseHTTPRequestHandler):
    """Brings requests to the server that it belongs to, and sends the replies."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 1 << 16
    server: "_HTTPServer"

    def do_GET(self) -> None:  # the names that http.server asks for
        self.server.owner.get(self)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        self.server.owner.post(self, self.content())

    def content(self) -> bytes:
        """The body of a request, which may come in chunks."""
        if "Content-Length" in self.headers:
            return self.rfile.read(int(self.headers["Content-Length"]))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def send(self, status: int, body: bytes, length: int | None = None) -> bool:
        """Whether the client was still there."""
        try:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body) if length is None else length))
            self.end_headers()
            self.wfile.write(body)
            self.wfile.flush()
        except OSError:  # the client was stopped
            self.close_connection = True
            return False
        return True

    def log_message(self, format: str, *args: Any) -> None:
        pass


class _HTTPServer(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # clients keep their connections open
    request_queue_size = 256
    owner: Any  # has `get(handler)` and `post(handler, body)`

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed is no error of this server's."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class Loopback:
    """A server of this process, running from `with` to its end; has `get` and `post`."""

    def __init__(self) -> None:
        self._over = threading.Event()
        self._http = _HTTPServer(("127.0.0.1", 0), Handler)
        self._http.owner = self
        self._thread = threading.Thread(target=self._http.serve_forever, daemon=True)
        self.root = f"http://127.0.0.1:{self._http.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


class OpenAIServer(Loopback):
    """All that may change between two runs is an attribute; clear `requests` to start afresh."""

    def __init__(
        self, questions: Questions, latency: float = 0.0, unreadable: float = 0.03
    ) -> None:
        super().__init__()
        self.gold = {row["question"]: row["choices"][row["label"]] for row in questions}
        self.by_options = {frozenset(row["choices"]): row["question"] for row in questions}
        self.latency = latency  # seconds before each reply
        self.unreadable = unreadable  # share of replies without an answer
        self.seed = 0  # of rates and faults, which depend on it and the request's number
        self.rates: dict[int, float] = {}  # share of requests that get a status
        self.faults: dict[str, float] = {}  # share that "stall", or whose connection is "reset"
        self.stall = 30.0  # seconds
        self.broken: dict[str, int] = {}  # status that every request to a model gets
        self.failing: dict[tuple[str, str], int] = {}  # and a question of a model
        self.error_code: str | None = None  # what is said with it
        self.mute: set[tuple[str, str]] = set()  # (model, question) of unreadable replies
        self.filtered: set[tuple[str, str]] = set()  # of replies that a filter takes
        # changes a good reply before it is sent; gives the bytes to send in its place
        self.reshape: Callable[[dict[str, Any]], object] = lambda content: None
        self.whole: Callable[[Request, dict[str, Any]], bytes] = lambda request, content: b""
        self.slot: threading.Lock | None = None  # with it, calls are taken one by one
        self.tokens: Callable[[Sequence[str]], int] | None = None  # of messages; else words
        self.price: tuple[float, float] | None = None  # of a token of prompt and reply, if any
        self.key: str | None = None  # the only one that is let in
        self.refused_keys = 0
        self.listed: Sequence[str] | None = None  # models that the server lists
        self.about: dict[str, Any] = {}  # what it says of each
        self.props: dict[str, Any] | None = None  # what it says of itself, as llama.cpp
        self.requests: list[Request] = []
        self.sessions: list[str | None] = []
        self._count = 0
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"{self.root}/api/v1"

    @property
    def environment(self) -> dict[str, str]:
        """What sends Inspect's `openrouter/` provider here."""
        return {"OPENROUTER_BASE_URL": self.url, "OPENROUTER_API_KEY": self.key or "x"}

    @property
    def answered(self) -> list[Request]:
        """Requests that got a reply, in the order of arrival."""
        return [r for r in list(self.requests) if r.status == 200]

    def refuse(self, call: Handler) -> Reply | None:
        """The reply to a request with a key that is not let in; it repeats the key, as some do."""
        key = (call.headers["Authorization"] or "").removeprefix("Bearer ")
        if self.key is None or key == self.key:
            return None
        self.refused_keys += 1
        return _error(401, f"Incorrect API key provided: {key}.")

    def get(self, call: Handler) -> None:
        """Reply with the models, or with what the server says of itself."""
        page = _page(call)
        status, content = _error(404, f"no such page: {page}")
        if page == "/props" and self.props:
            status, content = 200, self.props
        elif page == "/models" and (refused := self.refuse(call)):
            status, content = refused
        elif page == "/models" and self.listed is not None:
            about = {"object": "model", "created": 0, **self.about}
            status, content = 200, {"data": [{"id": name, **about} for name in self.listed]}
        call.send(status, json.dumps(content).encode())

    def post(self, call: Handler, body: bytes) -> None:
        """Reply to a chat, or spoil the reply."""
        self.sessions.append(call.headers["x-session-id"])
        request: Request | None = None
        if refused := self.refuse(call):
            status, content = refused
        elif _page(call) == "/chat/completions":
            status, content, request = self.handle(body)
        else:
            status, content = _error(404, f"no such page: {call.path}")
        sent = json.dumps(content).encode()
        if request and status == 200 and (whole := self.whole(request, content)):
            request.fault, request.status = "whole", SPOILT
            call.wfile.write(whole)
            call.wfile.flush()
        elif request and request.fault:
            if request.fault == "stall":
                self._over.wait(self.stall)
            call.send(status, sent[: len(sent) // 2], len(sent))
            if request.fault == "reset":  # closed with unsent data: the client sees a reset
                at_once = struct.pack("ii", 1, 0)
                call.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
                call.connection.close()
                call.close_connection = True
        elif not call.send(status, sent) and request:
            request.status = CLOSED

    def handle(self, raw: bytes) -> tuple[int, dict[str, Any], Request | None]:
        """Status and body of the reply to one request, and its record."""
        try:
            body = json.loads(raw)
            prompt = self._prompt(body)
        except (ValueError, KeyError, TypeError) as error:
            return (*_error(400, f"not understood: {error!r}"), None)
        with self._lock:
            request = Request(self._count, body["model"], raw, prompt)
            self._count += 1
            self.requests.append(request)
        with self.slot or nullcontext():
            time.sleep(self.latency)
        status, content = self._reply(request)
        request.status = SPOILT if request.fault else status
        return status, content, request

    def _reply(self, request: Request) -> Reply:
        asked = (request.model, request.prompt.question)
        if request.model not in ABILITY:
            return _error(404, f"No endpoints found for {request.model}.")
        if request.model in self.broken:
            return _error(self.broken[request.model], "this model is broken", self.error_code)
        if asked in self.failing:
            return _error(self.failing[asked], "this question is broken", self.error_code)
        if failed := _lot(self.rates, self.seed, request.number):
            return _error(failed, "not now")
        self._answer(request)
        request.fault = _lot(self.faults, "fault", self.seed, request.number) or ""
        if filtered := asked in self.filtered:
            request.answer, request.right = None, False
        words = len(request.raw.split())
        if self.tokens:
            words = self.tokens([message["content"] for message in request.messages])
        said = max(1, len((request.reply or "").split()))
        usage: dict[str, float] = {"prompt_tokens": words, "completion_tokens": said}
        usage["total_tokens"] = words + said
        if self.price:
            request.cost = words * self.price[0] + said * self.price[1]
            usage["cost"] = request.cost
        turn = {"role": "assistant", "content": None if filtered else request.reply}
        finish = "content_filter" if filtered else "stop"
        content: dict[str, Any] = {"id": f"gen-{request.number}", "object": "chat.completion"}
        content |= {"created": 1_700_000_000, "model": request.model, "usage": usage}
        content["choices"] = [{"index": 0, "message": turn, "finish_reason": finish}]
        self.reshape(content)
        return 200, content

    def _answer(self, request: Request) -> None:
        """Decide the reply: a function of (model, prompt) and of nothing else."""
        prompt = request.prompt
        options = sorted(prompt.options.items())
        key = (request.model, prompt.demonstrations, prompt.question, options)
        mute = (request.model, prompt.question) in self.mute
        if mute or _uniform("unreadable", *key) < self.unreadable:
            request.reply = _choose(UNREADABLE, "unreadable form", *key)
            return
        gold = self._letter(prompt.question, prompt.options)
        labels = [(user, label) for user, label in prompt.demonstrations if label]
        good = sum(letter_of(label) == self._letter(*_question(user)) for user, label in labels)
        chance = ABILITY[request.model]
        if labels:
            quality = 2 * good / len(labels) - 1
            chance += LEARNED * quality * (1 - math.exp(-len(labels) / 8))
        request.right = _uniform("right", *key) < chance
        wrong = [letter for letter in prompt.options if letter != gold]
        request.answer = gold if request.right else _choose(wrong, "wrong option", *key)
        request.reply = _choose(FORMS, "form", *key).format(request.answer)
        if "step by step" in request.messages[0]["content"]:
            request.reply = f"Long known: {request.option}.\n\nANSWER: {request.answer}"

    def _letter(self, question: str, options: Mapping[str, str]) -> str:
        """Letter of the right option; the question may be hidden, or stand in a transcript."""
        if question not in self.gold:
            question = self.by_options[frozenset(options.values())]
        (found,) = [letter for letter, text in options.items() if text == self.gold[question]]
        return found

    def _prompt(self, body: Mapping[str, Any]) -> Prompt:
        if body.get("stream"):
            raise ValueError("this server does not stream")
        messages = [(m["role"], m["content"]) for m in body["messages"]]
        if messages and messages[0][0] == "system":
            messages = messages[1:]
        turns: list[list[str]] = []
        for role, text in messages:
            if role == "user":
                turns.append([text, ""])
            elif role == "assistant" and turns and not turns[-1][1]:
                turns[-1][1] = text
            else:
                raise ValueError(f"roles {[role for role, _ in messages]}")
        asked, answered = turns.pop()
        if answered:
            raise ValueError("the last turn is not the user's")
        question, options = _question(asked)
        self._letter(question, options)
        for user, label in turns:
            shown, letters = _question(user)
            self._letter(shown, letters)
            if label and letter_of(label) not in letters:
                raise ValueError(f"label {label!r} of {shown!r} is no option")
        return Prompt(tuple((user, label) for user, label in turns), question, options)


@contextmanager
def at_address_of(server: OpenAIServer) -> Iterator[None]:
    """Inspect's `openrouter/` models of this process are those of a server that is running."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        # Inspect keeps the models it has made, with the address they were made for
        patch.setattr("inspect_ai.model._model._models", {})
        yield


def _page(call: Handler) -> str:
    return re.sub(r"^(/api)?(/v1)?", "", call.path)


def letter_of(label: str) -> str:
    """The letter of a label, which reasoning may stand before."""
    line = ANSWER_LINE.search(label)
    return line[1] if line else label


def _question(text: str) -> tuple[str, dict[str, str]]:
    """Question and options by letter, from one user turn."""
    options = re.findall(r"^([A-Z])[).:] (.*)$", text, re.MULTILINE)
    if len(options) < 2:
        raise ValueError(f"no question with options: {text!r}")
    asked, _, _ = f"\n{text}".partition(f"\n{options[0][0]}")  # none where it is hidden
    return asked.strip(), dict(options)


def question_of(turn: str) -> str:
    """The question in a user turn, without its options."""
    return _question(turn)[0]


def options_of(turn: str) -> dict[str, str]:
    """The options in a user turn, by letter."""
    return _question(turn)[1]


def _uniform(*key: object) -> float:
    digest = hashlib.sha256(repr(key).encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:7], "big") / 2**56


def _lot(shares: Mapping[Any, float], *key: object) -> Any:
    """The one that falls to a key, each as often as its share; None for the rest."""
    luck = _uniform(*key)
    for name, share in shares.items():
        if 0 <= luck < share:
            return name
        luck -= share
    return None


def _choose(among: Sequence[str], *key: object) -> str:
    return among[int(_uniform(*key) * len(among))]


def _error(status: int, message: str, code: str | None = None) -> Reply:
    return status, {"error": {"message": message, "code": code or status}}


def http(status: int, body: bytes, kind: str = "application/json", *more: str) -> bytes:
    """A whole reply, for `OpenAIServer.whole`."""
    head = [f"HTTP/1.1 {status} X", f"Content-Type: {kind}", f"Content-Length: {len(body)}", *more]
    return "\r\n".join([*head, "", ""]).encode() + body
