"""curate: a verdict on every document. Rules first, then contamination, exact duplicates and near-duplicates among what is left.

A document that was judged before under the same settings keeps its verdict: new ones are compared with each other and with the kept ones, and what was
kept earlier outranks what comes later, so that no seed is lost for which labels or questions were paid. The kept set is that of one judging of all
documents by (judging, quality, key). All verdicts are written again, in one commit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import pyarrow as pa
from pyspark.sql import Window
from pyspark.sql import functions as F

from etl.benchmarks import benchmark_figures, benchmark_source, benchmark_state, contaminated, read_items
from etl.config import CurateConfig
from etl.earlier_verdicts import earlier_verdicts, hashed_documents, judging_id, unjudged
from etl.near_duplicates import near_duplicates
from etl.near_pairs import Search
from etl.step import Job, Outcome, Step, count_reasons
from udfs.curation import FEATURES_DDL, CurationSettings, features
from udfs.minhash import MinHashSettings
from udfs.quality import QualitySettings

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

JUDGED = ("doc_id", "document_hash", "text", "question", "answer", "lang", "kind")


def run(job: Job) -> Outcome:
    """Judges the documents that have no verdict of these settings yet, and writes the verdicts on all."""
    tables, settings, judging = job.tables, curation_settings(job.config.curate), judging_id(job)
    documents = hashed_documents(tables)
    earlier = earlier_verdicts(tables, documents, judging)
    new = unjudged(tables, documents, earlier)
    known = tables.scratch("curate_features", _features(new, settings))
    job.say("looking for benchmark items, exact and near duplicates")
    marked, unread = _contamination(job, new, known)
    verdicts = tables.scratch("curate_verdicts", _exact(_numbered(marked, earlier)))
    judged, compared = _near(job, verdicts, settings.minhash, earlier is not None)
    written = judged.withColumn("bands", F.when(F.col("kept"), F.col("bands"))).drop("old")
    every = written.withColumn("judging_id", F.lit(judging))
    rows = tables.overwrite("curation", every if earlier is None else every.unionByName(earlier.where("NOT kept")))
    return _outcome(job, rows, {"unread_benchmark_records": float(unread)} | compared)


def _outcome(job: Job, rows: int, figures: dict[str, float]) -> Outcome:
    curation = job.tables.read("curation")
    dropped = count_reasons(curation)
    figures["flagged_personal_data"] = float(curation.where("size(personal_data) > 0").count())
    figures |= benchmark_figures(job.config, curation)
    return Outcome(job.tables.read("documents").count(), rows - sum(dropped.values()), dropped, figures)


def curation_settings(config: CurateConfig) -> CurationSettings:
    """Builds the worker's settings from the config."""
    minhash = MinHashSettings(bands=config.minhash.bands, rows=config.minhash.rows, threshold=config.minhash.threshold)
    return CurationSettings(QualitySettings(**config.quality.model_dump()), minhash, config.personal_data)


def _features(documents: DataFrame, settings: CurationSettings) -> DataFrame:
    def compute(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield features(batch, settings)

    return documents.select(*JUDGED).mapInArrow(compute, FEATURES_DDL)


def _contamination(job: Job, documents: DataFrame, known: DataFrame) -> tuple[DataFrame, int]:
    """Marks the documents that share an n-gram with a benchmark; with the number of benchmark records that could not be read."""
    against = job.config.curate.decontaminate.against
    if not against:
        return known.withColumn("benchmarks", F.lit(None).cast("array<string>")), 0
    items = read_items(job.tables, job.config)
    unread = _keep_unread(job, items)
    marked = known.join(contaminated(job.tables, job.config, documents, items), "doc_id", "left")
    found = F.when(F.col("benchmarks").isNotNull(), F.lit("contaminated_v1"))
    return marked.withColumn("reason", F.coalesce("reason", found)), unread


def _keep_unread(job: Job, items: DataFrame) -> int:
    names = [(benchmark_source(s.name),) for s in job.config.curate.decontaminate.against]
    job.tables.delete_matching("quarantine", job.spark.createDataFrame(names, "source string"), ["source"])
    bad = items.where("reason IS NOT NULL").drop("benchmark", "hash")
    n = 0 if bad.isEmpty() else job.tables.append("quarantine", bad)
    if n:
        job.say(f"{n} benchmark records could not be read and protect nothing: they are in quarantine")
    return n


def _numbered(marked: DataFrame, earlier: DataFrame | None) -> DataFrame:
    """Puts the new rows beside the kept ones of earlier judgings, and gives them the next number."""
    last = earlier.agg(F.max("judged")).first() if earlier is not None else None
    number = 1 + last[0] if last else 0
    new = marked.withColumns({"benchmark": F.get("benchmarks", F.lit(0)), "judged": F.lit(number), "old": F.lit(False)})
    if earlier is None:
        return new
    return new.unionByName(earlier.where("kept").withColumn("old", F.lit(True)).select(*new.columns))


def _exact(verdicts: DataFrame) -> DataFrame:
    # Rows that failed are in a group of their own: a dropped row never stands for another.
    same = Window.partitionBy("normal_hash", F.col("reason").isNull())
    first = F.first("doc_id").over(same.orderBy("judged", F.col("quality").desc(), "doc_id"))
    duplicate = F.col("reason").isNull() & (first != F.col("doc_id"))
    return verdicts.select(
        *[c for c in verdicts.columns if c != "reason"],
        F.when(duplicate, F.lit("exact_duplicate_v1")).otherwise(F.col("reason")).alias("reason"),
        F.when(duplicate, first).alias("exact_id"),
    )


def _near(
    job: Job, verdicts: DataFrame, settings: MinHashSettings, has_old: bool
) -> tuple[DataFrame, dict[str, float]]:
    priority = F.array(F.col("judged").cast("double"), -F.col("quality")).alias("priority")
    keys = ("shingle_hash", "n_shingles", "bands", "old")
    alive = verdicts.where("reason IS NULL").select(F.col("doc_id").alias("item_id"), priority, *keys)
    texts = job.tables.read("documents").selectExpr("doc_id AS item_id", "text")
    search = Search(job.tables, texts, settings, job.config.dedup.max_driver_edges, has_old)
    found = near_duplicates(search, alive)
    # An exact duplicate shares the fate of the row that stands for it, so that it points to a kept row.
    near = found.removed.selectExpr("item_id AS stands", "kept_id AS near_id", "cosine AS near")
    judged = verdicts.withColumn("stands", F.coalesce("exact_id", "doc_id")).join(near, "stands", "left")
    near_reason = F.when(F.col("near_id").isNotNull(), F.lit("near_duplicate_v1"))
    told = judged.withColumns(
        {
            "reason": F.coalesce("reason", near_reason),
            "kept_id": F.coalesce("near_id", "exact_id"),
            "similarity": F.coalesce("near", F.when(F.col("exact_id").isNotNull(), F.lit(1.0))),
        }
    ).drop("stands", "near_id", "near", "exact_id")
    return told.withColumn("kept", F.col("reason").isNull()), found.figures


STEP = Step(
    "curate",
    run,
    reads=("documents",),
    writes=("curation", "quarantine"),
    replaces=("curation",),
    settings=("curate", "dedup.max_driver_edges"),
    hangs_on=benchmark_state,
)
