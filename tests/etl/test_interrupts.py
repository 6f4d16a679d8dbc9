"""Ctrl-C while paid work is under way, by real signals."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator

import pytest

from etl.interrupts import finishing_first


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    # Tests that are run in the background hand on that Ctrl-C is ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_the_first_is_raised_when_the_block_has_ended() -> None:
    stop, told, done = threading.Event(), threading.Event(), []

    def work() -> None:
        with finishing_first(stop, told.set):
            signal.raise_signal(signal.SIGINT)
            assert stop.is_set()
            assert told.wait(5)
            done.append("all of it")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done


def test_the_second_is_raised_at_once() -> None:
    done = []

    def work() -> None:
        with finishing_first(threading.Event(), lambda: None):
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            done.append("the rest")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert not done


def test_afterwards_ctrl_c_does_what_it_did() -> None:
    with finishing_first(threading.Event(), lambda: None):
        pass
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_the_error_of_the_block_is_told_and_not_the_interrupt() -> None:
    def work() -> None:
        with finishing_first(threading.Event(), lambda: None):
            signal.raise_signal(signal.SIGINT)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()


def test_another_thread_runs_the_block_as_it_is() -> None:
    done: list[str] = []

    def work() -> None:
        with finishing_first(threading.Event(), lambda: None):
            done.append("all of it")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done


def test_a_handler_of_the_program_around_us_stays() -> None:
    seen: list[int] = []
    signal.signal(signal.SIGINT, lambda number, frame: seen.append(number))
    with finishing_first(threading.Event(), lambda: None):
        signal.raise_signal(signal.SIGINT)
    assert seen == [signal.SIGINT]
