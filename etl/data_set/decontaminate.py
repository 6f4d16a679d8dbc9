"""Records of a data set that share an n-gram with a benchmark, each with the benchmark's item."""

from __future__ import annotations

from dataclasses import replace

from pyspark.sql import functions as F

from etl.benchmarks import benchmark_state, contaminated, read_items
from etl.data_set.rows import INGEST, Output, records, step_of, verdict_counts, with_unread, write
from etl.step import Job, Outcome, Step


def steps(output: Output) -> list[Step]:
    """Returns the steps of `boostqa decontaminate FILE --against FILE`."""
    step = step_of("decontaminate", run, output, ("curate.decontaminate",))
    return [INGEST, replace(step, hangs_on=benchmark_state)]


def run(job: Job, output: Output) -> Outcome:
    """Gives every record its verdict, and writes them all. `kept_id` names the benchmark's item, as `benchmark:position`."""
    items = read_items(job.tables, job.config)
    unread = items.where("reason IS NOT NULL").count()
    if unread:
        job.say(f"{unread} benchmark records could not be read and protect nothing")
    every = records(job)
    hits = job.tables.scratch("data_set_hits", contaminated(job.tables, job.config, every, items))
    found = F.col("benchmark").isNotNull()
    rows = every.join(hits.select("doc_id", F.get("benchmarks", F.lit(0)).alias("benchmark")), "doc_id", "left").select(
        F.col("doc_id").alias("id"),
        F.when(found, "removed").otherwise("kept").alias("verdict"),
        F.col("benchmark").alias("kept_id"),
        F.when(found, "contaminated_v1").alias("reason"),
        "text",
    )
    judged = job.tables.scratch("data_set_verdicts", with_unread(job, rows))
    total, dropped = verdict_counts(judged)
    figures = {"unread_benchmark_records": float(unread)}
    return write(job, judged, output, Outcome(total, total - sum(dropped.values()), dropped, figures))
