"""The study: which models, labels, shots and draws, read from YAML; and the cells it consists of.

A cell is one Inspect log. `Study.zero_shot_cells` need nothing; `Study.few_shot_cells` read weak
labels, so they come after the label runs. All cells are built here, in one way: Inspect tells cells
apart by their arguments exactly as passed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import rich
import yaml
from inspect_ai import Task
from inspect_ai.dataset import MemoryDataset
from inspect_ai.model import (
    BatchConfig,
    GenerateConfig,
    Model,
    ModelCost,
    ModelInfo,
    get_model,
    get_model_info,
    set_model_info,
)
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    field_validator,
    model_validator,
)

from w2s_icl.evals.questions import DATASETS, NearDuplicates, Split, load_split
from w2s_icl.evals.standins import SIMULATED_BANNER
from w2s_icl.evals.sweep.endpoint import lean
from w2s_icl.evals.sweep.gate import guard
from w2s_icl.evals.truthfulqa import Part, few_shot, split_metadata, zero_shot
from w2s_icl.solvers.few_shot import Style
from w2s_icl.solvers.labels import (
    CHAIN,
    SELF,
    SEVERAL,
    Answers,
    depth,
    find_answers,
    is_finished,
    label_kinds,
    log_headers,
    majority,
    needs_weak,
)

PROMPT_ARMS = (
    "disclosure=source",
    "disclosure=accuracy",
    "cot=bare",
    "cot=reasoning",
    "question=hidden",
)
"""What `prompts` may name: one changed argument of the tasks each."""

MAIN_KINDS = ("gold", "weak")
"""Kinds of labels that are run at every shot count, and with every prompt arm."""

VERDICT_KINDS = (*MAIN_KINDS, "random", "noise_matched", "unlabelled", SELF)
"""Kinds of labels without which the report's verdict has a condition that is not run."""

CONFIDENT_LOGPROBS = 5
"""Tokens whose probability a label run asks for, when labels are chosen by it; servers allow 5."""

BATCH_PROVIDERS = ("openai", "anthropic", "google", "grok", "together")
"""Whose batch interface Inspect speaks. Asked of another, it sends up to 10,000 calls at once."""

RESERVE = 8
"""Pool questions labelled beyond the largest shot count, for answers that cannot be read."""

NOT_LOOKED_UP = ("hf", "mockllm", "nnterp", "sglang", "simulated", "transformer_lens", "vllm")
"""Providers that load a model when it is named, and stand-ins whose names are like another's."""

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
        labels: Kinds of labels, of `solvers.labels.label_kinds()`. "self" adds each prompted
            model's own labels; all models that label vote in "majority".
        draws: How many permutations of the pool are shown.
        control_shots: Shot counts of everything but gold and weak labels; all of `shots` by
            default.
        headline: Shot counts of the declared result, over which it is averaged; the largest by
            default. The report's verdict is about these and no others.
        margin: How far below noise-matched and own labels the weak ones may fall and still be "at
            least" as good, as a fraction of the questions.
        prompts: Prompt arms beside the plain one, as the tasks' arguments: "disclosure=source",
            "disclosure=accuracy", "cot=bare", "cot=reasoning", "question=hidden". Each is run with
            gold and weak labels (of these, those in `labels`), and zero-shot where it applies.
        chains: Lists of models, each labelling for the next: [A, B, C] shows C the labels that B
            gave after A's.
        epochs: How often the same question is asked: of the zero-shot runs, or by kind of run
            ("zero_shot", or a kind of labels).
        permutations: Ask each test question so many times, its options rotated, and average.
        near_duplicates: "drop" bars pool questions that are near-duplicates of a test question.
        style: "chat" turns, or one "transcript".
        max_tokens: Longest reply, in tokens.
        label_pool: "needed": weak models label the questions that some cell may show; "all": the
            whole pool.
        prices: By model; what is not here is priced from Inspect's model table, or unknown.
        model_args: By model, what `inspect eval -M` would be given.
        max_connections: Calls under way at once to each model; Inspect adapts it where absent.
        batch: Ask the models of `BATCH_PROVIDERS` in batches: true, the least number of calls in a
            batch, or Inspect's `BatchConfig`. A cell is the same either way.
        timeout: Seconds that one call may take; then it is asked again.
        check_models: Ask each endpoint for its list of models first, and refuse what it lacks.
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
    control_shots: tuple[PositiveInt, ...] | None = None
    headline: tuple[PositiveInt, ...] = ()
    margin: Annotated[float, Field(ge=0, le=0.05)] = 0.02
    prompts: tuple[str, ...] = ()
    chains: tuple[Annotated[tuple[str, ...], Field(min_length=3)], ...] = ()
    epochs: PositiveInt | Mapping[str, PositiveInt] = 1
    permutations: PositiveInt = 1
    near_duplicates: NearDuplicates = "drop"
    style: Style = "chat"
    max_tokens: PositiveInt | None = None
    label_pool: Literal["needed", "all"] = "needed"
    prices: Mapping[str, Price] = {}
    model_args: Mapping[str, Mapping[str, Any]] = {}
    max_connections: PositiveInt | None = None
    batch: bool | PositiveInt | BatchConfig = False
    timeout: PositiveFloat = 120
    check_models: bool = True

    @field_validator("control_shots", "headline", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return [value] if isinstance(value, int) else value

    @field_validator("models", "shots", "labels", "control_shots", "headline", "prompts", "chains")
    @classmethod
    def _different(cls, value: tuple[Any, ...] | None) -> tuple[Any, ...] | None:
        twice = sorted({str(v) for v in value or () if (value or ()).count(v) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)} stands there twice")
        return value

    @field_validator("shots", "control_shots", "headline")
    @classmethod
    def _ascending(cls, value: tuple[int, ...] | None) -> tuple[int, ...] | None:
        return None if value is None else tuple(sorted(value))

    @field_validator("labels")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for kind in value:
            if kind not in label_kinds():
                raise ValueError(f"must be of {', '.join(label_kinds())}, got {kind!r}")
        return value

    @field_validator("prompts")
    @classmethod
    def _arms(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for arm in value:
            if arm not in PROMPT_ARMS:
                raise ValueError(f"must be of {', '.join(PROMPT_ARMS)}, got {arm!r}")
        return value

    @field_validator("model_args")
    @classmethod
    def _no_keys(cls, value: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Mapping[str, Any]]:
        for model, args in value.items():
            secret = _secret_in(args)
            if secret:
                # Inspect writes model arguments into the log, and a study file is passed round
                raise ValueError(
                    f"{model}: {secret} must not hold a key or a password, got one (not shown); "
                    "set it in the environment or in .env, under the name that the provider reads "
                    "(OPENROUTER_API_KEY, OPENAI_API_KEY, ...)"
                )
        return value

    @model_validator(mode="after")
    def _fits(self) -> Study:
        for key in ("control_shots", "headline"):
            other = sorted(set(getattr(self, key) or ()) - set(self.shots))
            if other:
                raise ValueError(f"{key} must be among shots {list(self.shots)}, got {other}")
        if isinstance(self.epochs, Mapping):
            for kind in self.epochs:
                if kind not in ("zero_shot", *label_kinds()):
                    raise ValueError(
                        f"epochs must be of zero_shot, {', '.join(label_kinds())}, got {kind!r}"
                    )
        if self.batch and not any(_takes_batches(model) for model in self.models):
            raise ValueError(
                "batch needs a model of "
                + ", ".join(f"{p}/" for p in BATCH_PROVIDERS)
                + f"; models are {', '.join(self.models)}"
            )
        if "majority" in self.labels and len(self.weak_models) < 2:
            raise ValueError("labels: majority needs at least two models that label (see pairs)")
        return self

    @model_validator(mode="after")
    def _models_named(self) -> Study:
        named = {"pairs": [m for pair in self.pairs for m in pair]}
        named |= {"chains": [m for chain in self.chains for m in chain]}
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
    def strong_models(self) -> tuple[str, ...]:
        """Models that are shown demonstrations, in the order of `models`."""
        strong = {s for _, s in self.all_pairs}
        return tuple(m for m in self.models if m in strong)

    @property
    def weak_models(self) -> tuple[str, ...]:
        """Models that some cell needs zero-shot labels from, in the order of `models`."""
        if max(self.shots) == 0:
            return ()
        weak = {chain[0] for chain in self.chains}
        if any(needs_weak(kind) for kind in self.labels):
            weak |= {w for w, _ in self.all_pairs}
        if SELF in self.labels:
            weak |= set(self.strong_models)
        return tuple(m for m in self.models if m in weak)

    @property
    def chain_places(self) -> range:
        """Places in a chain, from 0, of the models whose label runs are prompted with labels."""
        return range(1, max((len(chain) for chain in self.chains), default=2) - 1)

    @property
    def label_prompts(self) -> tuple[str, ...]:
        """Arms of the prompt in which the weak models label: plain, and with reasoning."""
        return ("", "cot=bare") if "cot=reasoning" in self.prompts else ("",)

    @property
    def verdict_shots(self) -> tuple[int, ...]:
        """Shot counts of the declared result."""
        return self.headline or (max(self.shots),)

    def missing_arms(self) -> tuple[str, ...]:
        """Kinds of labels that the verdict needs and this study does not run at its headline."""
        if max(self.shots) == 0:
            return VERDICT_KINDS
        at_headline = set(self.verdict_shots) <= set(self.control_shots or self.shots)
        there = {k for k in self.labels if k in MAIN_KINDS or at_headline}
        taught = {s for w, s in self.all_pairs if w != s}
        if "weak" in there and all((s, s) in self.all_pairs for s in taught):
            there.add(SELF)  # its own labels are those of the pair with itself
        return tuple(kind for kind in VERDICT_KINDS if kind not in there)

    def arm_shots(self, kind: str) -> tuple[int, ...]:
        """Numbers of demonstrations at which an arm is run: a kind of labels, or a prompt arm."""
        shots = self.shots if kind in MAIN_KINDS else (self.control_shots or self.shots)
        return tuple(k for k in shots if k > 0)

    def givers(self, kind: str) -> list[tuple[str | None, str]]:
        """(who gives the labels, who is prompted) for a kind of labels, "" where nobody does."""
        if kind == SELF:
            return [(m, m) for m in self.strong_models]
        if kind == "majority":
            return [(SEVERAL.join(self.weak_models), m) for m in self.strong_models]
        if needs_weak(kind):
            return list(self.all_pairs)
        return [(None, m) for m in self.strong_models]

    def epochs_of(self, cell: Cell) -> int:
        """How often a question is asked, in the same words, in a cell with the plain prompt."""
        if cell.prompt or CHAIN in (cell.weak or ""):
            return 1
        kind = SELF if cell.own else cell.labels or "zero_shot"
        if isinstance(self.epochs, Mapping):
            return self.epochs.get(kind, 1)
        return self.epochs if kind == "zero_shot" else 1

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
        hops = max((len(chain) - 1 for chain in self.chains), default=1)
        if len(split.pool) < hops * max(self.shots):
            barred = split.provenance["n_near_duplicates"]
            raise StudyError(
                f"shots must be at most {len(split.pool) // hops}, "
                + ("the questions in the pool" if hops == 1 else f"a {hops}th of the pool (chains)")
                + f", got {max(self.shots)}; {split.provenance['dataset']} holds "
                f"{len(split.test) + len(split.pool) + barred} questions, of which "
                f"{len(split.test)} are the test (test_size) and {barred} near-duplicates of a "
                "test question (near_duplicates: keep would show them)"
            )
        return split


def _takes_batches(model: str) -> bool:
    return model.partition("/")[0] in BATCH_PROVIDERS


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


SECRET = re.compile(r"api[_-]?key|authorization|password|secret|(^|[_-])token$", re.IGNORECASE)
"""Names of arguments that hold a key."""


def _secret_in(args: Any, path: str = "") -> str:
    """Where in model arguments a key or a password stands; "" where there is none."""
    if isinstance(args, Mapping):
        for name, value in args.items():
            here = f"{path}.{name}".lstrip(".")
            if value and SECRET.search(str(name)):
                return here
            if found := _secret_in(value, here):
                return found
    if isinstance(args, str) and "://" in args and urlsplit(args).password:
        return path
    return ""


# --- cells ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cell:
    """One log of the study.

    Attributes:
        model: The model that is prompted.
        split: "test" or "pool".
        labels: Kind of labels, "" for a zero-shot cell.
        weak: Who gave the labels, where that matters.
        shots: Demonstrations in the prompt.
        draw: Number of the draw.
        prompt: Arm of the prompt, "" for the plain one.
        args: What the task function is called with: what differs from its defaults.
    """

    model: str
    split: Part = "test"
    labels: str = ""
    weak: str | None = None
    shots: int = 0
    draw: int = 0
    prompt: str = ""
    args: Mapping[str, Any] = field(default_factory=dict)

    @property
    def task(self) -> str:
        """Name of its task."""
        return "few_shot" if self.labels else "zero_shot"

    @property
    def own(self) -> bool:
        """Whether the prompted model labelled for itself."""
        return self.labels == "weak" and self.weak == self.model

    @property
    def stage(self) -> str:
        """Which line of the plan it belongs to."""
        arm = f", {self.prompt}" if self.prompt else ""
        if not self.labels:
            name = "zero-shot, test" if self.split == "test" else "weak labels, pool"
        elif self.split == "pool":
            name = "chain labels, pool"
        elif CHAIN in (self.weak or ""):
            name = "chain demonstrations"
        elif self.own:
            name = "own demonstrations"
        else:
            name = f"{self.labels} demonstrations"
        return name + arm


def _cell(study: Study, model: str, **fields: Any) -> Cell:
    """A cell with the arguments that make its task."""
    shared = ("dataset", "test_size", "seed", "near_duplicates", "style", "max_tokens")
    args: dict[str, Any] = {
        key: value
        for key in shared
        if (value := getattr(study, key)) != Study.model_fields[key].default
    }
    cell = Cell(model, **fields)
    if cell.labels:
        args |= {"labels": cell.labels, "shots": cell.shots, "draw": cell.draw}
    if cell.weak:
        args["weak"] = cell.weak
    if cell.split != "test":
        args["split"] = cell.split
    elif study.permutations > 1:
        args["permutations"] = study.permutations
    args |= dict(word.split("=") for word in cell.prompt.split())
    return replace(cell, args=args)


def zero_shot_cells(study: Study) -> list[Cell]:
    """The first phase: one baseline per model, one label run per weak model."""
    named = {m for pair in study.all_pairs for m in pair} | {m for c in study.chains for m in c}
    models = [m for m in study.models if m in named]
    arms = [arm for arm in study.prompts if arm in ("cot=bare", "question=hidden")]
    return [
        *(_cell(study, m) for m in models),
        *(_cell(study, m, prompt=arm) for arm in arms for m in study.strong_models),
        *(
            _cell(study, m, split="pool", prompt=arm)
            for arm in study.label_prompts
            for m in study.weak_models
        ),
    ]


def chain_cells(study: Study, skip: Collection[int | str], split: Split, place: int) -> list[Cell]:
    """Label runs of the models that stand at one place of their chains.

    Args:
        study: The study.
        skip: Pool questions that some weak model left unread: no cell shows them.
        split: Test and pool.
        place: 1 for the models that come second in a chain.
    """
    # two chains may begin alike
    givers = dict.fromkeys(
        (CHAIN.join(chain[:place]), chain[place])
        for chain in study.chains
        if len(chain) > place + 1
    )
    return [
        _shown(study, model, "weak", weak, shots, draw, skip, split, part="pool")
        for weak, model in givers
        for draw in range(study.draws)
        for shots in study.arm_shots("chain")
    ]


def few_shot_cells(study: Study, skip: Collection[int | str], split: Split) -> list[Cell]:
    """The last phase: every (strong, labels, weak, shots, draw), gold before the others.

    Args:
        study: The study.
        skip: Pool questions that some weak model left unread: no cell shows them.
        split: Test and pool.
    """
    arms: dict[tuple[str, str | None, str, str], Sequence[int]] = {}
    for kind in sorted(study.labels, key=lambda kind: (kind != "gold", kind != "weak")):
        for weak, model in study.givers(kind):
            # a pair of a model with itself has its own labels in "weak" already
            key = ("weak" if kind == SELF else kind, weak, model, "")
            arms.setdefault(key, study.arm_shots(kind))
    for chain in study.chains:
        arms["weak", CHAIN.join(chain[:-1]), chain[-1], ""] = study.arm_shots("chain")
    for prompt in study.prompts:
        for kind in MAIN_KINDS:
            if kind in study.labels and (kind == "weak" or prompt != "cot=reasoning"):
                for weak, model in study.givers(kind):
                    arms[kind, weak, model, prompt] = study.arm_shots(prompt)
    return [
        _shown(study, model, labels, weak, k, draw, skip, split, prompt=prompt)
        for (labels, weak, model, prompt), shots in arms.items()
        for draw in range(study.draws)
        for k in shots
    ]


def _shown(
    study: Study,
    model: str,
    labels: str,
    weak: str | None,
    shots: int,
    draw: int,
    skip: Collection[int | str],
    split: Split,
    *,
    part: Part = "test",
    prompt: str = "",
) -> Cell:
    """A cell with demonstrations."""
    cell = _cell(
        study,
        model,
        labels=labels,
        weak=weak,
        shots=shots,
        draw=draw,
        split=part,
        prompt=prompt,
    )
    # only what this prompt would have shown, so that cells stay the same when a larger study leaves
    # out something further down the draw; a chain's label run shows the far end of it
    order = [s.id for s in split.draw(draw) if s.id is not None]
    reach = shots
    if part == "pool":
        order, reach = order[::-1], shots * depth(weak or "") + RESERVE
    elif CHAIN in (weak or ""):
        reach = shots + RESERVE  # it passes over what the last model of the chain left unread
    passed = _passed_over(order, reach, skip)
    if labels == "confident":
        passed = [id_ for id_ in order if id_ in skip]  # it may show any question of the pool
    return replace(cell, args={**cell.args, "skip": passed}) if passed else cell


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


def cell_task(
    study: Study, cell: Cell, log_dir: str, ask: Collection[int | str] | None = None
) -> Task:
    """What a cell asks, without the model that it asks; arguments as `build`."""
    task_function = few_shot if cell.labels else zero_shot
    with _log_dir(log_dir):
        task = task_function(**dict(cell.args))
    if ask is not None:
        asked = [sample for sample in task.dataset if sample.id in ask]
        task.dataset = MemoryDataset(asked, name=task.dataset.name, location=task.dataset.location)
    if cell.split == "test":
        times = study.epochs_of(cell) * study.permutations
        task.epochs = times if times > 1 else None
    elif "confident" in study.labels and not cell.labels:
        task.config = task.config.merge(
            GenerateConfig(logprobs=True, top_logprobs=CONFIDENT_LOGPROBS)
        )
    return task


def build(
    study: Study,
    cell: Cell,
    log_dir: str,
    plan: Mapping[str, Any],
    ask: Collection[int | str] | None = None,
) -> Task:
    """The Inspect task of a cell, with its model.

    Args:
        study: The study.
        cell: One of its cells.
        log_dir: Where weak labels are read from.
        plan: As `plan_metadata`.
        ask: Ids of the only questions to ask, in a label run; Inspect asks the missing ones when
            there are more of them later.
    """
    task = cell_task(study, cell, log_dir, ask)
    task.model = model_of(study, cell.model)
    # whatever model was active while the task was made, the cell's own decides
    metadata = {key: value for key, value in (task.metadata or {}).items() if key != "warning"}
    if cell.model.startswith("simulated/"):
        metadata["warning"] = SIMULATED_BANNER
    price = study.prices.get(cell.model)
    if price:
        metadata["price_per_million"] = price.model_dump(exclude_none=True)
    metadata["study"] = plan
    task.metadata = metadata
    return task


def model_of(study: Study, name: str) -> Model:
    """A model as the study asks it: the same one each time, since some load weights when made."""
    batch = (study.batch or None) if _takes_batches(name) else None
    config = GenerateConfig(max_connections=study.max_connections, batch=batch)
    with quiet_console():  # with the first model, Inspect prints which hooks there are
        model = get_model(name, config=config, **dict(study.model_args.get(name, {})))
    # the gate is the outermost: it counts what becomes of a call in the end
    return guard(lean(model), None if batch else study.timeout)


def all_cells(study: Study, split: Split, skip: Collection[int | str] = ()) -> list[Cell]:
    """Every cell; without `skip` as planned before it is known what is left unread."""
    return [
        *zero_shot_cells(study),
        *(c for place in study.chain_places for c in chain_cells(study, skip, split, place)),
        *few_shot_cells(study, skip, split),
    ]


def plan_metadata(study: Study, cells: Iterable[Cell]) -> dict[str, Any]:
    """What was planned, so that a reader of the logs can tell what is missing.

    Args:
        study: The study.
        cells: All its cells.

    Returns:
        For the metadata of every log. `blocks` holds a line per arm: model, task, split, labels,
        weak, prompt, shot counts, draws.
    """
    blocks: dict[tuple[str, ...], tuple[set[int], set[int]]] = {}
    for cell in cells:
        arm = (cell.model, cell.task, cell.split, cell.labels, cell.weak or "", cell.prompt)
        shots, draws = blocks.setdefault(arm, (set(), set()))
        shots.add(cell.shots)
        draws.add(cell.draw)
    return {
        "name": study.name,
        "models": list(study.models),
        "pairs": [list(pair) for pair in study.all_pairs],
        "headline": list(study.verdict_shots),
        "margin": study.margin,
        "blocks": [[*arm, sorted(shots), len(draws)] for arm, (shots, draws) in blocks.items()],
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


@contextmanager
def quiet_console(quiet: bool = True) -> Iterator[None]:
    """Keep what Inspect prints by itself off the screen."""
    printer = rich.get_console()
    before, printer.quiet = printer.quiet, quiet
    try:
        yield
    finally:
        printer.quiet = before


def model_info(model: str) -> ModelInfo | None:
    """What Inspect's model table says of a model; None where it is not there."""
    # Inspect makes the model itself to look up a name that it does not know: that loads weights;
    # and settles on a name that is only like it
    if model.split("/")[0] in NOT_LOOKED_UP:
        return None
    with quiet_console():  # as in `model_of`
        return get_model_info(model)


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
        # what Inspect's table says besides stays
        info = model_info(model) or ModelInfo()
        set_model_info(model, info.model_copy(update={"cost": cost}))


# --- which questions are labelled -----------------------------------------------------------------


@dataclass(frozen=True)
class Labelling:
    """State of the weak models' labels in a log directory.

    Attributes:
        ask: By weak model and arm of its prompt, ids that this label run should cover: those it has
            answered and, until the labelling is complete, those still wanted.
        unread: Ids that some weak model answered unreadably, and ties of a vote.
        complete: Whether every cell of the study could now be built.
    """

    ask: Mapping[tuple[str, str], frozenset[int | str]]
    unread: frozenset[int | str]
    complete: bool


def labelling(study: Study, split: Split, log_dir: str) -> Labelling:
    """Which pool questions need labels, given the answers that are in the logs.

    For each draw the first `max(shots)` questions that all weak models answered readably are shown;
    those, and `RESERVE` more, need labels. A chain needs the last ones of the draw as well: its
    label runs show them.

    What is unread counts once all label runs have answered what is asked first, which is thus the
    same in every process, whenever it looks.
    """
    split_of = split_metadata(split, study.style)
    logs = {
        (model, prompt): find_answers(model, "pool", split_of, log_dir, prompt=prompt)
        for prompt in study.label_prompts
        for model in study.weak_models
    }
    unread = {
        id_ for log in logs.values() if log for id_, letter in log.letters.items() if letter is None
    }
    unread |= _passed_over_before(split, log_dir)
    if "majority" in study.labels:
        unread |= _ties([log for (_, prompt), log in logs.items() if not prompt])
    answered = {run: frozenset(log.letters) if log else frozenset() for run, log in logs.items()}
    first: set[int | str] = set()
    ask: set[int | str] = set()
    needed: set[int | str] = set()
    if logs:
        for draw in range(study.draws):
            order = [s.id for s in split.draw(draw) if s.id is not None]
            for ids in (order, order[::-1]) if study.chains else (order,):
                usable = [id_ for id_ in ids if id_ not in unread]
                if len(usable) < max(study.shots):
                    raise StudyError(
                        f"shots: {max(study.shots)} demonstrations are wanted, but all weak models "
                        f"gave a readable answer to only {len(usable)} of the {len(order)} "
                        "questions in the pool"
                    )
                first.update(ids[: max(study.shots) + RESERVE])
                last = ids.index(usable[max(study.shots) - 1])
                needed.update(ids[: last + 1])
                ask.update(ids[: last + 1 + RESERVE])
        # the most confident labels can only be found among all
        if study.label_pool == "all" or "confident" in study.labels:
            first = ask = needed = {s.id for s in split.pool if s.id is not None}
    complete = all(needed <= have for have in answered.values())
    begun = all(first <= have for have in answered.values())
    more = frozenset() if complete else frozenset(ask if begun else first)
    return Labelling(
        {run: have | more for run, have in answered.items()}, frozenset(unread), complete
    )


def _passed_over_before(split: Split, log_dir: str) -> set[int | str]:
    """Pool questions that finished cells of the directory passed over.

    One that no call could answer in an earlier run may be answered in this one: it stays passed
    over, for the cells that are still to run must show what the finished ones show.
    """
    passed: set[str] = set()
    for log in log_headers(log_dir):
        metadata = log.eval.metadata or {}
        if is_finished(log) and metadata.get("task") == "few_shot":
            passed.update(map(str, metadata.get("skipped") or ()))
    return {s.id for s in split.pool if s.id is not None and str(s.id) in passed}


def _ties(logs: Sequence[Answers | None]) -> set[int | str]:
    """Questions that all weak models answered, and on which no answer leads."""
    options = [log.options() for log in logs if log]
    if len(options) < len(logs) or not options:
        return set()
    asked = set.intersection(*(set(one) for one in options))
    return {id_ for id_ in asked if majority([one[id_] for one in options]) is None}


def pool_ask(
    study: Study, cell: Cell, split: Split, state: Labelling
) -> Collection[int | str] | None:
    """Ids of the only questions that a cell asks; None where it asks all of its part."""
    if cell.split != "pool":
        return None
    if cell.labels:
        return chain_ask(study, cell, split, state.unread)
    return state.ask[cell.model, cell.prompt]


def chain_ask(
    study: Study, cell: Cell, split: Split, skip: Collection[int | str]
) -> set[int | str]:
    """Pool questions that a chain's label run asks: what its labels are shown on.

    That is the start of the draw, for the cell that ends the chain, and the far end of it, for a
    label run further down. Inspect leaves out those that the run itself shows.
    """
    order = [s.id for s in split.draw(cell.draw) if s.id is not None and s.id not in skip]
    hops = max(len(chain) for chain in study.chains) - 1
    return {*order[: cell.shots + RESERVE], *order[-(hops * cell.shots + RESERVE) :]}
