"""What a cell costs in CPU when several processes run the study, beside one process.

    python benchmarks/shards.py                  # 36 cells of 200 questions, about ten minutes
    python benchmarks/shards.py --questions 40   # a fifth of it

`one` is `w2s run`; `shards` is `w2s run --shard I/N` for all I at the same time, with about six
cells each; `ray` is `w2s run --ray` on a local cluster of two processors, with its six cells a
shard. All ask the same prompts of the same server (benchmarks/server.py). CPU is that of all
processes from their start on, imports and all: the driver, the workers and Ray's own. Look at the
ratios, not at the seconds.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import psutil
from server import serving, stats
from speed import MODELS, write_questions

SHOTS, DRAWS, CELLS, SHARDS = (0, 8, 32), 5, 33, 6


def cpu_of_children() -> float:
    """Seconds of CPU of the processes that this one has waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run(study: Path, log_dir: Path, *options: Sequence[str]) -> float:
    """`w2s run`, once for each list of options, all at the same time; seconds of CPU."""
    before = cpu_of_children()
    script = str(Path(sys.executable).with_name("w2s"))
    command = [script, "run", str(study), "--log-dir", str(log_dir), "--yes"]
    started = [subprocess.Popen([*command, *of], stdout=subprocess.DEVNULL) for of in options]
    if any([process.wait() for process in started]):
        raise SystemExit(f"{' '.join(command)} failed")
    return cpu_of_children() - before


def run_one(study: Path, log_dir: Path) -> float:
    """All cells in one process."""
    return run(study, log_dir, [])


def run_shards(study: Path, log_dir: Path) -> float:
    """All shards at the same time."""
    return run(study, log_dir, *(["--shard", f"{i + 1}/{SHARDS}"] for i in range(SHARDS)))


def run_ray(study: Path, log_dir: Path) -> float:
    """On a cluster that is started for it; Ray's own CPU is counted as well."""
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 2, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    over, seen = threading.Event(), dict[int, float]()
    kinds = cluster.head_node.all_processes.values()
    roots = [psutil.Process(one.process.pid) for kind in kinds for one in kind]

    def watch() -> None:
        # Ray does not wait for its workers, so what they used is to be read while they live
        while not over.wait(0.1):
            for root in roots:
                for process in [root, *root.children(recursive=True)]:
                    with suppress(psutil.Error):
                        used = process.cpu_times()
                        seen[process.pid] = used.user + used.system

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        return run(study, log_dir, ["--ray", cluster.address]) + sum(seen.values())
    finally:
        over.set()
        watcher.join()
        cluster.shutdown()


SIDES: dict[str, Callable[[Path, Path], float]] = {
    "one": run_one,
    "shards": run_shards,
    "ray": run_ray,
}


def main() -> None:
    """Measure and print a line per side, with its ratio to one process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=int, default=200, help="test questions of each cell")
    parser.add_argument("--latency", type=float, default=0.5, help="of the server, seconds")
    parser.add_argument("--limit", type=int, default=150, help="calls at once to each model")
    parser.add_argument("--side", choices=SIDES, action="append")
    args = parser.parse_args()
    print(f"{CELLS} cells of {args.questions} questions, {args.latency} s")
    print(f"  {'':<7} calls  wall s    CPU s  a cell   ratio to one")
    base = 0.0
    for side in args.side or SIDES:
        with (
            tempfile.TemporaryDirectory() as folder,
            serving(latency=args.latency, limit=args.limit) as url,
        ):
            os.environ |= {"LOCAL_API_KEY": "x", "LOCAL_BASE_URL": url}
            study = Path(folder) / "study.yaml"
            content = {
                "dataset": write_questions(Path(folder), args.questions + 80),
                "test_size": args.questions,
                "models": MODELS,
                "labels": ["gold"],
                "shots": SHOTS,
                "draws": DRAWS,
                "near_duplicates": "keep",
                "max_connections": args.limit,
            }
            study.write_text(json.dumps(content), "utf-8")
            start = time.perf_counter()
            used = SIDES[side](study, Path(folder) / "logs")
            wall = time.perf_counter() - start
            base = base or used
            print(
                f"  {side:<7} {stats(url)['answered']:>5} {wall:>7.1f} {used:>8.1f} "
                f"{used / CELLS:>7.2f} {used / base:>8.2f}"
            )


if __name__ == "__main__":
    main()
