"""The published SemDeDup rule on the same vectors: in each k-means cell, a row goes when an earlier row is alike, be that one removed itself or not.

Source: Abbas et al., "SemDeDup: Data-efficient learning at web-scale through semantic deduplication", 2023, and the pairwise step of NeMo Curator, which
follows it. Earlier is farther from the cell's centre ("hard" examples stay). An orphan is a removed row that no kept row of its cell is alike.
"""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np
from pairs import arguments, planted_pairs, tell, timed, vectors_of

CELL = 1000
Array = np.ndarray[Any, Any]


def removed_by_rule(rows: Array, threshold: float) -> tuple[Array, Array]:
    """Returns which rows go, and which of them are orphans."""
    n, dim = rows.shape
    fit = faiss.Kmeans(dim, max(1, n // CELL), niter=10, seed=0, spherical=True, max_points_per_centroid=256)
    fit.train(rows)
    near, cell = fit.index.search(rows, 1)
    gone, orphan = np.zeros(n, np.bool_), np.zeros(n, np.bool_)
    order = np.lexsort((near[:, 0], cell[:, 0]))
    bounds = np.flatnonzero(np.diff(cell[order, 0])) + 1
    for mine in np.split(order, bounds):
        alike = rows[mine] @ rows[mine].T >= threshold
        removed = np.triu(alike, 1).any(axis=0)
        np.fill_diagonal(alike, False)
        gone[mine] = removed
        orphan[mine] = removed & ~(alike & ~removed[:, None]).any(axis=0)
    return gone, orphan


def main() -> None:
    """Measures."""
    args = arguments()
    rows = vectors_of(args.folder)
    seconds, (gone, orphan) = timed(lambda: removed_by_rule(rows, args.threshold))
    planted = planted_pairs(args.folder)
    # It gives no pairs: a planted pair is seen where one of the two is gone.
    seen = gone[planted].any(axis=1).mean()
    tell(
        seconds=round(seconds, 1),
        removed=int(gone.sum()),
        orphans=int(orphan.sum()),
        planted_covered=round(float(seen), 5),
    )


main()
