"""A study's models: made, priced, listed by their endpoints, and what becomes of their calls.

`watched` replaces public methods of a model's API object: a call is answered, failed, or a reply
without an answer; its cost and no keys are logged. What the model is asked is left alone.
"""

import difflib
import json
import math
import os
import random
import re
from base64 import b64encode
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from importlib.util import find_spec
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import anyio
import inspect_ai.model as imodel
import rich
from openai import APIConnectionError, AsyncOpenAI, OpenAI, Timeout
from openai.types import CompletionUsage
from pydantic import ValidationError

from w2s_icl.errors import W2SError
from w2s_icl.evals.study import Study, takes_batches
from w2s_icl.evals.sweep.stopping import Ending, cause_of, status_of
from w2s_icl.record import STANDIN
from w2s_icl.scorers.multiple_choice import NO_LOGPROBS

CONNECTIONS = 20  # calls under way at once to each model, where the study does not say
# packages of the providers that load a model themselves; with an address they need none
LOADERS: dict[str, tuple[str, ...]] = {"hf": ("torch", "transformers", "accelerate")}
LOADERS |= {name: (name,) for name in ("nnterp", "sglang", "transformer_lens", "vllm")}
# providers whose model names are what their owner calls them: Inspect's table means others
OWN_NAMES = (*LOADERS, "openai-api", "ollama", "llama-cpp-python", "mockllm", STANDIN.rstrip("/"))
LONGEST_WAIT = 20  # seconds between two tries of a call; Inspect waits up to half an hour
REPORTED_COST = "reported_cost"  # key of `ModelOutput.metadata`: dollars, as the endpoint says
# models that sent no log-probabilities though asked for them in this run, and what to say of each:
# no more calls are made to them
without_logprobs: dict[str, str] = {}


@contextmanager
def quiet_console(quiet: bool = True) -> Iterator[None]:
    """Keep what Inspect prints by itself off the screen."""
    printer = rich.get_console()
    before, printer.quiet = printer.quiet, quiet
    try:
        yield
    finally:
        printer.quiet = before


def model_info(model: str) -> imodel.ModelInfo:
    """What Inspect's model table says of a model; nothing where it lacks this very name."""
    # the public look-up settles on a name that is only like it
    from inspect_ai.model._model_info import _get_custom_model_info, _strict_db_key

    names = () if model.split("/")[0] in OWN_NAMES else (model, model.partition("/")[2])
    exact = next(filter(_strict_db_key, names), None)
    known = imodel.get_model_info(exact) if exact else None
    return _get_custom_model_info(model) or known or imodel.ModelInfo()


def set_prices(study: Study) -> None:
    """Tell Inspect the study's prices, so that its logs carry dollars."""
    for model, price in study.prices.items():
        cached = (price.cache_read, price.cache_write)
        read, write = (price.input if of is None else of for of in cached)
        cost = imodel.ModelCost(
            input=price.input, output=price.output, input_cache_read=read, input_cache_write=write
        )
        # registered with what Inspect's table says besides: a cost alone fails at the first call
        imodel.set_model_info(model, model_info(model).model_copy(update={"cost": cost}))


def model_of(study: Study, name: str) -> imodel.Model:
    """A model as the study asks it: the same one each time, since some load weights when made."""
    batch = (study.batch or None) if takes_batches(name) else None
    connections = study.max_connections or (None if batch else CONNECTIONS)
    # eight tries are made within a minute and a half
    config = imodel.GenerateConfig(max_connections=connections, batch=batch, max_retries=8)
    with quiet_console():  # with the first model, Inspect prints which hooks there are
        model = imodel.get_model(name, config=config, **dict(study.model_args.get(name, {})))
    return watched(model, None if batch else study.timeout)  # a batch takes hours


def refuse_unusable_models(study: Study) -> None:
    """Make each model that is made without loading it; raises W2SError, and asks no endpoint."""
    for model in study.models:
        provider = model.partition("/")[0]
        lacks = [name for name in LOADERS.get(provider, ()) if find_spec(name) is None]
        served = {"base_url", "port"} & {*study.model_args.get(model, ())}
        if lacks and not served and f"{provider.upper()}_BASE_URL" not in os.environ:
            raise W2SError(f"models: {model} needs packages: pip install {' '.join(lacks)}")
        if provider in LOADERS:
            continue
        try:
            model_of(study, model)
        except W2SError as error:
            raise W2SError(f"models: {error.message}") from None
        except Exception as error:  # whatever a provider raises that cannot be made
            said = " ".join(re.sub(r"\[/?[a-z ]+\]", "", str(error)).split())
            if "not recognized" in said or "format of <api_name>" in said:
                said = "Inspect has no such provider; a model is PROVIDER/NAME, as openai/gpt-4o"
            raise W2SError(f"models: {model}: {said.removeprefix('ERROR: ')}") from None


class Served(NamedTuple):
    """What the endpoint of a model says of it."""

    context: int | None = None  # tokens that prompt and reply may have; None where it does not say
    problem: str = ""  # why the model cannot be asked; "" where nothing is known against it


def look_up(study: Study, models: Iterable[str]) -> dict[str, Served]:
    """Ask the endpoints of the models, as far as they are of the OpenAI kind, for their lists."""
    lists: dict[tuple[str, str], dict[str, Any] | str] = {}
    served: dict[str, Served] = {}
    for model in models if study.check_models else ():
        provider = model.split("/")[0]
        if provider in LOADERS and not os.environ.get(f"{provider.upper()}_BASE_URL"):
            continue
        api: Any = model_of(study, model).api
        url, key = getattr(api, "base_url", None), getattr(api, "api_key", None)
        if isinstance(getattr(api, "client", None), AsyncOpenAI) and url and key:
            if (url, key) not in lists:
                lists[url, key] = _listed(api, url, key)
            named = getattr(api, "service_model_name", None)
            name = named() if named else api.model_name
            served[model] = _served(name, lists[url, key])
    return served


def _served(name: str, listed: dict[str, Any] | str) -> Served:
    if isinstance(listed, str):
        return Served(problem=listed)
    known = {id_.removesuffix(":latest"): about for id_, about in listed.items()}
    # variants of a model, as OpenRouter's `:free`, need not be listed
    about = known.get(name.removesuffix(":latest"), known.get(name.partition(":")[0]))
    if about is not None or not known:
        return Served(min(_contexts(about), default=None))
    near = ", ".join(difflib.get_close_matches(name, known, n=3))
    said = f"is not among the {len(known)} models that its endpoint lists"
    said += f"; near are {near}" if near else ""
    return Served(problem=f"{said}. If it is served all the same, set check_models: false")


def _contexts(about: Any) -> Iterator[int]:
    """Numbers of tokens in what a server says of a model, or of itself."""
    names = ("max_model_len", "n_ctx", "context_length", "context_window", "max_context_length")
    for key, value in about.items() if isinstance(about, dict) else ():
        if key in names and type(value) is int and value > 0:
            yield value
        else:
            yield from _contexts(value)


def _listed(api: Any, url: str, key: str) -> dict[str, Any] | str:
    """What an endpoint says of its models by name, none where it cannot tell; or what is wrong."""
    try:
        with OpenAI(api_key=key, base_url=url, timeout=8, max_retries=0) as client:
            listed = {one.id: one.to_dict() for one in client.models.list()}
            if url.startswith("http://"):  # llama.cpp's context is a slot's, and stands elsewhere
                with suppress(Exception):
                    root = url.rstrip("/").removesuffix("/v1")
                    props = client.get(f"{root}/props", cast_to=object)
                    listed = {id_: {**about, "props": props} for id_, about in listed.items()}
            return listed
    except Exception as error:  # whatever a page that is no list makes the client raise
        scrub_error(error, secrets(api))
        said, shown = cause_of(error), scrub(url, secrets(api))
        if isinstance(error, APIConnectionError):
            return f"nothing answers at {shown} ({said})"
        return f"the endpoint refuses: {said}" if status_of(error) in (401, 402) else {}


class NoAnswerError(RuntimeError):
    """A reply without an answer: the question is asked again."""

    def __init__(self, text: str, status_code: int | None = None) -> None:
        """What is said of it, and the HTTP status that it should have had, where it is an error."""
        super().__init__(text)
        self.status_code = status_code


def watched(model: imodel.Model, timeout: float | None = None) -> imodel.Model:
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
        create = api.client.chat.completions.create
        api.client.chat.completions.create = partial(_as_they_are, create)
    if hasattr(api, "chat_choices_from_completion"):
        choices_of = api.chat_choices_from_completion
        api.chat_choices_from_completion = partial(_checked, choices_of, str(model))
    if hasattr(api, "request_headers"):
        # OpenRouter sends each session to a provider of its own. Inspect's is a sample: the caches
        # of a cell's providers would all be cold
        headers, session = api.request_headers, "x-session-id"
        api.request_headers = lambda c: {k: v for k, v in headers(c).items() if k != session}
    api.served_model_usage = partial(_priced_as_reported, api.served_model_usage)
    api.should_retry = partial(_may_pass, api.should_retry)
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

    async def watched_generate(input: list[imodel.ChatMessage], *args: Any, **kwargs: Any) -> Any:
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


def _may_pass(should_retry: Callable[[Exception], Any], error: Exception) -> Any:
    if "CERTIFICATE_VERIFY_FAILED" in f"{error} {error.__cause__}":
        return False
    if (status := status_of(error)) is not None:  # which may stand in a reply with status 200
        return status in (408, 409, 425, 429) or status >= 500
    return isinstance(error, json.JSONDecodeError | TimeoutError) or should_retry(error)


def name_body(error: Exception) -> None:
    """Say in an error's text what the server said, where the client takes only the status."""
    # the client reads `{"error": {"message": ...}}`; servers also send texts, pages and other JSON
    body = getattr(error, "body", None)
    if body and re.fullmatch(r"Error code: \d+", str(error)):
        said = body if isinstance(body, str) else json.dumps(body, ensure_ascii=False, default=str)
        if "<html" in said[:1000].lower():
            said = re.sub(r"(?is)<(style|script)\b.*?</\1>|<[^>]*>", " ", said[:100_000])
        error.args = (f"{error} - {' '.join(said.split())[:300]}",)


async def _as_they_are(create: Any, *, messages: Any, extra_body: Any = None, **params: Any) -> Any:
    # walking through 130 turns is most of what a call costs the client; a turn of several parts
    # (images, cache markers) is its to transform
    if all(isinstance(message.get("content"), str) for message in messages):
        extra_body, messages = {**(extra_body or {}), "messages": messages}, []
    return await create(messages=messages, extra_body=extra_body, **params)


def _checked(choices_of: Any, name: str, completion: Any, tools: Any) -> Any:
    """Refuse replies without an answer; mend what only the books need."""
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
        answer = imodel.ChatMessageAssistant(content=message.content or "", source="generate")
        return [imodel.ChatCompletionChoice(message=answer, stop_reason="stop")]


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
        value: Any = of.get(name) if isinstance(of, Mapping) else None
        known = type(value) in (int, float) and 0 <= value < math.inf
        return float(value) if known else None

    cost = dollars(usage, "cost")
    if cost is None or not usage.get("is_byok"):
        return cost
    return cost + (dollars(usage.get("cost_details"), "upstream_inference_cost") or 0.0)


def _priced_as_reported(served_model_usage: Any, output: imodel.ModelOutput) -> Any:
    cost, usage = (output.metadata or {}).get(REPORTED_COST), output.usage
    tokens = usage.input_tokens + usage.output_tokens if usage else 0
    if cost is None or not usage or not tokens:
        return served_model_usage(output)
    # Inspect takes a price per million tokens here; this one gives the reported sum
    each = 1_000_000 * cost / tokens
    price = imodel.ModelCost(input=each, output=each, input_cache_write=0, input_cache_read=0)
    return [imodel.ServedModelUsage(output.model, usage, price)]


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
        vars(error).update(scrub(vars(error), hidden))
        error = error.__cause__ or error.__context__
