"""The calls of the Batch API: what is lost on the way is looked for before it is sent again."""

from __future__ import annotations

import asyncio
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TypeVar

import pytest

from tests.udfs.engines.helpers import QUICK, ask, batch_spec
from udfs.engines import FatalEngineError
from udfs.engines.batch_client import BatchClient, RefusedError
from udfs.engines.batch_lines import request_line
from udfs.engines.teacher_process import Teacher

T = TypeVar("T")


class LossyProxy:
    """Hands everything on to a server; `lose` may then drop the answer: the server has done what it was asked."""

    def __init__(self, target: str, lose: Callable[[str], bool]) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.hand_on(self.rfile.read(int(self.headers["Content-Length"])))

            def do_GET(self) -> None:
                self.hand_on(None)

            def hand_on(self, body: bytes | None) -> None:
                kind = self.headers.get("Content-Type", "application/json")
                asked = urllib.request.Request(target + self.path, body, {"Content-Type": kind})
                try:
                    with urllib.request.urlopen(asked, timeout=20) as reply:
                        status, raw = reply.status, reply.read()
                except urllib.error.HTTPError as error:
                    status, raw = error.code, error.read()
                if lose(f"{self.command} {self.path}"):
                    self.connection.close()
                    return
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, *arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def lossy(teacher: Teacher) -> Iterator[Callable[[Callable[[str], bool]], LossyProxy]]:
    made: list[LossyProxy] = []

    def start(lose: Callable[[str], bool]) -> LossyProxy:
        made.append(LossyProxy(teacher.base_url.removesuffix("/v1"), lose))
        return made[-1]

    yield start
    for proxy in made:
        proxy.server.shutdown()
        proxy.server.server_close()


def with_client(url: str, work: Callable[[BatchClient], Awaitable[T]], **changes: object) -> T:
    async def run() -> T:
        client = BatchClient(batch_spec(url, "nowhere", **changes), "none", QUICK)
        try:
            return await work(client)
        finally:
            await client.close()

    return asyncio.run(run())


async def create(client: BatchClient, tag: str) -> str:
    return await client.create(await client.upload(request_line(ask(tag), False)), tag, lambda: True)


def test_a_batch_whose_answer_was_lost_is_found_and_not_created_again(
    teacher: Teacher, lossy: Callable[[Callable[[str], bool]], LossyProxy]
) -> None:
    lost: list[str] = []

    def lose_first(call: str) -> bool:
        if call != "POST /v1/batches" or lost:
            return False
        lost.append(call)
        return True

    before = teacher.stats()["batches"]
    batch_id = with_client(lossy(lose_first).url, lambda client: create(client, "lost"))
    assert len(lost) == 1
    assert teacher.stats()["batches"] - before == 1
    assert with_client(teacher.base_url, lambda client: client.find("lost")) == batch_id
    assert with_client(teacher.base_url, lambda client: client.find("never")) == ""


def test_a_refusal_after_a_lost_answer_does_not_say_that_nothing_was_created(
    teacher: Teacher, lossy: Callable[[Callable[[str], bool]], LossyProxy]
) -> None:
    def lose_and_lock(call: str) -> bool:
        if call == "POST /v1/batches":
            teacher.set_faults(key="another")
        return call == "POST /v1/batches"

    with pytest.raises(FatalEngineError, match="HTTP 401") as caught:
        with_client(lossy(lose_and_lock).url, lambda client: create(client, "locked"))
    assert not isinstance(caught.value, RefusedError)
    with pytest.raises(RefusedError, match="the key"):
        with_client(teacher.base_url, lambda client: create(client, "locked from the start"))


def test_a_server_that_has_answered_is_given_time_to_come_back(
    lossy: Callable[[Callable[[str], bool]], LossyProxy],
) -> None:
    until = [0.0]
    proxy = lossy(lambda call: call.startswith("GET") and time.monotonic() < until[0])

    async def look(client: BatchClient) -> str:
        batch_id = await create(client, "patience")
        until[0] = time.monotonic() + 0.5
        return (await client.look(batch_id, "")).status

    assert with_client(proxy.url, look, max_attempts=2, deadline_s=30) == "completed"
    with pytest.raises(
        FatalEngineError, match=r"gives no answer about batch batch_\w+ after \d+ tries: the connection"
    ):
        with_client(proxy.url, look, max_attempts=2, deadline_s=0.1)


def test_it_tells_how_a_batch_is_and_what_it_brought(teacher: Teacher) -> None:
    async def work(client: BatchClient) -> None:
        assert not await client.busy()
        teacher.set_faults(batch_delay_s=3600)
        batch_id = await create(client, "told")
        waiting = await client.look(batch_id, "")
        assert (waiting.status, waiting.over, waiting.files) == ("in_progress", False, ())
        assert await client.busy()
        teacher.set_faults(batch_delay_s=0)
        done = await client.look(batch_id, "")
        assert (done.status, done.over, done.errors) == ("completed", True, ())
        assert done.seconds >= 0
        assert {name: line.status for name, line in (await client.results(done, "")).items()} == {"told": 200}

    with_client(teacher.base_url, work)
