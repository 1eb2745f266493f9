"""Stopping when asked: SIGINT, SIGTERM and SIGHUP become a flag that every loop polls; and leaving for good."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

from golf.errors import Interrupted

# What asks golf to stop; Windows has no SIGHUP.
SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class StopFlag:
    """Whether a signal has asked for a stop, and which. Rooms are handed `flag.stopped`, a plain `() -> bool`."""

    def __init__(self) -> None:
        """Start unset."""
        self.signal_number: int | None = None

    def stopped(self) -> bool:
        """Tell whether a stop was asked for; costs nanoseconds, so that every loop can ask."""
        return self.signal_number is not None

    def raise_if_stopped(self, message: str) -> None:
        """Raise Interrupted with `message`, which says what is saved and how to go on, if a signal has come."""
        if self.signal_number is not None:
            raise Interrupted(message, signal_number=self.signal_number)

    def receive(self, signal_number: int, _frame: FrameType | None = None) -> None:
        """Handle a signal: the first sets the flag; a SIGINT after it raises KeyboardInterrupt where the program is."""
        if self.signal_number is None:
            self.signal_number = signal_number
        elif signal_number == signal.SIGINT:
            raise KeyboardInterrupt


@contextmanager
def listening() -> Iterator[StopFlag]:
    """Receive SIGINT, SIGTERM and SIGHUP into a fresh StopFlag; the handlers from before are back afterwards.

    Outside the main thread, where Python allows no handlers, the flag is never set. A signal that the parent process
    had ignored stays ignored: SIGINT in every job that a shell script puts in the background, SIGHUP under nohup.
    """
    flag = StopFlag()
    before: dict[signal.Signals, Any] = {}
    try:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    before[number] = signal.signal(number, flag.receive)
        yield flag
    finally:
        for number, handler in before.items():
            # None stands for a handler that was not installed by Python, and that Python cannot bring back.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def leave(code: int) -> NoReturn:
    """End this process with `code`.

    One of several that computed together ends without C++'s destructors: with gloo's threads they aborted every sixth
    run after all its work was done (torch 2.13, four processes on two cores).
    """
    if os.environ.get("WORLD_SIZE", "1") != "1":
        for stream in (sys.stdout, sys.stderr):
            if not stream.closed:
                stream.flush()
        os._exit(code)
    sys.exit(code)
