"""Ctrl-C while paid work is under way: the first one ends it in good order, the second one at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def finishing_first(stop: threading.Event, tell: Callable[[], None]) -> Iterator[None]:
    """Lets the block end by itself at the first Ctrl-C: `stop` is set, `tell` is called, and KeyboardInterrupt is raised when the block has ended.

    A second Ctrl-C is raised at once. Outside the main thread, which gets no signals, and in a program that handles Ctrl-C by itself, the block runs as it is.
    """
    ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not ours or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop_first(number: int, frame: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        # In a thread of its own: the one that is interrupted may be in the middle of a print.
        threading.Thread(target=tell, daemon=True).start()

    signal.signal(signal.SIGINT, stop_first)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if stop.is_set():
        raise KeyboardInterrupt
