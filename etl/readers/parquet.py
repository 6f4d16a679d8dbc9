"""Parquet, one row group after the other. The position is the index of the row in the file.

A damaged footer makes the file one `unreadable` row. A damaged part of a row group makes each row of that group that could not be read an `unreadable`
row, so that rows in and rows with a reason add up; the other groups are still read.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO, cast

import pyarrow as pa
import pyarrow.parquet as pq

from etl.readers.record import BadRecord, ByteStream, ReadOptions, Record
from udfs.storage import StorageError

_BATCH_ROWS = 256
# Damaged files surface as any of these; StorageError, an OSError too, is the storage's fault and is raised on.
_DAMAGE = (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError)


def read_parquet(stream: ByteStream, _options: ReadOptions) -> Iterator[Record | BadRecord]:
    """Each row as a record. The stream must be seekable."""
    try:
        file = pq.ParquetFile(cast(BinaryIO, stream), page_checksum_verification=True)
        sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
        if sum(sizes) != file.metadata.num_rows:
            raise ValueError(f"its footer says {file.metadata.num_rows} rows and its row groups say {sum(sizes)}")
    except StorageError:
        raise
    except (*_DAMAGE, AttributeError) as error:
        yield BadRecord("0", "unreadable", f"this is not a whole Parquet file: {error}")
        return
    start = 0
    for group, size in enumerate(sizes):
        yield from _read_group(file, group, start, size)
        start += size


def _read_group(file: pq.ParquetFile, group: int, start: int, size: int) -> Iterator[Record | BadRecord]:
    done = 0
    error: BaseException | str = "it ends too early"
    try:
        for batch in file.iter_batches(_BATCH_ROWS, row_groups=[group]):
            for row in _rows(batch, start + done):
                yield row
                done += 1
    except StorageError:
        raise
    except _DAMAGE as damage:
        error = damage
    for index in range(start + done, start + size):
        yield BadRecord(str(index), "unreadable", f"row group {group} is damaged: {error}")


def _rows(batch: pa.RecordBatch, start: int) -> list[Record | BadRecord]:
    try:
        return [Record(str(start + index), row) for index, row in enumerate(batch.to_pylist())]
    except (pa.ArrowException, ValueError, OverflowError):
        return [_row(batch.slice(index, 1), str(start + index)) for index in range(batch.num_rows)]


def _row(single: pa.RecordBatch, position: str) -> Record | BadRecord:
    try:
        row: dict[str, Any] = single.to_pylist()[0]
    except UnicodeDecodeError as error:
        return BadRecord(position, "bad_encoding", f"a string that is not UTF-8: {error.reason} at byte {error.start}")
    except (pa.ArrowException, ValueError, OverflowError) as error:
        return BadRecord(position, "unreadable", f"a value that Python cannot hold: {error}")
    return Record(position, row)
