"""Import a state_dict of the contest's script as a run that golf can pack."""

from __future__ import annotations

import pickle
import struct
import warnings
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from golf.data import prepare
from golf.errors import DamagedFile, EnvironmentFailure, UsageError
from golf.model import Transformer
from golf.model.contest_names import from_contest
from golf.recipe import Recipe, recipe_to_toml
from golf.run.checkpoint import save_checkpoint
from golf.run.folder import Run
from golf.run.state import RunState
from golf.runtime import durable
from golf.runtime.interrupt import StopFlag
from golf.runtime.observer import Observer
from golf.runtime.regular import regular

_STOPPED = "stopped; nothing was imported"
# Exceptions that torch.load and safetensors raise for malformed files, besides their own.
_NOISE = (ValueError, IndexError, KeyError, TypeError, AttributeError, AssertionError, OverflowError, struct.error)


@dataclass(frozen=True)
class Imported:
    """Result of an import: the run, and the number of its parameters and tensors."""

    run: Path
    parameters: int
    tensors: int


def import_weights(
    path: Path, recipe: Recipe, run: Run, *, cache: Path, stop: StopFlag, observer: Observer = Observer()
) -> Imported:
    """Write the state_dict in `path`, saved by the contest's script, as the checkpoint of `run` with `recipe`.

    A .pt file is read through torch's weights_only, so no code in it runs; others are safetensors. Raises UsageError
    naming every key that does not fit the recipe's model, DamagedFile for a file that is neither.
    """
    theirs = _read(path)
    data = prepare(
        recipe.data,
        recipe.tokenizer,
        cache=cache,
        progress=observer.stage,
        stop=partial(stop.raise_if_stopped, _STOPPED),
    )
    try:
        weights = from_contest(theirs, recipe.model, data.tokenizer.vocab_size)
    except UsageError as error:
        raise UsageError(f"{path} does not fit the recipe: {error}") from None
    for name, weight in weights.items():
        if not bool(torch.isfinite(weight).all()):
            raise DamagedFile(str(path), f"{name} is not finite")
    model = Transformer(recipe.model, data.tokenizer.vocab_size)
    model.load_state_dict(weights)
    tensors = {f"model.{name}": tensor for name, tensor in weights.items()}
    tensors["tokenizer"] = torch.frombuffer(bytearray(data.tokenizer.serialized or b"\0"), dtype=torch.uint8)
    state = RunState(
        step=recipe.train.steps,
        recipe=recipe.model_dump(mode="json"),
        text=data.fingerprint,
        tokenizer_kind=data.tokenizer.kind,
        vocab_size=data.tokenizer.vocab_size,
        threads=torch.get_num_threads(),
    )
    _write(run, recipe, tensors, state)
    return Imported(run.folder, sum(weight.numel() for weight in weights.values()), len(weights))


def _write(run: Run, recipe: Recipe, tensors: dict[str, Tensor], state: RunState) -> None:
    """Replace the run's files by a recipe and a checkpoint; on a failure neither is left."""
    run.clear()
    try:
        durable.write_text(run.recipe, recipe_to_toml(recipe))
        save_checkpoint(run.checkpoint, tensors, state.to_json())
    except BaseException:
        run.recipe.unlink(missing_ok=True)
        raise


def _read(path: Path) -> dict[str, Tensor]:
    """The state_dict in a file; one level of nesting under `model` or `state_dict` is opened."""
    if regular(path).is_dir():
        raise UsageError(f"{path} is a folder; give the file with the state_dict")
    try:
        if path.suffix in (".pt", ".pth", ".bin"):
            with warnings.catch_warnings():  # warnings about the pickle's protocol do not help the user
                warnings.simplefilter("ignore")
                found = torch.load(path, map_location="cpu", weights_only=True)
        else:
            found = safetensors.torch.load_file(path)
    except FileNotFoundError:
        raise UsageError(f"{path} does not exist") from None
    except (pickle.UnpicklingError, safetensors.SafetensorError, RuntimeError, EOFError, *_NOISE) as error:
        reason = (str(error).splitlines() or ["it is cut short"])[0][:120]
        raise DamagedFile(str(path), f"is no state_dict that loads without running code ({reason})") from None
    except OSError as error:
        raise EnvironmentFailure(f"cannot read {path}: {error.strerror or error}") from error
    for key in ("model", "state_dict", "model_state_dict"):
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise DamagedFile(str(path), "holds something else than tensors by name")
    return {str(name): tensor for name, tensor in found.items()}
