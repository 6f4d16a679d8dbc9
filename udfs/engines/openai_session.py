"""One `stream` call of the `openai` engine: its connections, and what becomes of each request."""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import Iterable
from dataclasses import replace

from udfs.engines.bounds import Bounds
from udfs.engines.endpoints import hide_key, read_refusal, transport_reason
from udfs.engines.http_client import HttpClient
from udfs.engines.limits import Balancer
from udfs.engines.protocol import ChatRequest, ChatResult, EngineSpec, FatalEngineError
from udfs.engines.purse import Amount
from udfs.engines.retries import Action, Backoff, Refusal, Verdict, judge
from udfs.engines.tries import GAVE_UP, OUTAGE_ROWS, REFUSED, Tries
from udfs.engines.wire import read_reply, request_body, to_json

REST_S = 5.0  # how long an address with nobody behind it is left alone


class UnaskedError(Exception):
    """The budget has nothing left for this request."""


class Session:
    """The connections and bounds of one `stream` call; they belong to its event loop."""

    def __init__(self, spec: EngineSpec, key: str, backoff: Backoff, plain_models: set[str], bounds: Bounds) -> None:
        self.fatal = ""
        self.bounds = bounds
        self._given_up: list[ChatResult] = []
        self._spec = spec
        self._key = key
        self._backoff = backoff
        self._plain_models = plain_models
        self._clients = [HttpClient(url, key) for url in spec.base_urls]
        self._balancer = Balancer(len(self._clients), time.monotonic, prefer=self._home)
        self._last_contact = float("-inf")
        self._sending: set[asyncio.Task[ChatResult] | None] = set()

    @property
    def over(self) -> bool:
        """Tells that no more requests may go out."""
        return bool(self.fatal) or self.bounds.purse.empty

    @property
    def look_ahead(self) -> int:
        """Requests to have at hand: those that wait for their next try must not leave places empty."""
        return max(1, 2 * self.bounds.places)

    def _home(self, prefix: str) -> int | None:
        return zlib.crc32(prefix.encode()) % len(self._clients) if prefix else None

    def results(self, task: asyncio.Task[ChatResult]) -> list[ChatResult]:
        """Returns what can be told now that a request is done with.

        One that was given up is held back until another is answered: where nothing is answered any more, the run stops,
        and none of them has failed for good.
        """
        if task.cancelled() or isinstance(task.exception(), FatalEngineError | UnaskedError):
            return []
        result = task.result()
        if result.error.startswith(GAVE_UP):
            self._given_up.append(result)
            if len(self._given_up) >= OUTAGE_ROWS and not self.fatal:
                self.fatal = f"{len(self._given_up)} requests in a row got no answer: {result.error}"
            return []
        return [*self._take_given_up(), result]

    def last_results(self) -> list[ChatResult]:
        """Returns those that were held back when all else is done."""
        return [] if self.fatal else self._take_given_up()

    def _take_given_up(self) -> list[ChatResult]:
        held, self._given_up = self._given_up, []
        return held

    def drop_waiting(self, tasks: Iterable[asyncio.Task[ChatResult]]) -> None:
        """Cancels the requests that are not at a server now; the others may be paid already, so they go on."""
        for task in tasks:
            if task not in self._sending:
                task.cancel()

    async def close(self) -> None:
        for client in self._clients:
            await client.close()

    async def answer(self, request: ChatRequest) -> ChatResult:
        """Asks until there is an answer or a reason to stop."""
        progress = Tries(request)
        while True:
            verdict = await self._ask(progress)
            if verdict is None:
                return progress.result()
            if verdict.action is Action.STOP_RUN:
                self.fatal = self.fatal or verdict.reason
            if self.fatal:
                raise FatalEngineError(self.fatal)
            if verdict.action is Action.FAIL_ROW:
                return progress.result(verdict.reason)
            if verdict.action is Action.RETRY:
                wait = verdict.wait_s if verdict.wait_s is not None else 0.0
                wait = max(wait, self._backoff.seconds(progress.attempts, request.request_id))
                if self.over:
                    raise UnaskedError
                gave_up = self._gave_up(progress, wait)
                if gave_up:
                    return progress.result(f"{gave_up}; the last: {verdict.reason}")
                await asyncio.sleep(wait)

    def _gave_up(self, progress: Tries, wait: float) -> str:
        if progress.attempts >= self._spec.max_attempts:
            return f"{GAVE_UP} after {progress.counted}"
        if time.monotonic() + wait - progress.started > self._spec.deadline_s:
            return f"{GAVE_UP}: the deadline of {self._spec.deadline_s:g} s leaves no time for more than {progress.counted}"
        return ""

    async def _ask(self, progress: Tries) -> Verdict | None:
        """Sends one HTTP request in its place under the bounds. Returns None for a usable answer; raises UnaskedError where the budget has no room."""
        request, bounds = progress.request, self.bounds
        worst = bounds.worst(request)
        epoch = await bounds.enter(worst.tokens)
        progress.used = Amount()
        try:
            if not await bounds.purse.reserve(worst):
                raise UnaskedError
            try:
                # From here on it may be paid, whatever comes back.
                progress.used = worst
                # A server that hangs or fails may do so for long: the next try is another's.
                verdict = await self._send_to(self._balancer.take(request.prefix, progress.silent), progress)
            finally:
                bounds.purse.settle(worst, progress.used)
        finally:
            bounds.leave(worst.tokens, progress.used.tokens)
        if verdict is None:
            bounds.limit.answered()
            return None
        bounds.troubles[verdict.reason.partition(":")[0]] += 1
        if verdict.overloaded:
            bounds.limit.overloaded(epoch)
        return verdict

    async def _send_to(self, server: int, progress: Tries) -> Verdict | None:
        task = asyncio.current_task()
        self._sending.add(task)
        try:
            verdict = await self._send(progress, server)
        finally:
            self._sending.discard(task)
            self._balancer.give(server)
        if verdict is not None and verdict.away:
            self._balancer.rest(server, REST_S)
        return verdict

    async def _send(self, progress: Tries, server: int) -> Verdict | None:
        import aiohttp

        request, sent = progress.request, time.monotonic()
        progress.started = progress.started or sent
        progress.attempts += 1
        progress.silent = server
        timeout = min(self._spec.request_timeout_s, progress.started + self._spec.deadline_s - sent)
        structured = request.json_schema is not None and request.model not in self._plain_models
        body = to_json(request_body(request, structured))
        try:
            answer = await self._clients[server].post("/chat/completions", body, max(timeout, 0.001))
        except (aiohttp.ClientError, asyncio.TimeoutError, UnicodeError) as error:
            return self._broken(error, progress, server)
        finally:
            progress.latency_s = time.monotonic() - sent
        self._last_contact = time.monotonic()
        if not answer.ok:
            if answer.status < 500:
                progress.used = REFUSED
            refusal = read_refusal(answer.status, answer.headers, answer.body, self._key)
            return self._refused(refusal, server, request, structured)
        progress.silent = None
        verdict = progress.read(read_reply(answer.body), self._key, self._spec.bad_answers)
        progress.used = self.bounds.used(request.model, progress.reply, progress.used)
        return verdict

    def _refused(self, refusal: Refusal, server: int, request: ChatRequest, structured: bool) -> Verdict:
        verdict = judge(refusal, structured)
        if verdict.action is Action.ASK_PLAIN:
            self._plain_models.add(request.model)
        if verdict.action is Action.STOP_RUN:
            by_key = refusal.status in (401, 403)
            what = f"the key in {self._spec.api_key_env}" if by_key else f"model {request.model!r}"
            return replace(verdict, reason=f"{self._spec.base_urls[server]} refuses {what}: {verdict.reason}")
        return verdict

    def _broken(self, error: BaseException, progress: Tries, server: int) -> Verdict:
        reason, unreachable = transport_reason(error, self._spec.request_timeout_s)
        reason = hide_key(reason, self._key)
        if unreachable:
            # Nobody has seen the request, so nobody is paid for it.
            progress.used = REFUSED
        silent = self._last_contact < progress.started  # no server gave a sign of life since this request's first try
        if unreachable and silent and progress.attempts >= self._spec.max_attempts:
            return Verdict(
                Action.STOP_RUN, f"{self._spec.base_urls[server]} cannot be reached: {reason}; is the server running?"
            )
        return Verdict(Action.RETRY, reason, away=unreachable)
