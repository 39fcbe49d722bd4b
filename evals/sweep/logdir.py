"""Before the first paid call: which logs are torn or lack answers, which models are not there."""

from __future__ import annotations

import difflib
import json
import os
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from inspect_ai import Task
from inspect_ai.log import (
    EvalError,
    EvalLog,
    WriteConflictError,
    list_eval_logs,
    read_eval_log,
    read_eval_log_sample_summaries,
    write_eval_log,
)

from w2s_icl.errors import W2SError
from w2s_icl.evals.cells import Cell
from w2s_icl.evals.study import Study
from w2s_icl.evals.sweep.endpoint import model_of
from w2s_icl.evals.sweep.gate import KEY_REFUSED, first_line, scrub_error, secrets, status_of
from w2s_icl.record import (
    CellKey,
    CellRecord,
    is_complete,
    is_ours,
    key_of,
    precedence,
)
from w2s_icl.solvers.label_logs import is_remote, log_headers

TORN = ".torn"
"""What is added to the name of a log that cannot be read: Inspect stops at such a file."""

PART = ".part"
"""What is added to the name of a log while it is written anew."""

PATIENCE = 20.0
"""Seconds that an endpoint may take to list its models."""


def finished_cells(log_dir: str) -> set[CellKey]:
    """Cells that have a finished log."""
    return {key_of(log) for log in log_headers(log_dir) if is_ours(log) and is_complete(log)}


QUESTIONS_FAILED = "questions failed"
"""What the error ends with of a log that was marked because questions failed in it."""


def answers_all(log: EvalLog, calls: int) -> bool:
    """Whether a log is finished and was to ask at least so many questions, each epoch counted."""
    return is_complete(log) and log.results is not None and log.results.total_samples >= calls


def lacks_answers(log: EvalLog) -> bool:
    """Whether a log says success though questions failed in it: Inspect would ask nothing more."""
    return log.status == "success" and not log.invalidated and not is_complete(log)


def calls_of(log: EvalLog) -> int:
    """Questions that a log was to answer, each epoch counted."""
    if log.results:
        return log.results.total_samples
    # where all failed there are no results
    return (log.eval.dataset.samples or 0) * (log.eval.config.epochs or 1)


def unmarked(logs: Sequence[EvalLog]) -> list[EvalLog]:
    """Those logs of a cell that Inspect would take for complete though they are not.

    None where another log of the cell is finished. Of each task id the last one, which is the only
    one that Inspect looks at.

    Args:
        logs: Headers of the logs of one cell, the last written last.

    Returns:
        The fullest last.
    """
    last = {log.eval.task_id: log for log in logs}.values()
    found = [
        log
        for log in last
        if lacks_answers(log) and not any(answers_all(other, calls_of(log)) for other in logs)
    ]
    return sorted(found, key=precedence, reverse=True)


def set_torn_aside(log_dir: str) -> list[str]:
    """Rename the logs that a full disk or a crash has torn; nothing in them can be read.

    Returns:
        Names of the files before.
    """
    import fsspec

    torn: list[str] = []
    if is_remote(log_dir):
        return torn  # there a file is written whole or not at all
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


def mark_incomplete_in(log_dir: str) -> list[str]:
    """Mark the logs of a directory that say success though questions failed in them.

    Inspect counts those as complete. A log is left as it is where another one of its cell is
    finished or was continued from it; of several the fullest is marked last, since Inspect goes on
    with the last written.

    Returns:
        Names of the logs.
    """
    cells: dict[tuple[CellKey, str], list[EvalLog]] = defaultdict(list)
    for log in filter(is_ours, log_headers(log_dir)):
        cells[key_of(log), _arguments_of(log)].append(log)
    found = [log for logs in cells.values() for log in unmarked(logs)]
    mark_incomplete(found)
    return [log.location.rsplit("/", 1)[-1] for log in found]


def mark_incomplete(logs: Iterable[EvalLog]) -> list[EvalLog]:
    """Give the logs of this suite that say success though questions failed the status "error".

    Only the header of the file is written anew. An interruption leaves the log as it was.

    Args:
        logs: Headers.

    Returns:
        Headers in the same order, read again where the log was marked.
    """
    return [_marked(log.location) if is_ours(log) and lacks_answers(log) else log for log in logs]


def _marked(location: str) -> EvalLog:
    log = read_eval_log(location, header_only=True)
    if not lacks_answers(log):
        return log  # somebody else was faster
    calls = calls_of(log)
    failed = calls - (log.results.completed_samples if log.results else 0)
    log.status = "error"
    log.error = EvalError(
        message=f"{failed} of {calls} {QUESTIONS_FAILED}", traceback="", traceback_ansi=""
    )
    with suppress(WriteConflictError):  # as above
        _write_header(log, location)
    return read_eval_log(location, header_only=True)


def _write_header(log: EvalLog, location: str) -> None:
    import fsspec
    from fsspec.implementations.local import LocalFileSystem

    files, path = fsspec.core.url_to_fs(location)
    if not isinstance(files, LocalFileSystem):
        write_eval_log(log, location, if_match_etag=log.etag, header_only=True)
        return
    # Inspect writes into the file itself, and a full disk or a kill would tear it
    target = Path(path)
    # of its own: several workers may begin at once
    number, name = tempfile.mkstemp(PART, f"{target.name}.", target.parent)
    part = Path(name)
    try:
        shutil.copy(target, part)
        write_eval_log(
            log, part, format="json" if target.suffix == ".json" else "eval", header_only=True
        )
        os.fsync(number)
        part.replace(target)
    finally:
        os.close(number)
        part.unlink(missing_ok=True)


def settled(tasks: Sequence[Task], log_dir: str) -> list[EvalLog | None]:
    """Finished logs of the cells that Inspect would go on with all the same.

    To Inspect the last log of each task id counts, and it removes the others. Where two workers
    began one cell, it has two such ids, and the one may be finished and the other not; or one
    attempt has outlived the next, and what was made from the first of them must not lose it.

    Returns:
        By task its log, None where Inspect may decide.
    """
    cells: dict[CellKey, dict[str, list[EvalLog]]] = defaultdict(lambda: defaultdict(list))
    for log in filter(is_ours, log_headers(log_dir)):
        cells[key_of(log)][_arguments_of(log)].append(log)
    found: list[EvalLog | None] = []
    for task in tasks:
        metadata, epochs = task.metadata or {}, task.epochs or 1
        calls = len(task.dataset) * epochs
        found.append(None)
        for logs in cells[CellRecord.from_metadata(metadata).key(str(task.model))].values():
            same = [
                log
                for log in logs
                if (log.eval.config.epochs or 1) == epochs
                and (log.eval.metadata or {}).get("prompt_sha256") == metadata.get("prompt_sha256")
            ]
            finished = sorted((log for log in same if answers_all(log, calls)), key=precedence)
            last = {log.eval.task_id: log for log in same}.values()
            if finished and (len(finished) > 1 or not all(answers_all(log, calls) for log in last)):
                found[-1] = finished[0]
    return found


def one_per_cell(logs: Iterable[EvalLog]) -> list[EvalLog]:
    """Of the logs of one cell the one that counts: Inspect names them all."""
    found: dict[CellKey, list[EvalLog]] = {}
    for log in logs:
        found.setdefault(key_of(log), []).append(log)
    return [
        min(of, key=lambda log: (not is_complete(log), precedence(log))) for of in found.values()
    ]


def refuse_unknown_models(study: Study, cells: Iterable[Cell], log_dir: str) -> None:
    """Ask the endpoints of models that are still to be called for their lists of models.

    An endpoint that has no such list, or does not answer, cannot tell: the run goes on.

    Raises:
        W2SError: A list lacks a model of the study, or the key is refused.
    """
    done = finished_cells(log_dir)
    to_call = dict.fromkeys(cell.model for cell in cells if cell.key not in done)
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
            raise W2SError(
                f"models: {model} is not among the {len(known)} models that its endpoint lists"
                + (f"; near are {', '.join(near)}" if near else "")
                + ". If it is served all the same, set check_models: false"
            )


def _listed(model: str, api: Any, url: str, key: str) -> list[str]:
    """Names of the models that an endpoint lists; none where it cannot tell.

    Raises:
        W2SError: The key is refused.
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
            raise W2SError(f"models: {model}: the endpoint refuses: {said}") from None
        return []


def _arguments_of(log: EvalLog) -> str:
    """The arguments of a log's task and model, as one text."""
    args = [log.eval.task_args_passed, log.eval.model_args]
    return json.dumps(args, sort_keys=True, default=str)
