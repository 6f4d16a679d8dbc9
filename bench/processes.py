"""A client of a bench as a session of processes: its CPU seconds while it works, its last line, and its sudden end."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import tempfile
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TICKS = os.sysconf("SC_CLK_TCK")
LOOK_S = 0.25
WORDS_BOUND = 600


@dataclass
class Ran:
    """What became of a client: exit code (None: ended by us), seconds from start to end, what it told, its last words, and its CPU seconds over time."""

    exit_code: int | None
    seconds: float
    told: dict[str, Any]
    words: str
    cpu_s: float
    samples: list[tuple[float, float]] = field(repr=False)

    def cpu_between(self, start: float, end: float) -> float:
        """CPU seconds of the whole tree from one time (CLOCK_MONOTONIC) to another, between the samples in a straight line."""
        return self._cpu_at(end) - self._cpu_at(start)

    def _cpu_at(self, when: float) -> float:
        after = bisect_left([at for at, _ in self.samples], when)
        if after == 0 or after == len(self.samples):
            return 0.0 if after == 0 else self.cpu_s
        (t0, c0), (t1, c1) = self.samples[after - 1 : after + 1]
        return c0 + (c1 - c0) * (when - t0) / (t1 - t0)


def run_client(
    command: Sequence[str], env: Mapping[str, str], limit_s: float, end_when: Callable[[], bool] | None = None
) -> Ran:
    """Runs a command in a session of its own and kills what is left of it afterwards; earlier where `end_when` says so, or after `limit_s` seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.monotonic()
    with tempfile.TemporaryFile() as out:
        child = subprocess.Popen(command, env=dict(env), stdout=out, stderr=subprocess.STDOUT, start_new_session=True)
        watch = CpuWatch(child.pid)
        watch.start()
        try:
            ended = _wait(child, started + limit_s, end_when)
        finally:
            seconds = time.monotonic() - started
            watch.stop()
            kill_session(child.pid)
            child.wait()
        out.seek(0)
        lines = out.read().decode("utf-8", "replace").strip().splitlines()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    waited = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    cpu_s = max([waited, *[cpu for _, cpu in watch.samples]])
    return Ran(
        child.returncode if ended else None,
        seconds,
        _told(lines),
        " | ".join(lines)[-WORDS_BOUND:],
        cpu_s,
        watch.samples,
    )


def _wait(child: subprocess.Popen[bytes], until: float, end_when: Callable[[], bool] | None) -> bool:
    """Waits; tells whether the child has ended by itself."""
    while child.poll() is None:
        if time.monotonic() > until or (end_when is not None and end_when()):
            return False
        time.sleep(0.02 if end_when is not None else 0.05)
    return True


def _told(lines: Sequence[str]) -> dict[str, Any]:
    for line in reversed(lines):
        if line.startswith('{"answers"'):
            told: dict[str, Any] = json.loads(line)
            return told
    return {}


class CpuWatch(threading.Thread):
    """Notes the CPU seconds of a session's living processes and of the children that they have waited for."""

    def __init__(self, session: int) -> None:
        super().__init__(daemon=True)
        self._session = session
        self._over = threading.Event()
        self.samples: list[tuple[float, float]] = [(time.monotonic(), 0.0)]

    def run(self) -> None:
        """Looks until it is stopped. A sum never falls: a process that nobody waited for takes what it used with it."""
        while not self._over.wait(LOOK_S):
            seconds = sum(seconds for _, _, seconds in session_members(self._session))
            self.samples.append((time.monotonic(), max(seconds, self.samples[-1][1])))

    def stop(self) -> None:
        """Ends the thread."""
        self._over.set()
        self.join()


def session_members(session: int) -> list[tuple[int, str, float]]:
    """The processes of a session: id, state, and CPU seconds with those of the children that they have waited for."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with suppress(OSError):
                fields = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
                if int(fields[3]) == session:
                    found.append((int(entry), fields[0], sum(int(ticks) for ticks in fields[11:15]) / TICKS))
    return found


def kill_session(session: int) -> None:
    """Kills all processes of a session, also those that are born meanwhile. Spark's workers leave the process group, but not the session."""
    deadline = time.monotonic() + 60
    while living := [pid for pid, state, _ in session_members(session) if state != "Z"]:
        if time.monotonic() > deadline:
            raise RuntimeError(f"processes that can not be killed: {living}")
        for pid in living:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
