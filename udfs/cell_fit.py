"""Fits cells to a sample: coarse ones, fine ones in each, and the repair of what k-means does to crowds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from udfs.cells import Cells, CellSearch
from udfs.clustering import cluster_count, fit_centroids, nearest
from udfs.similarity import Vectors, unit_rows
from udfs.survivors import greedy_survivors

# So many cells are found faster without a coarse level.
FLAT = 64
# Sampled rows a centre is fitted on; more change little.
_POINTS = 256
_ITERATIONS = 10
# A cell so many times its aimed size is fitted again, this often at most.
_OVERSIZE = 4
_ROUNDS = 2
# Means multiplied with all others at a time.
_BLOCK = 1024
# Rows that the mean cosine to the nearest centre is measured on.
_MEASURED = 20_000


@dataclass(frozen=True)
class _Part:
    """A fine cell while it is made: its centre, the mean of its sampled rows (not of length 1), their numbers, its coarse cell."""

    centre: NDArray[np.float32]
    mean: NDArray[np.float64]
    rows: NDArray[np.int64]
    coarse: int


def fit_cells(sample: Vectors, n_rows: int, size: int, threshold: float, seed: int) -> Cells:
    """Fits cells of about `size` rows each for `n_rows` rows, of which `sample` (m, d) is drawn.

    Cells in which most pairs are alike at the threshold are not kept apart, however large: to cut such a crowd would hide its pairs. The result
    depends on the order of the sample: sort it by key. Raises ValueError for an empty sample or a row of zeros, NaN or infinity.
    """
    unit = unit_rows(sample, "sample")
    k = cluster_count(n_rows, size)
    c = 1 if k <= FLAT else round(k**0.5)
    coarse = fit_centroids(unit[: _POINTS * c], c, seed, _ITERATIONS)
    home = nearest(unit, coarse, 1)[:, 0]
    parts: list[_Part] = []
    for number in range(len(coarse)):
        rows = np.flatnonzero(home == number)
        if rows.size:
            parts += _divided(unit, rows, number, max(1, round(k * rows.size / len(unit))), seed)
    crowded = threshold - (1 - threshold) / 2
    for _ in range(_ROUNDS):
        parts = _crowds_divided(unit, parts, size * len(unit) / n_rows, crowded, seed)
    return _as_cells(coarse, _joined(parts, crowded))


def mean_cosine(cells: Cells, sample: Vectors) -> float:
    """Measures the mean cosine of the sample's first rows to their nearest centre: it falls when new rows are unlike those that were fitted."""
    return float(CellSearch(cells, 1, 1.0).place(sample[:_MEASURED]).cosine.astype(np.float64).mean())


def _divided(unit: NDArray[np.float32], rows: NDArray[np.int64], coarse: int, k: int, seed: int) -> list[_Part]:
    """Divides some rows of one coarse cell into up to k fine cells."""
    centres = fit_centroids(unit[rows[: _POINTS * k]], k, seed, _ITERATIONS)
    home = nearest(unit[rows], centres, 1)[:, 0]
    members = [rows[home == number] for number in range(len(centres))]
    return [
        _Part(centre, unit[mine].mean(axis=0, dtype=np.float64), mine, coarse)
        for centre, mine in zip(centres, members, strict=True)
        if mine.size
    ]


def _crowds_divided(
    unit: NDArray[np.float32], parts: list[_Part], size: float, crowded: float, seed: int
) -> list[_Part]:
    """Divides the cells that hold far more sampled rows than aimed at again, unless most of their pairs are alike."""
    made: list[_Part] = []
    for part in parts:
        large = part.rows.size > _OVERSIZE * max(size, 1) and part.mean @ part.mean < crowded
        k = -(-part.rows.size // max(1, round(size)))
        made += _divided(unit, part.rows, part.coarse, k, seed) if large else [part]
    return made


def _joined(parts: list[_Part], crowded: float) -> list[_Part]:
    """Leaves out each cell whose rows are, on average, alike to those of one before it that stays: the product of two means is the mean cosine across."""
    dense = np.array(
        [number for number, part in enumerate(parts) if part.mean @ part.mean >= crowded**2], dtype=np.int64
    )
    if dense.size < 2:
        return parts
    means = np.array([parts[number].mean for number in dense])
    pairs = []
    for at in range(0, dense.size, _BLOCK):
        i, j = np.nonzero(means[at : at + _BLOCK] @ means[: at + _BLOCK].T >= crowded)
        pairs.append(np.stack([i + at, j])[:, j < i + at])
    i, j = np.concatenate(pairs, axis=1)
    gone = set(dense[greedy_survivors(i, j, np.arange(dense.size), dense.size) != np.arange(dense.size)].tolist())
    return [part for number, part in enumerate(parts) if number not in gone]


def _as_cells(coarse: NDArray[np.float32], parts: list[_Part]) -> Cells:
    # A coarse cell without fine ones would be searched for nothing.
    used, parent = np.unique([part.coarse for part in parts], return_inverse=True)
    fine = np.array([part.centre for part in parts], dtype=np.float16)
    return Cells(coarse[used].astype(np.float16), fine, parent.astype(np.int32))
