"""select: quotas of tokens per cell, the best rows first, the same rows every time."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from etl.recipes import question_recipes
from tests.etl.tiny import job_for, make_config, put, remember, the_step

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from etl.step import Outcome

Row = dict[str, Any]
COUNT = 12


def question(cell: str, i: int, recipe: str) -> Row:
    discipline, level = cell.split("/")
    same = {"recipe_id": recipe, "lang": "en", "branch": "multi_grade", "grade": "graduate", "status": "verified"}
    said = {"question": f"What is fact number {i} of {cell}?", "answer": f"It is the fact that has the number {i}."}
    return {
        **same,
        **said,
        "qa_id": f"{cell}-{i:02}",
        "quality": (i * 7 % COUNT) / COUNT,
        "discipline": discipline,
        "difficulty": int(level),
    }


def selected(
    spark: SparkSession, warehouse: Path, total: int, reverse: bool = False, **select: Any
) -> tuple[Outcome, list[Row], Any]:
    config = make_config(warehouse, select={"total_tokens": total, "cells": "uniform", **select})
    job = job_for(spark, config)
    recipe = question_recipes(config)[0]
    rows = [question(cell, i, recipe) for cell in ("law/2", "history/4") for i in range(COUNT)]
    rows += [
        {**question("law/2", 90, recipe), "status": "rejected"},
        question("law/2", 91, "another recipe"),
        question("law/2", 92, recipe),
    ]
    put(job.tables, "qa", rows[::-1] if reverse else rows)
    put(
        job.tables,
        "duplicates",
        [
            {"dedup_id": "now", "item_id": "law/2-92", "kept_id": "law/2-00"},
            {"dedup_id": "before", "item_id": "law/2-03"},
        ],
    )
    cell = {"plan_id": "plan-1", "branch": "multi_grade", "grade": "graduate"}
    put(
        job.tables,
        "allocation",
        [
            {**cell, "discipline": "law", "difficulty": 2, "target_tokens": 300},
            {**cell, "discipline": "history", "difficulty": 4, "target_tokens": 100},
        ],
    )
    remember(job.tables, dedup_id="now")
    remember(job.tables, plan_id="plan-1")
    outcome = the_step("select").run(job)
    outcome.check("select")
    mixture = sorted((row.asDict() for row in job.tables.read("mixture").collect()), key=lambda row: row["item_id"])
    return outcome, mixture, job


def tokens(mixture: list[Row]) -> dict[str, int]:
    total: dict[str, int] = defaultdict(int)
    for row in mixture:
        total[row["cell"]] += row["n_tokens"]
    return dict(total)


def test_each_cell_is_filled_to_its_quota_with_its_best_rows(spark: SparkSession, tmp_path: Path) -> None:
    outcome, mixture, _ = selected(spark, tmp_path / "w", 240)
    largest = max(row["n_tokens"] for row in mixture)
    for cell, count in tokens(mixture).items():
        assert 120 <= count < 120 + largest, cell
    chosen = {row["item_id"] for row in mixture}
    for cell in ("law/2", "history/4"):
        quality = {f"{cell}-{i:02}": (i * 7 % COUNT) / COUNT for i in range(COUNT)}
        inside = [value for name, value in quality.items() if name in chosen]
        assert min(inside) > max(value for name, value in quality.items() if name not in chosen)
    assert outcome.rows_in == 2 * COUNT
    assert outcome.dropped == {"over_quota": 2 * COUNT - len(mixture)}
    assert {row["mix_id"] for row in mixture} == {outcome.ids["mix_id"]}


@pytest.mark.long
def test_rejected_duplicate_and_old_questions_stay_out(spark: SparkSession, tmp_path: Path) -> None:
    outcome, mixture, _ = selected(spark, tmp_path / "w", 1_000_000)
    assert len(mixture) == outcome.rows_out == 2 * COUNT
    assert not {"law/2-90", "law/2-91", "law/2-92"} & {row["item_id"] for row in mixture}
    assert "law/2-03" in {row["item_id"] for row in mixture}


@pytest.mark.long
def test_the_same_questions_are_the_same_mixture(spark: SparkSession, tmp_path: Path) -> None:
    _, first, _ = selected(spark, tmp_path / "a", 300, cells="plan")
    _, second, job = selected(spark, tmp_path / "b", 300, reverse=True, cells="plan")
    assert first == second
    assert tokens(first)["law/2"] > 2 * tokens(first)["history/4"]
    # Once more on the same tables: nothing to add.
    the_step("select").run(job)
    assert job.tables.read("mixture").count() == len(second)
