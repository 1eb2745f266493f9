"""`golf pack`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from golf.cli import offers
from golf.cli.options import CodeBytes, Size, UserPath, device_option, json_option, pack_set_option

if TYPE_CHECKING:
    from golf.run.folder import Run


@click.command(
    short_help="Pack a run into one file under a byte cap.",
    epilog="""Examples:

\b
  golf pack --cap 16MB
  golf pack quickstart --cap 900kB --out small.bin
  golf pack --cap 16MB --code-bytes auto
  golf pack --cap 16_000_000 --code-bytes 52000 --json
  golf pack --cap 150kB --set pack.tune_tokens=0""",
)
@click.argument("run", required=False, type=UserPath(), shell_complete=offers.runs)
@click.option(
    "--cap", type=Size(), help="Most bytes of artifact + code: 16MB, 16MiB, 900kB, 16_000_000; default: recipe's."
)
@click.option(
    "--code-bytes",
    type=CodeBytes(),
    help="Bytes of code counted into the cap; auto: the script that golf export ships; default: recipe's.",
)
@click.option("--out", type=UserPath(), help="The artifact's path; default artifact.bin in the run.")
@pack_set_option
@click.option("--curve", is_flag=True, help="Do what golf curve does instead.")
@click.option("--points", type=click.IntRange(2, 100), help="Sizes of --curve; default 8.")
@device_option
@json_option
def pack(
    run: Path | None,
    cap: int | None,
    code_bytes: int | Literal["auto"] | None,
    out: Path | None,
    settings: tuple[str, ...],
    curve: bool,
    points: int | None,
    device: str,
    as_json: bool,
) -> None:
    """Pack RUN (a name or a folder, by default the newest run) into one file under the cap.

    Writes artifact.bin and ledger.json, its bytes by part and by matrix.
    """
    from golf.cli.choose import chosen_run
    from golf.cli.curve import POINTS, make_curve
    from golf.errors import UsageError

    if points is not None and not curve:
        raise UsageError("--points are those of --curve; add it, or drop them")
    chosen = chosen_run(run)
    target = out or chosen.artifact
    if target.is_dir() or not target.name:
        raise UsageError(f"--out {out} is a folder; name a file")
    if curve:
        if cap is not None:
            raise UsageError("--curve packs at every size; drop --cap")
        if code_bytes == "auto":
            raise UsageError("--curve packs at every size, code aside; give --code-bytes as a number, or none")
        make_curve(chosen, target.parent, points or POINTS, code_bytes, settings, device, as_json)
        return
    _pack(chosen, target, cap, code_bytes, settings, device, as_json)


def _pack(
    run: Run,
    target: Path,
    cap: int | None,
    code_bytes: int | Literal["auto"] | None,
    settings: tuple[str, ...],
    device: str,
    as_json: bool,
) -> None:
    from golf import api
    from golf.cli.terminal import next_command, note, show, show_json, watching
    from golf.report import factor_tables, ledger_tables, pack_summary
    from golf.runtime.json_values import to_json

    result = api.pack(
        run.folder,
        cap=cap,
        code_bytes=code_bytes,
        out=target,
        settings=settings,
        device=device,
        observing=watching(),
    )
    if not result.binding:
        note(
            f"the cap of {result.cap:,} bytes is larger than needed: at {result.size + result.code_bytes:,} the loss "
            "gap on training text is within pack.target_gap already; a larger model would use the rest, or --set "
            "pack.target_gap with less"
        )
    if as_json:
        show_json(to_json(result))
    else:
        show([*ledger_tables(result.ledger), *factor_tables(result), pack_summary(result)])
        next_command(f"golf verify {target}")
