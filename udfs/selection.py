"""Choosing rows: quotas over cells, spread-out rows by k-center, and DEITA's greedy rule against near-copies."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from fractions import Fraction
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from udfs.similarity import Vectors, pair_blocks, unit_rows

AnyCell = TypeVar("AnyCell", bound=Hashable)


def quota_counts(weights: Mapping[AnyCell, float], supply: Mapping[AnyCell, int], total: int) -> dict[AnyCell, int]:
    """Share `total` rows among cells in proportion to their weights, no cell over its supply.

    What a cell cannot give goes to the others in proportion to their weights; cells of weight 0, or with supply but no
    weight named, give only once all others are exhausted, and then evenly. The counts sum to min(total, all supply) and
    depend neither on the order of the mappings nor on rounding: largest remainders, in exact fractions.
    """
    _check_total(total)
    _check_weights(weights)
    for cell, rows in supply.items():
        if rows < 0:
            raise ValueError(f"the supply of cell {cell!r} is negative: {rows}")
    counts: dict[AnyCell, int] = dict.fromkeys([*weights, *supply], 0)
    heavy = {cell: Fraction(weight) for cell, weight in weights.items() if weight > 0 and supply.get(cell, 0) > 0}
    counts |= _fill(heavy, supply, total)
    light = {cell: Fraction(1) for cell, rows in supply.items() if rows > 0 and cell not in heavy}
    return counts | _fill(light, supply, total - sum(counts.values()))


def largest_remainder(weights: Mapping[AnyCell, float | Fraction], total: int) -> dict[AnyCell, int]:
    """Share `total` in whole numbers in proportion to the weights (evenly if all are 0), summing to `total` exactly.

    Each count is its exact share rounded down or up (Hamilton's rule); equal remainders go by the `repr` of the cell.
    """
    _check_total(total)
    _check_weights(weights)
    if not weights:
        if total:
            raise ValueError(f"there is no cell to give {total} to")
        return {}
    exact = {cell: Fraction(weight) for cell, weight in weights.items()}
    if not any(exact.values()):
        exact = dict.fromkeys(exact, Fraction(1))
    unit = total / sum(exact.values(), Fraction(0))
    shares = {cell: weight * unit for cell, weight in exact.items()}
    counts = {cell: math.floor(share) for cell, share in shares.items()}
    by_remainder = sorted(shares, key=lambda cell: (counts[cell] - shares[cell], repr(cell)))
    for cell in by_remainder[: total - sum(counts.values())]:
        counts[cell] += 1
    return counts


def k_center(vectors: Vectors, k: int, seed: int) -> NDArray[np.int64]:
    """Indices of min(k, n) rows that leave no row far from a chosen one: a seeded row, then always the farthest.

    `vectors` (n, d), float, compared by cosine. Costs k passes over one float32 copy. The largest distance is at most
    twice the best possible (Gonzalez 1985). Distances nearer than 1e-6 are ties; the lowest index wins within rounding.
    """
    if k < 0:
        raise ValueError(f"k must not be negative, got {k}")
    unit = unit_rows(vectors)
    n = len(unit)
    chosen = np.empty(min(k, n), dtype=np.int64)
    nearest = np.full(n, -np.inf, dtype=np.float32)
    for position in range(len(chosen)):
        row = np.argmin(nearest) if position else np.random.default_rng(seed).integers(n)
        chosen[position] = row
        np.maximum(nearest, unit @ unit[row], out=nearest)
        # Chosen rows leave the race for good, or copies of them could be chosen twice.
        nearest[row] = np.inf
    return chosen


def deita(order: ArrayLike, vectors: Vectors, threshold: float, block: int = 2048) -> NDArray[np.int64]:
    """Rows kept by DEITA's rule: walk through `order` (row indices, best first) and drop a row too like a kept one.

    Too like is a cosine over `threshold`, decided in float64, so that the answer does not depend on `block`, the rows
    compared at a time. `vectors` is (n, d), float. Source: Liu et al. 2024, who take threshold 0.9 and complexity x
    quality for the order.
    """
    if not -1 <= threshold <= 1:
        raise ValueError(f"threshold is a cosine, from -1 to 1, got {threshold}")
    rows = np.asarray(order, dtype=np.int64)
    if len(np.unique(rows)) != len(rows):
        raise ValueError("order names a row twice")
    kept = np.empty(0, dtype=np.int64)
    for start in range(0, len(rows), block):
        fresh = rows[start : start + block]
        fresh = fresh[~_like_any(vectors[fresh], vectors[kept], threshold)]
        kept = np.concatenate([kept, fresh[_greedy(vectors[fresh], threshold)]])
    return kept


def _fill(weights: Mapping[AnyCell, Fraction], supply: Mapping[AnyCell, int], total: int) -> dict[AnyCell, int]:
    """Shares of `total` under the caps: cells whose share reaches their supply give it all, the rest share again."""
    counts: dict[AnyCell, int] = {}
    open_cells, left = dict(weights), total
    while open_cells:
        unit = left / sum(open_cells.values(), Fraction(0))
        full = {cell: supply[cell] for cell, weight in open_cells.items() if weight * unit >= supply[cell]}
        if not full:
            return counts | largest_remainder(open_cells, left)
        counts |= full
        left -= sum(full.values())
        open_cells = {cell: weight for cell, weight in open_cells.items() if cell not in full}
    return counts


def _like_any(fresh: Vectors, kept: Vectors, threshold: float) -> NDArray[np.bool_]:
    like = np.zeros(len(fresh), dtype=np.bool_)
    for i, _, cosine in pair_blocks(fresh, kept, threshold):
        like[i[cosine > threshold]] = True
    return like


def _greedy(fresh: Vectors, threshold: float) -> NDArray[np.bool_]:
    """Which rows of one block stay when each kept row drops the later rows too like it."""
    over = np.zeros((len(fresh), len(fresh)), dtype=np.bool_)
    for i, j, cosine in pair_blocks(fresh, None, threshold):
        over[i, j] = cosine > threshold
    stays = np.ones(len(fresh), dtype=np.bool_)
    for row in range(len(fresh)):
        if stays[row]:
            stays &= ~over[row]
    return stays


def _check_total(total: int) -> None:
    if total < 0:
        raise ValueError(f"the total to share must not be negative, got {total}")


def _check_weights(weights: Mapping[AnyCell, float | Fraction]) -> None:
    for cell, weight in weights.items():
        if not (math.isfinite(weight) and weight >= 0):
            raise ValueError(f"the weight of cell {cell!r} must be a finite number of at least 0, got {weight}")
