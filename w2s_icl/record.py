"""What a log of this suite says of itself: the interface between running and analysing.

The running half writes these objects into `EvalLog.eval.metadata`, the analysing half reads them
back. A metadata key is the name of a field here, or its alias, and is spelled nowhere else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePath
from typing import Annotated, Any, Literal, NamedTuple, Self

from inspect_ai.log import EvalLog
from inspect_ai.model import ModelUsage
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

from w2s_icl.errors import W2SError, damage

BANNER = "simulated models: these numbers say nothing about language models"
"""What stands in every log, figure and page in which a stand-in model has part."""

STANDIN = "simulated/"
"""How the names of the stand-in models begin."""

MARGIN = 0.02
"""What a study calls no difference, as a fraction of the questions, where it does not say."""

MISSING_LIMIT = 0.02
"""Share of a cell's questions without an answer above which the cell is incomplete."""

UNREAD_LIMIT = 0.02
"""Share of a run's replies that cannot be read above which terminal and report warn."""

FILE = "file:"
"""How labels from a file are named: `labels=file:PATH`."""

SCORER = "letter"
"""Name of the suite's scorer, under which a log holds its scores."""

READ_BY = "scorer_version"
"""Key of `Score.metadata`: version of the reading. A log that was scored again keeps the old one in
its header."""

SELF = "self"
"""`labels=self` is `labels=weak` with the prompted model as its own weak model."""

TASKS = ("zero_shot", "few_shot")
"""Names of the suite's tasks, as the metadata say them."""

SETTINGS = ("temperature", "top_p", "top_k", "seed", "max_tokens", "reasoning_effort")
"""Settings of a call on which two runs of a model must agree to be compared."""


class CellKey(NamedTuple):
    """What tells cells apart: one finished log each. Texts are "" and numbers 0 where unused."""

    model: str
    task: str
    split: str
    labels: str
    weak: str
    shots: int
    draw: int
    prompt: str


def _text(value: Any) -> Any:
    return "" if value is None else value


def _number(value: Any) -> Any:
    return 0 if value is None else value


Text = Annotated[str, BeforeValidator(_text)]
Count = Annotated[int, BeforeValidator(_number), Field(ge=0, le=1_000_000)]
Id = int | str


class Record(BaseModel):
    """A part of a log's metadata."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    def to_metadata(self) -> dict[str, Any]:
        """The part as it stands in `Task(metadata=...)`."""
        return self.model_dump(mode="json", by_alias=True)

    @classmethod
    def from_metadata(
        cls, metadata: Mapping[str, Any], file: str = "the metadata", key: str = ""
    ) -> Self:
        """The part, read back; under `key`, where it has one of its own.

        Raises:
            W2SError: A field is missing or is not what it should be; names `file` and field.
        """
        try:
            # by alias alone: `labels`, the kind, is no `Shown.labels`
            return cls.model_validate(metadata, by_alias=True, by_name=False)
        except ValidationError as error:
            raise W2SError(
                f"{file}: {damage(error, *filter(None, [key]))}; the log is damaged or of another "
                "program"
            ) from None

    @classmethod
    def from_log(cls, log: EvalLog) -> Self:
        """The part of a log's header; raises as `from_metadata`."""
        return cls.from_metadata(log.eval.metadata or {}, file_of(log))


class ExperimentRecord(Record):
    """What all logs of one experiment share.

    Attributes:
        dataset: Name or path of the questions.
        dataset_sha256: Digest of their content.
        dataset_source: Where they were read.
        test_size: Scored questions.
        seed: Of split, option order and draws.
        near_duplicates: "drop" or "keep".
        n_pool: Questions that may be shown.
        n_near_duplicates: Pool questions barred as near-duplicates of a test question.
        style: "chat" or "transcript".
        system_role: "system", or "user" where the instruction stands in the first user turn.
        prompt_version: Version of the wordings.
        scorer_version: Version of the reading of replies.
        w2s_icl: Version of this package.
    """

    dataset: Text
    dataset_sha256: str
    dataset_source: Text = ""
    test_size: Count
    seed: int
    near_duplicates: str
    n_pool: Count = 0
    n_near_duplicates: Count = 0
    style: str
    system_role: Annotated[str, BeforeValidator(lambda v: v or "system")] = "system"
    prompt_version: str
    scorer_version: Text = ""
    w2s_icl: Text = ""

    @property
    def identity(self) -> dict[str, Any]:
        """The fields on which two logs must agree to be of one experiment."""
        return {name: getattr(self, name) for name in IDENTITY}


IDENTITY = (
    *("dataset_sha256", "test_size", "seed", "near_duplicates"),
    *("style", "system_role", "prompt_version"),
)
"""Fields of `ExperimentRecord` on which two logs must agree to be of one experiment."""


class CellRecord(Record):
    """Which cell a log is.

    Attributes:
        task: "zero_shot" or "few_shot".
        split: "test" or "pool".
        labels: Kind of labels, "" without demonstrations.
        weak: Model that wrote the labels, or "file:NAME" of a file of labels; "" where neither.
        shots: Demonstrations in the prompt.
        draw: Number of the draw.
        prompt: Arm of the prompt, "" for the plain one.
        permutations: Rotations of the options in which each question is asked.
        read: "reply", or "likelihood" where the answer is the most probable letter.
    """

    task: Literal["zero_shot", "few_shot"]
    split: Literal["test", "pool"]
    labels: Text = ""
    weak: Text = ""
    shots: Count = 0
    draw: Count = 0
    prompt: Text = ""
    permutations: Annotated[int, BeforeValidator(lambda v: 1 if v is None else v)] = Field(1, ge=1)
    read: Annotated[str, BeforeValidator(lambda v: v or "reply")] = "reply"

    def key(self, model: str) -> CellKey:
        """The cell's key, with the model that is prompted."""
        return CellKey(
            model,
            self.task,
            self.split,
            self.labels,
            self.weak,
            self.shots,
            self.draw,
            self.prompt,
        )


class Shown(Record):
    """The demonstrations of a cell.

    Attributes:
        ids: Their questions, in the order shown.
        labels: Letters shown, "" where a demonstration has no label.
        choices: Options of each demonstration, in the order shown.
        right_share: Share of labels that are the gold answer; None without labels.
        sha256: Digest of all of it.
        skipped: Pool questions that the study passed over, for all cells alike.
        unread: Pool questions passed over because their label could not be read.
        prompt_sha256: Digest of the whole prefix of the prompt.
        prompt_characters: Length of everything in the prompt but the question that is asked.
        system_message: As sent.
    """

    ids: tuple[Id, ...] = Field((), alias="demo_ids")
    labels: tuple[Text, ...] = Field((), alias="demo_labels")
    choices: tuple[tuple[str, ...], ...] = Field((), alias="demo_choices")
    right_share: float | None = Field(None, alias="demo_label_accuracy")
    sha256: Text = Field("", alias="shown_sha256")
    skipped: tuple[Id, ...] = ()
    unread: tuple[Id, ...] = ()
    prompt_sha256: Text = ""
    prompt_characters: Count = 0
    system_message: Text = ""


class LabelRecord(Record):
    """Where a cell's labels come from.

    Attributes:
        label_log: File name of the label run, or path of the file of labels.
        label_eval_id: Inspect's id of the label run, "" for a table.
        label_file_sha256: Digest of the file of labels, "" for a label run.
        labels_sha256: Digest of the label set.
        labels_n: Questions that were asked.
        labels_unread: Those of them without a readable answer.
        labels_coverage: Share of the pool that has a label.
        labels_accuracy: Share of the labels that are the gold answer.
        noise_errors: Wrong labels that a noise-matched set was given.
    """

    label_log: Text = ""
    label_eval_id: Text = ""
    label_file_sha256: Text = ""
    labels_sha256: Text = ""
    labels_n: Count = 0
    labels_unread: Count = 0
    labels_coverage: float | None = None
    labels_accuracy: float | None = None
    noise_errors: int | None = None


Block = tuple[
    str, str, str, Text, Text, Text, tuple[Count, ...], Annotated[int, Field(ge=0, le=1000)]
]


def blocks_of(cells: Iterable[CellKey]) -> tuple[Block, ...]:
    """The arms of cells, as `PlanRecord.blocks` holds them; draws are numbered from 0."""
    arms: dict[tuple[str, str, str, str, str, str], tuple[set[int], set[int]]] = {}
    for model, task, split, labels, weak, shots, draw, prompt in cells:
        counts, draws = arms.setdefault((model, task, split, labels, weak, prompt), (set(), set()))
        counts.add(shots)
        draws.add(draw)
    return tuple(
        (*arm, tuple(sorted(counts)), max(draws) + 1) for arm, (counts, draws) in arms.items()
    )


class PlanRecord(Record):
    """What the study planned, so that a reader of the logs can tell what is missing.

    Attributes:
        name: The study's.
        models: In the study's order, weakest first.
        pairs: (weak, strong).
        headline: Shot counts that the verdict is about.
        declared: Whether the study file itself names the headline.
        margin: What the study calls no difference, a fraction.
        blocks: A row per arm: model, task, split, labels, weak, prompt, shot counts, draws.
    """

    name: Text = ""
    models: tuple[str, ...] = ()
    pairs: tuple[tuple[str, str], ...] = ()
    headline: tuple[Count, ...] = ()
    declared: bool = False
    margin: Annotated[float, BeforeValidator(lambda v: MARGIN if v is None else v)] = MARGIN
    blocks: tuple[Block, ...] = ()

    @field_validator("blocks")
    @classmethod
    def _few_cells(cls, blocks: tuple[Block, ...]) -> tuple[Block, ...]:
        cells = sum(len(counts) * draws for *_, counts, draws in blocks)
        if cells > 100_000:
            raise ValueError(f"a plan has at most 100,000 cells, not {cells}")
        return blocks

    @classmethod
    def from_log(cls, log: EvalLog) -> Self | None:  # type: ignore[override]
        """The plan in a log's header; None where the log is of no study."""
        plan = (log.eval.metadata or {}).get("study")
        return None if plan is None else cls.from_metadata(plan, file_of(log), "study")

    def to_metadata(self) -> dict[str, Any]:
        """The plan under its key."""
        return {"study": super().to_metadata()}

    def cells(self) -> Iterator[CellKey]:
        """Every cell that was planned."""
        for model, task, split, labels, weak, prompt, counts, draws in self.blocks:
            for draw in range(draws):
                for shots in counts:
                    yield CellKey(model, task, split, labels, weak, shots, draw, prompt)


class ImportRecord(Record):
    """Where the answers of an imported log were recorded, and what they cannot show.

    Attributes:
        source: Who recorded them, as the user says it.
        files: Name, sha256 and number of rows of each file.
        imported_at: Date of the import, ISO 8601.
        not_recorded: What the files do not say, in words.
        notes: What was met on the way, in words.
        as_shown: Whether the options stand in the order in which they were shown.
        correct, total: Counts of a cell whose answers were not recorded, only how many were right.
    """

    source: Text = ""
    files: tuple[tuple[str, str, int], ...] = ()
    imported_at: Text = ""
    not_recorded: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    as_shown: bool = False
    correct: Count | None = None
    total: Count | None = None

    @classmethod
    def from_log(cls, log: EvalLog) -> Self | None:  # type: ignore[override]
        """The provenance in a log's header; None where the suite itself ran the cell."""
        told = (log.eval.metadata or {}).get("imported")
        return None if told is None else cls.from_metadata(told, file_of(log), "imported")

    def to_metadata(self) -> dict[str, Any]:
        """The provenance under its key."""
        return {"imported": super().to_metadata()}


class RunRecord(Record):
    """What else a reader of a log must know.

    Attributes:
        warning: `BANNER` where a stand-in model answered or labelled, else "".
        reused_from: Log whose answers this cell took over, since its prompts are the same.
        price_per_million: Dollars by kind of token, as the study gave them; None where it did not.
    """

    warning: Text = ""
    reused_from: Text = ""
    price_per_million: Mapping[str, float] | None = None

    def to_metadata(self) -> dict[str, Any]:
        """Only what there is to say."""
        return {key: value for key, value in super().to_metadata().items() if value}


# --- what a log says as a whole -------------------------------------------------------------------


def file_of(log: EvalLog) -> str:
    """Name of a log's file."""
    return (log.location or "").rsplit("/", 1)[-1] or "the log"


def is_ours(log: EvalLog) -> bool:
    """Whether a log is of this suite."""
    metadata = log.eval.metadata or {}
    return metadata.get("task") in TASKS and "prompt_version" in metadata


def key_of(log: EvalLog) -> CellKey:
    """The cell that a log is of."""
    return CellRecord.from_log(log).key(log.eval.model)


def is_simulated(log: EvalLog) -> bool:
    """Whether a stand-in model answered or labelled."""
    return log.eval.model.startswith(STANDIN) or bool(RunRecord.from_log(log).warning)


def is_complete(log: EvalLog) -> bool:
    """Whether a log holds an answer to every question that its run was to ask.

    The status alone does not say so: where a run tolerates failed samples, it is "success" even if
    all of them failed. A label run that is to grow is complete: it answered what it was asked.
    """
    results = log.results
    return (
        log.status == "success"
        and not log.invalidated
        and results is not None
        and results.completed_samples >= results.total_samples
    )


def precedence(log: EvalLog) -> tuple[int, str, str]:
    """Sorts the complete logs of one cell, the one that counts first: the fullest, then the first.

    The first is the one that ended first: cells may have been made from it before another ended.
    """
    answered = log.results.completed_samples if log.results else 0
    return (-answered, log.stats.completed_at, file_of(log))


def attempt_of(log: EvalLog) -> str:
    """What two logs share that two workers of one run wrote; "" where nothing tells.

    Besides Inspect's id of the run, the arguments of task and model: a study that was changed goes
    on under the same id, and its answers are no repetition of the earlier ones.
    """
    spec = log.eval
    args = [spec.eval_set_id, spec.task_args_passed, spec.model_args]
    return json.dumps(args, sort_keys=True, default=str) if spec.eval_set_id else ""


def settings_of(log: EvalLog) -> dict[str, Any]:
    """The settings of `SETTINGS` with which a log's calls were made, None where not set."""
    asked = log.plan.config.model_dump(exclude_none=True)
    asked |= log.eval.model_generate_config.model_dump(exclude_none=True)
    return {name: asked.get(name) for name in SETTINGS}


def prompt_tokens(usage: ModelUsage) -> int:
    """Tokens of a prompt, cached ones included: Inspect's `input_tokens` leave those out."""
    cached = (usage.input_tokens_cache_read or 0) + (usage.input_tokens_cache_write or 0)
    return usage.input_tokens + cached


def rotation(epoch: int, permutations: int, n_options: int) -> int:
    """Places to the left by which an epoch (from 1) shows the options of a question."""
    return (epoch - 1) % permutations % max(n_options, 1)


def short_name(model: str) -> str:
    """The size in a model's name, where there is one, else the end of the name; a file's stem.

    Example:
        >>> [short_name(m) for m in ("qwen/qwen-2.5-72b-instruct", "simulated/small")]
        ['72b', 'small']
        >>> short_name("file:my votes.csv")
        'my-votes'
    """
    if model.startswith(FILE):
        return re.sub(r"[^\w.-]+", "-", PurePath(model.removeprefix(FILE)).stem)[:12]
    last = model.rsplit("/", 1)[-1]
    size = re.search(r"(?<![\d.])\d+(?:\.\d+)?b(?![a-z])", last.lower())
    return size.group() if size else last[:12]
