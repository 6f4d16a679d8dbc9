"""refine: a second model checks each draft against its seed and corrects the answer, or rejects it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyspark.sql import functions as F

from etl.asking import ask, read_rows
from etl.items import judged_drafts, unique_seeds
from etl.recipes import recipe_id
from etl.step import Job, Outcome, Step, count_reasons, the_recipes
from udfs.requests import Asking
from udfs.tasks import Parsed
from udfs.text import stable_id, text_hash

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

REFINEMENTS_DDL = (
    "qa_id string, recipe_id string, draft_id string, request_id string, question string, answer string, text_hash string, verdict string, "
    "edits array<string>, status string, reason string, error string"
)


def run(job: Job) -> Outcome:
    """Refines every draft of the config's teacher whose text is a seed's still; what the ledger has answered costs nothing."""
    drafts = job.tables.scratch("refine_drafts", judged_drafts(job.tables, job.config))
    todo = job.tables.scratch("refine_todo", _with_texts(job, drafts.where("reason IS NULL")))
    n, waiting = drafts.count(), count_reasons(drafts)
    if todo.isEmpty():
        return Outcome(n, 0, waiting)
    asking = Asking("refine", job.config.llm.models.refiner, job.config.refine.params)
    rows = job.tables.scratch(
        "refine_rows", read_rows(ask(job, "refine", todo, asking), asking, refinement_rows, REFINEMENTS_DDL)
    )
    made = job.tables.append_new("refinements", rows)
    dropped = waiting | count_reasons(rows)
    return Outcome(n, rows.where("status = 'ok'").count(), dropped, {"new_refinements": float(made)})


def _with_texts(job: Job, drafts: DataFrame) -> DataFrame:
    texts = unique_seeds(job.tables).select(F.col("doc_id").alias("seed_id"), "text")
    named = drafts.withColumnRenamed("recipe_id", "draft_recipe_id").join(texts, "seed_id")
    columns = ("draft_id", "draft_recipe_id", "question", "answer", "lang", "text")
    return named.select(*columns, F.lit(0).alias("sample"), F.col("seed_id").alias("prefix"))


def refinement_rows(row: dict[str, Any], parsed: Parsed) -> list[dict[str, Any]]:
    """Turns one answer into a row of `refinements`; the draft's question stays, its answer is replaced."""
    out = {
        "qa_id": stable_id(row["draft_id"], row["request_id"]),
        "recipe_id": recipe_id(row["prompt_id"], row["model"], row["params"], before=row["draft_recipe_id"]),
        "draft_id": row["draft_id"],
        "request_id": row["request_id"],
        "question": row["question"],
        "text_hash": text_hash(row["question"]),
    }
    if parsed.value is None:
        return [{**out, "status": "rejected", "reason": "llm_unusable", "error": parsed.error}]
    value = parsed.value
    out |= {"verdict": value["verdict"], "edits": value["edits"]}
    if value["verdict"] == "reject":
        return [{**out, "status": "rejected", "reason": "refiner_rejected", "error": value["reason"]}]
    return [{**out, "answer": value["answer"], "status": "ok"}]


STEP = Step(
    "refine",
    run,
    reads=("drafts", "documents", "curation"),
    writes=("refinements", "llm_calls"),
    ids=("seed_dedup_id",),
    settings=("refine",),
    tasks=("refine",),
    hangs_on=the_recipes,
)
