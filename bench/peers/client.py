"""What all clients share: their arguments, the prompts, and the one line that they print. Standard library alone: each runs in an environment of its own."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

MODEL = "stand-in"
MAX_TOKENS = 400


def arguments() -> argparse.Namespace:
    """`url` ends in /v1, `prompts` has a JSON line for each request, `folder` is the client's own and outlives a kill."""
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("prompts", type=Path)
    parser.add_argument("in_flight", type=int)
    parser.add_argument("folder", type=Path)
    return parser.parse_args()


def read_prompts(path: Path) -> Iterator[str]:
    """The prompts, one at a time."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)["prompt"]


def messages(prompt: str) -> list[dict[str, str]]:
    """The messages of a request."""
    return [{"role": "user", "content": prompt}]


def tell(answers: int, **figures: float) -> None:
    """Prints the result as the last line: how many answers the user has now, and what else the client knows."""
    sys.stdout.write(json.dumps({"answers": answers, **figures}) + "\n")
    sys.stdout.flush()
