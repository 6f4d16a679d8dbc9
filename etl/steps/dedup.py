"""dedup: seeds, and later questions, that say the same; each removed one with the kept one that stands for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import pyarrow as pa
from pyspark.sql import Window
from pyspark.sql import functions as F

from etl.clusters import audit_recall, edges_within_clusters
from etl.items import ITEM, judged_questions, seeds, vectors
from etl.step import Job, Outcome, Step, content_of, count_reasons, the_recipes
from etl.survivors import removed_rows
from udfs.text import normal_hash, stable_id

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


@dataclass(frozen=True)
class Scope:
    """What one dedup run compares, and the name under which later steps find it.

    `rows` has item_id, text_hash, side (passages and questions are never compared with each other), text, quality, difficulty, length, and
    `reason` for rows that are out for another reason.
    """

    id_name: str
    rows: Callable[[Job], DataFrame]


def run(job: Job, scope: Scope) -> Outcome:
    """Removes equal texts first, then compares the rest inside clusters of like vectors and keeps the best of what is over the threshold."""
    every = job.tables.scratch("dedup_every", scope.rows(job))
    this = _id_of(job, scope, every)
    rows = job.tables.scratch("dedup_rows", _prepared(job, every.where("reason IS NULL")))
    readable = job.tables.scratch(
        "dedup_readable", rows.where("exact_id IS NULL AND vector IS NOT NULL AND unreadable IS NULL")
    )
    n = readable.count()
    job.say(f"comparing {n} rows at cosine {job.config.dedup.threshold}")
    edges = job.tables.scratch("dedup_edges", edges_within_clusters(job, readable, n, this))
    semantic = job.tables.scratch("dedup_semantic", _semantic(job, edges, readable))
    removed = job.tables.scratch("dedup_removed", _removed(rows, semantic))
    job.tables.append_new("edges", edges.withColumn("dedup_id", F.lit(this)))
    said = {"dedup_id": F.lit(this), "threshold": F.lit(job.config.dedup.threshold)}
    job.tables.append_new("duplicates", removed.withColumns(said))
    dropped = count_reasons(every) | count_reasons(
        removed.withColumn("reason", F.concat("method", F.lit("_duplicate")))
    )
    total = every.count()
    figures = {"compared_rows": float(n), "not_comparable": float(rows.where("unreadable IS NOT NULL").count())}
    figures |= {"edges": float(edges.count()), "orphans": _orphans(removed)} | audit_recall(job, readable, edges)
    return Outcome(total, total - sum(dropped.values()), dropped, figures, {scope.id_name: this})


def _id_of(job: Job, scope: Scope, rows: DataFrame) -> str:
    """Names a run by what it compares and by its settings: the same rows are the same run, whatever else their tables hold."""
    return stable_id(scope.id_name, content_of(rows, *sorted(rows.columns)), job.config.fingerprint(*SETTINGS))


def seed_rows(job: Job) -> DataFrame:
    """Returns the seeds: passages are compared with passages by text, pairs with pairs by question."""
    length, nothing = F.length("text").alias("length"), F.lit(None)
    return seeds(job.tables).select(
        *ITEM,
        F.when(F.col("kind") == "qa", "question").otherwise("text").alias("side"),
        F.col("item_text").alias("text"),
        "quality",
        nothing.cast("int").alias("difficulty"),
        length,
        nothing.cast("string").alias("reason"),
    )


def question_rows(job: Job) -> DataFrame:
    """Returns the verified questions, with a reason for those that the config's recipe or the present seeds leave out."""
    questions = judged_questions(job.tables, job.config)
    side, length = F.lit("question").alias("side"), F.length("answer").alias("length")
    return questions.select(*ITEM, side, F.col("question").alias("text"), "quality", "difficulty", length, "reason")


def _prepared(job: Job, rows: DataFrame) -> DataFrame:
    def hashes(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            normal = pa.array([normal_hash(text) for text in batch.column("text").to_pylist()], pa.string())
            yield pa.RecordBatch.from_arrays([batch.column("item_id"), normal], names=["item_id", "normal_hash"])

    better_first = [-F.coalesce(F.col(name).cast("double"), F.lit(0.0)) for name in job.config.dedup.priority]
    ranked = rows.withColumn("priority", F.array(*better_first))
    vector = vectors(job.tables, job.config.embed).withColumnsRenamed({"role": "side", "reason": "why"})
    unreadable = F.coalesce("why", F.when(F.col("vector").isNull(), F.lit("no_vector")))
    joined = ranked.join(
        rows.select("item_id", "text").mapInArrow(hashes, "item_id string, normal_hash string"), "item_id"
    ).join(vector, [*ITEM, "side"], "left")
    same = Window.partitionBy("side", "normal_hash").orderBy("priority", "item_id")
    first = F.first("item_id").over(same)
    exact = F.when(first != F.col("item_id"), first)
    return joined.withColumns({"exact_id": exact, "unreadable": unreadable}).drop("text", "normal_hash", "why")


def _semantic(job: Job, edges: DataFrame, readable: DataFrame) -> DataFrame:
    return removed_rows(job.tables, edges, readable.select("item_id", "priority"), job.config.dedup.max_driver_edges)


def _removed(rows: DataFrame, semantic: DataFrame) -> DataFrame:
    # A row equal to another shares its fate, so that it points to a kept row.
    stands = semantic.selectExpr("item_id AS exact_id", "kept_id AS kept", "cosine AS cos")
    exact = rows.where("exact_id IS NOT NULL").join(stands, "exact_id", "left")
    equal = exact.selectExpr(
        "item_id", "coalesce(kept, exact_id) AS kept_id", "coalesce(cos, 1.0D) AS cosine", "'exact' AS method"
    )
    return semantic.selectExpr("item_id", "kept_id", "cosine", "'semantic' AS method").unionByName(equal)


def _orphans(removed: DataFrame) -> float:
    kept = removed.selectExpr("kept_id AS item_id")
    return float(kept.join(removed.select("item_id"), "item_id").count())


WRITES = ("edges", "duplicates", "centroids")
SETTINGS = ("dedup", "embed", "run.seed")
SEEDS_STEP = Step(
    "dedup",
    partial(run, scope=Scope("seed_dedup_id", seed_rows)),
    reads=("documents", "curation", "embeddings"),
    writes=WRITES,
    settings=SETTINGS,
)
QUESTIONS_STEP = Step(
    "dedup",
    partial(run, scope=Scope("dedup_id", question_rows)),
    reads=("qa", "embeddings", "documents", "curation"),
    writes=WRITES,
    ids=("seed_dedup_id",),
    settings=SETTINGS,
    hangs_on=the_recipes,
)
