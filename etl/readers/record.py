"""What every reader gives: a record with its position in the file, or a bad record with one of a few reasons.

Positions are strings that are unique within a file: the number of the first line (from 1) for JSON lines, CSV and TSV; the index of the record
(from 0) for JSON, Parquet and WARC; `0` for a file that is one document. A record taken out of a list inside another is `12.3`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

REASONS: Mapping[str, str] = {
    "bad_json": "the text is not JSON",
    "wrong_type": "a value is there but of another type than needed",
    "missing_field": "a mapped field is absent or null",
    "empty_text": "the text is there but has nothing to read in it",
    "bad_encoding": "bytes that the encoding does not allow, or NUL or half a surrogate pair in a text",
    "truncated": "the file ends inside a record or inside compressed data",
    "unreadable": "the file, or this part of it, is damaged, or is gone",
    "wrong_columns": "a CSV or TSV row with another number of columns than the header, or with broken quotes",
    "too_large": "a record over max_record_bytes",
    "unknown_format": "no reader is known for the file",
}

RAW_CHARS = 2_000
# Stands for a byte that a file's encoding does not allow; half a surrogate pair, so that it can stand for nothing else.
UNDECODABLE = "\udcff"
AUTO = "auto"


def is_encoding(name: str) -> bool:
    """Tells whether a name is a text codec of Python, or AUTO."""
    try:
        b" ".decode("utf-8" if name == AUTO else name, "ignore")
    except LookupError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Record:
    """A record as parsed, before any field is mapped."""

    position: str
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class BadRecord:
    """What could not be read, for the table `quarantine`: `reason` is a key of REASONS, `raw` the printable beginning of the bytes concerned."""

    position: str
    reason: str
    error: str
    raw: str = ""

    def __post_init__(self) -> None:
        if self.reason not in REASONS:
            raise ValueError(f"'{self.reason}' is no quarantine reason; they are {', '.join(REASONS)}")


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How to read the files of a source.

    `encoding` is any Python text codec, or `auto` to guess for each file; HTML pages that are not UTF-8 may declare their own. `delimiter` empty
    means the format's own (comma or tab). `columns` are the names for CSV and TSV without a header line. `records` is the dotted path to a list of
    records inside each object; the object that held the list, without it, is then in each record under `parent`. `markup` (none, html, markdown) is what the texts are
    written in, see `etl.readers.markup`. `fields` maps our names to the
    file's, see `etl.readers.mapping`.
    """

    encoding: str = "utf-8"
    max_record_bytes: int = 10_000_000
    delimiter: str = ""
    columns: tuple[str, ...] = ()
    records: str = ""
    markup: str = "none"
    fields: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.max_record_bytes < 1:
            raise ValueError(f"max_record_bytes is {self.max_record_bytes}; it must be at least 1")
        if len(self.delimiter) > 1:
            raise ValueError(f"delimiter is '{self.delimiter}'; it must be one character")
        if not is_encoding(self.encoding):
            raise ValueError(
                f"encoding is '{self.encoding}'; it must be a Python text codec such as gb18030, or {AUTO}"
            )


class ByteStream(Protocol):
    """The one thing that readers ask of an open file: up to `size` next bytes, none at the end. BinaryIO is one."""

    def read(self, size: int = ..., /) -> bytes: ...


def raw_of(content: bytes | str | Mapping[str, Any]) -> str:
    """The beginning of a record's content as printable text of at most RAW_CHARS characters."""
    if isinstance(content, bytes):
        marked = content[: 4 * RAW_CHARS].replace(UNDECODABLE.encode("utf-8", "surrogatepass"), "�".encode())
        text = marked.decode("utf-8", "backslashreplace")
    else:
        text = content if isinstance(content, str) else _dump(content)
    return "".join(map(_printable, text[:RAW_CHARS]))[:RAW_CHARS]


def _dump(content: Mapping[str, Any]) -> str:
    try:
        return json.dumps(content, ensure_ascii=False, default=str)
    except (RecursionError, ValueError, TypeError):
        return ", ".join(map(str, content))


def _printable(char: str) -> str:
    return char if char.isprintable() or char in "\n\t" else char.encode("unicode_escape").decode("ascii")
