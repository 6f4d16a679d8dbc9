import pytest

from etl.readers.record import RAW_CHARS, REASONS, BadRecord, ReadOptions, raw_of


def test_a_reason_outside_the_closed_set_is_refused():
    with pytest.raises(ValueError, match="'typo' is no quarantine reason"):
        BadRecord("1", "typo", "")


def test_every_reason_has_one_line_of_explanation():
    assert all(text and "\n" not in text for text in REASONS.values())


@pytest.mark.parametrize("content", [b"\xff\x00" * 9_000, "\ud800\0" * 9_000, {"k": "\0\ud800" * 9_000}, {"k": {1, 2}}])
def test_raw_is_printable_storable_and_bounded(content):
    raw = raw_of(content)
    assert 0 < len(raw) <= RAW_CHARS
    assert raw.encode("utf-8").isascii() or "�" in raw
    assert all(char.isprintable() for char in raw)


def test_raw_keeps_line_breaks_and_any_script():
    assert raw_of("题\n\ttext".encode()) == "题\n\ttext"


@pytest.mark.parametrize("encoding", ["nonsense", "base64"])
def test_an_unknown_encoding_is_refused_by_name(encoding):
    with pytest.raises(ValueError, match=f"encoding is '{encoding}'"):
        ReadOptions(encoding=encoding)


def test_sizes_and_delimiters_that_cannot_work_are_refused():
    with pytest.raises(ValueError, match="max_record_bytes is 0"):
        ReadOptions(max_record_bytes=0)
    with pytest.raises(ValueError, match="one character"):
        ReadOptions(delimiter="||")
