"""How the dry run counts a request, without Spark; what it tells of a whole run is tested with `boostqa plan`."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest

from etl.dry_run import UNBOUNDED_TOKENS, counted


@pytest.mark.parametrize(
    ("params", "longest"),
    [
        ({"max_tokens": 500}, 500),
        ({"max_completion_tokens": 8000, "temperature": 1.0}, 8000),
        ({"max_tokens": 500, "max_completion_tokens": 8000}, 500),
        ({}, UNBOUNDED_TOKENS),
    ],
)
def test_the_longest_answer_is_what_its_parameters_allow(params: dict[str, Any], longest: int) -> None:
    messages = json.dumps([{"role": "user", "content": "What is density?"}])
    asked = {"model": "m", "params": json.dumps(params), "messages": messages, "hit": None}
    (row,) = counted(pa.RecordBatch.from_pylist([asked]), "approx-v1").to_pylist()
    assert (row["model"], row["hit"], row["completion_tokens"]) == ("m", False, longest)
    assert row["prompt_tokens"] > 0
