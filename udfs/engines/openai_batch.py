"""The `openai-batch` engine: the Batch API of one OpenAI-compatible endpoint, at a lower price and within a day."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable

from udfs.engines.batch_session import BatchSession
from udfs.engines.blocking import collect
from udfs.engines.bounds import Bounds
from udfs.engines.endpoints import check_urls, read_key
from udfs.engines.protocol import ChatRequest, ChatResult, EngineSpec, FatalEngineError
from udfs.engines.retries import Backoff


class OpenAIBatchEngine:
    """Answers chat requests in batches, each paid once: a stream that is killed leaves its batches at the server, and whoever asks the same again reads them.

    What it has learned of the endpoint stays for as long as it lives; it keeps no connection between calls. Raises FatalEngineError for a bad address,
    more than one, a missing key, or a spec without `batch_folder`.
    """

    def __init__(self, spec: EngineSpec, backoff: Backoff | None = None) -> None:
        check_urls(spec)
        if len(spec.base_urls) > 1:
            raise FatalEngineError(
                "a batch is at one endpoint: give one address in llm.base_urls, or set llm.batch to false"
            )
        if not spec.batch_folder:
            raise FatalEngineError("the openai-batch engine needs `batch_folder`, a folder on shared storage")
        self.spec = spec
        self._key = read_key(spec)
        self._backoff = backoff or Backoff()
        self._plain_models: set[str] = set()

    def complete(self, requests: list[ChatRequest]) -> list[ChatResult]:
        """Answers all requests, batch by batch. Raises FatalEngineError when no request can succeed."""
        return collect(self.stream(requests))

    async def stream(
        self, requests: Iterable[ChatRequest], bounds: Bounds | None = None
    ) -> AsyncGenerator[ChatResult, None]:
        """Yields the results of each batch when it is over, within the budget of `bounds`; its places and rates are for single requests.

        All requests are taken at once, and all batches that the budget has room for are open together. Raises FatalEngineError when no request can succeed,
        or when the server stays silent; batches that are open then go on, and are read by the next stream that asks the same.
        """
        session = BatchSession(self.spec, self._key, self._backoff, self._plain_models, bounds or Bounds(self.spec))
        try:
            session.begin(requests)
            while not session.fatal:
                await session.submit()
                waited_for = list(session.open)
                for batch in waited_for:
                    for result in await session.results_of(batch):
                        yield result
                if not waited_for:
                    break
                if len(session.open) == len(waited_for):
                    await asyncio.sleep(self.spec.batch_poll_s)
        finally:
            await session.close()
        if session.fatal:
            raise FatalEngineError(session.fatal)

    def close(self) -> None:
        """Nothing is held between calls."""
