import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.readers.html_pages import page_record, read_html
from etl.readers.record import BadRecord, ReadOptions

PAGE = """<!DOCTYPE html><html><head><meta charset="{charset}"><title> The
 Title </title></head><body><nav><a href="/">Home</a> <a href="/x">Menu</a></nav><article><h1>Heading</h1>
<p>The first paragraph says something – at a length worth extracting from the page.</p>
<p>Der zweite Absatz enthält Umlaute: ä ö ü, und ist ebenfalls lang genug für alle.</p><pre><code>def f(x):
    return x</code></pre></article><footer>Copyright notice</footer></body></html>"""


def read(data: bytes, **options):
    (item,) = read_html(io.BytesIO(data), ReadOptions(**options))
    return item


def test_paragraphs_title_and_code_without_menus():
    record = read(PAGE.format(charset="utf-8").encode())
    assert record.data["title"] == "The Title"
    assert "extracting from the page.\n\n" in record.data["text"]
    assert "    return x" in record.data["text"]
    assert "Menu" not in record.data["text"]


@pytest.mark.parametrize("charset", ["windows-1252", "gb18030", "utf-8", "iso-8859-1"])
def test_a_page_says_its_own_encoding(charset):
    data = PAGE.format(charset=charset).encode("cp1252" if charset == "iso-8859-1" else charset)
    assert "ä ö ü" in read(data).data["text"]


def test_the_charset_may_come_over_http_from_the_configuration_or_from_a_guess():
    data = PAGE.format(charset="").encode("cp1252")
    assert read(data).reason == "bad_encoding"
    assert "ä ö ü" in page_record("0", data, ReadOptions(), "windows-1252").data["text"]
    assert "ä ö ü" in read(data, encoding="cp1252").data["text"]
    assert "ä ö ü" in read(data, encoding="auto").data["text"]


@pytest.mark.parametrize("data", [b"", b"<html></html>", b"<script>x</script>", b"<<<<"])
def test_nothing_to_extract_is_empty_text(data):
    assert read(data).reason == "empty_text"


def test_a_large_page_is_told():
    assert read(PAGE.encode(), max_record_bytes=100).reason == "too_large"


@settings(deadline=None, max_examples=40)
@given(st.binary(max_size=200) | st.text('<>/p"a =!-[&;', max_size=120).map(str.encode))
def test_no_bytes_raise(junk):
    assert isinstance(read(junk), BadRecord) or read(junk).data["text"]
    assert (
        read(
            b"<html><body><p>Text enough to be found here." + junk + b"</p></body></html>", encoding="latin-1"
        ).position
        == "0"
    )
