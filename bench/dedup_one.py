"""Semantic dedup of one set of planted vectors through Spark, stage by stage; prints its figures as one line of JSON. Run by bench/dedup_scale.py."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import common
import numpy as np
import pyarrow as pa
from dedup_vectors import DIM, THRESHOLD, Planted, ids
from pyspark.sql import functions as F

from etl.centroids import centroids_for
from etl.clusters import Survey, compare, edges_within_cells, pack, packing_for, partitions, survey, without
from etl.config import load_config
from etl.dedup_audit import fates
from etl.ledger import Ledger
from etl.progress import silent
from etl.session import get_spark
from etl.step import Job
from etl.survivors import greedy
from etl.tables import Tables
from etl.taxonomy_file import read_taxonomy
from udfs.packing import TASK, Packing

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

Row = dict[str, Any]


class Stages:
    """Seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def of(self, name: str, work: Callable[[], Any]) -> Any:
        """Runs and times a stage."""
        started = time.monotonic()
        made = work()
        self.seconds[name] = round(time.monotonic() - started, 2)
        return made


def job_for(spark: SparkSession, warehouse: Path, sets: list[str]) -> Job:
    """A job as the pipeline makes it."""
    config = load_config(
        str(common.ROOT / "conf/local.yaml"), [f"tables.warehouse={warehouse}", f"dedup.threshold={THRESHOLD}", *sets]
    )
    tables = Tables(spark, config.tables)
    ledger = Ledger(tables, config.llm, "bench", list)
    return Job(spark, config, tables, ledger, read_taxonomy(config), "bench", lambda text: None, silent(tables.files))


def rows_of(spark: SparkSession, planted: Planted) -> DataFrame:
    """The vectors as dedup takes them: of one side, none old, all of the same priority but for their ids."""
    read = spark.read.schema("item_id string, vector binary").parquet(*[str(path) for path in planted.parts])
    same = {"side": F.lit("text"), "old": F.lit(False), "priority": F.lit(0.0), "dim": F.lit(DIM)}
    return read.withColumns(same)


def measure(spark: SparkSession, planted: Planted, warehouse: Path, share_of_peak: bool, sets: list[str]) -> Row:
    """Compares, removes, and measures what was found."""
    job, stages = job_for(spark, warehouse, sets), Stages()
    rows = rows_of(spark, planted)
    surveyed: Survey = stages.of("survey", lambda: survey(job, rows))
    centroids = stages.of("centroids", lambda: centroids_for(job, "bench", surveyed.sample, surveyed.n, "bench"))
    packing = stages.of("plan", lambda: packing_for(job, surveyed, centroids.cells))
    readable = without(rows, surveyed.left_out, surveyed.reasons)
    found = edges_within_cells(readable, surveyed.n, packing, job.config.embed.device)
    found = found.withColumn("dedup_id", F.lit("bench"))
    count = stages.of("compare", lambda: job.tables.append("edges", found))
    edges = job.tables.read("edges").select("a_id", "b_id", "cosine")
    priority = readable.select("item_id", "priority")
    most = job.config.dedup.max_driver_edges
    chosen = stages.of("survivors", lambda: greedy(job.tables, edges, priority, most, count))
    removed = stages.of("removed", lambda: job.tables.scratch("removed", chosen.rows))
    all_read = readable.withColumn("unreadable", F.lit(None).cast("string"))
    counts = fates(all_read, removed.withColumn("method", F.lit("semantic")), edges)
    figures = {
        "seconds": round(sum(stages.seconds.values()), 1),
        "stages": stages.seconds,
        "cells": len(centroids.cells),
        "cells_in_blocks": len(packing.blocks),
        "edges": count,
        "removed": counts["semantic_duplicate"],
        "survivor_rounds": chosen.rounds,
        "identical": surveyed.reasons.get("identical", 0),
        "orphans": counts["orphans"],
        "kept_pairs": counts["kept_pairs"],
        **planted_recall(spark, planted, edges),
    }
    return figures | (compare_alone(job, readable, surveyed.n, packing) if share_of_peak else {})


def planted_recall(spark: SparkSession, planted: Planted, edges: DataFrame) -> Row:
    """The share of the planted pairs that are among the edges."""
    names = [ids(planted.pairs[:, side]).to_pylist() for side in (0, 1)]
    pairs = pa.table({"a_id": list(map(min, *names)), "b_id": list(map(max, *names))})
    wanted = spark.createDataFrame(pairs)
    n = wanted.join(edges, ["a_id", "b_id"], "left_semi").count()
    count = pairs.num_rows
    return {
        "planted_pairs": count,
        "planted_recall": round(n / max(1, count), 5),
        "planted_identical": planted.identical,
    }


def compare_alone(job: Job, rows: DataFrame, n: int, packing: Packing, turns: int = 1) -> Row:
    """The compare stage with the packed rows on disk: its comparisons, and how fast they are made, with the shuffle and the edges. The last turn counts."""
    tasks = job.tables.scratch("packed", pack(rows, packing))
    new, guests = F.col("counts")[0], F.col("counts")[2]
    sums = tasks.groupBy(*TASK, "part").agg(F.sum(new).alias("homes"), F.sum(guests).alias("guests"))
    sides = sums.groupBy(*TASK).agg(F.collect_list(F.struct("homes", "guests")).alias("p"))
    made = 0.0
    for row in sides.select("p", "left", "right").collect():
        h, g = [float(p["homes"]) for p in row["p"]], [float(p["guests"]) for p in row["p"]]
        if row["left"] == row["right"]:
            made += h[0] * (h[0] - 1) / 2 + h[0] * g[0]
        elif len(h) == 2:
            made += h[0] * h[1] + h[0] * g[1] + h[1] * g[0]
    seconds = 0.0
    for _ in range(turns):
        started = time.monotonic()
        pairs = compare(tasks, partitions(n, packing), packing, job.config.embed.device)
        pairs.write.format("noop").mode("overwrite").save()
        seconds = time.monotonic() - started
    return {
        "comparisons": made,
        "compare_alone_s": round(seconds, 2),
        "compare_gflops": round(2 * packing.dim * made / seconds / 1e9, 1),
        "packed_rows": tasks.count(),
    }


def peak_gflops(seconds: float = 3.0) -> float:
    """This machine's float32 matrix product, with all cores, in GFLOP/s."""
    a = np.random.default_rng(0).random((4096, 4096), dtype=np.float32)
    best, until = 0.0, time.monotonic() + seconds
    while time.monotonic() < until:
        started = time.monotonic()
        a @ a
        best = max(best, 2 * 4096**3 / (time.monotonic() - started) / 1e9)
    return best


def main() -> None:
    """Measures one size."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--warehouse", type=Path, required=True)
    parser.add_argument("--crowd", type=float, default=0.0, help="share of the rows that lie in one place")
    parser.add_argument("--share-of-peak", action="store_true")
    parser.add_argument("--set", action="append", default=[])
    args = parser.parse_args()
    planted = Planted(args.folder, args.rows, args.crowd)
    planted.make()
    peak = round(peak_gflops(), 1)
    spark = get_spark()
    # A new session's first query takes seconds that no amount of rows changes.
    spark.range(10).mapInArrow(lambda batches: batches, "id long").count()
    row = {"peak_gflops": peak, **measure(spark, planted, args.warehouse, args.share_of_peak, args.set)}
    spark.stop()
    print(json.dumps({"dedup": row}), flush=True)


if __name__ == "__main__":
    main()
