import io

from etl.readers.plain_text import read_text
from etl.readers.record import ReadOptions, Record


def read(data: bytes, **options):
    (item,) = read_text(io.BytesIO(data), ReadOptions(**options))
    return item


def test_a_file_is_one_record_with_plain_line_ends():
    assert read("\ufeff第一\r\n第二\r".encode()) == Record("0", {"text": "第一\n第二\n"})
    assert read("好".encode("gb18030"), encoding="gb18030") == Record("0", {"text": "好"})
    assert read(b"") == Record("0", {"text": ""})


def test_bad_bytes_and_large_files_are_one_bad_record():
    assert (read(b"ab\xff").reason, read(b"ab\xff").error) == (
        "bad_encoding",
        "byte 2 of the file is not in its encoding",
    )
    assert read(b"abc", max_record_bytes=2).reason == "too_large"
