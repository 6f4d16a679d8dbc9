"""probe: the model in training answers held-out questions, so that the plan knows in which cells it is weak."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyspark.sql import functions as F

from etl.asking import ask, read_rows
from etl.items import ITEM, labels, unique_seeds
from etl.step import Job, Outcome, Step, count_reasons
from udfs.matching import answers_match
from udfs.requests import Asking
from udfs.tasks import Parsed

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

RESULTS_DDL = "model string, item_id string, discipline string, difficulty int, correct boolean, answer string, reason string, error string, request_id string"


def run(job: Job) -> Outcome:
    """Asks the question-answer seeds with the lowest key hashes and records which answers match."""
    model = job.config.probe.model or job.config.llm.models.judge
    todo = job.tables.scratch("probe_questions", _questions(job, model))
    n = todo.count()
    if n == 0:
        return Outcome(0, 0)
    asking = Asking("probe", model, job.config.probe.params)
    answers = ask(job, "probe", todo, asking)
    wrote = job.tables.append("probe_results", read_rows(answers, asking, result_rows, RESULTS_DDL))
    new = (
        job.tables.read("probe_results")
        .join(todo.select("item_id"), "item_id", "left_semi")
        .where(f"model = '{model}'")
    )
    dropped = count_reasons(new)
    return Outcome(n, wrote - sum(dropped.values()), dropped)


def _questions(job: Job, model: str) -> DataFrame:
    pairs = unique_seeds(job.tables).where("kind = 'qa'")
    labelled = pairs.join(labels(job.tables).select(*ITEM, "discipline", "difficulty"), ITEM)
    chosen = labelled.orderBy(F.xxhash64("item_id"), "item_id").limit(job.config.probe.questions)
    asked = job.tables.read("probe_results").where(f"model = '{model}'").select("item_id")
    columns = ("item_id", "lang", "question", "answer", "discipline", "difficulty")
    return chosen.join(asked, "item_id", "left_anti").select(
        *columns, F.lit(0).alias("sample"), F.col("item_id").alias("prefix")
    )


def result_rows(row: dict[str, Any], parsed: Parsed) -> list[dict[str, Any]]:
    """Turns one answer into a row of `probe_results`; an unusable answer has a reason and counts as neither right nor wrong."""
    out = {name: row[name] for name in ("model", "item_id", "discipline", "difficulty", "request_id")}
    if parsed.value is None:
        return [{**out, "reason": "llm_unusable", "error": parsed.error}]
    given = parsed.value["answer"]
    return [{**out, "answer": given, "correct": answers_match(given, row["answer"])}]


STEP = Step(
    "probe",
    run,
    reads=("documents", "curation", "duplicates", "annotations"),
    writes=("probe_results", "llm_calls"),
    ids=("seed_dedup_id",),
    settings=("probe", "llm.models.judge"),
    tasks=("probe",),
)
