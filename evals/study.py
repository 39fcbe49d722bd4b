"""The study: which models, labels, shots and draws, read from YAML and checked.

`cells` makes its cells.
"""

from __future__ import annotations

import importlib
import math
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from inspect_ai.model import BatchConfig
from pydantic import (
    BaseModel,
    BeforeValidator,
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

import w2s_icl
from w2s_icl.errors import W2SError, first_line
from w2s_icl.evals.questions import NearDuplicates, Split, load_split
from w2s_icl.evals.sources import DATASETS
from w2s_icl.evals.truthfulqa import call_settings
from w2s_icl.inputs import secret_in
from w2s_icl.record import FILE, MARGIN, SELF, short_name
from w2s_icl.scorers.multiple_choice import Read
from w2s_icl.solvers.few_shot import Cot, Style, SystemRole
from w2s_icl.solvers.labels import check_kind, known_kinds, needs_weak

PromptArm = Literal["disclosure=source", "disclosure=accuracy", "cot=bare", "question=hidden"]
"""One changed argument of the tasks each."""

MAIN_KINDS = ("gold", "weak")
"""Kinds of labels that are run at every shot count, and with every prompt arm."""

VERDICT_KINDS = (*MAIN_KINDS, "random", "noise_matched", "unlabelled", SELF)
"""Kinds of labels without which the report's verdict has a condition that is not run."""

BATCH_PROVIDERS = ("openai", "anthropic", "google", "grok", "together")
"""Whose batch interface Inspect speaks. Asked of another, it sends up to 10,000 calls at once."""

RESERVE = 8
"""Pool questions labelled beyond the largest shot count, for answers that cannot be read."""

NOT_LOOKED_UP = ("hf", "mockllm", "nnterp", "sglang", "simulated", "transformer_lens", "vllm")
"""Providers that load a model when it is named, and stand-ins whose names are like another's."""

OneOrMore = BeforeValidator(lambda value: [value] if isinstance(value, int) else value)

Pair = tuple[str, str]
"""(weak, strong)"""


class Price(BaseModel):
    """What a model costs, in dollars per million tokens."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    input: NonNegativeFloat
    output: NonNegativeFloat
    cache_read: NonNegativeFloat | None = None
    cache_write: NonNegativeFloat | None = None


class Study(BaseModel):
    """One experiment. What is not named here is an argument of the tasks.

    Attributes:
        name: What the study is called; the file's name by default.
        dataset: A relative path is looked for beside the study file, then in the working directory.
        models: As Inspect names them, weakest first.
        pairs: (weak, strong); by default each model with itself and with every stronger one.
        shots: Demonstrations in the prompt; 0 is the zero-shot cell.
        labels: Kinds of labels, of `solvers.labels.known_kinds()`, or "file:PATH" (beside the study
            file, or from the working directory). "self" adds each prompted model's own labels.
        draws: How many permutations of the pool are shown.
        control_shots: Shot counts of all but gold and weak labels; all of `shots` by default.
        headline: Shot counts of the declared result, over which it is averaged; the largest by
            default. The report's verdict is about these and no others.
        margin: How far below noise-matched and own labels the weak ones may fall and still be "at
            least" as good, as a fraction of the questions.
        prompts: Prompt arms beside the plain one. Each is run with gold and weak labels (of these,
            those in `labels`), and zero-shot where it applies.
        epochs: How often the same question is asked: of the zero-shot runs, or by kind of run
            ("zero_shot", or a kind of labels).
        plugins: Modules that register label sources; they may stand beside the study file.
        label_pool: "needed": weak models label the questions that some cell may show; or "all".
        prices: By model; what is not here is priced from Inspect's model table, or unknown.
        model_args: By model, what `inspect eval -M` would be given.
        max_connections: Calls under way at once to each model, 20 by default; of a batch, its size.
        batch: Ask the models of `BATCH_PROVIDERS` in batches: true, the least number of calls in a
            batch, or Inspect's `BatchConfig`. A cell is the same either way.
        timeout: Seconds that one call may take; then it is asked again.
        check_models: Ask each endpoint for its list of models first, and refuse what it lacks.
        parts: Into how many parts the cells of a phase are divided for many machines.
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
    control_shots: Annotated[tuple[PositiveInt, ...], OneOrMore] | None = None
    headline: Annotated[tuple[PositiveInt, ...], OneOrMore] = ()
    margin: Annotated[float, Field(ge=0, le=0.05)] = MARGIN
    prompts: tuple[PromptArm, ...] = ()
    epochs: PositiveInt | Mapping[str, PositiveInt] = 1
    permutations: PositiveInt = 1
    near_duplicates: NearDuplicates = "drop"
    style: Style = "chat"
    system_role: SystemRole = "system"
    read: Read = "reply"
    max_tokens: PositiveInt | None = None
    generate: Mapping[str, Any] = {}
    plugins: tuple[str, ...] = ()
    label_pool: Literal["needed", "all"] = "needed"
    prices: Mapping[str, Price] = {}
    model_args: Mapping[str, Mapping[str, Any]] = {}
    max_connections: PositiveInt | None = None
    batch: bool | PositiveInt | BatchConfig = False
    timeout: PositiveFloat = 120
    check_models: bool = True
    parts: PositiveInt = 8

    @model_validator(mode="before")
    @classmethod
    def _with_plugins(cls, content: dict[str, Any]) -> dict[str, Any]:
        for name in content.get("plugins") or ():
            import_plugin(str(name))
        return content

    @field_validator("models", "pairs", "shots", "labels", "control_shots", "headline", "prompts")
    @classmethod
    def _different_and_ascending(cls, value: tuple[Any, ...] | None) -> tuple[Any, ...] | None:
        twice = sorted({str(v) for v in value or () if (value or ()).count(v) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)} stands there twice")
        return tuple(sorted(value)) if value and isinstance(value[0], int) else value

    @field_validator("models")
    @classmethod
    def _plain_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            # a model's name stands in file names, addresses and tables
            if not re.fullmatch(r"[\w./:@+-]+", name):
                raise ValueError(
                    "a model's name may hold letters, digits and . / : @ + - _, got "
                    + repr(name)[:80]
                )
        return value

    @field_validator("labels")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        files = [kind for kind in value if kind.startswith(FILE)]
        if len({short_name(file) for file in files}) < len(files):
            raise ValueError("two files have one name, by which a log tells them apart: rename one")
        for kind in value:
            if kind == FILE.rstrip(":"):
                raise ValueError("a file of labels is named as file:PATH, got 'file'")
            if kind not in files:
                check_kind(kind)
        return value

    @field_validator("epochs")
    @classmethod
    def _epochs(cls, value: int | Mapping[str, int]) -> int | Mapping[str, int]:
        allowed = ("zero_shot", *known_kinds())
        given = value if isinstance(value, Mapping) else ()
        if unknown := [kind for kind in given if kind not in allowed]:
            raise ValueError(f"must be of {', '.join(allowed)}, got {unknown[0]!r}")
        return value

    @field_validator("model_args")
    @classmethod
    def _no_keys(cls, value: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Mapping[str, Any]]:
        for model, args in value.items():
            if secret := secret_in(args):
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
        cot: Cot = "bare" if "cot=bare" in self.prompts else "none"
        call_settings(cot, self.read, None, self.generate)
        models = ", ".join(self.models)
        if self.batch and not any(takes_batches(model) for model in self.models):
            providers = ", ".join(f"{p}/" for p in BATCH_PROVIDERS)
            raise ValueError(f"batch needs a model of {providers}; models are {models}")
        paired = {model for pair in self.all_pairs for model in pair}
        named = {"pairs": paired, "prices": self.prices, "model_args": self.model_args}
        for key, names in named.items():
            if other := sorted(set(names) - set(self.models)):
                raise ValueError(f"{key} names {other[0]!r}, which is not among models: {models}")
        if alone := [m for m in self.models if m not in paired]:
            raise ValueError(
                f"models: {', '.join(alone)} stands in no pair and would not be run: take it out, "
                "or name a pair"
            )
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
        return tuple(m for m in self.models if any(m == strong for _, strong in self.all_pairs))

    @property
    def weak_models(self) -> tuple[str, ...]:
        """Models that some cell needs zero-shot labels from, in the order of `models`."""
        kinds = [k for k in self.labels if k == SELF or needs_weak(k)] if max(self.shots) else []
        weak = {w for kind in kinds for w, _ in self.labelled_by(kind)}
        return tuple(m for m in self.models if m in weak)

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

    def labelled_by(self, kind: str) -> list[Pair]:
        """(who labels, who is prompted) for a kind of labels, "" where no model or file labels."""
        strong = self.strong_models
        files = [file for file in self.labels if file.startswith(FILE)]
        if kind == SELF:
            return [(m, m) for m in strong]
        if kind in files:
            return [(kind, m) for m in strong]
        if not needs_weak(kind):
            return [("", m) for m in strong]
        pairs = list(self.all_pairs)
        if kind == "noise_matched":  # the control of every arm that has wrong labels
            pairs += [(file, m) for file in files for m in strong]
        return pairs

    def epochs_of(self, kind: str) -> int:
        """How often a question is asked, in the same words, in plain cells of one kind of run."""
        if isinstance(self.epochs, Mapping):
            return self.epochs.get(kind, 1)
        return self.epochs if kind == "zero_shot" else 1

    def load_split(self) -> Split:
        """Test and pool; raises W2SError where the pool is smaller than the largest shot count."""
        split = load_split(
            self.dataset,
            test_size=self.test_size,
            seed=self.seed,
            near_duplicates=self.near_duplicates,
        )
        n, test, barred = len(split.pool), len(split.test), len(split.barred)
        if n < max(self.shots):
            raise W2SError(
                f"shots must be at most {n}, the questions in the pool, got {max(self.shots)}; "
                f"{split.dataset} holds {n + test + barred} questions, of which {test} are the "
                f"test (test_size) and {barred} near-duplicates of a test question "
                "(near_duplicates: keep would show them)"
            )
        return split


def takes_batches(model: str) -> bool:
    """Whether Inspect can ask a model in batches."""
    return model.partition("/")[0] in BATCH_PROVIDERS


def bundled_study(name: str) -> Path | None:
    """Path of a study that comes with the package; None where there is none of that name."""
    path = Path(w2s_icl.__file__).parent / "studies" / f"{name}.yaml"
    return path if re.fullmatch(r"\w+", name) and path.is_file() else None


VALUES = 10_000
"""Values that a study file may stand for, names that repeat others (`*a`) written out."""


def _written_out(node: Any, known: dict[int, float]) -> float:
    """Values that a YAML node stands for; without end where it holds itself."""
    if id(node) not in known:
        known[id(node)] = math.inf
        inner = node.value if isinstance(node, yaml.CollectionNode) else ()
        parts = [part for item in inner for part in (item if isinstance(item, tuple) else (item,))]
        known[id(node)] = 1 + sum(_written_out(part, known) for part in parts)
    return known[id(node)]


class _Loader(yaml.SafeLoader):
    """YAML in which no key stands twice and repeated names do not grow without end."""

    def get_single_node(self) -> Any:
        node = super().get_single_node()
        if node is not None and _written_out(node, {}) > VALUES:
            raise yaml.YAMLError(f"its aliases (*name) stand for more than {VALUES:,} values")
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                line = key.start_mark.line + 1
                raise yaml.YAMLError(f"line {line}: the key {key.value} stands there twice")
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


def load_study(path: str | Path) -> Study:
    """Read a study from a YAML file, or one that comes with the package by its name.

    Raises:
        W2SError: The file is missing, is not YAML, or says something that is not allowed.
    """
    if not Path(path).exists():
        path = bundled_study(str(path)) or path
    path = Path(path)
    try:
        raw = yaml.load(path.read_text("utf-8"), _Loader)
    except OSError as error:
        raise W2SError(f"{path}: cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise W2SError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(raw, dict):
        raise W2SError(f"{path}: must hold keys and values, as `models: [...]`")
    dataset, labels = raw.get("dataset"), raw.get("labels")
    if isinstance(dataset, str) and dataset not in DATASETS:
        raw["dataset"] = _beside(path, dataset) or dataset
    if isinstance(labels, list):
        raw["labels"] = [_file_beside(path, kind) for kind in labels]
    folder = str(path.absolute().parent)
    if raw.get("plugins") and folder not in sys.path:
        sys.path.append(folder)
    try:
        return Study.model_validate({"name": path.stem, **raw})
    except ValidationError as error:
        raise W2SError("\n".join(f"{path}: {line}" for line in _lines(error))) from None
    except W2SError as error:
        raise W2SError(f"{path}: {error.message}") from None


def _beside(study: Path, named: str) -> str:
    """Absolute path of a file beside the study, "" where there is none."""
    path = study.parent / Path(named).expanduser()
    return str(path.absolute()) if path.exists() else ""


def _file_beside(study: Path, kind: Any) -> Any:
    """`file:PATH` with the absolute path, as the tasks take it."""
    if not (isinstance(kind, str) and kind.startswith(FILE)):
        return kind
    named = Path(kind.removeprefix(FILE)).expanduser()
    if not (beside := _beside(study, str(named))) and not named.exists():
        raise W2SError(f"{study}: labels: there is no file {named}, neither beside it nor here")
    return FILE + (beside or str(named.absolute()))


def import_plugin(name: str) -> None:
    """Import a module that registers label sources; raises W2SError where that fails."""
    try:
        importlib.import_module(name)
    except Exception as error:  # whatever a user's module raises
        raise W2SError(f"plugins: {name} cannot be imported: {first_line(error)}") from error


def _lines(error: ValidationError) -> Iterator[str]:
    """One line per mistake: where it stands, what is wrong, what is allowed."""
    for item in error.errors():
        where = ".".join(map(str, item["loc"]))
        text = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            keys = Price.model_fields if item["loc"][0] == "prices" else Study.model_fields
            yield f"{where} is not a key of a study; the keys are {', '.join(keys)}"
        elif item["type"] == "missing":
            yield f"{where} is missing"
        elif not where:
            yield text
        else:
            yield f"{where}: {text}" + ("" if "got " in text else f", got {item['input']!r:.100}")
