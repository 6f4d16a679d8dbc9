"""Task `high_difficulty`: hard question-answer pairs, of any discipline, from one seed.

Row: `lang`, `text` (or `question` and `answer` of a pair), `target_difficulty` (1 to 5), `n` (questions asked for).
"""

from __future__ import annotations

from udfs.engines.protocol import Message
from udfs.prompts import fill, prompt_language, prompt_sections
from udfs.tasks.questions import Items, parse_questions
from udfs.tasks.task import Row, Task, chat, source_of

NAME, VERSION = "high_difficulty", 1


def render(row: Row) -> list[Message]:
    """Makes the messages for a row."""
    sections = prompt_sections(NAME, prompt_language(row.get("lang")), VERSION)
    target = str(int(row["target_difficulty"]))
    values = {"source": source_of(row), "target_difficulty": target, "n": str(int(row["n"]))}
    return chat(sections["system"], fill(sections["user"], values))


parse = parse_questions
TASK = Task(NAME, VERSION, Items, render, parse)
PROMPT_ID = TASK.prompts_id
