"""What becomes of a call: answered, failed, or a reply without an answer; its cost; no keys.

`watched` replaces public methods of a model's API object. What the model is asked is left alone.
"""

from __future__ import annotations

import json
import math
import random
import re
from base64 import b64encode
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any
from urllib.parse import unquote, urlsplit

import anyio
from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessage,
    ChatMessageAssistant,
    GenerateConfig,
    Model,
    ModelCost,
    ModelOutput,
    ServedModelUsage,
)
from openai import AsyncOpenAI, Timeout
from openai.types import CompletionUsage
from pydantic import ValidationError

from w2s_icl.evals.sweep.stopping import current, status_of
from w2s_icl.scorers.multiple_choice import NO_LOGPROBS

LONGEST_WAIT = 20
"""Seconds between two tries of a call at most; Inspect waits up to half an hour."""

REPORTED_COST = "reported_cost"
"""Key of `ModelOutput.metadata`: dollars that the endpoint itself says the call cost."""

KEY_SHAPE = re.compile(r"\b(?:sk|pk|rk)-[A-Za-z0-9_-]{12,}")

without_logprobs: dict[str, str] = {}
"""Models that sent no log-probabilities though asked for them in this run, and what to say of each:
no more calls are made to them."""


class NoAnswerError(RuntimeError):
    """A reply without an answer: the question is asked again.

    `status_code` is the HTTP status that it should have had, where it is an error.
    """

    status_code: int | None = None


class Queue:
    """The calls to a model that are under way, oldest first; a server may take them one by one.

    A call is given up when the model has answered nothing for `timeout` seconds since it was made.
    A call that waits while the model answers others is not lost, unless it is passed over again
    and again.
    """

    def __init__(self, timeout: float | None) -> None:
        """No call is under way; with None, none is ever given up."""
        self.timeout = timeout
        self._passed: dict[anyio.CancelScope, int] = {}

    async def call(self, make: Callable[[], Awaitable[Any]]) -> Any:
        """What `make` returns; raises TimeoutError where the call is given up."""
        if self.timeout is None:
            return await make()
        with anyio.move_on_after(self.timeout) as mine:
            self._passed[mine] = 0
            try:
                result = await make()
                self._answered(mine)
                return result
            finally:
                del self._passed[mine]
        raise TimeoutError(f"no reply within {self.timeout:g} s (timeout)")

    def _answered(self, answered: anyio.CancelScope) -> None:
        older = True
        for scope in self._passed:
            older = older and scope is not answered
            self._passed[scope] += older
            if self._passed[scope] < 2 * len(self._passed):
                scope.deadline = anyio.current_time() + (self.timeout or 0)


def watched(model: Model, timeout: float | None = None) -> Model:
    """The same model, its calls watched; doing it twice changes nothing.

    A client of the OpenAI kind makes each request once, so that Inspect sees each failure, and
    sends turns of text as they are: walking through 130 turns is most of what a call costs it.
    OpenRouter gets no session id: Inspect's, one per sample, would send the samples of a cell to
    different providers, whose caches would all be cold. `timeout` is as in `Queue`.
    """
    api: Any = model.api
    if hasattr(api, "w2s_watched"):
        return model
    api.w2s_watched = True
    if isinstance(getattr(api, "client", None), AsyncOpenAI):
        # how long a reply may take is the queue's to say
        api.client = api.client.with_options(max_retries=0, timeout=Timeout(None, connect=10))
        api.client.chat.completions.create = _as_they_are(api.client.chat.completions.create)
    if hasattr(api, "chat_choices_from_completion"):
        api.chat_choices_from_completion = _checked(api.chat_choices_from_completion, str(model))
    if hasattr(api, "request_headers"):
        headers = api.request_headers
        api.request_headers = lambda config: {
            name: value for name, value in headers(config).items() if name != "x-session-id"
        }
    api.served_model_usage = _priced_as_reported(api.served_model_usage)
    api.should_retry = _may_pass(api.should_retry)
    api.retry_wait = lambda: _wait
    api.generate = _watched(api, str(model), Queue(timeout))
    return model


def _watched(api: Any, name: str, queue: Queue) -> Callable[..., Any]:
    generate = api.generate

    async def watched_generate(input: list[ChatMessage], *args: Any, **kwargs: Any) -> Any:
        if name in without_logprobs:
            raise NoAnswerError(without_logprobs[name])
        ending = current()
        prompt = hash((name, *(message.text for message in input)))

        def failed(error: Exception, passes: bool) -> None:
            name_body(error)
            scrub_error(error, secrets(api))
            if ending:
                ending.failed(name, prompt, error, passes=passes)

        try:
            async with ending.call(name, prompt) if ending else nullcontext():
                result = await queue.call(partial(generate, input, *args, **kwargs))
        except Exception as error:
            failed(error, bool(api.should_retry(error)))
            raise
        output, call = result if isinstance(result, tuple) else (result, None)
        if isinstance(output, Exception):
            failed(output, passes=False)
            call.response = scrub(call.response, secrets(api))
            return result
        config = kwargs.get("config")
        if isinstance(config, GenerateConfig) and config.logprobs and _lacks_logprobs(output):
            without_logprobs[name] = NO_LOGPROBS.format(model=name, verb="sent none")
        cost = _cost(((call and call.response) or {}).get("usage"))
        if cost is not None:
            output.metadata = {**(output.metadata or {}), REPORTED_COST: cost}
        if ending:
            ending.answered(name, counted=output.usage is not None)
        return result

    return watched_generate


def _lacks_logprobs(output: Any) -> bool:
    return isinstance(output, ModelOutput) and not any(choice.logprobs for choice in output.choices)


def _wait(state: Any) -> float:
    """Seconds before the next try: 0.5, 1, 2, 4, ... or as the server asks, and up to half more."""
    response = getattr(state.outcome.exception(), "response", None)
    asked = str(getattr(response, "headers", {}).get("retry-after", ""))
    number = re.fullmatch(r"\d+(\.\d+)?", asked)
    seconds = float(asked) if number else 2.0 ** (state.attempt_number - 2)
    return min(LONGEST_WAIT, seconds) * random.uniform(1, 1.5)


def _may_pass(should_retry: Callable[[Exception], Any]) -> Callable[[Exception], Any]:
    def may_pass(error: Exception) -> Any:
        if "CERTIFICATE_VERIFY_FAILED" in f"{error} {error.__cause__}":
            return False
        status = status_of(error)
        if status is not None:  # which may stand in a reply with status 200
            return status in (408, 409, 425, 429) or status >= 500
        return isinstance(error, json.JSONDecodeError | TimeoutError) or should_retry(error)

    return may_pass


def name_body(error: Exception) -> None:
    """Say in an error's text what the server said, where the client takes only the status.

    It reads `{"error": {"message": ...}}`; servers also send texts, pages and other JSON.

    Example:
        >>> error = Exception("Error code: 400")
        >>> error.body = "<html><style>p {}</style><p>Too <b>many</b> turns</p></html>"
        >>> name_body(error)
        >>> str(error)
        'Error code: 400 - Too many turns'
    """
    body = getattr(error, "body", None)
    if not body or not re.fullmatch(r"Error code: \d+", str(error)):
        return
    said = body if isinstance(body, str) else json.dumps(body, ensure_ascii=False, default=str)
    if "<html" in said.lower():
        said = re.sub(r"(?is)<(style|script)\b.*?</\1>|<[^>]*>", " ", said)
    if said := " ".join(said[:100_000].split())[:300]:
        error.args = (f"{error} - {said}",)


# --- replies --------------------------------------------------------------------------------------


def _as_they_are(create: Any) -> Any:
    async def create_untransformed(
        *,
        messages: list[Mapping[str, Any]],
        extra_body: Mapping[str, Any] | None = None,
        **params: Any,
    ) -> Any:
        # a turn of several parts (images, cache markers) is the client's to transform
        if all(isinstance(message.get("content"), str) for message in messages):
            extra_body = {**(extra_body or {}), "messages": messages}
            messages = []
        return await create(messages=messages, extra_body=extra_body, **params)

    return create_untransformed


def _checked(choices_of: Any, name: str) -> Any:
    """Refuse replies without an answer; mend what only the books need."""

    def choices(completion: Any, tools: Any) -> Any:
        try:
            first = completion.choices[0]
            message, finish = first.message, first.finish_reason
            said = {key: value for key, value in message if key != "role" and value}
        except (AttributeError, IndexError, TypeError, ValueError):
            raise _no_answer("the reply holds no choice", completion) from None
        if finish == "error":
            raise _no_answer("the reply reports an error", first)
        if message.content is None and not said and finish in ("stop", None):
            raise NoAnswerError("the reply has no content (null)")
        message.content = _text(message.content)
        completion.id = str(completion.id)
        if not isinstance(completion.model, str):
            completion.model = name
        if not _counted(completion.usage):
            completion.usage = None
        try:
            return choices_of(completion, tools)
        except Exception:  # for something odd beside the answer
            answer = ChatMessageAssistant(content=message.content or "", source="generate")
            return [ChatCompletionChoice(message=answer, stop_reason="stop")]

    return choices


def _text(content: Any) -> str | None:
    """The text of a reply, which may come in parts."""
    if content is None or isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else [content]
    said = [part.get("text") if isinstance(part, Mapping) else part for part in parts]
    texts = [text for text in said if isinstance(text, str)]
    if parts and not texts:
        raise NoAnswerError(f"the reply's content is no text but {type(content).__name__}")
    return "".join(texts)


def _no_answer(text: str, part: Any) -> NoAnswerError:
    error = getattr(part, "error", None)
    made = NoAnswerError(f"{text}: {error}" if error else text)
    made.status_code = 502
    return made


def _counted(usage: Any) -> bool:
    """Whether a reply says how many tokens it took; a part that it leaves out is unknown."""
    try:
        CompletionUsage.model_validate(usage.model_dump(), strict=True)
    except (AttributeError, ValidationError):
        return False
    return True


def _cost(usage: Any) -> float | None:
    """Dollars: the endpoint's own charge, and what a provider charges to a key of one's own."""

    def number(of: Any, name: str) -> float | None:
        value = of.get(name) if isinstance(of, Mapping) else None
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        return float(value) if 0 <= value < math.inf else None

    cost, upstream = number(usage, "cost"), 0.0
    if cost is None:
        return None
    if usage.get("is_byok"):
        upstream = number(usage.get("cost_details"), "upstream_inference_cost") or 0.0
    return cost + upstream


def _priced_as_reported(served_model_usage: Any) -> Any:
    def served(output: ModelOutput) -> list[ServedModelUsage] | None:
        cost = (output.metadata or {}).get(REPORTED_COST)
        usage = output.usage
        if cost is None or usage is None or usage.input_tokens + usage.output_tokens == 0:
            as_before: list[ServedModelUsage] | None = served_model_usage(output)
            return as_before
        # Inspect takes a price per token here; this one gives the reported sum
        each = 1_000_000 * cost / (usage.input_tokens + usage.output_tokens)
        price = ModelCost(input=each, output=each, input_cache_write=0, input_cache_read=0)
        return [ServedModelUsage(output.model, usage, price)]

    return served


# --- keys -----------------------------------------------------------------------------------------


def secrets(api: Any) -> list[str]:
    """Keys and passwords that a provider was given, the longest first."""
    known = {getattr(api, name, None) for name in ("api_key", "initial_api_key")}
    url = getattr(api, "base_url", None)
    if isinstance(url, str) and (password := urlsplit(url).password):
        pair = f"{urlsplit(url).username}:{password}"
        known |= {password, unquote(password), b64encode(unquote(pair).encode()).decode()}
    long = [s for s in known if isinstance(s, str) and len(s) >= 6]
    return sorted(long, key=len, reverse=True)


def scrub(value: Any, hidden: Sequence[str]) -> Any:
    """`value` without the texts in `hidden`, and without what has the shape of a key.

    Example:
        >>> scrub({"error": ["Incorrect API key: s3cret-key"]}, ["s3cret-key"])
        {'error': ['Incorrect API key: [key]']}
    """
    if isinstance(value, str):
        for secret in hidden:
            value = value.replace(secret, "[key]")
        return KEY_SHAPE.sub("[key]", value)
    if isinstance(value, dict):
        return {key: scrub(item, hidden) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(scrub(item, hidden) for item in value)
    return value


def scrub_error(error: BaseException, hidden: Sequence[str]) -> None:
    """Take keys out of an error and of all that led to it; servers repeat the key they refuse."""
    seen: set[int] = set()
    chain: list[BaseException | None] = [error]
    while chain:
        one = chain.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        one.args = scrub(one.args, hidden)
        for key, value in list(vars(one).items()):
            if isinstance(value, str | dict | list | tuple):
                setattr(one, key, scrub(value, hidden))
        chain += [one.__cause__, one.__context__]
