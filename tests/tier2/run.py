"""The second tier of tests: what is long, or needs more than Python, pip, make and git.

    python tests/tier2/run.py [--quick] [--only NAME ...]

Each check below says what it needs; where that is missing it is skipped, and the table says why. --quick runs those
that take seconds and whose tools are here already. Exit code 1 where one fails.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


class Skipped(Exception):
    """A check whose tools are missing."""


@dataclass(frozen=True)
class Check:
    """`run(folder)` raises CalledProcessError or AssertionError where the check fails, Skipped where it cannot run."""

    name: str
    run: Callable[[Path], None]
    quick: bool = False


def command(*words: str | Path, cwd: Path = ROOT, **variables: str) -> None:
    """Run a command with environment `variables`, its output on this process's own."""
    subprocess.run([str(word) for word in words], cwd=cwd, check=True, env=os.environ | variables)


def kills(_folder: Path) -> None:
    """A run that is killed 200 times at random resumes every time."""
    command(sys.executable, "-m", "pytest", "tests/run/test_kill.py", GOLF_KILLS="200")


def mutants(count: int) -> Callable[[Path], None]:
    """`count` damaged artifacts are refused, in bounded time and memory."""
    return lambda _folder: command(sys.executable, "-m", "bench.fuzz_artifact", "--count", str(count))


def faults(_folder: Path) -> None:
    """Every system call of a fresh training fails once; 400 values of a checkpoint's state are replaced."""
    tests = ("tests/run/test_failing_calls.py", "tests/run/test_hostile_state.py")
    command(sys.executable, "-m", "pytest", *tests, GOLF_CALLS="1", GOLF_STATES="400")


def bombs(_folder: Path) -> None:
    """Two hundred small files of random shapes are refused in 2 s, or done in 30 s and 300 MB."""
    command(sys.executable, "-m", "bench.bombs")


def caps(folder: Path) -> None:
    """Fifty random caps are met, each nearly to the byte."""
    golf = (sys.executable, "-m", "golf")
    command(*golf, "train", "smoke", "--out", folder / "run")
    command(sys.executable, "-m", "bench.caps", folder / "run")


def tune_size(_folder: Path) -> None:
    """Fine-tuning fills its byte budget within half a percent, on five seeds and every instruction set."""
    command(sys.executable, "-m", "bench.tune_size")


def environment(folder: Path, python: str = sys.executable) -> Path:
    """A fresh virtual environment; returns its Python."""
    command(python, "-m", "venv", folder)
    return folder / "bin" / "python"


def lowest(_folder: Path) -> None:
    """The lowest versions that pyproject.toml allows install, and golf works with them."""
    command("make", "test-lowest")


def distributions(folder: Path) -> None:
    """The sdist's own tests pass outside the repository, and the wheel's golf works alone."""
    command(sys.executable, "-m", "pip", "install", "--quiet", "build", "-c", ROOT / "constraints.txt")
    command(sys.executable, "-m", "build", "--outdir", folder / "dist", ROOT)
    (sdist,), (wheel,) = (folder / "dist").glob("*.tar.gz"), (folder / "dist").glob("*.whl")
    shutil.unpack_archive(sdist, folder)
    unpacked = folder / sdist.name.removesuffix(".tar.gz")
    command(sys.executable, "-m", "pytest", "-n", "2", "--dist", "loadfile", "golf", "tests", cwd=unpacked)
    python = environment(folder / "wheel")
    command(python, "-m", "pip", "install", "--quiet", "-c", ROOT / "constraints.txt", wheel)
    command(python, "-m", "golf", "train", "smoke", "--dry-run", cwd=folder)


def interpreters(folder: Path) -> None:
    """Other Pythons that are installed import every module and show every help text."""
    found = [name for name in ("python3.12", "python3.13") if shutil.which(name)]
    if not found:
        raise Skipped("no python3.12 or python3.13 on this machine")
    for name in found:
        python = environment(folder / name, name)
        command(python, "-m", "pip", "install", "--quiet", "-c", ROOT / "constraints.txt", ROOT)
        command(python, "-m", "golf", "verify", ROOT / "tests/golden/v7.bin", "--data", ROOT / "tests/golden/text.txt")


# A text that leaves its picture is cut off.
_CUT_OFF = """[...document.querySelectorAll("svg text")].filter(text => {
  const [inner, outer] = [text.getBoundingClientRect(), text.closest("svg").getBoundingClientRect()];
  return inner.left < outer.left - 1 || inner.right > outer.right + 1
    || inner.top < outer.top - 1 || inner.bottom > outer.bottom + 1;
}).map(text => text.textContent)"""


def pages(folder: Path) -> None:
    """Reports of one run and of two fit a telephone and a screen, light and dark, and ask for nothing else."""
    from browser import Browser  # beside this file

    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        raise Skipped("no chromium on this machine")
    golf = (sys.executable, "-m", "golf")
    run, other = folder / "run", folder / f"another{'-and-another' * 6}"
    command(*golf, "train", "smoke", "--out", run)
    shutil.copytree(run, other)
    command(*golf, "pack", run)
    command(*golf, "report", run, "--sample", "def main(", "--out", folder / "one.html")
    command(*golf, "report", run, other, "--out", folder / "two.html")
    shown = os.environ.get("GOLF_PICTURES")
    with Browser(program, folder) as browser:
        for page in ("one", "two"):
            colours = set()
            for width, scheme in ((400, "light"), (400, "dark"), (1400, "light"), (1400, "dark")):
                browser.open(folder / f"{page}.html", width=width, scheme=scheme)
                assert browser.value("document.documentElement.scrollWidth <= innerWidth"), (page, width)
                assert browser.value("document.querySelectorAll('svg').length") > 5, page
                assert not (cut := browser.value(_CUT_OFF)), (page, width, cut)
                colours.add(browser.value("getComputedStyle(document.body).backgroundColor"))
                if shown:
                    (Path(shown) / f"{page}-{width}-{scheme}.png").write_bytes(browser.picture())
            assert len(colours) == 2, colours
        assert not browser.complaints, browser.complaints
        assert all(url.startswith("file:") and url.endswith(".html") for url in browser.requests), browser.requests


CHECKS = [
    Check("damaged artifacts, some", mutants(20_000), quick=True),
    Check("damaged artifacts, many", mutants(1_000_000)),
    Check("small files that ask for much", bombs),
    Check("failing calls and hostile checkpoints", faults),
    Check("kills at random times", kills),
    Check("random caps", caps),
    Check("fine-tuning fills its budget", tune_size),
    Check("reports in a browser", pages),
    Check("lowest dependencies", lowest),
    Check("sdist and wheel", distributions),
    Check("other Pythons", interpreters),
]


def main() -> None:
    """Run the checks that are asked for, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="only what takes seconds")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="only these checks")
    arguments = parser.parse_args()
    rows, failed = [], False
    for check in CHECKS:
        if (arguments.quick and not check.quick) or (arguments.only and check.name not in arguments.only):
            continue
        began = time.monotonic()
        try:
            with tempfile.TemporaryDirectory() as folder:
                check.run(Path(folder))
            state = "pass"
        except Skipped as reason:
            state = f"skipped: {reason}"
        except (subprocess.CalledProcessError, AssertionError) as error:
            state, failed = f"FAIL: {error}"[:100], True
        rows.append(f"{check.name:<32} {time.monotonic() - began:7.1f} s  {state}")
    print("\n".join(["", "second tier", *rows]))
    sys.exit(failed)


if __name__ == "__main__":
    main()
