"""Artifacts that cheat: sound files whose tokenizer, model, recipe or claim talks a verdict into a number.

Every model here is constant: it gives one token all of the probability, whatever the context, which is what a cheat
with a tokenizer wants. All digests and sizes are right, so nothing but the verdict can catch them.
"""

from __future__ import annotations

import hashlib
import io
import json
import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import sentencepiece
import torch

from golf.artifact import BudgetEntry, Claim, assemble
from golf.compress.context_scales import ContextScales
from golf.compress.decode_matrix import QuantizedMatrix
from golf.compress.low_rank import no_factors
from golf.compress.quantize import StepCodes
from golf.data import Tokenizer, load_tokenizer
from golf.model import Transformer
from golf.packing.encoder import ModelEncoder, _matrix_payloads
from golf.recipe import Recipe, parse_recipe

T = 64
CLAIM = Claim(
    val_loss=1e-6, bpb=1e-6, tokens=T, bytes=T, text_sha256="0" * 64, device="cpu", dtype="float32", tolerance=5e-4,
    float_val_loss=1e-6, float_bpb=1e-6,
)  # fmt: skip


def tokenizer(text: str, *, rules: Iterable[tuple[str, str]] = (), **options: object) -> Tokenizer:
    """A SentencePiece model trained on `text`, whose normalizer replaces strings by the `rules`."""
    out = io.BytesIO()
    given = {
        "vocab_size": 400, "model_type": "bpe", "byte_fallback": True, "add_dummy_prefix": False,
        "remove_extra_whitespaces": False, "hard_vocab_limit": False, "normalization_rule_name": "identity",
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        if rules := [(old, new) for old, new in rules if old != new]:
            table = Path(folder, "rules.tsv")
            spelled = ["\t".join(" ".join(f"{ord(char):X}" for char in part) for part in rule) for rule in rules]
            table.write_text("\n".join(spelled) + "\n")
            given |= {"normalization_rule_tsv": str(table)}
            del given["normalization_rule_name"]
        lines = iter([line or "-" for line in text.splitlines()])
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=lines, model_writer=out, bos_id=1, unk_id=0, eos_id=2, minloglevel=3, **given | options
        )
    return load_tokenizer("sentencepiece", out.getvalue())


def recipe(tokens: Tokenizer, path: str, *settings: str) -> Recipe:
    given = f"""
        name = "cheat"
        budget = {{ cap = 300_000 }}
        data = {{ source = "text", path = {json.dumps(path)}, val_fraction = 0.5 }}
        tokenizer = {{ kind = "{tokens.kind}", vocab_size = {tokens.vocab_size} }}
        model = {{ layers = 1, width = 16, heads = 1, kv_heads = 1 }}
        train = {{ steps = 1, sequence_length = {T}, batch_tokens = {T} }}
        """
    lines = "\n".join(line.strip() for line in given.splitlines())
    return parse_recipe(lines.encode(), source="cheat", settings=settings)


def artifact(
    tokens: Tokenizer,
    favourite: int,
    path: str,
    *settings: str,
    claim: Claim | None = CLAIM,
    serialized: bytes | None = None,
    version: int = 11,
) -> bytes:
    """A file whose model always predicts `favourite`; with `serialized` another tokenizer is written into it."""
    model = Transformer(recipe(tokens, path, *settings).model, tokens.vocab_size)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    matrices = []
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2:
            shape = (parameter.shape[0], parameter.shape[1])
            residual = np.zeros(shape, dtype=np.int32)
            if name == "embedding.weight":
                residual[favourite], residual[tokens.bos_id] = 40, 1
            codes = [np.zeros(n, dtype=np.uint8) for n in shape]
            scales = ContextScales.even(0, shape)
            matrices.append(QuantizedMatrix(name, shape, 1.0, StepCodes(*codes), no_factors(*shape), residual, scales))
    given = recipe(tokens, path, *settings)
    encoder = ModelEncoder(
        recipe=given,
        model=model,
        tokenizer=tokens,
        matrices=[],
        budget=BudgetEntry(cap=given.budget.cap, code_bytes=0),
        claim=CLAIM,
        low_rank="off",
    )
    manifest = replace(encoder._manifest(matrices), claim=claim)
    payloads = [*encoder._fixed_payloads(), *_matrix_payloads(matrices, "conditional")]
    if serialized is not None:
        digest = hashlib.sha256(serialized).hexdigest()
        manifest = replace(manifest, tokenizer=replace(manifest.tokenizer, sha256=digest))
    return assemble(manifest, payloads, version=version)
