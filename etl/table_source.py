"""Delta tables as sources: their rows go through the same mapping as records of files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from etl.config import Config, SourceConfig
from etl.readers.documents import ROW_DDL, SourceSettings, rows_of_entries
from etl.readers.mapping import MappedRecord, map_record
from etl.readers.markup import cleaned
from etl.readers.record import BadRecord
from etl.sources import external_version, settings_hash, source_settings
from etl.tables import Tables
from udfs.text import stable_id

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


def table_rows(tables: Tables, config: Config, source: SourceConfig) -> DataFrame:
    """Returns the rows of a Delta source in the schema of the file readers. A row's position is its key: tables have no order."""
    version = external_version(tables, source)
    settings = source_settings(config, source)
    file = {
        "uri": source.path,
        "relative": "",
        "size": 0,
        "modified": str(version),
        "settings": settings_hash(config, source),
        "source": source.name,
        "format": "delta",
    }

    def read(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        return rows_of_entries(table_entries(batches, settings), file, settings)

    rows = tables.external(source.path, version)
    mapped = [rows[name.split(".")[0]] for name in _mapped_names(source) if name.split(".")[0] in rows.columns]
    # Equal records meet in one part and in one order, so that their occurrence numbers do not hang on the partitioning.
    together = rows.repartition(*mapped).sortWithinPartitions(*[c.cast("string") for c in mapped]) if mapped else rows
    return together.mapInArrow(read, ROW_DDL)


def _mapped_names(source: SourceConfig) -> list[str]:
    fields = source.fields or {name: name for name in ("id", "text", "question", "answer")}
    return [part for theirs in fields.values() for part in ([theirs] if isinstance(theirs, str) else theirs)]


def table_entries(batches: Iterable[pa.RecordBatch], source: SourceSettings) -> Iterator[MappedRecord | BadRecord]:
    """Maps the rows of a table as the readers of files map records: a bad record for each row that can not be."""
    for batch in batches:
        for row in batch.to_pylist():
            mapped = map_record(row, source.options.fields, _position(row), source.options.max_record_bytes)
            yield cleaned(mapped, source.options.markup)


def _position(row: dict[str, Any]) -> str:
    return stable_id(*[f"{name}={value}" for name, value in sorted(row.items())])
