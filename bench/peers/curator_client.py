"""Bespoke Curator with its `openai` backend: rates that never bind, a cache in the client's folder, nothing sent home."""

from __future__ import annotations

import os
from typing import Any

from client import MAX_TOKENS, MODEL, arguments, read_prompts, tell

NEVER_BINDS = 10**9
QUIET = {
    "TELEMETRY_ENABLED": "false",
    "CURATOR_DISABLE_RICH_DISPLAY": "1",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "HF_HUB_OFFLINE": "1",
    "OPENAI_API_KEY": "none",
}


def main() -> None:
    """Asks all prompts."""
    args = arguments()
    os.environ.update(QUIET, CURATOR_CACHE_DIR=str(args.folder))
    from bespokelabs import curator

    class Asker(curator.LLM):  # type: ignore[misc]
        """One prompt, one answer."""

        def prompt(self, row: dict[str, Any]) -> str:
            """The row's prompt as it is."""
            return str(row["prompt"])

        def parse(self, row: dict[str, Any], response: str) -> dict[str, Any]:
            """The answer as it is."""
            return {"answer": response}

    limits = {"max_requests_per_minute": NEVER_BINDS, "max_tokens_per_minute": NEVER_BINDS * 1000}
    asker = Asker(
        model_name=MODEL,
        backend="openai",
        generation_params={"max_tokens": MAX_TOKENS},
        backend_params={"base_url": args.url, "max_concurrent_requests": args.in_flight, **limits},
    )
    answers = asker([{"prompt": prompt} for prompt in read_prompts(args.prompts)]).dataset
    tell(sum(bool(answer) for answer in answers["answer"]))


main()
