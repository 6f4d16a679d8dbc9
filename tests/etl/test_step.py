"""A step's outcome: no row is lost without a reason, and none is won."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.errors import InvariantError
from etl.step import Outcome

REASONS = st.dictionaries(st.sampled_from(["bad_json", "too_short_v1", "semantic_duplicate"]), st.integers(0, 99))


@given(st.integers(0, 99), REASONS)
def test_rows_that_went_on_or_have_a_reason_are_accounted_for(rows_out: int, dropped: dict[str, int]) -> None:
    Outcome(rows_out + sum(dropped.values()), rows_out, dropped, figures={"edges": 7.0}).check("curate")


@given(st.integers(0, 99), REASONS, st.integers(-9, 9).filter(bool))
def test_any_other_number_of_rows_is_refused_with_the_difference(
    rows_out: int, dropped: dict[str, int], lost: int
) -> None:
    outcome = Outcome(rows_out + sum(dropped.values()) + lost, rows_out, dropped)
    with pytest.raises(InvariantError, match=rf"^curate: .*: {lost} unaccounted for$"):
        outcome.check("curate")
