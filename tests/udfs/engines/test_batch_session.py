"""A batch is paid once: whoever asks the same again, after whatever kill, waits for it and reads it."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI

from tests.udfs.engines.helpers import QUICK, ask, batch_spec
from udfs.engines import ChatRequest, ChatResult, FatalEngineError
from udfs.engines.batch_intents import BATCH, INTENT, Asked, Intents
from udfs.engines.bounds import Bounds
from udfs.engines.openai_batch import OpenAIBatchEngine
from udfs.engines.purse import Amount, Purse
from udfs.engines.teacher_process import Teacher

ROOT = Path(__file__).resolve().parents[3]
COUNT = 12


def engine_for(teacher: Teacher, folder: Path, **changes: Any) -> OpenAIBatchEngine:
    return OpenAIBatchEngine(batch_spec(teacher.base_url, folder, **changes), QUICK)


def wait_for(there: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not there():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def start_job(teacher: Teacher, folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.udfs.engines.batch_job", teacher.base_url, str(folder), str(COUNT)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def kill_while_polling(teacher: Teacher, folder: Path) -> None:
    """A process of its own hands in a batch, and is killed while it waits for it."""
    teacher.set_faults(batch_delay_s=3600)
    process = start_job(teacher, folder)
    wait_for(lambda: list(folder.glob(f"*{BATCH}")))
    process.send_signal(signal.SIGKILL)
    out, _ = process.communicate()
    assert out == ""
    teacher.set_faults(batch_delay_s=0)


def finish_job(teacher: Teacher, folder: Path) -> None:
    out, _ = start_job(teacher, folder).communicate(timeout=60)
    assert sorted(out.splitlines()) == sorted(f"job {n} ok" for n in range(COUNT))


def seen(teacher: Teacher) -> tuple[int, int]:
    stats = teacher.stats()
    return stats["requests"], stats["batches"]


def since(teacher: Teacher, before: tuple[int, int]) -> tuple[int, int]:
    after = seen(teacher)
    return after[0] - before[0], after[1] - before[1]


def broken_off(engine: OpenAIBatchEngine, requests: list[ChatRequest], there: Callable[[], object]) -> None:
    """Starts a stream and drops it as soon as `there` is true."""

    async def run() -> None:
        reading = asyncio.ensure_future(anext(engine.stream(requests)))
        while not there():
            assert not reading.done()
            await asyncio.sleep(0.01)
        reading.cancel()
        await asyncio.wait({reading})

    asyncio.run(run())


def test_a_killed_process_leaves_its_batch_and_the_next_one_reads_it(teacher: Teacher, tmp_path: Path) -> None:
    before = seen(teacher)
    kill_while_polling(teacher, tmp_path)
    finish_job(teacher, tmp_path)
    assert since(teacher, before) == (COUNT, 1)


def test_a_batch_whose_id_was_not_written_down_is_found_by_its_metadata(teacher: Teacher, tmp_path: Path) -> None:
    before = seen(teacher)
    kill_while_polling(teacher, tmp_path)
    for path in tmp_path.glob(f"*{BATCH}"):
        path.unlink()
    finish_job(teacher, tmp_path)
    assert since(teacher, before) == (COUNT, 1)
    assert len(list(tmp_path.glob(f"*{BATCH}"))) == 1


def test_an_intent_without_a_batch_is_waited_for_a_while_and_then_asked(teacher: Teacher, tmp_path: Path) -> None:
    intent, _ = Intents(str(tmp_path), teacher.base_url).write([Asked("never sent", 0, 0)])
    before, started = seen(teacher), time.monotonic()
    (result,) = engine_for(teacher, tmp_path, request_timeout_s=0.5).complete([ask("never sent")])
    assert (result.status, result.attempts) == ("ok", 1)
    assert time.monotonic() - started > 0.9, "its task may have been about to create the batch"
    assert since(teacher, before) == (1, 1)
    assert not Path(intent.address).exists()


def test_a_task_whose_intent_was_taken_away_creates_no_batch(teacher: Teacher, tmp_path: Path) -> None:
    engine, before = engine_for(teacher, tmp_path, max_attempts=2), seen(teacher)
    folder = Intents(str(tmp_path), teacher.base_url)
    intent, _ = folder.write([Asked("taken", 0, 0)])

    async def create() -> None:
        from udfs.engines.batch_client import BatchClient

        client = BatchClient(engine.spec, "none", QUICK)
        try:
            await client.create(await client.upload(b"{}"), intent.tag, lambda: folder.has(intent))
        finally:
            await client.close()

    Path(intent.address).unlink()
    with pytest.raises(FatalEngineError, match="another task has taken these requests over"):
        asyncio.run(create())
    assert since(teacher, before) == (0, 0)


def test_a_batch_is_read_again_at_no_cost_also_by_parts(teacher: Teacher, tmp_path: Path) -> None:
    requests = [ask(f"again {n}") for n in range(10)]
    engine, before = engine_for(teacher, tmp_path), seen(teacher)
    first = {result.request_id: result for result in engine.complete(requests)}
    halves = [
        engine_for(teacher, tmp_path).complete(requests[:4]),
        engine_for(teacher, tmp_path).complete(requests[4:]),
    ]
    assert {result.request_id: result for half in halves for result in half} == first
    more = engine.complete([*requests, ask("again and new")])
    assert len(more) == 11
    assert since(teacher, before) == (11, 2)


def test_tries_in_many_batches_are_added_up_again(teacher: Teacher, tmp_path: Path) -> None:
    teacher.set_faults(error_500=0.4, empty=0.2)
    requests = [ask(f"rounds {n}") for n in range(40)]
    made = engine_for(teacher, tmp_path, max_attempts=20).complete(requests)
    assert max(result.attempts for result in made) > 3
    before = seen(teacher)
    again = engine_for(teacher, tmp_path, max_attempts=20).complete(requests)
    assert by_id(again) == by_id(made)
    assert since(teacher, before) == (0, 0)


def by_id(results: list[ChatResult]) -> list[ChatResult]:
    return sorted(results, key=lambda result: result.request_id)


def test_a_stream_that_is_dropped_between_two_rounds_goes_on_with_the_second(teacher: Teacher, tmp_path: Path) -> None:
    requests, intents = [ask(f"dropped {n}") for n in range(30)], tmp_path.glob
    teacher.set_faults(error_500=0.5, batch_delay_s=0.5)
    before = seen(teacher)
    engine = engine_for(teacher, tmp_path, max_attempts=20)

    async def run() -> int:
        first = 0
        async for _ in engine.stream(requests):
            first += 1
            if len(list(intents(f"*{INTENT}"))) > 1:
                break
        return first

    assert 0 < asyncio.run(run()) < 30
    teacher.set_faults(error_500=0.0, batch_delay_s=0.0)
    results = engine.complete(requests)
    assert {result.status for result in results} == {"ok"}
    assert since(teacher, before)[0] == sum(result.attempts for result in results)


def test_two_tasks_with_the_same_requests_pay_them_once(teacher: Teacher, tmp_path: Path) -> None:
    teacher.set_faults(batch_delay_s=0.3)
    requests, before = [ask(f"twice {n}") for n in range(8)], seen(teacher)
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda _: engine_for(teacher, tmp_path).complete(requests), range(2)))
    assert [len(results) for results in both] == [8, 8]
    assert since(teacher, before) == (8, 1)


def test_another_attempt_and_another_address_are_asked_anew(teacher: Teacher, tmp_path: Path) -> None:
    before = seen(teacher)
    engine = engine_for(teacher, tmp_path)
    engine.complete([ask("anew")])
    engine.complete([ask("anew", attempt=1)])
    elsewhere = batch_spec(teacher.base_url.replace("127.0.0.1", "localhost"), tmp_path)
    OpenAIBatchEngine(elsewhere, QUICK).complete([ask("anew")])
    assert since(teacher, before) == (3, 3)


def test_a_batch_that_the_server_does_not_know_stops_the_run_and_names_the_file(
    teacher: Teacher, tmp_path: Path
) -> None:
    engine = engine_for(teacher, tmp_path)
    engine.complete([ask("unknown batch")])
    (noted,) = tmp_path.glob(f"*{BATCH}")
    noted.write_text("batch_elsewhere")
    with pytest.raises(FatalEngineError) as caught:
        engine.complete([ask("unknown batch")])
    (intent,) = tmp_path.glob(f"*{INTENT}")
    assert "refuses batch batch_elsewhere: HTTP 404: No batch found" in str(caught.value)
    assert f"delete {intent}" in str(caught.value)
    intent.unlink()
    assert engine.complete([ask("unknown batch")])[0].status == "ok"


def test_a_batch_that_somebody_cancels_stops_the_run_and_the_next_asks_the_rest(
    teacher: Teacher, tmp_path: Path
) -> None:
    teacher.set_faults(batch_delay_s=3600)
    engine = engine_for(teacher, tmp_path)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(engine.complete, [ask("cancelled")])
        wait_for(lambda: list(tmp_path.glob(f"*{BATCH}")))
        (noted,) = tmp_path.glob(f"*{BATCH}")
        OpenAI(base_url=teacher.base_url, api_key="none").batches.cancel(noted.read_text())
        with pytest.raises(FatalEngineError, match=r"the batch was cancelled .* run again to ask the rest"):
            asked.result()
    teacher.set_faults(batch_delay_s=0)
    (result,) = engine.complete([ask("cancelled")])
    assert (result.status, result.attempts) == ("ok", 1)


def test_what_was_sent_before_counts_and_is_read_whatever_the_budget(teacher: Teacher, tmp_path: Path) -> None:
    requests = [ask(f"owed {n}", params={"max_tokens": 100}) for n in range(5)]
    teacher.set_faults(batch_delay_s=3600)
    broken_off(engine_for(teacher, tmp_path), requests, lambda: list(tmp_path.glob(f"*{BATCH}")))
    teacher.set_faults(batch_delay_s=0)
    engine = engine_for(teacher, tmp_path)
    bounds = Bounds(engine.spec, purse=Purse(Amount(requests=5, tokens=1e9, cost=1.0)))

    async def run() -> list[ChatResult]:
        return [result async for result in engine.stream([*requests, ask("one more")], bounds)]

    results = asyncio.run(run())
    assert sorted(result.request_id for result in results) == [f"owed {n}" for n in range(5)]
    assert (bounds.purse.spent.requests, bounds.purse.empty) == (5, True)
