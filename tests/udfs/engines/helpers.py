"""Small requests, and a server that says exactly what a test tells it to."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from udfs.engines import ChatRequest, EngineSpec
from udfs.engines.retries import Backoff

Script = Callable[[dict[str, Any], int], tuple[int, object]]
QUICK = Backoff(base_s=0.001, cap_s=0.01)


class ScriptedServer:
    """Speaks HTTP on a free port; `script(body, number)` gives the status and the JSON (or bytes) of each reply.

    A GET of an address with `missing` in it is a 404.
    """

    def __init__(self, script: Script) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.headers: dict[str, str] = {}
        self.missing = "nothing"
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.bodies.append(body)
                status, reply = script(body, len(outer.bodies))
                self.answer(status, reply)

            def do_GET(self) -> None:
                self.answer(*((404, {}) if outer.missing in self.path else script({}, 0)))

            def answer(self, status: int, reply: object) -> None:
                raw = reply if isinstance(reply, bytes) else json.dumps(reply).encode()
                self.send_response(status)
                for name, value in {"Content-Type": "application/json", **outer.headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, *arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def ask(number: int | str, **changes: Any) -> ChatRequest:
    """A small request whose body differs for each number."""
    messages = ({"role": "user", "content": f"question {number}"},)
    return ChatRequest(**{"request_id": str(number), "model": "stand-in", "messages": messages, **changes})


def spec_for(*urls: str, **changes: Any) -> EngineSpec:
    return EngineSpec(**{"base_urls": urls, "api_key_env": "BOOSTQA_TEST_KEY", "max_attempts": 5, **changes})


def batch_spec(url: str, folder: object, **changes: Any) -> EngineSpec:
    return spec_for(url, **{"kind": "openai-batch", "batch_folder": str(folder), "batch_poll_s": 0.02, **changes})


def completion(content: object, finish: str = "stop", **message: object) -> dict[str, Any]:
    """A chat completion as servers write it."""
    choice = {"index": 0, "message": {"role": "assistant", "content": content, **message}, "finish_reason": finish}
    return {"model": "served", "choices": [choice], "usage": {"prompt_tokens": 7, "completion_tokens": 3}}
