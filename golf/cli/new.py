"""`golf new`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from golf.cli.options import Size, UserPath
from golf.runtime.visible import visible

if TYPE_CHECKING:
    from golf.recipe.starter import Starter


class Pieces(click.ParamType[int]):
    """`sp:N` as N, `bytes` as 0."""

    name = "tokenizer"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Parse, or fail with the accepted forms."""
        if isinstance(value, int) or value == "bytes":
            return value if isinstance(value, int) else 0
        kind, _, number = value.partition(":")
        if kind != "sp" or not (number.isascii() and number.isdigit() and 0 < len(number) < 10):
            self.fail(f'{value!r}: write the number of pieces, as in "sp:1024", or "bytes"', param, ctx)
        return int(number)


# Bytes: manifest, tables and a model of the smallest shape.
_LEAST_CAP = 2_000


@click.command(
    short_help="Write a first recipe for your own text.",
    epilog="""Examples:

\b
  golf new . --text book.txt --cap 200kB
  golf new mine --text texts/ --cap 1MB --name essays
  golf new tiny --text notes.jsonl --cap 20kB --tokenizer bytes""",
)
@click.argument("folder", metavar="DIR", type=UserPath(file_okay=False))
@click.option("--text", type=UserPath(), help="A file, a folder or .jsonl; default: DIR/text.txt.")
@click.option("--cap", type=Size(), default="200kB", show_default=True, help="Most bytes of artifact + code.")
@click.option("--name", default="mine", show_default=True, help="Of the recipe, its file and its run.")
@click.option("--tokenizer", type=Pieces(), help="sp:N or bytes; default: sp:1024, bytes where cap or text are small.")
@click.option("--force", is_flag=True, help="Overwrite the recipe.")
def new(folder: Path, text: Path | None, cap: int, name: str, tokenizer: int | None, force: bool) -> None:
    """Write DIR/NAME.toml, a commented recipe, and DIR/golf.toml where there is none; asks nothing.

    The model's shape follows from the cap, its steps from the shape and the size of the text. The paths of both are
    printed.
    """
    from golf.cli.terminal import next_command
    from golf.errors import UsageError
    from golf.recipe import parse_recipe
    from golf.recipe.starter import Starter, starter_toml
    from golf.runtime import durable

    source = folder / "text.txt" if text is None else text
    if folder.resolve() != Path.cwd():  # golf.toml counts in the folder alone, where other paths would lead elsewhere
        source = source.resolve()
    if cap < _LEAST_CAP:
        raise UsageError(f"--cap {cap}: a file of golf takes over {_LEAST_CAP:,} bytes; write 60kB for 60,000 bytes")
    starter = Starter(name, cap, str(source), _bytes_of(source), tokenizer)
    content = starter_toml(starter)
    # before anything is written, and before the name becomes a path
    parse_recipe(content.encode(errors="surrogateescape"), source="the new recipe")
    recipe, workspace = folder / f"{name}.toml", folder / "golf.toml"
    if recipe == workspace:
        raise UsageError("--name golf would make golf.toml, which says where data and runs lie; choose another name")
    if recipe.exists() and not force:
        raise UsageError(f"{recipe} exists; overwrite it with --force, or choose another --name")
    durable.write_text(recipe, content)
    written = [recipe]
    if not workspace.exists():
        durable.write_text(workspace, _workspace_toml(recipe.name))
        written.append(workspace)
    for path in written:
        click.echo(visible(str(path)))
    _advise(starter, source)
    next_command(f"golf train {shlex.quote(str(recipe))}")


def _bytes_of(source: Path) -> int | None:
    """Bytes of the text; None where it is not there yet."""
    from golf.data.textfiles import text_bytes
    from golf.errors import UsageError

    if not source.exists():
        return None
    if (size := text_bytes(source)) == 0:
        raise UsageError(f"{source} is empty; name a text")
    return size


def _advise(starter: Starter, source: Path) -> None:
    from golf.cli.terminal import note

    if starter.text_bytes is None:
        note(f"{source} does not exist, seen from here; put your text there before training")
    elif starter.cap > 2 * starter.size.weights(starter.vocab_size):
        note(f"a cap of {starter.cap:,} is more than the largest shape of golf new fills; make model.width larger")
    elif starter.steps < starter.wanted_steps:
        note(
            f"{starter.text_bytes:,} bytes of text are little for a cap of {starter.cap:,}: the recipe reads them "
            f"about ten times; more text or a smaller cap makes a better use of the bytes"
        )


def _workspace_toml(recipe: str) -> str:
    from golf.recipe.toml import quote

    return f"""\
# WHERE things live, for golf commands that run in this folder or below it; paths are relative to this file.

[workspace]
data = ".golf/data"    # cache of tokens and tokenizers
artifacts = "artifacts"    # one folder a run
recipe = {quote(recipe)}    # what is trained when no recipe is named
"""
