"""refine: a second model checks each draft against its seed and corrects the answer, or rejects it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyspark.sql import functions as F

from etl.asking import ask, read_rows
from etl.items import hash_of, seeds
from etl.step import Job, Outcome, Step, count_reasons
from udfs.requests import Asking
from udfs.tasks import Parsed
from udfs.text import stable_id, text_hash

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

REFINEMENTS_DDL = (
    "qa_id string, draft_id string, request_id string, question string, answer string, text_hash string, verdict string, "
    "edits array<string>, status string, reason string, error string"
)


def run(job: Job) -> Outcome:
    """Refines every draft whose seed is still there; what the ledger has answered costs nothing."""
    asking = Asking("refine", job.config.llm.models.refiner, job.config.refine.params)
    todo = job.tables.scratch("refine_drafts", _drafts(job))
    n = todo.count()
    if n == 0:
        return Outcome(0, 0)
    rows = job.tables.scratch(
        "refine_rows", read_rows(ask(job, "refine", todo, asking), asking, refinement_rows, REFINEMENTS_DDL)
    )
    made = job.tables.append_new("refinements", rows)
    dropped = count_reasons(rows)
    return Outcome(n, rows.where("status = 'ok'").count(), dropped, {"new_refinements": float(made)})


def _drafts(job: Job) -> DataFrame:
    # A draft goes on only with the very text it was made from: a seed that changed has drafts of its own.
    texts = seeds(job.tables).select(
        F.col("doc_id").alias("seed_id"), "text", hash_of(F.col("text")).alias("seed_hash")
    )
    here = {"seed_id": F.col("seed_ids")[0], "seed_hash": F.col("seed_hashes")[0]}
    drafts = job.tables.read("drafts").where("status = 'ok'").withColumns(here)
    return drafts.join(texts, ["seed_id", "seed_hash"]).select(
        "draft_id", "question", "answer", "lang", "text", F.lit(0).alias("sample"), F.col("seed_id").alias("prefix")
    )


def refinement_rows(row: dict[str, Any], parsed: Parsed) -> list[dict[str, Any]]:
    """Turns one answer into a row of `refinements`; the draft's question stays, its answer is replaced."""
    out = {
        "qa_id": stable_id(row["draft_id"], row["request_id"]),
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
    settings=("refine", "llm.models.refiner"),
    tasks=("refine",),
)
