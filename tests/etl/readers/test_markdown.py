import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.readers.markdown import read_markdown
from etl.readers.record import ReadOptions


def read(text: str) -> tuple[str, str]:
    (item,) = read_markdown(io.BytesIO(text.encode()), ReadOptions())
    return item.data["title"], item.data["text"]


@pytest.mark.parametrize(
    ("text", "title", "body"),
    [
        ("---\ntitle: 'A: b'\nother: 1\n---\n\n# Heading\ntext\n", "A: b", "# Heading\ntext"),
        ("---\nlayout: page\n---\n## 标题 ##\ntext", "标题", "## 标题 ##\ntext"),
        ("---\r\ntitle: 7\r\n---\r\ntext", "7", "text"),
        ("---\ntitle: x\n---", "x", ""),
        ("---\n---\ntext", "", "text"),
        ("---\n[not: a mapping\n---\ntext", "", "---\n[not: a mapping\n---\ntext"),
        ("---\n- a list\n---\ntext", "", "---\n- a list\n---\ntext"),
        ("text\n\n---\ntitle: no\n---\n", "", "text\n\n---\ntitle: no\n---"),
        ("Over\n====\ntext", "Over", "Over\n====\ntext"),
        ("```\n# a comment\n```\n# Real", "Real", "```\n# a comment\n```\n# Real"),
        ("#hashtag\ntext", "", "#hashtag\ntext"),
    ],
)
def test_front_matter_and_title(text, title, body):
    assert read(text) == (title, body)


@settings(deadline=None)
@given(st.text("-#=`ab: \n[{&*", max_size=60))
def test_no_text_raises_or_loses_its_words(text):
    title, body = read("---\n" + text)
    assert isinstance(title, str)
    assert isinstance(body, str)


def test_bad_files_stay_bad():
    (item,) = read_markdown(io.BytesIO(b"# \xff"), ReadOptions())
    assert item.reason == "bad_encoding"
