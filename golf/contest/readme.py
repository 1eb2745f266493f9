"""README.md of a submission."""

from __future__ import annotations

from typing import Any

from golf.artifact import Claim
from golf.recipe import Recipe, recipe_to_toml

_TEXT = """# {name}

{blurb}

**{val_bpb:.4f} bits per byte** (mean of {count} seed{plural}), {bytes_total:,} bytes: {bytes_model:,} of model and
{bytes_code:,} of code, under a cap of {cap:,}.

| seed | nats per token | bits per byte | artifact bytes | steps | ms a step |
|---|---|---|---|---|---|
{rows}

Measured on {tokens:,} tokens that stand for {bytes:,} bytes of text, in adjacent windows of {window} tokens, on
{hardware}.

## Run it

    pip install -r requirements.txt
    python train_gpt.py                                     # measures artifact.bin
    torchrun --standalone --nproc_per_node=8 train_gpt.py   # trains, packs and measures a new one in runs/

`DATA_PATH`, `TOKENIZER_PATH` and `SEED` override the recipe; paths of the recipe are relative to the folder where the
script is started. The script is golf's own modules in one file.

## Recipe

```toml
{recipe}```
"""


def readme(card: dict[str, Any], recipe: Recipe, claim: Claim | None) -> str:
    """README.md with results, commands and recipe, from submission.json's content and the recipe."""
    rows = [
        f"| {seed} | {found['val_loss']:.5f} | {found['val_bpb']:.5f} | {found['artifact_bytes']:,} "
        f"| {found['steps']:,} | {'-' if found['step_avg_ms'] is None else found['step_avg_ms']} |"
        for seed, found in card["seed_results"].items()
    ]
    return _TEXT.format(
        **{key: card[key] for key in ("name", "val_bpb", "bytes_total", "bytes_model", "bytes_code", "hardware")},
        blurb=card["blurb"] or "Trained and packed with golf.",
        count=len(rows),
        plural="" if len(rows) == 1 else "s",
        cap=recipe.budget.cap,
        rows="\n".join(rows),
        tokens=claim.tokens if claim else 0,
        bytes=claim.bytes if claim else 0,
        window=recipe.train.sequence_length,
        recipe=recipe_to_toml(recipe),
    )
