"""plan: token targets per cell, branch and grade, from what the probe found and what seeds there are."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from etl.config import PlanConfig
from etl.items import ITEM, labels, unique_seeds
from etl.step import Job, Outcome, Step, the_labels
from udfs.allocation import HIGH_DIFFICULTY, MULTI_GRADE, AllocationSettings, Cell, allocate
from udfs.text import stable_id

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


def run(job: Job) -> Outcome:
    """Plans over the cells that have seeds; the same findings under the same settings are the same plan."""
    settings = allocation_settings(job.config.plan)
    served = {level for branch in settings.branches for level in branch.grades} & set(settings.level_weights)
    found = _cells(job)
    cells = [cell for cell in found if cell.difficulty in served]
    dropped = {"no_branch_at_level": len(found) - len(cells)} if len(cells) < len(found) else {}
    plan_id = stable_id(repr(cells), repr(settings))
    if not cells:
        # A plan of nothing is a plan: without an id, the last one would stay in force.
        return Outcome(len(found), 0, dropped, ids={"plan_id": plan_id})
    rows = allocate(cells, settings)
    known = job.tables.read("allocation").where(f"plan_id = '{plan_id}'")
    if known.isEmpty():
        names = list(asdict(rows[0]))
        types = "discipline string, difficulty int, branch string, grade string, weight double, target_tokens bigint, deficiency double, n bigint, ci_low double, ci_high double, explanation string"
        frame = job.spark.createDataFrame([tuple(asdict(row)[n] for n in names) for row in rows], types)
        job.tables.append("allocation", frame.selectExpr("*", f"'{plan_id}' AS plan_id"))
    unprobed = sum(cell.n == 0 for cell in cells)
    figures = {
        "cells": float(len(cells)),
        "cells_without_probe": float(unprobed),
        "target_tokens": float(sum(r.target_tokens for r in rows)),
    }
    return Outcome(len(rows) + sum(dropped.values()), len(rows), dropped, figures, {"plan_id": plan_id})


def allocation_settings(config: PlanConfig) -> AllocationSettings:
    """Builds the allocation's settings from the config."""
    shares = config.branch_shares.model_dump()
    branches = tuple(replace(b, share=shares[b.name]) for b in (MULTI_GRADE, HIGH_DIFFICULTY) if shares[b.name] > 0)
    return AllocationSettings(
        total_tokens=config.total_tokens,
        stem_weight=config.stem_weight,
        level_weights=dict(config.level_weights),
        floor_share=config.floor_share,
        shrinkage=config.shrinkage,
        branches=branches,
    )


def _cells(job: Job) -> list[Cell]:
    labelled = unique_seeds(job.tables).select(*ITEM).join(labels(job.tables, job.annotators), ITEM)
    model = job.config.probe.model or job.config.llm.models.judge
    return [
        Cell(**row.asDict())
        for row in sorted(_with_probe(job, labelled, model).collect(), key=lambda r: (r["discipline"], r["difficulty"]))
    ]


def _with_probe(job: Job, labelled: DataFrame, model: str) -> DataFrame:
    stem = [f.id for f in job.taxonomy.fields if f.stem]
    supply = labelled.groupBy("discipline", "difficulty").agg(
        F.avg(F.col("field").isin(stem).cast("double")).alias("stem_share")
    )
    # By the labels of now, whatever they were when the model was asked.
    probed = job.tables.read("probe_results").where((F.col("model") == model) & F.col("correct").isNotNull())
    cells = labelled.select(*ITEM, "discipline", "difficulty")
    accuracy = probed.select(*ITEM, "correct").join(cells, ITEM)
    accuracy = accuracy.groupBy("discipline", "difficulty").agg(
        F.count_if("correct").alias("correct"), F.count("*").alias("n")
    )
    joined = supply.join(accuracy, ["discipline", "difficulty"], "left")
    return joined.selectExpr(
        "discipline", "difficulty", "coalesce(correct, 0) AS correct", "coalesce(n, 0) AS n", "stem_share"
    )


STEP = Step(
    "plan",
    run,
    reads=("documents", "curation", "duplicates", "annotations", "probe_results"),
    writes=("allocation",),
    ids=("seed_dedup_id",),
    settings=("plan", "probe", "llm.models.judge"),
    hangs_on=lambda job: the_labels(job) + repr(job.taxonomy),
)
