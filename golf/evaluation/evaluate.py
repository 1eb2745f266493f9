"""Measure bits per byte of an artifact or a checkpoint on any text, with any window and stride."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from golf.artifact import open_artifact
from golf.data import (
    Accounting,
    evaluation_tokens,
    holds_shards,
    load_tokenizer,
    refuse_other_tokenizer,
    text_accounting,
    text_tokens,
)
from golf.errors import DamagedCheckpoint, DataError, UsageError
from golf.evaluation.loss import measure_loss
from golf.evaluation.rebuild import Rebuilt, rebuild
from golf.evaluation.results import Evaluation
from golf.model import BOS_ID
from golf.recipe import Data, recipe_from_dict
from golf.run.checkpoint import load_checkpoint, load_latest
from golf.run.load_model import load_model
from golf.run.state import RunState
from golf.runtime.interrupt import StopFlag
from golf.runtime.observer import Observer

_STOPPED = "stopped while measuring"
_ALL = 1 << 40


def evaluate(
    path: Path,
    *,
    data: Path | None,
    tokens: int | None,
    window: int | None,
    stride: int | None,
    reset: bool,
    device: torch.device,
    stop: StopFlag,
    observer: Observer = Observer(),
) -> Evaluation:
    """Measure the model in `path`, an artifact, a run's folder or a checkpoint, on the text at `data`.

    `data` is a folder of the contest's shards, of which the validation shards are scored, one .bin file, or text; by
    default the recipe's own validation split. At most `tokens` tokens are read. `window` defaults to the recipe's
    sequence length; without `stride` adjacent windows without overlap are scored, as the contest does by default.
    `reset` keeps the context within a document. Raises UsageError, DataError, DamagedFile.
    """
    began, check = time.monotonic(), partial(stop.raise_if_stopped, _STOPPED)
    loaded = _load(path, check, observer)
    if data is not None and holds_shards(data):
        refuse_other_tokenizer(data, loaded.tokenizer)
    text, name, counted = _text(loaded, data, tokens, check)
    length = window or loaded.recipe.train.sequence_length
    if stride is not None and stride > length:
        raise UsageError(f"--stride {stride} is more than the window {length}: some targets would never be scored")
    starts = np.flatnonzero(text[:-1] == BOS_ID).astype(np.int64)
    if reset and (not len(starts) or starts[0]):
        starts = np.concatenate(([0], starts))
    found = measure_loss(
        loaded.model.to(device),
        text,
        loaded.tokenizer.byte_counts(text),
        sequence_length=length,
        stride=length if reset and stride is None else stride,
        documents=starts if reset else None,
        device=device,
        progress=lambda share: observer.stage("measure", share),
        stop=check,
    )
    seconds = time.monotonic() - began
    return Evaluation(
        model=path,
        text=name,
        loss=found.loss,
        bpb=found.bpb,
        tokens=found.tokens,
        bytes=found.bytes,
        text_bytes=None if counted is None else counted.text_bytes,
        counted_bytes=None if counted is None else counted.counted_bytes,
        window=length,
        stride=stride,
        reset=reset,
        documents=len(starts),
        seconds=round(seconds, 3),
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
    recipe = recipe_from_dict(state.recipe, source=str(path))
    if "tokenizer" not in checkpoint.tensors or not state.tokenizer_kind:
        raise DamagedCheckpoint(str(path), "lacks its tokenizer: another release wrote it")
    # a tensor cannot be empty, so a checkpoint of bytes holds one zero
    serialized = b"" if state.tokenizer_kind == "bytes" else checkpoint.tensors["tokenizer"].numpy().tobytes()
    tokenizer = load_tokenizer(state.tokenizer_kind, serialized)
    model = load_model(checkpoint.tensors, recipe, tokenizer.vocab_size, source=str(path))
    return Rebuilt(model.eval(), tokenizer, recipe)


def _text(
    loaded: Rebuilt, data: Path | None, tokens: int | None, check: partial[None]
) -> tuple[NDArray[np.uint16], str, Accounting | None]:
    """Tokens to score, the text's name, and the bytes of tokens and text where they are known."""
    section, limit = loaded.recipe.data, tokens or _ALL
    if data is not None and data.is_dir() and holds_shards(data):
        section, data = Data(source="shards", path=str(data)), None
    if data is None:
        name = section.path or "this Python's standard library"
        found = evaluation_tokens(section, loaded.tokenizer, limit=tokens, stop=check)
        name = f"the validation split of {name}"
    else:
        name, found = str(data), text_tokens(data, section, loaded.tokenizer, limit=tokens, stop=check)
    if len(found) < 2:
        raise DataError(f"{name} holds no text to score; name another with --data")
    return found, name, text_accounting(section, loaded.tokenizer, path=data, limit=limit, stop=check)
