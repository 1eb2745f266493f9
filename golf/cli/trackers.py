"""Send a training's records to experiment trackers: each is a package of its own, and stays offline by default."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from golf.recipe import Recipe
    from golf.run.folder import Run
    from golf.runtime.observer import Observer

# Takes the figures of one step, by name.
Log = Callable[[dict[str, float], int], None]


@contextmanager
def tracked(
    watch: AbstractContextManager[Observer], names: tuple[str, ...], run: Run, recipe: Recipe
) -> Iterator[Observer]:
    """The Observer of `watch`, whose records go to the trackers too; raises ImportError where a package is missing."""
    with ExitStack() as stack:
        logs = [stack.enter_context(TRACKERS[name](run, recipe)) for name in names]
        observer = stack.enter_context(watch)

        def record(figures: dict[str, Any]) -> None:
            observer.record(figures)
            scalars = numbers(figures)
            for log in list(logs):
                try:
                    log(scalars, figures["step"])
                except Exception as error:  # a tracker's fault must not end a training
                    logs.remove(log)
                    observer.note(f"a tracker failed and gets no more records: {error}")

        yield replace(observer, record=record)


def numbers(record: dict[str, Any], prefix: str = "") -> dict[str, float]:
    """The numbers of a record, those of nested tables as "stable_rank/mlp.up"; figures of single matrices stay out."""
    found: dict[str, float] = {}
    for key, value in record.items():
        if isinstance(value, dict) and key != "matrices":
            found |= numbers(value, f"{prefix}{key}/")
        elif isinstance(value, (int, float)) and not isinstance(value, bool) and key != "step":
            found[prefix + key] = float(value)
    return found


@contextmanager
def _tensorboard(run: Run, recipe: Recipe) -> Iterator[Log]:
    """Event files beside the runs: tensorboard --logdir artifacts/tensorboard."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ImportError("--log tensorboard needs tensorboard; install it with: pip install tensorboard") from None
    from golf.recipe import recipe_to_toml

    with SummaryWriter(str(run.folder.parent / "tensorboard" / run.name)) as writer:
        writer.add_text("recipe", f"```\n{recipe_to_toml(recipe)}```")

        def log(figures: dict[str, float], step: int) -> None:
            for name, value in figures.items():
                writer.add_scalar(name, value, step)

        yield log


@contextmanager
def _wandb(run: Run, recipe: Recipe) -> Iterator[Log]:
    """Weights & Biases; offline beside the runs, unless WANDB_MODE says otherwise."""
    wandb = _package("wandb")
    mode = os.environ.get("WANDB_MODE", "offline")
    config = recipe.model_dump(mode="json")
    made = wandb.init(project="golf", name=run.name, dir=str(run.folder.parent), mode=mode, config=config)
    try:
        yield lambda figures, step: made.log(figures, step=step)
    finally:
        made.finish()


@contextmanager
def _trackio(run: Run, recipe: Recipe) -> Iterator[Log]:
    """Trackio's local database; TRACKIO_SPACE_ID would name a space on the hub."""
    trackio = _package("trackio")
    trackio.init(project="golf", name=run.name, config=recipe.model_dump(mode="json"))
    try:
        yield lambda figures, step: trackio.log(figures, step=step)
    finally:
        trackio.finish()


@contextmanager
def _mlflow(run: Run, recipe: Recipe) -> Iterator[Log]:
    """MLflow; a folder beside the runs, unless MLFLOW_TRACKING_URI says otherwise."""
    mlflow = _package("mlflow")
    if "MLFLOW_TRACKING_URI" not in os.environ:
        mlflow.set_tracking_uri((run.folder.resolve().parent / "mlruns").as_uri())
    mlflow.set_experiment("golf")
    with mlflow.start_run(run_name=run.name):
        mlflow.log_params({"recipe": recipe.name, "seed": recipe.seed, "optimizer": recipe.optimizer.name})
        yield lambda figures, step: mlflow.log_metrics(
            {name.replace("@", "_"): value for name, value in figures.items()}, step=step
        )


def _package(name: str) -> Any:
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError as error:
        raise ImportError(f"--log {name} needs {name} ({error}); install it with: pip install {name}") from None


TRACKERS = {"tensorboard": _tensorboard, "wandb": _wandb, "trackio": _trackio, "mlflow": _mlflow}
