"""A file is whole or absent, whatever fails and whenever."""

import errno
import os
import platform
import resource
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from golf.errors import EnvironmentFailure
from golf.runtime import durable

# The system calls behind a durable write, each of which may be the one that fails (SQLite's method).
CALLS = ("open", "write", "fsync", "link", "replace", "mkdir")
ERRORS = (errno.ENOSPC, errno.EIO, errno.EACCES, errno.EROFS)
OLD, NEW = b"old" * 1000, b"new" * 1000


class Faults:
    """Lets system calls through, except that the one of number `fails_at` raises."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fails_at: int, code: int) -> None:
        self.count, self.fails_at, self.code = 0, fails_at, code
        self.calls: list[str] = []
        for name in CALLS:
            monkeypatch.setattr(os, name, self._wrap(name, getattr(os, name)))

    def _wrap(self, name, real):
        def call(*arguments, **keywords):
            self.count += 1
            self.calls.append(name)
            if self.count == self.fails_at:
                raise OSError(self.code, os.strerror(self.code))
            return real(*arguments, **keywords)

        return call

    @property
    def struck(self) -> bool:
        return self.count >= self.fails_at


def each_failure(code: int, folder: Path) -> Iterator[tuple[Path, pytest.MonkeyPatch, int]]:
    """A fresh folder for n = 1, 2, 3, ...; the caller stops when the n-th call no longer exists."""
    for n in range(1, 60):
        place = folder / str(n)
        place.mkdir()
        with pytest.MonkeyPatch.context() as monkeypatch:
            yield place, monkeypatch, n
    pytest.fail("a durable write makes fewer than 60 system calls")


def failure_of(write: Callable[[], None]) -> str | None:
    try:
        write()
    except EnvironmentFailure as error:
        return str(error)
    return None


def fill(temporary: Path) -> None:
    temporary.write_bytes(NEW)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("code", ERRORS, ids=errno.errorcode.get)
def test_the_nth_failing_call_leaves_the_old_file_and_no_stray(tmp_path, code):
    for folder, monkeypatch, n in each_failure(code, tmp_path):
        path = folder / "file"
        path.write_bytes(OLD)
        faults = Faults(monkeypatch, n, code)
        message = failure_of(lambda path=path: durable.write_bytes(path, NEW))
        renamed = "replace" in faults.calls[:-1]  # only the folder's flush comes after
        assert path.read_bytes() == (NEW if renamed or not faults.struck else OLD)
        assert names(folder) == ["file"]
        assert faults.struck == (message is not None)
        assert message is None or (str(path) in message and os.strerror(code) in message)
        if not faults.struck:
            assert {"open", "write", "fsync", "replace"} <= set(faults.calls)
            return


@pytest.mark.parametrize("code", ERRORS, ids=errno.errorcode.get)
def test_the_nth_failing_call_in_a_new_folder_leaves_no_file(tmp_path, code):
    for folder, monkeypatch, n in each_failure(code, tmp_path):
        path = folder / "made" / "on the way" / "file"
        faults = Faults(monkeypatch, n, code)
        failed = failure_of(lambda path=path: durable.write_bytes(path, NEW)) is not None
        renamed = "replace" in faults.calls[:-1]
        assert names(folder) == (["file"] if renamed or not failed else [])
        assert faults.struck == failed
        if not faults.struck:
            assert path.read_bytes() == NEW
            return


@pytest.mark.parametrize("code", ERRORS, ids=errno.errorcode.get)
def test_the_nth_failing_call_leaves_file_and_previous_whole(tmp_path, code):
    for folder, monkeypatch, n in each_failure(code, tmp_path):
        path, previous = folder / "file", folder / "previous"
        path.write_bytes(OLD)
        previous.write_bytes(b"older")
        faults = Faults(monkeypatch, n, code)
        failed = failure_of(lambda a=path, b=previous: durable.replace(a, fill, previous=b)) is not None
        # a failing `link` is no failure: the file is copied
        assert (path.read_bytes(), previous.read_bytes()) in (
            [(OLD, b"older"), (NEW, b"older")] if failed else [(NEW, OLD)]
        )
        assert names(folder) == ["file", "previous"]
        if not faults.struck:
            assert not failed
            return


def test_a_full_disk_is_told_with_needed_and_free_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 9, 1234))
    Faults(monkeypatch, 2, errno.ENOSPC)
    with pytest.raises(EnvironmentFailure) as caught:
        durable.write_bytes(tmp_path / "file", b"x" * 56789)
    assert str(caught.value) == (
        f"cannot write {tmp_path / 'file'}: No space left on device; 56,789 bytes are needed; 1,234 bytes are free"
    )


def test_a_limit_of_the_system_is_an_environment_failure(tmp_path):
    """No fault is injected here: the kernel itself refuses, halfway through the write."""
    path = tmp_path / "file"
    path.write_bytes(OLD)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(OLD), hard))
    try:
        with pytest.raises(EnvironmentFailure, match="File too large"):
            durable.write_bytes(path, NEW * 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == OLD
    assert names(tmp_path) == ["file"]


@settings(max_examples=30)
@given(content=st.binary(max_size=300))
def test_what_is_written_is_what_is_read(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "property"
    durable.write_bytes(path, content)
    assert path.read_bytes() == content


def test_content_is_flushed_before_it_gets_its_name_and_the_name_after(tmp_path, monkeypatch):
    """Rename first, and a power cut leaves an empty file under the final name."""
    seen: list[str] = []
    fsync, rename = os.fsync, os.replace

    def flushed(descriptor: int) -> None:
        seen.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def renamed(source, target) -> None:
        seen.append("rename")
        rename(source, target)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(os, "replace", renamed)
    durable.write_bytes(tmp_path / "file", NEW)
    assert seen == ["file", "rename", "folder"]


def test_a_link_planted_under_the_temporary_name_is_not_followed(tmp_path, monkeypatch):
    victim = tmp_path / "victim"
    victim.write_bytes(OLD)
    monkeypatch.setattr("secrets.token_hex", lambda _: "01234567")
    durable.temporary_beside(tmp_path / "file").symlink_to(victim)
    with pytest.raises(EnvironmentFailure):
        durable.write_bytes(tmp_path / "file", NEW)
    assert victim.read_bytes() == OLD
    assert not (tmp_path / "file").exists()


def test_text_is_utf_8(tmp_path):
    durable.write_text(tmp_path / "file", "Übergröße\n")
    assert (tmp_path / "file").read_bytes() == "Übergröße\n".encode()


def test_writes_that_take_one_byte_at_a_time_add_up(tmp_path, monkeypatch):
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[:1]))
    durable.write_bytes(tmp_path / "file", b"short writes")
    assert (tmp_path / "file").read_bytes() == b"short writes"


@pytest.mark.parametrize("raised", [ValueError, KeyboardInterrupt])
def test_what_the_writer_raises_passes_through_and_leaves_nothing(tmp_path, raised):
    path = tmp_path / "file"
    path.write_bytes(OLD)

    def write(temporary: Path) -> None:
        temporary.write_bytes(b"half")
        assert path.read_bytes() == OLD  # readers still see the old file
        raise raised

    with pytest.raises(raised):
        durable.replace(path, write)
    assert path.read_bytes() == OLD
    assert names(tmp_path) == ["file"]


def test_a_device_pipe_or_folder_is_never_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "pipe", tmp_path / "folder", Path(os.devnull)):
        with pytest.raises(EnvironmentFailure, match="not a plain file"):
            durable.write_bytes(path, NEW)
    assert Path(os.devnull).is_char_device()
    assert names(tmp_path) == []


def test_a_file_where_a_folder_should_be_is_told(tmp_path):
    (tmp_path / "file").write_bytes(OLD)
    for path in (tmp_path / "file" / "a", tmp_path / "file" / "a" / "b"):
        with pytest.raises(EnvironmentFailure, match="a part of this path is a file, not a folder"):
            durable.write_bytes(path, NEW)


def test_a_file_system_that_cannot_flush_folders_is_accepted(tmp_path, monkeypatch):
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    durable.write_bytes(tmp_path / "file", NEW)
    assert (tmp_path / "file").read_bytes() == NEW


def test_the_file_before_is_kept_and_the_one_before_that_is_gone(tmp_path):
    path, previous = tmp_path / "file", tmp_path / "previous"
    for number in range(4):
        durable.replace(path, lambda temporary, n=number: temporary.write_text(str(n)), previous=previous)
        assert path.read_text() == str(number)
        assert previous.exists() == (number > 0)
    assert previous.read_text() == "2"


def test_the_previous_file_is_displaced_only_after_the_new_one_is_in_place(tmp_path, monkeypatch):
    """Otherwise a kill in between could leave a damaged file under both names."""
    path, previous = tmp_path / "file", tmp_path / "previous"
    path.write_bytes(b"damaged")
    previous.write_bytes(b"good")
    real, seen = os.replace, []

    def rename(source, target) -> None:
        seen.append((path.read_bytes(), previous.read_bytes()))
        real(source, target)

    monkeypatch.setattr(os, "replace", rename)
    durable.replace(path, lambda temporary: temporary.write_bytes(b"new"), previous=previous)
    assert seen == [(b"damaged", b"good"), (b"new", b"good")]


def test_without_hard_links_the_previous_file_is_a_copy(tmp_path, monkeypatch):
    path, previous = tmp_path / "file", tmp_path / "previous"
    path.write_bytes(OLD)
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(PermissionError(errno.EPERM, "no links here")))
    durable.replace(path, fill, previous=previous)
    assert (path.read_bytes(), previous.read_bytes()) == (NEW, OLD)
    assert names(tmp_path) == ["file", "previous"]


def dead_pid() -> int:
    child = subprocess.Popen([sys.executable, "-S", "-c", ""])
    child.wait()
    return child.pid


def test_strays_of_dead_processes_are_swept_and_nothing_else(tmp_path, monkeypatch):
    pid = dead_pid()
    stray = durable.temporary_beside(tmp_path / "file").name
    ours = str(os.getpid())
    dead = tmp_path / stray.replace(f"-{ours}-", f"-{pid}-")
    monkeypatch.setattr(platform, "node", lambda: "another-host")
    elsewhere = tmp_path / durable.temporary_beside(tmp_path / "file").name.replace(f"-{ours}-", f"-{pid}-")
    monkeypatch.undo()
    kept = [
        tmp_path / stray,  # its process, this one, lives
        elsewhere,  # on another host that pid may live
        tmp_path / ".golf-partial-",
        tmp_path / f".golf-partial-{pid}",
        tmp_path / f".golf-partial-00000000-²{pid}-00000000",
        tmp_path / "file",
    ]
    for path in (dead, *kept):
        path.write_bytes(b"x")
    folder = tmp_path / (dead.name[:-8] + "01234567")
    folder.mkdir()
    assert durable.sweep(tmp_path) == [dead]
    assert sorted(tmp_path.iterdir()) == sorted([*kept, folder])


def test_sweeping_a_folder_that_does_not_exist_is_nothing(tmp_path):
    assert durable.sweep(tmp_path / "none") == []


def test_a_process_is_alive_or_not():
    assert durable.is_alive(os.getpid())
    assert durable.is_alive(1)  # another user's, for most users
    assert not durable.is_alive(dead_pid())
    assert not durable.is_alive(1 << 200)


def test_the_umask_decides_who_may_read(tmp_path):
    before = os.umask(0o027)
    try:
        durable.write_bytes(tmp_path / "file", NEW)
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


def test_faults_are_real():
    """The injector itself: the n-th call fails, the others do not."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        Faults(monkeypatch, 2, errno.EIO)
        os.close(os.open(os.devnull, os.O_RDONLY))
        with pytest.raises(OSError, match=r"Input/output"):
            os.open(os.devnull, os.O_RDONLY)
