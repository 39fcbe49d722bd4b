"""Before the first paid call: what in the log directory is torn, and which models are not there."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from inspect_ai.log import list_eval_logs, read_eval_log, read_eval_log_sample_summaries

from w2s_icl.evals.gate import KEY_REFUSED, first_line, scrub_error, secrets, status_of
from w2s_icl.evals.plan import finished_cells, key_of
from w2s_icl.evals.study import Cell, Study, StudyError, model_of

TORN = ".torn"
"""What is added to the name of a log that cannot be read: Inspect stops at such a file."""

PATIENCE = 20.0
"""Seconds that an endpoint may take to list its models."""


def set_torn_aside(log_dir: str) -> list[str]:
    """Rename the logs that a full disk or a crash has torn; nothing in them can be read.

    Returns:
        Names of the files before.
    """
    import fsspec

    torn = []
    for info in list_eval_logs(log_dir):
        try:
            read_eval_log(info, header_only=True)
            read_eval_log_sample_summaries(info)
        except OSError:
            raise
        except Exception:  # a torn zip raises whatever its first bad byte leads to
            files, path = fsspec.core.url_to_fs(info.name)
            files.mv(path, path + TORN)
            torn.append(info.name.rsplit("/", 1)[-1])
    return torn


def refuse_unknown_models(study: Study, cells: Iterable[Cell], log_dir: str) -> None:
    """Ask the endpoints of models that are still to be called for their lists of models.

    An endpoint that has no such list, or does not answer, cannot tell: the run goes on.

    Raises:
        StudyError: A list lacks a model of the study, or the key is refused.
    """
    done = finished_cells(log_dir)
    to_call = dict.fromkeys(cell.model for cell in cells if key_of(cell) not in done)
    lists: dict[tuple[str, str], list[str]] = {}
    for model in to_call:
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
            raise StudyError(
                f"models: {model} is not among the {len(known)} models that its endpoint lists"
                + (f"; near are {', '.join(near)}" if near else "")
                + ". If it is served all the same, set check_models: false"
            )


def _listed(model: str, api: Any, url: str, key: str) -> list[str]:
    """Names of the models that an endpoint lists; none where it cannot tell.

    Raises:
        StudyError: The key is refused.
    """
    from openai import OpenAI

    if type(api.client).__module__.split(".")[0] != "openai":
        return []
    try:
        with OpenAI(api_key=key, base_url=url, timeout=PATIENCE, max_retries=1) as client:
            return [listed.id for listed in client.models.list()]
    except Exception as error:  # whatever a page that is no list makes the client raise
        if status_of(error) in KEY_REFUSED:
            scrub_error(error, secrets(api))
            said = first_line(error)
            raise StudyError(f"models: {model}: the endpoint refuses: {said}") from None
        return []
