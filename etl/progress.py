"""Long work of the workers, shown while it goes on: a thread of the driver sums what the tasks have done and tells the screen."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress

from udfs.progress import read_progress, troubles_in
from udfs.storage import delete, list_files

POLL_S = 2.0
SHOWN_TROUBLES = 3
RECORD_S = 15.0
Show = Callable[[str, int, int], None]
Record = Callable[[str, Mapping[str, float]], None]


def _nothing(*_: object) -> None:
    pass


class Watch:
    """Watches one piece of work at a time.

    `show` gets words, rows done and rows in all, every `poll_s`; `record` the name of the work and its figures, every RECORD_S and at the end; `say` what is told once.
    """

    def __init__(
        self,
        files: str,
        show: Show,
        say: Callable[[str], None] = _nothing,
        record: Record = _nothing,
        poll_s: float = POLL_S,
    ) -> None:
        self._folder = f"{files}/progress"
        self._show = show
        self._say = say
        self._record = record
        self._poll_s = poll_s
        self._stopping = ""

    def stopping(self, text: str) -> None:
        """Tells that the work under way ends early; its progress says so from now on."""
        self._say(text)
        self._stopping = "stopping: "

    @contextmanager
    def over(self, what: str, total: int) -> Iterator[str]:
        """Gives the folder for the workers' `TaskProgress`, and shows their sum until the block ends."""
        self._clear()
        done = threading.Event()
        thread = threading.Thread(target=self._tell, args=(what, total, done), daemon=True)
        thread.start()
        try:
            yield self._folder
        finally:
            done.set()
            thread.join()
            with suppress(OSError):
                self._record(what, read_progress(self._folder))
            self._clear()

    def _tell(self, what: str, total: int, done: threading.Event) -> None:
        started = recorded = time.monotonic()
        while not done.wait(self._poll_s):
            try:
                figures = read_progress(self._folder)
            except OSError:
                # A storage that does not answer now: the work itself will say so if it matters.
                continue
            if not figures:
                continue
            now = time.monotonic()
            text = self._stopping + words(what, figures, total, now - started)
            self._show(text, min(int(figures.get("done", 0)), total), total)
            if now - recorded >= RECORD_S:
                recorded = now
                self._record(what, figures)

    def _clear(self) -> None:
        for address in list_files(self._folder):
            delete(address)


def silent(files: str) -> Watch:
    """Returns a watch that shows nothing."""
    return Watch(files, lambda what, done, total: None)


def words(what: str, figures: dict[str, float], total: int, seconds: float) -> str:
    """Words what is going on beside the rows that are done: requests in flight, tokens a second, money so far and at the end, and what went wrong."""
    parts = [what]
    if figures.get("in_flight"):
        parts.append(f"{figures['in_flight']:,.0f} in flight")
    if figures.get("tokens"):
        parts.append(f"{figures['tokens'] / max(seconds, 1e-3):,.0f} tokens/s")
    if figures.get("cost"):
        whole = figures["cost"] * total / max(figures.get("done", 0), 1)
        parts.append(f"cost {figures['cost']:,.2f} of about {whole:,.2f}")
    if figures.get("failed"):
        parts.append(f"{figures['failed']:,.0f} failed")
    troubles = troubles_in(figures)
    if troubles:
        parts.append(
            "tried again: " + ", ".join(f"{count:,} {kind}" for kind, count in [*troubles.items()][:SHOWN_TROUBLES])
        )
    return ", ".join(parts)
