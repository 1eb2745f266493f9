"""`golf inspect`."""

from __future__ import annotations

from pathlib import Path

import click

from golf.cli import offers
from golf.cli.options import UserPath, json_option


@click.command(
    short_help="Show an artifact's structure.",
    epilog="""Examples:

\b
  golf inspect artifact.bin
  golf inspect artifact.bin --json | python -m json.tool""",
)
@click.argument("artifact", required=False, type=UserPath(), shell_complete=offers.runs)
@json_option
def inspect(artifact: Path | None, as_json: bool) -> None:
    """Check ARTIFACT's structure and digests and show what is in it; by default the newest run's.

    Decodes no weight, needs no torch.
    """
    from golf.artifact import open_artifact
    from golf.artifact.ledger import artifact_ledger
    from golf.cli.choose import chosen_artifact
    from golf.cli.terminal import show, show_json

    found = open_artifact(chosen_artifact(artifact))
    ledger = artifact_ledger(found)
    if as_json:
        from golf.runtime.json_values import to_json

        sections = [section.to_json() for section in found.sections]
        show_json(found.manifest.to_json() | {"sections": sections, "ledger": to_json(ledger)})
    else:
        from golf.report.inspection import inspection_table

        show(inspection_table(found, ledger))
