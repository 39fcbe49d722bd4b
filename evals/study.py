"""The study: which models, labels, shots and draws, read from YAML and checked.

`cells` makes its cells.
"""

import math
import os
import re
import sys
from collections.abc import Mapping
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

import pydantic
from inspect_ai.model import BatchConfig
from pydantic import BaseModel, Field, field_validator, model_validator

import w2s_icl
from w2s_icl.errors import W2SError, checked
from w2s_icl.evals.questions import NearDuplicates, Split, load_split
from w2s_icl.evals.sources import DATASETS
from w2s_icl.evals.standins import StandInAPI
from w2s_icl.evals.truthfulqa import call_settings
from w2s_icl.inputs import at_home, read_yaml, secret_in
from w2s_icl.record import FILE, MARGIN, SELF, STANDIN, short_name
from w2s_icl.scorers.multiple_choice import Read
from w2s_icl.solvers.few_shot import Cot, Style, SystemRole
from w2s_icl.solvers.labels import check_kind, import_plugin, known_kinds, needs_weak

# one changed argument of the tasks each
PromptArm = Literal["disclosure=source", "disclosure=accuracy", "cot=bare", "question=hidden"]

# kinds of labels that are run at every shot count, and with every prompt arm
MAIN_KINDS = ("gold", "weak")
# kinds without which the report's verdict has a condition that is not run
VERDICT_KINDS = (*MAIN_KINDS, "random", "noise_matched", "unlabelled")
BATCH_PROVIDERS = ("openai", "anthropic", "google", "grok", "together")
RESERVE = 8  # pool questions labelled beyond the most shots, for answers that cannot be read

OneOrMore = pydantic.BeforeValidator(lambda value: [value] if isinstance(value, int) else value)
Number = Annotated[float, Field(strict=True, ge=0, le=1e9, allow_inf_nan=False)]
Positive = Annotated[int, Field(strict=True, ge=1, le=1_000_000)]
Few = Annotated[int, Field(strict=True, ge=1, le=1000)]
SomeShots = Annotated[tuple[Positive, ...], OneOrMore]
SOME_MODELS = "a list of models, such as [openai/gpt-4o-mini], in letters, digits and . / : @ + - _"
SOME_SHOTS = "a number of shots above 0, or a list of them, such as [16, 64]"
# without control characters
Line = Annotated[str, Field(pattern=r"^\P{C}*[^\s\p{C}]\P{C}*$")]
Plugin = Annotated[Line, pydantic.AfterValidator(import_plugin)]
Model = Annotated[str, Field(pattern=r"^[\w./:@+-]+$")]  # in file names, addresses and tables
Pair = tuple[str, str]  # (weak, strong)


class Price(BaseModel, extra="forbid", frozen=True):
    """What a model costs, in dollars per million tokens."""

    input: Number
    output: Number
    cache_read: Number | None = None
    cache_write: Number | None = None


def _key(default: Any, must_be: str, **limits: Any) -> Any:
    return Field(default, description=must_be, **limits)


class Study(BaseModel, extra="forbid", frozen=True):
    """One experiment; docs/running.md has its keys. A key's text is what an error says of it."""

    name: Line = _key("study", "text on one line")
    plugins: tuple[Plugin, ...] = _key((), "a list of modules, such as [my_labels]")
    dataset: Line = _key("mc4", "a name or a path, such as mc4 or questions.csv")
    test_size: Positive = _key(200, "a whole number of at least 1")
    seed: int = _key(42, "a whole number below 2^63", strict=True, ge=-(2**63), lt=2**63)
    models: tuple[Model, ...] = _key(..., SOME_MODELS, min_length=1)
    pairs: tuple[Pair, ...] = _key((), "a list of [weak, strong], each one of models")
    shots: tuple[Annotated[int, Field(strict=True, ge=0, le=1_000_000)], ...] = _key(
        (0, 2, 4, 8, 16, 32, 64), "a list of numbers from 0, such as [0, 4, 16]", min_length=1
    )
    labels: tuple[Line, ...] = _key(
        ("gold", "weak"), "a list of kinds of labels, such as [gold, weak]", min_length=1
    )
    draws: Few = _key(1, "a whole number from 1 to 1,000")
    orders: Few = _key(1, "a whole number from 1 to 1,000")
    control_shots: SomeShots | None = _key(None, SOME_SHOTS, min_length=1)
    headline: SomeShots = _key((), SOME_SHOTS, min_length=1)
    margin: Annotated[Number, Field(le=0.05)] = _key(MARGIN, "a fraction from 0 to 0.05")
    prompts: tuple[PromptArm, ...] = _key((), f"a list of {', '.join(get_args(PromptArm))}")
    epochs: Few | Mapping[str, Few] = _key(
        1, "a whole number from 1 to 1,000, or one by kind of run, such as {zero_shot: 3}"
    )
    permutations: Few = _key(1, "a whole number from 1 to 1,000")
    near_duplicates: NearDuplicates = _key("drop", "drop or keep")
    style: Style = _key("chat", "chat or transcript")
    system_role: SystemRole = _key("system", "system or user")
    read: Read = _key("reply", "reply or likelihood")
    max_tokens: Positive | None = _key(None, "a whole number of at least 1")
    generate: Mapping[str, Any] = _key({}, "settings by name, such as {top_p: 0.9}")
    label_pool: Literal["needed", "all"] = _key("needed", "needed or all")
    prices: Mapping[str, Price] = _key(
        {}, "dollars per million tokens by model, such as {MODEL: {input: 0.15, output: 0.6}}"
    )
    model_args: Mapping[str, Mapping[str, Any]] = _key(
        {}, "arguments by model, such as {MODEL: {base_url: http://localhost:8000/v1}}"
    )
    max_connections: Positive | None = _key(None, "a whole number of at least 1")
    batch: Annotated[bool, Field(strict=True)] | Positive | BatchConfig = _key(
        False, "true, a least number of calls, or settings of Inspect's BatchConfig"
    )
    timeout: Annotated[Number, Field(gt=0)] = _key(120, "seconds, a number above 0")
    check_models: bool = _key(True, "true or false", strict=True)
    parts: Few = _key(8, "a whole number from 1 to 1,000")

    @field_validator("dataset")
    @classmethod
    def _dataset_beside(cls, name: str, info: pydantic.ValidationInfo) -> str:
        return name if name in DATASETS or not info.context else _found(info.context, name) or name

    @field_validator("models", "pairs", "shots", "labels", "control_shots", "headline", "prompts")
    @classmethod
    def _different_and_ascending(cls, value: tuple[Any, ...] | None) -> tuple[Any, ...] | None:
        names = [str(v).removesuffix(":latest") for v in value or ()]  # Ollama's own default
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"{twice[0]} stands there twice")
        return tuple(sorted(value)) if value and isinstance(value[0], int) else value

    @field_validator("labels")
    @classmethod
    def _known(cls, kinds: tuple[str, ...], info: pydantic.ValidationInfo) -> tuple[str, ...]:
        # "file" alone names no file
        files = {k: _label_file(info.context, k) for k in kinds if f"{k}:".startswith(FILE)}
        if len({short_name(file) for file in files.values()}) < len(files):
            raise ValueError("two files have one name, by which a log tells them apart: rename one")
        for kind in kinds:
            if kind not in files:
                check_kind(kind)
        return tuple(files.get(kind, kind) for kind in kinds)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        paired = {model for pair in self.all_pairs for model in pair}
        epochs = self.epochs if isinstance(self.epochs, Mapping) else ()
        for key, named, among, allowed in (
            ("control_shots", self.control_shots or (), "shots", self.shots),
            ("headline", self.headline, "shots", self.shots),
            ("pairs", paired, "models", self.models),
            ("prices", self.prices, "models", self.models),
            ("model_args", self.model_args, "models", self.models),
            ("epochs", epochs, "runs", ("zero_shot", *known_kinds())),
        ):
            if other := [item for item in named if item not in allowed]:
                raise ValueError(f"{key} must be among {among} {list(allowed)}, got {other[0]!r}")
        if alone := [model for model in self.models if model not in paired]:
            raise ValueError(f"models: {', '.join(alone)} stands in no pair and would not be run")
        if self.batch and not any(map(takes_batches, self.models)):
            raise ValueError(f"batch needs a model of {', '.join(BATCH_PROVIDERS)}")
        cot: Cot = "bare" if "cot=bare" in self.prompts else "none"
        call_settings(cot, self.read, None, self.generate)
        for model in self.models:
            if model.startswith(STANDIN):
                StandInAPI(model, **self.model_args.get(model, {}))
        most = math.factorial(min(8, *self.verdict_shots))
        if self.orders > 1 and (self.orders > most or not set(MAIN_KINDS) & set(self.labels)):
            several = f"{most}, the orders of {min(self.verdict_shots)} demonstrations (headline)"
            needs = f"orders needs gold or weak labels and is at most {several}"
            raise ValueError(f"{needs}, got {self.orders}")
        return self

    @property
    def all_pairs(self) -> tuple[Pair, ...]:
        """The pairs that were given, or every weak <= strong, self included."""
        return self.pairs or tuple(combinations_with_replacement(self.models, 2))

    @property
    def strong_models(self) -> tuple[str, ...]:
        """Models that are shown demonstrations, in the order of `models`."""
        return tuple(m for m in self.models if m in {strong for _, strong in self.all_pairs})

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
        return tuple(kind for kind in VERDICT_KINDS if kind not in there)

    def arm_shots(self, kind: str) -> tuple[int, ...]:
        """Numbers of demonstrations at which an arm is run: a kind of labels, or a prompt arm."""
        shots = self.shots if kind in MAIN_KINDS else (self.control_shots or self.shots)
        return tuple(k for k in shots if k > 0)

    def labelled_by(self, kind: str) -> list[Pair]:
        """(who labels, who is prompted) for a kind of labels, "" where no model or file labels."""
        strong = self.strong_models
        if needs_weak(kind):
            # the control of every arm that has wrong labels
            files = [k for k in self.labels if k.startswith(FILE) and kind == "noise_matched"]
            return [*self.all_pairs, *((file, m) for file in files for m in strong)]
        return [(m if kind == SELF else kind if kind.startswith(FILE) else "", m) for m in strong]

    def epochs_of(self, kind: str) -> int:
        """How often a question is asked, in the same words, in plain cells of one kind of run."""
        if isinstance(self.epochs, Mapping):
            return self.epochs.get(kind, 1)
        return self.epochs if kind == "zero_shot" else 1

    def load_split(self) -> Split:
        """Test and pool; raises W2SError where the pool is smaller than the largest shot count."""
        split = load_split(self.dataset, self.test_size, self.seed, self.near_duplicates)
        if (n := len(split.pool)) < max(self.shots):
            raise W2SError(
                f"shots must be at most {n}, the questions in the pool, got {max(self.shots)}; "
                f"{split.of.name} has {len(split.test)} further ones in the test (test_size) and "
                f"{len(split.barred)} near-duplicates of those (near_duplicates: keep shows them)"
            )
        return split


def takes_batches(model: str) -> bool:
    """Whether Inspect can ask a model in batches; else it would send up to 10,000 calls at once."""
    return model.partition("/")[0] in BATCH_PROVIDERS


def load_study(path: str | Path) -> Study:
    """Read a study from a YAML file, or one of the package by its name; raises W2SError."""
    path = Path(path)
    if path.parent == Path() and not path.is_file():  # `make demo` makes a folder `demo`
        path = bundled_study(path.name)
    raw = read_yaml(path)
    folder = str(path.absolute().parent)
    if raw.get("plugins") and folder not in sys.path:
        sys.path.append(folder)
    try:
        if secret := secret_in(raw):
            # Inspect writes arguments into the log, and a study file is passed round
            raise W2SError(
                f"{secret} must not hold a key or a password, got one (not shown); set it in the "
                "environment or in .env, as OPENROUTER_API_KEY, OPENAI_API_KEY, ..."
            )
        return checked(Study, {"name": path.stem, **raw}, context=path.parent)
    except W2SError as error:
        raise W2SError(f"{path}: {' '.join(error.message.splitlines())}") from None


def bundled_study(name: str) -> Path:
    """Path of a study that comes with the package; raises W2SError for another name."""
    studies = {p.stem: p for p in (Path(w2s_icl.__file__).parent / "studies").glob("*.yaml")}
    if name not in studies:
        known = ", ".join(sorted(studies))
        raise W2SError(f"the study must be a YAML file, or one of {known}; there is no {name!r}")
    return studies[name]


def _found(folder: Path, named: str) -> str:
    """Absolute path of a file in a folder, "" where there is none."""
    path = folder / at_home(named)
    return str(path.absolute()) if os.path.exists(path) else ""  # noqa: PTH110 - too long a name


def _label_file(folder: Path | None, kind: str) -> str:
    """`file:PATH` with the absolute path, as the tasks take it."""
    named = kind.removeprefix(FILE)
    path = _found(folder or Path(), named) or _found(Path(), named)
    # the name stands for the labels in logs and tables
    if not path or not re.fullmatch(r"[\w .@+-]+", Path(path).name):
        raise W2SError(
            "labels: file:PATH must be a file beside the study or here, its name of letters, "
            f"digits, spaces and . @ + - _, got {named!r:.80}"
        )
    return FILE + path
