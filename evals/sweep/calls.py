"""What becomes of a call: answered, failed, or a reply without an answer; its cost; no keys.

`watched` replaces public methods of a model's API object. What the model is asked is left alone.
"""

import json
import math
import random
import re
from base64 import b64encode
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any
from urllib.parse import unquote, urlsplit

import anyio
from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessage,
    ChatMessageAssistant,
    Model,
    ModelCost,
    ModelOutput,
    ServedModelUsage,
)
from openai import AsyncOpenAI, Timeout
from openai.types import CompletionUsage
from pydantic import ValidationError

from w2s_icl.evals.sweep.stopping import Ending, status_of
from w2s_icl.scorers.multiple_choice import NO_LOGPROBS

LONGEST_WAIT = 20  # seconds between two tries of a call; Inspect waits up to half an hour
REPORTED_COST = "reported_cost"  # key of `ModelOutput.metadata`: dollars, as the endpoint says
# models that sent no log-probabilities though asked for them in this run, and what to say of each:
# no more calls are made to them
without_logprobs: dict[str, str] = {}


class NoAnswerError(RuntimeError):
    """A reply without an answer: the question is asked again."""

    def __init__(self, text: str, status_code: int | None = None) -> None:
        """What is said of it, and the HTTP status that it should have had, where it is an error."""
        super().__init__(text)
        self.status_code = status_code


def watched(model: Model, timeout: float | None = None) -> Model:
    """The same model, its calls watched; doing it twice changes nothing.

    A call is given up when the model has answered nothing, neither it nor another, for `timeout`
    seconds: a call that waits in a server's queue is not lost.
    """
    api: Any = model.api
    if hasattr(api, "w2s_watched"):
        return model
    api.w2s_watched = True
    if isinstance(getattr(api, "client", None), AsyncOpenAI):
        # each request is made once, so that Inspect sees each failure; `timeout` limits the reply
        api.client = api.client.with_options(max_retries=0, timeout=Timeout(None, connect=10))
        api.client.chat.completions.create = _as_they_are(api.client.chat.completions.create)
    if hasattr(api, "chat_choices_from_completion"):
        api.chat_choices_from_completion = _checked(api.chat_choices_from_completion, str(model))
    if hasattr(api, "request_headers"):
        # OpenRouter sends each session to a provider of its own. Inspect's is a sample: the caches
        # of a cell's providers would all be cold
        headers, session = api.request_headers, "x-session-id"
        api.request_headers = lambda c: {k: v for k, v in headers(c).items() if k != session}
    api.served_model_usage = _priced_as_reported(api.served_model_usage)
    api.should_retry = _may_pass(api.should_retry)
    api.retry_wait = lambda: _wait
    api.generate = _watched(api, str(model), timeout)
    return model


def _watched(api: Any, name: str, timeout: float | None) -> Callable[..., Any]:
    generate = api.generate
    waiting: set[anyio.CancelScope] = set()

    async def in_time(reply: Awaitable[Any]) -> Any:
        with anyio.move_on_after(timeout) as mine:
            waiting.add(mine)
            try:
                result = await reply
            finally:
                waiting.remove(mine)
            for other in waiting:
                other.deadline = anyio.current_time() + (timeout or math.inf)
            return result
        raise TimeoutError(f"no reply within {timeout:g} s (timeout)")

    async def watched_generate(input: list[ChatMessage], *args: Any, **kwargs: Any) -> Any:
        if name in without_logprobs:
            raise NoAnswerError(without_logprobs[name])
        ending = Ending.current
        prompt = hash((name, *(message.text for message in input)))

        def failed(error: Exception, passes: bool) -> None:
            name_body(error)
            scrub_error(error, secrets(api))
            if ending:
                ending.failed(name, prompt, error, passes=passes)

        try:
            async with ending.call(name, prompt) if ending else nullcontext():
                result = await in_time(generate(input, *args, **kwargs))
        except Exception as error:
            failed(error, bool(api.should_retry(error)))
            raise
        output, call = result if isinstance(result, tuple) else (result, None)
        if isinstance(output, Exception):
            failed(output, passes=False)
            call.response = scrub(call.response, secrets(api))
            return result
        config = kwargs.get("config")
        if config and config.logprobs and not any(choice.logprobs for choice in output.choices):
            without_logprobs[name] = NO_LOGPROBS.format(model=name, verb="sent none")
        cost = _cost(((call and call.response) or {}).get("usage"))
        if cost is not None:
            output.metadata = {**(output.metadata or {}), REPORTED_COST: cost}
        if ending:
            ending.answered(name, counted=output.usage is not None)
        return result

    return watched_generate


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
        if (status := status_of(error)) is not None:  # which may stand in a reply with status 200
            return status in (408, 409, 425, 429) or status >= 500
        return isinstance(error, json.JSONDecodeError | TimeoutError) or should_retry(error)

    return may_pass


def name_body(error: Exception) -> None:
    """Say in an error's text what the server said, where the client takes only the status."""
    # the client reads `{"error": {"message": ...}}`; servers also send texts, pages and other JSON
    body = getattr(error, "body", None)
    if body and re.fullmatch(r"Error code: \d+", str(error)):
        said = body if isinstance(body, str) else json.dumps(body, ensure_ascii=False, default=str)
        if "<html" in said[:1000].lower():
            said = re.sub(r"(?is)<(style|script)\b.*?</\1>|<[^>]*>", " ", said[:100_000])
        error.args = (f"{error} - {' '.join(said.split())[:300]}",)


def _as_they_are(create: Any) -> Any:
    async def create_untransformed(*, messages: Any, extra_body: Any = None, **params: Any) -> Any:
        # walking through 130 turns is most of what a call costs the client; a turn of several parts
        # (images, cache markers) is its to transform
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
            error = getattr(completion, "error", None) or "no choice"
            raise NoAnswerError(f"the reply holds no answer: {error}", 502) from None
        if finish == "error":
            raise NoAnswerError(f"the reply is an error: {getattr(first, 'error', finish)}", 502)
        if message.content is None and not said and finish in ("stop", None):
            raise NoAnswerError("the reply has no content (null)")
        message.content, completion.id = _text(message.content), str(completion.id)
        completion.model = completion.model if isinstance(completion.model, str) else name
        try:
            CompletionUsage.model_validate(completion.usage.model_dump(), strict=True)
        except (AttributeError, ValidationError):
            completion.usage = None  # unknown: the reply leaves a number of tokens out
        try:
            return choices_of(completion, tools)
        except Exception:  # for something odd beside the answer
            answer = ChatMessageAssistant(content=message.content or "", source="generate")
            return [ChatCompletionChoice(message=answer, stop_reason="stop")]

    return choices


def _text(content: Any) -> str | None:
    """The text of a reply, which may come in parts."""
    if content is None:
        return None
    parts = content if isinstance(content, list) else [content]
    said = [part.get("text") if isinstance(part, Mapping) else part for part in parts]
    texts = [text for text in said if isinstance(text, str)]
    if parts and not texts:
        raise NoAnswerError(f"the reply's content is no text but {type(content).__name__}")
    return "".join(texts)


def _cost(usage: Any) -> float | None:
    """Dollars: the endpoint's own charge, and what a provider charges to a key of one's own."""

    def dollars(of: Any, name: str) -> float | None:
        value = of.get(name) if isinstance(of, Mapping) else None
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        return float(value) if 0 <= value < math.inf else None

    cost = dollars(usage, "cost")
    if cost is None or not usage.get("is_byok"):
        return cost
    return cost + (dollars(usage.get("cost_details"), "upstream_inference_cost") or 0.0)


def _priced_as_reported(served_model_usage: Any) -> Any:
    def served(output: ModelOutput) -> list[ServedModelUsage] | None:
        cost, usage = (output.metadata or {}).get(REPORTED_COST), output.usage
        tokens = usage.input_tokens + usage.output_tokens if usage else 0
        if cost is None or not usage or not tokens:
            return served_model_usage(output)  # type: ignore[no-any-return]  # of Inspect's API
        # Inspect takes a price per million tokens here; this one gives the reported sum
        each = 1_000_000 * cost / tokens
        price = ModelCost(input=each, output=each, input_cache_write=0, input_cache_read=0)
        return [ServedModelUsage(output.model, usage, price)]

    return served


def secrets(api: Any) -> list[str]:
    """Keys and passwords that a provider was given, the longest first."""
    known = {getattr(api, name, None) for name in ("api_key", "initial_api_key")}
    url = getattr(api, "base_url", None)
    if isinstance(url, str) and (password := urlsplit(url).password):
        pair = f"{urlsplit(url).username}:{password}"
        known |= {password, unquote(password), b64encode(unquote(pair).encode()).decode()}
    return sorted((s for s in known if isinstance(s, str) and len(s) >= 6), key=len, reverse=True)


def scrub(value: Any, hidden: Sequence[str]) -> Any:
    """`value` without the texts in `hidden`, and without what has the shape of a key.

    Example:
        >>> scrub({"error": ["Incorrect API key: s3cret-key"]}, ["s3cret-key"])
        {'error': ['Incorrect API key: [key]']}
    """
    if isinstance(value, str):
        for secret in hidden:
            value = value.replace(secret, "[key]")
        return re.sub(r"\b(?:sk|pk|rk)-[A-Za-z0-9_-]{12,}", "[key]", value)
    if isinstance(value, dict):
        return {key: scrub(item, hidden) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(scrub(item, hidden) for item in value)
    return value


def scrub_error(error: BaseException | None, hidden: Sequence[str]) -> None:
    """Take keys out of an error and of all that led to it; servers repeat the key they refuse."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        error.args = scrub(error.args, hidden)
        for key, value in list(vars(error).items()):
            if isinstance(value, str | dict | list | tuple):
                setattr(error, key, scrub(value, hidden))
        error = error.__cause__ or error.__context__
