"""Which records of a data set are near by their words: what they meet by, and the pairs that the true Jaccard confirms."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import pyarrow as pa
from pyspark.sql import functions as F

from etl.step import Job
from etl.steps.curate import candidates
from udfs.curation import SIMILAR_DDL, similar
from udfs.minhash import MinHashSettings, band_keys, has_bands, shingles, signatures
from udfs.text import normal_hash

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

KEYS_DDL = "item_id string, normal_hash string, bands array<bigint>"


def with_keys(job: Job, rows: DataFrame) -> DataFrame:
    """Adds to rows with item_id and text what equal ones (normal_hash) and near ones meet by."""
    settings = _settings(job)
    keys = rows.select("item_id", "text").mapInArrow(lambda batches: _keys(batches, settings), KEYS_DDL)
    return rows.join(keys, "item_id")


def near_pairs(job: Job, rows: DataFrame) -> DataFrame:
    """Returns pairs of these rows (of `with_keys`, with a priority) whose Jaccard is at or over `curate.minhash.threshold`: a_id, b_id, cosine.

    a_id is the worse one by priority and id. Without the rows that the pairs remove, no near pair is left.
    """
    settings = _settings(job)
    pairs = candidates(rows.select(F.col("item_id").alias("doc_id"), "bands"))
    texts = rows.select("item_id", "text")
    a, b = (texts.withColumnsRenamed({"item_id": f"{side}_id", "text": f"{side}_text"}) for side in "ab")

    def compare(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield similar(batch, settings)

    near = pairs.join(a, "a_id").join(b, "b_id").mapInArrow(compare, SIMILAR_DDL)
    rank = F.struct("priority", "item_id").alias("rank")
    left, right = (rows.select(F.col("item_id").alias(f"{side}_id"), rank.alias(f"{side}_rank")) for side in "ab")
    swapped = F.col("a_rank") < F.col("b_rank")
    worse, better = F.when(swapped, F.col("b_id")).otherwise(F.col("a_id")), F.when(swapped, F.col("a_id"))
    ranked = near.join(left, "a_id").join(right, "b_id")
    return ranked.select(worse.alias("a_id"), better.otherwise(F.col("b_id")).alias("b_id"), "cosine")


def _settings(job: Job) -> MinHashSettings:
    config = job.config.curate.minhash
    return MinHashSettings(bands=config.bands, rows=config.rows, threshold=config.threshold)


def _keys(batches: Iterable[pa.RecordBatch], settings: MinHashSettings) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        texts = batch.column("text").to_pylist()
        signature = signatures([shingles(text, settings) for text in texts], settings)
        keys, banded = band_keys(signature, settings).tolist(), has_bands(signature)
        bands = [found if there else [] for found, there in zip(keys, banded, strict=True)]
        normal = pa.array([normal_hash(text) for text in texts], pa.string())
        columns = [batch.column("item_id"), normal, pa.array(bands, pa.list_(pa.int64()))]
        yield pa.RecordBatch.from_arrays(columns, names=["item_id", "normal_hash", "bands"])
