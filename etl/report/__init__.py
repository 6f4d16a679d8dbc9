"""The report: one self-contained HTML page about a warehouse."""

from __future__ import annotations

from typing import TYPE_CHECKING

from etl.config import Config
from udfs.storage import write_over

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def write_report(spark: SparkSession, config: Config, out: str) -> str:
    """Writes the report of the warehouse that `config` names to `out`, a file on any storage, and returns `out`.

    The page follows from the tables alone: the same tables give the same bytes. Raises UserError when no run is recorded there.
    """
    from etl.report.gather import gather
    from etl.report.page import render
    from etl.tables import Tables

    write_over(out, render(gather(Tables(spark, config.tables), config)).encode())
    return out
