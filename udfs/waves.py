"""A worker's part of a wave: asks the requests of a partition, and writes every answer to a segment before it tells of it."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from functools import lru_cache
from itertools import chain
from typing import Any

import pyarrow as pa

from udfs.engines import load_engine
from udfs.engines.bounds import Bounds
from udfs.engines.protocol import ChatRequest, ChatResult, EngineSpec, FatalEngineError
from udfs.engines.purse import UNLIMITED, Amount, Purse, cost_of
from udfs.places import PlaceHolder
from udfs.progress import TaskProgress, trouble_figures
from udfs.segments import pack_segment, segments_in, write_segment
from udfs.tasks import TASKS

RECEIPT_DDL = "request_id string, segment string, status string, error string, requests double, tokens double, cost double, data binary"
RECEIPT_SCHEMA = pa.schema(
    [
        *[(name, pa.string()) for name in ("request_id", "segment", "status", "error")],
        *[(name, pa.float64()) for name in ("requests", "tokens", "cost")],
        ("data", pa.binary()),
    ]
)
# The last receipt of a partition has one of these in `status`: what the partition spent, or why nothing can be had.
SPENT, FATAL = "spent", "fatal"
# Places that a partition asks for while it does not know how many requests are still to come.
MANY = 1_000_000
FIRST_PLACE_S = 0.05
ASKED = ("request_id", "attempt", "task", "prompt_id", "model", "params", "sample", "messages")
ANSWERED = (
    *("served_model", "response", "reasoning", "finish_reason", "prompt_tokens", "completion_tokens"),
    *("latency_s", "attempts", "status", "error"),
)


@dataclass(frozen=True)
class WaveSettings:
    """One wave: where its segments, its progress and its shares of the places go, how often answers are flushed, what each worker may spend, and what a
    token costs (money per million, by model).

    No `folder`: the answers travel in the receipts (`data`), and are lost with their task. No `places`: those of the spec are this worker's.
    """

    folder: str
    progress: str
    run_id: str
    flush_rows: int
    flush_seconds: float
    places: str = ""
    json_schema: bool = True
    budget: Amount = UNLIMITED
    prices: Mapping[str, tuple[float, float]] = field(default_factory=dict)


def answer_partition(
    batches: Iterator[pa.RecordBatch], spec: EngineSpec, wave: WaveSettings
) -> Iterator[pa.RecordBatch]:
    """Asks a partition's requests and yields receipts (RECEIPT_DDL), only after the answers are on storage.

    Takes batches with the columns of a wave (ASKED, prefix, partition). The last receipt tells what was spent; when the endpoint refuses everything, it
    has the status `fatal` and the server's words, and what was paid before is flushed first. Requests for which the budget has no room get no receipt.
    """
    partition = _Partition(batches, spec, wave)
    if not partition.begin():
        return
    loop = asyncio.new_event_loop()
    try:
        engine = load_engine(spec)
        with _shared_places(loop, wave.places, partition) as following:
            if following is not None:
                loop.run_until_complete(_first_place(partition.bounds, following))
            partition.recall()
            answers = engine.stream(partition.requests(), partition.bounds)
            yield from _drain(loop, answers, partition, following, wave.flush_seconds)
        yield partition.receipt(SPENT)
    except FatalEngineError as err:
        yield from partition.flush()
        yield partition.receipt(FATAL, str(err))
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


class _Partition:
    """The state of one partition: requests not yet answered, answers not yet flushed, and what was spent."""

    def __init__(self, batches: Iterator[pa.RecordBatch], spec: EngineSpec, wave: WaveSettings) -> None:
        self.bounds = Bounds(spec, 0 if wave.places else None, Purse(wave.budget), wave.prices)
        self.number = 0
        self._rows: Iterator[dict[str, Any]] = (row for batch in batches for row in batch.to_pylist())
        self._wave = wave
        self._folder = ""
        self._answered: set[str] = set()
        self._open: dict[str, dict[str, Any]] = {}
        self._all_taken = False
        self._done: list[dict[str, Any]] = []
        self._progress = TaskProgress(wave.progress)
        self._flushed_at = time.monotonic()

    def begin(self) -> bool:
        """Takes the first request, which knows the partition's number. False where there is nothing to ask."""
        first = next(self._rows, None)
        if first is None:
            return False
        self._rows = chain([first], self._rows)
        self.number = first["partition"]
        self._folder = f"{self._wave.folder}/{self.number}" if self._wave.folder else ""
        return True

    def recall(self) -> None:
        """Looks into the partition's folder for what another task has asked already: one before this one, or one that this one runs beside."""
        for table in segments_in(self._folder) if self._folder else ():
            for call in table.select(
                ["request_id", "attempts", "prompt_tokens", "completion_tokens", "cost"]
            ).to_pylist():
                self._answered.add(call["request_id"])
                tokens = call["prompt_tokens"] + call["completion_tokens"]
                self.bounds.purse.spent += Amount(call["attempts"], tokens, call["cost"])

    def requests(self) -> Iterator[ChatRequest]:
        """Yields the partition's requests lazily, without those that its folder already answers."""
        for row in self._rows:
            if row["request_id"] not in self._answered:
                self._open[row["request_id"]] = row
                yield request_of(row, self._wave.json_schema)
        self._all_taken = True

    def need(self) -> int:
        """Places that the partition could use."""
        return len(self._open) if self._all_taken else MANY

    def add(self, result: ChatResult) -> None:
        """Takes one answer."""
        self._done.append(call_row(self._open.pop(result.request_id), result, self._wave))

    def due(self) -> bool:
        """Tells whether the answers at hand must be flushed now."""
        late = time.monotonic() - self._flushed_at >= self._wave.flush_seconds
        return len(self._done) >= self._wave.flush_rows or (late and bool(self._done))

    def flush(self) -> Iterator[pa.RecordBatch]:
        """Writes the answers at hand as one segment, where there is a folder, and yields their receipts."""
        self._flushed_at = time.monotonic()
        if not self._done:
            return
        segment = write_segment(self._folder, self._done) if self._folder else ""
        self._tell()
        receipts = [
            {"request_id": call["request_id"], "segment": segment, "status": call["status"], "error": call["error"]}
            for call in self._done
        ]
        receipts[0]["data"] = None if segment else pack_segment(self._done)
        self._done = []
        yield pa.RecordBatch.from_pylist(receipts, schema=RECEIPT_SCHEMA)

    def _tell(self) -> None:
        calls = self._done
        self._progress.put({"in_flight": self.bounds.limit.in_flight, **trouble_figures(self.bounds.troubles)})
        self._progress.add(
            done=len(calls),
            failed=sum(call["status"] != "ok" for call in calls),
            cost=sum(call["cost"] for call in calls),
            tokens=sum(call["prompt_tokens"] + call["completion_tokens"] for call in calls),
        )

    def receipt(self, status: str, error: str = "") -> pa.RecordBatch:
        """Makes the partition's last receipt."""
        self._progress.end()
        spent = {"request_id": "", "segment": "", "status": status, "error": error, **asdict(self.bounds.purse.spent)}
        return pa.RecordBatch.from_pylist([spent], schema=RECEIPT_SCHEMA)


@lru_cache
def _schema_of(task: str) -> dict[str, Any]:
    return TASKS[task].schema


def request_of(row: dict[str, Any], json_schema: bool = True) -> ChatRequest:
    """Makes the engine's request of a row of a wave."""
    return ChatRequest(
        row["request_id"],
        row["model"],
        tuple(json.loads(row["messages"])),
        json.loads(row["params"]),
        _schema_of(row["task"]) if json_schema else None,
        row["prefix"],
        TASKS[row["task"]].problem,
        row["attempt"],
    )


def call_row(row: dict[str, Any], result: ChatResult, wave: WaveSettings) -> dict[str, Any]:
    """Makes the ledger's row of a request and its result."""
    return {
        **{name: row[name] for name in ASKED},
        **{name: getattr(result, name) for name in ANSWERED},
        "cost": cost_of(wave.prices, row["model"], result.prompt_tokens, result.completion_tokens),
        "run_id": wave.run_id,
        "created_at": datetime.now(timezone.utc),
    }


@contextmanager
def _shared_places(
    loop: asyncio.AbstractEventLoop, folder: str, partition: _Partition
) -> Iterator[asyncio.Task[None] | None]:
    if not folder:
        yield None
        return
    holder = PlaceHolder(folder, f"{partition.number}-{uuid.uuid4().hex}", partition.bounds, partition.need)
    following = loop.create_task(holder.follow())
    try:
        yield following
    finally:
        following.cancel()
        loop.run_until_complete(asyncio.wait({following}))
        holder.close()


async def _first_place(bounds: Bounds, following: asyncio.Task[None]) -> None:
    # The second task of a partition gets its first place when the first one has ended: only then it knows what is left to ask.
    while not (bounds.places or bounds.purse.empty or following.done()):
        await asyncio.sleep(FIRST_PLACE_S)


def _drain(
    loop: asyncio.AbstractEventLoop,
    answers: AsyncIterator[ChatResult],
    partition: _Partition,
    following: asyncio.Task[None] | None,
    seconds: float,
) -> Iterator[pa.RecordBatch]:
    pending: asyncio.Task[bool] | None = None
    more = True
    try:
        while more:
            pending = pending or loop.create_task(_collect(answers, partition))
            waited: set[asyncio.Task[Any]] = {pending} if following is None else {pending, following}
            loop.run_until_complete(asyncio.wait(waited, timeout=seconds, return_when=asyncio.FIRST_COMPLETED))
            if following is not None and following.done():
                following.result()
            if pending.done():
                more, pending = pending.result(), None
            if partition.due():
                yield from partition.flush()
    finally:
        if pending is not None:
            pending.cancel()
            loop.run_until_complete(asyncio.wait({pending}))
    yield from partition.flush()


async def _collect(answers: AsyncIterator[ChatResult], partition: _Partition) -> bool:
    """Takes answers until a flush is due; False: no more come. To enter the loop for each answer costs more than the answer does."""
    async for result in answers:
        partition.add(result)
        if partition.due():
            return True
    return False
