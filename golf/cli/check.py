"""`golf check`."""

from __future__ import annotations

from pathlib import Path

import click

from golf.cli.options import Size, UserPath, json_option


@click.command(
    short_help="Check a submission's folder against the contest's rules.",
    epilog="""Examples:

\b
  golf check submission
  golf check submission --record 2.0642 --record 2.0651 --record 2.0647
  golf check submission --profile as-judged --json""",
)
@click.argument("folder", type=UserPath())
@click.option("--cap", type=Size(), default="16MB", show_default=True, help="Most bytes of code + model.")
@click.option("--record", "records", type=float, multiple=True, help="A loss (nats per token) to beat; one per seed.")
@click.option(
    "--profile",
    type=click.Choice(["strict", "as-judged"]),
    default="strict",
    show_default=True,
    help="The rules as written, or those for which the contest's judges rejected submissions.",
)
@json_option
def check(folder: Path, cap: int, records: tuple[float, ...], profile: str, as_json: bool) -> None:
    """Read the submission in FOLDER and report for every testable rule PASS, FAIL or CANNOT TELL, with evidence.

    Nothing in the folder is executed. Exit code 3 if a rule fails.
    """
    from golf.cli.terminal import show, show_json
    from golf.contest.rules import PROFILES
    from golf.contest.rules.folder import read_submission
    from golf.contest.rules.judge import judge
    from golf.errors import ClaimError
    from golf.report import findings_table
    from golf.runtime.json_values import to_json

    chosen = next(each for each in PROFILES if each == profile)
    findings = judge(read_submission(folder), cap=cap, record=list(records) or None, profile=chosen)
    if as_json:
        show_json({"folder": str(folder), "profile": profile, "findings": [to_json(finding) for finding in findings]})
    else:
        show([findings_table(folder, findings, chosen)])
    if failed := [finding.rule for finding in findings if finding.state == "FAIL"]:
        raise ClaimError(f"{folder} breaks {', '.join(failed)}")
