"""WARC: each `response` record that holds an HTML page is one record with `text`, `title`, `url`, `date` and the HTTP `status`.

The position is the index among all WARC records of the file. Requests, metadata, images and the like are no records: they are passed over and counted
nowhere. Framing is done here, so that a damaged record costs itself only and memory stays bounded; warcio reads what is inside a frame.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass

from warcio.archiveiterator import ArchiveIterator

from etl.readers.chunks import raw_chunks
from etl.readers.compression import StreamBroken
from etl.readers.html_pages import page_record
from etl.readers.record import BadRecord, ByteStream, ReadOptions, Record, raw_of

_START = re.compile(rb"WARC/[01]\.\d+\r?\n")
_HEADERS_END = re.compile(rb"\r?\n\r?\n")
_LENGTH = re.compile(rb"^content-length:[ \t]*(\d{1,18})[ \t]*\r?$", re.IGNORECASE | re.MULTILINE)
_RESPONSE = re.compile(rb"^warc-type:[ \t]*response[ \t]*\r?$", re.IGNORECASE | re.MULTILINE)
_HTML = re.compile(rb"^content-type:[ \t]*(?:text/html|application/xhtml\+xml)", re.IGNORECASE | re.MULTILINE)
_CHARSET = re.compile(r"charset=\s*[\"']?([\w.:-]+)", re.IGNORECASE)
_MAX_HEADERS = 1 << 16


@dataclass(frozen=True, slots=True)
class _Frame:
    """One WARC record: its bytes (the beginning of them where it is over the bound or cut), and why it cannot be read whole."""

    data: bytes
    reason: str = ""
    error: str = ""


def read_warc(stream: ByteStream, options: ReadOptions) -> Iterator[Record | BadRecord]:
    """Each HTML response as a record or a bad record; other damage as bad records too."""
    frames = _Frames(stream, options.max_record_bytes)
    index = 0
    while (frame := frames.take()) is not None:
        if frame.reason and (frame.reason != "too_large" or _is_page(frame.data)):
            yield BadRecord(str(index), frame.reason, frame.error, raw_of(frame.data))
        elif _is_page(frame.data):
            yield _page(str(index), frame.data, options)
        index += 1


class _Frames:
    """Takes one WARC record after the other from a buffer that is refilled from the stream."""

    def __init__(self, stream: ByteStream, limit: int) -> None:
        self._chunks = raw_chunks(stream)
        self._limit = limit
        self._data = bytearray()
        self._broken: StreamBroken | None = None

    def take(self) -> _Frame | None:
        """The next record, None after the last one."""
        self._skip_blank()
        if not self._data:
            return self._cut(b"") if self._broken else None
        while not (end := _HEADERS_END.search(self._data)) and len(self._data) < _MAX_HEADERS and self._more():
            continue
        if not _START.match(self._data):
            return self._garbage()
        if not end:
            return self._cut(self._drop_all()) if len(self._data) < _MAX_HEADERS else self._garbage()
        length = _LENGTH.search(self._data, 0, end.end())
        if not length:
            return self._garbage()
        return self._frame(end.end() + int(length[1]))

    def _frame(self, size: int) -> _Frame:
        kept = min(size, self._limit)
        while len(self._data) < kept and self._more():
            continue
        if len(self._data) < kept:
            return self._cut(self._drop_all())
        data = bytes(self._data[:kept])
        dropped = kept
        del self._data[:kept]
        while dropped < size and (self._data or self._more()):
            step = min(size - dropped, len(self._data))
            del self._data[:step]
            dropped += step
        if dropped < size:
            return self._cut(data)
        error = f"a record of {size} bytes is over max_record_bytes ({self._limit})"
        return _Frame(data, "too_large", error) if size > kept else _Frame(data)

    def _garbage(self) -> _Frame:
        """Passes over bytes that are no WARC record, up to the next one."""
        head = bytes(self._data[:_MAX_HEADERS])
        at = 1
        while not (start := _START.search(self._data, at)):
            del self._data[: max(len(self._data) - 16, 0)]
            at = 0
            if not self._more():
                self._data.clear()
                break
        if start:
            del self._data[: start.start()]
        return _Frame(head, "unreadable", "these bytes are no WARC record; reading goes on at the next one")

    def _cut(self, data: bytes) -> _Frame:
        broken, self._broken = self._broken, None
        if broken:
            return _Frame(data, broken.reason, str(broken))
        return _Frame(data, "truncated", "the file ends inside this record")

    def _skip_blank(self) -> None:
        while True:
            blank = len(self._data) - len(self._data.lstrip(b"\r\n"))
            del self._data[:blank]
            if self._data or not self._more():
                return

    def _more(self) -> bool:
        """Reads on; False at the end, and at damage until it has been reported."""
        if self._broken:
            return False
        for chunk in self._chunks:
            if isinstance(chunk, StreamBroken):
                self._broken = chunk
                return False
            self._data += chunk
            return True
        return False

    def _drop_all(self) -> bytes:
        data = bytes(self._data)
        self._data.clear()
        return data


def _is_page(data: bytes) -> bool:
    headers = _HEADERS_END.search(data)
    if not headers or not _RESPONSE.search(data, 0, headers.end()):
        return False
    http_end = _HEADERS_END.search(data, headers.end())
    return bool(_HTML.search(data, headers.end(), http_end.end() if http_end else len(data)))


def _body(stream: ByteStream, limit: int) -> bytes:
    # One read gives one chunk of a chunked body.
    parts: list[bytes] = []
    while sum(map(len, parts)) <= limit and (part := stream.read(1 << 20)):
        parts.append(part)
    return b"".join(parts)


def _page(position: str, data: bytes, options: ReadOptions) -> Record | BadRecord:
    try:
        record = next(iter(ArchiveIterator(io.BytesIO(data + b"\r\n\r\n"))))
        http = record.http_headers
        body = _body(record.content_stream(), options.max_record_bytes)
        declared = _CHARSET.search(http.get_header("Content-Type") or "")
    # Wild HTTP inside a whole frame may fail in any way; the page is then a row with the reason.
    except Exception as error:  # noqa: BLE001
        return BadRecord(
            position, "unreadable", f"the response cannot be read: {type(error).__name__}: {error}", raw_of(data)
        )
    if len(body) > options.max_record_bytes:
        return BadRecord(
            position,
            "too_large",
            f"a page over max_record_bytes ({options.max_record_bytes}) when unpacked",
            raw_of(data),
        )
    page = page_record(position, body, options, declared[1] if declared else "")
    if isinstance(page, BadRecord):
        return page
    headers = {"url": "WARC-Target-URI", "date": "WARC-Date"}
    about = {name: record.rec_headers.get_header(header) or "" for name, header in headers.items()}
    return Record(position, {**page.data, **about, "status": http.get_statuscode()})
