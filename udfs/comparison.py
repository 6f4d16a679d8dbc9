"""The worker's side of semantic dedup: which clusters a row goes to, and which pairs of one cluster are alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from udfs.clustering import nearest
from udfs.embedding import from_binary
from udfs.similarity import pairs_over

EDGES_DDL = "a_id string, b_id string, cosine double"
PLACED_DDL = "item_id string, side string, vector binary, cluster int"


def placed(batch: pa.RecordBatch, centroids: NDArray[np.float32], probes: int) -> pa.RecordBatch:
    """Repeats each row (item_id, side, vector) once for each of its nearest clusters, as PLACED_DDL."""
    clusters = nearest(from_binary(batch.column("vector"), centroids.shape[1]), centroids, probes)
    rows = pa.array(np.repeat(np.arange(batch.num_rows), clusters.shape[1]))
    taken = [batch.column(name).take(rows) for name in ("item_id", "side", "vector")]
    return pa.RecordBatch.from_arrays(
        [*taken, pa.array(clusters.ravel(), pa.int32())], names=["item_id", "side", "vector", "cluster"]
    )


def compared(rows: pd.DataFrame, threshold: float) -> pd.DataFrame:
    """Returns the pairs of one cluster at or over the threshold as EDGES_DDL, smaller id first."""
    rows = rows.sort_values("item_id", kind="stable")
    vectors = from_binary(rows["vector"].tolist(), len(rows["vector"].iloc[0]) // 2)
    i, j, cosine = pairs_over(vectors, None, threshold)
    ids = rows["item_id"].to_numpy()
    return pd.DataFrame({"a_id": ids[i], "b_id": ids[j], "cosine": cosine})


def brute_pairs(batch: pa.RecordBatch, sample: Mapping[str, Sequence[Any]], threshold: float) -> pa.RecordBatch:
    """Compares sampled rows with all rows of a batch of their side, as EDGES_DDL: the truth that recall is measured against."""
    dim = len(sample["vector"][0]) // 2
    vectors = from_binary(list(sample["vector"]), dim)
    i, j, cosine = pairs_over(vectors, from_binary(batch.column("vector"), dim), threshold)
    ids, others = np.array(sample["item_id"], dtype=object)[i], _strings(batch, "item_id")[j]
    pair = (ids != others) & (np.array(sample["side"], dtype=object)[i] == _strings(batch, "side")[j])
    low, high = np.where(ids < others, ids, others)[pair], np.where(ids < others, others, ids)[pair]
    columns = {
        "a_id": pa.array(low, pa.string()),
        "b_id": pa.array(high, pa.string()),
        "cosine": pa.array(cosine[pair]),
    }
    return pa.RecordBatch.from_pydict(columns)


def _strings(batch: pa.RecordBatch, name: str) -> NDArray[np.object_]:
    return np.array(batch.column(name).to_pylist(), dtype=object)
