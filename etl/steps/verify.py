"""verify: rules decide the fate of each refined question; it becomes one row of `qa`, verified or rejected with the reason."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import pyarrow as pa
from pyspark.sql import functions as F

from etl.items import labels, seeds
from etl.recipes import recipe_id
from etl.step import Job, Outcome, Step, count_reasons
from udfs.checks import check_quality, first_fault

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

CALL = ("prompt_id", "model", "params")
CHECKS_DDL = "qa_id string, status string, reason string, quality double, values map<string,double>"


def run(job: Job) -> Outcome:
    """Checks every refined question that has no row in `qa` yet."""
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
    job.tables.append_new("checks", checks)
    wrote = job.tables.append("qa", _fate(todo, checks))
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
    refined = job.tables.read("refinements").where("status = 'ok'").withColumnRenamed("request_id", "refine_request_id")
    refined = refined.join(job.tables.read("qa").select("qa_id"), "qa_id", "left_anti").drop(
        "reason", "error", "status"
    )
    drafts = job.tables.read("drafts").select(
        "draft_id",
        F.col("answer").alias("draft_answer"),
        "request_id",
        "seed_ids",
        "lang",
        "branch",
        "grade",
        "form",
        "target_difficulty",
        F.col("discipline").alias("seed_discipline"),
        F.col("seed_ids")[0].alias("seed_id"),
    )
    quality = seeds(job.tables).select(F.col("doc_id").alias("seed_id"), F.col("quality").alias("seed_quality"))
    calls = (
        job.tables.read("llm_calls").select("request_id", "prompt_id", "model", "params").dropDuplicates(["request_id"])
    )
    made = calls.withColumnsRenamed({name: f"draft_{name}" for name in CALL})
    refined_by = calls.withColumnsRenamed(
        {"request_id": "refine_request_id"} | {name: f"refine_{name}" for name in CALL}
    )
    label = (
        labels(job.tables)
        .withColumnRenamed("item_id", "qa_id")
        .select("qa_id", "text_hash", "discipline", "difficulty")
    )
    joined = (
        refined.join(drafts, "draft_id")
        .join(quality, "seed_id", "left")
        .join(made, "request_id")
        .join(refined_by, "refine_request_id")
    )
    return joined.join(label, ["qa_id", "text_hash"], "left")


def _fate(todo: DataFrame, checks: DataFrame) -> DataFrame:
    made_by = [F.col(f"{stage}_{name}") for stage in ("draft", "refine") for name in CALL]
    return todo.join(checks, "qa_id").select(
        "qa_id",
        recipe_id(*made_by).alias("recipe_id"),
        "quality",
        "lang",
        "seed_ids",
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
        F.array("request_id", "refine_request_id").alias("request_ids"),
    )


STEP = Step(
    "verify", run, reads=("refinements", "drafts", "annotations"), writes=("checks", "qa"), settings=("verify",)
)
