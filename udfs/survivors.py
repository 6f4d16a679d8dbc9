"""Who is kept of a graph of duplicates: rows are nodes, edges join rows that are too alike, a better rank wins."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.integer]


def greedy_survivors(
    a: Indices, b: Indices, priority_rank: Indices, n: int, cosine: NDArray[np.floating] | None = None
) -> NDArray[np.int64]:
    """Goes through the nodes from best to worst rank and keeps each one that has no kept neighbour.

    That is the lexicographically-first maximal independent set: no two kept nodes share an edge, and every removed node
    has a kept neighbour of better rank. Edges are a[e]-b[e], in any order and direction, repeated or not;
    `priority_rank` has shape (n,), all different, lower is better. Returns `kept_of`, shape (n,): the node itself where
    it is kept, else its kept neighbour of better rank with the highest `cosine` (the best rank among equal ones, and
    where no cosines are given). Adding worse-ranked nodes later therefore changes no earlier answer. Raises ValueError
    for nodes outside 0..n-1, equal ranks or NaN cosines.
    """
    order, place = _ordered(a, b, priority_rank, n)
    better, worse = np.minimum(place[a], place[b]), np.maximum(place[a], place[b])
    weight = np.zeros(len(a)) if cosine is None else np.asarray(cosine, dtype=np.float64)
    if np.isnan(weight).any():
        raise ValueError(f"cosine of edge {int(np.isnan(weight).argmax())} is NaN.")
    removed = _removed(better, worse, n)
    reason = (better != worse) & ~removed[better]
    return _kept_of(better[reason], worse[reason], weight[reason], order)


def components(a: Indices, b: Indices, rank: Indices, n: int) -> NDArray[np.int64]:
    """Keeps the best-ranked node of each connected component, so that a chain of duplicates leaves one row.

    Arguments and errors as for `greedy_survivors`. Returns `kept_of`, shape (n,); a removed node need not be a
    neighbour of the one it points to.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    order, _ = _ordered(a, b, rank, n)
    graph = coo_array((np.ones(len(a), dtype=np.bool_), (a, b)), shape=(n, n))
    _, label = connected_components(graph, directed=False)
    _, best = np.unique(label[order], return_index=True)
    return np.asarray(order[best][label])


def _ordered(a: Indices, b: Indices, rank: Indices, n: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Checks a graph and returns the nodes from best to worst, and the place of each node in that order."""
    if len(a) != len(b):
        raise ValueError(f"a has {len(a)} edges and b {len(b)}.")
    if len(a) and not (min(a.min(), b.min()) >= 0 and max(a.max(), b.max()) < n):
        raise ValueError(f"an edge names a node outside 0..{n - 1}.")
    if len(rank) != n:
        raise ValueError(f"there are {len(rank)} ranks for {n} nodes.")
    order = np.argsort(rank, kind="stable").astype(np.int64)
    ties = np.flatnonzero(rank[order][1:] == rank[order][:-1])
    if ties.size:
        one, other = order[ties[0]], order[ties[0] + 1]
        raise ValueError(
            f"nodes {one} and {other} have the same rank: break ties by key, so that the order of rows decides nothing."
        )
    place = np.empty(n, dtype=np.int64)
    place[order] = np.arange(n)
    return order, place


def _removed(better: NDArray[np.int64], worse: NDArray[np.int64], n: int) -> NDArray[np.bool_]:
    real = better != worse
    better, worse = better[real], worse[real]
    by_better = np.argsort(better, kind="stable")
    targets = worse[by_better]
    sources, counts = np.unique(better, return_counts=True)
    ends = np.cumsum(counts)
    removed = np.zeros(n, dtype=np.bool_)
    # One step for each node that outranks some neighbour: vectorised rounds would need as many rounds as the longest
    # chain is long.
    for source, start, end in zip(sources.tolist(), (ends - counts).tolist(), ends.tolist(), strict=True):
        if not removed[source]:
            removed[targets[start:end]] = True
    return removed


def _kept_of(
    better: NDArray[np.int64], worse: NDArray[np.int64], weight: NDArray[np.float64], order: NDArray[np.int64]
) -> NDArray[np.int64]:
    by_choice = np.lexsort((better, -weight, worse))
    gone, first = np.unique(worse[by_choice], return_index=True)
    kept_of = np.arange(order.size)
    kept_of[order[gone]] = order[better[by_choice][first]]
    return kept_of
