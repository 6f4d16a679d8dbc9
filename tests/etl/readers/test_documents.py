"""From files to rows: where a file lies below its source, and the language of a passage."""

from __future__ import annotations

import pytest

from etl.readers.documents import SourceSettings, relative_to, rows_of_entries
from etl.readers.mapping import MappedRecord
from etl.readers.record import ReadOptions

PROSE = "从根节点出发，沿着每一条边依次访问所有的节点，直到找到答案为止，然后返回上一层继续搜索。"
CODE = "for (int i = head[x]; i; i = nxt[i]) {\n  dp[ver[i]] = dp[x] + 1;\n  if (ver[i] != fa[x]) ans += dp[ver[i]];\n}"


def languages(records):
    source = SourceSettings("s", "/data", "markdown", "CC0-1.0", ReadOptions(), "approx-v1", 60)
    file = {"uri": "/data/1.md", "relative": "1.md", "source": "s", "format": "markdown"}
    file |= {"size": 1, "modified": "", "settings": ""}
    rows = [row for batch in rows_of_entries(records, file, source) for row in batch.to_pylist()]
    return [row["lang"] for row in rows if row["row_kind"] == "document"]


def test_code_has_the_language_of_its_document_and_alone_has_none():
    text = f"{PROSE}\n\n{CODE}\n\n{PROSE}"
    assert languages([MappedRecord("0", "passage", text)]) == ["zh"] * 3
    assert set(languages([MappedRecord("0", "passage", CODE)])) == {"und"}


def test_the_language_that_a_record_names_is_taken():
    assert languages([MappedRecord("0", "passage", PROSE, lang="yue"), MappedRecord("1", "passage", PROSE)]) == [
        "yue",
        "zh",
    ]


@pytest.mark.parametrize(
    ("root", "uri", "relative"),
    [
        ("/data/books", "/data/books/a/1.md", "a/1.md"),
        ("/data/books/", "/data/books/a/1.md", "a/1.md"),
        ("s3a://bucket/books", "s3a://bucket/books/a/1.md", "a/1.md"),
        ("file:///data/my%20books", "/data/my books/a/1.md", "a/1.md"),
        ("/data/books/*/1.md", "/data/books/a/1.md", "a/1.md"),
        ("/data/books/b*/1.md", "/data/books/b2/1.md", "b2/1.md"),
        ("/data/books/1.md", "/data/books/1.md", "1.md"),
        ("/data/50% of #1?", "/data/50% of #1?/1.md", "1.md"),
        ("/data/d[1]", "/data/d[1]/1.md", "1.md"),
    ],
)
def test_a_file_s_place_below_its_source_does_not_hang_on_where_the_source_lies(root, uri, relative):
    assert relative_to(root, uri) == relative
