"""Download files of a dataset repository on the Hugging Face hub; resume interrupted ones, check size and digest."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from golf.errors import DataError, EnvironmentFailure, UsageError
from golf.runtime import durable

# A download reports the share of the file that has arrived, 0 to 1.
Progress = Callable[[float], None]
_BLOCK = 1 << 22
# Digests that the hub names: SHA-256 of large files, git's SHA-1 of small ones.
_SHA256, _GIT = re.compile(r"[0-9a-f]{64}"), re.compile(r"[0-9a-f]{40}")


class Hub:
    """One dataset repository at one revision."""

    def __init__(self, repository: str, revision: str | None, staging: Path) -> None:
        """Files are downloaded into the folder `staging` first, where a later attempt resumes them."""
        self.repository, self.revision, self.staging = repository, revision, staging

    def fetch(self, name: str, destination: Path, progress: Progress) -> bool:
        """Put the repository's file `name` at `destination` unless it is there; return whether it was downloaded.

        Size and digest of an existing or downloaded file must be those that the hub states. Raises DataError where the
        hub has no such file, EnvironmentFailure where it cannot be reached, or breaks off, or sends another content;
        `progress` may raise to stop.
        """
        hub, endpoint = _library(), os.environ.get("HF_ENDPOINT")
        with _failures_named(f"{self.repository}: {name}"):
            url = hub.hf_hub_url(self.repository, name, repo_type="dataset", revision=self.revision, endpoint=endpoint)
            facts = hub.get_hf_file_metadata(url, endpoint=endpoint)
            if destination.is_file() and _differs(destination, facts.size, facts.etag) is None:
                return False
            arrived = Path(
                hub.hf_hub_download(
                    self.repository,
                    name,
                    repo_type="dataset",
                    revision=self.revision,
                    local_dir=self.staging,
                    endpoint=endpoint,
                    tqdm_class=_bar(progress),
                )
            )
        if (difference := _differs(arrived, facts.size, facts.etag)) is not None:
            arrived.unlink()
            raise EnvironmentFailure(f"{name} arrived {difference}; it was thrown away, run the command again")
        destination.parent.mkdir(parents=True, exist_ok=True)
        arrived.replace(destination)
        durable.sync(destination.parent)
        return True


def _library() -> Any:
    try:
        import huggingface_hub
    except ImportError:
        raise EnvironmentFailure('huggingface_hub is not installed; install it with: pip install "golf[hub]"') from None
    return huggingface_hub


def _differs(path: Path, size: int | None, digest: str | None) -> str | None:
    """How a file differs from what the hub states; None where it does not."""
    actual = path.stat().st_size
    if size is not None and actual != size:
        return f"with {actual:,} bytes instead of {size:,}"
    if digest is None or not (_SHA256.fullmatch(digest) or _GIT.fullmatch(digest)):
        return None
    sha = hashlib.sha256() if _SHA256.fullmatch(digest) else hashlib.sha1(b"blob %d\0" % actual, usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            sha.update(block)
    return None if sha.hexdigest() == digest else "altered: its digest is not the hub's"


def _bar(progress: Progress) -> type[Any]:
    """A tqdm class for huggingface_hub that shows nothing and calls `progress`."""
    from tqdm.auto import tqdm  # a dependency of huggingface_hub

    class Bar(tqdm):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            kwargs.pop("name", None)
            super().__init__(*args, **(kwargs | {"disable": True}))
            self.total, self.n = kwargs.get("total") or 0, kwargs.get("initial") or 0

        def update(self, n: float | None = 1) -> bool | None:
            self.n += n or 0
            progress(self.n / self.total if self.total else 0.0)
            return None

    return Bar


@contextmanager
def _failures_named(what: str) -> Iterator[None]:
    """Raise the library's errors as golf's, naming `what`."""
    import logging

    from huggingface_hub import errors

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # golf reports the error itself
    try:
        yield
    except errors.HFValidationError as error:
        raise UsageError(f"{what}: that is no repository's name ({_line(error)})") from None
    except errors.LocalEntryNotFoundError as error:  # before its parent: the hub did not answer, nothing is missing
        raise EnvironmentFailure(f"{what}: the hub does not answer ({_line(error)}); run the command again") from None
    except (errors.EntryNotFoundError, errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise DataError(f"{what}: the hub has no such file, repository or revision ({_line(error)})") from None
    except errors.HfHubHTTPError as error:
        raise EnvironmentFailure(f"{what}: the hub refuses ({_line(error)})") from None
    except OSError as error:
        reason = error.strerror or _line(error)
        raise EnvironmentFailure(f"{what}: {reason}; run the command again, it goes on where it was") from None
    except Exception as error:
        # errors of the library's HTTP client, whose module name changed between releases
        if not type(error).__module__.startswith(("httpx", "httpcore")):
            raise
        raise EnvironmentFailure(
            f"{what}: the hub cannot be reached ({_line(error)}); once online, the same command goes on where it was"
        ) from None


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
