"""Multiple-choice questions: loading, option order, the split into test and pool.

Every question set ends in the same form, whatever it was read from: a `Question` with an id, the
options in the file's order and the index of the right one. `load_split` makes Inspect samples of
them: options in their seeded order, test and pool apart.
"""

from __future__ import annotations

import ast
import csv
import hashlib
import io
import json
import os
import random
import re
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from pathlib import Path
from string import ascii_uppercase
from typing import Any, Literal, get_args

from inspect_ai.dataset import Sample
from platformdirs import user_cache_path

NearDuplicates = Literal["drop", "keep"]
"""Whether pool questions that are near-duplicates of a test question may be shown."""

TRUTHFULQA_REVISION = "741b8276f2d1982aa3d5b832d3ee81ed3b896490"
"""Commit of `truthfulqa/truthful_qa` on the hub that `mc1` and `mc4` read."""

TRUTHFULQA_CSV = "https://raw.githubusercontent.com/sylinrl/TruthfulQA/main/TruthfulQA.csv"
"""The authors' own file (2025 release), which `binary` reads."""

MISCONCEPTIONS = Path(__file__).parent / "data" / "misconceptions.jsonl"
"""The bundled questions."""

JACCARD_LIMIT = 0.5
NETWORK_TIMEOUT = 5.0
MAX_OPTIONS = len(ascii_uppercase)


@dataclass(frozen=True)
class HubFile:
    """One file of a dataset repository on the Hugging Face hub."""

    repo: str
    revision: str
    path: str


HUB_FILES = {
    "mc4": HubFile(
        "truthfulqa/truthful_qa",
        TRUTHFULQA_REVISION,
        "multiple_choice/validation-00000-of-00001.parquet",
    ),
    "mc1": HubFile(
        "truthfulqa/truthful_qa",
        TRUTHFULQA_REVISION,
        "multiple_choice/validation-00000-of-00001.parquet",
    ),
    # A script-based dataset, which datasets >= 4 refuses: the hub's own parquet conversion of it.
    "truthful_qa_mc": HubFile(
        "EleutherAI/truthful_qa_mc",
        "refs/convert/parquet",
        "multiple_choice/validation/0000.parquet",
    ),
}

DATASETS = (*HUB_FILES, "binary", "misconceptions")
"""Names that `dataset` may have; anything else is a path."""


class QuestionError(ValueError):
    """A question file that cannot be used: says file, row, what was found, what is allowed."""


@dataclass(frozen=True)
class Question:
    """One question with its options in the order of the file.

    Attributes:
        id: Row number of the dataset (the first is 0), or the file's own `id`.
        question: The question's text.
        choices: Option texts, 2 to 26, all different.
        gold: Index of the right option in `choices`.
        category: The dataset's category, "" where it has none.
    """

    id: int | str
    question: str
    choices: tuple[str, ...]
    gold: int
    category: str = ""

    def sample(self, seed: int) -> Sample:
        """The question as an Inspect sample, options in the order that `seed` gives.

        The order depends on (seed, id) alone, so it is the same in every cell, and dropping a
        question moves no other one's options.
        """
        order = list(range(len(self.choices)))
        random.Random(f"{seed}/{self.id}/options").shuffle(order)
        return Sample(
            id=self.id,
            input=self.question,
            choices=[self.choices[i] for i in order],
            target=ascii_uppercase[order.index(self.gold)],
            metadata={"category": self.category, "n_choices": len(self.choices)},
        )


@dataclass(frozen=True)
class QuestionSet:
    """Questions with the place they were read from.

    Attributes:
        name: A name of `DATASETS`, or the path that was given.
        source: Where the rows came from: repository and revision, URL or file.
        questions: In the order of the file.
        fingerprint: sha256 over ids, questions, options and gold.
    """

    name: str
    source: str
    questions: tuple[Question, ...]
    fingerprint: str

    @cached_property
    def places(self) -> dict[str, int]:
        """Row of each question by its id, as text."""
        return {str(question.id): row for row, question in enumerate(self.questions)}


@dataclass(frozen=True)
class Split:
    """Test and pool of a question set, as samples in their seeded option order.

    Attributes:
        test: The scored questions, in the order of the split.
        pool: Questions that may be shown, in the order of the split.
        seed: Of split, option order and draws.
        provenance: What identifies the split, for the log's metadata.
    """

    test: tuple[Sample, ...]
    pool: tuple[Sample, ...]
    seed: int
    provenance: Mapping[str, Any]

    def draw(self, draw: int) -> list[Sample]:
        """The pool in the order of one draw: a permutation seeded by (seed, draw)."""
        return random.Random(f"{self.seed}/{draw}/draw").sample(self.pool, len(self.pool))


def load_questions(dataset: str = "mc4", *, seed: int = 42) -> QuestionSet:
    """Read a question set by name or path.

    Args:
        dataset: A name of `DATASETS`; or a path: a folder in the hub's layout, or a `.jsonl`,
            `.json`, `.csv` or `.parquet` file with the columns `question`, `choices` and `label`
            (0-based; `id` and `category` optional). TruthfulQA's own files, with `mc1_targets` or
            with `Best Answer` and `Best Incorrect Answer`, are read as they are.
        seed: Draws the three wrong options that `mc4` keeps; other sets do not depend on it.

    Raises:
        QuestionError: The set is unknown, cannot be fetched, or holds a bad row.
    """
    if dataset in DATASETS:
        return _load(dataset, seed, ())
    path = Path(dataset).expanduser()
    if not path.exists():
        # `inspect eval evals/truthfulqa.py` runs a task from its file's folder; the shell's PWD is
        # still the folder in which the path was typed
        path = Path(os.environ.get("PWD", "."), path)
    path = path.absolute()
    if not path.exists():
        raise QuestionError(
            f"dataset must be one of {', '.join(DATASETS)}, or the path of a folder or a .jsonl, "
            f".json, .csv or .parquet file; got {dataset!r}, and there is no {path}"
        )
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    stamps = tuple((str(f), f.stat().st_mtime_ns, f.stat().st_size) for f in files)
    return _load(str(path), seed, stamps)


@lru_cache(maxsize=8)
def _load(dataset: str, seed: int, stamps: tuple[tuple[str, int, int], ...]) -> QuestionSet:
    del stamps  # part of the key only: a changed file is read again
    if dataset in HUB_FILES:
        hub = HUB_FILES[dataset]
        rows = _rows_of_parquet(_fetch_from_hub(dataset, hub))
        source = f"{hub.repo}@{hub.revision}/{hub.path}"
    elif dataset == "binary":
        rows = _rows_of_csv(_fetch_csv().read_text("utf-8"))
        source = TRUTHFULQA_CSV
    elif dataset == "misconceptions":
        rows = _rows_of_file(MISCONCEPTIONS)
        source = f"w2s_icl/evals/data/{MISCONCEPTIONS.name}"
    else:
        path = Path(dataset)
        rows = _rows_of_folder(path) if path.is_dir() else _rows_of_file(path)
        source = str(path)
    where = Path(dataset).name if source == dataset else source
    questions = [_question(row, i, where) for i, row in enumerate(rows)]
    if dataset == "mc4":
        questions = [_four_choices(q, seed) for q in questions if len(q.choices) >= 4]
    if not questions:
        raise QuestionError(f"{where}: no questions found; at least two are needed")
    ids: dict[str, int] = {}
    for i, q in enumerate(questions):
        if str(q.id) in ids:
            raise QuestionError(
                f"{where}: row {i}: id {q.id!r} stands in row {ids[str(q.id)]} already; "
                "ids must be different (rows count from 0)"
            )
        ids[str(q.id)] = i
    return QuestionSet(dataset, source, tuple(questions), _fingerprint(questions))


def load_split(
    dataset: str = "mc4",
    *,
    test_size: int = 200,
    seed: int = 42,
    near_duplicates: NearDuplicates = "drop",
) -> Split:
    """Split a question set into test and pool.

    `random.Random(seed).sample(range(n), n)` orders the questions; the first `test_size` are the
    test, the rest is the pool. A pool question that is a near-duplicate of a test question (token
    Jaccard of the questions >= 0.5, or the same right answer) is barred from the pool unless
    `near_duplicates` is "keep".

    Args:
        dataset: As `load_questions`.
        test_size: Questions that are scored, at least 1.
        seed: Of split, option order, draws and the wrong options of `mc4`.
        near_duplicates: "drop" or "keep".

    Raises:
        QuestionError: As `load_questions`; or the set is too small for `test_size`.
        ValueError: An argument is outside what is allowed.
    """
    if isinstance(test_size, bool) or not isinstance(test_size, int) or test_size < 1:
        raise ValueError(f"test_size must be a whole number of at least 1, got {test_size!r}")
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise ValueError(f"seed must be a whole number, got {seed!r}")
    if near_duplicates not in get_args(NearDuplicates):
        raise ValueError(f"near_duplicates must be drop or keep, got {near_duplicates!r}")
    loaded = load_questions(dataset, seed=seed)
    n = len(loaded.questions)
    if test_size > n:
        raise QuestionError(
            f"test_size must be at most {n}, the questions in {loaded.name}, got {test_size}"
        )
    order = random.Random(seed).sample(range(n), n)
    test = tuple(loaded.questions[i] for i in order[:test_size])
    rest = tuple(loaded.questions[i] for i in order[test_size:])
    barred = _near_duplicates(test, rest) if near_duplicates == "drop" else frozenset()
    pool = [q for q in rest if q.id not in barred]
    return Split(
        test=tuple(q.sample(seed) for q in test),
        pool=tuple(q.sample(seed) for q in pool),
        seed=seed,
        provenance={
            "dataset": loaded.name,
            "dataset_source": loaded.source,
            "dataset_sha256": loaded.fingerprint,
            "test_size": test_size,
            "seed": seed,
            "near_duplicates": near_duplicates,
            "n_pool": len(pool),
            "n_near_duplicates": len(barred),
        },
    )


@lru_cache(maxsize=8)  # every cell of a study splits the same questions
def _near_duplicates(
    test: tuple[Question, ...], rest: tuple[Question, ...]
) -> frozenset[int | str]:
    """Ids of the questions in `rest` that are near-duplicates of one in `test`."""
    # The right answers alone decide the second rule, so "the same gold option" is one set lookup.
    golds = {_plain(q.choices[q.gold]) for q in test}
    by_token: dict[str, list[int]] = {}
    tokens = [_tokens(q.question) for q in test]
    for i, words in enumerate(tokens):
        for word in words:
            by_token.setdefault(word, []).append(i)
    barred: set[int | str] = set()
    for q in rest:
        if _plain(q.choices[q.gold]) in golds:
            barred.add(q.id)
            continue
        words = _tokens(q.question)
        shared: dict[int, int] = {}
        for word in words:
            for i in by_token.get(word, ()):
                shared[i] = shared.get(i, 0) + 1
        if any(
            both >= JACCARD_LIMIT * (len(words) + len(tokens[i]) - both)
            for i, both in shared.items()
        ):
            barred.add(q.id)
    return frozenset(barred)


def _tokens(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"\w+", text.casefold()))


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold())) or text.strip()


def _four_choices(q: Question, seed: int) -> Question:
    """`q` with its right option and three wrong ones, drawn by (seed, id)."""
    wrong = [c for i, c in enumerate(q.choices) if i != q.gold]
    kept = random.Random(f"{seed}/{q.id}/distractors").sample(wrong, 3)
    return Question(q.id, q.question, (q.choices[q.gold], *kept), 0, q.category)


def _fingerprint(questions: Iterable[Question]) -> str:
    digest = hashlib.sha256()
    for q in questions:
        row = json.dumps([q.id, q.question, list(q.choices), q.gold], ensure_ascii=False)
        digest.update(row.encode("utf-8", "surrogatepass") + b"\n")
    return digest.hexdigest()


# --- from a row to a question -------------------------------------------------------------------


def _question(row: Mapping[str, Any], i: int, where: str) -> Question:
    """The question in row `i` of `where`, checked."""

    def bad(found: str, allowed: str) -> QuestionError:
        return QuestionError(f"{where}: row {i} (the first is 0): {found}; {allowed}")

    if "mc1_targets" in row:
        targets = row["mc1_targets"]
        if not isinstance(targets, Mapping) or {"choices", "labels"} - set(targets):
            raise bad(f"mc1_targets is {targets!r:.80}", "it must hold choices and labels")
        choices, right = targets["choices"], list(targets["labels"])
        if right.count(1) != 1:
            raise bad(f"mc1_targets has {right.count(1)} right choices", "exactly one must be")
        label: Any = right.index(1)
    elif "Best Incorrect Answer" in row and "choices" not in row:
        row = {"question": row.get("Question"), "category": row.get("Category"), **row}
        choices, label = [row.get("Best Answer"), row["Best Incorrect Answer"]], 0
    else:
        missing = [c for c in ("question", "choices", "label") if c not in row]
        if missing:
            raise bad(
                f"no {' and no '.join(missing)} among the columns {', '.join(map(str, row))}",
                "needed are question, choices and label",
            )
        choices, label = row["choices"], row["label"]
    question = row.get("question")
    if not isinstance(question, str) or not question.strip():
        raise bad(f"question is {question!r}", "it must be a text that is not empty")
    choices = _as_list(choices)
    if choices is None or not all(isinstance(c, str) and c.strip() for c in choices):
        raise bad(
            f"choices is {row.get('choices', choices)!r:.120}",
            "it must be a list of texts, none empty (in a CSV file a JSON list)",
        )
    if not 2 <= len(choices) <= MAX_OPTIONS:
        raise bad(f"{len(choices)} choices", f"2 to {MAX_OPTIONS} are allowed")
    plain = [c.strip().casefold() for c in choices]
    twice = next((c for c in choices if plain.count(c.strip().casefold()) > 1), None)
    if twice is not None:
        raise bad(f"the choice {twice!r} stands there twice", "choices must be different")
    index = _as_index(label)
    if index is None or not 0 <= index < len(choices):
        raise bad(
            f"label is {label!r}",
            f"it must be a whole number from 0 to {len(choices) - 1}, the place of the right "
            "choice, counted from 0",
        )
    id_ = row.get("id")
    if id_ is None or id_ == "":
        id_ = i
    if isinstance(id_, bool) or not isinstance(id_, int | str):
        raise bad(f"id is {id_!r}", "it must be a whole number or a text")
    return Question(
        id=id_,
        question=question.strip(),
        choices=tuple(c.strip() for c in choices),
        gold=index,
        category=str(row.get("category") or ""),
    )


def _as_list(value: Any) -> list[Any] | None:
    """A list, also from a cell of a CSV file (a JSON list, or one as Python prints it)."""
    if isinstance(value, str) and value.strip().startswith("["):
        for read in (json.loads, ast.literal_eval):
            try:
                value = read(value)
                break
            except (ValueError, SyntaxError):
                continue
    return list(value) if isinstance(value, list | tuple) else None


def _as_index(value: Any) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and re.fullmatch(r"\s*-?\d+\s*", value):
        return int(value)
    return value if isinstance(value, int) else None


# --- from a place to rows -----------------------------------------------------------------------


def _rows_of_file(path: Path) -> Iterator[Mapping[str, Any]]:
    kind = path.suffix.lower()
    if kind == ".parquet":
        return _rows_of_parquet(path)
    if kind not in (".jsonl", ".json", ".csv"):
        raise QuestionError(
            f"dataset must be a .jsonl, .json, .csv or .parquet file, or a folder; got {path}"
        )
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise QuestionError(f"{path.name}: not UTF-8 text at byte {error.start}") from None
    if kind == ".csv":
        return _rows_of_csv(text)
    return _rows_of_json(text, path.name, lines=kind == ".jsonl")


def _rows_of_json(text: str, where: str, *, lines: bool) -> Iterator[Mapping[str, Any]]:
    rows: list[Any] = []
    if lines:
        for number, line in enumerate(text.split("\n"), start=1):
            if line.strip():
                try:
                    rows.append(json.loads(line))
                except json.JSONDecodeError as error:
                    raise QuestionError(f"{where}: line {number}: not JSON: {error}") from None
    else:
        try:
            read = json.loads(text)
        except json.JSONDecodeError as error:
            raise QuestionError(f"{where}: not JSON: {error}") from None
        if not isinstance(read, list):
            raise QuestionError(f"{where}: must hold a list of questions, got a {_kind(read)}")
        rows = read
    for i, row in enumerate(rows):
        if not isinstance(row, dict):
            raise QuestionError(
                f"{where}: row {i} (the first is 0): a {_kind(row)}; each row must be an object "
                "with question, choices and label"
            )
        yield row


def _kind(value: Any) -> str:
    return {"dict": "JSON object", "NoneType": "null"}.get(
        type(value).__name__, type(value).__name__
    )


def _rows_of_csv(text: str) -> Iterator[Mapping[str, Any]]:
    return csv.DictReader(io.StringIO(text, newline=""))


def _rows_of_parquet(path: Path) -> Iterator[Mapping[str, Any]]:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path)
    except (pyarrow.ArrowInvalid, OSError) as error:
        raise QuestionError(f"{path.name}: not a parquet file: {error}") from None
    return iter(table.to_pylist())


def _rows_of_folder(path: Path) -> Iterator[Mapping[str, Any]]:
    """Rows of a folder in the hub's layout.

    Streaming reads the data files themselves. `load_dataset` without it hands out rows from its
    cache, stale ones when the files have changed, even another folder's of the same name.
    """
    import datasets

    try:
        configs = datasets.get_dataset_config_names(str(path))
        config = "multiple_choice" if "multiple_choice" in configs else configs[0]
        if len(configs) > 1 and config != "multiple_choice":
            raise QuestionError(
                f"{path}: holds the configs {', '.join(configs)}; a folder must hold one, "
                "or one that is called multiple_choice"
            )
        splits = datasets.load_dataset(str(path), config, streaming=True)
        if len(splits) != 1:
            raise QuestionError(
                f"{path}: holds the splits {', '.join(splits)}; a folder must hold one"
            )
        return iter(list(next(iter(splits.values()))))
    except (FileNotFoundError, datasets.exceptions.DatasetsError, OSError, IndexError) as error:
        raise QuestionError(
            f"{path}: no data files of the hub's layout found ({_first_line(error)})"
        ) from None


def _fetch_from_hub(name: str, hub: HubFile) -> Path:
    """The file in the hub's cache, fetched when it is not there yet.

    A pinned revision never changes, so a cached file needs no question to the hub.
    """
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    fetch = partial(
        huggingface_hub.hf_hub_download,
        hub.repo,
        hub.path,
        repo_type="dataset",
        revision=hub.revision,
    )
    try:
        return Path(fetch(local_files_only=True))
    except LocalEntryNotFoundError:
        pass
    try:
        if not huggingface_hub.constants.HF_HUB_OFFLINE:
            _reach(huggingface_hub.constants.ENDPOINT)
        return Path(fetch(etag_timeout=NETWORK_TIMEOUT))
    except (OSError, HfHubHTTPError, ValueError) as error:
        raise QuestionError(
            f"dataset {name}: cannot fetch {hub.path} of the dataset {hub.repo} at revision "
            f"{hub.revision} from the hub ({_first_line(error)}). Fetch that file where there is a "
            "network (it then works offline from the hub's cache), or use a local copy with "
            "-T dataset=PATH (in a study, dataset: PATH), or the bundled questions with "
            "-T dataset=misconceptions"
        ) from None


def _reach(url: str) -> None:
    """Raise OSError within `NETWORK_TIMEOUT` seconds when no server answers at `url`."""
    try:
        urllib.request.urlopen(
            urllib.request.Request(url, method="HEAD"), timeout=NETWORK_TIMEOUT
        ).close()
    except urllib.error.HTTPError:
        return  # a server that refuses this page is there all the same


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
        raise QuestionError(
            f"dataset binary: cannot fetch {TRUTHFULQA_CSV} ({_first_line(error)}). Fetch that "
            "file where there is a network and use it with -T dataset=PATH/TruthfulQA.csv (in a "
            "study, dataset: PATH/TruthfulQA.csv)"
        ) from None
    return path


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
