"""The lines of a batch's files: what is asked, and each form in which servers tell what became of it."""

from __future__ import annotations

import json

import pytest

from tests.udfs.engines.helpers import ask, completion
from udfs.engines.batch_lines import Line, judge_line, missing_line, read_lines, request_line
from udfs.engines.retries import Action


def one(**line: object) -> Line:
    ((name, read),) = read_lines(json.dumps({"custom_id": "7", **line}).encode())
    assert name == "7"
    return read


def test_a_request_is_one_line_with_the_body_of_a_single_one() -> None:
    raw = request_line(ask(7, params={"max_tokens": 5}, json_schema={"type": "object"}), structured=True)
    assert raw.endswith(b"\n")
    assert raw.count(b"\n") == 1
    line = json.loads(raw)
    assert (line["custom_id"], line["method"], line["url"]) == ("7", "POST", "/v1/chat/completions")
    assert (line["body"]["model"], line["body"]["max_tokens"]) == ("stand-in", 5)
    assert "response_format" in line["body"]
    assert b"response_format" not in request_line(ask(7, json_schema={}), structured=False)
    assert json.loads(request_line(ask(7, messages=({"role": "user", "content": "\udc00"},)), False))


def test_an_answer_is_its_body() -> None:
    body = completion("fine")
    assert one(response={"status_code": 200, "body": body}, error=None) == Line(200, body)


@pytest.mark.parametrize(
    ("line", "status", "code", "words"),
    [
        ({"response": {"status_code": 400, "body": {"error": {"message": "no  good", "code": "c"}}}}, 400, "c", "no good"),
        ({"response": {"status_code": 500, "message": "broken"}}, 500, "", "broken"),
        ({"response": {"status_code": 429, "body": None}, "error": {"message": "slow", "code": "x"}}, 429, "x", "slow"),
        ({"response": None, "error": {"code": "batch_expired", "message": "late"}}, 0, "batch_expired", "late"),
        ({"response": None, "error": None}, 0, "", "the server gave neither an answer nor a reason"),
        ({}, 0, "", "the server gave neither an answer nor a reason"),
    ],
)  # fmt: skip
def test_a_failure_has_its_status_or_its_code(line: dict[str, object], status: int, code: str, words: str) -> None:
    read = one(**line)
    assert (read.status, read.code, read.words) == (status, code, words)


def test_what_is_no_line_is_left_out() -> None:
    raw = b'\nnot json\n[1]\n{"custom_id": 5}\n{"custom_id": "a", "response": null}\n{"custom_id": "b", "resp'
    assert [name for name, _ in read_lines(raw)] == ["a"]


@pytest.mark.parametrize(
    ("line", "action", "paid"),
    [
        (Line(500), Action.RETRY, True),
        (Line(429), Action.RETRY, False),
        (Line(400, words="maximum context length"), Action.FAIL_ROW, False),
        (Line(404), Action.STOP_RUN, False),
        (Line(code="batch_expired"), Action.RETRY, False),
        (Line(code="server_error"), Action.RETRY, True),
        (missing_line("completed"), Action.RETRY, True),
        (missing_line("expired"), Action.RETRY, False),
        (missing_line("cancelled"), Action.STOP_RUN, False),
    ],
)
def test_what_can_help_is_tried_again_and_what_was_not_worked_on_is_not_paid(
    line: Line, action: Action, paid: bool
) -> None:
    assert (judge_line(line, structured=False).action, line.may_be_paid) == (action, paid)


def test_a_refused_response_format_is_asked_for_without() -> None:
    line = Line(400, words="response_format is not supported")
    assert judge_line(line, structured=True).action is Action.ASK_PLAIN
