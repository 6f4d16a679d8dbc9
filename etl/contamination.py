"""Benchmark items as protected rows by meaning: which rows have an embedding at or over a cosine with one.

Every row is compared with every item: benchmarks are small. Rows and items go in blocks to where they are compared, so no task holds more than
GROUP_ROWS and BLOCK_ITEMS vectors, and at 50,000 items as many bytes of items are moved as of rows. An n-gram overlap is found in `etl.benchmarks`; a judge
that is asked about the pairs near the threshold is not part of this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyspark.sql import Window
from pyspark.sql import functions as F

from udfs.contamination import MET_DDL, met

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

GROUP_ROWS = 50_000
BLOCK_ITEMS = 50_000
METHOD = "contamination"


def contaminated_by_meaning(rows: DataFrame, items: DataFrame, threshold: float, top_k: int) -> DataFrame:
    """Returns the `top_k` nearest items of each row among those at or over the cosine: item_id, benchmark, cosine, place (1 is the nearest).

    `rows` has item_id and vector, `items` has benchmark (`name:position`) and vector, of the same model; rows without a vector are not compared.
    """
    rows, items = rows.where("vector IS NOT NULL"), items.where("vector IS NOT NULL")
    groups, blocks = 1 + rows.count() // GROUP_ROWS, 1 + items.count() // BLOCK_ITEMS

    def compare(some: pa.Table, protected: pa.Table) -> pa.Table:
        return met(some, protected, threshold)

    left = _in_parts(rows, "item_id", ("part", groups), ("block", blocks))
    right = _in_parts(items, "benchmark", ("block", blocks), ("part", groups))
    both: Any = left.groupBy("part", "block").cogroup(right.groupBy("part", "block"))
    found: DataFrame = both.applyInArrow(compare, MET_DDL)
    nearest = Window.partitionBy("item_id").orderBy(F.col("cosine").desc(), "benchmark")
    return found.withColumn("place", F.row_number().over(nearest)).where(F.col("place") <= top_k)


def _in_parts(rows: DataFrame, key: str, own: tuple[str, int], every: tuple[str, int]) -> DataFrame:
    """Gives each row one number of `own` (name, count) by its key, and repeats it for every number of `every`."""
    number = F.pmod(F.xxhash64(key), F.lit(own[1])).cast("int").alias(own[0])
    copies = F.explode(F.sequence(F.lit(0), F.lit(every[1] - 1))).alias(every[0])
    return rows.select(key, "vector", number, copies)


def verdicts(found: DataFrame) -> DataFrame:
    """Turns `contaminated_by_meaning` into rows of `duplicates`: item_id, kept_id (the nearest item), cosine, method."""
    nearest = found.where("place = 1")
    return nearest.selectExpr("item_id", "benchmark AS kept_id", "cosine", f"'{METHOD}' AS method")
