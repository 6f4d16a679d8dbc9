"""How the tasks of a wave share its places (requests in flight), through small files on the shared storage.

A task tells in its report how many places it has in use and how many it needs; the driver answers in a numbered grant. What a grant takes away counts as
taken until a report that knows of the grant says that it is free, so that the sum never passes the bound, however late a file is read. Partitions that
wait for a task slot hold no place, and what a task no longer needs goes to the others.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass

from udfs.engines.bounds import Bounds
from udfs.storage import read_bytes, write_over

REPORT, GRANT = ".report.json", ".grant.json"
FIRST_POLL_S, POLL_S = 0.1, 0.5
# A task that can not reach the storage for so long sends nothing new; the driver gives its places to others later than that.
FENCE_S, LOST_S = 10.0, 20.0


@dataclass(frozen=True, slots=True)
class Report:
    """What a task tells: the grant that it obeys, the places that it has or still uses, those that it could use, and a beat that shows it is alive."""

    grant: int
    held: int
    need: int
    beat: int
    done: bool = False


@dataclass(frozen=True, slots=True)
class Grant:
    """What the driver allows a task, numbered from 1. With `stop` it sends nothing new and ends when its requests that are out have come back."""

    number: int
    places: int
    stop: bool = False


def divide(bound: int, needs: Mapping[str, int]) -> dict[str, int]:
    """Shares `bound` places among tasks by need: as evenly as can be, none more than it needs (max-min fairness)."""
    shares, left = {}, bound
    for at, (task, need) in enumerate(sorted(needs.items(), key=lambda item: (item[1], item[0]))):
        shares[task] = min(need, left // (len(needs) - at))
        left -= shares[task]
    return shares


def next_grants(bound: int, held: Mapping[str, int], needs: Mapping[str, int]) -> dict[str, int]:
    """Returns the grants to write: less at once where a task has too much, more only as far as places are really free.

    `held` is what each task may have in use now: its last report, or a larger grant that it may have read since.
    """
    targets = divide(bound, needs)
    free = bound - sum(held.values())
    grants = {}
    for task, target in targets.items():
        more = max(0, min(target - held[task], free))
        free -= more
        grants[task] = min(target, held[task] + more)
    return grants


class PlaceHolder:
    """The task's side: follows its grant and reports, until it is closed."""

    def __init__(self, folder: str, task: str, bounds: Bounds, need: Callable[[], int]) -> None:
        self._report_at, self._grant_at = f"{folder}/{task}{REPORT}", f"{folder}/{task}{GRANT}"
        self._bounds = bounds
        self._need = need
        self._beat = 0
        self._grant = Grant(0, 0)

    async def follow(self) -> None:
        """Reports and follows the grant for ever; to be cancelled. A storage that does not answer for FENCE_S is a pause."""
        heard = time.monotonic()
        while True:
            try:
                await asyncio.to_thread(self._tell)
                self._grant = await asyncio.to_thread(self._read_grant)
                heard = time.monotonic()
                self._bounds.resize(self._grant.places)
                if self._grant.stop:
                    self._bounds.stop()
            except OSError:
                if time.monotonic() - heard > FENCE_S:
                    self._bounds.resize(0)
            await asyncio.sleep(POLL_S if self._bounds.places else FIRST_POLL_S)

    def close(self) -> None:
        """Gives all places back."""
        self._bounds.resize(0)
        with suppress(OSError):
            self._tell(done=True)

    def _tell(self, done: bool = False) -> None:
        self._beat += 1
        held = max(self._bounds.places, self._bounds.limit.in_flight)
        report = Report(self._grant.number, 0 if done else held, 0 if done else self._need(), self._beat, done)
        write_over(self._report_at, json.dumps(asdict(report)).encode())

    def _read_grant(self) -> Grant:
        try:
            return Grant(**json.loads(read_bytes(self._grant_at)))
        except FileNotFoundError:
            return self._grant


def read_report(address: str) -> Report:
    """Reads one task's report."""
    return Report(**json.loads(read_bytes(address)))


def write_grant(folder: str, task: str, grant: Grant) -> None:
    """Writes a task's grant."""
    write_over(f"{folder}/{task}{GRANT}", json.dumps(asdict(grant)).encode())
