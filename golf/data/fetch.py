"""Download the contest's published shards, tokenizer and manifest into the layout of its script and golf's recipes."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from golf.data import shard_length
from golf.data.hub import Hub
from golf.data.results import Fetched
from golf.errors import DamagedFile, DataError, UsageError
from golf.runtime.interrupt import StopFlag
from golf.runtime.observer import Observer

REPOSITORY = "willdepueoai/parameter-golf"
# All published files are under this folder of the repository; locally there is no such folder above them.
_ROOT = "datasets"
_STAGING = ".fetch"
_LARGEST_MANIFEST = 4 << 20
_STOPPED = "stopped; the same command goes on where it was"


@dataclass(frozen=True)
class _Plan:
    """Files to download, by path under the repository's root folder."""

    shards: list[str]
    tokenizers: list[str]
    folder: str
    vocab_size: int | None


def fetch(
    *,
    tokenizer: str,
    train_shards: int,
    out: Path,
    repository: str = REPOSITORY,
    revision: str | None = None,
    stop: StopFlag,
    observer: Observer = Observer(),
) -> Fetched:
    """Download validation shards, the first `train_shards` training shards and the tokenizer into `out`.

    Layout: out/manifest.json, out/datasets/NAME/, out/tokenizers/. Complete files are not downloaded again, partial
    ones are resumed. Raises UsageError naming what the manifest lacks, DataError, EnvironmentFailure, Interrupted.
    """
    hub = Hub(repository, revision, out / _STAGING)
    poll = partial(stop.raise_if_stopped, _STOPPED)
    downloaded: list[str] = []

    def get(name: str, done: float = 0.0, share: float = 1.0) -> Path:
        def progress(part: float) -> None:
            poll()
            observer.stage(f"fetch {PurePosixPath(name).name}", done + share * min(part, 1.0))

        progress(0.0)
        if hub.fetch(f"{_ROOT}/{name}", out / name, progress):
            downloaded.append(name)
        return out / name

    plan = _plan(_manifest(get("manifest.json")), tokenizer, train_shards, repository)
    names = [*plan.tokenizers, *plan.shards]
    paths = [get(name, index / len(names), 1 / len(names)) for index, name in enumerate(names)]
    shutil.rmtree(out / _STAGING, ignore_errors=True)
    tokens = {path.name: shard_length(path) for path in paths if path.suffix == ".bin"}
    models = [str(path) for path in paths if path.suffix == ".model"]
    return Fetched(
        folder=out / plan.folder,
        tokenizer=models[0] if models else None,
        vocab_size=plan.vocab_size,
        tokens=tokens,
        downloaded=downloaded,
        bytes=sum(path.stat().st_size for path in paths),
    )


def _manifest(path: Path) -> dict[str, Any]:
    if path.stat().st_size > _LARGEST_MANIFEST:
        raise DamagedFile(str(path), f"has more than {_LARGEST_MANIFEST:,} bytes, which no manifest needs")
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DamagedFile(str(path), f"is no JSON ({error})") from None
    if not isinstance(found, dict):
        raise DamagedFile(str(path), "is no JSON object")
    return found


def _plan(manifest: dict[str, Any], tokenizer: str, train_shards: int, repository: str) -> _Plan:
    """The files that the manifest lists for a tokenizer, by its short name (sp1024, byte260) or its full one."""
    datasets, tokenizers = (_entries(manifest, key) for key in ("datasets", "tokenizers"))
    dataset = next((each for each in datasets if _is(each, tokenizer)), None)
    if dataset is None:
        known = ", ".join(sorted(str(each["name"]) for each in datasets)) or "none"
        raise UsageError(f"{repository} has no dataset for the tokenizer {tokenizer!r}; its datasets: {known}")
    stats = dataset.get("stats") if isinstance(dataset.get("stats"), dict) else {}
    counts = {key: _count(stats, key, dataset) for key in ("files_train", "files_val")}
    if train_shards > counts["files_train"]:
        raise UsageError(
            f"{repository} has {counts['files_train']} training shards of {dataset['name']}, not {train_shards}; "
            "lower --train-shards"
        )
    folder = f"datasets/{_name(dataset['name'])}"
    shards = [f"{folder}/fineweb_val_{i:06d}.bin" for i in range(counts["files_val"])]
    shards += [f"{folder}/fineweb_train_{i:06d}.bin" for i in range(train_shards)]
    entry = next((each for each in tokenizers if each["name"] == dataset.get("tokenizer_name")), {})
    files = [str(entry[key]) for key in ("model_path", "vocab_path", "path") if entry.get(key)]
    for file in files:
        if PurePosixPath(_name(*PurePosixPath(file).parts)).parts[0] != "tokenizers":
            raise DamagedFile("manifest.json", f"names a tokenizer {file!r} outside of tokenizers/")
    vocab_size = dataset.get("vocab_size")
    return _Plan(shards, list(dict.fromkeys(files)), folder, vocab_size if isinstance(vocab_size, int) else None)


def _entries(manifest: dict[str, Any], key: str) -> list[dict[str, Any]]:
    found = manifest.get(key)
    return [each for each in found if isinstance(each, dict) and "name" in each] if isinstance(found, list) else []


def _is(dataset: dict[str, Any], tokenizer: str) -> bool:
    name = str(dataset["name"])
    return tokenizer in (name, dataset.get("tokenizer_name")) or name.endswith(f"_{tokenizer}")


def _count(stats: Any, key: str, dataset: dict[str, Any]) -> int:
    value = stats.get(key)
    if not isinstance(value, int) or not 0 <= value <= 100_000:
        raise DataError(f"the manifest does not say how many {key} {dataset['name']} has")
    return value


def _name(*parts: object) -> str:
    """Join names of a manifest; raises DamagedFile for one that could leave its folder."""
    for part in parts:
        if not isinstance(part, str) or part in ("", ".", "..", "/") or "\\" in part or "/" in part or "\0" in part:
            raise DamagedFile("manifest.json", f"names a file {part!r} that could lie anywhere")
    return "/".join(map(str, parts))
