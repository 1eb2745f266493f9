"""Measure bits per byte of an artifact or a checkpoint on any text, with any window and stride."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import numpy as np
import torch

from golf.artifact import open_artifact
from golf.data import load_tokenizer
from golf.errors import DamagedCheckpoint, UsageError
from golf.evaluation.find_text import TextChoice, TextFinder
from golf.evaluation.rebuild import Rebuilt, rebuild
from golf.evaluation.results import Evaluation
from golf.evaluation.score_text import score_text
from golf.model import BOS_ID
from golf.run.checkpoint import load_checkpoint, load_latest
from golf.run.load_model import load_model
from golf.run.state import RunState, recipe_of
from golf.runtime.interrupt import StopFlag
from golf.runtime.observer import Observer

_STOPPED = "stopped while measuring"


def evaluate(
    path: Path,
    *,
    choice: TextChoice,
    stride: int | None,
    reset: bool,
    device: torch.device,
    stop: StopFlag,
    observer: Observer = Observer(),
) -> Evaluation:
    """Measure the model in `path`, an artifact, a run's folder or a checkpoint, on the text of `choice`.

    Its `data` is a folder of the contest's shards, of which the validation shards are scored, one .bin file, or text;
    by default the recipe's own validation split. At most its `tokens` tokens are read, all by default. The window is
    the recipe's sequence length by default; without `stride` adjacent windows without overlap are scored, as the
    contest does by default. `reset` keeps the context within a document. Bytes of shards are counted where their
    tokenizer is known to be the model's. Raises UsageError, DataError, DamagedFile.
    """
    began, check = time.monotonic(), partial(stop.raise_if_stopped, _STOPPED)
    loaded = _load(path, check, observer)
    own_run = str(path) if path.is_dir() or path.suffix == ".safetensors" else None
    finder = TextFinder(loaded, choice, check, observer.note, own_run)
    named = finder.as_recipe_reads(choice.tokens)
    length = choice.window or loaded.recipe.train.sequence_length
    if stride is not None and stride > length:
        raise UsageError(f"--stride {stride} is more than the window {length}: some targets would never be scored")
    starts = np.flatnonzero(named.text.tokens[:-1] == BOS_ID).astype(np.int64)
    if reset and (not len(starts) or starts[0]):
        starts = np.concatenate(([0], starts))
    score = score_text(
        loaded.model.to(device),
        named.text,
        loaded.tokenizer,
        sequence_length=length,
        stride=length if reset and stride is None else stride,
        resets=starts if reset else None,
        device=device,
        progress=lambda share: observer.stage("measure", share),
        stop=check,
    )
    return Evaluation(
        **vars(named.measured(score)),
        model=path,
        window=length,
        stride=stride,
        reset=reset,
        documents=len(starts),
        seconds=round(time.monotonic() - began, 3),
    )


def _load(path: Path, check: partial[None], observer: Observer) -> Rebuilt:
    """The model, tokenizer and recipe of an artifact, a checkpoint, or the newest sound one of a run's folder.

    Weights of a checkpoint are the moving average where there is one.
    """
    if path.is_dir():
        checkpoint, note = load_latest(path)
        if note:
            observer.note(note)
    elif path.suffix != ".safetensors":
        return rebuild(open_artifact(path), poll=check)
    else:
        checkpoint = load_checkpoint(path)
    state = RunState.of(checkpoint.state, source=str(path))
    recipe = recipe_of(state, source=str(path))
    if "tokenizer" not in checkpoint.tensors or not state.tokenizer_kind:
        raise DamagedCheckpoint(str(path), "lacks its tokenizer: another release wrote it")
    # a tensor cannot be empty, so a checkpoint of bytes holds one zero
    serialized = b"" if state.tokenizer_kind == "bytes" else checkpoint.tensors["tokenizer"].numpy().tobytes()
    tokenizer = load_tokenizer(state.tokenizer_kind, serialized)
    model = load_model(checkpoint.tensors, recipe, tokenizer.vocab_size, source=str(path))
    return Rebuilt(model.eval(), tokenizer, recipe)
