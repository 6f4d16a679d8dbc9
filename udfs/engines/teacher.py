"""The stand-in teacher: an OpenAI-compatible server on this machine that answers by rules, so that everything runs
without a key.

    python -m udfs.engines.teacher --port 8765

Its model is called `stand-in` and its answers are placeholders. `GET /stats` tells what it has seen; `POST /faults`
makes it fail.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from aiohttp import web

from udfs.engines.teacher_batches import TeacherBatches, refuse
from udfs.engines.teacher_faults import Faults, add_fault_flags, faults_of
from udfs.engines.teacher_rules import MODEL, answer

MAX_BODY_BYTES = 64 * 2**20
WATCH_S = 0.5
SPOILED = {
    "garbage": 'Sure! Here it is: {items: [ {"question": \'What, \\frac{',
    "empty": "",
    "wrong_schema": '{"unexpected": [1, 2, 3]}',
    "surrogate": '{"answer": "half a pair: \ud83d"}',
    "large": '{"answer": "' + "much " * 200_000 + '"}',
}


class TeacherServer:
    """State and handlers of one server."""

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self.in_flight = self.peak_in_flight = 0
        self.request_seconds = 0.0
        self._changed_at = time.monotonic()
        self.seen: Counter[bytes] = Counter()
        self.statuses: Counter[str] = Counter()
        self.batches = TeacherBatches(self)

    def app(self) -> web.Application:
        """Makes the web application."""
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        app.router.add_get("/health", self.health)
        app.router.add_get("/stats", self.stats)
        app.router.add_post("/faults", self.set_faults)
        app.router.add_get("/v1/models", self.models)
        app.router.add_post("/v1/chat/completions", self.chat)
        self.batches.add_routes(app)
        return app

    async def health(self, request: web.Request) -> web.Response:
        """Tells that the server is up."""
        return web.json_response({"status": "ok", "model": MODEL})

    async def stats(self, request: web.Request) -> web.Response:
        """Counts of chat requests since the start: all, different bodies, now and at most in flight, by outcome; and of batches.

        A batch's requests count when it is over. `request_seconds` is the seconds that all requests spent here: divided by the time that passed, the mean in flight.
        """
        self._move(0)
        return web.json_response(
            {
                "requests": self.seen.total(),
                "unique": len(self.seen),
                "in_flight": self.in_flight,
                "peak_in_flight": self.peak_in_flight,
                "request_seconds": self.request_seconds,
                "outcomes": dict(self.statuses),
                "batches": self.batches.created,
            }
        )

    async def set_faults(self, request: web.Request) -> web.Response:
        """Changes the settings that the body names and leaves the others."""
        try:
            self.faults = replace(self.faults, **await request.json())
        except (ValueError, TypeError) as error:
            return refuse(400, str(error), "invalid_faults")
        return web.json_response({**asdict(self.faults), "key": bool(self.faults.key)})

    async def models(self, request: web.Request) -> web.Response:
        """The one model."""
        refusal = self.check_key(request)
        if refusal is not None:
            return refusal
        return web.json_response({"object": "list", "data": [{"id": MODEL, "object": "model", "owned_by": "boostqa"}]})

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """Answers one chat completion, after the set latency and with the set faults."""
        raw = await request.read()
        seen = self._count(raw)
        self._move(1)
        try:
            outcome, response = await self._respond(request, raw, seen)
        finally:
            self._move(-1)
        self.statuses[outcome] += 1
        return response

    def answer_line(self, raw: bytes) -> tuple[str, web.Response]:
        """Answers a request of a batch and counts it. Returns its outcome, and the reply of a single request."""
        seen = self._count(raw)
        refusal = self._check_body(raw)
        fault = "refused" if refusal else self.faults.choose(raw, seen)
        self.statuses[fault or "ok"] += 1
        return fault, refusal or self._reply(raw, fault)

    def _count(self, raw: bytes) -> int:
        digest = hashlib.sha256(raw).digest()[:16]
        self.seen[digest] += 1
        return self.seen[digest] - 1

    def _move(self, change: int) -> None:
        now = time.monotonic()
        self.request_seconds += self.in_flight * (now - self._changed_at)
        self._changed_at = now
        self.in_flight += change
        self.peak_in_flight = max(self.peak_in_flight, self.in_flight)

    async def _respond(self, request: web.Request, raw: bytes, seen: int) -> tuple[str, web.StreamResponse]:
        if self.faults.latency_s:
            await asyncio.sleep(self.faults.latency_s)
        refusal = self.check_key(request) or self._check_body(raw)
        if refusal is not None:
            return "refused", refusal
        fault = self.faults.choose(raw, seen)
        if fault == "reset":
            if request.transport is not None:
                request.transport.abort()
            return fault, web.Response()
        if fault == "hang":
            await asyncio.sleep(self.faults.hang_s)
        return fault or "ok", self._reply(raw, fault)

    def _reply(self, raw: bytes, fault: str) -> web.Response:
        if fault == "error_500":
            return refuse(500, "the server had an error (asked for)", "server_error")
        if fault == "error_429":
            headers = {"retry-after": f"{self.faults.retry_after_s:g}"}
            return refuse(429, "rate limit reached (asked for)", "rate_limit_exceeded", headers)
        return web.json_response(completion(json.loads(raw), fault))

    def check_key(self, request: web.Request) -> web.Response | None:
        """Returns the refusal of a client that does not send the key, or None."""
        if not self.faults.key or request.headers.get("Authorization") == f"Bearer {self.faults.key}":
            return None
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        return refuse(401, f"Incorrect API key provided: {given}", "invalid_api_key")

    def _check_body(self, raw: bytes) -> web.Response | None:
        try:
            body = json.loads(raw)
            messages, model = body["messages"], body["model"]
            tokens = sum(count_tokens(str(message["content"])) for message in messages)
        except (ValueError, KeyError, TypeError) as error:
            return refuse(400, f"not a chat request: {error!r}", "invalid_request")
        if model != MODEL:
            return refuse(
                404,
                f"The model `{model}` does not exist. This is the stand-in: its only model is `{MODEL}`.",
                "model_not_found",
            )
        if self.faults.max_context and tokens > self.faults.max_context:
            words = (
                f"This model's maximum context length is {self.faults.max_context} tokens, the messages have {tokens}."
            )
            return refuse(400, words, "context_length_exceeded")
        if self.faults.no_response_format and "response_format" in body:
            return refuse(400, "response_format is not supported by this model", "unsupported_parameter")
        return None


def completion(body: dict[str, Any], fault: str) -> dict[str, Any]:
    """Makes the reply to a chat request; `fault` spoils its content. An answer over `max_tokens` is cut, as servers
    do.
    """
    text = SPOILED[fault] if fault in SPOILED else answer(body["messages"])
    tokens, finish = count_tokens(text), "stop"
    bound = tokens // 2 if fault == "cut" else body.get("max_tokens") or body.get("max_completion_tokens") or tokens
    if tokens > bound and fault != "large":
        text, finish = text[: int(len(text) * bound / tokens)], "length"
        tokens = count_tokens(text)
    prompt = sum(count_tokens(str(message["content"])) for message in body["messages"])
    usage = {"prompt_tokens": prompt, "completion_tokens": tokens, "total_tokens": prompt + tokens}
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": finish}
    return {
        "id": "stand-in",
        "object": "chat.completion",
        "created": 0,
        "model": MODEL,
        "choices": [choice],
        "usage": usage,
    }


def count_tokens(text: str) -> int:
    """Counts tokens roughly: four bytes each, which comes to three quarters of a Chinese character."""
    return -(-len(text.encode("utf-8", "replace")) // 4)


async def serve(faults: Faults, port: int, port_file: str, parent_pid: int) -> None:
    """Serves on the loopback address until the process is told to end or its parent is gone."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    # Without handler_cancellation a client that hung up would still count as in flight.
    runner = web.AppRunner(
        TeacherServer(faults).app(), access_log=None, handler_cancellation=True, shutdown_timeout=1.0
    )
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=1024).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    sys.stdout.write(f"the stand-in teacher (placeholder answers) listens at {url}; stop it with Ctrl-C\n")
    sys.stdout.flush()
    if port_file:
        part = Path(f"{port_file}.part")
        part.write_text(str(runner.addresses[0][1]), encoding="utf-8")
        part.replace(port_file)
    orphaned = orphan_watch(parent_pid) if parent_pid else lambda: False
    while not stop.is_set() and not orphaned():
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(stop.wait(), WATCH_S)
    await runner.cleanup()


def orphan_watch(pid: int) -> Callable[[], bool]:
    """Makes a function that tells whether process `pid` is gone. A dead parent may linger as a zombie, so its child
    looks at its own parent id instead, which changes.
    """
    if os.getppid() == pid:
        return lambda: os.getppid() != pid

    def gone() -> bool:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        return False

    return gone


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Reads the command line; each setting of Faults is a flag."""
    parser = argparse.ArgumentParser(prog="python -m udfs.engines.teacher", description=__doc__)
    parser.add_argument("--port", type=int, default=8765, help="port on 127.0.0.1; 0 takes a free one")
    parser.add_argument("--port-file", default="", help="file that gets the port once the server is ready")
    parser.add_argument("--parent-pid", type=int, default=0, help="stop when this process is gone")
    add_fault_flags(parser)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Runs the server from the command line."""
    parsed = parse_arguments(arguments)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(faults_of(parsed), parsed.port, parsed.port_file, parsed.parent_pid))


if __name__ == "__main__":
    main()
