"""The gate that every call of a study's models passes, whatever the provider.

It holds calls once a stop is requested; gives up a call that is never answered; tells a reply that
is none from an answer; keeps keys out of error texts; and knows a question that fails for good from
a model that is gone and from a key that is refused, so that none of them is asked for ever.
"""

from __future__ import annotations

import asyncio
import functools
import json
import re
import time
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

from inspect_ai.model import ChatMessage, Model, ModelOutput
from tenacity import wait_exponential, wait_random

from w2s_icl.evals.sweep.stop import Stop, current

LONGEST_WAIT = 30
"""Seconds between two tries of a call at most. Inspect waits up to half an hour."""

TRIES = 4
"""Failures of one prompt after which it is given up, while other prompts are answered."""

OTHERS = 5
"""Answers to other prompts that show that a failure is the prompt's own."""

FEW = 8
"""So many failing prompts, and no more, may be at fault when nothing is answered for long."""

ALONE, ALONE_SECONDS = 4, 20
"""So few need not fail for long: one question in each of the cells that run at once.

An outage meets as many prompts as there are connections, which are more as a rule.
"""

NULL_TRIES = 3
"""How often a prompt is asked whose reply has no content; then that is its answer."""

REFUSALS = 3
"""Refusals of the key, or for lack of credit, in a row after which the run is stopped."""

GONE_CALLS, GONE_SECONDS, OUTAGE_SECONDS = 20, 300, 900
"""Failures in a row, and for how long, after which a model is gone; or all of them are."""

MODEL_REFUSED = (403, 404)
"""Refusals that do not pass and are not a prompt's own, as 400 for one that is too long is."""

KEY_REFUSED = {401: "the key is refused", 402: "no credit is left"}

ODD_REPLIES = (json.JSONDecodeError, TypeError, IndexError, KeyError, AttributeError)
"""What client libraries raise on replies that are not what they expect."""

REDACTED = "[key]"

KEY_SHAPE = re.compile(r"\b(?:sk|pk|rk)-[A-Za-z0-9_-]{12,}")


class UnusableReplyError(RuntimeError):
    """No reply, or none that could be an answer: asked again."""


class GivenUpError(RuntimeError):
    """A call that is not made, because it failed too often in this run."""


@dataclass
class _Health:
    """What is known of a model in one run.

    Attributes:
        stop: The run's.
        answered: Answers so far.
        streak: Failures since the last answer.
        since: Time of the first of them.
        prompts: Prompts that failed since the last answer.
        refused: Refusals of the key since the last answer.
        failing: By prompt, its failures and how many answers had come before the first.
        given_up: By prompt, why it is not asked any more.
        gone: Why the model is not asked any more.
    """

    stop: Stop
    answered: int = 0
    streak: int = 0
    since: float = 0.0
    prompts: set[int] = field(default_factory=set)
    refused: int = 0
    failing: dict[int, tuple[int, int]] = field(default_factory=dict)
    given_up: dict[int, str] = field(default_factory=dict)
    gone: str = ""

    def good(self, name: str, key: int | None) -> None:
        """A call was answered."""
        self.answered += 1
        self.streak = self.refused = 0
        self.prompts.clear()
        if key is not None:
            self.failing.pop(key, None)
        self.stop.answered_at[name] = time.monotonic()

    def bad(self, name: str, key: int, error: Exception, *, again: bool) -> None:
        """A call failed; `again` is whether such a failure may pass.

        Raises:
            GivenUpError: The prompt, or the model, is given up.
        """
        now, status, text = time.monotonic(), status_of(error), first_line(error)
        if not self.streak:
            self.since = now
        self.streak += 1
        self.prompts.add(key)
        self.refused = self.refused + 1 if status in KEY_REFUSED else 0
        if self.refused >= REFUSALS and status in KEY_REFUSED:
            self.stop.request(f"{name}: {KEY_REFUSED[status]} ({text})")
        lasted = now - self.since
        if not (status == 429 or "Connect" in type(error).__name__):  # those are matters of time
            failures, before = self.failing.get(key, (0, self.answered))
            self.failing[key] = failures + 1, before
            others = self.answered - before >= OTHERS
            patience = ALONE_SECONDS if len(self.prompts) <= ALONE else GONE_SECONDS
            few = len(self.prompts) <= FEW and lasted >= patience
            if failures + 1 >= TRIES and (others or few or not again):
                self.given_up[key] = f"{text} (failed {failures + 1} times)"
        if self.streak >= GONE_CALLS and key not in self.given_up:
            answered = self.stop.answered_at.items()
            elsewhere = any(at > self.since for other, at in answered if other != name)
            refused = status in MODEL_REFUSED and len(self.prompts) > FEW
            if refused or (lasted >= GONE_SECONDS and elsewhere):
                self.gone = f"{text} ({name} failed {self.streak} times in a row)"
            elif lasted >= OUTAGE_SECONDS:
                self.stop.request(f"{name}: no answer for {lasted / 60:.0f} minutes ({text})")
        self.check(key)

    def check(self, key: int | None) -> None:
        """Refuse a call that has been given up.

        Raises:
            GivenUpError: With the reason.
        """
        if self.gone:
            raise GivenUpError(self.gone) from None
        if key in self.given_up:
            raise GivenUpError(self.given_up[key]) from None


def guard(model: Model, timeout: float | None) -> Model:
    """Put the gate before all calls of `model`.

    Args:
        model: The model; Inspect hands out the same one again for the same arguments.
        timeout: Seconds that one call may take; None for a model that is asked in batches.

    Returns:
        The same model.
    """
    api = model.api
    gate = getattr(api, "w2s_gate", None)
    if gate is not None:
        gate["timeout"] = timeout
        return model
    gate = {"timeout": timeout}
    api.w2s_gate = gate  # type: ignore[attr-defined]
    name, served = str(model), hasattr(api, "client")
    generate, retry, wait = api.generate, api.should_retry, api.retry_wait()
    health: _Health | None = None

    @functools.wraps(generate)
    async def gated(input: list[ChatMessage], *args: Any, **kwargs: Any) -> Any:
        nonlocal health
        stop = current()
        if stop is None:  # no study is running: Inspect hands the same model to others
            return await generate(input, *args, **kwargs)
        if health is None or health.stop is not stop:
            health = _Health(stop)
        mine = health
        known = mine.failing or mine.given_up
        key = prompt_key(input) if known else None
        mine.check(key)
        await stop.hold()
        stop.in_flight += 1
        try:
            async with asyncio.timeout(gate["timeout"]) as limit:
                result: Any = await generate(input, *args, **kwargs)
            if served and gate["timeout"] is not None:
                tried = mine.failing.get(prompt_key(input), (0, 0))[0] if known else 0
                _check_reply(result, tried)
        except Exception as error:
            if gate["timeout"] is None and status_of(error) is None:
                # one reply that Inspect cannot read fails its whole batch: that says nothing of
                # this prompt or of the model, and Inspect's own tries bound what it costs
                scrub_error(error, secrets(api))
                raise
            key = prompt_key(input)
            scrub_error(error, secrets(api))
            failure: Exception = error
            if isinstance(error, TimeoutError) and limit.expired():
                failure = UnusableReplyError(f"no answer within {gate['timeout']:g} s")
            elif served and isinstance(error, ODD_REPLIES):
                failure = UnusableReplyError(f"the reply cannot be read: {first_line(error)}")
            mine.bad(name, key, failure, again=bool(should_retry(failure)))
            if failure is error:
                raise
            raise failure from None
        finally:
            stop.in_flight -= 1
        output = result[0] if isinstance(result, tuple) else result
        if isinstance(output, Exception):
            scrub_error(output, secrets(api))
            scrub_call(result[1], secrets(api))
            mine.bad(name, prompt_key(input), output, again=False)
        else:
            mine.good(name, key)
        return result

    def should_retry(error: Exception) -> Any:
        if isinstance(error, GivenUpError):
            return False
        if isinstance(error, UnusableReplyError):
            return True
        status = status_of(error)
        passing = status is not None and (status in (408, 429) or status >= 500)
        return retry(error) or passing

    api.generate = gated  # type: ignore[method-assign]
    api.should_retry = should_retry  # type: ignore[method-assign, assignment]
    if wait is None:
        # as Inspect's own, but for the longest wait: a run goes on soon after its network is back
        soon = wait_exponential(max=LONGEST_WAIT) + wait_random(0, 1)
        api.retry_wait = lambda: soon  # type: ignore[method-assign]
    return model


def prompt_key(messages: Sequence[ChatMessage]) -> int:
    """What a prompt is known by in one run."""
    return hash(tuple(message.text for message in messages))


def _check_reply(result: Any, tried: int) -> None:
    """Tell a reply that is none from an answer, which may be empty.

    Raises:
        UnusableReplyError: It has no choice, reports an error, or has null for its content.
    """
    output, call = result if isinstance(result, tuple) else (result, None)
    if not isinstance(output, ModelOutput):
        return
    if not output.choices:
        raise UnusableReplyError("the reply holds no choice")
    response = getattr(call, "response", None)
    choices = response.get("choices") if isinstance(response, Mapping) else None
    choice = choices[0] if isinstance(choices, Sequence) and choices else None
    if not isinstance(choice, Mapping):
        return
    message = choice.get("message")
    said = [value for key, value in message.items() if key != "role"] if message else []
    finish = choice.get("finish_reason")
    if finish == "error":
        raise UnusableReplyError(f"the reply reports an error: {choice.get('error')}")
    ended = finish in ("content_filter", "length", "tool_calls")
    empty = not any(value is not None and value != [] for value in said)
    if empty and not ended and tried + 1 < NULL_TRIES:
        raise UnusableReplyError("the reply has no content")


def status_of(error: Exception) -> int | None:
    """HTTP status of a failed call, also where it stands in the body of a reply with status 200."""
    body = getattr(error, "response", None)
    found = [getattr(error, "status_code", None), getattr(error, "code", None)]
    if isinstance(body, Mapping):
        found.append(body.get("code"))
    for value in found:
        if isinstance(value, int | str) and str(value).isdecimal():
            return int(value)
    return None


def first_line(error: BaseException) -> str:
    """The first line of what an error says, or its kind."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


# --- keys -----------------------------------------------------------------------------------------


def secrets(api: Any) -> list[str]:
    """Keys and passwords that a provider was given, the longest first."""
    found = {getattr(api, name, None) for name in ("api_key", "initial_api_key")}
    url = getattr(api, "base_url", None)
    if isinstance(url, str) and (password := urlsplit(url).password):
        pair = f"{urlsplit(url).username}:{password}"
        found |= {password, unquote(password), b64encode(unquote(pair).encode()).decode()}
    long = [s for s in found if isinstance(s, str) and len(s) >= 6]
    return sorted(long, key=len, reverse=True)


def scrub(value: Any, hidden: Sequence[str]) -> Any:
    """`value` without the texts in `hidden`, and without what has the shape of a key.

    Example:
        >>> scrub({"error": ["Incorrect API key: s3cret-key"]}, ["s3cret-key"])
        {'error': ['Incorrect API key: [key]']}
    """
    if isinstance(value, str):
        for secret in hidden:
            value = value.replace(secret, REDACTED)
        return KEY_SHAPE.sub(REDACTED, value)
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


def scrub_call(call: Any, hidden: Sequence[str]) -> None:
    """Take keys out of the record of a failed call."""
    for name in ("error", "response"):
        value = getattr(call, name, None)
        if isinstance(value, dict):
            setattr(call, name, scrub(value, hidden))
