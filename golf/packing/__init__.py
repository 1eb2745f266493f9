"""Packing: `golf.packing.pack` is the flow from a checkpoint to an artifact within a byte budget."""
