"""select: which clean questions go into the training set, by quotas of tokens per discipline and difficulty."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Window
from pyspark.sql import functions as F

from etl.items import clean_questions, needed_id
from etl.step import Job, Outcome, Step, content_of, the_recipes
from etl.templates import render_text
from udfs.selection import quota_counts
from udfs.text import stable_id
from udfs.tokens import token_counter

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


def run(job: Job) -> Outcome:
    """Fills each cell's quota with its best questions; what does not fit stays in `qa`."""
    rows = job.tables.scratch("select_rows", _counted(job))
    supply = {
        r["cell"]: int(r["tokens"]) for r in rows.groupBy("cell").agg(F.sum("n_tokens").alias("tokens")).collect()
    }
    quotas = quota_counts(_weights(job, list(supply)), supply, job.config.select.total_tokens)
    chosen = job.tables.scratch("select_chosen", _fill(job, rows, quotas))
    over = rows.join(chosen.select("item_id"), "item_id", "left_anti").count()
    dropped = {"over_quota": over} if over else {}
    return Outcome(
        rows.count(), chosen.count(), dropped, {"cells": float(len(supply))}, {"mix_id": _store(job, chosen)}
    )


def _store(job: Job, chosen: DataFrame) -> str:
    # The same rows are the same mixture, whichever run chose them.
    mix_id = stable_id(content_of(chosen, "item_id", "cell", "n_tokens"), job.config.fingerprint("select", "export"))
    job.tables.append_new("mixture", chosen.withColumn("mix_id", F.lit(mix_id)))
    return mix_id


def _counted(job: Job) -> DataFrame:
    tokenizer, template = job.config.ingest.tokenizer, job.config.export.template

    def count(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            texts = render_text(template, batch.column("question").to_pylist(), batch.column("answer").to_pylist())
            tokens = pa.array(token_counter(tokenizer)(texts), pa.int64())
            cell = pc.binary_join_element_wise(
                batch.column("discipline"), pc.cast(batch.column("difficulty"), pa.string()), "/"
            )
            columns = [batch.column("qa_id"), cell, batch.column("quality"), tokens]
            yield pa.RecordBatch.from_arrays(columns, names=["item_id", "cell", "quality", "n_tokens"])

    qa = clean_questions(job.tables, job.config).select(
        "qa_id", "question", "answer", "discipline", "difficulty", "quality"
    )
    return qa.mapInArrow(count, "item_id string, cell string, quality double, n_tokens bigint")


def _weights(job: Job, cells: list[str]) -> dict[str, float]:
    if job.config.select.cells == "uniform":
        return dict.fromkeys(cells, 1.0)
    plan_id = needed_id(job.tables, "plan_id", "plan")
    allocation = job.tables.read("allocation").where(f"plan_id = '{plan_id}'")
    rows = allocation.groupBy("discipline", "difficulty").agg({"target_tokens": "sum"}).collect()
    asked = {f"{r[0]}/{r[1]}": float(r[2]) for r in rows}
    return {cell: asked.get(cell, 0.0) for cell in cells}


def _fill(job: Job, rows: DataFrame, quotas: dict[str, int]) -> DataFrame:
    quota = job.spark.createDataFrame(sorted(quotas.items()), "cell string, quota bigint")
    best_first = (
        Window.partitionBy("cell")
        .orderBy(F.col("quality").desc(), "item_id")
        .rowsBetween(Window.unboundedPreceding, -1)
    )
    before = F.coalesce(F.sum("n_tokens").over(best_first), F.lit(0))
    # A row goes in while its cell's quota is not yet full, so that a cell ends at most one row over.
    filled = rows.withColumn("before", before).join(F.broadcast(quota), "cell").where("before < quota")
    return filled.select("item_id", "cell", "n_tokens", F.lit(1.0).alias("weight"), F.lit(1).alias("epoch_copies"))


STEP = Step(
    "select",
    run,
    reads=("qa", "duplicates", "allocation", "curation"),
    writes=("mixture",),
    ids=("seed_dedup_id", "dedup_id", "plan_id"),
    settings=("select", "export", "ingest"),
    hangs_on=the_recipes,
)
