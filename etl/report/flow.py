"""The funnel from records to the training set, and the rows that each stage dropped, with examples."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING

from etl.report.figures import Reason, Stage, Text, cut
from etl.report.history import NOTHING, Made
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
PASSAGE_KEYS = ("seeds", "unique_seeds")


def fates(tables: Tables, made: dict[str, Made]) -> list[Row]:
    """Returns, per stage, reason and hash bucket, the number of rows and the one with the lowest key hash; reason is null for rows that got through.

    One pass over narrow columns of all tables of the flow.
    """
    from pyspark.sql import functions as F

    every = reduce(lambda a, b: a.unionByName(b), _fates(tables, made))
    hashed = every.withColumn("h", F.xxhash64("key"))
    example = F.min_by(F.struct("key", "lang", "text", "detail"), F.struct("h", "key")).alias("example")
    grouped = hashed.groupBy("stage", "reason", F.pmod("h", F.lit(EXAMPLES)).alias("bucket")).agg(
        F.count("*").alias("n"), example
    )
    return grouped.orderBy(F.col("n").desc(), "stage", "reason", "bucket").limit(MAX_REASONS * EXAMPLES).collect()


def _fates(tables: Tables, made: dict[str, Made]) -> list[DataFrame]:
    seed_dedup, dedup = made.get("seed_dedup_id", NOTHING).id, made.get("dedup_id", NOTHING).id
    duplicates, mixture = tables.read("duplicates"), tables.read("mixture")
    said = "if(kept_id IS NULL, benchmark, concat('kept: ', kept_id))"
    twin = "concat('kept: ', kept_id, ', cosine ', format_number(cosine, 3))"
    ok = "if(status = 'ok', NULL, reason)"
    return [
        _rows(tables.read("documents"), "documents", "NULL", "doc_id"),
        _rows(
            tables.read("quarantine"), "documents", "reason", "concat(uri, ' ', position)", text="raw", detail="error"
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
        _rows(tables.read("refinements"), "refined", ok, "qa_id", text="question", detail="error"),
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
    # `duplicates` holds only what was removed, and `steps` alone knows why a clean question is not in the mixture.
    through["unique_seeds"] = through["seeds"] - sum(dropped["unique_seeds"].values())
    through["deduplicated"] = through["verified"] - sum(dropped["deduplicated"].values())
    dropped["exported"] = made.get("mix_id", NOTHING).dropped
    needs = {"unique_seeds": "seed_dedup_id", "deduplicated": "dedup_id", "exported": "mix_id"}
    ran = {name: needs.get(name) is None or needs[name] in made for name in STAGES}
    return tuple(
        Stage(name, unit, through[name] if ran[name] else None, _largest_first(dropped[name]))
        for name, unit in STAGES.items()
    )


def _largest_first(counts: dict[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda kv: (-kv[1], kv[0])))


def reasons(counted: list[Row], texts: dict[str, Text]) -> tuple[Reason, ...]:
    """Builds the drop reasons from `fates`; `texts` holds the examples' texts that their own table does not have."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in counted:
        if row["reason"] is not None:
            groups.setdefault((row["stage"], row["reason"]), []).append(row)
    order = list(STAGES)
    found = [
        Reason(stage, reason, sum(r["n"] for r in rows), tuple(_example(r["example"], texts) for r in rows))
        for (stage, reason), rows in groups.items()
    ]
    return tuple(sorted(found, key=lambda r: (order.index(r.stage), -r.count, r.reason)))


def _example(row: Row, texts: dict[str, Text]) -> Text:
    looked_up = texts.get(row["key"])
    text, lang = row["text"], row["lang"]
    if text is None and looked_up is not None:
        text, lang = looked_up.text, looked_up.lang
    return Text(row["key"], cut(text, CUT), lang or "und", cut(row["detail"], CUT))


def example_ids(counted: list[Row]) -> set[str]:
    """Returns the keys of the examples whose texts stand in another table."""
    return {row["example"]["key"] for row in counted if row["reason"] is not None and row["example"]["text"] is None}
