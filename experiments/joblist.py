"""Long lists of runs, shared by several processes: each finished run is one JSON file, and is never repeated.

A process claims a run by a file; delete the .claimed files of killed processes.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol, TypeVar

from golf.runtime import durable


class Job(Protocol):
    """One run."""

    @property
    def key(self) -> str:
        """Name of its result, without suffix."""


AnyJob = TypeVar("AnyJob", bound=Job)


def name_of(*parts: object) -> str:
    """A file's name from parts: lower case, dashes for what is no letter or digit in the first."""
    first, *others = map(str, parts)
    plain = "".join(c if c.isalnum() else "-" for c in first.lower()).replace("--", "-")
    return "-".join([plain, *others])


def work(out: Path, jobs: Callable[[], Iterable[AnyJob]], run: Callable[[AnyJob], dict[str, Any]]) -> None:
    """Do what nobody has done or begun, until nothing is left; `jobs` is asked anew after each."""
    out.mkdir(parents=True, exist_ok=True)
    while (job := next((job for job in jobs() if _claim(out, job)), None)) is not None:
        durable.write_text(out / f"{job.key}.json", json.dumps(run(job), indent=1) + "\n")
        (out / f"{job.key}.claimed").unlink()


def results(out: Path) -> list[dict[str, Any]]:
    """Everything that is finished."""
    return [json.loads(path.read_text()) for path in sorted(out.glob("*.json"))]


def _claim(out: Path, job: Job) -> bool:
    """Whether this process may do `job`: nobody has a result or works on it."""
    if (out / f"{job.key}.json").exists():
        return False
    try:
        os.close(os.open(out / f"{job.key}.claimed", os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def main(
    about: str | None,
    jobs: Callable[[Path], Iterable[AnyJob]],
    run: Callable[[AnyJob], dict[str, Any]],
    report: Callable[[Path], None],
) -> None:
    """The command line of such a benchmark: work, then report; `jobs` is given the folder of the results."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--report", action="store_true", help="only show what is there")
    arguments = parser.parse_args()
    if not arguments.report:
        work(arguments.out, lambda: jobs(arguments.out), run)
    report(arguments.out)
