"""`golf verify`."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from golf.cli import offers
from golf.cli.options import Size, UserPath, device_option, json_option

if TYPE_CHECKING:
    from golf.evaluation.results import Verdict
    from golf.evaluation.verify import Bounds


@click.command(
    short_help="Rebuild, measure and judge an artifact.",
    epilog="""Examples:

\b
  golf verify artifact.bin
  golf verify artifact.bin --cap 16MB --max-bpb 1.3
  golf verify artifact.bin --data other.txt --json
  golf verify artifact.bin --data other.txt --max-bpb 2 --prove 1000
  golf verify artifact.bin --data data/datasets/fineweb10B_sp1024""",
)
@click.argument("artifact", required=False, type=UserPath(), shell_complete=offers.runs)
@click.option("--cap", type=Size(), help="Hold file + code against this cap instead of the artifact's own.")
@click.option(
    "--code-bytes", type=click.IntRange(min=0), help="Bytes of code counted into the cap; default: the artifact's."
)
@click.option("--max-bpb", type=click.FloatRange(min=0, min_open=True), help="Largest bits per byte allowed.")
@click.option("--max-loss", type=click.FloatRange(min=0, min_open=True), help="Largest nats per token allowed.")
@click.option(
    "--recipe",
    help="Take cap, code bytes and largest bits per byte from this recipe's [budget].",
    shell_complete=offers.recipes,
)
@click.option("--caps-only", is_flag=True, help="Hold the size alone; no loss is measured.")
@click.option(
    "--data",
    type=UserPath(exists=True),
    help="Your text: file, folder, .jsonl, or token shards (the validation shards of a folder).",
)
@click.option(
    "--tokens",
    type=click.IntRange(1, 1 << 40),
    help="Most tokens of it that are scored; default 131,072. A claim has a slice of its own.",
)
@click.option("--window", type=click.IntRange(1, 1 << 20), help="Tokens of one window; default: the training's.")
@click.option(
    "--val-fraction",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Score the validation documents of golf's split at this share, not all of the text.",
)
@click.option("--text-field", default="text", show_default=True, help="The key that holds the text in .jsonl.")
@click.option(
    "--tokenizer",
    type=UserPath(exists=True, dir_okay=False),
    help="The SentencePiece model of shards that lie without it: it says how many bytes their tokens stand for.",
)
@click.option(
    "--prove",
    type=click.IntRange(2),
    metavar="TOKENS",
    help="Code that many tokens with the model's probabilities, decode them, and compare text and length.",
)
@click.option("--max-memory", type=Size(), help="Most bytes that decoding may take; default 1GiB.")
@click.option(
    "--max-flops",
    type=click.FloatRange(min=0, min_open=True),
    help="Most FLOPs that measuring may take; the default grows with the file.",
)
@device_option
@json_option
def verify(
    artifact: Path | None,
    cap: int | None,
    code_bytes: int | None,
    max_bpb: float | None,
    max_loss: float | None,
    recipe: str | None,
    caps_only: bool,
    data: Path | None,
    tokens: int | None,
    window: int | None,
    val_fraction: float | None,
    text_field: str,
    tokenizer: Path | None,
    prove: int | None,
    max_memory: int | None,
    max_flops: float | None,
    device: str,
    as_json: bool,
) -> int:
    """Rebuild the model from ARTIFACT alone, measure its loss, and hold both against the caps.

    ARTIFACT is a file, a run's name or its folder; by default the newest run's. Its claim is held on the claim's own
    text; --max-bpb and --max-loss are held on yours. Exit codes: 0 verified, 3 a bound is broken, 4 damaged, 7 sound,
    but its loss could be held against nothing.
    """
    from golf.cli.choose import chosen_artifact

    path = chosen_artifact(artifact)  # before torch is imported
    from golf.artifact import Limits
    from golf.cli.terminal import watching
    from golf.errors import UsageError
    from golf.evaluation.verify import TextChoice
    from golf.evaluation.verify import verify as verify_flow
    from golf.runtime.device import resolve_device
    from golf.runtime.interrupt import listening

    _refuse_nan(max_bpb=max_bpb, max_loss=max_loss, val_fraction=val_fraction, max_flops=max_flops)
    bounds = _bounds(recipe, cap=cap, code_bytes=code_bytes, max_bpb=max_bpb, max_loss=max_loss)
    if caps_only and (bounds.of_loss or prove):
        raise UsageError("--caps-only measures no loss, so none can be bounded or proved; drop one of the two")
    choice = TextChoice(data, tokens, window, val_fraction, text_field, tokenizer)
    limits = Limits(max_flops=max_flops)
    if max_memory:
        limits = replace(limits, max_decoded=max_memory, window_bytes=max_memory, max_window_bytes=max_memory)
    with listening() as stop, watching() as observer:
        verdict = verify_flow(
            path,
            bounds=bounds,
            choice=choice,
            caps_only=caps_only,
            proved_tokens=prove or 0,
            device=resolve_device(device),
            stop=stop,
            limits=limits,
            observer=observer,
        )
    _show(verdict, as_json)
    _judge(verdict, caps_only)
    return 0  # which stays the exit code, whether or not anybody reads the table


def _refuse_nan(**given: float | None) -> None:
    """Click takes "nan" for a number within any bounds."""
    from golf.errors import UsageError

    for key, value in given.items():
        if value is not None and math.isnan(value):
            raise UsageError(f"{_flag(key)} must be a number")


def _flag(key: str) -> str:
    return "--" + key.replace("_", "-")


def _judge(verdict: Verdict, caps_only: bool) -> None:
    """Raise ClaimError for a check that failed, NothingHeld where the loss was held against nothing."""
    from golf.errors import ClaimError, NothingHeld

    path = verdict.artifact
    if not verdict.passed:
        failed = ", ".join(check.name for check in verdict.checks if check.passed is False)
        raise ClaimError(f"{path} fails: {failed}")
    if not verdict.loss_held and not caps_only:
        raise NothingHeld(
            f"{path} is sound, but its loss was held against nothing: bound it with --max-bpb, or ask for --caps-only"
        )


def _show(verdict: Verdict, as_json: bool) -> None:
    from golf.cli.terminal import note, show, show_json
    from golf.report import verdict_table
    from golf.runtime.json_values import to_json

    for text in verdict.notes:
        note(text)
    if not as_json:
        show([verdict_table(verdict)])
        return
    measured = {} if verdict.measured is None else to_json(verdict.measured)
    state = {name: getattr(verdict, name) for name in ("passed", "claim_held", "loss_held")}
    show_json(measured | to_json(verdict) | state)


def _bounds(recipe: str | None, **given: float | None) -> Bounds:
    """Bounds from the flags, and from the recipe where a flag is missing."""
    from golf.evaluation.verify import Bound, Bounds
    from golf.recipe import find_recipe, load_recipe

    bounds = {key: Bound(value, _flag(key)) for key, value in given.items() if value is not None}
    if recipe is not None:
        path = find_recipe(recipe)
        budget = load_recipe(path).budget
        for key in ("cap", "code_bytes", "max_bpb"):
            if (value := getattr(budget, key)) is not None:
                bounds.setdefault(key, Bound(value, str(path)))
    return Bounds(**bounds)
