"""verify: rules decide the fate of each refined question; it becomes one row of `qa`, verified or rejected with the reason."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import pyarrow as pa
from pyspark.sql import functions as F

from etl.items import labels, refined_questions
from etl.step import Job, Outcome, Step, count_reasons, the_labels, the_recipes
from udfs.checks import check_quality, first_fault

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

# Another number, and every question is judged anew: for a change of the rules in udfs/checks.py.
RULES = 1
CHECKS_DDL = "qa_id string, status string, reason string, quality double, values map<string,double>"


def run(job: Job) -> Outcome:
    """Judges every refined question that `qa` does not have, or has by another label, seed or bound: such a row is replaced."""
    todo = job.tables.scratch("verify_questions", _questions(job))
    n = todo.count()
    if n == 0:
        return Outcome(0, 0)
    minimum, max_drop = job.config.verify.min_quality, job.config.verify.max_difficulty_drop

    def check(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield checked(batch, minimum, max_drop)

    columns = (
        "qa_id",
        "question",
        "answer",
        "form",
        "lang",
        "verdict",
        "seed_quality",
        "difficulty",
        "target_difficulty",
    )
    checks = job.tables.scratch("verify_checks", todo.select(*columns).mapInArrow(check, CHECKS_DDL))
    job.tables.upsert("checks", checks)
    wrote = job.tables.upsert("qa", job.tables.scratch("verify_fates", _fate(todo, checks)))
    dropped = count_reasons(checks)
    return Outcome(n, wrote - sum(dropped.values()), dropped)


def checked(batch: pa.RecordBatch, minimum: float, max_drop: int) -> pa.RecordBatch:
    """Applies the rules to a batch: one row each with the first reason to reject it, or none."""
    rows = []
    for row in batch.to_pylist():
        quality = check_quality(row)
        drop = row["target_difficulty"] - row["difficulty"] if row["difficulty"] is not None else 0
        reason = first_fault(row)
        if reason is None and row["difficulty"] is None:
            reason = "no_label_v1"
        if reason is None and drop > max_drop:
            reason = "too_easy_v1"
        if reason is None and quality < minimum:
            reason = "low_quality_v1"
        values = [("quality", quality), ("difficulty_drop", float(drop))]
        status = "rejected" if reason else "verified"
        rows.append({"qa_id": row["qa_id"], "status": status, "reason": reason, "quality": quality, "values": values})
    return pa.RecordBatch.from_pylist(rows, schema=_SCHEMA)


_SCHEMA = pa.schema(
    [
        ("qa_id", pa.string()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("quality", pa.float64()),
        ("values", pa.map_(pa.string(), pa.float64())),
    ]
)


def _questions(job: Job) -> DataFrame:
    label = labels(job.tables, job.annotators).withColumnRenamed("item_id", "qa_id")
    label = label.select("qa_id", "text_hash", "discipline", "difficulty")
    refined = refined_questions(job.tables, job.config)
    every = refined.join(label, ["qa_id", "text_hash"], "left").withColumn("basis", _basis(job))
    return every.join(job.tables.read("qa").select("qa_id", "basis"), ["qa_id", "basis"], "left_anti")


def _basis(job: Job) -> Column:
    """Hashes what a verdict hangs on besides the question: rules, settings, the question's label, and its seed."""
    said = [F.coalesce(F.col(name).cast("string"), F.lit("")) for name in ("seed_quality", "discipline", "difficulty")]
    rules = F.lit(f"{RULES} {job.config.fingerprint('verify')}")
    return F.sha2(F.concat_ws("|", rules, F.col("seed_id"), *said), 256).substr(1, 32)


def _fate(todo: DataFrame, checks: DataFrame) -> DataFrame:
    return todo.join(checks, "qa_id").select(
        "qa_id",
        "recipe_id",
        "basis",
        "quality",
        "lang",
        F.array("seed_id").alias("seed_ids"),
        "seed_hashes",
        "branch",
        "grade",
        "question",
        "answer",
        "draft_answer",
        F.coalesce("discipline", "seed_discipline").alias("discipline"),
        "difficulty",
        "target_difficulty",
        "status",
        "reason",
        F.array("draft_request_id", "request_id").alias("request_ids"),
    )


STEP = Step(
    "verify",
    run,
    reads=("refinements", "drafts", "annotations", "documents", "curation"),
    writes=("checks", "qa"),
    replaces=("checks", "qa"),
    ids=("seed_dedup_id",),
    settings=("verify",),
    hangs_on=lambda job: the_labels(job) + the_recipes(job),
)
