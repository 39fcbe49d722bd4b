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
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from types import FrameType

from w2s_icl.errors import first_line

REFUSALS = 3
"""Questions in a row that a model's endpoint refuses for good, after which the run ends."""

FAILURES, SECONDS = 60, 120
"""Failed calls in a row to a model, and for how long, after which the run ends."""

LOGGED_AFTER = 1
"""Seconds in which an answer is scored and logged."""

SAID_AFTER = 10
"""Seconds of failing calls after which their cause is said."""

REFUSED = {
    401: "the key is refused",
    402: "no credit is left",
    403: "the endpoint refuses the model",
    404: "the endpoint does not have the model",
}


UNSUPPORTED = r"\bnot (be )?(supported|allowed|support\b)|\bunsupported"
REMEDIES = {
    "system_role: user": "system",
    "style: transcript": "alternat",
    "generate: {temperature: null}": "temperature",
    "generate: {max_tokens: null}": "max_tokens",
}
"""The study's key that helps where a server does not support a part of the requests."""


class Stopped(Exception):  # noqa: N818 - it says how a run ended, which need not be an error
    """A run ended before its last call; the answers so far are in its logs."""


@dataclass
class _Streak:
    """Failed calls to a model since its last answer.

    Attributes:
        since: Time of the first.
        failed: How many.
        refused: Last turns of the prompts that were refused.
        said: The last cause.
    """

    since: float
    failed: int = 0
    refused: set[str] = field(default_factory=set)
    said: str = ""


@dataclass
class Ending:
    """Whether the run of this process is to end, and why.

    Attributes:
        say: Shows a line to the person who watches.
        uncounted: Told the model of an answer that came without its number of tokens.
        reason: Why the run ends; "" while it goes on.
        code: Exit code: 128 and the number of a signal, else 1.
    """

    say: Callable[[str], None] = field(default=lambda line: None)
    uncounted: Callable[[str], None] = field(default=lambda model: None)
    reason: str = ""
    code: int = 1
    _streaks: dict[str, _Streak] = field(default_factory=dict)
    _under_way: int = 0
    _waits: bool = False

    @asynccontextmanager
    async def call(self) -> AsyncIterator[None]:
        """Around each call; once the run is to end, a call waits here until it is cancelled."""
        if self.reason:
            await asyncio.Event().wait()
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1
            self._end_if_idle()

    def once_answered(self, reason: str) -> None:
        """End the run when the calls under way are answered, and make no other."""
        if not self.reason:
            self.reason, self._waits = reason, True
            self._end_if_idle()

    def _end_if_idle(self) -> None:
        if self._waits and not self._under_way:
            self._waits = False
            asyncio.get_running_loop().call_later(LOGGED_AFTER, _interrupt)

    def now(self, reason: str, code: int = 1) -> None:
        """End the run; the first reason counts."""
        if not self.reason:
            self.reason, self.code = reason, code
            _interrupt()

    def interrupted(self) -> None:
        """The run was cancelled: by the one who has given a reason, else by Ctrl-C."""
        if not self.reason:
            self.reason, self.code = "SIGINT", 128 + signal.SIGINT

    def answered(self, model: str, *, counted: bool) -> None:
        """A call was answered; `counted` is whether the reply says how many tokens it took."""
        self._streaks.pop(model, None)
        if not counted:
            self.uncounted(model)

    def failed(self, model: str, turn: str, error: Exception, *, passes: bool) -> None:
        """A call failed; end the run where that cannot pass, or has not for long.

        Args:
            model: Its name.
            turn: Last turn of the prompt.
            error: What came of the call, without keys.
            passes: Whether the call may be answered if it is made again.
        """
        streak = self._streaks.get(model)
        if streak is None:
            streak = self._streaks[model] = _Streak(time.monotonic())
            asyncio.get_running_loop().call_later(SAID_AFTER, self._tell, model, streak)
        streak.said = cause_of(error)
        status = status_of(error)
        if status in REFUSED:
            streak.refused.add(turn)
            if len(streak.refused) >= REFUSALS:
                self.now(f"{model}: {REFUSED[status]} ({streak.said})")
        streak.failed += passes
        lasted = time.monotonic() - streak.since
        if streak.failed >= FAILURES and lasted >= SECONDS:
            self.now(f"{model}: no answer for {lasted:.0f} s ({streak.said})")

    def _tell(self, model: str, streak: _Streak) -> None:
        if self._streaks.get(model) is streak and not self.reason:
            self.say(f"{model}: no answer for {SAID_AFTER} s, still trying: {streak.said}")

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
        outer, _Current.ending = _Current.ending, self
        try:
            yield self
        finally:
            _Current.ending = outer
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if not self.reason:
            self.reason, self.code = signal.Signals(number).name, 128 + number
        _interrupt()


def _interrupt() -> None:
    signal.raise_signal(signal.SIGINT)


class _Current:
    ending: Ending | None = None


def current() -> Ending | None:
    """The ending of the run that goes on in this process, if one does."""
    return _Current.ending


def status_of(error: BaseException) -> int | None:
    """HTTP status of a failed call, also where it stands in the body of a reply with status 200."""
    if "insufficient_quota" in f"{getattr(error, 'code', '')} {error}":
        return 402  # it comes as 429, which passes
    body = getattr(error, "response", None)
    values = [getattr(error, "status_code", None), getattr(error, "code", None)]
    if isinstance(body, dict):
        values.append(body.get("code"))
    return next((int(v) for v in values if isinstance(v, int | str) and str(v).isdecimal()), None)


def cause_of(error: BaseException) -> str:
    """First line of what the server or the network said: of an error's last cause, without one."""
    while "connection error" in str(error).lower() and error.__cause__:
        error = error.__cause__
    return first_line(error)


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
