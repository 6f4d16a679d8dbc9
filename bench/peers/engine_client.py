"""boostqa's engine alone: `OpenAIEngine.stream` in as many processes as the ledger has workers, without Spark, segments and commit."""

from __future__ import annotations

import asyncio
import json
import time
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from multiprocessing import get_context

from client import MAX_TOKENS, MODEL, arguments, messages, read_prompts, tell

from udfs.engines.bounds import Bounds
from udfs.engines.openai_compatible import OpenAIEngine
from udfs.engines.protocol import ChatRequest, EngineSpec
from udfs.text import stable_id
from udfs.waves import request_of

WORKERS = 2
TASK = "multi_grade"


def request(prompt: str) -> ChatRequest:
    """The request that a worker would make of the prompt's row."""
    name = stable_id(prompt)
    params = json.dumps({"max_tokens": MAX_TOKENS})
    row = {"request_id": name, "task": TASK, "model": MODEL, "params": params, "prefix": name, "attempt": 0}
    return request_of({**row, "messages": json.dumps(messages(prompt))})


async def ask(share: int) -> int:
    """Asks one process's share of the prompts; returns how many were answered."""
    args = arguments()
    spec = EngineSpec(base_urls=(args.url,), max_in_flight=args.in_flight, request_timeout_s=300, deadline_s=1800)
    mine = (request(prompt) for prompt in islice(read_prompts(args.prompts), share, None, WORKERS))
    answers = OpenAIEngine(spec).stream(mine, Bounds(spec, args.in_flight // WORKERS))
    return sum([result.status == "ok" async for result in answers])


def work(share: int) -> int:
    """One process."""
    return asyncio.run(ask(share))


def main() -> None:
    """Asks all prompts; imports are over when the clock starts."""
    with ProcessPoolExecutor(WORKERS, mp_context=get_context("fork")) as pool:
        started = time.monotonic()
        answers = sum(pool.map(work, range(WORKERS)))
        tell(answers, ask_s=round(time.monotonic() - started, 2))


main()
