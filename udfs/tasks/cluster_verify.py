"""Task `cluster_verify`: is each cluster of a round valid?

Row: `lang`, `texts` (list of str), `clusters` (the value of `cluster_texts`). Value: list of {cluster, valid (bool), reason}; a cluster of one sample
needs no verdict.
"""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, field_validator, model_validator

from udfs.engines.protocol import Message
from udfs.prompts import enclose, fill, prompt_language, prompt_sections
from udfs.tasks.answers import read_answer
from udfs.tasks.task import NO_ROW, Parsed, Row, Task, chat, samples_of

NAME, VERSION = "cluster_verify", 1


class Verdict(BaseModel):
    """The verdict on one cluster."""

    model_config = ConfigDict(extra="ignore")
    cluster: int
    valid: Literal[0, 1]
    reason: str = ""

    @field_validator("valid", mode="before")
    @classmethod
    def as_number(cls, value: object) -> object:
        """Takes `true` and `"1"` as they are meant."""
        if isinstance(value, bool):
            return int(value)
        return {"0": 0, "1": 1}.get(value.strip(), value) if isinstance(value, str) else value

    @field_validator("reason", mode="before")
    @classmethod
    def no_null(cls, value: object) -> object:
        """A valid cluster often comes with `null` for the reason."""
        return "" if value is None else value


class Verdicts(BaseModel):
    """The whole answer; a bare list is taken as well."""

    model_config = ConfigDict(extra="ignore")
    verdicts: list[Verdict]

    @model_validator(mode="before")
    @classmethod
    def wrap(cls, value: Any) -> Any:
        """Brings a bare list to the shape that was asked for."""
        return {"verdicts": value} if isinstance(value, list) else value


def render(row: Row) -> list[Message]:
    """Makes the messages for a row: the samples, and each cluster as a line of JSON."""
    sections = prompt_sections(NAME, prompt_language(row.get("lang")), VERSION)
    lines = [
        json.dumps(
            {"cluster": c["cluster"], "samples": list(c["members"]), "reasoning": c["reasoning"]}, ensure_ascii=False
        )
        for c in row["clusters"]
    ]
    values = {"samples": samples_of(row), "clusters": enclose("\n".join(lines))}
    return chat(sections["system"], fill(sections["user"], values))


def parse(text: str, row: Row = NO_ROW) -> Parsed:
    """Reads the verdicts. Two on one cluster are an error; with the row, so is none on a cluster of several samples.

    Verdicts on clusters that are not there are named in `dropped`.
    """
    value, problem = read_answer(text, Verdicts)
    if value is None:
        return Parsed(error=problem)
    said = {verdict.cluster: verdict for verdict in value.verdicts}
    if len(said) < len(value.verdicts):
        return Parsed(error="two verdicts on one cluster")
    clusters = (
        {c["cluster"]: len(c["members"]) for c in row["clusters"]} if "clusters" in row else dict.fromkeys(said, 1)
    )
    silent = next((number for number, size in clusters.items() if size > 1 and number not in said), None)
    if silent is not None:
        return Parsed(error=f"there is no verdict on cluster {silent}")
    if not said:
        return Parsed(error="the list of verdicts is empty")
    strange = tuple(f"cluster {number} is not there" for number in said if number not in clusters)
    verdicts = [
        {"cluster": number, "valid": bool(each.valid), "reason": each.reason.strip()}
        for number, each in said.items()
        if number in clusters
    ]
    return Parsed(value=verdicts, dropped=strange)


TASK = Task(NAME, VERSION, Verdicts, render, parse)
PROMPT_ID = TASK.prompts_id
