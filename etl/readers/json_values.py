"""JSON files: an array of objects, one object, or several of either one after the other. The position is the index of the object in the file.

The file is never held whole: a scanner over chunks follows strings and brackets to the end of one element, and only that is parsed. Where an element is
broken, reading goes on at the next place where an object begins with the same first key (elements of one array nearly always do), so that a
forgotten quote or bracket costs one record and not the rest of the file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from etl.readers.chunks import Chunk, utf8_chunks
from etl.readers.compression import StreamBroken
from etl.readers.json_lines import json_record
from etl.readers.record import BadRecord, ByteStream, ReadOptions, Record, raw_of

_OUTSIDE_STRING = re.compile(rb'["{}\[\]]')
_INSIDE_STRING = re.compile(rb'["\\]')
_BETWEEN = re.compile(rb"[\s,]*")
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_STRAY_IN_ARRAY = re.compile(rb"[^\[\]{,]+|.", re.DOTALL)
_STRAY_OUTSIDE = re.compile(rb"[^\[{]+")
_FIRST_KEY = re.compile(rb'\{\s*("(?:[^"\\]|\\.)*")\s*:')
_CLOSING = b"}], \t\r\n"

# From this size on an element is tried early, so that one without an end does not swallow megabytes before it is given up.
_SUSPECT = 1 << 16
# An error this near to the end of what has been read may only mean that more is to come.
_MARGIN = 16
_HEAD = 8_000


def read_json_values(stream: ByteStream, options: ReadOptions) -> Iterator[Record | BadRecord]:
    """Each object of the file as a record, whatever stands in its place as a bad record. A file that ends too early ends with one `truncated`."""
    elements = _Elements(utf8_chunks(stream, options.encoding), options.max_record_bytes)
    index = 0
    while (item := elements.take()) is not None:
        yield replace(item, position=str(index))
        index += 1


@dataclass(slots=True)
class _Brackets:
    """How deep inside brackets a scan is, and whether inside a string; carried over from chunk to chunk."""

    depth: int = 0
    in_string: bool = False
    escaped: bool = False

    def end(self, data: bytearray, at: int) -> int:
        """Scans on from `at`: the index after the bracket that closes the first one, or -1 where `data` ends before it."""
        if self.escaped and at < len(data):
            at, self.escaped = at + 1, False
        while found := (_INSIDE_STRING if self.in_string else _OUTSIDE_STRING).search(data, at):
            char, at = data[found.start()], found.end()
            if char == 0x5C:
                if at == len(data):
                    self.escaped = True
                    return -1
                at += 1
            elif char == 0x22:
                self.in_string = not self.in_string
            else:
                self.depth += 1 if char in b"{[" else -1
                if self.depth == 0:
                    return at
        return -1


class _Elements:
    """Takes one element after the other from the front of a buffer that is refilled from the chunks."""

    def __init__(self, chunks: Iterator[Chunk], limit: int) -> None:
        self._chunks = chunks
        self._limit = limit
        self._data = bytearray()
        self._broken: StreamBroken | None = None
        self._in_array = False
        self._first_key = b""
        self._seen = False

    def take(self) -> Record | BadRecord | None:
        """The next element, None after the last one."""
        while True:
            del self._data[: self._match_end(_BETWEEN)]
            if not self._data:
                if not self._more():
                    return self._last()
                continue
            self._seen = True
            char = bytes(self._data[:1])
            if char == (b"]" if self._in_array else b"["):
                self._in_array = not self._in_array
                del self._data[:1]
            else:
                return self._bracketed() if char in (b"{", b"[") else self._stray()

    def _last(self) -> BadRecord | None:
        if self._broken:
            return self._cut(b"")
        if self._in_array:
            self._in_array = False
            return BadRecord("", "truncated", "the file ends before its array does")
        if not self._seen:
            self._seen = True
            return BadRecord("", "bad_json", "the file is empty, which is not JSON")
        return None

    def _more(self) -> bool:
        for chunk in self._chunks:
            if isinstance(chunk, StreamBroken):
                self._broken, self._chunks, self._seen = chunk, iter(()), True
                return False
            if chunk:
                self._data += chunk
                return True
        return False

    def _match_end(self, pattern: re.Pattern[bytes]) -> int:
        found = pattern.match(self._data)
        return found.end() if found else 0

    def _cut_off(self, size: int) -> bytes:
        taken = bytes(self._data[:size])
        del self._data[:size]
        return taken

    def _stray(self) -> Record | BadRecord:
        """What is neither an object nor an array: a bare value, or garbage up to the next place that can be something."""
        pattern = _STRAY_IN_ARRAY if self._in_array else _STRAY_OUTSIDE
        if self._in_array and self._data.startswith(b'"'):
            while not self._match_end(_STRING) and len(self._data) <= self._limit and self._more():
                continue
            pattern = _STRING if self._match_end(_STRING) else pattern
        while (end := self._match_end(pattern)) == len(self._data) and end <= self._limit and self._more():
            continue
        return json_record("", self._cut_off(end).rstrip())

    def _bracketed(self) -> Record | BadRecord:
        brackets, at, suspect = _Brackets(), 0, _SUSPECT
        while (end := brackets.end(self._data, at)) < 0:
            at = len(self._data)
            if at >= suspect:
                suspect = 2 * at
                data = bytes(self._data)
                if _is_broken(data) and (start := self._next_start(data, -1)) < at:
                    return self._give_up(start)
            if at > self._limit:
                return self._too_large(brackets)
            if not self._more():
                return self._unfinished()
        if end > self._limit:
            return self._oversize(self._cut_off(end), end)
        item = json_record("", bytes(self._data[:end]))
        if isinstance(item, BadRecord) and item.reason in ("bad_json", "bad_encoding"):
            data = bytes(self._data[:end])
            if (lost_at := _error_at(data)) < 0:
                return self._give_up(end)
            return self._give_up(self._next_start(data, lost_at if _is_closed(data) else -1))
        self._remember_key()
        del self._data[:end]
        return item

    def _give_up(self, end: int) -> BadRecord:
        """The first `end` bytes as the bad record that they are."""
        data = self._cut_off(end)
        item = json_record("", data)
        return item if isinstance(item, BadRecord) else BadRecord("", "bad_json", "the object has no end", raw_of(data))

    def _next_start(self, data: bytes, lost_at: int) -> int:
        """Where in `data` the next element begins, its length for nowhere. With `lost_at` (where the parser failed in an element whose brackets are
        balanced) only a place right there counts, so that an object nested in a broken one is never taken for an element."""
        key = _FIRST_KEY.match(data)
        name = key[1] if key else self._first_key
        pattern = rb"(?<=[,}\]\s])\{\s*" + re.escape(name) + rb"\s*:" if name else rb"(?<=[,}\]\s])\{"
        starts = (found.start() for found in re.finditer(pattern, data) if found.start())
        return next((start for start in starts if lost_at < 0 or _meet(data, lost_at, start)), len(data))

    def _remember_key(self) -> None:
        key = _FIRST_KEY.match(self._data)
        self._first_key = key[1] if key else self._first_key

    def _unfinished(self) -> Record | BadRecord:
        """The file ends inside the element at the front."""
        data = bytes(self._data)
        start = self._next_start(data, -1)
        if start < len(data):
            return self._give_up(start)
        self._data.clear()
        return self._cut(data)

    def _cut(self, data: bytes) -> BadRecord:
        self._in_array = False
        broken, self._broken = self._broken, None
        if broken:
            return BadRecord("", broken.reason, str(broken), raw_of(data))
        return BadRecord("", "truncated", "the file ends inside this record", raw_of(data))

    def _too_large(self, brackets: _Brackets) -> BadRecord:
        """Reads on to the end of an element that is over the limit, and keeps only its beginning."""
        head = bytes(self._data[:_HEAD])
        size = len(self._data)
        self._data.clear()
        while self._more():
            end = brackets.end(self._data, 0)
            size += len(self._data) if end < 0 else end
            del self._data[: len(self._data) if end < 0 else end]
            if end >= 0:
                break
        return self._oversize(head, size)

    def _oversize(self, head: bytes, size: int) -> BadRecord:
        error = f"an element of {size} bytes is over max_record_bytes ({self._limit})"
        return BadRecord("", "too_large", error, raw_of(head[:_HEAD]))


def _is_closed(data: bytes) -> bool:
    return data[:1] + data[-1:] in (b"{}", b"[]")


def _meet(data: bytes, lost_at: int, start: int) -> bool:
    """Whether the parser failed because an element begins at `start`: only brackets are left in between, or it took the element's first quote for
    the end of a string."""
    if start < lost_at:
        return data[start + 1 : lost_at].strip() == b'"'
    return not data[lost_at:start].strip(_CLOSING)


def _error_at(data: bytes) -> int:
    """Where the parser fails, as an index of bytes; -1 where the structure is right."""
    try:
        json.loads(data.decode("latin-1"))
    except json.JSONDecodeError as error:
        return error.pos
    except (RecursionError, ValueError):
        return -1
    return -1


def _is_broken(data: bytes) -> bool:
    try:
        json.JSONDecoder().raw_decode(data.decode("latin-1"))
    except json.JSONDecodeError as error:
        return error.pos < len(data) - _MARGIN and not error.msg.startswith("Unterminated string")
    except (RecursionError, ValueError):
        return False
    return False
