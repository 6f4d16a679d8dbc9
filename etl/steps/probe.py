"""probe: the model in training answers held-out questions, so that the plan knows in which cells it is weak."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyspark.sql import functions as F

from etl.asking import ask, read_rows
from etl.items import ITEM, labels, unique_seeds
from etl.step import Job, Outcome, Step, count_reasons, the_labels
from udfs.matching import answers_match
from udfs.requests import Asking
from udfs.tasks import Parsed

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

RESULTS_DDL = "model string, item_id string, text_hash string, discipline string, difficulty int, correct boolean, answer string, reason string, error string, request_id string"
SAME = ["model", "item_id", "request_id", "discipline", "difficulty"]


def run(job: Job) -> Outcome:
    """Asks the question-answer seeds with the lowest key hashes and records which answers match."""
    todo = job.tables.scratch("probe_questions", _questions(job))
    n = todo.count()
    if n == 0:
        return Outcome(0, 0)
    asking = Asking("probe", job.config.probe.model or job.config.llm.models.judge, job.config.probe.params)
    rows = job.tables.scratch(
        "probe_rows", read_rows(ask(job, "probe", todo, asking), asking, result_rows, RESULTS_DDL)
    )
    # An answer to another text, prompt or label of the item gives way.
    known = job.tables.read("probe_results").select(*SAME)
    new = job.tables.scratch("probe_new", rows.join(known, SAME, "left_anti"))
    wrote = job.tables.upsert("probe_results", new)
    return Outcome(n, rows.where("reason IS NULL").count(), count_reasons(rows), {"new_results": float(wrote)})


def _questions(job: Job) -> DataFrame:
    pairs = unique_seeds(job.tables).where("kind = 'qa'")
    labelled = pairs.join(labels(job.tables, job.annotators).select(*ITEM, "discipline", "difficulty"), ITEM)
    chosen = labelled.orderBy(F.xxhash64("text_hash"), "text_hash", "item_id").limit(job.config.probe.questions)
    columns = ("item_id", "text_hash", "lang", "question", "answer", "discipline", "difficulty")
    return chosen.select(*columns, F.lit(0).alias("sample"), F.col("item_id").alias("prefix"))


def result_rows(row: dict[str, Any], parsed: Parsed) -> list[dict[str, Any]]:
    """Turns one answer into a row of `probe_results`; an unusable answer has a reason and counts as neither right nor wrong."""
    out = {name: row[name] for name in ("model", "item_id", "text_hash", "discipline", "difficulty", "request_id")}
    if parsed.value is None:
        return [{**out, "reason": "llm_unusable", "error": parsed.error}]
    given = parsed.value["answer"]
    return [{**out, "answer": given, "correct": answers_match(given, row["answer"])}]


STEP = Step(
    "probe",
    run,
    reads=("documents", "curation", "duplicates", "annotations"),
    writes=("probe_results", "llm_calls"),
    replaces=("probe_results",),
    ids=("seed_dedup_id",),
    settings=("probe", "llm.models.judge"),
    tasks=("probe",),
    hangs_on=the_labels,
)
