"""A study's models: how they are made, what they cost, whether their endpoints have them."""

from __future__ import annotations

import difflib
import math
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
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
from w2s_icl.evals.study import NOT_LOOKED_UP, Study, takes_batches
from w2s_icl.evals.sweep.calls import scrub, scrub_error, secrets, watched
from w2s_icl.evals.sweep.stopping import cause_of, status_of

CONNECTIONS = 20
"""Calls under way at once to each model, where the study does not say."""

RETRIES = 8
"""How often a failed call is made again, within a minute and a half."""

PATIENCE = 20.0
"""Seconds that an endpoint may take to list its models."""


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
    with quiet_console():
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
    config = GenerateConfig(
        max_connections=study.max_connections or (None if batch else CONNECTIONS),
        batch=batch,
        max_retries=RETRIES,
        # a batch takes hours
        attempt_timeout=None if batch else math.ceil(study.timeout),
    )
    with quiet_console():  # with the first model, Inspect prints which hooks there are
        model = get_model(name, config=config, **dict(study.model_args.get(name, {})))
    return watched(model)


LOADERS = {
    "hf": ("torch", "transformers", "accelerate"),
    "nnterp": ("nnterp",),
    "sglang": ("sglang",),
    "transformer_lens": ("transformer_lens",),
    "vllm": ("vllm",),
}
"""Packages of the providers that load a model themselves; with an address they need none."""


def refuse_unusable_models(study: Study) -> None:
    """Make each model that is made without loading it; no endpoint is asked.

    Raises:
        W2SError: Inspect has no such provider, or it lacks its key, a package or an argument.
    """
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


def refuse_unknown_models(study: Study, models: Iterable[str]) -> None:
    """Ask the endpoints of the models for their lists of models.

    An endpoint that answers without a list cannot tell: the run goes on.

    Raises:
        W2SError: Nothing answers, the key is refused, or a list lacks a model.
    """
    lists: dict[tuple[str, str], list[str]] = {}
    for model in models:
        api: Any = model_of(study, model).api
        url, key = getattr(api, "base_url", None), getattr(api, "api_key", None)
        if not (isinstance(url, str) and isinstance(key, str) and hasattr(api, "client")):
            continue  # no endpoint of the OpenAI kind
        if (url, key) not in lists:
            lists[url, key] = _listed(model, api, url, key)
        known = lists[url, key]
        name = api.service_model_name() if hasattr(api, "service_model_name") else api.model_name
        # variants of a model, as OpenRouter's `:free`, need not be listed
        if known and name not in known and name.partition(":")[0] not in known:
            near = difflib.get_close_matches(name, known, n=3)
            raise W2SError(
                f"models: {model} is not among the {len(known)} models that its endpoint lists"
                + (f"; near are {', '.join(near)}" if near else "")
                + ". If it is served all the same, set check_models: false"
            )


def _listed(model: str, api: Any, url: str, key: str) -> list[str]:
    """Names of the models that an endpoint lists; none where it cannot tell."""
    from openai import APIConnectionError, OpenAI

    if type(api.client).__module__.split(".")[0] != "openai":
        return []
    try:
        with OpenAI(api_key=key, base_url=url, timeout=PATIENCE, max_retries=1) as client:
            return [listed.id for listed in client.models.list()]
    except Exception as error:  # whatever a page that is no list makes the client raise
        scrub_error(error, secrets(api))
        said, shown = cause_of(error), scrub(url, secrets(api))
        if isinstance(error, APIConnectionError):
            raise W2SError(f"models: {model}: nothing answers at {shown} ({said})") from None
        if status_of(error) in (401, 402):
            raise W2SError(f"models: {model}: the endpoint refuses: {said}") from None
        return []
