"""Task `multi_grade`: several question-answer pairs for one grade from one seed.

Row: `lang`, `text` (or `question` and `answer` of a pair), `grade` (one of GRADES), `n` (questions asked for). The seed
comes before the grade, so that the requests of one seed share a prefix.
"""

from __future__ import annotations

from udfs.engines.protocol import Message
from udfs.prompts import fill, prompt_language, prompt_sections
from udfs.tasks.questions import Items, parse_questions
from udfs.tasks.task import Row, Task, chat, source_of

NAME, VERSION = "multi_grade", 1
GRADES = ("elementary", "middle_school", "high_school", "undergraduate", "graduate", "competition")


def render(row: Row) -> list[Message]:
    """Makes the messages for a row. Raises ValueError for a grade that has no prompt."""
    grade = str(row["grade"])
    if grade not in GRADES:
        raise ValueError(f"grade {grade!r} has no prompt; use one of: {', '.join(GRADES)}")
    sections = prompt_sections(NAME, prompt_language(row.get("lang")), VERSION)
    values = {"source": source_of(row), "grade": grade, "n": str(int(row["n"])), "audience": sections[f"grade {grade}"]}
    return chat(sections["system"], fill(sections["user"], values))


parse = parse_questions
TASK = Task(NAME, VERSION, Items, render, parse)
PROMPT_ID = TASK.prompts_id
