"""Options that several commands share."""

from __future__ import annotations

from typing import Any

import click

from golf.runtime.byte_sizes import parse_size


class Size(click.ParamType[int]):
    """Bytes: `16MB`, `16MiB`, `900kB`, `16_000_000`."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Parse, or fail with the accepted forms."""
        try:
            return parse_size(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


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
