"""A checkpoint gives back exactly what was saved, or says that it cannot."""

import errno
import hashlib
import json
import math
import os
import random
import resource
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import golf
from golf.errors import DamagedCheckpoint, EnvironmentFailure, UsageError
from golf.run.checkpoint import (
    DTYPES,
    FORMAT,
    MAX_HEADER,
    NEWEST,
    Checkpoint,
    load_checkpoint,
    load_latest,
    previous_of,
    save_checkpoint,
    tensor_digest,
)
from golf.run.folder import Run

STATE = {"step": 7, "elapsed": 1.5, "cursor": {"shard": 2, "seed": 2**127}, "flags": [True, None, "ü\n\x7f"]}


def tensors() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "model.a": torch.randn(3, 5, generator=generator),
        "model.b": torch.randn(7, generator=generator).bfloat16(),
        "optimizer.a.step": torch.tensor(7),
        "optimizer.empty": torch.empty(0, 4),
        "rng": torch.arange(11, dtype=torch.uint8),
    }


@pytest.fixture
def path(tmp_path: Path) -> Path:
    save_checkpoint(tmp_path / NEWEST, tensors(), STATE)
    return tmp_path / NEWEST


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    """Bit for bit: NaNs and signs of zero count."""
    return a.keys() == b.keys() and all(
        a[n].dtype == b[n].dtype
        and a[n].shape == b[n].shape
        and a[n].contiguous().reshape(-1).view(torch.uint8).equal(b[n].contiguous().reshape(-1).view(torch.uint8))
        for n in a
    )


shapes = st.lists(st.integers(0, 4), max_size=4)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def any_tensor(draw: st.DrawFn) -> torch.Tensor:
    dtype, shape = draw(st.sampled_from(sorted(DTYPES))), draw(shapes)
    size = math.prod(shape) * DTYPES[dtype].itemsize
    content = bytearray(draw(st.binary(min_size=size, max_size=size)))
    flat = torch.frombuffer(content, dtype=DTYPES[dtype]) if size else torch.empty(0, dtype=DTYPES[dtype])
    return flat.reshape(shape)


@settings(max_examples=80)
@given(
    saved=st.dictionaries(st.text(max_size=8), any_tensor(), max_size=4), state=st.dictionaries(st.text(), json_values)
)
def test_what_is_loaded_is_what_was_saved(tmp_path_factory, saved, state):
    path = tmp_path_factory.getbasetemp() / "property.safetensors"
    save_checkpoint(path, saved, state)
    loaded = load_checkpoint(path)
    assert same(loaded.tensors, saved)
    assert loaded.state == state
    assert tensor_digest(loaded.tensors) == tensor_digest(saved)


def test_any_safetensors_library_reads_it(path):
    assert same(safetensors.torch.load_file(path), tensors())
    with safetensors.safe_open(path, framework="pt") as file:
        assert list(file.metadata()) == ["golf"]
        claim = json.loads(file.metadata()["golf"])
    assert claim == {"format": FORMAT, "state": STATE, "digest": claim["digest"]}


def test_the_digest_is_what_the_documentation_says(path):
    """Written out a second time, slowly."""
    own = tensors()
    table = [[name, str(own[name].dtype), list(own[name].shape)] for name in sorted(own)]
    covered = json.dumps(
        {"format": 1, "state": STATE, "tensors": table}, sort_keys=True, separators=(",", ":")
    ).encode()
    for name in sorted(own):
        covered += bytes(own[name].reshape(-1).view(torch.uint8).tolist())
    with safetensors.safe_open(path, framework="pt") as file:
        assert json.loads(file.metadata()["golf"])["digest"] == hashlib.sha256(covered).hexdigest()


def test_tensors_that_share_memory_or_are_strided_are_saved_as_they_look(tmp_path):
    base = torch.arange(12.0).reshape(3, 4)
    saved = {"tied": base, "tied again": base, "transposed": base.T, "view": base[1:, ::2], "flipped": base.flip(0)}
    save_checkpoint(tmp_path / NEWEST, saved, {})
    loaded = load_checkpoint(tmp_path / NEWEST).tensors
    assert same(loaded, saved)
    # in memory of its own, as torch aligns it, and not a view that keeps the whole file alive
    assert all(tensor.data_ptr() % 64 == 0 for tensor in loaded.values())


def test_parameters_that_learn_are_saved_without_their_history(tmp_path):
    weight = torch.nn.Parameter(torch.ones(2, 2))
    save_checkpoint(tmp_path / NEWEST, {"w": weight, "product": weight * 2}, {})
    loaded = load_checkpoint(tmp_path / NEWEST).tensors["product"]
    assert loaded.equal(torch.full((2, 2), 2.0))
    assert not loaded.requires_grad


def test_the_same_content_gives_the_same_bytes_in_every_process_and_order(path):
    code = """
import sys, torch
from pathlib import Path
from golf.run.checkpoint import load_checkpoint, save_checkpoint
saved, folder = load_checkpoint(Path(sys.argv[1])), Path(sys.argv[1]).parent
for number in range(2):
    names, keys = (sorted(table, reverse=bool(number)) for table in (saved.tensors, saved.state))
    tensors = {name: saved.tensors[name] for name in names}
    save_checkpoint(folder / f"{number}.safetensors", tensors, {key: saved.state[key] for key in keys})
"""
    environment = os.environ | {"PYTHONPATH": str(Path(golf.__file__).parents[1]), "PYTHONHASHSEED": "7"}
    subprocess.run([sys.executable, "-c", code, path], env=environment, check=True)
    for number in range(2):
        assert (path.parent / f"{number}.safetensors").read_bytes() == path.read_bytes()


def test_a_prefix_selects_and_is_taken_off(path):
    loaded = load_checkpoint(path, prefix="model.")
    assert same(loaded.tensors, {"a": tensors()["model.a"], "b": tensors()["model.b"]})
    assert loaded.state == STATE
    assert load_latest(path.parent, prefix="none.")[0] == Checkpoint({}, STATE)


def test_the_digest_of_tensors_sees_names_dtypes_shapes_and_bytes_only():
    digest = tensor_digest(tensors())
    assert digest == tensor_digest(dict(reversed(tensors().items())))
    others = [
        {"x": torch.zeros(2, 3)},
        {"y": torch.zeros(2, 3)},
        {"x": torch.zeros(3, 2)},
        {"x": torch.zeros(2, 3).int()},
    ]
    others += [{"x": -torch.zeros(2, 3)}, {"x": torch.zeros(2), "y": torch.zeros(4)}, {"x": torch.zeros(6)}, {}]
    assert len({digest, *map(tensor_digest, others)}) == 9
    assert tensor_digest({"x": torch.zeros(3, 2).T}) == tensor_digest(others[0])
    assert tensor_digest({"x": torch.tensor([True]), "y": torch.ones(1, dtype=torch.float64)})  # any dtype


@pytest.mark.parametrize(
    ("saved", "state", "told"),
    [
        ({"x": torch.zeros(1, dtype=torch.float64)}, {}, "x: torch.float64 cannot stand in a checkpoint"),
        ({"__metadata__": torch.zeros(1)}, {}, "__metadata__: torch.float32 cannot stand"),
        ({}, {"x": (1, 2)}, "what JSON would change"),
        ({}, {"x": {1: 2}}, "what JSON would change"),
        ({}, {"x": math.nan}, "not JSON compliant"),
        ({}, {"x": "y" * MAX_HEADER}, "bytes; a checkpoint holds 4,194,304"),
    ],
    ids=["dtype", "name", "tuple", "number as key", "nan", "size"],
)
def test_what_could_not_be_loaded_again_is_not_saved(tmp_path, saved, state, told):
    with pytest.raises(ValueError, match=told):
        save_checkpoint(tmp_path / NEWEST, saved, state)
    assert list(tmp_path.iterdir()) == []


def test_the_last_two_checkpoints_are_kept_where_a_run_has_them(tmp_path):
    run = Run(tmp_path)
    for step in range(4):
        save_checkpoint(run.checkpoint, {"x": torch.full((2,), float(step))}, {"step": step})
    assert sorted(tmp_path.iterdir()) == [run.previous_checkpoint, run.checkpoint]
    assert load_checkpoint(run.checkpoint).state == {"step": 3}
    assert load_checkpoint(run.previous_checkpoint).state == {"step": 2}
    assert previous_of(run.checkpoint) == run.previous_checkpoint


@pytest.mark.parametrize("limit", [0, 5, 100, 560])
def test_a_refused_write_leaves_both_checkpoints(tmp_path, limit):
    """The kernel refuses at a given byte: in the header, and between tensors."""
    for step in range(2):
        save_checkpoint(tmp_path / NEWEST, tensors(), {"step": step})
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    assert all(len(content) > limit for content in before.values())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(EnvironmentFailure, match=f"{NEWEST}: {os.strerror(errno.EFBIG)}"):
            save_checkpoint(tmp_path / NEWEST, tensors(), {"step": 2})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_a_damaged_newest_one_falls_back_to_the_one_before_and_says_so(path):
    save_checkpoint(path, tensors(), STATE | {"step": 8})
    assert load_latest(path.parent)[0].state["step"] == 8
    assert load_latest(path.parent)[1] is None
    path.write_bytes(path.read_bytes()[:-1])
    checkpoint, note = load_latest(path.parent)
    assert checkpoint.state == STATE
    assert note is not None
    assert note.startswith(f"{path}: its tensors take 93 bytes, and 92 bytes are there; going back to checkpoint.prev")


def test_a_missing_newest_one_falls_back_too(path):
    path.rename(previous_of(path))
    checkpoint, note = load_latest(path.parent)
    assert checkpoint.state == STATE
    advice = "name the folder of a run, or make one with: golf train"
    assert note == f"{path} does not exist; {advice}; going back to checkpoint.previous.safetensors"


def test_after_a_fall_back_the_next_save_never_leaves_two_damaged_ones(path, monkeypatch):
    save_checkpoint(path, tensors(), {"step": 8})
    path.write_bytes(b"damaged")
    real = os.replace

    def killed(source, target) -> None:
        real(source, target)
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)  # dies right after the first rename
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(path, tensors(), {"step": 9})
    assert load_latest(path.parent)[0].state == {"step": 9}
    assert load_checkpoint(previous_of(path)).state == STATE


def test_two_damaged_ones_are_both_named(path):
    previous_of(path).write_bytes(b"")
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    with pytest.raises(DamagedCheckpoint) as caught:
        load_latest(path.parent)
    assert caught.value.exit_code == 4
    assert caught.value.part == str(path)
    assert str(caught.value).startswith(
        f"{path}: its content does not match its digest; and checkpoint.previous.safeten"
    )


def test_a_damaged_only_one_is_named(path):
    path.write_bytes(b"")
    with pytest.raises(DamagedCheckpoint, match="too few for its header"):
        load_latest(path.parent)


def test_a_folder_without_checkpoints_names_the_next_command(tmp_path):
    for use in (lambda: load_latest(tmp_path), lambda: load_checkpoint(tmp_path / NEWEST)):
        with pytest.raises(UsageError, match=r"does not exist; name the folder of a run"):
            use()


def test_what_is_no_file_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / NEWEST)
    for path in (tmp_path, tmp_path / NEWEST, Path("/dev/zero")):
        with pytest.raises(DamagedCheckpoint, match="is not a plain file"):
            load_checkpoint(path)


def test_a_disk_that_cannot_be_read_is_an_environment_failure(path, monkeypatch):
    for error, told in [
        (PermissionError(errno.EACCES, "Permission denied"), "Permission denied"),
        (MemoryError(), "memory"),
    ]:
        with monkeypatch.context() as patch:
            patch.setattr(torch, "frombuffer", lambda *_, raised=error, **__: (_ for _ in ()).throw(raised))
            with pytest.raises(EnvironmentFailure, match=f"cannot read .*{told}"):
                load_checkpoint(path)


def refuses(path: Path, content: bytes) -> str:
    path.unlink(missing_ok=True)  # to truncate a file makes some file systems flush it, thousands of times here
    path.write_bytes(content)
    with pytest.raises(DamagedCheckpoint) as caught:
        load_checkpoint(path)
    return str(caught.value).removeprefix(f"{path}: ")


def test_every_flipped_bit_is_found(tmp_path):
    path = tmp_path / NEWEST
    save_checkpoint(path, {"x": torch.tensor([1, 2, 3], dtype=torch.uint8)}, {"step": 1, "ü": 0.5})
    content = path.read_bytes()
    for position in range(8 * len(content)):
        mutant = bytearray(content)
        mutant[position // 8] ^= 1 << position % 8
        refuses(path, bytes(mutant))


def test_every_truncation_and_extension_is_found(path):
    content = path.read_bytes()
    for end in range(len(content)):
        refuses(path, content[:end])
    for tail in (b"\0", b" ", content, b"\0" * 4096):
        refuses(path, content + tail)


def test_random_damage_raises_nothing_else(path):
    content, chance = path.read_bytes(), random.Random(0)
    begin = int.from_bytes(content[:8], "little") + 8
    for _ in range(600):
        mutant = bytearray(content)
        for _ in range(chance.randint(1, 4)):
            a, b = sorted(chance.choices(range(begin if chance.random() < 0.8 else len(mutant)), k=2))
            match chance.randrange(4):
                case 0:
                    mutant[a:b] = b""
                case 1:
                    mutant[a:a] = mutant[b : b + 20]
                case 2:
                    mutant[a : a + 1] = chance.choice(
                        [b"0", b"9", b"-", b"e9", b"[", b"]", b"{", b"}", b'"', b"\\", b","]
                    )
                case 3:
                    mutant[:8] = chance.choice([begin, 0, len(mutant), 2**63, 2**64 - 1]).to_bytes(8, "little")
        if mutant != content:
            refuses(path, bytes(mutant))


def forged(header: str | bytes, data: bytes = b"", *, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else header.encode()
    text += b" " * (-len(text) % 8) if length is None else b""
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def claim(state: str = "{}", *, format_: str = "1", digest: str = '"x"', more: str = "") -> str:
    text = f'{{"digest":{digest},"format":{format_},"state":{state}{more}}}'
    return f'"__metadata__":{{"golf":{json.dumps(text)}}}'


def tensor(*, dtype: str = '"F32"', shape: str = "[1]", offsets: str = "[0,4]", name: str = "t", more: str = "") -> str:
    return f'"{name}":{{"dtype":{dtype},"shape":{shape},"data_offsets":{offsets}{more}}}'


NAN, BIG = "NaN", "9" * 5000
ENTRIES = {
    "not an object": ('"t":5', "has no dtype, shape and data_offsets"),
    "a key too many": (tensor(more=',"x":1'), "or more than these"),
    "a key too few": ('"t":{"dtype":"F32","shape":[1]}', "has no dtype, shape and data_offsets"),
    "a key twice": (tensor(more=',"shape":[1]'), "a key occurs twice"),
    "a name twice": (f"{tensor()},{tensor()}", "a key occurs twice"),
    "another dtype": (tensor(dtype='"F64"'), "has a dtype other than I64, F32, BF16, U8"),
    "no dtype": (tensor(dtype="[]"), "has a dtype other than"),
    "a negative shape": (tensor(shape="[-1,-1]"), "impossible shape"),
    "a fraction as shape": (tensor(shape="[1.0]"), "impossible shape"),
    "a truth as shape": (tensor(shape="[true]"), "impossible shape"),
    "no list as shape": (tensor(shape='"1"'), "impossible shape"),
    "a NaN as shape": (tensor(shape=f"[{NAN}]"), "a number is not finite"),
    "an infinity as shape": (tensor(shape="[1e999]"), "a number is not finite"),
    "a number beyond Python's limit": (tensor(shape=f"[{BIG}]"), "is not strict JSON"),
    "a number beyond torch's limit": (tensor(shape=f"[{2**70}]"), "impossible shape"),
    "a shape that overflows": (tensor(shape=f"[{2**40},{2**40}]"), "impossible shape"),
    "an empty shape that overflows": (tensor(shape=f"[0,{2**40},{2**40}]", offsets="[0,0]"), "impossible shape"),
    "nine dimensions": (tensor(shape="[1,1,1,1,1,1,1,1,1]"), "impossible shape"),
    "offsets beyond the file": (
        tensor(shape="[1000]", offsets="[0,4000]"),
        "its tensors take 4,000 bytes, and 4 bytes",
    ),
    "offsets that differ from the shape": (tensor(shape="[2]"), "offsets that contradict its shape"),
    "offsets the wrong way round": (tensor(offsets="[4,0]"), "offsets that contradict its shape"),
    "three offsets": (tensor(offsets="[0,4,4]"), "impossible offsets"),
    "negative offsets": (tensor(offsets="[-4,0]"), "impossible offsets"),
    "a gap": (tensor(dtype='"U8"', offsets="[3,4]"), "does not begin where the one before it ends"),
    "an overlap": (f"{tensor()},{tensor(name='u')}", "does not begin where the one before it ends"),
    "bytes behind the end": (tensor(dtype='"U8"', offsets="[0,1]"), "its tensors take 1 bytes, and 4 bytes are there"),
    "nothing": ("", "its tensors take 0 bytes"),
}


@pytest.mark.parametrize("name", ENTRIES)
def test_each_forged_table_is_refused_for_its_own_reason(tmp_path, name):
    entry, told = ENTRIES[name]
    header = f"{{{claim()}{',' if entry else ''}{entry}}}"
    assert told in refuses(tmp_path / NEWEST, forged(header, b"\0\0\0\0"))


CLAIMS = {
    "no metadata": ("", "it was not written by golf"),
    "other metadata": ('"__metadata__":{"format":"pt"}', "it was not written by golf"),
    "more metadata": ('"__metadata__":{"golf":"{}","x":""}', "it was not written by golf"),
    "no text": ('"__metadata__":{"golf":{}}', "it was not written by golf"),
    "no object": ('"__metadata__":[]', "it was not written by golf"),
    "no JSON": ('"__metadata__":{"golf":"x"}', "the state is not strict JSON"),
    "a list": ('"__metadata__":{"golf":"[]"}', "the state is not a JSON object"),
    "a surrogate": ('"__metadata__":{"golf":"\\ud800"}', "the state is not strict JSON"),
    "a later format": (claim(format_="2"), "its format is not 1; another version of golf wrote it"),
    "another key": (claim(more=',"x":1'), "the state has other keys"),
    "a key twice": (claim(more=',"state":{}'), "a key occurs twice"),
    "a state that is no object": (claim("[]"), "the state has other keys"),
    "a NaN in the state": (claim('{"x":NaN}'), "a number is not finite"),
    "an infinity in the state": (claim('{"x":-Infinity}'), "a number is not finite"),
    "a float that overflows": (claim('{"x":1e999}'), "a number is not finite"),
    "an endless integer": (claim(f'{{"x":{BIG}}}'), "is not strict JSON"),
    "a bottomless state": (claim('{"x":' + "[" * 100_000 + "]" * 100_000 + "}"), "is not strict JSON"),
    "other spacing": (claim('{"x": 1}'), "the state is spelled in another way"),
    "keys in another order": (claim('{"b":1,"a":2}'), "the state is spelled in another way"),
    "a digest that is no text": (claim(digest="5"), "its content does not match its digest"),
    "a wrong digest": (claim(), "its content does not match its digest"),
}


@pytest.mark.parametrize("name", CLAIMS)
def test_each_forged_claim_is_refused_for_its_own_reason(tmp_path, name):
    entry, told = CLAIMS[name]
    assert told in refuses(tmp_path / NEWEST, forged(f"{{{entry}}}"))


HEADERS = {
    "empty file": (b"", "it has 0 bytes, too few for its header"),
    "short file": (b"\1\0\0", "it has 3 bytes, too few for its header"),
    "length beyond the file": (forged("{}", length=3), "it has 10 bytes, too few for its header"),
    "endless length": (forged("{}", length=2**64 - 1), "too few for its header"),
    "length beyond the limit": (forged(b" " * (MAX_HEADER + 1)), "or a header beyond 4,194,304 bytes"),
    "no text": (forged(b"\xff"), "the header is not strict JSON"),
    "no JSON": (forged("{"), "the header is not strict JSON"),
    "a list": (forged("[]"), "the header is not a JSON object"),
    "bottomless": (forged("[" * 1_000_000), "the header is not strict JSON"),
    "other spacing": (forged(f"{{ {claim()}}}"), "the header is spelled in another way"),
    "too much padding": (forged(f"{{{claim()}}}" + " " * 8), "the header is spelled in another way"),
    "two objects": (forged("{}{}"), "the header is not strict JSON"),
    "pickle": (b"\x80\x04cposix\nsystem\n.", "too few for its header"),
    "zip": (b"PK\x03\x04" + b"\0" * 100, "too few for its header"),
}


@pytest.mark.parametrize("name", HEADERS)
def test_each_forged_header_is_refused_for_its_own_reason(tmp_path, name):
    content, told = HEADERS[name]
    assert told in refuses(tmp_path / NEWEST, content)


def test_a_file_of_holes_is_not_read_before_its_table_is_found_wrong(tmp_path):
    entry = tensor(dtype='"U8"', shape=f"[{2**40}]", offsets=f"[0,{2**40}]")
    header = forged(f"{{{claim()},{entry}}}")
    path = tmp_path / NEWEST
    path.write_bytes(header)
    os.truncate(path, len(header) + 2**40 + 1)
    with pytest.raises(DamagedCheckpoint, match="its tensors take 1,099,511,627,776 bytes, and 1,099,511,627,777"):
        load_checkpoint(path)
