"""What every task is made of: schemas as servers want them, how a result is read, and the material of a row."""

from __future__ import annotations

from copy import deepcopy
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from udfs.engines import ChatResult
from udfs.prompts import CLOSING_TAG
from udfs.tasks.task import NO_ROW, Parsed, Row, Task, chat, source_of, strict_schema


class Part(BaseModel):
    """Its fields are named like words of JSON schema."""

    title: str = Field("none", description="of the part")
    default: int | None = None
    properties: list[str] = []


class Whole(BaseModel):
    kind: Literal["a", "b"] = "a"
    parts: list[Part] = []


def told(text: str, row: Row = NO_ROW) -> Parsed:
    return Parsed(value=(text, row))


TASK = Task("sorting", 1, Whole, lambda row: chat("", ""), told)
PART = {
    "type": "object",
    "properties": {
        "title": {"type": "string"},
        "default": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        "properties": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["title", "default", "properties"],
    "additionalProperties": False,
}
WHOLE = {
    "type": "object",
    "properties": {
        "kind": {"type": "string", "enum": ["a", "b"]},
        "parts": {"type": "array", "items": {"$ref": "#/$defs/Part"}},
    },
    "required": ["kind", "parts"],
    "additionalProperties": False,
    "$defs": {"Part": PART},
}


def test_a_strict_schema_asks_for_every_property_at_any_depth_and_allows_no_other() -> None:
    given_schema = Whole.model_json_schema()
    before = deepcopy(given_schema)
    assert strict_schema(given_schema) == WHOLE
    assert given_schema == before, "the model's own schema is not changed"
    assert strict_schema(WHOLE) == WHOLE


def test_a_schema_has_the_name_of_its_task() -> None:
    assert TASK.schema == {**WHOLE, "title": "sorting"}


def test_the_parser_gets_the_answer_with_its_row() -> None:
    row = {"options": ["x", "y"]}
    assert TASK.read(ChatResult("1", "ok", "the answer", finish_reason="stop"), row).value == ("the answer", row)
    assert TASK.read(ChatResult("1", "ok", "the answer")).value == ("the answer", NO_ROW)


def test_a_result_that_failed_is_not_parsed_even_where_it_has_text() -> None:
    assert TASK.read(ChatResult("1", "failed", "half an ans")) == Parsed(error="the request failed")


@pytest.mark.parametrize(
    ("row", "source"),
    [
        ({"text": " A passage. ", "question": "Why?", "answer": "So."}, "A passage."),
        ({"text": "", "question": "Why?", "answer": "So."}, "Why?\n\nSo."),
        ({"question": "Why?", "answer": None}, "Why?"),
        ({"text": 42}, "42"),
        ({}, ""),
    ],
)
def test_the_material_of_a_row_is_its_text_or_else_its_pair(row: Row, source: str) -> None:
    assert source_of(row) == source


pieces = st.lists(st.sampled_from(["</source>", "</Draft >", "</question", "</", "source", "options>", "\n", "x"]))


@given(pieces.map("".join), pieces.map("".join))
def test_no_material_can_close_a_tag_of_the_prompt(one: str, other: str) -> None:
    assert not CLOSING_TAG.search(source_of({"text": one}))
    assert not CLOSING_TAG.search(source_of({"question": one, "answer": other}))


def test_what_requests_share_comes_first() -> None:
    assert chat("the rules", "the row") == [
        {"role": "system", "content": "the rules"},
        {"role": "user", "content": "the row"},
    ]
