"""The arrows of the design: who may import whom, and that imports do nothing."""

import ast
import doctest
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import w2s_icl

ROOT = Path(__file__).parents[1]
ALLOWED = {
    "solvers": {"solvers"},
    "scorers": {"scorers"},
    "analysis": {"analysis"},
    "evals": {"evals", "solvers", "scorers"},
}
MODULES = sorted(m.name for m in pkgutil.walk_packages(w2s_icl.__path__, "w2s_icl.") if not m.ispkg)


@pytest.mark.parametrize("part", ALLOWED)
def test_packages_import_only_what_the_design_allows(part: str) -> None:
    for path in (ROOT / part).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path.name} has a relative import"
                names = [node.module or ""]
                if node.module == "w2s_icl":
                    names = [f"w2s_icl.{alias.name}" for alias in node.names]
            for name in names:
                if name.startswith("w2s_icl."):
                    allowed = ALLOWED[part] | {"record", "errors", "words", "inputs", "rows"}
                    assert name.split(".")[1] in allowed, f"{path.name} imports {name}"


def test_only_the_command_line_knows_both_halves() -> None:
    both = {
        path.name
        for path in (ROOT / "w2s_icl").glob("*.py")
        if "w2s_icl.analysis" in (text := path.read_text("utf-8")) and "w2s_icl.evals" in text
    }
    assert both - {"__init__.py"} == {"cli.py"}


@pytest.mark.parametrize("module", MODULES)
def test_docstring_examples_hold(module: str) -> None:
    failed, _ = doctest.testmod(importlib.import_module(module))
    assert failed == 0


def test_importing_opens_reads_and_makes_nothing(tmp_path: Path) -> None:
    code = (
        "import sys, importlib\n"
        "seen = []\n"
        "def hook(event, args):\n"
        "    if event == 'socket.connect' or event == 'os.mkdir': seen.append((event, args))\n"
        "    if event == 'open' and isinstance(args[1], str) and set(args[1]) & set('wax+'):\n"
        "        seen.append((event, args)) if '__pycache__' not in str(args[0]) else None\n"
        f"names = {MODULES!r}\n"
        "import inspect_ai, pandas, scipy.stats, matplotlib.figure, datasets\n"
        "sys.addaudithook(hook)\n"
        "[importlib.import_module(n) for n in names]\n"
        "print(seen, 'matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[] False\n"
