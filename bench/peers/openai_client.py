"""The usual script: AsyncOpenAI on its aiohttp transport, a semaphore, and `gather` over all rows. It records nothing."""

from __future__ import annotations

import asyncio

from client import MAX_TOKENS, MODEL, arguments, messages, read_prompts, tell
from openai import AsyncOpenAI, DefaultAioHttpClient


async def main() -> None:
    """Asks all prompts."""
    args = arguments()
    places = asyncio.Semaphore(args.in_flight)

    async def ask(prompt: str) -> str | None:
        async with places:
            reply = await client.chat.completions.create(model=MODEL, messages=messages(prompt), max_tokens=MAX_TOKENS)
        return reply.choices[0].message.content

    async with AsyncOpenAI(base_url=args.url, api_key="none", http_client=DefaultAioHttpClient()) as client:
        answers = await asyncio.gather(*[ask(prompt) for prompt in read_prompts(args.prompts)])
    tell(sum(bool(answer) for answer in answers))


asyncio.run(main())
