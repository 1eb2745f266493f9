"""`golf curve`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from golf.cli import offers
from golf.cli.options import UserPath, device_option, json_option, pack_set_option

if TYPE_CHECKING:
    from golf.packing.results import Curve
    from golf.run.folder import Run

POINTS = 8


@click.command(
    short_help="Pack a run at many sizes and plot bits per byte.",
    epilog="""Examples:

\b
  golf curve
  golf curve quickstart --points 12
  golf curve quickstart --set pack.tune_tokens=0 --out rounding""",
)
@click.argument("run", required=False, type=UserPath(), shell_complete=offers.runs)
@click.option("--points", type=click.IntRange(2, 100), default=POINTS, show_default=True, help="Sizes.")
@click.option("--code-bytes", type=click.IntRange(min=0), help="Bytes of code beside the artifact; default: recipe's.")
@click.option("--out", type=UserPath(file_okay=False), help="Folder of curve.json and curve.png; default: the run's.")
@pack_set_option
@device_option
@json_option
def curve(
    run: Path | None,
    points: int,
    code_bytes: int | None,
    out: Path | None,
    settings: tuple[str, ...],
    device: str,
    as_json: bool,
) -> None:
    """Pack RUN at many sizes, from near the smallest up to pack.target_gap, and measure each; no artifact is kept.

    Each point is written as it is measured: where the command was interrupted, it goes on.
    """
    from golf.cli.choose import chosen_run

    chosen = chosen_run(run)
    make_curve(chosen, out or chosen.folder, points, code_bytes, settings, device, as_json)


def make_curve(
    run: Run,
    folder: Path,
    points: int,
    code_bytes: int | None,
    settings: tuple[str, ...],
    device: str,
    as_json: bool,
) -> None:
    """Write curve.json and curve.png into `folder`, point by point, and show the table."""
    from golf.cli.terminal import note, show, show_json, watching
    from golf.packing.curve import curve as curve_flow
    from golf.report import curve_png, curve_table
    from golf.run.folder import lock
    from golf.run.workspace import find_workspace
    from golf.runtime import durable
    from golf.runtime.device import resolve_device
    from golf.runtime.interrupt import listening
    from golf.runtime.json_values import as_text, to_json

    table, picture = (folder / path.name for path in run.curve)
    with lock(run), listening() as stop, watching() as observer:
        result = curve_flow(
            run,
            points=points,
            code_bytes=code_bytes,
            cache=find_workspace(Path.cwd()).data,
            device=resolve_device(device),
            stop=stop,
            settings=settings,
            observer=observer,
            earlier=_earlier(table),
            keep=lambda so_far: durable.write_text(table, as_text(to_json(so_far))),
        )
        durable.write_bytes(picture, curve_png(result))
    note(f"wrote {table} and {picture}")
    if as_json:
        show_json(to_json(result))
    else:
        show([curve_table(result)])


def _earlier(table: Path) -> Curve | None:
    """The curve of an earlier command, whole or not; None where there is none, or another release wrote it."""
    from golf.packing.results import Curve, CurvePoint

    try:
        found = json.loads(table.read_bytes())
        points = [CurvePoint(**point) for point in found.pop("points")]
        return Curve(**found, points=points)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None  # it is made again, and what is there is replaced
