"""The `[model]` section: the shape of the transformer."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from golf.recipe.section import Section, refuse


class Model(Section):
    """`[model]`: the shape of the transformer."""

    layers: int = Field(6, ge=1, le=256, description="blocks of attention and MLP")
    width: int = Field(256, ge=8, le=16384, description="D, channels of the residual stream")
    heads: int = Field(4, ge=1, le=256, description="H, query heads")
    kv_heads: int = Field(2, ge=1, le=256, description="key/value heads, shared by groups of query heads")
    mlp_ratio: float = Field(2.0, gt=0, le=16, description="hidden width of the MLP over D")
    rope_base: float = Field(10_000.0, gt=1, le=1e9, description="longest wavelength of the rotary embedding / 2π")
    logit_softcap: float = Field(30.0, gt=0, le=1e4, description="logits are cap * tanh(x / cap)")
    query_gain: float = Field(1.5, gt=0, le=100, description="initial gain of the normalized queries, learned per head")
    smear: bool = Field(False, description="add a learned, gated part of the token before to each embedding")
    skips: bool = Field(
        False, description="add the first half's outputs to the second half's inputs, mirrored, per-channel weights"
    )
    residual_mix: bool = Field(
        False, description="mix the embedding into the residual stream at each block's entry, per-channel weights"
    )
    output_scales: bool = Field(False, description="scale attention's and MLP's outputs per channel, learned")
    embedding_std: float = Field(0.005, gt=0, le=10, description="of the initial embedding")
    mlp_activation: Literal["relu2", "leaky_relu2"] = Field(
        "relu2", description="of the MLP: ReLU squared, or leaky ReLU (slope 0.5) squared"
    )
    rotary_fraction: float = Field(
        1.0, gt=0, le=1, description="share of a head's channels that rotary embeddings rotate"
    )
    exclusive_layers: int = Field(
        0,
        ge=0,
        le=256,
        description="number of last layers with exclusive self-attention (XSA): without each token's own value",
    )
    parallel_from: int | None = Field(
        None,
        ge=0,
        le=256,
        description="first layer with parallel residuals: MLP and attention have the same input; none by default",
    )
    recur_layers: tuple[int, int] | None = Field(
        None, strict=False, description="first and last layer of the group that is applied several times"
    )
    recur_times: int = Field(2, ge=1, le=16, description="how often `recur_layers` are applied")

    @property
    def rotary_width(self) -> int:
        """Channels of one head that rotary embeddings rotate; even, at least 2."""
        return max(2, round(self.head_width * self.rotary_fraction / 2) * 2)

    @property
    def head_width(self) -> int:
        """Channels of one head."""
        return self.width // self.heads

    @property
    def mlp_width(self) -> int:
        """Hidden channels of the MLP."""
        return round(self.width * self.mlp_ratio)

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        whole = not self.width % self.heads
        first, last = self.recur_layers or (0, 0)
        refuse(
            (not whole, f"width {self.width} is not a multiple of heads {self.heads}"),
            (self.heads % self.kv_heads, f"heads {self.heads} is not a multiple of kv_heads {self.kv_heads}"),
            (whole and self.head_width % 2, f"width / heads = {self.head_width} must be even for rotary embeddings"),
            (self.mlp_width < 1, f"mlp_ratio {self.mlp_ratio} leaves the MLP no channel at width {self.width}"),
            (
                not 0 <= first <= last < self.layers,
                f"recur_layers {[first, last]} are not first and last of {self.layers} layers",
            ),
        )
        return self
