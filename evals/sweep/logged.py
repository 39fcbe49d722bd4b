"""What the logs of a directory hold of a study: answers that are kept, tokens and dollars."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from inspect_ai.log import EvalLog, EvalSampleSummary
from inspect_ai.model import ModelUsage

from w2s_icl.evals.cells import Cell
from w2s_icl.evals.questions import Split
from w2s_icl.evals.sweep.logdir import answers_all, unmarked
from w2s_icl.record import CellKey, Shown, is_ours, key_of, prompt_tokens
from w2s_icl.solvers.few_shot import question_text
from w2s_icl.solvers.label_logs import log_headers, summaries
from w2s_icl.solvers.labels import id_of
from w2s_icl.words import money, tokens

TOKENS_PER_CHARACTER = 1 / 4
"""Of English text, until calls of the model are logged."""

REPLY_TOKENS, REASONED_REPLY_TOKENS = 2, 250
"""Of a letter, and of a few sentences before it, until calls of the model are logged."""

Call = tuple[int | str, int]
"""A question's id and the epoch in which it is asked."""


@dataclass(frozen=True)
class Amount:
    """Calls, tokens and dollars.

    Attributes:
        calls: Calls that are answered, without retries.
        tokens_in: Tokens of the prompts, cached ones included.
        tokens_out: Tokens of the replies.
        known: Dollars of the calls whose cost is known.
        unpriced: Models of the other calls.
    """

    calls: int = 0
    tokens_in: float = 0
    tokens_out: float = 0
    known: float = 0.0
    unpriced: tuple[str, ...] = ()

    @classmethod
    def of(cls, model: str, usage: ModelUsage) -> Amount:
        """What one call took."""
        cost = usage.total_cost
        unpriced = (model,) if cost is None else ()
        return cls(1, prompt_tokens(usage), usage.output_tokens, cost or 0.0, unpriced)

    def __add__(self, other: Amount) -> Amount:
        """Both together."""
        return Amount(
            self.calls + other.calls,
            self.tokens_in + other.tokens_in,
            self.tokens_out + other.tokens_out,
            self.known + other.known,
            tuple(dict.fromkeys(self.unpriced + other.unpriced)),
        )

    @property
    def cost(self) -> float:
        """Dollars; nan where the cost of some call is unknown."""
        return math.nan if self.unpriced else self.known

    @property
    def dollars(self) -> str:
        """The cost in words, as far as it is known."""
        if not self.unpriced:
            return money(self.known)
        return f"{money(self.known)} + ?" if self.known else "cost ?"

    @property
    def text(self) -> str:
        """All of it in words."""
        sizes = f"{tokens(self.tokens_in)} tokens in, {tokens(self.tokens_out)} out"
        return f"{self.calls:,} calls, {sizes}, {self.dollars}"

    def to_json(self) -> dict[str, float | None]:
        """For a program; null where the cost is unknown."""
        return {
            "calls": self.calls,
            "tokens_in": round(self.tokens_in),
            "tokens_out": round(self.tokens_out),
            "cost": None if self.unpriced else self.known,
        }


NOTHING = Amount()


def amount_of(samples: Iterable[EvalSampleSummary]) -> Amount:
    """What some answers took.

    A log's own sums will not do: one that continues after kill -9 lacks what the killed run took.
    """
    calls = (Amount.of(*call) for sample in samples for call in sample.model_usage.items())
    return sum(calls, NOTHING)


class Logged:
    """What the logs of a directory hold of a study's cells; all their answers took `spent`."""

    def __init__(self, log_dir: str, split: Split) -> None:
        """Read the directory."""
        self.spent = NOTHING
        self._questions = {id_of(s): s for s in (*split.test, *split.pool)}
        self._logs: dict[CellKey, list[EvalLog]] = defaultdict(list)
        self._kept: dict[str, set[Call]] = {}
        self._prompts: dict[str, list[tuple[int, int]]] = defaultdict(list)
        self._replies: dict[tuple[str, bool], list[int]] = defaultdict(list)
        headers = {log.location: log for log in log_headers(log_dir) if is_ours(log)}
        for log in headers.values():
            self._logs[key_of(log)].append(log)
        paid: set[str] = set()
        for location, samples in summaries(list(headers)):
            self._kept[location] = {(s.id, s.epoch) for s in samples if s.error is None}
            # a log that continues another holds its samples again
            new = [s for s in samples if not s.uuid or s.uuid not in paid]
            paid.update(s.uuid for s in new if s.uuid)
            self.spent += amount_of(new)
            self._learn(headers[location], new)

    def _learn(self, log: EvalLog, samples: Iterable[EvalSampleSummary]) -> None:
        """Take the lengths and tokens of prompts and replies."""
        key, prefix = key_of(log), Shown.from_log(log).prompt_characters
        for sample in samples:
            usage = sample.model_usage.get(key.model)
            # a question that was tried twice has the usage of two calls
            if usage and not sample.retries and not sample.error:
                self._replies[key.model, "cot=" in key.prompt].append(usage.output_tokens)
                if prefix and sample.id in self._questions:
                    length = prefix + self.question_characters(sample.id, key.prompt)
                    self._prompts[key.model].append((length, prompt_tokens(usage)))

    def question_characters(self, id_: int | str, prompt: str) -> int:
        """Length of the question that is asked, options included."""
        sample = self._questions[id_]
        shown = "" if "question=hidden" in prompt else str(sample.input)
        return len(question_text(shown, sample.choices or []))

    def tokens_per_character(self, model: str) -> tuple[float, int]:
        """Of a model's logged prompts, and the number of its logged calls."""
        logged = self._prompts[model]
        if not logged:
            return TOKENS_PER_CHARACTER, 0
        lengths, sizes = zip(*logged, strict=True)
        return sum(sizes) / sum(lengths), len(logged)

    def reply(self, model: str, prompt: str) -> float:
        """Mean tokens of a model's logged replies, or what is usual."""
        reasons = "cot=" in prompt
        logged = self._replies[model, reasons]
        usual = REASONED_REPLY_TOKENS if reasons else REPLY_TOKENS
        return sum(logged) / len(logged) if logged else usual

    def answered(
        self, cell: Cell, questions: int, calls: int, *, exact: bool
    ) -> tuple[bool, set[Call]]:
        """Whether a cell is complete, and if not, the calls whose answers Inspect will keep.

        Of the logs of the same task and arguments one is enough that is complete. Otherwise the
        last is continued, unless the questions have become fewer.

        Args:
            cell: The cell.
            questions: Questions that it asks.
            calls: Those, each epoch counted.
            exact: Whether it is known which pool questions the cell passes over.
        """

        def args(passed: Mapping[str, Any]) -> dict[str, Any]:
            return {k: v for k, v in passed.items() if exact or k != "skip"}

        mine = args(cell.args)
        logs = [log for log in self._logs[cell.key] if args(log.eval.task_args_passed) == mine]
        if any(answers_all(log, calls) for log in logs):
            return True, set()
        last = [*logs, *unmarked(logs)][-1:]
        if not last or (last[0].eval.dataset.samples or 0) > questions:
            return False, set()
        return False, self._kept[last[0].location]
