"""Moments of a set of unit vectors: count, sum and sum of outer products, which add over partitions.

All that `udfs.diversity` measures in one pass is a function of these d x d numbers, whatever the number of rows. Adding
the moments of two disjoint sets gives those of their union; subtracting gives what is left without one of them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BLOCK_ROWS = 4096
"""Rows of one matrix product: it bounds the memory and the float32 rounding error of a block."""

EXACT_ROWS = 2048
"""Up to this many rows `moments_of` works in float64: cheap there, and small sets have the smallest eigenvalues."""

UNIT_TOLERANCE = 2e-3
"""How far a length may be from 1. Rounding a unit vector to float16 moves it by at most 5e-4."""

_HEADER = struct.Struct("<4sIq?7x")
_MAGIC, _FEW = b"mom1", b"few1"

_ROUNDING = 1e-15
"""A direction that holds less than this part of all squares is what rounding has left."""


@dataclass(frozen=True, eq=False)
class Moments:
    """Count `n`, sum `s1` (d,) and sum of outer products `s2` (d, d) of n unit vectors, in float64.

    `exact` tells whether every product was summed in float64. If not, eigenvalues of `s2` under about 3e-6 of the
    largest are noise.
    """

    n: int
    s1: NDArray[np.float64]
    s2: NDArray[np.float64]
    exact: bool = True

    @property
    def dim(self) -> int:
        """Number of columns of the vectors."""
        return int(self.s1.shape[0])

    def add(self, other: Moments) -> Moments:
        """Moments of the union of two disjoint sets of rows."""
        self._check_dim(other)
        return Moments(self.n + other.n, self.s1 + other.s1, self.s2 + other.s2, self.exact and other.exact)

    def subtract(self, part: Moments) -> Moments:
        """Moments of what is left when `part`, some of the rows that were added before, is taken out."""
        self._check_dim(part)
        if part.n > self.n:
            raise ValueError(f"cannot take {part.n} rows out of {self.n}: subtract only what was added before")
        return Moments(self.n - part.n, self.s1 - part.s1, self.s2 - part.s2, self.exact and part.exact)

    def to_row(self) -> bytes:
        """Pack for a binary Arrow column, little-endian: header, s1, upper triangle of s2 by rows (d=384: 595 kB).

        Of n rows, few for their dimension, s2 is packed as a factor of at most n rows (d=384, n=3: 12 kB): small scopes are many.
        """
        few = 2 * self.n < self.dim
        header = _HEADER.pack(_FEW if few else _MAGIC, self.dim, self.n, self.exact)
        squares = _factor(self.s2, self.n).ravel() if few else self.s2[np.triu_indices(self.dim)]
        return header + np.concatenate([self.s1, squares]).astype("<f8").tobytes()

    @classmethod
    def from_row(cls, row: bytes) -> Moments:
        """Unpack what `to_row` made; a value of another kind or length is refused."""
        if len(row) < _HEADER.size or row[:4] not in (_MAGIC, _FEW):
            raise ValueError("these bytes are not packed moments: expected a value made by Moments.to_row")
        magic, dim, n, exact = _HEADER.unpack_from(row)
        size = _HEADER.size + 8 * dim * (1 + n) if magic == _FEW else _HEADER.size + 8 * (dim + dim * (dim + 1) // 2)
        if len(row) != size:
            raise ValueError(f"packed moments of dimension {dim} take {size} bytes, got {len(row)}: cut on the way?")
        values = np.frombuffer(row, dtype="<f8", offset=_HEADER.size).astype(np.float64)
        if magic == _FEW:
            factor = values[dim:].reshape(n, dim)
            return cls(n, values[:dim], factor.T @ factor, exact)
        s2 = np.zeros((dim, dim))
        s2[np.triu_indices(dim)] = values[dim:]
        return cls(n, values[:dim], s2 + np.triu(s2, 1).T, exact)

    def _check_dim(self, other: Moments) -> None:
        if other.dim != self.dim:
            raise ValueError(f"dimensions {self.dim} and {other.dim} do not add: were two embedding models mixed?")


def moments_of(vectors: NDArray[np.floating]) -> Moments:
    """Moments of the rows of `vectors`, shape (n, d), float16, float32 or float64, of length one; n may be 0.

    Each row is first brought to exact length, since half floats leave it off by up to 5e-4. Error: up to `EXACT_ROWS`
    rows all is float64. Beyond, each block of `BLOCK_ROWS` rows is one float32 product and the blocks are summed in
    float64: eigenvalues of s2 / n, which sum to 1, were then off by up to 1e-7 (3e-6 where all rows are equal) and the
    measures of `udfs.diversity` by about 1e-6 of their value (d from 8 to 1,024, up to 50,000 rows).
    """
    _check_shape(vectors)
    n, dim = vectors.shape
    exact = n <= EXACT_ROWS
    s1, s2 = np.zeros(dim), np.zeros((dim, dim))
    for start in range(0, n, BLOCK_ROWS):
        block = _unit_block(vectors[start : start + BLOCK_ROWS], np.dtype(np.float64 if exact else np.float32), start)
        s1 += block.sum(axis=0, dtype=np.float64)
        s2 += block.T @ block
    return Moments(n, s1, s2, exact)


def merge(parts: Iterable[Moments]) -> Moments:
    """Sum of several moments, at least one."""
    first, *rest = parts
    total = first
    for part in rest:
        total = total.add(part)
    return total


def in_own_space(groups: Sequence[Moments]) -> Sequence[Moments]:
    """The same moments in coordinates of the space that the rows of all groups span, where that has far fewer than d dimensions.

    Lengths and angles stay, and so does every measure of `udfs.diversity`, up to rounding; an eigendecomposition costs the cube of the rank in place of d.
    """
    total = merge(groups)
    if total.n == 0 or 2 * total.n >= total.dim:
        return groups
    basis, _ = np.linalg.qr(_factor(total.s2, total.n).T)
    return [Moments(part.n, part.s1 @ basis, basis.T @ part.s2 @ basis, part.exact) for part in groups]


def _factor(s2: NDArray[np.float64], rank: int) -> NDArray[np.float64]:
    """Rows F (rank, d) with F.T @ F = s2, for s2 of this rank at most; rows of zeros where its rank is lower. Source: Cholesky, with pivots."""
    rows = np.zeros((rank, len(s2)))
    rest = s2.diagonal().copy()
    for k in range(rank):
        pivot = int(rest.argmax())
        if rest[pivot] <= _ROUNDING * rank:
            break
        rows[k] = (s2[pivot] - rows[:k, pivot] @ rows[:k]) / np.sqrt(rest[pivot])
        rest -= rows[k] ** 2
    return rows


def _unit_block(vectors: NDArray[np.floating], dtype: np.dtype[np.floating], first_row: int) -> NDArray[np.floating]:
    """Rows of `vectors` (n, d) brought to exact unit length in `dtype`.

    A row that is not finite or whose length is not 1 is refused; the error counts rows from `first_row`.
    """
    rows = vectors.astype(dtype)
    lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    # Written so that NaN, for which every comparison is false, counts as bad too.
    bad = np.flatnonzero(~(np.abs(lengths - 1) <= UNIT_TOLERANCE))
    if bad.size:
        raise ValueError(_describe_bad_row(int(bad[0]) + first_row, float(lengths[bad[0]])))
    rows /= lengths[:, None]
    return rows


def _describe_bad_row(row: int, length: float) -> str:
    if not np.isfinite(length):
        return f"row {row}: the vector holds NaN or infinity; embed this row again or leave it out"
    return f"row {row}: the vector has length {length:.4g}, not 1; divide each embedding by its length first"


def _check_shape(vectors: NDArray[np.floating]) -> None:
    if vectors.ndim != 2 or not np.issubdtype(vectors.dtype, np.floating):
        raise ValueError(f"expected float vectors of shape (n, d), got {vectors.dtype} of shape {vectors.shape}")
