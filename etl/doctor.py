"""The invariants of a warehouse: unique keys, row accounting, lineage without orphans, dedup's promise, versions, segments."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING

from etl.batches import intents, unread
from etl.items import latest_id
from etl.schemas import TABLES
from etl.tables import Tables
from udfs.storage import list_files

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


# Each row of a table, its name, the id or ids in it, and the table and key where that id must stand.
LINKS = (
    ("drafts", "draft_id", "request_id", "llm_calls", "request_id"),
    ("probe_results", "item_id", "request_id", "llm_calls", "request_id"),
    ("refinements", "qa_id", "request_id", "llm_calls", "request_id"),
    ("refinements", "qa_id", "draft_id", "drafts", "draft_id"),
    ("qa", "qa_id", "request_ids", "llm_calls", "request_id"),
    ("qa", "qa_id", "qa_id", "refinements", "qa_id"),
    ("cluster_rounds", "concat_ws(' ', items, round)", "request_ids", "llm_calls", "request_id"),
    ("mixture", "item_id", "item_id", "qa", "qa_id"),
    ("curation", "doc_id", "doc_id", "documents", "doc_id"),
)
RESTORE = "Restore the table from its history, or run that step again."
ADVICE = {
    "llm_calls": "The ledger never loses a call by itself: was it restored or changed by hand? DESCRIBE HISTORY tells.",
    "documents": "Run `curate` again.",
    "drafts": RESTORE,
    "refinements": RESTORE,
    "qa": RESTORE,
}


def examine(tables: Tables) -> list[str]:
    """Returns one line per problem, with what to do; an empty list when all is well."""
    present = [name for name in TABLES if tables.version(name) >= 0]
    counted = [_repeated_keys(tables, name) for name in present] + [_lost_rows(tables)]
    counted += _orphans(tables) + _bad_duplicates(tables) + _batches(tables)
    found = reduce(lambda a, b: a.unionByName(b), counted).where("n > 0").orderBy("problem").collect()
    problems = [f"{row['problem']}: {row['n']:,} rows, such as {row['example']}. {row['advice']}" for row in found]
    return problems + _lost_versions(tables) + _segments(tables)


def _problem(rows: DataFrame, example: str, problem: str, advice: str) -> DataFrame:
    """Counts the rows that break a rule; `example` is the SQL expression that names one of them."""
    quoted = [text.replace("'", "\\'") for text in (problem, advice)]
    return rows.selectExpr("count(*) AS n", f"min({example}) AS example").selectExpr(
        f"'{quoted[0]}' AS problem", "n", "CAST(example AS string) AS example", f"'{quoted[1]}' AS advice"
    )


def _repeated_keys(tables: Tables, name: str) -> DataFrame:
    key = TABLES[name].key
    twice = tables.read(name).groupBy(*key).count().where("count > 1")
    advice = f"Restore an earlier version (RESTORE TABLE {tables.address(name)} TO VERSION AS OF n) and run `{TABLES[name].owner}` again."
    return _problem(
        twice, f"concat_ws(' ', {', '.join(key)})", f"{name}: the key {', '.join(key)} is not unique", advice
    )


def _lost_rows(tables: Tables) -> DataFrame:
    dropped = "aggregate(map_values(dropped), CAST(0 AS bigint), (total, n) -> total + n)"
    lost = tables.read("steps").where(f"status IN ('done', 'unchanged') AND rows_in <> rows_out + {dropped}")
    return _problem(
        lost,
        "concat_ws(' ', run_id, step, attempt)",
        "steps: rows in are not rows out and rows with a reason",
        "That step has lost rows: run it again and tell us, with what it printed.",
    )


def _orphans(tables: Tables) -> list[DataFrame]:
    # Paid questions whose seed is gone are no orphans: dedup and select pass over them, with the reason `seed_gone`.
    problems = []
    for table, row, column, other, key in LINKS:
        several = TABLES[table].columns[column][0].startswith("array")
        rows = tables.read(table).selectExpr(
            f"{row} AS row", f"explode({column}) AS id" if several else f"{column} AS id"
        )
        there = tables.read(other).selectExpr(f"{key} AS id").distinct()
        missing = rows.join(there, "id", "left_anti")
        problems.append(_problem(missing, "row", f"{table}: their {column} is not in {other}", ADVICE[other]))
    return problems


def _bad_duplicates(tables: Tables) -> list[DataFrame]:
    from pyspark.sql import functions as F

    # Older dedup runs speak of rows that may have been replaced since; later steps use the last ones only.
    current = [latest_id(tables, name) or "" for name in ("seed_dedup_id", "dedup_id")]
    removed = tables.read("duplicates").where(F.col("dedup_id").isin(current))
    documents = tables.read("documents").selectExpr("doc_id AS kept_id")
    items = documents.unionByName(tables.read("qa").selectExpr("qa_id AS kept_id"))
    gone = removed.selectExpr("dedup_id", "item_id AS kept_id")
    both = tables.read("edges").where(F.col("dedup_id").isin(current))
    for side in ("a_id", "b_id"):
        both = both.join(removed.selectExpr("dedup_id", f"item_id AS {side}"), ["dedup_id", side], "left_anti")
    copies = tables.read("curation").where("kept_id IS NOT NULL").select("doc_id", "kept_id")
    dropped = tables.read("curation").where("NOT kept").selectExpr("doc_id AS kept_id")
    advice = "Run `dedup` again: the rows that it removed are still in their tables."
    return [
        _problem(
            removed.join(items, "kept_id", "left_anti"), "item_id", "duplicates: the kept row does not exist", advice
        ),
        _problem(
            removed.join(gone, ["dedup_id", "kept_id"], "left_semi"),
            "item_id",
            "duplicates: the kept row was itself removed",
            advice,
        ),
        _problem(
            removed.where("cosine < threshold"), "item_id", "duplicates: their cosine is under the threshold", advice
        ),
        _problem(both, "a_id", "edges: both rows of a pair at or over the threshold were kept", advice),
        _problem(
            copies.join(dropped, "kept_id", "left_semi"),
            "doc_id",
            "curation: the kept document was itself dropped",
            "Run `curate` again.",
        ),
    ]


def _lost_versions(tables: Tables) -> list[str]:
    from pyspark.sql import functions as F

    recorded = tables.read("steps").select(F.explode("versions_out").alias("name", "version"))
    newest = {row[0]: row[1] for row in recorded.groupBy("name").agg(F.max("version")).collect()}
    return [
        f"{name}: its version is {tables.version(name)}, but `steps` has recorded version {version}. "
        "The table was dropped or replaced: run its steps again, or restore it."
        for name, version in sorted(newest.items())
        if tables.version(name) < version
    ]


def _batches(tables: Tables) -> list[DataFrame]:
    if not intents(tables):
        return []
    advice = "Run with llm.batch: true and the settings they were asked with: their answers may be paid, and cost nothing more."
    return [_problem(unread(tables), "intent", "batches: their requests are sent and not in llm_calls yet", advice)]


def _segments(tables: Tables) -> list[str]:
    left = list_files(f"{tables.files}/wal", ".parquet")
    if not left:
        return []
    return [
        f"{tables.files}/wal: {len(left):,} segments of paid answers are not in llm_calls yet, such as {left[0]}. "
        "The next run commits them before it asks anything: run it."
    ]
