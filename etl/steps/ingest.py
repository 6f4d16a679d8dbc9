"""ingest: files of any format become rows of `documents`; what can not be read becomes a row of `quarantine`."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce
from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from etl.errors import InvariantError, UserError
from etl.readers.documents import ROW_DDL, rows_of_files
from etl.schemas import TABLES
from etl.sources import list_files, source_settings
from etl.step import Job, Outcome, Step, count_reasons
from etl.table_source import table_rows

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

# Small files share a task, large ones have their own.
BYTES_PER_TASK = 8 << 20
# At least, where Spark names no number of its own.
TASKS = 200


def run(job: Job) -> Outcome:
    """Reads new and changed files, once. A changed file replaces its rows."""
    if not job.config.sources:
        raise UserError("sources is empty: name at least one corpus under `sources` in the config")
    listed = job.tables.scratch("ingest_listed", _listed(job))
    same = ["source", "uri", "size", "modified", "settings"]
    pending = job.tables.scratch("ingest_files", listed.join(job.tables.read("files").select(*same), same, "left_anti"))
    n_files = pending.count()
    outcome = Outcome(0, 0, figures={"files": 0})
    if n_files:
        job.say(f"reading {n_files} new or changed files")
        outcome = _store(job, pending, job.tables.scratch("ingest_rows", _read(job, pending, n_files)), n_files)
    return replace(outcome, figures=outcome.figures | {"files_gone": float(_tell_gone(job, listed))})


def _tell_gone(job: Job, listed: DataFrame) -> int:
    """Says which files were read once and are listed no more. Their passages stay: a file that is away for a day must not take paid work with it."""
    gone = job.tables.read("files").join(listed.select("source", "uri"), ["source", "uri"], "left_anti")
    counted = gone.groupBy("source").agg(F.count("*").alias("n"), F.sum("passages").alias("passages"))
    rows = sorted(counted.collect())
    named = {source.name for source in job.config.sources}
    for row in rows:
        why = "are no longer there" if row["source"] in named else "are of a source that the config does not name"
        job.say(f"{row['source']}: {row['n']} files {why}; their {row['passages']} passages stay in `documents`")
    return sum(row["n"] for row in rows)


def _listed(job: Job) -> DataFrame:
    listed = [list_files(job.tables, job.config, source) for source in job.config.sources]
    return reduce(lambda a, b: a.unionByName(b), listed)


def _read(job: Job, pending: DataFrame, n_files: int) -> DataFrame:
    files = [s for s in job.config.sources if s.format != "delta"]
    sources = {s.name: source_settings(job.config, s) for s in files}
    chosen = pending.where(F.col("source").isin(list(sources)))
    rows = spread(job, chosen, n_files).mapInArrow(lambda batches: rows_of_files(batches, sources), ROW_DDL)
    changed = {
        row["source"]
        for row in pending.where(~F.col("source").isin(list(sources))).select("source").distinct().collect()
    }
    tables = [table_rows(job.tables, job.config, s) for s in job.config.sources if s.name in changed]
    return reduce(lambda a, b: a.unionByName(b), tables, rows)


def spread(job: Job, files: DataFrame, n_files: int) -> DataFrame:
    """Deals `n_files` files (uri, size) out to tasks by their bytes and addresses."""
    return files.repartitionByRange(_partitions(job, files, n_files), "uri")


def _partitions(job: Job, files: DataFrame, n_files: int) -> int:
    size = files.agg(F.sum("size")).first()
    by_bytes = int(size[0] or 0) // BYTES_PER_TASK if size else 0
    usual = job.spark.conf.get("spark.sql.shuffle.partitions") or ""
    # Databricks has `auto` here.
    return max(1, min(n_files, max(by_bytes, int(usual) if usual.isdigit() else TASKS)))


def _store(job: Job, pending: DataFrame, rows: DataFrame, n_files: int) -> Outcome:
    _make_room(job, pending, rows)
    wrote = {name: job.tables.append(name, _rows_for(rows, name)) for name in ("documents", "quarantine")}
    files = job.tables.scratch("ingest_counts", _counts(rows))
    told = files.selectExpr("sum(passages) AS p", "sum(quarantined) AS q", "sum(records) AS r", "count(*) AS f").first()
    if told is None or (told["p"], told["q"], told["f"]) != (wrote["documents"], wrote["quarantine"], n_files):
        raise InvariantError(f"ingest: the readers counted {told}, the tables took {wrote} from {n_files} files")
    # Last, so that a killed run reads these files again and replaces what it had written.
    job.tables.append("files", files)
    dropped = count_reasons(rows.where("row_kind = 'quarantine'"))
    figures = {"files": float(n_files), "records": float(told["r"])}
    return Outcome(told["p"] + told["q"], wrote["documents"], dropped, figures)


def _make_room(job: Job, pending: DataFrame, rows: DataFrame) -> None:
    # Ids do not hold the address: a corpus that has moved brings the same ids again, and takes over from the old address.
    ids = rows.where("row_kind = 'document'").select("doc_id")
    moved = job.tables.read("documents").join(ids, "doc_id", "left_semi").select("source", "uri")
    job.tables.delete_matching("files", pending.select("source", "uri").unionByName(moved), ["source", "uri"])
    job.tables.delete_matching("documents", ids, ["doc_id"])
    for name in ("documents", "quarantine"):
        job.tables.delete_matching(name, pending, ["source", "uri"])


def _rows_for(rows: DataFrame, table: str) -> DataFrame:
    kind = {"documents": "document", "quarantine": "quarantine"}[table]
    return rows.where(f"row_kind = '{kind}'").select(*[c for c in TABLES[table].columns if c in rows.columns])


def _counts(rows: DataFrame) -> DataFrame:
    # A table is read in several parts, each with a count of its own.
    sums = [F.sum(name).alias(name) for name in ("records", "passages", "quarantined")]
    return rows.where("row_kind = 'file'").groupBy("source", "uri", "size", "modified", "settings").agg(*sums)


STEP = Step("ingest", run, reads=(), writes=("documents", "quarantine", "files"), settings=("sources", "ingest"))
