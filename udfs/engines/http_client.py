"""The HTTP client of the `openai` engine, for one endpoint: aiohttp and nothing above it.

The `openai` package brings retries and typed objects that the engine makes itself or does not want, at two thirds of the CPU of a request (0.93 ms against
0.23 ms, measured by bench/llm_batches.py).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from udfs.engines.protocol import FatalEngineError

if TYPE_CHECKING:
    from aiohttp import ClientSession

# OpenAI's own variables: on whose account a key with several of them counts.
ACCOUNT_HEADERS = {"OpenAI-Organization": "OPENAI_ORG_ID", "OpenAI-Project": "OPENAI_PROJECT_ID"}


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """Status, headers (names in any case) and body of an answer, whatever its status."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def ok(self) -> bool:
        """Tells whether the server did what it was asked."""
        return 200 <= self.status < 300


class HttpClient:
    """Asks one endpoint, over connections that belong to the event loop of the first request.

    No redirect is followed: it could carry the texts to a host that nobody allowed. How many requests are out at once is for the caller to bound. Raises
    FatalEngineError where aiohttp is not installed; requests raise aiohttp.ClientError or TimeoutError.
    """

    def __init__(self, url: str, key: str) -> None:
        try:
            import aiohttp
        except ImportError as error:
            raise FatalEngineError("the openai engine needs the extra `llm`: pip install 'boostqa[llm]'") from error
        self._aiohttp = aiohttp
        self._url = url.rstrip("/")
        self._proxy = proxy_for(url)
        accounts = {
            name: os.environ[variable] for name, variable in ACCOUNT_HEADERS.items() if os.environ.get(variable)
        }
        self._headers = {"Authorization": f"Bearer {key}", "User-Agent": "boostqa", **accounts}
        self._session: ClientSession | None = None

    async def get(self, path: str, timeout_s: float) -> HttpAnswer:
        """Gets `path` below the endpoint's address."""
        return await self._ask("GET", path, None, timeout_s)

    async def post(self, path: str, body: bytes, timeout_s: float) -> HttpAnswer:
        """Posts JSON to `path` below the endpoint's address."""
        return await self._ask("POST", path, body, timeout_s)

    async def _ask(self, method: str, path: str, body: bytes | None, timeout_s: float) -> HttpAnswer:
        self._session = self._session or self._open()
        # From the first byte out to the last one in.
        timeout = self._aiohttp.ClientTimeout(total=timeout_s)
        async with self._session.request(
            method, self._url + path, data=body, timeout=timeout, proxy=self._proxy, allow_redirects=False
        ) as answer:
            return HttpAnswer(answer.status, answer.headers, await answer.read())

    def _open(self) -> ClientSession:
        return self._aiohttp.ClientSession(
            connector=self._aiohttp.TCPConnector(limit=0),
            cookie_jar=self._aiohttp.DummyCookieJar(),
            headers={**self._headers, "Accept": "application/json", "Content-Type": "application/json"},
        )

    async def close(self) -> None:
        """Closes the connections. Safe to call twice."""
        if self._session is not None:
            await self._session.close()


def proxy_for(url: str) -> str | None:
    """Returns the proxy that the environment names for an address (HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, but for NO_PROXY), or None."""
    parts = urlsplit(url)
    if proxy_bypass(parts.hostname or ""):
        return None
    proxies = getproxies()
    return proxies.get(parts.scheme) or proxies.get("all")
