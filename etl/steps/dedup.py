"""dedup: seeds, and later questions, that say the same; each removed one with the kept one that stands for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from etl.centroids import centroids_for
from etl.clusters import Survey, edges_within_cells, packing_for, survey, union, without
from etl.components import components
from etl.dedup_audit import UNREADABLE, fates, recall
from etl.dedup_rows import IN, all_removed, comparable, described, marked, one_of_each
from etl.dedup_runs import SETTINGS, DedupRun, History, new_run, record, removed_by, written
from etl.errors import InvariantError
from etl.items import ITEM, judged_questions, seeds
from etl.step import Job, Outcome, Step, content_of, the_recipes
from etl.survivors import Removed, greedy
from udfs.comparison import EDGES_DDL

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
    """Removes equal texts first, then compares the rest inside cells of like vectors and keeps the best of what is over the threshold.

    Where an earlier run has looked at some of these rows, all of them unchanged, only the others are compared: with each other and with what it kept.
    """
    tables = job.tables
    every, out = one_of_each(tables, tables.scratch("dedup_every", scope.rows(job)))
    rows = tables.scratch("dedup_described", described(tables, job.config, every.where("reason IS NULL")))
    history = History(tables, scope.id_name)
    this = new_run(job.config, scope.id_name, content_of(rows, "item_id", "row_hash"), out)
    done = history.recorded(this)
    if done is not None:
        return done.outcome()
    parent = history.continued(this, rows) if job.config.dedup.incremental else None
    this = this.after(parent) if parent else this
    counted = _accounted(_made(job, rows, this, history), out)
    record(tables, counted, again=history.known(this.dedup_id) is not None)
    return counted.outcome()


def _made(job: Job, every: DataFrame, this: DedupRun, history: History) -> DedupRun:
    """Compares and removes; returns the run with what it has written and measured."""
    tables = job.tables
    there = _there(job, this, history)
    before = removed_by(tables, this.parent_id) if this.parent_id else None
    rows = tables.scratch("dedup_rows", marked(every, history.compared(this.parent_id), before))
    vectors = tables.scratch("dedup_vectors", comparable(tables, job.config, rows))
    surveyed = survey(job, vectors)
    readable = without(vectors, surveyed.left_out, surveyed.reasons)
    found, this, figures = _found(job, readable, surveyed, this, history)
    this = _write_edges(job, found, this, there["edges"])
    edges = _stored(job, this.dedup_id, this.threshold)
    semantic, rounds = _survivors(job, edges, readable, rows, this)
    same = surveyed.left_out.where("same_id IS NOT NULL")
    removed = tables.scratch("dedup_removed", all_removed(semantic, same, rows, before))
    counts = _checked(fates(rows, removed, edges))
    told = removed.withColumn("threshold", F.lit(this.threshold))
    gone = {what: n for what, n in sorted(counts.items()) if what.endswith("_duplicate")}
    _write(job, "duplicates", told, this.dedup_id, there["duplicates"], sum(gone.values()))
    _write(job, "compared", _first_seen(rows, surveyed), this.dedup_id, there["compared"], counts["new"])
    figures |= {"threshold": this.threshold, "edges": float(this.edges), "survivor_rounds": float(rounds)}
    figures |= {name: float(counts[name]) for name in ("orphans", "kept_pairs")}
    figures |= recall(job, readable, edges) | _left_out(counts, surveyed)
    counted = replace(this, removed=sum(gone.values()), looked_at=counts["new"], rows_out=counts["kept"])
    return replace(counted, dropped=gone, figures=figures)


def _checked(counts: Counter[str]) -> Counter[str]:
    """Raises InvariantError, before anything is written, where the rows that stay and go are not what dedup promises."""
    if counts["orphans"] or counts["kept_pairs"]:
        raise InvariantError(
            f"dedup: {counts['orphans']} removed rows have no kept row, and of {counts['kept_pairs']} pairs at or over the "
            "threshold both rows would stay: nothing was removed. That is an error in boostqa: tell us, with the settings of dedup."
        )
    return counts


def _accounted(run: DedupRun, out: dict[str, int]) -> DedupRun:
    """Adds the rows that were out before anything was compared."""
    others = {reason: n for reason, n in out.items() if reason != IN}
    return replace(run, rows_in=sum(out.values()), dropped=others | (run.dropped or {}))


def _found(
    job: Job, rows: DataFrame, surveyed: Survey, this: DedupRun, history: History
) -> tuple[list[DataFrame], DedupRun, dict[str, float]]:
    """Returns the pairs at or over the threshold (nothing is compared before they are asked for), the run with its centroids, and figures."""
    figures = {"compared_rows": float(surveyed.n)}
    source = None if this.parent_id else history.looser(this)
    if source is not None:
        job.say(f"pairs at cosine {this.threshold} taken over from the run at {source.threshold}")
        taken = [_stored(job, source.dedup_id, this.threshold)] if source.edges else []
        return taken, replace(this, centroid_set_id=source.centroid_set_id), figures
    before = [_stored(job, this.parent_id, this.threshold)] if this.parent_id else []
    if surveyed.n < 2 or not surveyed.new:
        return before, this, figures
    new = f", {surveyed.new} of them new," if this.parent_id else ""
    job.say(f"comparing {surveyed.n} rows{new} at cosine {this.threshold}")
    centroids = centroids_for(job, this.scope, surveyed.sample, surveyed.n, this.dedup_id)
    packing = packing_for(job, surveyed, centroids.cells)
    figures |= {
        "cells": float(len(centroids.cells)),
        "cells_in_blocks": float(len(packing.blocks)),
        "drift": centroids.drift,
    }
    found = edges_within_cells(rows, surveyed.n, packing, job.config.embed.device)
    return [*before, found], replace(this, centroid_set_id=centroids.id), figures


def _there(job: Job, this: DedupRun, history: History) -> dict[str, int]:
    """Counts what an attempt that was killed has written: in each table all, or nothing. Of a run that was finished and has lost rows since, what hangs
    on these is taken out first."""
    there = written(job.tables, {name: [this.dedup_id] for name in ("edges", "duplicates", "compared")})
    before = history.known(this.dedup_id)
    if before is None:
        return there
    stays = {"edges"} if there["edges"] == before.edges else set()
    for name in there.keys() - stays:
        job.tables.delete_where(name, f"dedup_id = '{this.dedup_id}'")
        there[name] = 0
    return there


def _write_edges(job: Job, found: list[DataFrame], this: DedupRun, there: int) -> DedupRun:
    if not there and found:
        there = job.tables.append("edges", union(found).withColumn("dedup_id", F.lit(this.dedup_id)))
    return replace(this, edges=there)


def _stored(job: Job, dedup_id: str, threshold: float) -> DataFrame:
    mine = (F.col("dedup_id") == dedup_id) & (F.col("cosine") >= threshold)
    return job.tables.read("edges").where(mine).select(*[column.split()[0] for column in EDGES_DDL.split(", ")])


def _survivors(
    job: Job, edges: DataFrame, readable: DataFrame, rows: DataFrame, this: DedupRun
) -> tuple[DataFrame, int]:
    """What the edges remove, and how many rounds it took. Of a component that several old rows are in, all of these stay."""
    choose: Callable[..., Removed] = components if job.config.dedup.survivors == "components" else greedy
    priority = readable.select("item_id", "priority")
    removed = choose(job.tables, edges, priority, job.config.dedup.max_driver_edges, this.edges)
    new = removed.rows
    if this.parent_id is not None:
        new = new.join(rows.where("old").select("item_id"), "item_id", "left_anti")
    return new, removed.rounds


def _write(job: Job, table: str, rows: DataFrame, dedup_id: str, there: int, count: int) -> None:
    """Appends the rows of a run, `count` of them, in one commit, unless they are there."""
    made = there or (job.tables.append(table, rows.withColumn("dedup_id", F.lit(dedup_id))) if count else 0)
    if made != count:
        raise InvariantError(
            f"dedup: {table} has {made} rows of the run {dedup_id}, and {count} were counted. Delete these rows and run it again."
        )


def _first_seen(rows: DataFrame, surveyed: Survey) -> DataFrame:
    """The rows that no run before this one has looked at."""
    bad = surveyed.left_out.where("reason IS NOT NULL").select("item_id", "reason")
    new = rows.where("NOT old").select("item_id", "row_hash", "unreadable").join(bad, "item_id", "left")
    return new.select("item_id", "row_hash", F.coalesce("unreadable", "reason").alias("reason"))


def _left_out(found: Counter[str], surveyed: Survey) -> dict[str, float]:
    """Counts the rows that no vector decides on, by reason."""
    of_vectors = Counter({reason: n for reason, n in surveyed.reasons.items() if reason != "identical"})
    counts = of_vectors + Counter(
        {what.removeprefix(UNREADABLE): n for what, n in found.items() if what.startswith(UNREADABLE)}
    )
    figures = {f"not_comparable_{reason}": float(n) for reason, n in counts.items()}
    return figures | {
        "not_comparable": float(counts.total()),
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
