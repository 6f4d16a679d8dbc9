"""What a newcomer waits for: the run of `make demo` in a new warehouse and again in the same one, and `make test` with ARGS="--tests".

Expected before the first look: 3 minutes, 45 seconds, 11 minutes; the demo itself within 5 GB. Nothing else may run meanwhile.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common import ROOT, goal, run_command, write_result


def demo(warehouse: Path, which: str) -> dict[str, Any]:
    """Runs the job on the samples; with the rows of all tables but `steps`, and of the ledger, afterwards."""
    command = ["make", "-s", "demo", f"FLAGS=--set tables.warehouse={warehouse}"]
    return {"what": "demo", "run": which, **run_command(command), **tables(warehouse)}


def tables(warehouse: Path) -> dict[str, int]:
    """Rows by the tables' own logs, so that no other Spark runs beside the next measurement."""
    rows = {log.parent.name: live_rows(log) for log in warehouse.glob("*/_delta_log")}
    return {"rows": sum(n for name, n in rows.items() if name != "steps"), "calls": rows.get("llm_calls", 0)}


def live_rows(log: Path) -> int:
    """The rows of the files that a Delta log has added and not removed."""
    live: dict[str, int] = {}
    for commit in sorted(log.glob("*.json")):
        for action in map(json.loads, commit.read_text("utf-8").splitlines()):
            if "add" in action:
                live[action["add"]["path"]] = json.loads(action["add"]["stats"])["numRecords"]
            live.pop(action.get("remove", {}).get("path"), None)
    return sum(live.values())


def test_run() -> dict[str, Any]:
    """Runs `make test`, and reads what pytest says of itself."""
    started = time.monotonic()
    done = subprocess.run(["make", "test"], cwd=ROOT, capture_output=True, text=True, check=False)
    print(*done.stdout.splitlines()[-40:], sep="\n")
    counted = dict(re.findall(r"(\d+) (passed|failed|skipped|error)", done.stdout.splitlines()[-1])[::-1] or [])
    counts = {kind: int(number) for number, kind in counted.items()}
    coverage = re.search(r"^TOTAL .* (\d+)%$", done.stdout, re.MULTILINE)
    percent = int(coverage[1]) if coverage else 0
    seconds = round(time.monotonic() - started, 1)
    return {"what": "tests", "exit_code": done.returncode, "seconds": seconds, "coverage_percent": percent, **counts}


def main() -> int:
    """Measures, writes the result; 1 when a goal is missed."""
    parser = argparse.ArgumentParser(description="the demo and the tests, as a newcomer runs them")
    parser.add_argument("--tests", action="store_true", help="run the tests too")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="demo-") as folder:
        first, second = (demo(Path(folder) / "warehouse", which) for which in ("first", "second"))
    goals = [
        goal("first run after the install", first["seconds"], 240, "s"),
        goal("second run", second["seconds"], 90, "s"),
        goal("memory of all processes together", max(r["peak_together_mib"] for r in (first, second)), 8192, "MiB"),
        goal("rows written by the second run", second["rows"] - first["rows"], 0, "rows"),
        goal("calls of the second run", second["calls"] - first["calls"], 0, "calls"),
    ]
    rows = [first, second]
    if args.tests:
        rows.append(test_run())
        goals.append(goal("tests", rows[-1]["seconds"], 720, "s"))
        goals.append(goal("failed tests", rows[-1]["exit_code"], 0, "exit code"))
        goals.append(goal("line coverage", rows[-1]["coverage_percent"], 85, "%", at_most=False))
    return 0 if write_result("demo", rows, goals) else 1


if __name__ == "__main__":
    sys.exit(main())
