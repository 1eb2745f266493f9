"""Recognize folders of token shards, and check the tokenizer model next to them, which shards do not name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from golf.data.corpus import SPLITS
from golf.data.tokenizer import Tokenizer
from golf.errors import DataError, EnvironmentFailure, UsageError
from golf.recipe import Data
from golf.runtime.regular import regular, user_path

# The tokenizer that golf data prepare writes; and the contest's layout, datasets/NAME/ with models in tokenizers/.
TOKENIZER_FILE, _DATASETS, _TOKENIZERS = "tokenizer.model", "datasets", "tokenizers"
# Ends the name of the mark beside shards that golf data prepare has not finished.
UNFINISHED = ".unfinished"


def holds_shards(path: Path) -> bool:
    """Whether `path` ends in .bin, or is a folder with shards of a split."""
    return path.suffix == ".bin" or (path.is_dir() and any(any(path.glob(f"*_{split}_*.bin")) for split in SPLITS))


def where_to_get(path: Path) -> str:
    """How a message about the contest's missing files ends: with the command that downloads them."""
    return "; download the contest's with: golf data fetch fineweb" if "fineweb" in path.name else ""


def shard_files(data: Data, split: str) -> list[Path]:
    """The shards of a split in the folder `data.path`, by name; raises DataError where there is none."""
    folder = user_path(data.path or "")
    if marks := sorted(folder.glob(f"*{UNFINISHED}")):
        raise DataError(f"{marks[0]} says that these shards are not all there; run golf data prepare again")
    found = sorted(folder.glob(f"*{split}*.bin"))
    if not found:
        raise DataError(
            f"no file *{split}*.bin in {folder}; data.path is the folder that holds the shards{where_to_get(folder)}"
        )
    return list(found)


def tokenizer_of_shards(path: Path, tokenizer: Tokenizer, *, given: Path | None = None) -> str | None:
    """Who says, besides the model, that the shards at `path` are of its `tokenizer`; None where nobody does.

    That is `given`, tokenizer.model next to the shards, or, in the contest's layout, the model in tokenizers/ next to
    datasets/; where several lie there, the one whose name has the number at the end of the dataset's. Byte tokens have
    one meaning everywhere. Raises UsageError where it is known to be another tokenizer: shards hold no text, and a
    model that came with a tokenizer of its own would say how many bytes it stands for.
    """
    folder = path if path.is_dir() else path.parent
    beside = folder / TOKENIZER_FILE
    models = [given] if given else [beside] if beside.is_file() else list(_published(folder))
    if given is None and not beside.is_file() and not tokenizer.serialized:
        return "byte tokens"
    try:
        same = [str(model) for model in models if regular(model).read_bytes() == tokenizer.serialized]
    except OSError as error:
        raise EnvironmentFailure(f"cannot read {error.filename}: {error.strerror or error}") from error
    if models and not same:
        raise UsageError(f"{path} holds tokens of another tokenizer than the model's: {models[0]}")
    if len(models) > 1:  # else a model could choose among them
        number = re.search(r"\d+$", folder.absolute().name)
        named = [str(model) for model in models if number and number[0] in re.findall(r"\d+", model.stem)]
        same = [model for model in same if named == [model]]
    return same[0] if same else None


def _published(folder: Path) -> Iterator[Path]:
    place = folder.absolute().parent
    return place.parent.joinpath(_TOKENIZERS).glob("*.model") if place.name == _DATASETS else iter(())
