"""Generate text from an artifact, autoregressively."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from golf.artifact import open_artifact
from golf.errors import DamagedFile
from golf.evaluation.rebuild import rebuild

# Below it, the likeliest of float64 logits within a softcap of 10^4 takes all of the probability.
_COLDEST = 1e-3


@torch.inference_mode()
def generate(
    path: Path, prompt: str, *, tokens: int, temperature: float, seed: int, device: torch.device
) -> Iterator[str]:
    """Continue `prompt` by `tokens` tokens, piece by piece; the prompt itself is not repeated.

    Temperature 0 takes the likeliest token. The same seed gives the same text on the same device. The context is at
    most the sequence length of the training. Raises DamagedFile where predictions are not finite.
    """
    rebuilt = rebuild(open_artifact(path))
    model, tokenizer = rebuilt.model.to(device), rebuilt.tokenizer
    window = rebuilt.recipe.train.sequence_length
    generator = torch.Generator().manual_seed(seed)
    context = [tokenizer.bos_id, *tokenizer.encode(prompt).tolist()]
    # a token can be part of a character: only whole characters are yielded
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    for _ in range(tokens):
        logits = model(torch.tensor([context[-window:]], device=device))[0, -1].double().cpu()
        if not bool(torch.isfinite(logits).all()):
            raise DamagedFile(str(path), "its model's predictions are not finite")
        context.append(_sample(logits, temperature, generator))
        if context[-1] == tokenizer.bos_id:
            break
        yield decoder.decode(tokenizer.decode(np.array(context[-1:]), previous=context[-2]))
    yield decoder.decode(b"", final=True)


def _sample(logits: torch.Tensor, temperature: float, generator: torch.Generator) -> int:
    """One token of softmax(logits / temperature) ; logits (V,) float64."""
    if temperature < _COLDEST:
        return int(logits.argmax())
    return int(torch.multinomial(torch.softmax(logits / temperature, dim=-1), 1, generator=generator))
