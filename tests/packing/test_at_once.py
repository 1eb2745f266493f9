"""Two packs of one run, and a verdict while a pack replaces the file."""

import threading

from cli import golf, golf_json, golf_process

from golf.artifact import open_artifact

UNTUNED = ("--set", "pack.tune_tokens=0")


def test_the_second_of_two_packs_leaves_at_once(trained):
    with golf_process("pack", "--cap", "9kB", *UNTUNED, "--out", "first.bin", cwd=trained) as first:
        while not first.stderr.readline():
            pass
        second = golf("pack", "--cap", "9kB", *UNTUNED, "--out", "second.bin", cwd=trained, check=None)
        first.stderr.read()
    assert first.returncode == 0
    if second.returncode:  # it came while the first held the run
        assert second.returncode == 2 and "process" in second.stderr
        assert not (trained / "second.bin").exists()


def test_a_file_that_is_replaced_is_read_as_one_of_the_two(trained):
    small, large = (
        golf_json("pack", "--cap", cap, *UNTUNED, "--out", f"{cap}.bin", cwd=trained)["size"] for cap in ("7kB", "9kB")
    )
    contents = [(trained / f"{cap}.bin").read_bytes() for cap in ("7kB", "9kB")]
    done = threading.Event()

    def replace():
        from golf.runtime import durable

        for turn in range(300):
            durable.write_bytes(trained / "replaced.bin", contents[turn % 2])
        done.set()

    thread = threading.Thread(target=replace)
    thread.start()
    found = set()
    while not done.is_set():
        if (trained / "replaced.bin").exists():
            found.add(open_artifact(trained / "replaced.bin").size)
    thread.join()
    assert found == {small, large}
