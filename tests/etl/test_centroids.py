"""Sets of centroids: fitted once, taken again while they fit, fitted anew when rows drift away or grow too many."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from etl.centroids import GROWTH, centroids_for
from tests.etl.tiny import delta_versions, job_for, make_config

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def sample(n: int, seed: int, dim: int = 16) -> np.ndarray:
    random = np.random.default_rng(seed)
    rows = random.normal(size=(20, dim))[random.integers(0, 20, n)] + 0.4 * random.normal(size=(n, dim))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)


def test_a_stored_set_is_taken_again_until_rows_drift_or_grow(spark: SparkSession, tmp_path: Path) -> None:
    said: list[str] = []
    config = make_config(tmp_path / "w", dedup={"cluster_size": 4, "max_drift": 0.1})
    job = replace(job_for(spark, config), say=said.append)
    rows = sample(800, 1)
    first = centroids_for(job, "seed_dedup_id", rows, 800, "run-1")
    assert (first.id, first.rows, first.drift) == ("run-1", 800, 0.0)
    assert len(first.cells.coarse) > 1
    before = delta_versions(job.tables)
    again = centroids_for(job, "seed_dedup_id", rows[:100], 800 * GROWTH, "run-2")
    assert again.id == "run-1"
    for name in ("fine", "coarse", "parent"):
        assert np.array_equal(getattr(again.cells, name), getattr(first.cells, name)), name
    assert abs(again.drift) < 0.05
    assert delta_versions(job.tables) == before
    assert said == []
    assert centroids_for(job, "seed_dedup_id", rows, 800 * GROWTH + 1, "run-3").id == "run-3"
    assert centroids_for(job, "seed_dedup_id", sample(800, 2), 800, "run-4").id == "run-4"
    assert [line.split(":")[0] for line in said] == ["new centroids"] * 2
    # A run that was killed after it had fitted its centroids takes these, whatever was stored since.
    before = delta_versions(job.tables)
    resumed = centroids_for(job, "seed_dedup_id", rows, 800, "run-1")
    assert (resumed.id, len(resumed.cells)) == ("run-1", len(first.cells))
    assert delta_versions(job.tables) == before


def test_other_rows_and_settings_have_their_own(spark: SparkSession, tmp_path: Path) -> None:
    job = job_for(spark, make_config(tmp_path / "w"))
    rows = sample(50, 1)
    centroids_for(job, "seed_dedup_id", rows, 50, "seeds")
    assert centroids_for(job, "dedup_id", rows, 50, "questions").id == "questions"
    other = replace(job, config=make_config(tmp_path / "w", dedup={"cluster_size": 10}))
    assert centroids_for(other, "dedup_id", rows, 50, "smaller").id == "smaller"
    assert centroids_for(job, "dedup_id", rows, 50, "another").id == "questions"
    stored = job.tables.read("centroids").where("centroid_set_id = 'smaller'").collect()
    assert {row["parent"] for row in stored} == {len(stored) - 1, None}
    assert {row["mean_cosine"] > 0.5 for row in stored} == {True}
