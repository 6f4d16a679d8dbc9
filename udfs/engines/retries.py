"""What to do about a refused or broken request: ask again, give up the row, or stop the run. Pure rules, no I/O."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from enum import Enum

WORDS_BOUND = 500

# Servers word it differently (OpenAI, vLLM, SGLang, TGI, llama.cpp, Ollama); all of them mean that this one row is
# too long.
TOO_LONG = re.compile(
    r"context[ _-]?(length|window|size)|maximum (context|model|input|sequence)|max_model_len|too (long|many tokens)"
    r"|reduce the length|must be <= ?\d+|exceeds? .{0,40}(tokens|length)|string_above_max_length",
    re.IGNORECASE,
)
NO_FORMAT = re.compile(r"response_format|json_schema|structured output|guided|grammar", re.IGNORECASE)
CONTENT_POLICY = re.compile(r"content[ _-]?(policy|filter|management)", re.IGNORECASE)
NO_MONEY = re.compile(r"insufficient_quota|insufficient balance|billing", re.IGNORECASE)


class Action(Enum):
    """What becomes of the request."""

    RETRY = "retry"
    FAIL_ROW = "fail_row"
    STOP_RUN = "stop_run"
    ASK_PLAIN = "ask_plain"  # again, without response_format


@dataclass(frozen=True, slots=True)
class Refusal:
    """An HTTP answer other than 2xx: status, the server's words, its machine-readable code and its headers (names in
    lower case).
    """

    status: int
    words: str
    code: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Verdict:
    """`wait_s` is what the server asked us to wait (None: it did not).

    `overloaded` asks for fewer requests in flight, `away` tells that nobody works behind the address now.
    """

    action: Action
    reason: str
    wait_s: float | None = None
    overloaded: bool = False
    away: bool = False


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits that double from `base_s` up to `cap_s`, shortened by up to half at random so that clients don't march in
    step.
    """

    base_s: float = 0.5
    cap_s: float = 30.0

    def seconds(self, attempt: int, key: str) -> float:
        """Wait after try number `attempt` (from 1). The same key and attempt give the same wait."""
        jitter = random.Random(f"{key}/{attempt}").uniform(0.5, 1.0)
        return min(self.cap_s, self.base_s * 2.0 ** min(attempt - 1, 30)) * jitter


def judge(refusal: Refusal, structured: bool) -> Verdict:
    """Decides about an HTTP refusal; `structured` tells that the request carried `response_format`."""
    status, words = refusal.status, refusal.words[:WORDS_BOUND]
    said = f"HTTP {status}: {words}" if words else f"HTTP {status}"
    text = f"{refusal.code} {refusal.words}"
    if status == 429 and NO_MONEY.search(text):
        return Verdict(Action.STOP_RUN, said)
    if status in (408, 409, 425, 429) or status >= 500:
        wait_s = retry_after(refusal.headers)
        return Verdict(Action.RETRY, said, wait_s, overloaded=status in (429, 503), away=status in (502, 503, 504))
    if status == 413 or (status in (400, 422) and TOO_LONG.search(text)):
        return Verdict(Action.FAIL_ROW, f"the prompt is too long for the model ({said})")
    if status == 400 and CONTENT_POLICY.search(text):
        return Verdict(Action.FAIL_ROW, f"the server's content policy refused the prompt ({said})")
    if structured and status in (400, 422) and NO_FORMAT.search(text):
        return Verdict(Action.ASK_PLAIN, said)
    return Verdict(Action.STOP_RUN, said)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the server asks to wait: `retry-after-ms`, or `retry-after` in seconds or as a date. None where it
    doesn't say.
    """
    for name, scale in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(name, "").strip()
        if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", value):
            return float(value) * scale
    try:
        when = parsedate_to_datetime(headers.get("retry-after", ""))
    except (TypeError, ValueError):
        return None
    now = datetime.now(timezone.utc)
    return max(0.0, (when.astimezone(timezone.utc) - now).total_seconds())
