"""The artifact: one file that holds a packed model, and every check that a stranger's copy of it must pass.

`docs/format.md` specifies the bytes. There is one parser; it knows bytes and JSON, and neither torch nor numpy.
"""

from golf.artifact.layout import HEADER_SIZE, MAGIC, NO_LIMITS, VERSION, Limits
from golf.artifact.manifest import BudgetEntry, Claim, Manifest, TensorEntry, TokenizerEntry
from golf.artifact.read import Artifact, check_start, open_artifact, parse_artifact
from golf.artifact.sections import CODECS, Payload, Section
from golf.artifact.write import assemble, write_artifact
from golf.artifact.zstd import compress_zstd, decompress_zstd

__all__ = [
    "CODECS",
    "HEADER_SIZE",
    "MAGIC",
    "NO_LIMITS",
    "VERSION",
    "Artifact",
    "BudgetEntry",
    "Claim",
    "Limits",
    "Manifest",
    "Payload",
    "Section",
    "TensorEntry",
    "TokenizerEntry",
    "assemble",
    "check_start",
    "compress_zstd",
    "decompress_zstd",
    "open_artifact",
    "parse_artifact",
    "write_artifact",
]
