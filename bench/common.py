"""What all benches share: the machine, the peak memory of a command, and the one form of a result."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
# A bench is run as a script: its own folder is first on the path, and the packages may not be installed.
sys.path.insert(0, str(ROOT))
PACKAGES = ("pyspark", "delta-spark", "pyarrow", "numpy", "torch", "sentence-transformers", "openai", "mlflow")


class PeakMemory(threading.Thread):
    """Watches a process and its children, and keeps the largest resident size of each kind (driver, JVM, worker) and of all together, in MiB."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid = pid
        self.peaks: dict[str, float] = {}

    def run(self) -> None:
        """Looks every half second until the process is gone."""
        while Path(f"/proc/{self._pid}").exists():
            sizes = [size for pid in self._family() if (size := self._look(pid))]
            self.peaks["together"] = max(self.peaks.get("together", 0.0), sum(sizes))
            time.sleep(0.5)

    def _family(self) -> list[int]:
        parents: dict[int, list[int]] = {}
        for entry in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = entry.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents.setdefault(int(fields[1]), []).append(int(entry.parent.name))
        family, at = [self._pid], 0
        while at < len(family):
            family += parents.get(family[at], [])
            at += 1
        return family

    def _look(self, pid: int) -> float:
        try:
            command = Path(f"/proc/{pid}/cmdline").read_text()
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            return 0.0
        found = next((line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")), None)
        size = int(found) / 1024 if found else 0.0
        kind = "jvm" if "java" in command.split("\0")[0] else "worker" if "pyspark" in command else "driver"
        self.peaks[kind] = max(self.peaks.get(kind, 0.0), size)
        return size


def run_command(command: Sequence[str], cwd: Path = ROOT) -> dict[str, Any]:
    """Runs a command, its lines on this screen; returns its exit code, seconds and peak memory per process kind."""
    started = time.monotonic()
    child = subprocess.Popen(command, cwd=cwd)
    watch = PeakMemory(child.pid)
    watch.start()
    child.wait()
    peaks = {f"peak_{kind}_mib": round(value) for kind, value in sorted(watch.peaks.items())}
    return {"exit_code": child.returncode, "seconds": round(time.monotonic() - started, 1), **peaks}


def boostqa(*arguments: str) -> list[str]:
    """The console command, of this interpreter."""
    return [sys.executable, "-m", "etl", *arguments]


def goal(name: str, value: float, bound: float, unit: str, at_most: bool = True) -> dict[str, Any]:
    """A figure with what is asked of it."""
    met = value <= bound if at_most else value >= bound
    return {"name": name, "value": value, "goal": bound, "unit": unit, "met": met}


def machine() -> dict[str, Any]:
    """The machine, without its name."""
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    memory = next(
        int(line.split()[1]) for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal")
    )
    return {"cores": os.cpu_count(), "memory": f"{memory / 1048576:.0f} GiB", "cpu": cpu}


def write_result(bench: str, rows: list[dict[str, Any]], goals: list[dict[str, Any]]) -> bool:
    """Writes bench/results/NAME.json and prints the goals; tells whether all are met."""
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    result = {
        "bench": bench,
        "date": date.today().isoformat(),
        "machine": machine(),
        "versions": {"python": platform.python_version(), **versions},
        "commit": commit,
        "rows": rows,
        "goals": goals,
    }
    path = ROOT / "bench" / "results" / f"{bench}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for one in goals:
        print(
            f"{'met   ' if one['met'] else 'MISSED'}  {one['name']}: {one['value']:g} {one['unit']} (goal {one['goal']:g})"
        )
    return all(one["met"] for one in goals)
