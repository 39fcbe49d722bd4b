"""A study's models: as `get_model` makes them, but sending and billing as a sweep needs it.

Nothing here changes what a model is asked: the bytes of a request's body are the same. Inspect's
retries, rate limits and logging are untouched, and a provider that a point does not apply to is
left as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import rich
from inspect_ai.model import (
    GenerateConfig,
    Model,
    ModelCost,
    ModelInfo,
    ModelOutput,
    get_model,
    get_model_info,
    set_model_info,
)
from inspect_ai.model._model_output import ServedModelUsage
from openai import AsyncOpenAI

from w2s_icl.evals.study import NOT_LOOKED_UP, Study, takes_batches
from w2s_icl.evals.sweep.gate import guard

REPORTED_COST = "reported_cost"
"""Key of `ModelOutput.metadata`: dollars that the endpoint itself says the call cost."""


def lean(model: Model) -> Model:
    """The same model, made ready for a sweep.

    Its OpenAI client, where it has one, sends turns of text as they are. It would walk through
    every turn and compare it with the types of the API first: at 64 demonstrations most of what a
    call costs the client, and for nothing, since Inspect has made the turns in that form already.

    A call's own cost, where the reply carries it in `usage.cost` as OpenRouter's do, is the cost
    that is logged.

    No session id goes out with a call. Inspect sends OpenRouter one per sample, which keeps the
    turns of an agent with one provider; here all samples share a prefix, and without an id
    OpenRouter routes by the start of the prompt: one provider, whose cache is warm.

    Doing it twice changes nothing.
    """
    api: Any = model.api
    client = getattr(api, "client", None)
    if not isinstance(client, AsyncOpenAI) or hasattr(api, "w2s_lean"):
        return model
    api.w2s_lean = True
    completions: Any = client.chat.completions
    completions.create = _as_they_are(completions.create)
    api.generate = _with_reported_cost(api.generate)
    api.served_model_usage = _priced_as_reported(api.served_model_usage)
    if hasattr(api, "request_headers"):
        api.request_headers = _without_session(api.request_headers)
    return model


def _as_they_are(create: Any) -> Any:
    async def lean_create(
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

    return lean_create


def _with_reported_cost(generate: Any) -> Any:
    async def lean_generate(*args: Any, **kwargs: Any) -> Any:
        result = await generate(*args, **kwargs)
        output, call = result if isinstance(result, tuple) else (result, None)
        usage = (call.response or {}).get("usage") if call is not None else None
        if isinstance(output, ModelOutput) and isinstance(usage, Mapping):
            cost = _cost(usage)
            if cost is not None:
                output.metadata = {**(output.metadata or {}), REPORTED_COST: cost}
        return result

    return lean_generate


def _cost(usage: Mapping[str, Any]) -> float | None:
    """Dollars: the endpoint's own charge, and what a provider charges to a key of one's own."""
    cost = usage.get("cost")
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
            found: list[ServedModelUsage] | None = served_model_usage(output)
            return found
        # Inspect takes a price per token here; this one gives the reported sum
        each = 1_000_000 * cost / (usage.input_tokens + usage.output_tokens)
        price = ModelCost(input=each, output=each, input_cache_write=0, input_cache_read=0)
        return [ServedModelUsage(output.model, usage, price)]

    return served


def _without_session(request_headers: Any) -> Any:
    def headers(config: Any) -> dict[str, str]:
        sent: Mapping[str, str] = request_headers(config)
        return {name: value for name, value in sent.items() if name != "x-session-id"}

    return headers


@contextmanager
def quiet_console(quiet: bool = True) -> Iterator[None]:
    """Keep what Inspect prints by itself off the screen."""
    printer = rich.get_console()
    before, printer.quiet = printer.quiet, quiet
    try:
        yield
    finally:
        printer.quiet = before


def model_info(model: str) -> ModelInfo | None:
    """What Inspect's model table says of a model; None where it is not there."""
    # Inspect makes the model itself to look up a name that it does not know: that loads weights;
    # and settles on a name that is only like it
    if model.split("/")[0] in NOT_LOOKED_UP:
        return None
    with quiet_console():  # as in `model_of`
        return get_model_info(model)


def set_prices(study: Study) -> None:
    """Tell Inspect the study's prices, so that its logs carry dollars.

    Models outside Inspect's table must be registered before their cost is set, or the first call
    fails.
    """
    for model, price in study.prices.items():
        cost = ModelCost(
            input=price.input,
            output=price.output,
            input_cache_read=price.input if price.cache_read is None else price.cache_read,
            input_cache_write=price.input if price.cache_write is None else price.cache_write,
        )
        # what Inspect's table says besides stays
        info = model_info(model) or ModelInfo()
        set_model_info(model, info.model_copy(update={"cost": cost}))


def model_of(study: Study, name: str) -> Model:
    """A model as the study asks it: the same one each time, since some load weights when made."""
    batch = (study.batch or None) if takes_batches(name) else None
    config = GenerateConfig(max_connections=study.max_connections, batch=batch)
    with quiet_console():  # with the first model, Inspect prints which hooks there are
        model = get_model(name, config=config, **dict(study.model_args.get(name, {})))
    # the gate is the outermost: it counts what becomes of a call in the end
    return guard(lean(model), None if batch else study.timeout)
