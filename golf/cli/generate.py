"""`golf generate`."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import click

from golf.cli import offers
from golf.cli.options import UserPath, device_option
from golf.runtime.visible import visible

# Bytes of a prompt from stdin: more than any context.
_MOST_PROMPT = 1 << 20


@click.command(
    short_help="Write text with an artifact.",
    epilog="""Examples:

\b
  golf generate artifact.bin "def main("
  golf generate quickstart "import " --tokens 200 --temperature 0
  head -c 300 some.py | golf generate artifact.bin -""",
)
@click.argument("artifact", type=UserPath(), shell_complete=offers.runs)
@click.argument("prompt")
@click.option("--tokens", type=click.IntRange(1, 1_000_000), default=100, show_default=True, help="Most tokens to add.")
@click.option(
    "--temperature", type=click.FloatRange(0, 100), default=0.8, show_default=True, help="0 takes the likeliest."
)
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True)
@device_option
def generate(artifact: Path, prompt: str, tokens: int, temperature: float, seed: int, device: str) -> None:
    """Continue PROMPT with the model in ARTIFACT, a file or a run; prints prompt and continuation to stdout.

    With - the prompt is what stdin holds.
    """
    from golf.cli.choose import chosen_artifact

    path = chosen_artifact(artifact)  # before torch is imported
    from golf.errors import UsageError
    from golf.evaluation.generate import generate as stream
    from golf.runtime.device import resolve_device

    if prompt == "-":
        prompt = _from_stdin()
    if math.isnan(temperature) or (not prompt.isprintable() and any("\ud800" <= c <= "\udfff" for c in prompt)):
        raise UsageError("the prompt must be UTF-8 text and the temperature a number")
    pieces = stream(
        path,
        prompt,
        tokens=tokens,
        temperature=temperature,
        seed=seed,
        device=resolve_device(device),
    )
    first = next(pieces)  # rebuilds the model, so that errors come before anything is printed
    # a pipe or a file gets the text as it is
    shown = (lambda text: visible(text.replace("\t", "    "), lines=True)) if sys.stdout.isatty() else str
    click.echo(shown(prompt + first), nl=False)
    for piece in pieces:
        if getattr(sys.stdout, "reader_gone", False):
            return
        click.echo(shown(piece), nl=False)
    click.echo()


def _from_stdin() -> str:
    """The prompt in stdin, at most _MOST_PROMPT bytes of UTF-8."""
    from golf.errors import UsageError

    content = sys.stdin.buffer.read(_MOST_PROMPT + 1)
    if len(content) > _MOST_PROMPT:
        raise UsageError(f"the prompt in stdin is longer than {_MOST_PROMPT:,} bytes; give its end alone")
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise UsageError("the prompt in stdin is not UTF-8 text") from None
