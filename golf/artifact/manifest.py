"""What an artifact says about itself, as frozen values and as strict JSON.

The names of the fields are the keys of the JSON: a key more or less is refused, and so is every value outside the
bounds named here. `recipe` and `model` are opaque; whoever uses them validates them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from golf.artifact.canonical import MAX_INTEGER, Json
from golf.artifact.layout import RESTORING_FROM, VERSION
from golf.artifact.schema import (
    IDENTIFIER,
    PART,
    SHA256,
    TENSOR_NAME,
    as_choice,
    as_integer,
    as_list,
    as_loss,
    as_number,
    as_object,
    as_text,
    keys_of,
)
from golf.errors import DamagedFile

TENSOR_KINDS = ("matrix", "small")
TOKENIZER_KINDS = ("bytes", "sentencepiece")
MAX_DIMENSION = 1 << 31
MAX_DIMENSIONS = 8
# The bound of every size in a recipe.
MAX_SIZE = 1 << 40


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizerEntry:
    """Which tokenizer reads the text; `sha256` (hex) is that of its decoded section, or of no bytes."""

    kind: str
    vocab_size: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorEntry:
    """One tensor of the model. `parameters` are the packer's own numbers, finite; `rank` is 0 without factors."""

    name: str
    shape: tuple[int, ...]
    kind: str
    rank: int
    parameters: Mapping[str, float]

    @property
    def weights(self) -> int:
        """Number of weights."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What the packer measured on the re-read file: losses in nats per token, bpb in bits per byte.

    `float_val_loss` and `float_bpb` are those of the checkpoint; `tokens` and `bytes` count the text that was scored,
    whose SHA-256 (hex) is `text_sha256`; `tolerance` is in nats per token. `restoring_bits` are those that the tokens
    leave out, `counted_bytes` the bytes that the tokens count as in the contest; both are absent where nothing is
    left out. Up to version 8 no claim counts them, and `bytes` and `text_sha256` are of what the tokens decode to.
    """

    val_loss: float
    bpb: float
    tokens: int
    bytes: int
    text_sha256: str
    device: str
    dtype: str
    tolerance: float
    float_val_loss: float
    float_bpb: float
    restoring_bits: int = 0
    counted_bytes: int = 0

    @property
    def contest_bpb(self) -> float:
        """The contest's bits per byte, which leave out what the tokenizer changed; `bpb` where it changed nothing.

        Claims of golf 0.11.0 do not have it: there it is `bpb` too.
        """
        if not self.counted_bytes:
            return self.bpb
        return self.val_loss / math.log(2) * self.tokens / self.counted_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetEntry:
    """Bytes that artifact and code may cost together, and the code's share."""

    cap: int
    code_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Everything but the table of sections. `golf` is the writer's version, `model` the arguments that rebuild it.

    `content_sha256` (hex) digests the decoded content: it outlives a change of the compressor's output.
    """

    golf: str
    recipe: Mapping[str, Any]
    model: Mapping[str, Any]
    tokenizer: TokenizerEntry
    tensors: tuple[TensorEntry, ...]
    content_sha256: str
    claim: Claim | None
    budget: BudgetEntry
    versions: Mapping[str, str]

    @property
    def weights(self) -> int:
        """Number of weights of all tensors."""
        return sum(tensor.weights for tensor in self.tensors)

    def to_json(self) -> dict[str, Any]:
        """Give the JSON object, but for its key "sections"; `manifest_from_json` is the inverse."""
        document = asdict(self)
        for key in _OF_LOSSY_TOKENIZERS if self.claim is not None else ():
            if not document["claim"][key]:
                del document["claim"][key]
        return document


# Keys of a claim that are there iff the tokens leave out something of the text (the second since golf 0.11.1).
_OF_LOSSY_TOKENIZERS = frozenset({"restoring_bits", "counted_bytes"})


def manifest_from_json(document: Mapping[str, Json], *, version: int = VERSION) -> Manifest:
    """Manifest of an object without "sections"; raises DamagedFile naming the key that is wrong."""
    record = as_object(document, "the manifest", keys=keys_of(Manifest))
    return Manifest(
        golf=as_text(record["golf"], "golf"),
        recipe=as_object(record["recipe"], "recipe"),
        model=as_object(record["model"], "model"),
        tokenizer=_tokenizer(record["tokenizer"]),
        tensors=_tensors(record["tensors"]),
        content_sha256=as_text(record["content_sha256"], "content_sha256", SHA256),
        claim=None if record["claim"] is None else _claim(record["claim"], version),
        budget=_budget(record["budget"]),
        versions={
            as_text(name, "a name in versions", IDENTIFIER): as_text(version, f"versions.{name}")
            for name, version in as_object(record["versions"], "versions").items()
        },
    )


def _tokenizer(value: Json) -> TokenizerEntry:
    record = as_object(value, "tokenizer", keys=keys_of(TokenizerEntry))
    return TokenizerEntry(
        kind=as_choice(record["kind"], "tokenizer.kind", TOKENIZER_KINDS),
        vocab_size=as_integer(record["vocab_size"], "tokenizer.vocab_size", 1, MAX_DIMENSION),
        sha256=as_text(record["sha256"], "tokenizer.sha256", SHA256),
    )


def _tensors(value: Json) -> tuple[TensorEntry, ...]:
    tensors = tuple(_tensor(entry, f"tensors[{index}]") for index, entry in enumerate(as_list(value, "tensors")))
    seen: set[str] = set()
    for tensor in tensors:
        if tensor.name in seen:
            raise DamagedFile(PART, f"tensor {tensor.name} appears twice")
        seen.add(tensor.name)
    return tensors


def _tensor(value: Json, where: str) -> TensorEntry:
    record = as_object(value, where, keys=keys_of(TensorEntry))
    name = as_text(record["name"], f"{where}.name", TENSOR_NAME)
    kind = as_choice(record["kind"], f"the kind of {name}", TENSOR_KINDS)
    shape = _shape(record["shape"], f"the shape of {name}", kind)
    return TensorEntry(
        name=name,
        shape=shape,
        kind=kind,
        rank=as_integer(record["rank"], f"the rank of {name}", 0, min(shape) if kind == "matrix" else 0),
        parameters={
            as_text(key, f"a parameter of {name}", IDENTIFIER): as_number(number, f"{key} of {name}")
            for key, number in as_object(record["parameters"], f"the parameters of {name}").items()
        },
    )


def _shape(value: Json, where: str, kind: str) -> tuple[int, ...]:
    shape = tuple(as_integer(dimension, where, 1, MAX_DIMENSION) for dimension in as_list(value, where))
    if kind == "matrix" and len(shape) != 2:
        raise DamagedFile(PART, f"{where} has {len(shape)} dimensions; a matrix has 2")
    if len(shape) > MAX_DIMENSIONS:
        raise DamagedFile(PART, f"{where} has {len(shape)} dimensions; at most {MAX_DIMENSIONS} are allowed")
    return shape


def _claim(value: Json, version: int) -> Claim:
    there = (
        _OF_LOSSY_TOKENIZERS & value.keys() if version >= RESTORING_FROM and isinstance(value, dict) else frozenset()
    )
    record = as_object(value, "claim", keys=keys_of(Claim) - _OF_LOSSY_TOKENIZERS | there)
    if there == {"counted_bytes"}:
        raise DamagedFile(PART, "claim.counted_bytes is there without claim.restoring_bits")
    counts = {key: as_integer(record[key], f"claim.{key}", 1, MAX_INTEGER) for key in sorted(there)}
    return Claim(
        val_loss=as_loss(record["val_loss"], "claim.val_loss"),
        bpb=as_loss(record["bpb"], "claim.bpb"),
        tokens=as_integer(record["tokens"], "claim.tokens", 1, MAX_INTEGER),
        bytes=as_integer(record["bytes"], "claim.bytes", 1, MAX_INTEGER),
        text_sha256=as_text(record["text_sha256"], "claim.text_sha256", SHA256),
        device=as_text(record["device"], "claim.device"),
        dtype=as_text(record["dtype"], "claim.dtype"),
        tolerance=as_loss(record["tolerance"], "claim.tolerance"),
        float_val_loss=as_loss(record["float_val_loss"], "claim.float_val_loss"),
        float_bpb=as_loss(record["float_bpb"], "claim.float_bpb"),
        **counts,
    )


def _budget(value: Json) -> BudgetEntry:
    record = as_object(value, "budget", keys=keys_of(BudgetEntry))
    return BudgetEntry(
        cap=as_integer(record["cap"], "budget.cap", 1, MAX_SIZE),
        code_bytes=as_integer(record["code_bytes"], "budget.code_bytes", 0, MAX_SIZE),
    )
