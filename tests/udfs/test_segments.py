"""Segments: named by their content, so that a half-written one is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from udfs.segments import read_segment, read_segments, segments_in, write_segment


def call(name: str, **changes: Any) -> dict[str, Any]:
    return {"request_id": name, "attempt": 0, "task": "probe", "status": "ok", "response": "an answer", **changes}


def test_a_segment_is_named_by_its_content(tmp_path: Path) -> None:
    address = write_segment(str(tmp_path), [call("a"), call("b")])
    table = read_segment(address)
    assert table is not None
    assert table.column("request_id").to_pylist() == ["a", "b"]
    with pytest.raises(FileExistsError):
        write_segment(str(tmp_path), [call("a"), call("b")])


@pytest.mark.parametrize("share_kept", [0.0, 0.5, 0.99])
def test_a_half_written_segment_is_ignored(tmp_path: Path, share_kept: float) -> None:
    good, broken = write_segment(str(tmp_path), [call("a")]), Path(write_segment(str(tmp_path), [call("b")]))
    data = broken.read_bytes()
    broken.write_bytes(data[: int(len(data) * share_kept)])
    assert read_segment(str(broken)) is None
    assert [table.column("request_id").to_pylist() for table in segments_in(str(tmp_path))] == [["a"]]
    listed = pa.RecordBatch.from_pydict({"segment": [good, str(broken)]})
    rows = [found for batch in read_segments([listed]) for found in batch.to_pylist()]
    assert [found["request_id"] for found in rows] == ["a"]
