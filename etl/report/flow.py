"""The funnel from records to the training set, and the rows that each stage dropped, with examples."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from etl.benchmarks import BENCHMARK
from etl.config import Config
from etl.items import judged_drafts
from etl.report.figures import Reason, Stage, Text, cut
from etl.report.history import NOTHING, Made, largest_first
from etl.tables import Tables

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, Row

# Stage -> what it counts, in the order of the flow.
STAGES = {
    "documents": "passages",
    "seeds": "passages",
    "unique_seeds": "passages",
    "drafts": "questions",
    "refined": "questions",
    "verified": "questions",
    "deduplicated": "questions",
    "exported": "questions",
}
EXAMPLES = 3
CUT = 400
MAX_REASONS = 300
# Stages whose numbers hang on one dedup run or mixture: its id, as `steps` names it.
RECORDED = {"unique_seeds": "seed_dedup_id", "deduplicated": "dedup_id", "exported": "mix_id"}


def fates(tables: Tables, config: Config, made: dict[str, Made]) -> list[Row]:
    """Returns, per stage, reason and hash bucket, the number of rows and the one with the lowest key hash; reason is null for rows that got through.

    One pass over narrow columns of all tables of the flow.
    """
    every = reduce(lambda a, b: a.unionByName(b), _fates(tables, config, made))
    hashed = every.withColumn("h", F.xxhash64("key"))
    example = F.min_by(F.struct("key", "lang", "text", "detail"), F.struct("h", "key")).alias("example")
    grouped = hashed.groupBy("stage", "reason", F.pmod("h", F.lit(EXAMPLES)).alias("bucket")).agg(
        F.count("*").alias("n"), example
    )
    return grouped.orderBy(F.col("n").desc(), "stage", "reason", "bucket").limit(MAX_REASONS * EXAMPLES).collect()


def _fates(tables: Tables, config: Config, made: dict[str, Made]) -> list[DataFrame]:
    seed_dedup, dedup = made.get("seed_dedup_id", NOTHING).id, made.get("dedup_id", NOTHING).id
    duplicates, mixture = tables.read("duplicates"), tables.read("mixture")
    said = "if(kept_id IS NULL, benchmark, concat('kept: ', kept_id))"
    twin = "concat('kept: ', kept_id, ', cosine ', format_number(cosine, 3))"
    ok = "if(status = 'ok', NULL, reason)"
    refinements = tables.read("refinements")
    waiting = judged_drafts(tables, config).where("reason IS NOT NULL").join(refinements, "draft_id", "left_anti")
    return [
        _rows(tables.read("documents"), "documents", "NULL", "doc_id"),
        _rows(
            tables.read("quarantine").where(~F.col("source").startswith(BENCHMARK)),
            "documents",
            "reason",
            "concat(uri, ' ', position)",
            text="raw",
            detail="error",
        ),
        _rows(tables.read("curation"), "seeds", "reason", "doc_id", detail=said),
        _rows(
            duplicates.where(f"dedup_id = '{seed_dedup}'"),
            "unique_seeds",
            "concat(method, '_duplicate')",
            "item_id",
            detail=twin,
        ),
        _rows(tables.read("drafts"), "drafts", ok, "draft_id", lang="lang", text="question", detail="error"),
        _rows(waiting, "refined", "reason", "draft_id", lang="lang", text="question"),
        _rows(refinements, "refined", ok, "qa_id", text="question", detail="error"),
        _rows(tables.read("qa"), "verified", "reason", "qa_id", lang="lang", text="question"),
        _rows(
            duplicates.where(f"dedup_id = '{dedup}'"),
            "deduplicated",
            "concat(method, '_duplicate')",
            "item_id",
            detail=twin,
        ),
        _rows(mixture.where(f"mix_id = '{made.get('mix_id', NOTHING).id}'"), "exported", "NULL", "item_id"),
    ]


def _rows(rows: DataFrame, stage: str, reason: str, key: str, **more: str) -> DataFrame:
    shown = {"lang": more.get("lang", "NULL"), "text": more.get("text", "NULL"), "detail": more.get("detail", "NULL")}
    columns = [f"substring(CAST({value} AS string), 1, {CUT + 1}) AS {name}" for name, value in shown.items()]
    return rows.selectExpr(f"'{stage}' AS stage", f"CAST({reason} AS string) AS reason", f"{key} AS key", *columns)


def funnel(counted: list[Row], made: dict[str, Made]) -> tuple[Stage, ...]:
    """Builds the stages from `fates`: rows through, and rows dropped by reason."""
    through = dict.fromkeys(STAGES, 0)
    dropped: dict[str, dict[str, int]] = {name: {} for name in STAGES}
    for row in counted:
        if row["reason"] is None:
            through[row["stage"]] += row["n"]
        else:
            dropped[row["stage"]][row["reason"]] = dropped[row["stage"]].get(row["reason"], 0) + row["n"]
    # What these left out is recorded with the step; their tables hold only a part of it.
    dropped |= {stage: made.get(name, NOTHING).dropped for stage, name in RECORDED.items()}
    through["unique_seeds"] = through["seeds"] - sum(dropped["unique_seeds"].values())
    through["deduplicated"] = through["verified"] - sum(dropped["deduplicated"].values())
    ran = {stage: RECORDED.get(stage) is None or RECORDED[stage] in made for stage in STAGES}
    return tuple(
        Stage(stage, unit, through[stage] if ran[stage] else None, largest_first(dropped[stage]))
        for stage, unit in STAGES.items()
    )


def reasons(counted: list[Row], stages: tuple[Stage, ...], texts: dict[str, Text]) -> tuple[Reason, ...]:
    """Lists the drop reasons of the funnel with examples from `fates`; `texts` holds those that their own table does not have."""
    examples: dict[tuple[str, str], list[Text]] = {}
    for row in counted:
        if row["reason"] is not None:
            examples.setdefault((row["stage"], row["reason"]), []).append(_example(row["example"], texts))
    return tuple(
        Reason(stage.name, reason, count, tuple(examples.get((stage.name, reason), ())))
        for stage in stages
        for reason, count in stage.dropped.items()
    )


def _example(row: Row, texts: dict[str, Text]) -> Text:
    looked_up = texts.get(row["key"])
    text, lang = row["text"], row["lang"]
    if text is None and looked_up is not None:
        text, lang = looked_up.text, looked_up.lang
    return Text(row["key"], cut(text, CUT), lang or "und", cut(row["detail"], CUT))


def example_ids(counted: list[Row]) -> set[str]:
    """Returns the keys of the examples whose texts stand in another table."""
    return {row["example"]["key"] for row in counted if row["reason"] is not None and row["example"]["text"] is None}
