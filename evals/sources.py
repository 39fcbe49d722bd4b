"""Where questions are read from, the hub, a folder or a file, and which column holds what."""

import ast
import http.client
import json
import logging
import re
import shlex
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from string import ascii_uppercase
from typing import Any, Literal, NamedTuple

from platformdirs import user_cache_path
from pydantic import BaseModel, PositiveInt

from w2s_icl.errors import W2SError, checked, first_line, nearest
from w2s_icl.evals.questions import Question, QuestionSet
from w2s_icl.inputs import absolute, at_home, read_yaml
from w2s_icl.rows import Row, is_empty, read_rows


class Columns(BaseModel, extra="forbid", frozen=True):
    """Where a question set is, and which of its columns hold what: the keys of a mapping file.

    A column may be a path into a nested one, as `choices.text`.
    """

    path: str  # of the hub, as `cais/mmlu`; or a folder or file, relative to the mapping
    name: str = ""  # config, where there are several
    split: str = ""  # where the config has several
    revision: str = ""  # commit of the hub
    question: str | tuple[str, ...] = "question"  # several are joined by line breaks
    # a list, or texts with labels of their own as in ARC. Or several: columns with an option each,
    # or texts that are the options of all questions
    choices: str | tuple[str, ...] = "choices"
    label: str = "label"  # or a number: the place of the right option in all rows
    label_from: Literal["0", "1"] = "0"  # number of the first place
    id: str = ""  # the number of the row, from 0, where no column is named
    category: str = ""  # class of questions
    rows: PositiveInt | None = None  # how many there must be
    bad_rows: Literal["refuse", "drop"] = "refuse"  # "drop" leaves them out, and says which


# of TruthfulQA on the hub, and of the authors' own file
MC1 = Columns(path="", choices="mc1_targets.choices", label="mc1_targets.labels")
ANSWERS = ("Best Answer", "Best Incorrect Answer")
BINARY = Columns(path="", question="Question", choices=ANSWERS, label="0", category="Category")

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

    A path is that of a `.yaml` file that maps columns (see `Columns`); or of a folder in
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
        columns = checked(Columns, read_yaml(path, texts=True), f"{path}: ")
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


def columns_of(row: Mapping[str, Any]) -> Columns:
    """The columns of a file that no mapping describes."""
    binary = "Best Incorrect Answer" in row and "choices" not in row
    own = MC1 if "mc1_targets" in row else BINARY if binary else Columns(path="")
    return own.model_copy(update={name: name for name in ("id", "category") if name in row})


class _Item(NamedTuple):
    """A question, before it is known how the label's column names the right option."""

    where: str
    question: Question
    own: tuple[str, ...]  # the options' own labels
    label: Any


class _UnusableError(Exception):
    """Why a row cannot be used."""


def questions_of(rows: Sequence[Row], columns: Columns) -> list[Question]:
    """The questions of a set; what is wrong in a row is refused by file, line and id."""
    if columns.rows not in (None, len(rows)):
        file, reason = rows[0].place.split(":")[0], "the file is cut, or of another revision"
        counts = f"{len(rows)} rows were read, {columns.rows} must be there"
        raise W2SError(f"{file}: {counts}: {reason}")
    items: list[_Item] = []
    unusable: list[str] = []
    first_of: dict[str, str] = {}  # place by id
    for i, row in enumerate(rows):
        id_: int | str = i
        try:
            id_ = _id(_value(row.values, columns.id), i) if columns.id else i
            if (first := first_of.setdefault(str(id_), row.place)) != row.place:
                raise _UnusableError(f"stands in {first} already; ids must be different")
            items.append(_item(row, id_, columns))
        except _UnusableError as error:
            unusable.append(f"{row.place}, id {id_!r:.80}: {error}")
    first_place, own = int(columns.label_from), any(item.own for item in items)
    read = [(item, _places(item, first_place, own=own)) for item in items]
    way = _way(read)
    for item in (item for item, places in read if way not in places):
        last = len(item.question.choices) - 1
        further = f", one of {', '.join(item.own)}" if item.own else ""
        unusable.append(
            f"{item.where}: label must be a place from {first_place} to {last + first_place} "
            f"(key label_from), a letter from A to {ascii_uppercase[last]}, a choice's "
            f"text{further}, got {item.label!r:.80}"
        )
    if unusable and columns.bad_rows == "refuse":
        more = f" ({len(unusable) - 1} more rows cannot be used)" if len(unusable) > 1 else ""
        raise W2SError(unusable[0] + more)
    if unusable:
        told = f"bad_rows: drop leaves out {len(unusable)} of {len(rows)} rows: "
        logging.getLogger(__name__).warning(told + "; ".join(unusable[:3]))
    return [replace(item.question, gold=of[way]) for item, of in read if way in of]


def _value(row: Mapping[str, Any], column: str) -> Any:
    """What stands in a column, or at a path into it."""
    if column in row:
        return row[column]
    name, dot, inner = column.partition(".")
    if dot and name in row:
        if isinstance(nested := _parsed(row[name]), Mapping):
            return _value(nested, inner)
        raise _UnusableError(f"{name} must hold {inner}, got {row[name]!r:.80}")
    raise _UnusableError(f"no column {column}; {nearest(column, map(str, row))}")


def _id(value: Any, i: int) -> int | str:
    value = value.strip() if isinstance(value, str) else value
    if is_empty(value):
        return i
    if isinstance(value, bool | list | dict) or (isinstance(value, float) and value % 1):
        raise _UnusableError(f"id must be a whole number or a text, got {value!r:.80}")
    return int(value) if isinstance(value, float) else value


def _said(value: Any, column: str) -> str:
    """A cell as a text, "" where it is empty."""
    if isinstance(value, list | dict | bytes):
        raise _UnusableError(f"{column} must be a text, got {value!r:.80}")
    return "" if is_empty(value) else str(value).strip()


def _item(row: Row, id_: int | str, columns: Columns) -> _Item:
    values = row.values
    asked = (columns.question,) if isinstance(columns.question, str) else columns.question
    texts = [_said(_value(values, column), column) for column in asked]
    if "" in texts:
        raise _UnusableError(f"{asked[texts.index('')]} must not be empty")
    choices, own = _choices(values, columns)
    if not 2 <= len(choices) <= len(ascii_uppercase) or "" in choices:
        raise _UnusableError(f"2 to 26 choices with a text are needed, got {choices!r:.120}")
    if twice := [choice for choice in choices if choices.count(choice) > 1]:
        raise _UnusableError(f"choices must be different, {twice[0]!r:.80} stands there twice")
    fixed = columns.label not in values and columns.label.isdecimal()
    label = int(columns.label) if fixed else _value(values, columns.label)
    category = _said(_value(values, columns.category), "category") if columns.category else ""
    question = Question(id_, "\n".join(texts), tuple(choices), gold=-1, category=category)
    return _Item(f"{row.place}, id {id_!r:.80}", question, tuple(own), label)


def _choices(values: Mapping[str, Any], columns: Columns) -> tuple[list[str], list[str]]:
    """The options of a row, and their own labels where they have some."""
    named = columns.choices
    if not isinstance(named, str):
        near = [name for name in named if get_close_matches(name, map(str, values), cutoff=0.75)]
        if near or any(name.partition(".")[0] in values for name in named):
            return [_said(_value(values, name), name) for name in named], []
        return list(named), []
    given = _parsed(_value(values, named))
    own: Any = ()
    if isinstance(given, list) and given and all(isinstance(c, Mapping) for c in given):
        given = {key: [option.get(key) for option in given] for key in ("text", "label")}
    if isinstance(given, Mapping) and "text" in given:
        given, own = given["text"], given.get("label") or ()
    if not isinstance(given, list):
        raise _UnusableError(f"{named} must be a list of texts, got {given!r:.120}")
    if own and len(own) != len(given):
        raise _UnusableError(f"{named} has {len(given)} texts and {len(own)} labels")
    return [_said(c, named) for c in given], [_said(c, named) for c in own]


def _parsed(value: Any) -> Any:
    """A list or an object, also from a cell of a CSV file: as JSON, Python or numpy print it."""
    if not isinstance(value, str) or value.strip()[:1] not in ("[", "{"):
        return value
    with suppress(ValueError, RecursionError):
        return json.loads(value)
    literal = r"""(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")"""  # a text as Python prints it
    texts = re.findall(literal, value, re.DOTALL)
    if re.fullmatch(rf"\[\s*{literal}(\s+{literal})*\s*\]", value.strip(), re.DOTALL):
        return [ast.literal_eval(text) for text in texts]
    try:
        read = ast.literal_eval(value.strip())
    except Exception:  # of many kinds
        raise _UnusableError(f"is not a list as JSON writes it: {value!r:.80}") from None
    # Python joins neighbouring texts: a comma that is missing would join two options
    if isinstance(read, list) and len(texts) > len(read):
        raise _UnusableError(f"a comma is missing between texts: {value!r:.80}")
    return read


def _places(item: _Item, first: int, *, own: bool) -> dict[str, int]:
    """Place of the right option by each way in which the label can be read.

    A place is a number, a truth value of two options, or a list with a single 1. Where options
    have labels of their own, these come before letters, and nothing else is read.
    """
    label, choices = item.label, item.question.choices
    n, said = len(choices), str(label).strip()
    letter = ascii_uppercase.find(said.upper()) if len(said) == 1 else None
    if own:
        found = {"own label": item.own.index(said) if item.own.count(said) == 1 else letter}
    else:
        found = {"letter": letter, "text": choices.index(said) if said in choices else None}
        if number := re.fullmatch(r"(\d+)(\.0)?", said):
            found["place"] = int(number[1]) - first
        elif isinstance(label, list) and len(label) == n and label.count(1) == 1:
            found["place"] = label.index(1)
        elif n == 2 and said.lower() in ("false", "true"):
            found["place"] = int(said.lower() == "true")
    return {way: place for way, place in found.items() if place is not None and 0 <= place < n}


def _way(read: Sequence[tuple[_Item, Mapping[str, int]]]) -> str:
    """The way to read the label that holds for the whole file: "2" may be a place or a text."""
    ways = ("place", "letter", "text", "own label")
    fits = [way for way in ways if all(way in places for _, places in read)]
    for item, places in read:
        if len({places[way] for way in fits}) > 1:
            among = f"{' or a '.join(fits)} of the choices {list(item.question.choices)!r:.120}"
            said = f"{item.where}: label {item.label!r:.40} may be a {among}"
            raise W2SError(f"{said}, here and in all rows: write labels as letters")
    return max(ways, key=lambda way: sum(way in places for _, places in read))
