"""Where questions are read from: the hub, a folder in the hub's layout, or a file."""

import http.client
import logging
import re
import shlex
import urllib.error
import urllib.request
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from w2s_icl.errors import W2SError, first_line
from w2s_icl.evals.columns import BINARY, Columns, columns_of, questions_of, read_columns
from w2s_icl.evals.questions import QuestionSet
from w2s_icl.inputs import absolute, at_home
from w2s_icl.rows import Row, read_rows

# the authors' own file (2025 release), which `binary` reads; it has no numbered release, so the
# digest of its questions says which it is
TRUTHFULQA_CSV = "https://raw.githubusercontent.com/sylinrl/TruthfulQA/main/TruthfulQA.csv"
BINARY_SHA256 = "814e81017a70b5d5b0143843f30594b5194600337a2ade45a36ac738d9578259"

TRUTHFULQA = Columns(
    path="truthfulqa/truthful_qa", revision="741b8276f2d1982aa3d5b832d3ee81ed3b896490", rows=817
)
# a script-based dataset, which datasets >= 4 refuses: the hub's own parquet conversion of it
NOTEBOOK = Columns(path="EleutherAI/truthful_qa_mc", revision="refs/convert/parquet", rows=684)
ALL_CHOICES = ("multiple_choice/validation-00000-of-00001.parquet", TRUTHFULQA)
FOUR_CHOICES = ("multiple_choice/validation/0000.parquet", NOTEBOOK)
HUB_FILES = {"mc4": ALL_CHOICES, "mc1": ALL_CHOICES, "truthful_qa_mc": FOUR_CHOICES}
DATASETS = (*HUB_FILES, "binary", "misconceptions")  # anything else is a path
MISCONCEPTIONS = Path(__file__).parent / "data" / "misconceptions.jsonl"

HUB_ID = r"\w[\w.-]*/[\w.-]+"
NETWORK_TIMEOUT = 5.0


def load_questions(dataset: str = "mc4", *, seed: int = 42) -> QuestionSet:
    """Read a question set by name or path.

    A path is that of a `.yaml` file that maps columns (see `columns.Columns`); or of a folder in
    the hub's layout, or a file that `rows.read_rows` takes, with the columns `question`, `choices`
    and `label` (`id` and `category` optional) or those of TruthfulQA's own files. `seed` draws the
    three wrong options that `mc4` keeps.

    Raises:
        W2SError: The set is unknown, cannot be fetched, or holds a bad row.
    """
    if dataset in DATASETS:
        return _load(dataset, seed, MISCONCEPTIONS, None, ())
    path, columns = absolute(dataset), None
    if not path.exists():
        hint = "; a dataset of the hub needs a mapping file, see docs/questions.md"
        raise W2SError(
            f"dataset must be one of {', '.join(DATASETS)}, or the path of a mapping (.yaml), a "
            f"folder or a .jsonl, .json, .csv or .parquet file; got {dataset!r}, and there is no "
            f"{path}{hint if re.fullmatch(HUB_ID, dataset) else ''}"
        )
    name = str(path)
    if path.suffix in (".yaml", ".yml"):
        columns = read_columns(path)
        path = path.parent / at_home(columns.path)
    files = [path, *sorted(path.rglob("*"))]
    stamps = tuple((str(f), f.stat().st_mtime_ns, f.stat().st_size) for f in files if f.is_file())
    return _load(name, seed, path, columns, stamps)


@lru_cache(maxsize=8)  # what has changed has other stamps
def _load(
    dataset: str, seed: int, path: Path, columns: Columns | None, stamps: tuple[object, ...]
) -> QuestionSet:
    if dataset == "binary":
        return _binary()
    fetched = dataset in HUB_FILES or not path.exists()
    if dataset in HUB_FILES:
        named, where = HUB_FILES[dataset]
        files, n = [_fetch(where, [named]) / named], where.rows
        source = f"{where.path}@{where.revision}/{named}"
    elif columns and fetched:
        folder = _folder(dataset, columns)
        files, n = _data_files(folder, columns)
        source = " ".join(f"{columns.path}@{folder.name} {columns.name} {columns.split}".split())
    else:
        if columns and columns.revision:
            raise W2SError(f"{dataset}: revision is for the hub only, {path} is on this disk")
        files, n = _data_files(path, columns) if path.is_dir() else ([path], None)
        source = f"w2s_icl/evals/data/{path.name}" if path == MISCONCEPTIONS else str(path)
    rows: list[Row] = []
    for file in files:
        try:
            rows += read_rows(file)
        except W2SError as error:
            if not fetched:
                raise
            file.resolve().unlink(missing_ok=True)
            file.unlink(missing_ok=True)
            way_out = "run this again where the network lets the hub's own files through"
            raise W2SError(f"{error.message} (it is taken out of the cache: {way_out})") from None
    columns = columns or columns_of(rows[0].values)
    questions = questions_of(rows, columns.model_copy(update={"rows": columns.rows or n}))
    if dataset == "mc4":
        questions = [q.with_four_choices(seed) for q in questions if len(q.choices) >= 4]
    if len(questions) < 2:
        raise W2SError(f"{source}: {len(questions)} questions found; at least two are needed")
    return QuestionSet(dataset, source, tuple(questions))


def _data_files(path: Path, columns: Columns | None) -> tuple[list[Path], int | None]:
    """Data files of a folder in the hub's layout, as `datasets` finds them, and the card's count.

    The files are read by us: `datasets` would hand out rows from its cache, stale ones when a file
    has changed, and takes texts such as "None" for empty ones.
    """
    import datasets

    name, split = (columns.name, columns.split) if columns else ("", "")
    if any((path / name).exists() for name in ("state.json", "dataset_dict.json")):
        way_out = "read it with datasets.load_from_disk(PATH), write a split with to_parquet(FILE)"
        raise W2SError(f"{path}: was written by save_to_disk: {way_out}")
    try:
        configs = datasets.get_dataset_config_names(str(path))
        if columns and name and configs == ["default"] and (path / name).is_dir():  # no card
            return _data_files(path / name, columns.model_copy(update={"name": ""}))
        config = _one_of("name", configs, name, path, "multiple_choice")
        builder = datasets.load_dataset_builder(str(path), config)
    except (datasets.exceptions.DatasetsError, OSError, ValueError) as error:
        said = f"no data files of the hub's layout found ({first_line(error)})"
        raise W2SError(f"{path}: {said}") from None
    files = builder.config.data_files or {}
    split = _one_of("split", list(map(str, files)), split, path)
    known = (builder.info.splits or {}).get(split)
    return [Path(file) for file in files[split]], (known.num_examples or None) if known else None


def _one_of(key: str, there: list[str], named: str, path: Path, usual: str = "") -> str:
    """The config or split that is named, or the only one."""
    wanted = named or (there[0] if len(there) == 1 else usual)
    if wanted not in there:
        said = f"{path}: {key} must be one of {', '.join(there)}, got {named!r}"
        raise W2SError(f"{said}; a mapping file names it, see docs/questions.md")
    return wanted


def _folder(mapping: str, columns: Columns) -> Path:
    """The card and the data files of one config of a dataset of the hub, at one commit."""
    if not re.fullmatch(HUB_ID, columns.path):
        raise W2SError(
            f"{mapping}: path must be a file, a folder, or a dataset of the hub as owner/name; "
            f"there is no {Path(mapping).parent / at_home(columns.path)}"
        )
    config = f"{columns.name or 'data'}/*"
    folder = _fetch(columns, ["README.md", config])
    if not any(folder.glob(config)):  # the card says where its files are
        folder = _fetch(columns, ["*"])
    if columns.revision != folder.name:
        moves = f"revision {columns.revision or 'is not given and'} may change on the hub"
        pin = f"pin what is read now with revision: {folder.name}"
        logging.getLogger(__name__).warning(f"{mapping}: {moves}: {pin}")
    return folder


def _fetch(columns: Columns, wanted: list[str]) -> Path:
    """The folder in the hub's cache with files of a dataset, fetched where they are not there."""
    import huggingface_hub as hub
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    repo, revision = columns.path, columns.revision or "main"
    what: dict[str, Any] = {"repo_type": "dataset", "revision": revision, "allow_patterns": wanted}
    cached = None
    with suppress(LocalEntryNotFoundError):
        cached = Path(hub.snapshot_download(repo, **what, local_files_only=True))
        # of a pattern the cache may hold a part, which the hub's list shows
        if all((cached / name).exists() for name in wanted):
            return cached
    try:
        if not hub.constants.HF_HUB_OFFLINE:
            request = urllib.request.Request(hub.constants.ENDPOINT, method="HEAD")
            with suppress(urllib.error.HTTPError):  # a server that refuses this page is there
                urllib.request.urlopen(request, timeout=NETWORK_TIMEOUT).close()
        return Path(hub.snapshot_download(repo, **what, etag_timeout=NETWORK_TIMEOUT))
    except (OSError, HfHubHTTPError, ValueError) as error:
        if cached and any(any(cached.glob(name)) for name in wanted):
            return cached
        raise W2SError(
            f"cannot fetch {' and '.join(wanted)} of the dataset {repo} at revision {revision} "
            f"from the hub ({first_line(error)}). Where there is a network: hf download {repo} "
            f"--repo-type dataset --revision {revision} --include {shlex.join(wanted)}. It is then "
            "read from the hub's cache; with --local-dir FOLDER, give FOLDER with -T dataset=, or "
            "as path of the mapping without revision. -T dataset=misconceptions needs no network"
        ) from None


def _binary() -> QuestionSet:
    """The authors' file, from the user's cache; only the 2025 release stays there."""
    path = user_cache_path("w2s-icl") / "TruthfulQA.csv"
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(".part")
            with urllib.request.urlopen(TRUTHFULQA_CSV, timeout=NETWORK_TIMEOUT) as reply:
                part.write_bytes(reply.read())
            part.replace(path)
    except (OSError, http.client.HTTPException) as error:
        said = f"dataset binary: cannot fetch {TRUTHFULQA_CSV} ({first_line(error)})"
        way_out = "Fetch it where there is a network and use it as dataset, with its path"
        raise W2SError(f"{said}. {way_out}") from None
    try:
        loaded = QuestionSet("binary", TRUTHFULQA_CSV, tuple(questions_of(read_rows(path), BINARY)))
        if loaded.fingerprint != BINARY_SHA256:
            said = f"{TRUTHFULQA_CSV} holds other questions than the 2025 release"
            way_out = "Use a copy of that, or the new file under its own name, with -T dataset=PATH"
            raise W2SError(f"dataset binary: {said}. {way_out}")
    except W2SError:
        path.unlink(missing_ok=True)
        raise
    return loaded
