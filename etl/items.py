"""Views over the tables that several steps share: seeds, items to embed and to annotate, their labels, and the clean questions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from etl.errors import UserError
from etl.tables import Tables

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


def seeds(tables: Tables) -> DataFrame:
    """Returns the kept documents with their quality; `text` is the cleaned text where personal data was replaced."""
    from pyspark.sql import functions as F

    kept = tables.read("curation").where("kept").select("doc_id", "quality", "clean_text")
    joined = tables.read("documents").join(kept, "doc_id")
    return joined.withColumn("text", F.coalesce("clean_text", "text")).drop("clean_text")


def unique_seeds(tables: Tables) -> DataFrame:
    """Returns the seeds without those that the last dedup of seeds removed."""
    removed = tables.read("duplicates").where(f"dedup_id = '{latest_id(tables, 'seed_dedup_id') or ''}'")
    return seeds(tables).join(removed.selectExpr("item_id AS doc_id"), "doc_id", "left_anti")


def seed_items(docs: DataFrame) -> DataFrame:
    """Returns what of the seeds is embedded and annotated: passages by `text`, question-answer seeds by `question`.

    Columns: item_id, item_kind (doc), role (text, question), text, text_hash, lang.
    """
    text = "CASE WHEN kind = 'qa' THEN question ELSE text END AS text"
    role = "CASE WHEN kind = 'qa' THEN 'question' ELSE 'text' END AS role"
    return _hashed(docs.selectExpr("doc_id AS item_id", "'doc' AS item_kind", role, text, "lang"))


def question_items(tables: Tables) -> DataFrame:
    """Returns the refined questions as items: the columns of `seed_items`, item_kind qa, role question."""
    drafts = tables.read("drafts").select("draft_id", "lang")
    refined = tables.read("refinements").where("status = 'ok'").join(drafts, "draft_id")
    return _hashed(
        refined.selectExpr("qa_id AS item_id", "'qa' AS item_kind", "'question' AS role", "question AS text", "lang")
    )


def _hashed(items: DataFrame) -> DataFrame:
    from pyspark.sql import functions as F

    return items.withColumn("text_hash", F.sha2("text", 256).substr(1, 32))


def labels(tables: Tables) -> DataFrame:
    """Returns one label per item: of its annotations with a discipline, the one written last under the config.

    Columns: item_id, discipline, field, difficulty, discipline_score.
    """
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    labelled = tables.read("annotations").where("discipline IS NOT NULL")
    best = Window.partitionBy("item_id").orderBy(F.col("annotator").startswith("llm").desc(), "annotator")
    ranked = labelled.withColumn("_n", F.row_number().over(best)).where("_n = 1")
    return ranked.select("item_id", "discipline", "field", "difficulty", "discipline_score")


def latest_id(tables: Tables, name: str) -> str | None:
    """Returns the id (plan_id, dedup_id, mix_id) that the last successful step of that kind gave; None when none has run."""
    from pyspark.sql import functions as F

    rows = (
        tables.read("steps")
        .where("status IN ('done', 'unchanged')")
        .select(F.col("ids")[name].alias("id"), "created_at")
    )
    last = rows.where("id IS NOT NULL").orderBy(F.col("created_at").desc()).first()
    return None if last is None else str(last["id"])


def needed_id(tables: Tables, name: str, step: str) -> str:
    """Returns `latest_id`; raises UserError that tells which step to run first when there is none."""
    found = latest_id(tables, name)
    if found is None:
        raise UserError(
            f"the step `{step}` has not run on this warehouse yet: run it first (boostqa {step} --conf ...)"
        )
    return found


def clean_questions(tables: Tables) -> DataFrame:
    """Returns the verified questions that the last dedup run has kept."""
    removed = tables.read("duplicates").where(f"dedup_id = '{needed_id(tables, 'dedup_id', 'dedup')}'")
    return (
        tables.read("qa")
        .where("status = 'verified'")
        .join(removed.selectExpr("item_id AS qa_id"), "qa_id", "left_anti")
    )
