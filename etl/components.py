"""One row of each chain of duplicates: connected components, in rounds of joins, and in one process once few edges are left."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from etl.survivors import Removed, directed_edges, numbered
from etl.tables import Tables
from udfs.survivors import components as components_of

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


def components(tables: Tables, edges: DataFrame, priority: DataFrame, max_driver_edges: int) -> Removed:
    """Keeps the best row of each connected component; arguments as for `etl.survivors.greedy`.

    A removed row need not have an edge with the kept one: where it has none, `cosine` is null. Each round joins every node to the best of its
    neighbours (large star, then small star), so that chains shrink to stars in about log(length) rounds, and ends when nothing changes or when at most
    `max_driver_edges` edges are left that are not yet part of a finished star. Source: Kiveris et al., "Connected components in MapReduce and beyond", 2014.
    """
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
            return Removed(_named(stars, directed), rounds)
    return Removed(_named(_finish(stars), directed), rounds)


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


def _finish(stars: DataFrame) -> DataFrame:
    ids, a, b, _ = numbered(stars.selectExpr("*", "0.0D AS cosine"))
    best = components_of(a, b, np.arange(len(ids)), len(ids))
    other = np.flatnonzero(best != np.arange(len(ids)))
    pairs = pa.table({"better": ids.take(pa.array(best[other])), "worse": ids.take(pa.array(other))})
    return stars.sparkSession.createDataFrame(pairs)


def _named(stars: DataFrame, directed: DataFrame) -> DataFrame:
    known = directed.select("better", "worse", "cosine").dropDuplicates(["better", "worse"])
    found = stars.select("better", "worse").join(known, ["better", "worse"], "left")
    return found.selectExpr("worse AS item_id", "better AS kept_id", "cosine")
