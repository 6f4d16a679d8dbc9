"""The driver's side of the shared places: a thread that reads the tasks' reports and writes their grants while a wave runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from udfs.places import LOST_S, REPORT, Grant, Report, next_grants, read_report, write_grant
from udfs.storage import delete, list_files

POLL_S = 0.2
# A task that is silent, and that Spark has started anew, is dead.
REPLACED_S = 3.0


@contextmanager
def shared_places(folder: str, bound: int, stop: threading.Event) -> Iterator[None]:
    """Shares `bound` places among the tasks that report in `folder`, until the block ends; then the folder is empty.

    When `stop` is set, every task, also one that begins later, is told to send nothing more.
    """
    over = threading.Event()
    thread = threading.Thread(target=_keep, args=(_Office(folder, bound, stop), over), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        for address in list_files(folder):
            delete(address)


def _keep(office: _Office, over: threading.Event) -> None:
    pause = POLL_S
    while not over.wait(pause):
        started = time.monotonic()
        # A storage that does not answer now, or not all, leaves the grants as they are.
        with suppress(OSError, ValueError):
            office.turn()
        # A far storage is asked less often.
        pause = max(POLL_S, 3 * (time.monotonic() - started))


@dataclass
class _Task:
    """What is known of one task: its last report, when it was first heard of and last, the grants that it obeys or may have read since, and the number of
    the last one that was surely written.
    """

    report: Report
    first: float
    heard: float
    grants: list[Grant] = field(default_factory=lambda: [Grant(0, 0)])
    written: int = 0

    @property
    def held(self) -> int:
        return max(self.report.held, *(grant.places for grant in self.grants))

    def hear(self, report: Report, now: float) -> None:
        if report.beat != self.report.beat:
            self.report, self.heard = report, now
            self.grants = [grant for grant in self.grants if grant.number >= report.grant]


class _Office:
    def __init__(self, folder: str, bound: int, stop: threading.Event) -> None:
        self._folder = folder
        self._bound = bound
        self._stop = stop
        self._tasks: dict[str, _Task] = {}

    def turn(self) -> None:
        """Reads all reports and writes the grants that change."""
        now, stop = time.monotonic(), self._stop.is_set()
        for address in list_files(self._folder, REPORT):
            name, report = address.rsplit("/", 1)[-1].removesuffix(REPORT), read_report(address)
            self._tasks.setdefault(name, _Task(report, now, now)).hear(report, now)
        working = {name: task for name, task in self._tasks.items() if not self._gone(name, task, now)}
        held = {name: task.held for name, task in working.items()}
        # Of two tasks of a partition (speculation), the second waits: both would ask the same.
        needs = {
            name: task.report.need if name == self._first_of(name, working) else 0 for name, task in working.items()
        }
        for name, places in next_grants(self._bound, held, needs).items():
            task = working[name]
            last = task.grants[-1]
            if (places, stop) != (last.places, last.stop):
                last = Grant(last.number + 1, places, stop)
                # Before it is written: a write that fails may have arrived.
                task.grants.append(last)
            if task.written < last.number:
                # Again in the next turn where it fails: a task that is never told waits for ever.
                write_grant(self._folder, name, last)
                task.written = last.number

    @staticmethod
    def _first_of(name: str, tasks: dict[str, _Task]) -> str:
        return min((n for n in tasks if _partition(n) == _partition(name)), key=lambda n: (tasks[n].first, n))

    def _gone(self, name: str, task: _Task, now: float) -> bool:
        silent = now - task.heard
        replaced = any(_partition(n) == _partition(name) and t.first > task.first for n, t in self._tasks.items())
        return task.report.done or silent > (REPLACED_S if replaced else LOST_S)


def _partition(name: str) -> str:
    return name.partition("-")[0]
