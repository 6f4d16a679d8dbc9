"""Asks a model about each row of a DataFrame: requests, ledger, answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyspark.sql import functions as F

from etl.recorded_calls import latest_calls
from etl.step import Job
from udfs.requests import REQUEST_DDL, Asking, add_requests, read_answer
from udfs.tasks import Parsed

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

Reader = Callable[[dict[str, Any], Parsed], list[dict[str, Any]]]


def ask(job: Job, name: str, rows: DataFrame, asking: Asking, assumed: str | None = None) -> DataFrame:
    """Asks about every row and returns the rows with their recorded calls.

    `rows` has the task's row keys, `lang`, `sample`, and `prefix` (what requests with a common prefix share, the seed's id). Only requests that the
    ledger has no answer for go out. Raises BudgetStop or UserError as `Ledger.ask` does. `assumed` is what a dry run takes for an answer that is not there
    yet, so that it can count what would be asked about it.
    """
    kept = [c for c in rows.columns if c != "sample"]
    types = ", ".join(f"`{f.name}` {f.dataType.simpleString()}" for f in rows.select(*kept).schema.fields)

    def add(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield add_requests(batch, asking)

    requests = job.tables.scratch(f"{name}_requests", rows.mapInArrow(add, f"{types}, {REQUEST_DDL}"))
    asked = job.ledger.ask(requests)
    job.say(f"{asking.task}: {asked} requests sent, {asking.model}")
    calls = latest_calls(job.tables, requests).select(
        "request_id", "response", "status", "error", "finish_reason", "served_model"
    )
    if assumed is None or not job.ledger.assumes:
        return requests.join(calls, "request_id")
    there = {"response": F.coalesce("response", F.lit(assumed)), "status": F.coalesce("status", F.lit("ok"))}
    return requests.join(calls, "request_id", "left").withColumns(there)


def read_rows(answers: DataFrame, asking: Asking, reader: Reader, ddl: str) -> DataFrame:
    """Turns answered rows into output rows: `reader(row, parsed)` gives zero or more dicts with the columns of `ddl`."""
    return map_rows(answers, lambda row: reader(row, read_answer(row, asking)), ddl)


def map_rows(rows: DataFrame, function: Callable[[dict[str, Any]], list[dict[str, Any]]], ddl: str) -> DataFrame:
    """Turns each row, as a dict, into zero or more dicts with the columns of `ddl`, a batch at a time."""
    from pyspark.sql.types import StructType

    schema = pa_schema(StructType.fromDDL(ddl))

    def read(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            made = [out for row in batch.to_pylist() for out in function(row)]
            yield pa.RecordBatch.from_pylist(made, schema=schema)

    return rows.mapInArrow(read, ddl)


def pa_schema(schema: Any) -> pa.Schema:
    """Returns the Arrow schema of a Spark schema."""
    from pyspark.sql.pandas.types import to_arrow_schema

    return to_arrow_schema(schema)
