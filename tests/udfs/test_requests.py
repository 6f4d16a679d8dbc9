"""From rows to requests and back: equal questions have equal ids, and whatever differs gives another id."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest

from udfs.requests import REQUEST_DDL, REQUEST_FIELDS, Asking, add_requests, read_answer

REFINE = Asking("refine", "stand-in", {"temperature": 0.2, "max_tokens": 2000})
ROW = {
    "draft_id": "d1",
    "lang": "en",
    "text": "Ice floats on water.",
    "question": "Why does ice float?",
    "answer": "It is less dense.",
    "sample": 0,
}


def requests(rows: list[dict[str, Any]], asking: Asking = REFINE) -> list[dict[str, Any]]:
    return add_requests(pa.RecordBatch.from_pylist(rows), asking).to_pylist()


def request_id(asking: Asking = REFINE, **changes: Any) -> str:
    return str(requests([{**ROW, **changes}], asking)[0]["request_id"])


def test_a_request_keeps_the_row_and_adds_what_was_asked() -> None:
    (made,) = requests([ROW])
    assert {name: made[name] for name in ROW} == ROW
    assert made["task"] == "refine"
    assert made["model"] == "stand-in"
    assert json.loads(made["params"]) == dict(REFINE.params)
    system, user = json.loads(made["messages"])
    assert (system["role"], user["role"]) == ("system", "user")
    assert "Ice floats on water." in user["content"]
    assert made["prompt_id"].startswith("refine")


def test_the_id_follows_from_the_content_alone() -> None:
    here = request_id()
    assert request_id(draft_id="another") == here
    assert request_id(replace(REFINE, params={"max_tokens": 2000, "temperature": 0.2})) == here
    others = {
        request_id(sample=1),
        request_id(text="Ice sinks."),
        request_id(question="Does ice float?"),
        request_id(lang="zh"),
        request_id(replace(REFINE, model="other")),
        request_id(replace(REFINE, params={"temperature": 0.3, "max_tokens": 2000})),
    }
    assert here not in others
    assert len(others) == 6


def test_batches_of_any_size_give_the_same_ids() -> None:
    rows = [{**ROW, "text": f"Passage {i}."} for i in range(5)]
    alone = [requests([row])[0]["request_id"] for row in rows]
    assert [r["request_id"] for r in requests(rows)] == alone


def test_an_empty_batch_has_the_columns_that_spark_is_told() -> None:
    empty = pa.RecordBatch.from_pylist([ROW]).slice(0, 0)
    made = add_requests(empty, REFINE)
    assert made.num_rows == 0
    assert [name for name in made.schema.names if name not in ROW or name == "sample"] == [
        f.name for f in REQUEST_FIELDS
    ]
    assert [part.split()[0] for part in REQUEST_DDL.split(", ")] == [f.name for f in REQUEST_FIELDS]


def test_values_that_all_rows_share_reach_the_prompt() -> None:
    menu = {"physics": "Physics: force, energy", "botany": "Botany: leaves, roots"}
    asking = Asking("annotate", "stand-in", {}, {"fields": menu})
    (made,) = requests([{"item_id": "i", "lang": "en", "text": "Leaves take in light.", "sample": 0}], asking)
    system = json.loads(made["messages"])[0]["content"]
    assert all(f"- {name}: {words}" in system for name, words in menu.items())


def call(**changes: Any) -> dict[str, Any]:
    answer = json.dumps({"verdict": "ok", "answer": "It is less dense.", "reason": "fine", "edits": []})
    recorded = {"request_id": "r", "status": "ok", "response": answer, "finish_reason": "stop", "error": None}
    return {**ROW, **recorded, **changes}


def test_a_recorded_answer_is_read_by_its_task() -> None:
    parsed = read_answer(call(), REFINE)
    assert parsed.error is None
    assert parsed.value["verdict"] == "ok"
    assert parsed.value["answer"] == "It is less dense."


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"status": "failed", "error": "HTTP 400: too long"}, "too long"),
        ({"status": "failed", "error": None}, "failed"),
        ({"finish_reason": "length"}, "cut"),
        ({"response": "I would rather not."}, ""),
        ({"response": None}, ""),
        ({"response": '{"verdict": "maybe"}'}, "verdict"),
    ],
)
def test_an_unusable_answer_is_an_error_and_no_exception(changes: dict[str, Any], words: str) -> None:
    parsed = read_answer(call(**changes), REFINE)
    assert parsed.value is None
    assert parsed.error
    assert words in parsed.error


def test_an_answer_outside_the_menu_is_unusable() -> None:
    asking = Asking("annotate", "stand-in", {}, {"fields": {"physics": "force"}})
    answer = json.dumps({"field": "astrology", "difficulty": 3, "confidence": 0.5})
    parsed = read_answer(call(response=answer), asking)
    assert parsed.value is None
    assert "astrology" in str(parsed.error)
