"""The bench's server as a process of its own, and the prompts that all clients send to it."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, Request, build_opener

from batch_clients import ENVIRONMENTS, PEERS
from environments import python_of

START_LIMIT_S = 30.0
PROMPT_WORDS = 380  # about 500 tokens
TEXT = (
    "Rivers carry what the slopes give them: in the upper course boulders and gravel, further down sand, and in the plain the fine mud that settles only where "
    "the water stands. The load depends on the square of the speed, so that a flood of one week moves more than the quiet months of a year. Where the bed is "
    "steep the river cuts down; where it is flat it swings from side to side, takes the outer bank away and lays it down again at the next inner one."
)


class Server:
    """The running server; as a context manager it ends with the block."""

    def __init__(self, folder: Path) -> None:
        port_file = folder / "port"
        python = python_of("aiohttp", ENVIRONMENTS["aiohttp"])
        self._process = subprocess.Popen([str(python), str(PEERS / "server.py"), str(port_file)])
        deadline = time.monotonic() + START_LIMIT_S
        while not port_file.exists():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the bench's server did not start; its words are above")
            time.sleep(0.02)
        self._root = f"http://127.0.0.1:{port_file.read_text('utf-8')}"
        self.url = f"{self._root}/v1"

    def reset(self, latency_s: float) -> None:
        """Begins to count anew, with another latency."""
        self._call("/reset", {"latency_s": latency_s})

    def stats(self) -> dict[str, Any]:
        """The counts since the last reset."""
        return self._call("/stats")

    def _call(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        with build_opener(ProxyHandler({})).open(Request(self._root + path, data=data), timeout=30) as reply:
            told: dict[str, Any] = json.load(reply)
        return told

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.terminate()
        self._process.wait()


def write_prompts(folder: Path, count: int) -> Path:
    """Writes so many prompts of about 500 tokens, all different, as JSON lines; once for each count."""
    path = folder / f"prompts-{count}.jsonl"
    if not path.exists():
        words = TEXT.split()
        many = words * (PROMPT_WORDS // len(words) + 2)
        with path.open("w", encoding="utf-8") as lines:
            for number in range(count):
                start = number % len(words)
                text = " ".join(many[start : start + PROMPT_WORDS])
                prompt = f"Passage {number}. Write three questions with their answers on it. {text}"
                lines.write(json.dumps({"prompt": prompt}) + "\n")
    return path
