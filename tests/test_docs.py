"""Every command, program and study file of the README and the docs runs, or stands in `NOT_RUN`."""

import csv
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from inspect import signature
from pathlib import Path

import pandas as pd
import pytest
import yaml
from inspect_ai.log import list_eval_logs, read_eval_log

from tests.conftest import script
from tests.evals.sweep.openai_server import OpenAIServer
from w2s_icl.cli import main
from w2s_icl.evals.questions import load_split
from w2s_icl.evals.sources import Columns
from w2s_icl.evals.study import load_study
from w2s_icl.evals.truthfulqa import few_shot, zero_shot
from w2s_icl.inputs import read_yaml

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

NOT_RUN = {
    "make ": "installs; .ci/run runs it in a fresh clone",
    "pip install": "needs a registry",
    ". .venv/": "the test's own environment is active",
    "inspect view": "serves until it is stopped",
    "vllm serve": "needs vLLM",
    "llama-server": "needs llama.cpp",
    "ollama ": "needs Ollama",
    "vllm/": "needs a vLLM server; test_http.py has a server with its behaviour",
    "--batch": "tests/evals/sweep/test_batch.py runs it against a server that takes batches",
    "ray start": "needs machines; test_shards.py has a cluster of its own",
    "s3://bucket": "needs a store; tests/evals/sweep/test_shards.py has a store of its own",
    "/shared/": "needs Slurm",
    "import notebook": "needs the recorded files; test_results.py imports them",
    "demonstrations.csv": "needs the recorded files; test_results.py imports them",
    "w2s compare": "tests/analysis/test_compare.py compares directories that it makes",
    "logs/a": "needs the recorded files; test_results.py imports them",
}
"""What a command holds that is only parsed here, and why it is not run."""

STUDY = "models: [simulated/small, simulated/large]\nshots: [0, 2]\n"
SMALL = "dataset: misconceptions\ntest_size: 8\n"
# the questions of the hub are not there: the commands ask the bundled ones
BUNDLED = ["-T", "dataset=misconceptions", "-T", "test_size=8", "--display", "none"]


def blocks(page: Path, *languages: str) -> list[str]:
    found = BLOCK.findall(page.read_text("utf-8"))
    return [text for language, text in found if language in languages]


def commands(page: Path) -> Iterator[str]:
    for block in blocks(page, "sh", "bash"):
        yield from filter(None, block.replace("\\\n", " ").splitlines())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_have_the_options_they_name(page: Path) -> None:
    text = page.read_text("utf-8")
    languages = {language for language, _ in BLOCK.findall(text)}
    assert languages <= {"sh", "bash", "python", "yaml", "text"}
    assert not re.search(r"\n\n {4}(?:w2s|inspect|export|make|pip)\b", text)
    for command in commands(page):
        plain = command.replace("$SLURM_ARRAY_TASK_ID", "1").split(" > ")[0]
        words = shlex.split(plain, comments=True)
        if words[:1] == ["w2s"]:
            main.commands[words[1]].make_context(words[1], words[2:])
        if words[:2] == ["inspect", "eval"]:
            task = {"w2s_icl/few_shot": few_shot, "w2s_icl/zero_shot": zero_shot}[words[2]]
            named = re.findall(r" -T (\w+)=", command)
            assert set(named) <= set(signature(task).parameters)


def follow(line: str, shell: pytest.MonkeyPatch) -> None:
    """Do in this process what a shell would: set variables, or call a command's script."""
    words = shlex.split(os.path.expandvars(line), comments=True)
    if not words:
        return
    if words[0] == "export" or "=" in words[0]:
        for name, _, value in (word.partition("=") for word in words if word != "export"):
            shell.setenv(name, value)
        return
    *words, file = words if ">" in words else [*words, ""]
    words = ["misconceptions" if word == "mc4" else word for word in words if word != ">"]
    done = script(*words, *(BUNDLED if words[0] == "inspect" else ()))
    assert done.code == 0, f"{line}\n{done.out}\n{done.err}"
    if file:
        Path(file).write_text(done.out, "utf-8")


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [p for p in PAGES if blocks(p, "sh", "bash")], ids=lambda page: page.stem
)
def test_commands_run_in_their_order(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = load_split("misconceptions", test_size=8)
    every = [*split.test, *split.pool, *split.barred]
    for name in ("STUDY", "truthfulqa", "controls", "local.yaml"):
        (tmp_path / name).write_text(STUDY + SMALL)
    for name, part in (("votes.csv", split.pool), ("answers.csv", split.test)):
        with (tmp_path / name).open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["question", "label" if part is split.pool else "answer", "model"])
            rows.writerows([s.id, "A", "made/up-7b"] for s in part)
    questions = [{"question": s.input, "choices": s.choices, "label": 0} for s in every]
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("INSPECT_LOG_DIR")
    with OpenAIServer(questions, unreadable=0) as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        for line in commands(page):
            if not any(word in line for word in NOT_RUN):
                follow(line, monkeypatch)
    for info in list_eval_logs(str(tmp_path)):
        log = read_eval_log(info, header_only=True)
        assert log.status == "success", f"{log.eval.task}: {log.error}"
    if page.stem == "README":
        cells = pd.read_csv(tmp_path / "report" / "real" / "cells.csv")
        runs = ["acc_weak", "acc_strong0", "acc_w2s", "acc_gold"]
        assert cells[cells["shots"] == 16][runs].notna().all(axis=None)


@pytest.mark.slow
@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "python")], ids=lambda p: p.stem)
def test_programs_run(page: Path, tmp_path: Path) -> None:
    for program in blocks(page, "python"):
        (tmp_path / "mine.py").write_text(program)
        subprocess.run([sys.executable, "mine.py"], cwd=tmp_path, check=True, timeout=120)


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "yaml")], ids=lambda p: p.stem)
def test_studies_are_read(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text("".join(blocks(page, "python")))
    for i, text in enumerate(blocks(page, "yaml")):
        said, path = yaml.safe_load(text), tmp_path / f"{i}.yaml"
        if "path" in said:  # the columns of a question set
            path.write_text(text)
            said = read_yaml(path, texts=True)
            assert Columns.model_validate(said).path == said["path"]
            continue
        models = [*said.get("model_args", ()), "openai/gpt-4o-mini"]
        path.write_text(yaml.safe_dump({"models": models, **said}))
        assert load_study(path).models
