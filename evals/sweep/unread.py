"""Ending a cell whose replies cannot be read, by Inspect's own early stopping."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from inspect_ai.dataset import Sample
from inspect_ai.log import EvalLog, EvalSpec
from inspect_ai.scorer import NOANSWER, SampleScore
from inspect_ai.util import EarlyStop

from w2s_icl.record import file_of

FIRST_REPLIES = 24
"""Replies of a cell, or all if fewer, after which it is decided whether the cell goes on."""

UNREAD_SHARE = 0.6
"""Share of them that cannot be read above which it does not."""

CUT = "cut at max_tokens"

SAID = {
    "truncated": CUT,
    "max_tokens": CUT,
    "no_response": "empty",
    "refusal": "refusals",
    "invalid_response_format": "without one of the options",
}


@dataclass
class UnreadStop:
    """Early stopping of one cell: Inspect asks it before each question.

    `reasons` of the first replies: why each could not be read, "" where it could.
    """

    reasons: list[str] = field(default_factory=list)
    decides: int = FIRST_REPLIES

    async def start_task(self, task: EvalSpec, samples: list[Sample], epochs: int) -> str:
        """The cell begins."""
        self.decides = min(FIRST_REPLIES, len(samples) * epochs)
        return "unread replies"

    async def schedule_sample(self, id: str | int, epoch: int) -> EarlyStop | None:
        """Whether a question is not asked."""
        return EarlyStop(id=id, epoch=epoch) if self._unread() else None

    async def complete_sample(
        self, id: str | int, epoch: int, scores: Mapping[str, SampleScore]
    ) -> None:
        """A reply was read, or was not."""
        for score in [one.score for one in scores.values()][:1]:
            if len(self.reasons) < self.decides:
                unread = score.value == NOANSWER
                self.reasons.append(str(score.reason or "unread") if unread else "")

    async def complete_task(self) -> dict[str, Any]:
        """For the log: how many replies could not be read, and why; nothing of a readable cell."""
        unread = self._unread()
        return {"unread": unread, "of": len(self.reasons)} if unread else {}

    def _unread(self) -> dict[str, int]:
        """Numbers of unread replies by reason, once they are too many; else none."""
        unread = Counter(filter(None, self.reasons))
        decided = 0 < len(self.reasons) == self.decides
        return dict(unread) if decided and unread.total() > UNREAD_SHARE * self.decides else {}


def stopped_unread(log: EvalLog) -> str:
    """Why a cell was ended whose replies could not be read; "" where it was not."""
    stopping = log.results.early_stopping if log.results else None
    metadata = stopping.metadata if stopping else {}
    if not isinstance(unread := metadata.get("unread"), dict):
        return ""
    counts = [f"{n} {SAID.get(reason, reason)}" for reason, n in unread.items()]
    text = f"of the first {metadata['of']} replies {', '.join(counts)}"
    return text.replace(CUT, f"{CUT}={log.plan.config.max_tokens}")


def way_out(log: EvalLog) -> str:
    """What to do about a cell that was ended."""
    if CUT in stopped_unread(log):
        return (
            "if the model reasons before it answers, set max_tokens: 2048 or switch reasoning off "
            "in model_args, and use another --log-dir"
        )
    return f"look at them with inspect view; to ask again, move {file_of(log)} away"
