"""A study's models: how they are made, what they cost, what their endpoints say of them."""

import difflib
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import rich
from inspect_ai.model import (
    GenerateConfig,
    Model,
    ModelCost,
    ModelInfo,
    get_model,
    get_model_info,
    set_model_info,
)

from w2s_icl.errors import W2SError
from w2s_icl.evals.study import Study, takes_batches
from w2s_icl.evals.sweep.calls import scrub, scrub_error, secrets, watched
from w2s_icl.evals.sweep.stopping import cause_of, status_of
from w2s_icl.record import STANDIN

CONNECTIONS = 20  # calls under way at once to each model, where the study does not say
# packages of the providers that load a model themselves; with an address they need none
LOADERS: dict[str, tuple[str, ...]] = {
    name: (name,) for name in ("nnterp", "sglang", "transformer_lens", "vllm")
}
LOADERS |= {"hf": ("torch", "transformers", "accelerate")}
# providers whose model names are what their owner calls them: Inspect's table means others
OWN_NAMES = (*LOADERS, "openai-api", "ollama", "llama-cpp-python", "mockllm", STANDIN.rstrip("/"))


@contextmanager
def quiet_console(quiet: bool = True) -> Iterator[None]:
    """Keep what Inspect prints by itself off the screen."""
    printer = rich.get_console()
    before, printer.quiet = printer.quiet, quiet
    try:
        yield
    finally:
        printer.quiet = before


def model_info(model: str) -> ModelInfo:
    """What Inspect's model table says of a model; nothing where it lacks this very name."""
    # the public look-up settles on a name that is only like it
    from inspect_ai.model._model_info import _get_custom_model_info, _strict_db_key

    names = () if model.split("/")[0] in OWN_NAMES else (model, model.partition("/")[2])
    exact = next(filter(_strict_db_key, names), None)
    known = get_model_info(exact) if exact else None
    return _get_custom_model_info(model) or known or ModelInfo()


def set_prices(study: Study) -> None:
    """Tell Inspect the study's prices, so that its logs carry dollars."""
    for model, price in study.prices.items():
        cached = (price.cache_read, price.cache_write)
        read, write = (price.input if of is None else of for of in cached)
        cost = ModelCost(
            input=price.input, output=price.output, input_cache_read=read, input_cache_write=write
        )
        # registered with what Inspect's table says besides: a cost alone fails at the first call
        set_model_info(model, model_info(model).model_copy(update={"cost": cost}))


def model_of(study: Study, name: str) -> Model:
    """A model as the study asks it: the same one each time, since some load weights when made."""
    batch = (study.batch or None) if takes_batches(name) else None
    connections = study.max_connections or (None if batch else CONNECTIONS)
    # eight tries are made within a minute and a half
    config = GenerateConfig(max_connections=connections, batch=batch, max_retries=8)
    with quiet_console():  # with the first model, Inspect prints which hooks there are
        model = get_model(name, config=config, **dict(study.model_args.get(name, {})))
    # a batch takes hours
    return watched(model, None if batch else study.timeout)


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


@dataclass(frozen=True)
class Served:
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
        client = type(getattr(api, "client", None)).__module__.split(".")[0]
        if client == "openai" and url and key:
            if (url, key) not in lists:
                lists[url, key] = _listed(api, url, key)
            named = hasattr(api, "service_model_name")
            name = api.service_model_name() if named else api.model_name
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
    from openai import APIConnectionError, OpenAI

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
