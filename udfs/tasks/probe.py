"""Task `probe`: a model under training answers one exam question, to find where it is weak.

Row: `lang`, `question`, `options` (list of texts for a multiple choice question, else empty or missing). Value:
{answer}: a letter for multiple choice, the short result otherwise.
"""

from __future__ import annotations

import re
from string import ascii_uppercase

from pydantic import BaseModel, ConfigDict, Field

from udfs.engines.protocol import Message
from udfs.engines.wire import split_reasoning
from udfs.prompts import enclose, fill, prompt_language, prompt_sections
from udfs.tasks.answers import read_answer
from udfs.tasks.task import NO_ROW, Parsed, Row, Task, chat

NAME, VERSION = "probe", 1
MAX_PLAIN_CHARS = 2_000
# "B", "(b) two", "The answer is B."; not "A cat": a letter alone, before a mark, or after the word.
LETTER = re.compile(r"^\W*([A-Za-z])(?:\W*$|[.):])|(?:[Aa]nswer|答案)(?: is|是|为)?\W*([A-Z])\b")


class ProbeAnswer(BaseModel):
    """One answer; a bare number is taken too."""

    model_config = ConfigDict(extra="ignore", coerce_numbers_to_str=True)
    answer: str = Field(min_length=1)


def render(row: Row) -> list[Message]:
    """Makes the messages for a row."""
    sections = prompt_sections(NAME, prompt_language(row.get("lang")), VERSION)
    options = row.get("options")
    lines = (
        [] if options is None else [f"{letter}. {text}" for letter, text in zip(ascii_uppercase, options, strict=False)]
    )
    block = f"<options>\n{enclose(chr(10).join(lines))}\n</options>" if lines else ""
    return chat(
        sections["system"],
        fill(sections["user"], {"question": enclose(str(row["question"])), "options": block}).strip(),
    )


def parse(text: str, row: Row = NO_ROW) -> Parsed:
    """Reads the answer. A weak model may not manage JSON, so plain text counts as well; with the row, a letter must
    name an option.
    """
    value, _ = read_answer(text, ProbeAnswer)
    answer = value.answer.strip() if value else split_reasoning(text)[1]
    if not answer or len(answer) > MAX_PLAIN_CHARS:
        return Parsed(error="the answer is empty or far too long")
    options = row.get("options")
    if options is None or len(options) == 0:
        return Parsed(value={"answer": answer})
    found = LETTER.search(answer)
    letter = (found.group(1) or found.group(2)).upper() if found else ""
    if letter not in ascii_uppercase[: len(options)] or not letter:
        return Parsed(error=f"no option's letter in {answer[:80]!r}")
    return Parsed(value={"answer": letter})


TASK = Task(NAME, VERSION, ProbeAnswer, render, parse)
PROMPT_ID = TASK.prompts_id
