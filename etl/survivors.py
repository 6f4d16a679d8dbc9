"""Who stays when rows are duplicates of each other: the lexicographically-first maximal independent set, in rounds of joins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from etl.tables import Tables
from udfs.survivors import greedy_survivors

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


def removed_rows(tables: Tables, edges: DataFrame, priority: DataFrame, max_driver_edges: int) -> DataFrame:
    """Returns the removed rows, each with its most similar kept row: item_id, kept_id, cosine.

    `edges` has a_id, b_id, cosine (each pair once); `priority` has item_id and `priority` (any orderable column, the smaller the better, ties by id).
    A row is kept unless a kept row of better priority has an edge with it. Rounds of joins go on until at most `max_driver_edges` edges are live;
    the rest is finished in one process. The answer is that of the sequential greedy rule.
    """
    directed = tables.scratch("survivor_edges", _directed(edges, priority))
    removed = tables.scratch("survivor_removed_0", directed.selectExpr("worse AS item_id").limit(0))
    live, rounds = directed, 0
    while live.count() > max_driver_edges:
        rounds += 1
        losers = tables.scratch(f"survivor_losers_{rounds}", _losers(live))
        removed = removed.unionByName(losers)
        live = tables.scratch(f"survivor_live_{rounds}", _still_live(live, losers))
    removed = removed.unionByName(_finish(tables, live))
    return _with_kept(directed, removed.distinct())


def _directed(edges: DataFrame, priority: DataFrame) -> DataFrame:
    from pyspark.sql import functions as F

    def rank(side: str) -> Any:
        return priority.select(
            F.col("item_id").alias(f"{side}_id"), F.struct("priority", "item_id").alias(f"{side}_rank")
        )

    both = edges.join(rank("a"), "a_id").join(rank("b"), "b_id")
    first = F.col("a_rank") < F.col("b_rank")
    return both.select(
        F.when(first, F.col("a_id")).otherwise(F.col("b_id")).alias("better"),
        F.when(first, F.col("b_id")).otherwise(F.col("a_id")).alias("worse"),
        F.when(first, F.col("a_rank")).otherwise(F.col("b_rank")).alias("better_rank"),
        F.when(first, F.col("b_rank")).otherwise(F.col("a_rank")).alias("worse_rank"),
        "cosine",
    )


def _losers(live: DataFrame) -> DataFrame:
    beaten = live.selectExpr("worse AS better").distinct()
    return live.join(beaten, "better", "left_anti").selectExpr("worse AS item_id").distinct()


def _still_live(live: DataFrame, losers: DataFrame) -> DataFrame:
    open_edges = live.join(losers.withColumnRenamed("item_id", "worse"), "worse", "left_anti")
    return open_edges.join(losers.withColumnRenamed("item_id", "better"), "better", "left_anti")


def _finish(tables: Tables, live: DataFrame) -> DataFrame:
    rows = live.collect()
    rank_of = {r[f"{side}_rank"]["item_id"]: r[f"{side}_rank"] for r in rows for side in ("better", "worse")}
    ids = sorted(rank_of, key=lambda item: (rank_of[item]["priority"], item))
    number = {item: i for i, item in enumerate(ids)}
    a = np.array([number[r["better"]] for r in rows], dtype=np.int64)
    b = np.array([number[r["worse"]] for r in rows], dtype=np.int64)
    kept_of = greedy_survivors(a, b, np.arange(len(ids)), len(ids))
    gone = [(ids[i],) for i in np.flatnonzero(kept_of != np.arange(len(ids)))]
    return tables.spark.createDataFrame(gone, "item_id string")


def _with_kept(directed: DataFrame, removed: DataFrame) -> DataFrame:
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    gone = removed.withColumnRenamed("item_id", "better")
    kept_edges = directed.join(gone, "better", "left_anti").join(removed.withColumnRenamed("item_id", "worse"), "worse")
    best = Window.partitionBy("worse").orderBy(F.col("cosine").desc(), F.col("better_rank"))
    ranked = kept_edges.withColumn("_n", F.row_number().over(best)).where("_n = 1")
    return ranked.selectExpr("worse AS item_id", "better AS kept_id", "cosine")
