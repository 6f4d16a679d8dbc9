"""The processes of a child, to be killed: by session, as Spark's workers leave the process group but not the session."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path


def in_session(session: int) -> list[int]:
    """The living processes of a session, the oldest first."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if int(fields[3]) == session and fields[0] != "Z":
                found.append((int(fields[19]), int(entry.name)))
    return [pid for _, pid in sorted(found)]


def command_of(pid: int) -> str:
    """The command line of a process; empty where it has gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
    except OSError:
        return ""


def kill_session(session: int) -> None:
    """Kills all processes of a session, also those that are born meanwhile."""
    deadline = time.monotonic() + 60
    while members := in_session(session):
        assert time.monotonic() < deadline
        for member in members:
            with suppress(ProcessLookupError):
                os.kill(member, signal.SIGKILL)
        time.sleep(0.05)
