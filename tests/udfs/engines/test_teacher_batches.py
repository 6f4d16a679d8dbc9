"""The stand-in's Batch API over its real wire."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest
from openai import APIStatusError, AsyncOpenAI
from openai.types import Batch

from udfs.engines.teacher_process import Teacher

T = TypeVar("T")
CHAT = "/v1/chat/completions"


def line(name: str, **body: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": f"teacher batch {name}"}]
    return {
        "custom_id": name,
        "method": "POST",
        "url": CHAT,
        "body": {"model": "stand-in", "messages": messages, **body},
    }


def with_client(teacher: Teacher, work: Callable[[AsyncOpenAI], Awaitable[T]], key: str = "none") -> T:
    async def run() -> T:
        async with AsyncOpenAI(base_url=teacher.base_url, api_key=key, max_retries=0) as client:
            return await work(client)

    return asyncio.run(run())


async def create(client: AsyncOpenAI, *lines: dict[str, Any], **metadata: str) -> Batch:
    data = "\n".join(json.dumps(each) for each in lines).encode()
    file = await client.files.create(file=("x.jsonl", data), purpose="batch")
    return await client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h", metadata=metadata)


async def lines_of(client: AsyncOpenAI, name: str | None) -> list[dict[str, Any]]:
    if name is None:
        return []
    return [json.loads(each) for each in (await client.files.content(name)).content.splitlines()]


def over(teacher: Teacher, *lines: dict[str, Any]) -> tuple[Batch, list[dict[str, Any]], list[dict[str, Any]]]:
    """A batch that is over, its answers and its errors."""

    async def work(client: AsyncOpenAI) -> tuple[Batch, list[dict[str, Any]], list[dict[str, Any]]]:
        made = await create(client, *lines)
        batch = await client.batches.retrieve(made.id)
        return batch, await lines_of(client, batch.output_file_id), await lines_of(client, batch.error_file_id)

    return with_client(teacher, work)


def test_a_batch_is_answered_like_single_requests_and_counted_like_them(teacher: Teacher) -> None:
    before = teacher.stats()
    batch, answers, errors = over(teacher, *[line(f"same {n}") for n in range(3)])
    assert (batch.status, errors) == ("completed", [])
    assert Counter(each["custom_id"] for each in answers) == {"same 0": 1, "same 1": 1, "same 2": 1}
    assert {each["response"]["status_code"] for each in answers} == {200}
    assert "placeholder" in answers[0]["response"]["body"]["choices"][0]["message"]["content"]
    after = teacher.stats()
    assert [after[name] - before[name] for name in ("requests", "unique", "batches")] == [3, 3, 1]


def test_it_takes_as_long_as_it_is_told_and_looking_answers_nothing_twice(teacher: Teacher) -> None:
    teacher.set_faults(batch_delay_s=3600)
    before = teacher.stats()["requests"]

    async def work(client: AsyncOpenAI) -> list[str]:
        batch = await create(client, line("slow"))
        seen = [batch.status, (await client.batches.retrieve(batch.id)).status]
        teacher.set_faults(batch_delay_s=0)
        return seen + [(await client.batches.retrieve(batch.id)).status for _ in range(2)]

    assert with_client(teacher, work) == ["validating", "in_progress", "completed", "completed"]
    assert teacher.stats()["requests"] - before == 1


@pytest.mark.parametrize(
    ("fault", "status", "said"),
    [
        ("error_500", "completed", (500, None)),
        ("error_429", "completed", (429, None)),
        ("reset", "completed", (None, "server_error")),
        ("expired", "expired", (None, "batch_expired")),
    ],
)
def test_a_fault_is_a_line_of_the_error_file(
    teacher: Teacher, fault: str, status: str, said: tuple[int | None, str | None]
) -> None:
    teacher.set_faults(**{fault: 1.0})
    batch, answers, (error,) = over(teacher, line(fault))
    assert (batch.status, answers) == (status, [])
    assert ((error["response"] or {}).get("status_code"), (error["error"] or {}).get("code")) == said


def test_a_line_that_hangs_is_in_no_file(teacher: Teacher) -> None:
    teacher.set_faults(hang=1.0)
    batch, answers, errors = over(teacher, line("hangs"))
    assert (batch.status, answers, errors) == ("completed", [], [])


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        ([line("a", model="gpt-9")], "model_not_found"),
        ([line("a"), line("a")], "duplicate_custom_id"),
        ([line("a"), line("b", model="gpt-9")], "mismatched_model"),
    ],
)
def test_a_wrong_file_fails_the_batch_and_answers_nothing(
    teacher: Teacher, lines: list[dict[str, Any]], code: str
) -> None:
    before = teacher.stats()["requests"]
    batch, answers, errors = over(teacher, *lines)
    assert (batch.status, answers, errors) == ("failed", [], [])
    assert batch.errors is not None
    assert batch.errors.data is not None
    assert code in [each.code for each in batch.errors.data]
    assert teacher.stats()["requests"] == before


def test_a_full_queue_fails_the_next_batch(teacher: Teacher) -> None:
    teacher.set_faults(batch_delay_s=3600, batch_queue=3)

    async def work(client: AsyncOpenAI) -> list[str]:
        made = [await create(client, line(f"{n} a"), line(f"{n} b")) for n in range(2)]
        return [(await client.batches.retrieve(batch.id)).status for batch in made]

    assert with_client(teacher, work) == ["in_progress", "failed"]


def test_a_cancelled_batch_answers_nothing_more(teacher: Teacher) -> None:
    teacher.set_faults(batch_delay_s=3600)

    async def work(client: AsyncOpenAI) -> str:
        batch = await create(client, line("cancelled"))
        await client.batches.cancel(batch.id)
        teacher.set_faults(batch_delay_s=0)
        return (await client.batches.retrieve(batch.id)).status

    assert with_client(teacher, work) == "cancelled"


def test_batches_are_listed_newest_first_page_by_page(teacher: Teacher) -> None:
    async def work(client: AsyncOpenAI) -> list[str]:
        for number in range(3):
            await create(client, line(f"listed {number}"), number=str(number))
        found = [batch async for batch in client.batches.list(limit=2)]
        return [batch.metadata["number"] for batch in found[:3] if batch.metadata]

    assert with_client(teacher, work) == ["2", "1", "0"]


def test_what_is_not_there_and_a_wrong_key_are_refused(teacher: Teacher) -> None:
    async def status(call: Awaitable[object]) -> int:
        with pytest.raises(APIStatusError) as caught:
            await call
        return caught.value.status_code

    async def work(client: AsyncOpenAI) -> list[int]:
        upload = client.files.create(file=("x.jsonl", b""), purpose="assistants")
        calls = [client.batches.retrieve("batch_none"), client.files.content("file-none"), upload]
        return [await status(call) for call in calls]

    async def locked(client: AsyncOpenAI) -> int:
        return await status(client.batches.list())

    assert with_client(teacher, work) == [404, 404, 400]
    teacher.set_faults(key="right")
    assert with_client(teacher, locked, "wrong") == 401
