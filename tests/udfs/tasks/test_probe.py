"""Reading a weak model's answers."""

from __future__ import annotations

import pytest

from udfs.tasks.probe import parse, render

ROW = {"options": ["one", "two", "three"]}


@pytest.mark.parametrize(
    "text",
    [
        '{"answer": "B"}',
        '{"answer": "b"}',
        "B",
        "**B**",
        "(B) two",
        "The answer is B.",
        "答案：B",
        '{"answer": "B. two"}',
    ],
)
def test_the_letter_is_found(text: str) -> None:
    assert parse(text, ROW).value == {"answer": "B"}


@pytest.mark.parametrize("text", ["D", '{"answer": "D"}', "I am not sure", "A cat", "The answer is a cat", "Both", ""])
def test_no_letter_of_an_option_is_an_error(text: str) -> None:
    assert parse(text, ROW).value is None


def test_an_open_answer_is_kept_as_it_is() -> None:
    assert parse('{"answer": "9.81 m/s^2"}').value == {"answer": "9.81 m/s^2"}
    assert parse("<think>hm</think> 42").value == {"answer": "42"}
    assert parse("x" * 5000).value is None


def test_options_are_lettered_and_may_be_missing() -> None:
    assert "A. one\nB. two\nC. three" in render({"lang": "en", "question": "Which?", **ROW})[1]["content"]
    assert "<options>" not in render({"lang": "en", "question": "Which?", "options": []})[1]["content"]
