"""Finding the JSON in what models really write."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from udfs.tasks.answers import mend_backslashes, read_answer


class Note(BaseModel):
    text: str


def read(answer: str) -> str | None:
    note, problem = read_answer(answer, Note)
    assert (note is None) == bool(problem)
    return note.text if note else None


@pytest.mark.parametrize(
    "answer",
    [
        '{"text": "yes"}',
        'Sure, here it is:\n{"text": "yes"}\nI hope this helps {smile}!',
        '```json\n{"text": "yes"}\n```',
        'First try:\n```\n{"text": "no"}\n```\nBetter:\n```json\n{"text": "yes"}\n```',
        '{"text": "no"} or rather {"text": "yes"}',
        '{"text": "yes"} {"other": 1}',
        '<think>{"text": "no"}</think>{"text": "yes"}',
        'opened by the template {"text": "no"}</think>\n\n{"text": "yes"}',
        "{'text': 'yes'}",
        '{"text": "yes",}',
        '{text: "yes"}',
        'See [the answer]: {"text": "yes"}',
    ],
)
def test_the_last_value_that_fits_is_found_and_mended(answer: str) -> None:
    assert read(answer) == "yes"


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ("", "the answer is empty"),
        ("<think>only thoughts", "the answer is empty"),
        ("I can't do that.", "there is no JSON in the answer"),
        ('{"text": "cut in the mid', "the JSON is broken or cut"),
        ('{"text": "cut before the brace"', "the JSON is broken or cut"),
        (r'{"text": "cut after \\frac{1}{2} and', "the JSON is broken or cut"),
        ('{"other": 1}', "text: Field required"),
        ('{"text": 3}', "text: Input should be a valid string"),
        ("[" * 50_000, "the JSON is broken or cut"),
        ('{"a":' * 50_000, "the JSON is broken or cut"),
    ],
)
def test_an_unusable_answer_says_why(answer: str, problem: str) -> None:
    assert read_answer(answer, Note) == (None, problem)


LATEX = [r"\frac{1}{2}", r"\beta", r"\theta", r"\nabla f", r"\right)", r"\alpha", r"\(x\)", r"\times", r"\underline{x}"]


@pytest.mark.parametrize("formula", LATEX)
def test_latex_survives_with_single_and_with_double_backslashes(formula: str) -> None:
    assert read(json.dumps({"text": f"Let {formula} hold."})) == f"Let {formula} hold."
    assert read(f'{{"text": "Let {formula} hold."}}') == f"Let {formula} hold."


def test_line_breaks_stay_line_breaks() -> None:
    assert read(r'{"text": "one\ntwo\tthree\n\nThe end \u4e2d"}') == "one\ntwo\tthree\n\nThe end 中"
    assert read(r'{"text": "so \\alpha\nu = 5\nto be\\"}') == "so \\alpha\nu = 5\nto be\\"


def test_full_width_punctuation_is_no_obstacle() -> None:
    assert read('好的，结果如下：{"text": "“是”，（对）：；"}。') == "“是”，（对）：；"


def test_lone_surrogates_become_replacement_characters() -> None:
    assert read(r'{"text": "a\ud800b"}') == "a\ufffdb"


@given(st.text())
def test_no_string_raises(answer: str) -> None:
    read(answer)


@given(st.text(alphabet='{}[]":,\\ntu0 a`<>/think', max_size=80))
def test_no_almost_json_raises(answer: str) -> None:
    read(answer)


@given(st.text(alphabet=st.characters(exclude_categories=["Cs", "Cc"]), min_size=1))
def test_what_json_writes_is_read_back(text: str) -> None:
    assert read(json.dumps({"text": text})) == text


def test_mending_leaves_valid_escapes_alone() -> None:
    assert mend_backslashes(r"\" \\ \/ \n \u00e9") == r"\" \\ \/ \n \u00e9"
    assert mend_backslashes(r"\frac \x \n \theta") == r"\\frac \\x \n \\theta"
