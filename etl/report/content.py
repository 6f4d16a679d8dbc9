"""What the tables hold, for the report: cells, diversity, the sample of questions, and texts by their id."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING, Any

from pyspark.sql import functions as F

from etl.annotators import annotators
from etl.config import Config
from etl.items import ITEM, clean_questions, labels, unique_seeds
from etl.report.figures import CellMap, Measured, Question, Text, cut
from etl.report.history import NOTHING, Made
from etl.tables import Tables
from udfs.taxonomy import Taxonomy

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

METRICS = ("vendi_q1", "vendi_q2", "mean_cosine", "distinct_2", "compression_ratio")
MAX_SCOPES = 400
MAX_CELLS = 5000
SAMPLE_ROWS = 200
TEXT_CUT = 600
QUESTION_CUT = 2000
ANSWER_CUT = 4000


def cell_maps(tables: Tables, config: Config, taxonomy: Taxonomy, made: dict[str, Made]) -> dict[str, CellMap]:
    """Returns the maps over (discipline, difficulty) by kind: seeds, deficiency, planned_tokens, questions, exported_tokens."""
    plan = tables.read("allocation").where(f"plan_id = '{made.get('plan_id', NOTHING).id}'")
    verified = tables.read("qa").where("status = 'verified'")
    clean = clean_questions(tables, config) if "dedup_id" in made else verified
    seeds = unique_seeds(tables).select(*ITEM).join(labels(tables, annotators(config, taxonomy)), ITEM, "left")
    cell = ("split(cell, '/')[0] AS discipline", "CAST(split(cell, '/')[1] AS int) AS difficulty")
    mixture = tables.read("mixture").where(f"mix_id = '{made.get('mix_id', NOTHING).id}'")
    parts = {
        "seeds": seeds.selectExpr("discipline", "difficulty", "1 AS value"),
        # A cell that no probe has asked about has a prior in the plan, and nothing to show.
        "deficiency": plan.where("n > 0").selectExpr("discipline", "difficulty", "deficiency AS value").distinct(),
        "planned_tokens": plan.selectExpr("discipline", "difficulty", "target_tokens AS value"),
        "questions": clean.selectExpr("discipline", "difficulty", "1 AS value"),
        "exported_tokens": mixture.selectExpr(*cell, "n_tokens AS value"),
    }
    every = reduce(lambda a, b: a.unionByName(b), [_kind(rows, kind) for kind, rows in parts.items()])
    summed = (
        every.groupBy("kind", "discipline", "difficulty").agg(F.sum("value").alias("value")).limit(MAX_CELLS).collect()
    )
    maps: dict[str, dict[tuple[str, int], float]] = {kind: {} for kind in parts}
    for row in summed:
        maps[row["kind"]][row["discipline"] or "", row["difficulty"] or 0] = row["value"]
    return {kind: CellMap(kind, cells) for kind, cells in maps.items()}


def _kind(rows: DataFrame, kind: str) -> DataFrame:
    return rows.selectExpr(f"'{kind}' AS kind", "discipline", "difficulty", "CAST(value AS double) AS value")


def diversity(tables: Tables, inputs_id: str) -> tuple[Measured, ...]:
    """Returns the measures of one set of inputs by scope, the largest scopes first."""
    rows = tables.read("diversity").where((F.col("inputs_id") == inputs_id) & F.col("metric").isin(*METRICS))
    by_metric = F.map_from_entries(F.collect_list(F.struct("metric", F.struct("value", "ci_low", "ci_high"))))
    grouped = rows.groupBy("items", "scope").agg(F.max("n").alias("n"), by_metric.alias("values"))
    largest = grouped.orderBy(F.col("n").desc(), "items", "scope").limit(MAX_SCOPES).collect()
    return tuple(
        Measured(r["items"], r["scope"], r["n"], {m: tuple(v) for m, v in r["values"].items()}) for r in largest
    )


def sample(tables: Tables, made: dict[str, Made]) -> tuple[Question, ...]:
    """Returns the questions with the lowest key hashes: the same ones for any order of the table. Seeds' texts are still empty."""
    cuts = {"question": QUESTION_CUT, "answer": ANSWER_CUT, "draft_answer": ANSWER_CUT}
    plain = (
        "qa_id",
        "lang",
        "discipline",
        "difficulty",
        "target_difficulty",
        "branch",
        "grade",
        "status",
        "reason",
        "quality",
    )
    texts = [F.substring(name, 1, bound + 1).alias(name) for name, bound in cuts.items()]
    lowest = tables.read("qa").orderBy(F.xxhash64("qa_id"), "qa_id").limit(SAMPLE_ROWS)
    rows = [
        row.asDict() for row in lowest.select(*plain, *texts, F.get("seed_ids", F.lit(0)).alias("seed_id")).collect()
    ]
    after = _what_came_after(tables, made, [row["qa_id"] for row in rows])
    for row in rows:
        row |= {name: cut(row[name], bound) for name, bound in cuts.items()}
        row |= after.get(row["qa_id"], {})
    return tuple(Question(**{name: _filled(name, value) for name, value in row.items()}, seed="") for row in rows)


def _filled(name: str, value: Any) -> Any:
    if value is not None:
        return value
    return 0 if name in {"difficulty", "target_difficulty", "quality"} else ""


def _what_came_after(tables: Tables, made: dict[str, Made], ids: list[str]) -> dict[str, dict[str, str]]:
    dedup_id, mix_id = made.get("dedup_id", NOTHING).id, made.get("mix_id", NOTHING).id
    wanted = F.col("item_id").isin(ids)
    removed = tables.read("duplicates").where(wanted & (F.col("dedup_id") == dedup_id))
    chosen = tables.read("mixture").where(wanted & (F.col("mix_id") == mix_id))
    why = "concat(method, ', kept: ', kept_id) AS reason"
    both = removed.selectExpr("item_id", "'duplicate' AS status", why).unionByName(
        chosen.selectExpr("item_id", "'exported' AS status", "'' AS reason")
    )
    return {row["item_id"]: {"status": row["status"], "reason": row["reason"]} for row in both.collect()}


def texts_of(tables: Tables, ids: set[str]) -> dict[str, Text]:
    """Looks up passages and questions by their ids: a few hundred at most."""
    listed = sorted(ids)
    documents = tables.read("documents").where(F.col("doc_id").isin(listed)).selectExpr("doc_id AS id", "text", "lang")
    questions = (
        tables.read("qa").where(F.col("qa_id").isin(listed)).selectExpr("qa_id AS id", "question AS text", "lang")
    )
    found = documents.unionByName(questions).withColumn("text", F.substring("text", 1, TEXT_CUT + 1)).collect()
    return {row["id"]: Text(row["id"], cut(row["text"], TEXT_CUT), row["lang"] or "und") for row in found}
