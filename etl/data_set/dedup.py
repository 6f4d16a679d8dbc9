"""Duplicates in a data set: equal, near by their words, near by their meaning; each removed row with the kept one that stands for it.

As in the pipeline, but one rule over all three: who stays is decided on the pairs of MinHash and of vectors together, so that a removed row's
stand-in is never itself removed.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pyspark.sql import Window
from pyspark.sql import functions as F

from etl.data_set.near import near_pairs, with_keys
from etl.data_set.rows import EMBED, INGEST, ROLE, Output, records, step_of, verdict_counts, with_unread, write
from etl.items import vectors
from etl.step import Job, Outcome, Step
from etl.steps import dedup
from etl.survivors import removed_rows

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

ID = "data_set_dedup_id"
# A row comes back when the one that stood for it goes: then it is compared again. More than one such round is rare.
ROUNDS = 5


def steps(output: Output) -> list[Step]:
    """Returns the steps of `boostqa dedup FILE`."""
    settings = ("dedup", "embed", "curate.minhash", "run.seed")
    return [INGEST, EMBED, step_of("dedup", run, output, settings)]


def run(job: Job, output: Output) -> Outcome:
    """Gives every record its verdict, and writes them all."""
    every = records(job)
    rows = job.tables.scratch("data_set_rows", _rows(job, every))
    alone = rows.where("exact_id IS NULL AND same_id IS NULL")
    edges, figures = _like(job, alone)
    gone, more = removed_by_any(job, alone, edges)
    figures |= more
    for column, method in (("same_id", "semantic"), ("exact_id", "exact")):
        gone = gone.unionByName(_equal(rows, column, method, gone))
    judged = job.tables.scratch("data_set_verdicts", with_unread(job, _judged(job, every, gone)))
    total, dropped = verdict_counts(judged)
    return write(job, judged, output, Outcome(total, total - sum(dropped.values()), dropped, figures))


def _rows(job: Job, every: DataFrame) -> DataFrame:
    """The records, the longest first, each with the better one that its text equals (exact_id), or else its vector (same_id)."""
    length = F.length("text").alias("length")
    found = every.select(F.col("doc_id").alias("item_id"), "text", "text_hash", length)
    keyed = with_keys(job, found.withColumn("priority", F.array(-F.col("length").cast("double"))))
    vector = vectors(job.tables, job.config.embed).where("reason IS NULL").select("item_id", "text_hash", "vector")
    exact = keyed.join(vector, ["item_id", "text_hash"], "left").withColumn("exact_id", _better("normal_hash"))
    may = F.when(F.col("exact_id").isNull() & F.col("vector").isNotNull(), F.sha2("vector", 256))
    same = exact.withColumn("vector_hash", F.coalesce(may, "item_id")).withColumn("same_id", _better("vector_hash"))
    return same.drop("normal_hash", "vector", "vector_hash")


def _better(key: str) -> Column:
    """The best row that has the same key, where that is another."""
    first = F.first("item_id").over(Window.partitionBy(key).orderBy("priority", "item_id"))
    return F.when(first != F.col("item_id"), first)


def _like(job: Job, rows: DataFrame) -> tuple[DataFrame, dict[str, float]]:
    """Compares rows by meaning, as the step does; returns the pairs (a_id, b_id, cosine, method) and the figures."""
    nothing = F.lit(None)
    told = {"quality": nothing.cast("double"), "difficulty": nothing.cast("int"), "reason": nothing.cast("string")}
    named = rows.select("item_id", "text_hash", "text", "length").withColumns({"side": F.lit(ROLE), **told})
    # All rows are judged anew here, also those that an earlier run removed: its pairs do not say what new rows these are like.
    config = job.config.model_copy(update={"dedup": job.config.dedup.model_copy(update={"incremental": False})})
    compared = dedup.run(replace(job, config=config), dedup.Scope(ID, lambda _: named))
    found = job.tables.read("edges").where(F.col("dedup_id") == compared.ids[ID])
    return found.select("a_id", "b_id", "cosine", F.lit("semantic").alias("method")), dict(compared.figures)


def removed_by_any(job: Job, rows: DataFrame, edges: DataFrame) -> tuple[DataFrame, dict[str, float]]:
    """Returns item_id, kept_id, score and method of what is removed by words or by these pairs by meaning, and how often words were compared.

    A row that comes back, as what stood for it goes, has not been compared by its words with those that stay: `came_back_by_words` counts the rows of
    which that is still so after the last round.
    """
    bound, priority = job.config.dedup.max_driver_edges, rows.select("item_id", "priority")
    removed, compared, back = rows.select("item_id").limit(0), 0, 0
    for compared in range(1, ROUNDS + 1):
        kept = rows.join(removed.select("item_id"), "item_id", "left_anti")
        near = job.tables.scratch(f"data_set_near_{compared}", near_pairs(job, kept))
        edges = job.tables.scratch(f"data_set_edges_{compared}", _together(edges, near))
        gone = removed_rows(job.tables, edges.drop("method"), priority, bound)
        out = removed.select("item_id").union(near.select("a_id"))
        removed = job.tables.scratch(f"data_set_removed_{compared}", _named(gone, edges))
        back = out.join(removed, "item_id", "left_anti").count()
        if not back:
            break
    return removed, {"rounds_by_words": float(compared), "came_back_by_words": float(back)}


def _together(edges: DataFrame, near: DataFrame) -> DataFrame:
    """Each pair once, the smaller id first. What is near by its words is told by its words."""
    every = edges.unionByName(near.withColumn("method", F.lit("minhash")))
    pair = [F.least("a_id", "b_id").alias("a_id"), F.greatest("a_id", "b_id").alias("b_id")]
    best = F.min_by(F.struct("cosine", "method"), "method").alias("best")
    return every.groupBy(*pair).agg(best).select("a_id", "b_id", "best.*")


def _named(gone: DataFrame, edges: DataFrame) -> DataFrame:
    pair = (F.least("item_id", "kept_id") == F.col("a_id")) & (F.greatest("item_id", "kept_id") == F.col("b_id"))
    named = gone.join(edges.select("a_id", "b_id", "method"), pair)
    return named.select("item_id", "kept_id", F.col("cosine").alias("score"), "method")


def _equal(rows: DataFrame, column: str, method: str, removed: DataFrame) -> DataFrame:
    """The rows that equal the one that `column` names: they share its fate, so that they point to a kept one."""
    stands = removed.selectExpr(f"item_id AS {column}", "kept_id AS kept", "score AS near")
    equal = rows.where(F.col(column).isNotNull()).join(stands, column, "left")
    return equal.select(
        "item_id",
        F.coalesce("kept", column).alias("kept_id"),
        F.coalesce("near", F.lit(1.0)).alias("score"),
        F.lit(method).alias("method"),
    )


def _judged(job: Job, every: DataFrame, removed: DataFrame) -> DataFrame:
    """Returns every record that could be read; a kept one that its vector could not judge says why."""
    why = vectors(job.tables, job.config.embed).select("item_id", "text_hash", F.col("reason").alias("why"))
    known = every.withColumnRenamed("doc_id", "item_id").join(why, ["item_id", "text_hash"], "left")
    gone = F.col("kept_id").isNotNull()
    return known.join(removed, "item_id", "left").select(
        F.col("item_id").alias("id"),
        F.when(gone, "removed").otherwise("kept").alias("verdict"),
        "kept_id",
        "score",
        F.when(gone, F.concat("method", F.lit("_duplicate"))).otherwise(F.col("why")).alias("reason"),
        "text",
    )
