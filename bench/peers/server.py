"""The one server of the bench: a fixed answer of about 300 tokens after a set latency, and counts of what it was asked.

    python server.py PORT_FILE

A bare protocol on uvloop, so that a request costs it a twentieth of what a client spends on it. It knows `POST /v1/chat/completions` and, for the client that
uses no other, `POST /v1/responses`; `GET /stats` tells the counts, `POST /reset {"latency_s": 0.2}` begins anew. Times are those of CLOCK_MONOTONIC, which
all processes of a machine share. It ends with its parent.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from hashlib import blake2b
from pathlib import Path
from typing import Any, cast

import uvloop

HEAD_END = b"\r\n\r\n"
PARENT_WATCH_S = 1.0
FACTS = (
    "A glacier is a body of ice that moves under its own weight. Snow that outlasts the summer is pressed by later layers into firn and then into ice; where the "
    "ice is some thirty metres thick it begins to creep downhill, fastest in the middle and near the surface, slowest where it rubs along its bed."
)
# Three pairs, as the task `multi_grade` reads them; to the other clients it is any text.
ANSWER = json.dumps(
    {"items": [{"question": f"What makes ice flow, in case {n}?", "answer": FACTS, "form": "open"} for n in range(3)]}
)
USAGE = {"prompt_tokens": 500, "completion_tokens": 300, "total_tokens": 800}


def chat_completion() -> dict[str, Any]:
    """The answer to /v1/chat/completions."""
    message = {"role": "assistant", "content": ANSWER, "refusal": None}
    choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "stand-in",
        "choices": [choice],
        "usage": USAGE,
    }


def response_object() -> dict[str, Any]:
    """The answer to /v1/responses: one row a request, in the JSON that openaivec asks for."""
    text = json.dumps({"assistant_messages": [{"id": 0, "body": ANSWER}]})
    content = {"type": "output_text", "text": text, "annotations": []}
    message = {"id": "msg-1", "type": "message", "role": "assistant", "status": "completed", "content": [content]}
    usage = {
        "input_tokens": 500,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 300,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 800,
    }
    same = {"id": "resp-1", "object": "response", "created_at": 1, "model": "stand-in", "status": "completed"}
    plain = {"parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "error": None}
    return {**same, **plain, "output": [message], "usage": usage}


def http_reply(body: dict[str, Any], status: str = "200 OK") -> bytes:
    """A whole HTTP answer."""
    raw = json.dumps(body).encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(raw)}\r\n\r\n"
    return head.encode() + raw


ANSWERS = {"/v1/chat/completions": http_reply(chat_completion()), "/v1/responses": http_reply(response_object())}
MODELS = http_reply({"object": "list", "data": [{"id": "stand-in", "object": "model", "created": 1, "owned_by": "me"}]})
UNKNOWN = http_reply({"error": {"message": "no such path", "type": "not_found", "code": "not_found"}}, "404 Not Found")


class Counts:
    """What was asked since the last reset."""

    def __init__(self, latency_s: float = 0.2) -> None:
        self.latency_s = latency_s
        self.requests = self.answered = self.in_flight = self.peak = 0
        self.seconds = 0.0
        self.first = self.last = 0.0
        self._moved = time.monotonic()
        self._bodies: set[bytes] = set()

    def come(self, body: bytes) -> None:
        """Counts a request."""
        self.requests += 1
        self._bodies.add(blake2b(body, digest_size=12).digest())
        self._move(1)
        self.first = self.first or self._moved

    def go(self, answered: bool) -> None:
        """Counts its end: answered, or its client is gone."""
        self._move(-1)
        self.answered += answered
        self.last = self._moved

    def _move(self, change: int) -> None:
        now = time.monotonic()
        self.seconds += self.in_flight * (now - self._moved)
        self._moved = now
        self.in_flight += change
        self.peak = max(self.peak, self.in_flight)

    def told(self) -> dict[str, float]:
        """The counts; `seconds` is the time that all requests spent here."""
        own = {name: value for name, value in vars(self).items() if not name.startswith("_")}
        return {**own, "distinct": len(self._bodies), "cpu_s": time.process_time()}


class Connection(asyncio.Protocol):
    """One connection; a request at a time, as HTTP/1.1 clients send them."""

    counts = Counts()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the way back."""
        # uvloop's transports are of classes of their own.
        self._transport = cast(asyncio.Transport, transport)
        self._buffer = b""
        self._waiting: set[asyncio.TimerHandle] = set()

    def data_received(self, data: bytes) -> None:
        """Serves each request that is whole."""
        self._buffer += data
        while (end := self._buffer.find(HEAD_END)) >= 0:
            head = self._buffer[:end]
            whole = end + len(HEAD_END) + content_length(head)
            if len(self._buffer) < whole:
                return
            body, self._buffer = self._buffer[end + len(HEAD_END) : whole], self._buffer[whole:]
            method, path, _ = head.split(b" ", 2)
            self._serve(method.decode(), path.decode(), body)

    def _serve(self, method: str, path: str, body: bytes) -> None:
        if method == "POST" and path in ANSWERS:
            self.counts.come(body)
            self._answer_later(self.counts, ANSWERS[path])
        elif path == "/reset":
            Connection.counts = Counts(**json.loads(body))
            self._transport.write(http_reply({}))
        elif path == "/stats":
            self._transport.write(http_reply(self.counts.told()))
        else:
            self._transport.write(MODELS if path == "/v1/models" else UNKNOWN)

    def _answer_later(self, counts: Counts, answer: bytes) -> None:
        def reply() -> None:
            self._waiting.discard(handle)
            counts.go(answered=True)
            self._transport.write(answer)

        handle = asyncio.get_running_loop().call_later(counts.latency_s, reply)
        self._waiting.add(handle)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody waits for these any more."""
        for handle in self._waiting:
            handle.cancel()
            self.counts.go(answered=False)


def content_length(head: bytes) -> int:
    """Bytes of the body; every client of this bench says so."""
    lower = head.lower()
    if b"transfer-encoding: chunked" in lower:
        raise ValueError("this server reads no chunked bodies")
    _, found, rest = lower.partition(b"content-length:")
    return int(rest.split(b"\r\n", 1)[0]) if found else 0


async def serve(port_file: Path) -> None:
    """Serves until the parent is gone."""
    parent = os.getppid()
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", 0, backlog=2048)
    part = port_file.with_suffix(".part")
    part.write_text(str(server.sockets[0].getsockname()[1]), encoding="utf-8")
    part.replace(port_file)
    while os.getppid() == parent:
        await asyncio.sleep(PARENT_WATCH_S)


if __name__ == "__main__":
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    uvloop.run(serve(Path(sys.argv[1])))
