"""The console script `w2s`. It knows both halves of the suite and holds no logic."""

import json
import sys
from functools import partial
from io import TextIOWrapper
from typing import Any

import click
from dotenv import find_dotenv, load_dotenv

from w2s_icl import __version__
from w2s_icl.inputs import at_home
from w2s_icl.words import printable


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """Weak-to-strong generalization by in-context learning, measured with Inspect."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # in a terminal without UTF-8, ? for what it lacks
            stream.reconfigure(errors="replace")
    load_dotenv(find_dotenv(usecwd=True))  # as `inspect eval` does


def _echo(text: str) -> None:
    """Print a text. By itself, click would write UTF-8 into a stream that is ASCII."""
    click.echo(printable(text), file=sys.stdout)


def directory(value: str) -> str:
    """A log directory; characters that an address reads as its own syntax are refused."""
    if bad := [c for c in value if c in "#?%*[]" or not c.isprintable()]:
        raise click.BadParameter(f"must not hold {bad[0]!r}, got {value!r}")
    return value if "://" in value else str(at_home(value))


def share(value: str) -> tuple[int, int]:
    """The two numbers of --shard."""
    index, _, n = value.partition("/")
    if not (index.isdecimal() and n.isdecimal() and 1 <= int(index) <= int(n)):
        raise click.BadParameter(f"must be I/N with I from 1 to N, as 2/8, got {value!r}")
    return int(index), int(n)


DISPLAYS = click.Choice(["full", "rich", "plain", "log", "none"])
STUDY = click.argument("study")


@main.command()
@STUDY
@click.option("--log-dir", type=directory, required=True, help="The logs; the same one to resume.")
@click.option("--display", type=DISPLAYS, help="One of Inspect's own displays, not the study's.")
@click.option(
    "--max-cost",
    type=click.FloatRange(min=0),
    metavar="DOLLARS",
    help="Limit for the whole study, with what the logs in --log-dir have cost. A plan above it is "
    "refused; the run ends when it is spent. Needs known prices.",
)
@click.option("--dry-run", is_flag=True, help="Print the plan and ask no model.")
@click.option("--yes", is_flag=True, help="Do not ask before the first call.")
@click.option(
    "--ray",
    is_flag=False,
    flag_value="",
    metavar="[ADDRESS]",
    help="Run on a Ray cluster: at ADDRESS, else at RAY_ADDRESS, else one made on this machine. "
    "--log-dir must be reached from all nodes.",
)
@click.option("--shard", type=share, metavar="I/N", help="Run the I-th of N shares of the cells.")
def run(
    study: str, log_dir: str, dry_run: bool, yes: bool, ray: str | None, shard: Any, **how: Any
) -> None:
    """Run the cells of STUDY that are not finished.

    Exits 0, 1 (some failed, or the money is spent), 2 (refused), or 130 and 143 (by a signal).
    """
    from w2s_icl.evals.study import load_study

    if shard and ray is not None:
        raise click.UsageError("--shard is for runs without --ray")
    loaded = load_study(study)
    from w2s_icl.analysis.stats.power import detectable  # a refusal need not wait for these
    from w2s_icl.evals.sweep import shards
    from w2s_icl.evals.sweep.plan import print_plan
    from w2s_icl.evals.sweep.run import checked_plan, run_study

    how["detects"] = detectable(loaded.test_size, loaded.draws)
    if dry_run:
        made = checked_plan(loaded, log_dir)
        print_plan(made, max_cost=how["max_cost"], detects=how["detects"])
        made.check_budget(how["max_cost"])
        return
    asks = not yes and sys.stdin.isatty() and sys.stdout.isatty()
    how["confirm"] = partial(click.confirm, "Run it?") if asks else None
    with shards.runner(log_dir, ray=ray, share=shard) as (folder, run_cells, of_all):
        outcome = run_study(loaded, folder, run_cells=run_cells, of_all=of_all, **how)
    sys.exit(outcome.exit_code)


@main.command()
@STUDY
@click.option("--log-dir", type=directory, help="Directory of the logs that are finished.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON; null means unknown.")
def plan(study: str, log_dir: str | None, as_json: bool) -> None:
    """Print what STUDY still has to run, its cost, and what it can detect. Asks no model."""
    from w2s_icl.evals.study import load_study

    loaded = load_study(study)
    from w2s_icl.evals.sweep.plan import plan_json, print_plan
    from w2s_icl.evals.sweep.run import checked_plan

    made = checked_plan(loaded, log_dir)
    from w2s_icl.analysis.stats.power import detectable  # a refusal need not wait for scipy

    detects = detectable(loaded.test_size, loaded.draws)
    if as_json:
        _echo(json.dumps(plan_json(made, detects=detects), indent=1, ensure_ascii=False))
    else:
        print_plan(made, detects=detects)


@main.command()
@click.argument("name")
def study(name: str) -> None:
    """Print the bundled study NAME (demo, truthfulqa, controls): w2s study demo > mine.yaml."""
    from w2s_icl.evals.study import bundled_study

    _echo(bundled_study(name).read_text("utf-8").rstrip("\n"))


@main.command()
@click.argument("logs")
@click.option("--out", type=click.Path(file_okay=False), required=True, help="Folder to write to.")
def report(logs: str, out: str) -> None:
    """Write tables, figures and report.html from the Inspect logs in LOGS."""
    from w2s_icl.analysis.report import write_report

    files, summary = write_report(logs, out)
    _echo(summary)
    _echo(f"wrote {files[-1]}, and beside it {len(files) - 1} tables and figures")
    _echo(f"logs  inspect view --log-dir {logs}")


@main.command()
@click.argument("logs", nargs=-1, required=True, metavar="A B [C ...]")
@click.option("--out", type=click.Path(file_okay=False), required=True, help="Folder to write to.")
@click.option("--as", "renamed", multiple=True, metavar="OLD=NEW", help="A model or prompt of A.")
def compare(logs: tuple[str, ...], out: str, renamed: tuple[str, ...]) -> None:
    """Compare log directories on the same questions, each with A: table, figure, page.

    Differences are of the arms that both have, paired by question, later minus A. --as takes a
    model or prompt of A that has another name in the others; `plain` is no prompt.
    """
    from w2s_icl.analysis.compare import write_comparison

    if len(logs) < 2:
        raise click.UsageError("give two log directories or more")
    files, summary = write_comparison(logs, out, renamed)
    _echo(summary)
    _echo(f"wrote {files[-1]}, and beside it {len(files) - 1} files")


@main.command("import")
@click.argument("answers", nargs=-1, required=True, metavar="ANSWERS | notebook RESULTS_DIR")
@click.option("--log-dir", type=directory, required=True, help="A directory without logs.")
@click.option("--questions", help="The questions, as `dataset` of the tasks.")
@click.option("--demonstrations", help="File that says which demonstrations were shown.")
@click.option("--name", help="What the recording is called.")
@click.option("--source", default="", help="Who recorded the answers, and where they are.")
def import_(answers: tuple[str, ...], log_dir: str, **said: Any) -> None:
    """Make logs of answers that were recorded elsewhere: a file of rows, or the notebook's folder.

    ANSWERS is a CSV, JSONL or parquet file, an answer a row: model, question, answer, and where
    they apply labels, weak, shots, draw, prompt, split, epoch, reply, input_tokens, output_tokens,
    cost. See docs/import.md.
    """
    from w2s_icl.evals.imports.files import import_recorded

    notebook = answers[0] == "notebook"
    if len(answers) != 1 + notebook or not (said["questions"] or notebook):
        raise click.UsageError("give a file with --questions DATASET, or: notebook RESULTS_DIR")
    made = import_recorded(answers[-1], log_dir, notebook=notebook, **said)
    n = sum(map(len, made.cells.values()))
    _echo(f"{n:,} answers in {len(made.cells)} cells, {len(made.counts)} cells of counts")
    for note in made.notes:
        _echo(f"! {note}")
    _echo("not recorded: " + "; ".join(made.not_recorded))
    _echo(f"report  w2s report {log_dir} --out report")
