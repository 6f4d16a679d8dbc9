"""Specs, requests and results travel from the driver to workers and back: as they were, and without secrets."""

from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError, asdict
from typing import Any

import pytest

from tests.udfs.engines.helpers import ask, spec_for
from udfs.engines.protocol import ChatResult, EngineSpec, FatalEngineError

SPEC = spec_for("http://a:8000/v1", "http://b:8000/v1", max_in_flight=3, rpm=60)
REQUEST = ask("好", params={"temperature": 0.0}, json_schema={"type": "object"})
RESULT = ChatResult("1", "failed", error="HTTP 500", attempts=6)


@pytest.mark.parametrize("value", [SPEC, REQUEST, RESULT], ids=lambda value: type(value).__name__)
def test_what_goes_to_a_worker_arrives_as_it_was(value: Any) -> None:
    assert pickle.loads(pickle.dumps(value)) == value


def test_a_spec_that_was_sent_names_the_same_engine() -> None:
    arrived = pickle.loads(pickle.dumps(SPEC))
    assert {SPEC: "engine"}[arrived] == "engine"
    assert EngineSpec() not in {SPEC: "engine"}


def test_a_spec_holds_the_keys_name_and_never_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOOSTQA_TEST_KEY", "sk-secret-123")
    packed = pickle.dumps(spec_for("https://api.example.com/v1"))
    assert b"BOOSTQA_TEST_KEY" in packed
    assert b"sk-secret-123" not in packed


def test_a_fatal_error_keeps_its_words_on_the_way_back() -> None:
    arrived = pickle.loads(pickle.dumps(FatalEngineError("the key is refused")))
    assert (type(arrived), str(arrived)) == (FatalEngineError, "the key is refused")


@pytest.mark.parametrize("value", [SPEC, REQUEST, RESULT], ids=lambda value: type(value).__name__)
def test_nothing_changes_after_it_was_made(value: Any) -> None:
    name = next(iter(asdict(value)))
    with pytest.raises(FrozenInstanceError):
        setattr(value, name, "other")
