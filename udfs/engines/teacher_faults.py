"""What a stand-in teacher can be told to do wrong, and for which request it does it."""

from __future__ import annotations

import argparse
import hashlib
from dataclasses import dataclass, fields

KINDS = (
    "error_500",
    "error_429",
    "reset",
    "hang",
    "cut",
    "garbage",
    "empty",
    "wrong_schema",
    "surrogate",
    "large",
    "expired",
)
# What a flag says of itself; the other shares are named like what they do.
HELP = {
    "latency_s": "seconds before each answer",
    "error_500": "share of requests, 0..1, that get an HTTP 500; so do the next ones",
    "error_429": "a 429",
    "reset": "a connection that breaks",
    "hang": "no answer for --hang-s seconds",
    "cut": "an answer cut at half",
    "garbage": "an answer that is no JSON",
    "empty": "an empty answer",
    "wrong_schema": "JSON of another form",
    "surrogate": "half of a surrogate pair, which is no character",
    "large": "an answer of 1 MB, whatever max_tokens says",
    "expired": "a place in a batch that expires; single requests are answered",
    "retry_after_s": "seconds that a 429 asks to wait",
    "hang_s": "seconds (default: 60)",
    "batch_delay_s": "seconds from a batch to its results",
    "batch_queue": "most requests that may wait in batches; 0: any number",
    "max_context": "longest prompt in tokens; 0: any",
    "key": "API key that clients must send",
    "seed": "another choice of the requests that fail",
}


@dataclass(frozen=True, slots=True)
class Faults:
    """Settings of a stand-in teacher, also by flags of its command and by `POST /faults`.

    The shares from `error_500` to `expired` are each 0..1 and together at most 1. `retry_after_s` goes with
    each 429. `max_context` bounds a prompt's tokens (0: no bound). `key`, if set, is asked of every client.
    """

    latency_s: float = 0.0
    error_500: float = 0.0
    error_429: float = 0.0
    reset: float = 0.0
    hang: float = 0.0
    cut: float = 0.0
    garbage: float = 0.0
    empty: float = 0.0
    wrong_schema: float = 0.0
    surrogate: float = 0.0
    large: float = 0.0
    expired: float = 0.0
    retry_after_s: float = 0.0
    hang_s: float = 60.0
    batch_delay_s: float = 0.0
    batch_queue: int = 0
    max_context: int = 0
    no_response_format: bool = False
    key: str = ""
    seed: int = 0

    def choose(self, body: bytes, seen: int) -> str:
        """Names the fault for the `seen`-th time (from 0) that this body arrives, or an empty text.

        It depends on nothing else, so that a run with many clients meets the same faults as one with few, and a retry
        may succeed.
        """
        digest = hashlib.sha256(f"{self.seed}/{seen}/".encode() + body).digest()
        point = int.from_bytes(digest[:8], "big") / 2**64
        for kind in KINDS:
            share = getattr(self, kind)
            if point < share:
                return kind
            point -= share
        return ""


def add_fault_flags(parser: argparse.ArgumentParser) -> None:
    """Adds a flag for each setting of Faults."""
    for each in fields(Faults):
        flag = f"--{each.name.replace('_', '-')}"
        if isinstance(each.default, bool):
            parser.add_argument(flag, action="store_true")
        else:
            kind = type(each.default)
            parser.add_argument(flag, type=kind, default=each.default, metavar="X", help=HELP.get(each.name))


def faults_of(parsed: argparse.Namespace) -> Faults:
    """Reads the flags of `add_fault_flags`."""
    return Faults(**{each.name: getattr(parsed, each.name) for each in fields(Faults)})
