"""Which pairs of vectors are at or over a cosine: found in float32 at full speed, decided in float64 in a fixed order.

A float32 product changes in its last digits with the shape of the block. So it only proposes pairs, and each proposed
pair's cosine is computed again row by row: the answer is the same for every split and order of the rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.floating]
Pairs = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]

# A float32 score this close to a boundary decides nothing (float32 products of unit vectors are right to about 1e-6).
MARGIN = 1e-4
# Values cast to float64 at a time: 16 MiB a copy.
_EXACT_VALUES = 1 << 21
# Rows multiplied in float64 at a time: what a core's cache holds.
_DOT_ROWS = 128
# Rows and columns of a block of scores: 2 MiB of float32, which a core's cache holds.
BLOCK = 256
_COLUMNS = 2048
# Squared lengths of vectors that float32 scales well: outside, float64 looks again.
_SAFE = (1e-20, 4e9)
# The bits of a half float, moved to where a float32 has them, are its value / 2**112.
_HALF_BITS, _HALF_SCALE = np.int32(-0x70000001), np.float32(2.0**112)


def pairs_over(left: Vectors, right: Vectors | None, threshold: float, block: int = BLOCK) -> Pairs:
    """Finds all pairs whose cosine is at or over the threshold.

    `left` has shape (n, d), `right` (m, d), in any float type and of any length but zero. With `right` None, `left` is
    compared with itself and each pair comes once, as i < j. Returns (i, j, cosine), each of shape (p,), in order of i,
    then j. Raises ValueError, naming the row, for a vector of zeros, NaN or infinity. Memory grows with p: where most
    rows are alike, collapse first or take `pair_blocks`.
    """
    found = list(pair_blocks(left, right, threshold, block))
    if not found:
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64), np.empty(0)
    i, j, cosine = (np.concatenate(part) for part in zip(*found, strict=True))
    order = np.lexsort((j, i))
    return i[order], j[order], cosine[order]


def pair_blocks(left: Vectors, right: Vectors | None, threshold: float, block: int = BLOCK) -> Iterator[Pairs]:
    """Yields what `pairs_over` returns, in parts of bounded size and no particular order.

    Besides one float32 copy of the vectors, memory is bounded by block * block scores, however many pairs match.
    """
    one = Comparable.of(left, "left")
    other = one if right is None else Comparable.of(right, "right")
    if left.shape[1] != other.values.shape[1]:
        raise ValueError(
            f"left has {left.shape[1]} columns, right {other.values.shape[1]}: were they made by the same model?"
        )
    yield from alike(one, None if right is None else other, threshold, block)


@dataclass(frozen=True)
class Comparable:
    """Vectors ready to be compared: `values` (n, d) as they came, `unit` the same at length 1 in float32."""

    values: Vectors
    unit: NDArray[np.float32]

    @classmethod
    def of(cls, vectors: Vectors, name: str = "vectors") -> Comparable:
        """Scales the vectors. Raises ValueError, naming the row, for zeros, NaN or infinity."""
        return cls(vectors, unit_rows(vectors, name))

    def __getitem__(self, rows: slice) -> Comparable:
        return Comparable(self.values[rows], self.unit[rows])

    def __len__(self) -> int:
        return len(self.values)


def alike(
    left: Comparable, right: Comparable | None, threshold: float, block: int = BLOCK, first: int | None = None
) -> Iterator[Pairs]:
    """Yields the pairs (i of left, j of right, cosine) at or over the threshold, in parts of bounded size; with `right` None those of left with i < j.

    `first`: only the first so many rows of left are i. A block of rows meets `_COLUMNS` columns at a time: square blocks on the diagonal of a
    triangle would compute more of it twice.
    """
    other = left if right is None else right
    end, width = len(left) if first is None else first, max(block, _COLUMNS)
    bound = np.float32(threshold - MARGIN)
    room = np.empty(min(block, end) * min(width, len(other)), dtype=np.float32)
    for a in range(0, end, block):
        rows = left.unit[a : min(a + block, end)]
        for b in range(a if right is None else 0, len(other), width):
            columns = other.unit[b : b + width]
            scores = room[: len(rows) * len(columns)].reshape(len(rows), len(columns))
            np.matmul(rows, columns.T, out=scores)
            if right is None and a == b:
                np.fill_diagonal(scores, -1)
            # Most rows have nothing alike, and the largest of a row is found faster than all that pass a bound.
            some = np.flatnonzero(scores.max(axis=1) >= bound)
            i, j = np.nonzero(scores[some] >= bound)
            i, j = some[i] + a, j + b
            if right is None:
                i, j = i[i < j], j[i < j]
            yield from decided(left.values, other.values, (i, j), threshold)


def cosines(a: Vectors, b: Vectors) -> NDArray[np.float64]:
    """Computes the cosine of each row of a with the same row of b, in float64. Shapes (p, d); returns shape (p,).

    The same two rows give the same bits in any batch and in either order; equal rows give exactly 1.
    """
    return np.asarray(row_dots(a, b) / np.sqrt(row_dots(a, a) * row_dots(b, b)))


def row_dots(a: Vectors, b: Vectors) -> NDArray[np.float64]:
    """Computes the dot product of each row of a with the same row of b, in float64. Shapes (p, d); returns shape (p,).

    The order of addition depends on d alone, so the rows around a row don't change its result.
    """
    # Not a BLAS product, whose order of addition depends on the block, nor einsum, whose loop does.
    out = np.empty(len(a))
    one, other = np.empty((2, min(len(a), _DOT_ROWS), a.shape[1]))
    for at in range(0, len(a), _DOT_ROWS):
        x, y = one[: len(a) - at], other[: len(a) - at]
        x[...], y[...] = a[at : at + _DOT_ROWS], b[at : at + _DOT_ROWS]
        np.multiply(x, y, out=x).sum(axis=1, out=out[at : at + _DOT_ROWS])
    return out


def paired_dots(a: Vectors, b: Vectors, i: NDArray[np.int64], j: NDArray[np.int64]) -> NDArray[np.float64]:
    """Computes `row_dots` of rows i[p] of a with rows j[p] of b, for any number of pairs in bounded memory.

    Shape (p,).
    """
    out = np.empty(i.size)
    for part in _parts(i.size, a.shape[1]):
        out[part] = row_dots(a[i[part]], b[j[part]])
    return out


def decided(left: Vectors, right: Vectors, found: tuple[NDArray[np.int64], ...], threshold: float) -> Iterator[Pairs]:
    """Yields of proposed pairs (i of left, j of right) those at or over the threshold with their cosine, in float64, in parts of bounded size.

    A pair's cosine is the same bits whoever has proposed it, and whatever beside it.
    """
    i, j = found
    for part in _parts(i.size, left.shape[1]):
        cosine = _paired(left, right, i[part], j[part])
        cosine /= np.sqrt(_squares(left, i[part]) * _squares(right, j[part]))
        over = cosine >= threshold
        if over.any():
            yield i[part][over], j[part][over], cosine[over]


def unit_rows(vectors: Vectors, name: str = "vectors", first_row: int = 0) -> NDArray[np.float32]:
    """Scales each row of an (n, d) array to length 1, as float32, right to about 1e-6. Raises ValueError for zeros, NaN or infinity.

    The error names the array and the row, counted from `first_row` where the array is a slice of a longer one.
    """
    if vectors.ndim != 2:
        raise ValueError(f"{name} must have two dimensions (rows, columns), not {vectors.ndim}.")
    unit = _float32(vectors)
    squares = np.einsum("ij,ij->i", unit, unit)
    # Written so that NaN is odd.
    odd = np.flatnonzero(~((squares > _SAFE[0]) & (squares < _SAFE[1])))
    squares[odd] = 1
    unit *= (1 / np.sqrt(squares))[:, None]
    for part in _parts(odd.size, vectors.shape[1]):
        rows = odd[part]
        lengths = np.sqrt(row_dots(vectors[rows], vectors[rows]))
        bad = np.flatnonzero(~(np.isfinite(lengths) & (lengths > 0)))
        if bad.size:
            raise directionless(name, first_row + int(rows[bad[0]]), float(lengths[bad[0]]))
        unit[rows] = vectors[rows] / lengths[:, None]
    return unit


def directionless(name: str, row: int, length: float) -> ValueError:
    """Makes the error for a row of an array that has no direction, by its length: 0, NaN or infinity."""
    what = "is all zeros" if length == 0 else "holds NaN or infinity"
    return ValueError(f"{name}: row {row} {what}. Give such rows a reason and leave them out before comparing.")


def _float32(vectors: Vectors) -> NDArray[np.float32]:
    """Casts to float32; half floats by their bits, several times as fast as numpy. NaN and infinity of these come out as 65,536 and more."""
    if vectors.dtype != np.float16:
        return vectors.astype(np.float32)
    bits = np.empty(vectors.shape, dtype=np.int32)
    for at in range(0, len(vectors), BLOCK):
        part = bits[at : at + BLOCK]
        part[...] = vectors[at : at + BLOCK].view(np.int16)
        np.left_shift(part, 13, out=part)
        np.bitwise_and(part, _HALF_BITS, out=part)
        np.multiply(part.view(np.float32), _HALF_SCALE, out=part.view(np.float32))
    return bits.view(np.float32)


def collapse_identical(vectors: Vectors) -> NDArray[np.int64]:
    """Finds for each row of an (n, d) array the first row with exactly the same values (itself, if first). Shape (n,).

    Compare only the rows that give themselves, and give each other row the fate of its representative (not just an edge
    to it: once the representative is removed, such a row would look kept). With rows in priority order this changes no
    survivor.
    """
    if vectors.size == 0:
        return np.zeros(len(vectors), dtype=np.int64)
    # Adding zero turns -0.0 into 0.0, which equals it but has other bytes.
    plain = np.ascontiguousarray(vectors + vectors.dtype.type(0))
    rows = plain.view(np.dtype((np.void, plain.shape[1] * plain.itemsize))).ravel()
    _, first, group = np.unique(rows, return_index=True, return_inverse=True)
    return np.asarray(first[group].astype(np.int64))


def _squares(vectors: Vectors, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """The squared lengths of these rows, each computed once."""
    each, place = np.unique(rows, return_inverse=True)
    return np.asarray(_paired(vectors, vectors, each, each)[place])


def _paired(left: Vectors, right: Vectors, i: NDArray[np.int64], j: NDArray[np.int64]) -> NDArray[np.float64]:
    """`row_dots` of rows i[p] of left with rows j[p] of right, finite ones, few at a time."""
    out = np.empty(i.size)
    for at in range(0, i.size, _DOT_ROWS):
        few = slice(at, at + _DOT_ROWS)
        out[few] = row_dots(_exact(left[i[few]]), _exact(right[j[few]]))
    return out


def _exact(vectors: Vectors) -> Vectors:
    """The same values, finite ones, in a type that is faster to reckon with than half floats."""
    return _float32(vectors) if vectors.dtype == np.float16 else vectors


def _parts(count: int, dim: int) -> Iterator[slice]:
    step = max(1, _EXACT_VALUES // max(1, dim))
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))
