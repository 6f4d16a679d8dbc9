"""The clients that `llm_batches` compares: how each is run, how many requests it gets, and what was expected of it before the first look."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from common import ROOT
from environments import FOLDER, python_of

PEERS = ROOT / "bench" / "peers"
SPARK = ("pyspark==4.2.0", "pandas==2.3.3", "pyarrow==25.0.1")
ENVIRONMENTS = {
    "aiohttp": ("aiohttp==3.14.5", "uvloop==0.23.0", "orjson==3.13.0"),
    "openai": ("openai[aiohttp]==3.54.0", *SPARK),
    "openaivec": ("openaivec[spark]==2.9.3", *SPARK),
    "curator": ("bespokelabs-curator==0.1.31",),
}
TOLD = (
    "aiohttp",
    "uvloop",
    "orjson",
    "openai",
    "httpx",
    "httpx2",
    "pyspark",
    "openaivec",
    "bespokelabs-curator",
    "litellm",
)
OWN = ""  # this interpreter and this copy of boostqa


@dataclass(frozen=True)
class Client:
    """One client. `requests` by latency in seconds, about 90 s at most each; `kill_requests` for the run that is killed.

    `expected`: requests/s at 200 ms, share of the ideal at 2 s, requests repeated after the kill; from figures measured with the client alone on one core.
    """

    name: str
    what: str
    script: str
    environment: str
    requests: Mapping[float, int]
    kill_requests: int
    expected: Mapping[str, float] = field(default_factory=dict)


FULL = {0.2: 40_000, 2.0: 10_000}
CLIENTS = [
    Client(
        "bare",
        "aiohttp loop, uvloop, orjson",
        "bare_client.py",
        "aiohttp",
        FULL,
        8000,
        {"per_s": 1150, "share": 0.97, "repeated": 4250},
    ),
    Client(
        "openai",
        "AsyncOpenAI on aiohttp, a semaphore",
        "openai_client.py",
        "openai",
        FULL,
        8000,
        {"per_s": 520, "share": 0.85, "repeated": 4250},
    ),
    Client(
        "engine",
        "boostqa's engine alone, 2 processes",
        "engine_client.py",
        OWN,
        FULL,
        0,
        {"per_s": 800, "share": 0.93},
    ),
    Client(
        "boostqa",
        "Ledger.ask on Spark and Delta, llm.workers = 2",
        "boostqa_client.py",
        OWN,
        FULL,
        8000,
        {"per_s": 700, "share": 0.90, "repeated": 320},
    ),
    Client(
        "curator",
        "Bespoke Curator, backend openai",
        "curator_client.py",
        "curator",
        {0.2: 15_000, 2.0: 8_000},
        4000,
        {"per_s": 240, "share": 0.78, "repeated": 20},
    ),
    Client(
        "openaivec",
        "openaivec's Spark UDF, one row a request",
        "openaivec_client.py",
        "openaivec",
        {0.2: 6_000, 2.0: 4_000},
        1500,
        {"per_s": 110, "share": 0.45, "repeated": 1000},
    ),
    Client(
        "naive",
        "Spark pandas UDF, one openai call a row",
        "naive_client.py",
        "openai",
        {0.2: 400},
        100,
        {"per_s": 8, "repeated": 52},
    ),
]


def command(client: Client, url: str, prompts: Path, in_flight: int, folder: Path) -> list[str]:
    """The command line of a client. Raises NotInstalledError where its environment can not be made."""
    python = python_of(client.environment, ENVIRONMENTS[client.environment]) if client.environment else sys.executable
    return [str(python), str(PEERS / client.script), url, str(prompts), str(in_flight), str(folder)]


def environment(client: Client) -> dict[str, str]:
    """The environment variables of a client: no proxy sees calls to this machine, and no key of yours goes to a peer."""
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith(("_proxy", "_api_key"))}
    if client.environment == OWN:
        return {**kept, "PYTHONPATH": str(ROOT)}
    kept.pop("PYTHONPATH", None)
    return {**kept, **_tokenizers()}


def _tokenizers() -> dict[str, str]:
    """Where a peer that counts tokens finds a tokenizer without a download: in Curator's dependencies."""
    found = sorted(FOLDER.glob("curator/lib/*/site-packages/litellm/litellm_core_utils/tokenizers"))
    return {"TIKTOKEN_CACHE_DIR": str(found[0])} if found else {}
