"""synthesize: draws seeds for every cell of the plan and asks the teacher for graded questions about them."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING, Any

from pyspark.sql import Window
from pyspark.sql import functions as F

from etl.asking import ask, read_rows
from etl.items import ITEM, hash_of, labels, needed_id, unique_seeds
from etl.recipes import BRANCHES, recipe_id
from etl.step import Job, Outcome, Step, count_reasons, the_labels
from udfs.requests import Asking
from udfs.tasks import Parsed
from udfs.text import stable_id

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

DRAFTS_DDL = (
    "draft_id string, recipe_id string, request_id string, ordinal int, plan_id string, seed_ids array<string>, seed_hashes array<string>, lang string, branch string, grade string, "
    "discipline string, target_difficulty int, question string, answer string, form string, status string, reason string, error string, escalation int"
)


def run(job: Job) -> Outcome:
    """Asks for the plan's questions; a request that gives none is a rejected row with the reason."""
    draws = job.tables.scratch("synthesize_draws", draw_seeds(job))
    config = job.config.synthesize
    asked, wanted = draws.count(), -(-job.config.plan.total_tokens // config.tokens_per_question)
    more = "; each cell, grade and branch of the plan gets at least one request"
    job.say(f"{asked} requests for some {asked * config.questions_per_request} questions, {wanted} planned{more}")
    branches = [_branch(job, draws, branch) for branch in BRANCHES]
    rows = job.tables.scratch("synthesize_rows", reduce(lambda a, b: a.unionByName(b), branches))
    made = job.tables.append_new("drafts", rows)
    # A request is answered when it gave at least one question.
    reason = F.when(F.bool_or(F.col("status") == "ok"), F.lit(None)).otherwise(F.max("reason")).alias("reason")
    fates = rows.groupBy("request_id", "seed_ids").agg(reason)
    dropped = count_reasons(fates)
    answered = fates.where("reason IS NULL").count()
    return Outcome(asked, answered, dropped, {"new_drafts": float(made)})


def draw_seeds(job: Job) -> DataFrame:
    """Returns one row per request: seed, cell, branch, grade, sample.

    Each cell draws its seeds with the lowest hashes first, each again only once all have served, and no seed more often than `max_seed_uses`.
    """
    config = job.config.synthesize
    plan_id = needed_id(job.tables, "plan_id", "plan")
    plan = job.tables.read("allocation").where(f"plan_id = '{plan_id}' AND target_tokens > 0")
    per_request = config.tokens_per_question * config.questions_per_request
    cells = plan.withColumn("requests", F.ceil(F.col("target_tokens") / per_request)).drop("weight", "explanation")
    seeds = unique_seeds(job.tables)
    label = labels(job.tables, job.annotators).select(*ITEM, "discipline", "difficulty")
    uses = F.explode(F.sequence(F.lit(0), F.lit(config.max_seed_uses - 1)))
    labelled = seeds.select(*ITEM).join(label, ITEM).withColumn("sample", uses)
    drawn = labelled.join(cells, ["discipline", "difficulty"])
    # By the text, not by the id: a renamed file must not make other seeds come first and be paid.
    order = Window.partitionBy("discipline", "difficulty", "branch", "grade").orderBy(
        "sample", F.xxhash64("text_hash", "grade"), "text_hash", "item_id"
    )
    picked = drawn.withColumn("_n", F.row_number().over(order)).where("_n <= requests")
    # Texts join last: every draw of every cell goes through the ranking, few come out.
    return picked.join(seeds.select("item_id", "lang", "text"), "item_id").select(
        "plan_id",
        "item_id",
        hash_of(F.col("text")).alias("seed_hash"),
        "lang",
        "text",
        "discipline",
        "branch",
        "grade",
        "sample",
        F.col("difficulty").alias("target_difficulty"),
        F.lit(config.questions_per_request).alias("n"),
        F.col("item_id").alias("prefix"),
    )


def _branch(job: Job, draws: DataFrame, branch: str) -> DataFrame:
    asking = Asking(branch, job.config.llm.models.teacher, job.config.synthesize.params)
    answers = ask(job, f"synthesize_{branch}", draws.where(f"branch = '{branch}'"), asking)
    return read_rows(answers, asking, draft_rows, DRAFTS_DDL)


def draft_rows(row: dict[str, Any], parsed: Parsed) -> list[dict[str, Any]]:
    """Turns one answer into rows of `drafts`: one per question, and a rejected one for each part that is none, or for the whole."""
    shared = {
        name: row[name]
        for name in ("request_id", "plan_id", "lang", "branch", "grade", "discipline", "target_difficulty")
    }
    shared["recipe_id"] = recipe_id(row["prompt_id"], row["model"], row["params"])
    shared |= {"seed_ids": [row["item_id"]], "seed_hashes": [row["seed_hash"]], "escalation": 0}
    if parsed.value is None:
        draft_id = stable_id(row["request_id"], "none")
        return [{**shared, "draft_id": draft_id, "status": "rejected", "reason": "llm_unusable", "error": parsed.error}]
    rejected = {**shared, "status": "rejected", "reason": "unusable_question"}
    return [
        {**shared, "draft_id": stable_id(row["request_id"], str(i)), "ordinal": i, "status": "ok", **pair}
        for i, pair in enumerate(parsed.value)
    ] + [{**rejected, "draft_id": stable_id(row["request_id"], fault), "error": fault} for fault in parsed.dropped]


STEP = Step(
    "synthesize",
    run,
    reads=("documents", "curation", "duplicates", "annotations", "allocation"),
    writes=("drafts", "llm_calls"),
    ids=("seed_dedup_id", "plan_id"),
    settings=("synthesize", "plan", "llm.models.teacher"),
    tasks=BRANCHES,
    hangs_on=the_labels,
)
