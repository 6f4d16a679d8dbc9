"""The worker's side of the ledger: answers reach storage before anything tells of them, and are asked once."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from udfs.engines.protocol import EngineSpec
from udfs.engines.teacher_process import Teacher
from udfs.segments import (
    WaveSettings,
    answer_partition,
    answered_in,
    cost_of,
    read_segment,
    read_segments,
    share,
    write_segment,
)
from udfs.storage import list_files

KEY = "BOOSTQA_TEST_KEY"


def spec(teacher: Teacher, **changes: Any) -> EngineSpec:
    return replace(EngineSpec("openai", (teacher.base_url,), KEY, max_in_flight=4, max_attempts=2), **changes)


def wave(folder: Path, **changes: Any) -> WaveSettings:
    settings = WaveSettings(
        str(folder), f"{folder}-progress", "run-1", flush_rows=3, flush_seconds=60.0, prices={"stand-in": (1.0, 10.0)}
    )
    return replace(settings, **changes)


def row(name: str, **changes: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": f"segments: {name}"}]
    given = {"request_id": name, "attempt": 0, "task": "probe", "prompt_id": "probe@1", "model": "stand-in"}
    asked = {"params": '{"max_tokens": 100}', "sample": 0, "messages": json.dumps(messages), "partition": 0}
    return {**given, **asked, **changes}


def batches(*rows: dict[str, Any], size: int = 4) -> Iterator[pa.RecordBatch]:
    for start in range(0, len(rows), size):
        yield pa.RecordBatch.from_pylist(list(rows[start : start + size]))


def answered(rows: list[dict[str, Any]], spec: EngineSpec, wave: WaveSettings) -> list[dict[str, Any]]:
    return [receipt for batch in answer_partition(batches(*rows), spec, wave) for receipt in batch.to_pylist()]


def calls_in(folder: Path) -> list[dict[str, Any]]:
    tables = [read_segment(address) for address in list_files(str(folder), ".parquet")]
    return [call for table in tables if table is not None for call in table.to_pylist()]


def test_every_request_has_one_receipt_and_one_recorded_call(teacher: Teacher, tmp_path: Path) -> None:
    rows = [row(f"all-{i}") for i in range(10)]
    before = teacher.stats()["requests"]
    receipts = answered(rows, spec(teacher), wave(tmp_path))
    assert sorted(r["request_id"] for r in receipts) == sorted(r["request_id"] for r in rows)
    assert teacher.stats()["requests"] - before == 10
    calls = calls_in(tmp_path)
    assert sorted(call["request_id"] for call in calls) == sorted(r["request_id"] for r in rows)
    assert {call["status"] for call in calls} == {"ok"}
    assert {(call["served_model"], call["run_id"], call["attempts"]) for call in calls} == {("stand-in", "run-1", 1)}
    first = calls[0]
    assert first["cost"] == pytest.approx((first["prompt_tokens"] * 1 + first["completion_tokens"] * 10) / 1e6)


def test_no_receipt_comes_before_its_segment(teacher: Teacher, tmp_path: Path) -> None:
    for batch in answer_partition(batches(*[row(f"order-{i}") for i in range(8)]), spec(teacher), wave(tmp_path)):
        for receipt in batch.to_pylist():
            table = read_segment(receipt["segment"])
            assert table is not None
            assert receipt["request_id"] in table.column("request_id").to_pylist()


def test_answers_are_flushed_by_rows(teacher: Teacher, tmp_path: Path) -> None:
    answered([row(f"rows-{i}") for i in range(10)], spec(teacher), wave(tmp_path, flush_rows=3))
    sizes = [table.num_rows for a in list_files(str(tmp_path), ".parquet") if (table := read_segment(a)) is not None]
    assert sorted(sizes) == [1, 3, 3, 3]


def test_answers_are_flushed_by_time_while_others_are_awaited(teacher: Teacher, tmp_path: Path) -> None:
    teacher.set_faults(hang=0.5, hang_s=0.7, seed=1)
    stream = answer_partition(
        batches(*[row(f"time-{i}") for i in range(8)]),
        spec(teacher, max_in_flight=8),
        wave(tmp_path, flush_rows=1000, flush_seconds=0.05),
    )
    first = next(stream)
    assert 0 < first.num_rows < 8
    assert sum(batch.num_rows for batch in stream) + first.num_rows == 8


def test_a_retried_task_asks_only_what_its_folder_does_not_answer(teacher: Teacher, tmp_path: Path) -> None:
    rows = [row(f"retry-{i}") for i in range(9)]
    stream = answer_partition(batches(*rows), spec(teacher, max_in_flight=1), wave(tmp_path))
    next(stream)
    stream.close()
    kept = answered_in(f"{tmp_path}/0")
    assert kept
    before = teacher.stats()["requests"]
    receipts = answered(rows, spec(teacher), wave(tmp_path))
    assert {r["request_id"] for r in receipts} == {r["request_id"] for r in rows} - kept
    assert teacher.stats()["requests"] - before == len(rows) - len(kept)
    assert sorted(call["request_id"] for call in calls_in(tmp_path)) == sorted(r["request_id"] for r in rows)


def test_each_partition_has_a_folder_of_its_own(teacher: Teacher, tmp_path: Path) -> None:
    answered([row("same", partition=0)], spec(teacher), wave(tmp_path))
    answered([row("same", partition=1)], spec(teacher), wave(tmp_path))
    assert answered_in(f"{tmp_path}/0") == answered_in(f"{tmp_path}/1") == {"same"}
    assert answered_in(f"{tmp_path}/2") == set()


def test_a_terminal_failure_is_recorded_with_its_reason_and_its_tries(teacher: Teacher, tmp_path: Path) -> None:
    teacher.set_faults(error_500=1.0)
    receipts = answered([row("fails")], spec(teacher, max_attempts=2), wave(tmp_path))
    (call,) = calls_in(tmp_path)
    assert (call["status"], call["attempts"]) == ("failed", 2)
    assert "500" in call["error"]
    assert receipts[0]["status"] == "failed"
    assert receipts[0]["error"] == call["error"]


def test_a_cut_answer_is_recorded_as_cut(teacher: Teacher, tmp_path: Path) -> None:
    teacher.set_faults(cut=1.0)
    answered([row("cut")], spec(teacher), wave(tmp_path))
    (call,) = calls_in(tmp_path)
    assert call["finish_reason"] == "length"


def test_a_refusal_of_everything_keeps_what_was_paid_and_gives_the_servers_words(
    teacher: Teacher, tmp_path: Path
) -> None:
    rows = [row(f"paid-{i}") for i in range(4)] + [row(f"unknown-{i}", model="gpt-none") for i in range(4)]
    *receipts, fatal = answered(rows, spec(teacher, max_in_flight=1), wave(tmp_path))
    assert fatal["status"] == "fatal"
    assert "gpt-none" in fatal["error"]
    assert "does not exist" in fatal["error"]
    assert {r["request_id"] for r in receipts} == {c["request_id"] for c in calls_in(tmp_path)} >= {"paid-0"}
    assert not any("unknown" in call["request_id"] for call in calls_in(tmp_path))


def test_a_wrong_key_is_fatal_and_is_not_told_to_anyone(
    teacher: Teacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BOOSTQA_WRONG_KEY", "sk-secret-1234567890")
    teacher.set_faults(key="right")
    (fatal,) = answered([row("locked")], spec(teacher, api_key_env="BOOSTQA_WRONG_KEY"), wave(tmp_path))
    assert fatal["status"] == "fatal"
    assert "BOOSTQA_WRONG_KEY" in fatal["error"]
    assert "sk-secret-1234567890" not in fatal["error"]
    assert calls_in(tmp_path) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"base_urls": ("https://llm.example.org/v1",), "api_key_env": "BOOSTQA_UNSET_KEY"},
            "BOOSTQA_UNSET_KEY is not set",
        ),
        ({"base_urls": ("http://llm.example.org/v1",)}, "use https"),
        ({"base_urls": ()}, "base_urls is empty"),
    ],
)
def test_an_endpoint_that_can_not_be_used_at_all_is_fatal_and_no_exception(
    teacher: Teacher, tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    os.environ.pop("BOOSTQA_UNSET_KEY", None)
    (fatal,) = answered([row("nowhere")], replace(spec(teacher), **changes), wave(tmp_path))
    assert fatal["status"] == "fatal"
    assert words in fatal["error"]


def test_no_requests_give_no_receipts_and_no_files(teacher: Teacher, tmp_path: Path) -> None:
    assert answered([], spec(teacher), wave(tmp_path)) == []
    assert list_files(str(tmp_path), ".parquet") == []


def call(name: str, **changes: Any) -> dict[str, Any]:
    asked = {key: value for key, value in row(name).items() if key != "partition"}
    return {**asked, "status": "ok", "response": "an answer", "attempts": 1, **changes}


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
    assert answered_in(str(tmp_path)) == {"a"}
    listed = pa.RecordBatch.from_pydict({"segment": [good, str(broken)]})
    rows = [found for batch in read_segments([listed]) for found in batch.to_pylist()]
    assert [found["request_id"] for found in rows] == ["a"]


def test_cost_by_price_and_none_without() -> None:
    assert cost_of({"m": (2.0, 8.0)}, "m", 1_000_000, 500_000) == pytest.approx(6.0)
    assert cost_of({"m": (2.0, 8.0)}, "other", 1_000_000, 500_000) == 0.0


bounds = st.integers(0, 10_000)


@given(st.integers(1, 10_000), bounds, bounds, st.integers(1, 64))
def test_the_shares_of_all_workers_stay_within_the_bound(in_flight: int, rpm: int, tpm: int, workers: int) -> None:
    whole = EngineSpec(max_in_flight=in_flight, rpm=rpm, tpm=tpm)
    part = share(whole, workers)
    for name in ("max_in_flight", "rpm", "tpm"):
        bound, each = getattr(whole, name), getattr(part, name)
        # A worker needs one place to work at all.
        assert each * workers <= max(bound, workers)
        assert (each == 0) == (bound == 0)
