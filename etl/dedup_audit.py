"""What a dedup run measures of itself: the pairs it missed, on a sample, and what it promises, on all rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import reduce
from typing import TYPE_CHECKING

import pyarrow as pa
from pyspark.sql import functions as F

from etl.step import Job
from udfs.comparison import TRUTH_DDL, brute_pairs
from udfs.intervals import wilson

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

UNREADABLE = "unreadable_"


def recall(job: Job, rows: DataFrame, edges: DataFrame) -> dict[str, float]:
    """Measures the share of true pairs that the cells found, by brute force of `dedup.audit_rows` sampled new rows with all, with its interval.

    Only new rows are drawn: of two old rows, the pairs that were found are gone, and those that were missed would count alone. Where there is no pair,
    nothing is said about recall.
    """
    config = job.config.dedup
    hashed = rows.where("NOT old").select(F.xxhash64("item_id", F.lit(1)).alias("h"), "item_id", "side", "vector")
    drawn = hashed.orderBy("h", "item_id").limit(config.audit_rows).toArrow()
    if drawn.num_rows == 0:
        return {}
    sample = {name: drawn.column(name).to_pylist() for name in ("item_id", "side", "vector")}
    threshold = config.threshold

    def brute(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield brute_pairs(batch, sample, threshold)

    truth = rows.select("item_id", "side", "vector").mapInArrow(brute, TRUTH_DDL)
    found = truth.join(edges.select("a_id", "b_id", F.lit(1).alias("found")), ["a_id", "b_id"], "left")
    counts = found.groupBy("drawn_id").agg(F.count("*").alias("pairs"), F.count("found").alias("found")).collect()
    told = {"audit_rows": float(drawn.num_rows), "audit_pairs": float(sum(row["pairs"] for row in counts))}
    return told | (_share([row["pairs"] for row in counts], [row["found"] for row in counts]) if counts else {})


def _share(pairs: Sequence[int], found: Sequence[int]) -> dict[str, float]:
    """The share found of the pairs of each sampled row, with its Wilson interval.

    The pairs of a row are found or missed together, at worst: they count as one where they are alike, so that a crowd of duplicates among the sample
    does not make the interval narrow. Source: L. Kish, "Survey Sampling", 1965 (effective sample size).
    """
    total = sum(pairs)
    share = sum(found) / total
    effective = total**2 / sum(n * n for n in pairs)
    low, high = wilson(share * effective, effective)
    return {"audit_recall": share, "audit_recall_low": float(low), "audit_recall_high": float(high)}


def fates(rows: DataFrame, removed: DataFrame, edges: DataFrame) -> Counter[str]:
    """Counts what became of the rows (item_id, old, unreadable), all in one job; `rows` and `removed` come from `scratch`.

    Each is `kept` or METHOD_duplicate. What must not be: `orphans`, removed rows whose kept row is none, and `kept_pairs`, compared pairs at or over the
    threshold of which both rows stay. Beside these: `new` ones, and `unreadable_` REASON, which no vector decides on.
    """
    gone = removed.select("item_id")
    kept = rows.select("item_id").join(gone, "item_id", "left_anti")
    both = edges
    for side in ("a_id", "b_id"):
        both = both.join(gone.withColumnRenamed("item_id", side), side, "left_anti")
    loose = removed.join(kept.withColumnRenamed("item_id", "kept_id"), "kept_id", "left_anti")
    parts = [
        kept.selectExpr("'kept' AS what"),
        removed.selectExpr("concat(method, '_duplicate') AS what"),
        loose.selectExpr("'orphans' AS what"),
        both.selectExpr("'kept_pairs' AS what"),
        rows.where("NOT old").selectExpr("'new' AS what"),
        rows.where("unreadable IS NOT NULL").selectExpr(f"concat('{UNREADABLE}', unreadable) AS what"),
    ]
    counted = reduce(lambda a, b: a.unionByName(b), parts).groupBy("what").count().collect()
    return Counter({row["what"]: row["count"] for row in counted})
