"""`golf evaluate`."""

from __future__ import annotations

import math
from pathlib import Path

import click

from golf.cli import offers
from golf.cli.options import UserPath, device_option, json_option


@click.command(
    short_help="Measure a model's bits per byte on any text.",
    epilog="""Examples:

\b
  golf evaluate artifact.bin
  golf evaluate artifact.bin --data data/datasets/fineweb10B_sp1024 --stride 64
  golf evaluate artifacts/quickstart --data other.txt --window 512 --reset""",
)
@click.argument("model", required=False, type=UserPath(), shell_complete=offers.runs)
@click.option(
    "--data",
    type=UserPath(exists=True),
    help="Folder of shards (their validation part), a .bin file, or text; default: the recipe's validation split.",
)
@click.option("--tokens", type=click.IntRange(min=2), help="Most tokens that are read; default: all.")
@click.option("--window", type=click.IntRange(1, 1 << 20), help="Tokens of one window; default: the training's.")
@click.option("--stride", type=click.IntRange(min=1), help="Slide the window by this many tokens, scoring the last.")
@click.option("--reset", is_flag=True, help="Reset the context at the start of each document.")
@click.option("--text-field", help="The key that holds the text in .jsonl; default: the recipe's.")
@click.option(
    "--tokenizer",
    type=UserPath(exists=True, dir_okay=False),
    help="The SentencePiece model of shards that lie without it: it says how many bytes their tokens stand for.",
)
@device_option
@json_option
def evaluate(
    model: Path | None,
    data: Path | None,
    tokens: int | None,
    window: int | None,
    stride: int | None,
    reset: bool,
    text_field: str | None,
    tokenizer: Path | None,
    device: str,
    as_json: bool,
) -> None:
    """Measure MODEL, an artifact, a checkpoint or a run (by default the newest pack), in nats a token and bits a byte.

    Without --stride adjacent windows without overlap are scored, as the contest does by default; with it every target
    is scored once, the tail included.
    """
    from golf.cli.choose import chosen_model

    path = chosen_model(model)  # before torch is imported
    from golf.cli.terminal import show, show_json, watching
    from golf.errors import Diverged
    from golf.evaluation.evaluate import evaluate as evaluate_model
    from golf.evaluation.find_text import TextChoice
    from golf.report import evaluation_table
    from golf.runtime.device import resolve_device
    from golf.runtime.interrupt import listening
    from golf.runtime.json_values import to_json

    with listening() as stop, watching() as observer:
        result = evaluate_model(
            path,
            choice=TextChoice(data, tokens, window, text_field=text_field, tokenizer=tokenizer),
            stride=stride,
            reset=reset,
            device=resolve_device(device),
            stop=stop,
            observer=observer,
        )
    if as_json:
        show_json(to_json(result))
    else:
        show([evaluation_table(result)])
    if not math.isfinite(result.loss):
        raise Diverged(f"{result.model}: its model's loss is not finite")
