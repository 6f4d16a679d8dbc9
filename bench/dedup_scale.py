"""Semantic dedup of 250 thousand to 16 million vectors through Spark, beside brute force, faiss, semhash and the published SemDeDup rule.

The vectors (bench/dedup_vectors.py) have duplicates planted at cosines of .90 to .995. Each size is a process of its own, so that peak memory is its own;
the peak of the machine's float32 matrix product is measured in the same process, just before. Seconds are those from vectors on disk to the removed rows:
the look through all rows, the centroids, the comparison with its edges in Delta, the survivors. Up to 4 million rows the compare stage is run once more alone,
with the packed rows on disk, for its share of that peak. Peers get up to a million rows, read them before their clock starts, and give no edges a place.

What is measured is kept in --folder and not measured again: a bench that was killed goes on. `make bench-dedup_scale`; a try: ARGS="--quick"; a long one:
ARGS="--sizes 20000000 --folder /data/vectors".
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common import ROOT, PeakMemory, goal, write_result
from dedup_vectors import DIM, THRESHOLD, Planted
from environments import SEMHASH, NotInstalledError, python_of, versions_in

Row = dict[str, Any]
SIZES = (250_000, 1_000_000, 4_000_000, 16_000_000)
QUICK = (20_000, 50_000)
# The packed rows of the compare stage alone are a second copy of the vectors on disk.
ALONE = 4_000_000
PEERS_UP_TO = 1_000_000
# The share of the rows that one place holds, of the smallest size.
CROWD = 0.3
# A peer may take half an hour; what is measured in its own right a second for each thousand rows more.
LIMIT_S, ROWS_A_SECOND = 1800, 1000
PEERS = ROOT / "bench" / "peers"
NEEDS = ("numpy==2.2.6", "pyarrow==25.0.1")
ENVIRONMENTS = {"faiss": ("faiss-cpu==1.15.1", *NEEDS), "semhash": SEMHASH}
# (name, script, environment, arguments, rows at most)
PEER_RUNS: tuple[tuple[str, str, str, tuple[str, ...], int], ...] = (
    ("brute force", "brute_pairs.py", "faiss", (), 250_000),
    ("faiss, 1 probe", "faiss_pairs.py", "faiss", ("--probes", "1"), PEERS_UP_TO),
    ("faiss, 2 probes", "faiss_pairs.py", "faiss", ("--probes", "2"), PEERS_UP_TO),
    ("faiss, 4 probes", "faiss_pairs.py", "faiss", ("--probes", "4"), PEERS_UP_TO),
    ("SemDeDup's rule", "semdedup_rule.py", "faiss", (), PEERS_UP_TO),
    ("semhash", "semhash_pairs.py", "semhash", (), PEERS_UP_TO),
)


class Kept:
    """What was measured already, in a file: a name -> its row."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.rows: dict[str, Row] = json.loads(path.read_text("utf-8")) if path.is_file() else {}

    def add(self, name: str, row: Row) -> None:
        """Keeps a row."""
        self.rows[name] = row
        self._path.write_text(json.dumps(self.rows), encoding="utf-8")


def run_script(command: Sequence[str], wanted: str, limit_s: int = LIMIT_S) -> Row:
    """Runs a program; returns what it printed as {wanted: {...}}, with the peak memory of its processes by kind. Ends it after `limit_s`."""
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    watch = PeakMemory(child.pid)
    watch.start()
    ended = threading.Timer(limit_s, child.kill)
    ended.start()
    out, _ = child.communicate()
    late = not ended.is_alive()
    ended.cancel()
    told = [line for line in out.splitlines() if line.startswith(f'{{"{wanted}"')]
    if child.returncode or not told:
        words = f"not done within {limit_s} s" if late else " ".join(out.split())[-400:]
        return {"failed": words}
    row: Row = json.loads(told[-1])[wanted]
    return row | {f"peak_{kind}_mib": round(size) for kind, size in sorted(watch.peaks.items())}


def ours(planted: Planted, folder: Path, sets: Sequence[str]) -> Row:
    """Measures boostqa on one size."""
    warehouse = folder / "warehouse"
    shutil.rmtree(warehouse, ignore_errors=True)
    command = [sys.executable, "bench/dedup_one.py", "--folder", str(folder), "--rows", str(planted.n)]
    command += ["--warehouse", str(warehouse), *(part for one in sets for part in ("--set", one))]
    command += ["--share-of-peak"] if planted.n <= ALONE else []
    command += ["--crowd", str(planted.crowd)] if planted.crowd else []
    row = run_script(command, "dedup", LIMIT_S + planted.n // ROWS_A_SECOND)
    shutil.rmtree(warehouse, ignore_errors=True)
    if "compare_gflops" in row:
        row["share_of_peak"] = round(row["compare_gflops"] / row["peak_gflops"], 3)
    what = f"boostqa, {planted.crowd:.0%} in one place" if planted.crowd else "boostqa"
    return {"what": what, "size": planted.n, **row}


def peer(planted: Planted, name: str, script: str, environment: str, arguments: tuple[str, ...]) -> Row:
    """Measures a peer; a row with the reason where it can not run."""
    try:
        python = python_of(environment, ENVIRONMENTS[environment])
    except NotInstalledError as error:
        return {"what": name, "size": planted.n, "failed": str(error)}
    command = [str(python), str(PEERS / script), "--folder", str(planted.home), "--threshold", str(THRESHOLD)]
    return {"what": name, "size": planted.n, **run_script([*command, *arguments], "peer")}


def shown(row: Row) -> str:
    """A row as a line of the table."""
    head = f"{row['size']:>11,} {row['what']:<16}"
    if "failed" in row:
        return f"{head} FAILED: {row['failed']}"
    recall = row.get("planted_recall", row.get("planted_covered", math.nan))
    peak = max(row.get(f"peak_{kind}_mib", 0) for kind in ("driver", "worker", "jvm"))
    more = f" {row.get('share_of_peak', math.nan):>7.0%}" if row["what"] == "boostqa" else ""
    return f"{head} {row['seconds']:>9,.1f} s {recall:>8.4f} {peak:>8,} MiB{more}"


def goals_of(rows: Sequence[Row]) -> list[Row]:
    """What the issue asks, as far as it was measured."""
    mine = {row["size"]: row for row in rows if row["what"] == "boostqa" and "failed" not in row}
    peers = [row for row in rows if row["what"].startswith(("faiss", "semhash")) and "failed" not in row]
    found = []
    for row in rows:
        if row["what"].startswith("boostqa,") and "failed" not in row:
            found.append(goal(f"{row['what']}: largest worker", row["peak_worker_mib"], 4096, "MiB"))
            found.append(goal(f"{row['what']}: recall", row["planted_recall"], 0.99, "", at_most=False))
    for size, row in sorted(mine.items()):
        found.append(goal(f"{size:,} rows: recall of planted pairs", row["planted_recall"], 0.99, "", at_most=False))
        found.append(goal(f"{size:,} rows: orphans", row["orphans"], 0, "rows"))
        if "share_of_peak" in row:
            name = f"{size:,} rows: share of the float32 peak, compare stage"
            found.append(goal(name, row["share_of_peak"], 0.6, "", at_most=False))
        # At equal recall: a peer's fastest setting that finds no fewer pairs than asked of us.
        equal = [p for p in peers if p["size"] == size and p.get("planted_recall", p.get("planted_covered", 0)) >= 0.99]
        if equal and size == PEERS_UP_TO:
            fastest = min(equal, key=lambda p: float(p["seconds"]))
            times = round(fastest["seconds"] / row["seconds"], 2)
            found.append(goal(f"{size:,} rows: times as fast as {fastest['what']}", times, 1.5, "times", at_most=False))
    if len(mine) > 1:
        small, large = min(mine), max(mine)
        exponent = math.log(mine[large]["seconds"] / mine[small]["seconds"]) / math.log(large / small)
        found.append(goal(f"growth exponent of time, {small:,} to {large:,} rows", round(exponent, 3), 1.15, ""))
        peak = max(mine[large][f"peak_{kind}_mib"] for kind in ("driver", "worker", "jvm"))
        found.append(goal(f"{large:,} rows: largest process", peak, 16 * 1024, "MiB"))
    return found


def measure(args: argparse.Namespace, kept: Kept) -> None:
    """Measures what was not measured yet."""
    for size in args.sizes:
        planted = Planted(args.folder, size)
        print(f"{size:,} rows x {DIM}: making what is missing of {size * DIM * 2 / 2**30:.1f} GiB", flush=True)
        planted.make()
        jobs = [("boostqa", lambda planted=planted: ours(planted, args.folder, args.set))]
        if size == args.sizes[0]:
            crowded = Planted(args.folder, size, CROWD)
            jobs += [("crowd", lambda crowded=crowded: ours(crowded, args.folder, args.set))]
        if not args.no_peers:
            jobs += [
                (name, lambda planted=planted, run=(name, *more[:-1]): peer(planted, *run))
                for name, *more in PEER_RUNS
                if size <= more[-1]
            ]
        for name, work in jobs:
            key = f"{name} {size}"
            if key not in kept.rows:
                row = work()
                if "failed" not in row:
                    kept.add(key, row)
                else:
                    kept.rows[key] = row
                print(shown(row), flush=True)
        if not args.keep_vectors and size > PEERS_UP_TO:
            shutil.rmtree(planted.home)


def main() -> int:
    """Measures, and writes the result; 1 when a goal is missed."""
    parser = argparse.ArgumentParser(description="semantic dedup at scale")
    parser.add_argument("--sizes", type=lambda text: [int(one) for one in text.split(",")], default=list(SIZES))
    parser.add_argument("--folder", type=Path, default=Path("/tmp/dedup-scale"))
    parser.add_argument("--quick", action="store_true", help="small sizes, and no result file")
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--keep-vectors", action="store_true", help="keep the vectors of large sizes on disk")
    parser.add_argument("--set", action="append", default=[], help="a setting, as dedup.probes=3")
    args = parser.parse_args()
    args.sizes = list(QUICK) if args.quick else args.sizes
    args.folder = args.folder / "quick" if args.quick else args.folder
    args.folder.mkdir(parents=True, exist_ok=True)
    kept = Kept(args.folder / "measured.json")
    measure(args, kept)
    rows = list(kept.rows.values())
    used = [
        {"what": "environment", "name": name, "versions": versions_in(name, [p.split("==")[0] for p in packages])}
        for name, packages in ENVIRONMENTS.items()
    ]
    if args.quick or args.set:
        for one in goals_of(rows):
            print(f"  {one['name']}: {one['value']:g} (goal {one['goal']:g})")
        return 0
    return 0 if write_result("dedup_scale", [*rows, *used], goals_of(rows)) else 1


if __name__ == "__main__":
    sys.exit(main())
