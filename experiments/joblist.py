"""Long lists of runs, shared by several processes: each finished run is one line of a file, and is never repeated.

A process holds a lock for the run it works on, which ends with the process: whoever comes next begins that run anew.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol, TypeVar

from filelock import FileLock, Timeout

from experiments.records import Record, add_out_option, append, read


class Job(Protocol):
    """One run."""

    @property
    def key(self) -> str:
        """What its line is found by."""


AnyJob = TypeVar("AnyJob", bound=Job)


def name_of(*parts: object) -> str:
    """A key from parts: lower case, dashes for what is no letter or digit in the first."""
    first, *others = map(str, parts)
    plain = "".join(c if c.isalnum() else "-" for c in first.lower()).replace("--", "-")
    return "-".join([plain, *others])


def work(out: Path, jobs: Callable[[list[Record]], Iterable[AnyJob]], run: Callable[[AnyJob], Record]) -> None:
    """Do what nobody has done or begun, until nothing is left; `jobs` is asked anew after each."""
    while (claimed := _claim(out, jobs(read(out)))) is not None:
        job, lock = claimed
        try:
            append(out, {"key": job.key} | run(job))
        finally:
            lock.release()


def _claim(out: Path, jobs: Iterable[AnyJob]) -> tuple[AnyJob, FileLock] | None:
    """The first run that is neither done nor another process's, and its lock, which is held."""
    locks = out.with_name(f"{out.name}.claims")
    locks.mkdir(parents=True, exist_ok=True)
    done = _keys(out)
    for job in jobs:
        if job.key in done:
            continue
        lock = FileLock(locks / f"{job.key}.lock", timeout=0)
        try:
            lock.acquire()
        except Timeout:
            continue
        # another process may have finished it since
        if job.key not in _keys(out):
            return job, lock
        lock.release()
    return None


def _keys(out: Path) -> set[str]:
    return {record["key"] for record in read(out)}


def main(
    about: str | None,
    default: Path,
    jobs: Callable[[list[Record]], Iterable[AnyJob]],
    run: Callable[[AnyJob], Record],
    report: Callable[[Path], None],
) -> None:
    """The command line of such an experiment: work, then report; `jobs` is given what is finished."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_out_option(parser, default)
    parser.add_argument("--report", action="store_true", help="only show what is there")
    arguments = parser.parse_args()
    if not arguments.report:
        work(arguments.out, jobs, run)
    report(arguments.out)
