"""The lines of a batch's files: a request as the Batch API takes it, and what an output or error file says of one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from udfs.engines.protocol import ChatRequest
from udfs.engines.retries import Action, Refusal, Verdict, judge
from udfs.engines.wire import request_body

CHAT: Final = "/v1/chat/completions"
OK = 200
EXPIRED, CANCELLED = "batch_expired", "batch_cancelled"
UNDONE = {"expired": EXPIRED, "cancelled": CANCELLED}


@dataclass(frozen=True, slots=True)
class Line:
    """What became of one request: an HTTP `status` with its JSON `body`, or, where there is none, a `code` and `words` that say why."""

    status: int = 0
    body: object = None
    code: str = ""
    words: str = ""

    @property
    def may_be_paid(self) -> bool:
        """Tells whether the server may have worked on a request that it has not answered."""
        return not (0 < self.status < 500 or self.code in (EXPIRED, CANCELLED))


def request_line(request: ChatRequest, structured: bool) -> bytes:
    """Makes the line of an input file; `structured` asks for the request's JSON schema, if it has one."""
    body = request_body(request, structured)
    line = {"custom_id": request.request_id, "method": "POST", "url": CHAT, "body": body}
    return json.dumps(line, ensure_ascii=False).encode() + b"\n"


def read_lines(raw: bytes) -> Iterator[tuple[str, Line]]:
    """Yields (request_id, line) of an output or error file. Never raises: what is no such line is left out."""
    for each in raw.splitlines():
        try:
            line = json.loads(each)
        except (ValueError, RecursionError):
            continue
        if isinstance(line, dict) and isinstance(line.get("custom_id"), str):
            yield line["custom_id"], _line(line)


def missing_line(status: str) -> Line:
    """Makes the line of a request that the files of a batch which ended with `status` do not have."""
    if status in UNDONE:
        return Line(code=UNDONE[status], words=f"the batch was {status} before this request was answered")
    return Line(words="the batch's files do not have this request")


def judge_line(line: Line, structured: bool) -> Verdict:
    """Decides about a request that was not answered; `structured` tells that it carried `response_format`."""
    if line.status:
        return judge(Refusal(line.status, line.words, line.code), structured)
    if line.code == CANCELLED:
        # Somebody has stopped it: it is not for us to send it again at once.
        return Verdict(Action.STOP_RUN, f"{line.words}; run again to ask the rest")
    return Verdict(Action.RETRY, f"{line.code}: {line.words}" if line.code else line.words)


def _line(line: dict[str, Any]) -> Line:
    response, error = line.get("response"), line.get("error")
    if isinstance(response, dict) and isinstance(response.get("status_code"), int):
        body = response.get("body")
        said = _said(body) or _said(response) or _said(error) or ("", "")
        return Line(response["status_code"], body, *said)
    return Line(0, None, *(_said(error) or ("", "the server gave neither an answer nor a reason")))


def _said(value: object) -> tuple[str, str] | None:
    """The code and the words of an error, in the forms that servers give them."""
    if not isinstance(value, dict):
        return None
    inner = value["error"] if isinstance(value.get("error"), dict) else value
    words = inner.get("message") or inner.get("detail")
    return (str(inner.get("code") or ""), " ".join(str(words).split())) if words else None
