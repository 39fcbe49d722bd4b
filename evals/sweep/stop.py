"""Stopping a run in order: on a signal, on a spent budget, on an endpoint that is gone.

Every call of a study's models passes a gate (`guard`). Once a stop is requested the gate lets no
new call through; calls under way are let finish, so that what is paid for is logged; then Inspect's
run is cancelled, which closes its logs with what is there. The same command goes on from them.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from inspect_ai.hooks import Hooks, RunStart, TaskStart, hooks

GRACE = 10.0
"""Seconds that calls under way are given to finish."""

TICK = 0.05
"""Seconds between two looks at what is under way."""

QUIET_TICKS = 4
"""So many times in a row nothing must be going on before a run counts as wound down."""

PROBE = 200_000
"""Bytes that the log folder must take before a cell is begun."""

SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)


class Stopped(Exception):  # noqa: N818 - it says how a run ended, which need not be an error
    """A run was stopped before its end; what it holds is in its logs."""


@dataclass
class Stop:
    """The way to end the run that is going on in this process.

    Attributes:
        grace: Seconds that calls under way are given to finish.
        say: What is done with a line for the person who watches.
        requested: Why the run is to stop; None while it is not.
        code: Exit code of the process that was stopped: 128 and the signal's number, else 1.
        in_flight: Calls under way.
        answered_at: Time of the last answer, by model.
        log_dir: Folder that must take logs, "" where it is not on this machine.
    """

    grace: float = GRACE
    say: Callable[[str], None] = field(default=lambda line: None)
    requested: str | None = None
    code: int = 1
    in_flight: int = 0
    answered_at: dict[str, float] = field(default_factory=dict)
    log_dir: str = ""
    _at_once: bool = False
    _loop: asyncio.AbstractEventLoop | None = None
    _main: asyncio.Task[object] | None = None
    _winding: asyncio.Task[None] | None = None

    def request(self, reason: str, code: int = 1) -> None:
        """Launch no more calls from now on, and end the run when those under way are answered.

        May be called from anywhere, signal handlers and other threads included; the first reason
        counts.
        """
        if self.requested is not None:
            return
        self.requested, self.code = reason, code
        self._wake()

    def raise_if_requested(self) -> None:
        """End the run here, between two of its parts.

        Raises:
            Stopped: A stop was requested.
        """
        if self.requested is not None:
            raise Stopped(self.requested)

    def check_disk(self) -> None:
        """Stop when the log folder takes no more: Inspect would run its cells again, and pay."""
        if not self.log_dir:
            return
        probe = Path(self.log_dir) / f".w2s-probe-{os.getpid()}"
        try:
            try:
                probe.write_bytes(bytes(PROBE))
            finally:
                probe.unlink(missing_ok=True)
        except OSError as error:
            self.request(f"{self.log_dir} cannot be written: {error.strerror}")

    async def hold(self) -> None:
        """Return at once, or never: a held call ends when the run is cancelled."""
        if self.requested is not None:
            await asyncio.Event().wait()

    @contextmanager
    def listening(self) -> Iterator[Stop]:
        """Stop on the signals that end a process, and be the stop of this process meanwhile.

        Handlers are set even where SIGINT was ignored, as it is in a background job of a script:
        who sends it by name means it. They can be set in the main thread only.
        """
        before: dict[int, object] = {}
        if threading.current_thread() is threading.main_thread():
            hup = getattr(signal, "SIGHUP", None)
            for number in SIGNALS:
                if number == hup and signal.getsignal(number) is signal.SIG_IGN:
                    continue  # started under nohup, to live on
                before[number] = signal.signal(number, self._on_signal)
        outer, _Current.stop = _Current.stop, self
        try:
            yield self
        finally:
            _Current.stop = outer
            self._loop = self._main = None
            for number, handler in before.items():
                signal.signal(number, handler or signal.SIG_DFL)  # type: ignore[arg-type]

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        if self.requested is None:
            self.request(name, 128 + number)
        elif not self._at_once:
            self.code, self._at_once = 128 + number, True
            if self._main is None or self._main.done():
                raise KeyboardInterrupt
            self._wake()
        else:
            os._exit(128 + number)  # closing the logs hangs

    def attach(self) -> None:
        """Note the running event loop and its task, which is the one to cancel."""
        self._loop, self._main = asyncio.get_running_loop(), asyncio.current_task()
        self._winding = None
        if self.requested is not None:
            self._wake()

    def _wake(self) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wind)

    def _wind(self) -> None:
        if self._winding is None and self._loop is not None:
            self._winding = self._loop.create_task(self._wind_down())

    async def _wind_down(self) -> None:
        """Wait for calls under way and for their samples to be scored and logged; then cancel."""
        loop, main = asyncio.get_running_loop(), self._main
        if self.in_flight:
            self.say(
                f"{self.requested}: no more calls; up to {self.grace:.0f} s for the "
                f"{self.in_flight} under way (a signal stops at once)"
            )
        end, quiet = loop.time() + self.grace, 0
        while loop.time() < end and quiet < QUIET_TICKS and not self._at_once:
            before = loop.time()
            await asyncio.sleep(TICK)
            # all other samples are held: a loop that is late still scores and logs answered ones
            late = loop.time() - before > 1.5 * TICK
            quiet = 0 if self.in_flight or late else quiet + 1
        if main is not None and not main.done():
            main.cancel()


class _Current:
    """The stop of the run that is going on in this process, if one is."""

    stop: Stop | None = None


def current() -> Stop | None:
    """The stop of the run that is going on in this process, if one is."""
    return _Current.stop


@hooks(name="w2s_stop", description="stopping a w2s study in order")
class _Starts(Hooks):
    """Tells a stop which task runs Inspect: that is the one to cancel."""

    def enabled(self) -> bool:
        return _Current.stop is not None

    async def on_task_start(self, data: TaskStart) -> None:
        if _Current.stop:
            _Current.stop.check_disk()

    async def on_run_start(self, data: RunStart) -> None:
        if _Current.stop:
            _Current.stop.attach()
