"""Encode a model's calibrated matrices as an artifact's sections at one global quantization step, once per probe."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from typing import Literal

import torch
from torch import Tensor

from golf import __version__
from golf.artifact import (
    BudgetEntry,
    Claim,
    Manifest,
    Payload,
    TensorEntry,
    TokenizerEntry,
    assemble,
    compress_zstd,
)
from golf.compress.context_search import search_context_scales
from golf.compress.decode_matrix import QuantizedMatrix, Weights, decode_matrix
from golf.compress.encode_matrix import CalibratedMatrix, group_by_width, quantize_matrices
from golf.compress.entropy import Coder
from golf.compress.low_rank import LowRank
from golf.compress.matrix_sections import SCALES, TABLES, pack_matrices
from golf.compress.scale_codes import without_dead
from golf.compress.size_estimate import sampled_bytes
from golf.compress.trellis import STATES
from golf.data.tokenizer import Tokenizer
from golf.evaluation.rebuild import ContentDigest
from golf.model import Transformer
from golf.recipe import Recipe
from golf.runtime.observer import Observer
from golf.runtime.parallel import parallel_map

_CODECS = ("constriction", "numpy", "sentencepiece", "torch", "zstandard")
# zstd 22 gives no smaller files than 19 on this content and takes longer.
_LEVEL = 19


@dataclass(frozen=True)
class EncodedModel:
    """The integers, sections and manifest that a file would be made of; the manifest's claim is a placeholder."""

    matrices: list[QuantizedMatrix]
    payloads: list[Payload]
    manifest: Manifest

    @property
    def ranks(self) -> list[int]:
        """The rank of every matrix's factors."""
        return [matrix.factors.rank for matrix in self.matrices]

    @property
    def matrix_bytes(self) -> dict[str, int]:
        """Bytes of every matrix's sections by its name, and of the sections that they share."""
        sizes = dict.fromkeys([*(matrix.name for matrix in self.matrices), TABLES, SCALES], 0)
        for payload in self.payloads:
            owner = payload.name.partition("/")[0]
            if owner in sizes:
                sizes[owner] += len(payload.content)
        return sizes


@dataclass(frozen=True)
class ModelEncoder:
    """Encodes calibrated matrices at any global step; `claim` is a placeholder until the claim is measured."""

    recipe: Recipe
    model: Transformer
    tokenizer: Tokenizer
    matrices: list[CalibratedMatrix]
    budget: BudgetEntry
    claim: Claim
    low_rank: LowRank
    small: Mapping[str, Tensor] = field(default_factory=dict)
    """Fine-tuned small tensors by name; the others are the model's own."""
    observer: Observer = Observer()

    @property
    def weights(self) -> int:
        """Number of weights of all matrices."""
        return sum(matrix.scaled.size for matrix in self.matrices)

    @property
    def fine_tuned(self) -> bool:
        """Whether the matrices' targets were fine-tuned."""
        return any(matrix.tuned is not None for matrix in self.matrices)

    def least_scale(self) -> float:
        """The global step below which a symbol of some matrix could overflow."""
        return max(matrix.least_scale() for matrix in self.matrices)

    def with_quantizer(self, quantizer: Literal["uniform", "trellis"], low_rank: LowRank) -> ModelEncoder:
        """The same matrices with another quantizer."""
        states = STATES if quantizer == "trellis" else 0
        matrices = [replace(each, states=states) for each in self.matrices]
        return replace(self, matrices=matrices, low_rank=low_rank)

    def with_ranks(self, ranks: Iterable[int]) -> ModelEncoder:
        """The same matrices with fixed ranks of low-rank factors, one per matrix."""
        held = [replace(each, rank=rank) for each, rank in zip(self.matrices, ranks, strict=True)]
        return replace(self, matrices=held)

    def estimate(self, scale: float) -> float:
        """Bytes that `build` gives at `scale`, up to an unknown constant factor, from a sample of the weights."""
        return sampled_bytes(self.matrices, scale)

    def build(self, scale: float) -> tuple[int, EncodedModel]:
        """Real bytes of the file at the global step `scale`, and its EncodedModel."""

        def quantize(group: list[CalibratedMatrix]) -> list[QuantizedMatrix]:
            return quantize_matrices(group, scale, low_rank=self.low_rank, poll=self.observer.check)

        by_name = {each.name: each for group in parallel_map(quantize, self._watched()) for each in group}
        quantized = [by_name[matrix.name] for matrix in self.matrices]
        if self.recipe.pack.coder != "zstd":
            quantized = [without_dead(each) for each in search_context_scales(quantized, self.observer.check)]
        payloads = [*self._fixed_payloads(), *_matrix_payloads(quantized, self.recipe.pack.coder)]
        encoded = EncodedModel(quantized, payloads, self._manifest(quantized))
        return len(assemble(encoded.manifest, payloads)), encoded

    def _watched(self) -> Iterator[list[CalibratedMatrix]]:
        """Yield groups of matrices that are quantized at once; report progress before each."""
        done = 0
        for group in group_by_width(self.matrices):
            self.observer.check()
            self.observer.stage(f"pack {group[0].name}", done / len(self.matrices))
            yield group
            done += len(group)

    def decoded(self, encoded: EncodedModel) -> Transformer:
        """The model that `encoded` decodes to, on the float model's device."""
        model = Transformer(self.model.shape, self.model.vocab_size)
        weights = {n: self._small(n, p) if p.ndim != 2 else p.detach() for n, p in self.model.named_parameters()}
        for matrix, values in zip(encoded.matrices, parallel_map(decode_matrix, encoded.matrices), strict=True):
            weights[matrix.name] = torch.from_numpy(values)
        model.load_state_dict(weights)
        return model.to(self.model.embedding.weight.device)

    def _small(self, name: str, parameter: Tensor) -> Tensor:
        """A small tensor as it is written, fine-tuned if it was: bfloat16 values in float32.

        The lower half of each float32 is then zero, which zstd compresses away. The relative error of gains is .2 %,
        less than that of any matrix.
        """
        return self.small.get(name, parameter).detach().to(torch.bfloat16).float()

    def _fixed_payloads(self) -> Iterator[Payload]:
        """Sections that do not depend on the global step: the tokenizer and the small tensors."""
        if self.tokenizer.serialized:
            yield _tokenizer_payload(self.tokenizer)
        small = [as_bytes(self._small(n, p)) for n, p in self.model.named_parameters() if p.ndim != 2]
        yield plain_payload("small", b"".join(small))

    def _manifest(self, quantized: list[QuantizedMatrix]) -> Manifest:
        by_name = {matrix.name: matrix for matrix in quantized}
        digest, entries = ContentDigest(), []
        for name, parameter in self.model.named_parameters():
            if (matrix := by_name.get(name)) is None:
                digest.small(as_bytes(self._small(name, parameter)))
            else:
                digest.matrix(matrix)
            entries.append(_entry(name, tuple(parameter.shape), matrix))
        return Manifest(
            golf=__version__,
            recipe=self.recipe.model_dump(mode="json", exclude_none=True),
            model=self.recipe.model.model_dump(mode="json"),
            tokenizer=TokenizerEntry(
                kind=self.tokenizer.kind,
                vocab_size=self.tokenizer.vocab_size,
                sha256=hashlib.sha256(self.tokenizer.serialized).hexdigest(),
            ),
            tensors=tuple(entries),
            content_sha256=digest.hexdigest(),
            claim=self.claim,
            budget=self.budget,
            versions={name: version(name) for name in _CODECS},
        )


def _matrix_payloads(quantized: list[QuantizedMatrix], coder: Coder) -> Iterator[Payload]:
    """The sections that all matrices share, then those of each."""
    packed = pack_matrices(quantized, coder=coder)
    yield from (Payload(name, *payload) for name, payload in packed.shared.items())
    for matrix, parts in zip(quantized, packed.own, strict=True):
        yield from (Payload(f"{matrix.name}/{part}", *payload) for part, payload in parts.items())


def _tokenizer_payload(tokenizer: Tokenizer) -> Payload:
    """A SentencePiece model: its merges, where they say everything, or the file."""
    if tokenizer.merges is None:
        return plain_payload("tokenizer", tokenizer.serialized)
    return Payload("tokenizer", "bpe", len(tokenizer.serialized), tokenizer.merges)


def plain_payload(name: str, content: bytes) -> Payload:
    """A section stored as it is, or as zstd where that is smaller."""
    frame = compress_zstd(content, _LEVEL) if content else b""
    codec, stored = ("zstd", frame) if frame and len(frame) < len(content) else ("raw", content)
    return Payload(name, codec, len(content), stored)


def as_weights(parameter: Tensor) -> Weights:
    """A parameter as a float32 array on the CPU."""
    array: Weights = parameter.detach().float().cpu().numpy()
    return array


def as_bytes(parameter: Tensor) -> bytes:
    """A parameter as little-endian float32."""
    return as_weights(parameter).astype("<f4").tobytes()


def _entry(name: str, shape: tuple[int, ...], matrix: QuantizedMatrix | None) -> TensorEntry:
    """One tensor's entry in the manifest; `matrix` is None for a small tensor."""
    if matrix is None:
        return TensorEntry(name=name, shape=shape, kind="small", rank=0, parameters={})
    parameters: dict[str, float] = {"step": matrix.step}
    if matrix.factors.rank:
        parameters["factor_step"] = matrix.factors.base
    if matrix.residual is not None:
        parameters["spread"] = matrix.context_scales.whole
        if matrix.states:
            parameters["states"] = matrix.states
    return TensorEntry(name=name, shape=shape, kind="matrix", rank=matrix.factors.rank, parameters=parameters)
