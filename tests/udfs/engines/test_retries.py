"""What each refusal means, in the words of the servers that are around."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

import pytest

from udfs.engines.retries import Action, Backoff, Refusal, judge, retry_after


@pytest.mark.parametrize(
    ("status", "words", "code", "action"),
    [
        (500, "", "", Action.RETRY),
        (502, "Bad Gateway", "", Action.RETRY),
        (408, "", "", Action.RETRY),
        (429, "Rate limit reached", "rate_limit_exceeded", Action.RETRY),
        (429, "You exceeded your current quota", "insufficient_quota", Action.STOP_RUN),
        (402, "Insufficient Balance", "", Action.STOP_RUN),
        (401, "Incorrect API key", "invalid_api_key", Action.STOP_RUN),
        (403, "", "", Action.STOP_RUN),
        (404, "The model `x` does not exist", "model_not_found", Action.STOP_RUN),
        (307, "it redirects to https://elsewhere", "", Action.STOP_RUN),
        (400, "temperature must be at most 2", "", Action.STOP_RUN),
        (400, "too many", "context_length_exceeded", Action.FAIL_ROW),
        (400, "This model's maximum context length is 4096 tokens. You requested 5000.", "", Action.FAIL_ROW),
        (400, "The prompt (total length 9000) is too long to fit into the model (context length 8192).", "", Action.FAIL_ROW),
        (400, "the request exceeds the available context size", "", Action.FAIL_ROW),
        (422, "`inputs` tokens + `max_new_tokens` must be <= 4096", "", Action.FAIL_ROW),
        (413, "", "", Action.FAIL_ROW),
        (400, "The response was filtered due to content management policy", "content_filter", Action.FAIL_ROW),
    ],
)  # fmt: skip
def test_each_refusal_is_retried_fails_its_row_or_stops_the_run(
    status: int, words: str, code: str, action: Action
) -> None:
    verdict = judge(Refusal(status, words, code), structured=False)
    assert verdict.action is action
    assert f"HTTP {status}" in verdict.reason


def test_a_refused_response_format_is_given_up_only_where_it_was_sent() -> None:
    refusal = Refusal(400, "response_format json_schema is not supported")
    assert judge(refusal, structured=True).action is Action.ASK_PLAIN
    assert judge(refusal, structured=False).action is Action.STOP_RUN


def test_only_429_and_503_ask_for_fewer_requests() -> None:
    assert [status for status in (408, 429, 500, 502, 503, 504) if judge(Refusal(status, ""), False).overloaded] == [
        429,
        503,
    ]


def test_a_long_page_of_words_is_cut() -> None:
    assert len(judge(Refusal(500, "x" * 10_000), False).reason) < 600


def test_retry_after_is_read_in_milliseconds_seconds_and_dates() -> None:
    later = datetime.now(timezone.utc) + timedelta(seconds=100)
    assert retry_after({"retry-after-ms": "1500", "retry-after": "9"}) == 1.5
    assert retry_after({"retry-after": "2.5"}) == 2.5
    assert 90 < (retry_after({"retry-after": format_datetime(later, usegmt=True)}) or 0) <= 100
    assert retry_after({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0
    assert retry_after({"retry-after": "soon"}) is None
    assert retry_after({}) is None


def test_waits_double_up_to_the_cap_with_a_jitter_that_repeats() -> None:
    backoff = Backoff(base_s=1.0, cap_s=10.0)
    waits = [backoff.seconds(attempt, "row") for attempt in range(1, 9)]
    assert waits == [backoff.seconds(attempt, "row") for attempt in range(1, 9)]
    assert all(min(10, 2**n) / 2 <= wait <= min(10, 2**n) for n, wait in enumerate(waits))
    assert backoff.seconds(1, "other") != waits[0]
    assert backoff.seconds(10_000, "row") <= 10
