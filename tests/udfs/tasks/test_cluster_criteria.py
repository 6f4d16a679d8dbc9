"""Reading criteria."""

from __future__ import annotations

import json
from typing import Any

import pytest

from udfs.tasks.cluster_criteria import parse

ATTRIBUTE = {"name": "phase", "criteria": "Texts on one phase of matter belong together."}
METRIC = {"name": "sums", "criteria": "Texts with about as many sums.", "levels": ["none", "one", "two", "some", "all"]}
GOOD: dict[str, Any] = {"metadata": [ATTRIBUTE], "metrics": [METRIC]}


def test_criteria_are_read_as_they_are() -> None:
    assert parse(f"Here:\n```json\n{json.dumps({**GOOD, 'note': 1})}\n```").value == GOOD


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"metadata": []}, "0 metadata, not 1 to 10"),
        ({"metrics": [METRIC] * 11}, "11 metrics, not 1 to 10"),
        ({"metadata": [{**ATTRIBUTE, "criteria": " "}]}, "metadata: a name or its criteria is empty"),
        ({"metrics": [{**METRIC, "criteria": "x" * 2000}]}, "metrics: the criteria are no concise sentence"),
        ({"metrics": [{**METRIC, "levels": ["low", "high"]}]}, "metric 'sums' has 2 levels, not 5"),
        ({"metrics": [ATTRIBUTE]}, "metrics.0.levels: Field required"),
    ],
)
def test_what_no_round_could_be_asked_with_is_an_error(change: dict[str, Any], error: str) -> None:
    assert parse(json.dumps({**GOOD, **change})).error == error
