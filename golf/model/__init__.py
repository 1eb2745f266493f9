"""The transformer: its blocks, its one initialization, and the contest's names of its weights."""

from golf.model.cost import flops_per_token
from golf.model.transformer import (
    BOS_ID,
    Transformer,
    initialize,
    layer_order,
    parameter_count,
    parameter_shapes,
    role,
    skip_source,
)

__all__ = [
    "BOS_ID",
    "Transformer",
    "flops_per_token",
    "initialize",
    "layer_order",
    "parameter_count",
    "parameter_shapes",
    "role",
    "skip_source",
]
