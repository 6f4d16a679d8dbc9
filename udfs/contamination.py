"""Which rows say the same as an item of a benchmark, by their embeddings."""

from __future__ import annotations

import pyarrow as pa

from udfs.embedding import from_binary
from udfs.similarity import pairs_over

MET_DDL = "item_id string, benchmark string, cosine double"
_MET = pa.schema([("item_id", pa.string()), ("benchmark", pa.string()), ("cosine", pa.float64())])


def met(rows: pa.Table, items: pa.Table, threshold: float) -> pa.Table:
    """Returns the pairs of rows (item_id, vector) and benchmark items (benchmark, vector) at or over the cosine, as MET_DDL.

    Vectors are those of `udfs.embedding.to_binary`, all of one model. Raises ValueError for vectors of another width.
    """
    if not rows.num_rows or not items.num_rows:
        return _MET.empty_table()
    dim = len(rows.column("vector")[0].as_py()) // 2
    i, j, cosine = pairs_over(
        from_binary(rows.column("vector"), dim), from_binary(items.column("vector"), dim), threshold
    )
    found = [rows.column("item_id").take(pa.array(i)), items.column("benchmark").take(pa.array(j)), pa.array(cosine)]
    return pa.Table.from_arrays(found, schema=_MET)
