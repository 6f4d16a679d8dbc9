"""The Batch API of the stand-in teacher: files, and batches that are over `batch_delay_s` after they were created."""

from __future__ import annotations

import json
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiohttp import web

from udfs.engines.teacher_rules import MODEL

if TYPE_CHECKING:
    from udfs.engines.teacher import TeacherServer

MAX_LINES = 50_000
EXPIRED = "This request could not be executed before the completion window expired."
# Faults that leave a request without a response, and what its line says then; a line that hangs is in no file.
NO_RESPONSE = {"reset": ("server_error", "the connection broke (asked for)"), "expired": ("batch_expired", EXPIRED)}


@dataclass(slots=True)
class _Batch:
    id: str
    input_file_id: str
    metadata: dict[str, str]
    lines: list[dict[str, Any]]
    began: float = field(default_factory=time.monotonic)
    created_at: int = field(default_factory=lambda: int(time.time()))
    status: str = "in_progress"
    ended_at: int | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    errors: list[dict[str, Any]] = field(default_factory=list)

    def told(self) -> dict[str, Any]:
        """The batch as the API tells it."""
        ended = {f"{self.status}_at": self.ended_at} if self.ended_at else {}
        return {
            "id": self.id,
            "object": "batch",
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
            "input_file_id": self.input_file_id,
            "output_file_id": self.output_file_id,
            "error_file_id": self.error_file_id,
            "status": self.status,
            "errors": {"object": "list", "data": self.errors} if self.errors else None,
            "metadata": self.metadata,
            "created_at": self.created_at,
            **ended,
        }


class TeacherBatches:
    """Files and batches of one server; a batch's requests are answered and counted like single ones, all at once, when it is over."""

    def __init__(self, server: TeacherServer) -> None:
        self._server = server
        self._files: dict[str, bytes] = {}
        self._batches: dict[str, _Batch] = {}

    def add_routes(self, app: web.Application) -> None:
        """Adds the API's addresses to the server's."""
        app.router.add_post("/v1/files", self._guarded(self._upload))
        app.router.add_get("/v1/files/{id}/content", self._guarded(self._content))
        app.router.add_post("/v1/batches", self._guarded(self._create))
        app.router.add_get("/v1/batches", self._guarded(self._list))
        app.router.add_get("/v1/batches/{id}", self._guarded(self._get))
        app.router.add_post("/v1/batches/{id}/cancel", self._guarded(self._cancel))

    @property
    def created(self) -> int:
        """Batches created since the start."""
        return len(self._batches)

    def _guarded(
        self, handler: Callable[[web.Request], Awaitable[web.Response]]
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def guarded(request: web.Request) -> web.Response:
            return self._server.check_key(request) or await handler(request)

        return guarded

    async def _upload(self, request: web.Request) -> web.Response:
        form = await request.post()
        file = form.get("file")
        if not isinstance(file, web.FileField) or form.get("purpose") != "batch":
            return refuse(400, "give a `file`, and `batch` as its `purpose`", "invalid_request")
        data = file.file.read()
        told = {"object": "file", "bytes": len(data), "created_at": int(time.time()), "filename": file.filename}
        return web.json_response({"id": self._keep(data), "purpose": "batch", "status": "processed", **told})

    def _keep(self, data: bytes) -> str:
        name = f"file-{uuid.uuid4().hex}"
        self._files[name] = data
        return name

    async def _content(self, request: web.Request) -> web.Response:
        data = self._files.get(request.match_info["id"])
        if data is None:
            return refuse(404, f"No such file: {request.match_info['id']}", "not_found")
        return web.Response(body=data, content_type="application/jsonl")

    async def _create(self, request: web.Request) -> web.Response:
        asked = await request.json()
        data = self._files.get(asked.get("input_file_id", ""))
        if data is None:
            return refuse(400, "input_file_id names no file", "invalid_request")
        lines = [json.loads(line) for line in data.splitlines()]
        batch = _Batch(f"batch_{uuid.uuid4().hex}", asked["input_file_id"], asked.get("metadata") or {}, lines)
        batch.errors = self._problems(lines)
        if batch.errors:
            batch.status, batch.ended_at = "failed", int(time.time())
        self._batches[batch.id] = batch
        return web.json_response({**batch.told(), "status": "validating"})

    def _problems(self, lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
        ids = Counter(line["custom_id"] for line in lines)
        models = {line["body"]["model"] for line in lines}
        waiting = sum(len(batch.lines) for batch in map(self._now, self._batches.values()) if not batch.ended_at)
        queue = self._server.faults.batch_queue
        found = {
            "too_many_tasks": f"the file has over {MAX_LINES} lines" if len(lines) > MAX_LINES else "",
            "duplicate_custom_id": "a custom_id stands twice" if max(ids.values(), default=0) > 1 else "",
            "mismatched_model": "all lines must name one model" if len(models) > 1 else "",
            "model_not_found": "".join(f"The model `{model}` does not exist." for model in models - {MODEL}),
            "token_limit_exceeded": "Enqueued limit reached." if queue and waiting + len(lines) > queue else "",
        }
        return [{"code": code, "message": words, "line": None} for code, words in found.items() if words]

    async def _get(self, request: web.Request) -> web.Response:
        return self._tell(request.match_info["id"])

    def _tell(self, name: str) -> web.Response:
        if name not in self._batches:
            return refuse(404, f"No batch found with id '{name}'.", "not_found")
        return web.json_response(self._now(self._batches[name]).told())

    async def _list(self, request: web.Request) -> web.Response:
        newest = list(reversed(self._batches.values()))
        names = [batch.id for batch in newest]
        after = request.query.get("after")
        start, size = names.index(after) + 1 if after in names else 0, int(request.query.get("limit", 20))
        page = [self._now(batch).told() for batch in newest[start : start + size]]
        return web.json_response({"object": "list", "data": page, "has_more": start + size < len(newest)})

    async def _cancel(self, request: web.Request) -> web.Response:
        batch = self._batches.get(request.match_info["id"])
        if batch is not None and not self._now(batch).ended_at:
            batch.status, batch.ended_at = "cancelled", int(time.time())
        return self._tell(request.match_info["id"])

    def _now(self, batch: _Batch) -> _Batch:
        """Ends a batch whose time has come."""
        if not batch.ended_at and time.monotonic() - batch.began >= self._server.faults.batch_delay_s:
            self._end(batch)
        return batch

    def _end(self, batch: _Batch) -> None:
        answered: list[str] = []
        others: list[str] = []
        expired = False
        for line in batch.lines:
            fault, response = self._server.answer_line(json.dumps(line["body"]).encode())
            expired = expired or fault == "expired"
            if fault == "hang":
                continue
            error = dict(zip(("code", "message"), NO_RESPONSE[fault], strict=True)) if fault in NO_RESPONSE else None
            reply = None if error else {"status_code": response.status, "body": json.loads(response.text or "null")}
            told = {"id": uuid.uuid4().hex, "custom_id": line["custom_id"], "response": reply, "error": error}
            (answered if reply and response.status == 200 else others).append(json.dumps(told))
        batch.output_file_id = self._keep("\n".join(answered).encode()) if answered else None
        batch.error_file_id = self._keep("\n".join(others).encode()) if others else None
        batch.status, batch.ended_at = "expired" if expired else "completed", int(time.time())


def refuse(status: int, words: str, code: str, headers: dict[str, str] | None = None) -> web.Response:
    """Makes an error as OpenAI words it."""
    error = {"message": words, "type": "stand_in_error", "code": code, "param": None}
    return web.json_response({"error": error}, status=status, headers=headers)
