"""A ledger of 20 million calls: what it costs to find what was never asked, to read answers back and to commit a wave; and how many segments wait.

The table has the real schema, a file for each wave of the default size, and ~200 bytes of text a row that do not compress: real answers have ten times as
much, so real ratios are larger. Bytes are those of a run that is not timed, with requests that are computed: all that it reads is the ledger, with its
footers and checksums. `make bench-ledger_scale`; fewer rows: ARGS="--rows 1000000", and ratios to pyarrow then are those of Spark's fixed costs.

Expected before the first look at 20 million, from trials with 1 and 5 million: the anti-join reads 1.04 times the id column, 13 % of the table, and takes
20 s, twice pyarrow's time; with all columns read a minute. The answers to the last million requests take 15 s and 1.05 times the least possible bytes, those
to a million scattered ones a minute. A commit takes 2.5 s, by either ledger and either run. MERGE of the requests takes twice the anti-join, an upsert of one
wave on a twentieth of the table 10 s. At most 35 segments of 313 wait at the same time.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.dataset as ds
import pyarrow.parquet as pq
from common import PeakMemory, goal, write_result
from ledger_segments import ask_in_waves
from ledger_table import (
    RUN,
    build,
    calls,
    check_space,
    column_bytes,
    config_of,
    files_of,
    ledger_of,
    put_wave,
    requests,
)
from spark_reads import counted, drain, read_schemas, timed

from etl.ledger import REQUEST_COLUMNS
from etl.recorded_calls import latest_calls
from etl.session import get_spark
from etl.tables import Tables

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from etl.config import Config

Row = dict[str, Any]
# What a step takes of the answers to its requests.
ANSWER = ("request_id", "response", "status", "error", "finish_reason", "served_model")


class Scale:
    """A table of so many calls in a warehouse of its own, and the measurements on it."""

    def __init__(self, spark: SparkSession, folder: Path, rows: int) -> None:
        self.spark, self.rows = spark, rows
        self.config: Config = config_of(folder)
        self.tables = Tables(spark, self.config.tables)
        self.llm = self.config.llm
        self.files = -(-rows // self.llm.wave_requests)
        self.seconds = build(self.tables, rows, self.files)
        self.columns = column_bytes(self.tables)

    def size(self, name: str) -> Row:
        """The table: rows, files, bytes of all columns and of the ids."""
        ids, whole = self.columns["request_id"], sum(self.columns.values())
        built = {"seconds": round(self.seconds, 1), "files": self.files, "bytes": whole, "id_bytes": ids}
        return {"what": name, "size": self.rows, **built}

    def anti_join(self, count: int) -> list[Row]:
        """What the ledger does not hold of so many requests, of which it holds half: its own query, pyarrow, and with all columns read."""
        computed = requests(self.spark.range(self.rows - count // 2, self.rows - count // 2 + count, 1, 8))
        written = self.tables.scratch("bench_requests", computed)
        ledger = ledger_of(self.tables, self.config, "another-run")
        same = {"size": self.rows, "requests": count}
        ours = {"what": "anti-join", **same, **counted(self.spark, lambda: drain(ledger.unanswered(computed)))}
        ours |= {"read_schema": read_schemas(ledger.unanswered(computed))}
        ours |= timed(self.spark, lambda: drain(ledger.unanswered(written)))
        least = partial(pyarrow_anti_join, files_of(self.tables), Path(f"{self.tables.files}/scratch/bench_requests"))
        limit = {"what": "limit: pyarrow, ids alone", **same, "rows_out": least(), **timed(self.spark, least)}
        peer = {"what": "peer: anti-join, all columns read", **same}
        peer |= counted(self.spark, lambda: drain(self.all_columns(computed)))
        return [ours, limit, peer]

    def all_columns(self, asked: DataFrame) -> DataFrame:
        """The anti-join behind a filter that needs every column."""
        from pyspark.sql import functions as F

        known = self.tables.read("llm_calls")
        return asked.join(known.where(F.xxhash64(*known.columns) != 0), "request_id", "left_anti")

    def answers(self, count: int) -> list[Row]:
        """The answers to the last requests of the ledger, as after a step's ask, and to as many that are scattered over it."""
        last = requests(self.spark.range(self.rows - count, self.rows, 1, 8))
        scattered = requests(self.spark.range(0, self.rows // count * count, self.rows // count, 8))
        written = self.tables.scratch("bench_requests", last)

        def read(asked: DataFrame) -> int:
            return drain(latest_calls(self.tables, asked).select(*ANSWER))

        same = {"size": self.rows, "requests": count}
        one = {"what": "answers, asked last", **same, **counted(self.spark, lambda: read(last))}
        least = sum(self.columns[c] for c in ("request_id", "run_id", "created_at"))
        least += sum(self.columns[c] for c in (*ANSWER, "attempt")) * count // self.rows
        one |= {"least_bytes": least, **timed(self.spark, lambda: read(written))}
        return [one, {"what": "answers, scattered", **same, **counted(self.spark, lambda: read(scattered))}]

    def merges(self, count: int) -> Row:
        """What others do in the anti-join's place: MERGE of the requests, of which the new ones are inserted."""
        asked = requests(self.spark.range(self.rows - count // 2, self.rows - count // 2 + count, 1, 8))
        asked.createOrReplaceTempView("asked")
        columns = [c for c in REQUEST_COLUMNS if c != "prefix"]
        merge = (
            f"MERGE INTO {self.tables.address('llm_calls')} t USING asked s ON t.request_id = s.request_id "
            f"WHEN NOT MATCHED THEN INSERT ({', '.join(columns)}) VALUES ({', '.join(f's.{c}' for c in columns)})"
        )
        seen = counted(self.spark, lambda: int(self.spark.sql(merge).collect()[0]["num_inserted_rows"]))
        return {"what": "peer: MERGE of the requests", "size": self.rows, "requests": count, **seen}

    def upsert(self) -> Row:
        """What others do in the commit's place: MERGE of a wave's answers, of which half are there already, all over the table."""
        wave = self.llm.wave_requests
        answers = calls(self.spark.range(0, 2 * self.rows, 2 * self.rows // wave, 2), self.rows)
        written = self.tables.scratch("bench_wave", answers)
        seen = counted(self.spark, lambda: self.tables.upsert("llm_calls", written))
        return {"what": "peer: MERGE of a wave's answers", "size": self.rows, "requests": wave, **seen}


def pyarrow_anti_join(files: list[Path], asked: Path) -> int:
    """The ids of the same files and of the requests, and nothing else, compared in memory; returns how many are new."""
    known = ds.dataset(files, format="parquet").to_table(columns=["request_id"])
    new = pq.read_table(asked, columns=["request_id"]).join(known, "request_id", join_type="left anti")
    return int(new.num_rows)


def commits(both: list[Scale], runs: int = 3) -> list[Row]:
    """Commits waves to a large and a small ledger in turn, by another run and by the one that has paid for all of it; the first of each is not counted."""
    seconds: dict[tuple[int, str], list[float]] = {}
    for n in range(runs + 1):
        for scale in both:
            for run_id in ("another-run", RUN):
                ledger, began = ledger_of(scale.tables, scale.config, run_id), time.time()
                folder = put_wave(scale.tables, scale.llm, f"{run_id}-{n}", run_id)
                took = timed(scale.spark, partial(ledger.commit_wave, folder, began), 1)
                seconds.setdefault((scale.rows, run_id), []).extend(took["runs"])
    wave = both[0].llm.wave_requests
    return [
        {"what": "commit", "size": rows, "by": run_id, "requests": wave, "seconds": sorted(s[1:])[runs // 2], "runs": s}
        for (rows, run_id), s in seconds.items()
    ]


def goals(rows: list[Row]) -> list[Row]:
    """What the issue asks of these measurements."""
    of = {row["what"]: row for row in rows if row["what"] != "commit"}
    spent = {(row["size"], row["by"]): row["seconds"] for row in rows if row["what"] == "commit"}
    large, small = max(size for size, _ in spent), min(size for size, _ in spent)
    table, ours, last, waves = of["table"], of["anti-join"], of["answers, asked last"], of["segments"]
    others = sum(schema != "request_id:string" for schema in ours["read_schema"])
    slower = ours["seconds"] / of["limit: pyarrow, ids alone"]["seconds"]
    wanted = [
        ("anti-join: scans of more than the ids", others, 0, "scans"),
        ("anti-join: bytes read, to the id column", ours["bytes_read"] / table["id_bytes"], 1.2, "times"),
        ("anti-join: requests it gets wrong", abs(ours["rows_out"] - ours["requests"] // 2), 0, "requests"),
        ("anti-join: seconds, to pyarrow", slower, 5, "times"),
        ("answers asked last: bytes read, to the least", last["bytes_read"] / last["least_bytes"], 1.5, "times"),
        *[
            (f"commit by {by}: seconds, to a small ledger", spent[large, by] / spent[small, by], 1.5, "times")
            for by in ("another-run", RUN)
        ],
        ("live segment files", waves["peak"], waves["bound"], "files"),
    ]
    return [goal(name, round(value, 2), bound, unit) for name, value, bound, unit in wanted]


def main() -> int:
    """Builds the tables, measures, writes the result; 1 when a goal is missed."""
    parser = argparse.ArgumentParser(description="a ledger of many calls")
    parser.add_argument("--rows", type=int, default=20_000_000, help="calls in the ledger")
    parser.add_argument("--requests", type=int, default=1_000_000, help="requests that are compared with it")
    args = parser.parse_args()
    count = min(args.requests, args.rows)
    watch = PeakMemory(os.getpid())
    watch.start()
    with tempfile.TemporaryDirectory(prefix="ledger-scale-") as folder:
        check_space(Path(folder), args.rows)
        spark = get_spark()
        large, small = (
            Scale(spark, Path(folder) / "large", args.rows),
            Scale(spark, Path(folder) / "small", args.rows // 20),
        )
        rows: list[Row] = []
        parts = [
            lambda: [large.size("table"), small.size("small table")],
            lambda: large.anti_join(count),
            lambda: large.answers(count),
            lambda: commits([large, small]),
            lambda: [large.merges(count), small.upsert()],
            lambda: [ask_in_waves(spark, Path(folder) / "waves")],
        ]
        for part in parts:
            measured = part()
            rows += measured
            print(*measured, sep="\n", flush=True)
        spark.stop()
    peaks = {f"peak_{kind}_mib": round(value) for kind, value in sorted(watch.peaks.items())}
    return 0 if write_result("ledger_scale", [*rows, {"what": "memory", **peaks}], goals(rows)) else 1


if __name__ == "__main__":
    sys.exit(main())
