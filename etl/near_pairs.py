"""Pairs of rows that may be near-duplicates: the rows that meet in a bucket, those of them that are compared, and which are truly alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyspark.sql import Window
from pyspark.sql import functions as F

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


# Shingles of the rows of a bucket, and of its heads, whose pairs may go to one group, at 8 bytes each beside their text: what a task holds at once. A row of
# more goes alone.
HOME_SHINGLES = 250_000
# Shingles of the pairs of a group, at 8 bytes each.
GROUP_SHINGLES = 1_000_000
# Ids of that many rows, about 40 MB, are sent to where the texts are; for more, the texts are sent to the ids.
BROADCAST_ROWS = 500_000
# What of a row is known of each end of a pair.
ENDS = ("item_id", "n_shingles", "old", "place", "part")


@dataclass(frozen=True)
class Search:
    """What near-duplicates are looked for with. `texts` has item_id and text, of all rows and perhaps more; `has_old`: some rows are old."""

    tables: Tables
    texts: DataFrame
    settings: MinHashSettings
    max_driver_edges: int
    has_old: bool = False


def buckets(search: Search, live: DataFrame) -> DataFrame:
    """The rows (item_id, priority, n_shingles, old, bands) once for each band: a bucket is the rows of a band."""
    every = live.select("item_id", "priority", "n_shingles", "old", F.explode("bands").alias("band"))
    new = every.where("NOT old")
    if not search.has_old or live.where("NOT old").count() * search.settings.bands > BROADCAST_ROWS:
        return every
    # Few rows are new: of the old ones, those that meet none of them stay where they are.
    met = every.where("old").join(F.broadcast(new.select("band").distinct()), "band", "left_semi")
    return new.unionByName(met)


def placed(rows: DataFrame) -> DataFrame:
    """The rows of the buckets in which there is something to compare, each with its place (1 is the best), the part of the bucket that it is in, and the
    bucket's size and old rows."""
    ordered = Window.partitionBy("band").orderBy("priority", "item_id")
    whole = ordered.rowsBetween(Window.unboundedPreceding, Window.unboundedFollowing)
    before = ordered.rowsBetween(Window.unboundedPreceding, Window.currentRow)
    counted = rows.withColumns(
        {
            "place": F.row_number().over(ordered),
            "part": F.floor((F.sum("n_shingles").over(before) - F.col("n_shingles")) / HOME_SHINGLES),
            "size": F.count(F.lit(1)).over(whole),
            "n_old": F.sum(F.col("old").cast("long")).over(whole),
        }
    )
    return counted.where("size > 1 AND n_old < size").drop("priority")


def over(bucketed: DataFrame, bounds: Bounds) -> DataFrame:
    """The rows of the buckets that a bound leaves partly uncompared, as `placed` takes them."""
    large = bucketed.where(F.col("size") > bounds.rows)
    return large.withColumnRenamed("place", "priority").drop("part", "size", "n_old")


def uncompared(bucketed: DataFrame, bounds: Bounds) -> int:
    """How many pairs, not of two old rows, the buckets over the bound hold beyond those with their heads."""
    rest, old = F.col("size") - bounds.heads, F.greatest(F.col("n_old") - bounds.heads, F.lit(0))
    first = bucketed.where((F.col("place") == 1) & (F.col("size") > bounds.rows))
    pairs = (rest * (rest - 1) - old * (old - 1)) / 2
    told = first.agg(F.sum(pairs.cast("long")).alias("pairs")).first()
    return int(told["pairs"] or 0) if told else 0


def pairs_of(bucketed: DataFrame, bounds: Bounds, threshold: float) -> DataFrame:
    """Each pair once, the better row first, with a bucket where it was found (`home`: the parts of it that one task compares).

    Sets of very different sizes can not be alike: their Jaccard is at most the ratio of the sizes.
    """
    heads = bucketed.where((F.col("size") <= bounds.rows) | (F.col("place") <= bounds.heads))
    a, b = ([F.col(name).alias(f"{side}_{name}") for name in ENDS] for side in "ab")
    met = bucketed.select("band", *b).join(heads.select("band", *a), "band")
    ratio = F.least("a_n_shingles", "b_n_shingles") / F.greatest("a_n_shingles", "b_n_shingles")
    wanted = met.where("a_place < b_place AND NOT (a_old AND b_old)").where(ratio >= threshold)
    home = F.min(F.struct("band", "a_part", "b_part")).alias("home")
    shingles = F.first(F.col("a_n_shingles") + F.col("b_n_shingles")).cast("long").alias("shingles")
    pair = [F.col(f"{side}_item_id").alias(f"{side}_id") for side in "ab"]
    return wanted.groupBy(*pair).agg(home, shingles)


def verified(search: Search, pairs: DataFrame, count: int, shingles: int) -> DataFrame:
    """The pairs whose true Jaccard is at or over the threshold, as EDGES_DDL; `count` and `shingles` are those of all pairs."""
    settings = search.settings

    def compare(compared: pa.Table, texts: pa.Table) -> pa.Table:
        return alike(compared, texts, settings)

    # Selected twice: two sides of a cogroup must not share a column.
    group = F.pmod(F.xxhash64("home"), F.lit(1 + shingles // GROUP_SHINGLES)).alias("group")
    ends = pairs.select(group, F.explode(F.array("a_id", "b_id")).alias("item_id")).distinct()
    wanted = F.broadcast(ends) if 2 * count <= BROADCAST_ROWS else ends
    texts = search.texts.select("item_id", "text").join(wanted, "item_id")
    both: Any = pairs.select(group, "a_id", "b_id").groupBy("group").cogroup(texts.groupBy("group"))
    edges: DataFrame = both.applyInArrow(compare, EDGES_DDL)
    return edges
