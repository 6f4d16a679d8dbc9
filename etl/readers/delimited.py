"""CSV and TSV with quoted newlines. The position is the number of the row's first line, the header being line 1.

Quotes are read strictly: a quote that is never closed, or is followed by anything but a delimiter, costs the line it began on (`wrong_columns`) and not
the lines after it, which are read as rows of their own. TSV is often written without any quoting: a line whose quotes make no sense is taken
literally there where it then has the right number of columns.
"""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from etl.readers.chunks import Line, lines, utf8_chunks
from etl.readers.record import BadRecord, ByteStream, ReadOptions, Record, raw_of


def read_csv(stream: ByteStream, options: ReadOptions) -> Iterator[Record | BadRecord]:
    """Each row of a CSV file as a record of strings, or a bad record."""
    return _read(stream, options, options.delimiter or ",")


def read_tsv(stream: ByteStream, options: ReadOptions) -> Iterator[Record | BadRecord]:
    """Each row of a TSV file as a record of strings, or a bad record."""
    return _read(stream, options, options.delimiter or "\t")


def _read(stream: ByteStream, options: ReadOptions, delimiter: str) -> Iterator[Record | BadRecord]:
    limit = options.max_record_bytes
    # The module's own bound is on one field and for the whole process; it is raised, never lowered, and the bound on a row is kept here.
    csv.field_size_limit(max(csv.field_size_limit(), limit))
    rows = _Rows(lines(utf8_chunks(stream, options.encoding), limit, universal=True), delimiter, limit)
    names = list(options.columns)
    if not names and (header := next(iter(rows), None)):
        if header.reason not in ("", "bad_encoding"):
            error = f"the header cannot be read, so no row can: {header.error}. Mend it, or name the source's `columns`"
            yield BadRecord(str(header.lines[0].number), header.reason, error, raw_of(header.lines[0].data))
            return
        names = _names(header.values)
    for row in rows:
        yield _record(row, names, delimiter)


@dataclass(slots=True)
class _Row:
    """A row with the lines that it was read from; with a `reason` it is bad."""

    lines: list[Line]
    values: list[str] = field(default_factory=list)
    reason: str = ""
    error: str = ""


class _Gone(Exception):
    """Raised through the csv module by the line it must not go on to."""


class _Rows:
    """Iterates over rows; lines after a broken quote are put back and read again."""

    def __init__(self, source: Iterable[Line], delimiter: str, limit: int) -> None:
        self._source = iter(source)
        self._again: deque[Line] = deque()
        self._delimiter = delimiter
        self._limit = limit
        self._used: list[Line] = []
        self._misfit = ""

    def __iter__(self) -> Iterator[_Row]:
        while (row := self._next()) is not None:
            if any(line.data.strip() or line.reason for line in row.lines):
                yield row

    def _next(self) -> _Row | None:
        self._used, self._misfit = [], ""
        try:
            values = next(csv.reader(self._texts(), delimiter=self._delimiter, strict=True), None)
        except _Gone:
            return self._interrupted()
        except csv.Error as error:
            return self._first_line_only("bad_encoding" if "NUL" in str(error) else "wrong_columns", str(error))
        if values is None:
            return None
        return _Row(self._used, values, "bad_encoding" if self._misfit else "", self._misfit)

    def _texts(self) -> Iterator[str]:
        size = 0
        while (line := self._again.popleft() if self._again else next(self._source, None)) is not None:
            self._used.append(line)
            size += len(line.data)
            if line.reason or size > self._limit + 2:
                raise _Gone
            yield self._decoded(line)

    def _interrupted(self) -> _Row:
        last = self._used[-1]
        if last.reason:
            return _Row(self._used, reason=last.reason, error=last.error)
        return self._first_line_only(
            "wrong_columns", f"a quote opened here is not closed within max_record_bytes ({self._limit})"
        )

    def _first_line_only(self, reason: str, error: str) -> _Row:
        first, *rest = self._used
        self._again.extendleft(reversed(rest))
        return _Row([first], reason=reason, error=f"broken quotes: {error}" if reason == "wrong_columns" else error)

    def _decoded(self, line: Line) -> str:
        try:
            return line.data.decode("utf-8")
        except UnicodeDecodeError as error:
            self._misfit = f"byte {error.start} of line {line.number} is not in the file's encoding"
            return line.data.decode("utf-8", "surrogateescape")


def _names(values: list[str]) -> list[str]:
    """Column names from a header: spaces around them dropped, `column_3` for an empty one, `name_2` for the second of one name."""
    names: list[str] = []
    for number, value in enumerate(values, 1):
        name = unique = value.encode("utf-8", "replace").decode("utf-8").strip() or f"column_{number}"
        copy = 2
        while unique in names:
            unique, copy = f"{name}_{copy}", copy + 1
        names.append(unique)
    return names


def _record(row: _Row, names: list[str], delimiter: str) -> Record | BadRecord:
    position = str(row.lines[0].number)
    if not row.reason and len(row.values) == len(names):
        return Record(position, dict(zip(names, row.values, strict=True)))
    raw = b"".join(line.data for line in row.lines)
    if row.reason == "wrong_columns" and delimiter == "\t" and raw.count(b"\t") == len(names) - 1:
        return _literal(position, raw, names)
    wrong = f"{len(row.values)} columns, the header has {len(names)}"
    return BadRecord(position, row.reason or "wrong_columns", row.error or wrong, raw_of(raw))


def _literal(position: str, raw: bytes, names: list[str]) -> Record | BadRecord:
    try:
        values = raw.decode("utf-8").rstrip("\r\n").split("\t")
    except UnicodeDecodeError as error:
        return BadRecord(
            position, "bad_encoding", f"byte {error.start} of the row is not in the file's encoding", raw_of(raw)
        )
    return Record(position, dict(zip(names, values, strict=True)))
