"""Who stays when rows are duplicates of each other: the lexicographically-first maximal independent set, in rounds of joins."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from etl.tables import Tables
from udfs.survivors import greedy_survivors

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


@dataclass(frozen=True)
class Removed:
    """The removed rows, each with the kept one that stands for it (item_id, kept_id, cosine), and the rounds of joins that it took."""

    rows: DataFrame
    rounds: int


def removed_rows(tables: Tables, edges: DataFrame, priority: DataFrame, max_driver_edges: int) -> DataFrame:
    """Returns what `greedy` removes."""
    return greedy(tables, edges, priority, max_driver_edges).rows


def greedy(tables: Tables, edges: DataFrame, priority: DataFrame, max_driver_edges: int) -> Removed:
    """Removes each row that has an edge with a kept row of better priority, and names its most similar kept row.

    `edges` has a_id, b_id, cosine (each pair once); `priority` has item_id and `priority` (any orderable column, the smaller the better, ties by id).
    Rounds of joins go on until at most `max_driver_edges` edges are live; the rest is finished in one process. The answer is that of the sequential
    greedy rule.
    """
    directed = tables.scratch("survivor_edges", directed_edges(edges, priority))
    left = directed.count()
    if left <= max_driver_edges:
        return Removed(_at_once(directed), 0)
    removed: list[DataFrame] = []
    live, rounds = directed, 0
    while left > max_driver_edges:
        rounds += 1
        removed.append(tables.scratch(f"survivor_losers_{rounds}", _losers(live)))
        live = tables.scratch(f"survivor_live_{rounds}", _still_live(live, removed[-1]))
        left = live.count()
    every = reduce(lambda a, b: a.unionByName(b), [*removed, _at_once(live).select("item_id")])
    return Removed(tables.scratch("survivor_removed", _with_kept(directed, every.distinct())), rounds)


def directed_edges(edges: DataFrame, priority: DataFrame) -> DataFrame:
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


def _at_once(live: DataFrame) -> DataFrame:
    """The answer of one process: item_id, kept_id, cosine."""
    ids, a, b, cosine = numbered(live.select("better", "worse", "better_rank", "worse_rank", "cosine"))
    kept_of = greedy_survivors(a, b, np.arange(len(ids)), len(ids), cosine)
    to_kept = kept_of[b] == a
    gone = {"item_id": ids.take(pa.array(b[to_kept])), "kept_id": ids.take(pa.array(a[to_kept]))}
    return live.sparkSession.createDataFrame(pa.table({**gone, "cosine": cosine[to_kept]}))


def numbered(directed: DataFrame) -> tuple[pa.Array, NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Collects edges (better, worse, with their ranks, cosine) as numbers: the ids from the best rank to the worst, the places of both ends in them,
    and the cosines."""
    nodes = directed.selectExpr("better AS id", "better_rank AS rank").union(directed.selectExpr("worse", "worse_rank"))
    ids = nodes.distinct().orderBy("rank").select("id").toArrow().column("id").combine_chunks()
    ends = directed.select("better", "worse", "cosine").toArrow()
    a, b = (pc.index_in(ends.column(name), ids).to_numpy().astype(np.int64) for name in ("better", "worse"))
    return ids, a, b, ends.column("cosine").to_numpy()


def _with_kept(directed: DataFrame, removed: DataFrame) -> DataFrame:
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    gone = removed.withColumnRenamed("item_id", "better")
    kept_edges = directed.join(gone, "better", "left_anti").join(removed.withColumnRenamed("item_id", "worse"), "worse")
    best = Window.partitionBy("worse").orderBy(F.col("cosine").desc(), F.col("better_rank"))
    ranked = kept_edges.withColumn("_n", F.row_number().over(best)).where("_n = 1")
    return ranked.selectExpr("worse AS item_id", "better AS kept_id", "cosine")
