"""Stopping a study in order: no new call, the calls under way are let finish, the logs are closed.

A stand-in, to be replaced by the real one: it knows neither signals nor a grace time.
"""

from __future__ import annotations

import signal

import anyio
from inspect_ai.hooks import BeforeModelGenerate, Hooks, SampleEnd, hooks


class Stop:
    """Whether and why a study is to stop.

    Attributes:
        requested: The reason; None as long as the study is to go on.
    """

    def __init__(self) -> None:
        """Go on."""
        self.requested: str | None = None

    def __enter__(self) -> Stop:
        """Begin to listen to Inspect."""
        _Gate.stop, _Gate.launched, _Gate.held = self, set(), False
        return self

    def __exit__(self, *_: object) -> None:
        """End listening."""
        _Gate.stop = None

    def request(self, reason: str) -> None:
        """Launch no more calls in this process."""
        self.requested = self.requested or reason


@hooks(name="w2s_stop", description="stops a w2s study in order")
class _Gate(Hooks):
    """Holds calls back once a stop is requested."""

    stop: Stop | None = None
    launched: set[str]
    held: bool = False

    def enabled(self) -> bool:
        return _Gate.stop is not None

    async def on_before_model_generate(self, data: BeforeModelGenerate) -> None:
        if _Gate.stop and _Gate.stop.requested:
            self._end()
            await anyio.sleep_forever()
        if data.sample_id:
            _Gate.launched.add(data.sample_id)

    async def on_sample_end(self, data: SampleEnd) -> None:
        _Gate.launched.discard(data.sample_id)
        self._end()

    def _end(self) -> None:
        if _Gate.stop and _Gate.stop.requested and not _Gate.launched and not _Gate.held:
            _Gate.held = True
            signal.raise_signal(signal.SIGINT)
