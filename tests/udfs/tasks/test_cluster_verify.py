"""Reading verdicts on clusters."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from udfs.tasks.cluster_verify import parse

ROW = {
    "clusters": [{"cluster": 1, "members": [1, 3]}, {"cluster": 2, "members": [2]}, {"cluster": 3, "members": [4, 5]}]
}


def answer(*verdicts: tuple[int, Any]) -> str:
    return json.dumps(
        {"verdicts": [{"cluster": number, "valid": valid, "reason": " r "} for number, valid in verdicts]}
    )


@pytest.mark.parametrize("no", [0, "0", False, " 0 "])
def test_verdicts_are_read_in_any_spelling(no: object) -> None:
    assert parse(answer((1, 1), (3, no)), ROW).value == [
        {"cluster": 1, "valid": True, "reason": "r"},
        {"cluster": 3, "valid": False, "reason": "r"},
    ]


def test_a_bare_list_and_a_missing_reason_are_taken() -> None:
    assert parse('[{"cluster": 1, "valid": 1, "reason": null}, {"cluster": 3, "valid": true}]', ROW).error is None


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (answer((1, 1)), "there is no verdict on cluster 3"),
        (answer((1, 1), (1, 0), (3, 1)), "two verdicts on one cluster"),
        (answer((1, "maybe"), (3, 1)), "verdicts.0.valid: Input should be 0 or 1"),
        (answer(), "there is no verdict on cluster 1"),
    ],
)
def test_what_leaves_a_cluster_open_is_an_error(text: str, error: str) -> None:
    assert parse(text, ROW).error == error


def test_a_verdict_on_nothing_is_dropped_by_name() -> None:
    parsed = parse(answer((1, 1), (3, 1), (9, 0)), ROW)
    assert ([each["cluster"] for each in parsed.value], parsed.dropped) == ([1, 3], ("cluster 9 is not there",))


@given(st.text(alphabet='{}[]":,01 verdictsclu', max_size=80))
def test_no_almost_json_raises(text: str) -> None:
    parsed = parse(text, ROW)
    assert (parsed.value is None) == (parsed.error is not None)
