"""Views over the tables that several steps share: seeds, items to embed and to annotate, their labels and vectors, and the clean questions.

Labels and vectors belong to a text, not to an id: they are joined by item and text hash, so that a changed text never keeps an old one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyspark.sql import Window
from pyspark.sql import functions as F

from etl.errors import UserError
from etl.recipes import current_recipes
from etl.tables import Tables

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

    from etl.config import Config, EmbedConfig

ITEM = ["item_id", "text_hash"]


def seeds(tables: Tables) -> DataFrame:
    """Returns the kept documents with their quality; `text` is the cleaned text where personal data was replaced.

    `item_id` and `text_hash` name the seed as an item: a passage by its text, a question-answer pair by its question.
    """
    kept = (
        tables.read("curation")
        .where("kept")
        .select("doc_id", "quality", "clean_text", "clean_question", "clean_answer")
    )
    joined = tables.read("documents").drop("text_hash").join(kept, "doc_id")
    for name in ("text", "question", "answer"):
        joined = joined.withColumn(name, F.coalesce(f"clean_{name}", name)).drop(f"clean_{name}")
    item_text = F.when(F.col("kind") == "qa", F.col("question")).otherwise(F.col("text"))
    return joined.withColumns({"item_id": F.col("doc_id"), "item_text": item_text, "text_hash": hash_of(item_text)})


def unique_seeds(tables: Tables) -> DataFrame:
    """Returns the seeds without those that the last dedup of seeds removed."""
    removed = tables.read("duplicates").where(f"dedup_id = '{latest_id(tables, 'seed_dedup_id') or ''}'")
    return seeds(tables).join(removed.select("item_id"), "item_id", "left_anti")


def seed_items(docs: DataFrame) -> DataFrame:
    """Returns what of the seeds is embedded and annotated.

    Columns: item_id, item_kind (doc), role (text, question), text, text_hash, lang.
    """
    role = "CASE WHEN kind = 'qa' THEN 'question' ELSE 'text' END AS role"
    return docs.selectExpr("item_id", "'doc' AS item_kind", role, "item_text AS text", "text_hash", "lang")


def question_items(tables: Tables) -> DataFrame:
    """Returns the refined questions as items: the columns of `seed_items`, item_kind qa, role question."""
    drafts = tables.read("drafts").select("draft_id", "lang")
    refined = tables.read("refinements").where("status = 'ok'").join(drafts, "draft_id")
    return refined.selectExpr(
        "qa_id AS item_id", "'qa' AS item_kind", "'question' AS role", "question AS text", "text_hash", "lang"
    )


def labels(tables: Tables) -> DataFrame:
    """Returns one label per item and text: the LLM's where there is one, else the zero-shot one.

    Columns: item_id, text_hash, discipline, field, difficulty, discipline_score.
    """
    labelled = tables.read("annotations").where("discipline IS NOT NULL")
    best = Window.partitionBy(*ITEM).orderBy(F.col("annotator").startswith("llm").desc(), F.col("annotator").desc())
    ranked = labelled.withColumn("_n", F.row_number().over(best)).where("_n = 1")
    return ranked.select(*ITEM, "discipline", "field", "difficulty", "discipline_score")


def vectors(tables: Tables, embed: EmbedConfig) -> DataFrame:
    """Returns the vectors of one model: item_id, text_hash, role, vector, dim, reason (why it must not decide alone).

    What is unreadable is decided here, by the bound of this config: a vector may have been made under a wider one.
    """
    rows = tables.read("embeddings").where(F.col("model") == embed.model)
    over = F.col("unknown_share") > embed.max_unknown_share
    return rows.select(
        *ITEM, "role", "vector", "dim", F.when(over, F.lit("unknown_tokens")).otherwise(F.col("reason")).alias("reason")
    )


def latest_id(tables: Tables, name: str) -> str | None:
    """Returns the id (plan_id, dedup_id, mix_id) that the last successful step of that kind gave; None when none has run."""
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
            f"the step `{step}` has not run on this warehouse yet: run it first (boostqa run --conf ... --to {step})"
        )
    return found


def judged_questions(tables: Tables, config: Config) -> DataFrame:
    """Returns the verified questions, named as items, with a `reason` for those that can not be used now.

    `other_recipe`: made by other prompts, models or parameters than the config's. `seed_gone`: its seed is no longer there with the text it was made
    from. Both stay in `qa`.
    """
    rows = tables.read("qa").where("status = 'verified'").drop("reason")
    named = rows.withColumns({"item_id": F.col("qa_id"), "text_hash": hash_of(F.col("question"))})
    gone = _without_seed(tables, named).withColumn("gone", F.lit(True))
    other = ~F.col("recipe_id").isin(current_recipes(config))
    reason = F.when(other, F.lit("other_recipe")).when(F.col("gone"), F.lit("seed_gone"))
    return named.join(gone, "qa_id", "left").withColumn("reason", reason).drop("gone")


def _without_seed(tables: Tables, questions: DataFrame) -> DataFrame:
    here = unique_seeds(tables).select(
        F.col("doc_id").alias("seed"), hash_of(F.col("text")).alias("hash"), F.lit(1).alias("here")
    )
    drafts = tables.read("drafts").select("draft_id", "seed_hashes")
    made = questions.join(tables.read("refinements").select("qa_id", "draft_id"), "qa_id").join(drafts, "draft_id")
    each = made.select("qa_id", F.explode(F.arrays_zip("seed_ids", "seed_hashes")).alias("s"))
    named = each.select("qa_id", F.col("s.seed_ids").alias("seed"), F.col("s.seed_hashes").alias("hash"))
    return named.join(here, ["seed", "hash"], "left").where("here IS NULL").select("qa_id").distinct()


def clean_questions(tables: Tables, config: Config) -> DataFrame:
    """Returns the verified questions that can be used now and that the last dedup run has kept."""
    removed = tables.read("duplicates").where(f"dedup_id = '{needed_id(tables, 'dedup_id', 'dedup')}'")
    usable = judged_questions(tables, config).where("reason IS NULL").drop("reason")
    return usable.join(removed.select("item_id"), "item_id", "left_anti")


def hash_of(text: Column) -> Column:
    """Returns the hash of a text column: the same as udfs.text.text_hash."""
    return F.sha2(text, 256).substr(1, 32)
