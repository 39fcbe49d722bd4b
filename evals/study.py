"""The study: which models, labels, shots and draws, read from YAML and checked.

`cells` makes its cells.
"""

from __future__ import annotations

import difflib
import importlib
import math
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from inspect_ai.model import BatchConfig
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

import w2s_icl
from w2s_icl.errors import W2SError, first_line
from w2s_icl.evals.questions import NearDuplicates, Split, load_split
from w2s_icl.evals.sources import DATASETS
from w2s_icl.evals.standins import StandInAPI
from w2s_icl.evals.truthfulqa import call_settings
from w2s_icl.inputs import at_home, read_yaml, secret_in
from w2s_icl.record import FILE, MARGIN, SELF, STANDIN, short_name
from w2s_icl.scorers.multiple_choice import Read
from w2s_icl.solvers.few_shot import Cot, Style, SystemRole
from w2s_icl.solvers.labels import check_kind, known_kinds, needs_weak

PromptArm = Literal["disclosure=source", "disclosure=accuracy", "cot=bare", "question=hidden"]
"""One changed argument of the tasks each."""

MAIN_KINDS = ("gold", "weak")
"""Kinds of labels that are run at every shot count, and with every prompt arm."""

VERDICT_KINDS = (*MAIN_KINDS, "random", "noise_matched", "unlabelled")
"""Kinds of labels without which the report's verdict has a condition that is not run."""

BATCH_PROVIDERS = ("openai", "anthropic", "google", "grok", "together")
"""Whose batch interface Inspect speaks. Asked of another, it sends up to 10,000 calls at once."""

RESERVE = 8
"""Pool questions labelled beyond the largest shot count, for answers that cannot be read."""

CELLS = 5_000
"""Most cells of a study."""


def _one_line(text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise ValueError(f"must be text on one line, without control characters, got {text!r:.80}")
    return text


def _model_name(name: str) -> str:
    # it stands in file names, addresses and tables
    if not re.fullmatch(r"[\w./:@+-]+", name):
        raise ValueError(
            f"a model's name may hold letters, digits and . / : @ + - _, got {name!r:.80}"
        )
    return name


OneOrMore = BeforeValidator(lambda value: [value] if isinstance(value, int) else value)
Number = Annotated[float, Field(strict=True, ge=0, le=1e9, allow_inf_nan=False)]
Positive = Annotated[int, Field(strict=True, ge=1, le=1_000_000)]
Few = Annotated[int, Field(strict=True, ge=1, le=1000)]
Line = Annotated[str, AfterValidator(_one_line)]
Model = Annotated[str, AfterValidator(_model_name)]

Pair = tuple[str, str]
"""(weak, strong)"""


class Price(BaseModel):
    """What a model costs, in dollars per million tokens."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    input: Number
    output: Number
    cache_read: Number | None = None
    cache_write: Number | None = None


def _key(default: Any, must_be: str, **limits: Any) -> Any:
    return Field(default, description=must_be, **limits)


class Study(BaseModel):
    """One experiment. What is not named here is an argument of the tasks.

    docs/running.md says what the keys mean. The text of a key is what an error says it must be.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Line = _key("study", "text")
    plugins: tuple[Line, ...] = _key((), "a list of modules, such as [my_labels]")
    dataset: Line = _key("mc4", "a name or a path, such as mc4 or questions.csv")
    test_size: Positive = _key(200, "a whole number of at least 1")
    seed: int = _key(42, "a whole number below 2^63", strict=True, ge=-(2**63), lt=2**63)
    models: tuple[Model, ...] = _key(
        ..., "a list of models, such as [openai/gpt-4o-mini, openai/gpt-4o]", min_length=1
    )
    pairs: tuple[Pair, ...] = _key((), "a list of [weak, strong], each one of models")
    shots: tuple[Annotated[int, Field(strict=True, ge=0, le=1_000_000)], ...] = _key(
        (0, 2, 4, 8, 16, 32, 64), "a list of numbers, such as [0, 4, 16]", min_length=1
    )
    labels: tuple[Line, ...] = _key(
        ("gold", "weak"), "a list of kinds of labels, such as [gold, weak]", min_length=1
    )
    draws: Few = _key(1, "a whole number from 1 to 1,000")
    orders: Annotated[int, Field(strict=True, ge=1, le=100)] = _key(
        1, "a whole number from 1 to 100"
    )
    control_shots: Annotated[tuple[Positive, ...], OneOrMore] | None = _key(
        None, "a number of shots above 0, or a list of them, such as [16, 64]", min_length=1
    )
    headline: Annotated[tuple[Positive, ...], OneOrMore] = _key(
        (), "a number of shots above 0, or a list of them, such as [16, 64]", min_length=1
    )
    margin: Annotated[Number, Field(le=0.05)] = _key(MARGIN, "a fraction from 0 to 0.05")
    prompts: tuple[PromptArm, ...] = _key((), f"a list of {', '.join(get_args(PromptArm))}")
    epochs: Few | Mapping[str, Few] = _key(
        1, "a whole number from 1 to 1,000, or one by kind of run, such as {zero_shot: 3}"
    )
    permutations: Annotated[int, Field(strict=True, ge=1, le=26)] = _key(
        1, "a whole number from 1 to 26"
    )
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
    max_connections: Annotated[int, Field(strict=True, ge=1, le=100_000)] | None = _key(
        None, "a whole number of at least 1"
    )
    batch: Annotated[bool, Field(strict=True)] | Positive | BatchConfig = _key(
        False, "true, a least number of calls, or settings of Inspect's BatchConfig"
    )
    timeout: Annotated[Number, Field(gt=0)] = _key(120, "seconds, a number above 0")
    check_models: bool = _key(True, "true or false", strict=True)
    parts: Few = _key(8, "a whole number from 1 to 1,000")

    @field_validator("plugins")
    @classmethod
    def _loaded(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            import_plugin(name)
        return names

    @field_validator("dataset")
    @classmethod
    def _dataset_beside(cls, name: str, info: ValidationInfo) -> str:
        return name if name in DATASETS else _beside(info.context, name) or name

    @field_validator("models", "pairs", "shots", "labels", "control_shots", "headline", "prompts")
    @classmethod
    def _different_and_ascending(cls, value: tuple[Any, ...] | None) -> tuple[Any, ...] | None:
        names = [str(v).removesuffix(":latest") for v in value or ()]  # Ollama's own default
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)} stands there twice")
        return tuple(sorted(value)) if value and isinstance(value[0], int) else value

    @field_validator("labels")
    @classmethod
    def _known(cls, kinds: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        kinds = tuple(_file_beside(info.context, k) if k.startswith(FILE) else k for k in kinds)
        files = [kind for kind in kinds if kind.startswith(FILE)]
        if len({short_name(file) for file in files}) < len(files):
            raise ValueError("two files have one name, by which a log tells them apart: rename one")
        for kind in kinds:
            if kind == FILE.rstrip(":"):
                raise ValueError("a file of labels is named as file:PATH, got 'file'")
            if kind not in files:
                check_kind(kind)
        return kinds

    @field_validator("epochs")
    @classmethod
    def _epochs(cls, value: int | Mapping[str, int]) -> int | Mapping[str, int]:
        allowed = ("zero_shot", *known_kinds())
        given = value if isinstance(value, Mapping) else ()
        if unknown := [kind for kind in given if kind not in allowed]:
            raise ValueError(f"must be of {', '.join(allowed)}, got {unknown[0]!r}")
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
        for model in self.models:
            if model.startswith(STANDIN):
                StandInAPI(model, **self.model_args.get(model, {}))
        most = math.factorial(min(8, *self.verdict_shots))
        if self.orders > 1 and (self.orders > most or not set(MAIN_KINDS) & set(self.labels)):
            raise ValueError(
                f"orders shows the demonstrations of gold or weak labels at the headline in other "
                f"orders: of {min(self.verdict_shots)} there are {most}, got {self.orders} and "
                f"labels {list(self.labels)}"
            )
        if (cells := self._cells()) > CELLS:
            raise ValueError(
                f"a study has at most {CELLS:,} cells, this one {cells:,}: name fewer models, "
                "labels, shots or draws"
            )
        return self

    def _cells(self) -> int:
        """How many cells there are at most."""
        few = sum(len(self.labelled_by(k)) * len(self.arm_shots(k)) for k in self.labels)
        main = [k for k in MAIN_KINDS if k in self.labels]
        each = sum(len(self.labelled_by(kind)) for kind in main)
        prompts = each * sum(len(self.arm_shots(arm)) for arm in self.prompts)
        orders = each * len(self.verdict_shots) * (self.orders - 1)
        return 4 * len(self.models) + self.draws * (few + prompts + orders)

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


# --- the file -------------------------------------------------------------------------------------


def load_study(path: str | Path) -> Study:
    """Read a study from a YAML file, or one that comes with the package by its name.

    Raises:
        W2SError: The file is missing, is not YAML, or says something that is not allowed.
    """
    path = Path(path)
    if path.parent == Path() and not path.exists():
        path = bundled_study(path.name) or path
    raw = read_yaml(path)
    folder = str(path.absolute().parent)
    if raw.get("plugins") and folder not in sys.path:
        sys.path.append(folder)
    try:
        if secret := secret_in(raw):
            # Inspect writes arguments into the log, and a study file is passed round
            raise W2SError(
                f"{secret} must not hold a key or a password, got one (not shown); set it in the "
                "environment or in .env, under the name that the provider reads "
                "(OPENROUTER_API_KEY, OPENAI_API_KEY, ...)"
            )
        return Study.model_validate({"name": path.stem, **raw}, context=path.parent)
    except (ValidationError, W2SError) as error:
        wrong = error.message if isinstance(error, W2SError) else _line(error, raw)
        shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in wrong)
        raise W2SError(f"{path}: {shown}") from None


def bundled_study(name: str) -> Path | None:
    """Path of a study that comes with the package; None where there is none of that name."""
    path = Path(w2s_icl.__file__).parent / "studies" / f"{name}.yaml"
    return path if re.fullmatch(r"\w+", name) and path.is_file() else None


def _beside(folder: Path | None, named: str) -> str:
    """Absolute path of a file beside the study, "" where there is none."""
    try:
        path = (folder or Path()) / at_home(named)
        return str(path.absolute()) if folder is not None and path.exists() else ""
    except (OSError, ValueError):  # too long a name
        return ""


def _file_beside(folder: Path | None, kind: str) -> str:
    """`file:PATH` with the absolute path, as the tasks take it."""
    named = kind.removeprefix(FILE)
    path = _beside(folder, named) or _beside(Path(), named)
    if not path:
        raise W2SError(f"labels: there is no file {named}, neither beside the study nor here")
    if not re.fullmatch(r"[\w .@+-]+", Path(path).name):
        # the name stands for the labels in logs and tables
        raise ValueError(
            "the name of a file of labels may hold letters, digits, spaces and . @ + - _, got "
            f"{Path(path).name!r:.80}"
        )
    return FILE + path


def import_plugin(name: str) -> None:
    """Import a module that registers label sources; raises W2SError where that fails."""
    try:
        importlib.import_module(name)
    except (Exception, SystemExit) as error:  # whatever a user's module raises
        raise W2SError(f"plugins: {name} cannot be imported: {first_line(error)}") from error


def _line(error: ValidationError, raw: Mapping[Any, Any]) -> str:
    """The first mistake in one line: where, what is allowed, what came, and where more are."""
    # a misspelt key may be the one that is missing
    first, *others = sorted(error.errors(), key=lambda item: item["type"] != "extra_forbidden")
    loc, text = first["loc"], first["msg"].removeprefix("Value error, ")
    key = str(loc[0]) if loc else ""
    where = ".".join(_reached(loc, raw))
    if first["type"] == "extra_forbidden" or first["type"] == "invalid_key":
        keys, what = (
            (Price.model_fields, "price") if len(loc) > 1 else (Study.model_fields, "study")
        )
        near = difflib.get_close_matches(str(loc[-1]), keys, n=1)
        way_out = f"did you mean {near[0]}?" if near else f"the keys are {', '.join(keys)}"
        text = f"{'.'.join(map(str, loc))!s:.80}: not a key of a {what}; {way_out}"
    elif first["type"] == "value_error":
        text = f"{where}: {text}" if where else text
    else:
        must_be = Study.model_fields[key].description
        text = f"{key}: must be {must_be}, got {first['input']!r:.80}"
        text += f" at {where}" if where != key else ""
        if first["type"] == "missing":
            text = f"{'.'.join(map(str, loc))} is missing: {key} must be {must_be}"
    more = {str(item["loc"][0]) for item in others if item["loc"]} - {key}
    return text + (f"; also wrong: {', '.join(sorted(more))!s:.80}" if more else "")


def _reached(loc: tuple[int | str, ...], raw: Any) -> Iterator[str]:
    """The part of a place that stands in the file: pydantic adds names of its own."""
    for name in loc:
        inner = isinstance(name, int) and isinstance(raw, list) and name < len(raw)
        if not inner and not (isinstance(raw, dict) and name in raw):
            return
        yield str(name)
        raw = raw[name]
