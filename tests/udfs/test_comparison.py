"""Semantic dedup in a worker: a row goes to its nearest clusters, and what pairs it is in hangs on no order and no batch."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from udfs.comparison import EDGES_DDL, PLACED_DDL, brute_pairs, compared, placed
from udfs.embedding import to_binary

# Directions in a plane: at this cosine two rows are alike up to 25 degrees apart.
THRESHOLD = 0.9
ALIKE = 25
Edge = tuple[str, str, float]
plane = st.dictionaries(st.sampled_from("abcdefgh"), st.sampled_from(range(0, 360, 10)), min_size=1)


def unit(degrees: list[int]) -> np.ndarray:
    return np.column_stack([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))]).astype(np.float32)


def batch(directions: dict[str, int], side: str = "text") -> pa.RecordBatch:
    vectors = pa.array(to_binary(unit(list(directions.values()))), pa.binary())
    ids, sides = pa.array(list(directions), pa.string()), pa.array([side] * len(directions), pa.string())
    return pa.RecordBatch.from_arrays([ids, sides, vectors], names=["item_id", "side", "vector"])


def alike(directions: dict[str, int]) -> set[tuple[str, str]]:
    between = {(a, b): abs(directions[a] - directions[b]) for a in directions for b in directions if a < b}
    return {pair for pair, degrees in between.items() if min(degrees, 360 - degrees) <= ALIKE}


def names(ddl: str) -> list[str]:
    return [column.split()[0] for column in ddl.split(", ")]


def edges(rows: pd.DataFrame) -> list[Edge]:
    return [(a, b, cosine) for a, b, cosine in rows[["a_id", "b_id", "cosine"]].itertuples(index=False)]


def brute(rows: pa.RecordBatch, sample: pa.RecordBatch) -> list[Edge]:
    return edges(brute_pairs(rows, sample.to_pydict(), THRESHOLD).to_pandas())


def test_a_row_stands_once_in_each_of_its_nearest_clusters() -> None:
    centroids = unit([0, 90, 180])
    made = placed(batch({"a": 10, "b": 80}, "question"), centroids, 2)
    assert made.schema.names == names(PLACED_DDL)
    assert made.column("item_id").to_pylist() == ["a", "a", "b", "b"]
    assert made.column("cluster").to_pylist() == [0, 1, 1, 0]
    assert set(made.column("side").to_pylist()) == {"question"}
    assert made.column("vector").to_pylist() == [v for v in to_binary(unit([10, 80])) for _ in range(2)]


def test_there_are_never_more_copies_than_clusters() -> None:
    assert placed(batch({"a": 10}), unit([0, 90]), 9).column("cluster").to_pylist() == [0, 1]


def test_a_part_of_a_batch_and_an_empty_one_are_placed_too() -> None:
    rows, centroids = batch({"a": 10, "b": 80, "c": 170}), unit([0, 90, 180])
    assert placed(rows.slice(1, 1), centroids, 1).to_pydict() == placed(batch({"b": 80}), centroids, 1).to_pydict()
    empty = placed(rows.slice(0, 0), centroids, 2)
    assert (empty.num_rows, empty.schema) == (0, placed(rows, centroids, 2).schema)


@given(plane, st.integers(0, 1000))
def test_a_cluster_gives_each_alike_pair_once_the_smaller_id_first(directions: dict[str, int], seed: int) -> None:
    rows = batch(directions).to_pandas()
    found = compared(rows, THRESHOLD)
    assert list(found.columns) == names(EDGES_DDL)
    assert {(a, b) for a, b, _ in edges(found)} == alike(directions)
    assert len(found) == len(alike(directions))
    shuffled = rows.sample(frac=1, random_state=seed)
    assert sorted(edges(compared(shuffled, THRESHOLD))) == sorted(edges(found))


def test_a_pair_on_the_threshold_counts() -> None:
    twins = batch({"a": 40, "b": 40, "c": 50}).to_pandas()
    assert edges(compared(twins, 1.0)) == [("a", "b", 1.0)]


@given(plane, st.integers(0, 8), st.integers(0, 8))
def test_brute_force_finds_the_clusters_pairs_to_the_last_bit_for_any_batches(
    directions: dict[str, int], cut: int, sampled: int
) -> None:
    rows = batch(directions)
    sample = rows.slice(0, max(1, sampled))
    found = brute(rows.slice(0, cut), sample) + brute(rows.slice(cut), sample)
    mine = set(sample.column("item_id").to_pylist())
    every = edges(compared(rows.to_pandas(), THRESHOLD))
    assert set(found) == {edge for edge in every if mine & set(edge[:2])}


def test_a_row_is_no_pair_of_itself_and_sides_are_never_compared() -> None:
    rows = batch({"a": 40, "b": 40})
    assert brute(rows, batch({"a": 40})) == [("a", "b", 1.0)]
    assert brute(rows, batch({"q": 40}, "question")) == []


@pytest.mark.parametrize("rows", [batch({"a": 0}), batch({})])
def test_no_pair_is_an_empty_table_of_the_same_columns(rows: pa.RecordBatch) -> None:
    made = brute_pairs(rows, batch({"z": 180}).to_pydict(), THRESHOLD)
    assert (made.num_rows, made.schema.names) == (0, names(EDGES_DDL))
    assert made.schema.types == [pa.string(), pa.string(), pa.float64()]
