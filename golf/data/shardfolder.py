"""Recognize folders of token shards, and check the tokenizer model next to them, which shards do not name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from golf.data.corpus import SPLITS
from golf.data.tokenizer import Tokenizer
from golf.errors import EnvironmentFailure, UsageError

# The tokenizer that golf data prepare writes; and the contest's layout, datasets/NAME/ with models in tokenizers/.
TOKENIZER_FILE, _DATASETS, _TOKENIZERS = "tokenizer.model", "datasets", "tokenizers"


def holds_shards(path: Path) -> bool:
    """Whether `path` ends in .bin, or is a folder with shards of a split."""
    return path.suffix == ".bin" or (path.is_dir() and any(any(path.glob(f"*_{split}_*.bin")) for split in SPLITS))


def refuse_other_tokenizer(path: Path, tokenizer: Tokenizer) -> None:
    """Raise UsageError where the shards at `path` are known to be of another tokenizer.

    Known from tokenizer.model next to them, or, in the contest's layout, from tokenizers/ next to datasets/.
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
