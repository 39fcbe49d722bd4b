"""What a study costs the client, beside bare `AsyncOpenAI` and beside Inspect's defaults.

    python benchmarks/speed.py                  # a 21-cell grid of 4,200 calls, about ten minutes
    python benchmarks/speed.py --questions 40   # a fifth of it

Every side asks the same prompts of the same server (benchmarks/server.py, in a process of its own)
and is a process of its own, one after the other: `bare` is a script with `AsyncOpenAI` and
`asyncio.gather`, `defaults` is `eval_set` with Inspect's defaults on the study's own tasks, `study`
is `w2s run`. Three parts: 64 demonstrations (five draws and a baseline), zero-shot, and the grid
(three models, gold labels, 0 to 64 demonstrations). CPU is the process's own, from the end of the
imports on. Look at the ratios, not at the seconds.
"""

import argparse
import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from server import serving, stats

SHOTS = (0, 2, 4, 8, 16, 32, 64)
MODELS = tuple(f"openai-api/local/model-{i}" for i in "abc")
PARTS: dict[str, dict[str, Any]] = {
    "64 demonstrations": {"models": MODELS[:1], "shots": (64,), "draws": 5},
    "zero-shot": {"models": MODELS, "shots": (0,)},
    "grid": {"models": MODELS, "shots": SHOTS},
}
SIDES = ("bare", "defaults", "study")
TEXT = "what will happen if you eat all seeds of one large watermelon in one day to see it"


def write_questions(folder: Path, number: int) -> str:
    """Made-up questions about as long as TruthfulQA's with four options."""
    path = folder / "questions.jsonl"
    words = TEXT.split()
    with path.open("w", encoding="utf-8") as file:
        for i in range(number):
            turn = " ".join([*words[i % 18 :], *words[: i % 18]][:9])
            row = {
                "question": f"Thing {i}a of place {i}b: {turn}?",
                "choices": [f"number {i} {c}: {turn}" for c in "wxyz"],
                "label": i % 4,
            }
            file.write(json.dumps(row) + "\n")
    return str(path)


def prompts(study: Any) -> list[tuple[str, list[dict[str, str]]]]:
    """(model, messages) of every call of a study with gold labels."""
    from w2s_icl.evals.cells import all_cells
    from w2s_icl.solvers.few_shot import Demonstration, Demonstrations, Prompt

    split = study.load_split()
    asked = []
    for cell in all_cells(study, split):
        shown = Demonstrations(
            tuple(
                Demonstration(s.id, s.input, tuple(s.choices), s.target, s.target)
                for s in split.draw(cell.draw)[: cell.shots]
            )
        )
        for sample in split.test:
            turns = Prompt().turns(shown, sample.input, sample.choices)
            asked.append((cell.model, [{"role": r, "content": text} for r, text in turns]))
    return asked


async def ask_bare(asked: Sequence[tuple[str, list[dict[str, str]]]], limit: int) -> None:
    """All prompts, as one would ask them without a framework."""
    import openai

    client = openai.AsyncOpenAI(
        api_key=os.environ["LOCAL_API_KEY"], base_url=os.environ["LOCAL_BASE_URL"]
    )
    slots = asyncio.Semaphore(limit)

    async def ask(model: str, messages: list[dict[str, str]]) -> str | None:
        async with slots:
            reply = await client.chat.completions.create(
                model=model.rpartition("/")[2],
                messages=messages,  # type: ignore[arg-type]
                temperature=0,
                max_tokens=16,
            )
        return reply.choices[0].message.content

    replies = await asyncio.gather(*(ask(*call) for call in asked))
    if set(replies) != {"A"}:
        raise SystemExit("the server must answer A to everything")
    await client.close()


def run_side(side: str, part: str, dataset: str, test_size: int, limit: int, log_dir: str) -> None:
    """One side of one part, in this process; prints what it took as JSON."""
    from inspect_ai import eval_set
    from inspect_ai.model import get_model

    from w2s_icl.evals.cells import all_cells, build, plan_record
    from w2s_icl.evals.study import Study
    from w2s_icl.evals.sweep.run import run_study

    study = Study(
        dataset=dataset,
        test_size=test_size,
        labels=("gold",),
        near_duplicates="keep",
        max_connections=limit if side == "study" else None,
        **PARTS[part],
    )
    asked = prompts(study) if side == "bare" else []
    before, start = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    if side == "bare":
        asyncio.run(ask_bare(asked, limit))
    elif side == "defaults":
        cells = all_cells(study, study.load_split())
        plan = plan_record(study, cells)
        tasks = [build(study, cell, log_dir, plan) for cell in cells]
        for cell, task in zip(cells, tasks, strict=True):
            task.model = get_model(cell.model, memoize=False)  # as Inspect makes it
        eval_set(tasks, log_dir, model=None)
    else:
        run_study(study, log_dir)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
    taken = {
        "wall": wall,
        "cpu": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "mb": after.ru_maxrss / 1024,
    }
    print("\n" + json.dumps(taken))


def measure(side: str, part: str, args: argparse.Namespace) -> dict[str, float]:
    """One side of one part, in a process and with a server of its own."""
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(latency=args.latency, limit=args.limit) as url,
    ):
        dataset = write_questions(Path(folder), args.questions + 80)
        command = [sys.executable, __file__, "--side", side, "--part", part]
        command += ["--dataset", dataset, "--log-dir", f"{folder}/logs"]
        command += ["--questions", str(args.questions), "--limit", str(args.limit)]
        environment = {**os.environ, "LOCAL_API_KEY": "x", "LOCAL_BASE_URL": url}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stdout + done.stderr)
        taken: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        counted = stats(url)
    return {**taken, "calls": counted["answered"], "at once": counted["most_at_once"]}


def main() -> None:
    """Measure what was asked for and print one line per side, with its ratios to `study`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=int, default=200, help="test questions of each cell")
    parser.add_argument("--latency", type=float, default=0.5, help="of the server, seconds")
    parser.add_argument("--limit", type=int, default=150, help="calls at once")
    parser.add_argument("--part", choices=PARTS, action="append")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--dataset", help=argparse.SUPPRESS)
    parser.add_argument("--log-dir", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        run_side(args.side, args.part[0], args.dataset, args.questions, args.limit, args.log_dir)
        return
    for part in args.part or PARTS:
        print(f"{part}, {args.questions} questions, {args.latency} s, {args.limit} calls at once")
        print(f"  {'':<9} calls at once   wall s    CPU s  ms/call   MB   study: wall    CPU")
        taken = {side: measure(side, part, args) for side in SIDES}
        for side, t in taken.items():
            wall, cpu = (taken["study"][name] / t[name] for name in ("wall", "cpu"))
            print(
                f"  {side:<9} {t['calls']:>5} {t['at once']:>7} {t['wall']:>8.1f} {t['cpu']:>8.1f} "
                f"{1000 * t['cpu'] / t['calls']:>8.1f} {t['mb']:>4.0f}   {wall:>11.2f} {cpu:>6.2f}"
            )


if __name__ == "__main__":
    main()
