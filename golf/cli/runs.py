"""`golf runs`: list runs, compare them, remove them."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from golf.cli import offers
from golf.cli.options import UserPath, json_option
from golf.runtime.visible import visible

if TYPE_CHECKING:
    from golf.run.folder import Run


@click.group(
    invoke_without_command=True,
    short_help="List, compare and remove runs.",
    epilog="""Examples:

\b
  golf runs
  golf runs compare muon-3m numuon-3m
  golf runs rm smoke""",
)
@json_option
@click.pass_context
def runs(context: click.Context, as_json: bool) -> None:
    """List the runs of the workspace: recipe, state, steps, losses, size of the artifact, and when."""
    if context.invoked_subcommand is not None:
        if as_json:
            raise click.UsageError(f"write --json after {context.invoked_subcommand}")
        return
    from golf.cli.choose import artifacts
    from golf.cli.terminal import note, show, show_json
    from golf.errors import GolfError
    from golf.report.run_data import read_run
    from golf.report.runs import runs_table, summary
    from golf.run.find import runs_in
    from golf.run.folder import from_here
    from golf.runtime.json_values import to_json

    found = []
    for run in runs_in(artifacts()):
        try:
            found.append(summary(read_run(from_here(run.folder))))
        except GolfError as error:  # one damaged file does not hide the other runs
            note(str(error))
    if as_json:
        show_json({"runs": [to_json(each) for each in found]})
    elif found:
        show([runs_table(found)])
    else:
        note(f"no run in {from_here(artifacts())}/; start one with: golf train")


@runs.command(
    short_help="Show what runs differ in.",
    epilog="""Examples:

\b
  golf runs compare muon-3m numuon-3m
  golf runs compare artifacts/seed1 artifacts/seed2 artifacts/seed3 --json""",
)
@click.argument("names", metavar="RUN RUN...", nargs=-1, required=True, type=UserPath(), shell_complete=offers.runs)
@json_option
def compare(names: tuple[Path, ...], as_json: bool) -> None:
    """Show figures of two or more runs side by side, and the keys in which their recipes differ."""
    from golf.cli.choose import chosen_run
    from golf.cli.terminal import next_command, show, show_json
    from golf.errors import UsageError
    from golf.report.run_data import read_run
    from golf.report.runs import comparison_tables, recipe_differences_of, summary
    from golf.runtime.json_values import to_json

    if len(names) < 2:
        raise UsageError("one run is compared with nothing; name two or more")
    found = [read_run(chosen_run(name).folder) for name in names]
    if as_json:
        listed = [to_json(summary(each)) for each in found]
        show_json({"runs": listed, "recipe_differences": recipe_differences_of(found)})
    else:
        show(comparison_tables(found))
        next_command(f"golf report {' '.join(map(str, names))}")


@runs.command(
    short_help="Remove runs.",
    epilog="""Examples:

\b
  golf runs rm smoke
  golf runs rm seed1 seed2 --yes""",
)
@click.argument("names", metavar="RUN...", nargs=-1, required=True, type=UserPath(), shell_complete=offers.runs)
@click.option("--yes", is_flag=True, help="Do not ask.")
def rm(names: tuple[Path, ...], yes: bool) -> None:
    """Remove what golf wrote into the folders of runs, and the folders where nothing else is in them.

    Asks first; a folder that is no run, or that a training holds, is never touched.
    """
    from golf.cli.choose import chosen_run
    from golf.cli.terminal import note
    from golf.errors import UsageError

    found = list({run.folder.resolve(): run for run in map(chosen_run, names)}.values())
    listed = ", ".join(str(run.folder) for run in found)
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError(f"there is no terminal to ask on; remove {listed} with --yes")
        if not click.confirm(visible(f"remove {listed}?"), err=True):
            note("nothing was removed")
            return
    for run in found:
        _remove(run)


def _remove(run: Run) -> None:
    """Remove a run that no process holds; what golf did not write stays, and is said."""
    from golf.cli.terminal import note
    from golf.run.folder import LOCK, lock

    with lock(run):
        size = sum(path.stat().st_size for path in (*run.files, *run.earlier_packs) if path.is_file())
        run.clear()
        left = sorted(path.name for path in run.folder.iterdir() if path.name not in (LOCK, f"{LOCK}.owner"))
        if not left:  # still locked: a process that has it open sees that it was removed, and gives up
            (run.folder / LOCK).unlink()
    if left:
        note(f"{run.folder} stays, since golf did not write {', '.join(left[:3])}")
    else:
        with suppress(OSError):
            run.folder.rmdir()
    click.echo(visible(f"removed {run.folder}: {size:,} bytes"))
