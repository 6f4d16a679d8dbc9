"""Reading verdicts."""

from __future__ import annotations

import json

from udfs.tasks.refine import parse


def test_a_verdict_is_read_with_its_edits() -> None:
    answer = {"verdict": "Fixed", "answer": " 4 ", "reason": "wrong sign", "edits": "sign"}
    assert parse(json.dumps(answer)).value == {**answer, "verdict": "fixed", "answer": "4", "edits": ["sign"]}


def test_a_rejection_needs_no_answer() -> None:
    value = parse('{"verdict": "reject", "answer": null, "reason": "points to a figure", "edits": null}').value
    assert (value["verdict"], value["answer"], value["edits"]) == ("reject", "", [])


def test_an_ok_without_an_answer_is_an_error() -> None:
    assert parse('{"verdict": "ok", "answer": " "}').error == "the verdict is 'ok' but the answer is empty"
    assert "verdict: Input should be 'ok', 'fixed' or 'reject'" in str(
        parse('{"verdict": "maybe", "answer": "4"}').error
    )
