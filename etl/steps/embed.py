"""embed: a unit vector for every seed and refined question that has none yet."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from pyspark.sql import functions as F

from etl.config import EmbedConfig
from etl.embedder import embed_settings, in_task
from etl.items import question_items, seed_items, seeds
from etl.step import Job, Outcome, Step, count_reasons, the_recipes
from etl.task_device import tasks_have_gpu
from udfs.embedding import embed_texts, to_binary
from udfs.embedding_model import EmbeddingModel, load_model, model_id
from udfs.progress import TaskProgress

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

ROWS_DDL = "item_id string, role string, text_hash string, vector binary, dim int, unknown_share double, cut boolean, reason string"
KEY = ["item_id", "role", "text_hash", "model"]
# What meets in a task by its text's hash is mostly one Arrow batch of a local session (2,000 rows): batches by length want many texts at once.
# On a GPU, so few short texts take less time than the start and the end of a task.
ROWS_PER_TASK, ROWS_PER_GPU_TASK = 1_800, 8_192
# A run that is killed keeps what it has committed; each commit reads all that is to do, so they are few.
ROWS_PER_COMMIT, COMMITS = 200_000, 16


def run(job: Job, every: Callable[[Job], DataFrame]) -> Outcome:
    """Embeds what is new. A text that its model can not read has a reason in place of a vector, one that it reads in part beside it."""
    config = job.config.embed
    # Under a narrower `max_unknown_share`, some texts were left without a vector that may have one now: they are done again.
    known = job.tables.read("embeddings").where(~_can_be_read_now(job)).select(*KEY)
    settings = embed_settings(config)
    todo = every(job).withColumn("model", F.lit(model_id(settings))).join(known, KEY, "left_anti")
    pending = job.tables.scratch("embed_items", todo)
    n = pending.count()
    if n == 0:
        return Outcome(0, 0)
    job.say(f"embedding {n} texts with {model_id(settings)}")
    again = not job.tables.read("embeddings").where(_can_be_read_now(job)).isEmpty()
    made, commits = 0, min(COMMITS, -(-n // ROWS_PER_COMMIT))
    with job.watch.over("embedding", n) as folder:
        # By text: what is said twice is embedded once where it meets, and gets the same vector.
        part = F.pmod(F.xxhash64("text_hash"), F.lit(commits))
        for number in range(commits):
            rows = with_vectors(pending.where(part == number), n // commits, config, folder)
            if again:
                made += job.tables.upsert("embeddings", job.tables.scratch("embed_rows", rows))
            else:
                made += job.tables.append("embeddings", rows)
    return _outcome(job, pending, n, made)


def with_vectors(texts: DataFrame, n: int, config: EmbedConfig, folder: str) -> DataFrame:
    """Embeds about `n` texts (item_id, role, text_hash, text): the rows of `embeddings`. Workers tell `folder` how far they are."""
    settings, max_unknown = embed_settings(config), config.max_unknown_share

    def embed(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        progress = TaskProgress(folder)
        for batch in batches:
            model = load_model(in_task(settings))
            yield embedded(batch, model, max_unknown, lambda done: progress.add(done=done))

    # Small tasks: what is costly to embed and what the model can not read at all lie in one source each.
    rows_per_task = ROWS_PER_GPU_TASK if tasks_have_gpu(texts.sparkSession, config.device) else ROWS_PER_TASK
    spread = texts.select("item_id", "role", "text_hash", "text").repartition(-(-n // rows_per_task), "text_hash")
    return spread.mapInArrow(embed, ROWS_DDL).withColumn("model", F.lit(model_id(settings)))


def _can_be_read_now(job: Job) -> Column:
    config = job.config.embed
    unread = (F.col("reason") == "unknown_tokens") & F.col("vector").isNull()
    within = F.col("unknown_share") <= config.max_unknown_share
    mine = F.col("model") == model_id(embed_settings(config))
    return F.coalesce(mine & unread & within, F.lit(False))


def _outcome(job: Job, pending: DataFrame, n: int, made: int) -> Outcome:
    new = job.tables.read("embeddings").join(pending.select(*KEY), KEY, "left_semi")
    reasons = count_reasons(new)
    without = {reason: count for reason, count in reasons.items() if reason == "no_vector"}
    figures = {f"reason_{reason}": float(count) for reason, count in reasons.items()}
    return Outcome(n, made - sum(without.values()), without, figures)


def embedded(
    batch: pa.RecordBatch, model: EmbeddingModel, max_unknown: float, tick: Callable[[int], None] = lambda n: None
) -> pa.RecordBatch:
    """Embeds the column `text` of a batch; one row each, with a reason where the vector is missing or must not decide alone."""
    texts = batch.column("text").to_pylist()
    made = embed_texts(model, texts, max_unknown, tick)
    failed = np.array([error is not None for error in made.error])
    reason = np.select([made.unread, failed, made.cut], ["unknown_tokens", "no_vector", "longer_than_window"], "")
    return pa.RecordBatch.from_pydict(
        {
            "item_id": batch.column("item_id"),
            "role": batch.column("role"),
            "text_hash": batch.column("text_hash"),
            "vector": pa.array(to_binary(made.vectors), pa.binary(), mask=failed | made.unread),
            "dim": pa.array([made.vectors.shape[1]] * batch.num_rows, pa.int32()),
            "unknown_share": made.unknown_share,
            "cut": made.cut,
            "reason": pa.array(reason.tolist(), pa.string(), mask=reason == ""),
        }
    )


SEEDS_STEP = Step(
    "embed",
    partial(run, every=lambda job: seed_items(seeds(job.tables))),
    reads=("documents", "curation"),
    writes=("embeddings",),
    settings=("embed",),
)
QUESTIONS_STEP = Step(
    "embed",
    partial(run, every=lambda job: question_items(job.tables, job.config)),
    reads=("drafts", "refinements", "documents", "curation"),
    writes=("embeddings",),
    ids=("seed_dedup_id",),
    settings=("embed",),
    hangs_on=the_recipes,
)
