"""The list of pairs that both synthesis tasks give."""

from __future__ import annotations

import json

import pytest

from udfs.tasks.questions import parse_questions

GOOD = {"question": "What is $\\frac{1}{2}$ of 4?", "answer": "Final answer: 2", "form": "calculation"}


@pytest.mark.parametrize("answer", [{"items": [GOOD]}, [GOOD], GOOD, {"questions": [GOOD]}])
def test_the_shapes_that_models_fall_into_are_taken(answer: object) -> None:
    assert parse_questions(json.dumps(answer)).value == [GOOD]


def test_order_is_kept_and_extra_keys_are_ignored() -> None:
    pairs = [{**GOOD, "question": f"Question {number}?", "level": 3} for number in range(3)]
    assert [pair["question"] for pair in parse_questions(json.dumps(pairs)).value] == [
        "Question 0?",
        "Question 1?",
        "Question 2?",
    ]


def test_empty_pairs_are_dropped_by_name() -> None:
    parsed = parse_questions(json.dumps([{**GOOD, "question": " "}, GOOD, {**GOOD, "answer": ""}]))
    assert parsed.value == [GOOD]
    assert parsed.dropped == ("item 1: the question is empty", "item 3: the answer is empty")


def test_nothing_left_is_an_error() -> None:
    assert parse_questions('{"items": []}').error == "the list of questions is empty"
    assert parse_questions(json.dumps([{**GOOD, "question": ""}])).error == "item 1: the question is empty"
    assert "far too long" in str(parse_questions(json.dumps([{**GOOD, "question": "x" * 30_000}])).error)


@pytest.mark.parametrize(
    ("form", "read"), [("Multiple Choice", "multiple_choice"), ("true-false", "true_false"), ("essay", "other")]
)
def test_forms_are_brought_to_the_list(form: str, read: str) -> None:
    assert parse_questions(json.dumps([{**GOOD, "form": form}])).value[0]["form"] == read


def test_a_broken_list_is_mended_whole_or_not_at_all() -> None:
    one = json.dumps(GOOD)
    assert len(parse_questions(f'{{"items": [{one}, {one},]}}').value) == 2
    assert parse_questions(f'{{"items": [{one}, {{"question": "cut in the').value is None


def test_a_missing_part_is_named() -> None:
    assert parse_questions('[{"question": "What?"}]').error == "items.0.answer: Field required"
