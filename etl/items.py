"""Views over the tables that several steps share: seeds, items to embed and to annotate, their labels and vectors, and the clean questions.

Labels and vectors belong to a text, not to an id: they are joined by item and text hash, so that a changed text never keeps an old one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from etl.embedder import embed_settings
from etl.errors import UserError
from etl.recipes import draft_recipes, question_recipes
from etl.tables import Tables
from udfs.embedding_model import model_id

if TYPE_CHECKING:
    from collections.abc import Sequence

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
    return seeds(tables).join(_removed_seeds(tables), "doc_id", "left_anti")


def _removed_seeds(tables: Tables) -> DataFrame:
    removed = tables.read("duplicates").where(f"dedup_id = '{latest_id(tables, 'seed_dedup_id') or ''}'")
    return removed.select(F.col("item_id").alias("doc_id"))


def seed_items(docs: DataFrame) -> DataFrame:
    """Returns what of the seeds is embedded and annotated.

    Columns: item_id, item_kind (doc), role (text, question), text, text_hash, lang.
    """
    role = "CASE WHEN kind = 'qa' THEN 'question' ELSE 'text' END AS role"
    return docs.selectExpr("item_id", "'doc' AS item_kind", role, "item_text AS text", "text_hash", "lang")


def judged_drafts(tables: Tables, config: Config) -> DataFrame:
    """Returns the drafts that hold a question, with a `reason` (see `judged_questions`) for those that can not go on now.

    A draft belongs to a text. `seed_id` is the seed that has this text now, under whatever id, with its `seed_quality`.
    """
    drafts = tables.read("drafts").where("status = 'ok'").drop("reason")
    made = drafts.withColumn("seed_hash", F.col("seed_hashes")[0]).join(_seeds_by_text(tables), "seed_hash", "left")
    other = ~F.col("recipe_id").isin(draft_recipes(config))
    reason = F.when(other, F.lit("other_recipe")).when(F.col("seed_id").isNull(), F.lit("seed_gone"))
    return made.withColumn("reason", reason)


def current_drafts(tables: Tables, config: Config) -> DataFrame:
    """Returns the drafts that can go on now: made by the config's teacher from a text that still is a seed's."""
    return judged_drafts(tables, config).where("reason IS NULL").drop("reason")


def _seeds_by_text(tables: Tables) -> DataFrame:
    kept = tables.read("curation").where("kept").select("doc_id", "quality", "clean_text")
    seed_hash = F.coalesce(hash_of(F.col("clean_text")), "text_hash").alias("seed_hash")
    named = tables.read("documents").select("doc_id", "text_hash").join(kept, "doc_id")
    unique = named.join(_removed_seeds(tables), "doc_id", "left_anti")
    # Two seeds may come to have one text where personal data was replaced.
    texts = unique.select(seed_hash, "doc_id", "quality")
    return texts.groupBy("seed_hash").agg(
        F.min("doc_id").alias("seed_id"), F.min_by("quality", "doc_id").alias("seed_quality")
    )


def refined_questions(tables: Tables, config: Config) -> DataFrame:
    """Returns the refined questions of the config's recipes whose drafts can go on.

    Columns: those of `refinements` without its fate, and of the draft: seed_id, seed_hashes, seed_quality, seed_discipline, lang, branch, grade, form,
    target_difficulty, draft_answer, draft_request_id.
    """
    made = (F.col("status") == "ok") & F.col("recipe_id").isin(question_recipes(config))
    refined = tables.read("refinements").where(made).drop("status", "reason", "error")
    renamed = {"answer": "draft_answer", "request_id": "draft_request_id", "discipline": "seed_discipline"}
    same = (
        "draft_id",
        "seed_id",
        "seed_hashes",
        "seed_quality",
        "lang",
        "branch",
        "grade",
        "form",
        "target_difficulty",
    )
    drafts = current_drafts(tables, config).select(*same, *[F.col(a).alias(b) for a, b in renamed.items()])
    return refined.join(drafts, "draft_id")


def question_items(tables: Tables, config: Config) -> DataFrame:
    """Returns the refined questions as items: the columns of `seed_items`, item_kind qa, role question."""
    return refined_questions(tables, config).selectExpr(
        "qa_id AS item_id", "'qa' AS item_kind", "'question' AS role", "question AS text", "text_hash", "lang"
    )


def labels(tables: Tables, annotators: Sequence[str]) -> DataFrame:
    """Returns one label per item and text: that of the first of `annotators` (names, see etl.annotators) that has one.

    Columns: item_id, text_hash, discipline, field, difficulty, discipline_score.
    """
    labelled = tables.read("annotations").where(
        F.col("annotator").isin(list(annotators)) & F.col("discipline").isNotNull()
    )
    place = F.array_position(F.lit(list(annotators)), F.col("annotator"))
    best = F.min_by(F.struct("discipline", "field", "difficulty", "discipline_score"), place)
    return labelled.groupBy(*ITEM).agg(best.alias("label")).select(*ITEM, "label.*")


def vectors(tables: Tables, embed: EmbedConfig) -> DataFrame:
    """Returns the vectors of one model: item_id, text_hash, role, vector, dim, reason (why it must not decide alone).

    What is unreadable is decided here, by the bound of this config: a vector may have been made under a wider one.
    """
    rows = tables.read("embeddings").where(F.col("model") == model_id(embed_settings(embed)))
    over = F.col("unknown_share") > embed.max_unknown_share
    return rows.select(
        *ITEM, "role", "vector", "dim", F.when(over, F.lit("unknown_tokens")).otherwise(F.col("reason")).alias("reason")
    )


def latest_id(tables: Tables, name: str) -> str | None:
    """Returns the id (plan_id, dedup_id, mix_id) that the last successful step of that kind gave; None when none has run."""
    return tables.known("steps", lambda: _latest_ids(tables)).get(name)


def _latest_ids(tables: Tables) -> dict[str, str]:
    given = tables.read("steps").where("status IN ('done', 'unchanged')").select("created_at", F.explode("ids"))
    last = given.groupBy("key").agg(F.max_by("value", "created_at").alias("id"))
    return {row["key"]: row["id"] for row in last.collect()}


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

    `other_recipe`: made by other prompts, models or parameters than the config's. `seed_gone`: no seed has the text any more that it was made from.
    Both stay in `qa`.
    """
    rows = tables.read("qa").where("status = 'verified'").drop("reason")
    named = rows.withColumns({"item_id": F.col("qa_id"), "text_hash": hash_of(F.col("question"))})
    gone = _without_seed(tables, named).withColumn("gone", F.lit(True))
    other = ~F.col("recipe_id").isin(question_recipes(config))
    reason = F.when(other, F.lit("other_recipe")).when(F.col("gone"), F.lit("seed_gone"))
    return named.join(gone, "qa_id", "left").withColumn("reason", reason).drop("gone")


def _without_seed(tables: Tables, questions: DataFrame) -> DataFrame:
    texts = questions.select("qa_id", F.explode("seed_hashes").alias("seed_hash"))
    return texts.join(_seeds_by_text(tables), "seed_hash", "left_anti").select("qa_id").distinct()


def clean_questions(tables: Tables, config: Config) -> DataFrame:
    """Returns the verified questions that can be used now and that the last dedup run has kept."""
    removed = tables.read("duplicates").where(f"dedup_id = '{needed_id(tables, 'dedup_id', 'dedup')}'")
    usable = judged_questions(tables, config).where("reason IS NULL").drop("reason")
    return usable.join(removed.select("item_id"), "item_id", "left_anti")


def hash_of(text: Column) -> Column:
    """Returns the hash of a text column: the same as udfs.text.text_hash."""
    return F.sha2(text, 256).substr(1, 32)
