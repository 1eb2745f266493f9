"""Artifacts of every format version must verify for ever.

A new one is made from the recipe beside it: `golf train tests/golden/v7.toml`, `golf pack`, and copied here.
"""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from cli import environment, golf, golf_json

from golf.artifact import Payload, assemble, open_artifact, parse_artifact
from golf.artifact.layout import VERSIONS
from golf.errors import DamagedFile, Interrupted, UsageError
from golf.evaluation.rebuild import rebuild

GOLDEN = Path(__file__).parents[1] / "golden"
FILES = sorted(GOLDEN.glob("*.bin"), key=lambda path: int(path.stem[1:]))


def test_there_is_one_for_this_version():
    assert [path.stem for path in FILES] == [f"v{number}" for number in VERSIONS]


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_it_verifies(path, tmp_path):
    verdict = golf_json("verify", path, "--data", GOLDEN / "text.txt", cwd=tmp_path)
    assert verdict["passed"]
    assert not verdict["notes"]
    held = {check["name"]: check["passed"] for check in verdict["checks"]}
    assert held["bytes"]
    assert held["nats per token"]


@pytest.mark.parametrize(
    ("name", "codecs"),
    [
        ("v1", {"ans", "zstd"}),
        ("v2", {"ans", "conditional", "zstd"}),
        ("v4", {"conditional", "zstd"}),
        ("v7", {"conditional", "zstd"}),
    ],
)
def test_it_holds_factors_residuals_and_the_codecs_of_its_time(name, codecs):
    artifact = open_artifact(GOLDEN / f"{name}.bin")
    assert {name.rpartition("/")[2] for name, _ in artifact.parts()} >= {"left", "right", "residual", "scales"}
    assert {section.codec for section in artifact.sections} >= codecs


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_it_generates(path, tmp_path):
    assert golf("generate", path, "The ", "--tokens", 5, cwd=tmp_path).stdout.startswith("The ")


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_every_flipped_byte_is_noticed(path):
    content = path.read_bytes()
    for position in range(0, len(content), 23):  # bench.fuzz_artifact damages many more
        altered = bytearray(content)
        altered[position] ^= 0x20
        with pytest.raises(DamagedFile):
            parse_artifact(bytes(altered))


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_writing_its_parts_again_gives_its_bytes(path):
    artifact = open_artifact(path)
    assert assemble(artifact.manifest, artifact.payloads(), version=artifact.header.version) == path.read_bytes()


@pytest.mark.parametrize("name", ["hidden", "tables2"])
@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_a_section_that_no_decoder_reads_is_refused(path, name):
    artifact = open_artifact(path)
    payloads = [*artifact.payloads(), Payload(name, "raw", 3, b"abc")]
    with pytest.raises(DamagedFile, match=f"section {name}: belongs to nothing"):
        rebuild(parse_artifact(assemble(artifact.manifest, payloads, version=artifact.header.version)))


# The first 32 digits of the SHA-256 of all decoded weights, float32, by version: the same on every machine.
WEIGHTS = {
    "v1": "3b76c2d2dea15ce90a2bdeb3ce2a4419",
    "v2": "480d53729c748a40be732609e37b8fe8",
    "v4": "71e1fe7193c041711976dd4fcec2c78d",
    "v7": "ab4a69e34b42724e4c7341be519da1a9",
    "v8": "6ff642910c03bd1e65e246407e9c7f74",
    "v11": "dca981db06e0f0dfa994025ba201978a",
}
DIGESTS = """
import hashlib, sys
from pathlib import Path
from golf.artifact import open_artifact
from golf.evaluation.rebuild import rebuild
for path in sys.argv[1:]:
    sha = hashlib.sha256()
    for _, weight in rebuild(open_artifact(Path(path))).model.named_parameters():
        sha.update(weight.detach().numpy().tobytes())
    print(sha.hexdigest()[:32])
"""


@pytest.mark.parametrize(
    "variables",
    [
        {"MKL_CBWR": "AVX2", "OMP_NUM_THREADS": "3"},
        {"MKL_CBWR": "COMPATIBLE", "OMP_NUM_THREADS": "1"},
        {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "NPY_DISABLE_CPU_FEATURES": "AVX2 FMA3"},
    ],
    ids=lambda variables: " ".join(variables) or "as it is",
)
def test_files_decode_to_the_same_bits_on_every_machine(variables):
    """Under every order in which a BLAS may sum, and whatever instructions a CPU has."""
    command = [sys.executable, "-c", DIGESTS, *map(str, FILES)]
    done = subprocess.run(command, env=environment() | variables, capture_output=True, text=True, check=True)
    assert dict(zip([path.stem for path in FILES], done.stdout.split(), strict=True)) == WEIGHTS


def test_decoding_asks_before_every_matrix_whether_to_stop():
    artifact, asked = open_artifact(GOLDEN / "v4.bin"), []
    rebuild(artifact, poll=lambda: asked.append(None))
    assert len(asked) == sum(tensor.kind == "matrix" for tensor in artifact.manifest.tensors)

    def stop() -> None:
        raise Interrupted("stopped while measuring; no verdict", signal_number=2)

    with pytest.raises(Interrupted):
        rebuild(artifact, poll=stop)


def test_tables_without_a_reader_and_codecs_of_another_version_are_refused():
    artifact = open_artifact(GOLDEN / "v1.bin")
    tables = [*artifact.payloads(), Payload("tables", "raw", 3, b"abc")]
    with pytest.raises(DamagedFile, match="section tables: belongs to nothing"):
        rebuild(parse_artifact(assemble(artifact.manifest, tables, version=1)))
    newer = open_artifact(GOLDEN / "v2.bin")
    with pytest.raises(UsageError, match="codec"):
        assemble(newer.manifest, newer.payloads(), version=1)
    trellis = open_artifact(GOLDEN / "v4.bin")
    assert any("states" in tensor.parameters for tensor in trellis.manifest.tensors)
    with pytest.raises(DamagedFile, match="section tables: holds a record of no class"):
        rebuild(parse_artifact(assemble(trellis.manifest, trellis.payloads(), version=2)))


@pytest.mark.parametrize("states", [0, 5, 8.0])
def test_a_trellis_that_is_none_is_refused(states):
    artifact = open_artifact(GOLDEN / "v4.bin")
    tensors = tuple(
        replace(t, parameters={**t.parameters, "states": states}) if "states" in t.parameters else t
        for t in artifact.manifest.tensors
    )
    manifest = replace(artifact.manifest, tensors=tensors)
    with pytest.raises(DamagedFile, match="states"):
        rebuild(parse_artifact(assemble(manifest, artifact.payloads(), version=4)))
