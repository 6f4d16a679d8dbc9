"""From one file to rows: documents (cut into passages), quarantine rows, and one row that counts both. Runs inside a Spark worker."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any
from urllib.parse import unquote

import pyarrow as pa

from etl.readers.mapping import MappedRecord
from etl.readers.reading import format_for, read_file
from etl.readers.record import BadRecord, ReadOptions
from udfs.language import UNDECIDED, detect
from udfs.passages import split_passages
from udfs.text import stable_id, text_hash
from udfs.tokens import token_counter

ROW_SCHEMA = pa.schema(
    [
        ("row_kind", pa.string()),
        ("uri", pa.string()),
        ("source", pa.string()),
        ("doc_id", pa.string()),
        ("kind", pa.string()),
        ("text", pa.string()),
        ("question", pa.string()),
        ("answer", pa.string()),
        ("parent_id", pa.string()),
        ("offset", pa.int64()),
        ("format", pa.string()),
        ("license", pa.string()),
        ("lang", pa.string()),
        ("n_tokens", pa.int64()),
        ("text_hash", pa.string()),
        ("title", pa.string()),
        ("meta", pa.map_(pa.string(), pa.string())),
        ("position", pa.string()),
        ("reason", pa.string()),
        ("error", pa.string()),
        ("raw", pa.string()),
        ("size", pa.int64()),
        ("modified", pa.string()),
        ("settings", pa.string()),
        ("records", pa.int64()),
        ("passages", pa.int64()),
        ("quarantined", pa.int64()),
    ]
)
ROW_DDL = (
    "row_kind string, uri string, source string, doc_id string, kind string, text string, question string, answer string, parent_id string, "
    "offset bigint, format string, license string, lang string, n_tokens bigint, text_hash string, title string, meta map<string,string>, "
    "position string, reason string, error string, raw string, size bigint, modified string, settings string, records bigint, passages bigint, "
    "quarantined bigint"
)
BATCH_RECORDS = 256


def relative_to(root: str, uri: str) -> str:
    """Returns the part of a file's address below its source's root: the same on a laptop and on S3.

    The root is the path up to its first glob character; for a single file it is the file's folder.
    """
    base, path = _path_of(root), _path_of(uri)
    if path == base:
        return path.rsplit("/", 1)[-1]
    if path.startswith(f"{base.rstrip('/')}/"):
        return path[len(base) :].lstrip("/")
    fixed = re.split(r"[*?\[{]", base, maxsplit=1)[0]
    folder = fixed[: fixed.rfind("/") + 1]
    return path.removeprefix(folder).lstrip("/")


def _path_of(address: str) -> str:
    """An address without its scheme and bucket. Only `file:` addresses are percent-encoded."""
    if address.startswith("file:"):
        return unquote(re.sub(r"^file:(?://[^/]*)?", "", address))
    if address.startswith("dbfs:/Volumes/"):
        return address.removeprefix("dbfs:")
    return re.sub(r"^[A-Za-z0-9]+://[^/]*", "", address)


@dataclass(frozen=True)
class SourceSettings:
    """How the files of one source are read: small and picklable."""

    name: str
    root: str
    format: str
    license: str
    options: ReadOptions
    tokenizer: str
    max_passage_tokens: int


def rows_of_files(batches: Iterable[pa.RecordBatch], sources: dict[str, SourceSettings]) -> Iterator[pa.RecordBatch]:
    """Maps batches of files (uri, size, modified, settings, source) to batches of ROW_SCHEMA, one file after the other."""
    for batch in batches:
        for file in batch.to_pylist():
            source = sources[file["source"]]
            file["format"] = format_for(file["uri"], source.format)
            file["relative"] = relative_to(source.root, file["uri"])
            yield from rows_of_entries(read_file(file["uri"], file["format"], source.options), file, source)


def rows_of_entries(
    entries: Iterable[MappedRecord | BadRecord], file: dict[str, Any], source: SourceSettings
) -> Iterator[pa.RecordBatch]:
    """Turns what a reader found in one file into rows; the last row counts them."""
    counts: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    stream = iter(entries)
    while chunk := list(islice(stream, BATCH_RECORDS)):
        rows = [_quarantine_row(e, file) for e in chunk if isinstance(e, BadRecord)]
        counts["quarantined"] += len(rows)
        counts["records"] += len(chunk)
        passages = _document_rows([e for e in chunk if not isinstance(e, BadRecord)], file, source, seen)
        counts["passages"] += len(passages)
        yield pa.RecordBatch.from_pylist(rows + passages, schema=ROW_SCHEMA)
    total = {"row_kind": "file", **{k: file[k] for k in ("uri", "source", "size", "modified", "settings")}}
    total.update({k: counts[k] for k in ("records", "passages", "quarantined")})
    yield pa.RecordBatch.from_pylist([total], schema=ROW_SCHEMA)


def _quarantine_row(bad: BadRecord, file: dict[str, Any]) -> dict[str, Any]:
    found = {"position": bad.position, "reason": bad.reason, "error": bad.error, "raw": bad.raw}
    return {"row_kind": "quarantine", "uri": file["uri"], "source": file["source"], **found}


def _document_rows(
    records: list[MappedRecord], file: dict[str, Any], source: SourceSettings, seen: Counter[str]
) -> list[dict[str, Any]]:
    count = token_counter(source.tokenizer)
    rows = []
    for record in records:
        key = record_key(record.own_id or text_hash(record.text), source.name, file["relative"], seen)
        # A question and its answer belong together, however long.
        bound = source.max_passage_tokens if record.kind == "passage" else None
        for offset, text, n_tokens in _passages(record.text, bound, count):
            rows.append(_document_row(record, text, key, offset) | {"n_tokens": n_tokens, "uri": file["uri"]})
    for row, lang in zip(rows, _languages(rows), strict=True):
        row.update(lang=lang, source=source.name, format=file["format"], license=source.license)
    return rows


def record_key(own: str, source: str, relative: str, seen: Counter[str]) -> tuple[str, ...]:
    """Returns what a record's id is the `stable_id` of. `own` is its own id or its text's hash; equal ones of a file are told apart by counting them in `seen`."""
    key = (source, relative, own, str(seen[own]))
    seen[own] += 1
    return key


def _languages(rows: list[dict[str, Any]]) -> list[str]:
    """The language that the record itself names, else the detected one; code or formulas alone have that of their document's other passages."""
    found = detect([row["text"] for row in rows])
    told: dict[str, Counter[str]] = {}
    for row, code in zip(rows, found, strict=True):
        if code != UNDECIDED:
            told.setdefault(row["parent_id"], Counter())[code] += len(row["text"])
    return [
        row["lang"] or (_most(told[row["parent_id"]]) if code == UNDECIDED and row["parent_id"] in told else code)
        for row, code in zip(rows, found, strict=True)
    ]


def _most(weights: Counter[str]) -> str:
    return min(weights, key=lambda code: (-weights[code], code))


def _passages(text: str, bound: int | None, count: Any) -> list[tuple[int, str, int]]:
    if bound is None:
        return [(0, text, count([text])[0])]
    return [(p.offset, p.text, p.n_tokens) for p in split_passages(text, bound, count)]


def _document_row(record: MappedRecord, text: str, key: tuple[str, ...], offset: int) -> dict[str, Any]:
    return {
        "row_kind": "document",
        "doc_id": stable_id(*key, str(offset)),
        "parent_id": stable_id(*key),
        "offset": offset,
        "kind": record.kind,
        "text": text,
        "question": record.question or None,
        "answer": record.answer or None,
        "title": record.title or None,
        "lang": record.lang,
        "meta": list(record.meta.items()),
        "text_hash": text_hash(text),
    }
