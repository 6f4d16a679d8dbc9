"""Packed rows: each row stands in its home cell and its guest cells, with its own vector, however large cells are cut."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pyarrow as pa
import pytest

from udfs import packing as module
from udfs.cells import Cells, CellSearch
from udfs.embedding import to_binary
from udfs.packing import KINDS, PACKED_DDL, TASK, Packing, packed

DIM = 16
random = np.random.default_rng(4)
CELLS = Cells(np.ones((1, DIM), np.float16), random.normal(size=(12, DIM)).astype(np.float16), np.zeros(12, np.int32))
VECTORS = random.normal(size=(500, DIM)).astype(np.float16)
VECTORS = (VECTORS / np.linalg.norm(VECTORS.astype(np.float32), axis=1, keepdims=True)).astype(np.float16)


def rows(which: range = range(500), old: bool = False) -> pa.RecordBatch:
    sides = ["text" if i % 3 else "question" for i in which]
    columns = {
        "item_id": [f"id-{i}" for i in which],
        "side": sides,
        "old": [old and i % 2 == 0 for i in which],
        "vector": pa.array(to_binary(VECTORS[list(which)]), pa.binary()),
    }
    return pa.RecordBatch.from_pydict(columns)


def unpacked(batches: list[pa.RecordBatch]) -> dict[tuple, list[tuple[str, int, tuple[int, ...], bytes]]]:
    """(cell, side, left, right, part) -> the rows there: id, kind, other cells, vector."""
    found = defaultdict(list)
    for batch in batches:
        assert batch.schema.names == [column.split()[0] for column in PACKED_DDL.split(", ")]
        for row in batch.to_pylist():
            kinds = np.repeat(np.arange(KINDS), row["counts"])
            others = np.frombuffer(row["others"], "<i4").reshape(len(kinds), -1)
            vectors = np.frombuffer(row["vectors"], "<f2").reshape(len(kinds), DIM)
            key = tuple(row[name] for name in (*TASK, "part"))
            columns = zip(row["ids"], kinds.tolist(), others.tolist(), vectors, strict=True)
            found[key] += [(name, kind, tuple(other), vector.tobytes()) for name, kind, other, vector in columns]
    return found


def expected(probes: int, old: bool = False) -> dict[tuple, list]:
    found = defaultdict(list)
    for i, cells in enumerate(CellSearch(CELLS, probes, 0.9).place(VECTORS).cells.tolist()):
        side = "text" if i % 3 else "question"
        is_old = int(old and i % 2 == 0)
        for place, cell in enumerate(cells):
            if cell >= 0:
                others = cells[1:] or [-1] if place == 0 else [cells[0], *[-1] * (probes - 2)]
                found[cell, side, 0, 0, 0].append(
                    (f"id-{i}", is_old + 2 * (place > 0), tuple(others), VECTORS[i].tobytes())
                )
    return found


def in_order(found: dict[tuple, list]) -> dict[tuple, list]:
    return {key: sorted(values) for key, values in found.items()}


@pytest.mark.parametrize("probes", [1, 2, 4])
@pytest.mark.parametrize("old", [False, True])
def test_each_row_stands_in_its_cells_with_its_own_vector(probes: int, old: bool) -> None:
    made = list(packed([rows(old=old)], Packing(CELLS, probes, 0.9)))
    assert in_order(unpacked(made)) == in_order(expected(probes, old))


def test_any_batches_and_bounds_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = Packing(CELLS, 2, 0.9)
    whole = in_order(unpacked(list(packed([rows()], plan))))
    monkeypatch.setattr(module, "CHUNK", 120 * 2 * DIM)
    monkeypatch.setattr(module, "_SENT", 25 * 2 * DIM)
    parts = [rows(range(at, min(at + 70, 500))) for at in range(0, 500, 70)]
    made = list(packed([*parts, rows().slice(0, 0)], plan))
    assert in_order(unpacked(made)) == whole
    assert len(made) > 20


def test_in_blocks_every_two_rows_of_a_cell_meet_in_one_task() -> None:
    found = unpacked(list(packed([rows()], Packing(CELLS, 2, 0.9, {("text", 3): 4, ("question", 5): 2}))))
    tasks = defaultdict(dict)
    for (cell, side, left, right, part), values in found.items():
        assert part in (left, right)
        tasks[cell, side].setdefault((left, right), []).extend((part, name) for name, *_ in values)
    whole = {key[:2]: sorted(name for name, *_ in values) for key, values in expected(2).items()}
    for key, pairs in tasks.items():
        count = {(3, "text"): 4, (5, "question"): 2}.get(key, 1)
        assert len(pairs) == count * (count + 1) // 2
        own = [name for (left, right), values in pairs.items() if left == right for _, name in values]
        assert sorted(own) == whole[key]
        met = [
            (a, b)
            for (left, right), v in pairs.items()
            for p, a in v
            for q, b in v
            if a < b and (left == right or p != q)
        ]
        assert len(met) == len(set(met)) == len(whole[key]) * (len(whole[key]) - 1) // 2


def test_few_pairs_of_blocks_at_a_time_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = Packing(CELLS, 2, 0.9, {("text", 3): 9, ("question", 5): 2})
    whole = list(packed([rows()], plan))
    monkeypatch.setattr(module, "_ENTRIES", 60)
    few = list(packed([rows()], plan))
    assert in_order(unpacked(few)) == in_order(unpacked(whole))
    # No task's rows are torn into more packed rows by that.
    assert sum(batch.num_rows for batch in few) == sum(batch.num_rows for batch in whole)
    assert len(few) > len(whole)


def test_nothing_packs_to_nothing() -> None:
    assert list(packed([], Packing(CELLS, 2, 0.9))) == []
    assert list(packed([rows().slice(0, 0)], Packing(CELLS, 2, 0.9))) == []


def test_a_vector_of_another_model_is_refused_by_row() -> None:
    short = rows().set_column(3, "vector", pa.array([b"ab"] * 500, pa.binary()))
    with pytest.raises(ValueError, match="row 0 has 2 bytes"):
        list(packed([short], Packing(CELLS, 2, 0.9)))
