import io
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.readers.json_lines import read_json_lines
from etl.readers.record import BadRecord, ReadOptions, Record

LINES = [
    json.dumps({"id": n, "text": f"第 {n} line, “quoted” \\ {'x' * n}"}, ensure_ascii=n % 2 == 0).encode()
    for n in range(8)
]


def read(data: bytes, **options) -> list:
    return list(read_json_lines(io.BytesIO(data), ReadOptions(**options)))


def brief(data: bytes, **options) -> list:
    return [
        (item.position, item.reason if isinstance(item, BadRecord) else item.data) for item in read(data, **options)
    ]


def test_marks_blank_lines_and_line_ends_of_any_kind_are_fine():
    assert brief(b'\xef\xbb\xbf{"a": 1}\r\n\r\n  \n{"a": 2}\n{"a": 3}') == [
        ("1", {"a": 1}),
        ("4", {"a": 2}),
        ("5", {"a": 3}),
    ]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"a": }', "bad_json"),
        (b'{"a": 1', "bad_json"),
        (b'{"a": "\xff"}', "bad_encoding"),
        (b"[" * 10_000 + b"]" * 10_000, "bad_json"),
        (b'{"a": ' * 10_000 + b"}" * 10_000, "bad_json"),
        (b'{"a": ' + b"9" * 5_000 + b"}", "bad_json"),
        (b"[1]", "wrong_type"),
        (b'"text"', "wrong_type"),
        (b"null", "wrong_type"),
        (b'{"a": "' + b"x" * 30_000 + b'"}', "too_large"),
    ],
)
def test_a_bad_line_has_its_reason_and_touches_no_other(line, reason):
    got = brief(b'{"a": 1}\n' + line + b'\n{"a": 2}\n', max_record_bytes=25_000 if reason == "too_large" else 100_000)
    assert got == [("1", {"a": 1}), ("2", reason), ("3", {"a": 2})]


def test_values_that_json_parsers_disagree_on():
    (record,) = read(
        b'{"big": 123456789012345678901234567890, "nan": NaN, "inf": 1e999, "half": "\\ud800", "twice": 1, "twice": 2}'
    )
    assert record.data["big"] == 123456789012345678901234567890
    assert record.data["nan"] != record.data["nan"]
    assert record.data["inf"] == float("inf")
    assert record.data["half"] == "\ud800"
    assert record.data["twice"] == 2


def test_another_encoding_costs_only_the_line_that_is_not_in_it():
    data = '{"t": "好"}\n'.encode("gb18030") + b'{"t": "\xff"}\n' + '{"t": "天"}\n'.encode("gb18030")
    assert brief(data, encoding="gb18030") == [("1", {"t": "好"}), ("2", "bad_encoding"), ("3", {"t": "天"})]
    assert brief('{"t": "好"}\n{"t": "天"}'.encode("utf-16"), encoding="utf-16") == [
        ("1", {"t": "好"}),
        ("2", {"t": "天"}),
    ]


@settings(deadline=None)
@given(st.data())
def test_whatever_bytes_are_changed_the_other_lines_are_read(data):
    """Cut, flip, insert or remove bytes anywhere: no exception, no position twice, and each line that was not touched is there."""
    text = b"\n".join(LINES) + b"\n"
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(start + 60, len(text))))
    mutated = text[:start] + data.draw(st.binary(max_size=20)) + text[end:]
    got = read(mutated)
    assert len({item.position for item in got}) == len(got)
    assert all(item.reason in ("bad_json", "bad_encoding", "wrong_type") for item in got if isinstance(item, BadRecord))
    kept = text[:start].split(b"\n")[:-1] + text[end:].split(b"\n")[1:]
    values = [item.data for item in got if isinstance(item, Record)]
    assert all(json.loads(line) in values for line in kept if line)
    assert len(got) == sum(bool(line.strip()) for line in mutated.removeprefix(b"\xef\xbb\xbf").split(b"\n"))
