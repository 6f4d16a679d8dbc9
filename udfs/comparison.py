"""The worker's side of semantic dedup: which vectors can be compared at all, and which pairs of one cell are alike."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from udfs.embedding import half_rows
from udfs.packing import KINDS, NEW_GUEST, NEW_HOME, OLD_GUEST, OLD_HOME
from udfs.similarity import Comparable, Pairs, Vectors, alike, pairs_over

EDGES_DDL = "a_id string, b_id string, cosine double"
TRUTH_DDL = f"drawn_id string, {EDGES_DDL}"
# Pairs of one batch on its way out.
_SENT = 1 << 16
_EXPONENT, _NOT_SIGN = 0x7C00, 0x7FFF


def unsound(vectors: pa.Array, dim: int) -> NDArray[np.object_]:
    """Says why vectors (binary, little-endian float16) can not be compared: no_vector, wrong_dimension, not_finite, zero_vector; nothing where they can.

    Shape (n,).
    """
    lengths = pc.binary_length(vectors).fill_null(-1).to_numpy(zero_copy_only=False)
    reason = np.full(len(vectors), "", dtype=object)
    reason[lengths != 2 * dim] = "wrong_dimension"
    reason[lengths < 0] = "no_vector"
    whole = np.flatnonzero(lengths == 2 * dim)
    bits = half_rows(vectors if whole.size == len(vectors) else vectors.take(pa.array(whole)), dim).view("<u2")
    reason[whole[((bits & _EXPONENT) == _EXPONENT).any(axis=1)]] = "not_finite"
    reason[whole[~(bits & _NOT_SIGN).any(axis=1)]] = "zero_vector"
    return reason


class Comparer(Protocol):
    """Finds the pairs of vectors at or over a threshold: as `udfs.similarity` does, whatever makes the products."""

    def ready(self, vectors: Vectors) -> Any:
        """Makes vectors (n, d) ready: what comes back has a length, and slices."""
        ...

    def alike(self, left: Any, right: Any, threshold: float, first: int | None = None) -> Iterator[Pairs]:
        """Yields what `udfs.similarity.alike` yields, of what was made ready."""
        ...


class _Cpu:
    """The CPU, by float32."""

    def ready(self, vectors: Vectors) -> Comparable:
        return Comparable.of(vectors)

    def alike(self, left: Any, right: Any, threshold: float, first: int | None = None) -> Iterator[Pairs]:
        return alike(left, right, threshold, first=first)


CPU: Comparer = _Cpu()


def comparer(device: str) -> Comparer:
    """Chooses by a device of torch: a GPU (`cuda:0`) by half precision; anything else is the CPU."""
    if not device.startswith("cuda"):
        return CPU
    from udfs.device_similarity import DeviceSimilarity

    return DeviceSimilarity(device)


def compared(
    batches: Iterable[pa.RecordBatch], dim: int, threshold: float, by: Comparer = CPU
) -> Iterator[pa.RecordBatch]:
    """Yields the pairs of one task (packed rows of one cell, or of two of its blocks) at or over the threshold as EDGES_DDL, smaller id first.

    Home rows are compared with all rows, guests with home rows alone, and old rows never with old ones. A pair that two cells see is given by the
    one of the lower number. Memory is that of the vectors in float16 and float32 (on a GPU: float16), and of a bounded number of pairs.
    """
    rows = pa.Table.from_batches(batches)
    left, right, cell = (rows.column(name)[0].as_py() for name in ("left", "right", "cell"))
    if left == right:
        one, other = _block(rows, dim, by), None
    else:
        part = rows.column("part")
        one, other = (_block(rows.filter(pc.equal(part, name)), dim, by) for name in (left, right))
    held: list[pa.RecordBatch] = []
    for edges in _edges(one, other, cell, threshold, by):
        held += [edges] if edges.num_rows else []
        if sum(part.num_rows for part in held) >= _SENT:
            yield _together(held)
            held = []
    if held:
        yield _together(held)


@dataclass(frozen=True)
class _Block:
    """The rows of a cell, or of a block of it, ready for the comparer, in the order of their kinds; `ends[kind]` is where a kind ends."""

    rows: Any
    ids: pa.Array
    others: NDArray[np.int32]
    ends: tuple[int, ...]

    def span(self, first: int, last: int) -> slice:
        """The rows of the kinds from `first` to `last`."""
        return slice(0 if first == 0 else self.ends[first - 1], self.ends[last])


def _block(rows: pa.Table, dim: int, by: Comparer) -> _Block:
    if rows.num_rows == 0:
        return _Block(
            by.ready(np.empty((0, dim), np.float16)),
            pa.array([], pa.string()),
            np.empty((0, 1), np.int32),
            (0,) * KINDS,
        )
    counts = np.array(rows.column("counts").to_pylist(), dtype=np.int64).reshape(-1, KINDS)
    sizes = counts.sum(axis=1)
    # Each packed row holds its kinds in order; all rows of a kind come together.
    kind = np.repeat(np.tile(np.arange(KINDS), len(counts)), counts.ravel())
    order = np.argsort(kind, kind="stable")
    ids = pc.list_flatten(rows.column("ids")).combine_chunks().take(pa.array(order))
    vectors = np.concatenate([np.frombuffer(one.as_buffer(), "<f2") for one in rows.column("vectors")])
    others = np.concatenate([np.frombuffer(one.as_buffer(), "<i4") for one in rows.column("others")])
    n = int(sizes.sum())
    values = vectors.reshape(n, dim)[order]
    ends = tuple(accumulate(counts.sum(axis=0).tolist()))
    return _Block(by.ready(values), ids, others.reshape(n, -1)[order], ends)


def _edges(one: _Block, other: _Block | None, cell: int, threshold: float, by: Comparer) -> Iterator[pa.RecordBatch]:
    if other is None:
        for pairs in by.alike(one.rows, None, threshold, first=one.ends[NEW_HOME]):
            yield _named(one, one, pairs, cell)
        products = [(one, OLD_HOME, one, NEW_GUEST, NEW_GUEST)]
    else:
        products = [
            (one, NEW_HOME, other, NEW_HOME, OLD_GUEST),
            (one, OLD_HOME, other, NEW_HOME, NEW_HOME),
            (one, OLD_HOME, other, NEW_GUEST, NEW_GUEST),
            (other, NEW_HOME, one, NEW_GUEST, OLD_GUEST),
            (other, OLD_HOME, one, NEW_GUEST, NEW_GUEST),
        ]
    for left, kind, right, first, last in products:
        rows, columns = left.span(kind, kind), right.span(first, last)
        for i, j, cosine in by.alike(left.rows[rows], right.rows[columns], threshold):
            yield _named(left, right, (i + rows.start, j + columns.start, cosine), cell)


def _named(one: _Block, other: _Block, pairs: Pairs, cell: int) -> pa.RecordBatch:
    """Names the rows of pairs (i, a home row of `one`, with j of `other`), without those that the home cell of j sees too and gives."""
    i, j, cosine = pairs
    home = np.where(j >= other.ends[OLD_HOME], other.others[j, 0], cell)
    mine = ~((home < cell) & (one.others[i] == home[:, None]).any(axis=1))
    a, b = one.ids.take(pa.array(i[mine])), other.ids.take(pa.array(j[mine]))
    first = pc.less(a, b)
    columns = {"a_id": pc.if_else(first, a, b), "b_id": pc.if_else(first, b, a), "cosine": pa.array(cosine[mine])}
    return pa.RecordBatch.from_pydict(columns)


def _together(held: list[pa.RecordBatch]) -> pa.RecordBatch:
    return pa.Table.from_batches(held).combine_chunks().to_batches()[0]


def brute_pairs(batch: pa.RecordBatch, sample: Mapping[str, Sequence[Any]], threshold: float) -> pa.RecordBatch:
    """Compares sampled rows with all rows of a batch of their side, as TRUTH_DDL: the truth that recall is measured against.

    A pair of two sampled rows comes once for each of them.
    """
    dim = len(sample["vector"][0]) // 2
    i, j, cosine = pairs_over(half_rows(list(sample["vector"]), dim), half_rows(batch.column("vector"), dim), threshold)
    drawn = pa.array(sample["item_id"], pa.string()).take(pa.array(i))
    other = batch.column("item_id").take(pa.array(j))
    sides = pa.array(sample["side"], pa.string()).take(pa.array(i)), batch.column("side").take(pa.array(j))
    columns = {
        "drawn_id": drawn,
        "a_id": pc.min_element_wise(drawn, other),
        "b_id": pc.max_element_wise(drawn, other),
        "cosine": pa.array(cosine),
    }
    return pa.RecordBatch.from_pydict(columns).filter(pc.and_(pc.not_equal(drawn, other), pc.equal(*sides)))
