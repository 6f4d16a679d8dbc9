"""Task `refine`: a second model checks a draft against its seed and writes the final answer.

Row: `lang`, `text` (or `seed_question` and `seed_answer` of a pair) of the seed, `question` and `answer` of the draft.
Value: {verdict (ok, fixed, reject), answer, reason, edits (list of str)}.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from udfs.engines.protocol import Message
from udfs.prompts import enclose, fill, prompt_language, prompt_sections
from udfs.tasks.answers import read_answer
from udfs.tasks.questions import MAX_ANSWER_CHARS
from udfs.tasks.task import NO_ROW, Parsed, Row, Task, chat, source_of

NAME, VERSION = "refine", 1


class Refinement(BaseModel):
    """The refiner's judgement. `reason` and `edits` may be missing: an answer that is paid for isn't thrown away for
    them.
    """

    model_config = ConfigDict(extra="ignore")
    verdict: Literal["ok", "fixed", "reject"]
    answer: str = Field(default="", max_length=MAX_ANSWER_CHARS)
    reason: str = ""
    edits: list[str] = Field(default_factory=list)

    @field_validator("verdict", mode="before")
    @classmethod
    def lower(cls, value: object) -> object:
        """Takes `OK` and ` Reject ` as they are meant."""
        return value.strip().lower() if isinstance(value, str) else value

    @field_validator("answer", "reason", mode="before")
    @classmethod
    def no_null(cls, value: object) -> object:
        """A rejection often comes with `null` for the answer."""
        return "" if value is None else value

    @field_validator("edits", mode="before")
    @classmethod
    def as_list(cls, value: object) -> object:
        """Takes one edit, or null, where a list was asked for."""
        if value is None or value == "":
            return []
        return [value] if isinstance(value, str) else value


def render(row: Row) -> list[Message]:
    """Makes the messages for a row."""
    sections = prompt_sections(NAME, prompt_language(row.get("lang")), VERSION)
    seed = {"text": row.get("text"), "question": row.get("seed_question"), "answer": row.get("seed_answer")}
    values = {
        "source": source_of(seed),
        "question": enclose(str(row["question"])),
        "answer": enclose(str(row["answer"])),
    }
    return chat(sections["system"], fill(sections["user"], values))


def parse(text: str, row: Row = NO_ROW) -> Parsed:
    """Reads the verdict. An `ok` or `fixed` without an answer is an error."""
    value, problem = read_answer(text, Refinement)
    if value is None:
        return Parsed(error=problem)
    if value.verdict != "reject" and not value.answer.strip():
        return Parsed(error=f"the verdict is {value.verdict!r} but the answer is empty")
    return Parsed(value={**value.model_dump(), "answer": value.answer.strip()})


TASK = Task(NAME, VERSION, Refinement, render, parse)
PROMPT_ID = TASK.prompts_id
