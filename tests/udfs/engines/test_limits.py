"""The adaptive bound, the pace and the balancer, each on a clock or loop of its own."""

from __future__ import annotations

import asyncio

import pytest

from udfs.engines.limits import AdaptiveLimit, Balancer, Pace


def test_the_limit_starts_at_a_quarter_and_never_passes_its_maximum() -> None:
    limit = AdaptiveLimit(64)
    assert limit.limit == 16
    for _ in range(1000):
        limit.answered()
    assert limit.limit == 64


def test_a_burst_of_refusals_halves_once() -> None:
    limit = AdaptiveLimit(64)
    for _ in range(10):
        limit.overloaded(0)
    assert limit.limit == 8
    limit.overloaded(1)
    assert limit.limit == 4


def test_the_limit_never_falls_below_one_and_comes_back() -> None:
    limit = AdaptiveLimit(4)
    for epoch in range(20):
        limit.overloaded(epoch)
    assert limit.limit == 1
    for _ in range(50):
        limit.answered()
    assert limit.limit == 4


def test_a_bound_below_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="max_in_flight is -1"):
        AdaptiveLimit(-1)


def test_a_maximum_of_zero_is_a_pause_and_a_larger_one_lets_the_waiting_in() -> None:
    async def scenario() -> list[int]:
        limit, seen = AdaptiveLimit(0), []
        waiting = [asyncio.create_task(limit.acquire()) for _ in range(5)]
        for maximum in (0, 2, 8, 1):
            limit.resize(maximum)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            seen.append(limit.in_flight)
            limit.answered()
        for task in waiting:
            task.cancel()
        return seen

    # From 0 it starts at a quarter of its maximum; what is out stays out when it shrinks.
    assert asyncio.run(scenario()) == [0, 1, 2, 2]


def test_a_smaller_maximum_counts_at_once_and_a_larger_one_is_felt_for() -> None:
    limit = AdaptiveLimit(64)
    limit.resize(4)
    assert limit.limit == 4
    limit.resize(64)
    assert limit.limit == 16


def test_places_are_never_oversold_and_all_get_their_turn() -> None:
    async def scenario() -> tuple[int, int]:
        limit, peak, done = AdaptiveLimit(8), 0, 0

        async def work() -> None:
            nonlocal peak, done
            await limit.acquire()
            peak = max(peak, limit.in_flight)
            await asyncio.sleep(0)
            limit.release()
            limit.answered()
            done += 1

        await asyncio.gather(*(work() for _ in range(200)))
        return peak, done

    assert asyncio.run(scenario()) == (8, 200)


def test_a_cancelled_waiter_hands_its_turn_on() -> None:
    async def scenario() -> int:
        limit = AdaptiveLimit(1)
        await limit.acquire()
        first, second = (asyncio.create_task(limit.acquire()) for _ in range(2))
        await asyncio.sleep(0)
        limit.release()
        first.cancel()
        await asyncio.wait_for(second, 5)
        return limit.in_flight

    assert asyncio.run(scenario()) == 1


def test_a_pace_spaces_starts_and_gives_back_what_was_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)

    async def scenario() -> None:
        pace = Pace(60, clock=lambda: 100.0)
        await pace.wait(10)
        await pace.wait(1)
        pace.settle(10, 4)
        await pace.wait(1)
        await Pace(0, clock=lambda: 100.0).wait(1e9)

    asyncio.run(scenario())
    assert slept == [0.0, 10.0, 5.0]


def test_the_balancer_takes_the_least_loaded_server_unless_one_is_preferred() -> None:
    balancer = Balancer(3, clock=lambda: 0.0)
    assert [balancer.take() for _ in range(4)] == [0, 1, 2, 0]
    balancer.give(1)
    assert balancer.take() == 1
    sticky = Balancer(3, clock=lambda: 0.0, prefer=lambda key: 2 if key == "seed" else None)
    assert [sticky.take("seed"), sticky.take("seed"), sticky.take("other")] == [2, 2, 0]


def test_a_server_is_avoided_where_another_works() -> None:
    balancer = Balancer(2, clock=lambda: 0.0, prefer=lambda key: 0)
    assert [balancer.take("seed", avoid) for avoid in (None, 0, 1)] == [0, 1, 0]
    balancer.rest(1, 5)
    assert balancer.take("seed", 0) == 0
    assert Balancer(1, clock=lambda: 0.0).take("seed", 0) == 0


def test_a_server_in_trouble_rests_unless_all_do() -> None:
    now = 0.0
    balancer = Balancer(2, clock=lambda: now, prefer=lambda key: 0 if key else None)
    balancer.rest(0, 5)
    assert [balancer.take(), balancer.take(), balancer.take("seed")] == [1, 1, 1]
    balancer.rest(1, 5)
    assert balancer.take() == 0
    now = 6.0
    assert balancer.take("seed") == 0
