"""Answers that were recorded elsewhere, made into logs that report and viewer read like any other.

Everything is checked before the first log is written.
"""

from __future__ import annotations

from pathlib import Path

from inspect_ai.log import list_eval_logs

from w2s_icl.errors import W2SError
from w2s_icl.evals.imports.logs import write_logs
from w2s_icl.evals.imports.notebook import read_notebook
from w2s_icl.evals.imports.recording import Recording
from w2s_icl.evals.imports.rows import read_answers, read_demonstrations
from w2s_icl.evals.sources import load_questions


def import_answers(
    answers: str,
    questions: str,
    log_dir: str,
    *,
    demonstrations: str | None = None,
    name: str | None = None,
    source: str = "",
) -> Recording:
    """Make logs of a file of answers, one per cell.

    Args:
        answers: CSV, JSONL or parquet with the columns of `AnswerRow`; `model`, `question` and one
            of `answer` and `reply` are required. `question` is the id or the row number of the
            question; `answer` an option's text, or its letter in the order of the question file.
        questions: The questions, as the tasks' `dataset`.
        log_dir: Where the logs go; a directory without logs.
        demonstrations: CSV, JSONL or parquet with the columns of `DemonstrationRow`.
        name: What the recording is called; the file's name by default.
        source: Who recorded the answers, in words.

    Raises:
        W2SError: A row cannot be used; names file and row. Nothing has been written.
    """
    _refuse_logs(log_dir)
    recording = read_answers(Path(answers), load_questions(questions))
    if demonstrations:
        read_demonstrations(Path(demonstrations), recording)
    if not recording.shown:
        recording.not_recorded.append("which demonstrations were shown, and their labels")
    write_logs(recording, log_dir, name or Path(answers).stem, source)
    return recording


def import_notebook(
    folder: str,
    log_dir: str,
    *,
    questions: str = "truthful_qa_mc",
    name: str | None = None,
    source: str = "",
) -> Recording:
    """Make logs of the JSON files of the notebook's sweeps and baselines; as `import_answers`."""
    _refuse_logs(log_dir)
    recording = read_notebook(Path(folder), load_questions(questions))
    write_logs(recording, log_dir, name or "notebook", source)
    return recording


def _refuse_logs(log_dir: str) -> None:
    """Stop where a directory holds logs already: an import never mixes with other runs."""
    if list_eval_logs(log_dir):
        raise W2SError(
            f"--log-dir {log_dir} holds logs already; imported answers need their own directory"
        )
