"""What a query of a local Spark session takes: seconds, and the bytes that it reads from storage (no shuffle, no spill)."""

from __future__ import annotations

import io
import re
import statistics
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

# Hadoop does not count what is read by several ranges at once.
VECTORED = "parquet.hadoop.vectored.io.enabled"


def storage_bytes(spark: SparkSession) -> int:
    """Bytes that the JVM, driver and executor in one, has read through Hadoop's file systems so far."""
    found = spark._jvm.org.apache.hadoop.fs.FileSystem.getAllStatistics()
    return sum(one.getBytesRead() for one in found)


def drain(rows: DataFrame) -> int:
    """Computes all rows and all columns, keeps nothing, and returns how many rows there were."""
    from pyspark.sql import Observation
    from pyspark.sql import functions as F

    seen = Observation()
    rows.observe(seen, F.count(F.lit(1)).alias("rows")).write.format("noop").mode("overwrite").save()
    return int(seen.get["rows"])


def counted(spark: SparkSession, work: Callable[[], int]) -> dict[str, Any]:
    """Does the work once with plain reads: its rows, the bytes read, and the seconds of this first run."""
    spark.conf.set(VECTORED, "false")
    before, started = storage_bytes(spark), time.monotonic()
    rows = work()
    seconds = time.monotonic() - started
    spark.conf.unset(VECTORED)
    spark._jvm.System.gc()  # Spark deletes the files of a shuffle when the collector finds that nobody uses it
    return {"rows_out": rows, "bytes_read": storage_bytes(spark) - before, "first_seconds": round(seconds, 2)}


def timed(spark: SparkSession, work: Callable[[], object], runs: int = 3) -> dict[str, Any]:
    """Does the work so often; all seconds, and the median."""
    seconds = []
    for _ in range(runs):
        started = time.monotonic()
        work()
        seconds.append(round(time.monotonic() - started, 2))
        spark._jvm.System.gc()
    return {"seconds": statistics.median(seconds), "runs": seconds}


def read_schemas(rows: DataFrame) -> list[str]:
    """The columns that each scan of a plan reads, as Spark words them."""
    said = io.StringIO()
    with redirect_stdout(said):
        rows.explain("formatted")
    return re.findall(r"ReadSchema: struct<(.*)>", said.getvalue())
