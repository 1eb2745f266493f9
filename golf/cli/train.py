"""`golf train`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from golf.cli import offers
from golf.cli.options import UserPath, device_option, json_option, recipe_set_option

if TYPE_CHECKING:
    from golf.recipe import Recipe
    from golf.run.folder import Run


@click.command(
    short_help="Train a model by a recipe.",
    epilog="""Examples:

\b
  golf train
  golf train recipes/numuon-16mb.toml --dry-run
  golf train quickstart --set train.steps=1000 --set optimizer.name=muon --out artifacts/muon
  golf train --resume
  golf train --resume --out artifacts/muon
  golf train numuon-16mb --auto-resume
  golf train numuon-16mb --nproc 8
  torchrun --nproc_per_node=8 -m golf train numuon-16mb""",
)
@click.argument("recipe", required=False, shell_complete=offers.recipes)
@click.option(
    "--out",
    type=UserPath(),
    help="Folder of the run; default artifacts/NAME of the recipe.",
    shell_complete=offers.runs,
)
@recipe_set_option
@click.option("--resume", is_flag=True, help="Continue an interrupted run from its checkpoint: the newest, or --out's.")
@click.option("--auto-resume", is_flag=True, help="Continue the run where it has a checkpoint, else start it.")
@click.option("--force", is_flag=True, help="Start over in a folder that holds a run.")
@device_option
@click.option(
    "--nproc", type=click.IntRange(1, 1024), default=1, help="Processes that share the training, one per GPU."
)
@click.option(
    "--log",
    "trackers",
    multiple=True,
    type=click.Choice(["tensorboard", "wandb", "trackio", "mlflow"]),
    help="Send the metrics there too (repeatable); offline, unless the tracker's own variables say otherwise.",
)
@click.option("--dry-run", is_flag=True, help="Show sizes, optimizers and estimated time; write nothing.")
@json_option
def train(
    recipe: str | None,
    out: Path | None,
    settings: tuple[str, ...],
    resume: bool,
    auto_resume: bool,
    force: bool,
    device: str,
    nproc: int,
    trackers: tuple[str, ...],
    dry_run: bool,
    as_json: bool,
) -> None:
    """Train the model of RECIPE: a path, or the name of a shipped recipe; by default golf.toml's.

    Writes recipe.toml, metrics.jsonl and checkpoint.safetensors into the run's folder. Ctrl-C saves and stops.
    """
    from golf.cli.choose import default_recipe
    from golf.errors import UsageError
    from golf.recipe import find_recipe, load_recipe
    from golf.run.folder import Run, from_here
    from golf.run.workspace import find_workspace

    if auto_resume and (resume or force):
        raise UsageError(f"--auto-resume decides what --{'resume' if resume else 'force'} says; drop one of the two")
    workspace = find_workspace(Path.cwd())
    if resume and recipe is None and out is None:
        out = _interrupted(workspace.artifacts)
    if resume and recipe is None and out is not None and Run(out).recipe.exists():
        source = Run(out).recipe  # the run's own resolved recipe
    else:
        source = find_recipe(recipe) if recipe else default_recipe(workspace)
    resolved = load_recipe(source, settings)
    if dry_run:
        _dry_run(resolved, device, as_json)
        return
    run = Run(from_here(out or workspace.artifacts / resolved.name))
    resume = resume or (auto_resume and (run.checkpoint.exists() or run.previous_checkpoint.exists()))
    if nproc > 1:
        from golf.cli.launch import launch

        sys.exit(launch(nproc))
    _train(resolved, run, device, trackers, resume=resume, force=force, as_json=as_json)


def _interrupted(artifacts: Path) -> Path | None:
    """The folder of the newest run whose training has not ended, which is named; None where there is none."""
    from golf.cli.terminal import note
    from golf.run.find import interrupted_run
    from golf.run.folder import from_here, read_metrics

    if (found := interrupted_run(artifacts)) is None:
        return None
    steps = [record["step"] for record in read_metrics(found.metrics) if "step" in record]
    note(f"resuming {from_here(found.folder)}, whose last logged step is {steps[-1] if steps else 0}")
    return from_here(found.folder)


def _dry_run(recipe: Recipe, device: str, as_json: bool) -> None:
    from golf.cli.terminal import note, show, show_json
    from golf.report import plan_tables
    from golf.runtime.device import resolve_device
    from golf.runtime.json_values import to_json
    from golf.runtime.regular import user_path
    from golf.training.dry_run import plan

    data, tokenizer = recipe.data, recipe.tokenizer
    named = {"data.path": data.path, "data.val_path": data.val_path, "tokenizer.path": tokenizer.path}
    for key, path in named.items():
        if path is not None and not user_path(path).exists():
            note(f"{key} = {path} does not exist, seen from where golf runs; it must before training")
    planned = plan(recipe, device=resolve_device(device))
    if as_json:
        show_json(to_json(planned))
    else:
        show(plan_tables(planned))


def _train(
    recipe: Recipe,
    run: Run,
    device: str,
    trackers: tuple[str, ...],
    *,
    resume: bool,
    force: bool,
    as_json: bool,
) -> None:
    from golf import api
    from golf.cli.terminal import next_command, show, show_json, watching
    from golf.cli.trackers import tracked
    from golf.report import training_table
    from golf.runtime.json_values import to_json

    watch = watching(recipe.train.steps)
    if trackers:
        watch = tracked(watch, trackers, run, recipe)
    result = api.train(recipe, out=run.folder, resume=resume, force=force, device=device, observing=watch)
    if result is None:  # not the first of several processes
        return
    if as_json:
        show_json(to_json(result))
    else:
        show([training_table(result)])
        next_command(f"golf pack {run.folder}")
