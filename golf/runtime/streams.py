"""Standard streams that are closed, or whose reader has gone: what golf does must not depend on who reads it."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import TextIO, cast

# What a shell reports of a process that SIGPIPE ended: 128 + 13.
READER_GONE = 141


class PatientStream:
    """A text stream that goes on when its reader has gone; what is written then gets lost."""

    def __init__(self, stream: TextIO, losses: type[OSError]) -> None:
        """Wrap `stream`; errors of the class `losses` say that nobody reads it any more."""
        self.stream, self._losses = stream, losses
        self.reader_gone = self.used = False

    def write(self, text: str) -> int:
        """Write `text`, or lose it."""
        self.used = True
        try:
            return self.stream.write(text)
        except self._losses:
            self._lose()
            return len(text)

    def flush(self) -> None:
        """Flush what was written, or lose it."""
        try:
            self.stream.flush()
        except self._losses:
            self._lose()

    def _lose(self) -> None:
        """Send what is left to the null device; Python would print an error about it at exit."""
        self.reader_gone = True
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), self.stream.fileno())

    def __getattr__(self, name: str) -> object:
        """Everything else is the stream's own."""
        return getattr(self.stream, name)


def prepare() -> PatientStream:
    """Make sys.stdout and sys.stderr patient, and open closed ones on the null device; returns stdout.

    Python has None for a stream that was closed at the start; a file opened later would get its descriptor, and with it
    what C libraries print. Of stdout only a reader that left is forgiven: a full disk is an error. On an ASCII terminal
    unknown characters are printed as `?`.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # which takes the lowest free descriptor
    if sys.stdin is None:
        sys.stdin = Path(os.devnull).open()  # noqa: SIM115 (open until the process ends)
    streams = []
    for stream, losses in ((sys.stdout, BrokenPipeError), (sys.stderr, OSError)):
        stream = stream or Path(os.devnull).open("w")  # noqa: SIM115 (open until the process ends)
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
        streams.append(PatientStream(stream, losses))
    out, err = streams
    sys.stdout, sys.stderr = cast(TextIO, out), cast(TextIO, err)
    return out
