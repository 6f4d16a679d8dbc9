"""The `openai` engine: any OpenAI-compatible endpoints, many requests at once, retried only where that can help."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Iterable, Iterator
from dataclasses import dataclass, field, replace

from udfs.engines.blocking import run_blocking
from udfs.engines.endpoints import check_urls, hide_key, make_client, read_key, refusal_of, transport_reason
from udfs.engines.limits import AdaptiveLimit, Balancer, Pace
from udfs.engines.protocol import ChatRequest, ChatResult, EngineSpec, FatalEngineError
from udfs.engines.retries import Action, Backoff, Refusal, Verdict, judge
from udfs.engines.wire import Reply, read_reply, request_body, worst_tokens

REST_S = 5.0  # how long an address with nobody behind it is left alone


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

        async def collect() -> list[ChatResult]:
            return [result async for result in self.stream(requests)]

        return run_blocking(collect())

    async def stream(self, requests: Iterable[ChatRequest]) -> AsyncGenerator[ChatResult, None]:
        """Yields each result as soon as it is there, and takes requests from the iterable only as places become free.

        Raises FatalEngineError when no request can succeed; answers that were on their way are yielded before.
        """
        session = _Session(self.spec, self._key, self._backoff, self._plain_models)
        source = iter(requests)
        finished: asyncio.Queue[asyncio.Task[ChatResult]] = asyncio.Queue()
        running: set[asyncio.Task[ChatResult]] = set()
        try:
            while True:
                if session.fatal:
                    session.drop_waiting(running)
                for request in _take(source, 0 if session.fatal else session.look_ahead - len(running)):
                    task = asyncio.create_task(session.answer(request))
                    task.add_done_callback(finished.put_nowait)
                    running.add(task)
                if not running:
                    break
                task = await finished.get()
                running.discard(task)
                if not task.cancelled() and not isinstance(task.exception(), FatalEngineError):
                    yield task.result()
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            await session.close()
        if session.fatal:
            raise FatalEngineError(session.fatal)

    def close(self) -> None:
        """Nothing is held between calls."""


@dataclass(slots=True)
class _Progress:
    """What is known of one request so far."""

    request: ChatRequest
    started: float = 0.0
    attempts: int = 0
    latency_s: float = 0.0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    reply: Reply = field(default_factory=Reply)

    def result(self, error: str = "") -> ChatResult:
        reply = self.reply
        return ChatResult(
            request_id=self.request.request_id,
            status="failed" if error else "ok",
            response=reply.response,
            reasoning=reply.reasoning,
            finish_reason=reply.finish_reason,
            prompt_tokens=self.prompt_tokens,
            completion_tokens=self.completion_tokens,
            latency_s=self.latency_s,
            attempts=self.attempts,
            error=error,
            served_model=reply.served_model,
        )


class _Session:
    """The connections and bounds of one `stream` call; they belong to its event loop."""

    def __init__(self, spec: EngineSpec, key: str, backoff: Backoff, plain_models: set[str]) -> None:
        self.fatal = ""
        self.look_ahead = 2 * spec.max_in_flight  # those that wait for their next try must not leave places empty
        self._spec = spec
        self._key = key
        self._backoff = backoff
        self._plain_models = plain_models
        self._clients = [make_client(url, key, spec.request_timeout_s) for url in spec.base_urls]
        self._limit = AdaptiveLimit(spec.max_in_flight)
        self._balancer = Balancer(len(self._clients), time.monotonic)
        self._requests, self._tokens = Pace(spec.rpm, time.monotonic), Pace(spec.tpm, time.monotonic)
        self._last_contact = float("-inf")
        self._sending: set[asyncio.Task[ChatResult] | None] = set()

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
        progress = _Progress(request)
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
                gave_up = self._gave_up(progress, wait)
                if gave_up:
                    return progress.result(f"{gave_up}; the last: {verdict.reason}")
                await asyncio.sleep(wait)

    def _gave_up(self, progress: _Progress, wait: float) -> str:
        tries = "1 try" if progress.attempts == 1 else f"{progress.attempts} tries"
        if progress.attempts >= self._spec.max_attempts:
            return f"gave up after {tries}"
        if time.monotonic() + wait - progress.started > self._spec.deadline_s:
            return f"the deadline of {self._spec.deadline_s:g} s leaves no time for more than {tries}"
        return ""

    async def _ask(self, progress: _Progress) -> Verdict | None:
        """Sends one HTTP request in its place under the bounds. Returns None for a usable answer."""
        reserved = worst_tokens(progress.request)
        await self._requests.wait()
        await self._tokens.wait(reserved)
        epoch = await self._limit.acquire()
        server = self._balancer.take()
        task = asyncio.current_task()
        self._sending.add(task)
        try:
            verdict = await self._send(progress, server)
        finally:
            self._sending.discard(task)
            self._balancer.give(server)
            self._limit.release()
        self._tokens.settle(reserved, progress.reply.prompt_tokens + progress.reply.completion_tokens)
        if verdict is None:
            self._limit.answered()
        elif verdict.overloaded:
            self._limit.overloaded(epoch)
        if verdict is not None and verdict.away:
            self._balancer.rest(server, REST_S)
        return verdict

    async def _send(self, progress: _Progress, server: int) -> Verdict | None:
        from openai import APIConnectionError, APIStatusError

        request, sent = progress.request, time.monotonic()
        progress.started = progress.started or sent
        progress.attempts += 1
        timeout = min(self._spec.request_timeout_s, progress.started + self._spec.deadline_s - sent)
        structured = request.json_schema is not None and request.model not in self._plain_models
        body = request_body(request, structured)
        try:
            # The bare `post` hands out the bytes: building the typed object costs more than all the rest of the client.
            post = self._clients[server].post("/chat/completions", cast_to=bytes, body=body)
            raw = await asyncio.wait_for(post, max(timeout, 0.001))
        except APIStatusError as error:
            self._last_contact = time.monotonic()
            return self._refused(refusal_of(error, self._key), server, request, structured)
        except (APIConnectionError, asyncio.TimeoutError) as error:
            return self._broken(error, progress, server)
        finally:
            progress.latency_s = time.monotonic() - sent
        self._last_contact = time.monotonic()
        return _read(progress, raw, self._key)

    def _refused(self, refusal: Refusal, server: int, request: ChatRequest, structured: bool) -> Verdict:
        verdict = judge(refusal, structured)
        if verdict.action is Action.ASK_PLAIN:
            self._plain_models.add(request.model)
        if verdict.action is Action.STOP_RUN:
            by_key = refusal.status in (401, 403)
            what = f"the key in {self._spec.api_key_env}" if by_key else f"model {request.model!r}"
            return replace(verdict, reason=f"{self._spec.base_urls[server]} refuses {what}: {verdict.reason}")
        return verdict

    def _broken(self, error: BaseException, progress: _Progress, server: int) -> Verdict:
        reason, unreachable = transport_reason(error, self._spec.request_timeout_s)
        reason = hide_key(reason, self._key)
        silent = self._last_contact < progress.started  # no server gave a sign of life since this request's first try
        if unreachable and silent and progress.attempts >= self._spec.max_attempts:
            return Verdict(
                Action.STOP_RUN, f"{self._spec.base_urls[server]} cannot be reached: {reason}; is the server running?"
            )
        return Verdict(Action.RETRY, reason, away=unreachable)


def _read(progress: _Progress, raw: bytes, key: str) -> Verdict | None:
    progress.reply = read_reply(raw)
    progress.prompt_tokens += progress.reply.prompt_tokens
    progress.completion_tokens += progress.reply.completion_tokens
    if not progress.reply.problem:
        return None
    return Verdict(Action.FAIL_ROW if progress.reply.final else Action.RETRY, hide_key(progress.reply.problem, key))


def _take(source: Iterator[ChatRequest], count: int) -> Iterator[ChatRequest]:
    for _ in range(count):
        request = next(source, None)
        if request is None:
            return
        yield request
