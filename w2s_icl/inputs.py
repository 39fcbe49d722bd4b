"""What a user names on the command line: files, the log directory, settings of a run.

`inspect eval` makes a task before it says where logs go. It is a click program, so click tells.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import click
import yaml

from w2s_icl.errors import W2SError

_LOG_DIR: ContextVar[str] = ContextVar("log_dir", default="")


def _option(name: str) -> Any:
    """Value of an option of the command that is running, None where there is none."""
    context = click.get_current_context(silent=True)
    return context.params.get(name) if context else None


def given_settings(names: Iterable[str]) -> dict[str, Any]:
    """Those settings of a model's calls that the command line names, as `--temperature`."""
    return {name: value for name in names if (value := _option(name)) is not None}


def at_home(text: str | Path) -> Path:
    """A path with "~" as the home folder; "~nobody" stays as it is."""
    return Path(os.path.expanduser(text))  # noqa: PTH111 - Path's raises for ~nobody


def absolute(text: str | Path) -> Path:
    """The path of a file, relative to the directory in which the command was typed."""
    here = Path.cwd()  # `inspect eval evals/truthfulqa.py` makes the task in that file's folder
    for spec in _option("tasks") or ():
        inner = Path(os.path.normpath(str(spec).partition(".py")[0])).parent.parts
        if ".py" in str(spec) and inner and here.parts[-len(inner) :] == inner:
            here = Path(*here.parts[: -len(inner)])
            break
    return Path(os.path.normpath(here / at_home(text)))


@contextmanager
def logs_in(log_dir: str) -> Iterator[None]:
    """Say where logs are, for as long as a task is being made."""
    token = _LOG_DIR.set(log_dir)
    try:
        yield
    finally:
        _LOG_DIR.reset(token)


def log_directory() -> str:
    """Absolute address of the logs: as `logs_in` says, `--log-dir`, INSPECT_LOG_DIR or `./logs`."""
    named = _LOG_DIR.get() or _option("log_dir") or os.environ.get("INSPECT_LOG_DIR") or "logs"
    return str(named) if "://" in str(named) else str(absolute(named))


class _Loader(yaml.SafeLoader):
    """YAML in which no key stands twice."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        names = [str(key.value) for key, _ in node.value]
        for i, (key, _) in enumerate(node.value):
            if names[i] in names[:i]:
                line = key.start_mark.line + 1
                raise yaml.YAMLError(f"line {line}: the key {names[i]} stands there twice")
        return super().construct_mapping(node, deep)


class _Texts(_Loader):
    """Every value as it is written: `no` is a text, and so is the commit 0123."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - as its base class has it


def _nodes(node: Any) -> Iterator[Any]:
    """A YAML node and all that it holds, aliases written out; no end where it holds itself."""
    waiting = [node]
    while waiting:
        yield (node := waiting.pop())
        for part in node.value if isinstance(node, yaml.CollectionNode) else ():
            waiting += part if isinstance(part, tuple) else (part,)


def read_yaml(path: Path, *, texts: bool = False) -> dict[Any, Any]:
    """Keys and values of a YAML file, with `texts` all as texts; W2SError where it holds none."""
    try:
        loader = (_Texts if texts else _Loader)(path.read_text("utf-8"))
        node = loader.get_single_node()
        if node and any(n > 10_000 for n, _ in enumerate(_nodes(node))):
            raise ValueError("its aliases (*name) stand for more than 10,000 values")
        content = loader.construct_document(node) if node else None
    except OSError as error:
        raise W2SError(f"{path}: cannot be read: {error.strerror}") from None
    except Exception as error:  # also what a tag or a number of 5,000 digits makes the reader raise
        raise W2SError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise W2SError(f"{path}: must hold keys and values, as `models: [...]`")
    return content


# names of arguments that hold a key
SECRET_NAME = re.compile(
    r"api[_-]?key|auth(?!or)|password|passwd|secret|credential|cookie|(^|[_-])token$", re.IGNORECASE
)
# names of arguments that hold as many letters and digits as a key does
NO_SECRET = re.compile(r"revision|commit|sha|hash|digest|checksum", re.IGNORECASE)
# beginnings of the keys of known providers, and an address with a password
KNOWN_KEY = re.compile(
    r"(?<!\w)(?:(?:Bearer|Basic) +\S|(?:sk|pk|rk)-\w|(?:gsk|hf|ghp|gho|r8|github_pat)_\w{8}|"
    r"(?:xai|nvapi|glpat|xox[abp])-\w{8}|AKIA[A-Z0-9]{12}|AIza\w{20}|eyJ\w{16})|"
    r"://[^/@\s]*:[^/@\s]+@"
)
# twenty letters and digits without a break, or a UUID
LIKE_KEY = re.compile(
    r"(?<![0-9A-Za-z])(?:(?=[A-Za-z]*\d)(?=\d*[A-Za-z])[0-9A-Za-z]{20,}|"
    r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"
)


def secret_in(args: Any, path: str = "") -> str:
    """Where in a study, or in arguments, a key or a password stands; "" where there is none.

    By its name (`X-Custom-Auth`) or by its shape (`sk-...`). A path or a hash may look like a key:
    what stands under another name than an argument's is held against known shapes only.
    """
    if isinstance(args, str):
        name = path.rpartition(".")[2]
        argument = path.startswith(("model_args.", "generate.")) and not NO_SECRET.search(name)
        shape = KNOWN_KEY.search(args) or (argument and "/" not in args and LIKE_KEY.search(args))
        return path if shape or (argument and SECRET_NAME.search(name)) else ""
    items = dict(enumerate(args)) if isinstance(args, list | tuple) else args
    inner = items.items() if isinstance(items, Mapping) else ()
    places = (secret_in(value, f"{path}.{name}".lstrip(".")) for name, value in inner)
    return next(filter(None, places), "")
