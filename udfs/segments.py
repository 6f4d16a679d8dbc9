"""The worker's side of the ledger: asks a partition's requests and writes every answer to a segment before it tells of it.

A segment is a small Parquet file, written once under the hash of its content, so that a half-written one is known by its name. The driver commits
segments to `llm_calls`; whatever dies in between, an answer that reached a segment is never paid again.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from udfs.engines import load_engine
from udfs.engines.protocol import ChatRequest, ChatResult, EngineSpec, FatalEngineError
from udfs.progress import TaskProgress
from udfs.storage import list_files, read_bytes, write_new

CALL_SCHEMA = pa.schema(
    [
        ("request_id", pa.string()),
        ("attempt", pa.int32()),
        ("task", pa.string()),
        ("prompt_id", pa.string()),
        ("model", pa.string()),
        ("served_model", pa.string()),
        ("params", pa.string()),
        ("sample", pa.int32()),
        ("messages", pa.string()),
        ("response", pa.string()),
        ("reasoning", pa.string()),
        ("finish_reason", pa.string()),
        ("prompt_tokens", pa.int64()),
        ("completion_tokens", pa.int64()),
        ("cost", pa.float64()),
        ("latency_s", pa.float64()),
        ("attempts", pa.int32()),
        ("status", pa.string()),
        ("error", pa.string()),
        ("run_id", pa.string()),
        ("created_at", pa.timestamp("us", tz="UTC")),
    ]
)
RECEIPT_SCHEMA = pa.schema(
    [("request_id", pa.string()), ("segment", pa.string()), ("status", pa.string()), ("error", pa.string())]
)
RECEIPT_DDL = "request_id string, segment string, status string, error string"


@dataclass(frozen=True)
class WaveSettings:
    """One wave: where its segments and its progress go, how often they are flushed, and what a token costs (money per million, by model)."""

    folder: str
    progress: str
    run_id: str
    flush_rows: int
    flush_seconds: float
    prices: dict[str, tuple[float, float]]


def cost_of(prices: dict[str, tuple[float, float]], model: str, prompt_tokens: int, completion_tokens: int) -> float:
    """Returns the money for one call; 0 for a model without a price."""
    prompt, completion = prices.get(model, (0.0, 0.0))
    return (prompt_tokens * prompt + completion_tokens * completion) / 1e6


def write_segment(folder: str, rows: list[dict[str, Any]]) -> str:
    """Writes rows as one new object named by the hash of its content; returns its address."""
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=CALL_SCHEMA), buffer, compression="zstd")
    data = buffer.getvalue()
    address = f"{folder}/{hashlib.sha256(data).hexdigest()}.parquet"
    write_new(address, data)
    return address


def read_segment(address: str) -> pa.Table | None:
    """Reads a segment; None when it is half-written (its content does not hash to its name)."""
    data = read_bytes(address)
    name = address.rsplit("/", 1)[-1].removesuffix(".parquet")
    if hashlib.sha256(data).hexdigest() != name:
        return None
    return pq.read_table(io.BytesIO(data), schema=CALL_SCHEMA)


def read_segments(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Maps batches of segment addresses (column `segment`) to the rows in them; half-written segments give none."""
    for batch in batches:
        for address in batch.column("segment").to_pylist():
            table = read_segment(address)
            if table is not None:
                yield from table.to_batches()


def answered_in(folder: str) -> set[str]:
    """Returns the request ids that a partition's folder already holds: a retried task does not ask them again."""
    ids: set[str] = set()
    for address in list_files(folder, ".parquet"):
        table = read_segment(address)
        if table is not None:
            ids.update(table.column("request_id").to_pylist())
    return ids


def _request(row: dict[str, Any]) -> ChatRequest:
    params = json.loads(row["params"])
    schema = params.pop("json_schema", None)
    return ChatRequest(row["request_id"], row["model"], tuple(json.loads(row["messages"])), params, schema)


def _call_row(row: dict[str, Any], result: ChatResult, wave: WaveSettings) -> dict[str, Any]:
    call = {
        name: row[name]
        for name in ("request_id", "attempt", "task", "prompt_id", "model", "params", "sample", "messages")
    }
    fields = (
        "served_model",
        "response",
        "reasoning",
        "finish_reason",
        "prompt_tokens",
        "completion_tokens",
        "latency_s",
        "attempts",
        "status",
        "error",
    )
    call.update({name: getattr(result, name) for name in fields})
    call["cost"] = cost_of(wave.prices, row["model"], result.prompt_tokens, result.completion_tokens)
    call["run_id"] = wave.run_id
    call["created_at"] = datetime.now(timezone.utc)
    return call


class _Partition:
    """The state of one partition: requests not yet answered, and answers not yet flushed."""

    def __init__(self, batches: Iterator[pa.RecordBatch], wave: WaveSettings) -> None:
        self._batches = batches
        self._wave = wave
        self._open: dict[str, dict[str, Any]] = {}
        self._done: list[dict[str, Any]] = []
        self._folder = ""
        self._progress = TaskProgress(wave.progress)
        self._flushed_at = time.monotonic()

    def requests(self) -> Iterator[ChatRequest]:
        """Yields the partition's requests lazily, without those that its folder already answers."""
        for batch in self._batches:
            rows = batch.to_pylist()
            if not self._folder and rows:
                self._folder = f"{self._wave.folder}/{rows[0]['partition']}"
                answered = answered_in(self._folder)
            for row in rows:
                if row["request_id"] not in answered:
                    self._open[row["request_id"]] = row
                    yield _request(row)

    def add(self, result: ChatResult) -> None:
        """Takes one answer."""
        self._done.append(_call_row(self._open.pop(result.request_id), result, self._wave))

    def due(self) -> bool:
        """Tells whether the answers at hand must be flushed now."""
        late = time.monotonic() - self._flushed_at >= self._wave.flush_seconds
        return len(self._done) >= self._wave.flush_rows or (late and bool(self._done))

    def flush(self) -> Iterator[pa.RecordBatch]:
        """Writes the answers at hand as one segment and yields their receipts."""
        self._flushed_at = time.monotonic()
        if not self._done:
            return
        segment = write_segment(self._folder, self._done)
        failed = sum(row["status"] != "ok" for row in self._done)
        self._progress.add(done=len(self._done), failed=failed, cost=sum(row["cost"] for row in self._done))
        receipts = [
            {"request_id": r["request_id"], "segment": segment, "status": r["status"], "error": r["error"]}
            for r in self._done
        ]
        self._done = []
        yield pa.RecordBatch.from_pylist(receipts, schema=RECEIPT_SCHEMA)


def answer_partition(
    batches: Iterator[pa.RecordBatch], spec: EngineSpec, wave: WaveSettings
) -> Iterator[pa.RecordBatch]:
    """Asks a partition's requests and yields receipts (request_id, segment, status, error), only after the answers are on storage.

    Takes batches with the columns of a wave (request_id, attempt, task, prompt_id, model, params, sample, messages, partition). When the endpoint
    refuses everything, the last receipt has the status `fatal` and the server's words; what was paid before is flushed first.
    """
    partition = _Partition(batches, wave)
    loop = asyncio.new_event_loop()
    try:
        answers = load_engine(spec).stream(partition.requests())
        yield from _drain(loop, answers, partition, wave.flush_seconds)
    except FatalEngineError as err:
        yield from partition.flush()
        fatal = {"request_id": "", "segment": "", "status": "fatal", "error": str(err)}
        yield pa.RecordBatch.from_pylist([fatal], schema=RECEIPT_SCHEMA)
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


def _drain(
    loop: asyncio.AbstractEventLoop, answers: AsyncIterator[ChatResult], partition: _Partition, seconds: float
) -> Iterator[pa.RecordBatch]:
    pending: asyncio.Task[ChatResult] | None = None
    try:
        while True:
            pending = pending or loop.create_task(_next(answers))
            loop.run_until_complete(asyncio.wait({pending}, timeout=seconds))
            if pending.done():
                try:
                    partition.add(pending.result())
                except StopAsyncIteration:
                    break
                pending = None
            if partition.due():
                yield from partition.flush()
    finally:
        if pending is not None:
            pending.cancel()
            loop.run_until_complete(asyncio.wait({pending}))
    yield from partition.flush()


async def _next(answers: AsyncIterator[ChatResult]) -> ChatResult:
    # Inside the running loop, so that the loop knows of the generator and closes it at the end.
    return await anext(answers)


def share(spec: EngineSpec, workers: int) -> EngineSpec:
    """Returns one worker's share of the global bounds: the shares never add up to more than the bound."""
    return replace(
        spec,
        max_in_flight=max(1, spec.max_in_flight // workers),
        rpm=max(1, spec.rpm // workers) if spec.rpm else 0,
        tpm=max(1, spec.tpm // workers) if spec.tpm else 0,
    )
