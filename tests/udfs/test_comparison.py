"""Semantic dedup in a worker: what pairs a row is in hangs on its cells alone, on no order, no batch and no block."""

from __future__ import annotations

import importlib.util

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from udfs.cells import Cells, CellSearch
from udfs.comparison import CPU, TRUTH_DDL, Comparer, brute_pairs, compared, unsound
from udfs.embedding import half_rows, to_binary
from udfs.packing import TASK, Packing, packed

# Directions in a plane: at this cosine two rows are alike up to 25 degrees apart.
THRESHOLD = 0.9
ALIKE = 25
Edge = tuple[str, str, float]
plane = st.dictionaries(st.sampled_from("abcdefgh"), st.sampled_from(range(0, 360, 10)), min_size=1)


def unit(degrees: list[int]) -> np.ndarray:
    return np.column_stack([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))]).astype(np.float32)


def batch(
    directions: dict[str, int], side: str = "text", old: set[str] | frozenset[str] = frozenset()
) -> pa.RecordBatch:
    vectors = pa.array(to_binary(unit(list(directions.values()))), pa.binary())
    ids, sides = pa.array(list(directions), pa.string()), pa.array([side] * len(directions), pa.string())
    olds = pa.array([name in old for name in directions], pa.bool_())
    return pa.RecordBatch.from_arrays([ids, sides, olds, vectors], names=["item_id", "side", "old", "vector"])


def alike(directions: dict[str, int]) -> set[tuple[str, str]]:
    between = {(a, b): abs(directions[a] - directions[b]) for a in directions for b in directions if a < b}
    return {pair for pair, degrees in between.items() if min(degrees, 360 - degrees) <= ALIKE}


def names(ddl: str) -> list[str]:
    return [column.split()[0] for column in ddl.split(", ")]


def edges(rows: pd.DataFrame) -> list[Edge]:
    return [(a, b, cosine) for a, b, cosine in rows[["a_id", "b_id", "cosine"]].itertuples(index=False)]


def brute(rows: pa.RecordBatch, sample: pa.RecordBatch) -> list[Edge]:
    return edges(brute_pairs(rows, sample.to_pydict(), THRESHOLD).to_pandas())


def packing(centres: list[int], probes: int, blocks: dict[tuple[str, int], int] | None = None) -> Packing:
    halves = unit(centres).astype(np.float16)
    return Packing(Cells(halves[:1], halves, np.zeros(len(halves), np.int32)), probes, THRESHOLD, blocks or {})


def by_task(rows: pa.RecordBatch, plan: Packing) -> list[pa.RecordBatch]:
    """The packed rows of each task, as the shuffle brings them together."""
    table = pa.Table.from_batches(list(packed([rows], plan))).to_pandas()
    schema = next(packed([rows], plan)).schema
    parts = [part for _, part in table.groupby(list(TASK))]
    return [pa.RecordBatch.from_pandas(part, schema, preserve_index=False) for part in parts]


def found(rows: pa.RecordBatch, plan: Packing, by: Comparer = CPU) -> list[Edge]:
    tasks = by_task(rows, plan) if rows.num_rows else []
    parts = [part for task in tasks for part in compared([task], 2, THRESHOLD, by)]
    return [edge for part in parts for edge in edges(part.to_pandas())]


@given(plane, st.integers(1, 3), st.integers(0, 1000), st.integers(1, 3))
def test_alike_pairs_that_share_a_cell_come_once_the_smaller_id_first(
    directions: dict[str, int], probes: int, seed: int, count: int
) -> None:
    centres = np.random.default_rng(seed).integers(0, 360, 5).tolist()
    plan = packing(centres, probes, {("text", cell): count for cell in range(5)})
    rows = batch(directions)
    cells = CellSearch(plan.cells, probes, THRESHOLD).place(half_rows(rows.column("vector"), 2)).cells
    home = dict(zip(directions, cells[:, 0].tolist(), strict=True))
    mine = {name: set(row) - {-1} for name, row in zip(directions, cells.tolist(), strict=True)}
    meet = {(a, b) for a, b in alike(directions) if home[a] in mine[b] or home[b] in mine[a]}
    made = found(rows, plan)
    assert sorted((a, b) for a, b, _ in made) == sorted(meet)
    order = np.random.default_rng(seed).permutation(rows.num_rows)
    assert sorted(found(rows.take(pa.array(order)), plan)) == sorted(made)


@given(plane, st.sets(st.sampled_from("abcdefgh")), st.integers(0, 1000), st.integers(1, 3))
def test_old_rows_are_compared_with_new_ones_alone(
    directions: dict[str, int], old: set[str], seed: int, count: int
) -> None:
    centres = np.random.default_rng(seed).integers(0, 360, 4).tolist()
    plan = packing(centres, 2, {("text", cell): count for cell in range(4)})
    every = found(batch(directions), plan)
    assert sorted(found(batch(directions, old=old), plan)) == sorted(e for e in every if not set(e[:2]) <= old)


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs torch: pip install 'boostqa[embed]'")
@given(plane, st.sets(st.sampled_from("abcdefgh")), st.integers(0, 1000), st.integers(1, 3))
def test_half_precision_gives_the_same_edges(directions: dict[str, int], old: set[str], seed: int, count: int) -> None:
    from udfs.device_similarity import DeviceSimilarity

    centres = np.random.default_rng(seed).integers(0, 360, 4).tolist()
    plan, rows = packing(centres, 2, {("text", cell): count for cell in range(4)}), batch(directions, old=old)
    assert sorted(found(rows, plan, DeviceSimilarity("cpu", 3))) == sorted(found(rows, plan))


@given(plane)
def test_one_cell_gives_every_alike_pair(directions: dict[str, int]) -> None:
    made = found(batch(directions), packing([0], 2))
    assert {(a, b) for a, b, _ in made} == alike(directions)
    assert len(made) == len(alike(directions))


def test_a_pair_on_the_threshold_counts() -> None:
    (task,) = by_task(batch({"a": 40, "b": 40, "c": 50}), packing([0], 1))
    made = [edge for part in compared([task], 2, 1.0) for edge in edges(part.to_pandas())]
    assert made == [("a", "b", 1.0)]


def test_many_pairs_come_in_batches() -> None:
    directions = {f"id-{i:03}": 40 for i in range(700)}
    sizes = [part.num_rows for task in by_task(batch(directions), packing([0], 1)) for part in compared([task], 2, 0.9)]
    assert sum(sizes) == 700 * 699 // 2
    assert len(sizes) > 1


def test_what_can_not_be_compared_has_a_reason() -> None:
    good = np.array([0.6, 0.8], "<f2").tobytes()
    strange = [np.array(values, "<f2").tobytes() for values in ([np.nan, 1], [np.inf, 0], [0, -0.0], [1, 0, 0])]
    made = unsound(pa.array([good, *strange, None, b"", good], pa.binary()), 2)
    wrong = "wrong_dimension"
    assert made.tolist() == ["", "not_finite", "not_finite", "zero_vector", wrong, "no_vector", wrong, ""]
    assert unsound(pa.array([], pa.binary()), 2).tolist() == []


@given(plane, st.integers(0, 8), st.integers(0, 8))
def test_brute_force_finds_the_clusters_pairs_to_the_last_bit_for_any_batches(
    directions: dict[str, int], cut: int, sampled: int
) -> None:
    rows = batch(directions)
    sample = rows.slice(0, max(1, sampled))
    truth = brute(rows.slice(0, cut), sample) + brute(rows.slice(cut), sample)
    mine = set(sample.column("item_id").to_pylist())
    every = found(rows, packing([0], 1))
    assert set(truth) == {edge for edge in every if mine & set(edge[:2])}
    # A pair of two sampled rows comes once for each.
    assert len(truth) == sum(len(mine & set(edge[:2])) for edge in every)


def test_a_row_is_no_pair_of_itself_and_sides_are_never_compared() -> None:
    rows = batch({"a": 40, "b": 40})
    assert brute(rows, batch({"a": 40})) == [("a", "b", 1.0)]
    assert brute(rows, batch({"q": 40}, "question")) == []


@pytest.mark.parametrize("rows", [batch({"a": 0}), batch({})])
def test_no_pair_is_an_empty_table_of_the_same_columns(rows: pa.RecordBatch) -> None:
    made = brute_pairs(rows, batch({"z": 180}).to_pydict(), THRESHOLD)
    assert (made.num_rows, made.schema.names) == (0, names(TRUTH_DDL))
    assert made.schema.types == [pa.string(), pa.string(), pa.string(), pa.float64()]
