"""The study: which models, labels, shots and draws, read from YAML; and the cells it consists of.

A cell is one Inspect log. `Study.zero_shot_cells` need nothing; `Study.few_shot_cells` read weak
labels, so they come after the label runs. All cells are built here, in one way: Inspect tells cells
apart by their arguments exactly as passed.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from inspect_ai import Task
from inspect_ai.dataset import MemoryDataset
from inspect_ai.model import GenerateConfig, ModelCost, ModelInfo, get_model, set_model_info
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
    ValidationError,
    field_validator,
    model_validator,
)

from w2s_icl.evals.questions import DATASETS, NearDuplicates, Split, load_split
from w2s_icl.evals.simulated import SIMULATED_BANNER
from w2s_icl.evals.truthfulqa import MAX_TOKENS, few_shot, split_metadata, zero_shot
from w2s_icl.solvers.few_shot import Style
from w2s_icl.solvers.labels import find_answers, label_kinds, needs_weak

RESERVE = 8
"""Pool questions labelled beyond the largest shot count, for answers that cannot be read."""

Pair = tuple[str, str]
"""(weak, strong)"""


class StudyError(ValueError):
    """A study that cannot be read or run: says where, what was found and what is allowed."""


class Price(BaseModel):
    """What a model costs, in dollars per million tokens."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    input: NonNegativeFloat
    output: NonNegativeFloat
    cache_read: NonNegativeFloat | None = None
    cache_write: NonNegativeFloat | None = None


class Study(BaseModel):
    """One experiment.

    Attributes:
        name: What the study is called; the file's name by default.
        dataset: As `evals.questions.load_questions`. A relative path is looked for beside the study
            file, then in the working directory.
        test_size: Questions that are scored.
        seed: Of the split, the option order and the draws.
        models: As Inspect names them, weakest first.
        pairs: (weak, strong); by default each model with itself and with every stronger one.
        shots: Demonstrations in the prompt; 0 is the zero-shot cell.
        labels: Kinds of labels, of `solvers.labels.label_kinds()`.
        draws: How many permutations of the pool are shown.
        near_duplicates: "drop" bars pool questions that are near-duplicates of a test question.
        style: "chat" turns, or one "transcript".
        max_tokens: Longest reply, in tokens.
        label_pool: "needed": weak models label the questions that some cell may show; "all": the
            whole pool.
        prices: By model; what is not here is priced from Inspect's model table, or unknown.
        model_args: By model, what `inspect eval -M` would be given.
        max_connections: Calls under way at once to each model; Inspect adapts it where absent.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = "study"
    dataset: str = "mc4"
    test_size: PositiveInt = 200
    seed: int = 42
    models: Annotated[tuple[str, ...], Field(min_length=1)]
    pairs: tuple[Pair, ...] = ()
    shots: Annotated[tuple[NonNegativeInt, ...], Field(min_length=1)] = (0, 2, 4, 8, 16, 32, 64)
    labels: tuple[str, ...] = ("gold", "weak")
    draws: PositiveInt = 1
    near_duplicates: NearDuplicates = "drop"
    style: Style = "chat"
    max_tokens: PositiveInt = MAX_TOKENS
    label_pool: Literal["needed", "all"] = "needed"
    prices: Mapping[str, Price] = {}
    model_args: Mapping[str, Mapping[str, Any]] = {}
    max_connections: PositiveInt | None = None

    @field_validator("models", "shots", "labels")
    @classmethod
    def _different(cls, value: tuple[Any, ...]) -> tuple[Any, ...]:
        twice = sorted({str(v) for v in value if value.count(v) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)} stands there twice")
        return value

    @field_validator("shots")
    @classmethod
    def _ascending(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(sorted(value))

    @field_validator("labels")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for kind in value:
            if kind not in label_kinds():
                raise ValueError(f"must be of {', '.join(label_kinds())}, got {kind!r}")
        return value

    @model_validator(mode="after")
    def _models_named(self) -> Study:
        named = {"pairs": [m for pair in self.pairs for m in pair]}
        named |= {"prices": list(self.prices), "model_args": list(self.model_args)}
        for key, models in named.items():
            for model in models:
                if model not in self.models:
                    raise ValueError(
                        f"{key} names {model!r}, which is not among models: "
                        + ", ".join(self.models)
                    )
        if len(set(self.pairs)) < len(self.pairs):
            raise ValueError("a pair stands twice in pairs")
        return self

    @property
    def all_pairs(self) -> tuple[Pair, ...]:
        """The pairs that were given, or every weak <= strong, self included."""
        if self.pairs:
            return self.pairs
        models = self.models
        return tuple((w, s) for i, w in enumerate(models) for s in models[i:])

    @property
    def weak_models(self) -> tuple[str, ...]:
        """Models that some cell needs labels from, in the order of `models`."""
        if not any(needs_weak(kind) for kind in self.labels) or max(self.shots) == 0:
            return ()
        weak = {w for w, _ in self.all_pairs}
        return tuple(m for m in self.models if m in weak)

    def load_split(self) -> Split:
        """Test and pool, checked to be large enough.

        Raises:
            ValueError: As `evals.questions.load_split`; or the pool is smaller than the largest
                shot count.
        """
        split = load_split(
            self.dataset,
            test_size=self.test_size,
            seed=self.seed,
            near_duplicates=self.near_duplicates,
        )
        if len(split.pool) < max(self.shots):
            barred = split.provenance["n_near_duplicates"]
            raise StudyError(
                f"shots must be at most {len(split.pool)}, the questions in the pool, got "
                f"{max(self.shots)}; {split.provenance['dataset']} holds "
                f"{len(split.test) + len(split.pool) + barred} questions, of which "
                f"{len(split.test)} are the test (test_size) and {barred} near-duplicates of a "
                "test question (near_duplicates: keep would show them)"
            )
        return split


def load_study(path: str | Path) -> Study:
    """Read a study from a YAML file.

    Raises:
        StudyError: The file is missing, is not YAML, or says something that is not allowed.
    """
    path = Path(path)
    try:
        raw = yaml.safe_load(path.read_text("utf-8"))
    except OSError as error:
        raise StudyError(f"{path}: cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise StudyError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(raw, dict):
        raise StudyError(f"{path}: must hold keys and values, as `models: [...]`")
    dataset = raw.get("dataset")
    if isinstance(dataset, str) and dataset not in DATASETS:
        beside = path.parent / Path(dataset).expanduser()
        if beside.exists():
            raw["dataset"] = str(beside.absolute())
    try:
        return Study.model_validate({"name": path.stem, **raw})
    except ValidationError as error:
        raise StudyError("\n".join(f"{path}: {line}" for line in _lines(error))) from None


def _lines(error: ValidationError) -> Iterator[str]:
    """One line per mistake: where it stands, what is wrong, what is allowed."""
    for item in error.errors():
        where = ".".join(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            keys = Price.model_fields if item["loc"][0] == "prices" else Study.model_fields
            yield f"{where} is not a key of a study; the keys are {', '.join(keys)}"
        elif item["type"] == "missing":
            yield f"{where} is missing"
        else:
            text = item["msg"].removeprefix("Value error, ")
            got = "" if "got " in text or not where else f", got {item['input']!r:.100}"
            yield f"{where}: {text}{got}" if where else text


# --- cells ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cell:
    """One log of the study.

    Attributes:
        stage: Which stage of the plan it belongs to.
        model: The model that is prompted.
        labels: Kind of labels, "" for a zero-shot cell.
        weak: Who gave the labels, where that matters.
        shots: Demonstrations in the prompt.
        draw: Number of the draw.
        args: What the task function is called with: what differs from its defaults.
    """

    stage: Literal["zero-shot, test", "weak labels, pool", "demonstrations"]
    model: str
    labels: str = ""
    weak: str | None = None
    shots: int = 0
    draw: int = 0
    args: Mapping[str, Any] = field(default_factory=dict)


def zero_shot_cells(study: Study) -> list[Cell]:
    """The first phase: one baseline per model, one label run per weak model."""
    models = [m for m in study.models if any(m in pair for pair in study.all_pairs)]
    return [
        *(Cell("zero-shot, test", m, args=_task_args(study)) for m in models),
        *(
            Cell("weak labels, pool", m, args={"split": "pool", **_task_args(study)})
            for m in study.weak_models
        ),
    ]


def few_shot_cells(study: Study, skip: Collection[int | str], split: Split) -> list[Cell]:
    """The second phase: every (strong, labels, weak, shots, draw), gold before the others.

    Args:
        study: The study.
        skip: Pool questions that some weak model left unread: no cell shows them.
        split: Test and pool.
    """
    strong = [m for m in study.models if any(m == s for _, s in study.all_pairs)]
    cells: list[Cell] = []
    for kind in sorted(study.labels, key=lambda kind: kind != "gold"):
        givers = study.all_pairs if needs_weak(kind) else [(None, s) for s in strong]
        for weak, model in givers:
            for draw in range(study.draws):
                order = [s.id for s in split.draw(draw) if s.id is not None]
                for shots in study.shots:
                    if shots == 0:
                        continue
                    args: dict[str, Any] = {"labels": kind, "shots": shots, "draw": draw}
                    if weak:
                        args["weak"] = weak
                    # only what this prompt would have shown, so that cells stay the same when a
                    # larger study leaves out something further down the draw
                    passed = _passed_over(order, shots, skip)
                    if passed:
                        args["skip"] = passed
                    cells.append(
                        Cell(
                            "demonstrations",
                            model,
                            kind,
                            weak,
                            shots,
                            draw,
                            {**args, **_task_args(study)},
                        )
                    )
    return cells


def _passed_over(
    order: Iterable[int | str], shots: int, skip: Collection[int | str]
) -> list[int | str]:
    passed: list[int | str] = []
    for id_ in order:
        if shots == 0:
            break
        if id_ in skip:
            passed.append(id_)
        else:
            shots -= 1
    return passed


def _task_args(study: Study) -> dict[str, Any]:
    """Arguments that all tasks share, those that differ from the tasks' defaults."""
    keys = ("dataset", "test_size", "seed", "near_duplicates", "style", "max_tokens")
    return {
        key: value
        for key in keys
        if (value := getattr(study, key)) != Study.model_fields[key].default
    }


def build(study: Study, cell: Cell, log_dir: str, ask: Collection[int | str] | None = None) -> Task:
    """The Inspect task of a cell, with its model.

    Args:
        study: The study.
        cell: One of its cells.
        log_dir: Where weak labels are read from.
        ask: Ids of the only questions to ask, in a label run; Inspect asks the missing ones when
            there are more of them later.
    """
    task_function = few_shot if cell.labels else zero_shot
    with _log_dir(log_dir):
        task = task_function(**dict(cell.args))
    task.model = get_model(
        cell.model,
        config=GenerateConfig(max_connections=study.max_connections),
        **dict(study.model_args.get(cell.model, {})),
    )
    if ask is not None:
        asked = [sample for sample in task.dataset if sample.id in ask]
        task.dataset = MemoryDataset(asked, name=task.dataset.name, location=task.dataset.location)
    # whatever model was active while the task was made, the cell's own decides
    metadata = {key: value for key, value in (task.metadata or {}).items() if key != "warning"}
    if cell.model.startswith("simulated/"):
        metadata["warning"] = SIMULATED_BANNER
    price = study.prices.get(cell.model)
    if price:
        metadata["price_per_million"] = price.model_dump(exclude_none=True)
    metadata["study"] = plan_metadata(study)
    task.metadata = metadata
    return task


def plan_metadata(study: Study) -> dict[str, Any]:
    """What was planned, so that a reader of the logs can tell what is missing."""
    return {
        "name": study.name,
        "models": list(study.models),
        "pairs": [list(pair) for pair in study.all_pairs],
        "labels": list(study.labels),
        "labels_by_weak": [kind for kind in study.labels if needs_weak(kind)],
        "shots": list(study.shots),
        "draws": study.draws,
    }


@contextmanager
def _log_dir(log_dir: str) -> Iterator[None]:
    """Inspect's own way to say where logs are, for as long as a task is being made."""
    before = os.environ.get("INSPECT_LOG_DIR")
    os.environ["INSPECT_LOG_DIR"] = log_dir
    try:
        yield
    finally:
        if before is None:
            del os.environ["INSPECT_LOG_DIR"]
        else:
            os.environ["INSPECT_LOG_DIR"] = before


def set_prices(study: Study) -> None:
    """Tell Inspect the study's prices, so that its logs carry dollars.

    Models outside Inspect's table must be registered before their cost is set, or the first call
    fails.
    """
    for model, price in study.prices.items():
        cost = ModelCost(
            input=price.input,
            output=price.output,
            input_cache_read=price.input if price.cache_read is None else price.cache_read,
            input_cache_write=price.input if price.cache_write is None else price.cache_write,
        )
        set_model_info(model, ModelInfo(cost=cost))


# --- which questions are labelled -----------------------------------------------------------------


@dataclass(frozen=True)
class Labelling:
    """State of the weak models' labels in a log directory.

    Attributes:
        ask: By weak model, ids that its label run should cover: those it has answered and, until
            the labelling is complete, those still wanted.
        unread: Ids that some weak model answered unreadably.
        complete: Whether every cell of the study could now be built.
    """

    ask: Mapping[str, frozenset[int | str]]
    unread: frozenset[int | str]
    complete: bool


def labelling(study: Study, split: Split, log_dir: str) -> Labelling:
    """Which pool questions need labels, given the answers that are in the logs.

    For each draw the first `max(shots)` questions that all weak models answered readably are shown;
    those, and `RESERVE` more, need labels.
    """
    split_of = split_metadata(split, study.style)
    logs = [find_answers(model, "pool", split_of, log_dir) for model in study.weak_models]
    unread = frozenset(
        id_ for log in logs if log for id_, letter in log.letters.items() if letter is None
    )
    answered = [frozenset(log.letters) if log else frozenset() for log in logs]
    ask: set[int | str] = set()
    needed: set[int | str] = set()
    if study.weak_models:
        for draw in range(study.draws):
            order = [s.id for s in split.draw(draw) if s.id is not None]
            usable = [id_ for id_ in order if id_ not in unread]
            if len(usable) < max(study.shots):
                raise StudyError(
                    f"shots: {max(study.shots)} demonstrations are wanted, but all weak models "
                    f"gave a readable answer to only {len(usable)} of the {len(order)} questions "
                    "in the pool"
                )
            last = order.index(usable[max(study.shots) - 1])
            needed.update(order[: last + 1])
            ask.update(order[: last + 1 + RESERVE])
        if study.label_pool == "all":
            ask = needed = {s.id for s in split.pool if s.id is not None}
    complete = all(needed <= have for have in answered)
    more = frozenset() if complete else frozenset(ask)
    return Labelling(
        {model: have | more for model, have in zip(study.weak_models, answered, strict=True)},
        unread,
        complete,
    )
