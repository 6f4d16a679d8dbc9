"""What the peers of bench/dedup_scale.py share: the planted vectors, and how a result is told. Needs numpy and pyarrow alone."""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

Array = np.ndarray[Any, Any]


def arguments() -> argparse.Namespace:
    """The folder of the parts, the threshold, and a setting of the peer."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--threshold", type=float, default=0.9)
    parser.add_argument("--probes", type=int, default=1)
    return parser.parse_args()


def vectors_of(folder: Path) -> Array:
    """All vectors as float32 rows of length 1."""
    parts = [pq.read_table(path, columns=["vector"]).column("vector") for path in sorted(folder.glob("part-*.parquet"))]
    blobs = [chunk for part in parts for chunk in part.chunks]
    rows = [np.frombuffer(chunk.buffers()[2], "<f2").reshape(len(chunk), -1).astype(np.float32) for chunk in blobs]
    made = np.concatenate(rows)
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    return made


def planted_pairs(folder: Path) -> Array:
    """The planted pairs, shape (p, 2), the smaller row first."""
    return np.concatenate([np.load(path) for path in sorted(folder.glob("part-*.pairs.npy"))])


def tell_pairs(folder: Path, n: int, pairs: Iterable[Array], seconds: float, **more: Any) -> None:
    """Prints the figures of a peer that gives pairs, arrays of a * n + b with a < b."""
    found = np.unique(np.concatenate([np.empty(0, np.int64), *pairs]))
    planted = planted_pairs(folder)
    seen = np.isin(planted[:, 0] * n + planted[:, 1], found)
    tell(seconds=round(seconds, 1), edges=len(found), planted_recall=round(float(seen.mean()), 5), **more)


def tell(**figures: Any) -> None:
    """Prints the figures of a peer, with the most memory it took."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"peer": {**figures, "peak_mib": round(peak)}}), flush=True)


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Runs the work; returns its seconds and what it made."""
    started = time.monotonic()
    made = work()
    return time.monotonic() - started, made
