"""One matrix as integers, where packs code many side by side."""

from golf.compress.encode_matrix import code_matrices


def code_matrix(given, scale, *, low_rank):
    """`code_matrices` of one."""
    return code_matrices([given], scale, low_rank=low_rank)[0]
