"""`golf import`."""

from __future__ import annotations

from pathlib import Path

import click

from golf.cli.options import UserPath, json_option, recipe_set_option
from golf.runtime.visible import visible


@click.command(
    "import",
    short_help="Import weights that the contest's script saved.",
    epilog="""Examples:

\b
  golf import final_model.pt --recipe baseline-16mb --out artifacts/baseline
  golf import weights.safetensors --recipe mine.toml && golf pack --cap 16MB""",
)
@click.argument("file", type=UserPath())
@click.option("--recipe", required=True, help="The recipe with the weights' model, and with the data for calibration.")
@recipe_set_option
@click.option("--out", type=UserPath(), help="Folder of the run; default artifacts/NAME of the recipe.")
@click.option("--force", is_flag=True, help="Replace an existing run.")
@json_option
def import_(file: Path, recipe: str, settings: tuple[str, ...], out: Path | None, force: bool, as_json: bool) -> None:
    """Import the state_dict in FILE (.pt, .safetensors) as a run for `golf pack` and `golf evaluate`.

    Nothing in FILE is executed. Keys that do not fit the recipe's model are named.
    """
    from golf.cli.terminal import next_command, show_json, watching
    from golf.errors import UsageError
    from golf.recipe import find_recipe, load_recipe
    from golf.run.folder import Run, from_here, lock
    from golf.run.import_weights import import_weights
    from golf.run.workspace import find_workspace
    from golf.runtime.interrupt import listening
    from golf.runtime.json_values import to_json
    from golf.training.train import claim_folder

    if not file.exists():
        raise UsageError(f"{file} does not exist; name a file of weights, .pt or .safetensors")
    workspace = find_workspace(Path.cwd())
    resolved = load_recipe(find_recipe(recipe), settings)
    run = Run(from_here(out or workspace.artifacts / resolved.name))
    instead = "name another --out, or replace it with --force"
    claim_folder(run, resolved, resume=False, force=force, instead=instead)
    with lock(run), listening() as stop, watching() as observer:
        result = import_weights(file, resolved, run, cache=workspace.data, stop=stop, observer=observer)
    if as_json:
        show_json(to_json(result))
    else:
        click.echo(visible(f"imported {result.tensors} tensors, {result.parameters:,} parameters, into {result.run}"))
        next_command(f"golf pack {result.run}")
