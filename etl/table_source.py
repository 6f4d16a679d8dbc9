"""Delta tables as sources: their rows go through the same mapping as records of files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from etl.config import Config, SourceConfig
from etl.readers.documents import ROW_DDL, SourceSettings, rows_of_entries
from etl.readers.mapping import MappedRecord, map_record
from etl.readers.markup import cleaned
from etl.readers.record import BadRecord
from etl.sources import external_version, settings_hash, source_settings
from etl.tables import Tables
from udfs.text import stable_id, text_hash

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

Entry = MappedRecord | BadRecord
WORDS = ("key", "position", "reason", "error", "raw", "kind", "text", "question", "answer", "own_id", "title", "lang")
ENTRY_DDL = f"{', '.join(f'{name} string' for name in WORDS)}, meta map<string,string>"
_ENTRY_SCHEMA = pa.schema([*[(name, pa.string()) for name in WORDS], ("meta", pa.map_(pa.string(), pa.string()))])


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
        return rows_of_entries(entries_of(batches), file, settings)

    # A table without rows has no task that would count them.
    empty = tables.spark.range(1).mapInArrow(lambda batches: rows_of_entries([], file, settings), ROW_DDL)
    return mapped_rows(tables, source, version, settings).mapInArrow(read, ROW_DDL).unionByName(empty)


def mapped_rows(tables: Tables, source: SourceConfig, version: int, settings: SourceSettings) -> DataFrame:
    """Returns the rows of a Delta table, mapped, as ENTRY_DDL. Those of one key lie in one task, in an order that hangs on their content alone."""

    def mapped(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield entry_batch(table_entries(batch, settings))

    entries = tables.external(source.path, version).mapInArrow(mapped, ENTRY_DDL)
    return entries.repartition("key").sortWithinPartitions("key", "position")


def table_entries(batch: pa.RecordBatch, source: SourceSettings) -> Iterator[Entry]:
    """Maps the rows of a table as the readers of files map records: a bad record for each row that can not be. A row's position is its content's hash."""
    for row in batch.to_pylist():
        mapped = map_record(row, source.options.fields, _position(row), source.options.max_record_bytes)
        yield cleaned(mapped, source.options.markup)


def _position(row: dict[str, Any]) -> str:
    return stable_id(*[f"{name}={value}" for name, value in sorted(row.items())])


def entry_batch(entries: Iterable[Entry]) -> pa.RecordBatch:
    """Turns entries into rows of ENTRY_DDL. `key` is what records of a table are told apart by: their own id, or else their text."""
    return pa.RecordBatch.from_pylist([_entry_row(entry) for entry in entries], schema=_ENTRY_SCHEMA)


def _entry_row(entry: Entry) -> dict[str, Any]:
    if isinstance(entry, BadRecord):
        return {"key": entry.position, **asdict(entry)}
    return {"key": entry.own_id or text_hash(entry.text), **asdict(entry), "meta": list(entry.meta.items())}


def entries_of(batches: Iterable[pa.RecordBatch]) -> Iterator[Entry]:
    """Turns the rows of one task of `mapped_rows` back into entries. Equal bad rows get positions of their own."""
    bad: Counter[str] = Counter()
    for batch in batches:
        for row in batch.to_pylist():
            del row["key"]
            if row["reason"] is None:
                known = {name: value for name, value in row.items() if name not in ("reason", "error", "raw")}
                yield MappedRecord(**{**known, "meta": dict(row["meta"])})
                continue
            before = bad[row["position"]]
            bad[row["position"]] += 1
            position = f"{row['position']}.{before}" if before else row["position"]
            yield BadRecord(position, row["reason"], row["error"], row["raw"])
