"""Components by joins alone equal those of one process."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pytest

from etl.components import components
from tests.etl.test_survivors import Edge, name, random_graphs
from udfs.survivors import components as components_of

if TYPE_CHECKING:
    from etl.tables import Tables


def in_one_process(edges: list[Edge], priority: dict[str, float]) -> dict[str, tuple[str, float | None]]:
    ids = sorted(priority, key=lambda item: (priority[item], item))
    number = {item: i for i, item in enumerate(ids)}
    a, b = (np.array([number[edge[side]] for edge in edges], dtype=np.int64) for side in (0, 1))
    best = components_of(a, b, np.arange(len(ids)), len(ids))
    cosine = {frozenset(edge[:2]): edge[2] for edge in edges}
    return {ids[i]: (ids[j], cosine.get(frozenset((ids[i], ids[j])))) for i, j in enumerate(best.tolist()) if i != j}


def by_joins(
    tables: Tables, edges: list[Edge], priority: dict[str, float], bound: int
) -> tuple[dict[str, tuple[str, float | None]], int]:
    pairs = tables.spark.createDataFrame(edges, "a_id string, b_id string, cosine double")
    ranks = tables.spark.createDataFrame(sorted(priority.items()), "item_id string, priority double")
    made = components(tables, pairs, ranks, bound)
    rows = made.rows.collect()
    assert len(rows) == len({row["item_id"] for row in rows})
    return {row["item_id"]: (row["kept_id"], row["cosine"]) for row in rows}, made.rounds


@pytest.mark.parametrize("bound", [0, 1000])
def test_random_graphs_and_a_chain(scratch_tables: Callable[[], Tables], bound: int) -> None:
    edges, priority = random_graphs(5, count=30)
    chain = [(name(90, i), name(90, i + 1), 0.95) for i in range(40)]
    order = np.random.default_rng(2).permutation(41).tolist()
    priority |= {name(90, i): float(order[i]) for i in range(41)}
    found, rounds = by_joins(scratch_tables(), edges + chain, priority, bound)
    assert found == in_one_process(edges + chain, priority)
    assert rounds <= 9, "rounds grow as the logarithm of the longest chain"
    assert (rounds == 0) == (bound == 1000)


def test_no_edges_remove_nothing(scratch_tables: Callable[[], Tables]) -> None:
    assert by_joins(scratch_tables(), [], {"a": 0.0}, 0) == ({}, 0)
