"""Texts of a report are cut to a bound, and one that was cut shows it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.report.figures import cut


@pytest.mark.parametrize(
    ("text", "bound", "shown"),
    [
        ("four", 4, "four"),
        ("fives", 4, "five…"),
        ("two words", 4, "two…"),
        ("光合作用是", 4, "光合作用…"),
        ("", 4, ""),
        (None, 4, ""),
        ("anything", 0, "…"),
    ],
)
def test_a_long_text_is_its_beginning_and_an_ellipsis(text: str | None, bound: int, shown: str) -> None:
    assert cut(text, bound) == shown


@given(st.text(max_size=30), st.integers(0, 20))
def test_one_character_past_the_bound_is_enough_to_see_that_there_is_more(text: str, bound: int) -> None:
    """The queries fetch that one character more and no others."""
    shown = cut(text[: bound + 1], bound)
    assert shown == cut(text, bound)
    assert len(shown) <= bound + 1
    assert shown == text if len(text) <= bound else shown.endswith("…")
