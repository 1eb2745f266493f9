"""Shards that somebody points at. They do not say which tokenizer made them; what lies around them does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from golf.data.corpus import SPLITS
from golf.data.tokenizer import Tokenizer
from golf.errors import EnvironmentFailure, UsageError

# Where golf data prepare puts the tokenizer; the contest keeps those of datasets/NAME/ in tokenizers/.
TOKENIZER_FILE, _DATASETS, _TOKENIZERS = "tokenizer.model", "datasets", "tokenizers"


def holds_shards(path: Path) -> bool:
    """Whether `path` is a shard, or a folder with some of a split: artifacts are called .bin too."""
    return path.suffix == ".bin" or (path.is_dir() and any(any(path.glob(f"*_{split}_*.bin")) for split in SPLITS))


def refuse_other_tokenizer(path: Path, tokenizer: Tokenizer) -> None:
    """Raise UsageError where the shards at `path` are known to be of another tokenizer: to this one they are gibberish.

    Known from tokenizer.model beside them, or, as the contest lays its files out, from tokenizers/ beside datasets/.
    """
    folder = path if path.is_dir() else path.parent
    beside = folder / TOKENIZER_FILE
    models = [beside] if beside.is_file() else list(_published(folder)) if tokenizer.serialized else []
    try:
        if models and tokenizer.serialized not in (model.read_bytes() for model in models):
            raise UsageError(f"{path} holds tokens of another tokenizer than the model's: {models[0]}")
    except OSError as error:
        raise EnvironmentFailure(f"cannot read {error.filename}: {error.strerror or error}") from error


def _published(folder: Path) -> Iterator[Path]:
    place = folder.absolute().parent
    return place.parent.joinpath(_TOKENIZERS).glob("*.model") if place.name == _DATASETS else iter(())
