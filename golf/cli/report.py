"""`golf report`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from golf.cli import offers
from golf.cli.options import UserPath, json_option

if TYPE_CHECKING:
    from golf.run.folder import Run


@click.command(
    short_help="Show runs as one HTML page.",
    epilog="""Examples:

\b
  golf report
  golf report muon-3m numuon-3m --out compare.html
  golf report quickstart --sample "def main(" """.rstrip(),
)
@click.argument("runs", nargs=-1, type=UserPath(), shell_complete=offers.runs)
@click.option(
    "--out", type=UserPath(), help="The file to write; default: report.html in the run, of several beside them."
)
@click.option("--sample", metavar="PROMPT", help="Let each artifact continue this text by 60 tokens.")
@click.option("--force", is_flag=True, help="Overwrite a file that is no report.")
@json_option
def report(runs: tuple[Path, ...], out: Path | None, sample: str | None, force: bool, as_json: bool) -> None:
    """Write curves, spectra, bits and bytes of RUNS (names or folders, by default the newest run) as one HTML file.

    The file needs no network and no script. Several runs are drawn over one another, and their recipes compared. What a
    run lacks is left out; nothing is measured.
    """
    from golf.cli.terminal import show, show_json
    from golf.report.html import BEGINNING, read_run, report_page
    from golf.report.tables import literal
    from golf.runtime import durable

    chosen = _chosen(runs)
    # of several runs beside them, so that no run's own report is replaced
    target = out or (chosen[0].report if len(chosen) == 1 else chosen[0].folder.parent / "report.html")
    if not force:
        _refuse_other_files(target, BEGINNING.encode())
    found = [read_run(run.folder) for run in chosen]
    samples = [] if sample is None else [_sample(run, sample) for run in chosen]
    durable.write_text(target, report_page(found, prompt=sample or "", samples=samples))
    if as_json:
        show_json({"report": str(target), "runs": [str(run.folder) for run in chosen]})
    else:
        show([literal(f"wrote {target}")])


def _chosen(runs: tuple[Path, ...]) -> list[Run]:
    """The named runs, or the newest."""
    from golf.cli.choose import chosen_run

    return [chosen_run(run) for run in runs or (None,)]


def _refuse_other_files(target: Path, beginning: bytes) -> None:
    """Raise UsageError for a file that no report was written to: it may be a recipe, or an artifact."""
    from golf.errors import UsageError
    from golf.runtime.regular import regular

    if not regular(target).exists():
        return
    if target.is_dir():
        raise UsageError(f"{target} is a folder; name a file in it")
    with target.open("rb") as file:
        if file.read(len(beginning)) != beginning:
            raise UsageError(f"{target} is no report of golf; name another file, or overwrite it with --force")


def _sample(run: Run, prompt: str) -> str | None:
    """Sixty tokens that the run's artifact writes after the prompt; None without an artifact."""
    from golf.errors import UsageError

    if any("\ud800" <= char <= "\udfff" for char in prompt):
        raise UsageError("the prompt must be UTF-8 text")
    if not run.artifact.exists():
        return None
    from golf.evaluation.generate import generate
    from golf.runtime.device import resolve_device

    return "".join(generate(run.artifact, prompt, tokens=60, temperature=0.8, seed=0, device=resolve_device("auto")))
