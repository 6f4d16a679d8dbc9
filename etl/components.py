"""One row of each chain of duplicates: connected components, in rounds of joins, and in one process once few edges are left."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from pyspark.sql import functions as F

from etl.survivors import Removed, directed_edges, numbered
from etl.tables import Tables
from udfs.survivors import components as components_of

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


def components(
    tables: Tables, edges: DataFrame, priority: DataFrame, max_driver_edges: int, count: int | None = None
) -> Removed:
    """Keeps the best row of each connected component; arguments as for `etl.survivors.greedy`.

    A removed row need not have an edge with the kept one: where it has none, `cosine` is null. Each round joins every node to the best of its
    neighbours (large star, then small star), so that chains shrink to stars in about log(length) rounds. That ends when nothing changes; at most `max_driver_edges` edges, also of the
    graph itself, are finished in one process. Source: Kiveris et al., "Connected components in MapReduce and beyond", 2014.
    """
    if (edges.count() if count is None else count) <= max_driver_edges:
        return Removed(_named(_finish(edges, priority), edges), 0)
    directed = tables.scratch("component_edges", directed_edges(edges, priority))
    stars = tables.scratch("component_stars_0", _ends(directed))
    rounds = 0
    while stars.count() > max_driver_edges:
        rounds += 1
        larger = tables.scratch(f"component_large_{rounds}", _large_star(stars))
        made = tables.scratch(f"component_stars_{rounds}", _small_star(larger))
        settled = made.exceptAll(stars).isEmpty() and stars.exceptAll(made).isEmpty()
        stars = made
        if settled:
            return Removed(_named(stars, edges), rounds)
    left = stars.selectExpr("better AS a_id", "worse AS b_id", "0.0D AS cosine")
    return Removed(_named(_finish(left, priority), edges), rounds)


def _ends(directed: DataFrame) -> DataFrame:
    """Edges with both ends as (rank, id), the better one first."""
    return directed.selectExpr("better", "worse", "better_rank", "worse_rank").distinct()


def _both_ways(stars: DataFrame) -> DataFrame:
    one = stars.selectExpr(
        "struct(better_rank AS rank, better AS id) AS node", "struct(worse_rank AS rank, worse AS id) AS near"
    )
    return one.unionByName(one.selectExpr("near AS node", "node AS near"))


def _large_star(stars: DataFrame) -> DataFrame:
    """Joins each worse neighbour of a node to the best of the node and its neighbours."""
    near = _both_ways(stars)
    best = near.groupBy("node").agg({"near": "min"}).selectExpr("node", "least(node, `min(near)`) AS best")
    return _as_edges(near.join(best, "node").where("near > node").selectExpr("best", "near AS other"))


def _small_star(stars: DataFrame) -> DataFrame:
    """Joins a node and its better neighbours to the best of them."""
    near = _both_ways(stars).where("near < node")
    best = near.groupBy("node").agg({"near": "min"}).selectExpr("node", "`min(near)` AS best")
    others = near.join(best, "node").selectExpr("best", "near AS other")
    return _as_edges(others.union(best.selectExpr("best", "node AS other")))


def _as_edges(rows: DataFrame) -> DataFrame:
    ends = "best.id AS better", "other.id AS worse", "best.rank AS better_rank", "other.rank AS worse_rank"
    return rows.where("best < other").selectExpr(*ends).distinct()


def _finish(edges: DataFrame, priority: DataFrame) -> DataFrame:
    """The answer of one process: better, worse."""
    graph = numbered(edges, priority)
    n = len(graph.ids)
    best = components_of(graph.a, graph.b, np.arange(n), n)
    other = np.flatnonzero(best != np.arange(n))
    pairs = pa.table({"better": graph.ids.take(pa.array(best[other])), "worse": graph.ids.take(pa.array(other))})
    return edges.sparkSession.createDataFrame(pairs)


def _named(stars: DataFrame, edges: DataFrame) -> DataFrame:
    pair = F.least("a_id", "b_id").alias("a_id"), F.greatest("a_id", "b_id").alias("b_id")
    known = edges.select(*pair, "cosine").dropDuplicates(["a_id", "b_id"])
    ends = F.least("better", "worse").alias("a_id"), F.greatest("better", "worse").alias("b_id")
    found = stars.select("better", "worse", *ends).join(known, ["a_id", "b_id"], "left")
    return found.selectExpr("worse AS item_id", "better AS kept_id", "cosine")
