"""refine: the verdict of the second model decides, and the draft's question stays as it was."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from etl.recipes import recipe_id
from etl.steps.refine import refinement_rows
from udfs.tasks import Parsed
from udfs.text import stable_id, text_hash

if TYPE_CHECKING:
    from tests.conftest import SampleRun

ROW = {"draft_id": "d", "request_id": "r", "question": "Why does ice float?", "answer": "It is light."}
ROW |= {"draft_recipe_id": "teacher", "prompt_id": "refine@1", "model": "m", "params": "{}"}


def refined(**value: Any) -> dict[str, Any]:
    (row,) = refinement_rows(ROW, Parsed(value={"reason": "", "edits": [], "answer": "", **value}))
    assert row["qa_id"] == stable_id("d", "r")
    assert row["recipe_id"] == recipe_id("refine@1", "m", "{}", before="teacher")
    assert (row["question"], row["text_hash"]) == (ROW["question"], text_hash(ROW["question"]))
    return row


def test_an_accepted_draft_gets_the_refined_answer() -> None:
    for verdict in ("ok", "fixed"):
        row = refined(verdict=verdict, answer="It is less dense.", edits=["said why"])
        assert (row["status"], row["verdict"], row["answer"]) == ("ok", verdict, "It is less dense.")


def test_a_rejected_draft_keeps_the_reason() -> None:
    row = refined(verdict="reject", reason="two answers fit")
    assert (row["status"], row["reason"], row["error"]) == ("rejected", "refiner_rejected", "two answers fit")
    assert "answer" not in row


def test_an_unusable_answer_is_a_rejection_too() -> None:
    (row,) = refinement_rows(ROW, Parsed(error="cut"))
    assert (row["status"], row["reason"], row["error"]) == ("rejected", "llm_unusable", "cut")


def test_every_draft_of_the_samples_has_one_fate(sample_run: SampleRun) -> None:
    drafts = [row["draft_id"] for row in sample_run.rows("drafts") if row["status"] == "ok"]
    refinements = sample_run.rows("refinements")
    assert sorted(row["draft_id"] for row in refinements) == sorted(drafts)
    accepted = sorted(row["qa_id"] for row in refinements if row["status"] == "ok")
    assert sorted(row["qa_id"] for row in sample_run.rows("qa")) == accepted
    assert sorted(row["qa_id"] for row in sample_run.rows("checks")) == accepted
