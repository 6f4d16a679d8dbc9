"""Shared places: fair by need, and never more than the bound, however late the files are read."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from udfs.engines.bounds import Bounds
from udfs.engines.protocol import EngineSpec
from udfs.engines.purse import Amount
from udfs.places import REPORT, Grant, PlaceHolder, divide, next_grants, read_report, write_grant

needs = st.dictionaries(st.text("abcdefgh", min_size=1, max_size=3), st.integers(0, 300), min_size=1, max_size=12)


@given(st.integers(0, 500), needs)
def test_all_places_are_given_out_and_none_that_nobody_needs(bound: int, needs: dict[str, int]) -> None:
    shares = divide(bound, needs)
    assert shares.keys() == needs.keys()
    assert all(shares[task] <= need for task, need in needs.items())
    assert sum(shares.values()) == min(bound, sum(needs.values()))


@given(st.integers(1, 500), needs)
def test_who_gets_less_than_it_needs_has_at_most_one_place_less_than_any_other(
    bound: int, needs: dict[str, int]
) -> None:
    shares = divide(bound, needs)
    short = [share for task, share in shares.items() if share < needs[task]]
    assert all(share >= max(shares.values()) - 1 for share in short)


@given(st.integers(1, 64), st.integers(1, 6), st.integers(0, 10_000))
def test_the_bound_holds_whatever_is_read_late(bound: int, tasks: int, seed: int) -> None:
    """Tasks that obey late and report late: what is in use never passes the bound, and in the end all that is needed is had."""
    draw = random.Random(seed)
    fakes = {f"t{n}": FakeTask() for n in range(tasks)}
    wanted = {name: draw.randint(0, 2 * bound) for name in fakes}
    for turn in range(200):
        late = turn < 150
        if late and draw.random() < 0.2:
            wanted[draw.choice(list(fakes))] = draw.randint(0, 2 * bound)
        for fake in fakes.values():
            if not late or draw.random() < 0.5:
                fake.read_grant()
            fake.answers(draw.randint(0, 5) if late else 1000)
            if not late or draw.random() < 0.5:
                fake.told = (fake.obeys.number, fake.in_use)
        held = {name: fake.may_have() for name, fake in fakes.items()}
        for name, places in next_grants(bound, held, wanted).items():
            fakes[name].grants.append(Grant(len(fakes[name].grants), places))
        assert sum(fake.in_use for fake in fakes.values()) <= bound
    assert sum(fake.grants[-1].places for fake in fakes.values()) == min(bound, sum(wanted.values()))


class FakeTask:
    """A task that takes all that it is granted, and gives back only as its answers come in."""

    def __init__(self) -> None:
        self.grants = [Grant(0, 0)]
        self.obeys = self.grants[0]
        self.in_use = 0
        self.told = (0, 0)

    def read_grant(self) -> None:
        self.obeys = self.grants[-1]
        self.in_use = max(self.in_use, self.obeys.places)

    def answers(self, count: int) -> None:
        self.in_use = max(self.obeys.places, self.in_use - count)

    def may_have(self) -> int:
        number, held = self.told
        return max(held, *(grant.places for grant in self.grants[number:]))


def test_a_task_follows_its_grant_and_gives_back_at_the_end(tmp_path: Path) -> None:
    async def scenario() -> list[int]:
        bounds = Bounds(EngineSpec(max_in_flight=8), places=0)
        holder = PlaceHolder(str(tmp_path), "3", bounds, need=lambda: 5)
        following = asyncio.create_task(holder.follow())
        await asyncio.sleep(0.3)
        seen = [bounds.places]
        write_grant(str(tmp_path), "3", Grant(1, 4))
        await asyncio.sleep(0.4)
        seen.append(bounds.places)
        following.cancel()
        holder.close()
        return [*seen, bounds.places]

    assert asyncio.run(scenario()) == [0, 4, 0]
    report = read_report(f"{tmp_path}/3{REPORT}")
    assert (report.grant, report.held, report.need, report.done) == (1, 0, 0, True)


def test_a_task_that_is_told_to_stop_lets_nothing_more_out(tmp_path: Path) -> None:
    async def scenario() -> bool:
        bounds = Bounds(EngineSpec(max_in_flight=8), places=0)
        following = asyncio.create_task(PlaceHolder(str(tmp_path), "3", bounds, need=lambda: 5).follow())
        write_grant(str(tmp_path), "3", Grant(1, 4, stop=True))
        await asyncio.sleep(0.4)
        following.cancel()
        return bounds.purse.take(Amount(requests=1))

    assert not asyncio.run(scenario())
