"""Comparison through Spark: any partitions, crowds in blocks, strange vectors apart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import etl.clusters
from etl.centroids import centroids_for
from etl.clusters import edges_within_cells, packing_for, survey, without
from tests.etl.tiny import job_for, make_config
from udfs.embedding import to_binary
from udfs.similarity import pairs_over

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from etl.step import Job

DIM, THRESHOLD = 16, 0.9
Edge = tuple[str, str, float]


def crowd_and_others(n: int = 600) -> np.ndarray:
    """A third of the rows in one place, where a few pairs are alike; copies bit by bit; the rest anywhere."""
    random = np.random.default_rng(3)
    rows = random.normal(size=(n, DIM))
    rows[: n // 3] = np.ones(DIM) * 0.8 + 0.6 * random.normal(size=(n // 3, DIM))
    rows[n // 2 : n // 2 + 20] = rows[0]
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)


def frame(spark: SparkSession, vectors: np.ndarray, order: list[int]) -> DataFrame:
    blobs = to_binary(vectors)
    rows = [(f"id-{i:04}", "text", False, [0.0], bytearray(blobs[i]), DIM) for i in order]
    ddl = "item_id string, side string, old boolean, priority array<double>, vector binary, dim int"
    return spark.createDataFrame(rows, ddl)


def edges_of(job: Job, rows: DataFrame) -> tuple[list[Edge], Any]:
    surveyed = survey(job, job.tables.scratch("rows", rows))
    centroids = centroids_for(job, "test", surveyed.sample, surveyed.n, "test")
    packing = packing_for(job, surveyed, centroids.cells)
    made = edges_within_cells(without(rows, surveyed.left_out, surveyed.reasons), surveyed.n, packing)
    return sorted((row["a_id"], row["b_id"], row["cosine"]) for row in made.collect()), (surveyed, packing)


@pytest.mark.long
def test_the_pairs_hang_on_no_partition_no_order_and_no_block(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = crowd_and_others()
    order = list(range(len(vectors)))
    shuffled = np.random.default_rng(1).permutation(len(vectors)).tolist()
    job = job_for(spark, make_config(tmp_path / "w", dedup={"cluster_size": 30, "audit_rows": 0}))
    first, (surveyed, packing) = edges_of(job, frame(spark, vectors, order).repartition(1))
    assert (surveyed.reasons, surveyed.n) == ({"identical": 20}, 580)
    assert packing.blocks == {}
    monkeypatch.setattr(etl.clusters, "_BLOCK_BYTES", 2 * DIM * 20)
    monkeypatch.setattr(etl.clusters, "_PARTITION_BYTES", 2 * DIM * 200)
    for parts in (7, 64):
        again, (_, packing) = edges_of(job, frame(spark, vectors, shuffled).repartition(parts))
        assert packing.blocks
        assert again == first
    gpu = job_for(spark, make_config(tmp_path / "w", embed={"device": "cuda:0"}))
    assert packing_for(gpu, surveyed, packing.cells).blocks == {}, "a GPU takes larger blocks"
    assert len(first) > 50
    unique = [i for i in order if not len(vectors) // 2 <= i < len(vectors) // 2 + 20]
    a, b, cosine = pairs_over(vectors[unique], None, THRESHOLD)
    truth = {(f"id-{unique[i]:04}", f"id-{unique[j]:04}"): c for i, j, c in zip(a, b, cosine, strict=True)}
    assert all(truth[a, b] == cosine for a, b, cosine in first)
    assert len(first) == len({edge[:2] for edge in first})
    assert len(first) > 0.95 * len(truth)


def test_the_sample_is_the_same_rows_however_they_lie(spark: SparkSession, tmp_path: Path) -> None:
    vectors = crowd_and_others()
    config = make_config(tmp_path / "w", dedup={"cluster_size": 1000, "sample_rows": 100})
    job = job_for(spark, config)
    samples = []
    for order, parts in ((list(range(600)), 1), (list(range(600))[::-1], 5)):
        rows = job.tables.scratch("rows", frame(spark, vectors, order).repartition(parts))
        samples.append(survey(job, rows).sample)
    assert 60 < len(samples[0]) < 140
    assert np.array_equal(*samples)


def test_too_few_rows_are_looked_through_too(spark: SparkSession, tmp_path: Path) -> None:
    job = replace(job_for(spark, make_config(tmp_path / "w")))
    for count in (0, 1):
        rows = job.tables.scratch("rows", frame(spark, crowd_and_others(), list(range(count))))
        assert survey(job, rows).n == count


def test_of_many_copies_and_few_others_the_few_are_the_sample(spark: SparkSession, tmp_path: Path) -> None:
    vectors = np.concatenate([np.repeat(crowd_and_others()[:1], 400, axis=0), crowd_and_others()[-3:]])
    job = job_for(spark, make_config(tmp_path / "w", dedup={"sample_rows": 1, "cluster_size": 1000}))
    surveyed = survey(job, job.tables.scratch("rows", frame(spark, vectors, list(range(len(vectors))))))
    assert (surveyed.n, surveyed.reasons) == (4, {"identical": 399})
    assert sorted(row.tobytes() for row in surveyed.sample) == sorted({row.tobytes() for row in vectors})
    kept = {row["same_id"] for row in surveyed.left_out.collect()}
    assert kept == {"id-0000"}
