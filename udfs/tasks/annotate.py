"""Task `annotate`: the field and the difficulty of a text or question.

Row: `lang`, `text` (or `question` and `answer`), `fields` (field name -> one-line description: the menu, the same for
all rows of a run). Value: {field, difficulty (1..5), confidence (0..1), reason}.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from udfs.engines.protocol import Message
from udfs.prompts import fill, prompt_language, prompt_sections
from udfs.tasks.answers import read_answer
from udfs.tasks.task import NO_ROW, Parsed, Row, Task, chat, source_of

NAME, VERSION = "annotate", 1


class Annotation(BaseModel):
    """One label."""

    model_config = ConfigDict(extra="ignore")
    field: str = Field(min_length=1)
    difficulty: int = Field(ge=1, le=5)
    confidence: float = Field(ge=0, le=1)
    reason: str = ""


def render(row: Row) -> list[Message]:
    """Makes the messages for a row. The menu stands in the system message, which all rows share."""
    sections = prompt_sections(NAME, prompt_language(row.get("lang")), VERSION)
    menu = "\n".join(f"- {name}: {description}" for name, description in row["fields"].items())
    return chat(fill(sections["system"], {"fields": menu}), fill(sections["user"], {"source": source_of(row)}))


def parse(text: str, row: Row = NO_ROW) -> Parsed:
    """Reads the label. With the row, a field outside its menu is an error and other spellings are brought to the
    menu's.
    """
    value, problem = read_answer(text, Annotation)
    if value is None:
        return Parsed(error=problem)
    if "fields" in row:
        names = {_key(name): name for name in row["fields"]}
        if _key(value.field) not in names:
            return Parsed(error=f"field {value.field[:80]!r} is not in the menu")
        value.field = names[_key(value.field)]
    return Parsed(value=value.model_dump())


def _key(name: str) -> str:
    return name.strip().lower().replace(" ", "_").replace("-", "_")


TASK = Task(NAME, VERSION, Annotation, render, parse)
PROMPT_ID = TASK.prompts_id
