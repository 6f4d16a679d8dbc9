"""Whether a given answer says what the reference says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from udfs.matching import answers_match, final_part


@pytest.mark.parametrize(
    ("given_answer", "reference"),
    [
        ("Paris", " paris. "),
        ("The capital is Paris.", "Paris"),
        ("42", "The answer is 42."),
        ("Step 1: 3 x 4.\nFinal answer: 12", "12"),
        ("\\boxed{7} metres", "7"),
        ("1,024", "1024 bytes"),
        ("-3.5", "x = -3.5"),
        ("答案：光合作用", "光合作用"),
        ("ＡＴＰ", "atp"),
    ],
)
def test_equal_answers_match_in_either_order(given_answer: str, reference: str) -> None:
    assert answers_match(given_answer, reference)
    assert answers_match(reference, given_answer)


@pytest.mark.parametrize(
    ("given_answer", "reference"),
    [
        ("London", "Paris"),
        ("41", "42"),
        ("3.5", "-3.5"),
        ("art", "a party"),
        ("", "anything"),
        ("  ", "42"),
        ("...", "42"),
    ],
)
def test_other_and_empty_answers_do_not(given_answer: str, reference: str) -> None:
    assert not answers_match(given_answer, reference)
    assert not answers_match(reference, given_answer)


def test_the_last_final_answer_counts() -> None:
    assert final_part("The answer is 3.\nNo: Final answer: 4") == "4"
    assert final_part("\\boxed{1} and \\boxed{2}") == "2"
    assert final_part("  nothing marked ") == "nothing marked"


@given(st.text(max_size=60), st.text(max_size=60))
def test_matching_has_no_order_and_never_raises(one: str, other: str) -> None:
    assert answers_match(one, other) == answers_match(other, one)
