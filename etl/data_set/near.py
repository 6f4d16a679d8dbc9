"""Which records of a data set are near by their words: what they meet by, and the pairs that the true Jaccard confirms."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import pyarrow as pa
from pyspark.sql import functions as F

from etl.near_duplicates import near_duplicates
from etl.near_pairs import Search
from etl.step import Job
from udfs.minhash import MinHashSettings
from udfs.near import KEYS_DDL, near_keys
from udfs.text import normal_hash

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


def with_keys(job: Job, rows: DataFrame) -> DataFrame:
    """Adds to rows with a column text what equal ones (normal_hash) and near ones (KEYS_DDL) meet by."""
    settings = _settings(job)

    def keyed(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield _keyed(batch, settings)

    given = ", ".join(f"{field.name} {field.dataType.simpleString()}" for field in rows.schema.fields)
    return rows.mapInArrow(keyed, f"{given}, normal_hash string, {KEYS_DDL}")


def near_pairs(job: Job, rows: DataFrame) -> DataFrame:
    """Returns pairs of these rows (of `with_keys`, with a priority) whose Jaccard is at or over `curate.minhash.threshold`: a_id, b_id, cosine.

    a_id is the worse one by priority and id. Without the rows that the pairs remove, no near pair is left among those that were compared.
    """
    search = Search(job.tables, rows, _settings(job), job.config.dedup.max_driver_edges)
    found = near_duplicates(search, rows.withColumn("old", F.lit(False)))
    return found.removed.selectExpr("item_id AS a_id", "kept_id AS b_id", "cosine")


def _settings(job: Job) -> MinHashSettings:
    config = job.config.curate.minhash
    return MinHashSettings(bands=config.bands, rows=config.rows, threshold=config.threshold)


def _keyed(batch: pa.RecordBatch, settings: MinHashSettings) -> pa.RecordBatch:
    texts = batch.column("text").to_pylist()
    given = dict(zip(batch.schema.names, batch.columns, strict=True))
    normal = pa.array([normal_hash(text) for text in texts], pa.string())
    return pa.RecordBatch.from_pydict({**given, "normal_hash": normal, **near_keys(texts, settings)})
