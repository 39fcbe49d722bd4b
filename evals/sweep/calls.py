"""What becomes of a call: answered, failed, or a reply that is none; its cost; no keys in errors.

`watched` replaces public methods of a model's API object. What the model is asked is left alone.
"""

from __future__ import annotations

import json
import random
import re
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any
from urllib.parse import unquote, urlsplit

from inspect_ai.model import (
    ChatMessage,
    GenerateConfig,
    Model,
    ModelCost,
    ModelOutput,
    ServedModelUsage,
)
from openai import AsyncOpenAI

from w2s_icl.evals.sweep.stopping import cause_of, current, status_of
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

    Attributes:
        status_code: The HTTP status that it should have had, where it is an error.
    """

    status_code: int | None = None


def watched(model: Model) -> Model:
    """The same model, its calls watched; doing it twice changes nothing.

    A client of the OpenAI kind makes each request once, so that Inspect sees each failure, and
    sends turns of text as they are: walking through 130 turns is most of what a call costs it.
    OpenRouter gets no session id: Inspect's, one per sample, would send the samples of a cell to
    different providers, whose caches would all be cold.
    """
    api: Any = model.api
    if hasattr(api, "w2s_watched"):
        return model
    api.w2s_watched = True
    if isinstance(getattr(api, "client", None), AsyncOpenAI):
        api.client = api.client.with_options(max_retries=0)
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
    api.generate = _watched(api, str(model))
    return model


def _watched(api: Any, name: str) -> Callable[..., Any]:
    generate = api.generate

    async def watched_generate(input: list[ChatMessage], *args: Any, **kwargs: Any) -> Any:
        ending = current()
        if name in without_logprobs:
            raise NoAnswerError(without_logprobs[name])
        try:
            async with ending.call() if ending else nullcontext():
                result = await generate(input, *args, **kwargs)
        except Exception as error:
            hidden = secrets(api)
            scrub_error(error, hidden)
            if ending:
                ending.failed(name, input[-1].text, error, passes=bool(api.should_retry(error)))
            raise
        output, call = result if isinstance(result, tuple) else (result, None)
        config = kwargs.get("config")
        if isinstance(config, GenerateConfig) and config.logprobs and _lacks_logprobs(output):
            without_logprobs[name] = NO_LOGPROBS.format(model=name, verb="sent none")
        if isinstance(output, Exception):
            scrub_error(output, secrets(api))
            call.response = scrub(call.response, secrets(api))
            if ending:
                ending.failed(name, input[-1].text, output, passes=False)
        else:
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
    seconds = float(asked) if asked.isdecimal() else 2.0 ** (state.attempt_number - 2)
    return min(LONGEST_WAIT, seconds) * random.uniform(1, 1.5)


def _may_pass(should_retry: Callable[[Exception], Any]) -> Callable[[Exception], Any]:
    def may_pass(error: Exception) -> Any:
        if "CERTIFICATE_VERIFY_FAILED" in cause_of(error):
            return False
        status = status_of(error)
        if status is not None:  # which may stand in a reply with status 200
            return status in (408, 409, 429) or status >= 500
        return isinstance(error, json.JSONDecodeError) or should_retry(error)

    return may_pass


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
        if isinstance(message.content, list):
            parts = [part.get("text") for part in message.content if isinstance(part, Mapping)]
            message.content = "".join(text for text in parts if isinstance(text, str))
        if not isinstance(completion.model, str):
            completion.model = name
        if not _counted(completion.usage):
            completion.usage = None
        return choices_of(completion, tools)

    return choices


def _no_answer(text: str, part: Any) -> NoAnswerError:
    error = getattr(part, "error", None)
    made = NoAnswerError(f"{text}: {error}" if error else text)
    made.status_code = 502
    return made


def _counted(usage: Any) -> bool:
    """Whether a reply says how many tokens it took; a part that it leaves out is unknown."""
    names = ("prompt_tokens", "completion_tokens", "total_tokens")
    details = [
        getattr(getattr(usage, "prompt_tokens_details", None), name, None)
        for name in ("cached_tokens", "cache_write_tokens")
    ]
    reasoning = getattr(getattr(usage, "completion_tokens_details", None), "reasoning_tokens", None)
    return all(type(getattr(usage, name, None)) is int for name in names) and all(
        value is None or type(value) is int for value in (*details, reasoning)
    )


def _cost(usage: Any) -> float | None:
    """Dollars: the endpoint's own charge, and what a provider charges to a key of one's own."""
    cost = usage.get("cost") if isinstance(usage, Mapping) else None
    if isinstance(cost, bool) or not isinstance(cost, int | float):
        return None
    details = usage.get("cost_details")
    upstream = details.get("upstream_inference_cost") if isinstance(details, Mapping) else None
    return float(cost) + (float(upstream or 0) if usage.get("is_byok") else 0.0)


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
