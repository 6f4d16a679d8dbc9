"""How diverse a data set is: the measures of the step `measure`, over all of its records."""

from __future__ import annotations

from pyspark.sql import functions as F

from etl.data_set.rows import EMBED, INGEST, Output, records, step_of, write
from etl.items import vectors
from etl.step import Job, Outcome, Step
from etl.steps.measure import geometric, textual


def steps(output: Output) -> list[Step]:
    """Returns the steps of `boostqa measure FILE`."""
    return [INGEST, EMBED, step_of("measure", run, output, ("measure", "embed"))]


def run(job: Job, output: Output) -> Outcome:
    """Measures the records whose vectors may decide, and writes a row per measure."""
    vector = vectors(job.tables, job.config.embed).select("item_id", "text_hash", "vector", "reason")
    every = records(job).select(F.col("doc_id").alias("item_id"), "text", "text_hash")
    rows = job.tables.scratch("data_set_rows", every.join(vector, ["item_id", "text_hash"], "left"))
    readable = rows.where("vector IS NOT NULL AND reason IS NULL")
    n, total = readable.count(), rows.count()
    scoped = readable.select(
        F.lit("documents").alias("items"), F.lit("all").alias("scope"), "item_id", "text", "vector"
    )
    made = geometric(scoped, job.config.measure.groups).unionByName(textual(scoped))
    measures = made.select(F.col("metric").alias("id"), "value", "n", "ci_low", "ci_high", "params")
    unread = {"no_readable_vector": total - n} if total > n else {}
    # Some twenty rows, in one file. Not by coalesce: all that makes them would run in one task.
    return write(job, measures.repartition(1).sortWithinPartitions("id"), output, Outcome(total, n, unread))
