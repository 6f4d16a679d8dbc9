"""One `stream` call of the `openai-batch` engine: its batches, and what becomes of each request."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace

from udfs.engines.batch_client import BatchClient, BatchState, RefusedError
from udfs.engines.batch_intents import Asked, Intent, Intents, drop_intent
from udfs.engines.batch_lines import OK, Line, judge_line, missing_line, request_line
from udfs.engines.bounds import Bounds
from udfs.engines.endpoints import hide_key
from udfs.engines.protocol import ChatRequest, ChatResult, EngineSpec, FatalEngineError
from udfs.engines.purse import Amount
from udfs.engines.retries import Action, Backoff, Verdict
from udfs.engines.tries import GAVE_UP, OUTAGE_ROWS, REFUSED, Tries
from udfs.engines.wire import read_completion

MAX_BYTES = 200_000_000  # of an input file, by the API
QUEUE_POLLS = 10  # polls between two tries at a full queue
IDLE_TURNS = 3  # turns in a row that find a full queue with nothing in it: no batch of this size will ever fit
NEVER = (-1, "")


@dataclass(slots=True, eq=False)
class OpenBatch:
    """A batch that is waited for. `asked` are the requests of this stream in it; `resumed` tells that another stream has created it."""

    intent: Intent
    asked: dict[str, Tries]
    batch_id: str = ""
    structured: bool = True
    resumed: bool = True
    turn: int = 0


class BatchSession:
    """The batches of one `stream` call; its connections belong to one event loop."""

    def __init__(self, spec: EngineSpec, key: str, backoff: Backoff, plain_models: set[str], bounds: Bounds) -> None:
        self.fatal = ""
        self.open: list[OpenBatch] = []
        self._spec = spec
        self._key = key
        self._plain_models = plain_models
        self._bounds = bounds
        self._intents = Intents(spec.batch_folder, spec.base_urls[0])
        self._client = BatchClient(spec, key, backoff)
        self._waiting: list[Tries] = []
        # Of each request the round of its last batch, and that batch's intent.
        self._last: dict[str, tuple[int, str]] = {}
        self._known: set[str] = set()
        self._turn = 0
        self._idle_turns: set[int] = set()

    async def close(self) -> None:
        await self._client.close()

    def begin(self, requests: Iterable[ChatRequest]) -> None:
        """Takes the requests."""
        self._waiting = [Tries(request) for request in requests]

    async def submit(self) -> None:
        """Sends what is waiting, as far as the budget has room, in batches of one model each. Raises FatalEngineError."""
        self._turn += 1
        if self._waiting:
            self._adopt()
        while self._waiting and (chunk := self._chunk()):
            await self._send(chunk)
        if self._waiting and not self.open:
            self._bounds.purse.empty = True

    def _adopt(self) -> None:
        """Lets the requests that an intent asks already wait for its batch, whoever has created it."""
        waiting = {(tries.request.request_id, tries.request.attempt): tries for tries in self._waiting}
        before = dict(self._last)
        for intent in self._intents.open(self._known):
            self._known.add(intent.name)
            mine = [
                asked
                for asked in intent.requests
                if asked[:2] in waiting and asked.round > before.get(asked.request_id, NEVER)[0]
            ]
            if mine:
                self._join(OpenBatch(intent, {asked.request_id: waiting[asked[:2]] for asked in mine}), mine)
                for asked in mine:
                    # It may be paid already, whatever the budget of this run.
                    self._bounds.purse.owe(self._bounds.worst(waiting[asked[:2]].request))
        joined = {request_id for request_id, last in self._last.items() if last != before.get(request_id)}
        self._waiting = [tries for tries in self._waiting if tries.request.request_id not in joined]

    def _join(self, batch: OpenBatch, asked: Iterable[Asked]) -> None:
        self._known.add(batch.intent.name)
        self.open.append(batch)
        for request_id, _, number in asked:
            if number > self._last.get(request_id, NEVER)[0]:
                self._last[request_id] = (number, batch.intent.name)

    def _structured(self, request: ChatRequest) -> bool:
        return request.json_schema is not None and request.model not in self._plain_models

    def _chunk(self) -> list[tuple[Tries, bytes]]:
        """Takes out of what is waiting as much as one batch and the budget hold."""
        purse, model = self._bounds.purse, ""
        chunk: list[tuple[Tries, bytes]] = []
        left: list[Tries] = []
        size = 0
        for number, tries in enumerate(self._waiting):
            request = tries.request
            if (model and request.model != model) or not purse.take(self._bounds.worst(request)):
                left.append(tries)
                continue
            model = request.model
            line = request_line(request, self._structured(request))
            size += len(line)
            if chunk and size > MAX_BYTES:
                purse.settle(self._bounds.worst(request), Amount())
                left += self._waiting[number:]
                break
            chunk.append((tries, line))
            if len(chunk) == self._spec.batch_requests:
                left += self._waiting[number + 1 :]
                break
        self._waiting = left
        return chunk

    async def _send(self, chunk: list[tuple[Tries, bytes]]) -> None:
        asked = {tries.request.request_id: tries for tries, _ in chunk}
        structured = self._structured(chunk[0][0].request)
        try:
            file_id = await self._client.upload(b"".join(line for _, line in chunk))
        except FatalEngineError:
            self._release(asked.values())
            raise
        intent, new = self._intents.write(self._next(tries.request) for tries in asked.values())
        batch = OpenBatch(intent, asked, "", structured, resumed=not new, turn=self._turn)
        self._join(batch, intent.requests)
        if not new:
            return
        try:
            batch.batch_id = await self._client.create(file_id, intent.tag, lambda: self._intents.has(intent))
        except RefusedError:
            drop_intent(intent.address)
            self._release(asked.values())
            raise
        self._intents.note(intent, batch.batch_id)

    def _next(self, request: ChatRequest) -> Asked:
        return Asked(request.request_id, request.attempt, self._last.get(request.request_id, NEVER)[0] + 1)

    def _release(self, asked: Iterable[Tries]) -> None:
        for tries in asked:
            self._bounds.purse.settle(self._bounds.worst(tries.request), Amount())

    async def results_of(self, batch: OpenBatch) -> list[ChatResult]:
        """Asks how far a batch is; returns what can be told when it is over, and takes it out of the open ones. Raises FatalEngineError."""
        if not batch.batch_id and not await self._found(batch):
            return []
        advice = (
            f"Another key may have made it. If its answers are gone for good, delete {batch.intent.address}, "
            "and its requests are asked (and paid) again"
        )
        state = await self._client.look(batch.batch_id, advice)
        if state.status == "failed":
            await self._not_begun(batch, state)
        if not state.over or state.status == "failed":
            return []
        lines = await self._client.results(state, advice)
        self.open.remove(batch)
        self._idle_turns.clear()
        return self._told(batch, [self._result(batch, tries, lines, state) for tries in batch.asked.values()])

    async def _found(self, batch: OpenBatch) -> bool:
        """Looks for the batch of an intent that does not name it: its task was killed, or is about to create it."""
        intent = batch.intent
        batch.batch_id = self._intents.batch_of(intent) or await self._client.find(intent.tag)
        if batch.batch_id:
            self._intents.note(intent, batch.batch_id)
        elif time.time() - intent.created > 2 * self._spec.request_timeout_s:
            self._ask_again(batch)
        return bool(batch.batch_id)

    def _ask_again(self, batch: OpenBatch) -> None:
        """Forgets a batch that was never begun."""
        drop_intent(batch.intent.address)
        self.open.remove(batch)
        self._release(batch.asked.values())
        self._waiting += [tries for tries in batch.asked.values() if self._is_last(batch, tries)]

    def _is_last(self, batch: OpenBatch, tries: Tries) -> bool:
        return self._last[tries.request.request_id][1] == batch.intent.name

    async def _not_begun(self, batch: OpenBatch, state: BatchState) -> None:
        self._ask_again(batch)
        if state.queue_full and await self._room_may_come(batch.turn):
            return
        if not batch.resumed:
            small = "; make llm.batch_requests smaller" if state.queue_full else ""
            self.fatal = f"{self._spec.base_urls[0]} refuses batch {state.id}: {state.words}{small}"

    async def _room_may_come(self, turn: int) -> bool:
        """Waits where the queue is full of other batches. Where it is empty, they may have ended since: such a turn alone proves nothing."""
        if await self._client.busy():
            self._idle_turns.clear()
            await asyncio.sleep(QUEUE_POLLS * self._spec.batch_poll_s)
            return True
        self._idle_turns.add(turn)
        return len(self._idle_turns) < IDLE_TURNS

    def _told(self, batch: OpenBatch, done: list[ChatResult | None]) -> list[ChatResult]:
        """Where a batch has brought nothing but requests given up, it is the server: none of them has failed for good."""
        results = [result for result in done if result is not None]
        gave_up = [result.error for result in done if result is not None and result.error.startswith(GAVE_UP)]
        if len(gave_up) == len(batch.intent.requests) >= OUTAGE_ROWS:
            # Its tries must not count when it is asked again.
            drop_intent(batch.intent.address)
            self.fatal = f"all {len(gave_up)} requests of a batch got no answer: {gave_up[-1]}"
            return []
        return results

    def _result(self, batch: OpenBatch, tries: Tries, lines: dict[str, Line], state: BatchState) -> ChatResult | None:
        """Reads what became of a request in a batch. None where it is asked again, here or in a later batch."""
        line = lines.get(tries.request.request_id)
        tries.attempts += 1
        tries.latency_s = state.seconds
        verdict = self._read(batch, tries, line or missing_line(state.status))
        self._bounds.purse.settle(self._bounds.worst(tries.request), tries.used)
        if verdict is None:
            return tries.result() if self._is_last(batch, tries) else None
        self._bounds.troubles[verdict.reason.partition(":")[0]] += 1
        if verdict.action is Action.STOP_RUN:
            # No fault of the request: it is asked again, by this stream or by the next run.
            tries.attempts -= 1
            if not batch.resumed:
                self.fatal = self.fatal or f"{self._spec.base_urls[0]}, batch {state.id}: {verdict.reason}"
        if verdict.action is Action.ASK_PLAIN:
            self._plain_models.add(tries.request.model)
        if not self._is_last(batch, tries):
            return None
        if verdict.action is Action.FAIL_ROW:
            return tries.result(verdict.reason)
        if tries.attempts >= self._spec.max_attempts:
            return tries.result(f"{GAVE_UP} after {tries.counted}; the last: {verdict.reason}")
        self._waiting.append(tries)
        return None

    def _read(self, batch: OpenBatch, tries: Tries, line: Line) -> Verdict | None:
        """Judges a line, and says what it counts against the budget."""
        worst = self._bounds.worst(tries.request)
        if line.status == OK:
            verdict = tries.read(read_completion(line.body), self._key, self._spec.bad_answers)
            tries.used = self._bounds.used(tries.request.model, tries.reply, worst)
            return verdict
        tries.used = worst if line.may_be_paid else REFUSED
        structured = batch.structured and tries.request.json_schema is not None
        return judge_line(replace(line, words=hide_key(line.words, self._key)), structured)
