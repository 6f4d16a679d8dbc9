"""Rows as files: nothing is lost between parts, and both kinds read back."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from etl.part_files import ENCODERS, written

META = pa.map_(pa.string(), pa.string())


def batch(first: int, count: int) -> pa.RecordBatch:
    ids = [f"é{n}" for n in range(first, first + count)]
    meta = pa.array([[("n", one)] for one in ids], META)
    return pa.RecordBatch.from_pydict({"id": pa.array(ids, pa.string()), "meta": meta})


def read(path: str) -> list[dict]:
    if path.endswith(".parquet"):
        return pq.read_table(path).to_pylist(maps_as_pydicts="strict")
    return [json.loads(line) for line in zstandard.decompress(Path(path).read_bytes()).splitlines()]


@pytest.mark.parametrize("kind", sorted(ENCODERS))
def test_parts_hold_all_rows_in_order(kind: str, tmp_path: Path) -> None:
    batches = [batch(0, 3), batch(3, 0), batch(3, 4), batch(7, 1)]
    told = list(written(batches, f"{tmp_path}/part-00007", kind, part_bytes=batches[0].nbytes + 1))
    parts = [row for one in told for row in one.to_pylist()]
    assert [Path(part["path"]).name for part in parts] == [f"part-00007-00{n}.{kind}" for n in range(len(parts))]
    assert len(parts) > 1
    rows = [row for part in parts for row in read(part["path"])]
    assert rows == [{"id": f"é{n}", "meta": {"n": f"é{n}"}} for n in range(8)]
    assert sum(part["rows"] for part in parts) == 8
    assert all(Path(part["path"]).stat().st_size == part["bytes"] for part in parts)


def test_no_rows_are_no_file(tmp_path: Path) -> None:
    assert list(written([batch(0, 0)], f"{tmp_path}/part-00000", "parquet")) == []
    assert not list(tmp_path.iterdir())


def test_json_becomes_objects_in_json_lines_and_stays_text_in_parquet(tmp_path: Path) -> None:
    records = ['{"n": [1, null]}', None, '{"s": "half \\ud800"}']
    rows = pa.RecordBatch.from_pydict({"id": ["a", "b", "c"], "record": pa.array(records, pa.string())})
    for kind, expected in (
        ("jsonl.zst", [{"n": [1, None]}, None, {"s": "half \ud800"}]),
        ("parquet", records),
    ):
        (part,) = written([rows], f"{tmp_path}/part-00000", kind, ("record",))
        assert [row["record"] for row in read(part.to_pylist()[0]["path"])] == expected
