"""probe: right, wrong or no answer at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from etl.steps.probe import result_rows
from udfs.tasks import Parsed

if TYPE_CHECKING:
    from tests.conftest import SampleRun

ROW = {
    "model": "m",
    "item_id": "i",
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
