"""Ending a run before its last call: a signal, a refused key, no answers, a spent budget.

A run is ended as Ctrl-C ends it, by SIGINT to this process: Inspect closes its logs with the
answers that are there, and the same command continues from them. A call under way is asked again.
"""

from __future__ import annotations

import asyncio
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from w2s_icl.errors import first_line

REFUSALS = 3
"""Prompts in a row that a model's endpoint refuses for good, after which the run ends."""

FAILURES, SECONDS = 60, 120
"""Failed calls in a row to a model, and for how long, after which the run ends."""

OUTAGE = 600
"""Seconds without an answer after which the run ends at the next failed call, however few failed:
with one connection and calls that time out, 60 would take two hours."""

LOGGED_AFTER = 1
"""Seconds in which an answer is scored and logged."""

SAID_AFTER = 10
"""Seconds without an answer after which the cause is said."""

NO_CREDIT = 402
REFUSED = {
    401: "the key is refused",
    NO_CREDIT: "no credit is left",
    403: "the endpoint refuses the model",
    404: "the endpoint does not have the model",
}
WITHOUT_CREDIT = re.compile(
    r"insufficient[_ ](quota|balance|credit|funds)|credit balance|billing_(hard_limit|not_active)"
)
"""What servers say of an empty account with statuses that mean other things (400, 403, 429)."""

NO_REPLY = "no reply yet"

UNSUPPORTED = r"\bnot (be )?(supported|allowed|support\b)|\bunsupported"
REMEDIES = {
    "system_role: user": "system",
    "style: transcript": "alternat",
    "generate: {temperature: null}": "temperature",
    "generate: {max_tokens: null}": "max_tokens",
}
"""The study's key that helps where a server does not support a part of the requests."""

IN_WORDS = {
    "WRONG_VERSION_NUMBER": "the address says https, the server speaks http",
    "CERTIFICATE_VERIFY_FAILED": "the server's certificate is not trusted; SSL_CERT_FILE names one",
    "All connection attempts failed": "connection refused",
}
"""What is said of the network's own words."""


class Stopped(Exception):  # noqa: N818 - it says how a run ended, which need not be an error
    """A run ended before its last call; the answers so far are in its logs."""


@dataclass
class _Silence:
    """A model's calls since its last answer: `refused` are the prompts refused for good."""

    since: float
    failed: int = 0
    refused: set[int] = field(default_factory=set)
    said: str = NO_REPLY


@dataclass
class Ending:
    """Whether the run of this process is to end, and why.

    Attributes:
        progress: The run's `StudyProgress`: it says lines, and counts repeated requests and
            answers without a number of tokens.
        reason: Why the run ends; "" while it goes on.
        code: Exit code: 128 and the number of a signal, else 1.
    """

    progress: Any = None
    reason: str = ""
    code: int = 1
    _silent: dict[str, _Silence] = field(default_factory=dict)
    _failed: Counter[int] = field(default_factory=Counter)
    _under_way: int = 0
    _waits: bool = False

    @asynccontextmanager
    async def call(self, model: str, prompt: int) -> AsyncIterator[None]:
        """Around each call; once the run is to end, a call waits here until it is cancelled.

        `prompt` is a digest of what is asked.
        """
        if self.reason:
            await asyncio.Event().wait()
        if self._failed[prompt]:
            self._failed[prompt] -= 1
            if self.progress:
                self.progress.retries += 1
        self._silence(model)
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1
            self._end_if_idle()

    def answered(self, model: str, *, counted: bool) -> None:
        """A call was answered; `counted` is whether the reply says how many tokens it took."""
        self._silent.pop(model, None)
        if self.progress and not counted:
            self.progress.paid(model)

    def failed(self, model: str, prompt: int, error: Exception, *, passes: bool) -> None:
        """A call failed; end the run where that cannot pass, or has not for long.

        `error` holds no key; `passes` is whether the call may be answered if it is made again.
        """
        self._failed[prompt] += 1
        silence = self._silence(model)
        silence.said = cause_of(error)
        silence.failed += passes or status_of(error) is None  # as an empty reply
        status = status_of(error)
        if status in REFUSED:
            silence.refused.add(prompt)
            if len(silence.refused) >= REFUSALS:
                self.now(f"{model}: {REFUSED[status]} ({silence.said})")
        lasted = time.monotonic() - silence.since
        many = silence.failed >= FAILURES and lasted >= SECONDS
        if many or (silence.failed and lasted >= OUTAGE):
            self.now(f"{model}: no answer for {lasted:.0f} s ({silence.said})")

    def _silence(self, model: str) -> _Silence:
        if model not in self._silent:
            self._silent[model] = silence = _Silence(time.monotonic())
            asyncio.get_running_loop().call_later(SAID_AFTER, self._tell, model, silence)
        return self._silent[model]

    def _tell(self, model: str, silence: _Silence) -> None:
        if self.progress and self._silent.get(model) is silence and not self.reason:
            said = f"no answer for {SAID_AFTER} s, still trying: {silence.said}"
            self.progress.say_once(f"! {model}: {said}")
            if silence.said == NO_REPLY:  # the cause may come later
                asyncio.get_running_loop().call_later(SAID_AFTER, self._tell, model, silence)

    def once_answered(self, reason: str) -> None:
        """End the run when the calls under way are answered, and make no other."""
        if not self.reason:
            self.reason, self._waits = reason, True
            self._end_if_idle()

    def _end_if_idle(self) -> None:
        if self._waits and not self._under_way:
            self._waits = False
            asyncio.get_running_loop().call_later(LOGGED_AFTER, _interrupt)

    def now(self, reason: str) -> None:
        """End the run; the first reason counts."""
        if not self.reason:
            self.reason = reason
            _interrupt()

    def interrupted(self) -> str:
        """Why the run was cancelled: what is known, else Ctrl-C."""
        if not self.reason:
            causes = [f"{m}: {of.said}" for m, of in self._silent.items() if of.failed]
            self.reason, self.code = "; ".join(["SIGINT", *causes]), 128 + signal.SIGINT
        return self.reason

    @contextmanager
    def listening(self) -> Iterator[Ending]:
        """Take SIGTERM and SIGHUP as SIGINT, and be the `ending` of this process meanwhile.

        SIGINT gets Python's own handler even where the parent ignored it, as a script's `&` does.
        """
        before = {}
        if threading.current_thread() is threading.main_thread():
            before[signal.SIGINT] = signal.signal(signal.SIGINT, signal.default_int_handler)
            for number in (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
                if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
                    before.setdefault(number, signal.signal(number, self._on_signal))
        _endings.append(self)
        try:
            yield self
        finally:
            _endings.pop()
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if not self.reason:
            self.reason, self.code = signal.Signals(number).name, 128 + number
        _interrupt()


_endings: list[Ending] = []


def current() -> Ending | None:
    """The ending of the run that goes on in this process, if one does."""
    return _endings[-1] if _endings else None


def _interrupt() -> None:
    signal.raise_signal(signal.SIGINT)


def status_of(error: BaseException) -> int | None:
    """HTTP status of a failed call, also where it stands in the body of a reply with status 200."""
    body = getattr(error, "response", None)
    values = [getattr(error, "status_code", None), getattr(error, "code", None)]
    if isinstance(body, dict):
        values.append(body.get("code"))
    status = next((int(v) for v in values if isinstance(v, int | str) and str(v).isdecimal()), None)
    if status is None or 400 <= status < 500:
        text = f"{getattr(error, 'code', '')} {getattr(error, 'type', '')} {error}".lower()
        status = NO_CREDIT if WITHOUT_CREDIT.search(text) else status
    return status


def cause_of(error: BaseException) -> str:
    """First line of what the server or the network said: of an error's last cause, without one."""
    while str(error).lower() in ("", "connection error.") and (
        error.__cause__ or error.__context__
    ):
        error = error.__cause__ or error.__context__ or error
    said = first_line(error)
    return next((words for part, words in IN_WORDS.items() if part in said), said)


def with_remedy(said: str) -> str:
    """What a server said, and the key of the study that helps, where one does.

    Example:
        >>> with_remedy("Conversation roles must alternate user/assistant")
        'Conversation roles must alternate user/assistant (set style: transcript)'
    """
    words = said.lower()
    refused = re.search(UNSUPPORTED, words) or "alternat" in words
    key = next((key for key, part in REMEDIES.items() if refused and part in words), "")
    return f"{said} (set {key})" if key else said
