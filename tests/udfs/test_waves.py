"""A worker's part of a wave: answers reach storage before anything tells of them, and are asked once."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from udfs.engines.protocol import EngineSpec
from udfs.engines.purse import Amount
from udfs.engines.teacher_process import Teacher
from udfs.places import REPORT, Grant, read_report, write_grant
from udfs.segments import read_segment, segments_in, unpack_segments
from udfs.storage import list_files
from udfs.waves import WaveSettings, answer_partition

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
    asked = {"params": '{"max_tokens": 100}', "sample": 0, "messages": json.dumps(messages)}
    return {**given, **asked, "prefix": name, "partition": 0, **changes}


def batches(*rows: dict[str, Any], size: int = 4) -> Iterator[pa.RecordBatch]:
    for start in range(0, len(rows), size):
        yield pa.RecordBatch.from_pylist(list(rows[start : start + size]))


def answered(rows: list[dict[str, Any]], spec: EngineSpec, wave: WaveSettings) -> list[dict[str, Any]]:
    """The receipts; the last tells what was spent or that nothing can be had."""
    return [receipt for batch in answer_partition(batches(*rows), spec, wave) for receipt in batch.to_pylist()]


def answered_in(folder: str) -> set[str]:
    return {request_id for table in segments_in(folder) for request_id in table.column("request_id").to_pylist()}


def calls_in(folder: Path) -> list[dict[str, Any]]:
    tables = [read_segment(address) for address in list_files(str(folder), ".parquet")]
    return [call for table in tables if table is not None for call in table.to_pylist()]


def test_every_request_has_one_receipt_and_one_recorded_call(teacher: Teacher, tmp_path: Path) -> None:
    rows = [row(f"all-{i}") for i in range(10)]
    before = teacher.stats()["requests"]
    *receipts, last = answered(rows, spec(teacher), wave(tmp_path))
    assert sorted(r["request_id"] for r in receipts) == sorted(r["request_id"] for r in rows)
    assert teacher.stats()["requests"] - before == 10
    assert (last["status"], last["requests"]) == ("spent", 10)
    assert last["tokens"] == sum(call["prompt_tokens"] + call["completion_tokens"] for call in calls_in(tmp_path))
    calls = calls_in(tmp_path)
    assert sorted(call["request_id"] for call in calls) == sorted(r["request_id"] for r in rows)
    assert {call["status"] for call in calls} == {"ok"}
    assert {(call["served_model"], call["run_id"], call["attempts"]) for call in calls} == {("stand-in", "run-1", 1)}
    first = calls[0]
    assert first["cost"] == pytest.approx((first["prompt_tokens"] * 1 + first["completion_tokens"] * 10) / 1e6)


def test_no_receipt_comes_before_its_segment(teacher: Teacher, tmp_path: Path) -> None:
    for batch in answer_partition(batches(*[row(f"order-{i}") for i in range(8)]), spec(teacher), wave(tmp_path)):
        for receipt in filter(lambda receipt: receipt["segment"], batch.to_pylist()):
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
    assert sum(batch.num_rows for batch in stream) + first.num_rows == 8 + 1


def test_a_retried_task_asks_only_what_its_folder_does_not_answer(teacher: Teacher, tmp_path: Path) -> None:
    rows = [row(f"retry-{i}") for i in range(9)]
    stream = answer_partition(batches(*rows), spec(teacher, max_in_flight=1), wave(tmp_path))
    next(stream)
    stream.close()
    kept = answered_in(f"{tmp_path}/0")
    assert kept
    before = teacher.stats()["requests"]
    *receipts, last = answered(rows, spec(teacher), wave(tmp_path))
    assert {r["request_id"] for r in receipts} == {r["request_id"] for r in rows} - kept
    assert last["requests"] == len(rows), "what the killed task has spent counts"
    assert teacher.stats()["requests"] - before == len(rows) - len(kept)
    assert sorted(call["request_id"] for call in calls_in(tmp_path)) == sorted(r["request_id"] for r in rows)


def test_without_a_folder_the_answers_travel_in_the_receipts(teacher: Teacher, tmp_path: Path) -> None:
    rows = [row(f"travel-{i}") for i in range(7)]
    got = list(answer_partition(batches(*rows), spec(teacher), replace(wave(tmp_path), folder="")))
    packed = [batch.filter(batch["data"].is_valid()).select(["data"]) for batch in got]
    calls = [call for batch in unpack_segments(packed) for call in batch.to_pylist()]
    told = [receipt["request_id"] for batch in got for receipt in batch.to_pylist()]
    assert sorted(call["request_id"] for call in calls) == sorted(told[:-1]) == [f"travel-{i}" for i in range(7)]
    assert list_files(str(tmp_path), ".parquet") == []


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


def worst(name: str) -> float:
    """What the ledger reserves for a request of `row`: its prompt in bytes, and the longest answer."""
    return len(f"segments: {name}".encode()) + 100


def test_a_worker_stops_before_its_budget_is_passed_and_leaves_the_rest_unasked(
    teacher: Teacher, tmp_path: Path
) -> None:
    rows = [row(f"b-{i}") for i in range(30)]
    budget = Amount(requests=1000, tokens=4 * worst("b-10"), cost=1e9)
    before = teacher.stats()["requests"]
    *receipts, last = answered(rows, spec(teacher, max_in_flight=3), wave(tmp_path, budget=budget))
    assert 4 <= len(receipts) < 30
    assert {receipt["status"] for receipt in receipts} == {"ok"}
    assert last["status"] == "spent"
    assert budget.tokens - worst("b-10") < last["tokens"] <= budget.tokens, "what answers leave is spent on others"
    assert teacher.stats()["requests"] - before == len(receipts) == last["requests"]


def test_what_may_have_been_paid_counts_in_full(teacher: Teacher, tmp_path: Path) -> None:
    teacher.set_faults(error_500=1.0)
    *_, last = answered([row("lost")], spec(teacher, max_attempts=3), wave(tmp_path))
    assert (last["requests"], last["tokens"]) == (3, 3 * worst("lost"))
    teacher.set_faults(error_500=0.0, error_429=1.0)
    *_, last = answered([row("refused")], spec(teacher, max_attempts=3), wave(tmp_path / "other"))
    assert (last["requests"], last["tokens"]) == (3, 0)


def test_nothing_is_asked_before_there_are_places(teacher: Teacher, tmp_path: Path) -> None:
    places = tmp_path / "places"
    before = teacher.stats()["requests"]

    def grant() -> None:
        while not (reports := list(places.glob(f"*{REPORT}"))):
            time.sleep(0.02)
        time.sleep(0.3)
        assert teacher.stats()["requests"] == before
        write_grant(str(places), reports[0].name.removesuffix(REPORT), Grant(1, 2))

    with ThreadPoolExecutor(1) as pool:
        granting = pool.submit(grant)
        receipts = answered([row(f"p-{i}") for i in range(6)], spec(teacher), wave(tmp_path, places=str(places)))
        granting.result()
    assert len(receipts) == 6 + 1
    (report,) = map(read_report, map(str, places.glob(f"*{REPORT}")))
    assert (report.held, report.done) == (0, True)


def test_what_was_answered_before_the_first_place_came_is_not_asked_again(teacher: Teacher, tmp_path: Path) -> None:
    places = tmp_path / "places"
    rows = [row(f"twice-{i}") for i in range(6)]

    def first_task_then_a_place() -> None:
        while not (reports := list(places.glob(f"*{REPORT}"))):
            time.sleep(0.01)
        answered(rows[:4], spec(teacher), wave(tmp_path))
        write_grant(str(places), reports[0].name.removesuffix(REPORT), Grant(1, 2))

    before = teacher.stats()["requests"]
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(first_task_then_a_place)
        *receipts, _ = answered(rows, spec(teacher), wave(tmp_path, places=str(places)))
        first.result()
    assert {receipt["request_id"] for receipt in receipts} == {"twice-4", "twice-5"}
    assert teacher.stats()["requests"] - before == 6


def test_no_requests_give_no_receipts_and_no_files(teacher: Teacher, tmp_path: Path) -> None:
    assert answered([], spec(teacher), wave(tmp_path)) == []
    assert list_files(str(tmp_path), ".parquet") == []
