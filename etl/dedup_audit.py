"""What a dedup run measures of itself: the pairs it missed, on a sample, and what it promises, on all rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import pyarrow as pa
from pyspark.sql import functions as F

from etl.step import Job
from udfs.comparison import EDGES_DDL, brute_pairs
from udfs.intervals import wilson

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


def recall(job: Job, rows: DataFrame, edges: DataFrame) -> dict[str, float]:
    """Measures the share of true pairs that the cells found, by brute force of `dedup.audit_rows` sampled rows with all, with its Wilson interval.

    The interval takes pairs as drawn one by one; pairs of one crowd of duplicates come together, so where there are few crowds it is too narrow.
    """
    config = job.config.dedup
    lowest = rows.select(F.xxhash64("item_id", F.lit(1)).alias("h"), "item_id", "side", "vector").orderBy(
        "h", "item_id"
    )
    drawn = lowest.limit(config.audit_rows).toPandas()
    if drawn.empty:
        return {}
    sample = {name: drawn[name].tolist() for name in ("item_id", "side", "vector")}
    threshold = config.threshold

    def brute(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield brute_pairs(batch, sample, threshold)

    truth = rows.select("item_id", "side", "vector").mapInArrow(brute, EDGES_DDL).select("a_id", "b_id").distinct()
    found = truth.join(edges.select("a_id", "b_id", F.lit(1).alias("found")), ["a_id", "b_id"], "left")
    counts = found.agg(F.count("*").alias("pairs"), F.count("found").alias("found")).first()
    pairs, seen = (counts["pairs"], counts["found"]) if counts else (0, 0)
    low, high = wilson(seen, pairs)
    share = {
        "audit_recall": seen / pairs if pairs else 1.0,
        "audit_recall_low": float(low),
        "audit_recall_high": float(high),
    }
    return {"audit_rows": float(len(drawn)), "audit_pairs": float(pairs)} | share


def promises(edges: DataFrame, removed: DataFrame) -> dict[str, float]:
    """Counts what must not be: `orphans`, removed rows whose kept row is removed too, and `kept_pairs`, compared pairs at or over the threshold of
    which both rows stay. `removed` comes from `scratch`."""
    gone = removed.select("item_id")
    orphans = removed.join(gone.withColumnRenamed("item_id", "kept_id"), "kept_id", "left_semi")
    both = edges
    for side in ("a_id", "b_id"):
        both = both.join(gone.withColumnRenamed("item_id", side), side, "left_anti")
    broken = orphans.selectExpr("'orphans' AS what").unionByName(both.selectExpr("'kept_pairs' AS what"))
    counts = {row["what"]: float(row["count"]) for row in broken.groupBy("what").count().collect()}
    return {"orphans": 0.0, "kept_pairs": 0.0} | counts
