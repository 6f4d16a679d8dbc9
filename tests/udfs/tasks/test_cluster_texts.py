"""Reading clusters: every text in one of them, and in no other."""

from __future__ import annotations

import json
from itertools import chain
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from udfs.tasks.cluster_texts import parse, render

ROW = {"texts": ["a", "b", "c", "d"]}


def answer(*samples: list[Any]) -> str:
    return json.dumps({"clusters": [{"cluster": 7, "samples": each, "reasoning": " why "} for each in samples]})


def members(text: str, row: dict[str, Any] = ROW) -> Any:
    value = parse(text, row).value
    return None if value is None else [cluster["members"] for cluster in value]


def test_clusters_are_numbered_anew_in_their_order() -> None:
    assert parse(answer([4, 1], [2], [3]), ROW).value == [
        {"cluster": 1, "members": [1, 4], "reasoning": "why"},
        {"cluster": 2, "members": [2], "reasoning": "why"},
        {"cluster": 3, "members": [3], "reasoning": "why"},
    ]


def test_other_shapes_are_taken_as_they_are_meant() -> None:
    assert members(json.dumps(json.loads(answer(["1", "2"], [3, 4]))["clusters"])) == [[1, 2], [3, 4]]
    parsed = parse(answer([1, 2, 3, 4], []), ROW)
    assert ([c["members"] for c in parsed.value], parsed.dropped) == ([[1, 2, 3, 4]], ("cluster 7: no samples",))


@pytest.mark.parametrize(
    ("samples", "error"),
    [
        ([[1, 2], [2, 3, 4]], "sample 2 is in two clusters"),
        ([[1, 1], [2, 3, 4]], "sample 1 is in two clusters"),
        ([[1, 2], [4]], "sample 3 is in no cluster"),
        ([[1, 2, 3]], "sample 4 is in no cluster"),
        ([[0, 1, 2, 3]], "sample 0 is not among the 4 samples"),
        ([[1, 2, 3, 4, 5]], "sample 5 is not among the 4 samples"),
        ([[]], "there is no cluster with a sample"),
        ([], "there is no cluster with a sample"),
    ],
)
def test_what_is_no_partition_is_an_error(samples: list[list[int]], error: str) -> None:
    assert parse(answer(*samples), ROW).error == error


def test_without_the_row_a_gap_is_seen_and_the_end_is_believed() -> None:
    assert parse(answer([1, 2, 3])).error is None
    assert parse(answer([1], [3])).error == "sample 2 is in no cluster"
    assert parse(answer([1, 10**12])).error == "sample 2 is in no cluster"


@given(st.lists(st.lists(st.integers(-2, 6), max_size=4), max_size=4))
def test_only_partitions_are_taken(samples: list[list[int]]) -> None:
    parsed = parse(answer(*samples), ROW)
    assert (parsed.value is not None) == (sorted(chain.from_iterable(samples)) == [1, 2, 3, 4])
    assert (parsed.value is None) == (parsed.error is not None)


@given(st.text(alphabet='{}[]":,123 clustersamp', max_size=80))
def test_no_almost_json_raises(text: str) -> None:
    parsed = parse(text, ROW)
    assert (parsed.value is None) == (parsed.error is not None)


def test_all_rounds_share_all_but_their_samples() -> None:
    one, other = (render({"lang": "en", "criteria": "- c: C.", "texts": texts}) for texts in (["a"], ["b", "c"]))
    assert one[0] == other[0]
    assert one[0]["content"].startswith("Task: cluster_texts\n\n<criteria>\n- c: C.\n</criteria>\n")
