"""Options that several commands share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from golf.errors import EnvironmentFailure
from golf.sizes import parse_size

if TYPE_CHECKING:
    import torch


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


def resolve_device(name: str) -> torch.device:
    """The device meant by `--device`; raises EnvironmentFailure for a GPU that is not there."""
    import torch

    if name == "cuda" and not torch.cuda.is_available():
        raise EnvironmentFailure("no CUDA device is available here; use --device cpu")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def own_device(device: torch.device) -> torch.device:
    """The device of this process: of several that torchrun or --nproc started, each takes a GPU of its own."""
    import os

    import torch

    if device.type != "cuda" or "LOCAL_RANK" not in os.environ:
        return device
    index = int(os.environ["LOCAL_RANK"])
    if index >= torch.cuda.device_count():
        raise EnvironmentFailure(f"process {index} has no GPU: this machine has {torch.cuda.device_count()}")
    torch.cuda.set_device(index)
    return torch.device("cuda", index)
