"""The chat-completions wire format: a request's body, and what a reply's bytes say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from udfs.engines.protocol import ChatRequest

DEFAULT_MAX_TOKENS = 1024  # what is reserved for an answer whose length the request does not bound
THINK, END_THINK = "<think>", "</think>"


@dataclass(frozen=True, slots=True)
class Reply:
    """What a server's 200 answer held. `problem` is empty for a usable answer; `final` tells that asking again would
    not help.
    """

    response: str = ""
    reasoning: str = ""
    finish_reason: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    served_model: str = ""
    problem: str = ""
    final: bool = False


def clean_text(text: str) -> str:
    """Replaces lone surrogates, which neither UTF-8 nor Arrow can hold, by the replacement character."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def request_body(request: ChatRequest, structured: bool) -> dict[str, Any]:
    """Makes the JSON body; `structured` asks for the request's JSON schema, if it has one."""
    messages = [{name: clean_text(value) for name, value in message.items()} for message in request.messages]
    body = {**request.params, "model": request.model, "messages": messages}
    if structured and request.json_schema is not None:
        schema = {
            "name": str(request.json_schema.get("title", "answer")),
            "schema": dict(request.json_schema),
            "strict": True,
        }
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    return body


def to_json(body: Mapping[str, Any]) -> bytes:
    """Writes a body as compact JSON in UTF-8, where a Chinese character takes three bytes instead of six. What UTF-8 can not hold becomes a question mark."""
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def worst_tokens(request: ChatRequest) -> tuple[int, int]:
    """Upper bounds on the tokens of a request's prompt and answer: a byte is at most a token, the answer ends at `max_tokens`."""
    asked = request.params.get("max_tokens") or request.params.get("max_completion_tokens") or DEFAULT_MAX_TOKENS
    prompt = sum(len(message.get("content", "").encode("utf-8", "replace")) for message in request.messages)
    return prompt, int(asked)


def split_reasoning(text: str) -> tuple[str, str]:
    """Splits a leading `<think>...</think>` from the answer. Returns (reasoning, answer).

    A block that never closes is all reasoning; a closing tag alone (chat templates that open the block themselves) ends
    the reasoning.
    """
    head, closed, tail = text.partition(END_THINK)
    starts = head.lstrip().startswith(THINK)
    if closed and (starts or THINK not in head):
        return head.lstrip().removeprefix(THINK).strip(), tail.strip()
    if starts:
        return head.lstrip().removeprefix(THINK).strip(), ""
    return "", text.strip()


def read_reply(raw: bytes) -> Reply:
    """Reads a reply. Never raises: anything that is not a chat completion becomes a `problem`."""
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        return Reply(problem="the server's reply was not JSON")
    return read_completion(body)


def read_completion(body: object) -> Reply:
    """Reads a chat completion out of its JSON, like `read_reply`."""
    if not isinstance(body, dict):
        return Reply(problem="the server's reply was not a JSON object")
    usage = _mapping(body.get("usage"))
    counts: dict[str, Any] = {
        "prompt_tokens": _count(usage.get("prompt_tokens")),
        "completion_tokens": _count(usage.get("completion_tokens")),
        "served_model": _string(body.get("model")),
    }
    choices = body.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        words = _string(_mapping(body.get("error")).get("message"))
        return Reply(problem=f"the reply had no choices{': ' + words[:300] if words else ''}", **counts)
    return _read_choice(choices[0], counts)


def _read_choice(choice: Mapping[str, Any], counts: dict[str, Any]) -> Reply:
    message = _mapping(choice.get("message"))
    thought, answer = split_reasoning(_content(message.get("content")))
    reasoning = _string(message.get("reasoning_content")) or _string(message.get("reasoning")) or thought
    finish = _string(choice.get("finish_reason"))
    problem, final = "", False
    if not answer:
        problem, final = why_empty(finish, _string(message.get("refusal")))
    return Reply(answer, reasoning.strip(), finish, problem=problem, final=final, **counts)


def why_empty(finish: str, refusal: str = "") -> tuple[str, bool]:
    """Says why there is no answer, and whether asking again would not help."""
    if refusal:
        return f"the model refused: {refusal[:300]}", True
    if finish == "length":
        return "max_tokens ran out before the answer began", True
    if finish == "content_filter":
        return "the server's content filter held the answer back", True
    return "the answer was empty", False


def _content(value: object) -> str:
    if isinstance(value, list):
        return "".join(_string(_mapping(part).get("text")) for part in value)
    return _string(value)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _string(value: object) -> str:
    return clean_text(value) if isinstance(value, str) else ""


def _count(value: object) -> int:
    # What no model reads or writes is no count; a sum of such over the tries would not fit into the ledger's column.
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**40 else 0
