"""verify: the first rule that a question breaks is its reason."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from etl.config import Config
from etl.recipes import draft_recipes, question_recipes
from etl.steps.verify import checked
from etl.tables import Tables
from tests.etl.tiny import delta_versions, document, get, job_for, kept, label, make_config, put, the_step
from udfs.text import text_hash

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from tests.conftest import SampleRun

GOOD = {
    "qa_id": "q",
    "question": "Why does ice float on liquid water at all?",
    "form": "open",
    "lang": "en",
    "answer": "Its molecules sit further apart, so that it is less dense.",
    "verdict": "ok",
    "seed_quality": 0.9,
    "difficulty": 3,
    "target_difficulty": 3,
}


TEXT = "Ice floats on water, for it is less dense."
QUESTIONS = {"a": "Why does ice float on liquid water at all?", "b": "Which of the two is denser, ice or liquid water?"}


def check(minimum: float = 0.3, max_drop: int = 1, **changes: Any) -> dict[str, Any]:
    rows: list[dict[str, Any]] = checked(
        pa.RecordBatch.from_pylist([{**GOOD, **changes}]), minimum, max_drop
    ).to_pylist()
    (row,) = rows
    assert row["status"] == ("rejected" if row["reason"] else "verified")
    return row


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, None),
        ({"difficulty": 2}, None),
        ({"difficulty": 5}, None),
        ({"difficulty": 1}, "too_easy_v1"),
        ({"minimum": 0.99}, "low_quality_v1"),
        ({"question": "What is said of ice in the given text?", "difficulty": 1}, "points_outside_v1"),
        ({"answer": ""}, "no_answer_v1"),
    ],
)
def test_the_first_broken_rule_is_the_reason(changes: dict[str, Any], reason: str | None) -> None:
    row = check(**changes)
    assert row["reason"] == reason
    assert 0 <= row["quality"] <= 1


def test_a_question_without_a_label_is_not_let_through() -> None:
    batch = pa.RecordBatch.from_pylist([{**GOOD, "difficulty": None}, GOOD])
    first, second = checked(batch, 0.3, 1).to_pylist()
    assert (first["reason"], second["reason"]) == ("no_label_v1", None)


def test_the_fate_in_qa_is_that_of_the_checks(sample_run: SampleRun) -> None:
    checks = {row["qa_id"]: (row["status"], row["reason"], row["quality"]) for row in sample_run.rows("checks")}
    assert {row["qa_id"]: (row["status"], row["reason"], row["quality"]) for row in sample_run.rows("qa")} == checks
    for row in sample_run.rows("qa"):
        assert row["draft_answer"]
        assert len(row["seed_ids"]) == 1
        if row["status"] == "verified":
            assert row["reason"] is None
            assert 1 <= row["difficulty"] <= 5


def put_refined(tables: Tables, config: Config) -> None:
    """Two refined questions about one seed, not verified yet."""
    put(tables, "documents", [document("seed", TEXT)])
    put(tables, "curation", [kept("seed", 0.9)])
    draft = {"recipe_id": draft_recipes(config)[0], "seed_ids": ["of old"], "seed_hashes": [text_hash(TEXT)]}
    draft |= {"lang": "en", "status": "ok", "target_difficulty": 3, "form": "open", "request_id": "r"}
    put(tables, "drafts", [{**draft, "draft_id": name} for name in ("a", "b")])
    refined = {"recipe_id": question_recipes(config)[0], "status": "ok", "verdict": "ok", "request_id": "r2"}
    for name, question in QUESTIONS.items():
        said = {"qa_id": name, "draft_id": name, "question": question, "text_hash": text_hash(question)}
        put(tables, "refinements", [{**refined, **said, "answer": GOOD["answer"]}])


@pytest.mark.long
def test_a_verdict_changes_with_what_it_hangs_on_and_with_nothing_else(spark: SparkSession, tmp_path: Path) -> None:
    def verify(**settings: Any) -> tuple[int, dict[str, str | None]]:
        job = job_for(spark, make_config(tmp_path / "w", verify=settings))
        outcome = the_step("verify").run(job)
        outcome.check("verify")
        return outcome.rows_in, dict(get(job.tables, "qa", "qa_id", "reason"))

    config = make_config(tmp_path / "w")
    tables = Tables(spark, config.tables)
    put_refined(tables, config)
    put(tables, "annotations", [label("a", QUESTIONS["a"], "science", 3)])
    assert verify() == (2, {"a": None, "b": "no_label_v1"})
    before = delta_versions(tables)
    assert verify() == (0, {"a": None, "b": "no_label_v1"})
    assert delta_versions(tables) == before
    put(tables, "annotations", [label("b", QUESTIONS["b"], "science", 1)])
    assert verify() == (1, {"a": None, "b": None})
    assert verify(max_difficulty_drop=1) == (2, {"a": None, "b": "too_easy_v1"})
    assert get(tables, "qa", "qa_id", "seed_ids") == [("a", ["seed"]), ("b", ["seed"])]
    assert get(tables, "checks", "qa_id", "reason") == get(tables, "qa", "qa_id", "reason")
