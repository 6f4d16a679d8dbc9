"""Rows as files for other tools: Parquet, or JSON lines packed with zstd."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from udfs.storage import delete, list_files, write_over

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

# Of Arrow's memory. A worker holds one part, and its bytes as a file.
PART_BYTES = 64 << 20
PARTS_DDL = "path string, rows bigint, bytes bigint"


def jsonl_zst(table: pa.Table) -> bytes:
    """Packs rows as JSON lines; maps become objects."""
    import zstandard

    rows = table.to_pylist(maps_as_pydicts="strict")
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    return zstandard.ZstdCompressor(level=9).compress("".join(lines).encode())


def parquet(table: pa.Table) -> bytes:
    """Packs rows as Parquet."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


ENCODERS: Mapping[str, Callable[[pa.Table], bytes]] = {"jsonl.zst": jsonl_zst, "parquet": parquet}


def write_parts(rows: DataFrame, folder: str, kind: str, order: str) -> DataFrame:
    """Writes rows as files `part-*` of one kind of ENCODERS, sorted within each; returns PARTS_DDL. They are written when that is first read.

    The folder is for these files alone: all that is in it goes.
    """
    for old in list_files(folder):
        delete(old)

    def write(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        from pyspark import TaskContext

        task = TaskContext.get()
        return written(batches, f"{folder}/part-{task.partitionId() if task else 0:05d}", kind)

    return rows.sortWithinPartitions(order).mapInArrow(write, PARTS_DDL)


def written(
    batches: Iterable[pa.RecordBatch], stem: str, kind: str, part_bytes: int = PART_BYTES
) -> Iterator[pa.RecordBatch]:
    """Writes batches as files `STEM-000.KIND`, a new one each `part_bytes`; yields a row of PARTS_DDL about each."""
    number, held = 0, list[pa.RecordBatch]()
    for batch in batches:
        held.append(batch)
        if sum(one.nbytes for one in held) >= part_bytes:
            yield _part(held, f"{stem}-{number:03d}.{kind}", kind)
            number, held = number + 1, []
    if sum(one.num_rows for one in held):
        yield _part(held, f"{stem}-{number:03d}.{kind}", kind)


def _part(held: list[pa.RecordBatch], path: str, kind: str) -> pa.RecordBatch:
    table = pa.Table.from_batches(held)
    data = ENCODERS[kind](table)
    write_over(path, data)
    return pa.RecordBatch.from_pydict({"path": [path], "rows": [table.num_rows], "bytes": [len(data)]})
