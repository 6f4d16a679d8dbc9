"""The `openai` engine: any OpenAI-compatible endpoints, many requests at once, retried only where that can help."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Iterator
from functools import partial

from udfs.engines.blocking import collect
from udfs.engines.bounds import Bounds
from udfs.engines.endpoints import check_urls, read_key
from udfs.engines.openai_session import Session
from udfs.engines.protocol import ChatRequest, ChatResult, EngineSpec, FatalEngineError
from udfs.engines.retries import Backoff


class OpenAIEngine:
    """Answers chat requests at OpenAI-compatible endpoints.

    It keeps no connection between calls, so it may be cached, used from several event loops and forked; what it has
    learned of the endpoints (models that refuse `response_format`) stays. Raises FatalEngineError for a bad address or
    a missing key.
    """

    def __init__(self, spec: EngineSpec, backoff: Backoff | None = None) -> None:
        check_urls(spec)
        self.spec = spec
        self._key = read_key(spec)
        self._backoff = backoff or Backoff()
        self._plain_models: set[str] = set()

    def complete(self, requests: list[ChatRequest]) -> list[ChatResult]:
        """Answers all requests, in the order of completion. Raises FatalEngineError when no request can succeed."""
        return collect(self.stream(requests))

    async def stream(
        self, requests: Iterable[ChatRequest], bounds: Bounds | None = None
    ) -> AsyncGenerator[ChatResult, None]:
        """Yields each result as soon as it is there, and takes requests from the iterable only as places become free.

        Ends early when the budget in `bounds` is used up. Raises FatalEngineError when no request can succeed; answers
        that were on their way are yielded before.
        """
        session = Session(self.spec, self._key, self._backoff, self._plain_models, bounds or Bounds(self.spec))
        source = iter(requests)
        # None wakes the loop where there are more places now.
        finished: asyncio.Queue[asyncio.Task[ChatResult] | None] = asyncio.Queue()
        session.bounds.on_change = partial(finished.put_nowait, None)
        running: set[asyncio.Task[ChatResult]] = set()
        try:
            while True:
                if session.over:
                    session.drop_waiting(running)
                for request in _take(source, 0 if session.over else session.look_ahead - len(running)):
                    task = asyncio.create_task(session.answer(request))
                    task.add_done_callback(finished.put_nowait)
                    running.add(task)
                if not running:
                    break
                done = await finished.get()
                if done is not None:
                    running.discard(done)
                    for result in session.results(done):
                        yield result
            for result in session.last_results():
                yield result
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            await session.close()
        if session.fatal:
            raise FatalEngineError(session.fatal)

    def close(self) -> None:
        """Nothing is held between calls."""


def _take(source: Iterator[ChatRequest], count: int) -> Iterator[ChatRequest]:
    for _ in range(count):
        request = next(source, None)
        if request is None:
            return
        yield request
