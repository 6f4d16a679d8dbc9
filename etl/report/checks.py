"""What the report says about trust: dedup against its own audit, benchmarks, the calls and their errors, and what the embedding model can not read."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from etl.benchmarks import contamination
from etl.config import Config, EmbedConfig
from etl.items import vectors
from etl.report.figures import Benchmark, CallError, Calls, Dedup, Pair, Text, Unreadable
from etl.report.history import Made
from etl.tables import Tables

if TYPE_CHECKING:
    from pyspark.sql import Row

DEDUPS = {"seeds": "seed_dedup_id", "questions": "dedup_id"}
PAIRS = 12
MAX_ROWS = 100
ERROR_CUT = 300


def nearest_pairs(tables: Tables, made: dict[str, Made]) -> list[Row]:
    """Returns, for each dedup run, the pairs that were only just over its threshold: dedup_id, a_id, b_id, cosine."""
    ids = [made[name].id for name in DEDUPS.values() if name in made]
    if not ids:
        return []
    edges = tables.read("edges")
    nearest = [edges.where(f"dedup_id = '{i}'").orderBy("cosine", "a_id", "b_id").limit(PAIRS) for i in ids]
    return reduce(lambda a, b: a.unionByName(b), nearest).collect()


def dedups(
    tables: Tables, pairs: list[Row], made: dict[str, Made], config: Config, texts: dict[str, Text]
) -> tuple[Dedup, ...]:
    """Puts the recorded figures of each dedup run beside its pairs, and marks which row of a pair was removed."""
    gone = _removed(tables, pairs)
    found = []
    for items, name in DEDUPS.items():
        if name not in made:
            continue
        mine = [p for p in pairs if p["dedup_id"] == made[name].id]
        shown = tuple(_pair(p, texts, gone) for p in sorted(mine, key=lambda p: (p["cosine"], p["a_id"], p["b_id"])))
        removed = sum(n for reason, n in made[name].dropped.items() if reason.endswith("_duplicate"))
        # The run's own: the report may be asked for under another config. Runs of older versions did not tell it.
        threshold = made[name].figures.get("threshold", config.dedup.threshold)
        found.append(Dedup(items, threshold, made[name].rows_in, removed, made[name].figures, shown))
    return tuple(found)


def _removed(tables: Tables, pairs: list[Row]) -> set[tuple[str, str]]:
    ids = sorted({p[side] for p in pairs for side in ("a_id", "b_id")})
    rows = tables.read("duplicates").where(F.col("item_id").isin(ids)).select("dedup_id", "item_id")
    return {(row["dedup_id"], row["item_id"]) for row in rows.collect()}


def _pair(row: Row, texts: dict[str, Text], gone: set[tuple[str, str]]) -> Pair:
    a, b = (texts.get(row[side], Text(row[side], "")) for side in ("a_id", "b_id"))
    removed = frozenset(text.id for text in (a, b) if (row["dedup_id"], text.id) in gone)
    return Pair(a, b, row["cosine"], removed)


def calls(tables: Tables, run_id: str) -> tuple[Calls, ...]:
    """Sums the ledger by task and by the model that answered."""
    rows = tables.read("llm_calls").withColumn("model", F.coalesce("served_model", "model"))
    summed = rows.groupBy("task", "model").agg(
        F.count("*").alias("requests"),
        F.count_if(F.col("run_id") == run_id).alias("this_run"),
        *[
            F.coalesce(F.sum(name), F.lit(0)).alias(name)
            for name in ("attempts", "prompt_tokens", "completion_tokens", "cost")
        ],
        F.count_if(F.col("status") != "ok").alias("failed"),
        F.avg("latency_s").alias("latency_s"),
    )
    return tuple(Calls(**row.asDict()) for row in summed.orderBy("task", "model").limit(MAX_ROWS).collect())


def call_errors(tables: Tables) -> tuple[CallError, ...]:
    """Returns the endpoint's most frequent errors."""
    failed = (
        tables.read("llm_calls")
        .where("status != 'ok'")
        .select("task", F.substring("error", 1, ERROR_CUT).alias("error"))
    )
    counted = (
        failed.groupBy("task", "error").count().orderBy(F.col("count").desc(), "task", "error").limit(20).collect()
    )
    return tuple(CallError(row["task"], row["error"] or "", row["count"]) for row in counted)


def unreadable(tables: Tables, embed: EmbedConfig) -> tuple[Unreadable, ...]:
    """Counts the vectors that must not decide alone, and the rows that the zero-shot annotator gave no label, by reason."""
    side = "if(role = 'text', 'passages', 'questions') AS items"
    embedded = vectors(tables, embed).selectExpr("'vector' AS what", side, "reason")
    zero_shot = tables.read("annotations").where("annotator LIKE 'zero_shot%'")
    notes = zero_shot.selectExpr("'label' AS what", "if(item_kind = 'doc', 'seeds', 'questions') AS items", "reason")
    counted = embedded.unionByName(notes).groupBy("what", "items", "reason").count().limit(MAX_ROWS).collect()
    totals: dict[tuple[str, str], int] = {}
    for row in counted:
        totals[row["what"], row["items"]] = totals.get((row["what"], row["items"]), 0) + row["count"]
    found = [
        Unreadable(row["what"], row["items"], row["reason"], row["count"], totals[row["what"], row["items"]])
        for row in counted
        if row["reason"] is not None
    ]
    return tuple(sorted(found, key=lambda u: (u.what != "vector", u.items, -u.count, u.reason)))


def benchmarks(tables: Tables, config: Config) -> tuple[Benchmark, ...]:
    """Returns what each benchmark of the config has found among the documents."""
    counted = contamination(config, tables.read("curation"))
    return tuple(Benchmark(one.benchmark, one.method, one.rows, one.items) for one in counted)
