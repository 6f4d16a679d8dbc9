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

ROWS_DDL = f"item_id string, normal_hash string, {KEYS_DDL}"


def with_keys(job: Job, rows: DataFrame) -> DataFrame:
    """Adds to rows with item_id and text what equal ones (normal_hash) and near ones meet by."""
    settings = _settings(job)
    keys = rows.select("item_id", "text").mapInArrow(lambda batches: _keys(batches, settings), ROWS_DDL)
    return rows.join(keys, "item_id")


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


def _keys(batches: Iterable[pa.RecordBatch], settings: MinHashSettings) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        texts = batch.column("text").to_pylist()
        normal = pa.array([normal_hash(text) for text in texts], pa.string())
        columns = {"item_id": batch.column("item_id"), "normal_hash": normal, **near_keys(texts, settings)}
        yield pa.RecordBatch.from_pydict(columns)
