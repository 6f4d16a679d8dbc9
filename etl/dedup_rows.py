"""The rows of a dedup run: each once, with what decides between equal ones, what is known of its vector, and what an earlier run has said of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import pyarrow as pa
from pyspark.sql import Window
from pyspark.sql import functions as F

from etl.config import Config
from etl.items import ITEM, vectors
from etl.step import count_reasons
from etl.tables import Tables
from udfs.text import normal_hash

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

# The fate of a row that has no reason to be out.
IN = "compared"
HASHED_DDL = "item_id string, text_hash string, side string, priority array<double>, normal_hash string"


def one_of_each(tables: Tables, rows: DataFrame) -> tuple[DataFrame, dict[str, int]]:
    """Gives all rows of an item but the first the reason `duplicate_id`. First is one without a reason; then the text and the other columns decide.

    Returns the rows, and how many have which reason (IN: none).
    """
    fate = F.coalesce("reason", F.lit(IN))
    # Most often there are none: ids alone are cheap to look through, texts are not.
    items = rows.groupBy("item_id").agg(F.count("*").alias("n"), F.min(fate).alias("fate"))
    counted = items.groupBy("fate").agg(F.sum("n").alias("rows"), F.max("n").alias("most")).collect()
    if all(row["most"] == 1 for row in counted):
        return rows, {row["fate"]: row["rows"] for row in counted}
    others = sorted(set(rows.columns) - {"item_id", "reason"})
    mine = Window.partitionBy("item_id").orderBy(F.col("reason").isNotNull(), *others, "reason")
    reason = F.when(F.row_number().over(mine) > 1, F.lit("duplicate_id")).otherwise(F.col("reason"))
    once = tables.scratch("dedup_one_of_each", rows.withColumn("reason", reason))
    return once, count_reasons(once.withColumn("fate", fate), "fate")


def described(tables: Tables, config: Config, rows: DataFrame) -> DataFrame:
    """Adds `priority` (the smaller the better), `normal_hash` of the text, `unreadable` (why its vector must not decide), and `row_hash` of all that
    its comparison hangs on."""

    def hashed(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            normal = pa.array([normal_hash(text) for text in batch.column("text").to_pylist()], pa.string())
            plain = {name: batch.column(name) for name in (*ITEM, "side", "priority")}
            yield pa.RecordBatch.from_pydict({**plain, "normal_hash": normal})

    better_first = [-F.coalesce(F.col(name).cast("double"), F.lit(0.0)) for name in config.dedup.priority]
    priority = F.array(*better_first).cast("array<double>").alias("priority")
    ranked = rows.select(*ITEM, "side", priority, "text").mapInArrow(hashed, HASHED_DDL)
    known = vectors(tables, config.embed).groupBy(*ITEM, F.col("role").alias("side"))
    state = known.agg(
        F.when(F.count("*") > 1, F.lit("repeated_vector")).otherwise(F.max("reason")).alias("why"),
        F.lit(True).alias("there"),
    )
    unreadable = F.coalesce("why", F.when(F.col("there").isNull(), F.lit("no_vector")))
    joined = ranked.join(state, [*ITEM, "side"], "left").withColumn("unreadable", unreadable).drop("why", "there")
    return joined.withColumn("row_hash", F.xxhash64(*ITEM, "side", "priority", "unreadable"))


def marked(rows: DataFrame, seen: DataFrame | None, removed: DataFrame | None) -> DataFrame:
    """Adds `old` and `gone` (an earlier run has looked at the row: `seen`, and has removed it: `removed`) and `exact_id`, the row that stands for those
    of equal text.

    Old rows rank before new ones, and what was decided about them stays.
    """
    if seen is None or removed is None:
        known = rows.withColumns({"old": F.lit(False), "gone": F.lit(False)})
    else:
        before, out = (
            one.select("item_id", F.lit(True).alias(name)) for one, name in ((seen, "old"), (removed, "gone"))
        )
        known = rows.join(before, "item_id", "left").join(out, "item_id", "left").fillna(False, ["old", "gone"])
    ranked = known.withColumn("priority", F.concat(F.array((~F.col("old")).cast("double")), "priority"))
    order = F.col("old").desc(), "gone", "priority", "item_id"
    first = F.first("item_id").over(Window.partitionBy("side", "normal_hash").orderBy(*order))
    exact = F.when(~F.col("old") & (first != F.col("item_id")), first)
    return ranked.withColumn("exact_id", exact).drop("normal_hash")


def comparable(tables: Tables, config: Config, rows: DataFrame) -> DataFrame:
    """Returns the rows that are compared by their vectors: item_id, side, old, priority, vector, dim."""
    open_rows = rows.where("exact_id IS NULL AND unreadable IS NULL AND NOT gone")
    known = vectors(tables, config.embed).select(*ITEM, F.col("role").alias("side"), "vector", "dim")
    return open_rows.select(*ITEM, "side", "old", "priority").join(known, [*ITEM, "side"]).drop("text_hash")


def all_removed(semantic: DataFrame, same: DataFrame, rows: DataFrame, before: DataFrame | None) -> DataFrame:
    """Returns all removed rows with the kept row that stands for them: item_id, kept_id, cosine, method.

    `semantic` is what the edges remove; a row of the same vector (`same`: item_id, same_id) or of equal text shares the fate of the row it is like, so
    that it points to a kept one. `before` is what the continued run has removed.
    """
    fates = semantic.selectExpr("item_id", "kept_id", "cosine", "'semantic' AS method")
    fates = fates if before is None else fates.unionByName(before)
    same = _sharing(same.selectExpr("item_id", "same_id AS like_id"), fates, "semantic")
    fates = fates.unionByName(same)
    exact = rows.where("exact_id IS NOT NULL").selectExpr("item_id", "exact_id AS like_id")
    return fates.unionByName(_sharing(exact, fates, "exact"))


def _sharing(rows: DataFrame, fates: DataFrame, method: str) -> DataFrame:
    stands = fates.selectExpr("item_id AS like_id", "kept_id AS kept", "cosine AS cos")
    cosine = "if(kept IS NULL, 1.0D, cos) AS cosine"
    return rows.join(stands, "like_id", "left").selectExpr(
        "item_id", "coalesce(kept, like_id) AS kept_id", cosine, f"'{method}' AS method"
    )
