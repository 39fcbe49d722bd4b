"""Ending a run before its last call, or a cell before its last question.

A run is ended as Ctrl-C ends it, by SIGINT to this process: Inspect closes its logs with the
answers that are there, and the same command continues from them. A call under way is asked again.
Besides signals and a spent budget, it ends when a model leaves `PROMPTS` prompts in a row without
an answer: at once where its endpoint refuses them, else after `SILENCE` seconds without any answer.

A cell whose first replies cannot be read ends by Inspect's own early stopping.
"""

import asyncio
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, ClassVar, Self

from inspect_ai.dataset import Sample
from inspect_ai.log import EvalLog, EvalSpec
from inspect_ai.scorer import NOANSWER, SampleScore
from inspect_ai.util import EarlyStop

from w2s_icl.errors import first_line
from w2s_icl.record import file_of

PROMPTS, SILENCE = 3, 120  # see above
# seconds without an answer after which fewer prompts end the run: with one connection and calls
# that time out, three would take hours
OUTAGE = 600
SAID_AFTER = 10  # seconds without an answer after which the cause is said

REFUSED = {
    401: "the key is refused",
    402: "no credit is left",
    403: "the endpoint refuses the model",
    404: "the endpoint does not have the model",
}
REMEDIES = {  # the study's key that helps where a server does not support a part of the requests
    "alternat": "style: transcript",
    "system": "system_role: user",
    "temperature": "generate: {temperature: null}",
    "max_tokens": "generate: {max_tokens: null}",
}
IN_WORDS = {  # what is said of the network's own words
    "WRONG_VERSION_NUMBER": "the address says https, the server speaks http",
    "CERTIFICATE_VERIFY_FAILED": "the server's certificate is not trusted; SSL_CERT_FILE names one",
    "All connection attempts failed": "connection refused",
}


class Stopped(Exception):  # noqa: N818 - it says how a run ended, which need not be an error
    """A run ended before its last call; the answers so far are in its logs."""


@dataclass
class _Silence:
    """A model's calls since its last answer."""

    since: float
    refused: set[int] = field(default_factory=set)  # prompts that its endpoint refuses for good
    failed: set[int] = field(default_factory=set)  # prompts that it may answer another time
    said: str = "no reply yet"


@dataclass
class Ending:
    """Whether the run of this process is to end, and why."""

    current: ClassVar[Self | None] = None  # of the run that goes on in this process

    progress: Any  # the run's `StudyProgress`: says lines, counts repeated requests
    reason: str = ""  # why the run ends; "" while it goes on
    code: int = 1  # exit code: 128 and the number of a signal, else 1
    _silent: dict[str, _Silence] = field(default_factory=dict)
    _failed: Counter[int] = field(default_factory=Counter)
    _under_way: int = 0
    _waits: bool = False

    @asynccontextmanager
    async def call(self, model: str, prompt: int) -> AsyncIterator[None]:
        """Around each call; once the run is to end, a call waits here until it is cancelled."""
        if self.reason:
            await asyncio.Event().wait()
        if self._failed[prompt]:
            self._failed[prompt] -= 1
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
        if not counted:
            self.progress.paid(model)

    def failed(self, model: str, prompt: int, error: Exception, *, passes: bool) -> None:
        """A call failed, whose `error` holds no key; `passes` is whether it is made again."""
        self._failed[prompt] += 1
        silence, status = self._silence(model), status_of(error)
        silence.said, reason = cause_of(error), ""
        if status in REFUSED:
            silence.refused.add(prompt)
            if len(silence.refused) >= PROMPTS:
                reason = f"{model}: {REFUSED[status]} ({silence.said})"
        elif passes or status is None:  # as an empty reply; else the prompt alone is at fault
            silence.failed.add(prompt)
        lasted = time.monotonic() - silence.since
        if silence.failed and lasted >= (SILENCE if len(silence.failed) >= PROMPTS else OUTAGE):
            reason = reason or f"{model}: no answer for {lasted:.0f} s ({silence.said})"
        if reason and not self.reason:  # the first reason counts
            self.reason = reason
            self._interrupt_soon()

    def _silence(self, model: str) -> _Silence:
        if model not in self._silent:
            self._silent[model] = silence = _Silence(time.monotonic())
            asyncio.get_running_loop().call_later(SAID_AFTER, self._tell, model, silence)
        return self._silent[model]

    def _tell(self, model: str, silence: _Silence) -> None:
        if self._silent.get(model) is silence and not self.reason:
            said = f"no answer for {SAID_AFTER} s, still trying: {silence.said}"
            self.progress.say_once(f"! {model}: {said}")
            asyncio.get_running_loop().call_later(SAID_AFTER, self._tell, model, silence)

    def once_answered(self, reason: str) -> None:
        """End the run when the calls under way are answered, and make no other."""
        if not self.reason:
            self.reason, self._waits = reason, True
            self._end_if_idle()

    def _end_if_idle(self) -> None:
        if self._waits and not self._under_way:
            self._waits = False
            self._interrupt_soon()

    def _interrupt_soon(self) -> None:
        """In a second, in which the last answers are scored and logged."""
        asyncio.get_running_loop().call_later(1, signal.raise_signal, signal.SIGINT)

    def interrupted(self) -> str:
        """Why the run was cancelled: what is known, else Ctrl-C."""
        if not self.reason:
            causes = [f"{m}: {s.said}" for m, s in self._silent.items() if s.failed or s.refused]
            self.reason, self.code = "; ".join(["SIGINT", *causes]), 128 + signal.SIGINT
        return self.reason

    @contextmanager
    def listening(self) -> Iterator[Self]:
        """Take SIGTERM and SIGHUP as SIGINT, and hear of Inspect's calls meanwhile."""
        before = {}
        if threading.current_thread() is threading.main_thread():
            # Python's own handler, even where the parent ignored SIGINT, as a script's `&` does
            before[signal.SIGINT] = signal.signal(signal.SIGINT, signal.default_int_handler)
            for number in {signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)}:
                if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
                    before[number] = signal.signal(number, self._on_signal)
        Ending.current = self
        try:
            yield self
        finally:
            Ending.current = None
            for number, handler in before.items():
                signal.signal(number, handler)
            self.progress.bar.stop()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if not self.reason:
            self.reason, self.code = signal.Signals(number).name, 128 + number
        signal.raise_signal(signal.SIGINT)


def status_of(error: BaseException) -> int | None:
    """HTTP status of a failed call, also where it stands in the body of a reply with status 200."""
    body = getattr(error, "response", None)
    values = [getattr(error, name, None) for name in ("status_code", "code")]
    values += [body.get("code")] if isinstance(body, dict) else []
    status = next((int(v) for v in values if isinstance(v, int | str) and str(v).isdecimal()), None)
    if status is None or 400 <= status < 500:
        text = f"{getattr(error, 'code', '')} {getattr(error, 'type', '')} {error}".lower()
        if re.search(r"insufficient.(quota|balance|credit|funds)|credit balance|billing_", text):
            return 402  # which servers say of an empty account with 400, 403 and 429, too
    return status


def cause_of(error: BaseException) -> str:
    """First line of what the server or the network said: of an error's last cause, without one."""
    cause: BaseException | None = error
    while cause and str(cause).lower() in ("", "connection error."):
        error, cause = cause, cause.__cause__ or cause.__context__
    said = first_line(cause or error)
    return next((words for part, words in IN_WORDS.items() if part in said), said)


def with_remedy(said: str) -> str:
    """What a server said, and the key of the study that helps, where one does."""
    words = said.lower()
    refused = re.search(r"\bnot (be )?(support|allow)|\bunsupported|alternat", words)
    keys = [key for part, key in REMEDIES.items() if refused and part in words]
    return f"{said} (set {keys[0]})" if keys else said


SAID = {
    "truncated": "cut at max_tokens",
    "max_tokens": "cut at max_tokens",
    "no_response": "empty",
    "refusal": "refusals",
    "invalid_response_format": "without one of the options",
}


@dataclass
class UnreadStop:
    """Early stopping of one cell: Inspect asks it before each question."""

    first: int = 24  # replies of a cell, or all if fewer, of which more than 60% unread end it
    reasons: list[str] = field(default_factory=list)  # why each is unread, "" where it is read

    async def start_task(self, task: EvalSpec, samples: list[Sample], epochs: int) -> str:
        """The cell begins."""
        self.first = min(self.first, len(samples) * epochs)
        return "unread replies"

    async def schedule_sample(self, id: str | int, epoch: int) -> EarlyStop | None:
        """Whether a question is not asked."""
        return EarlyStop(id=id, epoch=epoch) if await self.complete_task() else None

    async def complete_sample(
        self, id: str | int, epoch: int, scores: Mapping[str, SampleScore]
    ) -> None:
        """A reply was read, or was not."""
        for score in [one.score for one in scores.values()][:1]:
            if len(self.reasons) < self.first:
                unread = score.value == NOANSWER
                self.reasons.append(str(score.reason or "unread") if unread else "")

    async def complete_task(self) -> dict[str, Any]:
        """For the log: how many replies could not be read, and why; nothing of a readable cell."""
        unread = Counter(filter(None, self.reasons))
        ends = len(self.reasons) == self.first and unread.total() > 0.6 * self.first
        return {"unread": dict(unread), "of": self.first} if ends else {}


def stopped_unread(log: EvalLog) -> str:
    """Why a cell was ended whose replies could not be read; "" where it was not."""
    stopping = log.results.early_stopping if log.results else None
    metadata = stopping.metadata if stopping else {}
    if not isinstance(unread := metadata.get("unread"), dict):
        return ""
    counts = ", ".join(f"{n} {SAID.get(reason, reason)}" for reason, n in unread.items())
    counts = counts.replace("at max_tokens", f"at max_tokens={log.plan.config.max_tokens}")
    return f"of the first {metadata['of']} replies {counts}"


def way_out(log: EvalLog) -> str:
    """What to do about a cell that was ended."""
    if "cut at max_tokens" in stopped_unread(log):
        ways = "set max_tokens: 2048 or switch reasoning off in model_args"
        return f"if the model reasons before it answers, {ways}, and use another --log-dir"
    return f"look at them with inspect view; to ask again, move {file_of(log)} away"
