"""Reading recorded calls back: of each request its last attempt, from as few files of the ledger as can be."""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import TYPE_CHECKING

from pyspark.sql import Window
from pyspark.sql import functions as F

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

    from etl.tables import Tables

# A ledger of so few files is read whole: to look for the right ones takes longer.
FEW_FILES = 16
# With more runs than this, one span of time stands for all: a condition has to stay small.
MANY_RUNS = 100
# The clocks of driver and workers may differ by as much.
CLOCKS_APART_S = 600.0


def latest_calls(tables: Tables, requests: DataFrame, few_files: int = FEW_FILES) -> DataFrame:
    """Returns `llm_calls_latest` of these requests: of each its last attempt.

    Of a ledger of more than `few_files` files only ids, runs and times are read at first, now, to learn when these requests were asked. Answers are then
    read from the files of those times alone: Delta keeps the least and the greatest time of each file.
    """
    ids = requests.select("request_id").distinct()
    calls = tables.read("llm_calls")
    if len(calls.inputFiles()) > few_files:
        calls = calls.where(when_asked(calls, ids))
    last = Window.partitionBy("request_id").orderBy(F.col("attempt").desc())
    ranked = calls.join(ids, "request_id", "left_semi").withColumn("_rank", F.row_number().over(last))
    return ranked.where("_rank = 1").drop("_rank")


def when_asked(calls: DataFrame, ids: DataFrame, many_runs: int = MANY_RUNS) -> Column:
    """Returns a condition that holds for every call with one of these ids: between the first and the last of them in a run, or in all runs where they are
    more than `many_runs`; and for calls without a time.
    """
    found = calls.select("request_id", "run_id", "created_at").join(ids, "request_id", "left_semi")
    first, last = F.min(F.unix_micros("created_at")), F.max(F.unix_micros("created_at"))
    spans = found.groupBy("run_id").agg(first.alias("first"), last.alias("last")).where("first IS NOT NULL").collect()
    if len(spans) > many_runs:
        conditions = [_between(min(s["first"] for s in spans), max(s["last"] for s in spans))]
    else:
        conditions = [F.col("run_id").eqNullSafe(s["run_id"]) & _between(s["first"], s["last"]) for s in spans]
    return reduce(or_, conditions, F.col("created_at").isNull())


def since(began: float) -> Column:
    """Returns a condition that holds for every call made since then (seconds since 1970), by whichever of the cluster's clocks."""
    return F.col("created_at") >= F.timestamp_micros(F.lit(int((began - CLOCKS_APART_S) * 1e6)))


def _between(first: int, last: int) -> Column:
    return F.col("created_at").between(*(F.timestamp_micros(F.lit(micros)) for micros in (first, last)))
