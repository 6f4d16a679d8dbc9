from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

from etl.cli import main
from etl.commands.trace import page
from etl.lineage import Lineage

if TYPE_CHECKING:
    from tests.conftest import SampleRun

CALL = {
    "request_id": "r1", "task": "refine", "prompt_id": "refine.en@1-abc", "model": "big", "served_model": "big-2026", "params": '{"temperature": 0}',
    "sample": 0, "messages": '[{"role": "user", "content": "Check\\nthis"}]', "response": "fine", "reasoning": "", "finish_reason": "stop",
    "prompt_tokens": 5, "completion_tokens": 6, "cost": 0.5, "attempts": 2, "status": "ok", "error": "", "run_id": "run-1",
    "created_at": datetime(2026, 1, 1),
}  # fmt: skip


def test_a_page_of_a_request_shows_what_was_sent_and_what_came_back() -> None:
    shown = page(Lineage("r1", "request", {"llm_calls": [CALL]}, {"llm_calls": 3}))
    assert shown.startswith("request r1")
    assert "big, answered by big-2026" in shown
    assert "refine.en@1-abc" in shown
    assert "<user>\n               Check\n               this" in shown
    assert "reasoning" not in shown
    assert shown.endswith("table versions: llm_calls 3")


def test_a_long_text_is_cut_and_says_so() -> None:
    shown = page(Lineage("r1", "request", {"llm_calls": [{**CALL, "response": "x" * 5000}]}))
    assert "(1,000 more characters)" in shown


def traced(run: SampleRun, wanted: str, capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    sets = ["--set", f"tables.warehouse={run.warehouse}"]
    assert main(["trace", wanted, "--conf", "conf/local.yaml", *sets]) == 0
    return capsys.readouterr().out


def exported(run: SampleRun) -> dict[str, Any]:
    chosen = {row["item_id"] for row in run.rows("mixture")}
    return next(row for row in run.rows("qa") if row["qa_id"] in chosen)


def test_an_exported_question_leads_to_prompt_model_seed_and_file(
    sample_run: SampleRun, capsys: pytest.CaptureFixture[str]
) -> None:
    question = exported(sample_run)
    shown = traced(sample_run, question["qa_id"], capsys)
    seed = next(row for row in sample_run.rows("documents") if row["doc_id"] == question["seed_ids"][0])
    calls = [row for row in sample_run.rows("llm_calls") if row["request_id"] in question["request_ids"]]
    assert {row["task"] for row in calls} >= {"refine"}
    for text in [
        seed["uri"],
        seed["license"],
        "in the training set",
        *[c["prompt_id"] for c in calls],
        *[c["model"] for c in calls],
    ]:
        assert text in shown
    assert "table versions: annotations" in shown


def test_draft_request_and_document_lead_to_each_other(
    sample_run: SampleRun, capsys: pytest.CaptureFixture[str]
) -> None:
    question = exported(sample_run)
    refined = next(row for row in sample_run.rows("refinements") if row["qa_id"] == question["qa_id"])
    seed = next(row for row in sample_run.rows("documents") if row["doc_id"] == question["seed_ids"][0])
    of_draft = traced(sample_run, refined["draft_id"], capsys)
    assert of_draft.startswith(f"draft {refined['draft_id']}")
    assert question["qa_id"] in of_draft
    assert seed["uri"] in of_draft
    assert seed["uri"] in traced(sample_run, refined["request_id"], capsys)
    of_seed = traced(sample_run, seed["doc_id"], capsys)
    assert f"SEED {seed['doc_id']}" in of_seed
    assert f"QUESTION {question['qa_id']}" in of_seed


def test_an_unknown_id_is_a_users_error(sample_run: SampleRun, capsys: pytest.CaptureFixture[str]) -> None:
    sets = ["--set", f"tables.warehouse={sample_run.warehouse}"]
    assert main(["trace", "it's not", "--conf", "conf/local.yaml", *sets]) == 2
    assert 'has the id "it\'s not"' in capsys.readouterr().err
