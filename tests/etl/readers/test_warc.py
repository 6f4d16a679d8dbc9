import gzip
import io
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from etl.readers.compression import decompressed
from etl.readers.record import BadRecord, ReadOptions
from etl.readers.warc import read_warc

PAGE = "<html><head><title>Page {n}</title></head><body><article><p>Paragraph number {n}, long enough to be taken for the text of a page.</p></article></body></html>"


def response(
    n: int, body: bytes | None = None, kind: str = "text/html; charset=utf-8", headers=(), packed: bool = False
) -> bytes:
    out = io.BytesIO()
    writer = WARCWriter(out, gzip=packed)
    http = StatusAndHeaders("200 OK", [("Content-Type", kind), *headers], protocol="HTTP/1.1")
    payload = io.BytesIO(PAGE.format(n=n).encode() if body is None else body)
    about = {"WARC-Date": "2024-05-06T07:08:09Z", "WARC-Record-ID": f"<urn:uuid:00000000-0000-0000-0000-{n:012}>"}
    writer.write_record(
        writer.create_warc_record(
            f"https://example.org/{n}", "response", payload, http_headers=http, warc_headers_dict=about
        )
    )
    return out.getvalue()


def request(n: int) -> bytes:
    out = io.BytesIO()
    writer = WARCWriter(out, gzip=False)
    http = StatusAndHeaders("GET / HTTP/1.1", [("Accept", "text/html")], is_http_request=True)
    writer.write_record(writer.create_warc_record(f"https://example.org/{n}", "request", http_headers=http))
    return out.getvalue()


def read(data: bytes, suffix: str = "", **options) -> list:
    return list(read_warc(decompressed(io.BytesIO(data), suffix), ReadOptions(**options)))


def brief(items: list) -> list:
    return [(item.position, item.reason if isinstance(item, BadRecord) else item.data["title"]) for item in items]


def test_pages_are_records_and_the_rest_is_passed_over():
    (first, second) = read(request(0) + response(1) + response(2, b"\x89PNG", "image/png") + response(3))
    assert first.data == {
        "text": "Paragraph number 1, long enough to be taken for the text of a page.",
        "title": "Page 1",
        "url": "https://example.org/1",
        "date": "2024-05-06T07:08:09Z",
        "status": "200",
    }
    assert (second.position, second.data["title"]) == ("3", "Page 3")


def test_bodies_as_servers_send_them():
    page = PAGE.format(n=1).encode()
    chunked = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (page[:50], page[50:90], page[90:], b""))
    data = response(1, chunked, headers=[("Transfer-Encoding", "chunked")]) + response(
        2, gzip.compress(page), headers=[("Content-Encoding", "gzip")]
    )
    legacy = response(
        3,
        "<html><title>标题</title><body><p>这是一段足够长的正文，用来测试编码声明。</p></body></html>".encode("gbk"),
        "text/html; charset=gbk",
    )
    assert brief(read(data + legacy)) == [("0", "Page 1"), ("1", "Page 1"), ("2", "标题")]


def test_a_long_page_is_read_to_its_end():
    body = (
        PAGE.format(n=1)
        .replace("</article>", "<p>More of the text, again and again.</p>" * 3_000 + "<p>The very end.</p></article>")
        .encode()
    )
    packed = gzip.compress(body)
    chunked = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:30_000], body[30_000:], b""))
    for data in (
        response(1, body),
        response(1, packed, headers=[("Content-Encoding", "gzip")]),
        response(1, chunked, headers=[("Transfer-Encoding", "chunked")]),
    ):
        (record,) = read(data)
        assert record.data["text"].endswith("The very end.")
        assert len(record.data["text"]) > 100_000


def test_an_empty_page_is_told_with_its_position():
    assert brief(read(response(1) + response(2, b"<html></html>") + response(3))) == [
        ("0", "Page 1"),
        ("1", "empty_text"),
        ("2", "Page 3"),
    ]


@pytest.mark.parametrize("packed", [False, True])
def test_a_cut_file_gives_what_came_before_and_one_truncated(packed):
    whole = response(1, packed=packed) + response(2, packed=packed)
    assert brief(read(whole[:-60], ".gz" if packed else "")) == [("0", "Page 1"), ("1", "truncated")]


def test_reading_goes_on_after_a_damaged_record():
    damaged = response(2).replace(b"Content-Length", b"Content-Lengxx")
    assert brief(read(response(1) + damaged + response(3))) == [("0", "Page 1"), ("1", "unreadable"), ("2", "Page 3")]


def test_reading_goes_on_after_a_damaged_gzip_member():
    for at in range(12, len(member := response(2, packed=True)), 7):
        damaged = bytearray(member)
        damaged[at] ^= 0xFF
        found = brief(read(response(1, packed=True) + damaged + response(3, packed=True), ".gz"))
        assert (found[0], found[-1][1]) == (("0", "Page 1"), "Page 3"), at
        assert any(what in ("unreadable", "truncated") for _, what in found), at


def test_only_pages_count_against_the_bound_and_memory_stays_bounded():
    video, page = response(1, bytes(30_000_000), "video/mp4"), response(2, b"<p>" + b"x" * 30_000_000)
    small = response(3)
    tracemalloc.start()
    items = read(video + page + small, max_record_bytes=100_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert brief(items) == [("1", "too_large"), ("2", "Page 3")]
    assert peak < 130_000_000  # the input itself is held twice


def test_a_page_that_unfolds_beyond_the_bound_is_told():
    bomb = response(1, gzip.compress(bytes(5_000_000)), headers=[("Content-Encoding", "gzip")])
    assert brief(read(bomb + response(2), max_record_bytes=100_000)) == [("0", "too_large"), ("1", "Page 2")]


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 5_000), st.binary(max_size=8), st.integers(0, 8))
def test_no_damage_raises(at, junk, removed):
    data = response(1) + response(2) + response(3)
    at %= len(data)
    items = read(data[:at] + junk + data[at + removed :])
    assert len({item.position for item in items}) == len(items) >= 2


def test_what_is_no_warc_at_all_is_one_row():
    assert brief(read(b"some text\n" * 50)) == [("0", "unreadable")]
    assert read(b"") == []
