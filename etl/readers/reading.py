"""The one way in: a file's address, its format and the source's options to mapped and bad records."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from etl.readers.compression import compression_of, decompressed
from etl.readers.delimited import read_csv, read_tsv
from etl.readers.html_pages import read_html
from etl.readers.json_lines import read_json_lines
from etl.readers.json_values import read_json_values
from etl.readers.mapping import MappedRecord, map_record, unnest
from etl.readers.markdown import read_markdown
from etl.readers.markup import cleaned
from etl.readers.parquet import read_parquet
from etl.readers.plain_text import read_text
from etl.readers.record import BadRecord, ByteStream, ReadOptions, Record
from etl.readers.warc import read_warc
from udfs.storage import open_input

Reader = Callable[[ByteStream, ReadOptions], Iterator[Record | BadRecord]]
# A record whole, None where it could not be parsed, and what became of it.
Read = tuple[Mapping[str, Any] | None, MappedRecord | BadRecord]

UNKNOWN_FORMAT = "unknown_format"

READERS: dict[str, Reader] = {
    "jsonl": read_json_lines,
    "json": read_json_values,
    "csv": read_csv,
    "tsv": read_tsv,
    "parquet": read_parquet,
    "markdown": read_markdown,
    "text": read_text,
    "html": read_html,
    "warc": read_warc,
}
_SUFFIXES = {
    "jsonl": (".jsonl", ".ndjson"),
    "json": (".json",),
    "csv": (".csv",),
    "tsv": (".tsv",),
    "parquet": (".parquet",),
    "markdown": (".md", ".markdown"),
    "text": (".txt", ".text"),
    "html": (".html", ".htm", ".xhtml"),
    "warc": (".warc",),
}


def format_of(path: str) -> str:
    """The format that a file's name tells, under its compression suffix if it has one; `unknown_format` for none."""
    name = path.lower().removesuffix(compression_of(path))
    return next((format for format, suffixes in _SUFFIXES.items() if name.endswith(suffixes)), UNKNOWN_FORMAT)


def format_for(path: str, named: str) -> str:
    """The format of a file of a source: the one that the config names, or by the file's name for `auto`."""
    return format_of(path) if named == "auto" else named


def open_reader(format: str) -> Reader:
    """The reader of a format: (binary stream, already decompressed; options) -> records and bad records. Errors: ValueError for an unknown format."""
    if format not in READERS:
        raise ValueError(f"unknown format '{format}'; known are {', '.join(READERS)}")
    return READERS[format]


def read_file(uri: str, format: str, options: ReadOptions) -> Iterator[MappedRecord | BadRecord]:
    """All records of a file, mapped, and a bad record for each that cannot be; nothing is lost between them.

    Never raises for what is in the file; a file that is gone is one `unreadable`. Errors: StorageError or another OSError where the storage or its
    permissions fail, for that is not the data's fault and a retry may help.
    """
    for _, entry in read_records(uri, format, options):
        yield entry


def read_records(uri: str, format: str, options: ReadOptions) -> Iterator[Read]:
    """Gives what `read_file` gives, each beside the whole record that it was made of; None beside one that could not be parsed. Errors as there."""
    if format not in READERS:
        known = ", ".join(READERS)
        yield _bad("unknown_format", f"no reader for '{uri}': name the source's `format`; known are {known}")
        return
    try:
        stream = open_input(uri)
    except (FileNotFoundError, IsADirectoryError) as error:
        yield _bad("unreadable", f"the file is gone or is a folder: {error}")
        return
    with stream:
        yield from _mapped(stream, uri, format, options)


def _bad(reason: str, error: str) -> Read:
    return None, BadRecord("0", reason, error)


def _mapped(stream: ByteStream, uri: str, format: str, options: ReadOptions) -> Iterator[Read]:
    suffix = compression_of(uri)
    if suffix and format == "parquet":
        yield _bad(
            "unreadable", f"Parquet inside {suffix} cannot be read: decompress the file (Parquet compresses by itself)"
        )
        return
    for found in READERS[format](decompressed(stream, suffix), options):
        if isinstance(found, BadRecord):
            yield None, found
            continue
        for record in unnest(found, options.records):
            if isinstance(record, BadRecord):
                yield None, record
            else:
                mapped = map_record(record.data, options.fields, record.position, options.max_record_bytes)
                yield record.data, cleaned(mapped, options.markup)
