"""The first signal asks, the second insists."""

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from golf.errors import Interrupted
from golf.runtime.interrupt import StopFlag, listening

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(autouse=True)
def heard() -> Iterator[None]:
    """Whoever started the tests may ignore SIGINT, as shells do for jobs in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def send(number: int) -> None:
    """To this process; Python runs the handler before the next line."""
    os.kill(os.getpid(), number)


def test_nothing_happens_without_a_signal():
    with listening() as flag:
        assert not flag.stopped()
        assert flag.signal_number is None
        flag.raise_if_stopped("never seen")


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_the_first_signal_sets_the_flag_and_becomes_the_exit_code(number, exit_code):
    with listening() as flag:
        send(number)
        assert flag.stopped()
        assert flag.signal_number == number
        with pytest.raises(Interrupted, match=r"^saved; continue with: golf train --resume$") as caught:
            flag.raise_if_stopped("saved; continue with: golf train --resume")
    assert caught.value.exit_code == exit_code


@pytest.mark.parametrize("first", SIGNALS)
def test_a_sigint_after_the_first_signal_stops_at_once(first):
    with listening() as flag:
        send(first)
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)
        assert flag.signal_number == first


def test_a_sigterm_after_the_first_signal_changes_nothing():
    with listening() as flag:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGTERM):
            send(number)
        assert flag.signal_number == signal.SIGINT


@pytest.mark.parametrize("ending", [None, ZeroDivisionError, KeyboardInterrupt])
def test_the_handlers_from_before_are_back_afterwards_however_it_ends(ending):
    before = [signal.getsignal(number) for number in SIGNALS]
    try:
        with listening():
            assert [signal.getsignal(number) for number in SIGNALS] != before
            if ending:
                raise ending
    except (ZeroDivisionError, KeyboardInterrupt):
        pass
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_an_inner_listener_hides_the_outer_one_and_gives_way_to_it():
    with listening() as outer:
        with listening() as inner:
            send(signal.SIGTERM)
        assert (inner.stopped(), outer.stopped()) == (True, False)
        send(signal.SIGTERM)
        assert outer.stopped()


def test_a_sigint_ignored_by_the_parent_process_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with listening() as flag:
            send(signal.SIGINT)
            assert not flag.stopped()
            send(signal.SIGTERM)
            assert flag.signal_number == signal.SIGTERM
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_outside_the_main_thread_the_flag_stays_unset_and_no_handler_changes():
    before = [signal.getsignal(number) for number in SIGNALS]
    seen: list[tuple[StopFlag, list[object]]] = []

    def work() -> None:
        with listening() as flag:
            seen.append((flag, [signal.getsignal(number) for number in SIGNALS]))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    [(flag, handlers)] = seen
    assert not flag.stopped()
    assert handlers == before
