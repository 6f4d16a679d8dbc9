"""The purse: never over its limit, waits only where waiting can help."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from udfs.engines.purse import UNLIMITED, Amount, Purse, cost_of

LIMIT = Amount(requests=50, tokens=1000, cost=1.0)


def test_without_a_limit_everything_is_had() -> None:
    assert asyncio.run(Purse(UNLIMITED).reserve(Amount(1, 1e12, 1e12)))


@pytest.mark.parametrize("worst", [Amount(requests=51), Amount(tokens=1001), Amount(cost=1.1)])
def test_what_never_fits_is_refused_at_once_and_empties_the_purse(worst: Amount) -> None:
    purse = Purse(LIMIT)
    assert not asyncio.run(purse.reserve(worst))
    assert purse.empty
    assert purse.spent == Amount()


def test_a_request_waits_for_what_others_may_bring_back() -> None:
    async def scenario() -> tuple[bool, Amount]:
        purse, worst = Purse(LIMIT), Amount(1, 600, 0.1)
        await purse.reserve(worst)
        second = asyncio.create_task(purse.reserve(worst))
        await asyncio.sleep(0)
        assert not second.done()
        purse.settle(worst, Amount(1, 100, 0.01))
        return await second, purse.spent

    had, spent = asyncio.run(scenario())
    assert had
    assert spent.tokens == pytest.approx(700)


@given(st.lists(st.tuples(st.integers(1, 400), st.floats(0, 1)), min_size=1, max_size=60))
def test_the_limit_is_never_passed_and_no_one_waits_for_ever(requests: list[tuple[int, float]]) -> None:
    async def scenario() -> int:
        purse, asked = Purse(LIMIT), 0

        async def ask(worst_tokens: int, share: float) -> None:
            nonlocal asked
            worst = Amount(1, worst_tokens, worst_tokens / 1000)
            if await purse.reserve(worst):
                assert purse.spent.within(Amount(50, 1000, 1.0 + 1e-9))
                await asyncio.sleep(0)
                purse.settle(worst, Amount(1, worst_tokens * share, worst.cost * share))
                asked += 1

        await asyncio.wait_for(asyncio.gather(*(ask(*request) for request in requests)), 5)
        assert (asked < len(requests)) == purse.empty
        return asked

    assert asyncio.run(scenario()) > 0


def test_what_is_owed_is_taken_out_also_where_it_is_not_there() -> None:
    purse, worst = Purse(LIMIT), Amount(1, 600, 0.1)
    for _ in range(2):
        purse.owe(worst)
    assert purse.spent.tokens == 1200
    assert not purse.take(Amount(tokens=1))
    for _ in range(2):
        purse.settle(worst, Amount(1, 100, 0.1))
    assert purse.spent.tokens == 200
    assert purse.take(worst)


def test_cost_by_price_and_none_without() -> None:
    assert cost_of({"m": (2.0, 8.0)}, "m", 1_000_000, 500_000) == pytest.approx(6.0)
    assert cost_of({"m": (2.0, 8.0)}, "other", 1_000_000, 500_000) == 0.0


def test_a_closed_purse_gives_nothing_more_also_to_who_waits() -> None:
    async def scenario() -> tuple[bool, bool]:
        purse, worst = Purse(LIMIT), Amount(1, 600, 0.1)
        await purse.reserve(worst)
        waits = asyncio.create_task(purse.reserve(worst))
        await asyncio.sleep(0)
        purse.close()
        return await waits, await purse.reserve(Amount(1, 1, 0.0))

    assert asyncio.run(asyncio.wait_for(scenario(), 5)) == (False, False)
