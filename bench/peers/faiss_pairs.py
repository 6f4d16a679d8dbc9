"""faiss: an inverted file of flat vectors, and a range search of every row in its nearest cells."""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np
from pairs import arguments, tell_pairs, timed, vectors_of

CELL = 1000
BATCH = 20_000


def search(rows: np.ndarray[Any, Any], threshold: float, probes: int) -> list[np.ndarray[Any, Any]]:
    """Fits, fills and searches; returns a * n + b of the pairs with a < b."""
    n, dim = rows.shape
    index = faiss.index_factory(dim, f"IVF{max(1, n // CELL)},Flat", faiss.METRIC_INNER_PRODUCT)
    index.train(rows[np.random.default_rng(0).permutation(n)[:100_000]])
    index.add(rows)
    index.nprobe = probes
    found = []
    for at in range(0, n, BATCH):
        limits, _, near = index.range_search(rows[at : at + BATCH], threshold)
        a = at + np.repeat(np.arange(len(limits) - 1), np.diff(limits).astype(np.int64))
        low, high = np.minimum(a, near), np.maximum(a, near)
        found.append((low * n + high)[low < high])
    return found


def main() -> None:
    """Measures. Every row is searched, so that a pair counts when either of its rows finds the other."""
    args = arguments()
    rows = vectors_of(args.folder)
    seconds, found = timed(lambda: search(rows, args.threshold, args.probes))
    tell_pairs(args.folder, len(rows), found, seconds, probes=args.probes)


main()
