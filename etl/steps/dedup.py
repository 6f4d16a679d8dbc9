"""dedup: seeds, and later questions, that say the same; each removed one with the kept one that stands for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from etl.centroids import centroids_for
from etl.clusters import Survey, edges_within_cells, packing_for, survey, union, without
from etl.components import components
from etl.dedup_audit import promises, recall
from etl.dedup_rows import all_removed, comparable, described, marked, one_of_each, removed_by
from etl.dedup_runs import DedupRun, continued, looser, new_run, record, recorded
from etl.items import ITEM, judged_questions, seeds
from etl.step import Job, Outcome, Step, content_of, count_reasons, the_recipes
from etl.survivors import Removed, greedy
from udfs.comparison import EDGES_DDL
from udfs.text import stable_id

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


# The fate of a row that has no reason to be out.
IN = "compared"


@dataclass(frozen=True)
class Scope:
    """What one dedup run compares, and the name under which later steps find it.

    `rows` has item_id, text_hash, side (passages and questions are never compared with each other), text, quality, difficulty, length, and
    `reason` for rows that are out for another reason.
    """

    id_name: str
    rows: Callable[[Job], DataFrame]


def run(job: Job, scope: Scope) -> Outcome:
    """Removes equal texts first, then compares the rest inside cells of like vectors and keeps the best of what is over the threshold.

    Where an earlier run has looked at some of these rows, all of them unchanged, only the others are compared: with each other and with what it kept.
    """
    tables = job.tables
    every = one_of_each(tables, tables.scratch("dedup_every", scope.rows(job)))
    this = _named(job, scope, every)
    done = recorded(tables, this)
    if done is not None:
        return done.outcome(scope.id_name)
    rows, this, before = _with_history(job, every, this)
    vectors = tables.scratch("dedup_vectors", comparable(tables, job.config, rows))
    surveyed = survey(job, vectors)
    readable = without(vectors, surveyed.left_out, surveyed.reasons)
    edges, this, figures = _edges(job, readable, surveyed, this)
    semantic, more = _survivors(job, edges, readable, rows, this)
    same = surveyed.left_out.where("same_id IS NOT NULL")
    removed = tables.scratch("dedup_removed", all_removed(semantic, same, rows, before))
    _append_once(job, "duplicates", removed.withColumn("threshold", F.lit(this.threshold)), this)
    _append_once(job, "compared", _first_seen(rows, surveyed), this)
    figures |= more | promises(edges, removed) | recall(job, readable, edges) | _left_out(rows, surveyed)
    fates = count_reasons(every.withColumn("fate", F.coalesce("reason", F.lit(IN))), "fate")
    gone = count_reasons(removed.withColumn("reason", F.concat("method", F.lit("_duplicate"))))
    dropped = {reason: n for reason, n in fates.items() if reason != IN} | gone
    total = sum(fates.values())
    outcome = Outcome(total, total - sum(dropped.values()), dropped, figures, {scope.id_name: this.dedup_id})
    record(tables, replace(this, removed=sum(gone.values()), edges=int(figures["edges"])), outcome)
    return outcome


def _named(job: Job, scope: Scope, rows: DataFrame) -> DedupRun:
    """Names a run by what it compares and by its settings: the same rows are the same run, whatever else their tables hold."""
    content = content_of(rows, *sorted(rows.columns))
    dedup_id = stable_id(scope.id_name, content, job.config.fingerprint(*SETTINGS))
    return new_run(job.config, scope.id_name, dedup_id, content)


def _with_history(job: Job, every: DataFrame, this: DedupRun) -> tuple[DataFrame, DedupRun, DataFrame | None]:
    """Marks what an earlier run has decided; returns the rows, the run with its parent, and what that has removed."""
    tables, config = job.tables, job.config
    rows = tables.scratch("dedup_described", described(tables, config, every.where("reason IS NULL").drop("reason")))
    parent = continued(tables, this, rows) if config.dedup.incremental else None
    known = tables.scratch("dedup_rows", marked(tables, rows, parent))
    if parent is None:
        return known, this, None
    job.say(f"{known.where('NOT old').count()} new rows beside those of an earlier run")
    return known, replace(this, parent_id=parent.dedup_id), removed_by(tables, parent.dedup_id)


def _edges(job: Job, rows: DataFrame, surveyed: Survey, this: DedupRun) -> tuple[DataFrame, DedupRun, dict[str, float]]:
    """Compares, or takes over, the pairs at or over the threshold; returns them as stored, the run with its centroids, and figures."""
    mine = F.col("dedup_id") == this.dedup_id
    figures = {"compared_rows": float(surveyed.n)}
    count = job.tables.read("edges").where(mine).count()
    # They are written in one commit: where some are there, all are.
    if count == 0:
        found, this, more = _found(job, rows, surveyed, this)
        figures |= more
        if found:
            count = job.tables.append("edges", union(found).withColumn("dedup_id", F.lit(this.dedup_id)))
    edges = job.tables.read("edges").where(mine).select("a_id", "b_id", "cosine")
    return edges, this, figures | {"edges": float(count)}


def _found(
    job: Job, rows: DataFrame, surveyed: Survey, this: DedupRun
) -> tuple[list[DataFrame], DedupRun, dict[str, float]]:
    source = None if this.parent_id else looser(job.tables, this)
    if source is not None:
        job.say(f"pairs at cosine {this.threshold} taken over from the run at {source.threshold}")
        return (
            [_stored(job, source.dedup_id, this.threshold)],
            replace(this, centroid_set_id=source.centroid_set_id),
            {},
        )
    before = [_stored(job, this.parent_id, this.threshold)] if this.parent_id else []
    if surveyed.n < 2:
        return before, this, {}
    job.say(f"comparing {surveyed.n} rows at cosine {this.threshold}")
    centroids = centroids_for(job, this.scope, surveyed.sample, surveyed.n, this.dedup_id)
    packing = packing_for(job, surveyed, centroids.cells)
    figures = {
        "cells": float(len(centroids.cells)),
        "cells_in_blocks": float(len(packing.blocks)),
        "drift": centroids.drift,
    }
    found = edges_within_cells(rows, surveyed.n, packing, job.config.embed.device)
    return [*before, found], replace(this, centroid_set_id=centroids.id), figures


def _stored(job: Job, dedup_id: str, threshold: float) -> DataFrame:
    mine = (F.col("dedup_id") == dedup_id) & (F.col("cosine") >= threshold)
    return job.tables.read("edges").where(mine).select(*[column.split()[0] for column in EDGES_DDL.split(", ")])


def _survivors(
    job: Job, edges: DataFrame, readable: DataFrame, rows: DataFrame, this: DedupRun
) -> tuple[DataFrame, dict[str, float]]:
    """What the edges remove, and how many rounds it took. Of a component that several old rows are in, all of these stay."""
    choose: Callable[..., Removed] = components if job.config.dedup.survivors == "components" else greedy
    priority = readable.select("item_id", "priority")
    removed = choose(job.tables, edges, priority, job.config.dedup.max_driver_edges)
    new = removed.rows
    if this.parent_id is not None:
        new = new.join(rows.where("old").select("item_id"), "item_id", "left_anti")
    return new, {"survivor_rounds": float(removed.rounds)}


def _append_once(job: Job, table: str, rows: DataFrame, this: DedupRun) -> None:
    """Appends what the run has made, in one commit; a run that was killed after it has done so."""
    if job.tables.read(table).where(F.col("dedup_id") == this.dedup_id).isEmpty():
        job.tables.append(table, rows.withColumn("dedup_id", F.lit(this.dedup_id)))


def _first_seen(rows: DataFrame, surveyed: Survey) -> DataFrame:
    """The rows that no run before this one has looked at."""
    bad = surveyed.left_out.where("reason IS NOT NULL").select("item_id", "reason")
    new = rows.where("NOT old").select("item_id", "row_hash", "unreadable").join(bad, "item_id", "left")
    return new.select("item_id", "row_hash", F.coalesce("unreadable", "reason").alias("reason"))


def _left_out(rows: DataFrame, surveyed: Survey) -> dict[str, float]:
    """Counts the rows that no vector decides on, by reason."""
    counts = count_reasons(rows, "unreadable")
    counts |= {reason: n for reason, n in surveyed.reasons.items() if reason != "identical"}
    figures = {f"not_comparable_{reason}": float(n) for reason, n in counts.items()}
    return figures | {
        "not_comparable": float(sum(counts.values())),
        "identical_vectors": float(surveyed.reasons.get("identical", 0)),
    }


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


WRITES = ("edges", "duplicates", "centroids", "compared", "dedup_runs")
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
