"""Comparison inside clusters of like vectors: the pairs at or over the threshold, and how many of them were missed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import functions as F

from etl.step import Job
from udfs.clustering import cluster_count, fit_centroids
from udfs.comparison import EDGES_DDL, PLACED_DDL, brute_pairs, compared, placed
from udfs.embedding import from_binary

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


def edges_within_clusters(job: Job, rows: DataFrame, n: int, centroid_set_id: str) -> DataFrame:
    """Returns the pairs of `rows` (item_id, side, vector, dim) at or over `dedup.threshold` that share one of their nearest clusters.

    Cost grows with n x cluster size. The centroids are stored under `centroid_set_id`.
    """
    if n < 2:
        return job.spark.createDataFrame([], EDGES_DDL)
    centroids = _centroids(job, rows, n, centroid_set_id)
    probes, threshold = job.config.dedup.probes, job.config.dedup.threshold

    def place(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield placed(batch, centroids, probes)

    def compare(key: tuple[str, int], cluster: pd.DataFrame) -> pd.DataFrame:
        return compared(cluster, threshold)

    spread = rows.select("item_id", "side", "vector").mapInArrow(place, PLACED_DDL)
    return spread.groupBy("side", "cluster").applyInPandas(compare, EDGES_DDL).distinct()


def _centroids(job: Job, rows: DataFrame, n: int, centroid_set_id: str) -> NDArray[np.float32]:
    stored = (
        job.tables.read("centroids").where(F.col("centroid_set_id") == centroid_set_id).orderBy("cluster").collect()
    )
    if stored:
        # A run that was killed and goes on elsewhere: k-means gives the same bits on one machine only.
        return np.stack([np.frombuffer(row["vector"], "<f4") for row in stored]).astype(np.float32)
    config = job.config.dedup
    # The lowest key hashes: the same sample for any order or partitioning of the rows.
    lowest = rows.select(F.xxhash64("item_id").alias("h"), "item_id", "vector", "dim").orderBy("h", "item_id")
    drawn = lowest.limit(config.sample_rows).toPandas()
    vectors = from_binary(drawn["vector"].tolist(), int(drawn["dim"].iloc[0]))
    centroids = fit_centroids(vectors, cluster_count(n, config.cluster_size), job.config.run.seed)
    made = [
        (centroid_set_id, i, job.config.embed.model, row.astype("<f4").tobytes()) for i, row in enumerate(centroids)
    ]
    ddl = "centroid_set_id string, cluster int, model string, vector binary"
    job.tables.append_new("centroids", job.spark.createDataFrame(made, ddl))
    return centroids


def audit_recall(job: Job, rows: DataFrame, edges: DataFrame) -> dict[str, float]:
    """Measures the share of true pairs that the clusters found, by brute force on `dedup.audit_rows` sampled rows."""
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
    return {"audit_pairs": float(pairs), "audit_recall": seen / pairs if pairs else 1.0}
