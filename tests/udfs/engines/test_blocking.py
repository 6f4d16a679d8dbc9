"""Async work from plain code, in a notebook's running loop as well; Ctrl-C ends the work."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Iterator

import pytest

from udfs.engines.blocking import run_blocking


async def where() -> int:
    await asyncio.sleep(0)
    return threading.get_ident()


async def broken() -> None:
    await asyncio.sleep(0)
    raise LookupError("no such thing")


def test_work_runs_in_the_callers_own_thread() -> None:
    assert run_blocking(where()) == threading.get_ident()


def test_where_a_loop_runs_already_the_work_has_a_thread_of_its_own() -> None:
    async def notebook() -> tuple[int, int]:
        return run_blocking(where()), run_blocking(where())

    first, second = asyncio.run(notebook())
    assert threading.get_ident() not in (first, second)


def test_an_error_of_the_work_is_the_callers_in_both_places() -> None:
    async def notebook() -> None:
        run_blocking(broken())

    for call in (lambda: run_blocking(broken()), lambda: asyncio.run(notebook())):
        with pytest.raises(LookupError, match="no such thing"):
            call()


def test_the_loop_is_closed_after_the_work() -> None:
    async def mine() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    first, second = run_blocking(mine()), run_blocking(mine())
    assert first.is_closed()
    assert first is not second


@pytest.fixture
def _plain_ctrl_c() -> Iterator[None]:
    """Python's own handler: a Spark session of other tests has one that also cancels its jobs."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_plain_ctrl_c")
def test_ctrl_c_cancels_the_work_and_lets_it_clean_up() -> None:
    cleaned: list[str] = []

    async def long() -> None:
        try:
            signal.raise_signal(signal.SIGINT)
            await asyncio.sleep(60)
        finally:
            cleaned.append("connections closed")

    with pytest.raises(KeyboardInterrupt):
        run_blocking(long())
    assert cleaned == ["connections closed"]
