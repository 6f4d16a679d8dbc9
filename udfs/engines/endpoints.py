"""Addresses and keys of endpoints: what is allowed, where the key comes from, and whether an endpoint works at all."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from udfs.engines.blocking import run_blocking
from udfs.engines.protocol import EngineSpec, FatalEngineError
from udfs.engines.retries import Refusal
from udfs.engines.wire import clean_text

if TYPE_CHECKING:
    from openai import APIStatusError, AsyncOpenAI

NO_KEY = "none"
PROBE_TIMEOUT_S = 15.0
MODELS, BATCHES = "/models", "/batches?limit=1"
PRIVATE_SUFFIXES = (".local", ".internal", ".svc", ".lan", ".cluster.local")


def is_loopback(url: str) -> bool:
    """Tells whether `url` points to this machine."""
    host = urlsplit(url).hostname or ""
    address = _address(host)
    return host == "localhost" or (address is not None and address.is_loopback)


def url_problem(url: str) -> str | None:
    """Says what is wrong with an endpoint's address, or None: https anywhere, plain http only on this machine or a
    private network.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError as error:
        return f"{url!r} is not an address: {error}"
    if parts.username or parts.password:
        return (
            f"the address of host {host!r} holds a user or password; put the key into an environment variable instead"
        )
    if parts.scheme not in ("http", "https") or not host:
        return f"{url!r} is not an address like https://host/v1"
    if parts.scheme == "http" and not _is_private(host):
        return f"{url!r} would send the key and the texts unencrypted over the internet; use https"
    return None


def read_key(spec: EngineSpec) -> str:
    """Reads the API key from the environment; a placeholder stands in for it where all endpoints are on this machine.

    Raises FatalEngineError, which names the variable and never the key.
    """
    key = os.environ.get(spec.api_key_env, "").strip()
    if not key:
        if all(is_loopback(url) for url in spec.base_urls):
            return NO_KEY
        raise FatalEngineError(
            f"environment variable {spec.api_key_env} is not set; put the key of {spec.base_urls[0]} there"
            f" (or the word {NO_KEY!r} for a server that wants no key)"
        )
    if not key.isascii() or not key.isprintable() or " " in key:
        raise FatalEngineError(
            f"environment variable {spec.api_key_env} holds no key: there are spaces or odd characters in it"
        )
    return key


def check_urls(spec: EngineSpec) -> None:
    """Raises FatalEngineError where the spec has no address or one that is not allowed."""
    if not spec.base_urls:
        raise FatalEngineError("llm.base_urls is empty; give at least one address like http://localhost:8000/v1")
    for url in spec.base_urls:
        problem = url_problem(url)
        if problem:
            raise FatalEngineError(problem)


def make_client(url: str, key: str, timeout_s: float) -> AsyncOpenAI:
    """Makes the `openai` package's client for one address: aiohttp below it, no retries of its own, no redirects."""
    try:
        from openai import AsyncOpenAI, DefaultAioHttpClient
    except ImportError as error:
        raise FatalEngineError("the openai engine needs the extra `llm`: pip install 'boostqa[llm]'") from error
    try:
        # A redirect could carry the texts to a host that nobody allowed.
        http = DefaultAioHttpClient(follow_redirects=False)
    except RuntimeError as error:
        raise FatalEngineError("the openai engine needs aiohttp: pip install 'openai[aiohttp]'") from error
    return AsyncOpenAI(base_url=url, api_key=key, max_retries=0, timeout=timeout_s, http_client=http)


def refusal_of(error: APIStatusError, key: str) -> Refusal:
    """Takes status, words, code and headers out of the client's error, with the key blotted out."""
    return read_refusal(error.status_code, error.response.headers, error.response.content, key)


def read_refusal(status: int, headers: Mapping[str, str], raw: bytes, key: str) -> Refusal:
    """Takes the words and the code out of an answer that is none, with the key blotted out. Never raises."""
    said = _error_in(raw)
    words = said.get("message") or said.get("detail") or raw.decode("utf-8", "replace")
    lower = {name.lower(): value for name, value in headers.items()}
    if 300 <= status < 400:
        words = f"it redirects to {lower.get('location', 'nowhere')}; use that address if it is right"
    return Refusal(status, hide_key(" ".join(str(words).split()), key), str(said.get("code") or ""), lower)


def _error_in(raw: bytes) -> dict[str, Any]:
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        return {}
    error = body.get("error", body) if isinstance(body, dict) else {}
    return error if isinstance(error, dict) else {"message": error}


def hide_key(text: str, key: str) -> str:
    """Blots the key out of a server's words, and makes them text that can be kept: a server may cut a character of two halves in the middle."""
    return clean_text(text.replace(key, "***") if key != NO_KEY else text)


def broken_errors() -> tuple[type[Exception], ...]:
    """The errors of a request that brought no HTTP answer. The client hands some on as they are: aiohttp's of a reply that is no HTTP, and Unicode's of a
    status line in another encoding.
    """
    import aiohttp
    from openai import APIConnectionError

    return (APIConnectionError, asyncio.TimeoutError, aiohttp.ClientError, UnicodeError)


def transport_reason(error: BaseException, timeout_s: float) -> tuple[str, bool]:
    """Puts a broken connection into words. Returns (reason, whether the server could not be reached at all)."""
    import aiohttp

    chain: list[BaseException] = [error]
    while chain[-1].__cause__ is not None and len(chain) < 10:
        chain.append(chain[-1].__cause__)
    if any(isinstance(link, aiohttp.ClientConnectorError) for link in chain):
        return f"cannot connect: {chain[-1]}", True
    if any(isinstance(link, TimeoutError | asyncio.TimeoutError) for link in chain):
        return f"no answer within {timeout_s:g} s", False
    return f"the connection broke: {chain[-1] or type(chain[-1]).__name__}", False


def probe_endpoint(spec: EngineSpec, model: str) -> str | None:
    """Asks every endpoint once for its models, and for a batch where the Batch API is used (free of charge). Returns None, or one line that says what
    is wrong.
    """
    try:
        check_urls(spec)
        key = read_key(spec)
        problems = [run_blocking(_probe(url, key, spec, model)) for url in spec.base_urls]
    except FatalEngineError as error:
        return str(error)
    return next((problem for problem in problems if problem), None)


async def _probe(url: str, key: str, spec: EngineSpec, model: str) -> str | None:
    client = make_client(url, key, PROBE_TIMEOUT_S)
    from openai import APIStatusError

    asked = MODELS
    try:
        raw = await asyncio.wait_for(client.get(asked, cast_to=bytes), PROBE_TIMEOUT_S)
        if spec.kind == "openai-batch":
            asked = BATCHES
            await asyncio.wait_for(client.get(asked, cast_to=bytes), PROBE_TIMEOUT_S)
    except APIStatusError as error:
        refusal = refusal_of(error, key)
        if asked == BATCHES and refusal.status in (404, 405):
            return f"{url} has no Batch API (HTTP {refusal.status}); set llm.batch to false"
        return _status_problem(url, refusal, spec)
    except broken_errors() as error:
        return f"{url} does not answer: {transport_reason(error, PROBE_TIMEOUT_S)[0]}"
    finally:
        await client.close()
    served = _model_names(raw)
    if served and model not in served:
        more = f" and {len(served) - 5} more" if len(served) > 5 else ""
        return f"{url} does not serve model {model!r}; it serves: {', '.join(served[:5])}{more}"
    return None


def _status_problem(url: str, refusal: Refusal, spec: EngineSpec) -> str | None:
    if refusal.status in (401, 403):
        return f"{url} refuses the key in {spec.api_key_env} (HTTP {refusal.status}: {refusal.words[:300]})"
    if refusal.status in (404, 405):
        # Some gateways serve completions but no list of models.
        return None if urlsplit(url).path.strip("/") else f"{url} has no /models; does the address lack /v1?"
    return f"{url} answers HTTP {refusal.status}: {refusal.words[:300]}"


def _model_names(raw: bytes) -> list[str]:
    try:
        data = json.loads(raw).get("data", [])
        return [str(item["id"]) for item in data]
    except (ValueError, AttributeError, TypeError, KeyError):
        return []


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _is_private(host: str) -> bool:
    address = _address(host)
    if address is not None:
        return address.is_private
    return "." not in host or host.endswith(PRIVATE_SUFFIXES)
