"""Near-duplicates by MinHash, whatever the skew: bands propose pairs, the true Jaccard decides, the greedy rule keeps the best.

What is compared. Rows with equal sets of shingles collapse first: the best stands for all, at Jaccard 1. The others meet in buckets, the rows that share a
band key. In a bucket of at most `Bounds.rows` rows all pairs are compared; in a larger one each row is compared with the `Bounds.heads` best rows alone, so
that the work grows with the rows and never with their square. Survivors are taken from all edges found so far, and the buckets that were too large go on
with the rows that are kept, at higher bounds. That ends when no bucket was too large and no row came back (one whose only better neighbour was removed
after all), or after LAST_ROUND.

What the answer is. Only an edge to a kept row removes a row, so pairs with a removed end need no comparison. Once every two kept rows that share a bucket
have been compared, no kept row has an edge to another, and every removed row has one to a better kept row; only the sequential greedy answer over all
pairs that share a bucket is like that. Where LAST_ROUND ends it, the same holds for the pairs that were compared, and the figures
`near_uncompared_pairs` (pairs of kept rows in the buckets that were still too large, counted once a bucket) and `near_came_back` (rows that came back in
the last round) say what was left. Rows that meet in no bucket are not compared: see `MinHashSettings` for how rarely that happens to two that are alike.

Bytes. Texts, not shingles, go to where they are compared (a text is smaller than its hashes), once for each group of pairs that needs them; all pairs of a
bucket are in one group. No stage runs in one task, and no graph is held by the driver beyond `max_driver_edges`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import reduce
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyspark.sql import Window
from pyspark.sql import functions as F

from etl.survivors import removed_rows
from etl.tables import Tables
from udfs.minhash import MinHashSettings
from udfs.near import EDGES_DDL, alike

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


@dataclass(frozen=True)
class Bounds:
    """Up to `rows` rows of a bucket are compared all with all; of more, each with the best `heads`."""

    rows: int
    heads: int


# A round takes near-copies away, so the next can look closer at what is left. In the worst case, where nothing is alike, a row is compared with 84 others
# for each of its bands.
BOUNDS = (Bounds(16, 4), Bounds(64, 16), Bounds(256, 64))
LAST_ROUND = 6
# Rows of a bucket whose pairs with its heads may go to one group: what a task holds at once.
HOME_ROWS = 64
# Shingles of the pairs of a group, at 8 bytes each.
GROUP_SHINGLES = 1_000_000
# Ids of that many rows, about 40 MB, are sent to where the texts are; for more, the texts are sent to the ids.
BROADCAST_ROWS = 500_000


@dataclass(frozen=True)
class Search:
    """What near-duplicates are looked for with. `texts` has item_id and text, of all rows and perhaps more."""

    tables: Tables
    texts: DataFrame
    settings: MinHashSettings
    max_driver_edges: int


@dataclass
class Found:
    """`removed` has item_id, kept_id, cosine (the true Jaccard with the kept row); `figures` say what was compared."""

    removed: DataFrame
    figures: dict[str, float] = field(default_factory=dict)


def near_duplicates(search: Search, rows: DataFrame) -> Found:
    """Finds the rows that are near-duplicates of a kept row, each with the most similar kept row among those it was compared with.

    `rows` has item_id, priority (orderable, the smaller the better, ties by id), shingle_hash, n_shingles and bands (`udfs.near`), and `old`: rows that are
    kept whatever comes, of better priority than all others, and never compared with each other.
    """
    equal = search.tables.scratch("near_equal", _equal(rows.where("shingle_hash IS NOT NULL")))
    found = _in_rounds(search, rows.join(equal, "item_id", "left_anti"))
    return Found(_all_removed(equal, found.removed), found.figures)


def _equal(rows: DataFrame) -> DataFrame:
    """The rows that have the set of shingles of a better one, with the best of these."""
    same = Window.partitionBy("shingle_hash").orderBy("priority", "item_id")
    return rows.select("item_id", F.first("item_id").over(same).alias("kept_id")).where("item_id != kept_id")


def _all_removed(equal: DataFrame, removed: DataFrame) -> DataFrame:
    # A row equal to another shares its fate, so that it points to a kept row.
    fate = removed.selectExpr("item_id AS kept_id", "kept_id AS better", "cosine")
    shared = equal.join(fate, "kept_id", "left")
    return removed.unionByName(
        shared.selectExpr("item_id", "coalesce(better, kept_id) AS kept_id", "coalesce(cosine, 1.0D) AS cosine")
    )


@dataclass
class _Rounds:
    """What the rounds have come to. `large` are the rows of the buckets that were over the bound in the first one."""

    search: Search
    priority: DataFrame
    large: DataFrame
    removed: DataFrame
    edges: list[DataFrame] = field(default_factory=list)
    compared: int = 0
    uncompared: int = 0
    came_back: int = 0

    def add(self, number: int, placed: DataFrame) -> None:
        """Compares what the bounds of a round allow in its buckets, and judges again by all edges so far."""
        bounds = BOUNDS[min(number, len(BOUNDS) - 1)]
        self.uncompared, self.came_back = _uncompared(placed, bounds), 0
        new, pairs = _compared(self.search, placed, bounds, number)
        self.compared += pairs
        if new is None:
            return
        self.edges.append(new)
        before = self.removed
        survived = _survived(self.search, self.edges, self.priority)
        self.removed = self.search.tables.scratch(f"near_removed_{number}", survived)
        self.came_back = _came_back(before, self.removed, self.large) if number else 0

    def still_kept(self) -> DataFrame:
        """The rows of the large buckets that are kept as things stand."""
        return self.large.join(self.removed.select("item_id"), "item_id", "left_anti")

    def found(self, rounds: int) -> Found:
        """The rows that are removed in the end, and the figures."""
        counted = {"rounds": rounds, "compared_pairs": self.compared, "uncompared_pairs": self.uncompared}
        counted["came_back"] = self.came_back
        return Found(self.removed, {f"near_{name}": float(value) for name, value in counted.items()})


def _in_rounds(search: Search, live: DataFrame) -> Found:
    placed = search.tables.scratch("near_buckets_0", _placed(_buckets(live)))
    large = placed.where(F.col("size") > BOUNDS[0].rows).withColumn("priority", F.col("place")).drop("place", "size")
    nothing = search.tables.spark.createDataFrame([], "item_id string, kept_id string, cosine double")
    rounds = _Rounds(search, live.select("item_id", "priority"), large, nothing)
    for number in range(LAST_ROUND):
        if number:
            placed = search.tables.scratch(f"near_buckets_{number}", _placed(rounds.still_kept()))
        rounds.add(number, placed)
        if not rounds.uncompared and not rounds.came_back:
            break
    return rounds.found(number + 1)


def _buckets(live: DataFrame) -> DataFrame:
    return live.select("item_id", "priority", "n_shingles", "old", F.explode("bands").alias("band"))


def _placed(buckets: DataFrame) -> DataFrame:
    """The rows of the buckets in which there is something to compare, each with its place (1 is the best) and the bucket's size."""
    ordered = Window.partitionBy("band").orderBy("priority", "item_id")
    whole = ordered.rowsBetween(Window.unboundedPreceding, Window.unboundedFollowing)
    counted = buckets.withColumns(
        {
            "place": F.row_number().over(ordered),
            "size": F.count(F.lit(1)).over(whole),
            "new": F.max(~F.col("old")).over(whole),
        }
    )
    return counted.where("size > 1 AND new").drop("new", "priority")


def _compared(search: Search, placed: DataFrame, bounds: Bounds, number: int) -> tuple[DataFrame | None, int]:
    """The edges among the pairs that the bounds allow (None where there is no pair), and how many pairs were compared."""
    pairs = search.tables.scratch(f"near_pairs_{number}", _pairs(placed, bounds, search.settings.threshold))
    told = pairs.agg(F.count(F.lit(1)).alias("pairs"), F.sum("shingles").alias("shingles")).first()
    if told is None or told["pairs"] == 0:
        return None, 0
    verified = _verified(search, pairs, told["pairs"], 1 + told["shingles"] // GROUP_SHINGLES)
    return search.tables.scratch(f"near_edges_{number}", verified), told["pairs"]


def _pairs(placed: DataFrame, bounds: Bounds, threshold: float) -> DataFrame:
    """Each pair once, the better row first, with a bucket where it was found (`home`: the part of it that one task compares).

    Sets of very different sizes can not be alike: their Jaccard is at most the ratio of the sizes.
    """
    heads = placed.where((F.col("size") <= bounds.rows) | (F.col("place") <= bounds.heads))
    a = heads.selectExpr("band", "item_id AS a_id", "n_shingles AS a_n", "old AS a_old", "place AS a_place")
    b = placed.selectExpr("band", "item_id AS b_id", "n_shingles AS b_n", "old AS b_old", "place AS b_place")
    ratio = F.least("a_n", "b_n") / F.greatest("a_n", "b_n")
    met = b.join(a, "band").where("a_place < b_place AND NOT (a_old AND b_old)").where(ratio >= threshold)
    home = F.min(F.struct("band", F.expr(f"b_place div {HOME_ROWS}").alias("part"))).alias("home")
    shingles = F.first(F.col("a_n") + F.col("b_n")).cast("long").alias("shingles")
    return met.groupBy("a_id", "b_id").agg(home, shingles)


def _verified(search: Search, pairs: DataFrame, count: int, groups: int) -> DataFrame:
    settings = search.settings

    def compare(compared: pa.Table, texts: pa.Table) -> pa.Table:
        return alike(compared, texts, settings)

    # Selected twice: two sides of a cogroup must not share a column.
    group = F.pmod(F.xxhash64("home"), F.lit(groups)).alias("group")
    ends = pairs.select(group, F.explode(F.array("a_id", "b_id")).alias("item_id")).distinct()
    wanted = F.broadcast(ends) if 2 * count <= BROADCAST_ROWS else ends
    texts = search.texts.select("item_id", "text").join(wanted, "item_id")
    both: Any = pairs.select(group, "a_id", "b_id").groupBy("group").cogroup(texts.groupBy("group"))
    edges: DataFrame = both.applyInArrow(compare, EDGES_DDL)
    return edges


def _survived(search: Search, edges: list[DataFrame], priority: DataFrame) -> DataFrame:
    every = reduce(lambda a, b: a.unionByName(b), edges)
    # A pair that meets in two rounds has the same Jaccard in both.
    once = every.dropDuplicates(["a_id", "b_id"]) if len(edges) > 1 else every
    return removed_rows(search.tables, once, priority, search.max_driver_edges)


def _came_back(before: DataFrame, removed: DataFrame, large: DataFrame) -> int:
    """How many rows of the buckets that were too large at first are kept now and were not in the round before."""
    back = before.join(removed.select("item_id"), "item_id", "left_anti").select("item_id")
    return back.join(large.select("item_id"), "item_id", "left_semi").count()


def _uncompared(placed: DataFrame, bounds: Bounds) -> int:
    """How many pairs the buckets over the bound hold beyond those with their heads."""
    rest = F.col("size") - bounds.heads
    over = placed.where((F.col("place") == 1) & (F.col("size") > bounds.rows))
    told = over.agg(F.sum((rest * (rest - 1) / 2).cast("long")).alias("pairs")).first()
    return int(told["pairs"] or 0) if told else 0
