"""curate: a verdict on every document. Rules first, then contamination, exact duplicates and near-duplicates among what is left."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from etl.benchmarks import contaminated
from etl.config import CurateConfig
from etl.step import Job, Outcome, Step, count_reasons
from etl.survivors import removed_rows
from udfs.minhash import MinHashSettings, band_keys, has_bands, jaccard_pairs, shingles, signatures
from udfs.privacy import redact
from udfs.quality import QualitySettings, first_failure, quality_score, rule_values
from udfs.text import normal_hash

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

MIN_PAIR_UNITS = 4
FEATURES_DDL = (
    "doc_id string, normal_hash string, reason string, quality double, rules map<string,double>, "
    "personal_data array<string>, clean_text string, bands array<bigint>"
)


def run(job: Job) -> Outcome:
    """Judges all documents; near-duplicates hang on each other, so a change anywhere judges anew."""
    documents = job.tables.read("documents")
    features = job.tables.scratch("curate_features", _features(documents, job.config.curate))
    job.say("looking for benchmark items, exact and near duplicates")
    verdicts = _exact(_contamination(job, documents, features))
    verdicts = job.tables.scratch("curate_verdicts", verdicts)
    verdicts = _near(job, documents, verdicts)
    rows = job.tables.overwrite(
        "curation", verdicts.selectExpr("*", "reason IS NULL AS kept").drop("normal_hash", "bands")
    )
    curation = job.tables.read("curation")
    dropped = count_reasons(curation)
    figures = {"flagged_personal_data": float(curation.where("size(personal_data) > 0").count())}
    return Outcome(documents.count(), rows - sum(dropped.values()), dropped, figures)


def _features(documents: DataFrame, config: CurateConfig) -> DataFrame:
    quality = QualitySettings(**config.quality.model_dump())
    settings = minhash_settings(config)
    policy = config.personal_data

    def features(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield features_of(batch, quality, settings, policy)

    return documents.select("doc_id", "text", "lang", "kind").mapInArrow(features, FEATURES_DDL)


def minhash_settings(config: CurateConfig) -> MinHashSettings:
    """Builds the MinHash settings from the config."""
    return MinHashSettings(bands=config.minhash.bands, rows=config.minhash.rows, threshold=config.minhash.threshold)


def features_of(
    batch: pa.RecordBatch, quality: QualitySettings, settings: MinHashSettings, policy: str
) -> pa.RecordBatch:
    """Computes all that is known of a document from its own text: rules, quality, personal data, hashes. One row each."""
    texts, langs = batch.column("text").to_pylist(), batch.column("lang").to_pylist()
    values = rule_values(texts, langs)
    found = [redact(text) for text in texts] if policy != "off" else [("", ())] * len(texts)
    signature = signatures([shingles(text, settings) for text in texts], settings)
    bands = band_keys(signature, settings)
    banded = has_bands(signature)
    return pa.RecordBatch.from_pydict(
        {
            "doc_id": batch.column("doc_id"),
            "normal_hash": [normal_hash(text) for text in texts],
            "reason": pa.array(_failures(values, langs, batch.column("kind").to_pylist(), quality), pa.string()),
            "quality": quality_score(values, quality),
            "rules": pa.array([_row_values(values, i) for i in range(len(texts))], pa.map_(pa.string(), pa.float64())),
            "personal_data": pa.array([sorted(kinds) for _, kinds in found], pa.list_(pa.string())),
            "clean_text": pa.array(
                [clean if kinds and policy == "redact" else None for clean, kinds in found], pa.string()
            ),
            "bands": pa.array(
                [bands[i].tolist() if banded[i] else [] for i in range(len(texts))], pa.list_(pa.int64())
            ),
        }
    )


def _failures(
    values: Mapping[str, NDArray[np.float64]], langs: list[str], kinds: list[str], quality: QualitySettings
) -> list[str | None]:
    # A good question with its answer may be short: "What is 7 x 8? 56."
    passages = first_failure(values, langs, quality)
    pairs = first_failure(values, langs, replace(quality, min_units=MIN_PAIR_UNITS, min_units_unspaced=MIN_PAIR_UNITS))
    return [pair if kind == "qa" else passage for kind, passage, pair in zip(kinds, passages, pairs, strict=True)]


def _row_values(values: Mapping[str, NDArray[np.float64]], i: int) -> list[tuple[str, float]]:
    return [(name, float(column[i])) for name, column in values.items() if not np.isnan(column[i])]


def _contamination(job: Job, documents: DataFrame, features: DataFrame) -> DataFrame:
    from pyspark.sql import functions as F

    hits = contaminated(job.tables, job.config, documents)
    marked = features.join(hits, "doc_id", "left")
    return marked.withColumn(
        "reason", F.coalesce("reason", F.when(F.col("benchmark").isNotNull(), F.lit("contaminated_v1")))
    )


def _exact(verdicts: DataFrame) -> DataFrame:
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    # Rows that failed are in a group of their own: a dropped row never stands for another.
    same = Window.partitionBy("normal_hash", F.col("reason").isNull()).orderBy(F.col("quality").desc(), "doc_id")
    first = F.first("doc_id").over(same)
    duplicate = F.col("reason").isNull() & (first != F.col("doc_id"))
    return verdicts.select(
        "*",
        F.when(duplicate, first).alias("kept_id"),
        F.when(duplicate, F.lit(1.0)).alias("similarity"),
    ).withColumn("reason", F.when(duplicate, F.lit("exact_duplicate_v1")).otherwise(F.col("reason")))


def _near(job: Job, documents: DataFrame, verdicts: DataFrame) -> DataFrame:
    from pyspark.sql import functions as F

    alive = verdicts.where("reason IS NULL").select("doc_id", "quality", "bands")
    edges = job.tables.scratch("curate_edges", _verified(job.config.curate, documents, _candidates(alive)))
    priority = alive.select(F.col("doc_id").alias("item_id"), (-F.col("quality")).alias("priority"))
    removed = removed_rows(job.tables, edges, priority, job.config.dedup.max_driver_edges)
    near = removed.selectExpr("item_id AS doc_id", "kept_id AS near_id", "cosine AS near")
    return verdicts.join(near, "doc_id", "left").select(
        *[c for c in verdicts.columns if c not in {"reason", "kept_id", "similarity"}],
        F.coalesce("reason", F.when(F.col("near_id").isNotNull(), F.lit("near_duplicate_v1"))).alias("reason"),
        F.coalesce("kept_id", "near_id").alias("kept_id"),
        F.coalesce("similarity", "near").alias("similarity"),
    )


def _candidates(alive: DataFrame) -> DataFrame:
    from pyspark.sql import functions as F

    exploded = alive.select("doc_id", F.explode("bands").alias("band"))
    left, right = exploded.withColumnRenamed("doc_id", "a_id"), exploded.withColumnRenamed("doc_id", "b_id")
    return left.join(right, "band").where("a_id < b_id").select("a_id", "b_id").distinct()


def _verified(config: CurateConfig, documents: DataFrame, pairs: DataFrame) -> DataFrame:
    settings = minhash_settings(config)
    texts = documents.select("doc_id", "text")
    a = texts.withColumnsRenamed({"doc_id": "a_id", "text": "a_text"})
    b = texts.withColumnsRenamed({"doc_id": "b_id", "text": "b_text"})

    def compare(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield _similar(batch, settings)

    return pairs.join(a, "a_id").join(b, "b_id").mapInArrow(compare, "a_id string, b_id string, cosine double")


def _similar(batch: pa.RecordBatch, settings: MinHashSettings) -> pa.RecordBatch:
    n = batch.num_rows
    lists = [shingles(text, settings) for side in ("a_text", "b_text") for text in batch.column(side).to_pylist()]
    similarity = jaccard_pairs(lists, np.arange(n), np.arange(n, 2 * n))
    kept = similarity >= settings.threshold
    rows = pa.RecordBatch.from_arrays(
        [batch.column("a_id"), batch.column("b_id"), pa.array(similarity, pa.float64())],
        names=["a_id", "b_id", "cosine"],
    )
    return rows.filter(pa.array(kept))


STEP = Step("curate", run, reads=("documents",), writes=("curation",), settings=("curate", "dedup.max_driver_edges"))
