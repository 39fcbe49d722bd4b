"""What a recording holds before a log is written of it."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from string import ascii_uppercase

from inspect_ai.model import ModelUsage

from w2s_icl.evals.questions import Question, QuestionSet
from w2s_icl.record import CellKey, Shown


@dataclass(frozen=True)
class Answer:
    """One answer of a cell: the question, its options as shown, the letter or "" where unread."""

    question: Question
    choices: tuple[str, ...]
    letter: str
    epoch: int = 1
    reply: str = ""
    usage: ModelUsage | None = None

    @property
    def target(self) -> str:
        """Letter of the right option."""
        return ascii_uppercase[self.choices.index(self.question.choices[self.question.gold])]


@dataclass
class Recording:
    """Everything that is read from the files, before a log is written.

    Attributes:
        questions: The question set.
        not_recorded: What the files do not say.
        as_shown: Whether the options stand in the order in which they were shown.
        cells: Answers by cell; a cell of which only counts are known has none.
        counts: Right answers and all answers of cells of which nothing else is known.
        shown: Demonstrations by cell.
        files: Name, sha256 and number of rows of each file.
        notes: What was met on the way.
    """

    questions: QuestionSet
    not_recorded: list[str]
    as_shown: bool = False
    cells: dict[CellKey, list[Answer]] = field(default_factory=lambda: defaultdict(list))
    counts: dict[CellKey, tuple[int, int]] = field(default_factory=dict)
    shown: dict[CellKey, Shown] = field(default_factory=dict)
    files: list[tuple[str, str, int]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add_file(self, path: Path, rows: int) -> None:
        """Note a file that was read."""
        self.files.append((path.name, hashlib.sha256(path.read_bytes()).hexdigest(), rows))
