"""Rows of vectors packed for the shuffle: all rows of a chunk that go to one cell travel as one row, their vectors end to end.

A row goes to its home cell and to its guest cells. A cell too large for one task is cut into blocks by a hash of the item id, and each pair of
blocks is a task of its own.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from udfs.cells import Cells, CellSearch
from udfs.embedding import half_rows

TASK = ("cell", "side", "left", "right")
PACKED_DDL = (
    "cell int, side string, left int, right int, part int, counts array<int>, ids array<string>, others binary, "
    "vectors binary"
)
# What a row is in a cell, in the order in which a packed row holds them: new rows are compared with all, old ones with new ones alone.
NEW_HOME, OLD_HOME, NEW_GUEST, OLD_GUEST = range(4)
KINDS = 4
# Vectors that a worker collects before it packs, and those of one batch on its way out, in bytes.
CHUNK = 96 << 20
_SENT = 32 << 20
# Entries (a row in a task) at a time: a row of a cell in many blocks is in as many tasks. About 100 bytes each while they are sorted.
_ENTRIES = 1 << 20


@dataclass(frozen=True)
class Packing:
    """How rows are placed: the cells, how many nearest cells a row goes to, the threshold its pairs must reach, the columns of a vector, and into how
    many blocks large cells (side, cell) are cut."""

    cells: Cells
    probes: int
    threshold: float
    blocks: Mapping[tuple[str, int], int] = field(default_factory=dict)

    @property
    def dim(self) -> int:
        """Numbers in a vector."""
        return int(self.cells.fine.shape[1])


@dataclass(frozen=True)
class _Entries:
    """Rows as they go to tasks, an array element each: the row, its task (cell, side, left, right, part), its kind, and the other cells it is in."""

    row: NDArray[np.int64]
    task: NDArray[np.int64]
    kind: NDArray[np.int64]
    others: NDArray[np.int32]

    def take(self, which: NDArray[np.int64]) -> _Entries:
        return _Entries(self.row[which], self.task[which], self.kind[which], self.others[which])


def packed(batches: Iterable[pa.RecordBatch], packing: Packing) -> Iterator[pa.RecordBatch]:
    """Packs rows (item_id, side, old, vector) by task, as PACKED_DDL. Holds CHUNK bytes of vectors at a time, and a few times that while it packs.

    Raises ValueError, naming the row, for a vector that is missing, of another dimension, of zeros or not finite: give such rows a reason before.
    """
    search = CellSearch(packing.cells, packing.probes, packing.threshold)
    held: list[pa.RecordBatch] = []
    for batch in batches:
        held.append(batch)
        if sum(one.num_rows for one in held) * packing.dim * 2 >= CHUNK:
            yield from _packed_chunk(held, packing, search)
            held = []
    if held:
        yield from _packed_chunk(held, packing, search)


def _packed_chunk(held: list[pa.RecordBatch], packing: Packing, search: CellSearch) -> Iterator[pa.RecordBatch]:
    rows = pa.Table.from_batches(held).combine_chunks()
    if rows.num_rows == 0:
        return
    vectors = half_rows(rows.column("vector"), packing.dim)
    ids = rows.column("item_id").combine_chunks().cast(pa.string())
    side = rows.column("side").combine_chunks().dictionary_encode()
    old = np.asarray(rows.column("old").combine_chunks().to_numpy(zero_copy_only=False), dtype=np.int64)
    entries = _entries(search.place(vectors).cells, old)
    entries.task[:, 1] = np.asarray(side.indices)[entries.row]
    for part in _in_blocks(entries, side.dictionary.to_pylist(), ids, packing.blocks):
        yield from _sent(part.take(_by_task(part)), vectors, ids, side.dictionary)


def _entries(cells: NDArray[np.int32], old: NDArray[np.int64]) -> _Entries:
    """Lists the home and guest rows; tasks hold the cell alone so far."""
    probes = cells.shape[1]
    row, place = np.nonzero(cells >= 0)
    others = np.full((row.size, max(1, probes - 1)), -1, dtype=np.int32)
    home = place == 0
    if probes > 1:
        others[home] = cells[row[home], 1:]
    others[~home, 0] = cells[row[~home], 0]
    task = np.zeros((row.size, 5), dtype=np.int64)
    task[:, 0] = cells[row, place]
    return _Entries(row, task, old[row] + 2 * (place > 0), others)


def _in_blocks(
    entries: _Entries, sides: list[str], ids: pa.Array, blocks: Mapping[tuple[str, int], int]
) -> Iterator[_Entries]:
    """Yields the rows of whole cells, then, a bounded number at a time, those of cells in blocks: repeated for each pair of blocks that theirs is in."""
    number = {name: i for i, name in enumerate(sides)}
    cut: list[tuple[_Entries, int]] = []
    whole = np.ones(entries.row.size, dtype=np.bool_)
    for (name, cell), count in sorted(blocks.items()):
        if count > 1 and name in number:
            mine = np.flatnonzero((entries.task[:, 0] == cell) & (entries.task[:, 1] == number[name]))
            whole[mine] = False
            cut.append((entries.take(mine), count))
    if whole.any():
        yield entries.take(np.flatnonzero(whole))
    for part, count in cut:
        if part.row.size:
            yield from _pairs_of_blocks(part, ids, count)


def _pairs_of_blocks(entries: _Entries, ids: pa.Array, count: int) -> Iterator[_Entries]:
    """Repeats rows for each block that theirs is compared with; all of one such block come together, so that no task's rows are torn further."""
    names = ids.take(pa.array(entries.row)).to_pylist()
    block = np.array([zlib.crc32(name.encode()) % count for name in names], dtype=np.int64)
    at_once = max(1, _ENTRIES // entries.row.size)
    for first in range(0, count, at_once):
        others = np.arange(first, min(first + at_once, count))
        made = entries.take(np.tile(np.arange(entries.row.size), others.size))
        mine, other = np.tile(block, others.size), np.repeat(others, entries.row.size)
        made.task[:, 2], made.task[:, 3], made.task[:, 4] = np.minimum(mine, other), np.maximum(mine, other), mine
        yield made


def _by_task(entries: _Entries) -> NDArray[np.int64]:
    """Orders by task, then by kind: one number a row is sorted several times as fast as six."""
    key = entries.task[:, 0].copy()
    for column in (*entries.task.T[1:], entries.kind):
        key = key * (int(column.max()) + 1) + column
    return np.argsort(key, kind="stable")


def _sent(entries: _Entries, vectors: NDArray[np.float16], ids: pa.Array, sides: pa.Array) -> Iterator[pa.RecordBatch]:
    """Yields one row for each task and part of it, in batches of bounded size."""
    first = np.flatnonzero(np.concatenate([[True], (np.diff(entries.task, axis=0) != 0).any(axis=1)]))
    bounds = np.append(first, entries.row.size)
    size = 2 * vectors.shape[1]
    at = 0
    while at < first.size:
        # At least one task, as many as fit.
        end = max(at + 1, int(np.searchsorted(bounds, bounds[at] + _SENT // size, side="right")) - 1)
        which = slice(int(bounds[at]), int(bounds[end]))
        cut = bounds[at : end + 1] - bounds[at]
        task = entries.task[first[at:end]]
        rows = entries.row[which]
        kinds = np.repeat(np.arange(end - at) * KINDS, np.diff(cut)) + entries.kind[which]
        counts = np.bincount(kinds, minlength=(end - at) * KINDS).astype(np.int32)
        columns = {
            "cell": pa.array(task[:, 0], pa.int32()),
            "side": sides.take(pa.array(task[:, 1])),
            **{name: pa.array(task[:, 2 + i], pa.int32()) for i, name in enumerate(("left", "right", "part"))},
            "counts": _lists(pa.array(counts), np.arange(end - at + 1) * KINDS),
            "ids": _lists(ids.take(pa.array(rows)), cut),
            "others": _blobs(entries.others[which], cut),
            "vectors": _blobs(vectors[rows], cut),
        }
        yield pa.RecordBatch.from_pydict(columns)
        at = end


def _lists(values: pa.Array, cut: NDArray[np.int64]) -> pa.Array:
    return pa.ListArray.from_arrays(pa.array(cut, pa.int32()), values)


def _blobs(rows: NDArray[np.generic], cut: NDArray[np.int64]) -> pa.Array:
    """Makes one binary value of each run of rows, without a copy."""
    width = rows.shape[1] * rows.itemsize
    offsets = pa.py_buffer((cut * width).astype(np.int32))
    return pa.BinaryArray.from_buffers(pa.binary(), len(cut) - 1, [None, offsets, pa.py_buffer(rows)])
