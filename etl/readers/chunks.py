"""From an open file to UTF-8 bytes in chunks, and from chunks to lines of bounded length.

Any encoding becomes UTF-8 here, so that the formats know one encoding only. Bytes that the file's encoding does not allow become bytes that UTF-8 does not
allow: each reader then finds them in the one record that has them.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

from etl.readers.compression import StreamBroken
from etl.readers.record import AUTO, UNDECODABLE, BadRecord, ByteStream, raw_of

Chunk = bytes | StreamBroken

_CHUNK = 1 << 18
_SAMPLE = 1 << 18
_HEAD = 8_000
_BOM = b"\xef\xbb\xbf"
_LINE = re.compile(rb"[^\n]*\n|[^\n]+")
_TYPOGRAPHY = "‘’“”–—…£€"

codecs.register_error("boostqa.mark", lambda error: (UNDECODABLE, getattr(error, "end", 0)))


def raw_chunks(stream: ByteStream) -> Iterator[Chunk]:
    """The bytes of a stream, with a `StreamBroken` in their place wherever it is cut or damaged."""
    while True:
        try:
            chunk = stream.read(_CHUNK)
        except StreamBroken as broken:
            yield broken
            continue
        if not chunk:
            return
        yield chunk


def utf8_chunks(stream: ByteStream, encoding: str) -> Iterator[Chunk]:
    """The stream as UTF-8 without a byte order mark; `encoding` is a Python codec, or `auto` to guess from the first 256 KiB."""
    chunks = raw_chunks(stream)
    head, broken = _head(chunks, _SAMPLE if encoding == AUTO else len(_BOM))
    name = codecs.lookup(guess_encoding(head) if encoding == AUTO else encoding).name
    if name in ("utf-8", "utf-8-sig"):
        return chain([head.removeprefix(_BOM)], broken, chunks)
    return _transcoded(chain([head], broken, chunks), name)


def whole(chunks: Iterable[Chunk], limit: int) -> bytes | BadRecord:
    """All chunks as one document, or the bad record that stands for it; memory stays bounded by `limit` bytes."""
    parts: list[bytes] = []
    size = 0
    for chunk in chunks:
        if isinstance(chunk, StreamBroken):
            return BadRecord("0", chunk.reason, str(chunk), raw_of(b"".join(parts)))
        size += len(chunk)
        if size > limit:
            return BadRecord(
                "0",
                "too_large",
                f"a document of over max_record_bytes ({limit} bytes)",
                raw_of(b"".join([*parts, chunk])),
            )
        parts.append(chunk)
    return b"".join(parts)


def guess_encoding(sample: bytes) -> str:
    """The likely encoding of a text: UTF-8 where it is valid, else charset-normalizer's guess, with Western typography deciding among single-byte ones.

    That last rule is there because charset-normalizer cannot tell code pages apart on mostly English text (measured on 48 articles in cp1252 and Mac
    Roman: pound signs became Polish letters). Curly quotes and dashes as the majority of the non-ASCII characters can be no accident.
    """
    try:
        codecs.getincrementaldecoder("utf-8")().decode(sample)
        return "utf-8"
    except UnicodeDecodeError:
        pass
    from charset_normalizer import from_bytes

    shares = {name: _typography_share(sample, name) for name in ("cp1252", "mac_roman")}
    likely = max(shares, key=lambda name: shares[name])
    best = from_bytes(sample).best()
    if shares[likely] > 0.5 or best is None or (best.language == "English" and shares[likely] > 0):
        return likely
    return best.encoding


@dataclass(frozen=True, slots=True)
class Line:
    """A line with its number from 1. With a `reason` it could not be read whole: `data` is then its beginning, of a length good for showing."""

    number: int
    data: bytes
    reason: str = ""
    error: str = ""


def lines(chunks: Iterable[Chunk], limit: int, *, universal: bool = False) -> Iterator[Line]:
    """Lines with their ends kept, split at \\n, or also at \\r if `universal`.

    Memory stays bounded by `limit` bytes: the rest of a longer line is read and dropped (`too_large`). Where the stream is cut or damaged, the partial
    line is given with that reason.
    """
    number, pending = 1, _Pending(limit)
    for piece in _pieces(chunks, universal):
        if isinstance(piece, StreamBroken):
            yield Line(number, pending.head(), piece.reason, str(piece))
        else:
            pending.add(piece)
            if not piece.endswith((b"\n", b"\r") if universal else b"\n"):
                continue
            yield pending.line(number)
        number, pending = number + 1, _Pending(limit)
    if pending.size:
        yield pending.line(number)


class _Pending:
    """The line being collected; keeps only its beginning once it is over the limit."""

    def __init__(self, limit: int) -> None:
        self.size = 0
        self._limit = limit
        self._parts: list[bytes] = []

    def add(self, piece: bytes) -> None:
        over = self.size > self._limit
        self.size += len(piece)
        if not over:
            self._parts.append(piece)
        if self.size > self._limit + 2 and not over:
            self._parts = [self.head()]

    def head(self) -> bytes:
        return b"".join(self._parts)[:_HEAD]

    def line(self, number: int) -> Line:
        data = b"".join(self._parts)
        if self.size <= self._limit + 2 and len(data.rstrip(b"\r\n")) <= self._limit:
            return Line(number, data)
        return Line(
            number, data[:_HEAD], "too_large", f"a line of {self.size} bytes is over max_record_bytes ({self._limit})"
        )


def _pieces(chunks: Iterable[Chunk], universal: bool) -> Iterator[Chunk]:
    carry = b""
    for chunk in chunks:
        if isinstance(chunk, StreamBroken):
            if carry:
                yield carry
                carry = b""
            yield chunk
            continue
        if universal:
            chunk = carry + chunk
            # A \r at the end of a chunk may be the first half of \r\n.
            carry = b"\r" if chunk.endswith(b"\r") else b""
            chunk = chunk.removesuffix(carry)
        yield from chunk.splitlines(keepends=True) if universal else _LINE.findall(chunk)
    if carry:
        yield carry


def _head(chunks: Iterator[Chunk], size: int) -> tuple[bytes, list[Chunk]]:
    data = b""
    for chunk in chunks:
        if isinstance(chunk, StreamBroken):
            return data, [chunk]
        data += chunk
        if len(data) >= size:
            break
    return data, []


def _transcoded(chunks: Iterable[Chunk], encoding: str) -> Iterator[Chunk]:
    decoder = codecs.getincrementaldecoder(encoding)(errors="boostqa.mark")
    first = True
    for chunk in chunks:
        if isinstance(chunk, StreamBroken):
            decoder.reset()
            yield chunk
            continue
        text = decoder.decode(chunk)
        yield (text.removeprefix("\ufeff") if first else text).encode("utf-8", "surrogatepass")
        first = False
    yield decoder.decode(b"", final=True).encode("utf-8", "surrogatepass")


def _typography_share(sample: bytes, encoding: str) -> float:
    try:
        text = sample.decode(encoding)
    except UnicodeDecodeError:
        return 0.0
    beyond_ascii = sum(not char.isascii() for char in text)
    return sum(map(text.count, _TYPOGRAPHY)) / max(beyond_ascii, 1)
