"""What the logs of a directory hold of a study: answers that are kept, tokens and dollars."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from inspect_ai.dataset import Sample
from inspect_ai.log import EvalLog, EvalSampleSummary
from inspect_ai.model import ModelUsage

from w2s_icl.evals.cells import Cell
from w2s_icl.evals.questions import Split
from w2s_icl.evals.sweep.logdir import answers_all, unmarked
from w2s_icl.record import CellKey, Shown, is_ours, key_of, prompt_tokens
from w2s_icl.solvers.few_shot import question_text
from w2s_icl.solvers.label_logs import log_headers, summaries

TOKENS_PER_CHARACTER = 1 / 4
"""Of English text, until calls of the model are logged."""

REPLY_TOKENS, REASONED_REPLY_TOKENS = 2, 250
"""Of a letter, and of a few sentences before it, until calls of the model are logged."""

Call = tuple[int | str, int]
"""A question's id and the epoch in which it is asked."""


def id_of(sample: Sample) -> int | str:
    """A question's id."""
    assert sample.id is not None, "questions have ids"
    return sample.id


def sum_of_usage(samples: Iterable[EvalSampleSummary]) -> dict[str, ModelUsage]:
    """What some answers took, by model; the cost is None where that of one call is unknown.

    The samples are summed, since a log that continues after kill -9 lacks in its own sums what the
    killed run had logged.
    """
    sums: dict[str, ModelUsage] = {}
    for sample in samples:
        for model, usage in sample.model_usage.items():
            before = sums.get(model)
            total = usage if before is None else before + usage
            if usage.total_cost is None or (before and before.total_cost is None):
                total = total.model_copy(update={"total_cost": None})
            sums[model] = total
    return sums


class Logged:
    """What the logs of a directory hold of a study's cells, and what they cost.

    Attributes:
        spent: Dollars of the calls whose cost is known.
        unpriced: Models with other calls.
    """

    def __init__(self, log_dir: str, split: Split) -> None:
        """Read the directory; no other is read later."""
        self._samples = {id_of(s): s for s in (*split.test, *split.pool)}
        self._of: dict[CellKey, list[EvalLog]] = defaultdict(list)
        self._kept: dict[str, set[Call]] = {}
        self._prompts: dict[str, list[tuple[int, int]]] = defaultdict(list)
        self._replies: dict[tuple[str, bool], list[int]] = defaultdict(list)
        self.spent = 0.0
        self.unpriced: set[str] = set()
        headers = {log.location: log for log in log_headers(log_dir) if is_ours(log)}
        for log in headers.values():
            self._of[key_of(log)].append(log)
        paid: set[str] = set()
        for location, samples in summaries(list(headers)):
            self._kept[location] = {(s.id, s.epoch) for s in samples if s.error is None}
            # a log that continues another holds its samples again
            new = [s for s in samples if not s.uuid or s.uuid not in paid]
            paid.update(s.uuid for s in new if s.uuid)
            self._learn(headers[location], new)
            for model, usage in (pair for s in new for pair in s.model_usage.items()):
                self.spent += usage.total_cost or 0.0
                if usage.total_cost is None:
                    self.unpriced.add(model)

    def _learn(self, log: EvalLog, samples: Iterable[EvalSampleSummary]) -> None:
        """Take the lengths and tokens of prompts and replies."""
        key, prefix = key_of(log), Shown.from_log(log).prompt_characters
        for sample in samples:
            usage = sample.model_usage.get(key.model)
            # a question that was tried twice has the usage of two calls
            if usage and not sample.retries and not sample.error:
                self._replies[key.model, "cot=" in key.prompt].append(usage.output_tokens)
                if prefix and sample.id in self._samples:
                    length = prefix + self.question_characters(sample.id, key.prompt)
                    self._prompts[key.model].append((length, prompt_tokens(usage)))

    def question_characters(self, id_: int | str, prompt: str) -> int:
        """Length of the question that is asked, options included."""
        sample = self._samples[id_]
        shown = "" if "question=hidden" in prompt else str(sample.input)
        return len(question_text(shown, sample.choices or []))

    def tokens_per_character(self, model: str) -> tuple[float, int]:
        """Of a model's logged prompts, and the number of its logged calls."""
        logged = self._prompts[model]
        if not logged:
            return TOKENS_PER_CHARACTER, 0
        lengths, tokens = zip(*logged, strict=True)
        return sum(tokens) / sum(lengths), len(logged)

    def reply(self, model: str, prompt: str) -> float:
        """Mean tokens of a model's logged replies, or what is usual."""
        reasons = "cot=" in prompt
        logged = self._replies[model, reasons]
        usual = REASONED_REPLY_TOKENS if reasons else REPLY_TOKENS
        return sum(logged) / len(logged) if logged else usual

    def answered(
        self, cell: Cell, questions: int, calls: int, *, exact: bool
    ) -> tuple[bool, set[Call]]:
        """Whether a cell is complete, and the calls whose answers Inspect will keep.

        Of the logs of the same task and arguments one is enough that is complete. Otherwise the
        last is continued, unless the questions have become fewer.

        Args:
            cell: The cell.
            questions: Questions that it asks.
            calls: Those, each epoch counted.
            exact: Whether it is known which pool questions it passes over.
        """

        def args(passed: Mapping[str, Any]) -> dict[str, Any]:
            return {k: v for k, v in passed.items() if exact or k != "skip"}

        mine = args(cell.args)
        logs = [log for log in self._of[cell.key] if args(log.eval.task_args_passed) == mine]
        if any(answers_all(log, calls) for log in logs):
            return True, set()
        last = [*logs, *unmarked(logs)][-1:]
        if not last or (last[0].eval.dataset.samples or 0) > questions:
            return False, set()
        return False, self._kept[last[0].location]
