"""annotate: discipline, field and difficulty of seeds and refined questions; what the embedding can not decide goes to the LLM."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from pyspark.sql import functions as F

from etl.annotators import disciplines_of, llm_asking, llm_name, zero_shot_name
from etl.asking import ask, read_rows
from etl.embedder import embed_settings, in_task
from etl.items import ITEM, question_items, seed_items, unique_seeds, vectors
from etl.step import Job, Outcome, Step, count_reasons, the_labels, the_recipes
from udfs.embedding import embed_texts, from_binary, to_binary
from udfs.embedding_model import EmbedSettings, load_model, model_id
from udfs.tasks import Parsed
from udfs.taxonomy import prototypes
from udfs.zero_shot import LEVELS, Labels, Prototypes, label

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

KEY = ["item_id", "text_hash", "annotator"]
LABELS_DDL = (
    "item_id string, text_hash string, annotator string, item_kind string, discipline string, field string, discipline_score double, "
    "difficulty int, difficulty_score double, model string, prompt_id string, reason string, error string"
)


def run(job: Job, of: Callable[[Job], DataFrame]) -> Outcome:
    """Labels the items that have no label by the configured annotators yet."""
    every = of(job)
    config = job.config.annotate
    figures: dict[str, float] = {}
    unlabelled = every
    if config.annotator == "zero_shot":
        figures["new_zero_shot"] = _zero_shot(job, every)
        name = zero_shot_name(job.config, job.taxonomy)
        unread = job.tables.read("annotations").where((F.col("annotator") == name) & F.col("discipline").isNull())
        unlabelled = every.join(unread.select(*ITEM), ITEM, "left_semi")
    if config.annotator == "llm" or config.fallback == "llm":
        figures["new_llm"] = _llm(job, unlabelled)
    return _outcome(job, every, figures)


def _outcome(job: Job, every: DataFrame, figures: dict[str, float]) -> Outcome:
    mine = F.col("annotator").isin(list(job.annotators))
    notes = job.tables.read("annotations").where(mine).select(*ITEM, "discipline", "reason")
    last = F.max_by("reason", F.col("reason") == "llm_unusable")
    fate = every.join(notes, ITEM, "left").groupBy(*ITEM).agg(F.max("discipline").alias("label"), last.alias("why"))
    dropped = count_reasons(fate.where("label IS NULL"), "why")
    labelled = fate.where("label IS NOT NULL").count()
    return Outcome(every.count(), labelled, dropped, figures)


def _pending(job: Job, every: DataFrame, annotator: str) -> DataFrame:
    named = every.withColumn("annotator", F.lit(annotator))
    return named.join(job.tables.read("annotations").select(*KEY), KEY, "left_anti")


def _zero_shot(job: Job, every: DataFrame) -> int:
    model = model_id(embed_settings(job.config.embed))
    texts = prototypes(job.taxonomy)
    pending = _pending(job, every, zero_shot_name(job.config, job.taxonomy))
    todo = pending.join(vectors(job.tables, job.config.embed), ["item_id", "role", "text_hash"])
    if todo.isEmpty():
        return 0
    made = _embedded_prototypes(job.spark, embed_settings(job.config.embed), tuple(texts))
    disciplines = disciplines_of(job.taxonomy)
    minimum = job.config.annotate.min_score

    def labels(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield labelled(batch, made, disciplines, minimum)

    columns = todo.select("item_id", "text_hash", "annotator", "item_kind", "vector", "reason")
    rows = columns.mapInArrow(labels, LABELS_DDL)
    return job.tables.append("annotations", rows.withColumn("model", F.lit(model)))


@lru_cache(maxsize=1)
def _embedded_prototypes(
    spark: SparkSession, settings: EmbedSettings, texts: tuple[tuple[str, str], ...]
) -> Prototypes:
    """Embeds the field prototypes and the level descriptions, a few hundred kilobytes, once for both annotate steps of a run.

    In a worker, so that the driver loads no model, and in one task: several would take longer to load it than one to embed so few.
    """

    def embed(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            made = embed_texts(load_model(in_task(settings)), batch.column("text").to_pylist())
            vectors = pa.array(to_binary(made.vectors), pa.binary())
            yield pa.RecordBatch.from_arrays([batch.column("n"), vectors], names=["n", "vector"])

    numbered = list(enumerate([text for _, text in texts] + [text for _, text in LEVELS]))
    one_task = spark.createDataFrame(numbered, "n int, text string").coalesce(1)
    rows = one_task.mapInArrow(embed, "n int, vector binary").collect()
    binary = [bytes(row["vector"]) for row in sorted(rows, key=lambda row: row["n"])]
    vectors = from_binary(binary, len(binary[0]) // 2)
    return Prototypes(tuple(field for field, _ in texts), vectors[: len(texts)], vectors[len(texts) :])


def labelled(batch: pa.RecordBatch, made: Prototypes, disciplines: dict[str, str], minimum: float) -> pa.RecordBatch:
    """Labels a batch with `vector` and `reason`; a vector that must not decide alone, or is like no prototype, gets a reason and no label."""
    reasons = batch.column("reason").to_pylist()
    usable = np.array([reason is None for reason in reasons])
    chosen = np.flatnonzero(usable)
    found = (
        label(from_binary(batch.column("vector").take(pa.array(chosen)), made.fields.shape[1]), made)
        if chosen.size
        else None
    )
    rows = [_row(batch, i, reason) for i, reason in enumerate(reasons)]
    for at, i in enumerate(chosen.tolist()):
        assert found is not None
        rows[i].update(_label_of(found, at, disciplines, minimum))
    return pa.RecordBatch.from_pylist(rows, schema=_SCHEMA)


def _row(batch: pa.RecordBatch, i: int, reason: str | None) -> dict[str, Any]:
    keys = {name: batch.column(name)[i].as_py() for name in ("item_id", "text_hash", "annotator", "item_kind")}
    return {**keys, "reason": reason}


def _label_of(found: Labels, at: int, disciplines: dict[str, str], minimum: float) -> dict[str, Any]:
    score = float(found.score[at])
    level = {"difficulty": int(found.difficulty[at]), "difficulty_score": float(found.difficulty_score[at])}
    if score < minimum:
        return {"reason": "low_score", "discipline_score": score, **level}
    return {"field": found.field[at], "discipline": disciplines[found.field[at]], "discipline_score": score, **level}


_SCHEMA = pa.schema(
    [
        *[(name, pa.string()) for name in ("item_id", "text_hash", "annotator", "item_kind", "discipline", "field")],
        ("discipline_score", pa.float64()),
        ("difficulty", pa.int32()),
        ("difficulty_score", pa.float64()),
        *[(name, pa.string()) for name in ("model", "prompt_id", "reason", "error")],
    ]
)


def _llm(job: Job, every: DataFrame) -> int:
    pending = _pending(job, every, llm_name(job.config, job.taxonomy))
    if pending.isEmpty():
        return 0
    rows = pending.select(
        "item_id",
        "text_hash",
        "annotator",
        "item_kind",
        "text",
        "lang",
        F.lit(0).alias("sample"),
        F.col("item_id").alias("prefix"),
    )
    asking = llm_asking(job.config, job.taxonomy)
    answers = ask(job, "annotate", rows, asking)
    disciplines = disciplines_of(job.taxonomy)

    def reader(row: dict[str, Any], parsed: Parsed) -> list[dict[str, Any]]:
        return [llm_row(row, parsed, disciplines)]

    return job.tables.append("annotations", read_rows(answers, asking, reader, LABELS_DDL))


def llm_row(row: dict[str, Any], parsed: Parsed, disciplines: dict[str, str]) -> dict[str, Any]:
    """Turns one answer of the LLM annotator into a row of `annotations`; an unusable one has a reason and no label."""
    out = {name: row[name] for name in ("item_id", "text_hash", "annotator", "item_kind", "model", "prompt_id")}
    if parsed.value is None:
        return {**out, "reason": "llm_unusable", "error": parsed.error}
    value = parsed.value
    return {
        **out,
        "field": value["field"],
        "discipline": disciplines[value["field"]],
        "discipline_score": value["confidence"],
        "difficulty": value["difficulty"],
        "difficulty_score": float(value["difficulty"]),
    }


SETTINGS = ("annotate", "embed", "llm.models.annotator")
WRITES = ("annotations", "llm_calls")
SEEDS_STEP = Step(
    "annotate",
    partial(run, of=lambda job: seed_items(unique_seeds(job.tables))),
    reads=("documents", "curation", "embeddings", "duplicates"),
    writes=WRITES,
    ids=("seed_dedup_id",),
    settings=SETTINGS,
    tasks=("annotate",),
    hangs_on=the_labels,
)
QUESTIONS_STEP = Step(
    "annotate",
    partial(run, of=lambda job: question_items(job.tables, job.config)),
    reads=("drafts", "refinements", "embeddings", "documents", "curation"),
    writes=WRITES,
    ids=("seed_dedup_id",),
    settings=SETTINGS,
    tasks=("annotate",),
    hangs_on=lambda job: the_labels(job) + the_recipes(job),
)
