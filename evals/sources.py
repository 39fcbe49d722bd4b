"""Where questions are read from: the hub, a folder in the hub's layout, or a file."""

from __future__ import annotations

import http.client
import logging
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Final, NamedTuple

from platformdirs import user_cache_path

from w2s_icl.errors import W2SError, first_line
from w2s_icl.evals.columns import BINARY, MC1, Columns, columns_of, questions_of, read_columns
from w2s_icl.evals.questions import QuestionSet
from w2s_icl.inputs import absolute, at_home
from w2s_icl.rows import Row, read_rows

TRUTHFULQA_CSV: Final = "https://raw.githubusercontent.com/sylinrl/TruthfulQA/main/TruthfulQA.csv"
"""The authors' own file (2025 release), which `binary` reads."""

BINARY_SHA256 = "814e81017a70b5d5b0143843f30594b5194600337a2ade45a36ac738d9578259"
"""Digest of the questions of `binary`: the authors' file has no numbered release."""

MISCONCEPTIONS = Path(__file__).parent / "data" / "misconceptions.jsonl"
"""The bundled questions."""

NETWORK_TIMEOUT = 5.0


class HubFile(NamedTuple):
    """One file of a dataset repository on the Hugging Face hub."""

    repo: str
    revision: str
    path: str
    columns: Columns


TRUTHFULQA = HubFile(
    "truthfulqa/truthful_qa",
    "741b8276f2d1982aa3d5b832d3ee81ed3b896490",
    "multiple_choice/validation-00000-of-00001.parquet",
    MC1.model_copy(update={"rows": 817}),
)

HUB_FILES = {
    "mc4": TRUTHFULQA,
    "mc1": TRUTHFULQA,
    # A script-based dataset, which datasets >= 4 refuses: the hub's own parquet conversion of it.
    "truthful_qa_mc": HubFile(
        "EleutherAI/truthful_qa_mc",
        "refs/convert/parquet",
        "multiple_choice/validation/0000.parquet",
        Columns(path="", rows=684),
    ),
}

DATASETS = (*HUB_FILES, "binary", "misconceptions")
"""Names that `dataset` may have; anything else is a path."""


def load_questions(dataset: str = "mc4", *, seed: int = 42) -> QuestionSet:
    """Read a question set by name or path.

    Args:
        dataset: A name of `DATASETS`; or a path: a `.yaml` file that maps columns (see
            `columns.Columns`); or a folder in the hub's layout, or a `.jsonl`, `.json`, `.csv`,
            `.tsv` or `.parquet` file, with the columns `question`, `choices` and `label` (`id` and
            `category` optional). TruthfulQA's own files, with `mc1_targets` or with `Best Answer`
            and `Best Incorrect Answer`, are read as they are.
        seed: Draws the three wrong options that `mc4` keeps; other sets do not depend on it.

    Raises:
        W2SError: The set is unknown, cannot be fetched, or holds a bad row.
    """
    if dataset in DATASETS:
        return _load(dataset, seed, None, ())
    path, columns = absolute(dataset), None
    if not path.exists():
        hint = "; a dataset of the hub needs a mapping file, see docs/questions.md"
        raise W2SError(
            f"dataset must be one of {', '.join(DATASETS)}, or the path of a mapping (.yaml), a "
            f"folder or a .jsonl, .json, .csv or .parquet file; got {dataset!r}, and there is no "
            f"{path}{hint if re.fullmatch(HUB_ID, dataset) else ''}"
        )
    place = path
    if path.suffix in (".yaml", ".yml"):
        columns = read_columns(path)
        place = path.parent / at_home(columns.path)
    files = sorted(place.rglob("*")) if place.is_dir() else [place] if place.exists() else []
    stamps = tuple((str(f), f.stat().st_mtime_ns, f.stat().st_size) for f in files if f.is_file())
    return _load(str(path), seed, columns, stamps)


@lru_cache(maxsize=8)
def _load(
    dataset: str, seed: int, columns: Columns | None, stamps: tuple[tuple[str, int, int], ...]
) -> QuestionSet:
    if dataset == "binary":
        return _binary()
    if dataset in HUB_FILES:
        hub = HUB_FILES[dataset]
        source, columns = f"{hub.repo}@{hub.revision}/{hub.path}", hub.columns
        rows = _rows([_fetch_file(dataset, hub)], fetched=True)
    elif columns:
        files, source, n = _files_of(Path(dataset), columns)
        columns = columns.model_copy(update={"rows": columns.rows or n})
        rows = _rows(files, fetched=not stamps)
    else:
        path = MISCONCEPTIONS if dataset == "misconceptions" else Path(dataset)
        source = f"w2s_icl/evals/data/{path.name}" if path is MISCONCEPTIONS else dataset
        rows = _rows(_data_files(path, Columns(path=""))[0] if path.is_dir() else [path])
        columns = columns_of(rows[0].values)
    questions = questions_of(rows, columns)
    if dataset == "mc4":
        questions = [q.with_four_choices(seed) for q in questions if len(q.choices) >= 4]
    if len(questions) < 2:
        raise W2SError(f"{source}: {len(questions)} questions found; at least two are needed")
    return QuestionSet(dataset, source, tuple(questions))


def _rows(files: list[Path], *, fetched: bool = False) -> list[Row]:
    """Rows of several files; a fetched one that cannot be read is taken out of the cache."""
    rows: list[Row] = []
    for file in files:
        try:
            rows += read_rows(file)
        except W2SError as error:
            if not fetched:
                raise
            file.resolve().unlink(missing_ok=True)
            file.unlink(missing_ok=True)
            raise W2SError(
                f"{error.message} (it is taken out of the cache: run this again where the network "
                "lets the hub's own files through)"
            ) from None
    return rows


# --- mappings and folders -------------------------------------------------------------------------

HUB_ID: Final = r"[\w.-]+/[\w.-]+"


def _files_of(mapping: Path, columns: Columns) -> tuple[list[Path], str, int | None]:
    """Files of the set that a mapping names, their source, and the rows that the hub says."""
    path = mapping.parent / at_home(columns.path)
    if path.exists():
        if columns.revision:
            raise W2SError(f"{mapping}: revision is for the hub only, {path} is on this disk")
        return _data_files(path, columns)[0] if path.is_dir() else [path], str(path), None
    if not re.fullmatch(HUB_ID, columns.path) or columns.path.startswith("."):
        raise W2SError(
            f"{mapping}: path must be a file, a folder, or a dataset of the hub as owner/name; "
            f"there is no {path}"
        )
    folder = _fetch_folder(columns)
    if columns.revision != (commit := folder.name):
        logging.getLogger(__name__).warning(
            f"{mapping}: revision {columns.revision or 'is not given and'} may change on the hub: "
            f"pin what is read now with revision: {commit}"
        )
    files, n = _data_files(folder, columns)
    named = [f"{columns.path}@{commit}", columns.name, columns.split]
    return files, " ".join(filter(None, named)), n


def _data_files(path: Path, columns: Columns) -> tuple[list[Path], int | None]:
    """Data files of a folder in the hub's layout, as `datasets` finds them, and the card's count.

    The files are read by us: `datasets` would hand out rows from its cache, stale ones when a file
    has changed, and takes texts such as "None" for empty ones.
    """
    import datasets

    if any((path / name).exists() for name in ("state.json", "dataset_dict.json")):
        raise W2SError(
            f"{path}: was written by save_to_disk: read it with datasets.load_from_disk(PATH) and "
            "write a split with to_parquet(FILE)"
        )
    try:
        configs = datasets.get_dataset_config_names(str(path))
        if configs == ["default"] and columns.name and (path / columns.name).is_dir():  # no card
            return _data_files(path / columns.name, columns.model_copy(update={"name": ""}))
        config = _one_of("name", configs, columns.name, path, "multiple_choice")
        builder = datasets.load_dataset_builder(str(path), config)
    except (datasets.exceptions.DatasetsError, OSError, ValueError) as error:
        raise W2SError(
            f"{path}: no data files of the hub's layout found ({first_line(error)})"
        ) from None
    files = builder.config.data_files or {}
    split = _one_of("split", list(map(str, files)), columns.split, path)
    known = (builder.info.splits or {}).get(split)
    return [Path(file) for file in files[split]], (known.num_examples or None) if known else None


def _one_of(key: str, there: list[str], named: str, path: Path, usual: str = "") -> str:
    """The config or split that is named, or the only one."""
    wanted = named or (there[0] if len(there) == 1 else usual)
    if wanted not in there:
        raise W2SError(
            f"{path}: {key} must be one of {', '.join(there)}"
            + (
                f", got {named!r}"
                if named
                else "; give it in a mapping file, see docs/questions.md"
            )
        )
    return wanted


# --- fetching -------------------------------------------------------------------------------------


def _fetch(
    get: Callable[..., str], repo: str, revision: str, wanted: str, way_out: str, **given: Any
) -> Path:
    """A file or folder of the hub from its cache, fetched where it is not there yet."""
    import huggingface_hub
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError

    get = partial(get, repo, repo_type="dataset", revision=revision, **given)
    cached = partial(get, local_files_only=True)
    if "filename" in given:  # of a folder the cache may hold a part, which the hub's list shows
        with suppress(LocalEntryNotFoundError):
            return Path(cached())
    try:
        if not huggingface_hub.constants.HF_HUB_OFFLINE:
            _reach(huggingface_hub.constants.ENDPOINT)
        return Path(get(etag_timeout=NETWORK_TIMEOUT))
    except (OSError, HfHubHTTPError, ValueError) as error:
        if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
            raise
        with suppress(LocalEntryNotFoundError):
            return Path(cached())
        raise W2SError(
            f"cannot fetch {wanted} of the dataset {repo} at revision {revision} from the hub "
            f"({first_line(error)}). Fetch it where there is a network (it then works offline from "
            f"the hub's cache), {way_out}"
        ) from None


def _fetch_file(name: str, hub: HubFile) -> Path:
    """The file of a set that has a name here."""
    from huggingface_hub import hf_hub_download

    local = (
        f"or use a local copy with -T dataset=PATH (in a study, dataset: PATH) in place of {name}, "
        "or the bundled -T dataset=misconceptions"
    )
    return _fetch(hf_hub_download, hub.repo, hub.revision, hub.path, local, filename=hub.path)


def _fetch_folder(columns: Columns) -> Path:
    """The card and the data files of one config of a dataset of the hub, at one commit."""
    from huggingface_hub import DatasetCard, hf_hub_download, snapshot_download
    from huggingface_hub.errors import EntryNotFoundError

    repo, revision = columns.path, columns.revision or "main"
    files = f"{columns.name or 'data'}/*"
    local = (
        "or put it into a folder: hf download "
        f"{repo} --repo-type dataset --revision {revision} --include README.md '{files}' "
        "--local-dir FOLDER, and give path: FOLDER without revision"
    )
    wanted, patterns = f"README.md and {files}", None
    try:
        card = _fetch(hf_hub_download, repo, revision, wanted, local, filename="README.md")
        revision = card.parent.name
        for config in DatasetCard.load(card).data.to_dict().get("configs") or ():
            if config.get("config_name") == (columns.name or "default"):
                patterns = ["README.md", *_patterns(config.get("data_files") or ())]
    except (EntryNotFoundError, ValueError):  # no card, or one that says nothing
        pass
    return _fetch(snapshot_download, repo, revision, wanted, local, allow_patterns=patterns)


def _patterns(data_files: Any) -> list[str]:
    """The paths in the `data_files` of a dataset card, which may be nested in several ways."""
    if isinstance(data_files, str):
        return [data_files]
    if isinstance(data_files, Mapping):
        return _patterns(data_files.get("path") or list(data_files.values()))
    return [pattern for part in data_files for pattern in _patterns(part)]


def _reach(url: str) -> None:
    """Raise OSError within `NETWORK_TIMEOUT` seconds when no server answers at `url`."""
    request = urllib.request.Request(url, method="HEAD")
    with suppress(urllib.error.HTTPError):  # a server that refuses this page is there all the same
        urllib.request.urlopen(request, timeout=NETWORK_TIMEOUT).close()


def _binary() -> QuestionSet:
    """The authors' file, from the user's cache; only the 2025 release gets there."""
    path = user_cache_path("w2s-icl") / "TruthfulQA.csv"
    if path.exists():
        with suppress(W2SError):  # what an earlier version kept unchecked
            return _checked_binary(path)
    part = path.with_name("TruthfulQA.part.csv")
    try:
        with urllib.request.urlopen(TRUTHFULQA_CSV, timeout=NETWORK_TIMEOUT) as reply:
            content = reply.read()
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(content)
        loaded = _checked_binary(part)
        part.replace(path)
        return loaded
    except (OSError, http.client.HTTPException) as error:
        raise W2SError(
            f"dataset binary: cannot fetch {TRUTHFULQA_CSV} ({first_line(error)}). Fetch it where "
            "there is a network and use it with -T dataset=PATH/TruthfulQA.csv (in a study, "
            "dataset: PATH/TruthfulQA.csv)"
        ) from None
    finally:
        part.unlink(missing_ok=True)


def _checked_binary(path: Path) -> QuestionSet:
    loaded = QuestionSet("binary", TRUTHFULQA_CSV, tuple(questions_of(read_rows(path), BINARY)))
    if loaded.fingerprint != BINARY_SHA256:
        raise W2SError(
            f"dataset binary: {TRUTHFULQA_CSV} holds other questions than the 2025 release "
            f"(digest {loaded.fingerprint[:12]}, expected {BINARY_SHA256[:12]}). Use a copy "
            "of that release, or the new file under its own name, with -T dataset=PATH"
        )
    return loaded
