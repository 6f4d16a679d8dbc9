"""Recorded calls are read back by their last attempt, and from the files of the times at which they were asked."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest

from etl.recorded_calls import latest_calls, since, when_asked
from etl.tables import Tables
from tests.etl.tiny import make_config, values

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

Make = Callable[[], Tables]
# Within the hour that a clock with summer time has twice.
START = datetime(2025, 10, 26, 0, 59, tzinfo=timezone.utc)
STATISTICS = "spark.databricks.delta.stats.collect"
# Request, attempt, run, minute: a file each. A call of long ago may have no time.
WAVES = [
    [("a", 0, "run-1", 0), ("b", 0, "run-1", 1)],
    [("c", 0, "run-1", 60), ("d", 0, "run-1", 61)],
    [("d", 1, "run-2", 120), ("e", 0, "run-2", 121)],
    [("a", 1, "run-3", None), ("f", 0, "run-3", None)],
]


@pytest.fixture(scope="module")
def tables(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Tables:
    """A ledger of four files, with their least and greatest values, as Delta keeps them outside of these tests."""
    made = Tables(spark, make_config(tmp_path_factory.mktemp("recorded") / "warehouse").tables)
    before = str(spark.conf.get(STATISTICS))
    spark.conf.set(STATISTICS, "true")
    for wave in WAVES:
        rows = [(n, a, r, None if m is None else START + timedelta(minutes=m), f"{n} {r}") for n, a, r, m in wave]
        ddl = "request_id string, attempt int, run_id string, created_at timestamp, response string"
        made.append("llm_calls", spark.createDataFrame(rows, ddl).coalesce(1))
    spark.conf.set(STATISTICS, before)
    return made


def asked(tables: Tables, *names: str) -> DataFrame:
    return tables.spark.createDataFrame([(name,) for name in names], "request_id string")


@pytest.mark.parametrize("few_files", [0, 4], ids=["by times", "whole"])
@pytest.mark.parametrize(
    ("names", "expected"),
    [
        pytest.param("d", ["d run-2"], id="asked by two runs"),
        pytest.param("bdee-", ["b run-1", "d run-2", "e run-2"], id="several, one twice, one never asked"),
        pytest.param("af", ["a run-3", "f run-3"], id="without a time"),
        pytest.param("", [], id="none"),
    ],
)
def test_of_each_request_the_last_attempt(tables: Tables, few_files: int, names: str, expected: list[str]) -> None:
    assert values(latest_calls(tables, asked(tables, *names), few_files), "response") == expected


def test_nothing_is_recorded_yet(scratch_tables: Make) -> None:
    new = scratch_tables()
    assert latest_calls(new, asked(new, "a"), few_files=0).collect() == []


@pytest.mark.parametrize(
    ("names", "many_runs", "waves"),
    [
        ("b", 100, "af ab"),
        ("c", 100, "af cd"),
        ("ce", 100, "af cd de"),
        pytest.param("be", 1, "af ab cd de", id="many runs are one span"),
        ("-", 100, "af"),
    ],
)
def test_only_the_files_of_their_times_are_read(tables: Tables, names: str, many_runs: int, waves: str) -> None:
    calls = tables.read("llm_calls")
    within = calls.where(when_asked(calls, asked(tables, *names), many_runs))
    assert len(calls.inputFiles()) == len(WAVES)
    assert len(within.inputFiles()) == len(waves.split())
    assert set(values(within, "request_id")) <= set(waves.replace(" ", ""))


def test_calls_since_a_time_leave_room_for_clocks_that_differ(tables: Tables) -> None:
    hour = (START + timedelta(hours=1)).timestamp()
    calls = tables.read("llm_calls")
    assert values(calls.where(since(hour + 600)), "response") == ["c run-1", "d run-1", "d run-2", "e run-2"]
    assert values(calls.where(since(hour + 601)), "response") == ["d run-1", "d run-2", "e run-2"]
