import bz2
import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from etl.readers.mapping import MappedRecord
from etl.readers.reading import READERS, format_of, open_reader, read_file
from etl.readers.record import REASONS, BadRecord, ReadOptions
from tests.etl.readers.test_warc import response
from udfs import storage

DATA = Path(__file__).parents[4] / "shared" / "data"
JSONL = b"".join(json.dumps({"text": f"text {n}"}).encode() + b"\n" for n in range(2_000))


def brief(path, options=None, format="") -> list:
    items = read_file(str(path), format or format_of(str(path)), options or ReadOptions())
    return [(item.position, item.reason if isinstance(item, BadRecord) else item.text) for item in items]


@pytest.mark.parametrize(
    ("name", "format"),
    [
        ("a.jsonl.gz", "jsonl"),
        ("s3://b/a.NDJSON.zst", "jsonl"),
        ("a.json.bz2", "json"),
        ("a.tsv", "tsv"),
        ("part-0.snappy.parquet", "parquet"),
        ("a.md", "markdown"),
        ("a.xhtml", "html"),
        ("a.warc.gz", "warc"),
        ("README", "unknown_format"),
        ("a.gz", "unknown_format"),
    ],
)
def test_a_name_tells_the_format(name, format):
    assert format_of(name) == format


CONTENTS = {
    "jsonl": b'{"text": "some text"}\n',
    "json": b'[{"text": "some text"}]',
    "csv": b"text\nsome text\n",
    "tsv": b"text\nsome text\n",
    "markdown": b"# Title\nsome text",
    "text": b"some text",
    "html": b"<html><body><p>some text that is here</p></body></html>",
    "warc": response(1),
}


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstandard.ZstdCompressor().compress, bz2.compress])
@pytest.mark.parametrize("format", list(CONTENTS))
def test_every_format_under_every_compression(tmp_path, format, pack):
    suffix = {bytes: "", gzip.compress: ".gz", bz2.compress: ".bz2"}.get(pack, ".zst")
    path = tmp_path / f"中文 name.{format}{suffix}"
    path.write_bytes(pack(CONTENTS[format]))
    (item,) = read_file(path.as_uri(), format, ReadOptions())
    assert isinstance(item, MappedRecord), item
    assert "text" in item.text


def test_parquet_by_its_address(tmp_path):
    pq.write_table(pa.table({"text": ["one", "two"]}), tmp_path / "a.parquet")
    assert brief(tmp_path / "a.parquet") == [("0", "one"), ("1", "two")]
    (tmp_path / "b.parquet.gz").write_bytes(gzip.compress((tmp_path / "a.parquet").read_bytes()))
    assert brief(tmp_path / "b.parquet.gz") == [("0", "unreadable")]


def test_a_truncated_gzip_gives_all_before_the_cut_and_one_row(tmp_path):
    packed = gzip.compress(JSONL)
    (tmp_path / "a.jsonl.gz").write_bytes(packed[: len(packed) // 2])
    *good, (position, reason) = brief(tmp_path / "a.jsonl.gz")
    assert len(good) > 500
    assert [text for _, text in good] == [f"text {n}" for n in range(len(good))]
    assert (position, reason) == (str(len(good) + 1), "truncated")


def test_records_in_lists_are_mapped_with_their_parent(tmp_path):
    (tmp_path / "a.json").write_text('[{"context": "C", "qas": [{"q": "Why?", "a": ["So."]}, {"q": "How?"}]}]')
    fields = {"question": "q", "answer": "a.0", "text": "parent.context"}
    assert brief(tmp_path / "a.json", ReadOptions(records="qas", fields=fields)) == [
        ("0.0", "C"),
        ("0.1", "missing_field"),
    ]


def test_what_is_gone_or_unknown_is_a_row(tmp_path):
    assert brief(tmp_path / "gone.jsonl") == [("0", "unreadable")]
    assert brief(tmp_path, format="jsonl") == [("0", "unreadable")]
    assert brief(tmp_path / "a.docx") == [("0", "unknown_format")]


def test_a_failing_storage_is_raised_and_not_blamed_on_the_data(tmp_path, monkeypatch):
    class Failing:
        def read(self, size=None):
            raise OSError("connection reset")

        def close(self):
            pass

    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(JSONL))
    monkeypatch.setattr("etl.readers.reading.open_input", lambda uri: storage.InputFile(Failing(), uri))
    with pytest.raises(storage.StorageError, match="connection reset"):
        brief(tmp_path / "a.jsonl.gz")
    with pytest.raises(storage.StorageError, match="unknown storage 'ftp:'"):
        storage.open_fs("ftp://host/a.jsonl")


def test_every_quarantine_reason_can_happen(tmp_path):
    files = {
        "a.jsonl": b'{"text": \n[]\n{}\n{"text": " "}\n{"text": "\xff"}\n{"text": "' + b"x" * 2_000 + b'"}\n',
        "b.jsonl.gz": gzip.compress(JSONL)[:-9],
        "c.parquet": b"not parquet",
        "d.csv": b"text,b\n1,2,3\n",
        "e.docx": b"",
    }
    found = set()
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        found |= {
            reason for _, reason in brief(tmp_path / name, ReadOptions(max_record_bytes=1_000)) if reason in REASONS
        }
    assert found == set(REASONS)


def test_readers_are_found_by_name():
    assert open_reader("jsonl") is READERS["jsonl"]
    with pytest.raises(ValueError, match="unknown format 'docx'"):
        open_reader("docx")


@pytest.mark.skipif(not DATA.is_dir(), reason="the shared data is not on this machine")
@pytest.mark.parametrize(
    ("folder", "options", "records", "reasons"),
    [
        ("en/economics", {}, 178, set()),
        ("en/biology", {}, 257, set()),
        ("en/us_history", {}, 176, set()),
        ("en/sicp_html", {}, 39, set()),
        ("en/onestop_csv_quarter", {"encoding": "auto", "fields": {"text": "Advanced"}}, 666, set()),
        ("zh/laws", {}, 785, {"empty_text"}),
        ("zh/oi_wiki", {}, 465, {"empty_text"}),
        ("bench/gaokao_bench", {"records": "example", "fields": {"text": "question"}}, 2_811, set()),
        ("pairs/paws_x_zh_dev.tsv", {"fields": {"text": "sentence1"}}, 2_000, set()),
        ("diversity/tevet_no_hds", {"fields": {"text": "context"}}, 12_050, set()),
    ],
)
def test_real_corpora_are_read_whole(folder, options, records, reasons):
    files = storage.list_files(str(DATA / folder))
    items = [item for file in files for item in read_file(file, format_of(file), ReadOptions(**options))]
    assert len(items) == records
    assert {item.reason for item in items if isinstance(item, BadRecord)} == reasons
