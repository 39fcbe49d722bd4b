"""What a log of this suite says of itself: the interface between running and analysing.

The running half writes these objects into `EvalLog.eval.metadata`, the analysing half reads them
back. A metadata key is the name of a field here, or its alias, and is spelled nowhere else.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from pathlib import PurePath
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self

from inspect_ai.log import EvalLog
from inspect_ai.model import ModelUsage
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from w2s_icl.errors import W2SError, first_line

# stands in every log, figure and page in which a stand-in model has part
BANNER = "simulated models: these numbers say nothing about language models"
STANDIN = "simulated/"  # how the names of the stand-in models begin
FILE = "file:"  # how labels from a file are named: `labels=file:PATH`
SELF = "self"  # `labels=self` is `labels=weak` with the prompted model as its own weak model
MARGIN = 0.02  # what a study calls no difference where it does not say, a share of the questions
MISSING_LIMIT = 0.02  # share of questions without an answer above which a cell is incomplete
UNREAD_LIMIT = 0.02  # share of unreadable replies above which terminal and report warn
SCORER = "letter"  # the suite's scorer, under which a log holds its scores
READ_BY = "scorer_version"  # in `Score.metadata`: after scoring again the header's is the old one
PLANS = "plans.jsonl"  # beside the logs: plans of runs that had nothing to ask, and wrote no log
# settings of a call on which two runs of a model must agree to be compared
SETTINGS = ("temperature", "top_p", "top_k", "seed", "max_tokens", "reasoning_effort")


class CellKey(NamedTuple):
    """What tells cells apart: one finished log each. Texts are "" and numbers 0 where unused."""

    model: str
    task: str
    split: str
    labels: str = ""
    weak: str = ""
    shots: int = 0
    draw: int = 0
    prompt: str = ""
    order: int = 0


Text = Annotated[str, BeforeValidator(lambda value: "" if value is None else value)]
Count = Annotated[int, Field(ge=0, le=1_000_000)]
Order = Annotated[int, Field(ge=0, le=1000)]
Id = int | str


class Record(BaseModel):
    """A part of a log's metadata. What a log does not say, or says as null, has its default."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    under: ClassVar[str] = ""  # key under which the part stands, where it has one of its own

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, said: Any) -> Any:
        return {k: v for k, v in said.items() if v is not None} if isinstance(said, dict) else said

    def to_metadata(self) -> dict[str, Any]:
        """The part as it stands in `Task(metadata=...)`."""
        said = self.model_dump(mode="json", by_alias=True)
        return {self.under: said} if self.under else said

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any], file: str = "the metadata") -> Self:
        """The part, read back from a log's whole metadata; W2SError names `file` and field."""
        try:
            # by alias alone: `labels`, the kind, is no `Shown.labels`
            said = metadata.get(cls.under) if cls.under else metadata
            return cls.model_validate(said, by_alias=True, by_name=False)
        except ValidationError as error:
            what = f"{cls.under and cls.under + '.'}{first_line(error)}"
            raise W2SError(f"{file}: {what}; the log is damaged or of another program") from None

    @classmethod
    def from_log(cls, log: EvalLog) -> Self:
        """The part of a log's header; raises as `from_metadata`."""
        return cls.from_metadata(log.eval.metadata or {}, file_of(log))

    @classmethod
    def in_log(cls, log: EvalLog) -> Self | None:
        """The part that stands under a key of its own; None where the log lacks it."""
        return cls.from_log(log) if (log.eval.metadata or {}).get(cls.under) is not None else None


class ExperimentRecord(Record):
    """What all logs of one experiment share."""

    dataset: str = ""  # name or path of the questions
    dataset_sha256: str  # of their content
    dataset_source: str = ""  # where they were read
    test_size: Count  # scored questions
    seed: int  # of split, option order and draws
    near_duplicates: str  # "drop" or "keep"
    n_pool: Count = 0  # questions that may be shown
    n_near_duplicates: Count = 0  # pool questions barred as near-duplicates of a test question
    style: str  # "chat" or "transcript"
    system_role: str = "system"  # "user": the instruction stands in the first user turn
    prompt_version: str  # of the wordings
    scorer_version: str = ""  # of the reading of replies
    w2s_icl: str = ""  # version of this package

    @property
    def identity(self) -> dict[str, Any]:
        """The values of `IDENTITY`."""
        return {name: getattr(self, name) for name in IDENTITY}


# fields of `ExperimentRecord` on which two logs must agree to be of one experiment
IDENTITY = (
    *("dataset_sha256", "test_size", "seed", "near_duplicates"),
    *("style", "system_role", "prompt_version"),
)


class CellRecord(Record):
    """Which cell a log is."""

    task: Literal["zero_shot", "few_shot"]
    split: Literal["test", "pool"]
    labels: str = ""  # kind of labels, "" without demonstrations
    weak: str = ""  # model that wrote the labels, or "file:NAME" of a file of labels
    shots: Count = 0  # demonstrations in the prompt
    draw: Count = 0  # number of the draw
    order: Order = 0  # in which they are shown, 0 for the draw's own
    prompt: str = ""  # arm of the prompt, "" for the plain one
    permutations: Annotated[int, Field(ge=1)] = 1  # rotations of the options of each question
    max_tokens: int | None = None  # longest reply that a call may give, as used
    read: str = "reply"  # or "likelihood": the answer is the most probable letter

    def key(self, model: str) -> CellKey:
        """The cell's key, with the model that is prompted."""
        return CellKey(model, *(getattr(self, name) for name in CellKey._fields[1:]))


class Shown(Record):
    """The demonstrations of a cell."""

    ids: tuple[Id, ...] = Field((), alias="demo_ids")  # questions, in the order shown
    labels: tuple[Text, ...] = Field((), alias="demo_labels")  # letters; "" for one without a label
    choices: tuple[tuple[str, ...], ...] = Field((), alias="demo_choices")  # in the order shown
    right_share: float | None = Field(None, alias="demo_label_accuracy")  # None without labels
    sha256: str = Field("", alias="shown_sha256")  # of all of it
    skipped: tuple[Id, ...] = ()  # pool questions that the study passed over, for all cells alike
    unread: tuple[Id, ...] = ()  # pool questions whose label could not be read
    prompt_sha256: str = ""  # of the whole prefix of the prompt
    prompt_characters: Count = 0  # everything in the prompt but the question that is asked
    system_message: str = ""  # as sent


class LabelRecord(Record):
    """Where a cell's labels come from."""

    label_log: str = ""  # file name of the label run, or path of the file of labels
    label_eval_id: str = ""  # Inspect's id of the label run, "" for a table
    label_file_sha256: str = ""  # "" for a label run
    labels_sha256: str = ""  # of the label set
    labels_n: Count = 0  # questions that were asked
    labels_unread: Count = 0  # those of them without a readable answer
    labels_coverage: float | None = None  # share of the pool that has a label
    labels_accuracy: float | None = None  # share of the labels that are the gold answer
    noise_errors: int | None = None  # wrong labels that a noise-matched set was given


# an arm: model, task, split, labels, weak, prompt, shot counts, and how many draws
Block = tuple[str, str, str, Text, Text, Text, tuple[Count, ...], Order]


def blocks_of(cells: Iterable[CellKey]) -> tuple[Block, ...]:
    """The arms of cells, as `PlanRecord.blocks` holds them; draws are numbered from 0."""
    arms: dict[tuple[str, str, str, str, str, str], list[CellKey]] = {}
    for key in cells:
        arms.setdefault((*key[:5], key.prompt), []).append(key)
    return tuple(
        (*arm, tuple(sorted({key.shots for key in of})), max(key.draw for key in of) + 1)
        for arm, of in arms.items()
    )


class PlanRecord(Record):
    """What the study planned, so that a reader of the logs can tell what is missing."""

    under: ClassVar[str] = "study"

    name: str = ""
    models: tuple[str, ...] = ()  # in the study's order, weakest first
    pairs: tuple[tuple[str, str], ...] = ()  # (weak, strong)
    headline: tuple[Count, ...] = ()  # shot counts that the verdict is about
    declared: bool = False  # whether the study file itself names the headline
    margin: float = MARGIN  # what the study calls no difference
    blocks: tuple[Block, ...] = ()
    orders: Annotated[int, Field(ge=1, le=1000)] = 1  # in which each draw of `reordered` is shown
    reordered: tuple[Block, ...] = ()

    def cells(self) -> Iterator[CellKey]:
        """Every cell that was planned."""
        for blocks, orders in ((self.blocks, range(1)), (self.reordered, range(1, self.orders))):
            for model, task, split, labels, weak, prompt, counts, draws in blocks:
                arm = (model, task, split, labels, weak)
                for draw, shots, order in product(range(draws), counts, orders):
                    yield CellKey(*arm, shots, draw, prompt, order)


class ImportRecord(Record):
    """Where the answers of an imported log were recorded, and what they cannot show."""

    under: ClassVar[str] = "imported"

    source: str = ""  # who recorded them, as the user says it
    files: tuple[tuple[str, str, int], ...] = ()  # name, sha256 and number of rows
    imported_at: str = ""  # date, ISO 8601
    not_recorded: tuple[str, ...] = ()  # what the files do not say, in words
    notes: tuple[str, ...] = ()  # what was met on the way, in words
    as_shown: bool = False  # whether the options stand in the order in which they were shown
    correct: Count | None = None  # right answers, of a cell of which only counts were recorded
    total: Count | None = None  # all answers of such a cell


class RunRecord(Record):
    """What else a reader of a log must know."""

    warning: str = ""  # `BANNER` where a stand-in model answered or labelled
    reused_from: str = ""  # log whose answers this cell took over: its prompts are the same
    price_per_million: Mapping[str, float] | None = None  # dollars by kind of token, if given

    def to_metadata(self) -> dict[str, Any]:
        """Only what there is to say."""
        return {key: value for key, value in super().to_metadata().items() if value}


def file_of(log: EvalLog) -> str:
    """Name of a log's file."""
    return (log.location or "").rsplit("/", 1)[-1] or "the log"


def is_ours(log: EvalLog) -> bool:
    """Whether a log is of this suite."""
    said = log.eval.metadata or {}
    return said.get("task") in ("zero_shot", "few_shot") and "prompt_version" in said


def key_of(log: EvalLog) -> CellKey:
    """The cell that a log is of."""
    return CellRecord.from_log(log).key(log.eval.model)


def is_complete(log: EvalLog) -> bool:
    """Whether a log has every answer that its run asked for; "success" alone may have none."""
    if log.status != "success" or log.invalidated or log.results is None:
        return False
    return log.results.completed_samples >= log.results.total_samples


def precedence(log: EvalLog) -> tuple[int, str, str]:
    """Sorts a cell's complete logs: the fullest first, of equals the one that ended first."""
    # cells may have been made from that one before another ended
    answered = log.results.completed_samples if log.results else 0
    return (-answered, log.stats.completed_at, file_of(log))


def attempt_of(log: EvalLog) -> str:
    """What two logs share that two workers of one run wrote; "" where nothing tells."""
    spec = log.eval
    # a study that was changed goes on under the same id: its answers are no repetition
    args = [spec.eval_set_id, spec.task_args_passed, spec.model_args]
    return json.dumps(args, sort_keys=True, default=str) if spec.eval_set_id else ""


def all_settings_of(log: EvalLog) -> dict[str, Any]:
    """All settings with which a log's calls were made."""
    asked = log.plan.config.model_dump(exclude_none=True)
    return asked | log.eval.model_generate_config.model_dump(exclude_none=True)


def settings_of(log: EvalLog) -> dict[str, Any]:
    """The settings of `SETTINGS` with which a log's calls were made, None where not set."""
    asked = all_settings_of(log)
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
        >>> short_name("qwen/qwen-2.5-72b-instruct"), short_name("file:my votes.csv")
        ('72b', 'my-votes')
    """
    if model.startswith(FILE):
        return re.sub(r"[^\w.-]+", "-", PurePath(model.removeprefix(FILE)).stem)[:12]
    last = model.rsplit("/", 1)[-1]
    size = re.search(r"(?<![\d.])\d+(?:\.\d+)?b(?![a-z])", last.lower())
    return size.group() if size else last[:12]
