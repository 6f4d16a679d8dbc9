import io
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.readers.chunks import guess_encoding, lines, utf8_chunks, whole
from etl.readers.compression import StreamBroken
from etl.readers.record import BadRecord


class Drip(io.BytesIO):
    """Gives one to three bytes a read, as a slow network may."""

    def read(self, size=-1):
        return super().read(min(3, size) if size > 0 else 1)


def text_of(data, encoding):
    return b"".join(utf8_chunks(Drip(data), encoding)).decode()


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "gb18030", "big5", "shift_jis", "utf-7"]
)
def test_every_encoding_becomes_utf8_without_a_mark(encoding):
    assert (
        text_of("\ufeff漢字\n{}".encode(encoding) if "le" in encoding else "漢字\n{}".encode(encoding), encoding)
        == "漢字\n{}"
    )


def test_bytes_outside_the_encoding_stay_undecodable_and_their_neighbours_whole():
    data = b"".join(
        utf8_chunks(io.BytesIO("好\n".encode("gb18030") + b"\xff\xff\n" + "天\n".encode("gb18030")), "gb18030")
    )
    first, second, third = data.splitlines()
    assert (first.decode(), third.decode()) == ("好", "天")
    with pytest.raises(UnicodeDecodeError):
        second.decode()


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("He said: “it costs £5 – or €6” and left. " * 20, "cp1252"),
        ("He said: “it costs £5 – or 6” and left. " * 20, "mac_roman"),
        ("天地玄黄，宇宙洪荒。日月盈昃，辰宿列张。" * 20, "gb18030"),
        ("Съешь же ещё этих мягких французских булок, да выпей чаю. " * 20, "cp1251"),
        ("plain", "utf-8"),
    ],
)
def test_the_guess_reads_the_text_right(text, encoding):
    data = text.encode(encoding)
    assert data.decode(guess_encoding(data)) == text
    assert text_of(data, "auto") == text


@settings(deadline=None)
@given(st.lists(st.text("ab\r\n", max_size=8)).map("".join), st.booleans(), st.integers(1, 4))
def test_lines_put_together_are_the_text_and_are_numbered_from_one(text, universal, size):
    data = text.encode()
    chunks = [data[at : at + size] for at in range(0, len(data), size)]
    got = list(lines(chunks, 1_000, universal=universal))
    assert [line.data for line in got] == data.splitlines(keepends=True) if universal else data.split(b"\n")
    assert b"".join(line.data for line in got) == data
    assert [line.number for line in got] == list(range(1, len(got) + 1))


def test_a_line_over_the_limit_is_dropped_and_the_next_is_read():
    got = list(lines([b"12345\n123456\n", b"1234567890" * 9_999, b"\r\n12345\r\n"], 5))
    assert [(line.number, line.reason) for line in got] == [(1, ""), (2, "too_large"), (3, "too_large"), (4, "")]
    assert "99992 bytes" in got[2].error


def test_a_huge_line_does_not_stay_in_memory():
    tracemalloc.start()
    got = list(lines((bytes(1 << 16) for _ in range(1_000)), 100_000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [line.reason for line in got] == ["too_large"]
    assert peak < 1_000_000


def test_a_cut_gives_the_half_line_with_the_reason_and_reading_goes_on():
    got = list(lines([b"one\nhal", StreamBroken("truncated", "cut", 7), b"two\n"], 100))
    assert [(line.number, line.data, line.reason) for line in got] == [
        (1, b"one\n", ""),
        (2, b"hal", "truncated"),
        (3, b"two\n", ""),
    ]


def test_a_whole_document_is_bounded():
    assert whole([b"ab", b"cd"], 4) == b"abcd"
    assert whole([b"ab", b"cde"], 4) == BadRecord(
        "0", "too_large", "a document of over max_record_bytes (4 bytes)", "abcde"
    )
