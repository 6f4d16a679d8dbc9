"""How far the workers are: each task keeps a small file of what it has done, and the driver sums them for the screen.

Nothing hangs on these files. A task that is started again counts again, so the sum may run a little ahead.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress

from udfs.storage import list_files, read_bytes, write_over

SUFFIX = ".json"
EVERY_S = 3.0
TROUBLE = "trouble: "


class TaskProgress:
    """The figures of one task, in one file of `folder` that is written again at most every `every_s` seconds."""

    def __init__(self, folder: str, every_s: float = EVERY_S) -> None:
        self._address = f"{folder}/{uuid.uuid4().hex}{SUFFIX}"
        self._every_s = every_s
        self._figures: dict[str, float] = {}
        self._written_at = time.monotonic()

    def add(self, **figures: float) -> None:
        """Adds to the figures by name. The storage sees them with the next call after `every_s`; where it can not be written, later or never."""
        _add(self._figures, figures)
        self._write()

    def put(self, figures: Mapping[str, float]) -> None:
        """Sets figures that are told as they are now. The storage sees them with the next `add`, so that one file holds both."""
        self._figures.update(figures)

    def end(self) -> None:
        """Writes the last figures at once; nothing is in flight any more."""
        self._figures.pop("in_flight", None)
        self._written_at = -self._every_s
        self._write()

    def _write(self) -> None:
        if time.monotonic() - self._written_at >= self._every_s:
            self._written_at = time.monotonic()
            with suppress(OSError):
                write_over(self._address, json.dumps(self._figures).encode())


def trouble_figures(troubles: Mapping[str, int]) -> dict[str, float]:
    """Names counts of troubles by kind as figures."""
    return {f"{TROUBLE}{kind}": count for kind, count in troubles.items()}


def troubles_in(figures: Mapping[str, float]) -> dict[str, int]:
    """Returns the counts of troubles by kind, the commonest first."""
    found = {name.removeprefix(TROUBLE): int(count) for name, count in figures.items() if name.startswith(TROUBLE)}
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def read_progress(folder: str) -> dict[str, float]:
    """Sums the figures of all tasks by name; a file that goes meanwhile is left out."""
    total: dict[str, float] = {}
    for address in list_files(folder, SUFFIX):
        with suppress(FileNotFoundError):
            _add(total, json.loads(read_bytes(address)))
    return total


def _add(total: dict[str, float], figures: dict[str, float]) -> None:
    for name, value in figures.items():
        total[name] = total.get(name, 0) + value
