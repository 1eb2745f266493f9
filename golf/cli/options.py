"""Options that several commands share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from golf.cli import offers
from golf.runtime.byte_sizes import parse_size
from golf.runtime.regular import user_path

# Takes context, parameter and what is typed; gives what the shell offers.
Offers = Callable[[click.Context, click.Parameter, str], list[CompletionItem[str]]]
Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


class UserPath(click.Path):
    """A path, whose `~` is a home folder; empty ones and names that no file system takes are refused."""

    def __init__(self, *, exists: bool = False, file_okay: bool = True, dir_okay: bool = True) -> None:
        """Take click's checks that golf uses."""
        super().__init__(exists=exists, file_okay=file_okay, dir_okay=dir_okay, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Expand and check."""
        text = os.fspath(value)
        if not text:
            self.fail("an empty path; name a file or a folder", param, ctx)
        # 255 bytes a name are what file systems of Linux, macOS and Windows take
        if any(len(os.fsencode(part)) > 255 for part in Path(text).parts) or len(os.fsencode(text)) > 4096:
            self.fail(f"{text[:40]}...: a file's name cannot be that long", param, ctx)
        return super().convert(str(user_path(text)), param, ctx)


class Size(click.ParamType[int]):
    """Bytes: `16MB`, `16MiB`, `900kB`, `16_000_000`."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Parse, or fail with the accepted forms."""
        try:
            return parse_size(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def _be_quiet(_context: click.Context, _option: click.Parameter, value: bool) -> None:
    if value:
        from golf.cli import terminal

        terminal.be_quiet()


def with_quiet(command: click.Command) -> click.Command:
    """Give a command, and every command of a group, the option -q."""
    for each in command.commands.values() if isinstance(command, click.Group) else ():
        with_quiet(each)
    option = ["-q", "--quiet"], "Print the answer alone: no progress, no notes."
    command.params.append(click.Option(option[0], is_flag=True, expose_value=False, callback=_be_quiet, help=option[1]))
    return command


def _set_option(what: str, offer: Offers) -> Decorator:
    return click.option(
        "--set", "settings", multiple=True, metavar="SECTION.KEY=VALUE", help=f"Change one key of {what}.",
        shell_complete=offer,
    )  # fmt: skip


recipe_set_option = _set_option("the recipe", offers.recipe_keys)
pack_set_option = _set_option("the recipe's [budget], [pack] or [verify]", offers.pack_keys)

device_option = click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", help="Where to compute; auto takes a GPU."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")


class CodeBytes(click.ParamType[int | str]):
    """A number of bytes, or `auto`: the size of the script that golf export writes."""

    name = "bytes"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        """Parse, or fail with the accepted forms."""
        if value == "auto":
            return "auto"
        try:
            if (number := int(value)) >= 0:
                return number
        except ValueError:
            pass
        self.fail(f"{value!r} is neither a number of bytes nor auto", param, ctx)
