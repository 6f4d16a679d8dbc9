"""`boostqa calls`: the ledger in a few lines."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from etl.cli import main
from etl.commands.calls import commonest_errors, shown
from tests.etl.tiny import put

if TYPE_CHECKING:
    import pytest

    from etl.tables import Tables
    from tests.conftest import SampleRun

CALL = {"attempt": 0, "task": "refine", "model": "m", "status": "ok", "attempts": 1, "latency_s": 0.5}
PAID = {"prompt_tokens": 100, "completion_tokens": 10, "cost": 0.25}


def test_calls_are_summed_by_task_model_and_status(scratch_tables: Callable[[], Tables]) -> None:
    tables = scratch_tables()
    failed = {**CALL, "status": "failed", "attempts": 3, "error": "gave up after 3 tries; the last: HTTP 500"}
    put(
        tables,
        "llm_calls",
        [
            {**CALL, **PAID, "request_id": "a"},
            {**CALL, **PAID, "request_id": "b", "latency_s": 0.7},
            {**CALL, **PAID, "request_id": "c", "task": "annotate"},
            {**failed, "request_id": "d"},
            {**failed, "request_id": "e", "error": "gave up after 6 tries; the last: HTTP 503"},
            {**failed, "request_id": "f", "error": "the prompt is too long for the model"},
        ],
    )
    calls = tables.read("llm_calls")
    lines = [line.split() for line in shown(calls).splitlines()]
    assert lines[2:] == [
        ["annotate", "m", "ok", "1", "1", "100", "10", "0.2500", "0.5"],
        ["refine", "m", "failed", "3", "9", "0", "0", "0.0000", "0.5"],
        ["refine", "m", "ok", "2", "2", "200", "20", "0.5000", "0.5"],
        ["sum", "6", "12", "300", "30", "0.7500", "0.5"],
    ]
    assert commonest_errors(calls) == [
        ("2", "gave up after N tries; the last: HTTP N"),
        ("1", "the prompt is too long for the model"),
    ]


def test_a_failed_call_that_was_asked_again_is_no_error_any_more(scratch_tables: Callable[[], Tables]) -> None:
    tables = scratch_tables()
    failed = {**CALL, "status": "failed", "error": "HTTP 500"}
    again = [{**CALL, "request_id": "a", "attempt": 1}, {**failed, "request_id": "b", "attempt": 1}]
    put(tables, "llm_calls", [{**failed, "request_id": name} for name in "ab"] + again)
    assert commonest_errors(tables.read("llm_calls")) == [("1", "HTTP N")]


def test_the_command_says_how_to_ask_again(sample_run: SampleRun, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["calls", "--conf", "conf/local.yaml", "--set", f"tables.warehouse={sample_run.warehouse}"]) == 0
    shown_calls = capsys.readouterr().out
    total = next(line for line in shown_calls.splitlines() if line.startswith("sum"))
    assert total.split()[1] == f"{len(sample_run.rows('llm_calls')):,}"
    failed = any(row["status"] == "failed" for row in sample_run.rows("llm_calls"))
    assert ("--retry-failed" in shown_calls) == failed
