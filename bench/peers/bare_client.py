"""The limit: a bare aiohttp loop on uvloop with orjson. It keeps the answers in memory, retries nothing and records nothing."""

from __future__ import annotations

import asyncio

import aiohttp
import orjson
import uvloop
from client import MAX_TOKENS, MODEL, arguments, messages, read_prompts, tell


async def main() -> None:
    """Asks all prompts."""
    args = arguments()
    prompts, answers = read_prompts(args.prompts), []
    address = f"{args.url}/chat/completions"

    async def work() -> None:
        for prompt in prompts:
            body = orjson.dumps({"model": MODEL, "messages": messages(prompt), "max_tokens": MAX_TOKENS})
            async with session.post(address, data=body, headers={"Content-Type": "application/json"}) as reply:
                reply.raise_for_status()
                answers.append(orjson.loads(await reply.read())["choices"][0]["message"]["content"])

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await asyncio.gather(*[work() for _ in range(args.in_flight)])
    tell(len(answers))


uvloop.run(main())
