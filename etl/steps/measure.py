"""measure: the diversity of seeds and clean questions, per scope, in one pass over their vectors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import pandas as pd
import pyarrow as pa
from pyspark.sql import Window
from pyspark.sql import functions as F

from etl.cluster_agent import hangs_on, is_on, run_agent
from etl.items import ITEM, clean_questions, labels, unique_seeds, vectors
from etl.step import Job, Outcome, Step, the_labels, the_recipes
from udfs.cluster_agent import TASKS
from udfs.diversity import all_intervals, all_measures
from udfs.embedding import from_binary
from udfs.moments import Moments, in_own_space, merge, moments_of
from udfs.textstats import compression_ratio, distinct_n

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

INPUTS = ("documents", "curation", "qa", "embeddings", "duplicates", "annotations")
MOMENTS_DDL = "items string, scope string, grp int, moments binary"
MEASURES_DDL = (
    "items string, scope string, metric string, value double, n bigint, params string, ci_low double, ci_high double"
)
# distinct-n and the compression ratio need the texts themselves: so many of the lowest key hashes stand for a scope.
TEXT_SAMPLE = 2000
SAMPLE_PARTS = 64


def run(job: Job) -> Outcome:
    """Measures every scope of the config. Rows without a vector that may decide are left out, with the reason."""
    rows = job.tables.scratch("measure_rows", _rows(job))
    sizes = rows.groupBy("items").agg(F.count("*").alias("n"), F.count_if("readable").alias("readable")).collect()
    texts = {row["items"]: row["n"] for row in sizes}
    readable = sum(row["readable"] for row in sizes)
    scoped = _scoped(rows.where("readable"), list(job.config.measure.scopes))
    job.say(f"measuring {readable} vectors")
    measured = geometric(scoped, job.config.measure.groups).unionByName(textual(scoped))
    written = job.tables.append_new("diversity", measured.withColumn("inputs_id", F.lit(job.fingerprint)))
    unread = sum(texts.values()) - readable
    # The agent reads texts, so those without a vector are among what it may be shown.
    agent = run_agent(job, rows, texts) if is_on(job.config) else {}
    return Outcome(
        sum(texts.values()),
        readable,
        {"no_readable_vector": unread} if unread else {},
        {"values": float(written), **agent},
    )


def _rows(job: Job) -> DataFrame:
    nothing = F.lit(None).cast("string")
    docs = unique_seeds(job.tables).select(
        *ITEM,
        F.lit("documents").alias("items"),
        F.col("item_text").alias("text"),
        "lang",
        "source",
        nothing.alias("branch"),
    )
    questions = clean_questions(job.tables, job.config)
    qa = questions.select(
        *ITEM, F.lit("qa").alias("items"), F.col("question").alias("text"), "lang", nothing.alias("source"), "branch"
    )
    label = labels(job.tables, job.annotators).select(*ITEM, "discipline", "difficulty")
    vector = vectors(job.tables, job.config.embed).select(*ITEM, "vector", "reason")
    every = docs.unionByName(qa).join(label, ITEM, "left").join(vector, ITEM, "left")
    return every.withColumn("readable", F.col("vector").isNotNull() & F.col("reason").isNull()).drop("reason")


def _scoped(rows: DataFrame, scopes: list[str]) -> DataFrame:
    names = {
        "all": F.lit("all"),
        "discipline": F.concat(F.lit("discipline="), "discipline"),
        "difficulty": F.concat(F.lit("difficulty="), "difficulty"),
        "cell": F.concat(F.lit("cell="), "discipline", F.lit("/"), "difficulty"),
        "source": F.concat(F.lit("source="), "source"),
        "branch": F.concat(F.lit("branch="), "branch"),
    }
    wanted = F.explode(F.array(*[names[s] for s in scopes])).alias("scope")
    return rows.select("items", "item_id", "text", "vector", wanted).where("scope IS NOT NULL")


def geometric(scoped: DataFrame, groups: int) -> DataFrame:
    """Returns the closed forms of all scopes; a worker holds the moments of one scope and group at a time."""
    keyed = scoped.select(
        "items", "scope", F.expr(f"pmod(xxhash64(item_id), {groups})").cast("int").alias("grp"), "vector"
    )
    sorted_rows = keyed.repartition("items", "scope", "grp").sortWithinPartitions("items", "scope", "grp")
    moments = sorted_rows.mapInArrow(sum_moments, MOMENTS_DDL)
    return moments.groupBy("items", "scope").applyInPandas(closed_forms, MEASURES_DDL)


def sum_moments(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Sums vectors that come sorted by (items, scope, grp) to one row of moments per key."""
    key: tuple[str, str, int] | None = None
    total: Moments | None = None
    for batch in batches:
        frame = batch.select(["items", "scope", "grp"]).to_pandas()
        vectors = batch.column("vector")
        for now, rows in frame.groupby(["items", "scope", "grp"], sort=False).indices.items():
            taken = vectors.take(pa.array(rows))
            part = moments_of(from_binary(taken, len(taken[0].as_py()) // 2))
            if now != key and key is not None and total is not None:
                yield _moments_row(key, total)
                total = None
            key, total = now, part if total is None else total.add(part)
    if key is not None and total is not None:
        yield _moments_row(key, total)


def _moments_row(key: tuple[str, str, int], total: Moments) -> pa.RecordBatch:
    values = {"items": [key[0]], "scope": [key[1]], "grp": pa.array([key[2]], pa.int32()), "moments": [total.to_row()]}
    return pa.RecordBatch.from_pydict(values)


def closed_forms(rows: pd.DataFrame) -> pd.DataFrame:
    """Turns the group moments of one scope into its measures, with jackknife intervals where they are defined."""
    # A group that was cut at the end of a batch comes in two rows.
    by_group = rows.sort_values("grp").groupby("grp")["moments"]
    groups = in_own_space([merge([Moments.from_row(row) for row in part]) for _, part in by_group])
    total = merge(groups)
    intervals = all_intervals(groups)
    values = []
    for metric, value in all_measures(total).items():
        found = intervals.get(metric)
        low, high = (found.low, found.high) if found else (None, None)
        values.append(
            (
                rows["items"].iloc[0],
                rows["scope"].iloc[0],
                metric,
                value,
                total.n,
                f"jackknife over {len(groups)} groups",
                low,
                high,
            )
        )
    return pd.DataFrame(values, columns=["items", "scope", "metric", "value", "n", "params", "ci_low", "ci_high"])


def textual(scoped: DataFrame) -> DataFrame:
    """Returns distinct-1, distinct-2 and the compression ratio of a bounded sample of each scope's texts."""
    # Keys alone are ranked, first in parts and then as a whole: no task sees more than a part of a scope, and no text.
    keys = scoped.select("items", "scope", "item_id", F.xxhash64("item_id").alias("h"))
    parts = keys.withColumn("part", F.pmod("h", F.lit(SAMPLE_PARTS)))
    chosen = _lowest(_lowest(parts, "part")).select("items", "scope", "item_id")
    sample = scoped.select("items", "scope", "item_id", "text").join(chosen, ["items", "scope", "item_id"])
    return sample.groupBy("items", "scope").applyInPandas(text_measures, MEASURES_DDL)


def _lowest(keys: DataFrame, *part: str) -> DataFrame:
    lowest = Window.partitionBy("items", "scope", *part).orderBy("h", "item_id")
    return keys.withColumn("_n", F.row_number().over(lowest)).where(f"_n <= {TEXT_SAMPLE}").drop("_n")


def text_measures(rows: pd.DataFrame) -> pd.DataFrame:
    """Measures the texts of one scope."""
    texts = rows["text"].sort_values().tolist()
    found = {
        "distinct_1": distinct_n(texts, 1),
        "distinct_2": distinct_n(texts, 2),
        "compression_ratio": compression_ratio(texts),
    }
    params = f"up to {TEXT_SAMPLE} texts of the lowest key hashes"
    values = [
        (rows["items"].iloc[0], rows["scope"].iloc[0], metric, value, len(texts), params, None, None)
        for metric, value in found.items()
    ]
    return pd.DataFrame(values, columns=["items", "scope", "metric", "value", "n", "params", "ci_low", "ci_high"])


STEP = Step(
    "measure",
    run,
    reads=INPUTS,
    writes=("diversity", "cluster_rounds", "llm_calls"),
    ids=("seed_dedup_id", "dedup_id"),
    settings=("measure", "embed"),
    tasks=TASKS,
    asks=is_on,
    hangs_on=lambda job: the_labels(job) + the_recipes(job) + hangs_on(job.config),
)
