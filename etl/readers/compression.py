"""Decompression that knows where it stopped.

A stream here never ends early in silence: data that is cut or damaged raises `StreamBroken` once, after everything before it was given out. Reading
on then continues at the next gzip member, zstd frame or bzip2 stream that can be found, and gives b"" where there is none.
"""

from __future__ import annotations

import bz2
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import zstandard

from etl.readers.record import ByteStream

_CHUNK = 1 << 16
# Damage may be noticed only after members that follow were taken for a part of the damaged one: search again from this far back.
_KEEP = 1 << 20
_SHORTEST_MAGIC, _LONGEST_MAGIC = 4, 10
_MAX_ZSTD_WINDOW = 1 << 31


class StreamBroken(Exception):
    """The stream is cut (`truncated`) or damaged (`unreadable`) after `offset` bytes of decompressed data. Read on for what follows."""

    def __init__(self, reason: str, error: str, offset: int) -> None:
        super().__init__(f"{error} (after {offset} decompressed bytes)")
        self.reason = reason
        self.offset = offset


@dataclass(frozen=True, slots=True)
class _Codec:
    name: str
    magic: re.Pattern[bytes]
    make: Callable[[], Any]
    feed: Callable[[Any, bytes], bytes]
    # Compressed bytes fed at once: bounds what a decompression bomb unfolds in one go (gzip 2 MB, zstd 16 MB; bzip2 has a bound of its own).
    piece: int
    padding: bytes = b""


_CODECS = {
    ".gz": _Codec(
        "gzip",
        re.compile(rb"\x1f\x8b\x08[\x00-\x1f]"),
        lambda: zlib.decompressobj(wbits=31),
        lambda engine, piece: bytes(engine.decompress(piece)),
        piece=2_048,
        padding=b"\0",
    ),
    ".zst": _Codec(
        "zstd",
        re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18"),
        lambda: zstandard.ZstdDecompressor(max_window_size=_MAX_ZSTD_WINDOW).decompressobj(),
        lambda engine, piece: bytes(engine.decompress(piece)),
        piece=512,
    ),
    ".bz2": _Codec(
        "bzip2",
        re.compile(rb"BZh[1-9](?:1AY&SY|\x17\x72\x45\x38\x50\x90)"),
        bz2.BZ2Decompressor,
        lambda engine, piece: bytes(engine.decompress(piece, max_length=1 << 20)),
        piece=2_048,
    ),
}
COMPRESSIONS = tuple(_CODECS)
_ENGINE_ERRORS = (zlib.error, zstandard.ZstdError, OSError, EOFError, ValueError, MemoryError)


def compression_of(path: str) -> str:
    """The compression suffix that a file's name ends with, empty for none."""
    return next((suffix for suffix in COMPRESSIONS if path.lower().endswith(suffix)), "")


def decompressed(stream: ByteStream, suffix: str) -> ByteStream:
    """The stream behind a compression suffix, or the stream itself for an empty one."""
    return Decompressed(stream, _CODECS[suffix]) if suffix else stream


class Decompressed:
    """Reads members, frames or streams one after the other. See the head of this module for what happens on damage."""

    def __init__(self, stream: ByteStream, codec: _Codec) -> None:
        self._stream = stream
        self._codec = codec
        self._buffer = b""
        self._at = 0
        # Where the member being read began, or a later place once that is _KEEP bytes back.
        self._start = 0
        self._engine: Any = None
        self._offset = 0
        self._seen = False
        self._ended = False
        self._broken: StreamBroken | None = None

    def read(self, size: int = _CHUNK, /) -> bytes:
        """About `size` next bytes (it can be more, by one fed piece), b"" at the end. Errors: StreamBroken."""
        parts: list[bytes] = []
        got = 0
        while got < size and not self._broken and not self._ended:
            part = self._step()
            parts.append(part)
            got += len(part)
            self._offset += len(part)
        if self._broken and not got:
            broken, self._broken = self._broken, None
            raise broken
        return b"".join(parts)

    def _step(self) -> bytes:
        if self._engine is not None and not getattr(self._engine, "needs_input", True):
            return self._feed(b"")
        if self._at >= len(self._buffer) and not self._refill():
            self._end()
            return b""
        if self._engine is None:
            self._start_member()
            return b""
        return self._feed(self._buffer[self._at : self._at + self._codec.piece])

    def _feed(self, piece: bytes) -> bytes:
        self._at += len(piece)
        try:
            data = self._codec.feed(self._engine, piece)
        except _ENGINE_ERRORS as error:
            self._fail("unreadable", f"damaged {self._codec.name} data: {error}")
            self._find_member()
            return b""
        if self._engine.eof:
            self._at -= len(self._engine.unused_data)
            self._engine = None
        return data

    def _start_member(self) -> None:
        while len(self._buffer) - self._at < _LONGEST_MAGIC and self._refill():
            continue
        if self._codec.padding:
            self._at = len(self._buffer) - len(self._buffer[self._at :].lstrip(self._codec.padding))
        if self._at == len(self._buffer):
            return
        if self._codec.magic.match(self._buffer, self._at):
            self._engine, self._seen, self._start = self._codec.make(), True, self._at
            return
        if len(self._buffer) - self._at < _SHORTEST_MAGIC:
            self._fail("truncated", f"the {self._codec.name} data is cut inside a header")
        else:
            self._fail("unreadable", f"these bytes are not {self._codec.name}, though the file's name says so")
        self._start = self._at
        self._find_member()

    def _find_member(self) -> None:
        """Goes to the first place after the start of what has just failed where a member may begin."""
        self._at, self._engine = self._start + 1, None
        while not (found := self._codec.magic.search(self._buffer, self._at)):
            self._at = max(self._at, len(self._buffer) - _LONGEST_MAGIC + 1)
            if not self._refill():
                self._at = len(self._buffer)
                return
        self._at = found.start()

    def _refill(self) -> bool:
        more = self._stream.read(_CHUNK)
        if self._engine is None or self._at - self._start > _KEEP:
            self._start = self._at
        self._buffer = self._buffer[self._start :] + more
        self._at, self._start = self._at - self._start, 0
        return bool(more)

    def _end(self) -> None:
        if self._engine is not None or not self._seen:
            self._fail("truncated", f"the {self._codec.name} data is cut")
            self._find_member()
        self._ended = self._at >= len(self._buffer)

    def _fail(self, reason: str, error: str) -> None:
        self._broken, self._seen = StreamBroken(reason, error, self._offset), True
