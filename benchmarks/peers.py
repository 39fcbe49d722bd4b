"""What a study costs the client, beside lm-evaluation-harness and inspect_evals.

    python benchmarks/peers.py lm-eval          # 64 demonstrations and zero-shot
    python benchmarks/peers.py inspect-evals    # zero-shot TruthfulQA

Every side asks the same questions of the same server (benchmarks/server.py, in a process of its
own) by its own command line, in a process of its own, one after the other. `study` is `w2s run`.
lm-eval gets the study's cells as its tasks and sends the very same messages, which is checked.
inspect-evals keeps its own prompt, its own scorer and Inspect's defaults; `inspect eval` is the
project's `w2s_icl/zero_shot` under the same command and defaults.

A side is run on a few questions, twice, and on all of them: the second run on a few is its start,
once the files are in the page cache, and the difference to all is what its calls cost. CPU is of
the whole process. Look at the ratios, not at the seconds. The peers are installed by pip into
folders of `.venv-peers` at the first run.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from server import serving, stats

from w2s_icl.evals.cells import Cell, all_cells
from w2s_icl.evals.questions import Split
from w2s_icl.evals.study import Study
from w2s_icl.solvers.few_shot import Prompt, question_text

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
PEERS = {
    "lm-eval": ("lm-eval[api]==0.4.13",),
    # the same Inspect and SDK below both sides
    "inspect-evals": (
        "inspect-evals==0.26.0",
        f"inspect-ai=={version('inspect-ai')}",
        f"openai=={version('openai')}",
    ),
}
MODEL = "model-a"
FEW = 8
"""Questions of the run that shows what the start costs."""


def peer_bin(peer: str) -> Path:
    """Folder of a peer's commands, in an environment of its own that is made when missing."""
    home = (
        ROOT
        / ".venv-peers"
        / "_".join(w.replace("[api]", "").replace("==", "-") for w in PEERS[peer])
    )
    done = home / ".installed"
    if not done.exists():
        print(f"installing {', '.join(PEERS[peer])} into {home.relative_to(ROOT)}", flush=True)
        venv.create(home, with_pip=True, clear=True)
        pip = [str(home / "bin" / "python"), "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, "--disable-pip-version-check", *PEERS[peer]], check=True)
        done.touch()
    return home / "bin"


@dataclass(frozen=True)
class Run:
    """One run of one side: where, on what, with how many calls at once."""

    folder: Path
    study: Study
    limit: int
    url: str

    @property
    def split(self) -> Split:
        """Test and pool."""
        return self.study.load_split()

    def w2s(self) -> list[str]:
        """`w2s run`, with the connections set."""
        study = self.study.model_copy(update={"max_connections": self.limit})
        path = self.folder / "study.yaml"
        path.write_text(study.model_dump_json(exclude_defaults=True), "utf-8")  # JSON is YAML
        return [str(BIN / "w2s"), "run", str(path), "--log-dir", str(self.folder / "logs")]

    def zero_shot(self) -> list[str]:
        """`inspect eval` on the project's task, with Inspect's defaults."""
        args = {"dataset": self.study.dataset, "test_size": self.study.test_size}
        words = [f"{name}={value}" for name, value in args.items()]
        words.append("near_duplicates=keep")
        return [*self._inspect(BIN, "w2s_icl/zero_shot"), *(w for t in words for w in ("-T", t))]

    def inspect_evals(self, peer: Path) -> list[str]:
        """`inspect eval` on the peer's task, with its defaults."""
        # `datasets` takes a folder in the hub's layout, where the process runs, for the hub's
        repository = self.folder / "truthfulqa" / "truthful_qa"
        (repository / "multiple_choice").mkdir(parents=True)
        rows = []
        for sample in self.split.test:
            right = "ABCDEFGHIJKLMNOPQRSTUVWXYZ".index(str(sample.target))
            choices = list(sample.choices or [])
            labels = [int(i == right) for i in range(len(choices))]
            targets = {"choices": choices, "labels": labels}
            rows.append({"question": sample.input, "mc1_targets": targets, "mc2_targets": targets})
        pq.write_table(
            pa.Table.from_pylist(rows),
            repository / "multiple_choice" / "validation-00000-of-00001.parquet",
        )
        files = [{"split": "validation", "path": "multiple_choice/validation-*"}]
        header = {"configs": [{"config_name": "multiple_choice", "data_files": files}]}
        (repository / "README.md").write_text(f"---\n{json.dumps(header)}\n---\n", "utf-8")
        return self._inspect(peer, "inspect_evals/truthfulqa")

    def lm_eval(self, peer: Path) -> list[str]:
        """The harness, on one task for each cell of the study."""
        names = []
        for cell in all_cells(self.study, self.split):
            names.append(f"w2s_k{cell.shots:02d}_d{cell.draw}")
            task = self._harness_task(names[-1], cell)
            (self.folder / f"{names[-1]}.yaml").write_text(json.dumps(task), "utf-8")
        model = {
            "model": MODEL,
            "base_url": f"{self.url}/chat/completions",
            "num_concurrent": self.limit,
            "tokenizer_backend": None,
        }
        command = [str(peer / "lm_eval"), "run", "--model", "local-chat-completions"]
        command += ["--model_args", ",".join(f"{name}={value}" for name, value in model.items())]
        command += ["--include_path", str(self.folder), "--tasks", ",".join(names)]
        command += ["--apply_chat_template", "--fewshot_as_multiturn", "true"]
        return [*command, "--log_samples", "--output_path", str(self.folder / "out")]

    def _harness_task(self, name: str, cell: Cell) -> dict[str, Any]:
        files = {}
        shown = self.split.draw(cell.draw)[: cell.shots]
        # the harness wants a split to draw from even where it draws nothing
        for part, samples in (("train", shown or self.split.pool), ("test", self.split.test)):
            rows = [
                {"prompt": question_text(str(s.input), s.choices or []), "letter": s.target}
                for s in samples
            ]
            path = self.folder / f"{name}.{part}.jsonl"
            path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
            files[part] = str(path)
        return {
            "task": name,
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": files},
            "training_split": "train",
            "fewshot_split": "train",
            "test_split": "test",
            "output_type": "generate_until",
            "description": Prompt().system_message(),
            "doc_to_text": "prompt",
            "doc_to_target": "letter",
            "num_fewshot": cell.shots,
            "fewshot_config": {"sampler": "first_n"},
            "generation_kwargs": {"max_gen_toks": 16, "temperature": 0, "until": []},
            "metric_list": [
                {"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}
            ],
        }

    def _inspect(self, folder: Path, task: str) -> list[str]:
        command = [str(folder / "inspect"), "eval", task, "--model", f"openai-api/local/{MODEL}"]
        return [*command, "--log-dir", str(self.folder / "logs")]


def measure(side: str, study: Study, args: argparse.Namespace, peer: Path) -> dict[str, Any]:
    """One run of one side, in a process and with a server of its own."""
    with (
        tempfile.TemporaryDirectory() as name,
        serving(latency=args.latency, limit=args.limit, record=f"{name}/bodies") as url,
    ):
        folder = Path(name)
        run = Run(folder, study, args.limit, url)
        command = {
            "study": run.w2s,
            "inspect eval": run.zero_shot,
            "lm-eval": partial(run.lm_eval, peer),
            "inspect-evals": partial(run.inspect_evals, peer),
        }[side]()
        environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("INSPECT_")},
            "OPENAI_API_KEY": "x",
            "LOCAL_API_KEY": "x",
            "LOCAL_BASE_URL": url,
            "HF_HOME": f"{name}/hf",  # nothing is fetched, nothing is left behind
            "HF_HUB_OFFLINE": "1",
            "XDG_CACHE_HOME": f"{name}/cache",
        }
        start = time.perf_counter()
        with (folder / "output").open("wb") as output:
            process = subprocess.Popen(
                command, cwd=folder, env=environment, stdout=output, stderr=output
            )
            _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        calls = stats(url)["answered"]
        if status or calls == 0:
            said = (folder / "output").read_text("utf-8", "replace")
            raise SystemExit(f"{side}: status {status} after {calls} calls\n{said}")
        return {
            "wall": wall,
            "cpu": usage.ru_utime + usage.ru_stime,
            "mb": usage.ru_maxrss / 1024,
            "calls": calls,
            "prompts": sorted(prompts(folder / "bodies")),
        }


def prompts(bodies: Path) -> Iterator[str]:
    """The messages of every call that the server has got."""
    for line in bodies.read_bytes().splitlines():
        yield json.dumps([[m["role"], m["content"]] for m in json.loads(line)["messages"]])


def main() -> None:
    """Measure one peer, print a line per side and the ratios of `study` to it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("--dataset", default="misconceptions", help="as in a study")
    parser.add_argument("--questions", type=int, help="asked in each cell")
    parser.add_argument("--draws", type=int, default=4, help="cells of 64 demonstrations (lm-eval)")
    parser.add_argument("--latency", type=float, default=0.5, help="of the server, seconds")
    parser.add_argument("--limit", type=int, default=150, help="calls at once")
    args = parser.parse_args()
    if args.questions is not None and args.questions <= FEW:
        parser.error(f"--questions must be more than {FEW}, got {args.questions}")
    if Path(args.dataset).exists():  # the sides run in folders of their own
        args.dataset = str(Path(args.dataset).absolute())
    peer = peer_bin(args.peer)
    few_shot = args.peer == "lm-eval"
    sides = ["lm-eval", "study"] if few_shot else ["inspect-evals", "inspect eval", "study"]
    study = partial(
        Study,
        name="peers",
        dataset=args.dataset,
        models=(f"openai-api/local/{MODEL}",),
        labels=("gold",),
        shots=(64,) if few_shot else (0,),
        draws=args.draws if few_shot else 1,
        near_duplicates="keep",
    )
    sizes = (FEW, args.questions or (150 if few_shot else 254))
    taken = {side: [measure(side, study(test_size=n), args, peer) for n in sizes] for side in sides}
    print(
        f"{', '.join(PEERS[args.peer])}; {args.dataset}, {sizes[1]} questions a cell, "
        f"{args.latency} s, {args.limit} calls at once"
    )
    if few_shot:
        same = all(a["prompts"] == b["prompts"] for a, b in zip(*taken.values(), strict=True))
        if not same:
            raise SystemExit("the sides did not send the same messages: no comparison")
        print("both sides sent the same messages")
    print(
        f"  {'':<13} calls | start s  CPU s | wall s  CPU s   MB | ms CPU a call "
        "| study: wall    CPU  a call"
    )

    def cost(side: str) -> dict[str, float]:
        start, whole = taken[side]
        calls, spent = whole["calls"] - start["calls"], whole["cpu"] - start["cpu"]
        # with few questions the calls cost less than starts differ
        return {**whole, "a call": 1000 * spent / calls if spent > 0 else math.nan}

    ours = cost("study")
    for side, (start, _) in taken.items():
        it = cost(side)
        wall, cpu, call = (ours[name] / it[name] for name in ("wall", "cpu", "a call"))
        print(
            f"  {side:<13} {it['calls']:>5} | {start['wall']:>7.1f} {start['cpu']:>6.1f} "
            f"| {it['wall']:>6.1f} {it['cpu']:>6.1f} {it['mb']:>4.0f} | {it['a call']:>13.1f} "
            f"| {wall:>11.2f} {cpu:>6.2f} {call:>7.2f}"
        )


if __name__ == "__main__":
    main()
