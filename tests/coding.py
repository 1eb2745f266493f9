"""One matrix as integers, where packs code many side by side."""

from golf.compress.encode_matrix import quantize_matrices


def code_matrix(given, scale, *, low_rank):
    """`quantize_matrices` of one."""
    return quantize_matrices([given], scale, low_rank=low_rank)[0]
