"""curate: a verdict on every document. Rules first, then contamination, exact duplicates and near-duplicates among what is left."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import pyarrow as pa
from pyspark.sql import Window
from pyspark.sql import functions as F

from etl.benchmarks import benchmark_source, benchmark_state, contaminated, read_items
from etl.config import CurateConfig
from etl.step import Job, Outcome, Step, count_reasons
from etl.survivors import removed_rows
from udfs.curation import FEATURES_DDL, SIMILAR_DDL, CurationSettings, features, similar
from udfs.minhash import MinHashSettings
from udfs.quality import QualitySettings

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


def run(job: Job) -> Outcome:
    """Judges all documents; near-duplicates hang on each other, so a change anywhere judges anew."""
    documents = job.tables.read("documents")
    settings = curation_settings(job.config.curate)
    known = job.tables.scratch("curate_features", _features(documents, settings))
    job.say("looking for benchmark items, exact and near duplicates")
    marked, unread = _contamination(job, documents, known)
    verdicts = job.tables.scratch("curate_verdicts", _exact(marked))
    judged = _near(job, documents, verdicts, settings)
    rows = job.tables.overwrite(
        "curation", judged.selectExpr("*", "reason IS NULL AS kept").drop("normal_hash", "bands")
    )
    curation = job.tables.read("curation")
    dropped = count_reasons(curation)
    figures = {"flagged_personal_data": float(curation.where("size(personal_data) > 0").count())}
    figures["unread_benchmark_records"] = float(unread)
    return Outcome(documents.count(), rows - sum(dropped.values()), dropped, figures)


def curation_settings(config: CurateConfig) -> CurationSettings:
    """Builds the worker's settings from the config."""
    minhash = MinHashSettings(bands=config.minhash.bands, rows=config.minhash.rows, threshold=config.minhash.threshold)
    return CurationSettings(QualitySettings(**config.quality.model_dump()), minhash, config.personal_data)


def _features(documents: DataFrame, settings: CurationSettings) -> DataFrame:
    def compute(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield features(batch, settings)

    return documents.select("doc_id", "text", "question", "answer", "lang", "kind").mapInArrow(compute, FEATURES_DDL)


def _contamination(job: Job, documents: DataFrame, known: DataFrame) -> tuple[DataFrame, int]:
    """Marks the documents that share an n-gram with a benchmark; with the number of benchmark records that could not be read."""
    against = job.config.curate.decontaminate.against
    if not against:
        return known.withColumn("benchmark", F.lit(None).cast("string")), 0
    items = read_items(job.tables, job.config)
    unread = _keep_unread(job, items)
    marked = known.join(contaminated(job.tables, job.config, documents, items), "doc_id", "left")
    found = F.when(F.col("benchmark").isNotNull(), F.lit("contaminated_v1"))
    return marked.withColumn("reason", F.coalesce("reason", found)), unread


def _keep_unread(job: Job, items: DataFrame) -> int:
    names = [(benchmark_source(s.name),) for s in job.config.curate.decontaminate.against]
    job.tables.delete_matching("quarantine", job.spark.createDataFrame(names, "source string"), ["source"])
    bad = items.where("reason IS NOT NULL").drop("benchmark", "hash")
    n = 0 if bad.isEmpty() else job.tables.append("quarantine", bad)
    if n:
        job.say(f"{n} benchmark records could not be read and protect nothing: they are in quarantine")
    return n


def _exact(verdicts: DataFrame) -> DataFrame:
    # Rows that failed are in a group of their own: a dropped row never stands for another.
    same = Window.partitionBy("normal_hash", F.col("reason").isNull()).orderBy(F.col("quality").desc(), "doc_id")
    first = F.first("doc_id").over(same)
    duplicate = F.col("reason").isNull() & (first != F.col("doc_id"))
    return verdicts.select(
        *[c for c in verdicts.columns if c != "reason"],
        F.when(duplicate, F.lit("exact_duplicate_v1")).otherwise(F.col("reason")).alias("reason"),
        F.when(duplicate, first).alias("exact_id"),
    )


def _near(job: Job, documents: DataFrame, verdicts: DataFrame, settings: CurationSettings) -> DataFrame:
    alive = verdicts.where("reason IS NULL").select("doc_id", "quality", "bands")
    edges = job.tables.scratch("curate_edges", _verified(documents, candidates(alive), settings.minhash))
    priority = alive.select(F.col("doc_id").alias("item_id"), (-F.col("quality")).alias("priority"))
    removed = removed_rows(job.tables, edges, priority, job.config.dedup.max_driver_edges)
    # An exact duplicate shares the fate of the row that stands for it, so that it points to a kept row.
    near = removed.selectExpr("item_id AS stands", "kept_id AS near_id", "cosine AS near")
    judged = verdicts.withColumn("stands", F.coalesce("exact_id", "doc_id")).join(near, "stands", "left")
    near_reason = F.when(F.col("near_id").isNotNull(), F.lit("near_duplicate_v1"))
    return judged.withColumns(
        {
            "reason": F.coalesce("reason", near_reason),
            "kept_id": F.coalesce("near_id", "exact_id"),
            "similarity": F.coalesce("near", F.when(F.col("exact_id").isNotNull(), F.lit(1.0))),
        }
    ).drop("stands", "near_id", "near", "exact_id")


def candidates(alive: DataFrame) -> DataFrame:
    """Returns the pairs that share a band: a_id, b_id, the smaller id first."""
    exploded = alive.select("doc_id", F.explode("bands").alias("band"))
    left, right = exploded.withColumnRenamed("doc_id", "a_id"), exploded.withColumnRenamed("doc_id", "b_id")
    return left.join(right, "band").where("a_id < b_id").select("a_id", "b_id").distinct()


def _verified(documents: DataFrame, pairs: DataFrame, settings: MinHashSettings) -> DataFrame:
    texts = documents.select("doc_id", "text")
    a = texts.withColumnsRenamed({"doc_id": "a_id", "text": "a_text"})
    b = texts.withColumnsRenamed({"doc_id": "b_id", "text": "b_text"})

    def compare(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield similar(batch, settings)

    return pairs.join(a, "a_id").join(b, "b_id").mapInArrow(compare, SIMILAR_DDL)


STEP = Step(
    "curate",
    run,
    reads=("documents",),
    writes=("curation", "quarantine"),
    replaces=("curation",),
    settings=("curate", "dedup.max_driver_edges"),
    hangs_on=benchmark_state,
)
