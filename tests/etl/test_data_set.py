"""The rows of a data set: whole and in order beside their verdicts, and what is removed by words and by meaning together."""

from __future__ import annotations

import gzip
import json
import math
import random
from collections import Counter
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from etl.config import SourceConfig
from etl.data_set.dedup import removed_by_any
from etl.data_set.input_rows import named_rows, record_json, rows_of_file, told_rows
from etl.data_set.near import with_keys
from etl.readers.documents import SourceSettings, rows_of_entries, rows_of_files
from etl.sources import source_settings
from etl.table_source import entries_of, entry_batch, table_entries
from tests.etl.tiny import job_for, make_config, source, write_jsonl

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

Row = dict[str, Any]


def settings_of(path: Path, **more: Any) -> SourceSettings:
    config = make_config("warehouse", ingest={"max_passage_tokens": 1_000_000_000})
    return source_settings(config, SourceConfig(**source("data", path, fields={"text": "body"}, **more)))


def read(path: Path) -> list[Row]:
    return [row for batch in rows_of_file(str(path), settings_of(path.parent)) for row in batch.to_pylist()]


def ingested(path: Path) -> list[Row]:
    files = {"uri": [str(path)], "size": [0], "modified": ["0"], "settings": [""], "source": ["data"]}
    batches = rows_of_files([pa.RecordBatch.from_pydict(files)], {"data": settings_of(path.parent)})
    return [row for batch in batches for row in batch.to_pylist()]


ROWS: list[Row] = [
    {"body": " Twice. ", "tags": ["a", {"b": None}], "n": 1},
    {"body": "Twice.", "n": 2},
    {"body": None, "n": 3},
    {"body": "Twice.", "n": 4, "long": "x" * 5000},
]


def write_gz(path: Path) -> Path:
    path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in ROWS).encode()))
    return path


def write_parquet(path: Path) -> Path:
    pq.write_table(pa.Table.from_pylist([{"long": None, **row, "tags": None} for row in ROWS]), path)
    return path


@pytest.mark.parametrize(
    ("name", "write"),
    [("a.jsonl.gz", write_gz), ("a.parquet", write_parquet), ("a.jsonl", lambda p: write_jsonl(p, ROWS))],
)
def test_a_record_stands_whole_under_the_id_that_ingest_gave_it(name: str, write: Any, tmp_path: Path) -> None:
    path = write(tmp_path / name)
    rows, documents = read(path), [row for row in ingested(path) if row["row_kind"] == "document"]
    assert [json.loads(row["record"])["n"] for row in rows] == [1, 2, 3, 4]
    assert [row["number"] for row in rows] == [0, 1, 2, 3]
    assert [row["unread_reason"] for row in rows] == [None, None, "missing_field", None]
    assert [row["parent_id"] for row in rows if row["parent_id"]] == [row["parent_id"] for row in documents]
    assert len({row["parent_id"] for row in documents}) == 3, "equal records are told apart"
    assert len(json.loads(rows[3]["record"])["long"]) == 5000


def test_rows_of_a_table_have_the_ids_of_ingest_too(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, format="delta")
    table = pa.RecordBatch.from_pylist([{"body": row["body"], "n": row["n"]} for row in ROWS])
    told = told_rows(table, settings).sort_by([("own", "ascending"), ("position", "ascending")])
    rows = named_rows(told, str(tmp_path), "data", Counter()).to_pylist()
    assert sorted(json.loads(row["record"])["n"] for row in rows) == [1, 2, 3, 4]
    assert [row["unread_reason"] for row in rows if row["parent_id"] is None] == ["missing_field"]
    file = {"uri": str(tmp_path), "relative": "", "size": 0, "modified": "0", "settings": "", "source": "data"}
    entries = entry_batch(table_entries(table, settings)).sort_by([("key", "ascending"), ("position", "ascending")])
    made = rows_of_entries(entries_of([entries]), {**file, "format": "delta"}, settings)
    documents = {row["parent_id"] for batch in made for row in batch.to_pylist() if row["row_kind"] == "document"}
    assert {row["parent_id"] for row in rows if row["parent_id"]} == documents
    assert len(documents) == 3


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (b"text", "text"),
        (b"\xff\x00", "/wA="),
        (math.nan, None),
        ([1.5, -math.inf], [1.5, None]),
        (Decimal("1.10"), "1.10"),
        (date(2030, 1, 2), "2030-01-02"),
        ("half \ud800", "half \ud800"),
        ("nul \0", "nul \0"),
        ({"中": ["文", None, True]}, {"中": ["文", None, True]}),
    ],
)
def test_any_value_is_written_as_json(value: Any, written: Any) -> None:
    text = record_json({"v": value})
    assert text is not None
    text.encode()
    assert json.loads(text) == {"v": written}


@pytest.mark.long
def test_what_comes_back_late_is_compared_by_its_words_with_all_that_stay(spark: SparkSession, tmp_path: Path) -> None:
    """Windows over one text, each near to the next alone; and a pair by meaning that takes the first one away."""
    rng = random.Random(1)
    words = ["".join(rng.choices("abcdefghijklmnop", k=6)) for _ in range(160)]
    texts = {f"w{n}": " ".join(words[8 * n : 8 * n + 60]) for n in range(5)}
    texts["best"] = "Another text of another meaning that stands before all of the windows."
    order = ["best", *sorted(texts)[1:]]
    job = job_for(spark, make_config(tmp_path / "warehouse"))
    named = [(name, texts[name], [float(place)]) for place, name in enumerate(order)]
    rows = with_keys(job, spark.createDataFrame(named, "item_id string, text string, priority array<double>"))
    edges = spark.createDataFrame(
        [("best", "w0", 0.95, "semantic")], "a_id string, b_id string, cosine double, method string"
    )
    removed, figures = removed_by_any(job, job.tables.scratch("rows", rows), edges)
    # By the greedy rule over all pairs: best stays, so w0 goes, so w1 stays, so w2 goes, so w3 stays, so w4 goes.
    found = {row["item_id"]: (row["kept_id"], row["method"]) for row in removed.collect()}
    assert found == {"w0": ("best", "semantic"), "w2": ("w1", "minhash"), "w4": ("w3", "minhash")}
    assert figures["came_back_by_words"] == 0
