"""The openai-batch engine against the stand-in's Batch API: every request ends as an answer or as a row with a reason."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.udfs.engines.helpers import QUICK, ask, batch_spec, spec_for
from udfs.engines import ChatRequest, ChatResult, FatalEngineError, load_engine
from udfs.engines.bounds import Bounds
from udfs.engines.openai_batch import OpenAIBatchEngine
from udfs.engines.purse import Amount, Purse
from udfs.engines.teacher_process import Teacher

KEY = "sk-secret-123"
CLOSED = "http://127.0.0.1:9/v1"


def engine_for(teacher: Teacher, folder: Path, **changes: Any) -> OpenAIBatchEngine:
    return OpenAIBatchEngine(batch_spec(teacher.base_url, folder, **changes), QUICK)


def complete_one(teacher: Teacher, folder: Path, request: ChatRequest, **changes: Any) -> ChatResult:
    (result,) = engine_for(teacher, folder, **changes).complete([request])
    return result


def streamed(engine: OpenAIBatchEngine, requests: list[ChatRequest], bounds: Bounds) -> list[ChatResult]:
    """The results until the stream ends or stops the run."""

    async def collect() -> list[ChatResult]:
        results: list[ChatResult] = []
        try:
            async for result in engine.stream(requests, bounds):
                results += [result]
        except FatalEngineError:
            pass
        return results

    return asyncio.run(collect())


def counted(teacher: Teacher, before: dict[str, Any]) -> tuple[int, int]:
    """Requests and batches since `before`."""
    after = teacher.stats()
    return after["requests"] - before["requests"], after["batches"] - before["batches"]


def test_every_request_gets_its_answer_in_batches_of_the_bound(teacher: Teacher, tmp_path: Path) -> None:
    before = teacher.stats()
    results = engine_for(teacher, tmp_path, batch_requests=25).complete([ask(f"all {n}") for n in range(60)])
    assert sorted(result.request_id for result in results) == sorted(f"all {n}" for n in range(60))
    assert {(result.status, result.attempts, result.served_model) for result in results} == {("ok", 1, "stand-in")}
    assert all(result.completion_tokens > 0 and result.finish_reason == "stop" for result in results)
    assert counted(teacher, before) == (60, 3)


def test_an_answer_is_that_of_a_single_request_whatever_the_order(teacher: Teacher, tmp_path: Path) -> None:
    single = load_engine(spec_for(teacher.base_url))
    requests = [ask(f"order {n}", params={"max_tokens": 5 + n}) for n in range(12)]
    said = {
        name: {result.request_id: (result.response, result.prompt_tokens) for result in results}
        for name, results in {
            "single": single.complete(requests),
            "batch": engine_for(teacher, tmp_path / "a").complete(requests),
            "reversed": engine_for(teacher, tmp_path / "b", batch_requests=5).complete(requests[::-1]),
        }.items()
    }
    assert said["single"] == said["batch"] == said["reversed"]


def test_faults_end_as_answers_in_later_batches(teacher: Teacher, tmp_path: Path) -> None:
    teacher.set_faults(error_500=0.2, error_429=0.1, reset=0.1, empty=0.1, hang=0.1, expired=0.1, surrogate=0.1)
    engine = engine_for(teacher, tmp_path, max_attempts=30)
    results = engine.complete([ask(f"batch fault {n}") for n in range(100)])
    assert Counter(result.status for result in results) == {"ok": 100}
    assert max(result.attempts for result in results) > 2


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("error_500", "HTTP 500: the server had an error (asked for)"),
        ("error_429", "HTTP 429: rate limit reached (asked for)"),
        ("reset", "server_error: the connection broke (asked for)"),
        ("expired", "batch_expired: This request could not be executed before the completion window expired."),
        ("hang", "the batch's files do not have this request"),
        ("empty", "the answer was empty"),
    ],
)
def test_a_row_that_never_works_fails_with_its_last_reason(
    teacher: Teacher, tmp_path: Path, fault: str, words: str
) -> None:
    teacher.set_faults(**{fault: 1.0})
    bounds = Bounds(batch_spec(teacher.base_url, tmp_path))
    (result,) = streamed(engine_for(teacher, tmp_path, max_attempts=3), [ask(f"never {fault}")], bounds)
    assert (result.status, result.attempts) == ("failed", 3)
    assert result.error == f"gave up after 3 tries; the last: {words}"
    assert bounds.troubles.total() == 3


def test_a_bad_answer_is_asked_for_again_and_the_last_is_kept(teacher: Teacher, tmp_path: Path) -> None:
    teacher.set_faults(garbage=1.0)
    request = ask("bad", check=lambda text: "not like that")
    result = complete_one(teacher, tmp_path, request, bad_answers=2)
    assert (result.status, result.attempts) == ("ok", 3)
    assert "Sure!" in result.response


def test_a_too_long_prompt_fails_its_row_only(teacher: Teacher, tmp_path: Path) -> None:
    teacher.set_faults(max_context=20)
    long = ask("long", messages=({"role": "user", "content": "word " * 100},))
    results = {result.request_id: result for result in engine_for(teacher, tmp_path).complete([long, ask("short")])}
    assert results["short"].status == "ok"
    assert results["long"].attempts == 1
    assert "too long for the model (HTTP 400: This model's maximum context length" in results["long"].error


def test_a_refused_response_format_is_left_out_and_remembered(teacher: Teacher, tmp_path: Path) -> None:
    teacher.set_faults(no_response_format=True)
    engine, before = engine_for(teacher, tmp_path), teacher.stats()
    requests = [ask(f"plain {n}", json_schema={"type": "object"}) for n in range(3)]
    assert {(result.status, result.attempts) for result in engine.complete(requests)} == {("ok", 2)}
    assert engine.complete([ask("plain more", json_schema={"type": "object"})])[0].attempts == 1
    assert counted(teacher, before) == (7, 3)


def test_an_unknown_model_stops_the_run_and_others_are_answered_before(teacher: Teacher, tmp_path: Path) -> None:
    requests = [ask("known"), ask("unknown", model="gpt-9"), ask("known too")]
    bounds = Bounds(batch_spec(teacher.base_url, tmp_path))
    results = streamed(engine_for(teacher, tmp_path), requests, bounds)
    assert [result.request_id for result in results] == ["known", "known too"]
    words = r"/v1 refuses batch batch_\w+: The model `gpt-9` does not exist\."
    with pytest.raises(FatalEngineError, match=words):
        complete_one(teacher, tmp_path, ask("unknown", model="gpt-9"))


def test_a_wrong_key_stops_the_run_is_never_shown_and_costs_nothing(
    teacher: Teacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BOOSTQA_TEST_KEY", KEY)
    teacher.set_faults(key="another")
    engine, bounds = engine_for(teacher, tmp_path), Bounds(batch_spec(teacher.base_url, tmp_path))
    with pytest.raises(FatalEngineError) as caught:
        engine.complete([ask("key")])
    assert "refuses the key in BOOSTQA_TEST_KEY: HTTP 401: Incorrect API key provided: ***" in str(caught.value)
    assert caught.value.__cause__ is None
    assert streamed(engine, [ask("key")], bounds) == []
    assert bounds.purse.spent == Amount()
    assert list(tmp_path.iterdir()) == []


def test_a_server_without_the_batch_api_stops_the_run(teacher: Teacher, tmp_path: Path) -> None:
    engine = OpenAIBatchEngine(batch_spec(f"{teacher.base_url}/other", tmp_path), QUICK)
    with pytest.raises(FatalEngineError, match="refuses the upload: HTTP 404"):
        engine.complete([ask(1)])


def test_a_server_that_is_not_there_stops_the_run(tmp_path: Path) -> None:
    engine = OpenAIBatchEngine(batch_spec(CLOSED, tmp_path, max_attempts=2), QUICK)
    with pytest.raises(FatalEngineError, match="gives no answer about the upload after 2 tries: cannot connect"):
        engine.complete([ask(1)])


def test_a_budget_leaves_the_rest_unasked_and_spends_what_answers_leave(teacher: Teacher, tmp_path: Path) -> None:
    engine, before = engine_for(teacher, tmp_path), teacher.stats()
    requests = [ask(f"budget {n}", params={"max_tokens": 100}) for n in range(30)]
    worst = Bounds(engine.spec).worst(requests[-1]).tokens
    bounds = Bounds(engine.spec, purse=Purse(Amount(requests=1000, tokens=4 * worst, cost=1.0)))
    results = streamed(engine, requests, bounds)
    assert 4 < len(results) < 30
    assert bounds.purse.empty
    assert 3 * worst < bounds.purse.spent.tokens <= 4 * worst
    assert bounds.purse.spent.requests == len(results) == counted(teacher, before)[0]


def test_what_was_refused_is_not_paid_and_what_may_have_been_counts_in_full(teacher: Teacher, tmp_path: Path) -> None:
    request = ask("counts", params={"max_tokens": 100})
    worst = Bounds(batch_spec(teacher.base_url, tmp_path)).worst(request)
    for fault, tokens in (("error_429", 0.0), ("expired", 0.0), ("error_500", worst.tokens), ("hang", worst.tokens)):
        teacher.set_faults(**{"error_429": 0.0, "expired": 0.0, "error_500": 0.0, fault: 1.0})
        engine = engine_for(teacher, tmp_path / fault, max_attempts=2)
        bounds = Bounds(engine.spec)
        streamed(engine, [request], bounds)
        assert (bounds.purse.spent.requests, bounds.purse.spent.tokens) == (2, 2 * tokens), fault


def test_an_outage_stops_the_run_and_fails_no_row(teacher: Teacher, tmp_path: Path) -> None:
    teacher.set_faults(error_500=1.0)
    requests = [ask(f"outage {n}") for n in range(20)]
    engine = engine_for(teacher, tmp_path, max_attempts=2)
    assert streamed(engine, requests, Bounds(engine.spec)) == []
    with pytest.raises(FatalEngineError, match="all 20 requests of a batch got no answer: gave up after 2 tries"):
        engine.complete(requests)
    teacher.set_faults(error_500=0.0)
    assert Counter(result.status for result in engine.complete(requests)) == {"ok": 20}


# Also where the queue has emptied before anybody looks why a batch was refused.
@pytest.mark.parametrize("delay_s", [0.01, 0.03, 0.3])
def test_a_full_queue_is_waited_for(teacher: Teacher, tmp_path: Path, delay_s: float) -> None:
    teacher.set_faults(batch_queue=3, batch_delay_s=delay_s)
    asked = [ask(f"queue {delay_s} {n}") for n in range(6)]
    results = engine_for(teacher, tmp_path, batch_requests=2).complete(asked)
    assert [(result.status, result.attempts) for result in results] == [("ok", 1)] * 6


def test_a_batch_that_no_queue_can_take_stops_the_run(teacher: Teacher, tmp_path: Path) -> None:
    teacher.set_faults(batch_queue=3)
    with pytest.raises(FatalEngineError, match=r"Enqueued limit reached\.; make llm\.batch_requests smaller"):
        engine_for(teacher, tmp_path).complete([ask(f"too many {n}") for n in range(4)])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"base_urls": ()}, r"llm\.base_urls is empty"),
        ({"base_urls": (CLOSED, "http://127.0.0.1:10/v1")}, "a batch is at one endpoint"),
        ({"batch_folder": ""}, "needs `batch_folder`"),
    ],
)
def test_a_spec_that_can_not_work_is_refused(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(FatalEngineError, match=words):
        load_engine(batch_spec(CLOSED, tmp_path, **changes))


def test_the_loader_makes_it_and_a_notebook_may_use_it(teacher: Teacher, tmp_path: Path) -> None:
    engine = load_engine(batch_spec(teacher.base_url, tmp_path))

    async def notebook() -> int:
        return len(engine.complete([ask("notebook")]))

    assert isinstance(engine, OpenAIBatchEngine)
    assert asyncio.run(notebook()) == 1
    assert engine.complete([]) == []
    engine.close()
