"""LLM tasks: each one file with a prompt id, `render` and `parse`, over versioned prompts in `udfs/prompts`."""

from __future__ import annotations

from udfs.tasks import annotate, high_difficulty, multi_grade, probe, refine
from udfs.tasks.task import Parsed, Row, Task

__all__ = ["TASKS", "Parsed", "Row", "Task"]

TASKS: dict[str, Task] = {
    task.name: task for task in (annotate.TASK, multi_grade.TASK, high_difficulty.TASK, refine.TASK, probe.TASK)
}
