"""One writer per warehouse at a time: a lock file that its owner keeps fresh, and that heals when the owner is gone."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from etl.errors import UserError
from udfs.storage import delete, exists, read_bytes, write_new, write_over

HEARTBEAT_S = 10.0
STALE_S = 60.0


class WarehouseLock:
    """Holds `<files>/lock.json` while a run writes. A lock whose process is dead, or on another host and long without a beat, is taken over."""

    def __init__(self, files: str, run_id: str) -> None:
        self._address = f"{files}/lock.json"
        self._run_id = run_id
        self._stop = threading.Event()
        self._taken_by: object = None
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def _content(self) -> bytes:
        pid = os.getpid()
        owner = {"run_id": self._run_id, "host": socket.gethostname(), "pid": pid, "started": started_at(pid)}
        return json.dumps({**owner, "beat": time.time()}).encode()

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT_S) and self._taken_by is None:
            # A storage that fails for a moment must not end the beat: the lock would look stale while we write.
            with suppress(OSError):
                owner = read_owner(self._address)
                if owner and owner.get("run_id") != self._run_id:
                    self._taken_by = owner.get("run_id")
                else:
                    write_over(self._address, self._content())

    def check(self) -> None:
        """Raises UserError when another run has taken the lock over, which it may after a minute without a beat (a machine that slept)."""
        if self._taken_by is not None:
            raise UserError(
                f"the run {self._taken_by} has taken this warehouse over while this one stood still: what is done is kept, run again when it has ended"
            )

    def __enter__(self) -> WarehouseLock:
        if exists(self._address):
            owner = read_owner(self._address)
            if not is_stale(owner, time.time()):
                raise UserError(
                    f"another run ({owner.get('run_id')}, process {owner.get('pid')} on {owner.get('host')}) is writing this warehouse: "
                    f"wait for it, or delete {self._address} if you are sure it is gone"
                )
            delete(self._address)
        try:
            write_new(self._address, self._content())
        except FileExistsError as err:
            raise UserError(f"another run has just taken {self._address}: wait for it") from err
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        # Another run may have taken over a lock whose owner slept too long: that one is not ours to remove.
        if read_owner(self._address).get("run_id") == self._run_id:
            delete(self._address)


def read_owner(address: str) -> dict[str, object]:
    """Reads who holds a lock; nobody where the file was cut in writing, or has just gone."""
    try:
        owner = json.loads(read_bytes(address))
    except (ValueError, FileNotFoundError):
        return {}
    return owner if isinstance(owner, dict) else {}


def is_stale(owner: dict[str, object], now: float) -> bool:
    """Tells whether a lock's owner is gone: its process is dead, or, where that can not be seen, it has not beaten for STALE_S seconds."""
    beat, pid = owner.get("beat"), owner.get("pid")
    if not isinstance(beat, (int, float)) or not isinstance(pid, int):
        return True
    if owner.get("host") != socket.gethostname():
        return now - beat > STALE_S
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    # The number may have been given to another process since.
    return owner.get("started") != started_at(pid)


def started_at(pid: int) -> str | None:
    """Returns what tells a process from an earlier one of the same number; None where the system does not say."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[19]
    except OSError:
        return None
