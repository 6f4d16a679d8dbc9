"""Delta tables as sources: their rows go through the same mapping as records of files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
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
    from pyspark.sql import Column, DataFrame


def table_rows(tables: Tables, config: Config, source: SourceConfig) -> DataFrame:
    """Returns the rows of a Delta source in the schema of the file readers. A row's position is its key: tables have no order."""
    version = external_version(tables, config, source)
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
    return _together(rows, source).mapInArrow(read, ROW_DDL)


def _together(rows: DataFrame, source: SourceConfig) -> DataFrame:
    """Brings records of one own id, or of one text where none is mapped, into one part and one order: they are numbered there."""
    fields = source.fields or {name: name for name in ("id", "text", "question", "answer")}
    mapped = {ours: _columns(theirs, rows) for ours, theirs in fields.items()}
    every = [column for columns in mapped.values() for column in columns]
    if not every:
        return rows
    return rows.repartition(*(mapped.get("id") or every)).sortWithinPartitions(*[c.cast("string") for c in every])


def _columns(theirs: str | list[str], rows: DataFrame) -> list[Column]:
    names = [theirs] if isinstance(theirs, str) else theirs
    return [rows[name.split(".")[0]] for name in names if name.split(".")[0] in rows.columns]


def table_entries(batches: Iterable[pa.RecordBatch], source: SourceSettings) -> Iterator[MappedRecord | BadRecord]:
    """Maps the rows of a table as the readers of files map records: a bad record for each row that can not be.

    A row's position is its content's hash, with a number where an equal bad row came before.
    """
    bad: Counter[str] = Counter()
    for batch in batches:
        for row in batch.to_pylist():
            mapped = map_record(row, source.options.fields, _position(row), source.options.max_record_bytes)
            entry = cleaned(mapped, source.options.markup)
            if isinstance(entry, BadRecord):
                before = bad[entry.position]
                bad[entry.position] += 1
                entry = replace(entry, position=f"{entry.position}.{before}") if before else entry
            yield entry


def _position(row: dict[str, Any]) -> str:
    return stable_id(*[f"{name}={value}" for name, value in sorted(row.items())])
