"""Decode an artifact into a Transformer and a Tokenizer, from the file alone; shared by pack, verify and generate."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch

from golf.artifact import Artifact, Limits, Manifest, TensorEntry, decompress_zstd
from golf.artifact.layout import SHARED_SCALES_FROM
from golf.artifact.ledger import TENSOR_PARTS
from golf.compress.context_coder import KNOWN, Tables
from golf.compress.decode_matrix import QuantizedMatrix, Weights, decode_matrix, update_digest
from golf.compress.matrix_sections import (
    CONDITIONAL,
    SCALES,
    TABLES,
    Payload,
    own_scales,
    unpack_all_scales,
    unpack_matrix,
)
from golf.compress.scale_codes import MatrixLayout, MatrixScales
from golf.data.bpe_merges import unpack_merges
from golf.data.tokenizer import Tokenizer, load_tokenizer
from golf.errors import DamagedFile, RecipeError, naming
from golf.model import Transformer, layer_order, parameter_shapes
from golf.model.cost import forward_flops, largest_activation
from golf.recipe import Model, Recipe, recipe_from_dict
from golf.recipe.validate import validate
from golf.runtime.parallel import parallel_map

T = TypeVar("T")


@dataclass(frozen=True)
class Rebuilt:
    """A decoded artifact: model (float32 on the CPU), tokenizer and recipe."""

    model: Transformer
    tokenizer: Tokenizer
    recipe: Recipe


def rebuild(artifact: Artifact, *, poll: Callable[[], None] = lambda: None, limits: Limits | None = None) -> Rebuilt:
    """Decode a checked artifact; raises DamagedFile naming the part that does not fit.

    `poll` is called before every matrix and may raise to stop. Every shape is compared with `parameter_shapes` of the
    declared model, and what a window costs with the `limits`, before a tensor is allocated.
    """
    with naming(artifact.path):
        return _rebuilt(artifact, poll, limits or Limits())


def _rebuilt(artifact: Artifact, poll: Callable[[], None], limits: Limits) -> Rebuilt:
    manifest = artifact.manifest
    recipe = _validated(lambda: recipe_from_dict(manifest.recipe, source="recipe"))
    shape = _validated(lambda: validate(Model, manifest.model, source="model"))
    _check_agreement(manifest, recipe, shape)
    _check_cost(artifact, recipe, shape, limits)
    _check_shapes(manifest, shape)
    _check_sections(artifact)
    tokenizer = _tokenizer(artifact)
    weights = _decode_tensors(artifact, poll)
    model = Transformer(shape, manifest.tokenizer.vocab_size)
    model.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
    return Rebuilt(model.eval(), tokenizer, recipe)


def decoded_matrices(artifact: Artifact) -> list[QuantizedMatrix]:
    """The integers of every matrix, for inspection; raises DamagedFile."""
    _check_sections(artifact)
    shared = _shared(artifact)
    return [_decode_matrix(artifact, each, shared) for each in artifact.manifest.tensors if each.kind == "matrix"]


class ContentDigest:
    """SHA-256 of an artifact's decoded integers, steps and small tensors, independent of their codecs."""

    def __init__(self) -> None:
        """Start an empty digest."""
        self._sha = hashlib.sha256()

    def matrix(self, coded: QuantizedMatrix) -> None:
        """Feed one matrix, in the order of the manifest."""
        self._sha.update(np.array([coded.step, coded.factors.base], dtype="<f8").tobytes())
        update_digest(coded, self._sha.update)

    def small(self, content: bytes) -> None:
        """Feed one small tensor: its values as little-endian float32."""
        self._sha.update(content)

    def hexdigest(self) -> str:
        """64 hexadecimal digits."""
        return self._sha.hexdigest()


def _validated(parse: Callable[[], T]) -> T:
    """Call `parse`, and raise a RecipeError as DamagedFile of the manifest."""
    try:
        return parse()
    except RecipeError as error:
        raise DamagedFile("manifest", error.mistakes[0]) from None


def _check_agreement(manifest: Manifest, recipe: Recipe, shape: Model) -> None:
    """Check that the manifest's recipe agrees with the artifact."""
    if recipe.model != shape or recipe.tokenizer.kind != manifest.tokenizer.kind:
        raise DamagedFile("manifest", "its recipe describes another model than the one it holds")
    if (recipe.budget.cap, recipe.budget.code_bytes) != (manifest.budget.cap, manifest.budget.code_bytes):
        raise DamagedFile("manifest", "its recipe has another budget than the one it states")


def _check_cost(artifact: Artifact, recipe: Recipe, shape: Model, limits: Limits) -> None:
    """Check what one window of the model costs, before anything of it is built."""
    vocab, T = artifact.manifest.tokenizer.vocab_size, recipe.train.sequence_length
    flops = forward_flops(shape, vocab, windows=1, sequence_length=T)
    activation = largest_activation(shape, vocab, sequence_length=T)
    limits.check_window(activation, flops / len(layer_order(shape)), file_size=artifact.size)
    limits.check_flops(flops, file_size=artifact.size)


def _check_shapes(manifest: Manifest, shape: Model) -> None:
    expected = parameter_shapes(shape, manifest.tokenizer.vocab_size)
    for tensor in manifest.tensors:
        wanted = next(expected, None)
        if (tensor.name, tensor.shape) != wanted or (tensor.kind == "matrix") != (len(tensor.shape) == 2):
            raise DamagedFile(
                "manifest", f"declares {tensor.name} {tensor.shape}; the model's shape has {wanted} there"
            )
    if (missing := next(expected, None)) is not None:
        raise DamagedFile("manifest", f"lacks tensor {missing[0]} of the model's shape")


def _check_sections(artifact: Artifact) -> None:
    """Refuse sections that no decoder reads, so that an artifact cannot hide data."""
    known = (
        {"small"}
        | ({TABLES} if any(s.codec == CONDITIONAL for s in artifact.sections) else set())
        | ({"tokenizer"} if artifact.manifest.tokenizer.kind != "bytes" else set())
    )
    together = artifact.header.version >= SHARED_SCALES_FROM
    known |= {SCALES} if together else set()
    for tensor in artifact.manifest.tensors:
        if tensor.kind == "matrix":
            parts = set(TENSOR_PARTS if tensor.rank else ("scales", "residual")) - ({SCALES} if together else set())
            known |= {f"{tensor.name}/{part}" for part in parts}
    for section in artifact.sections:
        if section.name not in known:
            raise DamagedFile(section.part, "belongs to nothing that this artifact holds")


def _tokenizer(artifact: Artifact) -> Tokenizer:
    declared = artifact.manifest.tokenizer
    serialized = _serialized_tokenizer(artifact) if declared.kind != "bytes" else b""
    if hashlib.sha256(serialized).hexdigest() != declared.sha256:
        raise DamagedFile("section tokenizer", "is not the tokenizer that the manifest declares")
    tokenizer = load_tokenizer(declared.kind, serialized)
    if tokenizer.vocab_size != declared.vocab_size:
        raise DamagedFile("section tokenizer", f"has {tokenizer.vocab_size} pieces; {declared.vocab_size} are declared")
    return tokenizer


def _serialized_tokenizer(artifact: Artifact) -> bytes:
    """The tokenizer's file, spelled out or from its merges."""
    section = artifact.section("tokenizer")
    if section.codec != "bpe":
        return _plain(artifact, "tokenizer")
    try:
        return unpack_merges(
            artifact.read("tokenizer"),
            vocab_size=artifact.manifest.tokenizer.vocab_size,
            limit=section.decoded_size,
        )
    except ValueError as error:
        raise DamagedFile(section.part, f"holds no merges of a tokenizer: {error}") from None


def _plain(artifact: Artifact, name: str) -> bytes:
    """Content of a raw or zstd section."""
    section = artifact.section(name)
    if section.codec == "raw":
        return artifact.read(name)
    if section.codec == "zstd":
        return decompress_zstd(artifact.read(name), expected_size=section.decoded_size, part=section.part)
    raise DamagedFile(section.part, f"codec {section.codec!r} is for matrices")


def _decode_tensors(artifact: Artifact, poll: Callable[[], None]) -> dict[str, Weights]:
    """All tensors by name, float32, after the digest of their decoded content has been compared."""
    digest = ContentDigest()
    shared = _shared(artifact)
    small = io.BytesIO(_plain(artifact, "small"))
    with closing(parallel_map(lambda tensor: _decoded(artifact, tensor, shared), _polled(artifact, poll))) as matrices:
        weights = _collect(artifact, matrices, small, digest)
    if small.read(1):
        raise DamagedFile("section small", "goes on after the last small tensor")
    if digest.hexdigest() != artifact.manifest.content_sha256:
        raise DamagedFile("manifest", "its content_sha256 is not the digest of what the sections decode to")
    _refuse_non_finite(weights)
    return weights


def _polled(artifact: Artifact, poll: Callable[[], None]) -> Iterator[TensorEntry]:
    for tensor in artifact.manifest.tensors:
        if tensor.kind == "matrix":
            poll()
            yield tensor


def _collect(
    artifact: Artifact, matrices: Iterator[tuple[QuantizedMatrix, Weights]], small: io.BytesIO, digest: ContentDigest
) -> dict[str, Weights]:
    """Tensors in the order of the manifest, each fed to the digest."""
    weights: dict[str, Weights] = {}
    for tensor in artifact.manifest.tensors:
        if tensor.kind == "small":
            content = small.read(4 * tensor.weights)
            if len(content) < 4 * tensor.weights:
                raise DamagedFile("section small", f"ends before {tensor.name}")
            digest.small(content)
            weights[tensor.name] = np.frombuffer(content, dtype="<f4").reshape(tensor.shape).astype(np.float32)
        else:
            coded, weights[tensor.name] = next(matrices)
            digest.matrix(coded)
    return weights


@dataclass(frozen=True)
class _Shared:
    """What matrices have in common: distributions, and from version 8 on the section of their scales."""

    tables: Tables | None
    scales: dict[str, MatrixScales]


def _shared(artifact: Artifact) -> _Shared:
    tables = _tables(artifact)
    if artifact.header.version < SHARED_SCALES_FROM:
        return _Shared(tables, {})
    matrices = [tensor for tensor in artifact.manifest.tensors if tensor.kind == "matrix"]
    layouts = [_layout(artifact, each) for each in matrices]
    section = artifact.section(SCALES)
    scales = unpack_all_scales(layouts, section.codec, section.decoded_size, artifact.read(SCALES))
    return _Shared(tables, dict(zip((each.name for each in matrices), scales, strict=True)))


def _layout(artifact: Artifact, tensor: TensorEntry) -> MatrixLayout:
    """Context scales came with version 7."""
    residual = next((each for each in artifact.sections if each.name == f"{tensor.name}/residual"), None)
    contextual = artifact.header.version >= 7 and residual is not None and residual.codec == CONDITIONAL
    M, N = tensor.shape
    return MatrixLayout((M, N), tensor.rank, int(tensor.parameters.get("spread", 0)), contextual)


def _scales(artifact: Artifact, tensor: TensorEntry, sections: dict[str, Payload], shared: _Shared) -> MatrixScales:
    """The scales of a matrix, from the section of all or from its own."""
    if tensor.name in shared.scales:
        return shared.scales[tensor.name]
    return own_scales(tensor.name, _layout(artifact, tensor), sections, shared.tables)


def _tables(artifact: Artifact) -> Tables | None:
    """The distributions of the conditionally coded sections; None where the file has no section `tables`."""
    if all(section.name != TABLES for section in artifact.sections):
        return None
    known = KNOWN[artifact.header.version]
    return Tables.from_bytes(_plain(artifact, TABLES), part=f"section {TABLES}", known=known)


def _decoded(artifact: Artifact, tensor: TensorEntry, shared: _Shared) -> tuple[QuantizedMatrix, Weights]:
    coded = _decode_matrix(artifact, tensor, shared)
    return coded, decode_matrix(coded)


def _decode_matrix(artifact: Artifact, tensor: TensorEntry, shared: _Shared) -> QuantizedMatrix:
    parameters = tensor.parameters
    sections: dict[str, Payload] = {}
    for section in artifact.sections:
        owner, _, part = section.name.partition("/")
        if owner == tensor.name:
            sections[part] = (section.codec, section.decoded_size, artifact.read(section.name))
    version = artifact.header.version if "residual" in sections else 0
    wanted = {"step"} | ({"factor_step"} if tensor.rank else set()) | ({"spread"} if version > 1 else set())
    allowed = wanted | ({"states"} if version > 2 else set())
    if not wanted <= parameters.keys() <= allowed:
        raise DamagedFile("manifest", f"{tensor.name} needs the parameters {', '.join(sorted(wanted))} and no other")
    for key in ("spread", "states"):
        if not isinstance(parameters.get(key, 0), int):
            raise DamagedFile("manifest", f"the {key} of {tensor.name} must be an integer")
    if parameters.get("states") == 0:  # uniform quantization is written without `states`
        raise DamagedFile("manifest", f"{tensor.name} has a trellis of 0 states, a number that has no code")
    return unpack_matrix(
        tensor.name,
        (tensor.shape[0], tensor.shape[1]),
        tensor.rank,
        step=float(parameters["step"]),
        factor_step=float(parameters.get("factor_step", 1.0)),
        states=int(parameters.get("states", 0)),
        sections=sections,
        tables=shared.tables,
        scales=_scales(artifact, tensor, sections, shared),
    )


def _refuse_non_finite(weights: dict[str, Weights]) -> None:
    for name, value in weights.items():
        if not np.isfinite(value).all():
            raise DamagedFile(f"section {name}", "decodes to weights that are not finite")
