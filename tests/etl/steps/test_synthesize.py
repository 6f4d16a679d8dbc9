"""synthesize: seeds are drawn by the plan, fairly and always the same; an answer becomes questions or a reason."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from etl.steps.synthesize import draft_rows, draw_seeds
from tests.etl.tiny import document, job_for, kept, label, make_config, put, remember
from udfs.tasks import Parsed

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from tests.conftest import SampleRun

SEEDS = [f"s{i}" for i in range(5)]


def drawn(
    spark: SparkSession, warehouse: Path, order: list[str], target: int, **settings: Any
) -> list[tuple[str, str, int]]:
    """The draws for one cell of law at level 2: seed, grade, sample."""
    given = {"tokens_per_question": 100, "questions_per_request": 2, "max_seed_uses": 3, **settings}
    job = job_for(spark, make_config(warehouse, synthesize=given))
    put(job.tables, "documents", [document(name, f"The text of {name}.") for name in order])
    put(job.tables, "curation", [kept(name) for name in order])
    put(job.tables, "annotations", [label(name, f"The text of {name}.", "law", 2) for name in order])
    cell = {"plan_id": "plan-1", "discipline": "law", "difficulty": 2, "branch": "multi_grade"}
    grades = [
        {**cell, "grade": "high_school", "target_tokens": target},
        {**cell, "grade": "middle_school", "target_tokens": 0},
    ]
    other = [{**cell, "plan_id": "plan-0", "grade": "graduate", "target_tokens": 10_000}]
    put(job.tables, "allocation", [*grades, *other])
    remember(job.tables, plan_id="plan-1")
    return sorted((row["item_id"], row["grade"], row["sample"]) for row in draw_seeds(job).collect())


@pytest.mark.parametrize(
    ("target", "requests"),
    [pytest.param(200, 1, marks=pytest.mark.long), (201, 2), pytest.param(100_000, 15, marks=pytest.mark.long)],
)
def test_a_cell_draws_as_many_requests_as_its_tokens_need(
    spark: SparkSession, tmp_path: Path, target: int, requests: int
) -> None:
    rows = drawn(spark, tmp_path / "w", SEEDS, target)
    assert len(rows) == len(set(rows)) == requests
    assert {grade for _, grade, _ in rows} == {"high_school"}
    uses = Counter(seed for seed, _, _ in rows)
    # Every seed serves before one serves again, and none more than three times.
    assert max(uses.values()) - min(uses.get(seed, 0) for seed in SEEDS) <= 1
    assert max(uses.values()) <= 3


@pytest.mark.long
def test_the_draw_does_not_hang_on_the_order_of_the_rows(spark: SparkSession, tmp_path: Path) -> None:
    assert drawn(spark, tmp_path / "a", SEEDS, 700) == drawn(spark, tmp_path / "b", SEEDS[::-1], 700)


@pytest.mark.long
def test_a_larger_plan_keeps_the_draws_of_the_smaller(spark: SparkSession, tmp_path: Path) -> None:
    assert set(drawn(spark, tmp_path / "a", SEEDS, 500)) <= set(drawn(spark, tmp_path / "b", SEEDS, 1_500))


ROW = {
    "request_id": "r",
    "plan_id": "p",
    "lang": "en",
    "branch": "multi_grade",
    "grade": "graduate",
    "discipline": "law",
    "target_difficulty": 5,
    "item_id": "s1",
    "seed_hash": "h1",
    "prompt_id": "multi_grade@1",
    "model": "m",
    "params": "{}",
}


def test_each_question_of_an_answer_is_a_draft() -> None:
    pairs = [{"question": f"Q{i}?", "answer": f"A{i}.", "form": "open"} for i in range(3)]
    rows = draft_rows(ROW, Parsed(value=pairs))
    assert [(row["question"], row["ordinal"], row["status"]) for row in rows] == [(f"Q{i}?", i, "ok") for i in range(3)]
    assert len({row["draft_id"] for row in rows}) == 3
    assert all(row["seed_ids"] == ["s1"] for row in rows)
    assert draft_rows(ROW, Parsed(value=pairs)) == rows


def test_an_answer_that_can_not_be_used_is_one_rejected_draft_with_the_reason() -> None:
    (row,) = draft_rows(ROW, Parsed(error="the list of questions is empty"))
    assert (row["status"], row["reason"]) == ("rejected", "llm_unusable")
    assert "empty" in row["error"]
    assert row["draft_id"]


def test_a_part_of_an_answer_that_is_no_question_is_a_row_with_the_reason() -> None:
    pair = {"question": "Q?", "answer": "A.", "form": "open"}
    good, bad = draft_rows(ROW, Parsed(value=[pair], dropped=("item 1: the answer is empty",)))
    assert good == draft_rows(ROW, Parsed(value=[pair]))[0]
    assert (bad["status"], bad["reason"], bad["error"]) == (
        "rejected",
        "unusable_question",
        "item 1: the answer is empty",
    )
    assert bad["draft_id"] != good["draft_id"]


def test_the_samples_get_about_the_tokens_that_were_planned(sample_run: SampleRun) -> None:
    draws = Counter((row["discipline"], row["target_difficulty"], row["grade"]) for row in sample_run.rows("drafts"))
    planned = {
        (r["discipline"], r["difficulty"], r["grade"]) for r in sample_run.rows("allocation") if r["target_tokens"] > 0
    }
    assert set(draws) <= planned
    assert {row["branch"] for row in sample_run.rows("drafts")} == {"multi_grade", "high_difficulty"}
