"""Cells of alike vectors: how many, their centres by spherical k-means, and the nearest centres of a vector.

Comparing only inside cells makes dedup cost about N times the cell size instead of N squared.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from udfs.similarity import MARGIN, Vectors, collapse_identical, paired_dots, row_dots, unit_rows

# float32 scores held at a time: 16 MiB.
_SCORES = 1 << 22


def cluster_count(n_rows: int, target_size: int) -> int:
    """Says how many clusters hold about `target_size` rows each: at least 1."""
    if target_size < 1:
        raise ValueError(f"target_size must be 1 or more, not {target_size}.")
    return max(1, -(-n_rows // target_size))


def fit_centroids(sample: Vectors, k: int, seed: int, iterations: int = 20) -> NDArray[np.float32]:
    """Fits spherical k-means (faiss) to a sample of shape (n, d) and returns unit centroids, shape (up to k, d), float32.

    Fewer than k come back where the sample has fewer different rows, or where a cluster's rows cancel out. The result
    depends on the order of the sample: sort it by key. Runs on one thread, which gives the same bits each time on one
    machine; store the centroids to share them. Raises ValueError for an empty sample, k < 1, or a row of zeros, NaN or
    infinity.
    """
    if k < 1:
        raise ValueError(f"k must be 1 or more, not {k}.")
    if len(sample) == 0:
        raise ValueError("the sample is empty: centroids need at least one vector.")
    unit = unit_rows(sample, "sample")
    different = np.unique(collapse_identical(unit))
    if k >= different.size:
        return unit[different]
    return _spherical_kmeans(unit, k, seed, iterations)


def nearest(vectors: Vectors, centroids: NDArray[np.float32], probes: int, ordered: bool = True) -> NDArray[np.int32]:
    """Finds the `probes` nearest centroids of each vector, nearest first, ties to the lowest index; which they are, in any order, unless `ordered`.

    Shapes (n, d) and (k, d), centroids of unit length; returns shape (n, min(probes, k)). Scores come from a float32
    product; wherever two that matter lie within 1e-4, they are computed again in float64, so the answer for a row does
    not depend on the rows around it. Memory beyond the input is bounded by blocks of rows. Raises ValueError for a row
    of zeros, NaN or infinity, or centroids that are not unit vectors.
    """
    if probes < 1:
        raise ValueError(f"probes must be 1 or more, not {probes}.")
    k = len(centroids)
    if k == 0 or not np.allclose(row_dots(centroids, centroids), 1.0, atol=1e-3):
        raise ValueError("centroids must be one or more vectors of unit length.")
    out = np.empty((len(vectors), min(probes, k)), dtype=np.int32)
    step = max(1, _SCORES // max(k, centroids.shape[1]))
    for start in range(0, len(vectors), step):
        block = vectors[start : start + step]
        unit = unit_rows(block, "vectors", start)
        out[start : start + step] = nearest_block(block, unit, centroids, min(probes, k), ordered)
    return out


def _spherical_kmeans(unit: NDArray[np.float32], k: int, seed: int, iterations: int) -> NDArray[np.float32]:
    import faiss

    # faiss would draw its own subsample above max_points_per_centroid, and warn below min_points_per_centroid: the
    # caller chose the sample.
    fit = faiss.Kmeans(
        unit.shape[1],
        k,
        niter=iterations,
        seed=seed,
        spherical=True,
        min_points_per_centroid=1,
        max_points_per_centroid=len(unit),
    )
    with _one_faiss_thread():
        fit.train(unit)
    centroids = np.asarray(fit.centroids, dtype=np.float32)
    # Rows that cancel out leave a centroid without direction.
    sound = np.abs(row_dots(centroids, centroids) - 1.0) < 1e-3
    return centroids[sound] if sound.any() else unit[:1]


@contextmanager
def _one_faiss_thread() -> Iterator[None]:
    import faiss

    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def nearest_block(
    vectors: Vectors, unit: NDArray[np.float32], centroids: NDArray[np.float32], probes: int, ordered: bool = True
) -> NDArray[np.int64]:
    """Does what `nearest` does for a few rows whose `unit` vectors are there already; `probes` is at most the number of centroids."""
    scores = unit @ centroids.T
    best, value = top(scores, min(probes + 1, len(centroids)))
    gaps = value[:, :-1] - value[:, 1:]
    close = np.flatnonzero((gaps if ordered else gaps[:, probes - 1 :]).min(axis=1, initial=np.inf) < MARGIN)
    if close.size:
        row, centroid = np.nonzero(scores[close] >= value[close, probes - 1, None] - MARGIN)
        best[close, :probes] = exact_order(vectors[close], centroids, row, centroid, probes)
    return best[:, :probes]


def top(scores: NDArray[np.float32], count: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Finds the `count` highest scores of each row, highest first: their columns and values, both (n, count).

    A few argmax passes are faster than a partial sort of every row.
    """
    rows = np.arange(len(scores))
    best = np.empty((len(scores), count), dtype=np.int64)
    value = np.empty((len(scores), count), dtype=np.float32)
    for rank in range(count):
        best[:, rank] = scores.argmax(axis=1)
        value[:, rank] = scores[rows, best[:, rank]]
        scores[rows, best[:, rank]] = -np.inf
    np.put_along_axis(scores, best, value, axis=1)
    return best, value


def exact_order(
    vectors: Vectors,
    centroids: NDArray[np.float32],
    row: NDArray[np.int64],
    centroid: NDArray[np.int64],
    count: int,
) -> NDArray[np.int64]:
    """Orders candidates (`row`, `centroid`), at least `count` for each vector, in float64; returns the nearest `count`, shape (n, count)."""
    exact = paired_dots(vectors, centroids, row, centroid)
    order = np.lexsort((centroid, -exact, row))
    first = np.searchsorted(row[order], np.arange(len(vectors)))
    return np.asarray(centroid[order][first[:, None] + np.arange(count)])
