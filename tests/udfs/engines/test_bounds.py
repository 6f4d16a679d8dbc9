"""A worker's share of the bounds, and what a request counts against them."""

from __future__ import annotations

import asyncio

import pytest

from tests.udfs.engines.helpers import ask
from udfs.engines.bounds import Bounds
from udfs.engines.protocol import EngineSpec
from udfs.engines.purse import Amount
from udfs.engines.wire import Reply

PRICES = {"m": (2.0, 10.0)}


def test_a_worker_has_all_of_the_spec_unless_it_is_told_otherwise() -> None:
    assert Bounds(EngineSpec(max_in_flight=12)).places == 12
    assert Bounds(EngineSpec(max_in_flight=12), places=0).places == 0
    with pytest.raises(ValueError, match="max_in_flight is 0"):
        Bounds(EngineSpec(max_in_flight=0))


def test_the_rates_are_shared_as_the_places_are(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(round(seconds))

    monkeypatch.setattr(asyncio, "sleep", sleep)

    async def scenario() -> None:
        bounds = Bounds(EngineSpec(max_in_flight=10, rpm=60), places=5)
        for _ in range(3):
            await bounds.enter(0)
            bounds.leave(0, 0)

    asyncio.run(scenario())
    # Half of sixty a minute is one in two seconds; the rate in tokens has no bound.
    assert slept == [0, 2, 4]


def test_a_change_of_places_is_told_once() -> None:
    told: list[int] = []
    bounds = Bounds(EngineSpec(max_in_flight=10), places=0)
    bounds.on_change = lambda: told.append(bounds.places)
    for places in (4, 4, 2):
        bounds.resize(places)
    assert told == [4, 2]


def test_the_worst_case_is_every_byte_a_token_and_the_longest_answer() -> None:
    bounds = Bounds(EngineSpec(), prices=PRICES)
    request = ask("冰", model="m", params={"max_tokens": 100})
    size = len("question 冰".encode())
    assert bounds.worst(request) == Amount(1, size + 100, (size * 2.0 + 100 * 10.0) / 1e6)


def test_an_answer_counts_as_the_server_says_and_in_full_where_it_does_not() -> None:
    bounds, worst = Bounds(EngineSpec(), prices=PRICES), Amount(1, 500, 0.5)
    said = Reply(prompt_tokens=40, completion_tokens=10)
    assert bounds.used("m", said, worst) == Amount(1, 50, (40 * 2.0 + 10 * 10.0) / 1e6)
    assert bounds.used("m", Reply(), worst) == worst
