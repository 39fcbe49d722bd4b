"""Time and memory of `w2s report` beside the plain `samples_df` reading of the same logs.

    python benchmarks/report_speed.py                      # 60 x 200 and 250, 500, 1,000 x 817
    python benchmarks/report_speed.py --logs 60 --questions 200

One real log is made with a stand-in model; the others are that log with other answers and another
cell in the header. They hold no transcripts, which neither reader opens. Each measurement is a
process of its own; look at the ratios, not at the seconds.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from inspect_ai import eval

from w2s_icl.evals.truthfulqa import few_shot

SIZES = ((60, 200), (250, 817), (500, 817), (1000, 817))
MODELS = [f"openrouter/maker/model-{i}" for i in range(8)]
PLAIN = """
import sys
from inspect_ai.analysis import samples_df
from inspect_ai.log import list_eval_logs
samples_df(list_eval_logs(sys.argv[1]), quiet=True)
"""


def template(folder: Path, questions: int) -> Path:
    """A real few-shot log on so many questions."""
    source = folder / "questions.jsonl"
    rows = [
        {
            "question": f"What is thing{i}a of place{i}b?",
            "choices": [f"answer {i} {c}" for c in "wxyz"],
            "label": i % 4,
        }
        for i in range(questions + 70)
    ]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    task = few_shot(labels="gold", shots=64, dataset=str(source), test_size=questions)
    (log,) = eval(task, "simulated/large", log_dir=str(folder / "template"), display="none")
    return Path(log.location)


def cells() -> Iterator[dict[str, Any]]:
    """A study of eight models, all pairs, six shot counts and four draws."""
    zero = {"task": "zero_shot", "labels": "", "weak": None, "shots": 0, "draw": 0}
    for model in MODELS:
        yield {"model": model, **zero}
    for draw in range(4):
        for shots in (2, 4, 8, 16, 32, 64):
            for i, model in enumerate(MODELS):
                cell = {"model": model, "task": "few_shot", "shots": shots, "draw": draw}
                yield {**cell, "labels": "gold", "weak": None}
                for weak in MODELS[: i + 1]:
                    yield {**cell, "labels": "weak", "weak": weak}


def write_logs(source: Path, folder: Path, n: int) -> None:
    """So many logs, each a cell of its own."""
    with zipfile.ZipFile(source) as archive:
        header = json.loads(archive.read("header.json"))
        summaries = json.loads(archive.read("summaries.json"))
    rng = random.Random(0)
    folder.mkdir()
    for number, cell in zip(range(n), cells(), strict=False):
        metadata = header["eval"]["metadata"]
        metadata.pop("warning", None)
        shown = metadata["demo_ids"]
        metadata |= {k: v for k, v in cell.items() if k != "model"}
        header["eval"] |= {"model": cell["model"], "eval_id": f"eval{number}"}
        header["eval"] |= {"task_id": f"task{number}", "run_id": f"run{number}"}
        accuracy = 0.5 + 0.05 * MODELS.index(cell["model"]) + 0.01 * cell["shots"] ** 0.5
        for sample in summaries:
            score = sample["scores"]["letter"]
            right = rng.random() < accuracy
            wrong = rng.choice([c for c in "ABCD" if c != sample["target"]])
            score["answer"] = sample["target"] if right else wrong
            score["value"] = "C" if right else "I"
            sample["uuid"] = f"{number}-{sample['id']}"
        cut = metadata | {"demo_ids": shown[: cell["shots"]]}
        path = folder / f"2026-01-01T00-00-00-00-00_cell_{number:05d}.eval"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            whole = header | {"eval": header["eval"] | {"metadata": cut}}
            archive.writestr("header.json", json.dumps(whole))
            archive.writestr("summaries.json", json.dumps(summaries))


def measure(*command: str) -> tuple[float, float, float]:
    """Wall seconds, CPU seconds and peak memory in MB of a process of its own."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{command[0]} failed with status {status}")
    wall = time.perf_counter() - start
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main() -> None:
    """Measure each size and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--logs", type=int)
    parser.add_argument("--questions", type=int)
    options = parser.parse_args()
    sizes = ((options.logs, options.questions or 200),) if options.logs else SIZES
    print("logs questions | report s  CPU s     MB | samples_df s  CPU s     MB | CPU ratio")
    for n, questions in sizes:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            logs = folder / "logs"
            write_logs(template(folder, questions), logs, n)
            w2s = str(Path(sys.executable).with_name("w2s"))
            ours = measure(w2s, "report", str(logs), "--out", str(folder / "out"))
            plain = measure(sys.executable, "-c", PLAIN, str(logs))
        print(
            f"{n:>4} {questions:>9} | {ours[0]:>8.1f} {ours[1]:>6.1f} {ours[2]:>6.0f} "
            f"| {plain[0]:>12.1f} {plain[1]:>6.1f} {plain[2]:>6.0f} | {ours[1] / plain[1]:.2f}"
        )


if __name__ == "__main__":
    main()
