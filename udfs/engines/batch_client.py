"""The calls of the Batch API at one address, each tried until it is answered or clearly will not be."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar

from udfs.engines.batch_lines import CHAT, Line, read_lines
from udfs.engines.endpoints import broken_errors, hide_key, make_client, refusal_of, transport_reason
from udfs.engines.protocol import EngineSpec, FatalEngineError
from udfs.engines.retries import Action, Backoff, judge

if TYPE_CHECKING:
    from openai.types import Batch

T = TypeVar("T")
TAG = "boostqa"  # the key in a batch's metadata under which it names its intent
OVER = ("completed", "failed", "expired", "cancelled")
QUEUE_FULL = "token_limit_exceeded"
PAGE = 100


class RefusedError(FatalEngineError):
    """The server has answered, and will not do it."""


@dataclass(frozen=True, slots=True)
class BatchState:
    """A batch as the server tells of it: `status` in its words, `files` with results, `errors` (code, words) of a batch that was not begun, `seconds` it took."""

    id: str
    status: str
    files: tuple[str, ...] = ()
    errors: tuple[tuple[str, str], ...] = ()
    seconds: float = 0.0

    @property
    def over(self) -> bool:
        """Tells that nothing more comes."""
        return self.status in OVER

    @property
    def queue_full(self) -> bool:
        """Tells that it was not begun because too much of others is waiting."""
        return self.status == "failed" and any(code == QUEUE_FULL for code, _ in self.errors)

    @property
    def words(self) -> str:
        """What the server says of a batch that was not begun."""
        return "; ".join(words for _, words in self.errors[:3]) or "the server gives no reason"


class BatchClient:
    """The connections to one address; they belong to one event loop."""

    def __init__(self, spec: EngineSpec, key: str, backoff: Backoff) -> None:
        self._spec = spec
        self._key = key
        self._backoff = backoff
        self._url = spec.base_urls[0]
        self._client = make_client(self._url, key, spec.request_timeout_s)
        self._met = False

    async def close(self) -> None:
        await self._client.close()

    async def upload(self, lines: bytes) -> str:
        """Uploads an input file, at no cost; returns its id. Raises FatalEngineError."""
        file = ("boostqa.jsonl", lines)
        made = await self._call("the upload", lambda: self._client.files.create(file=file, purpose="batch"))
        return made.id

    async def create(self, file_id: str, tag: str, wanted: Callable[[], bool]) -> str:
        """Creates a batch and returns its id; a try whose answer was lost is looked for before the next.

        Raises RefusedError where nothing was created, and FatalEngineError where that is not known or it is no longer wanted.
        """
        tries = 0

        async def create_once() -> str:
            nonlocal tries
            tries += 1
            if tries > 1:
                # What was created a moment ago may not be in the list at once.
                await asyncio.sleep(self._spec.batch_poll_s)
                found = await self._tagged(tag)
                if found:
                    return found
            if not wanted():
                raise FatalEngineError("another task has taken these requests over, as if this one were dead")
            made = await self._client.batches.create(
                input_file_id=file_id, endpoint=CHAT, completion_window="24h", metadata={TAG: tag}
            )
            return made.id

        try:
            return await self._call("the batch", create_once)
        except RefusedError as error:
            if tries == 1:
                raise
            # An earlier try may have created it.
            raise FatalEngineError(str(error)) from None

    async def find(self, tag: str) -> str:
        """Returns the id of the batch with this tag, or nothing where there is none. Raises FatalEngineError."""
        return await self._call("the list of batches", lambda: self._tagged(tag))

    async def look(self, batch_id: str, advice: str) -> BatchState:
        """Asks how far a batch is. Raises FatalEngineError, with `advice` where the server does not know the batch."""
        batch = await self._call(f"batch {batch_id}", lambda: self._client.batches.retrieve(batch_id), advice)
        errors = (batch.errors.data if batch.errors else None) or []
        said = tuple((each.code or "", hide_key(each.message or "", self._key)) for each in errors)
        files = tuple(name for name in (batch.output_file_id, batch.error_file_id) if name)
        return BatchState(batch_id, _status(batch), files, said, _seconds(batch))

    async def results(self, state: BatchState, advice: str) -> dict[str, Line]:
        """Downloads what a batch has answered and refused, by request id. Raises FatalEngineError, with `advice` where the files are gone."""
        raw = [await self._call(f"file {name}", partial(self._content, name), advice) for name in state.files]
        return dict(chain.from_iterable(map(read_lines, raw)))

    async def busy(self) -> bool:
        """Tells whether any batch of the account is waited for. Raises FatalEngineError."""

        async def look() -> bool:
            page = await self._client.batches.list(limit=PAGE)
            return any(_status(batch) not in OVER for batch in page.data)

        return await self._call("the list of batches", look)

    async def _content(self, name: str) -> bytes:
        return (await self._client.files.content(name)).content

    async def _tagged(self, tag: str) -> str:
        # To the end, however many there are: what is not found is sent again.
        async for batch in self._client.batches.list(limit=PAGE):
            if (batch.metadata or {}).get(TAG) == tag:
                return batch.id
        return ""

    async def _call(self, what: str, send: Callable[[], Awaitable[T]], advice: str = "") -> T:
        """Sends until there is an answer. A server that has answered before is given `deadline_s` to come back."""
        from openai import APIStatusError

        started, tries = time.monotonic(), 0
        while True:
            tries += 1
            wait = self._backoff.seconds(tries, what)
            try:
                answer = await send()
            except APIStatusError as error:
                refusal = refusal_of(error, self._key)
                verdict = judge(refusal, structured=False)
                reason = f"HTTP {refusal.status}: {refusal.words[:500]}"
                if verdict.action is not Action.RETRY:
                    what = f"the key in {self._spec.api_key_env}" if refusal.status in (401, 403) else what
                    hint = f". {advice}" if advice and refusal.status == 404 else ""
                    break
                wait = max(wait, verdict.wait_s or 0.0)
            except broken_errors() as error:
                reason = hide_key(transport_reason(error, self._spec.request_timeout_s)[0], self._key)
            else:
                self._met = True
                return answer
            patience = self._spec.deadline_s if self._met else 0.0
            if tries >= self._spec.max_attempts and time.monotonic() + wait - started > patience:
                raise FatalEngineError(f"{self._url} gives no answer about {what} after {tries} tries: {reason}")
            await asyncio.sleep(wait)
        # Outside of the handler: the client's own error may show the key.
        raise RefusedError(f"{self._url} refuses {what}: {reason}{hint}")


def _status(batch: Batch) -> str:
    return str(batch.status or "").lower()


def _seconds(batch: Any) -> float:
    ended = batch.completed_at or batch.expired_at or batch.cancelled_at
    timed = isinstance(ended, int) and isinstance(batch.created_at, int)
    return float(ended - batch.created_at) if timed else 0.0
