"""A first recipe for somebody's own text: the shape follows from the cap, the steps from the shape and the text."""

from __future__ import annotations

import math
from dataclasses import dataclass

from golf.recipe.sections import Data
from golf.recipe.toml import quote

# Bits of the file for each weight of the demo: 199,961 bytes, manifest and tokenizer included, for 589,960 (README.md).
BITS = 2.7
# Tokens that a parameter sees in the models of docs/packing.md, "Trained models".
TOKENS_PER_PARAMETER = 14
# More rounds through one text teach it by heart; ten is a rule of thumb, not a measurement.
EPOCHS = 10
# UTF-8 bytes of a token of 1,024 pieces, as measured on Python sources (golf/data/bpe.py).
_BYTES_PER_TOKEN = 2.6
# Below it 1,024 pieces would take most of the weights.
_BYTES_BELOW_CAP = 40_000
# Below it a text has too few different pieces, and a share of .04 too few documents of 4 KiB.
_SMALL_TEXT = 100_000
_FEW_DOCUMENTS = 2_000_000
# Pieces of the byte vocabulary: pad, bos, eos, unk and 256 bytes.
_BYTE_PIECES = 260


@dataclass(frozen=True)
class ModelSize:
    """A shape with the batch that goes with it; heads of 64 channels, or two, each pair with one key/value head."""

    layers: int
    width: int
    heads: int
    batch_tokens: int = 2048
    sequence_length: int = 128

    def weights(self, vocab_size: int) -> int:
        """Weights of all matrices: the embedding, and 7 D² a layer (MLP of 2 D, half as many key/value heads)."""
        return vocab_size * self.width + 7 * self.layers * self.width**2


# Those of 128, 256 and 512 channels are quickstart's, numuon-3m's and baseline-16mb's, that of 640 strong-16mb's.
SIZES = (
    ModelSize(2, 32, 2),
    ModelSize(2, 48, 2),
    ModelSize(3, 64, 2),
    ModelSize(4, 96, 2),
    ModelSize(4, 128, 2),
    ModelSize(5, 192, 4),
    ModelSize(6, 256, 4),
    ModelSize(8, 384, 6, 16_384, 256),
    ModelSize(9, 512, 8, 16_384, 256),
    ModelSize(12, 640, 10, 65_536, 512),
    ModelSize(12, 768, 12, 65_536, 512),
    ModelSize(16, 1024, 16, 65_536, 512),
    ModelSize(24, 1536, 24, 65_536, 512),
)


@dataclass(frozen=True)
class Starter:
    """A name, a cap and a text; what a first recipe says follows from them."""

    name: str
    cap: int
    text: str
    """`data.path`, as seen from where golf runs."""
    text_bytes: int | None = None
    """None where the text is not there yet."""
    pieces: int | None = None
    """Pieces of SentencePiece, 0 for bytes; None leaves the choice to `vocab_size`."""

    @property
    def in_bytes(self) -> bool:
        """Whether the tokens are bytes: as asked, or because the cap or the text is too small for 1,024 pieces."""
        if self.pieces is not None:
            return self.pieces == 0
        return self.cap < _BYTES_BELOW_CAP or (self.text_bytes is not None and self.text_bytes < _SMALL_TEXT)

    @property
    def vocab_size(self) -> int:
        """Pieces of the vocabulary."""
        return _BYTE_PIECES if self.in_bytes else self.pieces or 1024

    @property
    def size(self) -> ModelSize:
        """The size whose weights come nearest to filling the cap at `BITS` each."""
        wanted = self.cap * 8 / BITS
        return min(SIZES, key=lambda size: abs(math.log(size.weights(self.vocab_size) / wanted)))

    @property
    def wanted_steps(self) -> int:
        """Steps that show each parameter its tokens."""
        tokens = TOKENS_PER_PARAMETER * self.size.weights(self.vocab_size)
        return math.ceil(tokens / self.size.batch_tokens)

    @property
    def steps(self) -> int:
        """`wanted_steps`, or as many as read the text `EPOCHS` times, where that is less."""
        if self.text_bytes is None:
            return self.wanted_steps
        tokens = self.text_bytes / (1 if self.in_bytes else _BYTES_PER_TOKEN)
        return max(1, min(self.wanted_steps, int(EPOCHS * tokens / self.size.batch_tokens)))

    @property
    def val_fraction(self) -> float:
        """The default, or a tenth of a text so small that the default could choose no document of it."""
        few = self.text_bytes is not None and self.text_bytes < _FEW_DOCUMENTS
        return 0.1 if few else Data.model_fields["val_fraction"].default


def starter_toml(starter: Starter) -> str:
    """The recipe as commented TOML."""
    size, weights = starter.size, starter.size.weights(starter.vocab_size)
    every = max(100, starter.steps // 20)
    return f"""\
# A model of your own text. Keys left out have defaults: golf recipe show FILE writes all of them out.
name = {quote(starter.name)}
seed = 1

[budget]
cap = {starter.cap:_}  # bytes of artifact + code

[data]
source = "text"
path = {quote(starter.text)}  # a file, a folder or .jsonl; seen from the folder in which golf is called
val_fraction = {starter.val_fraction}  # share of the documents that is held back to measure on

[tokenizer]
{_tokenizer(starter)}

# {weights:,} weights: {starter.cap * 8 / weights:.1f} bits each fill the cap. The demo packs at {BITS} (README.md).
[model]
layers = {size.layers}
width = {size.width}
heads = {size.heads}
kv_heads = {size.heads // 2}
smear = true  # this and the next line paid on golf's own text: docs/options.md
exclusive_layers = 2

[optimizer]  # the best of experiments/rate_training at 13 tokens a parameter, measured on one small shape
name = "muon"
lr = 0.02
nesterov = true
embedding_lr = 0.04
weight_decay = 0.0  # in its place:

[optimizer.rate_penalty]
kind = "l1"  # weights that pack small; its strength follows from the cap

[train]
{_steps(starter)}
batch_tokens = {size.batch_tokens:_}
sequence_length = {size.sequence_length}
eval_every = {every}
checkpoint_every = {every}
"""


def _tokenizer(starter: Starter) -> str:
    if starter.in_bytes:
        return 'kind = "bytes"  # 256 of them; "sentencepiece" needs more text and a larger cap'
    return f'kind = "sentencepiece"  # trained on your text, carried in the artifact\nvocab_size = {starter.vocab_size}'


def _steps(starter: Starter) -> str:
    if starter.steps == starter.wanted_steps:
        return f"steps = {starter.steps}  # {TOKENS_PER_PARAMETER} tokens a weight: docs/packing.md, Trained models"
    return (
        f"# About {EPOCHS} times through the text, which is small for this model: {TOKENS_PER_PARAMETER} tokens a "
        f"weight would take\n# {starter.wanted_steps:,} steps. More text helps most, a smaller model next.\n"
        f"steps = {starter.steps}"
    )
