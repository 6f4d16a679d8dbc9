"""What Spark really executed: no row-at-a-time Python, no product of all rows with all rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from etl.clusters import edges_within_cells
from etl.near_pairs import Bounds, pairs_of, placed
from udfs.cell_fit import fit_cells
from udfs.embedding import to_binary
from udfs.packing import Packing

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from tests.conftest import SampleRun


@pytest.mark.parametrize("node", ["BatchEvalPython", "CartesianProduct", "BroadcastNestedLoopJoin"])
def test_no_query_of_a_whole_run_has_it(sample_run: SampleRun, node: str) -> None:
    assert len(sample_run.plans) > 100
    assert any("MapInArrow" in plan or "PythonMapInArrow" in plan for plan in sample_run.plans)
    assert [plan for plan in sample_run.plans if node in plan] == []


def plan_of(rows: DataFrame, capsys: pytest.CaptureFixture[str]) -> str:
    rows.explain("extended")
    return capsys.readouterr().out


def test_near_duplicates_are_looked_for_within_bands(spark: SparkSession, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [("a", 1.0, 9, False, band) for band in (1, 2)] + [("b", 2.0, 9, False, band) for band in (2, 3)]
    frame = spark.createDataFrame(rows, "item_id string, priority double, n_shingles int, old boolean, band bigint")
    pairs = pairs_of(placed(frame), Bounds(16, 4), 0.7)
    assert [(row["a_id"], row["b_id"]) for row in pairs.collect()] == [("a", "b")]
    plan = plan_of(pairs, capsys)
    assert "band" in plan
    assert not any(node in plan for node in ("CartesianProduct", "BroadcastNestedLoopJoin", "BatchEvalPython"))


def test_vectors_are_compared_within_cells(spark: SparkSession, capsys: pytest.CaptureFixture[str]) -> None:
    vectors = np.eye(8, dtype=np.float32)[[0, 0, 1, 2]]
    rows = [(f"i{i}", "text", False, bytearray(binary)) for i, binary in enumerate(to_binary(vectors))]
    frame = spark.createDataFrame(rows, "item_id string, side string, old boolean, vector binary")
    edges = edges_within_cells(frame, 4, Packing(fit_cells(vectors, 4, 1000, 0.9, seed=0), 2, 0.9))
    assert [(row["a_id"], row["b_id"]) for row in edges.collect()] == [("i0", "i1")]
    plan = plan_of(edges, capsys)
    assert "FlatMapGroupsInArrow" in plan
    # One shuffle: the groups are made of what it brought together.
    assert plan.count("Exchange hashpartitioning") <= 1 or "REPARTITION_BY_NUM" in plan
    assert not any(node in plan for node in ("CartesianProduct", "BroadcastNestedLoopJoin", "BatchEvalPython"))
