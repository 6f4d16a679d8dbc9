"""Plain text: a file is one record with `text`."""

from __future__ import annotations

from collections.abc import Iterator

from etl.readers.chunks import utf8_chunks, whole
from etl.readers.record import BadRecord, ByteStream, ReadOptions, Record, raw_of


def read_text(stream: ByteStream, options: ReadOptions) -> Iterator[Record | BadRecord]:
    """The file as one record, or one bad record."""
    text = whole_text(stream, options)
    yield text if isinstance(text, BadRecord) else Record("0", {"text": text})


def whole_text(stream: ByteStream, options: ReadOptions) -> str | BadRecord:
    """The file's text with line ends as \\n, or the bad record that stands for the file."""
    data = whole(utf8_chunks(stream, options.encoding), options.max_record_bytes)
    if isinstance(data, BadRecord):
        return data
    try:
        return data.decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        return BadRecord("0", "bad_encoding", f"byte {error.start} of the file is not in its encoding", raw_of(data))
