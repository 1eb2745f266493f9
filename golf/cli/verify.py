"""`golf verify`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import click

from golf.cli.options import Size, device_option, json_option

if TYPE_CHECKING:
    from golf.evaluation.verify import Bounds


@click.command(
    short_help="Rebuild, measure and judge an artifact.",
    epilog="""Examples:

\b
  golf verify artifact.bin
  golf verify artifact.bin --cap 16MB --max-bpb 1.3
  golf verify artifact.bin --data other.txt --json
  golf verify artifact.bin --data data/datasets/fineweb10B_sp1024""",
)
@click.argument("artifact", type=click.Path(path_type=Path))
@click.option("--cap", type=Size(), help="Hold file + code against this cap instead of the artifact's own.")
@click.option(
    "--code-bytes", type=click.IntRange(min=0), help="Bytes of code counted into the cap; default: the artifact's."
)
@click.option("--max-bpb", type=click.FloatRange(min=0, min_open=True), help="Largest bits per byte allowed.")
@click.option("--recipe", help="Take cap, code bytes and largest bits per byte from this recipe's [budget].")
@click.option(
    "--data",
    type=click.Path(exists=True, path_type=Path),
    help="Measure on this text: file, folder, .jsonl, or token shards (the validation shards of a folder).",
)
@click.option("--max-memory", type=Size(), help="Most bytes that decoding may take; default 1GiB.")
@device_option
@json_option
def verify(
    artifact: Path,
    cap: int | None,
    code_bytes: int | None,
    max_bpb: float | None,
    recipe: str | None,
    data: Path | None,
    max_memory: int | None,
    device: str,
    as_json: bool,
) -> None:
    """Rebuild the model from ARTIFACT alone, measure its loss, and hold both against the caps.

    A bare name that is not here is looked up in the newest run. Exit codes: 0 verified, 3 a bound is broken, 4 damaged.
    """
    from golf.artifact import Limits
    from golf.cli.terminal import note, show, show_json, watching
    from golf.errors import ClaimError, UsageError
    from golf.evaluation.verify import verify as verify_flow
    from golf.report import verdict_table
    from golf.runtime.device import resolve_device
    from golf.runtime.interrupt import listening
    from golf.runtime.json_values import to_json

    if max_bpb is not None and math.isnan(max_bpb):
        raise UsageError("--max-bpb must be a number")
    path = find_artifact(artifact)
    bounds = _bounds(cap, code_bytes, max_bpb, recipe)
    limits = Limits(max_decoded=max_memory) if max_memory else Limits()
    with listening() as stop, watching() as observer:
        verdict = verify_flow(
            path,
            bounds=bounds,
            data=data,
            device=resolve_device(device),
            stop=stop,
            limits=limits,
            observer=observer,
        )
    for text in verdict.notes:
        note(text)
    if as_json:
        show_json(to_json(verdict) | {"passed": verdict.passed, "claim_held": verdict.claim_held})
    else:
        show([verdict_table(verdict)])
    if not verdict.passed:
        failed = ", ".join(check.name for check in verdict.checks if check.passed is False)
        raise ClaimError(f"{path} fails: {failed}")


def find_artifact(path: Path) -> Path:
    """`path` itself, or, for a bare name that does not exist here, the file of that name in the newest run."""
    from golf.run.folder import from_here, newest_run
    from golf.run.workspace import find_workspace

    if path.exists() or len(path.parts) > 1:
        return path
    return from_here(newest_run(find_workspace(Path.cwd()).artifacts, having=path.name).folder / path.name)


def _bounds(cap: int | None, code_bytes: int | None, max_bpb: float | None, recipe: str | None) -> Bounds:
    """Bounds from the flags, and from the recipe where a flag is missing."""
    from golf.evaluation.verify import Bound, Bounds
    from golf.recipe import find_recipe, load_recipe

    given = {"cap": cap, "code_bytes": code_bytes, "max_bpb": max_bpb}
    flags = {"cap": "--cap", "code_bytes": "--code-bytes", "max_bpb": "--max-bpb"}
    bounds = {key: Bound(value, flags[key]) for key, value in given.items() if value is not None}
    if recipe is not None:
        path = find_recipe(recipe)
        budget = load_recipe(path).budget
        for key in given:
            if (value := getattr(budget, key)) is not None:
                bounds.setdefault(key, Bound(value, str(path)))
    return Bounds(**bounds)
