"""What the workers on a cluster report; in a process of its own, so it imports little."""

from __future__ import annotations

import math


class Tally:
    """What the workers report, and whether they may go on; one of it lives beside the driver."""

    def __init__(self) -> None:
        """Nothing has been reported."""
        self.events: list[bytes] = []
        self.reason, self.left, self.last, self.running = "", math.inf, 0, 0

    def allow(self, dollars: float, last: int) -> None:
        """Say what may be spent from now on, and after how many calls there is nothing to stop."""
        self.left, self.last = dollars, last

    def tell(self, event: bytes, cost: float | None = None, begun: int = 0) -> str:
        """Take a report, with the cost of a call, or with how many more shards are running.

        Says why no more calls are to be made, "" while they are.
        """
        self.events.append(event)
        self.running += begun
        if cost is not None:
            self.left, self.last = self.left - cost, self.last - 1
            if self.left <= 0 and self.last != 0:
                self.stop("--max-cost is spent")
        return self.reason

    def stop(self, reason: str) -> None:
        """Let no more calls be made, for the first reason that is given."""
        self.reason = self.reason or reason

    def drain(self) -> tuple[list[bytes], int]:
        """The reports since the last time, and how many shards are running."""
        events, self.events = self.events, []
        return events, self.running
