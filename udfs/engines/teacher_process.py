"""Starts a stand-in teacher as a process of its own, and stops it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.request import ProxyHandler, Request, build_opener

import udfs
from udfs.engines.teacher_faults import Faults

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 5.0
NO_FAULTS = Faults()


@dataclass(slots=True)
class Teacher:
    """A running stand-in teacher; as a context manager it stops at the end of the block."""

    base_url: str
    process: subprocess.Popen[bytes]

    def stats(self) -> dict[str, Any]:
        """What the server has seen: requests, unique, in_flight, peak_in_flight, request_seconds, outcomes, batches."""
        return _call(f"{self.base_url.removesuffix('/v1')}/stats")

    def set_faults(self, **changes: object) -> None:
        """Changes settings of `Faults` while the server runs."""
        _call(f"{self.base_url.removesuffix('/v1')}/faults", json.dumps(changes).encode())

    def stop(self) -> None:
        """Ends the process. Safe to call twice."""
        self.process.terminate()
        try:
            self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def __enter__(self) -> Teacher:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()


def start_teacher(faults: Faults = NO_FAULTS, port: int = 0) -> Teacher:
    """Starts a stand-in teacher on this machine and waits until it listens.

    Port 0 takes a free port. The server ends with this process, however that ends. Raises RuntimeError with the
    server's last words where it does not start.
    """
    with tempfile.TemporaryDirectory(prefix="boostqa-teacher-") as folder:
        port_file, log_file = Path(folder) / "port", Path(folder) / "log"
        with log_file.open("wb") as log:
            process = subprocess.Popen(
                _command(faults, port, port_file),
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for us; we stop the server once our own work has ended
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while not port_file.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                words = log_file.read_text(encoding="utf-8", errors="replace").strip()[-500:]
                raise RuntimeError(f"the stand-in teacher did not start: {words or 'it said nothing'}")
            time.sleep(0.02)
        return Teacher(f"http://127.0.0.1:{port_file.read_text(encoding='utf-8')}/v1", process)


def _command(faults: Faults, port: int, port_file: Path) -> list[str]:
    command = [sys.executable, "-m", "udfs.engines.teacher"]
    command += ["--port", str(port), "--port-file", str(port_file), "--parent-pid", str(os.getpid())]
    for name, value in asdict(faults).items():
        flag = f"--{name.replace('_', '-')}"
        if isinstance(value, bool):
            command += [flag] if value else []
        elif value != getattr(NO_FAULTS, name):
            command.append(f"{flag}={value}")
    return command


def _environment() -> dict[str, str]:
    """Our environment, with this copy of the package (a folder or a zip) first on the path."""
    home = str(Path(udfs.__file__).parents[1])
    paths = [home, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def _call(url: str, body: bytes | None = None) -> dict[str, Any]:
    # A proxy of the environment must not see calls to this machine.
    opener = build_opener(ProxyHandler({}))
    with opener.open(Request(url, data=body, headers={"Content-Type": "application/json"}), timeout=10) as reply:
        result: dict[str, Any] = json.load(reply)
    return result
