"""Bodies out and replies in; a reply may be anything at all."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.udfs.engines.helpers import ask, completion
from udfs.engines.wire import (
    Reply,
    clean_text,
    read_completion,
    read_reply,
    request_body,
    split_reasoning,
    to_json,
    worst_tokens,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["choices", "message", "content", "usage", "finish_reason", "prompt_tokens"]), inner
        )
    ),
    max_leaves=12,
)


def read(body: Any) -> Reply:
    return read_reply(json.dumps(body).encode())


def test_the_body_holds_parameters_and_a_schema_only_where_asked() -> None:
    request = ask(1, params={"temperature": 0.5, "top_k": 3}, json_schema={"title": "annotate", "type": "object"})
    body = request_body(request, structured=True)
    assert (body["model"], body["temperature"], body["top_k"]) == ("stand-in", 0.5, 3)
    schema = body["response_format"]["json_schema"]
    assert (schema["name"], schema["strict"]) == ("annotate", True)
    assert "response_format" not in request_body(request, structured=False)
    assert "response_format" not in request_body(ask(1), structured=True)


def test_lone_surrogates_never_leave_or_enter() -> None:
    request = ask(1, messages=({"role": "user", "content": "a\ud800b"},))
    assert json.dumps(request_body(request, True), ensure_ascii=False).encode()
    assert read(completion("x\udfffy")).response == "x\ufffdy"
    assert clean_text("\U0001f600 plain") == "\U0001f600 plain"


def test_a_body_is_compact_utf8_whatever_it_holds() -> None:
    assert to_json({"content": "雪 \ud800", "n": [1, 2]}) == '{"content":"雪 ?","n":[1,2]}'.encode()


def test_the_worst_case_counts_bytes_and_the_longest_answer() -> None:
    assert worst_tokens(ask("冰", params={"max_tokens": 100})) == (len("question ") + 3, 100)
    assert worst_tokens(ask("x"))[1] > 1000


@pytest.mark.parametrize("count", [2**61, -1, 1.5, True, "7", None])
def test_a_count_of_tokens_that_is_none_is_not_believed(count: object) -> None:
    assert read_completion({"usage": {"prompt_tokens": count, "completion_tokens": 5}}).prompt_tokens == 0
    assert read_completion({"usage": {"prompt_tokens": count, "completion_tokens": 5}}).completion_tokens == 5


def test_an_answer_keeps_its_counts_and_the_name_of_its_model() -> None:
    assert read(completion(" yes ")) == Reply("yes", "", "stop", 7, 3, "served")


@pytest.mark.parametrize(
    ("text", "reasoning", "answer"),
    [
        ("<think>\nfirst\n</think>\n\nso", "first", "so"),
        ("template opened it</think>so", "template opened it", "so"),
        ("<think>never closed", "never closed", ""),
        ("plain", "", "plain"),
        ("an answer about the <think> tag", "", "an answer about the <think> tag"),
        ("an answer about <think>x</think>", "", "an answer about <think>x</think>"),
    ],
)
def test_a_leading_think_block_is_reasoning(text: str, reasoning: str, answer: str) -> None:
    assert split_reasoning(text) == (reasoning, answer)


def test_reasoning_fields_are_read_under_both_names() -> None:
    assert read(completion("a", reasoning_content="why")).reasoning == "why"
    assert read(completion("a", reasoning="why")).reasoning == "why"


def test_a_list_of_content_parts_is_joined() -> None:
    assert read(completion([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}])).response == "ab"


@pytest.mark.parametrize(
    ("body", "problem", "final"),
    [
        ({"choices": []}, "no choices", False),
        ({"error": {"message": "overloaded"}}, "no choices: overloaded", False),
        ([1], "not a JSON object", False),
        (completion(None), "empty", False),
        (completion("", finish="length", reasoning_content="hm"), "max_tokens", True),
        (completion("<think>hm", finish="length"), "max_tokens", True),
        (completion("", finish="content_filter"), "content filter", True),
        (completion(None, refusal="I can't"), "refused: I can't", True),
    ],
)
def test_an_unusable_reply_says_why_and_whether_to_ask_again(body: object, problem: str, final: bool) -> None:
    reply = read(body)
    assert problem in reply.problem
    assert reply.final is final


@given(JSON)
def test_no_json_makes_the_reader_raise(body: object) -> None:
    reply = read_reply(json.dumps(body).encode())
    assert reply.response or reply.problem


@given(st.binary(max_size=200))
def test_no_bytes_make_the_reader_raise(raw: bytes) -> None:
    assert read_reply(raw).problem


def test_deep_nesting_is_a_problem_not_a_crash() -> None:
    assert read_reply(b"[" * 100_000).problem
