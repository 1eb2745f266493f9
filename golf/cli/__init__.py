"""The command line: one thin file per command. Errors become exit codes here; torch is imported inside commands."""

from __future__ import annotations

import io
import json
import sys

import click

from golf import __version__
from golf.cli.cache import cache
from golf.cli.check import check
from golf.cli.completion import completion
from golf.cli.curve import curve
from golf.cli.data import data
from golf.cli.doctor import doctor
from golf.cli.evaluate import evaluate
from golf.cli.export import export
from golf.cli.generate import generate
from golf.cli.importing import import_
from golf.cli.inspect import inspect
from golf.cli.new import new
from golf.cli.options import with_quiet
from golf.cli.pack import pack
from golf.cli.recipe import recipe
from golf.cli.report import report
from golf.cli.runs import runs
from golf.cli.terminal import be_quiet
from golf.cli.train import train
from golf.cli.verify import verify
from golf.errors import GolfError, Interrupted, RecipeError
from golf.runtime.interrupt import leave
from golf.runtime.streams import READER_GONE, prepare
from golf.runtime.visible import visible

_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.group(
    context_settings=_SETTINGS,
    epilog="""\b
The three that matter:
  golf train                  train a small transformer by a recipe
  golf pack --cap 16MB        pack its weights into one file under the cap
  golf verify artifact.bin    measure the model in that file, from the file alone""",
)
@click.version_option(__version__, prog_name="golf")
def golf() -> None:
    """Train, pack and verify the best language model that fits in a byte cap."""


_FLOWS = (train, pack, verify, evaluate, inspect, generate, data, import_, export, check)
_AROUND = (curve, runs, report, new, recipe, doctor, cache, completion)
for _command in (*_FLOWS, *_AROUND):
    golf.add_command(with_quiet(_command))


def _environment(error: Exception) -> str | None:
    """The message for an error of the environment (memory, package, file system); None for a bug of golf."""
    if isinstance(error, MemoryError) or "out of memory" in str(error) or "can't allocate memory" in str(error):
        return "not enough memory for this; try a smaller model or batch"
    if isinstance(error, ImportError):
        return f"a package is missing or broken: {error}"
    if isinstance(error, OSError):
        return f"{error.filename or 'the system'}: {error.strerror or error}"
    return None


def main() -> None:
    """Run a command; every expected failure prints one sentence to stderr and returns its exit code.

    With --json a failure is one JSON object on stdout too, unless the command's answer stands there already.
    """
    out = prepare()
    be_quiet(False)
    try:
        code = golf.main(standalone_mode=False)
        out.flush()
        if out.reader_gone and code is None:
            code = READER_GONE
    except (Exception, KeyboardInterrupt) as error:
        failure = _failure(error)
        if failure is None:
            raise
        message, code = failure
        click.echo(message, err=True)
        if "--json" in sys.argv and not out.used:
            kind = "interrupted" if code > 128 else _KINDS.get(code, "failure")
            sentence = error.format_message() if isinstance(error, click.ClickException) else message
            told = {"kind": kind, "message": sentence.removeprefix("error: "), "exit_code": code}
            click.echo(json.dumps({"error": told}))
            out.flush()
    leave(code if isinstance(code, int) else 0)


# Kinds of failures by their exit codes, as the README lists them.
_KINDS = {2: "usage", 3: "claim", 4: "damaged", 5: "environment", 6: "diverged", 7: "nothing held"}


def _failure(error: BaseException) -> tuple[str, int] | None:
    """What to say of an expected failure, and its exit code; None for a bug of golf."""
    if isinstance(error, click.ClickException):
        shown = io.StringIO()
        error.show(shown)
        return visible(shown.getvalue().rstrip("\n").replace("\t", "  "), lines=True), error.exit_code
    if isinstance(error, GolfError):
        mistakes = error.mistakes if isinstance(error, RecipeError) else [str(error)]
        begin = "" if isinstance(error, Interrupted) else "error: "  # a stop that was asked for is no error
        return begin + "\n".join(map(visible, mistakes)), error.exit_code
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return "stopped at once; files are as they were last saved", 130
    if isinstance(error, OSError | ImportError | MemoryError | RuntimeError):
        message = _environment(error)
        return None if message is None else (f"error: {visible(message)}", 5)
    return None
