"""Make the binary and the damaged files of `samples/corpus/` from the readable originals beside this script.

    python samples/pack.py [CORPUS_FOLDER]

No clock and no random number is involved: with the same library versions, running it again gives the same bytes.
Needs pyarrow (for Zstandard and Parquet); everything else is the standard library.
"""

from __future__ import annotations

import gzip
import json
import sys
import zlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

HERE = Path(__file__).resolve().parent
ORIGINALS = HERE / "originals"
CRAWL_DATE = "2024-01-01T00:00:00Z"
OVER_LONG_BYTES = 66_000  # just over the bound of 65 536 bytes that the sample config sets


def zstd(chunks: list[bytes]) -> bytes:
    """One Zstandard frame in which each chunk ends a block, so that a cut file keeps the chunks before the cut."""
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as out:
        for chunk in chunks:
            out.write(chunk)
            out.flush()
    return bytes(sink.getvalue())


def gzip_blocks(chunks: list[bytes]) -> bytes:
    """One gzip member without a time stamp in which each chunk ends a block, for the same reason."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    blocks = [packer.compress(chunk) + packer.flush(zlib.Z_SYNC_FLUSH) for chunk in chunks]
    return b"".join(blocks) + packer.flush()


def parquet(rows: list[dict[str, object]]) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), sink, compression="zstd", row_group_size=4)
    return bytes(sink.getvalue())


def cut(whole: bytes, last_block: bytes) -> bytes:
    """`whole` without the second half of `last_block`, so that the cut lies inside the last record."""
    return whole[: len(whole) - len(last_block) // 2]


def warc_record(kind: str, number: int, headers: dict[str, str], body: bytes) -> bytes:
    """One WARC 1.0 record, a gzip member of its own as the format asks."""
    head = {
        "WARC-Type": kind,
        "WARC-Record-ID": f"<urn:uuid:00000000-0000-4000-8000-{number:012d}>",
        "WARC-Date": CRAWL_DATE,
        **headers,
        "Content-Length": str(len(body)),
    }
    lines = "WARC/1.0\r\n" + "".join(f"{key}: {value}\r\n" for key, value in head.items())
    return gzip.compress(lines.encode() + b"\r\n" + body + b"\r\n\r\n", mtime=0)


def warc(pages: list[Path]) -> bytes:
    """A crawl: a warcinfo record, then for each page its request (to be skipped) and its response."""
    records = [
        warc_record("warcinfo", 0, {"Content-Type": "application/warc-fields"}, b"software: samples/pack.py\r\n")
    ]
    for number, page in enumerate(pages, start=1):
        target = {"WARC-Target-URI": f"https://crawl.example.org/{page.stem}"}
        html = page.read_bytes()
        reply = b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: %d\r\n\r\n" % len(html)
        ask = b"GET /%s HTTP/1.1\r\nHost: crawl.example.org\r\n\r\n" % page.stem.encode()
        for kind, body, position in (("request", ask, 2 * number - 1), ("response", reply + html, 2 * number)):
            content_type = {"Content-Type": f"application/http; msgtype={kind}"}
            records.append(warc_record(kind, position, target | content_type, body))
    return b"".join(records)


def over_long(line: bytes) -> bytes:
    """Repeat what stands between the <REPEAT> marks until the line is longer than the bound."""
    before, sentence, after = line.replace(b"</REPEAT>", b"<REPEAT>").split(b"<REPEAT>")
    return before + sentence * (OVER_LONG_BYTES // len(sentence) + 1) + after


def lines_of(name: str) -> list[bytes]:
    return (ORIGINALS / name).read_bytes().splitlines(keepends=True)


def rows_of(name: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in lines_of(name)]


def good_files() -> dict[str, bytes]:
    return {
        "engineering/engineering.jsonl.gz": gzip.compress(b"".join(lines_of("engineering.jsonl")), mtime=0),
        "zh_science/zh_science.jsonl.zst": zstd(lines_of("zh_science.jsonl")),
        "medicine/medicine.parquet": parquet(rows_of("medicine.jsonl")),
        "crawl/crawl.warc.gz": warc(sorted((ORIGINALS / "crawl").glob("*.html"))),
    }


def broken_files() -> dict[str, bytes]:
    gz_lines, zst_lines = lines_of("broken/truncated_gz.jsonl"), lines_of("broken/truncated_zst.jsonl")
    long_line, *others = lines_of("broken/too_large.jsonl")
    columns = parquet(rows_of("broken/truncated_parquet.jsonl"))
    gz_tail = gzip_blocks(gz_lines)[len(gzip_blocks(gz_lines[:-1])) :]
    zst_tail = zstd(zst_lines)[len(zstd(zst_lines[:-1])) :]
    return {
        "broken/truncated.jsonl.gz": cut(gzip_blocks(gz_lines), gz_tail),
        "broken/truncated.jsonl.zst": cut(zstd(zst_lines), zst_tail),
        "broken/truncated.parquet": columns[: len(columns) * 2 // 3],
        "broken/too_large.jsonl": b"".join([over_long(long_line), *others]),
        "broken/bad_utf8.jsonl": b"".join(lines_of("broken/bad_utf8.jsonl")).replace(b"<FF>", b"\xff"),
        "broken/nul_byte.txt": b"".join(lines_of("broken/nul_byte.txt")).replace(b"<NUL>", b"\0"),
        "broken/gbk.txt": b"".join(lines_of("broken/gbk.txt")).decode().encode("gbk"),
    }


def pack(corpus: Path) -> list[Path]:
    """Write every packed file below `corpus` and return the paths."""
    written = []
    for name, content in (good_files() | broken_files()).items():
        path = corpus / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        written.append(path)
    return written


if __name__ == "__main__":
    for path in pack(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "corpus"):
        print(f"{path.stat().st_size:>8} {path}")
