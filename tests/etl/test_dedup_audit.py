"""The audit of a dedup run: what it says of pairs that were missed, and of promises that were broken."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pyspark.sql import functions as F

from etl.dedup_audit import fates, recall
from tests.etl.tiny import job_for, make_config
from udfs.embedding import to_binary

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

EDGES = "a_id string, b_id string, cosine double"


def rows(spark: SparkSession, directions: dict[str, int], old: str = "") -> DataFrame:
    """Rows by the directions of their vectors in a plane, in degrees."""
    turned = np.radians(list(directions.values()))
    blobs = to_binary(np.column_stack([np.cos(turned), np.sin(turned)]))
    told = [(name, "text", name in old, bytearray(blob)) for name, blob in zip(directions, blobs, strict=True)]
    return spark.createDataFrame(told, "item_id string, side string, old boolean, vector binary")


def test_recall_is_that_of_new_rows_and_old_pairs_are_not_asked_again(spark: SparkSession, tmp_path: Path) -> None:
    job = job_for(spark, make_config(tmp_path / "w"))
    # a and b were missed by an earlier run; c and d, and e with a, are new.
    given = rows(spark, {"a": 0, "b": 10, "c": 90, "d": 100, "e": 350, "f": 200}, old="ab")
    edges = spark.createDataFrame([("c", "d", 0.98), ("a", "e", 0.98)], EDGES)
    told = recall(job, given, edges)
    # e is alike b too, at 20 degrees: that pair was missed.
    assert (told["audit_rows"], told["audit_pairs"], told["audit_recall"]) == (4, 4, 0.75)
    assert told["audit_recall_low"] < 0.75 < told["audit_recall_high"]
    assert recall(job, given.where("old"), edges) == {}
    assert recall(job, given.where("item_id IN ('c', 'f')"), edges) == {"audit_rows": 2.0, "audit_pairs": 0.0}


def test_a_crowd_says_less_than_as_many_pairs_apart(spark: SparkSession, tmp_path: Path) -> None:
    job = job_for(spark, make_config(tmp_path / "w"))
    nothing = spark.createDataFrame([], EDGES)
    crowd = recall(job, rows(spark, {f"c{i}": 0 for i in range(7)} | {"x": 90, "y": 91}), nothing)
    apart = recall(
        job, rows(spark, {f"{pair}{side}": 40 * pair + side for pair in range(8) for side in range(2)}), nothing
    )
    assert (crowd["audit_pairs"], apart["audit_pairs"]) == (44, 16)
    assert crowd["audit_recall_high"] > apart["audit_recall_high"]


def test_every_row_has_one_fate_and_broken_promises_are_counted(spark: SparkSession) -> None:
    unread = F.when(F.col("item_id") == "f", F.lit("no_vector"))
    given = rows(spark, dict.fromkeys("abcdef", 0), old="ab").withColumn("unreadable", unread)
    told = [("b", "a", "semantic"), ("c", "b", "exact"), ("d", "nobody", "semantic")]
    removed = spark.createDataFrame(told, "item_id string, kept_id string, method string")
    edges = spark.createDataFrame([("a", "b", 0.9), ("a", "e", 0.9), ("c", "d", 0.9)], EDGES)
    counts = {"kept": 3, "semantic_duplicate": 2, "exact_duplicate": 1, "orphans": 2, "kept_pairs": 1}
    counts |= {"new": 4, "unreadable_no_vector": 1}
    assert fates(given, removed, edges) == counts
