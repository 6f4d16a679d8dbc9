"""Runs async code from plain code, also where a loop is running already (a notebook)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


def run_blocking(work: Coroutine[Any, Any, T]) -> T:
    """Runs the coroutine to its end and returns its result.

    In the calling thread where it has no loop, so that Ctrl-C cancels the work; otherwise in a thread of its own.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


def collect(stream: AsyncIterable[T]) -> list[T]:
    """Runs an asynchronous stream to its end and returns all that it gave, as `run_blocking` does."""

    async def gather() -> list[T]:
        return [each async for each in stream]

    return run_blocking(gather())
