"""The command line: one thin file per command. Errors become exit codes here; torch is imported inside commands."""

from __future__ import annotations

import io

import click

from golf import __version__
from golf.cli.cache import cache
from golf.cli.check import check
from golf.cli.completion import completion
from golf.cli.data import data
from golf.cli.doctor import doctor
from golf.cli.evaluate import evaluate
from golf.cli.export import export
from golf.cli.generate import generate
from golf.cli.importing import import_
from golf.cli.inspect import inspect
from golf.cli.new import new
from golf.cli.pack import pack
from golf.cli.recipe import recipe
from golf.cli.train import train
from golf.cli.verify import verify
from golf.errors import GolfError, RecipeError
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
_AROUND = (new, recipe, doctor, cache, completion)
for _command in (*_FLOWS, *_AROUND):
    golf.add_command(_command)


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
    """Run a command; every expected failure prints one sentence to stderr and returns its exit code."""
    out = prepare()
    try:
        code = golf.main(standalone_mode=False)
        out.flush()
        if out.reader_gone and code is None:
            code = READER_GONE
    except click.ClickException as error:
        shown = io.StringIO()
        error.show(shown)
        click.echo(visible(shown.getvalue(), lines=True), err=True, nl=False)
        code = error.exit_code
    except GolfError as error:
        mistakes = error.mistakes if isinstance(error, RecipeError) else [str(error)]
        click.echo("error: " + "\n".join(map(visible, mistakes)), err=True)
        code = error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("stopped at once; files are as they were last saved", err=True)
        code = 130
    except (OSError, ImportError, MemoryError, RuntimeError) as error:
        if (message := _environment(error)) is None:
            raise
        click.echo(f"error: {visible(message)}", err=True)
        code = 5
    leave(code if isinstance(code, int) else 0)
