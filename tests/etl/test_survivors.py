"""Survivors by joins alone equal going through the rows one by one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pytest

from etl.survivors import removed_rows
from udfs.survivors import greedy_survivors

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from etl.tables import Tables

Edge = tuple[str, str, float]
Removed = dict[str, tuple[str, float]]


def name(graph: int, node: int) -> str:
    return f"g{graph:02}-n{node:02}"


def random_graphs(seed: int, count: int = 40) -> tuple[list[Edge], dict[str, float]]:
    """Many small graphs that do not touch each other: one Spark job tries them all. Priorities have ties."""
    rng = np.random.default_rng(seed)
    edges, priority = {}, {}
    for graph in range(count):
        n = int(rng.integers(2, 12))
        priority.update({name(graph, node): float(rng.integers(0, 4)) for node in range(n)})
        for _ in range(int(rng.integers(1, 2 * n))):
            a, b = sorted(rng.choice(n, 2, replace=False).tolist())
            edges[name(graph, a), name(graph, b)] = float(rng.choice([0.9, 0.95, 1.0]))
    return [(a, b, cosine) for (a, b), cosine in edges.items()], priority


def one_by_one(edges: list[Edge], priority: dict[str, float]) -> Removed:
    ids = sorted(priority, key=lambda item: (priority[item], item))
    number = {item: i for i, item in enumerate(ids)}
    a, b = (np.array([number[edge[side]] for edge in edges], dtype=np.int64) for side in (0, 1))
    cosine = np.array([edge[2] for edge in edges])
    kept_of = greedy_survivors(a, b, np.arange(len(ids)), len(ids), cosine)
    by_pair = {frozenset((one, other)): value for one, other, value in edges}
    gone = [(ids[i], ids[int(j)]) for i, j in enumerate(kept_of) if i != j]
    return {item: (keeper, by_pair[frozenset((item, keeper))]) for item, keeper in gone}


def by_joins(tables: Tables, edges: list[Edge], priority: dict[str, float], max_driver_edges: int) -> Removed:
    spark = tables.spark
    pairs = spark.createDataFrame(edges, "a_id string, b_id string, cosine double")
    ranks = spark.createDataFrame(sorted(priority.items()), "item_id string, priority double")
    rows = removed_rows(tables, pairs, ranks, max_driver_edges).collect()
    assert len(rows) == len({row["item_id"] for row in rows})
    return {row["item_id"]: (row["kept_id"], row["cosine"]) for row in rows}


@pytest.mark.parametrize(("seed", "max_driver_edges"), [(1, 0), (2, 0), (3, 20), (4, 10_000)])
def test_random_graphs_equal_the_sequential_answer(
    scratch_tables: Callable[[], Tables], seed: int, max_driver_edges: int
) -> None:
    edges, priority = random_graphs(seed)
    expected = one_by_one(edges, priority)
    assert expected
    assert by_joins(scratch_tables(), edges, priority, max_driver_edges) == expected


def test_a_chain_keeps_every_other_row(scratch_tables: Callable[[], Tables]) -> None:
    edges = [(name(0, i), name(0, i + 1), 0.95) for i in range(8)]
    priority = {name(0, i): float(i) for i in range(9)}
    removed = by_joins(scratch_tables(), edges, priority, 0)
    assert removed == {name(0, i): (name(0, i - 1), 0.95) for i in (1, 3, 5, 7)}


def test_the_best_row_stays_and_its_nearest_keeper_is_named(scratch_tables: Callable[[], Tables]) -> None:
    edges = [("a", "c", 0.91), ("b", "c", 0.97), ("c", "d", 0.99)]
    removed = by_joins(scratch_tables(), edges, {"a": 0.0, "b": 1.0, "c": 2.0, "d": 3.0}, 0)
    assert removed == {"c": ("b", 0.97)}


def test_no_edges_remove_nothing(scratch_tables: Callable[[], Tables], spark: SparkSession) -> None:
    assert by_joins(scratch_tables(), [], {"a": 0.0}, 0) == {}


@pytest.mark.parametrize("bound", [0, 100])
def test_an_edge_with_a_row_that_is_out_removes_nothing(scratch_tables: Callable[[], Tables], bound: int) -> None:
    edges = [("a", "gone", 0.99), ("gone", "b", 0.98), ("b", "c", 0.97)]
    assert by_joins(scratch_tables(), edges, {"a": 0.0, "b": 1.0, "c": 2.0}, bound) == {"c": ("b", 0.97)}
