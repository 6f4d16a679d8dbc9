"""Pairs of rows and benchmark items by cosine."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from udfs.contamination import met
from udfs.embedding import to_binary

AXES = np.eye(3, dtype=np.float32)
BETWEEN = (AXES[0] + AXES[1]) / np.sqrt(2)


def table(name: str, ids: list[str], vectors: list[np.ndarray]) -> pa.Table:
    packed = to_binary(np.array(vectors)) if vectors else []
    return pa.table({name: pa.array(ids, pa.string()), "vector": pa.array(packed, pa.binary())})


def found(threshold: float) -> dict[tuple[str, str], float]:
    rows = table("item_id", ["same", "between", "other"], [AXES[0], BETWEEN, AXES[2]])
    items = table("benchmark", ["exam:1", "exam:2"], [AXES[0], AXES[1]])
    return {(row["item_id"], row["benchmark"]): row["cosine"] for row in met(rows, items, threshold).to_pylist()}


def test_pairs_at_or_over_the_cosine_are_found() -> None:
    assert found(0.9) == {("same", "exam:1"): pytest.approx(1, abs=1e-3)}
    half = pytest.approx(np.sqrt(0.5), abs=1e-3)
    expected = {
        ("same", "exam:1"): pytest.approx(1, abs=1e-3),
        ("between", "exam:1"): half,
        ("between", "exam:2"): half,
    }
    assert found(0.7) == expected


def test_no_rows_or_no_items_meet_nothing() -> None:
    some, none = table("item_id", ["a"], [AXES[0]]), table("benchmark", [], [])
    assert met(some, none, 0.9).num_rows == 0
    assert met(table("item_id", [], []), table("benchmark", ["b"], [AXES[0]]), 0.9).num_rows == 0
    assert met(some, none, 0.9).schema.names == ["item_id", "benchmark", "cosine"]


def test_vectors_of_another_width_are_an_error() -> None:
    wide = table("benchmark", ["b"], [np.ones(4, np.float32) / 2])
    with pytest.raises(ValueError, match="bytes"):
        met(table("item_id", ["a"], [AXES[0]]), wide, 0.9)
