"""What the verdict says of students whose cause of a gain is planted (STATS.md, section 15).

    python -m tests.planted.acceptance --seeds 20

makes 20 studies of each student, at the size of studies/controls.yaml (484 questions, 5 draws, all
controls), and prints how often each was claimed and read as what it is. Exit code 1 where less was
reached than `students.EXPECTED` says.
"""

import argparse
import math
import tempfile
from collections import Counter
from functools import partial
from multiprocessing import Pool
from pathlib import Path
from typing import NamedTuple

from tests.planted.questions import cued_questions
from tests.planted.students import EXPECTED, truth
from tests.planted.studies import SHOTS, planted_study
from w2s_icl.analysis.experiment import Experiment
from w2s_icl.analysis.logs import read_logs
from w2s_icl.analysis.tables.cells import cells_table
from w2s_icl.analysis.verdict import verdicts


class Result(NamedTuple):
    """What one study says; by planted value, whether its interval covers it."""

    reading: str
    claim: bool
    sentence: str
    covered: dict[str, bool]


def verdict_of(student: str, seed: int, questions: Path | None = None) -> Result:
    """Make and read one study, on made-up questions with cues unless others are given."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        asked = questions or cued_questions(folder / "questions.jsonl")
        log_dir = planted_study(folder / "study", student, asked, seed)
        experiment = Experiment(read_logs(log_dir))
    (verdict,) = verdicts(experiment)
    cells = cells_table(experiment)
    row = cells[(cells["weak"] == "planted/weak") & (cells["shots"] == SHOTS)].iloc[0]
    covered = {
        name: bool(row[f"{name}_lo"] <= value <= row[f"{name}_hi"])
        for name, value in planted_values(student).items()
        if not math.isnan(row[f"{name}_lo"])
    }
    sentence = f"{verdict.lead} {verdict.rest}"
    return Result(verdict.reading, verdict.claim, sentence, covered)


def planted_values(student: str) -> dict[str, float]:
    """Columns of the cells' table whose true value is known."""
    if student == "surface":
        return {}
    weak, w2s, gold = truth("weak", ""), truth(student, "weak"), truth(student, "gold")
    accuracies = {"acc_weak": weak, "acc_strong0": truth(student, ""), "acc_w2s": w2s}
    return {**accuracies, "acc_gold": gold, "pgr_gold": (w2s - weak) / (gold - weak)}


def main() -> int:
    """Print a line per student; 1 where one misses what is needed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--students", nargs="*", default=list(EXPECTED), choices=list(EXPECTED))
    parser.add_argument("--questions", type=Path, help="file or folder of a question set")
    parser.add_argument("--processes", type=int, default=2)
    args = parser.parse_args()
    missed = False
    covered: list[bool] = []
    with Pool(args.processes, maxtasksperchild=5) as pool:
        for student in args.students:
            work = partial(verdict_of, student, questions=args.questions)
            results = pool.map(work, range(args.seeds), chunksize=1)
            claims = sum(result.claim for result in results)
            expected, share = EXPECTED[student]
            own = sum(result.reading == expected for result in results)
            good = own >= share * args.seeds and (student == "learner" or not claims)
            missed |= not good
            counts = Counter(result.reading for result in results).most_common()
            readings = ", ".join(f"{reading} {n}" for reading, n in counts)
            print(f"{'✔' if good else '✗'} {student:8} claims {claims:2}  {readings}", flush=True)
            covered += [value for result in results for value in result.covered.values()]
    if covered:
        print(f"{sum(covered)} of {len(covered)} intervals cover the planted value")
    return int(missed)


if __name__ == "__main__":
    raise SystemExit(main())
