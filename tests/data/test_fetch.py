"""golf data fetch against a server of its own on loopback that answers as the hub does, and breaks as networks do."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from cli import golf, golf_json

from golf.data import write_shard

pytest.importorskip("huggingface_hub", reason="needs the extra golf[hub]")

NAME = "datasets/fineweb10B_sp1024"
MANIFEST = {
    "tokenizers": [{"name": "sp_bpe_1024", "model_path": "tokenizers/fineweb_1024_bpe.model"}],
    "datasets": [
        {
            "name": "fineweb10B_sp1024",
            "tokenizer_name": "sp_bpe_1024",
            "vocab_size": 1024,
            "stats": {"files_train": 3, "files_val": 1},
        }
    ],
}


class Server:
    """Files by path; `break_after` and `truncate` say how many bytes of a path go out, once and always."""

    def __init__(self, files):
        self.files, self.break_after, self.truncate, self.asked = files, {}, {}, []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self):
                self.answer(head=True)

            def do_GET(self):
                self.answer(head=False)

            def log_message(self, *arguments):
                pass

            def answer(self, *, head):
                outer.answer(self, head=head)

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def answer(self, request, *, head):
        path = request.path.partition("/resolve/main/")[2]
        content = self.files.get(path)
        if content is None:
            request.send_response(404)
            request.send_header("X-Error-Code", "EntryNotFound")
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        start = int((request.headers.get("Range") or "bytes=0-").removeprefix("bytes=").rstrip("-"))
        if not head:
            self.asked.append((path.rpartition("/")[2], start))
        body = content[start:]
        request.send_response(206 if start else 200)
        request.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        request.send_header("X-Repo-Commit", "0" * 40)
        request.send_header("Accept-Ranges", "bytes")
        if path in self.truncate:
            body = body[: self.truncate[path]]
        request.send_header("Content-Length", str(len(content) if head else len(body)))
        request.end_headers()
        if head:
            return
        if path in self.break_after:
            request.wfile.write(body[: self.break_after.pop(path)])
            request.wfile.flush()
            request.close_connection = True
            request.connection.close()
            return
        request.wfile.write(body)


@pytest.fixture
def served(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    files = {"datasets/manifest.json": json.dumps(MANIFEST).encode()}
    files["datasets/tokenizers/fineweb_1024_bpe.model"] = b"a model" * 100
    for split, count in (("train", 3), ("val", 1)):
        for index in range(count):
            shard = tmp_path / "made.bin"
            write_shard(shard, rng.integers(0, 1024, 300_000).astype(np.uint16))
            files[f"datasets/{NAME}/fineweb_{split}_{index:06d}.bin"] = shard.read_bytes()
    server = Server(files)
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    yield server
    server.http.shutdown()
    server.http.server_close()


def fetch(place, *more, check=0):
    return golf("data", "fetch", "fineweb", "--train-shards", "2", *more, cwd=place, check=check)


def test_everything_lies_where_recipes_look(served, tmp_path):
    done = fetch(tmp_path)
    assert 'path = "data/datasets/fineweb10B_sp1024"' in done.stdout
    assert 'path = "data/tokenizers/fineweb_1024_bpe.model"' in done.stdout
    found = {str(p.relative_to(tmp_path / "data")) for p in (tmp_path / "data").rglob("*") if p.is_file()}
    assert found == {
        "manifest.json",
        "tokenizers/fineweb_1024_bpe.model",
        *(f"{NAME}/fineweb_{name}.bin" for name in ("train_000000", "train_000001", "val_000000")),
    }
    for name in found:
        assert (tmp_path / "data" / name).read_bytes() == served.files[f"datasets/{name}"]


def test_what_is_there_is_not_fetched_again_and_what_was_altered_is(served, tmp_path):
    fetch(tmp_path)
    served.asked.clear()
    assert golf_json("data", "fetch", "fineweb", "--train-shards", "2", cwd=tmp_path)["downloaded"] == []
    assert served.asked == []
    shard = tmp_path / "data" / NAME / "fineweb_train_000001.bin"
    content = bytearray(shard.read_bytes())
    content[5000] ^= 1
    shard.write_bytes(content)
    again = golf_json("data", "fetch", "fineweb", "--train-shards", "3", cwd=tmp_path)
    assert again["downloaded"] == [f"{NAME}/fineweb_train_{i:06d}.bin" for i in (1, 2)]
    assert shard.read_bytes() == served.files[f"datasets/{NAME}/fineweb_train_000001.bin"]


def test_a_connection_that_breaks_is_taken_up_where_it_broke(served, tmp_path):
    name = f"datasets/{NAME}/fineweb_train_000000.bin"
    # the library writes in pieces of 10 MiB, so only a break behind the first leaves something to go on from
    write_shard(tmp_path / "large.bin", np.arange(9_000_000, dtype=np.uint32).astype(np.uint16) % 1024)
    served.files[name] = (tmp_path / "large.bin").read_bytes()
    served.break_after[name] = 16_000_000
    fetch(tmp_path)
    starts = [start for file, start in served.asked if file == "fineweb_train_000000.bin"]
    assert starts == [0, 10 << 20]
    assert (tmp_path / "data" / NAME / "fineweb_train_000000.bin").read_bytes() == served.files[name]


def test_a_truncated_file_never_takes_its_place(served, tmp_path):
    name = f"{NAME}/fineweb_train_000001.bin"
    served.truncate[f"datasets/{name}"] = 1000
    done = fetch(tmp_path, check=5)
    assert "fineweb_train_000001.bin" in done.stderr and "again" in done.stderr
    assert not (tmp_path / "data" / name).exists()
    served.truncate.clear()
    fetch(tmp_path)
    assert (tmp_path / "data" / name).read_bytes() == served.files[f"datasets/{name}"]


@pytest.mark.parametrize(
    ("path", "said"),
    [("../../outside.model", "could lie anywhere"), ("mine/notes.txt", "outside of tokenizers/")],
)
def test_names_that_leave_their_folder_are_refused(served, tmp_path, path, said):
    manifest = json.loads(served.files["datasets/manifest.json"])
    manifest["tokenizers"][0]["model_path"] = path
    served.files["datasets/manifest.json"] = json.dumps(manifest).encode()
    assert said in fetch(tmp_path, check=4).stderr


def test_a_manifest_that_is_none_is_said(served, tmp_path):
    served.files["datasets/manifest.json"] = b"[" * 200_000
    assert "is no JSON" in fetch(tmp_path, check=4).stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--tokenizer", "sp9"), "its datasets: fineweb10B_sp1024"),
        (("--train-shards", "4"), "has 3 training shards of fineweb10B_sp1024, not 4"),
        (("--repository", "not a repo"), "no repository's name"),
        (("--repository", "nobody/nothing", "--revision", "gone"), "no such file, repository or revision"),
    ],
)
def test_what_the_manifest_lacks_is_said(served, tmp_path, options, said):
    assert said in fetch(tmp_path, *options, check=2).stderr


def test_offline_is_said_in_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    done = fetch(tmp_path, check=5)
    assert "cannot be reached" in done.stderr and done.stderr.count("\n") == 1
