"""Reading labels against the menu."""

from __future__ import annotations

import json

import pytest

from udfs.tasks.annotate import parse

ROW = {"fields": {"computer_science": "", "law": ""}}
LABEL = {"field": "computer_science", "difficulty": 3, "confidence": 0.8, "reason": "code"}


@pytest.mark.parametrize("field", ["computer_science", "Computer Science", " computer-science "])
def test_spellings_are_brought_to_the_menus(field: str) -> None:
    assert parse(json.dumps({**LABEL, "field": field}), ROW).value == LABEL


def test_a_field_outside_the_menu_is_an_error() -> None:
    assert parse(json.dumps({**LABEL, "field": "magic"}), ROW).error == "field 'magic' is not in the menu"
    assert parse(json.dumps({**LABEL, "field": "magic"})).value["field"] == "magic"


@pytest.mark.parametrize(
    "change", [{"difficulty": 6}, {"difficulty": 0}, {"difficulty": "hard"}, {"confidence": 80}, {"field": ""}]
)
def test_values_out_of_range_are_errors(change: dict[str, object]) -> None:
    assert str(parse(json.dumps({**LABEL, **change}), ROW).error).startswith(next(iter(change)))
