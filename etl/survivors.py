"""Who stays when rows are duplicates of each other: the lexicographically-first maximal independent set, in rounds of joins."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark.sql import Window
from pyspark.sql import functions as F

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


def greedy(
    tables: Tables, edges: DataFrame, priority: DataFrame, max_driver_edges: int, count: int | None = None
) -> Removed:
    """Removes each row that has an edge with a kept row of better priority, and names its most similar kept row.

    `edges` has a_id, b_id, cosine (each pair once; `count` of them, where that is known); `priority` has item_id and `priority` (any orderable column,
    the smaller the better, ties by id). An edge with a row that has none is left out. Rounds of joins go on until at most `max_driver_edges` edges are
    live; the rest is finished in one process. The answer is that of the sequential greedy rule.
    """
    if (edges.count() if count is None else count) <= max_driver_edges:
        return Removed(_at_once(edges, priority), 0)
    directed = tables.scratch("survivor_edges", directed_edges(edges, priority))
    live, left, rounds = directed, directed.count(), 0
    removed: list[DataFrame] = []
    while left > max_driver_edges:
        rounds += 1
        removed.append(tables.scratch(f"survivor_losers_{rounds}", _losers(live)))
        live = tables.scratch(f"survivor_live_{rounds}", _still_live(live, removed[-1]))
        left = live.count()
    rest = _at_once(live.selectExpr("better AS a_id", "worse AS b_id", "cosine"), priority)
    every = reduce(lambda a, b: a.unionByName(b), [*removed, rest.select("item_id")])
    return Removed(tables.scratch("survivor_removed", _with_kept(directed, every.distinct())), rounds)


def directed_edges(edges: DataFrame, priority: DataFrame) -> DataFrame:
    """Returns the edges as better, worse (ids), better_rank, worse_rank (what they are ordered by), cosine."""

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


def _at_once(edges: DataFrame, priority: DataFrame) -> DataFrame:
    """The answer of one process: item_id, kept_id, cosine."""
    graph = numbered(edges, priority)
    n = len(graph.ids)
    kept_of = greedy_survivors(graph.a, graph.b, np.arange(n), n, graph.cosine)
    better, worse = np.minimum(graph.a, graph.b), np.maximum(graph.a, graph.b)
    to_kept = kept_of[worse] == better
    gone = {"item_id": graph.ids.take(pa.array(worse[to_kept])), "kept_id": graph.ids.take(pa.array(better[to_kept]))}
    return edges.sparkSession.createDataFrame(pa.table({**gone, "cosine": graph.cosine[to_kept]}))


@dataclass(frozen=True)
class Graph:
    """Edges as numbers: the ids of the rows from the best to the worst, the places of both ends among them, and the cosines."""

    ids: pa.Array
    a: NDArray[np.int64]
    b: NDArray[np.int64]
    cosine: NDArray[np.float64]


def numbered(edges: DataFrame, priority: DataFrame) -> Graph:
    """Collects edges (a_id, b_id, cosine), without those with a row that has no priority."""
    ends = edges.select(F.explode(F.array("a_id", "b_id")).alias("item_id")).distinct()
    ranked = priority.join(ends, "item_id", "left_semi").orderBy("priority", "item_id")
    ids = ranked.select("item_id").toArrow().column("item_id").combine_chunks()
    pairs = edges.select("a_id", "b_id", "cosine").toArrow()
    a, b = (pc.index_in(pairs.column(name), value_set=ids) for name in ("a_id", "b_id"))
    both = pc.and_(pc.is_valid(a), pc.is_valid(b))
    a, b = (one.filter(both).to_numpy().astype(np.int64) for one in (a, b))
    return Graph(ids, a, b, pairs.column("cosine").filter(both).to_numpy())


def _with_kept(directed: DataFrame, removed: DataFrame) -> DataFrame:
    gone = removed.withColumnRenamed("item_id", "better")
    kept_edges = directed.join(gone, "better", "left_anti").join(removed.withColumnRenamed("item_id", "worse"), "worse")
    best = Window.partitionBy("worse").orderBy(F.col("cosine").desc(), F.col("better_rank"))
    ranked = kept_edges.withColumn("_n", F.row_number().over(best)).where("_n = 1")
    return ranked.selectExpr("worse AS item_id", "better AS kept_id", "cosine")
