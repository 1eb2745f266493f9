"""`golf pack`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from golf.cli.options import Size, device_option, json_option


@click.command(
    short_help="Pack a run into one file under a byte cap.",
    epilog="""Examples:

\b
  golf pack --cap 16MB
  golf pack artifacts/quickstart --cap 900kB --out small.bin
  golf pack --cap 16_000_000 --code-bytes 52000 --json""",
)
@click.argument("run", required=False, type=click.Path(path_type=Path))
@click.option(
    "--cap", type=Size(), help="Most bytes of artifact + code: 16MB, 16MiB, 900kB, 16_000_000; default: recipe's."
)
@click.option("--code-bytes", type=click.IntRange(min=0), help="Bytes of code counted into the cap; default: recipe's.")
@click.option("--out", type=click.Path(path_type=Path), help="The artifact's path; default artifact.bin in the run.")
@click.option("--low-rank", type=click.Choice(["auto", "off", "only"]), help="Override the recipe's pack.low_rank.")
@device_option
@json_option
def pack(
    run: Path | None,
    cap: int | None,
    code_bytes: int | None,
    out: Path | None,
    low_rank: Literal["auto", "off", "only"] | None,
    device: str,
    as_json: bool,
) -> None:
    """Pack RUN (a folder, by default the newest run) into one file under the cap.

    Writes artifact.bin and ledger.json: where every byte went.
    """
    from golf import durable
    from golf.cli.options import resolve_device
    from golf.cli.terminal import as_text, note, show, show_json, watching
    from golf.errors import UsageError
    from golf.interrupt import listening
    from golf.pack import pack as pack_flow
    from golf.report import ledger_tables, pack_summary
    from golf.results import to_json
    from golf.runs import Run, from_here, lock, newest_run
    from golf.workspace import find_workspace

    workspace = find_workspace(Path.cwd())
    chosen = Run(from_here(run) if run else from_here(newest_run(workspace.artifacts).folder))
    if run and not run.is_dir():
        raise UsageError(f"{run} is no folder of a run; make one with: golf train --out {run}")
    target = out or chosen.artifact
    if target.is_dir() or not target.name:
        raise UsageError(f"--out {out} is a folder; name a file")
    ledger_path = chosen.ledger if out is None else out.with_suffix(".ledger.json")
    with lock(chosen), listening() as stop, watching() as observer:
        result = pack_flow(
            chosen,
            cap=cap,
            code_bytes=code_bytes,
            out=target,
            cache=workspace.data,
            device=resolve_device(device),
            stop=stop,
            low_rank=low_rank,
            observer=observer,
        )
        durable.write_text(ledger_path, as_text(to_json(result)))
    if not result.binding:
        note(
            f"the cap of {result.cap:,} bytes is larger than needed: at {result.size + result.code_bytes:,} the loss "
            "gap on training text is within pack.target_gap already; a larger model would use the rest"
        )
    if as_json:
        show_json(to_json(result))
    else:
        show([*ledger_tables(result.ledger), pack_summary(result)])
