"""The openai engine against real servers: every request ends as an answer or as a row with a reason."""

from __future__ import annotations

import asyncio
import contextlib
import pickle
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.udfs.engines.helpers import QUICK, Script, ScriptedServer, ask, completion, spec_for
from udfs.engines import ChatRequest, ChatResult, FatalEngineError
from udfs.engines.bounds import Bounds
from udfs.engines.openai_compatible import OpenAIEngine
from udfs.engines.purse import Amount, Purse
from udfs.engines.teacher_process import Teacher

KEY = "sk-secret-123"
Start = Callable[[Script], ScriptedServer]
REFUSAL = {"error": {"message": f"bad key {KEY}"}}


def engine_for(*urls: str, **changes: object) -> OpenAIEngine:
    return OpenAIEngine(spec_for(*urls, **changes), QUICK)


def complete_one(url: str, request: ChatRequest | None = None, **changes: object) -> ChatResult:
    return engine_for(url, **changes).complete([request or ask(1)])[0]


def test_every_request_gets_its_answer_within_the_bound(teacher: Teacher) -> None:
    teacher.set_faults(latency_s=0.01)
    results = engine_for(teacher.base_url, max_in_flight=8).complete([ask(n) for n in range(60)])
    assert sorted(int(result.request_id) for result in results) == list(range(60))
    assert {result.status for result in results} == {"ok"}
    assert all(result.completion_tokens > 0 and result.served_model == "stand-in" for result in results)
    assert teacher.stats()["peak_in_flight"] <= 8


def test_faults_end_as_answers_or_rows_with_a_reason(teacher: Teacher) -> None:
    teacher.set_faults(error_500=0.2, error_429=0.1, reset=0.1, empty=0.1, hang=0.05, hang_s=30)
    engine = engine_for(teacher.base_url, max_in_flight=32, request_timeout_s=0.4, max_attempts=20)
    results = engine.complete([ask(f"fault {n}") for n in range(150)])
    assert Counter(result.status for result in results) == {"ok": 150}
    assert max(result.attempts for result in results) > 1


def test_a_row_that_never_works_fails_with_its_last_reason(teacher: Teacher) -> None:
    teacher.set_faults(error_500=1.0)
    result = complete_one(teacher.base_url)
    assert (result.status, result.attempts) == ("failed", 5)
    assert result.error == "gave up after 5 tries; the last: HTTP 500: the server had an error (asked for)"


def test_resets_fail_the_row_not_the_run(teacher: Teacher) -> None:
    teacher.set_faults(reset=1.0)
    result = complete_one(teacher.base_url)
    assert result.status == "failed"
    assert "the connection broke" in result.error


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (b"no HTTP at all\r\n\r\n", "the connection broke"),
        (b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n", "the connection broke"),
        (b"HTTP/1.1 503 nicht verf\xfcgbar\r\nContent-Length: 0\r\n\r\n", "HTTP 503"),
    ],
)
def test_a_reply_that_is_no_good_http_fails_its_row_only(reply: bytes, words: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor(1) as pool:
        pool.submit(say_to_everyone, listening, reply)
        try:
            result = complete_one(f"http://127.0.0.1:{listening.getsockname()[1]}/v1", max_attempts=2)
        finally:
            listening.shutdown(socket.SHUT_RDWR)
    assert (result.status, result.attempts) == ("failed", 2)
    assert f"gave up after 2 tries; the last: {words}" in result.error


def say_to_everyone(listening: socket.socket, reply: bytes) -> None:
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listening.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(reply)


def test_a_hanging_server_ends_at_the_timeout(teacher: Teacher) -> None:
    teacher.set_faults(hang=1.0, hang_s=30)
    result = complete_one(teacher.base_url, request_timeout_s=0.05, max_attempts=2)
    assert result.error == "gave up after 2 tries; the last: no answer within 0.05 s"


def test_retry_after_is_honoured_up_to_the_deadline(teacher: Teacher) -> None:
    teacher.set_faults(error_429=1.0, retry_after_s=3600)
    result = complete_one(teacher.base_url, deadline_s=60)
    assert result.attempts == 1
    assert result.error.startswith(
        "gave up: the deadline of 60 s leaves no time for more than 1 try; the last: HTTP 429"
    )


def test_an_empty_answer_is_asked_again_then_fails_and_its_tokens_are_counted(scripted: Start) -> None:
    server = scripted(lambda body, number: (200, completion("")))
    result = complete_one(server.url, max_attempts=3)
    assert (result.status, result.attempts, result.prompt_tokens) == ("failed", 3, 21)
    assert "the answer was empty" in result.error


def test_a_too_long_prompt_fails_its_row_only(teacher: Teacher) -> None:
    teacher.set_faults(max_context=20)
    long = ask("long", messages=({"role": "user", "content": "word " * 100},))
    results = {result.request_id: result for result in engine_for(teacher.base_url).complete([long, ask("short")])}
    assert results["short"].status == "ok"
    assert results["long"].attempts == 1
    assert "too long for the model (HTTP 400: This model's maximum context length" in results["long"].error


def test_words_of_a_server_that_are_no_text_are_kept_as_text(scripted: Start) -> None:
    """They go into the ledger, where one row that can not be written would stop the others of its partition again and again."""
    words = {"error": {"message": "maximum context length: your prompt was 'cut in the middle of \ud83d'"}}
    result = complete_one(scripted(lambda body, number: (400, words)).url)
    assert result.status == "failed"
    assert "in the middle of \ufffd'" in result.error
    refused = {"error": {"message": "no such model: \ud83d"}}
    with pytest.raises(FatalEngineError, match="no such model: \ufffd"):
        complete_one(scripted(lambda body, number: (404, refused)).url)


def test_a_cut_answer_says_so(teacher: Teacher) -> None:
    result = complete_one(teacher.base_url, ask(1, params={"max_tokens": 3}))
    assert (result.status, result.finish_reason) == ("ok", "length")


def test_an_unknown_model_stops_the_run_with_the_servers_words(teacher: Teacher) -> None:
    with pytest.raises(FatalEngineError, match=r"refuses model 'gpt-9': HTTP 404: The model `gpt-9` does not exist"):
        complete_one(teacher.base_url, ask(1, model="gpt-9"))


def test_a_wrong_key_stops_the_run_and_is_never_shown(teacher: Teacher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOOSTQA_TEST_KEY", KEY)
    teacher.set_faults(key="another")
    with pytest.raises(FatalEngineError) as caught:
        engine_for(teacher.base_url).complete([ask(n) for n in range(100)])
    assert "refuses the key in BOOSTQA_TEST_KEY" in str(caught.value)
    assert KEY not in str(caught.value)


def test_no_new_request_goes_out_after_the_run_was_stopped(scripted: Start) -> None:
    server = scripted(lambda body, number: (401, REFUSAL))
    with pytest.raises(FatalEngineError):
        engine_for(server.url, max_in_flight=8).complete([ask(n) for n in range(200)])
    assert len(server.bodies) <= 8


def test_answers_on_their_way_are_yielded_before_the_run_stops(scripted: Start) -> None:
    server = scripted(lambda body, number: (200, completion("fine")) if number < 4 else (404, {}))

    async def answers_before_the_stop() -> int:
        count = 0
        stream = engine_for(server.url, max_in_flight=1).stream([ask(n) for n in range(9)])
        with contextlib.suppress(FatalEngineError):
            async for _ in stream:
                count += 1
            count = -1
        return count

    assert asyncio.run(answers_before_the_stop()) == 3


def test_a_server_that_is_not_there_stops_the_run() -> None:
    with pytest.raises(FatalEngineError, match=r"127\.0\.0\.1:9/v1 cannot be reached: cannot connect.*is the server"):
        complete_one("http://127.0.0.1:9/v1")


def test_what_reached_no_server_is_not_counted_as_paid() -> None:
    spec = spec_for("http://127.0.0.1:9/v1", max_attempts=3)
    bounds = Bounds(spec, purse=Purse(Amount(requests=100, tokens=1e6, cost=1e6)))

    async def scenario() -> list[ChatResult]:
        return [result async for result in OpenAIEngine(spec, QUICK).stream([ask(1)], bounds)]

    with pytest.raises(FatalEngineError, match="cannot be reached"):
        asyncio.run(scenario())
    assert bounds.purse.spent == Amount(requests=3)


def test_the_other_server_carries_on_when_one_is_gone(teacher: Teacher) -> None:
    results = engine_for("http://127.0.0.1:9/v1", teacher.base_url).complete([ask(n) for n in range(20)])
    assert {result.status for result in results} == {"ok"}


def test_no_row_fails_for_one_server_that_is_sick(scripted: Start) -> None:
    """Requests of a prefix belong to one server; when that one fails them, another is tried."""
    sick = scripted(lambda body, number: (500, {"error": {"message": "the engine is dead"}}))
    well = scripted(lambda body, number: (200, completion("fine")))
    requests = [ask(n, prefix=f"seed {n}") for n in range(40)]
    results = engine_for(sick.url, well.url, max_attempts=3).complete(requests)
    assert {result.status for result in results} == {"ok"}
    assert {result.attempts for result in results} == {1, 2}
    assert len(sick.bodies) == sum(result.attempts == 2 for result in results)


def test_two_servers_share_the_work(scripted: Start) -> None:
    servers = [scripted(lambda body, number: (200, completion("a"))) for _ in range(2)]
    engine_for(*(server.url for server in servers), max_in_flight=16).complete([ask(n) for n in range(40)])
    assert sum(len(server.bodies) for server in servers) == 40
    assert min(len(server.bodies) for server in servers) >= 10


def test_a_refused_response_format_is_left_out_and_remembered(teacher: Teacher) -> None:
    teacher.set_faults(no_response_format=True)
    engine = engine_for(teacher.base_url, max_in_flight=1)
    schema = {"type": "object"}
    first, second = (engine.complete([ask(n, json_schema=schema)])[0] for n in range(2))
    assert (first.status, first.attempts) == ("ok", 2)
    assert (second.status, second.attempts) == ("ok", 1)


def test_reasoning_is_kept_apart(scripted: Start) -> None:
    server = scripted(lambda body, number: (200, completion("<think>because</think>42")))
    result = complete_one(server.url)
    assert (result.response, result.reasoning, result.finish_reason) == ("42", "because", "stop")


@pytest.mark.parametrize("reply", [b"", b"<html>", b"null", {"choices": None}, {"choices": [{}]}, b"\xff\xfe{"])
def test_odd_replies_are_failed_rows(scripted: Start, reply: object) -> None:
    result = complete_one(scripted(lambda body, number: (200, reply)).url, max_attempts=2)
    assert (result.status, result.attempts) == ("failed", 2)


def test_large_and_surrogate_answers_arrive(scripted: Start) -> None:
    server = scripted(lambda body, number: (200, completion("\ud800" + "x" * 2**20)))
    result = complete_one(server.url, ask(1, messages=({"role": "user", "content": "\udc00"},)))
    assert len(result.response.encode()) == 2**20 + 3


def test_a_redirect_is_not_followed(scripted: Start) -> None:
    target = scripted(lambda body, number: (200, completion("stolen")))
    server = scripted(lambda body, number: (307, {}))
    server.headers["Location"] = f"{target.url}/chat/completions"
    with pytest.raises(FatalEngineError, match="it redirects to"):
        complete_one(server.url)
    assert target.bodies == []


def test_requests_are_taken_only_as_places_become_free(teacher: Teacher) -> None:
    taken = 0

    def source() -> Iterator[ChatRequest]:
        nonlocal taken
        for number in range(1000):
            taken += 1
            yield ask(number)

    async def first() -> None:
        stream = engine_for(teacher.base_url, max_in_flight=4).stream(source())
        async for _ in stream:
            break
        await stream.aclose()

    asyncio.run(first())
    assert taken <= 8


def test_the_engine_works_inside_a_running_loop(teacher: Teacher) -> None:
    async def notebook() -> int:
        return len(engine_for(teacher.base_url).complete([ask(1)]))

    assert asyncio.run(notebook()) == 1


def test_what_is_told_to_stop_asks_nothing_more_and_keeps_what_is_under_way(teacher: Teacher) -> None:
    teacher.set_faults(latency_s=0.3)
    spec = spec_for(teacher.base_url, max_in_flight=4)
    bounds = Bounds(spec)

    async def scenario() -> list[ChatResult]:
        results = []
        async for result in OpenAIEngine(spec, QUICK).stream((ask(n) for n in range(50)), bounds):
            results.append(result)
            bounds.stop()
        return results

    before = teacher.stats()["requests"]
    results = asyncio.run(scenario())
    assert {result.status for result in results} == {"ok"}
    assert 1 <= len(results) == teacher.stats()["requests"] - before <= 8


def test_what_failed_is_not_tried_again_after_the_stop(scripted: Start) -> None:
    server = scripted(lambda body, number: (500, {"error": {"message": "busy"}}))
    spec = spec_for(server.url, max_in_flight=1, max_attempts=1000)
    bounds = Bounds(spec)

    async def scenario() -> list[ChatResult]:
        asyncio.get_running_loop().call_later(0.2, bounds.stop)
        return [result async for result in OpenAIEngine(spec, QUICK).stream([ask(1)], bounds)]

    assert asyncio.run(asyncio.wait_for(scenario(), 10)) == []


def test_rates_are_kept(teacher: Teacher) -> None:
    results = engine_for(teacher.base_url, rpm=600_000, tpm=100_000_000).complete([ask(n) for n in range(10)])
    assert len(results) == 10


def test_nothing_to_ask_is_nothing_done() -> None:
    engine = engine_for("http://127.0.0.1:9/v1")
    assert engine.complete([]) == []
    engine.close()


def test_the_spec_travels_to_a_worker() -> None:
    spec = spec_for("http://127.0.0.1:9/v1")
    assert pickle.loads(pickle.dumps(spec)) == spec
