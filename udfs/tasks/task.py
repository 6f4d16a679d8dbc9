"""An LLM task as data: a name, a versioned prompt, the schema of its answer, `render` and `parse`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from udfs.engines.protocol import ChatResult, Message
from udfs.prompts import enclose, prompt_id, prompt_language

Row = Mapping[str, Any]
NO_ROW: Row = {}


@dataclass(frozen=True, slots=True)
class Parsed:
    """What an answer said: `value`, or `error` with the reason why it can't be used. `dropped` names parts left out of
    `value`.
    """

    value: Any = None
    error: str | None = None
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Task:
    """One thing that is asked of a model.

    `render(row)` makes the messages; `parse(text, row)` reads the answer and never raises; `model` is the pydantic
    schema of the answer. The modules of `udfs.tasks` tell which keys their rows have.
    """

    name: str
    version: int
    model: type[BaseModel]
    render: Callable[[Row], list[Message]]
    parse: Callable[..., Parsed]

    def prompt_id(self, lang: str | None) -> str:
        """Id of the prompt that a row in this language gets."""
        return prompt_id(self.name, self.version, prompt_language(lang))

    @property
    def prompts_id(self) -> str:
        """Id of the prompts in all languages together."""
        return prompt_id(self.name, self.version)

    @property
    def schema(self) -> dict[str, Any]:
        """JSON schema of the answer, for `ChatRequest.json_schema`."""
        return {**strict_schema(self.model.model_json_schema()), "title": self.name}

    def problem(self, text: str) -> str:
        """Says why an answer can not be read, whatever its row; "" for one that can."""
        return self.parse(text).error or ""

    def read(self, result: ChatResult, row: Row = NO_ROW) -> Parsed:
        """Reads an engine's result: a failed one gives its reason, a cut one counts as no answer, the rest is parsed."""
        if result.status != "ok":
            return Parsed(error=result.error or "the request failed")
        if result.finish_reason == "length":
            return Parsed(error="the answer was cut at max_tokens")
        return self.parse(result.response, row)


def strict_schema(schema: Any) -> Any:
    """Makes a pydantic JSON schema as servers' structured output wants it: all properties required, no others.

    Defaults and prose are left out.
    """
    if isinstance(schema, list):
        return [strict_schema(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    strict: dict[str, Any] = {}
    for name, part in schema.items():
        if name in ("properties", "$defs"):
            strict[name] = {key: strict_schema(value) for key, value in part.items()}
        elif name not in ("default", "title", "description"):
            strict[name] = strict_schema(part)
    if schema.get("type") == "object":
        strict |= {"required": list(strict.get("properties", {})), "additionalProperties": False}
    return strict


def source_of(row: Row) -> str:
    """The material of a seed row: its `text`, or its `question` and `answer` where it is a pair."""
    if row.get("text"):
        return enclose(str(row["text"]))
    question, answer = str(row.get("question") or ""), str(row.get("answer") or "")
    return enclose(f"{question}\n\n{answer}")


def samples_of(row: Row) -> str:
    """The `texts` of a row, each between tags that number it from 1."""
    return "\n\n".join(f"<sample_{n}>\n{enclose(str(text))}\n</sample_{n}>" for n, text in enumerate(row["texts"], 1))


def chat(system: str, user: str) -> list[Message]:
    """The two messages of a request. What many requests share comes first, for the server's prefix cache."""
    return [{"role": "system", "content": system}, {"role": "user", "content": user}]
