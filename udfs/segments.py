"""Segments, the ledger's write-ahead log: small Parquet files of answered calls, each written once under the hash of its content.

A half-written one is known by its name. The driver commits segments to `llm_calls`; whatever dies in between, an answer that reached a segment is never
paid again.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from udfs.storage import list_files, read_bytes, write_new

CALL_SCHEMA = pa.schema(
    [
        ("request_id", pa.string()),
        ("attempt", pa.int32()),
        ("task", pa.string()),
        ("prompt_id", pa.string()),
        ("model", pa.string()),
        ("served_model", pa.string()),
        ("params", pa.string()),
        ("sample", pa.int32()),
        ("messages", pa.string()),
        ("response", pa.string()),
        ("reasoning", pa.string()),
        ("finish_reason", pa.string()),
        ("prompt_tokens", pa.int64()),
        ("completion_tokens", pa.int64()),
        ("cost", pa.float64()),
        ("latency_s", pa.float64()),
        ("attempts", pa.int32()),
        ("status", pa.string()),
        ("error", pa.string()),
        ("run_id", pa.string()),
        ("created_at", pa.timestamp("us", tz="UTC")),
    ]
)


def pack_segment(rows: list[dict[str, Any]]) -> bytes:
    """Makes the content of a segment of rows."""
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=CALL_SCHEMA), buffer, compression="zstd")
    return buffer.getvalue()


def write_segment(folder: str, rows: list[dict[str, Any]]) -> str:
    """Writes rows as one new object named by the hash of its content; returns its address."""
    data = pack_segment(rows)
    address = f"{folder}/{hashlib.sha256(data).hexdigest()}.parquet"
    write_new(address, data)
    return address


def read_segment(address: str, columns: Sequence[str] | None = None) -> pa.Table | None:
    """Reads a segment, or some of its columns; None when it is half-written (its content does not hash to its name)."""
    data = read_bytes(address)
    name = address.rsplit("/", 1)[-1].removesuffix(".parquet")
    if hashlib.sha256(data).hexdigest() != name:
        return None
    return pq.read_table(io.BytesIO(data), schema=CALL_SCHEMA, columns=columns)


def read_segments(batches: Iterable[pa.RecordBatch], columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
    """Maps batches of segment addresses (column `segment`) to the rows in them; half-written segments give none."""
    for batch in batches:
        for address in batch.column("segment").to_pylist():
            table = read_segment(address, columns)
            if table is not None:
                yield from table.to_batches()


def read_keys(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Maps batches of segment addresses (column `segment`) to the keys of the rows in them: request_id, attempt."""
    return read_segments(batches, ["request_id", "attempt"])


def unpack_segments(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Maps batches of segment contents (column `data`) to the rows in them."""
    for batch in batches:
        for data in batch.column("data").to_pylist():
            yield from pq.read_table(io.BytesIO(data), schema=CALL_SCHEMA).to_batches()


def segments_in(folder: str) -> Iterator[pa.Table]:
    """Yields the whole segments that a partition's folder holds."""
    for address in list_files(folder, ".parquet"):
        table = read_segment(address)
        if table is not None:
            yield table
