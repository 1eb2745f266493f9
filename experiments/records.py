"""Results as JSON lines: one object a line, one line a finished run; lines are only ever appended.

bench/ and experiments/ keep their figures so. A file may be shared by several processes.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

Record = dict[str, Any]


def read(path: Path) -> list[Record]:
    """All lines of a file, in its order; none where there is no file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def append(path: Path, record: Record) -> None:
    """One line more, in one write, on the disk when this returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    line = (json.dumps(record, separators=(",", ":")) + "\n").encode()
    with path.open("ab", buffering=0) as file:
        if file.write(line) != len(line):
            raise OSError(f"{path}: the disk took a part of the last line only; remove that line")
        os.fsync(file.fileno())


def latest(records: list[Record], *keys: str) -> list[Record]:
    """The last line of each combination of `keys`, in the order of the first ones: measuring again replaces."""
    return list({tuple(record[key] for key in keys): record for record in records}.values())


def circumstances() -> Record:
    """When and where: the date, the processor's name, the number of cores."""
    return {"date": date.today().isoformat(), "machine": _processor(), "cores": os.cpu_count()}


def _processor() -> str:
    """Its name as Linux gives it, or what Python knows."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def add_out_option(parser: argparse.ArgumentParser, default: Path | None) -> None:
    """`--out FILE`, also under its older name `--json`."""
    where = "nowhere" if default is None else default.name + " beside the script"
    about = f"JSON lines, to which the figures are appended (default: {where})"
    parser.add_argument("--out", "--json", dest="out", type=Path, default=default, metavar="FILE", help=about)


def print_tables(about: str | None, default: Path, tables: Callable[[list[Record]], list[str]]) -> None:
    """The command line of a table: it reads files of results and prints Markdown."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, default=[default], help=f"default: {default.name} beside it")
    print("\n".join(tables([record for path in parser.parse_args().files for record in read(path)])))
