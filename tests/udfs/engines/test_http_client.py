"""The engine's HTTP client against real servers: what arrives there, and what comes back."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import aiohttp
import pytest

from udfs.engines.http_client import HttpAnswer, HttpClient, proxy_for

Seen = list[tuple[str, str, dict[str, str], bytes]]


@contextmanager
def echo_server(status: int = 200, wait_s: float = 0.0) -> Iterator[tuple[str, Seen]]:
    """Gives its address and what it has seen: method, path as sent, headers, body."""
    seen: Seen = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            seen.append((self.command, self.path, dict(self.headers.items()), body))
            time.sleep(wait_s)
            self.send_response(status)
            self.send_header("X-Said", "this")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", seen
    finally:
        server.shutdown()
        server.server_close()


def post(url: str, body: bytes = b"{}", timeout_s: float = 5.0, key: str = "sk-1") -> HttpAnswer:
    async def once() -> HttpAnswer:
        client = HttpClient(url, key)
        try:
            return await client.post("/chat/completions", body, timeout_s)
        finally:
            await client.close()
            await client.close()

    return asyncio.run(once())


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize("end", ["/v1", "/v1/"])
def test_the_body_arrives_as_json_with_the_key(end: str) -> None:
    with echo_server() as (url, seen):
        answer = post(url + end, '{"q": "雪"}'.encode())
    [(method, path, headers, body)] = seen
    assert (method, path, body) == ("POST", "/v1/chat/completions", '{"q": "雪"}'.encode())
    assert headers["Authorization"] == "Bearer sk-1"
    assert headers["Content-Type"] == "application/json"
    assert "OpenAI-Organization" not in headers
    assert (answer.status, answer.ok, answer.body) == (200, True, body)
    assert answer.headers["x-said"] == "this"


@pytest.mark.parametrize("status", [307, 400, 503])
def test_other_statuses_are_handed_on(status: int) -> None:
    with echo_server(status) as (url, seen):
        answer = post(url, b'{"error": 1}')
    assert (answer.status, answer.ok, answer.body, len(seen)) == (status, False, b'{"error": 1}', 1)


def test_a_server_that_is_too_slow_or_away_raises() -> None:
    with echo_server(wait_s=1.0) as (url, _), pytest.raises((asyncio.TimeoutError, TimeoutError)):
        post(url, timeout_s=0.1)
    with pytest.raises(aiohttp.ClientConnectorError):
        post("http://127.0.0.1:9/v1")


def test_the_accounts_of_the_environment_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_ORG_ID", "org-1")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-1")
    with echo_server() as (url, seen):
        post(url)
    assert (seen[0][2]["OpenAI-Organization"], seen[0][2]["OpenAI-Project"]) == ("org-1", "proj-1")


def test_a_proxy_of_the_environment_gets_the_request(monkeypatch: pytest.MonkeyPatch) -> None:
    with echo_server() as (proxy, seen):
        monkeypatch.setenv("HTTP_PROXY", proxy)
        post("http://vllm.internal:8000/v1")
    assert seen[0][1] == "http://vllm.internal:8000/v1/chat/completions"


@pytest.mark.parametrize(
    ("url", "environment", "proxy"),
    [
        ("https://api.example.com/v1", {}, None),
        ("https://api.example.com/v1", {"HTTPS_PROXY": "http://p:1"}, "http://p:1"),
        ("https://api.example.com/v1", {"HTTP_PROXY": "http://p:1"}, None),
        ("https://api.example.com/v1", {"ALL_PROXY": "http://p:1"}, "http://p:1"),
        ("https://api.example.com/v1", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "example.com"}, None),
        ("http://127.0.0.1:8000/v1", {"HTTP_PROXY": "http://p:1", "NO_PROXY": "localhost,127.0.0.1"}, None),
    ],
)
def test_the_environment_says_which_proxy(
    monkeypatch: pytest.MonkeyPatch, url: str, environment: dict[str, str], proxy: str | None
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert proxy_for(url) == proxy
