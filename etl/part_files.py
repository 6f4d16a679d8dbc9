"""Rows as files for other tools: Parquet, or JSON lines packed with zstd."""

from __future__ import annotations

import io
import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from udfs.storage import delete, list_files, write_over

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

# Of Arrow's memory. A worker holds one part, and its bytes as a file.
PART_BYTES = 64 << 20
PARTS_DDL = "path string, rows bigint, bytes bigint"


class Encoder(Protocol):
    """Rows to a file's bytes. Columns of `json_columns` hold JSON as text."""

    def __call__(self, table: pa.Table, json_columns: Collection[str] = ()) -> bytes: ...


def jsonl_zst(table: pa.Table, json_columns: Collection[str] = ()) -> bytes:
    """Packs rows as JSON lines; maps and JSON columns become objects."""
    import zstandard

    rows = table.to_pylist(maps_as_pydicts="strict")
    for name in json_columns:
        for row in rows:
            if row.get(name) is not None:
                row[name] = json.loads(row[name])
    lines = (_line(row) + "\n" for row in rows)
    return zstandard.ZstdCompressor(level=9).compress("".join(lines).encode())


def _line(row: dict[str, object]) -> str:
    line = json.dumps(row, ensure_ascii=False)
    try:
        line.encode()
    except UnicodeEncodeError:
        # Half a surrogate pair, which a JSON column may have as an escape.
        return json.dumps(row)
    return line


def parquet(table: pa.Table, json_columns: Collection[str] = ()) -> bytes:
    """Packs rows as Parquet, where JSON stays text: its records need not be of one form."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


ENCODERS: Mapping[str, Encoder] = {"jsonl.zst": jsonl_zst, "parquet": parquet}


def write_parts(rows: DataFrame, folder: str, kind: str, json_columns: Collection[str] = ()) -> DataFrame:
    """Writes rows as files `part-*` of one kind of ENCODERS, a partition after the other and each as it is sorted; returns PARTS_DDL.

    They are written when that is first read. The folder is for these files alone: all that is in it goes.
    """
    for old in list_files(folder):
        delete(old)

    def write(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        from pyspark import TaskContext

        task = TaskContext.get()
        stem = f"{folder}/part-{task.partitionId() if task else 0:05d}"
        return written(batches, stem, kind, json_columns)

    return rows.mapInArrow(write, PARTS_DDL)


def written(
    batches: Iterable[pa.RecordBatch],
    stem: str,
    kind: str,
    json_columns: Collection[str] = (),
    part_bytes: int = PART_BYTES,
) -> Iterator[pa.RecordBatch]:
    """Writes batches as files `STEM-000.KIND`, a new one each `part_bytes`; yields a row of PARTS_DDL about each."""
    number, held, size = 0, list[pa.RecordBatch](), 0
    for batch in batches:
        held.append(batch)
        size += batch.nbytes
        if size >= part_bytes:
            yield _part(held, f"{stem}-{number:03d}.{kind}", kind, json_columns)
            number, held, size = number + 1, [], 0
    if sum(one.num_rows for one in held):
        yield _part(held, f"{stem}-{number:03d}.{kind}", kind, json_columns)


def _part(held: list[pa.RecordBatch], path: str, kind: str, json_columns: Collection[str]) -> pa.RecordBatch:
    table = pa.Table.from_batches(held)
    data = ENCODERS[kind](table, json_columns)
    write_over(path, data)
    return pa.RecordBatch.from_pydict({"path": [path], "rows": [table.num_rows], "bytes": [len(data)]})
