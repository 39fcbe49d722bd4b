"""Answers that were recorded elsewhere, made into logs that report and viewer read like any other.

Everything is checked before the first log is written.
"""

from pathlib import Path

from inspect_ai.log import list_eval_logs

from w2s_icl.errors import W2SError
from w2s_icl.evals.imports.logs import Recording, write_logs
from w2s_icl.evals.imports.notebook import read_notebook
from w2s_icl.evals.imports.rows import read_answers, read_demonstrations
from w2s_icl.evals.sources import load_questions


def import_recorded(
    path: str,
    log_dir: str,
    *,
    notebook: bool = False,
    questions: str | None = None,
    demonstrations: str | None = None,
    name: str | None = None,
    source: str = "",
) -> Recording:
    """Make logs of recorded answers, one per cell, in a directory without logs.

    `path` is a file with the columns of `rows.AnswerRow`, or with `notebook` the folder of the
    notebook's JSON files; `demonstrations` has the columns of `rows.DemonstrationRow`; `questions`
    are named as the tasks' `dataset`; `source` says who recorded the answers.

    Raises:
        W2SError: The files cannot be used; names file and row. Nothing has been written.
    """
    if list_eval_logs(log_dir):  # an import never mixes with other runs
        said = f"--log-dir {log_dir} holds logs already"
        raise W2SError(f"{said}; imported answers need their own directory")
    loaded, file = load_questions(questions or "truthful_qa_mc"), Path(path)
    recording = (read_notebook if notebook else read_answers)(file, loaded)
    if demonstrations:
        read_demonstrations(Path(demonstrations), recording)
    if not recording.shown:
        recording.not_recorded.append("which demonstrations were shown, and their labels")
    write_logs(recording, log_dir, name or file.stem, source)
    return recording
