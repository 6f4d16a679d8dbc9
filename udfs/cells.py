"""Cells of alike vectors in two levels, and which of them a vector belongs to.

A vector is scored against the few coarse centres first and then against the fine centres of the nearest of these, so that k cells cost about
sqrt(k) scores a vector.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from udfs.clustering import exact_order, nearest_block, top
from udfs.similarity import MARGIN, Vectors, row_dots, unit_rows

# Coarse cells that are looked into for each vector.
SEARCHED = 8
# A second cell further than this share of the length of a pair is not a row's guest cell.
REACH = 0.5
# Rows placed at a time: 12 MiB of float32 at 384 columns.
_ROWS = 8192


@dataclass(frozen=True)
class Cells:
    """Centres of length 1 up to the rounding of half floats: `coarse` (c, d), `fine` (k, d), and the coarse cell of each fine one, ascending."""

    coarse: NDArray[np.float16]
    fine: NDArray[np.float16]
    parent: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.fine)


@dataclass(frozen=True)
class Placed:
    """Where n vectors belong: `cells` (n, probes), the home cell and then the guest cells, -1 where there is none; `cosine` (n,) to the home's centre."""

    cells: NDArray[np.int32]
    cosine: NDArray[np.float32]


class CellSearch:
    """Finds the cells of vectors. The answer for a vector hangs on the centres and on itself alone: what float32 leaves open is decided in float64."""

    def __init__(self, cells: Cells, probes: int, threshold: float) -> None:
        self.coarse, self.fine = _at_length_1(cells.coarse), _at_length_1(cells.fine)
        self.probes = min(probes, len(cells))
        self._searched = min(max(SEARCHED, probes), len(cells.coarse))
        self._starts = np.searchsorted(cells.parent, np.arange(len(cells.coarse) + 1))
        # Two unit vectors of cosine t are sqrt(2 - 2t) apart.
        self._reach = REACH * float(np.sqrt(max(0.0, 2 - 2 * threshold)))

    def place(self, vectors: Vectors) -> Placed:
        """Finds home and guest cells of vectors (n, d) of any length but zero. Raises ValueError, naming the row, for zeros, NaN or infinity.

        A guest cell is left out where the vector is so far from the plane between the two centres that a vector alike, across that plane, has to be
        the nearer one of the two, and is a guest on this side.
        """
        parts = [self._place(vectors[at : at + _ROWS], at) for at in range(0, len(vectors), _ROWS)]
        if not parts:
            return Placed(np.empty((0, self.probes), np.int32), np.empty(0, np.float32))
        return Placed(*(np.concatenate(part) for part in zip(*parts, strict=True)))

    def _place(self, vectors: Vectors, start: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        unit = unit_rows(vectors, "vectors", start)
        cells = self._nearest(vectors, unit)
        scores = np.stack([np.einsum("ij,ij->i", unit, self.fine[cells[:, p]]) for p in range(self.probes)], axis=1)
        for p in range(1, self.probes):
            cells[self._too_far(vectors, cells[:, 0], cells[:, p], scores[:, 0] - scores[:, p]), p] = -1
        return cells, scores[:, 0]

    def _nearest(self, vectors: Vectors, unit: NDArray[np.float32]) -> NDArray[np.int32]:
        if len(self.coarse) <= self._searched:
            return nearest_block(vectors, unit, self.fine, self.probes).astype(np.int32)
        near = nearest_block(vectors, unit, self.coarse, self._searched, ordered=False)
        cells, value = self._best(unit, near)
        close = np.flatnonzero((value[:, :-1] - value[:, 1:]).min(axis=1, initial=np.inf) < MARGIN)
        if close.size:
            row, rival = self._rivals(unit[close], near[close], value[close, self.probes - 1] - MARGIN)
            cells[close, : self.probes] = exact_order(vectors[close], self.fine, row, rival, self.probes)
        return cells[:, : self.probes]

    def _best(
        self, unit: NDArray[np.float32], near: NDArray[np.int64]
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """The nearest fine cells, one more than probes, of those in the searched coarse cells."""
        width = self.probes + 1
        value = np.full((near.size, width), -np.inf, dtype=np.float32)
        cell = np.zeros((near.size, width), dtype=np.int32)
        for members, first, scores in self._visit(unit, near):
            best, score = top(scores, min(width, scores.shape[1]))
            cell[members, : best.shape[1]] = best + first
            value[members, : best.shape[1]] = score
        value, cell = value.reshape(len(unit), -1), cell.reshape(len(unit), -1)
        column, highest = top(value, width)
        return np.take_along_axis(cell, column, axis=1), highest

    def _rivals(
        self, unit: NDArray[np.float32], near: NDArray[np.int64], bound: NDArray[np.float32]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        rows, rivals = [], []
        for members, first, scores in self._visit(unit, near):
            row = members // near.shape[1]
            i, rival = np.nonzero(scores >= bound[row, None])
            rows.append(row[i])
            rivals.append(rival + first)
        return np.concatenate(rows), np.concatenate(rivals)

    def _visit(
        self, unit: NDArray[np.float32], near: NDArray[np.int64]
    ) -> Iterator[tuple[NDArray[np.int64], int, NDArray[np.float32]]]:
        """Yields, for each coarse cell, the places in `near` (flat) that name it, its first fine cell, and their scores against its fine cells."""
        named = near.ravel()
        order = np.argsort(named, kind="stable")
        bounds = np.searchsorted(named[order], np.arange(len(self.coarse) + 1))
        for coarse in np.flatnonzero(np.diff(bounds)):
            members = order[bounds[coarse] : bounds[coarse + 1]]
            first, last = int(self._starts[coarse]), int(self._starts[coarse + 1])
            yield members, first, unit[members // near.shape[1]] @ self.fine[first:last].T

    def _too_far(
        self, vectors: Vectors, home: NDArray[np.int32], guest: NDArray[np.int32], gap: NDArray[np.float32]
    ) -> NDArray[np.bool_]:
        """Tells which vectors are further than the reach from the plane between two centres: gap / distance of the centres."""
        between = self.fine[home] - self.fine[guest]
        bound = self._reach * np.sqrt(np.einsum("ij,ij->i", between, between))
        far = gap > bound
        open_ = np.flatnonzero(np.abs(gap - bound) < MARGIN)
        if open_.size:
            x, a, b = vectors[open_], self.fine[home[open_]], self.fine[guest[open_]]
            exact = (row_dots(x, a) - row_dots(x, b)) / np.sqrt(row_dots(x, x))
            apart = np.sqrt(np.maximum(row_dots(a, a) - 2 * row_dots(a, b) + row_dots(b, b), 0))
            far[open_] = exact > self._reach * apart
        return np.asarray(far)


def _at_length_1(halves: NDArray[np.float16]) -> NDArray[np.float32]:
    """Scales centres by float64: decisions between them must not hang on how float32 sums are ordered here."""
    return np.asarray(halves / np.sqrt(row_dots(halves, halves))[:, None], dtype=np.float32)
