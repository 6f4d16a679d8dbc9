"""dedup: seeds, and later questions, that mean the same; each removed one with the kept one that stands for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from etl.config import DedupConfig
from etl.items import seeds
from etl.step import Job, Outcome, Step
from etl.survivors import removed_rows
from udfs.clustering import cluster_count, fit_centroids, nearest
from udfs.embedding import from_binary
from udfs.similarity import pairs_over
from udfs.text import stable_id

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

EDGES_DDL = "a_id string, b_id string, cosine double"


@dataclass(frozen=True)
class Scope:
    """What one dedup run compares: its rows, those that can be compared, and the name under which later steps find it."""

    id_name: str
    total: Callable[[Job], DataFrame]
    readable: Callable[[Job], DataFrame]


def run(job: Job, scope: Scope) -> Outcome:
    """Compares rows inside clusters of like vectors and keeps the best of what is over the threshold."""
    from pyspark.sql import functions as F

    config = job.config.dedup
    rows = job.tables.scratch("dedup_rows", scope.readable(job))
    total, n = scope.total(job).count(), rows.count()
    inputs = [f"{t}={job.tables.version(t)}" for t in ("qa", "embeddings", "curation")]
    this = stable_id(scope.id_name, job.config.fingerprint("dedup", "embed"), *inputs)
    figures = {"compared_rows": float(n), "not_comparable": float(total - n)}
    if n < 2:
        return Outcome(total, total, figures=figures, ids={scope.id_name: this})
    job.say(f"comparing {n} rows at cosine {config.threshold}")
    edges = job.tables.scratch("dedup_edges", _edges(job, rows, n, this))
    removed = job.tables.scratch(
        "dedup_removed", removed_rows(job.tables, edges, _priority(rows, config), config.max_driver_edges)
    )
    figures |= {"edges": float(edges.count())} | audit(job, rows, edges, removed)
    gone = removed.count()
    if gone:
        job.tables.append("edges", edges.withColumn("dedup_id", F.lit(this)))
        said = {"dedup_id": F.lit(this), "method": F.lit("semantic"), "threshold": F.lit(config.threshold)}
        job.tables.append("duplicates", removed.withColumns(said))
    return Outcome(total, total - gone, {"semantic_duplicate": gone} if gone else {}, figures, {scope.id_name: this})


def _vectors(job: Job) -> DataFrame:
    rows = job.tables.read("embeddings").where(f"model = '{job.config.embed.model}' AND reason IS NULL")
    return rows.select("item_id", "role", "vector", "dim")


def readable_seeds(job: Job) -> DataFrame:
    """Returns seeds with a vector that may decide; passages are compared with passages, questions with questions (`side`)."""
    rows = seeds(job.tables).selectExpr(
        "doc_id AS item_id", "quality", "CAST(NULL AS int) AS difficulty", "length(text) AS length"
    )
    return rows.join(_vectors(job), "item_id").withColumnRenamed("role", "side")


def readable_questions(job: Job) -> DataFrame:
    """Returns verified questions with a vector that may decide."""
    rows = _verified(job).selectExpr("qa_id AS item_id", "quality", "difficulty", "length(answer) AS length")
    return rows.join(_vectors(job), "item_id").withColumnRenamed("role", "side")


def _verified(job: Job) -> DataFrame:
    return job.tables.read("qa").where("status = 'verified'")


def _priority(rows: DataFrame, config: DedupConfig) -> DataFrame:
    from pyspark.sql import functions as F

    better_first = [-F.coalesce(F.col(name).cast("double"), F.lit(0.0)) for name in config.priority]
    return rows.select("item_id", F.array(*better_first).alias("priority"))


def _edges(job: Job, rows: DataFrame, n: int, this: str) -> DataFrame:
    config = job.config.dedup
    centroids = _centroids(job, rows, n, this)
    probes = config.probes

    def place(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield placed(batch, centroids, probes)

    threshold = config.threshold

    def compare(key: tuple[str, int], rows: pd.DataFrame) -> pd.DataFrame:
        return compared(rows, threshold)

    clusters = rows.select("item_id", "side", "vector").mapInArrow(
        place, "item_id string, side string, vector binary, cluster int"
    )
    return clusters.groupBy("side", "cluster").applyInPandas(compare, EDGES_DDL).distinct()


def _centroids(job: Job, rows: DataFrame, n: int, this: str) -> np.ndarray:
    config = job.config.dedup
    # The lowest key hashes: the same sample for any order or partitioning of the rows.
    sample = (
        rows.selectExpr("xxhash64(item_id) AS h", "item_id", "vector", "dim")
        .orderBy("h", "item_id")
        .limit(config.sample_rows)
    )
    drawn = sample.toPandas()
    vectors = from_binary(drawn["vector"].tolist(), int(drawn["dim"].iloc[0]))
    centroids = fit_centroids(vectors, cluster_count(n, config.cluster_size), job.config.run.seed)
    stored = [(this, i, job.config.embed.model, row.astype("<f4").tobytes()) for i, row in enumerate(centroids)]
    job.tables.append(
        "centroids",
        job.spark.createDataFrame(stored, "centroid_set_id string, cluster int, model string, vector binary"),
    )
    return centroids


def placed(batch: pa.RecordBatch, centroids: np.ndarray, probes: int) -> pa.RecordBatch:
    """Repeats each row once for each of its nearest clusters: item_id, side, vector, cluster."""
    clusters = nearest(from_binary(batch.column("vector"), centroids.shape[1]), centroids, probes)
    rows = pa.array(np.repeat(np.arange(batch.num_rows), clusters.shape[1]))
    taken = [batch.column(name).take(rows) for name in ("item_id", "side", "vector")]
    return pa.RecordBatch.from_arrays(
        [*taken, pa.array(clusters.ravel(), pa.int32())], names=["item_id", "side", "vector", "cluster"]
    )


def compared(rows: pd.DataFrame, threshold: float) -> pd.DataFrame:
    """Returns the pairs of one cluster at or over the threshold, smaller id first."""
    rows = rows.sort_values("item_id", kind="stable")
    vectors = from_binary(rows["vector"].tolist(), len(rows["vector"].iloc[0]) // 2)
    i, j, cosine = pairs_over(vectors, None, threshold)
    ids = rows["item_id"].to_numpy()
    return pd.DataFrame({"a_id": ids[i], "b_id": ids[j], "cosine": cosine})


def audit(job: Job, rows: DataFrame, edges: DataFrame, removed: DataFrame) -> dict[str, float]:
    """Measures recall of pairs against brute force on sampled rows, and counts removed rows whose kept row is itself removed."""
    from pyspark.sql import functions as F

    config = job.config.dedup
    sample = (
        rows.selectExpr("xxhash64(item_id, 1) AS h", "item_id", "side", "vector")
        .orderBy("h")
        .limit(config.audit_rows)
        .toPandas()
    )
    orphans = removed.select(F.col("kept_id").alias("item_id")).join(removed.select("item_id"), "item_id").count()
    if sample.empty:
        return {"orphans": float(orphans)}
    probe = {name: sample[name].tolist() for name in ("item_id", "side", "vector")}
    threshold = config.threshold

    def brute(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield brute_pairs(batch, probe, threshold)

    truth = rows.select("item_id", "side", "vector").mapInArrow(brute, EDGES_DDL).distinct()
    pairs = truth.count()
    found = truth.join(edges.select("a_id", "b_id"), ["a_id", "b_id"]).count()
    return {"orphans": float(orphans), "audit_pairs": float(pairs), "audit_recall": found / pairs if pairs else 1.0}


def brute_pairs(batch: pa.RecordBatch, probe: dict[str, list[Any]], threshold: float) -> pa.RecordBatch:
    """Returns all pairs of sampled rows with a batch's rows of the same side at or over the threshold, smaller id first."""
    dim = len(probe["vector"][0]) // 2
    i, j, cosine = pairs_over(from_binary(probe["vector"], dim), from_binary(batch.column("vector"), dim), threshold)
    ids, others = (
        np.array(probe["item_id"], dtype=object)[i],
        np.array(batch.column("item_id").to_pylist(), dtype=object)[j],
    )
    sides, other_sides = np.array(probe["side"])[i], np.array(batch.column("side").to_pylist())[j]
    pair = (ids != others) & (sides == other_sides)
    low, high = np.where(ids < others, ids, others)[pair], np.where(ids < others, others, ids)[pair]
    return pa.RecordBatch.from_pydict(
        {"a_id": pa.array(low, pa.string()), "b_id": pa.array(high, pa.string()), "cosine": cosine[pair]}
    )


SEEDS = Scope("seed_dedup_id", lambda job: seeds(job.tables), readable_seeds)
QUESTIONS = Scope("dedup_id", _verified, readable_questions)
WRITES = ("edges", "duplicates", "centroids")
SETTINGS = ("dedup", "embed", "run.seed")
SEEDS_STEP = Step(
    "dedup", partial(run, scope=SEEDS), reads=("documents", "curation", "embeddings"), writes=WRITES, settings=SETTINGS
)
QUESTIONS_STEP = Step(
    "dedup", partial(run, scope=QUESTIONS), reads=("qa", "embeddings"), writes=WRITES, settings=SETTINGS
)
