"""probe: right, wrong or no answer at all."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from etl.steps.probe import result_rows
from etl.tables import Tables
from tests.etl.tiny import get, job_for, kept, label, make_config, pair, put, the_step
from udfs.tasks import Parsed

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from tests.conftest import SampleRun
    from udfs.engines.teacher_process import Teacher

ROW = {
    "model": "m",
    "item_id": "i",
    "text_hash": "t",
    "discipline": "science",
    "difficulty": 2,
    "request_id": "r",
    "answer": "About 5.8 g.",
}


@pytest.mark.parametrize(
    ("given", "correct"), [("5.8", True), ("Final answer: 5.8 g", True), ("6.1 g", False), ("gold", False)]
)
def test_an_answer_is_right_or_wrong(given: str, correct: bool) -> None:
    (made,) = result_rows(ROW, Parsed(value={"answer": given}))
    assert made["correct"] is correct
    assert made["answer"] == given
    assert {made[name] for name in ("model", "item_id", "discipline", "request_id")} == {"m", "i", "science", "r"}


def test_an_unusable_answer_is_neither() -> None:
    (made,) = result_rows(ROW, Parsed(error="the answer was cut at max_tokens"))
    assert made["reason"] == "llm_unusable"
    assert "cut" in made["error"]
    assert "correct" not in made


def test_the_seeds_that_are_questions_are_probed_once(sample_run: SampleRun) -> None:
    removed = {row["item_id"] for row in sample_run.rows("duplicates")}
    kept = {row["doc_id"] for row in sample_run.rows("curation") if row["kept"]} - removed
    asked = {row["doc_id"] for row in sample_run.rows("documents") if row["kind"] == "qa"} & kept
    results = sample_run.rows("probe_results")
    assert sorted(row["item_id"] for row in results) == sorted(asked)
    assert all((row["correct"] is None) == (row["reason"] is not None) for row in results)


@pytest.mark.long
def test_a_question_is_asked_again_when_it_has_changed_and_only_then(
    spark: SparkSession, tmp_path: Path, teacher: Teacher
) -> None:
    config = make_config(tmp_path / "w", llm={"endpoint": "urls", "base_urls": [teacher.base_url]})

    def probe() -> tuple[float, list[Any]]:
        job = job_for(spark, config, [teacher.base_url])
        outcome = the_step("probe").run(job)
        outcome.check("probe")
        return outcome.figures["new_results"], get(job.tables, "probe_results", "item_id", "difficulty")

    tables = Tables(spark, config.tables)
    put(tables, "documents", [pair("p", "How much does a litre of water weigh?", "About one kilogram.")])
    put(tables, "curation", [kept("p")])
    put(tables, "annotations", [label("p", "How much does a litre of water weigh?", "science", 2)])
    assert probe() == (1, [("p", 2)])
    assert probe() == (0, [("p", 2)])
    tables.delete_matching("documents", tables.read("documents").where("doc_id = 'p'"), ["doc_id"])
    put(tables, "documents", [pair("p", "How much does a litre of oil weigh?", "Less than one kilogram.")])
    put(tables, "annotations", [label("p", "How much does a litre of oil weigh?", "science", 2)])
    assert probe() == (1, [("p", 2)])
