"""The records of a data set as they stand in it: whole, in order, each with the key under which ingest has stored its text."""

from __future__ import annotations

import base64
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from etl.readers.documents import BATCH_RECORDS, SourceSettings, record_key, relative_to
from etl.readers.mapping import MappedRecord
from etl.readers.reading import format_for, read_records
from etl.readers.record import BadRecord
from etl.sources import external_version, list_files, source_settings
from etl.step import Job
from etl.steps.ingest import spread
from etl.table_source import table_entries
from udfs.text import stable_id, text_hash

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

# `number`: the record's place in its file; a table has no order. `parent_id`: as in `documents`; `unread_reason`: of a record that has none.
_INPUT = pa.schema(
    [(name, pa.int64() if name == "number" else pa.string()) for name in ("uri", "number", "position", "parent_id")]
    + [(name, pa.string()) for name in ("record", "unread_reason", "error", "raw")]
)
_TOLD = pa.schema([(name, pa.string()) for name in ("own", "position", "record", "unread_reason", "error", "raw")])
INPUT_DDL, TOLD_DDL = (
    ", ".join(f"{field.name} {'bigint' if field.type == pa.int64() else 'string'}" for field in schema)
    for schema in (_INPUT, _TOLD)
)


def input_rows(job: Job) -> DataFrame:
    """Reads the data set once more and returns INPUT_DDL, a row a record, the unreadable ones too."""
    source = job.config.sources[0]
    settings = source_settings(job.config, source)
    if source.format == "delta":
        return _of_table(job, settings)
    files = job.tables.scratch("data_set_files", list_files(job.tables, job.config, source))

    def read(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for uri in batch.column("uri").to_pylist():
                yield from rows_of_file(uri, settings)

    return spread(job, files, files.count()).mapInArrow(read, INPUT_DDL)


def rows_of_file(uri: str, source: SourceSettings) -> Iterator[pa.RecordBatch]:
    """Reads one file to batches of INPUT_DDL, in its order."""
    seen: Counter[str] = Counter()
    relative = relative_to(source.root, uri)
    found = enumerate(read_records(uri, format_for(uri, source.format), source.options))
    while chunk := list(islice(found, BATCH_RECORDS)):
        rows = []
        for number, (record, entry) in chunk:
            same = {"uri": uri, "number": number, "position": entry.position, "record": record_json(record)}
            rows.append(same | _told(entry) | {"parent_id": _parent_id(entry, source.name, relative, seen)})
        yield pa.RecordBatch.from_pylist(rows, schema=_INPUT)


def _told(entry: MappedRecord | BadRecord) -> dict[str, Any]:
    if isinstance(entry, BadRecord):
        return {"unread_reason": entry.reason, "error": entry.error, "raw": entry.raw}
    return {}


def _own(entry: MappedRecord) -> str:
    return entry.own_id or text_hash(entry.text)


def _parent_id(entry: MappedRecord | BadRecord, source: str, relative: str, seen: Counter[str]) -> str | None:
    if isinstance(entry, BadRecord):
        return None
    return stable_id(*record_key(_own(entry), source, relative, seen))


def _of_table(job: Job, settings: SourceSettings) -> DataFrame:
    """The rows of a Delta table. Those of one key lie in one task, in the order in which ingest counts them."""
    source = job.config.sources[0]

    def told(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield told_rows(batch, settings)

    def named(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        seen: Counter[str] = Counter()
        for batch in batches:
            yield named_rows(batch, source.path, source.name, seen)

    table = job.tables.external(source.path, external_version(job.tables, job.config, source))
    keyed = table.mapInArrow(told, TOLD_DDL).repartition("own").sortWithinPartitions("own", "position")
    return keyed.mapInArrow(named, INPUT_DDL)


def told_rows(batch: pa.RecordBatch, settings: SourceSettings) -> pa.RecordBatch:
    """Turns rows of a table into TOLD_DDL: `own` is what they are told apart by."""
    rows = []
    for record, entry in zip(batch.to_pylist(), table_entries(batch, settings), strict=True):
        own = entry.position if isinstance(entry, BadRecord) else _own(entry)
        rows.append({"own": own, "position": entry.position, "record": record_json(record)} | _told(entry))
    return pa.RecordBatch.from_pylist(rows, schema=_TOLD)


def named_rows(batch: pa.RecordBatch, uri: str, source: str, seen: Counter[str]) -> pa.RecordBatch:
    """Turns TOLD_DDL into INPUT_DDL."""
    rows = []
    for row in batch.to_pylist():
        own = row.pop("own")
        parent_id = None if row["unread_reason"] else stable_id(*record_key(own, source, "", seen))
        rows.append({**row, "uri": uri, "number": 0, "parent_id": parent_id})
    return pa.RecordBatch.from_pylist(rows, schema=_INPUT)


def record_json(record: Mapping[str, Any] | None) -> str | None:
    """Writes a record as JSON: bytes as text or else base64, dates and decimals as strings, NaN and infinity as null.

    None for none, and for one nested too deep to be written.
    """
    if record is None:
        return None
    try:
        text = _dump(record)
    except RecursionError:
        return None
    # Half a surrogate pair can only be written as an escape.
    return text if _is_utf8(text) else json.dumps(json.loads(text))


def _dump(record: Mapping[str, Any]) -> str:
    try:
        return json.dumps(record, ensure_ascii=False, allow_nan=False, default=_plain)
    except ValueError:
        return json.dumps(_finite(record), ensure_ascii=False, default=_plain)


def _is_utf8(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _plain(value: Any) -> str:
    if not isinstance(value, bytes):
        return value.isoformat() if hasattr(value, "isoformat") else str(value)
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return base64.b64encode(value).decode()


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
