"""Rows that mean the same as a benchmark item, whatever the blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from etl import contamination
from etl.contamination import contaminated_by_meaning, verdicts
from tests.etl.tiny import values
from udfs.embedding import to_binary

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


def frame(spark: SparkSession, key: str, vectors: dict[str, np.ndarray | None]) -> DataFrame:
    packed = [(name, None if v is None else bytearray(to_binary(v[None, :])[0])) for name, v in vectors.items()]
    return spark.createDataFrame(packed, f"{key} string, vector binary")


@pytest.mark.parametrize("block", [2, 50_000])
def test_each_row_gets_its_nearest_items(spark: SparkSession, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(contamination, "GROUP_ROWS", block)
    monkeypatch.setattr(contamination, "BLOCK_ITEMS", block)
    rng = np.random.default_rng(0)
    drawn = rng.normal(size=(5, 8))
    unit = (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)
    leaning = unit[0] + 0.1 * unit[1]
    rows = {"leak": unit[0], "lean": leaning / np.linalg.norm(leaning), "free": -unit[0], "unread": None}
    items = {"exam:1": unit[0], "exam:2": leaning / np.linalg.norm(leaning), "exam:3": unit[2], "exam:4": unit[3]}
    found = contaminated_by_meaning(frame(spark, "item_id", rows), frame(spark, "benchmark", items), 0.95, 2)
    assert values(found, "item_id", "benchmark", "place") == [
        ("leak", "exam:1", 1),
        ("leak", "exam:2", 2),
        ("lean", "exam:1", 2),
        ("lean", "exam:2", 1),
    ]
    told = [("leak", "exam:1", "contamination"), ("lean", "exam:2", "contamination")]
    assert values(verdicts(found), "item_id", "kept_id", "method") == told
