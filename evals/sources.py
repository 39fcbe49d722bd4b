"""Where questions are read from: the hub, a folder in the hub's layout, or a file."""

from __future__ import annotations

import ast
import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache, partial
from pathlib import Path
from string import ascii_uppercase
from typing import Annotated, Any, NamedTuple

from platformdirs import user_cache_path
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, model_validator

from w2s_icl.errors import W2SError, first_line
from w2s_icl.evals.questions import Question, QuestionSet
from w2s_icl.inputs import absolute, read_rows

TRUTHFULQA_CSV = "https://raw.githubusercontent.com/sylinrl/TruthfulQA/main/TruthfulQA.csv"
"""The authors' own file (2025 release), which `binary` reads."""

BINARY_SHA256 = "814e81017a70b5d5b0143843f30594b5194600337a2ade45a36ac738d9578259"
"""Digest of the questions of `binary`: the authors' file has no numbered release."""

MISCONCEPTIONS = Path(__file__).parent / "data" / "misconceptions.jsonl"
"""The bundled questions."""

NETWORK_TIMEOUT = 5.0
MAX_OPTIONS = len(ascii_uppercase)


class HubFile(NamedTuple):
    """One file of a dataset repository on the Hugging Face hub."""

    repo: str
    revision: str
    path: str


TRUTHFULQA = HubFile(
    "truthfulqa/truthful_qa",
    "741b8276f2d1982aa3d5b832d3ee81ed3b896490",
    "multiple_choice/validation-00000-of-00001.parquet",
)

HUB_FILES = {
    "mc4": TRUTHFULQA,
    "mc1": TRUTHFULQA,
    # A script-based dataset, which datasets >= 4 refuses: the hub's own parquet conversion of it.
    "truthful_qa_mc": HubFile(
        "EleutherAI/truthful_qa_mc",
        "refs/convert/parquet",
        "multiple_choice/validation/0000.parquet",
    ),
}

DATASETS = (*HUB_FILES, "binary", "misconceptions")
"""Names that `dataset` may have; anything else is a path."""


def load_questions(dataset: str = "mc4", *, seed: int = 42) -> QuestionSet:
    """Read a question set by name or path.

    Args:
        dataset: A name of `DATASETS`; or a path: a folder in the hub's layout, or a `.jsonl`,
            `.json`, `.csv` or `.parquet` file with the columns `question`, `choices` and `label`
            (0-based; `id` and `category` optional). TruthfulQA's own files, with `mc1_targets` or
            with `Best Answer` and `Best Incorrect Answer`, are read as they are.
        seed: Draws the three wrong options that `mc4` keeps; other sets do not depend on it.

    Raises:
        W2SError: The set is unknown, cannot be fetched, or holds a bad row.
    """
    if dataset in DATASETS:
        return _load(dataset, seed, ())
    path = absolute(dataset)
    if not path.exists():
        raise W2SError(
            f"dataset must be one of {', '.join(DATASETS)}, or the path of a folder or a .jsonl, "
            f".json, .csv or .parquet file; got {dataset!r}, and there is no {path}"
        )
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    stamps = tuple((str(f), f.stat().st_mtime_ns, f.stat().st_size) for f in files)
    return _load(str(path), seed, stamps)


@lru_cache(maxsize=8)
def _load(dataset: str, seed: int, stamps: tuple[tuple[str, int, int], ...]) -> QuestionSet:
    del stamps  # part of the key only: a changed file is read again
    where = dataset
    if dataset in HUB_FILES:
        hub = HUB_FILES[dataset]
        path, where = _fetch_from_hub(dataset, hub), f"{hub.repo}@{hub.revision}/{hub.path}"
    elif dataset == "binary":
        path, where = _fetch_csv(), TRUTHFULQA_CSV
    elif dataset == "misconceptions":
        path, where = MISCONCEPTIONS, f"w2s_icl/evals/data/{MISCONCEPTIONS.name}"
    else:
        path = Path(dataset)
    source, where = where, path.name if where == dataset else where
    rows = _rows_of_folder(path) if path.is_dir() else read_rows(path)
    questions = [question_of(row, i, where) for i, row in enumerate(rows)]
    if dataset == "mc4":
        questions = [q.with_four_choices(seed) for q in questions if len(q.choices) >= 4]
    if not questions:
        raise W2SError(f"{where}: no questions found; at least two are needed")
    loaded = QuestionSet(dataset, source, tuple(questions))
    for i, q in enumerate(questions):
        if (first := loaded.places[str(q.id)]) != i:
            raise W2SError(
                f"{where}: row {i} (the first is 0): id {q.id!r} stands in row {first} already; "
                "ids must be different"
            )
    if dataset == "binary" and loaded.fingerprint != BINARY_SHA256:
        raise W2SError(
            f"dataset binary: {TRUTHFULQA_CSV} holds other questions than the 2025 release "
            f"(digest {loaded.fingerprint[:12]}, expected {BINARY_SHA256[:12]}). Use a copy "
            "of that release, or the new file under its own name, with -T dataset=PATH"
        )
    return loaded


# --- from a row to a question ---------------------------------------------------------------------


def _as_list(value: Any) -> Any:
    """A list, also from a cell of a CSV file (a JSON list, or one as Python prints it)."""
    if isinstance(value, str) and value.strip().startswith("["):
        for read in (json.loads, ast.literal_eval):
            with suppress(ValueError, SyntaxError):
                return read(value)
    return value


def _whole(value: Any) -> Any:
    if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
        raise ValueError("must be a whole number")
    return None if value == "" else value


class Row(BaseModel):
    """One row of a file of questions."""

    model_config = ConfigDict(extra="ignore", str_strip_whitespace=True)

    question: str
    choices: Annotated[list[str], BeforeValidator(_as_list)]
    label: Annotated[int, BeforeValidator(_whole)]
    id: Annotated[int | str | None, BeforeValidator(_whole)] = None
    category: Annotated[str, BeforeValidator(lambda v: v or "")] = ""

    @model_validator(mode="before")
    @classmethod
    def _columns(cls, row: Mapping[str, Any]) -> Mapping[str, Any]:
        """The row with the columns above, also where it is one of TruthfulQA's own."""
        if "mc1_targets" in row:
            targets = row["mc1_targets"]
            right = list(targets["labels"]) if isinstance(targets, Mapping) else []
            if right.count(1) != 1:
                raise ValueError(
                    "mc1_targets must hold choices and labels with exactly one right choice, "
                    f"got {targets!r:.120}"
                )
            return {**row, "choices": targets["choices"], "label": right.index(1)}
        if "Best Incorrect Answer" in row and "choices" not in row:
            choices = [row.get("Best Answer"), row["Best Incorrect Answer"]]
            own = {"question": row.get("Question"), "category": row.get("Category")}
            return {**own, **row, "choices": choices, "label": 0}
        return row

    @model_validator(mode="after")
    def _usable(self) -> Row:
        n = len(self.choices)
        if not self.question:
            raise ValueError("question must not be empty")
        if not 2 <= n <= MAX_OPTIONS:
            raise ValueError(f"2 to {MAX_OPTIONS} choices are allowed, got {n}")
        if "" in self.choices:
            raise ValueError(f"choices must not be empty, got {self.choices!r:.120}")
        plain = [choice.casefold() for choice in self.choices]
        if twice := [c for c in self.choices if plain.count(c.casefold()) > 1]:
            raise ValueError(f"choices must be different, {twice[0]!r} stands there twice")
        if not 0 <= self.label < n:
            raise ValueError(
                f"label must be from 0 to {n - 1}, the place of the right choice, got {self.label}"
            )
        return self


def question_of(row: Mapping[str, Any], i: int, where: str) -> Question:
    """The question in row `i` of `where`, checked.

    Raises:
        W2SError: Names file, row, column, what is wrong and what came.
    """
    try:
        read = Row.model_validate(row)
    except ValidationError as error:
        first = error.errors()[0]
        column = ".".join(map(str, first["loc"]))
        text = first["msg"].removeprefix("Value error, ")
        if first["type"] == "missing":
            needed = "needed are question, choices and label"
            text = f"no {column} among the columns {', '.join(map(str, row))}; {needed}"
        elif column:
            text = f"{column}: {text}, got {first['input']!r:.120}"
        raise W2SError(f"{where}: row {i} (the first is 0): {text}") from None
    id_ = i if read.id is None else read.id
    return Question(id_, read.question, tuple(read.choices), read.label, read.category)


# --- from a place to rows -------------------------------------------------------------------------


def _rows_of_folder(path: Path) -> list[dict[str, Any]]:
    """Rows of a folder in the hub's layout.

    Streaming reads the data files themselves. `load_dataset` without it hands out rows from its
    cache, stale ones when the files have changed, even another folder's of the same name.
    """
    import datasets

    try:
        configs = datasets.get_dataset_config_names(str(path))
        if len(configs) > 1 and "multiple_choice" not in configs:
            raise W2SError(
                f"{path}: holds the configs {', '.join(configs)}; a folder must hold one, "
                "or one that is called multiple_choice"
            )
        config = "multiple_choice" if len(configs) > 1 else configs[0]
        splits = datasets.load_dataset(str(path), config, streaming=True)
        if len(splits) != 1:
            raise W2SError(f"{path}: holds the splits {', '.join(splits)}; a folder must hold one")
        return list(next(iter(splits.values())))
    except (FileNotFoundError, datasets.exceptions.DatasetsError, OSError, IndexError) as error:
        raise W2SError(
            f"{path}: no data files of the hub's layout found ({first_line(error)})"
        ) from None


def _fetch_from_hub(name: str, hub: HubFile) -> Path:
    """The file in the hub's cache, fetched when it is not there yet: a revision never changes."""
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    file = {"repo_type": "dataset", "revision": hub.revision}
    fetch = partial(huggingface_hub.hf_hub_download, hub.repo, hub.path, **file)
    try:
        return Path(fetch(local_files_only=True))
    except LocalEntryNotFoundError:
        pass
    try:
        if not huggingface_hub.constants.HF_HUB_OFFLINE:
            _reach(huggingface_hub.constants.ENDPOINT)
        return Path(fetch(etag_timeout=NETWORK_TIMEOUT))
    except (OSError, HfHubHTTPError, ValueError) as error:
        raise W2SError(
            f"dataset {name}: cannot fetch {hub.path} of the dataset {hub.repo} at revision "
            f"{hub.revision} from the hub ({first_line(error)}). Fetch it where there is a network "
            "(it then works offline from the hub's cache), or use a local copy with -T "
            "dataset=PATH (in a study, dataset: PATH), or the bundled -T dataset=misconceptions"
        ) from None


def _reach(url: str) -> None:
    """Raise OSError within `NETWORK_TIMEOUT` seconds when no server answers at `url`."""
    request = urllib.request.Request(url, method="HEAD")
    with suppress(urllib.error.HTTPError):  # a server that refuses this page is there all the same
        urllib.request.urlopen(request, timeout=NETWORK_TIMEOUT).close()


def _fetch_csv() -> Path:
    """The authors' CSV file in the user's cache, fetched when it is not there yet."""
    path = user_cache_path("w2s-icl") / "TruthfulQA.csv"
    if path.exists():
        return path
    try:
        with urllib.request.urlopen(TRUTHFULQA_CSV, timeout=NETWORK_TIMEOUT) as reply:
            content = reply.read()
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_bytes(content)
        part.replace(path)
    except OSError as error:
        raise W2SError(
            f"dataset binary: cannot fetch {TRUTHFULQA_CSV} ({first_line(error)}). Fetch it where "
            "there is a network and use it with -T dataset=PATH/TruthfulQA.csv (in a study, "
            "dataset: PATH/TruthfulQA.csv)"
        ) from None
    return path
