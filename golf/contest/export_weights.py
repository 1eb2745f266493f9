"""Export an artifact's decoded weights for other tools: safetensors, config.json, the tokenizer, and a loader."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import safetensors.torch

from golf.artifact import open_artifact
from golf.contest.bundle import loader
from golf.contest.export_folder import fill_folder
from golf.contest.results import ExportedWeights
from golf.evaluation.rebuild import Rebuilt, rebuild

WEIGHTS, CONFIG, TOKENIZER, LOADER = "model.safetensors", "config.json", "tokenizer.model", "load_model.py"


def export_weights(artifact: Path, out: Path, *, hub: bool, force: bool) -> ExportedWeights:
    """Write the rebuilt model to the folder `out`; with `hub`, config.json also has the Hugging Face hub's keys.

    Weights are float32 under golf's names. load_model.py, generated from golf.model, reads the folder with torch,
    safetensors and pydantic alone. Raises DamagedFile for an artifact that is not sound.
    """
    rebuilt = rebuild(open_artifact(artifact))
    weights = {name: p.detach().contiguous() for name, p in rebuilt.model.named_parameters()}
    contents = {
        WEIGHTS: safetensors.torch.save(weights, metadata={"format": "pt"}),
        CONFIG: (json.dumps(_config(rebuilt, hub=hub), indent=2) + "\n").encode(),
        LOADER: loader(),
    }
    if rebuilt.tokenizer.serialized:
        contents[TOKENIZER] = rebuilt.tokenizer.serialized
    fill_folder(out, contents, card=CONFIG, stale=(TOKENIZER,), force=force)
    files = {name: len(content) for name, content in contents.items()}
    return ExportedWeights(out, files, sum(p.numel() for p in weights.values()))


def _config(rebuilt: Rebuilt, *, hub: bool) -> dict[str, Any]:
    shape, tokenizer = rebuilt.recipe.model, rebuilt.tokenizer
    own = {
        "golf": shape.model_dump(mode="json"),
        "vocab_size": tokenizer.vocab_size,
        "tokenizer": tokenizer.kind,
        "bos_token_id": tokenizer.bos_id,
        "sequence_length": rebuilt.recipe.train.sequence_length,
    }
    if not hub:
        return own
    return own | {
        "model_type": "golf",
        "architectures": ["Transformer"],
        "hidden_size": shape.width,
        "intermediate_size": shape.mlp_width,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "max_position_embeddings": rebuilt.recipe.train.sequence_length,
        "rope_theta": shape.rope_base,
        "tie_word_embeddings": True,
        "torch_dtype": "float32",
    }
