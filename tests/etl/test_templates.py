"""Templates: any question and any answer arrive in the text as they are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.errors import UserError
from etl.templates import TEMPLATES, render_text

texts = st.text() | st.sampled_from(["{question}", "{answer}", "{}", "{0}", r"\1 \g<0>", "%s", "{{answer}}"])


@given(texts, texts)
def test_any_question_and_answer_arrive_unchanged(question: str, answer: str) -> None:
    assert render_text("plain", [question], [answer]) == [f"{question}\n\n{answer}"]
    assert render_text("labelled", [question], [answer]) == [f"Question: {question}\n\nAnswer: {answer}"]


def test_rows_keep_their_order() -> None:
    assert render_text("plain", ["a", "b"], ["1", "2"]) == ["a\n\n1", "b\n\n2"]
    assert render_text("plain", [], []) == []


def test_a_question_without_its_answer_is_a_mistake_of_ours() -> None:
    with pytest.raises(ValueError, match="shorter"):
        render_text("plain", ["a", "b"], ["1"])


def test_an_unknown_template_is_refused_with_the_choice() -> None:
    with pytest.raises(UserError) as caught:
        render_text("fancy", ["a"], ["1"])
    assert all(name in str(caught.value) for name in ("export.template", "'fancy'", *TEMPLATES))
