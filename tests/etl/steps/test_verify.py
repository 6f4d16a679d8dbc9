"""verify: the first rule that a question breaks is its reason."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from etl.steps.verify import checked

if TYPE_CHECKING:
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
