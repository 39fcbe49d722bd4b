"""The console script `w2s`. It knows both halves of the suite and holds no logic."""

from __future__ import annotations

import sys

import click

from w2s_icl import __version__


class _Group(click.Group):
    """Turns the suite's own errors into one line and exit code 2."""

    def invoke(self, ctx: click.Context) -> object:
        """Run a command; a ValueError is a mistake of the user's, said in plain words."""
        try:
            return super().invoke(ctx)
        except ValueError as error:
            click.echo(f"Error: {error}", err=True)
            sys.exit(2)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """Weak-to-strong generalization by in-context learning, measured with Inspect."""


@main.command()
@click.argument("study", type=click.Path(dir_okay=False))
@click.option("--log-dir", required=True, help="Where logs go; run again to resume.")
@click.option(
    "--display",
    type=click.Choice(["full", "rich", "plain", "log", "none"]),
    help="One of Inspect's own displays instead of the study's progress line.",
)
def run(study: str, log_dir: str, display: str | None) -> None:
    """Run the cells of STUDY that are not finished.

    Exits 0, 1 (some failed), 2 (refused), or 130 and 143 where a signal stopped it.
    """
    from dotenv import find_dotenv, load_dotenv

    load_dotenv(find_dotenv(usecwd=True))  # as `inspect eval` does
    from w2s_icl.evals.run import run_study
    from w2s_icl.evals.study import load_study

    sys.exit(run_study(load_study(study), log_dir, display=display).exit_code)


@main.command()
@click.argument("study", type=click.Path(dir_okay=False))
@click.option("--log-dir", help="Where finished cells are looked for.")
def plan(study: str, log_dir: str | None) -> None:
    """Say what STUDY consists of, what is done, and what its verdict would lack. Asks no model."""
    from w2s_icl.evals.plan import print_plan
    from w2s_icl.evals.study import load_study

    print_plan(load_study(study), log_dir)


@main.command()
@click.argument("logs")
@click.option("--out", required=True, type=click.Path(file_okay=False), help="Folder to write to.")
def report(logs: str, out: str) -> None:
    """Analyse the Inspect logs in LOGS: tables, figures, report."""
    from w2s_icl.analysis.report import write_report

    written = write_report(logs, out)
    click.echo(written.summary)
    page, *others = reversed(written.files)
    click.echo(f"wrote {page}, and beside it {len(others)} tables and figures")
    click.echo(f"logs  inspect view --log-dir {logs}")
