"""ingest: files of any format become rows of `documents`; what can not be read becomes a row of `quarantine`."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING

from etl.errors import InvariantError, UserError
from etl.readers.documents import ROW_DDL, rows_of_files
from etl.schemas import TABLES
from etl.sources import list_files, source_settings
from etl.step import Job, Outcome, Step, count_reasons

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

MAX_PARTITIONS = 10_000


def run(job: Job) -> Outcome:
    """Reads new and changed files, once. A changed file replaces its rows."""
    if not job.config.sources:
        raise UserError("sources is empty: name at least one corpus under `sources` in the config")
    pending = job.tables.scratch("ingest_files", _pending(job))
    n_files = pending.count()
    if n_files == 0:
        return Outcome(0, 0, figures={"files": 0})
    job.say(f"reading {n_files} new or changed files")
    return _store(job, pending, job.tables.scratch("ingest_rows", _read(job, pending, n_files)), n_files)


def _pending(job: Job) -> DataFrame:
    listed = [list_files(job.spark, job.config, source) for source in job.config.sources]
    every = reduce(lambda a, b: a.unionByName(b), listed)
    same = ["source", "uri", "size", "modified", "settings"]
    return every.join(job.tables.read("files").select(*same), same, "left_anti")


def _read(job: Job, pending: DataFrame, n_files: int) -> DataFrame:
    sources = {s.name: source_settings(job.config, s) for s in job.config.sources}
    spread = pending.repartition(min(n_files, MAX_PARTITIONS))
    return spread.mapInArrow(lambda batches: rows_of_files(batches, sources), ROW_DDL)


def _store(job: Job, pending: DataFrame, rows: DataFrame, n_files: int) -> Outcome:
    for name in ("documents", "quarantine", "files"):
        job.tables.delete_matching(name, pending, ["source", "uri"])
    wrote = {
        name: _append(job, rows, kind, name) for kind, name in (("document", "documents"), ("quarantine", "quarantine"))
    }
    told = (
        rows.where("row_kind = 'file'")
        .selectExpr("sum(passages) AS p", "sum(quarantined) AS q", "sum(records) AS r", "count(*) AS f")
        .first()
    )
    if told is None or (told["p"], told["q"], told["f"]) != (wrote["documents"], wrote["quarantine"], n_files):
        raise InvariantError(f"ingest: the readers counted {told}, the tables took {wrote} from {n_files} files")
    # Last, so that a killed run reads these files again and replaces what it had written.
    _append(job, rows, "file", "files")
    dropped = count_reasons(rows.where("row_kind = 'quarantine'"))
    figures = {"files": float(n_files), "records": float(told["r"])}
    return Outcome(told["p"] + told["q"], wrote["documents"], dropped, figures)


def _append(job: Job, rows: DataFrame, kind: str, table: str) -> int:
    columns = [c for c in TABLES[table].columns if c in rows.columns]
    return job.tables.append(table, rows.where(f"row_kind = '{kind}'").select(*columns))


STEP = Step("ingest", run, reads=(), writes=("documents", "quarantine", "files"), sections=("sources", "ingest"))
