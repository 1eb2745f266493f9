"""`golf export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from golf.cli import offers
from golf.cli.options import UserPath, json_option

if TYPE_CHECKING:
    from golf.run.folder import Run


@click.command(
    short_help="Write a contest submission, or plain weights.",
    epilog="""Examples:

\b
  golf pack --cap 16MB --code-bytes auto && golf export --out submission
  golf export artifacts/seed1 artifacts/seed2 artifacts/seed3 --out submission --author "A. Name"
  golf export artifacts/quickstart --format safetensors --out weights""",
)
@click.argument("runs", nargs=-1, type=UserPath(), shell_complete=offers.runs)
@click.option(
    "--format",
    "kind",
    type=click.Choice(["parameter-golf", "safetensors", "hf"]),
    default="parameter-golf",
    show_default=True,
    help="The contest's submission folder; or weights, with the hub's names in config.json for hf.",
)
@click.option("--out", type=UserPath(file_okay=False), required=True, help="The folder to write.")
@click.option(
    "--code",
    type=click.Choice(["compressed", "plain"]),
    default="compressed",
    show_default=True,
    help="How train_gpt.py is shipped: self-extracting, or readable.",
)
@click.option("--name", help="Of the submission; default: the recipe's.")
@click.option("--author", default="", help="For submission.json.")
@click.option("--github-id", default="", help="For submission.json.")
@click.option("--blurb", default="", help="One sentence for submission.json and README.md.")
@click.option("--track", default="10min_16mb", show_default=True, help="For submission.json.")
@click.option("--date", help="For submission.json; default: today.")
@click.option("--hardware", help="For submission.json; default: the device of the measurement.")
@click.option("--force", is_flag=True, help="Overwrite an existing export.")
@json_option
def export(
    runs: tuple[Path, ...],
    kind: str,
    out: Path,
    code: str,
    name: str | None,
    author: str,
    github_id: str,
    blurb: str,
    track: str,
    date: str | None,
    hardware: str | None,
    force: bool,
    as_json: bool,
) -> None:
    """Export the artifacts of RUNS (names or folders, by default the newest run) as a submission or as plain weights.

    Several runs are seeds of one submission: each adds its log and its losses, the first its artifact. Weights are
    exported from one run's artifact.
    """
    from golf.cli.terminal import next_command, note, show, show_json
    from golf.contest.export import Details, export_submission
    from golf.contest.export_weights import export_weights
    from golf.contest.results import Exported, ExportedWeights
    from golf.errors import UsageError
    from golf.report import export_table
    from golf.runtime.json_values import to_json

    chosen = _chosen(runs)
    result: Exported | ExportedWeights
    if kind == "parameter-golf":
        details = Details(name, author, github_id, blurb, track, date, hardware)
        result = export_submission(chosen, out, details=details, plain=code == "plain", force=force)
        given = {"--author": author, "--github-id": github_id, "--blurb": blurb}
        if empty := [option for option, value in given.items() if not value]:
            note(f"submission.json is not complete; export it again with {', '.join(empty)}")
    elif len(chosen) > 1:
        raise UsageError(f"--format {kind} takes one run, {len(chosen)} are given")
    else:
        result = export_weights(chosen[0].artifact, out, hub=kind == "hf", force=force)
    if as_json:
        show_json(to_json(result))
    else:
        show([export_table(result)])
        if kind == "parameter-golf":
            next_command(f"golf check {out}")


def _chosen(runs: tuple[Path, ...]) -> list[Run]:
    """The named runs, or the newest one."""
    from golf.cli.choose import chosen_run

    return [chosen_run(run, having="artifact.bin") for run in runs or (None,)]
