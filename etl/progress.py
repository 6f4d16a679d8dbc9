"""Long work of the workers, shown while it goes on: a thread of the driver sums what the tasks have done and tells the screen."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from udfs.progress import read_progress
from udfs.storage import delete, list_files

POLL_S = 2.0
Show = Callable[[str, int, int], None]


class Watch:
    """Watches one piece of work at a time; `show` gets words, rows done and rows in all."""

    def __init__(self, files: str, show: Show, poll_s: float = POLL_S) -> None:
        self._folder = f"{files}/progress"
        self._show = show
        self._poll_s = poll_s

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
            self._clear()

    def _tell(self, what: str, total: int, done: threading.Event) -> None:
        while not done.wait(self._poll_s):
            try:
                figures = read_progress(self._folder)
            except OSError:
                # A storage that does not answer now: the work itself will say so if it matters.
                continue
            if figures:
                self._show(words(what, figures), min(int(figures.get("done", 0)), total), total)

    def _clear(self) -> None:
        for address in list_files(self._folder):
            delete(address)


def silent(files: str) -> Watch:
    """Returns a watch that shows nothing."""
    return Watch(files, lambda what, done, total: None)


def words(what: str, figures: dict[str, float]) -> str:
    """Words what is done and what went wrong or was paid, where there is any."""
    failed, cost = int(figures.get("failed", 0)), figures.get("cost", 0.0)
    return f"{what}{f', {failed:,} failed' if failed else ''}{f', cost {cost:,.2f}' if cost else ''}"
